"""What a text model's base says of the texts that it reads: how long, of which tokens, and how it pools its states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuner.errors import OptionError
from tuner.inputs.base import POOLINGS

DEFAULT_MAX_LENGTH = 128
AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "xmod", "xlm-roberta-xl", "longformer")
"""Architectures whose positions start after the padding index, so that two of those declared do not exist."""


def resolve_max_length(asked: int | None, base: Any) -> int:
    """Tokens that texts are cut to: as asked, else 128 or what the base has positions for. Raises `OptionError`."""
    config = getattr(base, "config", None)
    positions = int(getattr(config, "max_position_embeddings", 0) or 10**6)
    if positions < 1:  # XLNet says -1 for no limit
        positions = 10**6
    if getattr(config, "model_type", "") in AFTER_PADDING:
        positions -= 2
    if asked is None:
        return min(DEFAULT_MAX_LENGTH, positions)
    if not 4 <= asked <= positions:
        raise OptionError(
            f"--max-length {asked} is not between 4 and {positions}",
            why=f"the model has {positions} positions",
            fix=f"pass a length between 4 and {positions}",
        )
    return asked


def vocabulary_of(base: Any, tokenizer: Any) -> int:
    """Tokens that the model knows: rows of its embedding table; all of the tokenizer's where it has none (CANINE)."""
    try:
        weight = base.get_input_embeddings().weight
    except (NotImplementedError, AttributeError):
        return len(tokenizer)
    return int(weight.shape[0])


def attention_window(config: Any) -> int:
    """Longformer attends within windows, one size a layer or one for all; its texts are multiples of it."""
    windows = getattr(config, "attention_window", 1)
    return max(windows) if isinstance(windows, (list, tuple)) else int(windows or 1)


def base_pooling(base: Any, stored: Mapping[str, Any] | None) -> tuple[str, tuple[str, ...]]:
    """The base's own pooling, what sentence-transformers stored beside it, else by architecture; and warnings."""
    if stored is None:
        config = getattr(base, "config", None)
        return ("last" if getattr(config, "is_decoder", False) or _is_causal(config) else "mean"), ()
    modes = [
        key.removeprefix("pooling_mode_") for key, used in stored.items() if used is True and "pooling_mode_" in key
    ]
    modes = modes or [str(stored.get("pooling_mode", "mean"))]
    names = {"mean_tokens": "mean", "cls_token": "cls", "lasttoken": "last"}
    pooling = names.get(modes[0], modes[0])
    if len(modes) > 1 or pooling not in POOLINGS:
        asked = " and ".join(modes)
        return "mean", (f"the model was trained with {asked} pooling, which is not supported: the mean is used",)
    return pooling, ()


def _is_causal(config: Any) -> bool:
    """A decoder's last token has seen the whole text, its first has seen nothing."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    kind = type(config)
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING and kind not in MODEL_FOR_MASKED_LM_MAPPING
