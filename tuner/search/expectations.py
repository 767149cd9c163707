"""What candidates are expected to score before and after some of them were measured: a joint Gaussian over log odds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tuner.records import Record
from tuner.search.gaussian import Floats, condition, expected_score
from tuner.search.space import Candidate, SearchSpace, candidate_at

VARIANT_SD = 0.15
"""Spread of what an option, augmented rows or the architecture's own head change, in log odds."""
RECIPE_SD = 0.1
"""Spread of what other learning rates and lengths than the expected ones change, in log odds."""
UNKNOWN_SD, LEVEL_SD, SMOOTHNESS = 0.5, 2.0, 0.5
"""Where nothing is known beforehand: the spread of candidates and of their common level in log odds, and the share of
the blocks over which neighbouring depths are alike."""
SCHEDULE_SHARE = 0.5
"""Share of the rows that the runs of the evidence trained on which a search trains on: half as many steps at a higher
learning rate scored no less on three sets of 300 rows (docs/concepts.md)."""
CUT_LOSS = 0.03
"""What a schedule loses in log odds for every factor e that it is cut by."""
UNKNOWN_SEEDS = 0.02
"""Variance of log odds over seeds where it was not measured: between those of 100 and of 1,000 rows of text."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A candidate that is asked about, with the learning rate and the share of its schedule that it is trained for.

    ``learning_rate`` is None of what trains no block. ``schedule`` is the full schedule, as a share of the one that the
    expectations are of.
    """

    candidate: Candidate
    learning_rate: float | None = None
    share: float = 1.0
    schedule: float = 1.0

    @property
    def rate_of_evidence(self) -> float | None:
        """The learning rate that goes as far in the steps of the evidence as this one does in fewer.

        The square of a learning rate times the number of its steps is the same for both.

        >>> Arm(candidate=Candidate(strategy="train_all", frozen_blocks=0), learning_rate=2e-4, share=0.5,
        ...     schedule=0.5).rate_of_evidence
        0.0001
        """
        taken = self.schedule * self.share
        return None if self.learning_rate is None else self.learning_rate * math.sqrt(taken)


@dataclass(frozen=True, kw_only=True)
class Expectations(Record):
    """Expected scores of candidates, as a joint Gaussian over their log odds.

    There is one entry for each candidate and learning rate: ``mean`` (k,), ``covariance`` (k, k). ``seeds`` is the
    variance of log odds over seeds, ``rows_seen`` how many rows, repeats included, the runs of the evidence trained on,
    and ``why`` says where they come from.
    """

    candidates: tuple[Candidate, ...]
    rates: tuple[float | None, ...]
    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    seeds: float
    rows_seen: int
    why: str

    def of(self, arms: Sequence[Arm]) -> tuple[Floats, Floats]:
        """(m,) means and (m, m) covariance of the log odds of some arms.

        An arm between two learning rates lies between their entries on a log scale. What has no entry of its own is
        expected to be as good as the average of those that train blocks like it, or that train none, with a spread that
        says that nothing is known of it.
        """
        weights = np.zeros((len(arms), len(self.candidates)))
        own = np.zeros(len(arms))
        cut = np.array([cut_loss(arm.share) for arm in arms])
        for row, arm in enumerate(arms):
            plain = replace(arm.candidate, augmentation=None, option=None, head="own", top="linear")
            own[row] = 0.0 if plain == arm.candidate else VARIANT_SD**2
            places = [place for place, candidate in enumerate(self.candidates) if candidate == plain]
            if not places:
                like = np.array([known.trains_blocks == arm.candidate.trains_blocks for known in self.candidates])
                like = like if like.any() else np.ones(len(like), dtype=bool)
                weights[row] = like / like.sum()
                own[row] += UNKNOWN_SD**2
                continue
            weights[row, places] = _between([self.rates[place] for place in places], arm.rate_of_evidence)
            own[row] += 0.0 if weights[row].max() == 1 else RECIPE_SD**2
        mean, covariance = np.asarray(self.mean), np.asarray(self.covariance)
        return weights @ mean - cut, weights @ covariance @ weights.T + np.diag(own)


def cut_loss(share: float) -> float:
    """The loss in log odds of a schedule that is cut to a share.

    >>> cut_loss(1.0), round(cut_loss(0.5), 4), cut_loss(0.0)
    (0.0, 0.0208, inf)
    """
    return math.inf if share <= 0 else CUT_LOSS * math.log(1 / share)


def _between(rates: Sequence[float | None], rate: float | None) -> Floats:
    """How entries at some learning rates make up one: the two nearest, linearly in the logarithm.

    >>> _between([1e-4, 1e-3], 10 ** -3.5).round(2).tolist(), _between([1e-4, 1e-3], 5e-2).tolist()
    ([0.5, 0.5], [0.0, 1.0])
    """
    known = [value for value in rates if value is not None]
    if rate is None or len(known) < 2:
        return np.full(len(rates), 1 / len(rates))
    order = np.argsort(known)
    units = np.eye(len(known))[order]
    places = np.log(np.array(known)[order])
    return np.array([np.interp(math.log(rate), places, unit) for unit in units.T]).round(9)


