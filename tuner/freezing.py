"""Freeze the first blocks exactly, and prove afterwards that nothing frozen moved."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from tuner.blocks import Block, base_of, find_blocks
from tuner.errors import OptionError


class FreezingError(AssertionError):
    """Something frozen moved, or something was trained that should not be: a defect, never the user's mistake."""


@dataclass(frozen=True, kw_only=True)
class FrozenPrefix:
    """A record of what `freeze` froze, with digests of its weights and buffers, to be compared after training.

    ``blocks`` are those of the whole model, of which the first ``frozen_blocks`` are frozen. ``trainable`` counts the
    values that carry gradients, ``fixed`` those outside the frozen blocks that the model itself (sinusoidal positions)
    or PEFT (the base under its adapters) keeps as they are. ``statistics`` is a digest of the batch statistics that
    trained blocks keep, all but the last ``fresh_blocks``; None where they follow the batches.
    """

    frozen_blocks: int
    blocks: tuple[Block, ...]
    trainable: int
    fixed: int
    digests: tuple[str, ...]
    fresh_blocks: int = 0
    statistics: str | None = None


def freeze(
    model: nn.Module,
    blocks: Sequence[Block] | None = None,
    *,
    frozen_blocks: int,
    keep_statistics: bool = False,
    fresh_blocks: int = 0,
) -> FrozenPrefix:
    """Freeze the first blocks of a model: no gradients, and evaluation mode for good.

    Evaluation mode switches dropout off and keeps batch statistics; it stays when a trainer calls ``model.train()``,
    because the frozen modules no longer listen. What holds the blocks (an encoder with dropout of its own) is in
    evaluation mode until the data enters the first block that is trained. All other parameters are made trainable, but
    those that the model itself keeps fixed; a model with adapters of PEFT trains only what PEFT trains, since the rest
    is not saved with them.

    Args:
        model: what is frozen, in place.
        blocks: of the model; by default those that `find_blocks` finds.
        frozen_blocks: number of blocks that are frozen, from the first one on; 0 for none.
        keep_statistics: whether batch norms of the trained blocks too normalise with the statistics they came with, and
            only their weights are trained: a few small batches say less about means and variances than pretraining did.
        fresh_blocks: number of the last blocks of which that does not hold: the statistics know nothing of their
            weights.

    Returns:
        what was frozen, for `audit`.

    Raises:
        OptionError: for a depth that the model does not have.
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
    fixed = _kept_by_peft(model) if _has_adapters(model) else _fixed_parameters(blocks)
    for parameter in model.parameters():
        if parameter.is_floating_point():  # quantised ones have no gradient at all
            parameter.requires_grad_(id(parameter) not in fixed)
    frozen = {id(parameter) for block in blocks[:frozen_blocks] for parameter in block.parameters()}
    for module in model.modules():
        names = [name for name, p in module._parameters.items() if p is not None and id(p) in frozen - fixed]
        if names:
            module.__dict__[_FROZEN] = tuple(names)
            for name in names:
                weight = module._parameters[name]
                assert weight is not None
                weight.requires_grad_(False)
                weight.grad = None
    for block in blocks[:frozen_blocks]:
        for module in (part for held in block.modules for part in held.modules()):
            module.training = False
            module.__dict__["train"] = _Deaf(module)
    if frozen_blocks:
        _quiet_containers(model, blocks, frozen_blocks)
    kept = blocks[frozen_blocks : len(blocks) - fresh_blocks]
    if keep_statistics:
        for norm in _norms(kept):
            norm.training = False
            norm.__dict__["train"] = _Deaf(norm)
    return FrozenPrefix(
        frozen_blocks=frozen_blocks,
        blocks=tuple(blocks),
        trainable=count_trainable(model),
        fixed=sum(p.numel() for p in model.parameters() if id(p) in fixed - frozen),
        digests=tuple(digest(block) for block in blocks[:frozen_blocks]),
        fresh_blocks=fresh_blocks,
        statistics=_digest_of_statistics(kept) if keep_statistics else None,
    )


def thaw(model: nn.Module) -> None:
    """Undo `freeze`: what it froze carries gradients, every module listens to ``train()`` again."""
    for module in model.modules():
        for name in module.__dict__.pop(_FROZEN, ()):
            parameter = module._parameters[name]
            assert parameter is not None
            parameter.requires_grad_(True)
        module.__dict__.pop("train", None)
        for handle in module.__dict__.pop(_HOOKS, ()):
            handle.remove()


_FROZEN, _HOOKS = "_parameters_frozen_by_depth", "_hooks_of_frozen_prefix"


def _fixed_parameters(blocks: Sequence[Block]) -> set[int]:
    """What the model itself keeps from training: parts of a block whose other parts are trained.

    A block without any gradient was frozen by someone, by hand or on the way here, and is not meant.
    """
    fixed = set()
    for block in blocks:
        tensors = tuple(block.parameters())
        if any(tensor.requires_grad for tensor in tensors):
            fixed |= {id(tensor) for tensor in tensors if not tensor.requires_grad}
    return fixed


def _has_adapters(model: nn.Module) -> bool:
    """Whether PEFT has put anything into a model, or around it."""
    return any(kind.__module__.partition(".")[0] == "peft" for part in model.modules() for kind in type(part).__mro__)


def _kept_by_peft(model: nn.Module) -> set[int]:
    """What does not learn in a model with adapters; they are saved without it, so it must stay what the base has."""
    return {id(parameter) for parameter in model.parameters() if not parameter.requires_grad}


class _Deaf:
    """Stands for a frozen module's ``train``.

    A trainer's ``model.train()`` reaches every child through that method, and some models share parts between layers,
    so that a trained layer would reach into a frozen one.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, mode: bool = True) -> nn.Module:
        return self.module


