"""Mixtures of two rows of a batch: mixup and CutMix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

MIXUP_ALPHA, CUTMIX_ALPHA = 0.2, 1.0
"""Of the Beta distribution that shares are drawn from: as published for ImageNet and for CutMix."""


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Every row of a batch mixed with another one: ``share`` of its own, the rest of row ``other``.

    `box` are the places (top, bottom, left, right) of a picture that come from the other one.
    """

    other: torch.Tensor
    share: float
    box: tuple[int, int, int, int] | None = None

    def states(self, states: torch.Tensor) -> torch.Tensor:
        """Mix the (b, ...) states of a batch; of CutMix they are (b, c, h, w)."""
        other = states[self.other.to(states.device)]
        if self.box is None:
            return torch.lerp(other, states, self.share)
        top, bottom, left, right = self.box
        mixed = states.clone()
        mixed[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
        return mixed

    def loss(
        self,
        loss: Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor],
        logits: torch.Tensor,
        targets: torch.Tensor,
        weights: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Compute a task's loss (`tuner.tasks.base.Task.loss`) against both rows' targets, by their shares.

        Args:
            loss: of logits, targets and weights.
            logits: (b, ...) of the mixed rows.
            targets: (b, ...) of the rows before they were mixed.
            weights: (C,) factors by class; None for equal ones.

        >>> mixture = Mixture(other=torch.tensor([1, 0]), share=0.75)
        >>> off = lambda logits, targets, weights: (logits - targets).abs().mean()
        >>> float(mixture.loss(off, torch.tensor([1.0, 3.0]), torch.tensor([1.0, 3.0])))
        0.5
        """
        other = loss(logits, targets[self.other.to(targets.device)], weights)
        return self.share * loss(logits, targets, weights) + (1 - self.share) * other


def draw_mixture(policy: str, size: int, *, shape: Sequence[int], rng: np.random.Generator) -> Mixture:
    """Draw how the rows of a batch are mixed with each other.

    Args:
        policy: ``mixup`` or ``cutmix``.
        size: rows in the batch.
        shape: of what is mixed of one row, of CutMix (c, h, w).
        rng: what is drawn from.
    """
    other = torch.from_numpy(rng.permutation(size))
    if policy == "mixup":
        return Mixture(other=other, share=float(rng.beta(MIXUP_ALPHA, MIXUP_ALPHA)))
    _, height, width = shape
    side = np.sqrt(1 - rng.beta(CUTMIX_ALPHA, CUTMIX_ALPHA)) / 2
    y, x = rng.random(2)
    top, bottom = (round(height * float(edge)) for edge in np.clip((y - side, y + side), 0, 1))
    left, right = (round(width * float(edge)) for edge in np.clip((x - side, x + side), 0, 1))
    share = 1 - (bottom - top) * (right - left) / (height * width)  # of what is really cut
    return Mixture(other=other, share=share, box=(top, bottom, left, right))
