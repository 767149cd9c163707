"""The two stories, end to end: `recommend` measures and advises, `tune` searches as advised; and `predict` uses it."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from advisor import runs
from advisor.baselines import (
    Baseline,
    lookup_baseline,
    majority_baseline,
    outside_baseline,
    pixel_baseline,
    tfidf_baseline,
    token_baseline,
)
from advisor.cautions import imbalance_note, unknown_note
from advisor.evidence.decision import PREFERENCES, check_preference, decide
from advisor.evidence.decision import counterfactuals as what_would_change
from advisor.evidence.own import fitting, read_own
from advisor.evidence.predictions import TRAINED_SHARE, Prediction, expect, predict_scores, rows_seen
from advisor.evidence.sharpening import sharpen, unlike
from advisor.evidence.table import Evidence, load_evidence, load_rule
from advisor.features import DEFAULT_SAMPLE, BlockFeatures, embed, sample_rows
from advisor.image_paths import refuse_root
from advisor.image_similarity import measure_image_similarity
from advisor.probe import ProbeProfile, probe_blocks, probe_folds
from advisor.report import write_report
from advisor.similarity import SimilarityProfile, measure_similarity
from advisor.situation import estimate_situation
from advisor.size import SizeProfile, size_of
from advisor.source import find_profile
from advisor.stored import check_advice
from advisor.strategy import Advice, choose_strategy, measured_rates, read_expectations, search_plan, search_space
from advisor.tagged import count_entities, read_sentences
from advisor.tagged_target import refuse_options
from advisor.target import TargetData, load_target, notes_on_texts, read_images, read_new_texts
from advisor.thumbnails import make_thumbnails, write_thumbnails
from advisor.token_copies import token_copies_note
from tuner.alignment import notes_on_words
from tuner.augmentation import check_policy, misfit
from tuner.backbone import Backbone, load_backbone
from tuner.errors import DataError, ModelError, OptionError
from tuner.expectations import SCHEDULE_SHARE, Expectations
from tuner.export import ADVICE_FILE, TransferModel
from tuner.freezing import has_statistics
from tuner.inputs import Tokens
from tuner.interruption import Interruption
from tuner.loading import DEFAULT_IMAGE_MODEL
from tuner.metrics import METRICS, check_metric
from tuner.pairs import in_words
from tuner.pictures import Pictures
from tuner.records import Progress, Record, write_json
from tuner.result import TuningResult
from tuner.scoring import ENTITY_F1
from tuner.scoring import check_metric as check_fitting
from tuner.search import LabelledRows, TuningData, has_finished_runs, search
from tuner.space import SearchSpace, check_augmentation, check_strategy, restrict, space_notes
from tuner.storage import open_storage, storage_failures

if TYPE_CHECKING:
    import datasets
    import pandas as pd

    from advisor.image_source import ImageProfile
    from advisor.source import SourceProfile

    Data: TypeAlias = str | Path | pd.DataFrame | datasets.Dataset | datasets.DatasetDict | tuple[Any, Any]
    Model: TypeAlias = str | Path | tuple[Any, Any] | None

TRUNCATION_WARNING = 0.10
DEFAULT_BUDGET = "10m"
TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS = 20_000, 2_000, 10_000
"""Rows the search trains, validates and tests on at most: beyond them a trial no longer fits a sensible budget, and a
test score is known to a point already."""
VERSIONED = ("torch", "transformers", "datasets", "optuna", "scikit-learn", "numpy", "pandas")


@dataclass(frozen=True, kw_only=True)
class Predictions(Record):
    """Labels and probabilities for new rows, with the share of rows unlike the training data.

    ``unreadable`` are positions of images that could not be read, with the reason: they have no label (None).
    """

    rows: tuple[str, ...]
    labels: tuple[str | None, ...]
    probabilities: np.ndarray
    class_names: tuple[str, ...]
    unlike: np.ndarray
    unreadable: Mapping[int, str] = field(default_factory=dict)
    kind: str = "text"
    warnings: tuple[str, ...] = ()

    @property
    def share_unlike(self) -> float:
        """Share of rows farther from the training features than 95 % of the training rows are from each other."""
        counted = np.delete(self.unlike, list(self.unreadable))
        return float(counted.mean()) if len(counted) else 0.0


@dataclass(frozen=True, kw_only=True)
class TaggedPredictions(Record):
    """Tags for the words of n new sentences, with the share of sentences unlike the training data.

    ``probabilities`` hold for every sentence a (words,) array: how probable each word's tag is, not a number (NaN) for
    words that the model does not see.
    """

    tokens: tuple[tuple[str, ...], ...]
    tags: tuple[tuple[str, ...], ...]
    probabilities: tuple[np.ndarray, ...]
    unlike: np.ndarray
    warnings: tuple[str, ...] = ()

    @property
    def share_unlike(self) -> float:
        """As that of `Predictions`."""
        return float(self.unlike.mean()) if len(self.unlike) else 0.0


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

    `data` is a file, a folder of tables or of images, a hub id, ``example:NAME``, a DataFrame, a `datasets` object, or
    (texts, labels) or (images, labels); or sentences whose words are tagged (`advisor.tagged.read_tagged`). `metric` is
    by default accuracy, of tags entity F1. A table that names images by paths outside its own folder needs
    `images_root`, the folder where they may lie. `header` says whether the first line of a file names its columns,
    which is judged by its look unless it is said; without one they are called ``column_1``, ``column_2``...
    With `out`, ``advice.json`` and the report are written there; without `examples`, nothing of the data itself is.
    Without `own_evidence`, the shipped evidence alone is asked, not the user's runs that ``advisor evidence add`` kept.
    Raises `TransferError` for what the user can fix.
    """
    check_known(metric)
    check_sample(sample, seed)
    check_preference(prefer)
    if out is not None:
        runs.check_folder(Path(out))
    clock = Clock()
    with clock("load data"):
        if progress is not None:
            progress("loading data", 0.0)
        target = load_target(
            data, text=text, image=image, label=label, group=group, text_pair=text_pair, split=split, test=test,
            images_root=images_root, drop_rare=drop_rare, header=header, seed=seed,
        )  # fmt: skip
    metric = check_fitting(metric, tagged=target.tagged)
    with clock("load model"):
        if progress is not None:
            progress("loading model", 0.0)
        backbone = load_fitting(target, model, device=device, max_length=max_length, weights=weights)
    command = _command(
        data, model=model, text=text, text_pair=text_pair, image=image, label=label, group=group, split=split,
        test=test, images_root=images_root, source=source, weights=weights, sample=sample, max_length=max_length,
        device=device, seed=seed, drop_rare=drop_rare, header=header is True, no_header=header is False, metric=metric,
        prefer=None if prefer == PREFERENCES[0] else prefer, no_evidence=not own_evidence, no_examples=not examples,
    )  # fmt: skip
    advice = advise(
        target, backbone=backbone, source=source, sample=sample, seed=seed, metric=metric, prefer=prefer,
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
    *,
    backbone: Backbone,
    source: str | Path | None,
    sample: int,
    seed: int,
    metric: str,
    prefer: str,
    own_evidence: bool,
    command: str,
    examples: bool,
    clock: Clock,
    progress: Progress | None,
) -> Advice:
    """From loaded data and model to advice: features, size, similarity, probes, situation, strategy."""
    with clock("source profile"):
        profile = find_profile(source, backbone=backbone, progress=progress)
    with clock("features"):
        features = embed(target, backbone=backbone, sample=sample, seed=seed, progress=progress)
    with clock("similarity"):
        if progress is not None:
            progress("comparing with the source", 0.0)
        similarity = _compare(
            target, features, backbone=backbone, profile=profile, seed=seed, progress=progress,
            how_to_measure=_how_to_measure(command, kind=target.kind, at_hand=backbone.path is not None),
        )  # fmt: skip
    with clock("probes"):
        probes = probe_blocks(features, n_classes=len(target.class_names), metric=metric, seed=seed, progress=progress)
    with clock("baselines"):
        if progress is not None:
            progress("baselines", 0.0)
        baselines = _baselines(features, metric=metric, seed=seed)
        linear = next(found for name, found in baselines.items() if name.endswith("_linear"))
    size = size_of(target, learning_curve=probes.learning_curve, curve_features=probes.curve_features)
    situation = estimate_situation(size, similarity)
    evidence, left_out = _evidence_for(target, backbone, metric=metric, own=own_evidence)
    expecting = None if evidence is None else _expecting(evidence, target, backbone, probes)
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
        baseline=linear,
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
        model=_model_section(backbone),
        data=_data_section(target, features),
        size=size,
        similarity=similarity,
        situation=situation,
        strategy=strategy,
        freeze=freeze,
        space=SearchSpace(n_blocks=backbone.n_blocks, first=(), controls=(), depths=freeze.search),
        probes=probes.probes,
        baselines=baselines | {"best_probe": _best_probe(probes)},
        metric=metric,
        warnings=(*_warnings(target, backbone, features, similarity, metric=metric), *left_out),
        next_steps=_next_steps(size, similarity, target, command, model=None if backbone.path is None else backbone.id),
        next_command=command,
        seconds=clock.seconds,
        versions=_versions(),
        seed=seed,
        predicted=predictions,
        expectations=expectations,
        prefer=prefer,
        counterfactuals=tuple(counterfactuals),
        thumbnails=make_thumbnails(target, similarity.examples) if examples else (),
    )
    space = search_space(
        situation, probes, recommended=advice.candidate, n_blocks=backbone.n_blocks,
        batch_norm=has_statistics(backbone.blocks), epochs=_epochs(expectations, n_labelled),
        augmentation=_fitting_augmentation(features, backbone),
        tagged=target.tagged,
    )  # fmt: skip
    return replace(advice, space=space)


