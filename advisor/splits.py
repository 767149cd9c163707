"""Dividing rows: what splits are called, numbers for texts, distinct pairs, a stratified choice of whole units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "all": "all",
}
"""What a file, folder or split may be called, and the split it is."""

SPLITS = ("train", "validation", "test")


def number_texts(texts: pa.ChunkedArray) -> NDArray[np.int32]:
    """A number for each distinct text, in order of first appearance.

    Texts are told apart by Python's 64-bit string hash, in batches: a dictionary of a million texts would cost as much
    memory as the texts, and two different ones among them share a hash with a probability of 3 in 100 million.
    """
    import pandas as pd
    import pyarrow as pa

    hashes = np.empty(len(texts), np.int64)
    start = 0
    for batch in pa.table({"text": texts}).to_batches(max_chunksize=1 << 15):
        values = batch.column(0).to_numpy(zero_copy_only=False)
        hashes[start : start + len(values)] = np.fromiter(map(hash, values), np.int64, len(values))
        start += len(values)
    return np.asarray(pd.factorize(hashes)[0], np.int32)


def ids_per_class(ids: NDArray[Any], labels: NDArray[np.int32], n_classes: int) -> NDArray[np.int64]:
    """How many different ids each class has."""
    return np.bincount(distinct_pairs(ids, labels, n_classes) % n_classes, minlength=n_classes)


def distinct_pairs(ids: NDArray[Any], labels: NDArray[np.int32], n_classes: int) -> NDArray[np.int64]:
    """The distinct (id, label) pairs, each as one number."""
    import pandas as pd

    return np.asarray(pd.unique(ids.astype(np.int64) * n_classes + labels))


def labels_per_text(text_ids: NDArray[np.int32], labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """How many different labels each text has."""
    n_classes = int(labels.max()) + 1
    return np.bincount(distinct_pairs(text_ids, labels, n_classes) // n_classes)


def kept_together(text_ids: NDArray[np.integer[Any]], groups: NDArray[np.integer[Any]] | None) -> NDArray[np.int32]:
    """A number for each set of rows that folds must not part: equal texts, equal groups, and what these link.

    >>> kept_together(np.array([0, 1, 0, 2]), None).tolist()
    [0, 1, 0, 2]
    >>> kept_together(np.array([0, 1, 0, 2]), np.array([7, 8, 8, 9])).tolist()
    [0, 0, 0, 1]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    texts = np.asarray(np.unique(text_ids, return_inverse=True)[1], np.int32)
    if groups is None:
        return texts
    own = np.unique(groups, return_inverse=True)[1] + int(texts.max()) + 1
    n = int(own.max()) + 1
    links = coo_array((np.ones(len(texts), np.int8), (texts, own)), shape=(n, n))
    return np.asarray(connected_components(links, directed=False)[1][texts], np.int32)


def carve(
    units: NDArray[np.integer[Any]],
    labels: NDArray[np.int32],
    *,
    share: float,
    most: int,
    keep: int = 1,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Choose `share` of the rows, `most` at most, the same share of every class, whole units only.

    A unit (copies of one text, or the rows of one group) counts for the rarest class it holds, so that rare classes
    are spread. Every class with two units or more has one chosen, and keeps `keep` where it has as many. `units` and
    `labels` have shape (n,), as has the mask that is returned.

    >>> chosen = carve(np.arange(10), np.array([0] * 5 + [1] * 5), share=0.4, most=100, rng=np.random.default_rng(0))
    >>> int(chosen[:5].sum()), int(chosen[5:].sum())
    (2, 2)
    """
    import pandas as pd

    unit = pd.factorize(units)[0].astype(np.int32)
    n_units, class_sizes = int(unit.max()) + 1, np.bincount(labels)
    n_strata = len(class_sizes)
    rarity = np.empty(n_strata, np.int32)
    rarity[np.argsort(class_sizes, kind="stable")] = np.arange(n_strata, dtype=np.int32)
    stratum = np.full(n_units, n_strata, np.int32)
    np.minimum.at(stratum, unit, rarity[labels])
    sizes = np.bincount(unit, minlength=n_units).astype(np.int32)
    totals = np.bincount(stratum, weights=sizes, minlength=n_strata)
    targets = _shares(totals, total=min(round(share * len(labels)), most))

    # Units larger than their class's share come last, smallest first: one huge group must not become the test split.
    too_large = sizes > targets[stratum]
    shuffled = rng.permutation(np.arange(n_units, dtype=np.int32))
    order = np.lexsort((shuffled, np.where(too_large, sizes, 0), too_large, stratum))
    del too_large, shuffled
    stratum, sizes = stratum[order], sizes[order]
    counts = np.bincount(stratum, minlength=n_strata)
    starts = np.cumsum(counts) - counts
    rank = np.arange(n_units, dtype=np.int32) - starts.astype(np.int32)[stratum]
    before = np.cumsum(sizes) - sizes  # rows of the units ahead, first of all units, then of the same class
    before -= before[np.minimum(starts, n_units - 1)][stratum]
    fits = before + sizes / 2 <= targets[stratum]
    enough_stay = rank < counts[stratum] - np.minimum(keep, np.maximum(counts[stratum] - 1, 1))
    chosen = np.zeros(n_units, bool)
    chosen[order] = (fits | (rank == 0)) & enough_stay
    return np.asarray(chosen[unit], bool)


def _shares(totals: NDArray[Any], *, total: int) -> NDArray[np.int64]:
    """Divide `total` in proportion to `totals`, in whole numbers, largest remainders first; none of a class gets 0."""
    exact = total * totals / totals.sum()
    whole = np.floor(exact).astype(np.int64)
    largest = np.argsort(whole - exact, kind="stable")[: total - int(whole.sum())]
    whole[largest] += 1
    return np.where(totals > 0, np.maximum(whole, 1), 0)
