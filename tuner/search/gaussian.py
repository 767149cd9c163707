"""A joint Gaussian over scores: closed-form conditioning, and scores and their logits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(31)


def condition(
    mean: Floats, covariance: Floats, *, observed: Floats, of: Floats, noise: Floats
) -> tuple[Floats, Floats]:
    """Condition a joint Gaussian on noisy measurements of linear combinations of its values.

    Args:
        mean: (k,) expectations before.
        covariance: (k, k) covariance before.
        observed: (m,) measured values.
        of: (m, k) how the values enter each measurement.
        noise: (m, m) covariance of the measurements' noise.

    Returns:
        (k,) expectations and (k, k) covariance after (Rasmussen & Williams 2006, equations A.6 with noise).

    >>> mean, covariance = condition(
    ...     np.array([0.0, 1.0]), np.array([[2.0, 1.0], [1.0, 2.0]]),
    ...     observed=np.array([3.0]), of=np.array([[1.0, 0.0]]), noise=np.array([[1.0]]))
    >>> mean.tolist(), covariance.round(3).tolist()
    ([2.0, 2.0], [[0.667, 0.333], [0.333, 1.667]])
    """
    across = covariance @ of.T
    gain = np.linalg.solve(of @ across + noise, across.T).T
    return mean + gain @ (observed - of @ mean), covariance - gain @ across.T


def logit(score: float | Floats, *, n: int) -> Floats:
    """Log odds of scores that were measured on n rows; half a row keeps 0 and 1 finite.

    >>> logit(0.5, n=100).item(), round(logit(1.0, n=100).item(), 2)
    (0.0, 5.29)
    """
    kept = np.clip(np.asarray(score, dtype=np.float64), 0.5 / n, 1 - 0.5 / n)
    return np.asarray(np.log(kept / (1 - kept)))


def expected_score(mean: Floats, sd: Floats) -> Floats:
    """Expectations of scores whose log odds are Gaussian, by Gauss-Hermite quadrature.

    >>> expected_score(np.array([0.0, 2.0]), np.array([1.0, 0.0])).round(3).tolist()
    [0.5, 0.881]
    """
    draws = np.asarray(mean)[..., None] + np.asarray(sd)[..., None] * _NODES
    return np.asarray((_WEIGHTS / (1 + np.exp(-draws))).sum(-1) / _WEIGHTS.sum())


def score_at(log_odds: Floats) -> Floats:
    """Turn log odds into scores, 0 to 1.

    >>> score_at(np.array([0.0, 2.0])).round(3).tolist()
    [0.5, 0.881]
    """
    return np.asarray(1 / (1 + np.exp(-log_odds)))
