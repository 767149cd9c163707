"""A tiny real architecture with a tokenizer of its own, saved as a folder like any Hugging Face model."""

from __future__ import annotations

from pathlib import Path

WORDS = [
    *(["good", "great", "fine", "lovely", "bright", "happy", "bad", "awful", "poor", "sad", "dark", "angry"]),
    *(["the", "a", "film", "plot", "was", "is", "very", "not", "and", "cat", "dog", "red", "blue", "runs", "sleeps"]),
]


def tokenizer():
    """A word-level tokenizer with BERT's special tokens."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: index for index, word in enumerate([*specials, *WORDS])}
    words = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def bert(*, layers: int = 3, seed: int = 0):
    """A randomly initialised BERT base of width 32."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS) + 4,
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    return BertModel(config, add_pooling_layer=False)


def save_model(folder: Path, *, layers: int = 3) -> Path:
    """Write model and tokenizer to a folder."""
    bert(layers=layers).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
