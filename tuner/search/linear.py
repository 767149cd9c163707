"""Linear heads on frozen features of the training rows, with a cross-validated penalty: fitted once each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuner.model.backbone import Features
from tuner.search.rows import EncodedRows
from tuner.tasks.heads import LinearHead, Standardised, is_weighted, select_features


@dataclass(frozen=True, kw_only=True)
class FittedHead:
    """A linear head, its penalty, and the seconds that fitting it took."""

    head: LinearHead
    l2: float
    seconds: float


class LinearHeads:
    """The linear heads of a search, by the features that they read and whether classes are weighted.

    Args:
        rows: whose training rows they are fitted on.
        seed: of the folds of the cross-validation.
    """

    def __init__(self, rows: EncodedRows, *, seed: int) -> None:
        self._rows, self._seed = rows, seed
        self._fitted: dict[tuple[str, bool], FittedHead] = {}

    @property
    def note(self) -> str | None:
        """A note for the user on the rows that heads are fitted on; None where those are all."""
        return self._rows.task.probe_note(len(self._rows.data.train.labels))

    def on(self, features: str, of: Features, *, class_weighted: bool = False) -> FittedHead:
        """The linear head on some features, fitted where it was not yet.

        Args:
            features: their name, such as "last" (`tuner.tasks.heads.select_features`).
            of: the features of the training rows after every block.
            class_weighted: whether all classes count alike in its loss.
        """
        if (features, class_weighted) not in self._fitted:
            start = time.perf_counter()
            x = select_features(of, name=features)
            head, l2 = self.fit(x, weighted=is_weighted(features), class_weighted=class_weighted)
            found = FittedHead(head=head, l2=l2, seconds=time.perf_counter() - start)
            self._fitted[features, class_weighted] = found
        return self._fitted[features, class_weighted]

    def fit(self, x: Sequence[np.ndarray], *, weighted: bool, class_weighted: bool = False) -> tuple[LinearHead, float]:
        """A linear head on (n, d) blocks of features of the training rows, with its cross-validated penalty."""
        data, encoded, task = self._rows.data, self._rows.train, self._rows.task
        labels, groups, n = data.train.labels, data.train.groups, len(encoded)
        rng = np.random.default_rng(self._seed)
        distinct, unit = np.unique(np.arange(n) if groups is None else groups, return_inverse=True)
        if len(distinct) < 2:
            distinct = unit = np.arange(n)
        folds = np.repeat((rng.permutation(len(distinct)) % 5)[unit], encoded.per_row)
        tried, fitted = task.probed(encoded, rng)
        options: dict[str, Any] = {"weighted": weighted}
        if class_weighted:
            options["class_weights"] = self._rows.class_weights
        some = Standardised([block[tried] for block in x])
        of_tried = np.unique(folds[tried], return_inverse=True)[1]
        chosen = task.cross_validate(some, labels[tried], folds=of_tried, **options)
        whole = some if np.array_equal(tried, fitted) else [block[fitted] for block in x]
        return task.fit_head(whole, labels[fitted], l2=chosen.l2, **options), chosen.l2
