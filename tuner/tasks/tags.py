"""A tag for every word of a sentence, such as those of entities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from tuner.inputs.base import NativeHead
from tuner.inputs.encoded import Encoded
from tuner.inputs.given import SENTENCES, Form
from tuner.tasks.assessment import assess_calibration
from tuner.tasks.entities import EntityScores, bootstrap_f1, entity_counts, f1_interval, f1_of, score_entities
from tuner.tasks.heads import L2_GRID
from tuner.tasks.imbalance import Offsets
from tuner.tasks.metrics import OF_TAGS
from tuner.tasks.one_of import OneOf
from tuner.tasks.truth import Truth

ENTITY_F1 = OF_TAGS
OUTSIDE = 0
"""The number of the tag of words outside of entities, ``O``: the first of a task's tags."""
PENALTY_WORDS, HEAD_WORDS = 15_000, 50_000
"""Words on which the penalty of a linear head is chosen at most, and on which the head is then fitted."""
LEAST_SENTENCES = 5
TOKEN_HEAD = NativeHead(
    auto="AutoModelForTokenClassification",
    mapping="MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING",
    pipeline="token-classification",
    described="A tagger of words",
    per_token=True,
)
CARD_NOTES = """
A word's tag is the one at its first token, which `advisor predict` reads, or in Python
`TransferModel.from_pretrained("path/to/this/folder").predict([["EU", "rejects", "lamb", "."]])` of `tuner.export`.
"""


@dataclass(frozen=True, kw_only=True)
class TagTruth:
    """The tags of the words of n sentences, with the metric that predictions are scored by (`tuner.tasks.truth.Truth`).

    ``labels`` are the (N,) numbers of the words' tags, sentence below sentence, whose names are ``names``; the
    sentences have ``n_words`` (n,) words. Sentences of equal ``groups`` (n,) are drawn together by the bootstrap.

    >>> tags = TagTruth(labels=np.array([1, 2, 0]), n_words=np.array([2, 1]), names=("O", "B-a", "I-a"))
    >>> tags.score(np.array([1, 2, 0])), tags.score(np.array([1, 0, 0]))
    (1.0, 0.0)
    """

    labels: np.ndarray
    n_words: np.ndarray
    names: tuple[str, ...]
    metric: str = ENTITY_F1
    groups: np.ndarray | None = None

    def score(self, predictions: np.ndarray) -> float:
        """Entity F1 of the (N,) predicted tags, 0 to 1."""
        return float(f1_of(self._counts(predictions).sum(0)))

    @property
    def n_units(self) -> int:
        """Number of sentences that the bootstrap draws from, or of groups where there are some."""
        return len(self.n_words if self.groups is None else np.unique(self.groups))

    def draws(self, predictions: np.ndarray, *, seed: int) -> np.ndarray:
        """(r,) scores of sentences drawn with replacement; equal seeds draw equal ones, for paired differences."""
        return bootstrap_f1(self._counts(predictions), groups=self.groups, seed=seed)

    def interval(self, predictions: np.ndarray, *, seed: int) -> tuple[float, float]:
        """95 % confidence interval of the score over sentences, or groups."""
        return f1_interval(self._counts(predictions), groups=self.groups, seed=seed)

    def by_type(self, predictions: np.ndarray) -> EntityScores:
        """Scores of every type of entity."""
        return score_entities(self._gold, self._named(predictions))

    def take(self, rows: np.ndarray) -> TagTruth:
        """The truth of some sentences, in the order of `rows`."""
        groups = None if self.groups is None else self.groups[rows]
        return replace(self, labels=self.labels[self.places(rows)], groups=groups, n_words=self.n_words[rows])

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Places of the words of some sentences among those of all."""
        return places_of(self.n_words, rows)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Repeat values of the sentences, (n,), for each of their words, (N,)."""
        return np.repeat(values, self.n_words)

    def assess(
        self, logits: np.ndarray, *, temperature: float | None, seen: np.ndarray | None = None, seed: int = 0
    ) -> dict[str, Any]:
        """``metrics``, ``entities`` by type, and ``calibration`` (`tuner.tasks.truth.Truth.assess`)."""
        predicted = logits.argmax(1)
        interval = self.interval(predicted, seed=seed)
        units = np.arange(len(self.n_words))
        if self.groups is not None:
            units = np.unique(self.groups, return_inverse=True)[1]
        return {
            "metrics": {self.metric: {"score": self.score(predicted), "interval": interval}},
            "entities": self.by_type(predicted).to_json(),
        } | assess_calibration(
            logits, self.labels, temperature=temperature, seen=seen, groups=self.spread(units), seed=seed
        )

    def _counts(self, predictions: np.ndarray) -> np.ndarray:
        return entity_counts(self._gold, self._named(predictions))

    @cached_property
    def _gold(self) -> list[list[str]]:
        return self._named(self.labels)

    def _named(self, numbers: np.ndarray) -> list[list[str]]:
        """Numbers of the words' tags as the names of every sentence."""
        return by_sentence([self.names[number] for number in numbers.tolist()], self.n_words)


