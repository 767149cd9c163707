"""The architecture's own classification head on the pretrained base: what is saved then loads without this project."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import PreTrainedModel

from tuner.model.classifier import TransferClassifier, final_linear, head_inputs

if TYPE_CHECKING:
    from tuner.model.backbone import Backbone
    from tuner.tasks.base import Task

TRIAL_ERRORS = (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError)


def native_classifier(backbone: Backbone, *, task: Task, seed: int) -> PreTrainedModel | str:
    """transformers' own classifier for a task around the base, or why not.

    The base is the same module, so that its blocks are frozen and cached as they are; what the checkpoint knows of the
    head (BERT's pooler) is part of it. The rest of the head is fresh, from `seed`, and outside the blocks, so that it
    is never frozen.
    """
    base = backbone.model
    head = task.head(backbone.inputs.head)
    native = head.class_for(base.config) if isinstance(base, PreTrainedModel) else None
    if native is None or not isinstance(base, PreTrainedModel):
        return "the architecture has no classification head of its own"
    config = copy.deepcopy(base.config)
    for key, value in task.config().items():
        setattr(config, key, value)
    backbone.inputs.configure(config)
    torch.manual_seed(seed)
    model: PreTrainedModel = native(config)
    if not isinstance(base, type(getattr(model, model.base_model_prefix, None))):
        return "the base that was loaded is not the one of the architecture's classifier"
    setattr(model, model.base_model_prefix, base)
    model.to(backbone.device).eval()
    linear = final_linear(model, backbone.blocks, n_classes=task.n_outputs)
    if linear is None:
        return "its classification head does not end in one linear layer"
    if getattr(linear, "bias", None) is None and task.folding(temperature=1.0, offsets=None)[1] is not None:
        return "its last linear layer has no bias, which what it predicts is folded into"
    encoded = backbone.inputs.example(uneven=True)
    try:
        with torch.inference_mode(), backbone.autocast(), head_inputs(linear) as seen:
            logits = model(**backbone.collate(encoded, np.arange(len(encoded)))).logits
            given = linear(seen[-1])
    except TRIAL_ERRORS as error:
        first_line = next(iter(str(error).splitlines()), "")
        return (
            f"the architecture's classification head does not run on this base ({type(error).__name__}: {first_line})"
        )
    if seen[-1].ndim != (3 if head.per_token else 2):
        return (
            "its head reads the text, not every token" if head.per_token else "its head reads every token, not the text"
        )
    if not torch.allclose(logits, given):  # a temperature is folded into that layer
        return "its logits are not what its last linear layer gives"
    return model


def as_native(classifier: TransferClassifier, *, backbone: Backbone) -> PreTrainedModel | None:
    """The same classifier as transformers' own class, where that one pools and classifies just as ours does.

    Measured, not looked up: with our linear layer in it, it gives the same logits on an example, padded rows included
    (some heads average over padding too). None where it differs.
    """
    model = native_classifier(backbone, task=classifier.task, seed=0)
    if isinstance(model, str) or classifier.config.features != "last":
        return None
    linear = final_linear(model, backbone.blocks, n_classes=classifier.config.num_labels)
    ours = classifier.head.linear
    if linear is None or linear.bias is None or linear.weight.shape != ours.weight.shape:
        return None
    linear.load_state_dict(ours.state_dict())
    encoded = backbone.inputs.example(uneven=True)
    inputs = backbone.collate(encoded, np.arange(len(encoded)))
    classifier.eval()
    with torch.inference_mode():
        same = torch.allclose(model(**inputs).logits, classifier(**inputs).logits, rtol=1e-4, atol=1e-5)
    return model if same else None


def save_native(model: PreTrainedModel, folder: Path) -> None:
    """Save as `save_pretrained` does, without the parts of the base that the classifier itself lacks (a pooler)."""
    with torch.device("meta"):
        expected = type(model)(model.config).state_dict()
    kept = {name: tensor for name, tensor in model.state_dict().items() if name in expected}
    model.save_pretrained(folder, state_dict=kept)
