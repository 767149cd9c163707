"""Any number of several labels for every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch

from tuner.inputs.base import NativeHead
from tuner.names import HUB_METRICS
from tuner.tasks import calibration, heads
from tuner.tasks.assessment import assess_calibration, scores_by_class
from tuner.tasks.base import OfRows
from tuner.tasks.calibration import Temperature
from tuner.tasks.heads import L2_GRID, CrossValidated, LinearHead
from tuner.tasks.imbalance import FOLDS, Offsets
from tuner.tasks.metrics import OF_LABELS, RESAMPLES, Scored, effective_rows, wilson
from tuner.tasks.truth import Truth

MICRO_F1, MACRO_F1, SUBSET_ACCURACY = OF_LABELS
PROBLEM = "multi_label_classification"
"""transformers' name of the task: classifiers with this ``problem_type`` train and predict by sigmoids."""
SHIFTS = tuple(step / 4 for step in range(-16, 17))
"""What may be added to all logits: a shift of s gives labels whose probability was above 1 / (1 + exp(s)), which goes
from 0.98 down to 0.02."""
CARD_NOTES = """
A row has every label whose probability is above 0.5. Each label has a sigmoid of its own, so that probabilities do not
sum to 1; a threshold that was chosen on validation rows is part of the last layer. The pipeline shows the most probable
labels first: pass `top_k={n}` in the call to see all of them.
"""


