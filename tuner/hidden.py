"""Record what leaves every block of a model, and replay it: the suffix then runs as if the prefix had."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from tuner.blocks import Block


class HiddenStates:
    """While entered, records what enters the first unit and what leaves every block's unit.

    Forward hooks work on any model whose blocks are known, also on those that do not return their hidden states. A
    layer that runs several times leaves its last state.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._entrance = blocks[1].entrance
        self._units = [block.unit for block in blocks if block.unit is not None]
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self._states: dict[int, torch.Tensor] = {}
        self._layouts: dict[int, int] = {}

    @property
    def states(self) -> list[torch.Tensor]:
        """One state a block, the stem's first."""
        return [self._states[index] for index in sorted(self._states)]

    def replace_last(self, state: torch.Tensor) -> None:
        """Let the last block's state be what the model itself returns as its last one."""
        self._states[len(self._units)] = state

    @property
    def layouts(self) -> list[int]:
        """What every unit returns (`layout_of`), the first unit's first."""
        return [self._layouts[index] for index in sorted(self._layouts)]

    def __enter__(self) -> HiddenStates:
        def enters(_module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._states.setdefault(0, args[0] if args else kwargs["hidden_states"])

        def leaves(index: int) -> Callable[..., None]:
            def hook(_module: torch.nn.Module, _args: tuple[Any, ...], output: Any) -> None:
                self._states[index] = output[0] if isinstance(output, (tuple, list)) else output
                self._layouts[index] = layout_of(output)

            return hook

        self._states, self._layouts = {}, {}
        self._handles = [self._entrance.register_forward_pre_hook(enters, with_kwargs=True)]
        self._handles += [unit.register_forward_hook(leaves(i)) for i, unit in enumerate(self._units, start=1)]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()


def layout_of(output: Any) -> int:
    """What a unit returns: its state alone (0), or a tuple of so many entries with the state first.

    >>> layout_of(torch.zeros(1)), layout_of((torch.zeros(1), None))
    (0, 2)
    """
    return 0 if torch.is_tensor(output) else len(output)


@contextmanager
def replay(
    blocks: Sequence[Block], *, depth: int, hidden: torch.Tensor, layouts: Sequence[int] | None = None
) -> Iterator[None]:
    """While entered, a call of the model with these blocks runs from what block ``depth - 1`` returned, `hidden`.

    The last frozen unit returns the stored state, in the layout that it really returns (`layouts`, one a unit; states
    alone by default; what stands beside it becomes None); those before it hand their input on. The model itself is
    called as usual, so that masks, position biases and rotary embeddings are its own. With the stem alone frozen, the
    first unit's input is replaced.
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
    replaced = []
    for block in frozen:
        assert block.unit is not None
        layout = layouts[block.index - 1] if layouts is not None else 0
        block.unit.forward = _stand_in(hidden if block is frozen[-1] else None, layout=layout)
        for companion in block.companions:
            companion.forward = _stand_in(None, layout=0)
        replaced += [block.unit, *block.companions]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module in replaced:
            module.__dict__.pop("forward", None)


@contextmanager
def rounded(blocks: Sequence[Block], *, depth: int, dtype: torch.dtype) -> Iterator[None]:
    """While entered, what leaves block ``depth - 1`` is rounded to a 16-bit type and back, as storing it does."""

    def both_ways(state: torch.Tensor) -> torch.Tensor:
        return state.to(dtype).to(state.dtype)

    def enters(_module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        handle.remove()  # a layer that runs several times reads the stem once
        if args:
            return (both_ways(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": both_ways(kwargs["hidden_states"])}

    def leaves(_module: torch.nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        return both_ways(output) if torch.is_tensor(output) else (both_ways(output[0]), *output[1:])

    unit = blocks[depth - 1].unit
    if unit is None:
        handle = blocks[1].entrance.register_forward_pre_hook(enters, with_kwargs=True)
    else:
        handle = unit.register_forward_hook(leaves)
    try:
        yield
    finally:
        handle.remove()


def _stand_in(state: torch.Tensor | None, *, layout: int) -> Callable[..., Any]:
    """A frozen unit's `forward`: returns the stored state, or without one what comes in, which is never read."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        entering = args[0] if args else kwargs["hidden_states"]
        left = entering if state is None else state.to(entering.dtype)
        return (left, *[None] * (layout - 1)) if layout else left

    return forward