def _evidence_for(
    target: TargetData, backbone: Backbone, *, metric: str, own: bool
) -> tuple[Evidence | None, tuple[str, ...]]:
    """What measured runs say of this kind of data, sharpened by the user's `own` runs of the model, and a warning for
    every file of evidence that was left out. None for kinds of tasks that nothing was measured of."""
    if target.tagged:
        return None, ()
    try:
        evidence = replace(load_evidence(target.kind), rule=load_rule(target.kind))
    except DataError as error:
        return None, (f"the evidence on {target.kind}s was left out: {error.what}; {error.fix}",)
    if not own:
        return evidence, ()
    kept, left_out = read_own()
    kind = _kind_of_task(target)
    fit = fitting(kept, model_fingerprint=backbone.fingerprint, kind=kind, metric=metric)
    return sharpen(evidence, fit, model=backbone.id, unlike=unlike(kind)), left_out


def _kind_of_task(target: TargetData) -> str:
    """What is labelled, as evidence tells tasks apart."""
    return "text_pair" if target.columns.get("text_pair") is not None else target.kind


def _expecting(
    evidence: Evidence, target: TargetData, backbone: Backbone, probes: ProbeProfile
) -> Callable[[int], Expectations]:
    """Expected scores at so many labelled rows."""
    task = unlike(_kind_of_task(target))

    rates = measured_rates(batch_norm=has_statistics(backbone.blocks))

    def at(n: int) -> Expectations:
        return expect(
            evidence, probes.probes, n=n, n_blocks=backbone.n_blocks, model=backbone.id, rates=rates, unlike=task
        )

    return at


