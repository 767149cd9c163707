"""What is true of some rows, and how predictions of it are scored: classes row by row, tags of words by entities."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tuner.errors import OptionError
from tuner.tasks import metrics
from tuner.tasks.entities import EntityScores, bootstrap_f1, entity_counts, f1_interval, f1_of, score_entities

if TYPE_CHECKING:
    from collections.abc import Sequence

ENTITY_F1 = "entity_f1"
OUTSIDE = 0
"""The number of the tag of words outside of entities, ``O``: the first of a task's tags."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The labels of n rows, with the metric that predictions are scored by.

    ``labels`` are (n,) class numbers. Of sentences with ``n_words`` (n,) words they are the (N,) numbers of the words'
    tags, sentence below sentence, whose names are ``names``. Rows of equal ``groups`` (n,) are drawn together by the
    bootstrap.
    """

    labels: np.ndarray
    metric: str
    groups: np.ndarray | None = None
    n_words: np.ndarray | None = None
    names: tuple[str, ...] = ()

    def score(self, predictions: np.ndarray) -> float:
        """Score of predictions, shaped as the labels, 0 to 1.

        >>> tags = Truth(labels=np.array([1, 2, 0]), metric="entity_f1", n_words=np.array([2, 1]), names=("O", "B-a",
        ...              "I-a"))
        >>> tags.score(np.array([1, 2, 0])), tags.score(np.array([1, 0, 0]))
        (1.0, 0.0)
        """
        if self.metric == ENTITY_F1:
            return float(f1_of(self._counts(predictions).sum(0)))
        return metrics.score(self.labels, predictions, metric=self.metric)

    @property
    def n_units(self) -> int:
        """How many rows, sentences or groups are drawn by the bootstrap."""
        if self.groups is not None:
            return len(np.unique(self.groups))
        return len(self.labels if self.n_words is None else self.n_words)

    def draws(self, predictions: np.ndarray, *, seed: int) -> np.ndarray:
        """(r,) scores of rows drawn with replacement; equal seeds draw equal rows, so that differences are paired."""
        if self.metric == ENTITY_F1:
            return bootstrap_f1(self._counts(predictions), groups=self.groups, seed=seed)
        return metrics.bootstrap_scores(self.labels, predictions, metric=self.metric, groups=self.groups, seed=seed)

    def interval(self, predictions: np.ndarray, *, seed: int) -> tuple[float, float]:
        """95 % confidence interval of the score over rows, or groups."""
        if self.metric == ENTITY_F1:
            return f1_interval(self._counts(predictions), groups=self.groups, seed=seed)
        return metrics.interval(self.labels, predictions, metric=self.metric, groups=self.groups, seed=seed)

    def by_type(self, predictions: np.ndarray) -> EntityScores:
        """Scores of every type of entity."""
        return score_entities(self._gold, self._named(predictions))

    def take(self, rows: np.ndarray) -> Truth:
        """The truth of a subset of the rows, in the order of ``rows``."""
        groups = None if self.groups is None else self.groups[rows]
        if self.n_words is None:
            return replace(self, labels=self.labels[rows], groups=groups)
        return replace(self, labels=self.labels[self.places(rows)], groups=groups, n_words=self.n_words[rows])

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where the labels of some rows stand."""
        return places_of(self.n_words, rows)

    def _counts(self, predictions: np.ndarray) -> np.ndarray:
        return entity_counts(self._gold, self._named(predictions))

    @cached_property
    def _gold(self) -> list[list[str]]:
        return self._named(self.labels)

    def _named(self, numbers: np.ndarray) -> list[list[str]]:
        """Numbers of the words' tags as the names of every sentence."""
        assert self.n_words is not None
        named = [self.names[number] for number in numbers.tolist()]
        ends = np.cumsum(self.n_words).tolist()
        return [named[end - words : end] for end, words in zip(ends, self.n_words.tolist(), strict=True)]


def places_of(n_words: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
    """Where the words of some sentences stand among those of all; without words, the rows themselves.

    >>> places_of(np.array([2, 1, 3]), np.array([2, 0])).tolist()
    [3, 4, 5, 0, 1]
    """
    if n_words is None:
        return rows
    begins = np.cumsum(n_words) - n_words
    parts = [np.arange(begins[row], begins[row] + n_words[row]) for row in rows]
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def check_metric(metric: str | None, *, tagged: bool) -> str:
    """The metric's name, by default the usual one: accuracy of classes, entity F1 of tags.

    Raises `OptionError` for one that is unknown or of the other kind.

    >>> check_metric(None, tagged=True), check_metric("macro_f1", tagged=False)
    ('entity_f1', 'macro_f1')
    """
    known = known_metrics(tagged=tagged)
    if metric is None:
        return known[0]
    if metric in (ENTITY_F1, *metrics.METRICS) and metric not in known:
        held, other = ("tagged words", "labelled rows") if tagged else ("labelled rows", "tagged words")
        raise OptionError(
            f"--metric {metric} does not go with {held}",
            why=f"it scores {other}",
            fix=f"omit --metric, or use {', '.join(known)}",
        )
    if metric not in known:
        return metrics.check_metric(metric)
    return metric


def known_metrics(*, tagged: bool) -> Sequence[str]:
    """The metrics of tagged words, or of labelled rows, the usual one first."""
    return (ENTITY_F1,) if tagged else metrics.METRICS