class Sigmoids:
    """C labels, each of which a row may have: labels are (n, C) zeros and ones (`tuner.tasks.heads.Link`)."""

    def targets(self, labels: np.ndarray) -> torch.Tensor:
        """The labels (n, C) in single precision."""
        return torch.from_numpy(np.asarray(labels, dtype=np.float32))

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Negative log-likelihoods, summed over the labels: C independent logistic regressions."""
        return (torch.nn.functional.softplus(logits) - targets.unsqueeze(1) * logits).sum(-1)

    def outputs(self, logits: torch.Tensor) -> torch.Tensor:
        """The probability of each label."""
        return logits.sigmoid()

    def losses_of_outputs(self, outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Negative log-likelihoods, summed over the labels, of probabilities of 1e-7 at least."""
        right = np.where(labels > 0, outputs, 1 - outputs)
        losses: np.ndarray = -np.log(np.clip(right, 1e-7, None)).sum(1)
        return losses

    def row_weights(self, class_weights: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Ones: a row has no single label whose weight it could have."""
        return np.ones(len(labels))

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """(n, C) ones where a label is more probable than not."""
        return (outputs > 0.5).astype(np.int64)


SIGMOIDS = Sigmoids()


@dataclass(frozen=True, kw_only=True)
class LabelsTruth:
    """The labels of n rows, (n, L) zeros and ones, with the metric that predictions are scored by.

    ``names`` are those of the labels. Rows of equal ``groups`` (n,) are drawn together by the bootstrap
    (`tuner.tasks.truth.Truth`).

    >>> truth = LabelsTruth(labels=np.array([[1, 1], [0, 1]]), metric="micro_f1", names=("sad", "long"))
    >>> truth.score(np.array([[1, 0], [0, 1]]))
    0.8
    """

    labels: np.ndarray
    metric: str
    names: tuple[str, ...]
    groups: np.ndarray | None = None

    def score(self, predictions: np.ndarray) -> float:
        """Score of (n, L) predicted zeros and ones, 0 to 1.

        Micro F1 counts all labels of all rows together, macro F1 averages over the labels that occur among the true
        ones, subset accuracy is the share of rows whose labels are all right. F1 without any true or predicted label
        is 1.
        """
        weights = np.ones((1, len(self.labels)))
        return float(_scores(self.labels, predictions, weights, metric=self.metric)[0])

    @property
    def n_units(self) -> int:
        """Number of rows that the bootstrap draws from, or of groups where there are some."""
        return len(self.labels if self.groups is None else np.unique(self.groups))

    def draws(self, predictions: np.ndarray, *, seed: int) -> np.ndarray:
        """(r,) scores of rows drawn with replacement; equal seeds draw equal rows, so that differences are paired."""
        n = self.n_units
        drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
        return _scores(self.labels, predictions, drawn[:, self._unit].astype(np.float64), metric=self.metric)

    def interval(self, predictions: np.ndarray, *, seed: int) -> tuple[float, float]:
        """95 % confidence interval of the score over rows, or groups.

        Subset accuracy: Wilson's. F1: the bootstrap's percentiles; where all rows are right, which the bootstrap takes
        for certain, Wilson's doubt of that share of rows.
        """
        right = (self.labels == predictions).all(1)
        if self.metric == SUBSET_ACCURACY or bool(right.all()):
            return wilson(float(right.mean()), effective_rows(right, groups=self.groups))
        low, high = np.quantile(self.draws(predictions, seed=seed), [0.025, 0.975])
        return float(low), float(high)

    def take(self, rows: np.ndarray) -> LabelsTruth:
        """The truth of a subset of the rows, in the order of `rows`."""
        groups = None if self.groups is None else self.groups[rows]
        return replace(self, labels=self.labels[rows], groups=groups)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """The rows themselves: the labels of each are one row of the array."""
        return rows

    def spread(self, values: np.ndarray) -> np.ndarray:
        """The values as they are: the labels of each row are one row of the array."""
        return values

    def assess(
        self, logits: np.ndarray, *, temperature: float | None, seen: np.ndarray | None = None, seed: int = 0
    ) -> dict[str, Any]:
        """``metrics`` by name, ``by_class`` for every label, and ``calibration`` over all L decisions of all rows."""
        predicted = decode(logits)
        by_metric = {}
        for metric in Labels.metrics:
            truth = replace(self, metric=metric)
            scored = Scored(score=truth.score(predicted), interval=truth.interval(predicted, seed=seed))
            by_metric[metric] = scored.to_json()
        by_label = []
        for place, name in enumerate(self.names):
            own = self.labels[:, place], predicted[:, place]
            by_label.append(scores_by_class(*own, names=("", name), groups=self.groups)[1].to_json())
        n_labels = len(self.names)
        return {"metrics": by_metric, "by_class": by_label} | assess_calibration(
            as_pairs(logits),
            self.labels.ravel(),
            temperature=temperature,
            seen=None if seen is None else np.repeat(seen, n_labels),
            groups=np.repeat(self._unit, n_labels),
            seed=seed,
        )

    @property
    def _unit(self) -> np.ndarray:
        """(n,) numbers of the rows' groups, of what is drawn together."""
        n = len(self.labels)
        return np.arange(n) if self.groups is None else np.unique(self.groups, return_inverse=True)[1]


@dataclass(frozen=True, kw_only=True)
class Labels(OfRows):
    """Every row has any number of labels, whose ``names`` are in the order of the (n, L) labels' columns."""

    names: tuple[str, ...]
    metrics: ClassVar[tuple[str, ...]] = (MICRO_F1, MACRO_F1, SUBSET_ACCURACY)
    held: ClassVar[str] = "rows with several labels"
    unit: ClassVar[str] = "label decision"

    @property
    def n_outputs(self) -> int:
        """The number of labels that a row may have."""
        return len(self.names)

    @classmethod
    def of_config(cls, config: Any) -> Labels | None:
        """Labels, where the configuration says that transformers trains by sigmoids; else None."""
        if getattr(config, "problem_type", None) != PROBLEM:
            return None
        return cls(names=tuple(config.id2label[index] for index in range(len(config.id2label))))

    def config(self) -> dict[str, Any]:
        """The names, by number and back, and that a row may have several."""
        return {
            "id2label": dict(enumerate(self.names)),
            "label2id": {name: index for index, name in enumerate(self.names)},
            "problem_type": PROBLEM,
        }

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Mean binary cross-entropy over all rows and labels; linear in the targets, so that rows can be mixed.

        >>> two = torch.tensor([[0.0, 0.0]])
        >>> round(float(Labels(names=("a", "b")).loss(two, torch.tensor([[1, 0]]))), 4)
        0.6931
        """
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), weight=weights)

    def weighs(self, metric: str) -> bool:
        """False: a threshold does for rare labels what weights would."""
        return False

    def class_weights(self, labels: np.ndarray) -> np.ndarray:
        """Ones, (L,)."""
        return np.ones(self.n_outputs)

    def fit_head(
        self,
        features: Sequence[np.ndarray],
        labels: np.ndarray,
        *,
        l2: float,
        weighted: bool = False,
        class_weights: np.ndarray | None = None,
    ) -> LinearHead:
        """Fit a logistic regression for every label, all with the same penalty."""
        return heads.fit_head(
            features, labels, n_classes=self.n_outputs, l2=l2, weighted=weighted, class_weights=class_weights,
            link=SIGMOIDS,
        )  # fmt: skip

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
        """Choose the penalty of all labels' logistic regressions by log loss, and predict out of fold."""
        return heads.cross_validate(
            features, labels, n_classes=self.n_outputs, folds=folds, l2=l2, weighted=weighted,
            class_weights=class_weights, link=SIGMOIDS,
        )  # fmt: skip

    def decode(self, logits: np.ndarray, *, seen: np.ndarray | None = None) -> np.ndarray:
        """(n, L) ones where a label is more probable than not (`decode`)."""
        return decode(logits)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """The probability of every label, (n, L): sigmoids, which need not sum to 1."""
        probabilities: np.ndarray = torch.from_numpy(logits).double().sigmoid().numpy()
        return probabilities

    def told(self, predictions: np.ndarray, rows: Sequence[Any]) -> list[list[str]]:
        """The list of every row's labels, in the order of their columns.

        >>> Labels(names=("sad", "long")).told(np.array([[1, 1], [0, 0]]), ["a", "b"])
        [['sad', 'long'], []]
        """
        return [[self.names[place] for place in np.flatnonzero(row)] for row in predictions]

    def truth(
        self, labels: np.ndarray, *, metric: str, groups: np.ndarray | None = None, n_words: np.ndarray | None = None
    ) -> LabelsTruth:
        """The true labels of some rows, for scoring predictions of them."""
        return LabelsTruth(labels=labels, metric=metric, groups=groups, names=self.names)

    def moves(self, metric: str) -> bool:
        """True: the threshold that scores most is seldom 0.5."""
        return True

    def choose_offsets(self, logits: np.ndarray, truth: Truth, *, trained_on: np.ndarray, seed: int) -> Offsets:
        """Choose one threshold for all labels, as the shift of all logits after which 0.5 does what it would.

        It is measured on rows that did not choose it, of which groups are held out together.
        """
        n = len(truth.labels)
        unit = np.unique(np.arange(n) if truth.groups is None else truth.groups, return_inverse=True)[1]
        folds = (np.random.default_rng(seed).permutation(int(unit.max()) + 1) % FOLDS)[unit]
        plain, shifted = decode(logits), decode(logits)
        for fold in np.unique(folds):
            others, own = np.flatnonzero(folds != fold), folds == fold
            if len(others):
                shifted[own] = decode(logits[own] + choose_shift(logits[others], truth.take(others)))
        low, high = np.quantile(truth.draws(shifted, seed=seed) - truth.draws(plain, seed=seed), [0.025, 0.975])
        shift = choose_shift(logits, truth)
        return Offsets(
            strength=shift,
            values=(shift,) * self.n_outputs,
            n=n,
            difference=truth.score(shifted) - truth.score(plain),
            interval=(float(low), float(high)),
        )

    def fit_temperature(self, logits: np.ndarray, labels: np.ndarray) -> Temperature:
        """The temperature under which the decisions on all labels of all rows are most probable."""
        return calibration.fit_temperature(as_pairs(logits), labels.ravel(), units=f"{self.unit}s")

    def uncalibrated(self, why: str) -> Temperature:
        """A temperature of 1, that changes nothing."""
        return Temperature(value=1.0, n=0, why=why)

    def folding(self, *, temperature: float, offsets: np.ndarray | None) -> tuple[float, np.ndarray | None]:
        """Temperature and offsets as they are."""
        return temperature, offsets

    def described(self, head: NativeHead) -> str:
        """A phrase such as "A text classifier that gives a row any of 3 labels"."""
        return f"{head.described} that gives a row any of {self.n_outputs} labels"

    def published(self, metric: str) -> str:
        """The name that model hubs use for a metric."""
        return HUB_METRICS.get(metric, metric)

    @property
    def card_notes(self) -> str:
        """Markdown on how the pipeline's probabilities are read."""
        return CARD_NOTES.format(n=self.n_outputs)


def decode(logits: np.ndarray) -> np.ndarray:
    """(n, L) ones where logits are above 0, which is a probability above 0.5; else zeros.

    >>> decode(np.array([[0.5, -0.5, 0.0]])).tolist()
    [[1, 0, 0]]
    """
    return (logits > 0).astype(np.int64)


def as_pairs(logits: np.ndarray) -> np.ndarray:
    """(n, L) logits of labels as (n L, 2) ones of their absence and presence, whose softmax is the sigmoid.

    >>> as_pairs(np.array([[1.0, -2.0]])).tolist()
    [[0.0, 1.0], [0.0, -2.0]]
    """
    flat = logits.ravel()
    return np.stack([np.zeros_like(flat), flat], axis=1)


def choose_shift(logits: np.ndarray, truth: Truth) -> float:
    """Choose the number that is best added to all (n, L) logits for the metric of `truth`; of equals the nearest to 0.

    >>> truth = LabelsTruth(labels=np.array([[1, 0], [1, 0]]), metric="micro_f1", names=("a", "b"))
    >>> choose_shift(np.array([[2.0, -3.0], [-0.6, -1.2]]), truth)
    0.75
    """
    return max(sorted(SHIFTS, key=abs), key=lambda shift: truth.score(decode(logits + shift)))


def _scores(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray, *, metric: str) -> np.ndarray:
    """(r,) weighted scores for (r, n) weights of rows."""
    true, given = labels != 0, predictions != 0
    if metric == SUBSET_ACCURACY:
        accuracy: np.ndarray = weights @ (true == given).all(1) / weights.sum(1)
        return accuracy
    hits, both = true & given, true.astype(np.int64) + given
    total = weights @ both.sum(1)
    if metric == MICRO_F1:
        found = 2 * (weights @ hits.sum(1)) / np.maximum(total, 1e-12)
    else:
        present = weights @ true > 0
        by_label = 2 * (weights @ hits) / np.maximum(weights @ both, 1e-12)
        found = (by_label * present).sum(1) / np.maximum(present.sum(1), 1)
    scores: np.ndarray = np.where(total > 0, found, 1.0)
    return scores
