"""Taggers on frozen word features, on synthetic words whose right tags are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tuner.errors import DataError, OptionError
from tuner.model.bilstm import BiLSTMTagger, Tagger, WordRows, fit_tagger
from tuner.tasks.entities import score_entities
from tuner.tasks.heads import FEATURES, fit_head

NAMES = ("O", "B-a", "I-a")
FAST = {"hidden": 16, "learning_rate": 0.02, "dropout": 0.0, "batch_size": 8, "patience": 3, "tag_names": NAMES}
WIDTH = 6


def words(n: int, *, seed: int, n_blocks: int = 1, telling: int = 0, context: bool = True) -> WordRows:
    """Sentences of words 0 to 5. The word after a 1 begins an entity, that after a 2 goes on: neighbours decide.

    Without `context`, 1 begins one itself and 2 goes on. Blocks other than the `telling` one are noise.
    """
    generator = np.random.default_rng(seed)
    lengths = generator.integers(0, 9, size=n)
    ids = generator.integers(0, WIDTH, size=int(lengths.sum()))
    if context:
        first = np.zeros(len(ids), dtype=bool)
        first[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
        before = np.where(first, 0, np.roll(ids, 1))
    else:
        before = ids
    tags = np.where(before == 1, 1, np.where(before == 2, 2, 0))
    features = [generator.normal(size=(len(ids), WIDTH)).astype(np.float32) for _ in range(n_blocks)]
    features[telling] = np.eye(WIDTH, dtype=np.float32)[ids]
    return WordRows(features=features, lengths=lengths, tags=tags)


def sentences(tags: np.ndarray, lengths: np.ndarray) -> list[list[str]]:
    return [[NAMES[tag] for tag in part] for part in np.split(tags, np.cumsum(lengths)[:-1])]


def f1(tagger: Tagger, rows: WordRows) -> float:
    predicted = tagger.predict(rows.features, lengths=rows.lengths)
    return score_entities(sentences(rows.tags, rows.lengths), sentences(predicted, rows.lengths)).f1


def test_the_bilstm_reads_neighbours_and_a_linear_head_does_not() -> None:
    train, validation, test = (words(80, seed=seed) for seed in range(3))
    bilstm = fit_tagger(train, validation=validation, **FAST)
    assert f1(bilstm, test) > 0.9
    assert f1(bilstm, validation) == max(bilstm.f1_by_epoch)
    head = fit_head(train.features, train.tags, n_classes=3)
    predicted = head.logits(test.features).argmax(1)
    assert score_entities(sentences(test.tags, test.lengths), sentences(predicted, test.lengths)).f1 < 0.3


def test_both_directions_are_read() -> None:
    """With the words turned round, the next word decides instead of the one before."""
    train, validation, test = (words(80, seed=seed) for seed in range(3))

    def turned(rows: WordRows) -> WordRows:
        ends = np.cumsum(rows.lengths)
        order = np.concatenate([np.arange(e - 1, e - n - 1, -1) for e, n in zip(ends, rows.lengths, strict=True)])
        return WordRows(features=[rows.features[0][order]], lengths=rows.lengths, tags=rows.tags[order])

    assert f1(fit_tagger(turned(train), validation=turned(validation), **FAST), turned(test)) > 0.9


def test_a_sentence_is_tagged_alike_alone_and_among_longer_ones() -> None:
    rows = words(40, seed=0)
    tagger = fit_tagger(rows, validation=rows, most_epochs=2, **FAST)
    module = tagger.classifier
    assert isinstance(module, BiLSTMTagger)
    long = torch.from_numpy(rows.features[0][:9])[None]
    short = torch.zeros_like(long)
    short[:, :4] = torch.from_numpy(rows.features[0][20:24])
    with torch.inference_mode():
        together = module(torch.cat([short, long]), torch.tensor([4, 9]))
        alone = module(short[:, :4], torch.tensor([4]))
    torch.testing.assert_close(together[0, :4], alone[0])
    each = [
        tagger.predict([part], lengths=np.array([len(part)]))
        for part in np.split(rows.features[0], np.cumsum(rows.lengths)[:-1])
    ]
    assert np.concatenate(each).tolist() == tagger.predict(rows.features, lengths=rows.lengths).tolist()


def test_the_best_epoch_is_kept_and_training_ends_after_it() -> None:
    train, validation = words(60, seed=0), words(60, seed=1)
    generator = np.random.default_rng(2)
    wrong = generator.random(len(validation.tags)) < 0.5
    noise = np.where(wrong, generator.integers(0, 3, size=len(wrong)), validation.tags)
    validation = WordRows(features=validation.features, lengths=validation.lengths, tags=noise)
    seen: list[tuple[int, float]] = []
    tagger = fit_tagger(train, validation=validation, on_epoch=lambda *at: seen.append(at), **FAST)
    epochs = len(tagger.f1_by_epoch)
    best = int(np.argmax(tagger.f1_by_epoch))
    assert epochs == best + 1 + 3
    assert f1(tagger, validation) == tagger.f1_by_epoch[best]
    assert seen == list(enumerate(tagger.f1_by_epoch))
    shorter = fit_tagger(train, validation=validation, **FAST | {"most_epochs": best + 1})
    assert shorter.f1_by_epoch == tagger.f1_by_epoch[: best + 1]
    kept, ended = tagger.classifier.state_dict(), shorter.classifier.state_dict()
    assert all(torch.equal(kept[name], ended[name]) for name in kept)


def test_a_tagger_says_when_the_time_ended_its_training() -> None:
    rows = words(40, seed=0)

    def fitted(**limits: float) -> tuple[bool, int]:
        tagger = fit_tagger(rows, validation=rows, **FAST | limits)
        return tagger.out_of_time, len(tagger.f1_by_epoch)

    assert fitted(most_seconds=0.0, most_epochs=2) == (True, 1)
    assert fitted(most_seconds=0.0, most_epochs=1) == (False, 1)
    assert fitted(most_seconds=0.0, patience=0) == (False, 1)
    assert fitted(most_epochs=2) == (False, 2)


def test_without_entities_found_the_loss_decides() -> None:
    """Entities are rare at first; early stopping must not take that for the end."""
    train, validation = words(60, seed=0), words(60, seed=1)
    nothing = WordRows(features=validation.features, lengths=validation.lengths, tags=np.zeros_like(validation.tags))
    tagger = fit_tagger(train, validation=nothing, patience=2, most_epochs=6, tag_names=NAMES, hidden=16, dropout=0.0)
    assert set(tagger.f1_by_epoch) == {0.0}
    assert len(tagger.f1_by_epoch) > 3


def test_equal_seeds_give_equal_taggers_and_leave_the_global_state_alone() -> None:
    rows = words(40, seed=0)
    options = FAST | {"dropout": 0.3, "most_epochs": 3}
    torch.manual_seed(7)
    before = torch.rand(1)
    torch.manual_seed(7)
    taggers = [fit_tagger(rows, validation=rows, seed=seed, **options) for seed in (5, 5, 6)]
    assert torch.rand(1) == before
    states = [tagger.classifier.state_dict() for tagger in taggers]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["linear.weight"], states[2]["linear.weight"])
    assert taggers[0].f1_by_epoch == taggers[1].f1_by_epoch
    still = FAST | {"learning_rate": 0.0, "most_epochs": 1}
    begun = [fit_tagger(rows, validation=rows, seed=seed, **still).classifier.state_dict() for seed in (5, 6)]
    assert not torch.equal(begun[0]["linear.weight"], begun[1]["linear.weight"])


@pytest.mark.parametrize("name", [*FEATURES, "block_1"])
def test_every_variant_trains_on_the_blocks_it_names(name: str) -> None:
    telling = {"embeddings": 0, "second_to_last": 3, "block_1": 1}.get(name, 4)
    train, validation, test = (words(80, seed=s, n_blocks=5, telling=telling) for s in range(3))
    tagger = fit_tagger(train, validation=validation, features=name, **FAST)
    assert f1(tagger, test) > (0.6 if name == "concat_last_four" else 0.85)
    weights = tagger.mix
    if name.startswith("weighted"):
        assert weights is not None
        assert weights.sum() == pytest.approx(1.0, abs=1e-5)
        assert weights.argmax() == len(weights) - 1
        assert len(weights) == (5 if name == "weighted_all" else 4)
    else:
        assert weights is None


def test_the_scale_of_features_does_not_matter() -> None:
    train, validation = words(60, seed=0), words(60, seed=1)

    def scaled(rows: WordRows) -> WordRows:
        return WordRows(features=[rows.features[0] * 50 + 3000], lengths=rows.lengths, tags=rows.tags)

    plain = fit_tagger(train, validation=validation, most_epochs=4, **FAST)
    large = fit_tagger(scaled(train), validation=scaled(validation), most_epochs=4, **FAST)
    assert large.f1_by_epoch == pytest.approx(plain.f1_by_epoch, abs=0.02)


def test_half_precision_features_constants_and_empty_sentences_do_no_harm() -> None:
    rows = words(40, seed=0)
    assert (rows.lengths == 0).any()
    half = [np.concatenate([rows.features[0], np.ones((len(rows.tags), 1))], axis=1).astype(np.float16)]
    given = WordRows(features=half, lengths=rows.lengths, tags=rows.tags)
    tagger = fit_tagger(given, validation=given, most_epochs=15, **FAST)
    assert f1(tagger, given) > 0.9
    assert tagger.predict([half[0][:0]], lengths=np.zeros(2, dtype=int)).shape == (0,)


def test_what_does_not_match_is_said() -> None:
    rows = words(20, seed=0, n_blocks=2)
    n = len(rows.tags)

    def fit(**changes: object) -> Tagger:
        given = WordRows(**{"features": rows.features, "lengths": rows.lengths, "tags": rows.tags} | changes)
        return fit_tagger(given, validation=rows, **FAST)

    with pytest.raises(DataError, match=f"{n - 1} tags for {n} words"):
        fit(tags=rows.tags[1:])
    with pytest.raises(DataError, match=f"features of {n - 1} words for sentences of {n}"):
        fit(features=[block[1:] for block in rows.features])
    with pytest.raises(DataError, match="tag numbers from 0 to 3, but there are 3 tags"):
        fit(tags=np.where(np.arange(n) == 0, 3, 0))
    with pytest.raises(DataError, match="0 tags for 0 words") as caught:
        fit(features=[block[:0] for block in rows.features], lengths=rows.lengths * 0, tags=rows.tags[:0])
    assert caught.value.why == "there is nothing to learn from"
    with pytest.raises(OptionError, match="unknown features 'lst'"):
        fit_tagger(rows, validation=rows, features="lst", **FAST)
    uneven = WordRows(features=[rows.features[0][:, :2], rows.features[1]], lengths=rows.lengths, tags=rows.tags)
    with pytest.raises(OptionError, match=r"weighted_all cannot mix blocks of different widths \(2, 6\)") as told:
        fit_tagger(uneven, validation=uneven, features="weighted_all", **FAST)
    assert "concat_last_four" in told.value.fix
    assert "weighted" not in told.value.fix
    tagger = fit_tagger(rows, validation=rows, most_epochs=1, **FAST)
    with pytest.raises(DataError, match=f"features of {n} words for sentences of {n - 1}"):
        tagger.predict(rows.features, lengths=np.array([n - 1]))


def test_tokens_are_tagged_as_the_words_that_they_begin() -> None:
    torch.manual_seed(0)
    model = BiLSTMTagger(widths=(3,), n_tags=4, weighted=False, hidden=5, layers=2, dropout=0.0).eval()
    features = torch.randn(3, 6, 3)
    starts = torch.tensor([[0, 1, 0, 1, 1, 0], [0, 1, 0, 0, 0, 0], [0] * 6]).bool()
    logits = model.tag_tokens(features, starts)
    assert logits.shape == (3, 6, 4)
    for row in range(2):
        alone = model(features[row, starts[row]][None], starts[row].sum()[None])[0]
        torch.testing.assert_close(logits[row, starts[row]], alone)
