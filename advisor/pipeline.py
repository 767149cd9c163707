"""The two stories, end to end: `recommend` measures and advises, `tune` searches as advised."""

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

from advisor import runs
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
    stored_advice,
)
from advisor.data.load import load_target
from advisor.data.options import DEFAULT_SAMPLE, DataOptions
from advisor.data.target import TargetData
from advisor.data.thumbnails import make_thumbnails, write_thumbnails
from advisor.evidence.decision import PREFERENCES, check_preference, decide
from advisor.evidence.decision import counterfactuals as what_would_change
from advisor.evidence.predictions import Prediction, predict_scores, rows_seen
from advisor.evidence.sharpening import unlike
from advisor.kinds.base import Kind, check_model
from advisor.kinds.table import check_known, kind_of
from advisor.measures.probe import probe_blocks
from advisor.options import DEFAULT_BUDGET, command_of, how_to_measure, parse_budget
from advisor.report import write_report
from advisor.similarity.library import find_profile
from advisor.tuning import check_same_run, tuning_data, tuning_folder
from tuner.errors import OptionError
from tuner.freezing import has_statistics
from tuner.interruption import Interruption
from tuner.model.assemble import load_backbone
from tuner.model.backbone import Backbone
from tuner.records import Progress, write_json
from tuner.search.expectations import Expectations
from tuner.search.result import TuningResult
from tuner.search.search import has_finished_runs, search
from tuner.search.space import SearchSpace, check_augmentation, check_strategy, restrict, space_notes
from tuner.search.storage import open_storage, storage_failures
from tuner.tasks.known import check_metric
from tuner.training.augmentation import check_policy, usual_policy

if TYPE_CHECKING:
    import datasets
    import pandas as pd

    Data: TypeAlias = str | Path | pd.DataFrame | datasets.Dataset | datasets.DatasetDict | tuple[Any, Any]
    Model: TypeAlias = str | Path | tuple[Any, Any] | None


SHORT_BUDGET_S, SHORT_SAMPLE = 300.0, 1_000
"""A search of less than five minutes measures half the rows, so that most of its time is left for training."""


