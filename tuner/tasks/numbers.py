"""A number for every row, such as a price or a grade."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch

from tuner.errors import DataError
from tuner.inputs.base import NativeHead
from tuner.names import HUB_METRICS
from tuner.tasks import heads
from tuner.tasks.base import OfRows
from tuner.tasks.calibration import Temperature
from tuner.tasks.heads import CrossValidated, LinearHead
from tuner.tasks.imbalance import Offsets
from tuner.tasks.metrics import OF_NUMBERS, RESAMPLES, Scored, effective_rows, wilson
from tuner.tasks.truth import Truth

MAE = "mae"
"""Mean absolute error, in the labels' units. It is told beside the others; since less is better and it has no bounds,
candidates are not compared by it."""
L2_GRID = (3000.0, 300.0, 30.0, 3.0, 0.3)
"""Penalties of ridge regression that are tried, strong to weak: squared errors bear a stronger one than log losses."""
DRAWS_AT_ONCE = 100
"""Bootstrap draws that are ranked together, which bounds the memory that it takes."""
CARD_NOTES = """
What the pipeline calls `score` is the number itself, in the units of the labels that the model was trained on.
"""


def r2(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(r,) shares of the labels' variance that (n,) predictions explain, for (r, n) weights of the rows.

    1 is perfect, 0 no better than the mean of the labels, less than 0 worse than it. Where all labels that count are
    the same number it is 1 if they are predicted exactly, else 0, as scikit-learn has it.

    >>> labels, predictions = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0])
    >>> r2(labels, predictions, np.array([[1, 1, 1], [1, 1, 0]])).tolist()
    [0.5, 1.0]
    """
    centred = labels - labels.mean()  # large numbers that differ little leave nothing of the difference of squares
    missed, total = weights @ (labels - predictions) ** 2, weights.sum(1)
    variance = weights @ centred**2 - (weights @ centred) ** 2 / total
    varies = variance > 1e-12 * np.maximum(weights @ centred**2, 1e-300)
    return np.where(varies, 1 - missed / np.where(varies, variance, 1.0), np.where(missed > 0, 0.0, 1.0))


def spearman(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(r,) rank correlations of (n,) labels and predictions, for (r, n) whole weights: how often each row is there.

    1 is the same order, -1 the opposite one. It is 0 where all labels or all predictions are the same, since these have
    no order.

    >>> labels, predictions = np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0])
    >>> spearman(labels, predictions, np.array([[1, 1, 1], [1, 1, 0]])).tolist()
    [0.5, 1.0]
    """
    parts = [weights[start : start + DRAWS_AT_ONCE] for start in range(0, len(weights), DRAWS_AT_ONCE)]
    return np.concatenate([_correlations(_ranks(labels, part), _ranks(predictions, part), part) for part in parts])


def mean_absolute_error(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean absolute errors (r,) of (n,) predictions, in the labels' units, for (r, n) weights of the rows.

    >>> mean_absolute_error(np.array([1.0, 2.0]), np.array([1.5, 2.0]), np.array([[1, 1], [1, 0]])).tolist()
    [0.25, 0.5]
    """
    errors: np.ndarray = weights @ np.abs(labels - predictions) / weights.sum(1)
    return errors


MEASURES: Mapping[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "r2": r2,
    "spearman": spearman,
    MAE: mean_absolute_error,
}


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(r, n) ranks of (n,) values among as many copies of each as (r, n) weights say; equal values share the middle."""
    order = np.argsort(values, kind="stable")
    is_new = np.diff(values[order], prepend=np.nan) != 0
    of_value = np.empty(len(values), dtype=np.int64)
    of_value[order] = np.cumsum(is_new) - 1
    copies = np.add.reduceat(weights[:, order], np.flatnonzero(is_new), axis=1).astype(np.float64)
    middles = np.cumsum(copies, axis=1) - (copies - 1) / 2
    ranks: np.ndarray = middles[:, of_value]
    return ranks


def _correlations(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(r,) correlations of (r, n) values, weighted by (r, n); 0 where either does not vary."""
    total = weights.sum(1, keepdims=True)
    a, b = (values - (weights * values).sum(1, keepdims=True) / total for values in (first, second))
    length = np.sqrt((weights * a**2).sum(1) * (weights * b**2).sum(1))
    correlations: np.ndarray = (weights * a * b).sum(1) / np.where(length > 0, length, 1.0)
    return correlations