def _epochs(expectations: Expectations | None, n_labelled: int) -> tuple[int, int] | None:
    """The epochs that are sampled: from half of the full schedule to half as many again."""
    if expectations is None:
        return None
    full = SCHEDULE_SHARE * expectations.rows_seen / max(TRAINED_SHARE * n_labelled, 1)
    return max(round(full / 2), 1), max(round(1.5 * full), 2)


def _fitting_augmentation(features: BlockFeatures, backbone: Backbone) -> str | None:
    """What training examples may be changed by; policies of colours read bytes."""
    if features.tagged is not None:  # every word stays where its tag is
        return "masking" if backbone.tokenizer.mask_token_id is not None else None
    if features.pixels is None:
        return "token_dropout" if misfit("mixup", backbone=backbone) else "mixup"
    return "trivialaugment" if features.pixels.values.dtype == np.uint8 else "mixup"


def _compare(
    target: TargetData,
    features: BlockFeatures,
    *,
    backbone: Backbone,
    profile: SourceProfile | ImageProfile | None,
    how_to_measure: str,
    seed: int,
    progress: Progress | None,
) -> SimilarityProfile:
    """The sampled rows against the source, by what they hold."""
    if target.kind == "image":
        measured = measure_image_similarity(
            target.pictures_at(features.rows), backbone=backbone, profile=profile, how_to_measure=how_to_measure,
            seed=seed, progress=progress,
        )  # fmt: skip
        rows = {place: tuple(int(row) for row in features.rows[list(at)]) for place, at in measured.examples.items()}
        return replace(measured, examples=rows)
    return measure_similarity(
        features.features, lengths=features.lengths, texts=features.texts, profile=profile,
        how_to_measure=how_to_measure, seed=seed,
    )  # fmt: skip


