"""Token ids of texts, and of sentences of words: what a tokenizer makes of rows, before they become batches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

ENCODED_AT_ONCE = 8192


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Token ids of some texts, special tokens included, cut to the model's length.

    ``types`` of a pair's tokens are 0 in the first text and 1 in the second; None where all texts stand alone. Of
    sentences of words, ``first`` holds for every one a (words,) array: the position in its token ids of each word's
    first subword, -1 for a word without a token (`tuner.inputs.alignment`).
    """

    input_ids: tuple[np.ndarray, ...]
    truncated: np.ndarray
    types: tuple[np.ndarray, ...] | None = None
    first: tuple[np.ndarray, ...] | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens a row, special tokens included."""
        return np.fromiter((len(ids) for ids in self.input_ids), dtype=np.int64, count=len(self.input_ids))

    def take(self, rows: Sequence[int] | np.ndarray) -> Tokens:
        """Some of the rows, in the order asked for."""
        return Tokens(
            input_ids=tuple(self.input_ids[int(row)] for row in rows),
            truncated=self.truncated[np.asarray(rows, dtype=np.int64)],
            types=None if self.types is None else tuple(self.types[int(row)] for row in rows),
            first=None if self.first is None else tuple(self.first[int(row)] for row in rows),
        )

    def joined(self, other: Tokens) -> Tokens:
        """These rows and others of the same kind below them."""
        return Tokens(
            input_ids=self.input_ids + other.input_ids,
            truncated=np.concatenate([self.truncated, other.truncated]),
            types=None if self.types is None or other.types is None else self.types + other.types,
            first=None if self.first is None or other.first is None else self.first + other.first,
        )

    def digest(self) -> str:
        """SHA-256 of the content."""
        digest = hashlib.sha256(self.lengths.tobytes())
        for ids in (*self.input_ids, *(self.types or ()), *(self.first or ())):
            digest.update(ids.tobytes())
        return digest.hexdigest()

    @cached_property
    def n_words(self) -> np.ndarray:
        """(n,) words a sentence; of texts that are no sentences of words 1 each, since they are labelled as a whole."""
        if self.first is None:
            return np.ones(len(self), dtype=np.int64)
        return np.fromiter((len(words) for words in self.first), dtype=np.int64, count=len(self.first))

    @cached_property
    def word_begins(self) -> np.ndarray:
        """(n,) place of every sentence's first word among the words of all sentences."""
        begins: np.ndarray = np.cumsum(self.n_words) - self.n_words
        return begins

    @cached_property
    def seen(self) -> np.ndarray:
        """(N,) whether the model sees a word, for the words of all sentences below each other."""
        if self.first is None:
            return np.ones(len(self), dtype=bool)
        return np.concatenate([np.zeros(0, dtype=bool), *(words >= 0 for words in self.first)])

    def words_in(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the words that the model sees in some sentences: place among all words, which of `rows`, and its token."""
        assert self.first is not None
        places, sentences, tokens = [], [], []
        for position, row in enumerate(rows):
            seen = np.flatnonzero(self.first[int(row)] >= 0)
            places.append(self.word_begins[int(row)] + seen)
            sentences.append(np.full(len(seen), position))
            tokens.append(self.first[int(row)][seen])
        return tuple(np.concatenate(part).astype(np.int64) for part in (places, sentences, tokens))  # type: ignore[return-value]