@dataclass(frozen=True, kw_only=True)
class Squared:
    """Squared error of standardised numbers: what makes a linear head ridge regression (`tuner.tasks.heads.Link`)."""

    mean: float = 0.0
    deviation: float = 1.0

    def targets(self, labels: np.ndarray) -> torch.Tensor:
        """The labels (n,), standardised, in single precision."""
        return torch.from_numpy((np.asarray(labels, dtype=np.float64) - self.mean) / self.deviation).float()

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Half the squares, so that the penalty is scikit-learn's ``Ridge(alpha=l2)``."""
        return 0.5 * (logits.squeeze(-1) - targets.unsqueeze(1)).square()

    def outputs(self, logits: torch.Tensor) -> torch.Tensor:
        """The standardised numbers themselves."""
        return logits

    def losses_of_outputs(self, outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Half the squared errors, on the standardised scale."""
        losses: np.ndarray = 0.5 * (outputs[:, 0] - self.targets(labels).numpy()) ** 2
        return losses

    def row_weights(self, class_weights: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The one weight there is, for every row."""
        return np.full(len(labels), class_weights[0])

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Turn outputs into (n,) numbers in the labels' units.

        An output that is no number, of a model that fell apart, says no more than the mean does.
        """
        numbers: np.ndarray = outputs[:, 0].astype(np.float64) * self.deviation + self.mean
        numbers[~np.isfinite(numbers)] = self.mean
        return numbers


@dataclass(frozen=True, kw_only=True)
class NumberTruth:
    """The numbers of n rows, (n,), with the metric that predictions are scored by (`tuner.tasks.truth.Truth`).

    ``link`` is how a model's outputs become numbers.

    >>> truth = NumberTruth(labels=np.array([1.0, 2.0, 3.0]), metric="r2")
    >>> truth.score(np.array([1.0, 2.0, 3.0])), truth.score(np.array([2.0, 2.0, 2.0]))
    (1.0, 0.0)
    """

    labels: np.ndarray
    metric: str
    groups: np.ndarray | None = None
    link: Squared = Squared()

    def score(self, predictions: np.ndarray) -> float:
        """Score of (n,) predicted numbers: at most 1, and less than 0 where the mean would be better."""
        return self._score(predictions, self.metric)

    @property
    def n_units(self) -> int:
        """Number of rows that the bootstrap draws from, or of groups where there are some."""
        return len(self.labels if self.groups is None else np.unique(self.groups))

    def draws(self, predictions: np.ndarray, *, seed: int) -> np.ndarray:
        """(r,) scores of rows drawn with replacement; equal seeds draw equal rows, so that differences are paired."""
        return self._draws(predictions, self.metric, seed=seed)

    def interval(self, predictions: np.ndarray, *, seed: int) -> tuple[float, float]:
        """95 % confidence interval of the score over rows, or groups."""
        return self._interval(predictions, self.metric, seed=seed)

    def take(self, rows: np.ndarray) -> NumberTruth:
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
        """``metrics`` by name (`tuner.tasks.truth.Truth.assess`)."""
        predictions = self.link.decode(logits)
        found = {
            metric: Scored(
                score=self._score(predictions, metric), interval=self._interval(predictions, metric, seed=seed)
            )
            for metric in MEASURES
        }
        return {"metrics": {metric: scored.to_json() for metric, scored in found.items()}}

    def _score(self, predictions: np.ndarray, metric: str) -> float:
        labels = self.labels.astype(np.float64)
        return float(MEASURES[metric](labels, predictions, np.ones((1, len(labels))))[0])

    def _draws(self, predictions: np.ndarray, metric: str, *, seed: int) -> np.ndarray:
        unit = np.arange(len(self.labels)) if self.groups is None else np.unique(self.groups, return_inverse=True)[1]
        n = self.n_units
        weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)[:, unit]
        return MEASURES[metric](self.labels.astype(np.float64), predictions, weights)

    def _interval(self, predictions: np.ndarray, metric: str, *, seed: int) -> tuple[float, float]:
        """The bootstrap's percentiles. Where no row leaves a doubt, which they take for certain, what Wilson's interval
        allows to be missed is taken to cost what predicting the mean does."""
        low, high = (float(edge) for edge in np.quantile(self._draws(predictions, metric, seed=seed), [0.025, 0.975]))
        labels = self.labels.astype(np.float64)
        exact = MEASURES[metric](labels, labels, np.ones((1, len(labels))))[0]
        if low != high or low != exact:
            return low, high
        rows = effective_rows(np.ones(len(labels)), groups=self.groups)
        missed = 1 - wilson(1.0, rows)[0]
        if metric == MAE:
            return 0.0, missed * float(np.abs(labels - labels.mean()).mean())
        return 1 - missed, 1.0


@dataclass(frozen=True, kw_only=True)
class Numbers(OfRows):
    """One number for every row, which ``name`` calls.

    Labels are (n,) numbers in the user's units. A model's one output is standardised: what it is times ``deviation``,
    plus ``mean``, both of the training labels, is the number. A saved model has these in its last layer (`folding`), so
    that its output is the number itself (`as_saved`).
    """

    mean: float = 0.0
    deviation: float = 1.0
    name: str = "number"
    metrics: ClassVar[tuple[str, ...]] = OF_NUMBERS
    held: ClassVar[str] = "numbers"
    n_outputs: ClassVar[int] = 1
    penalties: ClassVar[tuple[float, ...]] = L2_GRID

    @classmethod
    def of(cls, labels: np.ndarray, *, name: str = "number") -> Numbers:
        """The task that (n,) training labels pose. Raises `DataError` for labels that no model can learn.

        >>> Numbers.of(np.array([1.0, 3.0]), name="price")
        Numbers(mean=2.0, deviation=1.0, name='price')
        """
        numbers = np.asarray(labels, dtype=np.float64)
        if not np.isfinite(numbers).all():
            unusable = int((~np.isfinite(numbers)).sum())
            raise DataError(
                f"{unusable:,} of {len(numbers):,} training labels ({name}) {'is' if unusable == 1 else 'are'} missing "
                "or infinite",
                why="a mean and squared errors are taken of them",
                fix="remove these rows, or put the numbers in",
            )
        if np.ptp(numbers) == 0:
            raise DataError(
                f"all {len(numbers):,} training labels ({name}) are the same number, {numbers[0]:g}",
                why="there is nothing to learn from them, and every model would be perfect",
                fix="use a column of numbers that differ, or training rows whose numbers do",
            )
        return cls(mean=float(numbers.mean()), deviation=float(numbers.std()), name=name)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of the number, which is the only output."""
        return (self.name,)

    @property
    def as_saved(self) -> Numbers:
        """The task of a model whose output is in the user's units."""
        return Numbers(name=self.name)

    @classmethod
    def of_config(cls, config: Any) -> Numbers | None:
        """Numbers in the user's units, where the configuration says regression with one output."""
        if getattr(config, "problem_type", None) != "regression" or len(config.id2label) != 1:
            return None
        return cls(name=config.id2label[0])

    def config(self) -> dict[str, Any]:
        """The number's name, and that it is a regression."""
        return {"id2label": {0: self.name}, "label2id": {self.name: 0}, "problem_type": "regression"}

    # --- learning

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Mean squared error of (b, 1) outputs against (b,) targets that are standardised here."""
        standardised = ((targets - self.mean) / self.deviation).to(logits.dtype)
        mean = (logits.squeeze(-1) - standardised).square().mean()
        return mean if weights is None else mean * weights[0]

    def weighs(self, metric: str) -> bool:
        """False: there are no classes."""
        return False

    def class_weights(self, labels: np.ndarray) -> np.ndarray:
        """An array (1,) of one."""
        return np.ones(1)

    def fit_head(
        self,
        features: Sequence[np.ndarray],
        labels: np.ndarray,
        *,
        l2: float,
        weighted: bool = False,
        class_weights: np.ndarray | None = None,
    ) -> LinearHead:
        """Fit a ridge regression."""
        return heads.fit_head(
            features, labels, n_classes=1, l2=l2, weighted=weighted, class_weights=class_weights, link=self._link
        )

    def cross_validate(
        self,
        features: Sequence[np.ndarray],
        labels: np.ndarray,
        *,
        folds: np.ndarray,
        l2: Sequence[float] = L2_GRID,
        weighted: bool = False,
        class_weights: np.ndarray | None = None,
    ) -> CrossValidated:
        """Choose the penalty of a ridge regression by squared error, and predict out of fold."""
        return heads.cross_validate(
            features, labels, n_classes=1, folds=folds, l2=l2, weighted=weighted, class_weights=class_weights,
            link=self._link,
        )  # fmt: skip

    @property
    def _link(self) -> Squared:
        return Squared(mean=self.mean, deviation=self.deviation)

    # --- reading outputs

    def decode(self, logits: np.ndarray, *, seen: np.ndarray | None = None) -> np.ndarray:
        """(n,) numbers in the labels' units, the mean where an output is no number.

        >>> Numbers(mean=100.0, deviation=10.0).decode(np.array([[0.5], [-1.0], [np.nan]])).tolist()
        [105.0, 90.0, 100.0]
        """
        return self._link.decode(logits)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """The predicted numbers (n, 1) in the labels' units, which stand in for probabilities."""
        return self._link.decode(logits)[:, None]

    def told(self, predictions: np.ndarray, rows: Sequence[Any]) -> list[float]:
        """Every row's number."""
        return [float(number) for number in predictions]

    def truth(
        self, labels: np.ndarray, *, metric: str, groups: np.ndarray | None = None, n_words: np.ndarray | None = None
    ) -> NumberTruth:
        """The true numbers of some rows, for scoring predictions of them."""
        return NumberTruth(labels=labels, metric=metric, groups=groups, link=self._link)

    # --- the decision

    def moves(self, metric: str) -> bool:
        """False: offsets are of classes."""
        return False

    def choose_offsets(self, logits: np.ndarray, truth: Truth, *, trained_on: np.ndarray, seed: int) -> Offsets:
        """Raise `ValueError`: numbers take no offsets, and nothing asks for them."""
        raise ValueError("numbers take no offsets")

    def fit_temperature(self, logits: np.ndarray, labels: np.ndarray) -> Temperature | None:
        """None: there are no probabilities."""
        return None

    def uncalibrated(self, why: str) -> Temperature | None:
        """None: there are no probabilities."""
        return None

    def folding(self, *, temperature: float, offsets: np.ndarray | None) -> tuple[float, np.ndarray | None]:
        """Undo the standardisation in the last layer, by an offset of ``mean / deviation`` and a temperature.

        The temperature is ``1 / deviation``.

        >>> temperature, offsets = Numbers(mean=100.0, deviation=10.0).folding(temperature=1.0, offsets=None)
        >>> ((0.5 + offsets) / temperature).tolist()
        [105.0]
        """
        return 1 / self.deviation, np.array([self.mean / self.deviation])

    # --- the card

    def described(self, head: NativeHead) -> str:
        """A phrase such as "A text classifier with a number as its only output (regression)"."""
        return f"{head.described} with a number as its only output (regression)"

    def published(self, metric: str) -> str:
        """The name that model hubs use for a metric."""
        return HUB_METRICS.get(metric, metric)

    @property
    def card_notes(self) -> str:
        """Markdown on what a pipeline calls the number."""
        return CARD_NOTES
