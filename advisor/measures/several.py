"""What a pretrained model has to beat where rows have several labels: the commonest labels, and linear models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from advisor.measures.baselines import Baseline, small_pixels
from tuner.tasks.heads import one_thread
from tuner.tasks.labels import Labels, LabelsTruth
from tuner.tasks.metrics import Scored

MOST_COMMON = 50
"""So many of the commonest labels are tried together at most."""


def commonest_labels_baseline(truth: LabelsTruth, *, folds: np.ndarray, seed: int = 0) -> Baseline:
    """Score always the same labels: the commonest ones, as many as score most on the other folds' rows."""
    predictions = np.zeros_like(truth.labels)
    for fold in np.unique(folds):
        others = truth.take(np.flatnonzero(folds != fold))
        order = np.argsort(-others.labels.sum(0), kind="stable")
        given = np.zeros((min(len(order), MOST_COMMON) + 1, len(order)), dtype=np.int64)
        for n in range(1, len(given)):
            given[n:, order[n - 1]] = 1
        scores = [others.score(np.broadcast_to(row, others.labels.shape)) for row in given]
        predictions[folds == fold] = given[int(np.argmax(scores))]
    return _scored(truth, predictions, method="always the commonest labels", seed=seed)


def tfidf_labels_baseline(
    texts: Sequence[str], truth: LabelsTruth, *, folds: np.ndarray, seed: int = 0
) -> Baseline | None:
    """Score a logistic regression for every label on TF-IDF over words and word pairs, cross-validated.

    Args:
        texts: n of them.
        truth: their labels, (n, L) zeros and ones.
        folds: (n,) numbers of the folds that rows are held out in (`advisor.measures.folds.assign_folds`).
        seed: of the bootstrap.

    Returns:
        the baseline; None where no text has words.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    predictions = np.zeros_like(truth.labels)
    for fold in range(int(folds.max()) + 1):
        train, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=20_000, dtype=np.float32)
        try:
            x = vectorizer.fit_transform([texts[int(row)] for row in train])
        except ValueError:  # scikit-learn's "empty vocabulary": strings without words
            return None
        predictions[held_out] = _one_a_label(
            lambda: LogisticRegression(C=10.0, max_iter=60, tol=1e-3),
            x,
            truth.labels[train],
            vectorizer.transform([texts[int(row)] for row in held_out]),
        )
    return _scored(truth, predictions, method="TF-IDF with a logistic regression for every label", seed=seed)


def pixel_labels_baseline(pixels: np.ndarray, truth: LabelsTruth, *, folds: np.ndarray, seed: int = 0) -> Baseline:
    """Score a logistic regression for every label on pixels, averaged down as for classes, cross-validated.

    Args:
        pixels: (n, c, h, w) images.
        truth: their labels, (n, L) zeros and ones.
        folds: (n,) numbers of the folds that rows are held out in (`advisor.measures.folds.assign_folds`).
        seed: of the bootstrap.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x, predictions = small_pixels(pixels), np.zeros_like(truth.labels)
    for fold in range(int(folds.max()) + 1):
        train, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        scaler = StandardScaler().fit(x[train])
        predictions[held_out] = _one_a_label(
            lambda: LogisticRegression(C=0.01, max_iter=100, tol=1e-3),
            scaler.transform(x[train]),
            truth.labels[train],
            scaler.transform(x[held_out]),
        )
    return _scored(truth, predictions, method="a logistic regression for every label on the pixels", seed=seed)


def _one_a_label(make: Callable[[], Any], x: Any, labels: np.ndarray, held_out: Any) -> np.ndarray:
    """(m, L) predictions by one classifier a label; one that all training rows have or lack is predicted so."""
    columns = []
    with one_thread():
        for column in labels.T:
            if column.min() == column.max():
                columns.append(np.full(held_out.shape[0], column[0]))
            else:
                columns.append(make().fit(x, column).predict(held_out))
    return np.stack(columns, axis=1)


def _scored(truth: LabelsTruth, predictions: np.ndarray, *, method: str, seed: int) -> Baseline:
    scores = {}
    for metric in Labels.metrics:
        by = replace(truth, metric=metric)
        scores[metric] = Scored(score=by.score(predictions), interval=by.interval(predictions, seed=seed))
    found = scores[truth.metric]
    return Baseline(score=found.score, interval=found.interval, method=method, metrics=scores)
