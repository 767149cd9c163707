"""Every word finds its first subword, whatever the tokenizer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import tiny
from tuner.errors import ModelError
from tuner.inputs.alignment import encode_words
from tuner.inputs.encoded import IGNORED
from tuner.inputs.token_views import token_views
from tuner.model.assemble import load_backbone
from tuner.model.backbone import Backbone

SENTENCES = [
    ["EU", "rejects", "Waltengoo", "'s", "unbelievably", "cheap", "lamb", "."],
    ["don't", "café", "😂", "2020-01-01", "東京", "#hash", "New York"],
    ["a"],
]


def byte_level(*, trim: bool = True):
    """A byte-level BPE tokenizer such as RoBERTa's (offsets without spaces) or GPT-2's (with them)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=["<s>", "</s>", "<pad>"], show_progress=False
    )
    words.train_from_iterator(["EU rejects the cheap lamb of EU"] * 5, trainer)
    words.decoder = decoders.ByteLevel()
    words.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0), trim, False)
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def covered(tokenizer, aligned, sentence: int) -> list[str]:
    """For every word, what the tokens from its first one to the next word's first one spell."""
    ids = aligned.input_ids[sentence]
    ends = [*aligned.first[sentence][1:].tolist(), len(ids) - 1]
    starts = aligned.first[sentence].tolist()
    return [tokenizer.decode(ids[a:b]).strip() for a, b in zip(starts, ends, strict=True)]


@pytest.mark.parametrize("trim", [True, False])
def test_tokens_of_byte_level_bpe_spell_their_words(trim: bool) -> None:
    tokenizer = byte_level(trim=trim)
    aligned = encode_words(tokenizer, SENTENCES, max_length=128)
    for row, words in enumerate(SENTENCES):
        assert covered(tokenizer, aligned, row) == words
    assert aligned.seen.all()
    assert aligned.notes("sentences") == ()


def test_tokens_of_the_built_in_model_spell_their_words(minilm: Backbone) -> None:
    aligned = encode_words(minilm.tokenizer, SENTENCES, max_length=128)
    # Unknown signs are one token; accents are taken off.
    spelled = [[word.replace(" ", "") for word in covered(minilm.tokenizer, aligned, row)] for row in (0, 1)]
    assert spelled[0] == [word.lower() for word in SENTENCES[0]]
    assert spelled[1] == ["don't", "cafe", "[UNK]", "2020-01-01", "東京", "#hash", "newyork"]
    assert aligned.first[2].tolist() == [1]


@pytest.mark.parametrize("which", ["built-in", "byte-level"])
def test_ids_are_those_of_the_joined_text(which: str, minilm: Backbone) -> None:
    tokenizer = minilm.tokenizer if which == "built-in" else byte_level()
    aligned = encode_words(tokenizer, SENTENCES, max_length=12)
    texts = tokenizer([" ".join(words) for words in SENTENCES], truncation=True, max_length=12)
    assert [ids.tolist() for ids in aligned.input_ids] == texts["input_ids"]
    assert aligned.truncated.tolist() == [True, True, False]


def test_ids_and_cuts_are_those_that_the_model_is_fed(minilm: Backbone) -> None:
    aligned = encode_words(minilm.tokenizer, [["lamb"] * 200, ["lamb"]], max_length=minilm.max_length)
    fed = minilm.encode([" ".join(["lamb"] * 200), "lamb"])
    assert [ids.tolist() for ids in aligned.input_ids] == [ids.tolist() for ids in fed.input_ids]
    words = minilm.encode([["lamb"] * 200, ["lamb"]])
    assert words.digest() == aligned.digest() != fed.digest()
    assert aligned.truncated.tolist() == fed.truncated.tolist() == [True, False]


def test_words_beyond_the_length_are_counted_and_said(minilm: Backbone) -> None:
    aligned = encode_words(minilm.tokenizer, [["lamb", "waltengoo", "lamb"], ["lamb"]], max_length=4)
    # [CLS] lamb walt [SEP]: the first piece of the second word is seen, and speaks for it.
    assert aligned.first[0].tolist() == [1, 2, -1]
    assert aligned.seen.tolist() == [True, True, False, True]
    assert aligned.notes("training sentences") == (
        "1 of 2 training sentences are longer than the model's length and were cut: 1 of 4 words are not seen and "
        "predicted O",
    )


def test_words_cut_at_the_left_are_counted_too() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.truncation_side = "left"
    aligned = encode_words(tokenizer, [["good", "cat", "runs", "red"]], max_length=4)
    assert aligned.first[0].tolist() == [-1, -1, 1, 2]
    tokenizer.truncation_side = "right"
    assert encode_words(tokenizer, [["good", "cat"]], max_length=2).first[0].tolist() == [-1, -1]


