"""From a model's module tree to parts, in the order data flows.

Most models say where their blocks are by the lists they keep their layers in; `EXCEPTIONS` holds those that do not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tuner.errors import ModelError

HEAD_NAMES = frozenset(
    {"classifier", "classification_head", "head", "fc", "score", "logits_proj", "lm_head", "dist_head", "pooler",
     "sequence_summary", "pre_classifier", "pre_logits", "qa_outputs", "last_convolution", "aux1", "aux2",
     "visual_projection", "text_projection"}
)  # fmt: skip
"""What follows the last block under these names belongs to the head."""

HEAD_PARTS = {"PerceiverModel": {"decoder", "output_postprocessor"}}
"""Parts of the head by class, where their names do not say so."""

STAGES = frozenset(
    {"PvtV2EncoderLayer", "MobileViTMobileNetLayer", "MobileViTV2MobileNetLayer", "PPLCNetBlock", "AlbertLayerGroup"}
)
"""Units by position that are stages in truth: they hold a list of residual units (beside those called ...Stage)."""

STEM_PARTS = {"DebertaEncoder": ("LayerNorm",), "DebertaV2Encoder": ("LayerNorm",)}
"""Norms registered after the layers that every layer reads: they normalise the relative positions."""

FIRST_BLOCK_PARTS = {"DebertaV2Encoder": ("conv",)}
"""Modules registered after the layers that run after the first of them."""

LAST_BLOCK_PARTS = {
    "EsmEncoder": ("emb_layer_norm_after",),
    "BigBirdPegasusEncoder": ("layernorm_embedding",),
    "BigBirdPegasusDecoder": ("layernorm_embedding",),
}
"""Modules that are named after embeddings and run after the last layer."""

FINAL_NORM = re.compile(r"norm|final_.*norm")
"""Norms that are registered before the layers but run after them (OPT, T5Gemma); transformers' models only, since a
module's own order is the best guess for others."""

POSITIONS = re.compile(r"rel_|relative|pos_|position")
"""Registered after the layers, read by all of them: biases of relative positions."""

NO_HEADS = {"SelecSls": {"head"}}
"""Pretrained parts that are called as heads are, by class."""

BRANCH = re.compile(r"branch_?\d")
"""Names of what runs beside each other within one unit (inception modules)."""

