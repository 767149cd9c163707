"""Which rows are held out together when something is cross-validated."""

from __future__ import annotations

import numpy as np

from advisor.data.quantiles import quantiles_of
from advisor.data.stratify import rarest_of
from tuner.errors import DataError

FOLDS = 5


def assign_folds(
    labels: np.ndarray, *, groups: np.ndarray | None = None, n_folds: int = FOLDS, seed: int
) -> np.ndarray:
    """Assign every row to a fold, stratified by class.

    A class with fewer rows than folds is spread over as many as it has. Without groups every class is shuffled and
    dealt out in turn, starting where the last class stopped, so that the folds stay equally large.

    Args:
        labels: (n,) numbers of the rows' classes. Rows with several labels, (n, L) zeros and ones, are stratified by
            the rarest one of each, numbers to predict, (n,) floats, by their quantiles.
        groups: (n,) numbers of what shares a fold; None deals out every row alone.
        n_folds: folds to make; with groups, fewer where there are not as many groups, or rows of any class.
        seed: of the shuffle.

    Returns:
        (n,) numbers of folds, from 0.

    Raises:
        DataError: where too few groups leave one class to learn from.
    """
    if labels.ndim == 2:
        labels = rarest_of(labels)
    elif np.issubdtype(labels.dtype, np.floating):
        labels = quantiles_of(labels)
    if groups is not None:
        return _group_folds(labels, groups=groups, n_folds=n_folds, seed=seed)
    generator = np.random.default_rng(seed)
    order = np.concatenate([generator.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    folds = np.empty(len(labels), dtype=np.int64)
    folds[order] = np.arange(len(labels)) % n_folds
    return folds


def _group_folds(labels: np.ndarray, *, groups: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    from sklearn.model_selection import StratifiedGroupKFold

    n_folds = min(n_folds, len(np.unique(groups)), int(np.bincount(labels).max()))
    folds = np.zeros(len(labels), dtype=np.int64)
    if n_folds >= 2:
        splitter = StratifiedGroupKFold(n_splits=n_folds, shuffle=True, random_state=seed)
        for fold, (_, held_out) in enumerate(splitter.split(labels, labels, groups)):
            folds[held_out] = fold
    if n_folds < 2 or any(len(np.unique(labels[folds != fold])) < 2 for fold in range(n_folds)):
        raise DataError(
            f"the training rows form {len(np.unique(groups)):,} groups (equal texts, or those of --group): too few to "
            "be cross-validated",
            why="with one group held out, the rows that are left show one class only",
            fix="add different texts, or pass --group with a column of more and smaller groups",
        )
    return folds
