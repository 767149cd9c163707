"""What a pretrained model that predicts a number has to beat: the mean, and ridge regression on words or pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from advisor.measures.baselines import Baseline, small_pixels
from tuner.tasks.heads import one_thread
from tuner.tasks.metrics import Scored
from tuner.tasks.numbers import MEASURES

if TYPE_CHECKING:
    from tuner.tasks.numbers import NumberTruth

WORDS_ALPHA, PIXELS_ALPHA = 1.0, 1_000.0
"""Penalties of ridge regression, on TF-IDF and on standardised pixels."""


def mean_baseline(truth: NumberTruth, *, seed: int = 0) -> Baseline:
    """Score the prediction of the mean for every row, which explains nothing: R² is 0."""
    return _scored(truth, np.full(len(truth.labels), truth.labels.mean()), method="the mean", seed=seed)


def tfidf_ridge_baseline(
    texts: Sequence[str], truth: NumberTruth, *, folds: np.ndarray, seed: int = 0
) -> Baseline | None:
    """Score ridge regression on TF-IDF over words and word pairs, cross-validated.

    Args:
        texts: n of them.
        truth: their (n,) numbers.
        folds: (n,) numbers of the folds that rows are held out in (`advisor.measures.folds.assign_folds`).
        seed: of the bootstrap.

    Returns:
        the baseline; None where no text holds a word of two letters.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge

    predictions = np.empty(len(truth.labels))
    for fold in range(int(folds.max()) + 1):
        train, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=20_000)
        try:
            x = vectorizer.fit_transform([texts[int(row)] for row in train])
        except ValueError:  # scikit-learn's "empty vocabulary": strings without words
            return None
        ridge = Ridge(alpha=WORDS_ALPHA, solver="sparse_cg")
        with one_thread():
            ridge.fit(x, truth.labels[train])
        predictions[held_out] = ridge.predict(vectorizer.transform([texts[int(row)] for row in held_out]))
    return _scored(truth, predictions, method="TF-IDF with ridge regression", seed=seed)


def pixel_ridge_baseline(pixels: np.ndarray, truth: NumberTruth, *, folds: np.ndarray, seed: int = 0) -> Baseline:
    """Score ridge regression on pixels as the model is fed them, averaged down to few, cross-validated.

    Args:
        pixels: (n, c, h, w) images.
        truth: their (n,) numbers.
        folds: (n,) numbers of the folds that rows are held out in (`advisor.measures.folds.assign_folds`).
        seed: of the bootstrap.
    """
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = small_pixels(pixels)
    predictions = np.empty(len(truth.labels))
    for fold in range(int(folds.max()) + 1):
        train, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        ridge = make_pipeline(StandardScaler(), Ridge(alpha=PIXELS_ALPHA))
        with one_thread():
            ridge.fit(x[train], truth.labels[train])
        predictions[held_out] = ridge.predict(x[held_out])
    return _scored(truth, predictions, method="ridge regression on the pixels", seed=seed)


def _scored(truth: NumberTruth, predictions: np.ndarray, *, method: str, seed: int) -> Baseline:
    each = {metric: replace(truth, metric=metric) for metric in MEASURES}
    metrics = {
        metric: Scored(score=one.score(predictions), interval=one.interval(predictions, seed=seed))
        for metric, one in each.items()
    }
    found = metrics[truth.metric]
    return Baseline(score=found.score, interval=found.interval, method=method, metrics=metrics)
