"""The choice of the winner: what every candidate is expected to score, after the evidence and the validation rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tuner.search.expectations import SCHEDULE_SHARE, Arm, Expectations, Measurement, cut_loss, noise_of, update
from tuner.search.expectations import scores as scores_of
from tuner.search.space import Candidate
from tuner.search.store import Run
from tuner.tasks.truth import Truth

SEEDS_KNOWN = 4
"""How many repetitions the variance over seeds that is known beforehand counts for, beside those made here."""
ONE_POINT = 0.01
"""Loss in score that a faster winner may be expected to bring where speed is preferred."""
ALIKE, ALIKE_S = 1.1, 1.0
"""Within this factor and so many seconds of each other, two runs take as long as each other."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The finished runs of a search, with what says how good they are.

    ``truth`` is what their predictions are scored against, ``expectations`` what was expected of candidates before,
    ``n_blocks`` the number of blocks of the model, ``seed`` that of the bootstraps. ``refits`` says whether the winner
    is fitted again at its full schedule, ``prefer`` whether the best (``score``) or the fastest (``speed``) wins.
    """

    runs: tuple[Run, ...]
    truth: Truth
    expectations: Expectations
    n_blocks: int
    seed: int = 0
    refits: bool = True
    prefer: str = "score"

    def leaders(self) -> list[Run]:
        """Every candidate's best trial, best first; of equals the more frozen."""
        best: dict[Candidate, Run] = {}
        for run in self.runs:
            if not run.is_confirmation and (run.candidate not in best or run.score > best[run.candidate].score):
                best[run.candidate] = run
        return sorted(
            best.values(), key=lambda run: (-run.score, -run.candidate.frozenness(self.n_blocks), str(run.name))
        )

    def repeats(self, run: Run) -> list[Run]:
        """A trial with its confirmations."""
        return [run, *(other for other in self.runs if other.is_confirmation and other.name.original == run.name)]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A candidate's validation score over the seeds that count, and how far it lies below the best.

    ``expected`` is what it is expected to score on new rows, after what was expected beforehand and all validation
    scores of the search, which decides.
    """

    run: Run
    expected: float
    mean: float
    sd: float | None
    seeds: tuple[int, ...]
    interval: tuple[float, float]
    below_best: float
    standard_error: float


def compare(scored: Scored) -> list[Comparison]:
    """Every candidate against the best one by mean validation score, best first.

    A candidate that was repeated counts by its repeats alone: the trial before them was picked for its score. While
    there are such candidates, the best is one of them. The standard error of a difference has two parts: rows (a paired
    bootstrap of the mean scores) and seeds (their variance, pooled over all that was repeated, since a few seeds say
    little of one candidate, over the number of seeds). Linear heads are convex problems and have no seeds.
    """
    truth, found = scored.truth, _counted(scored)
    expected = dict(zip((c.run.name for c in found), expected_scores(scored), strict=True))
    measured = sorted(found, key=lambda c: -c.scores.mean())  # stable: of equals the one that was ahead
    between_seeds = pooled_variance(scored) or 0.0

    def over_seeds(run: Run, n: int) -> float:
        return 0.0 if run.candidate.is_linear else between_seeds / n

    trusted = [c for c in measured if c.runs[0].is_confirmation or c.run.candidate.is_linear]
    was_confirmed = any(c.runs[0].is_confirmation for c in measured)
    best = (trusted if was_confirmed else measured)[0]
    compared = []
    for one in measured:
        run, counted, scores, draws = one.run, one.runs, one.scores, one.draws
        rows = float(np.std(best.draws - draws))
        seeds = 0.0 if one is best else over_seeds(run, len(scores)) + over_seeds(best.run, len(best.scores))
        low, high = np.quantile(draws, [0.025, 0.975])
        if len(scores) == 1 or low == high:  # draws of few rows that are all right tell nothing
            alone = [truth.interval(repeat.predictions, seed=scored.seed) for repeat in counted]
            low, high = min(edge for edge, _ in alone), max(edge for _, edge in alone)
        compared.append(
            Comparison(
                run=run,
                expected=float(expected[run.name]),
                mean=float(scores.mean()),
                sd=float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
                seeds=tuple(repeat.seed for repeat in counted),
                interval=(float(low), float(high)),
                below_best=float(best.scores.mean() - scores.mean()),
                standard_error=math.sqrt(rows**2 + seeds),
            )
        )
    return compared


def arm_of(run: Run) -> Arm:
    """The arm that a run measured."""
    rate, share = run.recipe.get("learning_rate"), run.recipe.get("share", 1.0)
    return Arm(candidate=run.candidate, learning_rate=rate, share=share, schedule=SCHEDULE_SHARE)


@dataclass(frozen=True, kw_only=True)
class _Counted:
    """A candidate's best trial, the runs that count of it, their scores, and the mean of their (r,) bootstraps."""

    run: Run
    runs: list[Run]
    scores: np.ndarray
    draws: np.ndarray


