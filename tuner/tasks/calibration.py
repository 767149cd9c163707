"""Probabilities that mean what they say: one temperature, how far confidence is from accuracy, and how it is saved.

Fine-tuned networks are too sure of themselves, and small penalised heads are not sure enough. Dividing all logits by
one number, fitted on rows that trained nothing, mends most of it and changes no prediction (Guo et al. 2017, "On
calibration of modern neural networks").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from tuner.records import Record
from tuner.tasks.metrics import RESAMPLES

if TYPE_CHECKING:
    from torch import nn

RANGE = (0.05, 20.0)
"""Temperatures beyond these would say that the rows fit no temperature at all."""
BINS = 15
"""Bins of equal width, as in Guo et al. 2017."""
FEW_ROWS = 20
MOST_DRAWN = 2**24
"""Random numbers that are held at once."""


@dataclass(frozen=True, kw_only=True)
class Temperature(Record):
    """The number that logits are divided by, fitted on ``n`` rows.

    ``why`` says what these rows could not show, if anything.
    """

    value: float
    n: int
    why: str | None = None


def fit_temperature(logits: np.ndarray, labels: np.ndarray, *, units: str = "rows") -> Temperature:
    """The temperature under which (n,) labels are most probable given (n, C) logits of rows that trained nothing.

    Minimises the negative log-likelihood over the log of the temperature, within `RANGE`. A weak prior, worth a few
    rows (normal on that logarithm, around 0 with deviation 1), says what few rows cannot: without it, rows that are all
    right would ask for infinite confidence. `units` are what is counted, in words.

    >>> logits = np.array([[4.0, 0.0]] * 5000)  # 98 % sure every time, and right 7 times out of 10: 4 / log(7 / 3)
    >>> round(fit_temperature(logits, np.array([0] * 3500 + [1] * 1500)).value, 2)
    4.71
    >>> fit_temperature(logits[:0], np.zeros(0, dtype=int)).value
    1.0
    """
    from scipy.optimize import minimize_scalar

    rows, n = logits.astype(np.float64), len(labels)
    if n == 0:
        return Temperature(value=1.0, n=0, why=f"there were no {units} to fit it on")

    def loss(log_temperature: float) -> float:
        scaled = rows / math.exp(log_temperature)
        return 0.5 * log_temperature**2 - float(_log_softmax(scaled)[np.arange(n), labels].sum())

    bounds = (math.log(RANGE[0]), math.log(RANGE[1]))
    value = math.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4}).x)
    why = None
    if n < FEW_ROWS:
        why = f"{n} {units} say little of it"
    elif bool((rows.argmax(1) == labels).all()):
        why = f"all {n:,} {units} are right, so that nothing shows where confidence should end"
    elif not RANGE[0] * 1.01 < value < RANGE[1] / 1.01:
        why = f"it lies at the end of the range that is searched, so that these {units} fit no temperature"
    return Temperature(value=value, n=n, why=why)


def softmax(logits: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
    """(n, C) logits as probabilities, in double precision.

    >>> softmax(np.array([[0.0, np.log(9.0)]]), temperature=2.0).round(3).tolist()
    [[0.25, 0.75]]
    """
    probabilities: np.ndarray = np.exp(_log_softmax(logits.astype(np.float64) / temperature))
    return probabilities


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, *, bins: int = BINS) -> float:
    """Average difference between confidence and accuracy over rows: 0 is perfect, 1 the worst.

    Rows are binned by the probability of their most probable class, in bins of equal width (Guo et al. 2017, equation
    3); the absolute differences of the bins' mean confidence and accuracy are averaged by their numbers of rows.

    >>> sure, unsure = [0.9, 0.1], [0.4, 0.6]
    >>> round(expected_calibration_error(np.array([sure, sure, unsure, unsure]), np.array([0, 1, 1, 1])), 3)
    0.4
    """
    gaps = np.ones((1, len(labels))) @ _gaps(*_confidence(probabilities, labels), bins=bins)
    return float(np.abs(gaps).sum() / len(labels))


def calibration_interval(
    probabilities: np.ndarray, labels: np.ndarray, *, groups: np.ndarray | None = None, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the expected calibration error, by a bootstrap of rows or of whole groups.

    Drawing rows again adds noise to every bin, which the error counts, so that the draws' mean is moved back to what
    was measured.

    Args:
        probabilities: (n, C) of the classes.
        labels: (n,) true class numbers.
        groups: (n,) groups of the rows; with them, whole groups are drawn.
        seed: of the draws.

    Returns:
        the lower and upper end, 0 to 1.
    """
    gaps, sizes = _gaps(*_confidence(probabilities, labels), bins=BINS), np.ones(len(labels))
    if groups is not None:  # what is drawn together is summed first: there may be many rows in a group
        unit = np.unique(groups, return_inverse=True)[1]
        gaps = np.stack([np.bincount(unit, weights=of_bin) for of_bin in gaps.T], axis=1)
        sizes = np.bincount(unit).astype(np.float64)
    n = len(sizes)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    draws = np.abs(weights @ gaps).sum(1) / (weights @ sizes)
    measured = expected_calibration_error(probabilities, labels)
    low, high = np.quantile(draws - draws.mean() + measured, [0.025, 0.975])
    return max(float(low), 0.0), min(float(high), 1.0)


