"""A pretrained base as this project uses it: its blocks, its states after every one of them, how they are pooled."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tuner.blocks import Block
from tuner.errors import OptionError, did_you_mean
from tuner.inputs.base import POOLINGS, Input
from tuner.inputs.encoded import Encoded
from tuner.inputs.images import has_channels_last
from tuner.inputs.texts import TextInputs, as_text_inputs
from tuner.model.hidden import HiddenStates
from tuner.records import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# Half precision is used only where pooled features keep at least this cosine similarity to full precision.
Features = tuple[np.ndarray, ...]
"""Pooled states of some rows: one array (n, width) a block."""
HALF_PRECISION_COSINE = 0.999


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A pretrained base, with all that is needed to run texts or images through it.

    ``shapes`` holds what leaves every block for one row: (width,) a token, or (tokens, width), or (channels, h, w).
    """

    id: str
    sha256: str | None
    revision: str | None
    path: Path | None
    model: torch.nn.Module
    inputs: Input[Any]
    blocks: tuple[Block, ...]
    shapes: tuple[tuple[int, ...], ...]
    pooling: str
    device: torch.device
    compute_dtype: torch.dtype
    warnings: tuple[str, ...] = ()

    @property
    def n_blocks(self) -> int:
        """Number of blocks, the stem included."""
        return len(self.blocks)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Size of the pooled state after every block."""
        return tuple(pooled_width(shape) for shape in self.shapes)

    @property
    def width(self) -> int:
        """Size of the pooled state after the last block."""
        return self.widths[-1]

    @property
    def text(self) -> TextInputs:
        """The input of a text model: tokenizer and length. Raises `ModelError` for an image model."""
        return as_text_inputs(self.inputs, name=self.id)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of a text model. Raises `ModelError` for an image model."""
        return self.text.tokenizer

    @property
    def max_length(self) -> int:
        """Tokens that a text is cut to. Raises `ModelError` for an image model."""
        return self.text.max_length

    @cached_property
    def parameters(self) -> int:
        """The number of parameters in all blocks."""
        return sum(parameter.numel() for block in self.blocks for parameter in block.parameters())

    @property
    def fingerprint(self) -> str:
        """What identifies the weights: the hash of the file, else the revision, else the id."""
        return self.sha256 or self.revision or self.id

    @cached_property
    def architecture(self) -> str:
        """What beside the weights decides what is computed: the configuration, else the modules of a model."""
        config = getattr(self.model, "config", None)
        return str(config.to_json_string(use_diff=False)) if config is not None else repr(self.model)

    def autocast(self) -> torch.autocast:
        """The context in which forward passes run: half precision where it was checked, else full."""
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.compute_dtype == torch.bfloat16, cache_enabled=True
        )

    def encode(self, rows: Sequence[Any], *, progress: Progress | None = None) -> Encoded:
        """Encode texts as token ids, or images as pixels (`tuner.inputs.encoded.Encoded`)."""
        encoded: Encoded = self.inputs.encode(rows, progress=progress)
        return encoded

    def batches(self, encoded: Encoded) -> Iterator[np.ndarray]:
        """Positions of the rows that run together, all rows in turn."""
        return self.inputs.batches(encoded)

    def padded(self, encoded: Encoded, rows: np.ndarray) -> int:
        """Tokens that every row of a batch of these is padded to; 1 for images."""
        return self.inputs.padded(encoded, rows)

    def collate(self, encoded: Encoded, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """The model's inputs for some rows, on the device."""
        inputs = self.inputs.collate(encoded, rows)
        if "token_type_ids" in inputs and not reads_types(self.model):
            del inputs["token_type_ids"]
        return {name: tensor.to(self.device) for name, tensor in inputs.items()}

    def states(self, inputs: dict[str, torch.Tensor]) -> HiddenStates:
        """Run the base once: what leaves every block, the last state as the model returns it."""
        with HiddenStates(self.blocks) as hidden:
            run_base(self.model, inputs, hidden)
        return hidden

    def block_features(self, encoded: Encoded, *, progress: Progress | None = None) -> Features:
        """Pooled states after every block, n_blocks arrays (n, width) of float32, in one forward pass.

        Of n sentences of words (`tuner.inputs.alignment`) the states of their N words, (N, width) of float16, sentence
        below sentence.
        """
        features = self.empty_features(encoded)
        done = 0
        for rows in self.batches(encoded):
            inputs = self.collate(encoded, rows)
            with torch.inference_mode(), self.autocast():
                states = self.states(inputs).states
            self.pool_into(features, states=states, encoded=encoded, rows=rows, mask=inputs.get("attention_mask"))
            done += len(rows)
            if progress is not None:
                progress(f"embedding: {done:,} of {len(encoded):,} rows", done / len(encoded))
        return features

    def empty_features(self, encoded: Encoded) -> Features:
        """Zeros to be filled with the pooled states of rows, float32; of sentences with those of words, float16."""
        return tuple(np.zeros((encoded.n_labelled, width), dtype=encoded.feature_type) for width in self.widths)

    def pool_into(
        self,
        features: Features,
        *,
        states: Sequence[torch.Tensor],
        encoded: Encoded,
        rows: np.ndarray,
        mask: torch.Tensor | None,
    ) -> None:
        """Write the pooled states of a batch of rows into those of all: what `block_features` returns.

        Of sentences of words that is the state of every word's first subword, and zero for words without one.

        Args:
            features: of all rows, n_blocks arrays (n, width) or (N, width), written in place.
            states: what left every block for the batch, n_blocks tensors (b, ...).
            encoded: all rows.
            rows: (b,) positions of the rows in the batch.
            mask: (b, t) ones at tokens that count; None where there is no padding.
        """
        pooling = encoded.pooling(self.pooling)
        for block, state in zip(features, states, strict=True):
            places, picked = encoded.pick(pool(state.float(), mask, pooling=pooling), rows)
            block[places] = picked.cpu().numpy()

    def _pooled_batch(self, encoded: Encoded, rows: np.ndarray, *, half: bool) -> list[np.ndarray]:
        inputs = self.collate(encoded, rows)
        autocast = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=half)
        with torch.inference_mode(), autocast:
            states = self.states(inputs).states
        mask = inputs.get("attention_mask")
        return [pool(state.float(), mask, pooling=self.pooling).cpu().numpy() for state in states]


