"""What a pretrained model has to beat: the majority class, and logistic regression on words or pixels; of tagged words
no entity at all, entities looked up, and a linear model of how words look and what stands beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tuner.records import Record
from tuner.tasks.entities import find_entities
from tuner.tasks.heads import one_thread
from tuner.tasks.metrics import Scored, scores_by_metric
from tuner.tasks.tags import OUTSIDE, TagTruth, places_of
from tuner.tasks.truth import Truth


@dataclass(frozen=True, kw_only=True)
class Baseline(Record):
    """A score on the same rows as the probes, cross-validated on the same folds where something is learned.

    ``metrics`` are those of classes, by name; of tagged words there is one only.
    """

    score: float
    interval: tuple[float, float]
    method: str
    metrics: Mapping[str, Scored] = field(default_factory=dict)


PIXEL_SIDE = 16
"""Images are averaged down to so many pixels a side for the baseline: more of them only cost time."""


def majority_baseline(
    labels: np.ndarray, *, groups: np.ndarray | None = None, metric: str = "accuracy", seed: int = 0
) -> Baseline:
    """Score the prediction of the commonest class for every row.

    Args:
        labels: (n,) numbers of the rows' classes.
        groups: (n,) numbers; the bootstrap draws rows of equal ones together. None draws every row alone.
        metric: the one that gives the score (`tuner.tasks.metrics.METRICS`).
        seed: of the bootstrap.
    """
    predictions = np.full(len(labels), np.bincount(labels).argmax())
    return _classified(labels, predictions, metric=metric, groups=groups, seed=seed, method="the commonest class")


def tfidf_baseline(
    texts: Sequence[str],
    labels: np.ndarray,
    *,
    folds: np.ndarray,
    groups: np.ndarray | None = None,
    metric: str = "accuracy",
    seed: int = 0,
) -> Baseline | None:
    """Score logistic regression on TF-IDF over words and word pairs, cross-validated.

    Args:
        texts: n of them.
        labels: (n,) numbers of the rows' classes.
        folds: (n,) numbers of the folds that rows are held out in (`advisor.measures.folds.assign_folds`).
        groups: (n,) numbers; the bootstrap draws rows of equal ones together. None draws every row alone.
        metric: the one that gives the score (`tuner.tasks.metrics.METRICS`).
        seed: of the bootstrap.

    Returns:
        the baseline; None where no text holds a word of two letters.
    """
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
        with one_thread():
            classifier.fit(x, labels[train])
        predictions[held_out] = classifier.predict(vectorizer.transform([texts[int(row)] for row in held_out]))
    return _classified(
        labels, predictions, metric=metric, groups=groups, seed=seed, method="TF-IDF with logistic regression"
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
    """Score logistic regression on pixels as the model is fed them, cross-validated.

    Args:
        pixels: (n, c, h, w) images, which are averaged down to `PIXEL_SIDE` a side.
        labels: (n,) numbers of the rows' classes.
        folds: (n,) numbers of the folds that rows are held out in (`advisor.measures.folds.assign_folds`).
        groups: (n,) numbers; the bootstrap draws rows of equal ones together. None draws every row alone.
        metric: the one that gives the score (`tuner.tasks.metrics.METRICS`).
        seed: of the bootstrap.
    """
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
    return _classified(
        labels, predictions, metric=metric, groups=groups, seed=seed, method="logistic regression on the pixels"
    )


def small_pixels(pixels: np.ndarray) -> np.ndarray:
    """Average (n, c, h, w) images down to (n, c * side * side) floats, each value the mean of a patch.

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


# --- words of sentences


HASHED = 2**18
"""Columns that the features of words are hashed to: against four times as many, scores moved by less than a point."""
LONGEST_AFFIX = 3


def outside_baseline(truth: Truth) -> Baseline:
    """Tag every word as outside of entities: that finds none, so its F1 is 0, whatever the data."""
    return Baseline(
        score=truth.score(np.full(len(truth.labels), OUTSIDE)), interval=(0.0, 0.0), method="every word tagged O"
    )


def lookup_baseline(words: Sequence[Sequence[str]], truth: TagTruth, *, folds: np.ndarray, seed: int = 0) -> Baseline:
    """Look up entities that the other folds' sentences show with one type only, the longest first.

    It is the baseline of CoNLL-2003 (Tjong Kim Sang & De Meulder 2003).

    Args:
        words: of n sentences.
        truth: the tags of these words.
        folds: (n,) numbers of the folds that sentences are held out in (`advisor.measures.words.sentence_folds`).
        seed: of the bootstrap.
    """
    assert truth.n_words is not None
    predictions = np.full(len(truth.labels), OUTSIDE, dtype=np.int64)
    for fold in range(int(folds.max()) + 1):
        train, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        known = _known_entities([words[int(row)] for row in train], truth.take(train))
        longest = max(map(len, known), default=0)
        found = [_look_up(words[int(row)], known, longest=longest) for row in held_out]
        predictions[places_of(truth.n_words, held_out)] = np.concatenate(found)
    return _scored(truth, predictions, method="entities looked up in the training sentences", seed=seed)


