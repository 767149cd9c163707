"""Exact freezing inside the user's own `transformers.Trainer`: a callback that proves it held."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from tuner.errors import OptionError
from tuner.freezing import FreezingError, FrozenPrefix, audit, count_trainable, freeze, is_prefix_of, unwrapped


class FreezingAudit(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Audits a frozen prefix when training begins, at the first step, at every checkpoint and at the end.

    Raises `FreezingError` where the trainer trains another model than the prefix is of, a frozen weight or buffer
    moved, dropout is on in the prefix, the optimizer holds anything but the trainable parameters, or no gradient
    reaches the first trained block, as happens to gradient checkpointing with ``use_reentrant=True`` behind a frozen
    prefix.

    A trainer with ``model_init``, which hyperparameter search needs, makes a new model for every training. For that
    pass `frozen_blocks`: the callback then freezes whatever model it is given, and audits that.

    >>> from transformers import BertConfig, BertForSequenceClassification
    >>> from tuner.freezing import freeze
    >>> model = BertForSequenceClassification(BertConfig(hidden_size=8, num_hidden_layers=2, num_attention_heads=1))
    >>> callbacks = [FreezingAudit(freeze(model, frozen_blocks=2))]  # and Trainer(model, ..., callbacks=callbacks)
    >>> callbacks = [FreezingAudit(frozen_blocks=2)]  # and Trainer(model_init=..., callbacks=callbacks)
    """

    def __init__(self, prefix: FrozenPrefix | None = None, *, frozen_blocks: int | None = None) -> None:
        if (prefix is None) == (frozen_blocks is None):
            raise OptionError(
                f"FreezingAudit was given {'neither a prefix nor' if prefix is None else 'a prefix and'} frozen_blocks",
                why="it audits what freeze() returned, or freezes every model that the trainer makes",
                fix="pass what freeze(model, frozen_blocks=k) returned, or with model_init frozen_blocks=k alone",
            )
        self.prefix = prefix
        self.frozen_blocks = frozen_blocks
        self._optimizer_was_first = False
        self._gradients_seen = False

    def on_init_end(self, args: Any, state: Any, control: Any, *, model: Any = None, **_: Any) -> None:
        """Freeze the trainer's model before it makes an optimizer."""
        if self.frozen_blocks is not None and model is not None:
            self.prefix = freeze(unwrapped(model), frozen_blocks=self.frozen_blocks)
            self._optimizer_was_first = False

    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: Any, optimizer: Any, **_: Any) -> None:
        """Check that the trainer took over what was frozen; a model that it has just made is frozen first."""
        self._gradients_seen = False
        if self.frozen_blocks is not None and (self.prefix is None or not is_prefix_of(self.prefix, model)):
            carried = count_trainable(model)
            self.prefix = freeze(unwrapped(model), frozen_blocks=self.frozen_blocks)
            if getattr(args, "world_size", 1) > 1 and count_trainable(model) != carried:
                raise OptionError(
                    "with several processes the model of model_init has to be frozen before it is distributed",
                    why="the processes wait for the gradients of everything that carried some then",
                    fix=f"call freeze(model, frozen_blocks={self.frozen_blocks}) inside model_init as well",
                )
            self._optimizer_was_first = True
        self._audit(model=model, optimizer=optimizer)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Check once that gradients reach what is trained."""
        prefix = self.prefix
        if self._gradients_seen or prefix is None or prefix.frozen_blocks == len(prefix.blocks):
            return
        first = prefix.blocks[prefix.frozen_blocks]
        trained = [parameter for parameter in first.parameters() if parameter.requires_grad]
        if trained and all(parameter.grad is None for parameter in trained):
            raise FreezingError(
                f"no gradient reaches block {first.index} ({first.name}), the first that is trained: with gradient "
                'checkpointing pass activation_checkpointing_kwargs={"use_reentrant": False}'
            )
        self._gradients_seen = True

    def on_save(self, args: Any, state: Any, control: Any, *, model: Any, optimizer: Any, **_: Any) -> None:
        """Check that what is saved is what was frozen."""
        self._audit(model=model, optimizer=optimizer)

    def on_train_end(self, args: Any, state: Any, control: Any, *, model: Any, optimizer: Any, **_: Any) -> None:
        """Check that nothing frozen moved."""
        self._audit(model=model, optimizer=optimizer)

    def _audit(self, *, model: Any, optimizer: Any) -> None:
        assert self.prefix is not None  # training has begun
        audit(self.prefix, model=model, optimizer=optimizer, optimizer_was_first=self._optimizer_was_first)
