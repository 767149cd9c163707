"""How good a model is on rows that it has not seen: every metric, every class, and what its probabilities are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuner.records import Record
from tuner.tasks.calibration import (
    BINS,
    calibration_error_by_chance,
    calibration_interval,
    expected_calibration_error,
    softmax,
)
from tuner.tasks.metrics import effective_rows, wilson


@dataclass(frozen=True, kw_only=True)
class ClassScore(Record):
    """Recall, precision and F1 of a class that has ``n`` rows and is predicted for ``n_predicted``.

    ``interval`` is the recall's, 95 %. What there are no rows for is None.
    """

    name: str
    n: int
    n_predicted: int
    recall: float | None
    interval: tuple[float, float] | None
    precision: float | None
    f1: float | None


@dataclass(frozen=True, kw_only=True)
class Calibration(Record):
    """How far a model's confidence is from its accuracy on ``n`` rows (or words), before and after a temperature.

    ``ece_*`` are expected calibration errors (`tuner.tasks.calibration`) with 95 % intervals; ``ece_by_chance`` is what
    perfect probabilities would show on so few rows. ``confidence_*`` are mean probabilities of what is predicted,
    beside ``accuracy``.
    """

    n: int
    bins: int
    ece_before: float
    ece_before_interval: tuple[float, float]
    ece_after: float
    ece_after_interval: tuple[float, float]
    ece_by_chance: float
    confidence_before: float
    confidence_after: float
    accuracy: float


def scores_by_class(
    labels: np.ndarray, predictions: np.ndarray, *, names: Sequence[str], groups: np.ndarray | None = None
) -> tuple[ClassScore, ...]:
    """Recall, precision and F1 of every class.

    The recall's interval is Wilson's; rows of a group that are right or wrong together count as fewer.

    Args:
        labels: (n,) true class numbers.
        predictions: (n,) predicted class numbers.
        names: of the classes, in the order of their numbers.
        groups: (n,) groups of the rows; by default every row counts as one of its own.

    >>> rare, common = scores_by_class(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 1]), names=("rare", "common"))
    >>> rare.recall, rare.precision, common.recall, common.precision
    (0.5, 1.0, 1.0, 0.75)
    """
    found = []
    for number, name in enumerate(names):
        own = labels == number
        right, n = predictions[own] == number, int(own.sum())
        n_predicted, hits = int((predictions == number).sum()), int(right.sum())
        bounds = None
        if n:
            bounds = wilson(hits / n, effective_rows(right, groups=None if groups is None else groups[own]))
        found.append(
            ClassScore(
                name=name,
                n=n,
                n_predicted=n_predicted,
                recall=hits / n if n else None,
                interval=bounds,
                precision=hits / n_predicted if n_predicted else None,
                f1=2 * hits / (n + n_predicted) if n + n_predicted else None,
            )
        )
    return tuple(found)


def measure_calibration(
    logits: np.ndarray, labels: np.ndarray, *, temperature: float, groups: np.ndarray | None = None, seed: int = 0
) -> Calibration:
    """Compare confidence with accuracy, with a temperature and without it.

    Args:
        logits: (n, C), divided by the temperature already.
        labels: (n,) true class numbers.
        temperature: what the logits were divided by; they are multiplied by it for the figures before.
        groups: (n,) groups of the rows, which the bootstrap draws together; by default it draws rows.
        seed: of the bootstrap and of the error by chance.
    """
    before, after = softmax(temperature * logits.astype(np.float64)), softmax(logits)
    options: dict[str, Any] = {"groups": groups, "seed": seed}
    return Calibration(
        n=len(labels),
        bins=BINS,
        ece_before=expected_calibration_error(before, labels),
        ece_before_interval=calibration_interval(before, labels, **options),
        ece_after=expected_calibration_error(after, labels),
        ece_after_interval=calibration_interval(after, labels, **options),
        ece_by_chance=calibration_error_by_chance(after, seed=seed),
        confidence_before=float(before.max(1).mean()),
        confidence_after=float(after.max(1).mean()),
        accuracy=float(np.mean(logits.argmax(1) == labels)),
    )


def assess_calibration(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    temperature: float | None,
    seen: np.ndarray | None,
    groups: np.ndarray | None,
    seed: int,
) -> dict[str, Any]:
    """Measure the ``calibration`` of a model's outputs as JSON values.

    Args:
        logits: (N, C), with the temperature in them.
        labels: (N,) true class numbers.
        temperature: what the logits were divided by; None where the task has no probabilities.
        seen: (N,) booleans: only these units are counted, since others have no probabilities; None counts all.
        groups: (N,) groups of the units, which the bootstrap draws together; None draws units.
        seed: of the bootstrap.

    Returns:
        ``calibration`` with its figures (`Calibration`); empty without a temperature, or without any unit that is seen.
    """
    counted = np.ones(len(labels), dtype=bool) if seen is None else seen
    if temperature is None or not counted.any():
        return {}
    measured = measure_calibration(
        logits[counted],
        labels[counted],
        temperature=temperature,
        groups=None if groups is None else groups[counted],
        seed=seed,
    )
    return {"calibration": measured.to_json()}
