"""Rows that have any number of several labels each, whatever they are."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.measures.several import commonest_labels_baseline
from advisor.measures.size import LABELS, measure_size
from advisor.predicted_rows import LabelPredictions
from tuner.search.data import LabelledRows
from tuner.tasks.labels import Labels, LabelsTruth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from advisor.data.target import TargetData
    from advisor.kinds.words import Words
    from advisor.measures.baselines import Baseline
    from advisor.measures.features import BlockFeatures
    from advisor.measures.probe import CurvePoint
    from advisor.measures.size import SizeProfile
    from advisor.predicted_rows import Predictions
    from tuner.model.backbone import Backbone
    from tuner.tasks.base import Task
    from tuner.tasks.known import TaskClass


class SeveralLabels:
    """The part of a kind that is about the task: several labels for every row (`advisor.kinds.base.Kind`)."""

    words: Words
    predicts: TaskClass = Labels

    def task(self, target: TargetData) -> Task:
        """The task of predicting any number of labels a row, with the names of the labels."""
        return Labels(names=target.class_names)

    if TYPE_CHECKING:  # of the input, which comes after this class

        def rows_at(self, target: TargetData, positions: Sequence[int] | np.ndarray) -> Sequence[Any]: ...

    def linear_baseline(
        self, features: BlockFeatures, truth: LabelsTruth, *, folds: np.ndarray, seed: int
    ) -> Baseline | None:
        """Score a linear model of what the rows hold, without a pretrained one.

        Args:
            features: of the sampled rows.
            truth: their labels, as the metric scores against them.
            folds: (n,) the fold of every row.
            seed: of the fit and of the interval.

        Returns:
            The cross-validated score; None where no such model could be fitted.
        """
        raise NotImplementedError

    def labels_at(self, target: TargetData, positions: np.ndarray) -> np.ndarray:
        """(n, L) zeros and ones of the rows at these positions."""
        marks: np.ndarray = target.marks[positions].astype(np.int64)
        return marks

    def counts(self, target: TargetData) -> dict[str, Any]:
        """Count the labels, the rows that have each, the labels of a row on average, and the rows without any."""
        counts = target.marks.sum(0, dtype=np.int64).tolist()
        return {
            "n_classes": len(target.class_names),
            "class_counts": dict(zip(target.class_names, counts, strict=True)),
            "labels_per_row": float(target.marks.sum(1).mean()),
            "n_without_label": int((~target.marks.any(1)).sum()),
        }

    def label_of(self, target: TargetData, row: int) -> str:
        """The names of a row's labels."""
        names = [target.class_names[place] for place in np.flatnonzero(target.marks[row])]
        return ", ".join(names) or "no label"

    def size(self, target: TargetData, *, learning_curve: tuple[CurvePoint, ...], curve_features: str) -> SizeProfile:
        """Measure the size by distinct rows, and by those that have the rarest label."""
        rows = target.learnable
        _, first = np.unique(target.text_ids[rows], return_index=True)
        return measure_size(
            n_examples=len(rows),
            n_duplicates=len(rows) - len(first),
            n_per_class_min=int(target.marks[rows[first]].sum(0, dtype=np.int64).min()),
            counting=LABELS,
            learning_curve=learning_curve,
            curve_features=curve_features,
        )

    def baselines(self, features: BlockFeatures, *, task: Task, metric: str, seed: int) -> dict[str, Baseline | None]:
        """Score always predicting the commonest labels, and a linear model of every label."""
        folds, truth = features.folds(seed=seed), features.truth(task, metric=metric)
        assert isinstance(truth, LabelsTruth)
        commonest = commonest_labels_baseline(truth, folds=folds, seed=seed)
        return {"majority": commonest, self.words.linear: self.linear_baseline(features, truth, folds=folds, seed=seed)}

    def cautions(self, target: TargetData, features: BlockFeatures, *, backbone: Backbone, metric: str) -> list[str]:
        """No warnings, whatever the labels are."""
        return []

    def labelled_rows(self, target: TargetData, positions: np.ndarray) -> LabelledRows:
        """The rows at these positions with their (n, L) zeros and ones."""
        return LabelledRows(
            rows=self.rows_at(target, positions),
            labels=self.labels_at(target, positions),
            groups=target.kept_together(positions),
        )


def with_labels(found: Predictions) -> LabelPredictions:
    """The same predictions, as those whose labels are lists."""
    return LabelPredictions(**{item.name: getattr(found, item.name) for item in fields(found)})