def by_sentence(values: Sequence[str], n_words: Sequence[int] | np.ndarray) -> list[list[str]]:
    """Split the values of all words into a list for every sentence.

    >>> by_sentence(["a", "b", "c"], [2, 0, 1])
    [['a', 'b'], [], ['c']]
    """
    counts = np.asarray(n_words, dtype=np.int64)
    ends = np.cumsum(counts).tolist()
    return [list(values[end - words : end]) for end, words in zip(ends, counts.tolist(), strict=True)]


def places_of(n_words: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
    """Places of the words of some sentences among those of all; without words, the rows themselves.

    >>> places_of(np.array([2, 1, 3]), np.array([2, 0])).tolist()
    [3, 4, 5, 0, 1]
    """
    if n_words is None:
        return rows
    begins = np.cumsum(n_words) - n_words
    parts = [np.arange(begins[row], begins[row] + n_words[row]) for row in rows]
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


@dataclass(frozen=True, kw_only=True)
class Tags(OneOf):
    """Every word has one tag, whose ``names`` are in the order of the labels' numbers, ``O`` first."""

    names: tuple[str, ...]
    metrics: ClassVar[tuple[str, ...]] = (ENTITY_F1,)
    held: ClassVar[str] = "tagged words"
    unit: ClassVar[str] = "word"
    tops: ClassVar[tuple[str, ...]] = ("linear", "bilstm")
    penalties: ClassVar[tuple[float, ...]] = L2_GRID

    @property
    def as_saved(self) -> Self:
        """The task itself: a saved model has the same one."""
        return self

    @classmethod
    def of_config(cls, config: Any) -> Tags | None:
        """Tags, where the configuration says that the head reads every token; else None."""
        native = any(name.endswith("ForTokenClassification") for name in getattr(config, "architectures", None) or ())
        if not native and getattr(config, "pooling", None) != "tokens":
            return None
        return cls(names=tuple(config.id2label[index] for index in range(len(config.id2label))))

    def form(self, default: Form) -> Form:
        """Sentences as lists of words."""
        return SENTENCES

    def pooling(self, default: str) -> str:
        """No pooling: every token's state is classified, not their mean."""
        return "tokens"

    def head(self, default: NativeHead) -> NativeHead:
        """transformers' classifiers of tokens."""
        return TOKEN_HEAD

    def misfit(self, policy: str) -> tuple[str, str] | None:
        """Why an augmentation other than masking does not fit: words must stay where their tags are."""
        if policy == "masking":
            return None
        return "the data is tagged words", "every word keeps its tag; masking changes words and keeps their tags"

    def preferred(self, default: tuple[str, ...]) -> tuple[str, ...]:
        """Masking, which changes words and keeps their places."""
        return ("masking",)

    def probed(self, encoded: Encoded, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Places of seen words in sentences drawn at random: as many as a penalty is chosen on, and as a head fits."""
        order = rng.permutation(len(encoded))
        tried, fitted = (_words_of(encoded, order, most=most) for most in (PENALTY_WORDS, HEAD_WORDS))
        return tried, fitted

    def probe_note(self, n: int) -> str | None:
        """A note on how many of n training words heads are fitted on; None where that is all of them."""
        return f"linear heads are fitted on {HEAD_WORDS:,} of {n:,} training words" if n > HEAD_WORDS else None

    def decode(self, logits: np.ndarray, *, seen: np.ndarray | None = None) -> np.ndarray:
        """(N,) numbers of the most probable tags; words that are not seen are outside.

        >>> Tags(names=("O", "B-a")).decode(np.array([[0.0, 1.0], [0.0, 1.0]]), seen=np.array([True, False])).tolist()
        [1, 0]
        """
        predictions: np.ndarray = logits.argmax(1)
        if seen is not None:
            predictions[~seen] = OUTSIDE
        return predictions

    def told(self, predictions: np.ndarray, rows: Sequence[Any]) -> list[list[str]]:
        """The list of every sentence's tags."""
        return by_sentence([self.names[index] for index in predictions], [len(words) for words in rows])

    def truth(
        self, labels: np.ndarray, *, metric: str, groups: np.ndarray | None = None, n_words: np.ndarray | None = None
    ) -> TagTruth:
        """The true tags of some sentences, for scoring predictions of them."""
        if n_words is None:
            raise ValueError("pass n_words: tags are scored by sentence")
        return TagTruth(labels=labels, metric=metric, groups=groups, n_words=n_words, names=self.names)

    def choose_offsets(self, logits: np.ndarray, truth: Truth, *, trained_on: np.ndarray, seed: int) -> Offsets:
        """Raise `ValueError`: tags take no offsets, since no metric of tags averages over them."""
        raise ValueError("tags take no offsets")

    @property
    def card_notes(self) -> str:
        """Markdown on which token of a word is read."""
        return CARD_NOTES


def _words_of(encoded: Encoded, order: np.ndarray, *, most: int) -> np.ndarray:
    """Places of the words that are seen in the first sentences of an order, of so many words at most.

    Five sentences are taken at least.
    """
    enough = int((np.cumsum(encoded.per_row[order]) <= most).sum())
    words = encoded.places(order[: max(enough, LEAST_SENTENCES)])
    seen: np.ndarray = words[encoded.seen[words]]
    return seen