def test_words_without_a_token_are_counted_and_said(minilm: Backbone) -> None:
    aligned = encode_words(minilm.tokenizer, [["a", "\u200b", "cat", "", "\u200d"]], max_length=128)
    assert aligned.first[0].tolist() == [1, -1, 2, -1, -1]
    assert aligned.notes("sentences") == (
        "3 of 5 words in the sentences have no token (such as control characters) and are predicted O",
    )


@pytest.mark.parametrize("trim", [True, False])
def test_a_space_is_no_token_of_an_empty_word(trim: bool) -> None:
    aligned = encode_words(byte_level(trim=trim), [["a", "", "the"]], max_length=128)
    assert aligned.first[0].tolist() == [1, -1, 3]


def test_a_token_over_two_words_speaks_for_both_and_is_labelled_by_the_first() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"a": 0, " ": 1, "b": 2, "a ": 3, "a b": 4, "[PAD]": 5}
    whole = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", " "), ("a ", "b")]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=whole, pad_token="[PAD]")
    aligned = encode_words(tokenizer, [["a", "b"], []], max_length=8)
    assert aligned.input_ids[0].tolist() == [4]
    assert aligned.first[0].tolist() == [0, 0]
    labels = aligned.targets(np.array([1, 2]), np.array([0, 1]), width=2)
    assert labels.tolist() == [[1, IGNORED], [IGNORED, IGNORED]]
    # A sentence without a token still has a row, which says padding.
    assert aligned.input_ids[1].tolist() == [5]


def test_labels_stand_at_first_subwords(minilm: Backbone) -> None:
    aligned = encode_words(minilm.tokenizer, [["lamb", "\u200b", "waltengoo"], ["cat", "cat", "cat"]], max_length=4)
    tags = np.array([3, 7, 4, 5, 6, 8])
    # Labels of words that are not seen are in no loss.
    expected = [[IGNORED, 5, 6, IGNORED, IGNORED], [IGNORED, 3, 4, IGNORED, IGNORED]]
    assert aligned.targets(tags, np.array([1, 0]), width=5).tolist() == expected
    assert aligned.per_row.tolist() == [3, 3]
    assert aligned.word_begins.tolist() == [0, 3]
    assert aligned.seen.tolist() == [True, False, True, True, True, False]


def test_some_sentences_can_be_taken(minilm: Backbone) -> None:
    aligned = encode_words(minilm.tokenizer, [["lamb"], ["\u200b", "cat"], ["cat", "cat", "cat"]], max_length=4)
    some = aligned.take([2, 1])
    assert [row.tolist() for row in some.first] == [[1, 2, -1], [-1, 1]]
    assert some.truncated.tolist() == [True, False]
    assert some.input_ids[1].tolist() == aligned.input_ids[1].tolist()


def test_views_have_the_labels_of_their_sentences(minilm: Backbone) -> None:
    aligned = encode_words(minilm.tokenizer, [["lamb"], ["cat", "dog"]], max_length=8)
    mask = minilm.tokenizer.mask_token_id
    special = minilm.tokenizer.all_special_ids
    views = token_views(aligned, policy="masking", copies=3, seed=0, special=special, mask=mask)
    tags = np.array([1, 2, 3])
    first = views.targets(tags, np.array([0, 1]), width=5)
    np.testing.assert_array_equal(views.targets(tags, np.array([2, 5]), width=5), first)


def test_word_features_are_the_states_at_first_subwords(tmp_path) -> None:
    backbone = load_backbone(tiny.save_model(tmp_path / "m"), device="cpu")
    sentences = [["good", "cat"], ["dog"], ["the", "", "film", "was", "very", "bad"]]
    aligned = backbone.encode(sentences)
    features = backbone.block_features(aligned)
    assert [block.shape for block in features] == [(9, 32)] * 4
    assert features[0].dtype == np.float16
    start = 0
    for row, words in enumerate(sentences):
        ids = torch.from_numpy(aligned.input_ids[row].astype(np.int64))[None]
        with torch.no_grad():
            states = backbone.model(input_ids=ids, output_hidden_states=True).hidden_states
        for word, position in enumerate(aligned.first[row].tolist()):
            for block, state in zip(features, states, strict=True):
                expected = state[0, position].numpy() if position >= 0 else np.zeros(32)
                np.testing.assert_allclose(block[start + word], expected, rtol=0.05, atol=0.05)
        start += len(words)
    assert not aligned.seen[4]


def test_no_sentences_are_no_rows(minilm: Backbone) -> None:
    aligned = encode_words(minilm.tokenizer, [], max_length=8)
    assert len(aligned) == 0
    assert aligned.seen.shape == (0,)
    assert minilm.block_features(aligned)[0].shape == (0, 384)


def test_slow_tokenizers_are_refused() -> None:
    from transformers import CanineTokenizer

    with pytest.raises(ModelError, match="CanineTokenizer does not say which characters") as caught:
        encode_words(CanineTokenizer(), SENTENCES, max_length=8)
    assert "fast tokenizer" in caught.value.fix
