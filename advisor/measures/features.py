"""A stratified sample of the target data, embedded once: pooled features of every block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from advisor.measures.folds import assign_folds
from advisor.measures.probed import ProbedRows
from tuner.tasks.heads import Standardised

if TYPE_CHECKING:
    from tuner.inputs.images import Pixels
    from tuner.model.backbone import Features
    from tuner.tasks.base import Task
    from tuner.tasks.truth import Truth


@dataclass(frozen=True, kw_only=True)
class BlockFeatures:
    """Features of the sampled training rows, each of which has a class.

    ``features`` are (n, width) float32 of every block, ``labels`` and ``lengths`` (tokens, special ones included; 1 an
    image) are (n,), ``rows`` are the positions in the target data; rows of equal ``groups`` (n,) stay in one fold.
    ``texts`` are empty where the rows are not texts. ``truncated`` is the share of texts cut to the model's length,
    ``unknown`` that of tokens which the vocabulary lacks; ``warnings`` say what could not be read and is no row here,
    and how the rest was adapted.
    """

    rows: np.ndarray
    texts: tuple[str, ...] = ()
    features: Features
    labels: np.ndarray
    groups: np.ndarray | None
    lengths: np.ndarray
    truncated: float = 0.0
    unknown: float = 0.0
    warnings: tuple[str, ...] = ()

    @property
    def n_probed(self) -> int:
        """Rows that probes and baselines learn from, the first ones."""
        return len(self.labels)

    @property
    def probed_groups(self) -> np.ndarray | None:
        """Groups, (n,), of the rows that probes and baselines learn from; None where rows have none."""
        return None if self.groups is None else self.groups[: self.n_probed]

    def truth(self, task: Task, *, metric: str) -> Truth:
        """What predictions of the rows that probes learn from are scored against."""
        return task.truth(self.labels, metric=metric, groups=self.groups)

    def folds(self, *, seed: int) -> np.ndarray:
        """The fold of every row that probes and baselines learn from."""
        return assign_folds(self.labels, groups=self.groups, seed=seed)

    def probed(self, *, task: Task, metric: str, seed: int) -> ProbedRows:
        """The rows that probes learn from, with their features, truth and folds."""
        truth = self.truth(task, metric=metric)
        return ProbedRows(x=Standardised(self.features), truth=truth, folds=self.folds(seed=seed), task=task)


@dataclass(frozen=True, kw_only=True)
class PictureFeatures(BlockFeatures):
    """Features of images, with the ``pixels`` that the model was fed."""

    pixels: Pixels


def sample_rows(labels: np.ndarray, *, size: int, seed: int) -> np.ndarray:
    """Draw a stratified sample of positions, in random order: every class by its share, but two rows where it has them.

    >>> sorted(sample_rows(np.array([0] * 8 + [1, 1]), size=5, seed=0).tolist())[-2:]
    [8, 9]
    """
    generator = np.random.default_rng(seed)
    if size >= len(labels):
        return generator.permutation(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * size / len(labels)
    take = np.maximum(np.floor(exact).astype(int), np.minimum(counts, 2))
    for index in np.argsort(-(exact - np.floor(exact)), kind="stable"):
        if take.sum() >= size:
            break
        take[index] = min(take[index] + 1, counts[index])
    while take.sum() > size and (take > 2).any():  # the guaranteed rows of rare classes come out of the common ones
        take[np.argmax(np.where(take > 2, take - exact, -np.inf))] -= 1
    parts = [
        generator.choice(np.flatnonzero(labels == label), size=wanted, replace=False)
        for label, wanted in zip(classes, take, strict=True)
    ]
    return generator.permutation(np.concatenate(parts))
