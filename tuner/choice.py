"""The choice of the winner: candidates compared over rows and seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tuner.store import Run
from tuner.trials import Bench


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A candidate's validation score over the seeds that count, and how far it lies below the best."""

    run: Run
    mean: float
    sd: float | None
    seeds: tuple[int, ...]
    interval: tuple[float, float]
    below_best: float
    standard_error: float


def compare(bench: Bench) -> list[Comparison]:
    """Every candidate against the best one by mean validation score, best first.

    A candidate that was repeated counts by its repeats alone: the trial before them was picked for its score. While
    there are such candidates, the best is one of them. The standard error of a difference has two parts: rows (a paired
    bootstrap of the mean scores) and seeds (their variance, pooled over all that was repeated, since a few seeds say
    little of one candidate, over the number of seeds). Linear heads are convex problems and have no seeds.
    """
    truth = bench.truth
    measured = []
    for run in bench.leaders():
        counted = bench.repeats(run)[1:] or [run]
        scores = np.array([repeat.score for repeat in counted])
        draws = np.mean([truth.draws(r.predictions, seed=bench.seed) for r in counted], axis=0)
        measured.append((run, counted, scores, draws))
    measured.sort(key=lambda entry: -entry[2].mean())  # stable: of equals the one that was ahead
    seed_variance = pooled_variance(bench) or 0.0

    def over_seeds(run: Run, n: int) -> float:
        return 0.0 if run.candidate.is_linear else seed_variance / n

    trusted = [entry for entry in measured if entry[1][0].is_confirmation or entry[0].candidate.is_linear]
    was_confirmed = any(entry[1][0].is_confirmation for entry in measured)
    best_run, _, best_scores, best_draws = (trusted if was_confirmed else measured)[0]
    compared = []
    for run, counted, scores, draws in measured:
        rows = float(np.std(best_draws - draws))
        seeds = 0.0 if run is best_run else over_seeds(run, len(scores)) + over_seeds(best_run, len(best_scores))
        low, high = np.quantile(draws, [0.025, 0.975])
        if len(scores) == 1 or low == high:  # draws of few rows that are all right tell nothing
            alone = [truth.interval(repeat.predictions, seed=bench.seed) for repeat in counted]
            low, high = min(edge for edge, _ in alone), max(edge for _, edge in alone)
        compared.append(
            Comparison(
                run=run,
                mean=float(scores.mean()),
                sd=float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
                seeds=tuple(repeat.seed for repeat in counted),
                interval=(float(low), float(high)),
                below_best=float(best_scores.mean() - scores.mean()),
                standard_error=math.sqrt(rows**2 + seeds),
            )
        )
    return compared


def pooled_variance(bench: Bench) -> float | None:
    """Variance of validation scores over seeds, pooled over all that was repeated more than once; None without such."""
    scores = [np.array([repeat.score for repeat in bench.repeats(run)[1:]]) for run in bench.leaders()]
    repeated = [values for values in scores if len(values) > 1]
    freedom = sum(len(values) - 1 for values in repeated)
    return sum(float(((s - s.mean()) ** 2).sum()) for s in repeated) / freedom if freedom else None


def difference(bench: Bench, run: Run, other: Run) -> tuple[float, tuple[float, float], int, bool]:
    """By how much one run scores more than another on the same validation rows, a 95 % interval, the number of seeds,
    and whether the interval covers the noise of seeds.

    Where both were repeated, the repeats count and not the trials that were picked. A paired bootstrap over rows makes
    the interval; the variance over seeds widens it, where anything was repeated that it could be taken from.
    """
    seeds = {repeat.seed: repeat for repeat in bench.repeats(run)[1:]}
    pairs = [(seeds[repeat.seed], repeat) for repeat in bench.repeats(other)[1:] if repeat.seed in seeds]
    pairs = pairs or [(run, other)]
    draws = [[bench.truth.draws(r.predictions, seed=bench.seed) for r in side] for side in zip(*pairs, strict=True)]
    low, high = np.quantile(np.mean(draws[0], axis=0) - np.mean(draws[1], axis=0), [0.025, 0.975])
    mean = float(np.mean([ours.score - theirs.score for ours, theirs in pairs]))
    variance = pooled_variance(bench)
    over_seeds = 1.96 * math.sqrt(2 * (variance or 0.0) / len(pairs))
    low, high = mean - math.hypot(mean - low, over_seeds), mean + math.hypot(high - mean, over_seeds)
    return mean, (low, high), len(pairs), variance is not None


def choose_winner(bench: Bench) -> tuple[Run, list[Comparison]]:
    """The candidate with the highest mean validation score; of equals the cheapest, which is the most frozen.

    Where leaders were repeated with further seeds, one of these wins, or a linear head, which has no seeds: a single
    run of the others was picked for its score.
    """
    compared = compare(bench)
    n_blocks = bench.backbone.n_blocks
    trusted = [c for c in compared if c.run.candidate.is_linear or len(bench.repeats(c.run)) > 1]
    was_confirmed = any(len(bench.repeats(c.run)) > 1 for c in compared)
    best = max(
        trusted if was_confirmed else compared,
        key=lambda c: (c.mean, c.run.candidate.frozenness(n_blocks), c.run.candidate.is_linear),
    )
    return best.run, compared
