"""The rows that a search is given, in three splits, and how they become what the model is fed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuner.inputs.encoded import Encoded
from tuner.inputs.given import take_rows
from tuner.model.backbone import Backbone
from tuner.records import Progress
from tuner.tasks.base import Task
from tuner.tasks.tags import places_of
from tuner.tasks.truth import Truth


@dataclass(frozen=True, kw_only=True)
class LabelledRows:
    """Texts or images with their class numbers, and the groups that folds keep together where there are some.

    Of sentences, ``rows`` are sequences of words, ``n_words`` (n,) their numbers and ``labels`` the (N,) numbers of the
    words' tags, sentence below sentence.
    """

    rows: Sequence[Any]
    labels: np.ndarray
    groups: np.ndarray | None = None
    n_words: np.ndarray | None = None

    def take(self, positions: np.ndarray) -> LabelledRows:
        """The rows at some positions, in their order."""
        groups, n_words = (None if values is None else values[positions] for values in (self.groups, self.n_words))
        return LabelledRows(
            rows=take_rows(self.rows, positions),
            labels=self.labels[places_of(self.n_words, positions)],
            groups=groups,
            n_words=n_words,
        )

    def joined(self, other: LabelledRows) -> LabelledRows:
        """The labels of these rows and of others below them; the rows themselves are numbers."""
        both = [(self.groups, other.groups), (self.n_words, other.n_words)]
        groups, n_words = (None if a is None or b is None else np.concatenate([a, b]) for a, b in both)
        return LabelledRows(
            rows=range(len(self.rows) + len(other.rows)), labels=np.concatenate([self.labels, other.labels]),
            groups=groups, n_words=n_words,
        )  # fmt: skip

    def truth(self, task: Task, *, metric: str) -> Truth:
        """What is true of these rows, for scoring predictions of them."""
        return task.truth(self.labels, metric=metric, groups=self.groups, n_words=self.n_words)


@dataclass(frozen=True, kw_only=True)
class TuningData:
    """The three splits; validation decides, test is scored once. ``task`` is what is predicted."""

    name: str
    train: LabelledRows
    validation: LabelledRows
    test: LabelledRows
    task: Task
    fingerprint: str
    notes: tuple[str, ...] = ()


def encode_rows(
    backbone: Backbone, part: LabelledRows, *, what: str, progress: Progress | None = None
) -> tuple[Encoded, LabelledRows, tuple[str, ...]]:
    """Encode some rows, without those that could not be read.

    Args:
        backbone: the model that is fed them.
        part: the rows with their labels.
        what: the name of the split, for the warning.
        progress: told how far it is.

    Returns:
        the rows as the model is fed them, those rows, and a warning where some pictures could not be read, or words are
        not seen.

    Raises:
        DataError: where most of them could not be read.
    """
    encoded = backbone.encode(part.rows, progress=progress)
    kept, notes = backbone.inputs.readable(part.rows, what=what)
    if kept is None:
        return encoded, part, encoded.notes(f"{what} sentences")
    return encoded.take(kept), part.take(kept), notes
