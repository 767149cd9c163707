"""Token ids of sentences of words, of which every word is labelled at its first token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from tuner.inputs.encoded import IGNORED
from tuner.inputs.tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class Sentences(Tokens):
    """Sentences of words as token ids.

    ``first`` holds for every one a (words,) array: the position in its token ids of each word's first subword, -1 for a
    word without a token (`tuner.inputs.alignment`).
    """

    first: tuple[np.ndarray, ...]

    def as_texts(self) -> Tokens:
        """The same tokens as texts that are labelled as a whole."""
        return Tokens(input_ids=self.input_ids, truncated=self.truncated, types=self.types)

    @cached_property
    def per_row(self) -> np.ndarray:
        """(n,) words in every sentence."""
        return np.fromiter((len(words) for words in self.first), dtype=np.int64, count=len(self.first))

    @property
    def n_labelled(self) -> int:
        """N, the words of all sentences."""
        return int(self.per_row.sum())

    @cached_property
    def word_begins(self) -> np.ndarray:
        """(n,) place of every sentence's first word among the words of all sentences."""
        begins: np.ndarray = np.cumsum(self.per_row) - self.per_row
        return begins

    @cached_property
    def seen(self) -> np.ndarray:
        """(N,) whether the model sees a word, for the words of all sentences below each other."""
        return np.concatenate([np.zeros(0, dtype=bool), *(words >= 0 for words in self.first)])

    @property
    def feature_type(self) -> type[np.floating[Any]]:
        """Half precision: there are many words in a few rows."""
        return np.float16

    def pooling(self, default: str) -> str:
        """Every token keeps its state, whatever the model does by itself."""
        return "tokens"

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where the words of some sentences stand among those of all."""
        parts = [np.arange(self.word_begins[row], self.word_begins[row] + self.per_row[row]) for row in rows]
        return np.concatenate([np.zeros(0, dtype=np.int64), *parts])

    def pick(self, values: Any, rows: np.ndarray) -> tuple[np.ndarray, Any]:
        """Pick, of (b, t, ...) values of tokens, those at the first subwords of the words that are seen."""
        places, sentences, tokens = self._words_in(rows)
        return places, values[sentences, tokens]

    def _words_in(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the words that the model sees in some sentences: place among all words, which of `rows`, and its token."""
        places, sentences, tokens = [], [], []
        for position, row in enumerate(rows):
            seen = np.flatnonzero(self.first[int(row)] >= 0)
            places.append(self.word_begins[int(row)] + seen)
            sentences.append(np.full(len(seen), position))
            tokens.append(self.first[int(row)][seen])
        return tuple(np.concatenate(part).astype(np.int64) for part in (places, sentences, tokens))  # type: ignore[return-value]

    def targets(self, labels: np.ndarray, rows: np.ndarray, *, width: int) -> np.ndarray:
        """(b, width) labels of some sentences' tokens: at first subwords the word's, else `IGNORED`.

        `labels` are the (N,) numbers of all sentences' words, below each other. Where one token covers two words, it
        has the first one's.

        >>> one = Sentences(input_ids=(np.arange(5),), truncated=np.zeros(1, bool), first=(np.array([1, 3, -1]),))
        >>> one.targets(np.array([4, 0, 2]), np.array([0]), width=6).tolist()
        [[-100, 4, -100, 0, -100, -100]]
        """
        found = np.full((len(rows), width), IGNORED, dtype=np.int64)
        places, sentences, tokens = self._words_in(rows)
        of_words = labels[places % len(labels)]  # views of the sentences come one after the other, with the same words
        backwards = np.arange(len(places) - 1, -1, -1)  # of several words in one token, the first one is written last
        found[sentences[backwards], tokens[backwards]] = of_words[backwards]
        return found

    def notes(self, what: str) -> tuple[str, ...]:
        """How many words the model does not see, and why; nothing where it sees every word."""
        unseen = np.array([(words < 0).sum() for words in self.first], dtype=np.int64)
        notes = []
        if self.truncated.any():
            notes.append(
                f"{int(self.truncated.sum()):,} of {len(self):,} {what} are longer than the model's length and were "
                f"cut: {int(unseen[self.truncated].sum()):,} of {self.n_labelled:,} words are not seen and predicted O"
            )
        if dropped := int(unseen[~self.truncated].sum()):
            notes.append(
                f"{dropped:,} of {self.n_labelled:,} words in the {what} have no token (such as control characters) "
                "and are predicted O"
            )
        return tuple(notes)

    def _taken(self, rows: Sequence[int] | np.ndarray) -> dict[str, Any]:
        return super()._taken(rows) | {"first": tuple(self.first[int(row)] for row in rows)}

    def _joined(self, other: Self) -> dict[str, Any]:
        return super()._joined(other) | {"first": self.first + other.first}

    def _viewed(self, copies: int) -> dict[str, Any]:
        return super()._viewed(copies) | {"first": self.first * copies}  # for views that move no token

    def _content(self) -> tuple[np.ndarray, ...]:
        return (*super()._content(), *self.first)
