"""A model that is lent: whatever is done to it meanwhile, it is as it was before afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tuner.freezing import thaw
from tuner.interruption import uninterrupted


class Borrowed:
    """A model whose weights are remembered once, and put back after every loan.

    Args:
        model: as it is to be after every loan.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self._weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @contextmanager
    def lent(self) -> Iterator[torch.nn.Module]:
        """Lend the model, to be frozen, trained and overwritten as one likes.

        On leaving, by an exception too, its weights and statistics, what of it is frozen and the modes of its modules
        are as they were on entering.
        """
        parameters = [(parameter, parameter.requires_grad, parameter.grad) for parameter in self._model.parameters()]
        modes = [(module, module.training) for module in self._model.modules()]
        try:
            yield self._model
        finally:
            with uninterrupted():
                thaw(self._model)
                self._model.load_state_dict(self._weights)
                for parameter, requires_grad, gradient in parameters:
                    parameter.requires_grad_(requires_grad)
                    parameter.grad = gradient
                for module, training in modes:
                    module.training = training
