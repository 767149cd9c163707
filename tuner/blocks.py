"""The ordered blocks of any model: the stem first, then one block per layer or residual unit, as the data flows.

Freezing, caching and probing all speak of "the first k blocks", so the order is the order in which data flows, and
blocks and head together cover every parameter exactly once. `tuner.block_tree` finds them in the tree of modules.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import nn

from tuner.block_tree import Part, has_parameters, is_head, is_list, walk, without_lists
from tuner.errors import ModelError

OUT_OF_ORDER = ("Twins", "HighResolutionNet", "HighResolutionNetFeatures", "Xcit", "EfficientViM", "CrossVit")
"""Architectures of timm that hold parts of stages before or after them all, or whose branches run beside each other."""
TOWER = re.compile(r"(^|\.)((vision|visual|audio)(_tower|_model)?|image_(tower|model)|tower_\w+|r_layers)$")
"""Names of what reads a second kind of input (LXMERT's `r_layers` are those of images)."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A unit of the base that is frozen or trained as a whole.

    ``unit`` is the module whose output leaves the block (None for the stem and where no single module gives it),
    ``modules`` are all that belong to it, ``tensors`` its parameters, each in one block only: what several blocks
    share belongs to the first. ``companions`` run in step before the unit (MobileNet's depthwise convolution).
    ``shared`` says so in words where a block's layer is run more than once.
    """

    index: int
    name: str
    unit: nn.Module | None
    modules: tuple[nn.Module, ...]
    tensors: tuple[nn.Parameter, ...]
    companions: tuple[nn.Module, ...] = ()
    shared: str | None = None

    @property
    def entrance(self) -> nn.Module:
        """The module that runs first of the unit and its companions."""
        assert self.unit is not None
        return (*self.companions, self.unit)[0]

    def parameters(self) -> Iterator[nn.Parameter]:
        """Every parameter of the block, each once."""
        return iter(self.tensors)


def find_blocks(model: nn.Module) -> tuple[Block, ...]:
    """The blocks of a model, with or without a classification head: the stem, then units in the order data flows.

    An encoder-decoder has its encoder's blocks first. A layer that is used several times (ALBERT) is one block. What
    stands between units joins the one it serves: a stage's downsampling its stage, a final norm the last block. Raises
    `ModelError` for models of several towers, and for what it does not understand, with what it saw.
    """
    _refuse_towers(model)
    _refuse_disorder(model)
    base = base_of(model)
    parts = walk("", base, is_root=True, has_head=base is model)
    if not any(part.joins == "unit" for part in parts):
        parts = without_lists(base)
    blocks = _assemble(base, parts)
    _check_cover(base, blocks, [part for part in parts if part.joins == "head"])
    return blocks


def base_of(model: nn.Module) -> nn.Module:
    """The part of a model without its head, as its `base_model_prefix` names it; the model itself where none does.

    Of a module of one's own that holds one pretrained model, that model's.
    """
    prefix = getattr(model, "base_model_prefix", None)
    if prefix is None:  # a module of one's own; around one pretrained model it is that model's head
        pretrained = [child for child in model.children() if hasattr(child, "base_model_prefix")]
        return base_of(pretrained[0]) if len(pretrained) == 1 else model
    base = getattr(model, prefix, model) if prefix else model
    return base if isinstance(base, nn.Module) else model


def encoder_end(blocks: Sequence[Block]) -> int | None:
    """Index of the encoder's last block in an encoder-decoder, whose decoder reads that state too; None elsewhere."""
    encoder = [block.index for block in blocks if block.name.startswith("encoder.")]
    is_pair = encoder and any(block.name.startswith("decoder.") for block in blocks)
    return encoder[-1] if is_pair else None


def head_parameters(model: nn.Module, blocks: Sequence[Block]) -> Iterator[nn.Parameter]:
    """The parameters that are in no block: together with the blocks, every parameter exactly once."""
    inside = {id(parameter) for block in blocks for parameter in block.parameters()}
    return (parameter for parameter in model.parameters() if id(parameter) not in inside)


def _refuse_towers(model: nn.Module) -> None:
    pretrained = [(name, child) for name, child in model.named_children() if hasattr(child, "base_model_prefix")]
    if not hasattr(model, "base_model_prefix") and len(pretrained) > 1:
        raise _several_towers(model, " beside ".join(name for name, _ in pretrained))
    if not hasattr(model, "base_model_prefix") and pretrained:
        _refuse_front(model, pretrained[0][0])
    towers = [(name, module) for name, module in model.named_modules() if TOWER.search(name)]
    if not towers:
        return
    name, tower = towers[0]
    inside = {id(module) for module in tower.modules()}
    if any(is_list(module) for module in model.modules() if id(module) not in inside):
        raise _several_towers(model, f"{name} beside other layers")


def _refuse_front(model: nn.Module, base: str) -> None:
    """What a module of one's own holds before its pretrained model most likely runs before it, and is no head."""
    names = [name for name, child in model.named_children() if name == base or has_parameters(child)]
    front = [name for name in names[: names.index(base)] if not is_head(name)]
    if front:
        raise ModelError(
            f"{type(model).__name__} holds {front[0]} before its pretrained model {base}",
            why="the first blocks are frozen, and what runs before them would be trained",
            fix=f"register {front[0]} after {base} if it is the head, or put it into a model of your own",
        )


def _several_towers(model: nn.Module, held: str) -> ModelError:
    return ModelError(
        f"{type(model).__name__} has several towers: {held}",
        why="data flows through one or the other, so there is no single order of blocks",
        fix="pass a model of one tower: its text model for texts, its vision model for images",
    )


def _refuse_disorder(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if type(module).__name__ in OUT_OF_ORDER and type(module).__module__.startswith("timm."):
            raise ModelError(
                f"{name or 'the model'} is timm's {type(module).__name__}, whose parts run in another order than it "
                "holds them in",
                why="the first blocks are frozen, and these would not be the first that the data meets",
                fix="pass another model, such as a ResNet, a ViT or a MobileNet",
            )


# --- from parts to blocks


def _assemble(base: nn.Module, parts: Sequence[Part]) -> tuple[Block, ...]:
    if parts and next(part.joins for part in parts if part.joins != "head") == "unit":  # no stem stands by itself
        first = next(part for part in parts if part.joins != "head")
        parts = [replace(part, joins="next") if part is first else part for part in parts]
    units = list({id(part.held): part for part in parts if part.joins == "unit"}.values())
    position = {id(part.held): index for index, part in enumerate(units, start=1)}
    members: list[list[nn.Module | nn.Parameter]] = [[] for _ in range(len(units) + 1)]
    waiting: list[nn.Module | nn.Parameter] = []
    current = 0
    for part in parts:
        if part.joins == "unit":
            current = max(current, position[id(part.held)])
            members[current] += (
                [*waiting, *part.companions, part.held] if current > 1 else [*part.companions, part.held]
            )
            if current == 1:
                members[0] += waiting
            waiting = []
        elif part.joins == "next":
            waiting.append(part.held)
        elif part.joins == "previous":
            members[current].append(part.held)
        elif part.joins == "first":
            members[1].append(part.held)
        elif part.joins == "stem":
            members[0].append(part.held)
    members[current] += waiting
    repeats = Counter(id(part.held) for part in parts if part.joins == "unit")
    declared = getattr(getattr(base, "config", None), "num_hidden_layers", None)
    taken: set[int] = set()
    blocks = []
    for index, held in enumerate(members):
        modules = tuple(dict.fromkeys(item for item in held if isinstance(item, nn.Module)))
        tensors: list[nn.Parameter] = []
        for item in held:
            for tensor in item.parameters() if isinstance(item, nn.Module) else (item,):
                if id(tensor) not in taken:
                    taken.add(id(tensor))
                    tensors.append(tensor)
        unit = units[index - 1].held if index else None
        name = units[index - 1].name if index else _stem_name(parts)
        times = repeats[id(unit)] if index else 1
        if index and len(units) == 1 and isinstance(declared, int) and declared > 1:
            times = declared
        blocks.append(
            Block(
                index=index,
                name=name,
                unit=unit if isinstance(unit, nn.Module) else None,
                modules=modules,
                tensors=tuple(tensors),
                companions=units[index - 1].companions if index else (),
                shared=f"one layer, used {times} times" if times > 1 else None,
            )
        )
    return tuple(blocks)


def _stem_name(parts: Sequence[Part]) -> str:
    return next((part.name for part in parts if part.joins in ("next", "stem")), "stem")


def _check_cover(base: nn.Module, blocks: Sequence[Block], heads: Sequence[Part]) -> None:
    """Every parameter in exactly one block or the head, or a loud error: a missed one would silently stay trainable."""
    inside = {id(parameter) for block in blocks for parameter in block.parameters()}
    for part in heads:
        held = part.held.parameters() if isinstance(part.held, nn.Module) else (part.held,)
        inside |= {id(parameter) for parameter in held}
    missing = [name for name, parameter in base.named_parameters() if id(parameter) not in inside]
    if missing:
        raise ModelError(
            f"{type(base).__name__}: {len(missing)} weights are in no block, such as {missing[0]}",
            why="a weight outside every block could be neither frozen nor trained on purpose",
            fix="report this architecture; models of a known one can be used meanwhile",
        )
