"""Classes that are rare, under metrics that count all classes alike: weights in the loss, and offsets on the logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tuner.records import Record
from tuner.tasks.metrics import score

if TYPE_CHECKING:
    from tuner.tasks.truth import Truth

BALANCED_METRICS = ("macro_f1", "balanced_accuracy")
"""Metrics that average over classes, whatever the classes' numbers of rows."""
STRENGTHS = (-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
"""Multiples of the logarithm of the classes' shares that may be taken off the logits: 1 makes a calibrated classifier's
errors balanced, less keeps precision; below 0 takes back what weights in the loss gave rare classes too much."""
FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Offsets(Record):
    """Numbers that are added to the logits, (C,) ``values`` in the order of the classes, chosen on ``n`` rows.

    ``difference`` in score and its 95 % ``interval`` are measured on rows that did not choose the strength: it is
    chosen on four fifths of them and scored on the others, in turn.
    """

    strength: float
    values: tuple[float, ...]
    n: int
    difference: float
    interval: tuple[float, float]

    @property
    def helps(self) -> bool:
        """Whether the offsets change anything, for the better."""
        return self.strength != 0 and self.difference > 0


def class_weights(labels: np.ndarray, *, n_classes: int) -> np.ndarray:
    """(C,) weights of the classes in a loss: one over the class's number of rows, with mean 1 over the (n,) rows.

    scikit-learn's ``class_weight="balanced"``. A class without rows has weight 1, which nothing uses.

    >>> class_weights(np.array([0, 0, 0, 1]), n_classes=3).round(3).tolist()
    [0.667, 2.0, 1.0]
    """
    counts = np.bincount(labels, minlength=n_classes)
    present = counts > 0
    return np.where(present, len(labels) / (present.sum() * np.maximum(counts, 1)), 1.0)


def log_shares(labels: np.ndarray, *, n_classes: int) -> np.ndarray:
    """(C,) logarithms of the classes' numbers of rows, less their mean; a class without rows counts as one with one.

    >>> log_shares(np.array([0] * 8 + [1] * 2), n_classes=2).round(3).tolist()
    [0.693, -0.693]
    """
    logarithms = np.log(np.maximum(np.bincount(labels, minlength=n_classes), 1))
    centred: np.ndarray = logarithms - logarithms.mean()
    return centred


def choose_strength(logits: np.ndarray, labels: np.ndarray, *, shares: np.ndarray, metric: str) -> float:
    """Choose the multiple of the classes' `log_shares` that is best taken off the logits for a metric.

    Post-hoc logit adjustment (Menon et al. 2021, "Long-tail learning via logit adjustment", section 4.1).

    Args:
        logits: (n, C) of rows that trained nothing.
        labels: (n,) true class numbers.
        shares: (C,) `log_shares` of the training rows.
        metric: one of `tuner.tasks.metrics.METRICS`.

    Returns:
        one of `STRENGTHS`; of equally good ones the nearest to 0.

    >>> logits = np.array([[2.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.4, 0.0]])
    >>> choose_strength(logits, np.array([0, 0, 0, 1]), shares=np.array([0.5, -0.5]), metric="balanced_accuracy")
    0.5
    """
    return max(
        sorted(STRENGTHS, key=abs),
        key=lambda strength: score(labels, (logits - strength * shares).argmax(1), metric=metric),
    )


def choose_offsets(logits: np.ndarray, truth: Truth, *, shares: np.ndarray, seed: int = 0) -> Offsets:
    """Choose offsets of the classes for a metric, and measure what they change.

    Rows of a group are held out together.

    Args:
        logits: (n, C) of rows that trained nothing.
        truth: of these rows, with the metric and the groups.
        shares: (C,) `log_shares` of the training rows.
        seed: of the folds and of the interval.
    """
    labels, n = truth.labels, len(truth.labels)
    unit = np.unique(np.arange(n) if truth.groups is None else truth.groups, return_inverse=True)[1]
    folds = (np.random.default_rng(seed).permutation(int(unit.max()) + 1) % FOLDS)[unit]
    plain, shifted = logits.argmax(1), logits.argmax(1)
    for fold in np.unique(folds):
        others, own = folds != fold, folds == fold
        if others.any():
            strength = choose_strength(logits[others], labels[others], shares=shares, metric=truth.metric)
            shifted[own] = (logits[own] - strength * shares).argmax(1)
    draws = truth.draws(shifted, seed=seed) - truth.draws(plain, seed=seed)
    low, high = np.quantile(draws, [0.025, 0.975])
    strength = choose_strength(logits, labels, shares=shares, metric=truth.metric)
    return Offsets(
        strength=strength,
        values=tuple((-strength * shares).tolist()),
        n=n,
        difference=truth.score(shifted) - truth.score(plain),
        interval=(float(low), float(high)),
    )