def _how_to_measure(command: str, *, kind: str, at_hand: bool) -> str:
    """The command, or the call in Python, that measures similarity with a source of the user's own."""
    corpus = "CORPUS.txt" if kind == "text" else "IMAGES"
    if not at_hand:
        return f'recommend(..., source="{corpus}")'
    return f"{command.replace('advisor tune', 'advisor recommend')} --source {corpus}"


def tune(
    data: Data,
    *,
    advice: Advice | None = None,
    model: Model = None,
    text: str | None = None,
    text_pair: str | None = None,
    image: str | None = None,
    label: str | None = None,
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

    `budget` is seconds or a text such as ``"10m"``, which is the default without `trials`. The columns, split and model
    must be those of `advice` where one is passed. The budget is wall time of the whole call, or since `began`
    (`time.monotonic`), measuring and saving included; only a source profile that is built for the first time comes on
    top. Without `refit`, the winner is saved as it was trained on the training rows, else it is fitted again on
    training and validation rows together. `augment` names how training examples are changed where the best
    trained candidate is trained once more (`tuner.space.AUGMENTATIONS`), ``"none"``, or ``"auto"`` for what the advice
    says. Without `examples`, nothing of the data itself is written; `own_evidence` is as in `recommend`. `on_advice` is
    called with the advice before the search. Raises `TransferError` for what the user can fix; Ctrl-C ends the search
    with the best so far.
    """
    began = time.monotonic() if began is None else began
    budget_s = parse_budget(DEFAULT_BUDGET if budget is None and trials is None else budget)
    check_sample(sample, seed)
    asked_sample, in_short = sample, budget_s is not None and budget_s < SHORT_BUDGET_S
    sample = SHORT_SAMPLE if in_short and sample == DEFAULT_SAMPLE else sample
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
        target = load_target(
            data, text=text, image=image, label=label, group=group, text_pair=text_pair, split=split, test=test,
            images_root=images_root, drop_rare=drop_rare, header=header, seed=seed,
        )  # fmt: skip
    metric = check_fitting(metric, tagged=target.tagged)
    command = _command(
        data, model=model, text=text, text_pair=text_pair, image=image, label=label, group=group, split=split,
        test=test, images_root=images_root, source=source, weights=weights, sample=asked_sample, max_length=max_length,
        device=device, seed=seed, drop_rare=drop_rare, header=header is True, no_header=header is False, metric=metric,
        prefer=None if prefer == PREFERENCES[0] else prefer, no_evidence=not own_evidence, no_examples=not examples,
    )  # fmt: skip
    with clock("load model"):
        if progress is not None:
            progress("loading model", 0.0)
        backbone = load_fitting(target, model, device=device, max_length=max_length, weights=weights)
    if augment not in ("auto", "none"):
        check_policy(augment, backbone=backbone, tagged=target.tagged)
    if strategy is not None:
        check_strategy(strategy, widths=backbone.widths, tagged=target.tagged)
    folder, claimed = _tuning_folder(out, target=target, backbone=backbone, resume=resume)
    with (
        Interruption() as interruption,
        runs.writing(folder, resumable=lambda: has_finished_runs(folder), claimed=claimed),
        storage_failures(storage),
    ):
        runs.check_folder(folder, resume=resume, held=True)
        stored = runs.read_advice(folder) if runs.is_run(folder) else None
        if stored is not None:
            check_advice(stored, path=folder / runs.ADVICE)
            _check_same_run(stored, target=target, backbone=backbone, metric=metric, seed=seed, folder=folder)
            if not examples:
                write_thumbnails((), folder)
        elif advice is not None:
            stored = advice.to_json()
            _check_same_run(stored, target=target, backbone=backbone, metric=metric, seed=seed, folder="the advice")
            write_json(folder / runs.ADVICE, stored)
            write_thumbnails(advice.thumbnails if examples else (), folder)
        else:
            advice = advise(
                target, backbone=backbone, source=source, sample=sample, seed=seed, metric=metric, prefer=prefer,
                own_evidence=own_evidence, command=command, examples=examples, clock=clock, progress=progress,
            )  # fmt: skip
            stored = advice.to_json()
            write_json(folder / runs.ADVICE, stored)
            write_thumbnails(advice.thumbnails, folder)
        if on_advice is not None:
            on_advice(stored)
        space, recommended = search_plan(stored)
        data_to_tune = tuning_data(target, seed=seed)
        if augment != "auto":
            space = replace(space, augmentation=None if augment == "none" else augment)
        if strategy is not None:
            space = restrict(space, strategy=strategy, widths=backbone.widths, tagged=target.tagged)
        notes = space_notes(space, n_train=len(data_to_tune.train.rows))
        data_to_tune = replace(data_to_tune, notes=(*data_to_tune.notes, *notes))
        result = search(
            backbone,
            data=data_to_tune,
            space=space,
            recommended=recommended,
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
            expectations=read_expectations(stored),
            prefer=stored.get("prefer", prefer),
            refit=refit,
            began=began + clock.seconds.get("source profile", 0.0),
            interruption=interruption,
        )
        write_report(folder)
    return result


def load_fitting(
    target: TargetData, model: Model, *, device: str, max_length: int | None, weights: str | Path | None = None
) -> Backbone:
    """The model, which must read what the data holds. Raises `ModelError` where it does not."""
    if model is None and target.kind == "image":
        model = DEFAULT_IMAGE_MODEL
    backbone = load_backbone(model, device=device, max_length=max_length, weights=weights)
    if backbone.is_text != (target.kind == "text"):
        reads, held = ("texts", "images") if backbone.is_text else ("images", "texts")
        raise ModelError(
            f"{backbone.id} reads {reads}, but {target.name} holds {held}",
            why="features of the data come from the model",
            fix=f"pass a model of {held}, or leave --model away for the built-in one",
        )
    return backbone


def predict(
    model: str | Path,
    data: Any,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    image: str | None = None,
    images_root: str | Path | None = None,
    header: bool | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Predictions | TaggedPredictions:
    """Labels and probabilities of new texts or images, or tags of the words of new sentences, by a saved model (a run
    folder or its ``model`` folder).

    A model of text pairs takes its second texts from `text_pair`, by default the column that it was tuned with.
    `images_root` is as in `recommend`, and so is `header`; a first line with the names of the columns that the model
    was tuned with is one.
    """
    folder = Path(model)
    if (folder / "model").is_dir():
        folder = folder / "model"
    transfer_model = TransferModel.from_pretrained(folder, device=device)
    warnings: tuple[str, ...] = ()
    if transfer_model.tags_words:
        refuse_options(
            {"text-pair": text_pair, "image": image, "images-root": images_root, "no-header": header is False}
        )
        return _tag(transfer_model, data, text=text, progress=progress)
    if transfer_model.reads_text:
        refuse_root(images_root)
        trained_on = runs.read_columns(folder) if (folder / ADVICE_FILE).exists() else {}
        known = [name for name in trained_on.values() if isinstance(name, str)]
        if (pair := text_pair or trained_on.get("text_pair")) is not None and text is None:
            text = trained_on.get("text")
        new_texts, _, warnings = read_new_texts(data, text=text, text_pair=pair, header=header, names=known)
        rows: Sequence[Any] = new_texts
        named: Sequence[str] = [in_words(text) for text in new_texts]
        warnings = (*warnings, *notes_on_texts(new_texts))
    else:
        rows, named, warnings = read_images(data, image=image, images_root=images_root, header=header)
    probabilities, unlike = transfer_model.predict_with_support(rows, progress=progress)
    names = transfer_model.class_names
    unreadable = {}
    if isinstance(rows, Pictures):
        rows.readable(why="where most are damaged, something is wrong with all of them")
        unreadable = dict(rows.unreadable)
    return Predictions(
        rows=tuple(named),
        labels=tuple(None if row in unreadable else names[index] for row, index in enumerate(probabilities.argmax(1))),
        probabilities=probabilities,
        class_names=tuple(names),
        unlike=unlike,
        unreadable=unreadable,
        kind="text" if transfer_model.reads_text else "image",
        warnings=warnings,
    )


def _tag(model: TransferModel, data: Any, *, text: str | None, progress: Progress | None) -> TaggedPredictions:
    """Tags of the words of sentences, with each one's probability."""
    sentences, warnings = read_sentences(data, text=text)
    encoded = model.encode(sentences, progress=progress)
    assert isinstance(encoded, Tokens)
    probabilities, unlike = model.predict_encoded(encoded, progress=progress)
    names, ends = model.class_names, np.cumsum([len(words) for words in sentences])[:-1]
    if sentences:
        warnings = (*warnings, *notes_on_words(encoded, what="sentences"))
    most_probable = np.where(encoded.seen, probabilities.max(1), np.nan)
    return TaggedPredictions(
        tokens=tuple(map(tuple, sentences)),
        tags=tuple(tuple(names[tag] for tag in part) for part in np.split(probabilities.argmax(1), ends)),
        probabilities=tuple(np.split(most_probable, ends)),
        unlike=unlike,
        warnings=warnings,
    )


def tuning_data(target: TargetData, *, seed: int) -> TuningData:
    """The splits as the search takes them; very large ones are sampled, stratified."""

    def part(rows: np.ndarray, most: int) -> LabelledRows:
        if len(rows) > most:
            rows = np.sort(rows[sample_rows(target.labels[rows], size=most, seed=seed)])
        together = target.kept_together(rows)
        if target.tagged:
            tags = [target.tags[int(row)] for row in rows]
            n_words = np.array([len(words) for words in tags])
            return LabelledRows(
                rows=target.rows_at(rows), labels=np.concatenate(tags), groups=together, n_words=n_words
            )
        return LabelledRows(rows=target.rows_at(rows), labels=target.labels[rows], groups=together)

    parts = (("trained", target.train, TRAIN_ROWS), ("tested", target.test, TEST_ROWS))
    notes = tuple(
        f"{what} on a sample of {most:,} of {len(rows):,} rows" for what, rows, most in parts if len(rows) > most
    )
    return TuningData(
        name=target.name,
        train=part(target.train, TRAIN_ROWS),
        validation=part(target.validation, VALIDATION_ROWS),
        test=part(target.test, TEST_ROWS),
        class_names=target.class_names,
        fingerprint=target.fingerprint,
        notes=notes,
    )


def parse_budget(budget: str | float | None) -> float | None:
    """Seconds of a budget: a number of seconds, or a text such as 90s, 10m, 1.5h, 1h30m.

    >>> parse_budget("10m"), parse_budget("1h30m"), parse_budget(45)
    (600.0, 5400.0, 45.0)
    """
    if budget is None:
        return None
    units = {"s": 1, "m": 60, "h": 3600}
    text = str(budget).strip().lower()
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(?:(h|m|s)[a-z]*)", text)
    if re.fullmatch(r"\d+(?:\.\d+)?", text):
        seconds = float(text)
    elif parts and re.fullmatch(r"(?:\s*\d+(?:\.\d+)?\s*(?:h|hours?|m|mins?|minutes?|s|secs?|seconds?))+", text):
        seconds = sum(float(number) * units[unit] for number, unit in parts)
    else:
        raise OptionError(
            f"--budget {budget!r} cannot be read",
            why="it bounds how long the search may take",
            fix="write a time such as 90s, 10m or 1h30m",
        )
    if seconds <= 0:
        raise OptionError(
            f"--budget {budget!r} is no time at all",
            why="it bounds how long the search may take",
            fix="write a time such as 90s, 10m or 1h30m",
        )
    return seconds


def check_known(metric: str | None) -> None:
    """Raise `OptionError` for a metric that no data has, before the data is read."""
    if metric is not None and metric != ENTITY_F1:
        check_metric(metric)


def check_sample(sample: int, seed: int) -> None:
    """Raise `OptionError` for a sample too small to cross-validate anything, or a seed that cannot be one."""
    if not 0 <= seed < 2**32:
        raise OptionError(
            f"--seed {seed} is not between 0 and 4294967295",
            why="the random generators take no other",
            fix="pass a smaller number that is not negative",
        )
    if sample < 20:
        raise OptionError(
            f"--sample {sample} is less than 20",
            why="probes are cross-validated on the sampled rows",
            fix="pass 20 or more, or leave it away for 2,000",
        )


class Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)


