"""From labelled data and a model to advice: features, size, similarity, probes, baselines, evidence, strategy."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from advisor.advice.expected import epochs_of, evidence_for, expectations_of
from advisor.advice.sections import (
    best_probe_of,
    data_section,
    model_section,
    next_steps_of,
    versions_of,
    warnings_of,
)
from advisor.advice.situation import estimate_situation
from advisor.advice.strategy import (
    Advice,
    choose_strategy,
    search_space,
)
from advisor.data.options import DataOptions
from advisor.data.target import TargetData
from advisor.data.thumbnails import make_thumbnails
from advisor.evidence.decision import counterfactuals as what_would_change
from advisor.evidence.decision import decide
from advisor.evidence.predictions import Prediction, predict_scores, rows_seen
from advisor.evidence.sharpening import unlike
from advisor.kinds.base import Kind, check_model
from advisor.measures.probe import probe_blocks
from advisor.options import how_to_measure
from advisor.similarity.library import find_profile
from tuner.freezing import has_statistics
from tuner.model.assemble import load_backbone
from tuner.model.backbone import Backbone
from tuner.records import Progress
from tuner.search.expectations import Expectations
from tuner.search.space import SearchSpace
from tuner.training.augmentation import usual_policy

if TYPE_CHECKING:
    import datasets
    import pandas as pd

    Data: TypeAlias = str | Path | pd.DataFrame | datasets.Dataset | datasets.DatasetDict | tuple[Any, Any]
    Model: TypeAlias = str | Path | tuple[Any, Any] | None


class Clock:
    """Takes the time of stages, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)


def load_fitting(
    kind: Kind, model: Model, *, name: str, device: str, max_length: int | None, weights: str | Path | None = None
) -> Backbone:
    """Load the model that was asked for, or the default one of a kind of data.

    Args:
        kind: the kind of data.
        model: an id, a path, or a loaded model with what reads its inputs, of which a copy is used; None for the
            default.
        name: what the data is called, for messages.
        device: such as ``cpu``, or ``auto``.
        max_length: tokens that texts are cut to; None for the usual.
        weights: a safetensors file for ``torchvision:NAME``.

    Raises:
        ModelError: where the model cannot read the data.
    """
    chosen = kind.default_model if model is None else model
    backbone = load_backbone(_own(chosen), device=device, max_length=max_length, weights=weights)
    check_model(kind, backbone, name=name)
    return backbone


def _own(model: Model) -> Model:
    """A copy of a loaded model and of what reads its inputs, so that the user's own stay as they are; a name or a path
    as it is."""
    loaded = isinstance(model, tuple) and any(isinstance(part, torch.nn.Module) for part in model)
    return copy.deepcopy(model) if loaded else model


def advise(
    target: TargetData,
    options: DataOptions,
    *,
    kind: Kind,
    backbone: Backbone,
    source: str | Path | None,
    metric: str,
    prefer: str,
    own_evidence: bool,
    command: str,
    examples: bool,
    clock: Clock,
    progress: Progress | None,
) -> Advice:
    """From loaded data and model to advice: features, size, similarity, probes, situation, strategy.

    Args:
        target: the labelled data.
        options: how it was read; its sample and seed count here.
        kind: the kind of data.
        backbone: the model.
        source: what the model was pretrained on, as in `recommend`.
        metric: what models are scored by.
        prefer: ``score`` or ``speed``, as in `recommend`.
        own_evidence: whether the user's own runs are asked, too.
        command: tunes as advised, shown as the next step.
        examples: whether thumbnails are kept.
        clock: takes down the seconds of every stage, and has those of the stages before.
        progress: told how far it is; None for silence.
    """
    task, seed = kind.task(target), options.seed
    with clock("source profile"):
        profile = find_profile(source, backbone=backbone, progress=progress)
    with clock("features"):
        features = kind.embed(target, backbone=backbone, sample=options.sample, seed=seed, progress=progress)
    with clock("similarity"):
        if progress is not None:
            progress("comparing with the source", 0.0)
        similarity = kind.compare(
            target, features, backbone=backbone, profile=profile, seed=seed, progress=progress,
            how_to_measure=how_to_measure(command, corpus=kind.words.corpus, at_hand=backbone.path is not None),
        )  # fmt: skip
    with clock("probes"):
        probes = probe_blocks(features, task=task, metric=metric, seed=seed, progress=progress)
    with clock("baselines"):
        if progress is not None:
            progress("baselines", 0.0)
        baselines = kind.baselines(features, task=task, metric=metric, seed=seed)
    size = kind.size(target, learning_curve=probes.learning_curve, curve_features=probes.curve_features)
    situation = estimate_situation(size, similarity)
    kept_as = kind.words.kept_as
    evidence, left_out = evidence_for(kept_as, backbone, metric=metric, own=own_evidence)
    expecting = None
    if evidence is not None and kept_as is not None:
        expecting = expectations_of(evidence, backbone, probes, task=unlike(kept_as))
    n_labelled = len(target.train) + len(target.validation)
    expectations = None if expecting is None else expecting(n_labelled)
    # A training step costs three forward passes, of which one row took so long here.
    forward_s = clock.seconds["features"] / max(len(features.rows), 1)

    def predicted_at(expected: Expectations, n: int) -> tuple[Prediction, ...]:
        return predict_scores(expected, n_blocks=backbone.n_blocks, seconds=3 * forward_s * rows_seen(n))

    predictions = () if expectations is None else predicted_at(expectations, n_labelled)
    strategy, freeze = choose_strategy(
        situation,
        probes,
        n_blocks=backbone.n_blocks,
        baseline=baselines[kind.words.linear],
        predictions=predictions,
        prefer=prefer,
        rule_costs={} if evidence is None else evidence.rule,
    )
    counterfactuals: list[str] = []
    if evidence is not None and expecting is not None:
        counterfactuals = what_would_change(
            decide(predictions, prefer=prefer), predictions, n=n_labelled, n_blocks=backbone.n_blocks,
            at_rows=lambda n: predicted_at(expecting(n), n), most_rows=evidence.rows[1],
        )  # fmt: skip
    advice = Advice(
        model=model_section(backbone, max_length=backbone.inputs.max_length),
        data=data_section(target, features, counts=kind.counts(target)),
        size=size,
        similarity=similarity,
        situation=situation,
        strategy=strategy,
        freeze=freeze,
        space=SearchSpace(n_blocks=backbone.n_blocks, first=(), controls=(), depths=freeze.search),
        probes=probes.probes,
        baselines=baselines | {"best_probe": best_probe_of(probes)},
        metric=metric,
        warnings=(*warnings_of(target, backbone, features, similarity, kind=kind, metric=metric), *left_out),
        next_steps=next_steps_of(
            size,
            similarity,
            words=kind.words,
            n_conflicting=target.n_conflicting,
            command=command,
            model=None if backbone.path is None else backbone.id,
        ),
        next_command=command,
        seconds=clock.seconds,
        versions=versions_of(),
        seed=seed,
        predicted=predictions,
        expectations=expectations,
        prefer=prefer,
        counterfactuals=tuple(counterfactuals),
        thumbnails=make_thumbnails(target, similarity.examples, label_of=partial(kind.label_of, target))
        if examples
        else (),
    )
    space = search_space(
        situation, probes, recommended=advice.candidate, n_blocks=backbone.n_blocks,
        batch_norm=has_statistics(backbone.blocks), epochs=epochs_of(expectations, n_labelled),
        augmentation=usual_policy(backbone, task), tops=task.tops,
    )  # fmt: skip
    return replace(advice, space=space)
