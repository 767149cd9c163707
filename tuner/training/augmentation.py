"""Augmentation: changed views of the training rows, and mixtures of two rows of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from tuner.blocks import encoder_end
from tuner.errors import OptionError
from tuner.inputs.images import Pixels, has_channels_last
from tuner.inputs.tokens import Tokens

if TYPE_CHECKING:
    from tuner.model.backbone import Backbone

VIEW_POLICIES = ("flip", "randaugment", "trivialaugment", "token_dropout", "masking")
MIX_POLICIES = ("cutmix", "mixup")
IMAGE_POLICIES = ("flip", "randaugment", "trivialaugment", "cutmix", "mixup")
TEXT_POLICIES = ("token_dropout", "masking", "mixup")
"""Mirroring; RandAugment (Cubuk et al. 2020); TrivialAugment (Müller & Hutter 2021); CutMix (Yun et al. 2019); mixup
(Zhang et al. 2018), at the freeze boundary where blocks are frozen (manifold mixup, Verma et al. 2019), of texts never
before their embeddings; tokens left out (Iyyer et al. 2015) or masked as in BERT's pretraining (Devlin et al. 2019)."""
CACHED_VIEWS = 4
"""Views of an image of which the frozen blocks' outputs are kept, the image itself among them."""
FRESH_VIEWS = 1000
"""Views of an image that are drawn from where nothing is cached: hardly any is met twice."""
FRESH_TEXT_VIEWS = 20
"""The same of a text, whose views are all made at once."""
DROPPED, MASKED = 0.1, 0.15
"""Share of a text's tokens, special ones aside, that a view lacks or that it masks."""
MIXUP_ALPHA, CUTMIX_ALPHA = 0.2, 1.0
"""Of the Beta distribution that shares are drawn from: as published for ImageNet and for CutMix."""
MIRROR_LOSS = 0.02
"""Mirroring keeps the label plausible where a probe loses less than this on mirrored images."""


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Every row of a batch mixed with another one: ``share`` of its own, the rest of row ``other``.

    `box` are the places (top, bottom, left, right) of a picture that come from the other one.
    """

    other: torch.Tensor
    share: float
    box: tuple[int, int, int, int] | None = None

    def states(self, states: torch.Tensor) -> torch.Tensor:
        """(b, ...) states mixed; of CutMix (b, c, h, w)."""
        other = states[self.other.to(states.device)]
        if self.box is None:
            return torch.lerp(other, states, self.share)
        top, bottom, left, right = self.box
        mixed = states.clone()
        mixed[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
        return mixed

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Cross-entropy against both rows' labels, by their shares, and by the (C,) `weights` of their classes.

        >>> mixture = Mixture(other=torch.tensor([1, 0]), share=0.5)
        >>> float(mixture.loss(torch.zeros(2, 2), torch.tensor([0, 1])))
        0.6931471824645996
        """

        def entropy(of: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(logits, of, weight=weights, reduction="sum") / len(of)

        return self.share * entropy(labels) + (1 - self.share) * entropy(labels[self.other])


def draw_mixture(policy: str, size: int, *, shape: Sequence[int], rng: np.random.Generator) -> Mixture:
    """How a batch of `size` rows is mixed whose states have this shape, of CutMix (c, h, w)."""
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


def check_policy(policy: str, *, backbone: Backbone, tagged: bool = False) -> None:
    """Raise `OptionError` for an augmentation that does not fit what a model is fed, its states, or `tagged` words."""
    why_not = misfit(policy, backbone=backbone, tagged=tagged)
    if why_not is not None:
        raise OptionError(
            f"--augment {policy} does not fit: {why_not[0]}", why=why_not[1], fix="omit --augment, or use another"
        )


def misfit(policy: str, *, backbone: Backbone, tagged: bool = False) -> tuple[str, str] | None:
    """In what an augmentation does not fit, and why that matters; None where it fits."""
    why_not = _misfit_of_texts(policy, backbone) if backbone.is_text else _misfit_of_images(policy, backbone)
    if why_not is None and tagged and policy != "masking":
        return "the data is tagged words", "every word keeps its tag; masking changes words and keeps their tags"
    return why_not


def _misfit_of_texts(policy: str, backbone: Backbone) -> tuple[str, str] | None:
    if policy not in TEXT_POLICIES:
        return "the data is text", f"it changes images; {', '.join(TEXT_POLICIES)} change texts"
    if policy == "masking" and backbone.tokenizer.mask_token_id is None:
        return f"the tokenizer of {backbone.id} has no mask token", "tokens are replaced by it"
    if policy == "mixup" and (backbone.pooling == "last" or encoder_end(backbone.blocks) is not None):
        return f"{backbone.id} is a decoder, or has one", "mixed texts have no last token in common"
    return None


def _misfit_of_images(policy: str, backbone: Backbone) -> tuple[str, str] | None:
    if policy not in IMAGE_POLICIES:
        return "the data is images", f"it changes texts; {', '.join(IMAGE_POLICIES)} change images"
    example = backbone.inputs.example()
    if policy in ("randaugment", "trivialaugment") and isinstance(example, Pixels) and example.values.dtype != np.uint8:
        return "the model's image processor does more than scale colours", "the policy changes colours as bytes"
    if policy == "cutmix" and any(len(shape) != 3 or has_channels_last(shape) for shape in backbone.shapes):
        return (
            "what leaves the model's blocks is no picture of channels",
            "a part of one state is put into another, at the freeze boundary",
        )
    return None


def token_views(
    tokens: Tokens, *, policy: str, copies: int, seed: int, special: Sequence[int], mask: int | None = None
) -> Tokens:
    """Texts several times over, as `Views`: row ``view * n + i`` is a view of text ``i``, view 0 the text itself.

    Of every other view a share of the tokens is left out, or replaced by `mask`; `special` ones stay, and one other.

    >>> text = Tokens(input_ids=(np.array([1, 7, 8, 9, 2]),), truncated=np.array([False]))
    >>> masked = token_views(text, policy="masking", copies=2, seed=0, special=(1, 2), mask=4)
    >>> masked.input_ids[1].tolist()
    [1, 7, 8, 4, 2]
    """
    rows, types = list(tokens.input_ids), list(tokens.types or ())
    for view in range(1, copies):
        rng = np.random.default_rng((seed, view))
        for row, ids in enumerate(tokens.input_ids):
            ordinary = np.flatnonzero(~np.isin(ids, special))
            share = DROPPED if policy == "token_dropout" else MASKED
            # A share of a short text is less than one token: then one now and then.
            most = max(len(ordinary) - 1, 0)
            chosen = rng.permutation(ordinary)[: min(int(share * len(ordinary) + rng.random()), most)]
            dropped = chosen if policy == "token_dropout" else ()
            changed = ids.copy()
            changed[chosen] = ids[chosen] if policy == "token_dropout" else mask
            rows.append(np.delete(changed, dropped))
            if tokens.types is not None:
                types.append(np.delete(tokens.types[row], dropped))
    return tokens.viewed(input_ids=rows, types=types or None, copies=copies)
