"""What every task is: what a model's outputs mean, how they are learned, scored and told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch

from tuner.inputs.base import NativeHead
from tuner.inputs.encoded import Encoded
from tuner.inputs.given import Form
from tuner.tasks.calibration import Temperature
from tuner.tasks.heads import L2_GRID, CrossValidated, LinearHead
from tuner.tasks.imbalance import Offsets
from tuner.tasks.truth import Truth


class Task(Protocol):
    """What is predicted, and all that follows from it.

    Frozen, and known before any model is built. What follows it asks these, and never which task it is.
    `tuner.tasks.known` lists all there are.
    """

    @property
    def metrics(self) -> tuple[str, ...]:
        """What predictions are scored by, the usual one first."""

    @property
    def held(self) -> str:
        """What data of this task hold, in messages."""

    @property
    def unit(self) -> str:
        """What one prediction is of."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the outputs, in their order."""

    @property
    def n_outputs(self) -> int:
        """Logits that a model gives a unit."""

    @property
    def tops(self) -> tuple[str, ...]:
        """What may read features that never change (`tuner.search.space.Candidate`), a linear head first."""

    @property
    def as_saved(self) -> Task:
        """The task as a saved model has it, whose last layer holds `folding`."""

    @classmethod
    def of_config(cls, config: Any) -> Self | None:
        """The task that a saved model's configuration tells; None where it tells another."""

    def config(self) -> dict[str, Any]:
        """What a model's configuration says of the task (labels, ``problem_type``)."""

    # --- what fits it

    def form(self, default: Form) -> Form:
        """What a row is that a person passes, where the input's own form is `default`."""

    def pooling(self, default: str) -> str:
        """How states become what is classified (`tuner.model.backbone.pool`), where the base's own way is `default`."""

    def head(self, default: NativeHead) -> NativeHead:
        """transformers' own classifiers of this task, where the input's for whole rows are `default`."""

    def misfit(self, policy: str) -> tuple[str, str] | None:
        """In what an augmentation does not fit, and why that matters; None where it fits."""

    def preferred(self, default: tuple[str, ...]) -> tuple[str, ...]:
        """Augmentations that are tried where none is asked for, where the input's own are `default`."""

    # --- learning

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Mean loss of a batch.

        Args:
            logits: (b, C), or (b, t, C) where words are labelled, in single precision.
            targets: what `tuner.inputs.encoded.Encoded.targets` gives of the labels.
            weights: (C,) factors by class (`class_weights`).
        """

    def weighs(self, metric: str) -> bool:
        """Whether `class_weights` may pay under a metric."""

    def class_weights(self, labels: np.ndarray) -> np.ndarray:
        """(C,) weights in a loss that counts all classes alike."""

    def probed(self, encoded: Encoded, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Places of the units that a linear head's penalty is chosen on, and of those that it is fitted on."""

    def probe_note(self, n: int) -> str | None:
        """What to say where a linear head is fitted on fewer than all n training units."""

    def fit_head(
        self,
        features: Sequence[np.ndarray],
        labels: np.ndarray,
        *,
        l2: float,
        weighted: bool = False,
        class_weights: np.ndarray | None = None,
    ) -> LinearHead:
        """A linear head on features (`tuner.tasks.heads.fit_head`)."""

    def cross_validate(
        self,
        features: Sequence[np.ndarray],
        labels: np.ndarray,
        *,
        folds: np.ndarray,
        l2: Sequence[float] = L2_GRID,
        weighted: bool = False,
        class_weights: np.ndarray | None = None,
    ) -> CrossValidated:
        """Its penalty out of `l2`, and out-of-fold predictions (`tuner.tasks.heads.cross_validate`)."""

    # --- reading outputs

    def decode(self, logits: np.ndarray, *, seen: np.ndarray | None = None) -> np.ndarray:
        """(N, C) logits as predictions, shaped as the labels; `seen` (N,) says which units have any."""

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(N, C) logits as the probabilities, or other values, that users are given, in double precision."""

    def told(self, predictions: np.ndarray, rows: Sequence[Any]) -> list[Any]:
        """Predictions of some rows as users are given them, one entry a row."""

    def truth(
        self, labels: np.ndarray, *, metric: str, groups: np.ndarray | None = None, n_words: np.ndarray | None = None
    ) -> Truth:
        """What predictions of some rows are scored against; `n_words` (n,) where words are labelled."""

    # --- the decision

    def moves(self, metric: str) -> bool:
        """Whether offsets on the logits may pay under a metric."""

    def choose_offsets(self, logits: np.ndarray, truth: Truth, *, trained_on: np.ndarray, seed: int) -> Offsets:
        """What is best added to the logits, from those of rows that trained nothing; `trained_on` are labels."""

    def fit_temperature(self, logits: np.ndarray, labels: np.ndarray) -> Temperature | None:
        """What logits are divided by, from those of rows that trained nothing; None without probabilities."""

    def uncalibrated(self, why: str) -> Temperature | None:
        """The same where there are no rows to fit it on, and `why`."""

    def folding(self, *, temperature: float, offsets: np.ndarray | None) -> tuple[float, np.ndarray | None]:
        """Temperature and offsets that are put into the last layer (`tuner.tasks.calibration.fold`)."""

    # --- the card

    def described(self, head: NativeHead) -> str:
        """What the model is, at the start of a sentence; `head` is what `Task.head` gives."""

    def published(self, metric: str) -> str:
        """A metric by the name that hubs know."""

    @property
    def card_notes(self) -> str:
        """What else a user of the saved model must know, as Markdown."""


class OfRows:
    """What holds for tasks that label whole rows."""

    unit: ClassVar[str] = "row"
    tops: ClassVar[tuple[str, ...]] = ("linear",)

    @property
    def as_saved(self) -> Self:
        """The same."""
        return self

    def form(self, default: Form) -> Form:
        """The input's own."""
        return default

    def pooling(self, default: str) -> str:
        """The base's own."""
        return default

    def head(self, default: NativeHead) -> NativeHead:
        """The input's own."""
        return default

    def misfit(self, policy: str) -> tuple[str, str] | None:
        """What fits the input fits the labels of its rows."""
        return None

    def preferred(self, default: tuple[str, ...]) -> tuple[str, ...]:
        """The input's own."""
        return default

    def probed(self, encoded: Encoded, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """All rows."""
        rows = np.arange(len(encoded))
        return rows, rows

    def probe_note(self, n: int) -> str | None:
        """Nothing: all rows are fitted on."""
        return None

    @property
    def card_notes(self) -> str:
        """Nothing."""
        return ""
