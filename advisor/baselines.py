"""What a pretrained model has to beat: the majority class, and logistic regression on words or pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tuner.metrics import interval, score
from tuner.records import Record


@dataclass(frozen=True, kw_only=True)
class Baseline(Record):
    """A score on the same rows as the probes, cross-validated on the same folds where something is learned."""

    score: float
    interval: tuple[float, float]
    method: str


PIXEL_SIDE = 16
"""Images are averaged down to so many pixels a side for the baseline: more of them only cost time."""


def majority_baseline(
    labels: np.ndarray, *, groups: np.ndarray | None = None, metric: str = "accuracy", seed: int = 0
) -> Baseline:
    """Always the commonest class."""
    predictions = np.full(len(labels), np.bincount(labels).argmax())
    return Baseline(
        score=score(labels, predictions, metric=metric),
        interval=interval(labels, predictions, metric=metric, groups=groups, seed=seed),
        method="the commonest class",
    )


def tfidf_baseline(
    texts: Sequence[str],
    labels: np.ndarray,
    *,
    folds: np.ndarray,
    groups: np.ndarray | None = None,
    metric: str = "accuracy",
    seed: int = 0,
) -> Baseline | None:
    """TF-IDF over words and word pairs with logistic regression; None where no text holds a word of two letters."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    predictions = np.empty(len(labels), dtype=np.int64)
    for fold in range(int(folds.max()) + 1):
        train, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=20_000, dtype=np.float32)
        try:
            x = vectorizer.fit_transform([texts[int(row)] for row in train])
        except ValueError:  # scikit-learn's "empty vocabulary": strings without words
            return None
        # The default tolerance takes up to twice as long for the same scores; 1e-2 stops before anything is learned.
        classifier = LogisticRegression(C=10.0, max_iter=60, tol=1e-3)
        classifier.fit(x, labels[train])
        predictions[held_out] = classifier.predict(vectorizer.transform([texts[int(row)] for row in held_out]))
    return Baseline(
        score=score(labels, predictions, metric=metric),
        interval=interval(labels, predictions, metric=metric, groups=groups, seed=seed),
        method="TF-IDF with logistic regression",
    )


def pixel_baseline(
    pixels: np.ndarray,
    labels: np.ndarray,
    *,
    folds: np.ndarray,
    groups: np.ndarray | None = None,
    metric: str = "accuracy",
    seed: int = 0,
) -> Baseline:
    """Logistic regression on the pixels (n, c, h, w) as the model is fed them, averaged down to `PIXEL_SIDE` a side."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = small_pixels(pixels)
    predictions = np.empty(len(labels), dtype=np.int64)
    for fold in range(int(folds.max()) + 1):
        train, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=100, tol=1e-3))
        classifier.fit(x[train], labels[train])
        predictions[held_out] = classifier.predict(x[held_out])
    return Baseline(
        score=score(labels, predictions, metric=metric),
        interval=interval(labels, predictions, metric=metric, groups=groups, seed=seed),
        method="logistic regression on the pixels",
    )


def small_pixels(pixels: np.ndarray) -> np.ndarray:
    """(n, c, h, w) images as (n, c * side * side) floats, each value the mean of a patch.

    >>> small_pixels(np.arange(4.0).reshape(1, 1, 2, 2)).tolist()
    [[0.0, 1.0, 2.0, 3.0]]
    >>> small_pixels(np.ones((5, 3, 40, 64))).shape
    (5, 768)
    """
    import torch

    side = tuple(min(PIXEL_SIDE, size) for size in pixels.shape[2:])
    parts = [
        torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(pixels[start : start + 256]).float(), side)
        for start in range(0, len(pixels), 256)
    ]
    rows: np.ndarray = torch.cat(parts).flatten(1).numpy()
    return rows
