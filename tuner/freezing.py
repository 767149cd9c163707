"""Freeze the first blocks exactly, and prove afterwards that nothing frozen moved."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from tuner.blocks import Block, find_blocks
from tuner.errors import OptionError


class FreezingError(AssertionError):
    """Something frozen moved, or something was trained that should not be: a defect, never the user's mistake."""


@dataclass(frozen=True, kw_only=True)
class FrozenPrefix:
    """What was frozen, with a digest of its weights and buffers, to be compared after training."""

    frozen_blocks: int
    blocks: tuple[Block, ...]
    trainable: int
    digests: tuple[str, ...]


def freeze(model: nn.Module, blocks: Sequence[Block] | None = None, *, frozen_blocks: int) -> FrozenPrefix:
    """Freeze the first `frozen_blocks` blocks of a model (`find_blocks`): no gradients, and evaluation mode for good.

    Evaluation mode switches dropout off and keeps batch statistics; it stays when a trainer calls ``model.train()``,
    because the frozen modules no longer listen. All other parameters are made trainable. Raises `OptionError` for a
    depth the model does not have.
    """
    if blocks is None:
        blocks = find_blocks(model)
    if not 0 <= frozen_blocks <= len(blocks):
        raise OptionError(
            f"{frozen_blocks} frozen blocks of {len(blocks)}",
            why="the model has no more blocks than that",
            fix=f"use 0 to {len(blocks)}",
        )
    thaw(model)
    for block in blocks[:frozen_blocks]:
        for parameter in block.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None
        for module in (part for held in block.modules for part in held.modules()):
            module.training = False
            # A trainer's model.train() reaches every child through this method; some models share parts between
            # layers, so that a trained layer would reach into a frozen one.
            module.train = lambda mode=True, module=module: module  # type: ignore[method-assign, misc]
    return FrozenPrefix(
        frozen_blocks=frozen_blocks,
        blocks=tuple(blocks),
        trainable=count_trainable(model),
        digests=tuple(digest(block) for block in blocks[:frozen_blocks]),
    )


def thaw(model: nn.Module) -> None:
    """Undo `freeze`: every parameter carries gradients, every module listens to ``train()`` again."""
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    for module in model.modules():
        module.__dict__.pop("train", None)


def count_trainable(model: nn.Module) -> int:
    """Parameters that carry gradients."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def digest(block: Block) -> str:
    """SHA-256 over the weights and buffers of a block."""
    hashed = hashlib.sha256()
    buffers = [buffer for module in block.modules for buffer in module.buffers()]
    for tensor in (*block.parameters(), *buffers):
        hashed.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()


def audit(prefix: FrozenPrefix, *, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Raise `FreezingError` unless the prefix is bit for bit what it was and only the rest was trained.

    Checks weights and buffers, evaluation mode, the absence of gradients, the number of trainable parameters against
    the one computed from the blocks, and that the optimizer holds exactly the trainable parameters.
    """
    frozen = prefix.blocks[: prefix.frozen_blocks]
    for block, before in zip(frozen, prefix.digests, strict=True):
        if digest(block) != before:
            raise FreezingError(f"frozen block {block.index} ({block.name}) changed during training")
        if any(module.training for part in block.modules for module in part.modules()):
            raise FreezingError(f"frozen block {block.index} ({block.name}) is in training mode: dropout is on")
        if any(parameter.requires_grad or parameter.grad is not None for parameter in block.parameters()):
            raise FreezingError(f"frozen block {block.index} ({block.name}) has gradients")
    frozen_parameters = {id(parameter) for block in frozen for parameter in block.parameters()}
    expected = sum(p.numel() for p in model.parameters() if id(p) not in frozen_parameters)
    if count_trainable(model) != expected:
        raise FreezingError(f"{count_trainable(model):,} parameters are trainable, {expected:,} should be")
    if optimizer is not None:
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        trainable = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
        if held != trainable:
            raise FreezingError(
                f"the optimizer holds {len(held - trainable)} frozen tensors and misses {len(trainable - held)}"
            )
