"""Scores of tagged sentences by whole entities, as the field counts them (seqeval), with an interval over sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tuner.errors import DataError
from tuner.records import Record
from tuner.tasks.metrics import RESAMPLES, wilson

Tags = Sequence[Sequence[str]]
"""The tags of some sentences, one a word: ``O``, or ``B-person``, in any of the schemes IO, IOB1, BIO, BIOES, BILOU."""

_BILOU = {"L": "E", "U": "S"}  # seqeval reads the letters of BIOES; last and unit are end and single there


class Entity(NamedTuple):
    """An entity of a sentence: its words are ``start`` to ``stop - 1``."""

    type: str
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class TypeScores(Record):
    """Scores of the entities of one type, 0 to 1, and how many of them were true, predicted, and both."""

    type: str
    precision: float
    recall: float
    f1: float
    n_gold: int
    n_predicted: int
    n_correct: int


@dataclass(frozen=True, kw_only=True)
class EntityScores(Record):
    """Scores of all entities together (micro average), 0 to 1, and of every type by name; counts as `TypeScores`."""

    precision: float
    recall: float
    f1: float
    n_gold: int
    n_predicted: int
    n_correct: int
    by_type: tuple[TypeScores, ...]


def find_entities(tags: Sequence[str]) -> tuple[Entity, ...]:
    """The entities in one sentence's tags, as seqeval and the CoNLL script find them.

    Tags that break their scheme are read all the same: an ``I-X`` after ``O`` or after another type begins an entity.

    >>> for entity in find_entities(["B-person", "I-person", "O", "I-place"]):
    ...     entity
    Entity(type='person', start=0, stop=2)
    Entity(type='place', start=3, stop=4)
    """
    from seqeval.metrics.sequence_labeling import get_entities

    return tuple(Entity(str(name), first, last + 1) for name, first, last in get_entities(_in_bioes(tags)))


def score_entities(gold: Tags, predicted: Tags) -> EntityScores:
    """Precision, recall and F1 of entities by seqeval's default mode (that of conlleval), micro and by type.

    A predicted entity counts where type, first and last word all agree. What has nothing to divide by is 0. Raises
    `DataError` where the two differ in sentences or words.

    >>> scores = score_entities([["B-person", "I-person", "O"]], [["B-person", "O", "B-person"]])
    >>> scores.f1, scores.n_gold, scores.n_predicted
    (0.0, 1, 2)
    >>> score_entities([["B-a", "B-b", "O"]], [["B-a", "O", "O"]]).recall
    0.5
    """
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    _check_equal_lengths(gold, predicted)
    # Seqeval refuses to score no sentences at all; one without entities changes nothing.
    true = [_in_bioes(tags) for tags in gold] or [["O"]]
    guessed = [_in_bioes(tags) for tags in predicted] or [["O"]]
    correct, in_predicted, in_gold = _counts_by_type(true, guessed)
    types = sorted({*in_gold, *in_predicted})
    micro = precision_recall_fscore_support(true, guessed, average="micro", zero_division=0)
    each = precision_recall_fscore_support(true, guessed, average=None, zero_division=0)
    by_type = tuple(
        TypeScores(
            type=name,
            precision=float(each[0][index]),
            recall=float(each[1][index]),
            f1=float(each[2][index]),
            n_gold=in_gold.get(name, 0),
            n_predicted=in_predicted.get(name, 0),
            n_correct=correct.get(name, 0),
        )
        for index, name in enumerate(types)
    )
    return EntityScores(
        precision=float(micro[0]),
        recall=float(micro[1]),
        f1=float(micro[2]),
        n_gold=sum(in_gold.values()),
        n_predicted=sum(in_predicted.values()),
        n_correct=sum(correct.values()),
        by_type=by_type,
    )


def entity_counts(gold: Tags, predicted: Tags) -> np.ndarray:
    """(n, 3) counts for n sentences: entities that are correct, predicted, and true.

    All that micro F1 needs, so that resampling sentences is a sum (`f1_of`). Raises `DataError` where the two differ
    in sentences or words.

    >>> entity_counts([["B-a", "O"], ["B-b", "B-b"]], [["B-a", "B-b"], ["B-b", "O"]]).tolist()
    [[1, 2, 1], [1, 1, 2]]
    """
    _check_equal_lengths(gold, predicted)
    counts = np.zeros((len(gold), 3), dtype=np.int64)
    for row, (true, guessed) in enumerate(zip(gold, predicted, strict=True)):
        if true == guessed and all(tag == "O" for tag in true):
            continue
        in_gold, in_predicted = set(find_entities(true)), set(find_entities(guessed))
        counts[row] = len(in_gold & in_predicted), len(in_predicted), len(in_gold)
    return counts


def f1_of(counts: np.ndarray) -> np.ndarray:
    """Micro F1, 0 to 1, of (..., 3) sums of `entity_counts`; 0 where nothing is true or nothing predicted.

    >>> float(f1_of(np.array([1, 2, 1])))
    0.6666666666666666
    """
    sums = np.asarray(counts, dtype=np.float64)
    precision = sums[..., 0] / np.maximum(sums[..., 1], 1.0)
    recall = sums[..., 0] / np.maximum(sums[..., 2], 1.0)
    total = precision + recall
    # The order of seqeval's operations, so that the last bit agrees too.
    f1: np.ndarray = 2.0 * precision * recall / np.where(total == 0, 1.0, total)
    return f1


def bootstrap_f1(
    counts: np.ndarray, *, groups: np.ndarray | None = None, seed: int = 0, resamples: int = RESAMPLES
) -> np.ndarray:
    """Micro F1 of sentences drawn with replacement, many times over (Efron 1979).

    Equal seeds draw equal sentences, so differences between two sets of predictions for the same sentences are paired.

    Args:
        counts: (n, 3) `entity_counts` of the sentences.
        groups: (n,) groups of the sentences, such as documents; with them, whole groups are drawn.
        seed: of the draws.
        resamples: how many times sentences are drawn.

    Returns:
        (resamples,) scores, 0 to 1.

    >>> counts = np.array([[1, 1, 1], [0, 1, 1]])
    >>> sorted(set(bootstrap_f1(counts).tolist()))
    [0.0, 0.5, 1.0]
    """
    if len(counts) == 0:
        return np.zeros(resamples)
    unit = np.arange(len(counts)) if groups is None else np.unique(groups, return_inverse=True)[1]
    n = int(unit.max()) + 1
    sums = np.stack([np.bincount(unit, weights=counts[:, column], minlength=n) for column in range(3)], axis=1)
    # Positions rather than multinomial weights: several times as fast, and the same distribution.
    generator = np.random.default_rng(seed)
    drawn = np.empty((resamples, 3))
    for resample in range(resamples):
        weights = np.bincount(generator.integers(0, n, size=n), minlength=n)
        drawn[resample] = weights @ sums
    return f1_of(drawn)


def f1_interval(
    counts: np.ndarray, *, groups: np.ndarray | None = None, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Confidence interval of micro F1 over sentences, or over whole groups: the percentiles of `bootstrap_f1`.

    Where every entity is found, or none, a bootstrap sees no spread at all; the interval is then Wilson's (1927) for
    as many rows as sentences (or groups) hold an entity, true or predicted.

    Args:
        counts: (n, 3) `entity_counts` of the sentences.
        groups: (n,) groups of the sentences, which are drawn together; by default sentences are drawn.
        seed: of the bootstrap.
        level: confidence, 0 to 1.

    Returns:
        the lower and upper end, 0 to 1.

    >>> f1_interval(np.array([[1, 1, 1]] * 30 + [[0, 1, 1]] * 10))
    (0.625, 0.875)
    >>> low, high = f1_interval(np.array([[1, 1, 1]] * 20))
    >>> round(low, 3), high
    (0.839, 1.0)
    """
    whole = float(f1_of(counts.sum(0)))
    if whole in (0.0, 1.0):
        holding = counts.any(1)
        n = int(holding.sum()) if groups is None else len(np.unique(np.asarray(groups)[holding]))
        return wilson(whole, n, level=level) if n else (0.0, 1.0)
    scores = bootstrap_f1(counts, groups=groups, seed=seed)
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _in_bioes(tags: Sequence[str]) -> list[str]:
    """A list, as seqeval asks for, with BILOU's letters as those of BIOES."""
    return [_BILOU[tag[0]] + tag[1:] if tag[:1] in _BILOU else tag for tag in tags]