class _Container:
    """Stands for the ``train`` of what holds the blocks: its children follow, itself only after the frozen prefix."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.wanted = module.training

    def __call__(self, mode: bool = True) -> nn.Module:
        self.wanted = mode
        self.module.training = False
        for child in self.module.children():
            child.train(mode)
        return self.module


class _Mode:
    """A hook that puts the containers into evaluation mode, or into the one that was asked for."""

    def __init__(self, containers: Sequence[_Container], *, quiet: bool) -> None:
        self.containers, self.quiet = tuple(containers), quiet

    def __call__(self, *_: object) -> None:
        for container in self.containers:
            container.module.training = container.wanted and not self.quiet


def _quiet_containers(model: nn.Module, blocks: Sequence[Block], frozen_blocks: int) -> None:
    """Dropout without weights, or inside what holds the blocks, is off as long as the data runs through the prefix."""
    base = base_of(model)
    inside = {id(part) for block in blocks for held in block.modules for part in held.modules()}
    held = {id(parameter) for block in blocks for parameter in block.parameters()}
    containers: list[_Container] = []

    def visit(module: nn.Module) -> None:
        if id(module) in inside:
            return
        own = list(module.parameters())
        if own and not any(id(parameter) in held for parameter in own):
            return  # a part of the head
        containers.append(_Container(module))
        for child in module.children():
            visit(child)

    visit(base)
    for container in containers:
        container.module.training = False
        container.module.__dict__["train"] = container
    begins = base.register_forward_pre_hook(_Mode(containers, quiet=True))
    if frozen_blocks < len(blocks):
        ends = blocks[frozen_blocks].entrance.register_forward_pre_hook(_Mode(containers, quiet=False))
    else:
        ends = base.register_forward_hook(_Mode(containers, quiet=False))
    base.__dict__[_HOOKS] = (begins, ends)


def _norms(blocks: Sequence[Block]) -> list[nn.Module]:
    """Modules of some blocks that keep running means and variances."""
    held = (module for block in blocks for part in block.modules for module in part.modules())
    return [module for module in held if isinstance(module, _NormBase) and module.running_mean is not None]


def has_statistics(blocks: Sequence[Block]) -> bool:
    """Whether some of the blocks hold batch norms."""
    return bool(_norms(blocks))


def count_trainable(model: nn.Module) -> int:
    """Count the values of the parameters that carry gradients."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def digest(block: Block) -> str:
    """SHA-256 over the weights and buffers of a block."""
    buffers = [buffer for module in block.modules for buffer in module.buffers()]
    return _digest((*block.parameters(), *buffers))