def recommend(
    data: Data,
    *,
    model: Model = None,
    text: str | None = None,
    text_pair: str | None = None,
    image: str | None = None,
    label: str | None = None,
    task: str | None = None,
    label_separator: str | None = None,
    group: str | None = None,
    split: str | None = None,
    test: str | Path | None = None,
    images_root: str | Path | None = None,
    source: str | Path | None = None,
    weights: str | Path | None = None,
    sample: int = DEFAULT_SAMPLE,
    max_length: int | None = None,
    device: str = "auto",
    seed: int = 0,
    drop_rare: bool = False,
    prefer: str = "score",
    header: bool | None = None,
    metric: str | None = None,
    own_evidence: bool = True,
    examples: bool = True,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Advice:
    """Measure size, similarity and probes of `data` under `model`, and advise a strategy and a freeze depth.

    Args:
        data: a file, a folder of tables or of images, a hub id, ``example:NAME``, a DataFrame, a `datasets` object, or
            (texts, labels) or (images, labels); or sentences whose words are tagged
            (`advisor.data.sentences.read_tagged`).
        model: a folder, a hub id, or a loaded model with its tokenizer or image processor; None for the built-in one.
        text: column of the texts; like every column, it is found out where it is None.
        text_pair: column of the second texts of pairs.
        image: column of the images, or of their paths.
        label: column of the labels, or columns of 0 and 1 with commas between.
        task: what labels are that are written as numbers (`advisor.data.options.TASKS`); by default as they look.
        label_separator: what stands between several labels of a row in one text.
        group: column whose equal values stay in one split.
        split: the only split of the data to be used; all by default.
        test: a file with the test rows; None to divide them off where they are not given.
        images_root: folder where images may lie that a table names by paths outside its own folder.
        source: what the model was pretrained on: profile, text file, folder or hub id; None for the profile at hand.
        weights: a safetensors file with the weights of ``torchvision:NAME``.
        sample: rows that are embedded and probed.
        max_length: tokens after which a text is cut; None for the usual.
        device: ``auto`` (the GPU where there is one), ``cpu``, ``cuda`` or ``mps``.
        seed: of every random choice.
        drop_rare: whether classes that are too small to be divided are left out.
        prefer: ``score``, or ``speed`` for the cheapest candidate within a point of the best.
        header: whether a file's first line names its columns, else ``column_1``, ``column_2``...; None: by its look.
        metric: scores models; None: accuracy, of tags entity F1, of several labels a row micro F1, of numbers R².
        own_evidence: whether runs that ``advisor evidence add`` kept are asked beside the shipped evidence.
        examples: whether thumbnails are kept; without, nothing of the data itself is written.
        out: folder where ``advice.json`` and the report are written; None writes nothing.
        progress: told how far it is; None for silence.

    Raises:
        TransferError: for what the user can fix.
    """
    check_known(metric)
    options = DataOptions(
        text=text, text_pair=text_pair, image=image, label=label, label_separator=label_separator, task=task,
        group=group, split=split, test=test, images_root=images_root, sample=sample, max_length=max_length, seed=seed,
        drop_rare=drop_rare, header=header,
    )  # fmt: skip
    options.check()
    check_preference(prefer)
    if out is not None:
        runs.check_folder(Path(out))
    clock = Clock()
    with clock("load data"):
        if progress is not None:
            progress("loading data", 0.0)
        target = load_target(data, options)
    kind = kind_of(target)
    posed = kind.task(target)
    metric = check_metric(metric, task=posed)
    with clock("load model"):
        if progress is not None:
            progress("loading model", 0.0)
        backbone = load_fitting(kind, model, name=target.name, device=device, max_length=max_length, weights=weights)
    command = command_of(
        data, options, model=model, source=source, weights=weights, device=device,
        metric=None if metric == posed.metrics[0] else metric,
        prefer=None if prefer == PREFERENCES[0] else prefer, no_evidence=not own_evidence, no_examples=not examples,
    )  # fmt: skip
    advice = advise(
        target, options, kind=kind, backbone=backbone, source=source, metric=metric, prefer=prefer,
        own_evidence=own_evidence, command=command, examples=examples, clock=clock, progress=progress,
    )  # fmt: skip
    if out is not None:
        save_advice(advice, Path(out))
    return advice


def save_advice(advice: Advice, folder: Path, *, claimed: bool = False) -> None:
    """Write ``advice.json`` and the report into a new or empty folder, which is made unless it was `claimed`."""
    with runs.writing(folder, claimed=claimed):
        runs.check_folder(folder, held=True)
        write_json(folder / runs.ADVICE, advice)
        write_thumbnails(advice.thumbnails, folder)
        write_report(folder)


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


def tune(
    data: Data,
    *,
    advice: Advice | None = None,
    model: Model = None,
    text: str | None = None,
    text_pair: str | None = None,
    image: str | None = None,
    label: str | None = None,
    task: str | None = None,
    label_separator: str | None = None,
    group: str | None = None,
    split: str | None = None,
    test: str | Path | None = None,
    images_root: str | Path | None = None,
    source: str | Path | None = None,
    weights: str | Path | None = None,
    sample: int = DEFAULT_SAMPLE,
    max_length: int | None = None,
    device: str = "auto",
    seed: int = 0,
    drop_rare: bool = False,
    prefer: str = "score",
    header: bool | None = None,
    metric: str | None = None,
    budget: str | float | None = None,
    trials: int | None = None,
    strategy: str | None = None,
    augment: str = "auto",
    storage: str | None = None,
    study: str | None = None,
    resume: bool = False,
    refit: bool = True,
    own_evidence: bool = True,
    examples: bool = True,
    out: str | Path | None = None,
    progress: Progress | None = None,
    on_advice: Any = None,
    began: float | None = None,
) -> TuningResult:
    """Recommend, then search freeze depths as advised, and save the winner with its report.

    Parameters that `recommend` has, too, mean the same here; the columns, split and model must be those of `advice`
    where one is passed. `budget` is seconds or a text such as ``"10m"``, which is the default without `trials`, how
    many there may be at most: wall time of the whole call, or since `began` (`time.monotonic`), measuring and
    saving included; only a source profile that is built for the first time comes on top. `strategy` is the only one to
    be searched. `augment` names how training examples are changed where the best trained candidate is trained once more
    (`tuner.names.AUGMENTATIONS`), ``"none"``, or ``"auto"`` for what the advice says. `out` is by default a new folder
    under ``runs/``; with `resume`, what it holds goes on, by default the newest run of the same data and model.
    `storage` is an Optuna URL, by default a journal in the run folder, and `study` a name in it. Without `refit`, the
    winner is saved as it was trained on the training rows, else it is fitted again on training and validation rows
    together. `on_advice` is called with the advice before the search. Raises `TransferError` for what the user can fix;
    Ctrl-C ends the search with the best so far.
    """
    began = time.monotonic() if began is None else began
    budget_s = parse_budget(DEFAULT_BUDGET if budget is None and trials is None else budget)
    options = DataOptions(
        text=text, text_pair=text_pair, image=image, label=label, label_separator=label_separator, task=task,
        group=group, split=split, test=test, images_root=images_root, sample=sample, max_length=max_length, seed=seed,
        drop_rare=drop_rare, header=header,
    )  # fmt: skip
    options.check()
    in_short = budget_s is not None and budget_s < SHORT_BUDGET_S and sample == DEFAULT_SAMPLE
    looked_at = replace(options, sample=SHORT_SAMPLE) if in_short else options
    check_known(metric := metric or (None if advice is None else advice.metric))
    check_preference(prefer)
    if strategy is not None:
        check_strategy(strategy)
    check_augmentation(augment, strategy=strategy)
    if trials is not None and trials < 1:
        raise OptionError(f"--trials {trials} is less than 1", why="the search needs a trial", fix="pass 1 or more")
    if out is not None:
        runs.check_folder(Path(out), resume=resume)
    opened = None if storage is None else open_storage(storage)
    clock = Clock()
    with clock("load data"):
        if progress is not None:
            progress("loading data", 0.0)
        target = load_target(data, options)
    kind = kind_of(target)
    posed = kind.task(target)
    metric = check_metric(metric, task=posed)
    command = command_of(
        data, options, model=model, source=source, weights=weights, device=device,
        metric=None if metric == posed.metrics[0] else metric,
        prefer=None if prefer == PREFERENCES[0] else prefer, no_evidence=not own_evidence, no_examples=not examples,
    )  # fmt: skip
    with clock("load model"):
        if progress is not None:
            progress("loading model", 0.0)
        backbone = load_fitting(kind, model, name=target.name, device=device, max_length=max_length, weights=weights)
    if augment not in ("auto", "none"):
        check_policy(augment, backbone=backbone, task=posed)
    if strategy is not None:
        check_strategy(strategy, widths=backbone.widths, tops=posed.tops)
    check_stored = partial(
        check_same_run,
        target=target,
        backbone=backbone,
        max_length=backbone.inputs.max_length,
        metric=metric,
        seed=seed,
    )
    folder, claimed = tuning_folder(out, target=target, backbone=backbone, resume=resume)
    with (
        Interruption() as interruption,
        runs.writing(folder, resumable=lambda: has_finished_runs(folder), claimed=claimed),
        storage_failures(storage),
    ):
        runs.check_folder(folder, resume=resume, held=True)
        stored = runs.read_advice(folder) if runs.is_run(folder) else None
        if stored is not None:
            advice = stored_advice(stored, path=folder / runs.ADVICE)
            check_stored(stored, folder=folder)
            if not examples:
                write_thumbnails((), folder)
        elif advice is not None:
            stored = advice.to_json()
            check_stored(stored, folder="the advice")
            write_json(folder / runs.ADVICE, stored)
            write_thumbnails(advice.thumbnails if examples else (), folder)
        else:
            advice = advise(
                target, looked_at, kind=kind, backbone=backbone, source=source, metric=metric,
                prefer=prefer, own_evidence=own_evidence, command=command, examples=examples, clock=clock,
                progress=progress,
            )  # fmt: skip
            stored = advice.to_json()
            write_json(folder / runs.ADVICE, stored)
            write_thumbnails(advice.thumbnails, folder)
        if on_advice is not None:
            on_advice(stored)
        space = advice.space
        data_to_tune = tuning_data(target, kind=kind, seed=seed)
        if augment != "auto":
            space = replace(space, augmentation=None if augment == "none" else augment)
        if strategy is not None:
            space = restrict(space, strategy=strategy, widths=backbone.widths, tops=posed.tops)
        notes = space_notes(space)
        data_to_tune = replace(data_to_tune, notes=(*data_to_tune.notes, *notes))
        result = search(
            backbone,
            data=data_to_tune,
            space=space,
            recommended=advice.candidate,
            folder=folder,
            budget_s=budget_s,
            n_trials=trials,
            limited_to=strategy,
            metric=metric,
            seed=seed,
            resume=resume,
            storage=opened,
            study_name=study,
            progress=progress,
            baselines=stored["baselines"],
            expectations=advice.expectations,
            prefer=stored.get("prefer", prefer),
            refit=refit,
            began=began + clock.seconds.get("source profile", 0.0),
            interruption=interruption,
        )
        write_report(folder)
    return result


def load_fitting(
    kind: Kind, model: Model, *, name: str, device: str, max_length: int | None, weights: str | Path | None = None
) -> Backbone:
    """The model, or the default one of a kind of data. Raises `ModelError` where it cannot read the data, `name`."""
    chosen = kind.default_model if model is None else model
    backbone = load_backbone(_own(chosen), device=device, max_length=max_length, weights=weights)
    check_model(kind, backbone, name=name)
    return backbone


def _own(model: Model) -> Model:
    """A copy of a loaded model and of what reads its inputs, so that the user's own stay as they are; a name or a path
    as it is."""
    loaded = isinstance(model, tuple) and any(isinstance(part, torch.nn.Module) for part in model)
    return copy.deepcopy(model) if loaded else model


class Clock:
    """Takes the time of stages, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)
