"""Token ids of texts: what a tokenizer makes of rows, before they become batches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from tuner.inputs.encoded import WholeRows

ENCODED_AT_ONCE = 8192


@dataclass(frozen=True, kw_only=True)
class Tokens(WholeRows):
    """Token ids of some texts, special tokens included, cut to the model's length.

    ``types`` of a pair's tokens are 0 in the first text and 1 in the second; None where all texts stand alone.
    """

    input_ids: tuple[np.ndarray, ...]
    truncated: np.ndarray
    types: tuple[np.ndarray, ...] | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(n,) tokens in every row, special tokens included."""
        return np.fromiter((len(ids) for ids in self.input_ids), dtype=np.int64, count=len(self.input_ids))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """No shape: tokens are looked up in a table first."""
        return ()

    def take(self, rows: Sequence[int] | np.ndarray) -> Self:
        """Some of the rows, in the order asked for."""
        return replace(self, **self._taken(rows))

    def _taken(self, rows: Sequence[int] | np.ndarray) -> dict[str, Any]:
        return {
            "input_ids": tuple(self.input_ids[int(row)] for row in rows),
            "truncated": self.truncated[np.asarray(rows, dtype=np.int64)],
            "types": None if self.types is None else tuple(self.types[int(row)] for row in rows),
        }

    def joined(self, other: Self) -> Self:
        """These rows and others of the same kind below them."""
        return replace(self, **self._joined(other))

    def _joined(self, other: Self) -> dict[str, Any]:
        return {
            "input_ids": self.input_ids + other.input_ids,
            "truncated": np.concatenate([self.truncated, other.truncated]),
            "types": None if self.types is None or other.types is None else self.types + other.types,
        }

    def viewed(self, *, input_ids: Sequence[np.ndarray], types: Sequence[np.ndarray] | None, copies: int) -> Self:
        """Several views of all rows, one view after the other, whose tokens are given."""
        return replace(
            self, **self._viewed(copies), input_ids=tuple(input_ids), types=None if types is None else tuple(types)
        )

    def _viewed(self, copies: int) -> dict[str, Any]:
        return {"truncated": np.tile(self.truncated, copies)}

    def digest(self) -> str:
        """SHA-256 of the content."""
        digest = hashlib.sha256(self.lengths.tobytes())
        for ids in self._content():
            digest.update(ids.tobytes())
        return digest.hexdigest()

    def _content(self) -> tuple[np.ndarray, ...]:
        return (*self.input_ids, *(self.types or ()))
