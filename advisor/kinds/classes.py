"""Rows that have one class each, whatever they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.data.cautions import imbalance_note
from advisor.data.splits import ids_per_class
from advisor.measures.baselines import majority_baseline
from advisor.measures.size import measure_size
from tuner.search.data import LabelledRows
from tuner.tasks.classes import Classes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from advisor.data.target import TargetData
    from advisor.kinds.words import Words
    from advisor.measures.baselines import Baseline
    from advisor.measures.features import BlockFeatures
    from advisor.measures.probe import CurvePoint
    from advisor.measures.size import SizeProfile
    from tuner.model.backbone import Backbone
    from tuner.tasks.base import Task
    from tuner.tasks.known import TaskClass


class OneClass:
    """The part of a kind that is about the task: one class for every row (`advisor.kinds.base.Kind`)."""

    words: Words
    predicts: TaskClass = Classes

    def task(self, target: TargetData) -> Task:
        """The task of predicting one class a row, with the names of the classes."""
        return Classes(names=target.class_names)

    def rows_at(self, target: TargetData, positions: Sequence[int] | np.ndarray) -> Sequence[Any]:
        """The rows at these positions as a model is fed them."""
        raise NotImplementedError

    def linear_baseline(self, features: BlockFeatures, *, folds: np.ndarray, metric: str, seed: int) -> Baseline | None:
        """Score a linear model of what the rows hold, without a pretrained one.

        Args:
            features: of the sampled rows.
            folds: (n,) the fold of every row.
            metric: what it is scored by.
            seed: of the fit and of the interval.

        Returns:
            The cross-validated score; None where no such model could be fitted.
        """
        raise NotImplementedError

    def counts(self, target: TargetData) -> dict[str, Any]:
        """Count the classes, and the rows that each has."""
        counts = np.bincount(target.labels, minlength=len(target.class_names)).tolist()
        return {
            "n_classes": len(target.class_names),
            "class_counts": dict(zip(target.class_names, counts, strict=True)),
        }

    def label_of(self, target: TargetData, row: int) -> str:
        """The name of a row's class."""
        return target.class_names[int(target.labels[row])]

    def size(self, target: TargetData, *, learning_curve: tuple[CurvePoint, ...], curve_features: str) -> SizeProfile:
        """Measure the size by distinct rows, and by those of the smallest class."""
        rows = target.learnable
        counts = ids_per_class(target.text_ids[rows], target.labels[rows], len(target.class_names))
        return measure_size(
            n_examples=len(rows),
            n_duplicates=len(rows) - len(np.unique(target.text_ids[rows])),
            n_per_class_min=int(counts.min()),
            learning_curve=learning_curve,
            curve_features=curve_features,
        )

    def baselines(self, features: BlockFeatures, *, task: Task, metric: str, seed: int) -> dict[str, Baseline | None]:
        """Score always predicting the commonest class, and a linear model."""
        folds = features.folds(seed=seed)
        majority = majority_baseline(features.labels, groups=features.groups, metric=metric, seed=seed)
        linear = self.linear_baseline(features, folds=folds, metric=metric, seed=seed)
        return {"majority": majority, self.words.linear: linear}

    def cautions(self, target: TargetData, features: BlockFeatures, *, backbone: Backbone, metric: str) -> list[str]:
        """Warn where classes are so uneven that accuracy says little of the rare ones."""
        return imbalance_note(self.counts(target)["class_counts"], metric=metric)

    def labelled_rows(self, target: TargetData, positions: np.ndarray) -> LabelledRows:
        """The rows at these positions with their class numbers."""
        return LabelledRows(
            rows=self.rows_at(target, positions),
            labels=target.labels[positions],
            groups=target.kept_together(positions),
        )
