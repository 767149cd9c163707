"""Linear heads on frozen features of the training rows, with a cross-validated penalty: fitted once each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuner.inputs.tokens import Tokens
from tuner.model.backbone import Features
from tuner.search.rows import EncodedRows
from tuner.tasks.heads import LinearHead, cross_validate, fit_head, is_weighted, select_features
from tuner.tasks.scoring import places_of

PENALTY_WORDS, HEAD_WORDS = 15_000, 50_000
"""Tagged words on which the penalty of a linear head is chosen at most, and on which the head is then fitted."""


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
        """What a user should know of what they are fitted on."""
        n = len(self._rows.data.train.labels)
        if not self._rows.data.is_tagged or n <= HEAD_WORDS:
            return None
        return f"linear heads are fitted on {HEAD_WORDS:,} of {n:,} training words"

    def on(self, features: str, of: Features, *, class_weighted: bool = False) -> FittedHead:
        """The head on some features.

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
        data, encoded = self._rows.data, self._rows.train
        labels, groups, n = data.train.labels, data.train.groups, len(encoded)
        rng = np.random.default_rng(self._seed)
        distinct, unit = np.unique(np.arange(n) if groups is None else groups, return_inverse=True)
        if len(distinct) < 2:
            distinct = unit = np.arange(n)
        folds = (rng.permutation(len(distinct)) % 5)[unit]
        fitted = tried = np.arange(n)
        if data.is_tagged:
            assert isinstance(encoded, Tokens)
            folds, order = np.repeat(folds, encoded.n_words), rng.permutation(n)
            tried, fitted = (_words_of(encoded, order, most=most) for most in (PENALTY_WORDS, HEAD_WORDS))
        options: dict[str, Any] = {"n_classes": self._rows.n_classes, "weighted": weighted}
        if class_weighted:
            options["class_weights"] = self._rows.class_weights
        some = [block[tried] for block in x]
        chosen = cross_validate(some, labels[tried], folds=np.unique(folds[tried], return_inverse=True)[1], **options)
        return fit_head([block[fitted] for block in x], labels[fitted], l2=chosen.l2, **options), chosen.l2


def _words_of(encoded: Tokens, order: np.ndarray, *, most: int) -> np.ndarray:
    """Places of the words that are seen in the first sentences of an order, five at least, of so many words at most."""
    enough = int((np.cumsum(encoded.n_words[order]) <= most).sum())
    words = places_of(encoded.n_words, order[: max(enough, 5)])
    seen: np.ndarray = words[encoded.seen[words]]
    return seen