def unknown(space: SearchSpace, *, rows_seen: int) -> Expectations:
    """Expectations without any evidence: nothing is known but that neighbouring depths score alike."""
    rate = math.sqrt(space.learning_rate[0] * space.learning_rate[1])
    depths = range(space.depths[0], min(space.depths[1], space.n_blocks - 1) + 1)
    sampled = (replace(candidate_at(d, space.n_blocks), start=space.start, option=space.option) for d in depths)
    named = dict.fromkeys((*space.first, *space.controls, *sampled))
    candidates = tuple(replace(c, augmentation=None, option=None, head="own", top="linear") for c in named)
    candidates = tuple(dict.fromkeys(candidates))
    share = np.array([c.frozenness(space.n_blocks) / space.n_blocks for c in candidates])
    trained = np.array([c.trains_blocks for c in candidates])
    near = np.exp(-np.abs(share[:, None] - share[None]) / SMOOTHNESS) * (trained[:, None] == trained[None])
    covariance = LEVEL_SD**2 + UNKNOWN_SD**2 * np.where(np.eye(len(candidates)) > 0, 1.0, 0.9 * near)
    return Expectations(
        candidates=candidates,
        rates=tuple(rate if c.trains_blocks else None for c in candidates),
        mean=tuple(0.0 for _ in candidates),
        covariance=tuple(tuple(map(float, row)) for row in covariance),
        seeds=UNKNOWN_SEEDS,
        rows_seen=rows_seen,
        why="no evidence of this kind of data: every candidate is expected to score alike",
    )


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Validation scores of some arms as log odds: (m,) values and the (m, m) covariance of their noise."""

    values: Floats
    noise: Floats


def update(expectations: Expectations, arms: Sequence[Arm], *, measured: Sequence[int],
           measurement: Measurement) -> tuple[Floats, Floats]:  # fmt: skip
    """Update what arms are expected to score after some of them were measured.

    Args:
        expectations: before.
        arms: k candidates that are asked about.
        measured: m places among the arms, of those that were measured.
        measurement: their scores and the noise of these, in this order.

    Returns:
        (k,) means and (k, k) covariance of the arms' log odds.
    """
    mean, covariance = expectations.of(arms)
    if not measured:
        return mean, covariance
    of = np.zeros((len(measured), len(arms)))
    of[np.arange(len(measured)), list(measured)] = 1.0
    return condition(mean, covariance, observed=measurement.values, of=of, noise=measurement.noise)


def scores(mean: Floats, covariance: Floats) -> Floats:
    """Expected scores, 0 to 1, of log odds that are Gaussian."""
    return expected_score(mean, np.sqrt(np.clip(np.diag(covariance), 0, None)))


def noise_of(draws: Floats, points: Floats, *, n: int, seeds: Floats) -> Measurement:
    """Scores of several arms on the same n validation rows, with the noise of those rows and of seeds, in log odds.

    The noise of rows is a paired bootstrap; how much it says of twenty rows is little, so the correlations of arms are
    shrunk to `USUAL_CORRELATION` by as much as `CORRELATION_ROWS` rows would. All of it counts `DISTRUST` times.

    Args:
        draws: (m, r) scores of the arms on r bootstraps of the rows, the same rows for all arms; less than 0 counts
            as 0.
        points: (m,) their scores.
        n: validation rows.
        seeds: (m,) variance of each arm's log odds by the seeds that it was trained with.
    """
    # What is worse than nothing, as R² may say of a model, has no log odds: it counts as nothing.
    draws, points = np.clip(draws, 0, 1), np.clip(points, 0, 1)
    smooth = (points * n + 0.5) / (n + 1)
    slope = smooth * (1 - smooth)
    spread = np.maximum(draws.std(1), np.sqrt(slope / n) / 2) / slope
    # Scores without any spread, of rows that are all right, correlate with nothing.
    centred = draws - draws.mean(1, keepdims=True)
    length = np.sqrt((centred**2).sum(1))
    safe = np.where(length > 0, length, 1.0)
    found = (centred @ centred.T) / np.outer(safe, safe)
    shared = (n * found + CORRELATION_ROWS * USUAL_CORRELATION) / (n + CORRELATION_ROWS)
    np.fill_diagonal(shared, 1.0)
    noise = shared * np.outer(spread, spread) + np.diag(seeds)
    return Measurement(values=np.log(smooth / (1 - smooth)), noise=DISTRUST * noise)


DISTRUST = 3.0
"""How many times the variance that rows and seeds explain a validation score is taken to have. What is chosen with few
rows is the luckiest: on left-out datasets choices lost least with two to ten times (docs/scoreboard.md)."""
USUAL_CORRELATION, CORRELATION_ROWS = 0.6, 60
"""How the errors of two candidates on the same rows usually go together: on test rows of the evidence table."""