def _digest_of_statistics(blocks: Sequence[Block]) -> str:
    return _digest([buffer for norm in _norms(blocks) for buffer in norm.buffers(recurse=False)])


def _digest(tensors: Iterable[torch.Tensor]) -> str:
    hashed = hashlib.sha256()
    for tensor in tensors:
        hashed.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside what distributed training and torch.compile put around it."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(model, torch._dynamo.OptimizedModule):
            model = model._orig_mod
        else:
            return model


def is_prefix_of(prefix: FrozenPrefix, model: nn.Module) -> bool:
    """Whether all blocks of a prefix, frozen and trained, are modules and parameters of this very model."""
    return not _foreign_blocks(prefix, model)


def _foreign_blocks(prefix: FrozenPrefix, model: nn.Module) -> list[Block]:
    """Blocks of a prefix that are not, as a whole, the very objects that a model consists of."""
    held = {id(part) for part in (*model.modules(), *model.parameters())}
    return [block for block in prefix.blocks if not {id(part) for part in (*block.modules, *block.tensors)} <= held]


def audit(
    prefix: FrozenPrefix,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    optimizer_was_first: bool = False,
    compact: bool = False,
) -> None:
    """Raise `FreezingError` unless the prefix is bit for bit what it was and only the rest was trained.

    Checks that the prefix is of this model, by identity; weights and buffers, evaluation mode, the absence of
    gradients, the number of trainable parameters against the one computed from the blocks, and that the optimizer holds
    exactly the trainable parameters.

    Args:
        prefix: what `freeze` returned.
        model: the model that is trained, with or without what distributed training or torch.compile put around it.
        optimizer: of that training; None omits the check of it.
        optimizer_was_first: whether it was made before freezing: it may then hold frozen parameters, without any state.
        compact: whether a table of the rows that occur stands in for the trained input embedding
            (`tuner.training.vocabulary`).

    Raises:
        FreezingError: where anything differs.
    """
    foreign = _foreign_blocks(prefix, model)
    if len(foreign) == len(prefix.blocks):
        raise FreezingError(
            "the frozen prefix is of another model than the one that is trained: none of its blocks is in it. Freeze "
            "the model that the trainer trains; with model_init, which makes a new one for every training, pass "
            f"FreezingAudit(frozen_blocks={prefix.frozen_blocks}), which freezes and audits each"
        )
    frozen = prefix.blocks[: prefix.frozen_blocks]
    if replaced := [block for block in foreign if block in frozen or not compact]:
        raise FreezingError(
            f"block {replaced[0].index} ({replaced[0].name}) is not the one that was frozen: its modules or weights "
            "were replaced since, so call freeze() again after changing the model"
        )
    for block, before in zip(frozen, prefix.digests, strict=True):
        if digest(block) != before:
            raise FreezingError(f"frozen block {block.index} ({block.name}) changed during training")
        if any(module.training for part in block.modules for module in part.modules()):
            raise FreezingError(f"frozen block {block.index} ({block.name}) is in training mode: dropout is on")
        if any(parameter.requires_grad or parameter.grad is not None for parameter in block.parameters()):
            raise FreezingError(f"frozen block {block.index} ({block.name}) has gradients")
    kept = prefix.blocks[prefix.frozen_blocks : len(prefix.blocks) - prefix.fresh_blocks]
    if prefix.statistics is not None and _digest_of_statistics(kept) != prefix.statistics:
        raise FreezingError("batch statistics of the trained blocks changed, and were to be kept")
    frozen_parameters = {id(parameter) for block in frozen for parameter in block.parameters()}
    expected = sum(p.numel() for p in model.parameters() if id(p) not in frozen_parameters) - prefix.fixed
    if count_trainable(model) != expected:
        raise FreezingError(f"{count_trainable(model):,} parameters are trainable, {expected:,} should be")
    if optimizer is not None:
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        trainable = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
        if optimizer_was_first:  # it skips what has no gradient
            started = {id(parameter) for parameter in optimizer.state}
            held = {parameter for parameter in held if parameter in trainable | started}
        if held != trainable:
            raise FreezingError(
                f"the optimizer holds {len(held - trainable)} frozen tensors and misses {len(trainable - held)}"
            )
