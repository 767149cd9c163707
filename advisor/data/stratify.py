"""Rows with several labels each are divided so that every part has its share of every label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def stratify(
    marks: NDArray[np.integer[Any]],
    units: NDArray[np.integer[Any]],
    *,
    shares: Sequence[float],
    seed: Sequence[int],
) -> NDArray[np.int64]:
    """The part that each of n rows goes to, (n,) numbers from 0 on, units whole.

    Iterative stratification (Sechidis, Tsoumakas & Vlahavas 2011, "On the stratification of multi-label data"): the
    rarest label that is left is dealt out first, each unit with it to the part that lacks it most; what has no label at
    all counts as one more label.

    Args:
        marks: (n, L) zeros and ones, the labels of the rows.
        units: (n,) numbers of what stays together.
        shares: of the parts, which sum to 1.
        seed: of the order in which units come.

    >>> marks = np.array([[1, 0]] * 6 + [[0, 1]] * 6 + [[1, 1]] * 3)
    >>> part = stratify(marks, np.arange(15), shares=(2 / 3, 1 / 3), seed=(0,))
    >>> marks[part == 1].sum(0).tolist(), int((part == 1).sum())
    ([3, 3], 5)
    """
    unit = np.unique(units, return_inverse=True)[1]
    n_units = int(unit.max()) + 1
    marked = np.concatenate([marks, ~marks.any(1, keepdims=True)], axis=1).astype(np.int64)
    counts = np.stack([np.bincount(unit, weights=column, minlength=n_units) for column in marked.T], axis=1)
    sizes = np.bincount(unit, minlength=n_units)
    order = np.random.default_rng(list(seed)).permutation(n_units)
    lacks = [np.array([share * total for share in shares]) for total in counts.sum(0).tolist()]
    lacks_rows = np.array([share * len(marks) for share in shares])
    left = (counts > 0).sum(0)
    holders = [order[counts[order, label] > 0] for label in range(counts.shape[1])]
    labels_of = [np.flatnonzero(row) for row in counts]
    part = np.full(n_units, -1, dtype=np.int64)
    while left.any():
        rarest = int(np.argmin(np.where(left > 0, left, left.max() + 1)))
        for number in holders[rarest]:
            if part[number] >= 0:
                continue
            wanting = lacks[rarest]
            most = np.flatnonzero(wanting >= wanting.max() - 1e-9)
            chosen = int(most[np.argmax(lacks_rows[most])])
            part[number] = chosen
            lacks_rows[chosen] -= sizes[number]
            for label in labels_of[number]:
                lacks[label][chosen] -= counts[number, label]
                left[label] -= 1
    return np.asarray(part[unit])


def rarest_of(marks: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """The rarest label of every row as its number from 1 on; 0 for rows without any.

    >>> rarest_of(np.array([[1, 1], [1, 0], [0, 0]], dtype=np.int8)).tolist()
    [2, 1, 0]
    """
    order = np.argsort(marks.sum(0), kind="stable")
    first = np.argmax(marks[:, order] > 0, axis=1)
    found: NDArray[np.int32] = np.where(marks.any(1), order[first] + 1, 0).astype(np.int32)
    return found
