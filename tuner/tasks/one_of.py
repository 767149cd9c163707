"""What classes of rows and tags of words have in common: every unit has one of several names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tuner.inputs.base import NativeHead
from tuner.inputs.encoded import IGNORED
from tuner.names import HUB_METRICS
from tuner.tasks import calibration, heads, imbalance
from tuner.tasks.calibration import Temperature
from tuner.tasks.heads import L2_GRID, CrossValidated, LinearHead


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Mean over the rows of (b, C) logits, or over the labelled tokens of (b, t, C) ones; 0 where none is labelled.

    With (C,) `weights` of the classes, the sum of the weighted losses is divided by the number of rows all the same:
    divided by the sum of the weights, as torch does, a batch of common rows alone would count as much as one of rare
    ones.
    """
    total = torch.nn.functional.cross_entropy(
        logits.flatten(0, -2), targets.long().flatten(), weight=weights, ignore_index=IGNORED, reduction="sum"
    )
    mean: torch.Tensor = total / (targets != IGNORED).sum().clamp(min=1)
    return mean


class OneOf:
    """A softmax over names, one of which every unit has; labels are their numbers."""

    names: tuple[str, ...]

    @property
    def n_outputs(self) -> int:
        """The number of names."""
        return len(self.names)

    def config(self) -> dict[str, Any]:
        """The names, by number and back."""
        return {
            "id2label": dict(enumerate(self.names)),
            "label2id": {name: index for index, name in enumerate(self.names)},
        }

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Cross-entropy, as the function `cross_entropy` averages it."""
        return cross_entropy(logits, targets, weights)

    def weighs(self, metric: str) -> bool:
        """Whether the metric averages over classes."""
        return metric in imbalance.BALANCED_METRICS

    def class_weights(self, labels: np.ndarray) -> np.ndarray:
        """Weights of the classes, (C,), with which a loss counts all classes alike."""
        return imbalance.class_weights(labels, n_classes=self.n_outputs)

    def fit_head(
        self,
        features: Sequence[np.ndarray],
        labels: np.ndarray,
        *,
        l2: float,
        weighted: bool = False,
        class_weights: np.ndarray | None = None,
    ) -> LinearHead:
        """Fit a multinomial logistic regression."""
        return heads.fit_head(
            features, labels, n_classes=self.n_outputs, l2=l2, weighted=weighted, class_weights=class_weights
        )

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
        """Choose the penalty of a logistic regression by log loss, and predict out of fold."""
        return heads.cross_validate(
            features, labels, n_classes=self.n_outputs, folds=folds, l2=l2, weighted=weighted,
            class_weights=class_weights,
        )  # fmt: skip

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(N, C) probabilities of the names, which sum to 1."""
        probabilities: np.ndarray = torch.from_numpy(logits).double().softmax(-1).numpy()
        return probabilities

    def moves(self, metric: str) -> bool:
        """Whether the metric averages over classes."""
        return metric in imbalance.BALANCED_METRICS

    def fit_temperature(self, logits: np.ndarray, labels: np.ndarray) -> Temperature:
        """The temperature under which the labels are most probable."""
        return calibration.fit_temperature(logits, labels)

    def uncalibrated(self, why: str) -> Temperature:
        """A temperature of 1, that changes nothing."""
        return Temperature(value=1.0, n=0, why=why)

    def folding(self, *, temperature: float, offsets: np.ndarray | None) -> tuple[float, np.ndarray | None]:
        """Temperature and offsets as they are."""
        return temperature, offsets

    def described(self, head: NativeHead) -> str:
        """A phrase such as "A text classifier with 3 labels"."""
        return f"{head.described} with {self.n_outputs} labels"

    def published(self, metric: str) -> str:
        """The name that model hubs use for a metric."""
        return HUB_METRICS.get(metric, metric)