def _counts_by_type(gold: Tags, predicted: Tags) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Correct, predicted and true entities by type."""
    correct: list[Entity] = []
    in_predicted: list[Entity] = []
    in_gold: list[Entity] = []
    for true, guessed in zip(gold, predicted, strict=True):
        entities, found = find_entities(true), find_entities(guessed)
        in_gold += entities
        in_predicted += found
        correct += set(entities) & set(found)
    return count_types(correct), count_types(in_predicted), count_types(in_gold)


def count_types(entities: Iterable[Entity]) -> dict[str, int]:
    """Count the entities of every type, types by name.

    >>> count_types([Entity("place", 0, 1), Entity("person", 2, 4), Entity("place", 5, 6)])
    {'person': 1, 'place': 2}
    """
    counts: dict[str, int] = {}
    for entity in entities:
        counts[entity.type] = counts.get(entity.type, 0) + 1
    return dict(sorted(counts.items()))


def _check_equal_lengths(gold: Tags, predicted: Tags) -> None:
    if len(gold) != len(predicted):
        raise DataError(
            f"{len(gold):,} tagged sentences but {len(predicted):,} predictions",
            why="the n-th prediction is of the n-th sentence",
            fix="predict every sentence, and in the same order",
        )
    for row, (true, guessed) in enumerate(zip(gold, predicted, strict=True)):
        if len(true) != len(guessed):
            raise DataError(
                f"sentence {row + 1:,} has {len(true):,} tags but {len(guessed):,} predicted ones",
                why="the n-th predicted tag is of the n-th word",
                fix="give every word a tag; those that the model does not see are predicted O",
            )
