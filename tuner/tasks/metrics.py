"""Scores of predictions and their uncertainty, for the probes, the search and the final test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tuner.errors import OptionError, did_you_mean
from tuner.records import Record

METRICS = ("accuracy", "macro_f1", "balanced_accuracy")
OF_TAGS = "entity_f1"
OF_NUMBERS = ("r2", "spearman")
OF_LABELS = ("micro_f1", "macro_f1", "subset_accuracy")
CALLED = {
    "f1": "macro_f1",
    "f1_score": "macro_f1",
    "f1_macro": "macro_f1",
    "macrof1": "macro_f1",
    "macro": "macro_f1",
    "fscore": "macro_f1",
    "f_score": "macro_f1",
    "weighted_f1": "macro_f1",
    "f1_weighted": "macro_f1",
    "bacc": "balanced_accuracy",
    "balanced": "balanced_accuracy",
    "uar": "balanced_accuracy",
    "recall": "balanced_accuracy",
    "macro_recall": "balanced_accuracy",
    "recall_macro": "balanced_accuracy",
    "acc": "accuracy",
    "f1_micro": "micro_f1",
    "exact_match": "subset_accuracy",
    "seqeval": OF_TAGS,
    "r_squared": "r2",
    "r2_score": "r2",
    "mse": "r2",
    "rmse": "r2",
    "spearmanr": "spearman",
}
"""What others call these metrics, or the nearest to them that there is."""
RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Scored(Record):
    """A score with its 95 % interval."""

    score: float
    interval: tuple[float, float]


def check_metric(metric: str) -> str:
    """The metric's name, or `OptionError` listing those there are, and the one that was probably meant.

    >>> check_metric("macro_f1")
    'macro_f1'
    >>> check_metric("f1")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    tuner.errors.OptionError: unknown metric 'f1'. Did you mean 'macro_f1'?
      why: candidates are compared by it
      fix: use one of accuracy, macro_f1, balanced_accuracy; of several labels micro_f1, macro_f1, subset_accuracy;...
    """
    if metric not in METRICS:
        name = metric.strip().lower().replace("-", "_").replace(" ", "_")
        known = dict.fromkeys((*METRICS, *OF_LABELS, OF_TAGS, *OF_NUMBERS))
        others = (
            f"of several labels {', '.join(OF_LABELS)}; of tagged words {OF_TAGS}; of numbers {', '.join(OF_NUMBERS)}"
        )
        raise OptionError(
            f"unknown metric {metric!r}.{did_you_mean(CALLED.get(name, name), known)}",
            why="candidates are compared by it",
            fix=f"use one of {', '.join(METRICS)}; {others}",
        )
    return metric


def score(labels: np.ndarray, predictions: np.ndarray, *, metric: str = "accuracy") -> float:
    """Score of (n,) predicted against (n,) true class numbers, 0 to 1.

    Macro F1 and balanced accuracy average over the classes that occur among the true labels.

    >>> score(np.array([0, 0, 1]), np.array([0, 1, 1]))
    0.6666666666666666
    >>> score(np.array([0, 0, 1]), np.array([0, 1, 1]), metric="balanced_accuracy")
    0.75
    """
    weights = np.ones((1, len(labels)))
    return float(_scores(labels, predictions, weights, metric=check_metric(metric))[0])


def bootstrap_scores(
    labels: np.ndarray,
    predictions: np.ndarray,
    *,
    metric: str = "accuracy",
    groups: np.ndarray | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> np.ndarray:
    """Score the rows drawn with replacement, many times over (Efron 1979).

    Equal seeds draw equal rows, so differences between two sets of predictions for the same rows are paired.

    Args:
        labels: (n,) true class numbers.
        predictions: (n,) predicted class numbers.
        metric: one of `METRICS`.
        groups: (n,) groups of the rows; with them, whole groups are drawn.
        seed: of the draws.
        resamples: how many times rows are drawn.

    Returns:
        (resamples,) scores, 0 to 1.
    """
    unit = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    n = int(unit.max()) + 1
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)[:, unit]
    return _scores(labels, predictions, weights, metric=check_metric(metric))


def interval(
    labels: np.ndarray,
    predictions: np.ndarray,
    *,
    metric: str = "accuracy",
    groups: np.ndarray | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Confidence interval of a score over rows, or over whole groups.

    Accuracy: Wilson's interval (1927), which stays honest at 0 and 1, where a bootstrap sees no spread at all; rows of
    a group that are right or wrong together count as fewer (`effective_rows`). Other metrics: the bootstrap's
    percentiles; where all rows are right, which it takes for certain, the doubts of Wilson's intervals of the classes'
    recalls together (square and add: Newcombe 1998).

    Args:
        labels: (n,) true class numbers.
        predictions: (n,) predicted class numbers.
        metric: one of `METRICS`.
        groups: (n,) groups of the rows; by default every row counts as one of its own.
        seed: of the bootstrap.
        level: confidence, 0 to 1.

    Returns:
        the lower and upper end, 0 to 1.

    >>> tuple(round(end, 3) for end in interval(np.zeros(20), np.zeros(20)))
    (0.839, 1.0)
    """
    if check_metric(metric) == "accuracy":
        right = labels == predictions
        return wilson(float(np.mean(right)), effective_rows(right, groups=groups), level=level)
    if bool((labels == predictions).all()):
        return _least_of_perfect(labels, groups=groups, level=level), 1.0
    if groups is None:  # rows of one true and one predicted class are alike, and there are few such pairs to draw
        labels, predictions, weights = _drawn_pairs(labels, predictions, seed=seed)
        scores = _scores(labels, predictions, weights, metric=metric)
    else:
        scores = bootstrap_scores(labels, predictions, metric=metric, groups=groups, seed=seed)
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def scores_by_metric(
    labels: np.ndarray, predictions: np.ndarray, *, groups: np.ndarray | None = None, seed: int = 0
) -> Mapping[str, Scored]:
    """Score predictions under every metric, each score with its 95 % interval.

    Args:
        labels: (n,) true class numbers.
        predictions: (n,) predicted class numbers.
        groups: (n,) groups of the rows, for the intervals (`interval`); by default every row counts as one of its own.
        seed: of the bootstrap.

    >>> found = scores_by_metric(np.array([0, 0, 0, 1]), np.zeros(4, dtype=int))
    >>> {metric: round(scored.score, 3) for metric, scored in found.items()}
    {'accuracy': 0.75, 'macro_f1': 0.429, 'balanced_accuracy': 0.5}
    """
    return {
        metric: Scored(
            score=score(labels, predictions, metric=metric),
            interval=interval(labels, predictions, metric=metric, groups=groups, seed=seed),
        )
        for metric in METRICS
    }


