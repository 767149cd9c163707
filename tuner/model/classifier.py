"""The model that is trained and saved: a pretrained base, the pooling of some blocks, and a linear head."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from tuner.blocks import find_blocks
from tuner.errors import ModelError
from tuner.inputs.encoded import IGNORED
from tuner.model.backbone import pool, reads_types, run_base
from tuner.model.bilstm import DROPOUT, HIDDEN, LAYERS, BiLSTMTagger
from tuner.model.hidden import HiddenStates
from tuner.tasks.heads import Head, feature_blocks, is_weighted
from tuner.tasks.known import task_of_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.blocks import Block
    from tuner.inputs.encoded import Encoded
    from tuner.model.backbone import Backbone
    from tuner.records import Progress
    from tuner.tasks.base import Task

MODEL_TYPE = "transfer-advisor"
OWN_MODULE = "own"
"""Type of a base that is no architecture with a name."""


class TransferConfig(PreTrainedConfig):  # type: ignore[misc]  # transformers is untyped here
    """The base's configuration with the pooling and the blocks that the head reads.

    Args:
        base: what the base's architecture is built from; its ``model_type`` says how.
        pooling: how the states of a row become one vector, or ``tokens`` (`tuner.model.backbone.pool`).
        features: which blocks the head reads (`tuner.tasks.heads.FEATURES` or ``block_K``).
        widths: size of the pooled state after every block.
        max_length: tokens that texts are cut to; 0 for images.
        frozen_blocks: how many blocks were frozen while it was trained.
        top: ``linear``, or ``bilstm`` for a head that reads whole words.
        lstm: units in each direction, and layers, of a BiLSTM.
        kwargs: what every configuration carries: id2label, dtype, ...
    """

    model_type = MODEL_TYPE

    def __init__(
        self,
        base: dict[str, Any] | None = None,
        pooling: str = "mean",
        features: str = "last",
        widths: Sequence[int] = (),
        max_length: int = 128,
        frozen_blocks: int = 0,
        top: str = "linear",
        lstm: Sequence[int] = (HIDDEN, LAYERS),
        **kwargs: Any,  # what every configuration carries: id2label, dtype, ...
    ) -> None:
        self.base = base or {}
        self.pooling = pooling
        self.features = features
        self.widths = list(widths)
        self.max_text_length = max_length
        self.frozen_blocks = frozen_blocks
        self.top = top
        self.lstm = list(lstm)
        super().__init__(**kwargs)


class TransferClassifier(PreTrainedModel):  # type: ignore[misc]
    """Classification of the pooled states of one or several blocks; with pooling ``tokens``, of every token's."""

    config_class = TransferConfig
    base_model_prefix = "base"

    def __init__(self, config: TransferConfig, module: torch.nn.Module | None = None) -> None:
        super().__init__(config)
        self.base = _empty_base(dict(config.base)) if module is None else module
        self.blocks = find_blocks(self.base)
        self.task = task_of_config(config)
        self.read_blocks = feature_blocks(config.features, n_blocks=len(config.widths))
        self.head: Head | BiLSTMTagger = _head_of(config, widths=[config.widths[block] for block in self.read_blocks])
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """The base brings its weights or its own initialisation, the linear head torch's."""

    def pooled(self, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        """Pooled states, (b, d) each, of the blocks that the head reads; of a tagger (b, t, d)."""
        with HiddenStates(self.blocks) as hidden:
            run_base(self.base, inputs, hidden)
        states, mask = hidden.states, inputs.get("attention_mask")
        return [pool(states[index].float(), mask, pooling=self.config.pooling) for index in self.read_blocks]

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        word_starts: torch.Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Compute logits (b, C), of a tagger (b, t, C), and the task's mean loss where labels are given.

        Args:
            input_ids: (b, t) token ids of texts; None for images.
            attention_mask: (b, t) ones at tokens that count, all by default.
            token_type_ids: (b, t) tell the texts of a pair apart, where the base reads them.
            pixel_values: (b, 3, h, w) images; None for texts.
            labels: what the task's loss is computed against; None for no loss.
            word_starts: (b, t) booleans: whether a token is its word's first one. A BiLSTM needs them, as it reads
                whole words.

        Raises:
            ValueError: where neither texts nor images are given, or a BiLSTM lacks `word_starts`.
        """
        if pixel_values is not None:
            inputs = {"pixel_values": pixel_values}
        elif input_ids is not None:
            mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            inputs = {"input_ids": input_ids, "attention_mask": mask}
            if token_type_ids is not None and reads_types(self.base):
                inputs["token_type_ids"] = token_type_ids
        else:
            raise ValueError("pass input_ids or pixel_values")
        if isinstance(self.head, Head):
            logits = self.head(self.pooled(inputs))
        elif word_starts is not None:
            logits = self.head.tag_tokens(torch.cat(self.pooled(inputs), dim=-1), word_starts)
        else:
            raise ValueError("pass word_starts: a BiLSTM reads whole words (TransferModel.predict finds them)")
        loss = None
        if labels is not None:
            loss = self.task.loss(logits.float(), labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def _head_of(config: TransferConfig, *, widths: Sequence[int]) -> Head | BiLSTMTagger:
    """The head that a configuration names, over blocks of these widths."""
    if config.top == "linear":
        return Head(width=sum(widths), n_classes=config.num_labels)
    hidden, layers = config.lstm
    weighted = is_weighted(config.features)
    return BiLSTMTagger(
        widths=widths, n_tags=config.num_labels, weighted=weighted, hidden=hidden, layers=layers, dropout=DROPOUT
    )


def _empty_base(stored: dict[str, Any]) -> torch.nn.Module:
    """The base's architecture, whose weights are loaded into it afterwards.

    Raises `ModelError` for a module of the user's own, which only they can build.
    """
    model_type = stored.pop("model_type")
    if model_type == OWN_MODULE:
        raise ModelError(
            f"this model was tuned from a module of your own, {stored['name']}",
            why="it cannot be built from a configuration",
            fix="in Python: TransferModel.from_pretrained(folder, module=YourModule()), which fills it with them",
        )
    if model_type == "torchvision":
        from tuner.model.vision import torchvision_model

        return torchvision_model(**stored)
    config = AutoConfig.for_model(model_type, **stored)
    named = getattr(transformers, next(iter(stored.get("architectures") or ()), ""), None)
    if isinstance(named, type) and issubclass(named, PreTrainedModel):
        empty: torch.nn.Module = named(config)
        return empty
    model: torch.nn.Module = AutoModel.from_config(config)
    return model


def _described(base: torch.nn.Module) -> dict[str, Any]:
    """What `_empty_base` builds the architecture from; of a module of the user's own only its name."""
    if isinstance(base, PreTrainedModel):
        described: dict[str, Any] = base.config.to_dict() | {"architectures": [type(base).__name__]}
        return described
    known = getattr(base, "torchvision_architecture", None)
    kind = type(base)
    return dict(known) if known else {"model_type": OWN_MODULE, "name": f"{kind.__module__}.{kind.__qualname__}"}


def build_classifier(
    base: torch.nn.Module,
    *,
    backbone: Backbone,
    task: Task,
    features: str,
    frozen_blocks: int,
    top: str = "linear",
    lstm: Sequence[int] = (HIDDEN, LAYERS),
) -> TransferClassifier:
    """Build a classifier around `base`, on the backbone's device.

    Args:
        base: of the architecture of the backbone's model.
        backbone: the pretrained model, for its pooling, widths, length and device.
        task: what is predicted.
        features: which blocks the head reads (`tuner.tasks.heads.FEATURES` or ``block_K``).
        frozen_blocks: how many blocks are frozen, to be told by the configuration; nothing is frozen here.
        top: ``linear``, or ``bilstm`` for a head that reads whole words.
        lstm: units in each direction, and layers, of a BiLSTM.
    """
    config = TransferConfig(
        base=_described(base),
        pooling=task.pooling(backbone.pooling),
        features=features,
        widths=backbone.widths,
        max_length=backbone.inputs.max_length or 0,
        frozen_blocks=frozen_blocks,
        top=top,
        lstm=lstm,
        **task.config(),
    )
    classifier = TransferClassifier(config, module=base)
    classifier.to(backbone.device)
    return classifier


def final_linear(model: nn.Module, blocks: Sequence[Block], *, n_classes: int) -> nn.Linear | None:
    """The linear layer outside the blocks that gives the logits; None where there is no such layer."""
    inside = {id(part) for block in blocks for held in block.modules for part in held.modules()}
    outside = (module for module in model.modules() if isinstance(module, nn.Linear) and id(module) not in inside)
    found = [linear for linear in outside if linear.out_features == n_classes]
    return found[-1] if found else None


@contextmanager
def head_inputs(linear: nn.Linear) -> Iterator[list[torch.Tensor]]:
    """While entered, a list of one: what the layer was fed in its last call."""
    seen: list[torch.Tensor] = []

    def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
        seen[:] = [args[0]]

    handle = linear.register_forward_pre_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def in_full_precision(linear: nn.Linear) -> Iterator[None]:
    """While entered, the layer works in single precision within half precision: it may give numbers in the user's
    units, of which the three digits of bf16 are too few."""

    def hook(module: nn.Linear, args: tuple[torch.Tensor], _output: torch.Tensor) -> torch.Tensor:
        with torch.autocast(args[0].device.type, enabled=False):
            return module.forward(args[0].float())

    handle = linear.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def classify(
    model: PreTrainedModel, *, backbone: Backbone, encoded: Encoded, progress: Progress | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Compute logits (n, C), and the features (n, d) that the last linear layer reads, without the cache.

    Of sentences of N words the logits are (N, C), zero for words that the model does not see.

    Args:
        model: a classifier around the backbone's base, ours or the architecture's own.
        backbone: batches the rows, and says in which precision they run.
        encoded: the rows.
        progress: told how many rows are done; None for silence.
    """
    n_classes = model.config.num_labels
    linear = final_linear(model, backbone.blocks, n_classes=n_classes)
    assert linear is not None  # a classifier without one is never built
    logits = empty_logits(encoded, n_outputs=n_classes)
    features = np.empty((len(encoded), linear.in_features), dtype=np.float32)
    model.eval()
    done = 0
    with torch.inference_mode(), backbone.autocast(), in_full_precision(linear), head_inputs(linear) as seen:
        for rows in backbone.batches(encoded):
            inputs = backbone.collate(encoded, rows)
            if getattr(model.config, "top", "linear") == "bilstm":
                inputs["word_starts"] = word_starts(encoded, rows, like=inputs["input_ids"])
            read_logits(logits, model(**inputs).logits, encoded=encoded, rows=rows)
            # Of a tagger, the mean over its tokens says what a sentence is like.
            states = pool(seen[0].float(), inputs.get("attention_mask"), pooling="mean")
            features[rows] = states.cpu().numpy()
            done += len(rows)
            if progress is not None:
                progress(f"predicting: {done:,} of {len(encoded):,} rows", done / len(encoded))
    return logits, features


def word_starts(encoded: Encoded, rows: np.ndarray, *, like: torch.Tensor) -> torch.Tensor:
    """Mark with (b, t) booleans, as the token ids `like`, whether a token is its word's first one."""
    marked = encoded.targets(np.zeros(encoded.n_labelled, dtype=np.int64), rows, width=like.shape[1])
    return torch.from_numpy(marked != IGNORED).to(like.device)


def empty_logits(encoded: Encoded, *, n_outputs: int) -> np.ndarray:
    """Zeros to be filled with the logits of rows, or of words of sentences; where they stay, the first class leads."""
    return np.zeros((encoded.n_labelled, n_outputs), dtype=np.float32)


def read_logits(logits: np.ndarray, part: torch.Tensor, *, encoded: Encoded, rows: np.ndarray) -> None:
    """Write the logits of a batch into those of all rows, or of all words of sentences.

    Args:
        logits: (n, C), or (N, C) of words, written in place.
        part: (b, C) of rows, or (b, t, C) of which those at words' first subwords are taken.
        encoded: all rows.
        rows: (b,) positions of the rows in the batch.
    """
    places, picked = encoded.pick(part.float().cpu().numpy(), rows)
    logits[places] = picked
