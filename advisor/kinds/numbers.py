"""Rows that have a number each, whatever they are."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.measures.numbers import mean_baseline
from advisor.measures.size import measure_size
from advisor.predicted_rows import NumberPredictions
from tuner.search.data import LabelledRows
from tuner.tasks.numbers import Numbers, NumberTruth

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


class OneNumber:
    """The part of a kind that is about the task: a number for every row (`advisor.kinds.base.Kind`)."""

    words: Words
    predicts: TaskClass = Numbers

    def task(self, target: TargetData) -> Task:
        """The task of predicting a number, with the name of its column and how it varies in the training rows."""
        return Numbers.of(target.numbers[target.train], name=target.class_names[0])

    if TYPE_CHECKING:  # of the input, which comes after this class

        def rows_at(self, target: TargetData, positions: Sequence[int] | np.ndarray) -> Sequence[Any]: ...

    def linear_baseline(
        self, features: BlockFeatures, truth: NumberTruth, *, folds: np.ndarray, seed: int
    ) -> Baseline | None:
        """Score a linear model of what the rows hold, without a pretrained one.

        Args:
            features: of the sampled rows.
            truth: their numbers, as the metric scores against them.
            folds: (n,) the fold of every row.
            seed: of the fit and of the interval.

        Returns:
            The cross-validated score; None where no such model could be fitted.
        """
        raise NotImplementedError

    def labels_at(self, target: TargetData, positions: np.ndarray) -> np.ndarray:
        """The numbers of the rows at these positions."""
        numbers: np.ndarray = target.numbers[positions]
        return numbers

    def counts(self, target: TargetData) -> dict[str, Any]:
        """The lowest and the highest number, their mean and their standard deviation."""
        numbers = target.numbers
        return {
            "numbers": {
                "lowest": float(numbers.min()),
                "highest": float(numbers.max()),
                "mean": float(numbers.mean()),
                "deviation": float(numbers.std()),
            }
        }

    def label_of(self, target: TargetData, row: int) -> str:
        """A row's number, as text."""
        return f"{target.numbers[row]:g}"

    def size(self, target: TargetData, *, learning_curve: tuple[CurvePoint, ...], curve_features: str) -> SizeProfile:
        """Measure the size by distinct rows; there are no classes that may be rare."""
        rows = target.learnable
        return measure_size(
            n_examples=len(rows),
            n_duplicates=len(rows) - len(np.unique(target.text_ids[rows])),
            n_per_class_min=None,
            learning_curve=learning_curve,
            curve_features=curve_features,
        )

    def baselines(self, features: BlockFeatures, *, task: Task, metric: str, seed: int) -> dict[str, Baseline | None]:
        """Score always predicting the mean, and a linear model."""
        folds, truth = features.folds(seed=seed), features.truth(task, metric=metric)
        assert isinstance(truth, NumberTruth)
        linear = self.linear_baseline(features, truth, folds=folds, seed=seed)
        return {"majority": mean_baseline(truth, seed=seed), self.words.linear: linear}

    def cautions(self, target: TargetData, features: BlockFeatures, *, backbone: Backbone, metric: str) -> list[str]:
        """No warnings, whatever the numbers are."""
        return []

    def labelled_rows(self, target: TargetData, positions: np.ndarray) -> LabelledRows:
        """The rows at these positions with their numbers."""
        return LabelledRows(
            rows=self.rows_at(target, positions),
            labels=self.labels_at(target, positions),
            groups=target.kept_together(positions),
        )


def with_numbers(found: Predictions) -> NumberPredictions:
    """The same predictions, as those whose labels are numbers."""
    return NumberPredictions(**{item.name: getattr(found, item.name) for item in fields(found)})