def _tuning_folder(
    out: str | Path | None, *, target: TargetData, backbone: Backbone, resume: bool
) -> tuple[Path, bool]:
    """The run folder, and whether it was made here and now."""
    if out is not None:
        return Path(out), False
    if resume:
        earlier = runs.find_run(data_fingerprint=target.fingerprint, model=backbone.fingerprint)
        if earlier is not None:
            return earlier, False
    return runs.claim_folder(target.name, backbone.id), True


def _check_same_run(
    stored: Mapping[str, Any], *, target: TargetData, backbone: Backbone, metric: str, seed: int, folder: Path | str
) -> None:
    model = stored["model"].get("sha256") or stored["model"].get("revision") or stored["model"].get("id")
    for what, here, there in (
        ("data", target.fingerprint, stored["data"].get("fingerprint")),
        ("model", backbone.fingerprint, model),
        ("metric", metric, stored["metric"]),
        ("length", backbone.max_length if backbone.is_text else None, stored["model"]["max_length"]),
        ("seed", seed, stored["seed"]),
    ):
        if here != there:
            raise OptionError(
                f"{folder} is of another {what}: {there}, not {here}",
                why="advice and runs can only be continued with what they started with",
                fix=f"pass the same {what}, columns and seed as then, or --out with a new folder",
            )