def effective_rows(right: np.ndarray, *, groups: np.ndarray | None = None) -> float:
    """Number of rows over the design effect of (n,) `groups` (Kish 1965): how many independent rows they are worth.

    The design effect is the variance of the mean with whole groups drawn over that with rows drawn, at least 1. Where
    all rows are right or all wrong it cannot be measured, and a group counts as one row.

    >>> effective_rows(np.array([1, 1, 0, 0]), groups=np.array([0, 0, 1, 1]))
    2.0
    """
    n = len(right)
    if groups is None:
        return float(n)
    unit = np.unique(groups, return_inverse=True)[1]
    errors = right - np.mean(right)
    squares = float((errors**2).sum())
    if squares == 0:
        return n**2 / float((np.bincount(unit) ** 2).sum())
    return n / max(float((np.bincount(unit, weights=errors) ** 2).sum()) / squares, 1.0)


def wilson(proportion: float, n: float, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion seen in n (effective) rows."""
    from statistics import NormalDist

    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = (proportion + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (proportion * (1 - proportion) / n + z * z / (4 * n * n)) ** 0.5
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return 0.0 if proportion == 0 else low, 1.0 if proportion == 1 else high  # there rounding leaves a hair


def _least_of_perfect(labels: np.ndarray, *, groups: np.ndarray | None, level: float) -> float:
    """The lower end of a mean over classes that is 1 on these rows."""
    doubts = []
    for label in np.unique(labels):
        own = labels == label
        n = effective_rows(np.ones(int(own.sum())), groups=None if groups is None else groups[own])
        doubts.append(1 - wilson(1.0, n, level=level)[0])
    return 1 - float(np.sqrt(np.square(doubts).sum())) / len(doubts)


def _drawn_pairs(
    labels: np.ndarray, predictions: np.ndarray, *, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The p pairs of true and predicted class that occur, and how often each is drawn when rows are: (RESAMPLES, p)."""
    pairs, counts = np.unique(np.stack([labels, predictions]), axis=1, return_counts=True)
    weights = np.random.default_rng(seed).multinomial(len(labels), counts / len(labels), size=RESAMPLES)
    return pairs[0], pairs[1], weights


def _scores(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray, *, metric: str) -> np.ndarray:
    """(r,) weighted scores for (r, n) row weights."""
    right = (labels == predictions).astype(np.float64)
    if metric == "accuracy":
        accuracy: np.ndarray = weights @ right / weights.sum(1)
        return accuracy
    classes = np.unique(labels)
    per_class = np.empty((len(classes), len(weights)))
    present = np.empty((len(classes), len(weights)), dtype=bool)
    for index, label in enumerate(classes):
        is_label, is_predicted = labels == label, predictions == label
        hits, truth = weights[:, is_label & is_predicted].sum(1), weights[:, is_label].sum(1)
        present[index] = truth > 0
        total = truth + weights[:, is_predicted].sum(1) if metric == "macro_f1" else 2 * truth
        per_class[index] = 2 * hits / np.maximum(total, 1e-12)
    means: np.ndarray = (per_class * present).sum(0) / present.sum(0)
    return means
