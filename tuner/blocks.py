"""The ordered blocks of any model: the stem first, then one block per layer or residual unit, as the data flows.

Freezing, caching and probing all speak of "the first k blocks", so the order is the order in which data flows, and
blocks and head together cover every parameter exactly once. Most models say where their blocks are by the lists they
keep their layers in; `EXCEPTIONS` holds those that do not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tuner.errors import ModelError

HEAD_NAMES = frozenset(
    {"classifier", "classification_head", "head", "fc", "score", "logits_proj", "lm_head", "dist_head", "pooler",
     "sequence_summary", "pre_classifier", "pre_logits", "qa_outputs", "last_convolution", "aux1", "aux2",
     "visual_projection", "text_projection"}
)  # fmt: skip
"""What stands behind the last block under these names belongs to the head."""

HEAD_PARTS = {"PerceiverModel": {"decoder", "output_postprocessor"}}
"""The same by class, where the name says otherwise."""

STAGES = frozenset(
    {"PvtV2EncoderLayer", "MobileViTMobileNetLayer", "MobileViTV2MobileNetLayer", "PPLCNetBlock", "AlbertLayerGroup"}
)
"""Units by position that are stages in truth: they hold a list of residual units (beside those called ...Stage)."""

STEM_PARTS = {"DebertaEncoder": ("LayerNorm",), "DebertaV2Encoder": ("LayerNorm",)}
"""Norms registered behind the layers that every layer reads: they normalise the relative positions."""

FIRST_BLOCK_PARTS = {"DebertaV2Encoder": ("conv",)}
"""Modules registered behind the layers that run after the first of them."""

LAST_BLOCK_PARTS = {
    "EsmEncoder": ("emb_layer_norm_after",),
    "BigBirdPegasusEncoder": ("layernorm_embedding",),
    "BigBirdPegasusDecoder": ("layernorm_embedding",),
}
"""Modules that are named after embeddings and run behind the last layer."""

FINAL_NORM = re.compile(r"norm|final_.*norm")
"""Norms that are registered before the layers but run behind them (OPT, T5Gemma); transformers' models only, since a
module's own order is the best guess for others."""

POSITIONS = re.compile(r"rel_|relative|pos_|position")
"""Registered behind the layers, read by all of them: biases of relative positions."""

NO_HEADS = {"SelecSls": {"head"}}
"""Pretrained parts that are called as heads are, by class."""

BRANCH = re.compile(r"branch_?\d")
"""Names of what runs beside each other within one unit (inception modules)."""

OUT_OF_ORDER = ("Twins", "HighResolutionNet", "HighResolutionNetFeatures", "Xcit", "EfficientViM", "CrossVit")
"""Of timm: stages whose parts are held before or behind them all, branches that run beside each other."""
TOWER = re.compile(r"(^|\.)((vision|visual|audio)(_tower|_model)?|image_(tower|model)|tower_\w+|r_layers)$")
"""Names of what reads a second kind of input (LXMERT's `r_layers` are those of images)."""

DIRECTIONS = (re.compile(r"fwd|forward"), re.compile(r"bwd|backward"))


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


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A piece of the model on the way to blocks: a unit, or something loose with the place where it joins."""

    name: str
    held: nn.Module | nn.Parameter
    joins: str  # unit, next, previous, stem, first or head
    companions: tuple[nn.Module, ...] = ()


def find_blocks(model: nn.Module) -> tuple[Block, ...]:
    """The blocks of a model, with or without a classification head: the stem, then units in the order data flows.

    An encoder-decoder has its encoder's blocks first. A layer that is used several times (ALBERT) is one block. What
    stands between units joins the one it serves: a stage's downsampling its stage, a final norm the last block. Raises
    `ModelError` for models of several towers, and for what it does not understand, with what it saw.
    """
    _refuse_towers(model)
    _refuse_disorder(model)
    base = base_of(model)
    parts = _walk("", base, is_root=True, has_head=base is model)
    if not any(part.joins == "unit" for part in parts):
        parts = _without_lists(base)
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
    """What is in no block: together with the blocks, every parameter exactly once."""
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
    if any(_is_list(module) for module in model.modules() if id(module) not in inside):
        raise _several_towers(model, f"{name} beside other layers")


def _refuse_front(model: nn.Module, base: str) -> None:
    """What a module of one's own holds before its pretrained model most likely runs before it, and is no head."""
    names = [name for name, child in model.named_children() if name == base or _has_parameters(child)]
    front = [name for name in names[: names.index(base)] if not _is_head(name)]
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


# --- from the module tree to parts, in the order data flows