DIRECTIONS = (re.compile(r"fwd|forward"), re.compile(r"bwd|backward"))


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of the model on the way to blocks: a unit, or something loose with the place where it joins."""

    name: str
    held: nn.Module | nn.Parameter
    joins: str  # unit, next, previous, stem, first or head
    companions: tuple[nn.Module, ...] = ()


# --- from the module tree to parts, in the order data flows


def has_parameters(module: nn.Module) -> bool:
    """Whether a module holds something that training changes: parameters, or running statistics."""
    return next(module.parameters(), None) is not None or any(
        isinstance(part, _BatchNorm) and part.track_running_stats for part in module.modules()
    )


def is_list(module: nn.Module) -> bool:
    """Whether a container holds units: composite modules, or recurrent layers, rather than single operations."""
    if not isinstance(module, (nn.ModuleList, nn.Sequential)):
        return False
    items = [item for item in module if has_parameters(item)]
    composite = [item for item in items if any(True for _ in item.children()) or isinstance(item, nn.RNNBase)]
    return len(composite) > 0 and 2 * len(composite) >= len(items)


def _is_stage(module: nn.Module) -> bool:
    """Whether an element of a list is a stage, which holds residual units, rather than one itself."""
    named = type(module).__name__
    return is_list(module) or (
        (named.endswith("Stage") or named in STAGES) and any(is_list(child) for child in module.modules())
    )


def _has_branches(module: nn.Module) -> bool:
    return sum(BRANCH.fullmatch(name) is not None for name, _ in module.named_children()) > 1


def _holds_units(module: nn.Module) -> bool:
    if _has_branches(module):
        return False
    return type(module).__name__ in EXCEPTIONS or any(
        is_list(part) or type(part).__name__ in EXCEPTIONS for part in module.modules()
    )


def walk(
    name: str, module: nn.Module, *, is_root: bool = False, in_stage: bool = False, has_head: bool = False
) -> list[Part]:
    """List the parts of a module that holds units, in the order data flows.

    Args:
        name: dotted name of the module inside the base; empty for the base itself.
        module: what is taken apart.
        is_root: whether it is the base itself, among whose children heads are looked for.
        in_stage: whether it is a stage of residual units, whose loose parts between units join the one before them.
        has_head: whether what a root holds after its last unit is a head, unless it is a norm.
    """

    def dotted(child: str) -> str:
        return f"{name}.{child}".lstrip(".")

    kind = type(module).__name__
    if kind in EXCEPTIONS:
        return EXCEPTIONS[kind](name, module)
    both_ways = _both_ways(module)
    if both_ways is not None:
        return _in_step(*both_ways)(name, module)
    if is_list(module):
        parts: list[Part] = []
        for child_name, child in module.named_children():
            if not has_parameters(child):
                continue
            if _is_stage(child) and _holds_units(child):
                parts += walk(dotted(child_name), child, in_stage=True)
            else:
                joins = "previous" if _is_norm(child) else "unit"
                parts.append(Part(name=dotted(child_name), held=child, joins=joins))
        return parts
    children = [(n, child) for n, child in module.named_children() if has_parameters(child)]
    # Asked first: the head may be a list of composite parts itself.
    heads = {n for n, _ in children if is_root and (is_head(n) or n in HEAD_PARTS.get(kind, ()))}
    heads -= NO_HEADS.get(kind, set())
    holders = [index for index, (n, child) in enumerate(children) if n not in heads and _holds_units(child)]
    front: list[Part] = [
        Part(name=dotted(n), held=parameter, joins="next") for n, parameter in module.named_parameters(recurse=False)
    ]
    parts, behind_all = [], []
    is_transformers = type(module).__module__.startswith("transformers.")
    for index, (child_name, child) in enumerate(children):
        full = dotted(child_name)
        if index in holders:
            parts += walk(full, child, in_stage=in_stage)
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
            behind_all.append(Part(name=full, held=child, joins="previous"))
            continue
        elif before or "emb" in child_name.lower():
            front.append(Part(name=full, held=child, joins="next"))
            continue
        elif not behind:
            joins = "previous" if _is_norm(child) or in_stage else "next"
        elif is_root and has_head and not _is_norm(child):
            joins = "head"
        else:
            joins = "stem" if POSITIONS.search(child_name) else "previous"
        parts.append(Part(name=full, held=child, joins=joins))
    return [*front, *parts, *behind_all]


def is_head(name: str) -> bool:
    """Whether a part of the whole model has a name that heads have."""
    return name in HEAD_NAMES or name.lower().startswith("aux") or name.endswith(("classifier", "_head"))


def _is_norm(module: nn.Module) -> bool:
    # torchvision's Conv2dNormActivation is named after what it holds; timm's BatchNormAct2d holds an activation
    named = "norm" in type(module).__name__.lower()
    return named and not any(has_parameters(child) for child in module.children())


def without_lists(model: nn.Module) -> list[Part]:
    """List the parts of a model that keeps no list: its children in order.

    What comes before the first of the commonest kind is the stem. Where one sequence holds everything (VGG's
    convolutions) it is opened: every operation with weights is a unit, with the norm after it.
    """
    children = children_with_weights(model)
    while len(children) == 1 and isinstance(children[0][1], (nn.Sequential, nn.ModuleList)):
        name, sequence = children[0]
        children = [(f"{name}.{inner}", child) for inner, child in sequence.named_children() if has_parameters(child)]
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
        Part(name=name, held=child, joins="next" if index < first else "previous" if _is_norm(child) else "unit")
        for index, (name, child) in enumerate(children)
    ]
    if first == 0:  # nothing comes before the first of them: it is the stem itself
        parts[0] = Part(name=parts[0].name, held=parts[0].held, joins="next")
    if ends_linear:
        parts[-1] = Part(name=parts[-1].name, held=parts[-1].held, joins="head")
    taken = {name.partition(".")[0] for name, _ in children}
    loose = [Part(name=n, held=p, joins="next") for n, p in model.named_parameters(recurse=False)]
    heads = [
        Part(name=n, held=m, joins="head") for n, m in model.named_children() if n not in taken and has_parameters(m)
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


def children_with_weights(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """A model's children in order, without its heads."""
    return [(name, child) for name, child in model.named_children() if has_parameters(child) and not is_head(name)]


# --- exceptions: where data flows otherwise than the tree says


