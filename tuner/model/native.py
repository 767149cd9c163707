"""The architecture's own classification head on the pretrained base: what is saved then loads without this project."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    PreTrainedModel,
)

from tuner.inputs.encoded import Encoded
from tuner.inputs.tokens import Tokens
from tuner.model.classifier import TransferClassifier, final_linear, head_inputs

if TYPE_CHECKING:
    from tuner.model.backbone import Backbone

TRIAL_ERRORS = (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError)


def native_classifier(backbone: Backbone, *, class_names: Sequence[str], seed: int) -> PreTrainedModel | str:
    """transformers' own classifier (of tokens, where the backbone's pooling says so) around the base, or why not.

    The base is the same module, so that its blocks are frozen and cached as they are; what the checkpoint knows of the
    head (BERT's pooler) is part of it. The rest of the head is fresh, from `seed`, and outside the blocks, so that it
    is never frozen.
    """
    base = backbone.model
    tags_tokens = backbone.pooling == "tokens"
    mapping = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING if backbone.is_text else MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
    if tags_tokens:
        mapping = MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING
    if not isinstance(base, PreTrainedModel) or type(base.config) not in mapping:
        return "the architecture has no classification head of its own"
    config = copy.deepcopy(base.config)
    config.id2label = dict(enumerate(class_names))
    config.label2id = {name: index for index, name in enumerate(class_names)}
    if not tags_tokens:
        config.problem_type = "single_label_classification"
    if backbone.is_text and config.pad_token_id is None:
        config.pad_token_id = backbone.text.padding
    torch.manual_seed(seed)
    listed = mapping[type(base.config)]
    model: PreTrainedModel = (listed[0] if isinstance(listed, tuple) else listed)(config)
    if not isinstance(base, type(getattr(model, model.base_model_prefix, None))):
        return "the base that was loaded is not the one of the architecture's classifier"
    setattr(model, model.base_model_prefix, base)
    model.to(backbone.device).eval()
    linear = final_linear(model, backbone.blocks, n_classes=len(class_names))
    if linear is None:
        return "its classification head does not end in one linear layer"
    encoded = _uneven_example(backbone)
    try:
        with torch.inference_mode(), backbone.autocast(), head_inputs(linear) as seen:
            logits = model(**backbone.collate(encoded, np.arange(len(encoded)))).logits
            given = linear(seen[-1])
    except TRIAL_ERRORS as error:
        first_line = next(iter(str(error).splitlines()), "")
        return (
            f"the architecture's classification head does not run on this base ({type(error).__name__}: {first_line})"
        )
    if seen[-1].ndim != (3 if tags_tokens else 2):
        return "its head reads the text, not every token" if tags_tokens else "its head reads every token, not the text"
    if not torch.allclose(logits, given):  # a temperature is folded into that layer
        return "its logits are not what its last linear layer gives"
    return model


def _uneven_example(backbone: Backbone) -> Encoded:
    """The example that a model is tried with; texts of several lengths, so that the shorter ones are padded."""
    encoded = backbone.inputs.example()
    if not isinstance(encoded, Tokens):
        return encoded
    rows = tuple(ids[: max(len(ids) - 5 * row, 2)] for row, ids in enumerate(encoded.input_ids))
    return replace(encoded, input_ids=rows)


def as_native(classifier: TransferClassifier, *, backbone: Backbone) -> PreTrainedModel | None:
    """The same classifier as transformers' own class, where that one pools and classifies just as ours does.

    Measured, not looked up: with our linear layer in it, it gives the same logits on an example, padded rows included
    (some heads average over padding too). None where it differs.
    """
    model = native_classifier(backbone, class_names=tuple(classifier.config.id2label.values()), seed=0)
    if isinstance(model, str) or classifier.config.features != "last":
        return None
    linear = final_linear(model, backbone.blocks, n_classes=classifier.config.num_labels)
    ours = classifier.head.linear
    if linear is None or linear.bias is None or linear.weight.shape != ours.weight.shape:
        return None
    linear.load_state_dict(ours.state_dict())
    encoded = _uneven_example(backbone)
    inputs = backbone.collate(encoded, np.arange(len(encoded)))
    classifier.eval()
    with torch.inference_mode():
        same = torch.allclose(model(**inputs).logits, classifier(**inputs).logits, rtol=1e-4, atol=1e-5)
    return model if same else None


def save_native(model: PreTrainedModel, folder: Path) -> None:
    """As `save_pretrained`, without the parts of the base that the classifier itself does not have (a pooler)."""
    with torch.device("meta"):
        expected = type(model)(model.config).state_dict()
    kept = {name: tensor for name, tensor in model.state_dict().items() if name in expected}
    model.save_pretrained(folder, state_dict=kept)
