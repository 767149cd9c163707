"""Words and subwords: sentences of words become token ids, and every word knows the token that speaks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from tuner.errors import DataError, ModelError
from tuner.inputs import ENCODED_AT_ONCE, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tuner.backbone import Backbone
    from tuner.records import Progress

IGNORED = -100
"""The label of tokens that no loss counts: torch's and transformers' convention."""


@dataclass(frozen=True, kw_only=True)
class AlignedWords:
    """Token ids of n sentences, and where their words are in them.

    ``first`` holds for every sentence a (words,) array: the position in its token ids of each word's first subword, -1
    for a word without one. ``cut`` and ``dropped`` are (n,) counts of such words: beyond the model's length, and those
    that the tokenizer gives no token for (control characters, empty words).
    """

    encoded: Tokens
    first: tuple[np.ndarray, ...]
    cut: np.ndarray
    dropped: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    @cached_property
    def n_words(self) -> np.ndarray:
        """(n,) words a sentence, those without a token included."""
        return np.fromiter((len(first) for first in self.first), dtype=np.int64, count=len(self.first))

    @cached_property
    def n_seen(self) -> np.ndarray:
        """(n,) words a sentence that the model sees."""
        return np.fromiter(((first >= 0).sum() for first in self.first), dtype=np.int64, count=len(self.first))

    def take(self, rows: Sequence[int] | np.ndarray) -> AlignedWords:
        """Some of the sentences, in the order asked for."""
        positions = np.asarray(rows, dtype=np.int64)
        return AlignedWords(
            encoded=self.encoded.take(positions),
            first=tuple(self.first[int(row)] for row in positions),
            cut=self.cut[positions],
            dropped=self.dropped[positions],
        )

    def notes(self, *, what: str = "sentences") -> tuple[str, ...]:
        """What the model does not see, said; nothing where it sees every word."""
        words, notes = int(self.n_words.sum()), []
        if self.encoded.truncated.any():
            notes.append(
                f"{int(self.encoded.truncated.sum()):,} of {len(self):,} {what} are longer than the model's length and "
                f"were cut: {int(self.cut.sum()):,} of {words:,} words are not seen and predicted O"
            )
        if self.dropped.any():
            notes.append(
                f"{int(self.dropped.sum()):,} of {words:,} words in the {what} have no token (such as control "
                "characters) and are predicted O"
            )
        return tuple(notes)


def encode_words(
    tokenizer: PreTrainedTokenizerBase, tokens: Sequence[Sequence[str]], *, max_length: int
) -> AlignedWords:
    """Token ids of sentences of words, cut to `max_length` tokens, and the position of each word's first subword.

    The words are joined by single spaces and tokenized as that text, so a tokenizer that marks spaces (byte-level BPE,
    SentencePiece) marks the beginnings of words, and the ids are those of the text. A word's first subword is the first
    token that covers any of its characters. Raises `ModelError` for a tokenizer that does not say which characters its
    tokens cover.

    >>> from tuner.backbone import load_backbone
    >>> tokenizer = load_backbone(device="cpu").tokenizer
    >>> aligned = encode_words(tokenizer, [["Waltengoo", "Nar", "sleeps"]], max_length=7)
    >>> tokenizer.convert_ids_to_tokens(aligned.encoded.input_ids[0])
    ['[CLS]', 'walt', '##eng', '##oo', 'na', '##r', '[SEP]']
    >>> aligned.first[0].tolist(), aligned.cut.tolist()
    ([1, 4, -1], [1])
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"{type(tokenizer).__name__} does not say which characters its tokens cover",
            why="every word's tag is read at its first token",
            fix="use a model with a fast tokenizer (tokenizer.json in its folder)",
        )
    pad = tokenizer.pad_token_id
    side = str(tokenizer.truncation_side)
    # An empty text has no token at all where the tokenizer adds none of its own; a padding token stands for it.
    filler = np.array([0 if pad is None else int(pad)], dtype=np.int32)
    ids: list[np.ndarray] = []
    first: list[np.ndarray] = []
    truncated = np.zeros(len(tokens), dtype=bool)
    cut, dropped = np.zeros(len(tokens), dtype=np.int64), np.zeros(len(tokens), dtype=np.int64)
    for start in range(0, len(tokens), ENCODED_AT_ONCE):
        part = tokens[start : start + ENCODED_AT_ONCE]
        batch = tokenizer(
            [" ".join(words) for words in part],
            truncation=True,
            max_length=max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        for row, (words, encoding) in enumerate(zip(part, batch.encodings, strict=True), start):
            ids.append(np.asarray(encoding.ids, dtype=np.int32) if len(encoding.ids) else filler)
            truncated[row] = bool(encoding.overflowing)
            positions, n_cut = _first_subwords(words, encoding.offsets, cut_at=side if truncated[row] else None)
            first.append(positions)
            cut[row], dropped[row] = n_cut, (positions < 0).sum() - n_cut
    encoded = Tokens(input_ids=tuple(ids), truncated=truncated)
    return AlignedWords(encoded=encoded, first=tuple(first), cut=cut, dropped=dropped)


def _first_subwords(
    words: Sequence[str], spans: Sequence[tuple[int, int]], *, cut_at: str | None
) -> tuple[np.ndarray, int]:
    """(words,) positions of first subwords among tokens with these spans of characters, and how many words were cut.

    `cut_at` is the side that lost tokens, left or right.
    """
    owner: list[int] = []  # of every character of the joined text, the word; -1 for the spaces between
    starts: list[int] = []
    for index, word in enumerate(words):
        starts.append(len(owner))
        owner += [index] * len(word) + [-1]
    first = np.full(len(words), -1, dtype=np.int32)
    for position, (begin, end) in enumerate(spans):  # of special tokens, which cover nothing, the two are equal
        for index in owner[begin:end]:
            if index >= 0 and first[index] < 0:
                first[index] = position
    if cut_at is None:
        return first, 0
    kept = [span for span in spans if span[1] > span[0]]
    if cut_at == "left":
        low = kept[0][0] if kept else len(owner)
        beyond = [start + len(word) <= low for start, word in zip(starts, words, strict=True)]
    else:
        high = max((end for _, end in kept), default=0)
        beyond = [start >= high for start in starts]
    return first, sum(beyond)


def label_tokens(aligned: AlignedWords, numbers: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The words' (words,) tag numbers as (tokens,) labels: at first subwords, `IGNORED` elsewhere; to train with.

    Where one token covers two words, it has the first one's. Raises `DataError` where numbers and words differ.

    >>> from tuner.inputs import Tokens
    >>> encoded = Tokens(input_ids=(np.array([101, 7, 8, 9, 102]),), truncated=np.zeros(1, bool))
    >>> one = AlignedWords(encoded=encoded, first=(np.array([1, 3]),), cut=np.zeros(1), dropped=np.zeros(1))
    >>> label_tokens(one, [np.array([4, 0])])[0].tolist()
    [-100, 4, -100, 0, -100]
    """
    _check_words(aligned, numbers)
    labels = []
    for ids, first, tags in zip(aligned.encoded.input_ids, aligned.first, numbers, strict=True):
        row = np.full(len(ids), IGNORED, dtype=np.int64)
        seen = first >= 0
        row[first[seen][::-1]] = np.asarray(tags)[seen][::-1]  # the first word of a token is written last
        labels.append(row)
    return tuple(labels)


def seen_words(aligned: AlignedWords, numbers: Sequence[np.ndarray]) -> np.ndarray:
    """The tag numbers of all words that the model sees, below each other, (N,): the rows of `word_features`.

    Raises `DataError` where numbers and words differ.
    """
    _check_words(aligned, numbers)
    parts = [np.asarray(tags)[first >= 0] for first, tags in zip(aligned.first, numbers, strict=True)]
    return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, dtype=np.int64)


def all_words(aligned: AlignedWords, predictions: np.ndarray, *, outside: int) -> tuple[np.ndarray, ...]:
    """(N,) predictions for the words that the model sees as (words,) for every sentence; the others are `outside`.

    >>> from tuner.inputs import Tokens
    >>> encoded = Tokens(input_ids=(np.arange(4), np.arange(3)), truncated=np.zeros(2, bool))
    >>> zero = np.zeros(2)
    >>> two = AlignedWords(encoded=encoded, first=(np.array([1, -1]), np.array([1])), cut=zero, dropped=zero)
    >>> [row.tolist() for row in all_words(two, np.array([5, 6]), outside=0)]
    [[5, 0], [6]]
    """
    if len(predictions) != int(aligned.n_seen.sum()):
        raise DataError(
            f"{len(predictions):,} predictions for {int(aligned.n_seen.sum()):,} words",
            why="the n-th prediction is of the n-th word that the model sees",
            fix="predict the words of these sentences, all of them and in order",
        )
    rows = []
    start = 0
    for first in aligned.first:
        row = np.full(len(first), outside, dtype=np.int64)
        seen = first >= 0
        row[seen] = predictions[start : start + int(seen.sum())]
        start += int(seen.sum())
        rows.append(row)
    return tuple(rows)


def word_features(
    backbone: Backbone,
    aligned: AlignedWords,
    *,
    dtype: type[np.floating] = np.float32,
    progress: Progress | None = None,
) -> tuple[np.ndarray, ...]:
    """States of the words' first subwords after every block, n_blocks arrays (N, width), in one forward pass.

    N counts the words that the model sees, sentence below sentence. With `dtype` float16 they take half the memory.
    """
    n_seen, n = aligned.n_seen, int(aligned.n_seen.sum())
    begins = np.cumsum(n_seen) - n_seen
    features = tuple(np.empty((n, width), dtype=dtype) for width in backbone.widths)
    done = 0
    for rows in backbone.batches(aligned.encoded):
        inputs = backbone.collate(aligned.encoded, rows)
        with torch.inference_mode(), backbone.autocast():
            states = backbone.states(inputs).states
        seen = [aligned.first[row][aligned.first[row] >= 0] for row in rows]
        sentence = torch.from_numpy(np.repeat(np.arange(len(rows)), n_seen[rows])).to(backbone.device)
        position = torch.from_numpy(np.concatenate(seen).astype(np.int64)).to(backbone.device)
        places = np.concatenate([np.arange(begins[row], begins[row] + n_seen[row]) for row in rows])
        for block, state in enumerate(states):
            features[block][places] = state[sentence, position].float().cpu().numpy()
        done += len(rows)
        if progress is not None:
            progress(f"embedding: {done:,} of {len(aligned):,} sentences", done / len(aligned))
    return features


def _check_words(aligned: AlignedWords, numbers: Sequence[np.ndarray]) -> None:
    lengths = [len(tags) for tags in numbers]
    if lengths != aligned.n_words.tolist():
        raise DataError(
            f"tags of {len(lengths):,} sentences with {sum(lengths):,} words for {len(aligned):,} sentences with "
            f"{int(aligned.n_words.sum()):,} words",
            why="the n-th tag is of the n-th word",
            fix="pass the tags of the sentences that were encoded",
        )