def calibration_error_by_chance(probabilities: np.ndarray, *, seed: int = 0, resamples: int = 200) -> float:
    """The expected calibration error that perfect probabilities would show on average over so few rows.

    The labels are drawn from the probabilities themselves (consistency resampling, Bröcker & Smith 2007).

    >>> round(calibration_error_by_chance(np.array([[0.9, 0.1]] * 100)), 2)
    0.02
    """
    confidence, rng = probabilities.max(1), np.random.default_rng(seed)
    in_bin, errors = _bins(confidence, bins=BINS), []
    at_once = max(1, MOST_DRAWN // max(1, len(confidence)))
    for done in range(0, resamples, at_once):
        right = rng.random((min(at_once, resamples - done), len(confidence))) < confidence
        errors.append(np.abs((right - confidence) @ in_bin).sum(1) / len(confidence))
    return float(np.concatenate(errors).mean())


def fold(linear: nn.Linear, *, temperature: float, offsets: np.ndarray | None = None) -> None:
    """Make the layer that gives the logits give ``(logits + offsets) / temperature``, in place.

    `offsets` are (C,), one a class. Raises `ValueError` for offsets to a layer without a bias.

    >>> layer = torch.nn.Linear(3, 2)
    >>> before = layer(torch.ones(1, 3))
    >>> fold(layer, temperature=2.0, offsets=np.array([1.0, 0.0]))
    >>> bool(torch.allclose(2 * layer(torch.ones(1, 3)), before + torch.tensor([1.0, 0.0])))
    True
    """
    if offsets is not None and linear.bias is None:
        raise ValueError("a layer without a bias takes no offsets")
    with torch.no_grad():
        if offsets is not None:
            linear.bias.add_(torch.from_numpy(offsets).to(linear.bias))
        linear.weight.div_(temperature)
        if linear.bias is not None:
            linear.bias.div_(temperature)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(1, keepdims=True)
    logarithms: np.ndarray = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return logarithms


def _confidence(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) probabilities of the most probable classes, and whether these are right."""
    return probabilities.max(1), (probabilities.argmax(1) == labels).astype(np.float64)


def _bins(confidence: np.ndarray, *, bins: int) -> np.ndarray:
    """(n, bins) ones where a row is in a bin: above its lower edge, up to its upper one."""
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    ones: np.ndarray = np.eye(bins)[place]
    return ones


def _gaps(confidence: np.ndarray, right: np.ndarray, *, bins: int) -> np.ndarray:
    """(n, bins) differences of whether a row is right and its confidence, in the row's bin; zeros in the others."""
    gaps: np.ndarray = _bins(confidence, bins=bins) * (right - confidence)[:, None]
    return gaps
