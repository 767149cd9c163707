"""Exact freezing inside the user's own `transformers.Trainer`: a callback that proves it held."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from tuner.freezing import FreezingError, FrozenPrefix, audit


class FreezingAudit(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Audits a frozen prefix when training begins, at the first step, at every checkpoint and at the end.

    Raises `FreezingError` where a frozen weight or buffer moved, dropout is on in the prefix, the optimizer holds
    anything but the trainable parameters, or no gradient reaches the first trained block, as happens to gradient
    checkpointing with ``use_reentrant=True`` behind a frozen prefix.

    >>> from transformers import BertConfig, BertForSequenceClassification
    >>> from tuner.freezing import freeze
    >>> model = BertForSequenceClassification(BertConfig(hidden_size=8, num_hidden_layers=2, num_attention_heads=1))
    >>> callbacks = [FreezingAudit(freeze(model, frozen_blocks=2))]  # and Trainer(model, ..., callbacks=callbacks)
    """

    def __init__(self, prefix: FrozenPrefix) -> None:
        self.prefix = prefix
        self._gradients_seen = False

    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: Any, optimizer: Any, **_: Any) -> None:
        """Whether the trainer took over what was frozen."""
        self._gradients_seen = False
        audit(self.prefix, model=model, optimizer=optimizer)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Whether gradients reach what is trained; asked once."""
        if self._gradients_seen or self.prefix.frozen_blocks == len(self.prefix.blocks):
            return
        first = self.prefix.blocks[self.prefix.frozen_blocks]
        trained = [parameter for parameter in first.parameters() if parameter.requires_grad]
        if trained and all(parameter.grad is None for parameter in trained):
            raise FreezingError(
                f"no gradient reaches block {first.index} ({first.name}), the first that is trained: with gradient "
                'checkpointing pass activation_checkpointing_kwargs={"use_reentrant": False}'
            )
        self._gradients_seen = True

    def on_save(self, args: Any, state: Any, control: Any, *, model: Any, optimizer: Any, **_: Any) -> None:
        """Whether what is saved is what was frozen."""
        audit(self.prefix, model=model, optimizer=optimizer)

    def on_train_end(self, args: Any, state: Any, control: Any, *, model: Any, optimizer: Any, **_: Any) -> None:
        """Whether nothing frozen moved."""
        audit(self.prefix, model=model, optimizer=optimizer)
