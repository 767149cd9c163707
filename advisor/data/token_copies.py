"""Leakage that only the model sees: texts written differently that its tokenizer reads as the same tokens."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tuner.inputs.pairs import BETWEEN
from tuner.inputs.tokens import Tokens

if TYPE_CHECKING:
    from advisor.data.target import TargetData
    from tuner.model.backbone import Backbone

_LOOKED_AT = 20_000
"""Pairs of texts, at most, that are tokenized: even then the count is of so many rows that it needs no more."""
_NO_LETTERS = re.compile(r"[\W_]+")


def token_copies_note(target: TargetData, backbone: Backbone) -> list[str]:
    """A warning that counts validation and test rows which the model reads as the same tokens as a training row.

    Uncased models lower letters and take accents off, and most tokenizers part punctuation with blanks or without.
    Texts that `advisor.data.splits.fold_text` finds to be equal share their ``text_ids`` and are dealt with already.
    """
    n = count_token_copies(target, backbone)
    if not n:
        return []
    rows = "validation or test row is" if n == 1 else "validation or test rows are"
    return [
        f"leakage: {n:,} {rows} written otherwise than any row of train, but read by {backbone.id} as the same tokens "
        "(such as accents that it ignores, or blanks around punctuation): scores on them are no scores on new texts; "
        "remove such copies, or keep them in one split with --group"
    ]


def count_token_copies(target: TargetData, backbone: Backbone) -> int:
    """Rows of validation and test that have the tokens of a training row, and not its text.

    Only texts with the same letters and digits are tokenized: what a tokenizer reads alike has these alike, but for
    unknown tokens, and two texts that a model cannot read at all are no copies.
    """
    train = target.train
    later = np.concatenate([target.validation, target.test])
    later = later[~np.isin(target.text_ids[later], target.text_ids[train])]
    bare_train, bare_later = _bare_hashes(target.texts_at(train)), _bare_hashes(target.texts_at(later))
    later, bare_later = later[np.isin(bare_later, bare_train)], bare_later[np.isin(bare_later, bare_train)]
    later, bare_later = later[:_LOOKED_AT], bare_later[:_LOOKED_AT]
    if not len(later):
        return 0
    alike = train[np.isin(bare_train, bare_later)]
    encoded = backbone.encode(target.texts_at(np.concatenate([alike, later])))
    assert isinstance(encoded, Tokens)
    tokens = [ids.tobytes() for ids in encoded.input_ids]
    of_train = set(tokens[: len(alike)])
    return sum(ids in of_train for ids in tokens[len(alike) :])


def _bare_hashes(texts: Sequence[str]) -> np.ndarray:
    """A number for the letters and digits of each text, without case and accents; pairs stay parted."""
    return np.fromiter((hash(_bare(text)) for text in texts), np.int64, len(texts))


def _bare(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
    return BETWEEN.join(_NO_LETTERS.sub("", part.casefold()) for part in text.split(BETWEEN))
