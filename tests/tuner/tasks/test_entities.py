"""Entity scores against seqeval, and against counts by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from seqeval.metrics import f1_score, precision_score, recall_score

from tuner.errors import DataError
from tuner.tasks.entities import (
    Entity,
    bootstrap_f1,
    entity_counts,
    f1_interval,
    f1_of,
    find_entities,
    score_entities,
)
from tuner.tasks.metrics import wilson

BIO = ("O", "B-a", "I-a", "B-b", "I-b")
BIOES = (*BIO, "E-a", "S-a", "E-b", "S-b")


def random_tags(names: tuple[str, ...], *, seed: int, n: int = 200) -> list[list[str]]:
    """Any tag may follow any other, so most transitions are illegal."""
    generator = np.random.default_rng(seed)
    share = np.array([len(names)] + [1.0] * (len(names) - 1))
    return [
        list(generator.choice(names, p=share / share.sum(), size=generator.integers(1, 12)).tolist()) for _ in range(n)
    ]


def noisy(tags: list[list[str]], names: tuple[str, ...], *, seed: int) -> list[list[str]]:
    generator = np.random.default_rng(seed)
    return [[str(generator.choice(names)) if generator.random() < 0.2 else tag for tag in row] for row in tags]


@pytest.mark.parametrize("names", [BIO, BIOES], ids=["BIO", "BIOES"])
def test_scores_and_counts_are_those_of_seqeval_to_the_last_bit(names: tuple[str, ...]) -> None:
    for seed in range(5):
        gold = random_tags(names, seed=seed)
        predicted = noisy(gold, names, seed=seed + 100)
        scores = score_entities(gold, predicted)
        assert scores.precision == precision_score(gold, predicted)
        assert scores.recall == recall_score(gold, predicted)
        assert scores.f1 == f1_score(gold, predicted)
        counts = entity_counts(gold, predicted)
        assert float(f1_of(counts.sum(0))) == f1_score(gold, predicted)
        assert counts.sum(0).tolist() == [scores.n_correct, scores.n_predicted, scores.n_gold]
        assert [s.f1 for s in scores.by_type] == f1_score(gold, predicted, average=None).tolist()
        assert [s.type for s in scores.by_type] == ["a", "b"]


def test_scores_by_type_follow_from_their_counts() -> None:
    gold = [["B-a", "I-a", "O", "B-b"], ["B-b", "O", "B-a", "O"]]
    predicted = [["B-a", "O", "O", "B-b"], ["B-b", "B-b", "B-a", "O"]]
    a, b = score_entities(gold, predicted).by_type
    assert (a.n_gold, a.n_predicted, a.n_correct) == (2, 2, 1)
    assert (a.precision, a.recall, a.f1) == (0.5, 0.5, 0.5)
    assert (b.n_gold, b.n_predicted, b.n_correct) == (2, 3, 2)
    assert (b.precision, b.recall, b.f1) == (2 / 3, 1.0, 0.8)


def test_an_inside_tag_after_outside_or_another_type_begins_an_entity() -> None:
    assert find_entities(["O", "I-a", "I-a", "I-b", "O"]) == (Entity("a", 1, 3), Entity("b", 3, 4))
    gold = [["O", "B-a", "I-a", "B-b", "O"]]
    illegal = [["O", "I-a", "I-a", "I-b", "O"]]
    assert score_entities(gold, illegal).f1 == 1.0 == f1_score(gold, illegal)
    assert entity_counts(gold, illegal).tolist() == [[2, 2, 2]]


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("IO", ["I-a", "O", "I-a", "I-a", "I-b"]),
        ("IOB1", ["I-a", "O", "I-a", "I-a", "I-b"]),
        ("BIO", ["B-a", "O", "B-a", "I-a", "B-b"]),
        ("BIOES", ["S-a", "O", "B-a", "E-a", "S-b"]),
        ("BILOU", ["U-a", "O", "B-a", "L-a", "U-b"]),
    ],
)
def test_every_scheme_says_the_same_entities(scheme: str, tags: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_entities(tags) == (Entity("a", 0, 1), Entity("a", 2, 4), Entity("b", 4, 5))


def test_unit_tags_beside_each_other_are_two_entities() -> None:
    assert len(find_entities(["U-a", "U-a"])) == 2
    assert len(find_entities(["L", "U"])) == 2  # of the one type that has no name
    assert len(find_entities(["B-a", "L-a", "I-a"])) == 2  # the last word is the last


def test_nothing_true_and_nothing_predicted_scores_zero_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = score_entities([["O", "O"]], [["O", "O"]])
    assert (scores.precision, scores.recall, scores.f1, scores.by_type) == (0.0, 0.0, 0.0, ())
    assert score_entities([], []).f1 == 0.0
    assert f1_interval(entity_counts([["O"]], [["O"]])) == (0.0, 1.0)
    assert f1_interval(entity_counts([], [])) == (0.0, 1.0)
    assert bootstrap_f1(entity_counts([], []), resamples=3).tolist() == [0.0, 0.0, 0.0]


def test_bootstrap_agrees_with_scoring_resampled_sentences() -> None:
    gold = random_tags(BIO, seed=1, n=30)
    predicted = noisy(gold, BIO, seed=2)
    scores = bootstrap_f1(entity_counts(gold, predicted), seed=4, resamples=20)
    generator = np.random.default_rng(4)
    for score in scores:
        rows = generator.integers(0, 30, size=30)
        assert score == f1_score([gold[row] for row in rows], [predicted[row] for row in rows])


def test_equal_seeds_draw_equal_sentences() -> None:
    gold = random_tags(BIO, seed=1)
    better, worse = noisy(gold, BIO, seed=2), [["O"] * len(row) for row in gold]
    difference = bootstrap_f1(entity_counts(gold, better), seed=5) - bootstrap_f1(entity_counts(gold, worse), seed=5)
    assert (difference > 0).all()


def test_interval_holds_the_score_and_shrinks_with_sentences() -> None:
    gold = random_tags(BIO, seed=1, n=800)
    counts = entity_counts(gold, noisy(gold, BIO, seed=2))
    low, high = f1_interval(counts)
    assert low < float(f1_of(counts.sum(0))) < high
    few_low, few_high = f1_interval(counts[:50])
    assert (few_high - few_low) == pytest.approx(4 * (high - low), rel=0.35)


def test_groups_are_drawn_whole() -> None:
    counts = np.array([[1, 1, 1], [0, 1, 1]] * 100)
    counts = counts[np.argsort(-counts[:, 0], kind="stable")]
    alone = bootstrap_f1(counts, resamples=2000).std()
    together = bootstrap_f1(counts, groups=np.repeat(np.arange(20), 10), resamples=2000).std()
    assert alone == pytest.approx(np.sqrt(0.25 / 200), rel=0.1)
    assert together == pytest.approx(np.sqrt(0.25 / 20), rel=0.1)


def test_a_perfect_or_worthless_score_keeps_its_doubt() -> None:
    counts = np.array([[2, 2, 2]] * 10 + [[0, 0, 0]] * 90)
    assert f1_interval(counts) == wilson(1.0, 10)
    assert f1_interval(counts, groups=np.repeat(np.arange(20), 5)) == wilson(1.0, 2)
    assert f1_interval(counts * [0, 1, 1]) == wilson(0.0, 10)


def test_what_does_not_match_is_said() -> None:
    with pytest.raises(DataError, match="2 tagged sentences but 1 predictions") as caught:
        score_entities([["O"], ["O"]], [["O"]])
    assert caught.value.fix == "predict every sentence, and in the same order"
    with pytest.raises(DataError, match="sentence 2 has 1 tags but 2 predicted ones") as caught:
        entity_counts([["O"], ["O"]], [["O"], ["O", "O"]])
    assert "predicted O" in caught.value.fix
