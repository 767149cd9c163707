"""Dropout on the CPU with cheap random numbers: the same distribution for a third of the time.

torch draws a random number of double precision for every value, one after the other; a comparison of 16 random bits
says as well whether a value is dropped. Attention with dropout falls back to a slow path in torch for the same reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

LEVELS = 1 << 16


class CheapDropout(TorchFunctionMode):
    """While entered, dropout and attention with dropout draw their masks from a generator of its own.

    Probabilities are rounded to multiples of 1/65536, and what is kept is scaled by what is really kept on average, so
    that expectations stay exact.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._bits = np.random.SFC64(seed)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Called by torch in place of every one of its functions."""
        kwargs = kwargs or {}
        if func is torch.nn.functional.dropout:
            return self._dropout(*args, **kwargs)
        if func is torch.nn.functional.scaled_dot_product_attention and kwargs.get("dropout_p"):
            return self._attention(*args, **kwargs)
        return func(*args, **kwargs)

    def keep(self, like: torch.Tensor, p: float) -> torch.Tensor:
        """A factor for every value: 0 with probability p, else the one that makes up for what is dropped."""
        dropped = round(p * LEVELS)
        if dropped >= LEVELS:
            return torch.zeros_like(like)
        raw = self._bits.random_raw(-(-like.numel() // 4)).view(np.int16)[: like.numel()]
        kept = torch.from_numpy(raw).view(like.shape) >= dropped - LEVELS // 2
        return kept.to(like.dtype).mul_(LEVELS / (LEVELS - dropped))

    def _dropout(
        self, input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> torch.Tensor:
        if not training or p == 0:
            return input
        keep = self.keep(input.detach(), p)
        return input.mul_(keep) if inplace else input * keep

    def _attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        """As torch's reference implementation of `scaled_dot_product_attention`."""
        if enable_gqa:
            repeats = query.shape[-3] // key.shape[-3]
            key, value = key.repeat_interleave(repeats, -3), value.repeat_interleave(repeats, -3)
        factor = query.shape[-1] ** -0.5 if scale is None else scale
        scores = torch.matmul(query * factor, key.transpose(-2, -1)).float()
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        closed = None
        if attn_mask is not None:
            is_open = attn_mask if attn_mask.dtype == torch.bool else attn_mask > -math.inf
            closed = ~is_open.any(-1, keepdim=True)
            # Not minus infinity: a row without any open place would be 0 / 0, and so would its gradient.
            lowest = torch.finfo(scores.dtype).min
            masked = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, lowest) if masked else scores + attn_mask.clamp(min=lowest)
        weights = torch.softmax(scores, dim=-1)
        if closed is not None and bool(closed.any()):
            weights = weights.masked_fill(closed, 0.0)
        return torch.matmul((weights * self.keep(weights.detach(), dropout_p)).to(value.dtype), value)


def cheap_dropout(device: torch.device, *, seed: int) -> AbstractContextManager[Any]:
    """Dropout with cheap random numbers (`CheapDropout`) on the CPU; elsewhere torch's own dropout is fast."""
    return CheapDropout(seed) if device.type == "cpu" else nullcontext()
