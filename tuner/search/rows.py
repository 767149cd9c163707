"""The training and validation rows of a search as the model is fed them: encoded once, changed by nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tuner.inputs.encoded import Encoded
from tuner.inputs.tokens import Tokens
from tuner.model.backbone import Backbone
from tuner.records import Progress
from tuner.search.data import TuningData, encode_rows
from tuner.tasks.imbalance import class_weights
from tuner.tasks.scoring import OUTSIDE, Truth


@dataclass(frozen=True, kw_only=True)
class EncodedRows:
    """Training and validation rows with their labels (``data``, without the rows that could not be read), and what
    predictions of the validation rows are scored against."""

    data: TuningData
    train: Encoded
    validation: Encoded
    truth: Truth

    @property
    def n_classes(self) -> int:
        """Classes, or tags."""
        return len(self.data.class_names)

    @property
    def class_weights(self) -> np.ndarray:
        """(C,) weights of the classes in a loss that counts the training rows of all classes alike."""
        return class_weights(self.data.train.labels, n_classes=self.n_classes)

    @property
    def seen(self) -> np.ndarray | None:
        """(N,) which words of the validation rows the model sees; None of anything but tagged words."""
        return self.validation.seen if self.data.is_tagged and isinstance(self.validation, Tokens) else None

    def of_seen(self, predictions: np.ndarray) -> np.ndarray:
        """Predictions of the validation rows; words that the model does not see are outside of entities."""
        return predictions if self.seen is None else np.where(self.seen, predictions, OUTSIDE)

    def joined(self) -> EncodedRows:
        """The same with all labelled rows as training rows: the training rows, and below them the validation rows."""
        return replace(
            self,
            data=replace(self.data, train=self.data.train.joined(self.data.validation)),
            train=self.train.joined(self.validation),  # type: ignore[arg-type, union-attr]
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
        truth=validation.truth(metric=metric, names=data.class_names),
    )
