"""One class for every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from tuner.tasks import imbalance, metrics
from tuner.tasks.assessment import assess_calibration, scores_by_class
from tuner.tasks.base import OfRows
from tuner.tasks.imbalance import Offsets
from tuner.tasks.one_of import OneOf
from tuner.tasks.truth import Truth


@dataclass(frozen=True, kw_only=True)
class ClassTruth:
    """The classes of n rows, (n,) numbers, with the metric that predictions are scored by (`tuner.tasks.truth.Truth`).

    ``names`` are those of the classes, for what is said by class.
    """

    labels: np.ndarray
    metric: str
    groups: np.ndarray | None = None
    names: tuple[str, ...] = ()

    def score(self, predictions: np.ndarray) -> float:
        """Score of (n,) predicted classes, 0 to 1."""
        return metrics.score(self.labels, predictions, metric=self.metric)

    @property
    def n_units(self) -> int:
        """Number of rows that the bootstrap draws from, or of groups where there are some."""
        return len(self.labels if self.groups is None else np.unique(self.groups))

    def draws(self, predictions: np.ndarray, *, seed: int) -> np.ndarray:
        """(r,) scores of rows drawn with replacement; equal seeds draw equal rows, so that differences are paired."""
        return metrics.bootstrap_scores(self.labels, predictions, metric=self.metric, groups=self.groups, seed=seed)

    def interval(self, predictions: np.ndarray, *, seed: int) -> tuple[float, float]:
        """95 % confidence interval of the score over rows, or groups."""
        return metrics.interval(self.labels, predictions, metric=self.metric, groups=self.groups, seed=seed)

    def take(self, rows: np.ndarray) -> ClassTruth:
        """The truth of a subset of the rows, in the order of `rows`."""
        groups = None if self.groups is None else self.groups[rows]
        return replace(self, labels=self.labels[rows], groups=groups)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """The rows themselves: each has one label."""
        return rows

    def spread(self, values: np.ndarray) -> np.ndarray:
        """The values as they are: each row has one label."""
        return values

    def assess(
        self, logits: np.ndarray, *, temperature: float | None, seen: np.ndarray | None = None, seed: int = 0
    ) -> dict[str, Any]:
        """``metrics`` by name, ``by_class`` and ``calibration`` (`tuner.tasks.truth.Truth.assess`)."""
        predicted, labels, groups = logits.argmax(1), self.labels, self.groups
        scores = metrics.scores_by_metric(labels, predicted, groups=groups, seed=seed)
        return {
            "metrics": {metric: scored.to_json() for metric, scored in scores.items()},
            "by_class": [s.to_json() for s in scores_by_class(labels, predicted, names=self.names, groups=groups)],
        } | assess_calibration(logits, labels, temperature=temperature, seen=seen, groups=groups, seed=seed)


@dataclass(frozen=True, kw_only=True)
class Classes(OneOf, OfRows):
    """Every row has one class, whose ``names`` are in the order of the labels' numbers."""

    names: tuple[str, ...]
    metrics: ClassVar[tuple[str, ...]] = metrics.METRICS
    held: ClassVar[str] = "labelled rows"

    @classmethod
    def of_config(cls, config: Any) -> Classes:
        """Classes, by the names that the configuration of any classifier has."""
        return cls(names=tuple(config.id2label[index] for index in range(len(config.id2label))))

    def config(self) -> dict[str, Any]:
        """The classes' names, and that every row has one of them."""
        return super().config() | {"problem_type": "single_label_classification"}

    def decode(self, logits: np.ndarray, *, seen: np.ndarray | None = None) -> np.ndarray:
        """(n,) numbers of the most probable classes.

        >>> Classes(names=("no", "yes")).decode(np.array([[0.0, 1.0], [2.0, 1.0]])).tolist()
        [1, 0]
        """
        predictions: np.ndarray = logits.argmax(1)
        return predictions

    def told(self, predictions: np.ndarray, rows: Sequence[Any]) -> list[str]:
        """The name of every row's class."""
        return [self.names[index] for index in predictions]

    def truth(
        self, labels: np.ndarray, *, metric: str, groups: np.ndarray | None = None, n_words: np.ndarray | None = None
    ) -> ClassTruth:
        """The true classes of some rows, for scoring predictions of them."""
        return ClassTruth(labels=labels, metric=metric, groups=groups, names=self.names)

    def choose_offsets(self, logits: np.ndarray, truth: Truth, *, trained_on: np.ndarray, seed: int) -> Offsets:
        """Choose by how much the logits of rare classes are raised (`tuner.tasks.imbalance.choose_offsets`)."""
        shares = imbalance.log_shares(trained_on, n_classes=self.n_outputs)
        return imbalance.choose_offsets(logits, truth, shares=shares, seed=seed)