def _in_step(*lists: str, unit: int = -1) -> Callable[[str, nn.Module], list[Part]]:
    """Lists that run in step: the i-th of each forms one block (XLM's attentions, norms and feed-forwards)."""

    def walk(name: str, module: nn.Module) -> list[Part]:
        columns = [list(getattr(module, each)) for each in lists]
        parts = []
        for index, row in enumerate(zip(*columns, strict=True)):
            main = row[unit]
            parts.append(
                Part(
                    name=f"{name}.{lists[unit]}.{index}".lstrip("."),
                    held=main,
                    joins="unit",
                    companions=tuple(item for item in row if item is not main),
                )
            )
        others = [
            Part(name=f"{name}.{n}".lstrip("."), held=child, joins="head" if n in HEAD_NAMES else "next")
            for n, child in module.named_children()
            if n not in lists and has_parameters(child)
        ]
        loose = [Part(name=f"{name}.{n}", held=p, joins="next") for n, p in module.named_parameters(recurse=False)]
        return [*loose, *(o for o in others if o.joins == "next"), *parts, *(o for o in others if o.joins == "head")]

    return walk


def _stages_in_step(*before: str, units: str, after: str | None = None) -> Callable[[str, nn.Module], list[Part]]:
    """Stages whose embeddings, units and norms stand in lists of their own (PVT's patch embeddings and blocks)."""

    def walk(name: str, module: nn.Module) -> list[Part]:
        stages = list(getattr(module, units))
        parts: list[Part] = []
        for index, stage in enumerate(stages):
            for each in before:
                held = getattr(module, each)[index]
                if has_parameters(held):
                    parts.append(Part(name=f"{name}.{each}.{index}".lstrip("."), held=held, joins="next"))
            for number, unit in enumerate(stage):
                parts.append(Part(name=f"{name}.{units}.{index}.{number}".lstrip("."), held=unit, joins="unit"))
            if after is not None:
                held = getattr(module, after)[index]
                parts.append(Part(name=f"{name}.{after}.{index}".lstrip("."), held=held, joins="previous"))
        known = {*before, units, after}
        for child_name, child in module.named_children():
            if child_name not in known and has_parameters(child):
                parts.append(Part(name=f"{name}.{child_name}".lstrip("."), held=child, joins="previous"))
        return parts

    return walk


def _pairs(name: str, module: nn.Module) -> list[Part]:
    """MobileNetV1: a depthwise convolution and the pointwise one behind it are one block."""
    layers = list(module.get_submodule("layer").children())
    parts = [Part(name=f"{name}.conv_stem".lstrip("."), held=module.get_submodule("conv_stem"), joins="next")]
    for index in range(0, len(layers), 2):
        pair = layers[index : index + 2]
        parts.append(
            Part(name=f"{name}.layer.{index}".lstrip("."), held=pair[-1], joins="unit", companions=tuple(pair[:-1]))
        )
    return parts


def _perceiver(name: str, module: nn.Module) -> list[Part]:
    """Perceiver's encoder: one cross-attention, then its self-attention layers, all of them `num_blocks` times."""
    parts = [Part(name=f"{name}.cross_attention", held=module.get_submodule("cross_attention"), joins="unit")]
    layers = list(module.get_submodule("self_attends").children())
    config: Any = module.config
    if config.num_blocks == 1:
        return parts + [
            Part(name=f"{name}.self_attends.{i}", held=layer, joins="unit") for i, layer in enumerate(layers)
        ]
    whole = Part(name=f"{name}.self_attends", held=layers[-1], joins="unit", companions=tuple(layers[:-1]))
    return [*parts, whole]


def _after_downsampling(name: str, module: nn.Module) -> list[Part]:
    """HGNetV2: a stage's convolution runs before its first unit, on as many channels as the unit before it left."""
    before = module.get_submodule("downsample")
    return [
        Part(
            name=f"{name}.blocks.{index}",
            held=unit,
            joins="unit",
            companions=(before,) if index == 0 and has_parameters(before) else (),
        )
        for index, unit in enumerate(module.get_submodule("blocks").children())
    ]


def _children(name: str, module: nn.Module) -> list[Part]:
    """A stage whose units are its children, without a list (timm's RegNet)."""
    return [
        Part(name=f"{name}.{child_name}", held=child, joins="unit")
        for child_name, child in module.named_children()
        if has_parameters(child)
    ]


def _inceptions(name: str, module: nn.Module) -> list[Part]:
    """GoogLeNet: inception modules are the blocks, though their branches look like lists of units."""
    return [
        Part(
            name=f"{name}.{child_name}".lstrip("."),
            held=child,
            joins="unit" if child_name.startswith("inception") else "next" if child_name.startswith("conv") else "head",
        )
        for child_name, child in module.named_children()
        if has_parameters(child)
    ]


EXCEPTIONS: dict[str, Callable[[str, nn.Module], list[Part]]] = {
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
