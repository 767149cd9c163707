"""Words and subwords: sentences of words become token ids, and every word knows the token that speaks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tuner.errors import ModelError
from tuner.inputs.sentences import Sentences
from tuner.inputs.tokens import ENCODED_AT_ONCE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode_words(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[Sequence[str]], *, max_length: int) -> Sentences:
    """Token ids of sentences of words, cut to `max_length` tokens, and the position of each word's first subword.

    The words are joined by single spaces and tokenized as that text, so a tokenizer that marks spaces (byte-level BPE,
    SentencePiece) marks the beginnings of words, and the ids are those of the text. A word's first subword is the first
    token that covers any of its characters. Raises `ModelError` for a tokenizer that does not say which characters its
    tokens cover.

    >>> from tuner.model.assemble import load_backbone
    >>> tokenizer = load_backbone(device="cpu").tokenizer
    >>> encoded = encode_words(tokenizer, [["Waltengoo", "Nar", "sleeps"]], max_length=7)
    >>> tokenizer.convert_ids_to_tokens(encoded.input_ids[0])
    ['[CLS]', 'walt', '##eng', '##oo', 'na', '##r', '[SEP]']
    >>> encoded.first[0].tolist()
    [1, 4, -1]
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"{type(tokenizer).__name__} does not say which characters its tokens cover",
            why="every word's tag is read at its first token",
            fix="use a model with a fast tokenizer (tokenizer.json in its folder)",
        )
    pad = tokenizer.pad_token_id
    # An empty text has no token at all where the tokenizer adds none of its own; a padding token stands for it.
    filler = np.array([0 if pad is None else int(pad)], dtype=np.int32)
    ids: list[np.ndarray] = []
    first: list[np.ndarray] = []
    truncated = np.zeros(len(tokens), dtype=bool)
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
            ids.append(np.asarray(encoding.ids, dtype=np.int64).astype(np.int32) if len(encoding.ids) else filler)
            truncated[row] = bool(encoding.overflowing)
            first.append(_first_subwords(words, encoding.offsets))
    return Sentences(input_ids=tuple(ids), truncated=truncated, first=tuple(first))


def _first_subwords(words: Sequence[str], spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """(words,) positions of first subwords among tokens with these spans of characters."""
    owner: list[int] = []  # of every character of the joined text, the word; -1 for the spaces between
    for index, word in enumerate(words):
        owner += [index] * len(word) + [-1]
    first = np.full(len(words), -1, dtype=np.int32)
    for position, (begin, end) in enumerate(spans):  # of special tokens, which cover nothing, the two are equal
        for index in owner[begin:end]:
            if index >= 0 and first[index] < 0:
                first[index] = position
    return first