def _has_parameters(module: nn.Module) -> bool:
    """Whether there is something in it that training changes: parameters, or running statistics."""
    return next(module.parameters(), None) is not None or any(
        isinstance(part, _BatchNorm) and part.track_running_stats for part in module.modules()
    )


def _is_list(module: nn.Module) -> bool:
    """Whether a container holds units: composite modules, or recurrent layers, rather than single operations."""
    if not isinstance(module, (nn.ModuleList, nn.Sequential)):
        return False
    items = [item for item in module if _has_parameters(item)]
    composite = [item for item in items if any(True for _ in item.children()) or isinstance(item, nn.RNNBase)]
    return len(composite) > 0 and 2 * len(composite) >= len(items)


def _is_stage(module: nn.Module) -> bool:
    """Whether an element of a list is a stage, which holds residual units, rather than one itself."""
    named = type(module).__name__
    return _is_list(module) or (
        (named.endswith("Stage") or named in STAGES) and any(_is_list(child) for child in module.modules())
    )


def _has_branches(module: nn.Module) -> bool:
    return sum(BRANCH.fullmatch(name) is not None for name, _ in module.named_children()) > 1


def _holds_units(module: nn.Module) -> bool:
    if _has_branches(module):
        return False
    return type(module).__name__ in EXCEPTIONS or any(
        _is_list(part) or type(part).__name__ in EXCEPTIONS for part in module.modules()
    )


def _walk(
    name: str, module: nn.Module, *, is_root: bool = False, in_stage: bool = False, has_head: bool = False
) -> list[_Part]:
    """The parts of a module that holds units."""

    def dotted(child: str) -> str:
        return f"{name}.{child}".lstrip(".")

    kind = type(module).__name__
    if kind in EXCEPTIONS:
        return EXCEPTIONS[kind](name, module)
    both_ways = _both_ways(module)
    if both_ways is not None:
        return _in_step(*both_ways)(name, module)
    if _is_list(module):
        parts: list[_Part] = []
        for child_name, child in module.named_children():
            if not _has_parameters(child):
                continue
            if _is_stage(child) and _holds_units(child):
                parts += _walk(dotted(child_name), child, in_stage=True)
            else:
                joins = "previous" if _is_norm(child) else "unit"
                parts.append(_Part(name=dotted(child_name), held=child, joins=joins))
        return parts
    children = [(n, child) for n, child in module.named_children() if _has_parameters(child)]
    # Asked first: the head may be a list of composite parts itself.
    heads = {n for n, _ in children if is_root and (_is_head(n) or n in HEAD_PARTS.get(kind, ()))}
    heads -= NO_HEADS.get(kind, set())
    holders = [index for index, (n, child) in enumerate(children) if n not in heads and _holds_units(child)]
    front: list[_Part] = [
        _Part(name=dotted(n), held=parameter, joins="next") for n, parameter in module.named_parameters(recurse=False)
    ]
    parts, behind_all = [], []
    is_transformers = type(module).__module__.startswith("transformers.")
    for index, (child_name, child) in enumerate(children):
        full = dotted(child_name)
        if index in holders:
            parts += _walk(full, child, in_stage=in_stage)
            continue
        before, behind = not holders or index < holders[0], bool(holders) and index > holders[-1]
        if child_name in heads:
            joins = "head"
        elif child_name in STEM_PARTS.get(kind, ()):
            joins = "stem"
        elif child_name in FIRST_BLOCK_PARTS.get(kind, ()):
            joins = "first"
        elif child_name in LAST_BLOCK_PARTS.get(kind, ()) or (
            before and holders and is_transformers and FINAL_NORM.fullmatch(child_name)
        ):
            behind_all.append(_Part(name=full, held=child, joins="previous"))
            continue
        elif before or "emb" in child_name.lower():
            front.append(_Part(name=full, held=child, joins="next"))
            continue
        elif not behind:
            joins = "previous" if _is_norm(child) or in_stage else "next"
        elif is_root and has_head and not _is_norm(child):
            joins = "head"
        else:
            joins = "stem" if POSITIONS.search(child_name) else "previous"
        parts.append(_Part(name=full, held=child, joins=joins))
    return [*front, *parts, *behind_all]


def _is_head(name: str) -> bool:
    """Whether a part of the whole model is called as heads are."""
    return name in HEAD_NAMES or name.lower().startswith("aux") or name.endswith(("classifier", "_head"))


def _is_norm(module: nn.Module) -> bool:
    # torchvision's Conv2dNormActivation is named after what it holds; timm's BatchNormAct2d holds an activation
    named = "norm" in type(module).__name__.lower()
    return named and not any(_has_parameters(child) for child in module.children())