def _known_entities(words: Sequence[Sequence[str]], truth: TagTruth) -> dict[tuple[str, ...], tuple[int, ...]]:
    """The words of entities that have one type only, with the tags they have most often."""
    tags: dict[tuple[str, ...], Counter[tuple[int, ...]]] = {}
    for sentence, numbers in zip(words, _by_sentence(truth), strict=True):
        for entity in find_entities([truth.names[number] for number in numbers]):
            phrase = tuple(sentence[entity.start : entity.stop])
            tags.setdefault(phrase, Counter())[tuple(numbers[entity.start : entity.stop])] += 1
    return {
        phrase: counts.most_common(1)[0][0]
        for phrase, counts in tags.items()
        if len({truth.names[row[0]][2:] for row in counts}) == 1
    }


def _by_sentence(truth: TagTruth) -> Iterator[list[int]]:
    assert truth.n_words is not None
    ends = np.cumsum(truth.n_words)
    for end, n in zip(ends.tolist(), truth.n_words.tolist(), strict=True):
        yield truth.labels[end - n : end].tolist()


def _look_up(sentence: Sequence[str], known: dict[tuple[str, ...], tuple[int, ...]], *, longest: int) -> np.ndarray:
    """The tags of a sentence's words by the entities that are known, from left to right."""
    tags = np.full(len(sentence), OUTSIDE, dtype=np.int64)
    start = 0
    while start < len(sentence):
        for size in range(min(longest, len(sentence) - start), 0, -1):
            found = known.get(tuple(sentence[start : start + size]))
            if found is not None:
                tags[start : start + size] = found
                start += size - 1
                break
        start += 1
    return tags


def token_baseline(
    words: Sequence[Sequence[str]], truth: TagTruth, *, folds: np.ndarray, seed: int = 0
) -> Baseline | None:
    """Score a linear model of every word: itself, its neighbours, its beginning, end and shape (`word_cues`).

    Args:
        words: of n sentences.
        truth: the tags of these words.
        folds: (n,) numbers of the folds that sentences are held out in (`advisor.measures.words.sentence_folds`).
        seed: of the model's fit and of the bootstrap.

    Returns:
        the baseline; None where the sentences of a fold's training part show one tag only.
    """
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.linear_model import SGDClassifier

    cues = [cue for sentence in words for cue in word_cues(sentence)]
    x = FeatureHasher(HASHED, input_type="string", alternate_sign=False, dtype=np.float32).transform(cues)
    predictions = np.full(len(truth.labels), OUTSIDE, dtype=np.int64)
    for fold in range(int(folds.max()) + 1):
        train = places_of(truth.n_words, np.flatnonzero(folds != fold))
        held_out = places_of(truth.n_words, np.flatnonzero(folds == fold))
        if len(np.unique(truth.labels[train])) < 2:
            return None
        # Averaged weights: the last ones alone depend on the order of the words.
        classifier = SGDClassifier(loss="log_loss", alpha=1e-6, max_iter=8, tol=None, average=True, random_state=seed)
        classifier.fit(x[train], truth.labels[train])
        predictions[held_out] = classifier.predict(x[held_out])
    return _scored(truth, predictions, method="a linear model of words, their neighbours and shapes", seed=seed)


def word_cues(sentence: Sequence[str]) -> list[list[str]]:
    """List what a linear model is told of every word, as texts: the words around it, its affixes and its shape.

    >>> word_cues(["In", "Oslo"])[1][:9]
    ['w=oslo', 'W=Oslo', 's=Xx', '-1=in', '-2=', '-1s=Xx', '+1=', '+2=', '+1s=']
    >>> word_cues(["In", "Oslo"])[1][9:]
    ['<o', 'o>', '<os', 'lo>', '<osl', 'slo>']
    """
    small = ["", "", *(word.lower() for word in sentence), "", ""]
    shapes = ["", "", *map(word_shape, sentence), "", ""]
    rows = []
    for at, word in enumerate(sentence, 2):
        row = [f"w={small[at]}", f"W={word}", f"s={shapes[at]}"]
        row += [f"-1={small[at - 1]}", f"-2={small[at - 2]}", f"-1s={shapes[at - 1]}"]
        row += [f"+1={small[at + 1]}", f"+2={small[at + 2]}", f"+1s={shapes[at + 1]}"]
        for size in range(1, LONGEST_AFFIX + 1):
            row += [f"<{small[at][:size]}", f"{small[at][-size:]}>"]
        rows.append(row)
    return rows


def word_shape(word: str) -> str:
    """Write a word with capitals as X, other letters as x, digits as 0; what repeats stands once.

    >>> word_shape("McDonald's"), word_shape("B-52"), word_shape("@anna")
    ("XxXx'x", 'X-0', '@x')
    """
    shape = ""
    for letter in word:
        kind = "0" if letter.isdigit() else letter if not letter.isalpha() else "X" if letter.isupper() else "x"
        shape += kind if not shape.endswith(kind) else ""
    return shape


def _classified(
    labels: np.ndarray, predictions: np.ndarray, *, metric: str, groups: np.ndarray | None, seed: int, method: str
) -> Baseline:
    scores = scores_by_metric(labels, predictions, groups=groups, seed=seed)
    return Baseline(score=scores[metric].score, interval=scores[metric].interval, method=method, metrics=scores)


def _scored(truth: Truth, predictions: np.ndarray, *, method: str, seed: int) -> Baseline:
    return Baseline(score=truth.score(predictions), interval=truth.interval(predictions, seed=seed), method=method)
