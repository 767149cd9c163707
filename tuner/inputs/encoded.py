"""Rows as a model reads them, whatever they are: what everything after an input knows of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

import numpy as np

IGNORED = -100
"""The label of tokens that no loss counts: torch's and transformers' convention."""


class Encoded(Protocol):
    """n encoded rows, with N units that are labelled: the rows themselves, or the words in them.

    Labels of all units stand below each other in one array, those of a row together.
    """

    def __len__(self) -> int: ...

    @property
    def lengths(self) -> np.ndarray:
        """(n,) pieces that a row is padded by: tokens of a text, 1 for an image."""

    @property
    def per_row(self) -> np.ndarray:
        """(n,) how many labelled units are in every row."""

    @property
    def n_labelled(self) -> int:
        """N, the labelled units of all rows."""

    @property
    def seen(self) -> np.ndarray:
        """(N,) whether the model sees a unit; what it does not see has logits of zero."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one row as a model is fed it; () where rows are looked up in a table first."""

    @property
    def feature_type(self) -> type[np.floating[Any]]:
        """What pooled states of the units are kept as."""

    def pooling(self, default: str) -> str:
        """How states become one vector a unit (`tuner.model.backbone.pool`), where the model's own way is `default`."""

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where the units of some rows stand among all N."""

    def pick(self, values: Any, rows: np.ndarray) -> tuple[np.ndarray, Any]:
        """Of a batch of these rows, the units that are seen: their places among all N, and their values.

        `values` are an array or tensor: (b, ...) where rows are labelled, (b, t, ...) where words in them are.
        """

    def targets(self, labels: np.ndarray, rows: np.ndarray, *, width: int) -> np.ndarray:
        """What the loss of a batch of these rows is computed against.

        Where rows are labelled, their (b, ...) labels; where words in them are, (b, `width`) with `IGNORED` at tokens
        that have none. `labels` are those of all units. Views of rows stand below the rows themselves, and have the
        same labels.
        """

    def notes(self, what: str) -> tuple[str, ...]:
        """What the model does not see of these rows, said of `what`, such as "training sentences"."""

    def take(self, rows: Sequence[int] | np.ndarray) -> Encoded:
        """Some of the rows, in the order asked for."""

    def joined(self, other: Self) -> Encoded:
        """These rows and others of the same kind below them."""

    def digest(self) -> str:
        """SHA-256 of the content."""


class WholeRows:
    """The part of `Encoded` that is the same for all rows that are labelled as a whole."""

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def per_row(self) -> np.ndarray:
        """(n,) ones: every row is one labelled unit."""
        return np.ones(len(self), dtype=np.int64)

    @property
    def n_labelled(self) -> int:
        """The number of rows, each of which is labelled."""
        return len(self)

    @property
    def seen(self) -> np.ndarray:
        """(n,) all true: the model sees every row."""
        return np.ones(len(self), dtype=bool)

    @property
    def feature_type(self) -> type[np.floating[Any]]:
        """Pooled states are kept in single precision."""
        return np.float32

    def pooling(self, default: str) -> str:
        """The model's own way, `default`."""
        return default

    def places(self, rows: np.ndarray) -> np.ndarray:
        """The positions of the rows themselves, which are the units."""
        return rows

    def pick(self, values: Any, rows: np.ndarray) -> tuple[np.ndarray, Any]:
        """The positions of the rows, and all values."""
        return rows, values

    def targets(self, labels: np.ndarray, rows: np.ndarray, *, width: int) -> np.ndarray:
        """(b, ...) labels of some rows, or of what they are views of."""
        taken: np.ndarray = labels[rows % len(labels)]
        return taken

    def notes(self, what: str) -> tuple[str, ...]:
        """No notes: the model sees every row."""
        return ()
