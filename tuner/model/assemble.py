"""A model and what reads its inputs -> a `Backbone`: shapes, pooling, length, device, precision."""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tuner.blocks import find_blocks
from tuner.errors import ModelError, OptionError, TransferError, did_you_mean
from tuner.inputs.base import Input
from tuner.inputs.known import INPUTS, input_of_reader
from tuner.model.backbone import HALF_PRECISION_COSINE, Backbone
from tuner.model.checkpoint import read_json
from tuner.model.loading import (
    DEFAULT_TEXT_MODEL,
    LOADING_ERRORS,
    check_built_in,
    hash_blocks,
    load_folder,
    model_folder,
    weights_error,
    weights_sha256,
)
from tuner.model.vision import PREFIX as TORCHVISION
from tuner.model.vision import load_torchvision, torchvision_processor


def load_backbone(
    model: str | Path | tuple[Any, Any] | None = None,
    *,
    device: str = "auto",
    max_length: int | None = None,
    weights: str | Path | None = None,
) -> Backbone:
    """Load a pretrained model, text or image, with what reads its inputs.

    Weights are read from safetensors only and no remote code is run.

    Args:
        model: the name of a built-in model, a folder, a hub id, ``torchvision:NAME``, or a pair (model, tokenizer) or
            (model, image processor); None for the built-in text model.
        device: ``auto`` (the GPU where there is one), ``cpu``, ``cuda`` or ``mps``.
        max_length: tokens that texts are cut to; None for the usual.
        weights: a safetensors file with the weights of ``torchvision:NAME``; None for the published ones.

    Raises:
        ModelError: for what is not a usable model.
        OptionError: for a device or length that cannot be.
    """
    where = resolve_device(device)
    path: Path | None = None
    revision: str | None = None
    warnings: tuple[str, ...] = ()
    sha256: str | None
    if model is not None and not isinstance(model, (str, Path)):
        base, reader = _pair(model)
        prefix = getattr(base, "base_model_prefix", "")
        base = getattr(base, prefix, base) if prefix else base
        config = getattr(base, "config", None)
        name = str(getattr(config, "_name_or_path", "") or type(base).__name__)
        sha256 = hash_blocks(base)
    elif model is not None and str(model).startswith(TORCHVISION):
        name = str(model)
        base, sha256 = load_torchvision(name.removeprefix(TORCHVISION), weights=weights)
        reader = torchvision_processor(name.removeprefix(TORCHVISION))
    else:
        name = DEFAULT_TEXT_MODEL if model is None else str(model)
        if weights is not None:
            raise weights_error(name, weights)
        path = model_folder(None if model is None else str(model))
        sha256 = weights_sha256(path, name)
        revision = path.name if path.parent.name == "snapshots" else None
        check_built_in(name, path, sha256)
        base, reader, warnings = load_folder(path, name)
    if any(p.is_floating_point() and p.dtype != torch.float32 for p in base.parameters()):
        base = copy.deepcopy(base)  # the user's own model keeps its type
    base = base.to(where).float().eval()
    inputs, pooling, notes = _inputs(base, reader, name=name, path=path, max_length=max_length)
    base = inputs.placed(base)
    backbone = Backbone(
        id=name,
        sha256=sha256,
        revision=revision,
        path=path,
        model=base,
        inputs=inputs,
        blocks=find_blocks(base),
        shapes=(),
        pooling=pooling,
        device=where,
        compute_dtype=torch.float32,
        warnings=(*warnings, *notes),
    )
    return _with_compute_dtype(replace(backbone, shapes=_state_shapes(backbone)))


def _inputs(
    base: Any, reader: Any, *, name: str, path: Path | None, max_length: int | None
) -> tuple[Input[Any], str, tuple[str, ...]]:
    """What feeds the model, how its states are pooled, and warnings."""
    kind = input_of_reader(reader) or INPUTS[-1]
    file = path / "1_Pooling" / "config.json" if path is not None else None
    stored = read_json(file, path, str(path)) if path is not None and file is not None and file.exists() else None
    try:
        return kind.of(reader, base=base, name=name, max_length=max_length, stored=stored)
    except TransferError:
        raise
    except LOADING_ERRORS as error:
        raise ModelError(
            f"the {kind.reader_noun} of {name} does not work on an example",
            why=f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else 'no reason given'}",
            fix=f"save the {kind.reader_noun} that the model was trained with into its folder",
        ) from error


