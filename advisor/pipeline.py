"""The two stories, end to end: `recommend` measures and advises, `tune` searches as advised."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from advisor import runs
from advisor.advice.strategy import (
    Advice,
    stored_advice,
)
from advisor.advising import Clock, advise, load_fitting
from advisor.data.load import load_target
from advisor.data.options import DEFAULT_SAMPLE, DataOptions
from advisor.data.thumbnails import write_thumbnails
from advisor.evidence.decision import PREFERENCES, check_preference
from advisor.kinds.table import check_known, kind_of
from advisor.options import DEFAULT_BUDGET, command_of, parse_budget
from advisor.report import write_report
from advisor.tuning import check_same_run, tuning_data, tuning_folder
from tuner.errors import OptionError
from tuner.interruption import Interruption
from tuner.records import Progress, write_json
from tuner.search.result import TuningResult
from tuner.search.search import has_finished_runs, search
from tuner.search.space import check_augmentation, check_strategy, restrict, space_notes
from tuner.search.storage import open_storage, storage_failures
from tuner.tasks.known import check_metric
from tuner.training.augmentation import check_policy

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

    Ctrl-C ends the search with the best so far.

    Args:
        data: as in `recommend`.
        advice: from `recommend` on the same data and model; by default it is made here.
        model: a folder, a hub id, or a loaded model with its tokenizer or image processor; None for the built-in one.
        text: column of the texts; like every column, it is found out where it is None.
        text_pair: column of the second texts of pairs.
        image: column of the images, or of their paths.
        label: column of the labels, or columns of 0 and 1 with commas between.
        label_separator: what stands between several labels of a row in one text.
        task: what labels are that are written as numbers (`advisor.data.options.TASKS`); by default as they look.
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
        budget: seconds or a text such as ``"10m"``, which is the default without `trials`. It is wall time of the whole
            call, measuring and saving included; only a source profile that is built for the first time comes on top.
        trials: how many there may be; without a budget the only bound.
        strategy: the only one that is searched; by default what the advice says.
        augment: how training examples are changed where the best trained candidate is trained once more
            (`tuner.names.AUGMENTATIONS`), ``"none"``, or ``"auto"`` for what the advice says.
        storage: an Optuna URL; by default a journal in the run folder.
        study: name of the study in that storage.
        resume: go on with what `out` holds, by default with the newest run of the same data and model.
        refit: whether the winner is fitted again on training and validation rows together; else it is saved as it was
            trained on the training rows.
        own_evidence: as in `recommend`.
        examples: as in `recommend`.
        out: run folder; by default a new one under ``runs/``.
        progress: told what is being done and the fraction done.
        on_advice: called with the advice, as JSON values, before the search.
        began: what the budget counts from (`time.monotonic`); by default this call.

    Returns:
        What the search found; ``model`` loads the winner.

    Raises:
        TransferError: for what the user can fix.
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