def reads_types(model: torch.nn.Module) -> bool:
    """Whether a base tells the two texts of a pair apart by types of their tokens."""
    kinds = getattr(getattr(model, "config", None), "type_vocab_size", 0) or 0
    return kinds > 1 and "token_type_ids" in inspect.signature(model.forward).parameters


def run_base(model: torch.nn.Module, inputs: dict[str, torch.Tensor], hidden: HiddenStates) -> None:
    """Call a base inside `hidden`, whose last state becomes the model's own last one where it returns one.

    A final norm stands between the two in many models. A decoder reads the text shifted by one, as in T5's own
    classifier. Models that are not transformers' take their inputs in order.
    """
    shift = getattr(model, "_shift_right", None)  # models without it shift by themselves
    if shift is not None and "input_ids" in inputs:
        inputs = inputs | {"decoder_input_ids": shift(inputs["input_ids"])}
    output = model(**inputs) if hasattr(model, "config") else model(*inputs.values())
    last = getattr(output, "last_hidden_state", None)
    if last is not None:
        hidden.replace_last(last)


def pool(hidden: torch.Tensor, attention_mask: torch.Tensor | None = None, *, pooling: str) -> torch.Tensor:
    """Make one vector a row: mean over tokens or places, first token, or last token; ``tokens`` leaves one a token.

    (b, t, d) with a mask (b, t) of the tokens that count, all by default; or (b, c, h, w) or (b, h, w, c), whose places
    are averaged; or (b, d), as it is.

    >>> hidden = torch.tensor([[[1.0], [3.0], [9.0]]])
    >>> pool(hidden, torch.tensor([[1, 1, 0]]), pooling="mean").tolist()
    [[2.0]]
    >>> pool(hidden, torch.tensor([[1, 1, 0]]), pooling="last").tolist()
    [[3.0]]
    >>> pool(torch.ones(2, 5, 4, 4), pooling="mean").shape
    torch.Size([2, 5])
    """
    if hidden.ndim == 2:
        return hidden
    if hidden.ndim == 4:
        return hidden.mean((1, 2) if has_channels_last(hidden.shape[1:]) else (2, 3))
    if pooling not in _POOLED:
        raise OptionError(
            f"unknown pooling {pooling!r}.{did_you_mean(pooling, POOLINGS)}",
            why="it says how the hidden states of a row become one vector",
            fix=f"use one of {', '.join(POOLINGS)}",
        )
    if attention_mask is None:
        attention_mask = torch.ones(hidden.shape[:2], dtype=torch.long, device=hidden.device)
    return _POOLED[pooling](hidden, attention_mask)


def _mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


def _last(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1).clamp(min=1) - 1]


_POOLED: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "mean": _mean,
    "cls": lambda hidden, _: hidden[:, 0],
    "last": _last,
    "tokens": lambda hidden, _: hidden,
}


def pooled_width(shape: Sequence[int]) -> int:
    """Size of the pooled state of one row whose state has this shape (`Backbone.shapes`).

    >>> pooled_width((384,)), pooled_width((197, 768)), pooled_width((64, 56, 56)), pooled_width((7, 7, 96))
    (384, 768, 64, 96)
    """
    return shape[-1] if len(shape) < 3 or has_channels_last(shape) else shape[0]
