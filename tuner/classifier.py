"""The model that is trained and saved: a pretrained base, the pooling of some blocks, and a linear head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from tuner.backbone import pool
from tuner.blocks import find_blocks
from tuner.heads import Head, feature_blocks
from tuner.hidden import HiddenStates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.backbone import Backbone

MODEL_TYPE = "transfer-advisor"


class TransferConfig(PreTrainedConfig):  # type: ignore[misc]  # transformers is untyped here
    """The base's configuration with the pooling and the blocks that the head reads."""

    model_type = MODEL_TYPE

    def __init__(
        self,
        base: dict[str, Any] | None = None,
        pooling: str = "mean",
        features: str = "last",
        n_blocks: int = 0,
        max_length: int = 128,
        frozen_blocks: int = 0,
        **kwargs: Any,  # what every configuration carries: id2label, dtype, ...
    ) -> None:
        self.base = base or {}
        self.pooling = pooling
        self.features = features
        self.n_blocks = n_blocks
        self.max_text_length = max_length
        self.frozen_blocks = frozen_blocks
        super().__init__(**kwargs)


class TransferClassifier(PreTrainedModel):  # type: ignore[misc]
    """Sequence classification on the pooled hidden states of one or several blocks."""

    config_class = TransferConfig
    base_model_prefix = "base"

    def __init__(self, config: TransferConfig, base: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        if base is None:
            stored = dict(config.base)
            base = AutoModel.from_config(AutoConfig.for_model(stored.pop("model_type"), **stored))
        self.base = base
        self.blocks = find_blocks(base)
        self.read_blocks = feature_blocks(config.features, n_blocks=config.n_blocks)
        self.head = Head(width=base.config.hidden_size, n_classes=config.num_labels, n_inputs=len(self.read_blocks))
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """The base brings its weights or its own initialisation, the linear head torch's."""

    def pooled(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> list[torch.Tensor]:
        """Pooled hidden states, (b, d) each, of the blocks that the head reads."""
        with HiddenStates(self.blocks) as hidden:
            output = self.base(input_ids=input_ids, attention_mask=attention_mask)
            states = [*hidden.states[:-1], output.last_hidden_state]
        return [pool(states[index].float(), attention_mask, pooling=self.config.pooling) for index in self.read_blocks]

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,  # accepted because tokenizers send it; all texts are single ones
        labels: torch.Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Logits (b, C), and the mean cross-entropy where labels are given."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        logits = self.head(self.pooled(input_ids, attention_mask))
        loss = None if labels is None else torch.nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def build_classifier(
    base: PreTrainedModel, *, backbone: Backbone, class_names: Sequence[str], features: str, frozen_blocks: int
) -> TransferClassifier:
    """A classifier around `base`, which has the architecture of the backbone's model."""
    config = TransferConfig(
        base=base.config.to_dict(),
        pooling=backbone.pooling,
        features=features,
        n_blocks=backbone.n_blocks,
        max_length=backbone.max_length,
        frozen_blocks=frozen_blocks,
        id2label=dict(enumerate(class_names)),
        label2id={name: index for index, name in enumerate(class_names)},
    )
    classifier = TransferClassifier(config, base=base)
    classifier.to(backbone.device)
    return classifier