def _command(data: Any, *, model: Any, sample: int, device: str, metric: str, **options: Any) -> str:
    """The `advisor tune` line that continues from a recommendation; defaults are left away.

    What is in memory has no line: then it is the call in Python.
    """
    if not isinstance(data, (str, Path)) or not (model is None or isinstance(model, (str, Path))):
        return f"tune(data, {'' if model is None else 'model=model, '}advice=advice)"
    options |= {
        "model": model,
        "sample": None if sample == DEFAULT_SAMPLE else sample,
        "device": None if device == "auto" else device,
        "metric": None if metric in (METRICS[0], ENTITY_F1) else metric,
    }
    words = ["advisor", "tune", str(data)]
    for name, value in options.items():
        if value is True:
            words.append(f"--{name.replace('_', '-')}")
        elif value:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _model_section(backbone: Backbone) -> dict[str, Any]:
    return {
        "id": backbone.id,
        "sha256": backbone.sha256,
        "revision": backbone.revision,
        "n_blocks": backbone.n_blocks,
        "blocks": [
            {"name": block.name, "parameters": sum(p.numel() for p in block.parameters())} for block in backbone.blocks
        ],
        "parameters": backbone.parameters,
        "pooling": backbone.pooling,
        "max_length": backbone.max_length if backbone.is_text else None,
        "compute_dtype": str(backbone.compute_dtype).removeprefix("torch."),
    }


