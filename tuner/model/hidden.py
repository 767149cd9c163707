"""Record what leaves every block of a model, and replay it: the suffix then runs as if the prefix had."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from tuner.blocks import Block, encoder_end

Layout = tuple[bool, ...]
"""Of what a module returns: nothing for a state alone, else for every entry of a tuple whether it is a tensor."""


class HiddenStates:
    """While entered, records what enters the first unit and what leaves every block's unit.

    Forward hooks work on any model whose blocks are known, also on those that do not return their hidden states. A
    layer that runs several times leaves its last state.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._entrance = blocks[1].entrance
        self._blocks = blocks[1:]
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self._states: dict[int, torch.Tensor] = {}
        self._layouts: dict[int, list[Layout]] = {}
        self.order: list[int] = []
        """Blocks after the stem, in the order in which they ran first."""

    @property
    def states(self) -> list[torch.Tensor]:
        """One state a block, the stem's first."""
        return [self._states[index] for index in sorted(self._states)]

    def replace_last(self, state: torch.Tensor) -> None:
        """Let the last block's state be what the model itself returns as its last one."""
        self._states[len(self._blocks)] = state

    @property
    def layouts(self) -> list[list[Layout]]:
        """What every block's unit and its companions return (`layout_of`), the first block's after the stem first."""
        return [self._layouts[index] for index in sorted(self._layouts)]

    def __enter__(self) -> HiddenStates:
        def enters(_module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._states.setdefault(0, args[0] if args else kwargs["hidden_states"])

        def leaves(index: int, position: int) -> Callable[..., None]:
            def hook(_module: torch.nn.Module, _args: tuple[Any, ...], output: Any) -> None:
                if position == 0:
                    if index not in self._states:
                        self.order.append(index)
                    self._states[index] = output[0] if isinstance(output, (tuple, list)) else output
                self._layouts[index][position] = layout_of(output)

            return hook

        self._states, self._layouts, self.order = {}, {}, []
        self._handles = [self._entrance.register_forward_pre_hook(enters, with_kwargs=True)]
        for block in self._blocks:
            assert block.unit is not None
            parts = (block.unit, *block.companions)
            self._layouts[block.index] = [() for _ in parts]
            for position, part in enumerate(parts):
                self._handles.append(part.register_forward_hook(leaves(block.index, position)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()


def layout_of(output: Any) -> Layout:
    """What a module returns: its state alone (nothing), or a tuple, with a mark for every entry that is a tensor.

    >>> layout_of(torch.zeros(1)), layout_of((torch.zeros(1), None))
    ((), (True, False))
    """
    return () if torch.is_tensor(output) else tuple(torch.is_tensor(entry) for entry in output)


@contextmanager
def replay(
    blocks: Sequence[Block],
    *,
    depth: int,
    hidden: torch.Tensor,
    layouts: Sequence[Sequence[Layout]],
    memory: torch.Tensor | None = None,
) -> Iterator[None]:
    """While entered, one call of the model with these blocks runs from what block ``depth - 1`` returned.

    The last frozen unit returns the stored state, in the layout that it really returns; those before it hand their
    input on. The model itself is called as usual, so that masks, position biases and rotary embeddings are its own.
    Where layers hand on more than the state (T5's position biases), the first frozen one runs to make it. With the stem
    alone frozen, the first unit's input is replaced.

    Args:
        blocks: of the model, the stem first.
        depth: how many of them are frozen, the stem among them.
        hidden: (b, ...) state that block ``depth - 1`` returned.
        layouts: what every block's unit and its companions return (`HiddenStates.layouts`).
        memory: (b, ...) state that left the encoder, of an encoder-decoder whose decoder is frozen in part; else None.
    """
    frozen = blocks[1:depth]
    handles: list[torch.utils.hooks.RemovableHandle] = []
    if not frozen:

        def swap(_module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            handles.pop().remove()  # a layer that runs several times reads the stem once
            if args:
                return (hidden.to(args[0].dtype), *args[1:]), kwargs
            return args, kwargs | {"hidden_states": hidden.to(kwargs["hidden_states"].dtype)}

        handles.append(blocks[1].entrance.register_forward_pre_hook(swap, with_kwargs=True))
    end = encoder_end(blocks)
    states = {depth - 1: hidden}
    if end is not None and end < depth - 1 and memory is not None:
        states[end] = memory
    handed_on: dict[bool, list[Any]] = {True: [], False: []}  # by whether it is the encoder's
    replaced = []
    for block in frozen:
        assert block.unit is not None
        layout, *others = layouts[block.index - 1]
        in_encoder = end is not None and block.index <= end
        block.unit.forward = _stand_in(block.unit, states.get(block.index), layout, handed_on[in_encoder])
        for companion, beside in zip(block.companions, others, strict=True):
            companion.forward = _stand_in(companion, None, beside, [])
        replaced += [block.unit, *block.companions]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module in replaced:
            module.__dict__.pop("forward", None)


def rounded(blocks: Sequence[Block], *, depth: int, dtype: torch.dtype) -> AbstractContextManager[None]:
    """While entered, what leaves block ``depth - 1`` is rounded to a 16-bit type and back, as storing it does."""
    return changed(blocks, depth=depth, change=lambda state: state.to(dtype).to(state.dtype))


@contextmanager
def changed(blocks: Sequence[Block], *, depth: int, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """While entered, what leaves block ``depth - 1`` is changed before the next block reads it."""

    def enters(_module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        handle.remove()  # a layer that runs several times reads the stem once
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": change(kwargs["hidden_states"])}

    def leaves(_module: torch.nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        return change(output) if torch.is_tensor(output) else (change(output[0]), *output[1:])

    unit = blocks[depth - 1].unit
    if unit is None:
        handle = blocks[1].entrance.register_forward_pre_hook(enters, with_kwargs=True)
    else:
        handle = unit.register_forward_hook(leaves)
    try:
        yield
    finally:
        handle.remove()


def _stand_in(
    module: torch.nn.Module, state: torch.Tensor | None, layout: Layout, handed_on: list[Any]
) -> Callable[..., Any]:
    """A frozen module's `forward`: returns the stored state, or without one what comes in, which is never read.

    Tensors beside the state come from the first module of `handed_on`, which runs once for them.
    """
    original = module.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        entering = args[0] if args else kwargs["hidden_states"]
        left = entering if state is None else state.to(entering.dtype)
        if not layout:
            return left
        if any(layout[1:]) and not handed_on:
            with torch.no_grad():
                handed_on.extend(original(*args, **kwargs)[1:])
        beside = (kept if is_tensor else None for kept, is_tensor in zip(handed_on, layout[1:], strict=False))
        return (left, *beside) if handed_on else (left, *[None] * (len(layout) - 1))

    return forward