def _pair(given: object) -> tuple[Any, Any]:
    """A loaded model with its tokenizer or image processor, or an error that says how to pass them."""
    fits = isinstance(given, tuple) and len(given) == 2 and input_of_reader(given[1]) is not None
    if not isinstance(given, tuple) or not fits or not isinstance(given[0], torch.nn.Module):
        shown = [type(item).__name__ for item in given] if isinstance(given, tuple) else type(given).__name__
        raise OptionError(
            f"model={shown} is not a model with its tokenizer or image processor",
            why="texts become tokens, and images pixels, in the way that the model was trained with",
            fix="pass model=(model, tokenizer), model=(model, image_processor), a folder, or a hub id",
        )
    return given[0], given[1]


def _state_shapes(backbone: Backbone) -> tuple[tuple[int, ...], ...]:
    """What leaves every block for one row (`Backbone.shapes`), seen on an example.

    Raises `ModelError` where a row does not give one state after every block.
    """
    reads = backbone.inputs
    encoded = reads.example()
    everything = np.arange(len(encoded))
    inputs = backbone.collate(encoded, everything)
    leading = (len(encoded), backbone.padded(encoded, everything)) if reads.per_token else (len(encoded),)
    shapes: list[tuple[int, ...]] = []
    try:
        with torch.inference_mode():
            hidden = backbone.states(inputs)
        states = hidden.states
        shapes = [tuple(state.shape[len(leading) :]) for state in states]
        odd = [tuple(state.shape) for state in states if tuple(state.shape[: len(leading)]) != leading]
        problem = f"a block gives {odd[0]}" if odd else None
        if reads.per_token:
            problem = problem or next(
                (f"block {i} gives {shape}" for i, shape in enumerate(shapes) if len(shape) != 1), None
            )
        if len(shapes) != backbone.n_blocks:
            problem = f"{len(shapes)} of {backbone.n_blocks} blocks give a state"
        elif hidden.order != sorted(hidden.order):
            problem = f"its blocks run in the order {hidden.order}, not in the one they were found in"
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        problem = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else 'no reason given'}"
    if problem is not None:
        raise ModelError(
            f"{backbone.id} cannot be read block by block from {reads.nouns} alone ({problem})",
            why=f"{reads.needed}; {len(encoded)} rows were tried",
            fix=f"use {reads.usable}",
        )
    return tuple(shapes)


def resolve_device(device: str) -> torch.device:
    """Find the device of a name; ``auto`` is the GPU where there is one.

    Raises `OptionError` for a device that is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    known = ("auto", "cpu", "cuda", "mps")
    backend = device.partition(":")[0]
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    try:
        resolved = torch.device(device) if backend in available else None
    except RuntimeError:
        resolved = None
    too_high = backend == "cuda" and resolved is not None and (resolved.index or 0) >= max(torch.cuda.device_count(), 1)
    if resolved is None or too_high:
        raise OptionError(
            f"unknown device {device!r}.{did_you_mean(device, known)}",
            why="the model runs there",
            fix=f"use one of {', '.join(known)}",
        )
    if not available[backend]:
        raise OptionError(
            f"device {device!r} is not available on this machine",
            why="torch finds no such device",
            fix="omit --device, or use --device cpu",
        )
    return resolved


def half_precision_supported(device: torch.device) -> bool:
    """Whether bf16 matrix products run in hardware there."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu" and os.environ.get("TRANSFER_ADVISOR_FP32") != "1":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def _with_compute_dtype(backbone: Backbone) -> Backbone:
    """bf16 where the hardware has it and the pooled features of every block stay those of full precision."""
    if not half_precision_supported(backbone.device):
        return backbone
    sample = backbone.inputs.example()
    full = backbone._pooled_batch(sample, np.arange(4), half=False)
    try:
        half = backbone._pooled_batch(sample, np.arange(4), half=True)
    except RuntimeError as error:
        note = f"bf16 is not used: the model does not run in it ({str(error).splitlines()[0]})"
        return replace(backbone, warnings=(*backbone.warnings, note))
    cosine = min(
        float(((a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1) + 1e-12)).min())
        for a, b in zip(full, half, strict=True)
    )
    if cosine >= HALF_PRECISION_COSINE:  # NaN is not
        return replace(backbone, compute_dtype=torch.bfloat16)
    note = f"bf16 is not used: features differ from fp32 (cosine {cosine:.4f})"
    return replace(backbone, warnings=(*backbone.warnings, note))
