"""The training and validation rows of a search as the model is fed them: encoded once, changed by nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tuner.inputs.encoded import Encoded
from tuner.model.backbone import Backbone
from tuner.records import Progress
from tuner.search.data import TuningData, encode_rows
from tuner.tasks.base import Task
from tuner.tasks.truth import Truth


@dataclass(frozen=True, kw_only=True)
class EncodedRows:
    """Training and validation rows as the model is fed them, with their labels and what predictions are scored against.

    ``data`` is without the rows that could not be read; ``truth`` is of the validation rows.
    """

    data: TuningData
    train: Encoded
    validation: Encoded
    truth: Truth

    @property
    def task(self) -> Task:
        """The task, which says what is predicted."""
        return self.data.task

    @property
    def class_weights(self) -> np.ndarray:
        """(C,) weights of the classes in a loss that counts the training rows of all classes alike."""
        return self.task.class_weights(self.data.train.labels)

    def decode(self, logits: np.ndarray) -> np.ndarray:
        """Turn (N, C) logits of the validation rows into predictions; what the model does not see gets the usual."""
        return self.task.decode(logits, seen=self.validation.seen)

    def joined(self) -> EncodedRows:
        """These rows with all labelled ones as training rows: the training rows, and below them the validation rows."""
        return replace(
            self,
            data=replace(self.data, train=self.data.train.joined(self.data.validation)),
            train=self.train.joined(self.validation),
        )


def encode_data(
    backbone: Backbone, data: TuningData, *, metric: str, say: Callable[[str], None], progress: Progress | None = None
) -> EncodedRows:
    """Encode the training and validation rows.

    Args:
        backbone: the model that is fed them.
        data: the three splits; the test split is left alone.
        metric: that predictions are scored by.
        say: told what a user should know of the rows, such as how many could not be read.
        progress: told how far it is.

    Raises:
        DataError: where most of the rows could not be read.
    """
    train_encoded, train, train_notes = encode_rows(backbone, data.train, what="training", progress=progress)
    validation_encoded, validation, notes = encode_rows(backbone, data.validation, what="validation", progress=progress)
    for note in (*train_notes, *notes):
        say(note)
    return EncodedRows(
        data=replace(data, train=train, validation=validation),
        train=train_encoded,
        validation=validation_encoded,
        truth=validation.truth(data.task, metric=metric),
    )
