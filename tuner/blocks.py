"""The ordered blocks of a pretrained model: the stem first, then one block per layer.

Freezing, caching and probing all speak of "the first k blocks", so the order is the order in which data flows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from tuner.errors import ModelError

# Parts that transformers' base models carry behind the last layer; they belong to the head, which is ours.
HEAD_PARTS = ("pooler",)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A unit of the base that is frozen or trained as a whole."""

    index: int
    name: str
    modules: tuple[nn.Module, ...]

    def parameters(self) -> Iterator[nn.Parameter]:
        """Every parameter of the block, each once."""
        seen: set[int] = set()
        for module in self.modules:
            for parameter in module.parameters():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield parameter


def layer_list(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The list of layers of a transformer and its dotted name.

    The list that holds the most parameters is the one; raises `ModelError` where there is none, where several are
    equally large (an encoder beside a decoder), or where layers share their weights.
    """
    found = [
        (name, module, sum(p.numel() for p in module.parameters()))
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) > 0
    ]
    outermost = [
        entry
        for entry in found
        if not any(entry[0].startswith(other[0] + ".") for other in found if other is not entry)
    ]
    sized = sorted(outermost, key=lambda entry: entry[2], reverse=True)
    if not sized or sized[0][2] == 0:
        raise ModelError(
            f"{type(model).__name__} has no list of layers",
            why="blocks to freeze are taken from the model's list of layers, and none was found",
            fix="use a transformer encoder or decoder from the Hugging Face library, such as BERT or RoBERTa",
        )
    if len(sized) > 1 and sized[1][2] > 0.5 * sized[0][2]:
        raise ModelError(
            f"{type(model).__name__} has several lists of layers: {sized[0][0]}, {sized[1][0]}",
            why="with an encoder beside a decoder the order of the blocks is not clear",
            fix="use a model with one list of layers, such as BERT, RoBERTa, GPT-2 or Llama",
        )
    name, layers, _ = sized[0]
    declared = getattr(getattr(model, "config", None), "num_hidden_layers", len(layers))
    if declared != len(layers):
        raise ModelError(
            f"{type(model).__name__} declares {declared} layers but holds {len(layers)}",
            why="layers that share their weights cannot be frozen one by one",
            fix="use a model whose layers have their own weights",
        )
    return name, layers


def find_blocks(model: nn.Module) -> tuple[Block, ...]:
    """Split a base model into its stem and layers; together they cover every parameter but the pooler's.

    What stands behind the layers (a final norm) belongs to the last block, everything else outside them to the stem.
    """
    list_name, layers = layer_list(model)
    inside = {id(module) for module in layers.modules()}
    ancestors = {list_name[:index] for index, char in enumerate(list_name) if char == "."} | {"", list_name}
    stem: list[nn.Module] = []
    tail: list[nn.Module] = []
    passed = False
    for name, module in model.named_modules():
        if name == list_name:
            passed = True
        parent = name.rpartition(".")[0]
        # Only the highest modules off the path to the list: their children come with them.
        if name in ancestors or id(module) in inside or parent not in ancestors:
            continue
        if name.rpartition(".")[2] in HEAD_PARTS or not any(True for _ in module.parameters()):
            continue
        (tail if passed and "norm" in type(module).__name__.lower() else stem).append(module)
    stem_name = next((name for name, module in model.named_modules() if stem and module is stem[0]), "stem")
    blocks = [Block(index=0, name=stem_name, modules=tuple(stem))]
    for index, layer in enumerate(layers, start=1):
        extra = tuple(tail) if index == len(layers) else ()
        blocks.append(Block(index=index, name=f"{list_name}.{index - 1}", modules=(layer, *extra)))
    _check_cover(model, blocks)
    return tuple(blocks)


def _check_cover(model: nn.Module, blocks: list[Block]) -> None:
    """Every parameter in exactly one block, or a loud error: a missed one would silently stay trainable."""
    owner: dict[int, int] = {}
    for block in blocks:
        for parameter in block.parameters():
            if id(parameter) in owner:
                raise ModelError(
                    f"blocks {owner[id(parameter)]} and {block.index} share weights",
                    why="a weight in two blocks cannot be frozen in one and trained in the other",
                    fix="use a model whose layers have their own weights",
                )
            owner[id(parameter)] = block.index
    missing = [
        name
        for name, parameter in model.named_parameters()
        if id(parameter) not in owner and not any(part in HEAD_PARTS for part in name.split("."))
    ]
    if missing:
        raise ModelError(
            f"{type(model).__name__}: {len(missing)} weights are in no block, such as {missing[0]}",
            why="a weight outside every block could be neither frozen nor trained on purpose",
            fix="use an architecture whose parts are modules, such as BERT or RoBERTa",
        )