def _without_lists(model: nn.Module) -> list[_Part]:
    """Models that keep no list: children in order; what comes before the first of the commonest kind is the stem.

    Where one sequence holds everything (VGG's convolutions) it is opened: every operation with weights is a unit, with
    the norm behind it.
    """
    children = _children_with_weights(model)
    while len(children) == 1 and isinstance(children[0][1], (nn.Sequential, nn.ModuleList)):
        name, sequence = children[0]
        children = [(f"{name}.{inner}", child) for inner, child in sequence.named_children() if _has_parameters(child)]
    kinds = Counter(type(child).__name__ for _, child in children if not _is_norm(child))
    if len(kinds) == 0 or kinds.total() < 2:
        seen = ", ".join(f"{name} ({type(child).__name__})" for name, child in model.named_children()) or "no part"
        raise ModelError(
            f"{type(model).__name__} has no list of layers and fewer than two parts with weights; it has {seen}",
            why="blocks to freeze are taken from the model's layers, and none were found",
            fix="use a model from transformers, or a module whose layers are its children in order",
        )
    recurrent = {type(child).__name__ for _, child in children if isinstance(child, nn.RNNBase)}
    common = next((kind for kind in kinds if kind in recurrent), kinds.most_common(1)[0][0])
    count = kinds[common]
    first = next(i for i, (_, child) in enumerate(children) if type(child).__name__ == common) if count > 1 else 1
    ends_linear = isinstance(children[-1][1], nn.Linear)  # a plain network ends with its classifier
    parts = [
        _Part(name=name, held=child, joins="next" if index < first else "previous" if _is_norm(child) else "unit")
        for index, (name, child) in enumerate(children)
    ]
    if first == 0:  # nothing comes before the first of them: it is the stem itself
        parts[0] = _Part(name=parts[0].name, held=parts[0].held, joins="next")
    if ends_linear:
        parts[-1] = _Part(name=parts[-1].name, held=parts[-1].held, joins="head")
    taken = {name.partition(".")[0] for name, _ in children}
    loose = [_Part(name=n, held=p, joins="next") for n, p in model.named_parameters(recurse=False)]
    heads = [
        _Part(name=n, held=m, joins="head") for n, m in model.named_children() if n not in taken and _has_parameters(m)
    ]
    return [*loose, *parts, *heads]


def _both_ways(module: nn.Module) -> tuple[str, str] | None:
    """Names of two lists of recurrent layers, one for every direction, that run in step (ELMo)."""
    lists = [
        (name, child)
        for name, child in module.named_children()
        if isinstance(child, nn.ModuleList) and len(child) and all(isinstance(item, nn.RNNBase) for item in child)
    ]
    if len(lists) != 2 or len(lists[0][1]) != len(lists[1][1]):
        return None
    names = (lists[0][0], lists[1][0])
    return names if all(way.search(name) for way, name in zip(DIRECTIONS, names, strict=True)) else None


