"""The architecture without what was learned: fresh weights, as its authors draw them."""

from __future__ import annotations

import copy

import torch
from torch import nn

from tuner.errors import ModelError


def fresh_state(model: nn.Module, *, seed: int) -> dict[str, torch.Tensor]:
    """Weights and buffers of the same architecture before any training; the model itself stays as it is.

    Of a transformers model what its configuration makes; of any other module what every layer's own
    ``reset_parameters`` draws. Raises `ModelError` where a layer has parameters and no such method.

    >>> net = nn.Linear(2, 2)
    >>> one, other = fresh_state(net, seed=0), fresh_state(net, seed=0)
    >>> torch.equal(one["weight"], other["weight"]), torch.equal(one["weight"], net.weight)
    (True, False)
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if hasattr(model, "config"):
            from transformers import AutoModel

            try:
                made = AutoModel.from_config(model.config)
            except ValueError as error:  # a part of a joint model, such as a vision tower
                raise _no_fresh(type(model).__name__, str(error).splitlines()[0]) from error
            drawn, wanted = made.state_dict(), model.state_dict().keys()
            if missing := sorted(wanted - drawn.keys()):
                raise _no_fresh(type(model).__name__, f"its configuration makes no {missing[0]}")
            return {name: drawn[name] for name in wanted}  # without a pooler that the model does not have
        fresh = copy.deepcopy(model)
        for name, module in fresh.named_modules():
            if callable(getattr(module, "reset_parameters", None)):
                module.reset_parameters()
            elif next(module.parameters(recurse=False), None) is not None:
                raise _no_fresh(type(model).__name__, f"{name or 'the module itself'} has no reset_parameters()")
        return dict(fresh.state_dict())


def _no_fresh(name: str, why: str) -> ModelError:
    return ModelError(
        f"{name} cannot be trained from scratch: {why}",
        why="nobody has said how its weights are drawn",
        fix="give the layer a method reset_parameters(), or omit --strategy scratch",
    )
