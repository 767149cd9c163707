"""What a linear probe learns from and is scored by: rows that are labelled as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tuner.tasks.heads import Standardised, is_weighted, select_features
from tuner.tasks.metrics import Scored

if TYPE_CHECKING:
    from tuner.tasks.base import Task
    from tuner.tasks.heads import LinearHead
    from tuner.tasks.truth import Truth


def take_rows(features: Sequence[np.ndarray], rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """Select some rows from the features of every block."""
    return tuple(block[rows] for block in features)


@dataclass(frozen=True, kw_only=True)
class ProbedRows:
    """Rows with their features, what is true of them, and the folds that they are held out in.

    ``x`` are the (n, width) features of every block, which all probes share; ``folds`` (n,) are the rows' folds.
    """

    unit: ClassVar[str] = "row"

    x: Standardised
    truth: Truth
    folds: np.ndarray
    task: Task

    def penalties(self, *, single: bool, best: float | None) -> Sequence[float]:
        """The L2 penalties to choose from.

        Args:
            single: whether one block is read, rather than a mix of several.
            best: the penalty of the best single block so far, None before the first one.
        """
        return self.task.penalties

    def cross_validated(self, name: str, *, l2: Sequence[float]) -> tuple[np.ndarray, float]:
        """Out-of-fold predictions by the probe of a feature variant, shaped as the truth, and its penalty."""
        fitted = self.task.cross_validate(
            select_features(self.x, name=name),
            self.truth.labels,
            folds=self.folds,
            l2=l2,
            weighted=is_weighted(name),
        )
        return fitted.predictions, fitted.l2

    def fit(self, name: str, rows: np.ndarray, *, l2: float) -> LinearHead | None:
        """Train a probe on some rows; None where they show one class only."""
        labels = self.truth.labels[rows]
        if len(np.unique(labels)) < 2:
            return None
        x = take_rows(select_features(self.x, name=name), rows)
        return self.task.fit_head(x, labels, l2=l2)

    def predict(self, head: LinearHead, name: str, rows: np.ndarray) -> np.ndarray:
        """Predict the labels of some rows, in their order."""
        x = take_rows(select_features(self.x, name=name), rows)
        return self.task.decode(head.logits(x))

    def by_metric(self, predictions: np.ndarray, *, seed: int) -> Mapping[str, Scored]:
        """The scores of predictions by every metric that there is."""
        found = {}
        for metric in self.task.metrics:
            truth = self.task.truth(self.truth.labels, metric=metric, groups=self.truth.groups)
            found[metric] = Scored(score=truth.score(predictions), interval=truth.interval(predictions, seed=seed))
        return found
