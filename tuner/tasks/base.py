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
    """A kind of prediction, such as one class for every row, and everything that depends on it.

    A task is frozen, and known before any model is built. Other code asks its methods, and never which task it is.
    `tuner.tasks.known` lists all tasks.
    """

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that predictions may be scored by, the usual one first."""

    @property
    def held(self) -> str:
        """What data of this task hold, as messages say it, such as ``tagged words``."""

    @property
    def unit(self) -> str:
        """What one prediction belongs to, as messages say it, such as ``row`` or ``word``."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs, in the order of the logits."""

    @property
    def n_outputs(self) -> int:
        """Number of logits that a model gives for every unit."""

    @property
    def tops(self) -> tuple[str, ...]:
        """What may be fitted on features that never change (`tuner.search.space.Candidate`), a linear head first."""

    @property
    def penalties(self) -> tuple[float, ...]:
        """Penalties that are tried for linear heads, strong to weak."""

    @property
    def as_saved(self) -> Task:
        """The task as a saved model has it, whose last layer holds `folding`."""

    @classmethod
    def of_config(cls, config: Any) -> Self | None:
        """The task that a saved model's configuration describes; None where it describes a task of another kind."""

    def config(self) -> dict[str, Any]:
        """Entries of a model's configuration that describe the task (labels, ``problem_type``)."""

    # --- what fits it

    def form(self, default: Form) -> Form:
        """The form of the rows that users pass; `default` is the input's own."""

    def pooling(self, default: str) -> str:
        """How hidden states are pooled to be classified (`tuner.model.backbone.pool`); `default` is the base's own."""

    def head(self, default: NativeHead) -> NativeHead:
        """The kind of classifier that transformers has for this task; `default` is the input's own, for whole rows."""

    def misfit(self, policy: str) -> tuple[str, str] | None:
        """Why an augmentation does not fit the task, and why that matters; None where it fits."""

    def preferred(self, default: tuple[str, ...]) -> tuple[str, ...]:
        """Augmentations that are tried where the user asks for none; `default` are the input's own."""

    # --- learning

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Mean loss of a batch.

        Args:
            logits: (b, C), or (b, t, C) where words are labelled, in single precision.
            targets: what `tuner.inputs.encoded.Encoded.targets` gives of the labels.
            weights: (C,) factors by class (`class_weights`).
        """

    def weighs(self, metric: str) -> bool:
        """Whether `class_weights` may raise the score under a metric."""

    def class_weights(self, labels: np.ndarray) -> np.ndarray:
        """Weights of the classes, (C,), with which a loss counts all classes alike."""

    def probed(self, encoded: Encoded, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Places of the units that a linear head's penalty is chosen on, and of those that it is fitted on."""

    def probe_note(self, n: int) -> str | None:
        """A note for the user where a linear head is fitted on fewer than all n training units; else None."""

    def fit_head(
        self,
        features: Sequence[np.ndarray],
        labels: np.ndarray,
        *,
        l2: float,
        weighted: bool = False,
        class_weights: np.ndarray | None = None,
    ) -> LinearHead:
        """Fit a linear head on features (`tuner.tasks.heads.fit_head`).

        Args:
            features: m arrays (N, d), one for each block that is read; a row of them for every unit.
            labels: of the N units, in the task's own shape.
            l2: the penalty on the weights, on standardised features.
            weighted: whether the m blocks are mixed by learned weights; by default they are concatenated.
            class_weights: (C,) factors of the losses by class (`class_weights`); by default all classes count by their
                units.
        """

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
        """Choose a linear head's penalty by cross-validation (`tuner.tasks.heads.cross_validate`).

        Args:
            features: m arrays (N, d), one for each block that is read; a row of them for every unit.
            labels: of the N units, in the task's own shape.
            folds: (N,) numbers of the folds, 0 to F - 1; -1 for units that are trained on in all of them.
            l2: penalties that are tried.
            weighted: whether the m blocks are mixed by learned weights; by default they are concatenated.
            class_weights: (C,) factors of the losses by class (`class_weights`); by default all classes count by their
                units.

        Returns:
            the penalty that was chosen, and out-of-fold predictions under it.
        """

    # --- reading outputs

    def decode(self, logits: np.ndarray, *, seen: np.ndarray | None = None) -> np.ndarray:
        """Turn (N, C) logits into predictions, shaped as the labels; `seen` (N,) says which units the model sees."""

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Turn (N, C) logits into the probabilities, or other values, that users are given, in double precision."""

    def told(self, predictions: np.ndarray, rows: Sequence[Any]) -> list[Any]:
        """Predictions of some rows in the form that users are given, one entry for every row."""

    def truth(
        self, labels: np.ndarray, *, metric: str, groups: np.ndarray | None = None, n_words: np.ndarray | None = None
    ) -> Truth:
        """What is true of some rows, for scoring predictions of them.

        Args:
            labels: of the N units, in the task's own shape.
            metric: one of `metrics`, which predictions are scored by.
            groups: (n,) groups of the rows, which the bootstrap draws together; by default it draws rows.
            n_words: (n,) numbers of words of the rows; None where rows are labelled as a whole.
        """

    # --- the decision

    def moves(self, metric: str) -> bool:
        """Whether offsets on the logits may raise the score under a metric."""

    def choose_offsets(self, logits: np.ndarray, truth: Truth, *, trained_on: np.ndarray, seed: int) -> Offsets:
        """Choose what is added to the logits for the best score, from rows that trained nothing.

        Args:
            logits: (N, C) of these rows.
            truth: of these rows, with the metric.
            trained_on: labels of the training rows.
            seed: of the folds and of the interval of what the offsets change.

        Raises:
            ValueError: for a task that takes no offsets, which `moves` denies under every metric.
        """

    def fit_temperature(self, logits: np.ndarray, labels: np.ndarray) -> Temperature | None:
        """The temperature to divide logits by, fitted on rows that trained nothing; None without probabilities."""

    def uncalibrated(self, why: str) -> Temperature | None:
        """The temperature where no rows are left to fit it on, which `why` explains; None without probabilities."""

    def folding(self, *, temperature: float, offsets: np.ndarray | None) -> tuple[float, np.ndarray | None]:
        """The temperature and offsets that are put into the last layer (`tuner.tasks.calibration.fold`)."""

    # --- the card

    def described(self, head: NativeHead) -> str:
        """A phrase for what the model is, at the start of a sentence; `head` is what the method of that name gives."""

    def published(self, metric: str) -> str:
        """The name that model hubs use for a metric."""

    @property
    def card_notes(self) -> str:
        """Markdown for a saved model's card: what else its user must know."""


class OfRows:
    """Defaults of the tasks that label whole rows."""

    unit: ClassVar[str] = "row"
    tops: ClassVar[tuple[str, ...]] = ("linear",)
    penalties: ClassVar[tuple[float, ...]] = L2_GRID

    @property
    def as_saved(self) -> Self:
        """The task itself: a saved model has the same one."""
        return self

    def form(self, default: Form) -> Form:
        """The input's own form."""
        return default

    def pooling(self, default: str) -> str:
        """The base's own pooling."""
        return default

    def head(self, default: NativeHead) -> NativeHead:
        """The input's own classifiers."""
        return default

    def misfit(self, policy: str) -> tuple[str, str] | None:
        """Always None: what fits the input fits the labels of its rows."""
        return None

    def preferred(self, default: tuple[str, ...]) -> tuple[str, ...]:
        """The input's own augmentations."""
        return default

    def probed(self, encoded: Encoded, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """All rows, for both."""
        rows = np.arange(len(encoded))
        return rows, rows

    def probe_note(self, n: int) -> str | None:
        """None: heads are fitted on all rows."""
        return None

    @property
    def card_notes(self) -> str:
        """Empty: there is nothing more to know."""
        return ""
