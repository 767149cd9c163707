"""What a pretrained model has to beat: the majority class, and a bag of words with logistic regression."""

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


def majority_baseline(
    labels: np.ndarray, *, groups: np.ndarray | None = None, metric: str = "accuracy", seed: int = 0
) -> Baseline:
    """Always the commonest class."""
    predictions = np.full(len(labels), np.bincount(labels).argmax())
    return Baseline(
        score=score(labels, predictions, metric=metric),
        interval=interval(labels, predictions, metric=metric, groups=groups, seed=seed),
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
    )