def _data_section(target: TargetData, features: BlockFeatures) -> dict[str, Any]:
    classes = _tags_section(target) if target.tagged else _classes_section(target)
    return {
        "name": target.name,
        "kind": target.kind,
        "task": target.task,
        "n_examples": target.n_examples,
        **classes,
        "columns": target.columns,
        "splits": {
            "train": len(target.train),
            "validation": len(target.validation),
            "test": len(target.test),
            "given": list(target.given_splits),
        },
        "sampled": len(features.rows),
        "truncated": features.truncated,
        "n_duplicates": target.n_duplicates,
        "n_conflicting": target.n_conflicting,
        "n_leaked": target.n_leaked,
        "n_dropped": target.n_dropped,
        "fingerprint": target.fingerprint,
    }


def _classes_section(target: TargetData) -> dict[str, Any]:
    counts = dict(zip(target.class_names, target.class_counts.tolist(), strict=True))
    return {"n_classes": len(target.class_names), "class_counts": counts}


def _tags_section(target: TargetData) -> dict[str, Any]:
    """Of tagged sentences the types of entities are the classes, and their entities are counted."""
    found = count_entities(target.tags_at(range(target.n_examples)))
    return {
        "n_classes": len(found.by_type),
        "class_counts": found.by_type,
        "n_entities": found.total,
        "n_words": int(sum(map(len, target.words))),
        "tags": target.class_names,
        "scheme": target.scheme,
    }


