"""One pretrained text model: load it safely, encode texts, and pool the hidden states after every block in one pass."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tuner.blocks import Block, find_blocks
from tuner.errors import ModelError, OptionError, did_you_mean
from tuner.hidden import HiddenStates
from tuner.loading import DEFAULT_TEXT_MODEL, check_default, hash_blocks, load_folder, model_folder, weights_sha256
from tuner.records import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Lengths are padded to multiples of this, since oneDNN builds a primitive for every new shape.
LENGTH_STEP = 16
# Half precision is used only where pooled features keep at least this cosine similarity to full precision.
HALF_PRECISION_COSINE = 0.999
POOLINGS = ("mean", "cls", "last")
DEFAULT_MAX_LENGTH = 128
ENCODED_AT_ONCE = 8192


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Token ids of some texts, special tokens included, cut to the model's length."""

    input_ids: tuple[np.ndarray, ...]
    truncated: np.ndarray

    def __len__(self) -> int:
        return len(self.input_ids)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens a row, special tokens included."""
        return np.fromiter((len(ids) for ids in self.input_ids), dtype=np.int64, count=len(self.input_ids))

    def take(self, rows: Sequence[int] | np.ndarray) -> Encoded:
        """Some of the rows, in the order asked for."""
        return Encoded(
            input_ids=tuple(self.input_ids[int(row)] for row in rows),
            truncated=self.truncated[np.asarray(rows, dtype=np.int64)],
        )


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A pretrained base without a head, with all that is needed to run texts through it."""

    id: str
    sha256: str | None
    revision: str | None
    path: Path | None
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    blocks: tuple[Block, ...]
    pooling: str
    max_length: int
    device: torch.device
    compute_dtype: torch.dtype
    warnings: tuple[str, ...] = ()

    @property
    def n_blocks(self) -> int:
        """Number of blocks, the stem included."""
        return len(self.blocks)

    @property
    def width(self) -> int:
        """Size of a hidden state."""
        return int(self.model.config.hidden_size)

    @property
    def vocabulary(self) -> int:
        """Number of tokens that the model knows."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @cached_property
    def parameters(self) -> int:
        """Parameters of all blocks."""
        return sum(parameter.numel() for block in self.blocks for parameter in block.parameters())

    @property
    def fingerprint(self) -> str:
        """What identifies the weights: the hash of the file, else the revision, else the id."""
        return self.sha256 or self.revision or self.id

    def autocast(self) -> torch.autocast:
        """The context in which forward passes run: half precision where it was checked, else full."""
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.compute_dtype == torch.bfloat16, cache_enabled=True
        )

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Tokenize and cut to `max_length`; remembers which texts were cut."""
        if len(texts) == 0:
            return Encoded(input_ids=(), truncated=np.zeros(0, dtype=bool))
        rows: list[np.ndarray] = []
        truncated: list[bool] = []
        for start in range(0, len(texts), ENCODED_AT_ONCE):  # a tokenizer's own record of a text is a hundred times it
            batch = self.tokenizer(
                list(texts[start : start + ENCODED_AT_ONCE]),
                truncation=True,
                max_length=self.max_length,
                return_attention_mask=False,
                return_token_type_ids=False,
            )
            part = [np.asarray(ids, dtype=np.int32) for ids in batch["input_ids"]]
            if batch.encodings is not None:
                truncated += [bool(encoding.overflowing) for encoding in batch.encodings]
            else:  # a slow tokenizer does not say what it cut; a row of exactly the limit counts as cut
                truncated += [len(row) >= self.max_length for row in part]
            rows += part
        # An empty text has no token at all where the tokenizer adds none of its own; a padding token stands for it.
        filler = np.array([self.tokenizer.pad_token_id or 0], dtype=np.int32)
        rows = [row if len(row) else filler for row in rows]
        if max(int(row.max()) for row in rows) >= self.vocabulary:
            raise ModelError(
                f"the tokenizer of {self.id} gives tokens that the model does not know (it has {self.vocabulary:,})",
                why="tokenizer and weights are not of the same model",
                fix="save the tokenizer that the model was trained with into its folder",
            )
        return Encoded(input_ids=tuple(rows), truncated=np.asarray(truncated, dtype=bool))

    def batches(self, encoded: Encoded, *, tokens_per_batch: int = 4096) -> Iterator[np.ndarray]:
        """Row positions by length, so that a batch pads little; long ones first, so that memory peaks at once."""
        order = np.argsort(-encoded.lengths, kind="stable")
        start = 0
        while start < len(order):
            padded = padded_length(int(encoded.lengths[order[start]]), self.max_length)
            size = max(1, tokens_per_batch // padded)
            yield order[start : start + size]
            start += size

    def collate(self, encoded: Encoded, rows: Sequence[int] | np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Padded ``input_ids`` and ``attention_mask``, both (b, t) of 64-bit integers on the device."""
        lengths = encoded.lengths[np.asarray(rows, dtype=np.int64)]
        width = padded_length(int(lengths.max()), self.max_length)
        pad = self.tokenizer.pad_token_id
        ids = np.full((len(rows), width), 0 if pad is None else pad, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for position, row in enumerate(rows):
            length = int(lengths[position])
            ids[position, :length] = encoded.input_ids[int(row)]
            mask[position, :length] = 1
        return torch.from_numpy(ids).to(self.device), torch.from_numpy(mask).to(self.device)

    def block_features(self, encoded: Encoded, *, progress: Progress | None = None) -> np.ndarray:
        """Pooled hidden states after every block, (n_blocks, n, width) float32, in one forward pass."""
        features = np.empty((self.n_blocks, len(encoded), self.width), dtype=np.float32)
        done = 0
        for rows in self.batches(encoded):
            features[:, rows] = self._pooled_batch(encoded, rows, half=self.compute_dtype == torch.bfloat16)
            done += len(rows)
            if progress is not None:
                progress(f"embedding: {done:,} of {len(encoded):,} rows", done / len(encoded))
        return features

    def _pooled_batch(self, encoded: Encoded, rows: np.ndarray, *, half: bool) -> np.ndarray:
        input_ids, mask = self.collate(encoded, rows)
        autocast = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=half)
        with torch.inference_mode(), autocast, HiddenStates(self.blocks) as hidden:
            output = self.model(input_ids=input_ids, attention_mask=mask)
            states = [*hidden.states[:-1], output.last_hidden_state]
            pooled = torch.stack([pool(state.float(), mask, pooling=self.pooling) for state in states])
        return pooled.cpu().numpy()


def padded_length(length: int, limit: int) -> int:
    """The length a batch is padded to: the next multiple of 16, at most the model's limit.

    >>> padded_length(17, 128), padded_length(128, 128), padded_length(121, 124)
    (32, 128, 124)
    """
    return min(-(-length // LENGTH_STEP) * LENGTH_STEP, max(limit, length))


def pool(hidden: torch.Tensor, attention_mask: torch.Tensor, *, pooling: str) -> torch.Tensor:
    """One vector a row, (b, t, d) and (b, t) to (b, d): mean over tokens, first token, or last token.

    >>> hidden = torch.tensor([[[1.0], [3.0], [9.0]]])
    >>> pool(hidden, torch.tensor([[1, 1, 0]]), pooling="mean").tolist()
    [[2.0]]
    >>> pool(hidden, torch.tensor([[1, 1, 0]]), pooling="last").tolist()
    [[3.0]]
    """
    if pooling == "mean":
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        last = attention_mask.sum(1).clamp(min=1) - 1
        return hidden[torch.arange(len(hidden), device=hidden.device), last]
    raise OptionError(
        f"unknown pooling {pooling!r}.{did_you_mean(pooling, POOLINGS)}",
        why="it says how the hidden states of a text become one vector",
        fix=f"use one of {', '.join(POOLINGS)}",
    )


def load_backbone(
    model: str | Path | tuple[Any, Any] | None = None, *, device: str = "auto", max_length: int | None = None
) -> Backbone:
    """Load a pretrained text model: the built-in one (None), a folder, a hub id, or (model, tokenizer).

    Weights are read from safetensors only and no remote code is run. Raises `ModelError` for what is not a usable
    model and `OptionError` for a device or length that cannot be.
    """
    where = resolve_device(device)
    path: Path | None = None
    revision: str | None = None
    if model is not None and not isinstance(model, (str, Path)):
        base, tokenizer = _pair(model)
        base = getattr(base, base.base_model_prefix, base) if base.base_model_prefix else base
        name = str(getattr(base.config, "_name_or_path", "") or type(base).__name__)
        sha256: str | None = hash_blocks(base)
        warnings: tuple[str, ...] = ()
    else:
        name = DEFAULT_TEXT_MODEL if model is None else str(model)
        path = model_folder(None if model is None else str(model))
        sha256 = weights_sha256(path)
        revision = path.name if path.parent.name == "snapshots" else None
        if name == DEFAULT_TEXT_MODEL:
            check_default(path, sha256)
        base, tokenizer, warnings = load_folder(path, name)
    base = base.to(where).float().eval()
    if tokenizer.pad_token_id is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token  # padded positions are masked, so any token serves
    pooling, pooling_warnings = _base_pooling(base, path)
    backbone = Backbone(
        id=name,
        sha256=sha256,
        revision=revision,
        path=path,
        model=base,
        tokenizer=tokenizer,
        blocks=find_blocks(base),
        pooling=pooling,
        max_length=_resolve_max_length(max_length, base),
        device=where,
        compute_dtype=torch.float32,
        warnings=(*warnings, *pooling_warnings),
    )
    _check_states(backbone)
    return _with_compute_dtype(backbone)


def _pair(given: object) -> tuple[Any, Any]:
    """A loaded model with its tokenizer, or an error that says how to pass them."""
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    kinds = (PreTrainedModel, PreTrainedTokenizerBase)
    if not isinstance(given, tuple) or len(given) != 2 or not all(map(isinstance, given, kinds)):
        shown = [type(item).__name__ for item in given] if isinstance(given, tuple) else type(given).__name__
        raise OptionError(
            f"model={shown} is not a model with its tokenizer",
            why="texts are turned into tokens by the tokenizer that the model was trained with",
            fix="pass model=(model, tokenizer), a folder, or a hub id",
        )
    return given[0], given[1]


def _check_states(backbone: Backbone) -> None:
    """Raise `ModelError` where a text does not give one state a token after every block."""
    encoded = backbone.encode(["a short text"])
    input_ids, mask = backbone.collate(encoded, np.array([0]))
    expected = (*input_ids.shape, backbone.width)
    try:
        with torch.inference_mode(), HiddenStates(backbone.blocks) as hidden:
            backbone.model(input_ids=input_ids, attention_mask=mask)
        shapes = [tuple(state.shape) for state in hidden.states]
        problem = next((f"block {i} gives {shape}" for i, shape in enumerate(shapes) if shape != expected), None)
        if len(shapes) != backbone.n_blocks:
            problem = f"{len(shapes)} of {backbone.n_blocks} blocks give a state"
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        problem = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else 'no reason given'}"
    if problem is not None:
        raise ModelError(
            f"{backbone.id} cannot be read block by block from texts alone ({problem})",
            why=f"after every block one state a token is needed, {expected} for a text of {input_ids.shape[1]} tokens",
            fix="use a text encoder or decoder, such as BERT, RoBERTa, GPT-2 or Llama",
        )


def resolve_device(device: str) -> torch.device:
    """``auto`` is the GPU where there is one. Raises `OptionError` for a device that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    known = ("auto", "cpu", "cuda", "mps")
    kind = device.partition(":")[0]
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    try:
        resolved = torch.device(device) if kind in available else None
    except RuntimeError:
        resolved = None
    too_high = kind == "cuda" and resolved is not None and (resolved.index or 0) >= max(torch.cuda.device_count(), 1)
    if resolved is None or too_high:
        raise OptionError(
            f"unknown device {device!r}.{did_you_mean(device, known)}",
            why="the model runs there",
            fix=f"use one of {', '.join(known)}",
        )
    if not available[kind]:
        raise OptionError(
            f"device {device!r} is not available on this machine",
            why="torch finds no such device",
            fix="leave --device away, or use --device cpu",
        )
    return resolved


def _base_pooling(model: Any, path: Path | None) -> tuple[str, tuple[str, ...]]:
    """The base's own pooling, what sentence-transformers stored beside it, else by architecture; and warnings."""
    stored = path / "1_Pooling" / "config.json" if path is not None else None
    if stored is None or not stored.exists():
        return ("last" if getattr(model.config, "is_decoder", False) or _is_causal(model) else "mean"), ()
    try:
        config = dict(json.loads(stored.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"{stored} cannot be read ({error})",
            why="it says how the model's states become one vector a text",
            fix="fetch the model again, or remove the folder 1_Pooling for the usual mean",
        ) from error
    modes = [
        key.removeprefix("pooling_mode_") for key, used in config.items() if used is True and "pooling_mode_" in key
    ]
    modes = modes or [str(config.get("pooling_mode", "mean"))]
    names = {"mean_tokens": "mean", "cls_token": "cls", "lasttoken": "last"}
    pooling = names.get(modes[0], modes[0])
    if len(modes) > 1 or pooling not in POOLINGS:
        asked = " and ".join(modes)
        return "mean", (f"the model was trained with {asked} pooling, which is not supported: the mean is used",)
    return pooling, ()


def _is_causal(model: Any) -> bool:
    """A decoder's last token has seen the whole text, its first has seen nothing."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    config = type(model.config)
    return config in MODEL_FOR_CAUSAL_LM_MAPPING and config not in MODEL_FOR_MASKED_LM_MAPPING


def _resolve_max_length(asked: int | None, model: Any) -> int:
    positions = int(getattr(model.config, "max_position_embeddings", 0) or 10**6)
    # RoBERTa's positions start behind the padding index, so two of its declared positions do not exist.
    if model.config.model_type in ("roberta", "xlm-roberta", "camembert", "xmod", "xlm-roberta-xl", "longformer"):
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


def half_precision_supported(device: torch.device) -> bool:
    """Whether bf16 matrix products run in hardware there."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu" and os.environ.get("TRANSFER_ADVISOR_FP32") != "1":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def _with_compute_dtype(backbone: Backbone) -> Backbone:
    """bf16 where the hardware has it and the pooled features of every block stay those of full precision."""
    import dataclasses

    if not half_precision_supported(backbone.device):
        return backbone
    generator = np.random.default_rng(0)
    size = min(backbone.max_length, 32)
    vocabulary = min(len(backbone.tokenizer), backbone.vocabulary)
    rows = tuple(generator.integers(0, vocabulary, size=size).astype(np.int32) for _ in range(4))
    sample = Encoded(input_ids=rows, truncated=np.zeros(4, dtype=bool))
    full = backbone._pooled_batch(sample, np.arange(4), half=False)
    half = backbone._pooled_batch(sample, np.arange(4), half=True)
    cosine = (full * half).sum(-1) / (np.linalg.norm(full, axis=-1) * np.linalg.norm(half, axis=-1) + 1e-12)
    if np.isfinite(half).all() and cosine.min() >= HALF_PRECISION_COSINE:
        return dataclasses.replace(backbone, compute_dtype=torch.bfloat16)
    note = f"bf16 is not used: features differ from fp32 (cosine {cosine.min():.4f})"
    return dataclasses.replace(backbone, warnings=(*backbone.warnings, note))