def _children_with_weights(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """A model's children in order, without its heads."""
    return [(name, child) for name, child in model.named_children() if _has_parameters(child) and not _is_head(name)]


# --- exceptions: where data flows otherwise than the tree says


def _in_step(*lists: str, unit: int = -1) -> Callable[[str, nn.Module], list[_Part]]:
    """Lists that run in step: the i-th of each forms one block (XLM's attentions, norms and feed-forwards)."""

    def walk(name: str, module: nn.Module) -> list[_Part]:
        columns = [list(getattr(module, each)) for each in lists]
        parts = []
        for index, row in enumerate(zip(*columns, strict=True)):
            main = row[unit]
            parts.append(
                _Part(
                    name=f"{name}.{lists[unit]}.{index}".lstrip("."),
                    held=main,
                    joins="unit",
                    companions=tuple(item for item in row if item is not main),
                )
            )
        others = [
            _Part(name=f"{name}.{n}".lstrip("."), held=child, joins="head" if n in HEAD_NAMES else "next")
            for n, child in module.named_children()
            if n not in lists and _has_parameters(child)
        ]
        loose = [_Part(name=f"{name}.{n}", held=p, joins="next") for n, p in module.named_parameters(recurse=False)]
        return [*loose, *(o for o in others if o.joins == "next"), *parts, *(o for o in others if o.joins == "head")]

    return walk


def _stages_in_step(*before: str, units: str, after: str | None = None) -> Callable[[str, nn.Module], list[_Part]]:
    """Stages whose embeddings, units and norms stand in lists of their own (PVT's patch embeddings and blocks)."""

    def walk(name: str, module: nn.Module) -> list[_Part]:
        stages = list(getattr(module, units))
        parts: list[_Part] = []
        for index, stage in enumerate(stages):
            for each in before:
                held = getattr(module, each)[index]
                if _has_parameters(held):
                    parts.append(_Part(name=f"{name}.{each}.{index}".lstrip("."), held=held, joins="next"))
            for number, unit in enumerate(stage):
                parts.append(_Part(name=f"{name}.{units}.{index}.{number}".lstrip("."), held=unit, joins="unit"))
            if after is not None:
                held = getattr(module, after)[index]
                parts.append(_Part(name=f"{name}.{after}.{index}".lstrip("."), held=held, joins="previous"))
        known = {*before, units, after}
        for child_name, child in module.named_children():
            if child_name not in known and _has_parameters(child):
                parts.append(_Part(name=f"{name}.{child_name}".lstrip("."), held=child, joins="previous"))
        return parts

    return walk


def _pairs(name: str, module: nn.Module) -> list[_Part]:
    """MobileNetV1: a depthwise convolution and the pointwise one behind it are one block."""
    layers = list(module.get_submodule("layer").children())
    parts = [_Part(name=f"{name}.conv_stem".lstrip("."), held=module.get_submodule("conv_stem"), joins="next")]
    for index in range(0, len(layers), 2):
        pair = layers[index : index + 2]
        parts.append(
            _Part(name=f"{name}.layer.{index}".lstrip("."), held=pair[-1], joins="unit", companions=tuple(pair[:-1]))
        )
    return parts


def _perceiver(name: str, module: nn.Module) -> list[_Part]:
    """Perceiver's encoder: one cross-attention, then its self-attention layers, all of them `num_blocks` times."""
    parts = [_Part(name=f"{name}.cross_attention", held=module.get_submodule("cross_attention"), joins="unit")]
    layers = list(module.get_submodule("self_attends").children())
    config: Any = module.config
    if config.num_blocks == 1:
        return parts + [
            _Part(name=f"{name}.self_attends.{i}", held=layer, joins="unit") for i, layer in enumerate(layers)
        ]
    whole = _Part(name=f"{name}.self_attends", held=layers[-1], joins="unit", companions=tuple(layers[:-1]))
    return [*parts, whole]


def _after_downsampling(name: str, module: nn.Module) -> list[_Part]:
    """HGNetV2: a stage's convolution runs before its first unit, on as many channels as the unit before it left."""
    before = module.get_submodule("downsample")
    return [
        _Part(
            name=f"{name}.blocks.{index}",
            held=unit,
            joins="unit",
            companions=(before,) if index == 0 and _has_parameters(before) else (),
        )
        for index, unit in enumerate(module.get_submodule("blocks").children())
    ]


def _children(name: str, module: nn.Module) -> list[_Part]:
    """A stage whose units are its children, without a list (timm's RegNet)."""
    return [
        _Part(name=f"{name}.{child_name}", held=child, joins="unit")
        for child_name, child in module.named_children()
        if _has_parameters(child)
    ]


def _inceptions(name: str, module: nn.Module) -> list[_Part]:
    """GoogLeNet: inception modules are the blocks, though their branches look like lists of units."""
    return [
        _Part(
            name=f"{name}.{child_name}".lstrip("."),
            held=child,
            joins="unit" if child_name.startswith("inception") else "next" if child_name.startswith("conv") else "head",
        )
        for child_name, child in module.named_children()
        if _has_parameters(child)
    ]


EXCEPTIONS: dict[str, Callable[[str, nn.Module], list[_Part]]] = {
    "XLMModel": _in_step("attentions", "layer_norm1", "ffns", "layer_norm2"),
    "FlaubertModel": _in_step("attentions", "layer_norm1", "ffns", "layer_norm2"),
    "PvtEncoder": _stages_in_step("patch_embeddings", units="block"),
    "PoolFormerEncoder": _stages_in_step("patch_embeddings", units="block"),
    "MobileNetV1Model": _pairs,
    "PerceiverEncoder": _perceiver,
    "GoogLeNet": _inceptions,
    "RegStage": _children,
    "HGNetV2Stage": _after_downsampling,
}


# --- from parts to blocks


def _assemble(base: nn.Module, parts: Sequence[_Part]) -> tuple[Block, ...]:
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


def _stem_name(parts: Sequence[_Part]) -> str:
    return next((part.name for part in parts if part.joins in ("next", "stem")), "stem")


def _check_cover(base: nn.Module, blocks: Sequence[Block], heads: Sequence[_Part]) -> None:
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