def _baselines(features: BlockFeatures, *, metric: str, seed: int) -> dict[str, Baseline | None]:
    """What needs no pretrained model, on the rows and folds of the probes, by its name in ``advice.json``."""
    folds, truth = probe_folds(features, seed=seed), features.truth(metric)
    if features.tagged is not None:
        words = features.tagged.words
        return {
            "majority": outside_baseline(truth),
            "entity_lookup": lookup_baseline(words, truth, folds=folds, seed=seed),
            "token_linear": token_baseline(words, truth, folds=folds, seed=seed),
        }
    labels, groups = features.labels, features.groups
    majority = majority_baseline(labels, groups=groups, metric=metric, seed=seed)
    if features.pixels is None:
        linear = tfidf_baseline(features.texts, labels, folds=folds, groups=groups, metric=metric, seed=seed)
        return {"majority": majority, "tfidf_linear": linear}
    pixels = features.pixels.values
    return {
        "majority": majority,
        "pixel_linear": pixel_baseline(pixels, labels, folds=folds, groups=groups, metric=metric, seed=seed),
    }


def _best_probe(probes: ProbeProfile) -> dict[str, Any]:
    best = probes.best
    return {
        "block": best.block,
        "features": best.features,
        "score": best.score,
        "interval": best.interval,
        "metrics": best.metrics,
    }


def _warnings(
    target: TargetData, backbone: Backbone, features: BlockFeatures, similarity: SimilarityProfile, *, metric: str
) -> tuple[str, ...]:
    warnings = [*target.warnings, *backbone.warnings, *features.warnings]
    warnings += imbalance_note({} if target.tagged else _classes_section(target)["class_counts"], metric=metric)
    warnings += unknown_note(features.unknown, model=backbone.id)
    warnings += token_copies_note(target, backbone)
    if features.truncated > TRUNCATION_WARNING:
        noun = "sentences" if target.tagged else "texts"
        warnings.append(
            f"{features.truncated:.0%} of the {noun} are longer than {backbone.max_length} tokens and were cut; "
            "--max-length raises the limit"
        )
    return (*warnings, *similarity.warnings)


def _next_steps(
    size: SizeProfile, similarity: SimilarityProfile, target: TargetData, command: str, *, model: str | None
) -> tuple[str, ...]:
    steps = [f"tune the freeze depth: {command}"]
    if similarity.verdict == "unmeasured":
        corpus = "CORPUS.txt" if target.kind == "text" else "IMAGES"
        build = f"advisor source build {corpus} --model {shlex.quote(model)}" if model is not None else ""
        steps.append(f"measure similarity: {build or 'recommend(..., source=CORPUS)'}")
    if "still rising" in size.why:
        steps.append("label more data: the learning curve is still rising")
    if target.n_conflicting and target.tagged:
        many = "sentence is" if target.n_conflicting == 1 else "sentences are"
        steps.append(f"check tags: {target.n_conflicting:,} {many} tagged in more than one way")
    elif target.n_conflicting:
        steps.append(f"check labels: {target.n_conflicting:,} {target.kind}s carry more than one label")
    return tuple(steps)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "transfer-advisor": importlib.metadata.version("transfer-advisor")}
    return versions | {package: importlib.metadata.version(package) for package in VERSIONED}