def _counted(scored: Scored) -> list[_Counted]:
    """Every candidate, in the order of `Scored.leaders`. One that was repeated counts by its repeats alone."""
    found = []
    for run in scored.leaders():
        counted = scored.repeats(run)[1:] or [run]
        draws = np.mean([scored.truth.draws(r.predictions, seed=scored.seed) for r in counted], axis=0)
        found.append(_Counted(run=run, runs=counted, scores=np.array([r.score for r in counted]), draws=draws))
    return found


def measure(scored: Scored) -> Measurement:
    """Validation scores of all candidates as log odds with their noise, in the order of `Scored.leaders`."""
    found = _counted(scored)
    repeats = np.array([math.inf if c.run.candidate.is_linear else len(c.runs) for c in found])
    points = np.array([c.scores.mean() for c in found])
    return noise_of(
        np.stack([c.draws for c in found]), points, n=scored.truth.n_units, seeds=seed_variance(scored) / repeats
    )


def expected_scores(scored: Scored) -> np.ndarray:
    """Scores that all candidates are expected to reach on new rows, in the order of `Scored.leaders`.

    They are expected at their full schedule where the winner is fitted again, else at the one that they were trained
    for.
    """
    arms = [arm_of(run) for run in scored.leaders()]
    mean, covariance = update(scored.expectations, arms, measured=range(len(arms)), measurement=measure(scored))
    cut = np.array([cut_loss(arm.share) if scored.refits else 0.0 for arm in arms])
    return scores_of(mean + cut, covariance)


def seed_variance(scored: Scored) -> float:
    """Variance over seeds in log odds: what was known beforehand, and what confirmations showed here."""
    known, groups = scored.expectations.seeds, []
    for run in scored.leaders():
        repeated = np.array([repeat.score for repeat in scored.repeats(run)[1:]])
        if len(repeated) > 1:
            smooth = (np.clip(repeated, 0, 1) * scored.truth.n_units + 0.5) / (scored.truth.n_units + 1)
            groups.append(np.log(smooth / (1 - smooth)))
    freedom = sum(len(values) - 1 for values in groups)
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in groups)
    return (SEEDS_KNOWN * known + squares) / (SEEDS_KNOWN + freedom)


def pooled_variance(scored: Scored) -> float | None:
    """Variance of validation scores over seeds, pooled over all that was repeated more than once; None without such."""
    scores = [np.array([repeat.score for repeat in scored.repeats(run)[1:]]) for run in scored.leaders()]
    repeated = [values for values in scores if len(values) > 1]
    freedom = sum(len(values) - 1 for values in repeated)
    return sum(float(((s - s.mean()) ** 2).sum()) for s in repeated) / freedom if freedom else None


def difference(scored: Scored, run: Run, other: Run) -> tuple[float, tuple[float, float], int, bool]:
    """Measure by how much one run scores more than another on the same validation rows.

    Where both were repeated, the repeats count and not the trials that were picked. A paired bootstrap over rows makes
    the interval; the variance over seeds widens it, where anything was repeated that it could be taken from.

    Returns:
        the difference, its 95 % interval, the number of seeds, and whether the interval covers the noise of seeds.
    """
    seeds = {repeat.seed: repeat for repeat in scored.repeats(run)[1:]}
    pairs = [(seeds[repeat.seed], repeat) for repeat in scored.repeats(other)[1:] if repeat.seed in seeds]
    pairs = pairs or [(run, other)]
    draws = [[scored.truth.draws(r.predictions, seed=scored.seed) for r in side] for side in zip(*pairs, strict=True)]
    low, high = np.quantile(np.mean(draws[0], axis=0) - np.mean(draws[1], axis=0), [0.025, 0.975])
    mean = float(np.mean([ours.score - theirs.score for ours, theirs in pairs]))
    variance = pooled_variance(scored)
    over_seeds = 1.96 * math.sqrt(2 * (variance or 0.0) / len(pairs))
    low, high = mean - math.hypot(mean - low, over_seeds), mean + math.hypot(high - mean, over_seeds)
    return mean, (low, high), len(pairs), variance is not None


def choose_winner(scored: Scored) -> tuple[Run, list[Comparison]]:
    """Choose the candidate with the highest expected score; of equals the cheapest, which is the most frozen.

    Where leaders were repeated with further seeds, one of these wins, or a linear head, which has no seeds: a single
    run of the others was picked for its score. Where speed is preferred, the fastest within a point of it; of those
    that are as fast as far as a clock tells, the one with the highest expected score.
    """
    compared = compare(scored)
    trusted = [c for c in compared if c.run.candidate.is_linear or len(scored.repeats(c.run)) > 1]
    was_confirmed = any(len(scored.repeats(c.run)) > 1 for c in compared)
    able = trusted if was_confirmed else compared
    best = max(
        able,
        key=lambda c: (round(c.expected, 6), c.run.candidate.frozenness(scored.n_blocks), c.run.candidate.is_linear),
    )
    if scored.prefer == "speed":
        near = [c for c in able if best.expected - c.expected <= ONE_POINT]
        fastest = min(c.run.seconds for c in near)
        best = max((c for c in near if c.run.seconds <= ALIKE * fastest + ALIKE_S), key=lambda c: c.expected)
    return best.run, compared
