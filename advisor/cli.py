"""The command line: results to stdout, progress to stderr. The only place that prints.

Heavy imports stay inside the commands, so that ``advisor --help`` answers at once.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from advisor.streams import ended_like_ctrl_c, patient_streams
from advisor.terminal import as_cell, class_lines, in_lines, in_one_line, printable, printable_json, short
from tuner.errors import OptionError, TransferError, did_you_mean

if TYPE_CHECKING:
    from advisor.pipeline import Predictions, TaggedPredictions
    from tuner.records import Progress

# Typer carries its own copy of click, so the base of its usage errors is reached through the one it exports.
USAGE_ERROR: Any = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="advisor",
    help="Which transfer-learning strategy for my data? Measured advice, a tuned freeze depth, a report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
source_app = typer.Typer(
    help="Source profiles: what a model was pretrained on.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(source_app, name="source")
evidence_app = typer.Typer(
    help="Evidence of your own: finished `tune` runs sharpen the advice for their model. It stays on this machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(evidence_app, name="evidence")

DataArgument = Annotated[
    str, typer.Argument(metavar="DATA", help="File, folder, hub id, or example:NAME for a built-in example.")
]
ModelOption = Annotated[str | None, typer.Option(help="Model folder or hub id; the default is built in.")]
TextOption = Annotated[str | None, typer.Option(help="Column with the text.")]
PairOption = Annotated[str | None, typer.Option(help="Column with the second text of a pair.")]
ImageOption = Annotated[str | None, typer.Option(help="Column with the image, or its path.")]
LabelOption = Annotated[str | None, typer.Option(help="Column with the label.")]
GroupOption = Annotated[str | None, typer.Option(help="Column whose equal values stay in one split.")]
SplitOption = Annotated[str | None, typer.Option(help="Use this split of the data only.")]
TestOption = Annotated[str | None, typer.Option(help="File with the test rows.")]
RootOption = Annotated[
    str | None, typer.Option(help="Folder of images that a table may name by paths outside its own folder.")
]
SourceOption = Annotated[
    str | None, typer.Option(help="What the model was pretrained on: profile, text file, folder or hub id.")
]
WeightsOption = Annotated[str | None, typer.Option(help="Weights of torchvision:NAME, a safetensors file.")]
SampleOption = Annotated[
    int, typer.Option(help="Rows that are embedded and probed (half of these in a search of under five minutes).")
]
LengthOption = Annotated[int | None, typer.Option(help="Tokens after which a text is cut (default 128).")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
SeedOption = Annotated[int, typer.Option(help="Seed of every random choice.")]
RareOption = Annotated[bool, typer.Option("--drop-rare", help="Drop classes that are too small to split.")]
HeaderOption = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="Whether the first line names the columns (default: by its look)."),
]
ExamplesOption = Annotated[
    bool, typer.Option("--no-examples", help="Write nothing of the data itself: no thumbnails (texts never are).")
]
EvidenceOption = Annotated[
    bool,
    typer.Option(
        "--no-evidence", help="Ignore your own runs (advisor evidence list); the shipped evidence is still asked."
    ),
]
OutOption = Annotated[str | None, typer.Option(help="Run folder (default: runs/<data>-<model>-<date-time>).")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")]
MetricOption = Annotated[
    str | None,
    typer.Option(
        help="accuracy (default); macro_f1 or balanced_accuracy, which count all classes alike (class weights and "
        "decision offsets are then tried too); of tagged words entity_f1 (default)."
    ),
]
PreferOption = Annotated[
    str,
    typer.Option(help="score: the highest expected score; speed: the cheapest candidate within one point of it."),
]


@app.command()
def recommend(
    data: DataArgument,
    model: ModelOption = None,
    text: TextOption = None,
    text_pair: PairOption = None,
    image: ImageOption = None,
    label: LabelOption = None,
    group: GroupOption = None,
    split: SplitOption = None,
    test: TestOption = None,
    images_root: RootOption = None,
    source: SourceOption = None,
    weights: WeightsOption = None,
    sample: SampleOption = 2000,
    max_length: LengthOption = None,
    metric: MetricOption = None,
    prefer: PreferOption = "score",
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    drop_rare: RareOption = False,
    header: HeaderOption = None,
    no_evidence: EvidenceOption = False,
    no_examples: ExamplesOption = False,
    out: OutOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure the data against the model and recommend a strategy, with reasons and a report."""
    _check_data(data)
    from advisor import pipeline, runs

    if not out:
        runs.check_folder(runs.default_folder(data, model or ""))
    with _progress(quiet) as progress:
        advised = pipeline.recommend(
            data, model=model, text=text, text_pair=text_pair, image=image, label=label, group=group, split=split,
            test=test, images_root=images_root, source=source, weights=weights, sample=sample, max_length=max_length,
            metric=metric, device=device, seed=seed, drop_rare=drop_rare, prefer=prefer, header=header,
            own_evidence=not no_evidence, examples=not no_examples, out=out or None, progress=progress,
        )  # fmt: skip
        folder = Path(out) if out else runs.claim_folder(advised.data["name"], advised.model["id"])
        if not out:
            pipeline.save_advice(advised, folder, claimed=True)
    advice = advised.to_json()
    if as_json:
        _print_json(advice | {"run_dir": str(folder)})
        return
    _print_advice(advice)
    _out("")
    _out(f"report   {folder / 'report.html'}")
    _out(f"next     {advice['next_command']}")


@app.command()
def tune(
    data: DataArgument,
    model: ModelOption = None,
    text: TextOption = None,
    text_pair: PairOption = None,
    image: ImageOption = None,
    label: LabelOption = None,
    group: GroupOption = None,
    split: SplitOption = None,
    test: TestOption = None,
    images_root: RootOption = None,
    source: SourceOption = None,
    weights: WeightsOption = None,
    sample: SampleOption = 2000,
    max_length: LengthOption = None,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    drop_rare: RareOption = False,
    header: HeaderOption = None,
    no_evidence: EvidenceOption = False,
    no_examples: ExamplesOption = False,
    budget: Annotated[
        str | None, typer.Option(help="Time for the search, such as 90s, 10m or 1h (default 10m).")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Number of trials; without --budget the only bound.")] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="Search this only: a strategy, scratch, features such as concat_last_four or block_3, or blocks "
            "trained with fresh_top or random_head."
        ),
    ] = None,
    augment: Annotated[
        str,
        typer.Option(
            help="Changed training rows. Images: trivialaugment, randaugment, flip, mixup, cutmix; "
            "texts: token_dropout, masking, mixup; none; auto: where the data may be small and dissimilar."
        ),
    ] = "auto",
    metric: MetricOption = None,
    prefer: PreferOption = "score",
    storage: Annotated[str | None, typer.Option(help="Optuna storage URL (default: a journal in the run).")] = None,
    study: Annotated[str | None, typer.Option(help="Name of the study in the storage.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue --out, or the newest run of this data, with a new --budget.")
    ] = False,
    no_refit: Annotated[
        bool,
        typer.Option("--no-refit", help="Save the winner as the search trained it, not fitted again on all rows."),
    ] = False,
    out: OutOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Recommend, then search the freeze depth as advised and save the winning model."""
    _check_data(data)
    from advisor import pipeline
    from tuner.journal import WORK

    def show(advice: dict[str, Any]) -> None:
        if not as_json:
            _print_advice(advice)
            _out("")

    with _progress(quiet) as progress:
        result = pipeline.tune(
            data, model=model, text=text, text_pair=text_pair, image=image, label=label, group=group, split=split,
            test=test, images_root=images_root, source=source, weights=weights, sample=sample, max_length=max_length,
            metric=metric, device=device, seed=seed, drop_rare=drop_rare, prefer=prefer, header=header, budget=budget,
            trials=trials,
            strategy=strategy, augment=augment, storage=storage, study=study, resume=resume, refit=not no_refit,
            own_evidence=not no_evidence, examples=not no_examples, began=_began(), out=out, progress=progress,
            on_advice=show,
        )  # fmt: skip
    stored = result.to_json()
    folder = Path(result.model_dir).parent
    if as_json:
        _print_json(stored | {"run_dir": str(folder)})
        return
    _print_tuning(stored)
    _out("")
    _out(f"report   {folder / 'report.html'}")
    _out(f"model    {result.model_dir}")
    _out(f"next     advisor predict {folder} NEW_DATA")
    if (folder / WORK).exists():
        freed = sum(path.stat().st_size for path in (folder / WORK).rglob("*") if path.is_file())
        _out(
            f"longer   the same command with --resume --out {folder} goes on from here; advisor clean {folder} removes "
            f"what that needs ({freed / 1e6:,.0f} MB)"
        )


@app.command()
def predict(
    run: Annotated[str, typer.Argument(metavar="RUN_DIR", help="A run folder, or a saved model's folder.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="File or folder with the new texts or images.")],
    text: TextOption = None,
    text_pair: PairOption = None,
    image: ImageOption = None,
    images_root: RootOption = None,
    header: HeaderOption = None,
    device: DeviceOption = "auto",
    out: Annotated[
        str | None, typer.Option(help="Write a .csv or .jsonl file, of tagged words also .conll, instead of stdout.")
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="CSV with cells as they are, also those a spreadsheet takes for formulas.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Label new texts or images with a saved model, or tag words; says which rows are unlike its training data."""
    if out is not None and Path(out).suffix not in (".csv", ".jsonl", ".conll"):
        raise OptionError(
            f"--out {out} is neither .csv nor .jsonl",
            why="the ending says how the predictions are written",
            fix="name the file predictions.csv or predictions.jsonl; of tagged words, predictions.conll serves too",
        )
    if out is not None and Path(out).exists():
        raise OptionError(
            f"--out {out} already exists",
            why="files are never overwritten",
            fix="pass another name, or remove the file first",
        )
    _check_data(data)
    from advisor import pipeline
    from tuner.records import write_text_atomically

    with _progress(quiet) as progress:
        predictions = pipeline.predict(
            run, data, text=text, text_pair=text_pair, image=image, images_root=images_root, header=header,
            device=device, progress=progress,
        )  # fmt: skip
    written: dict[str, Callable[[Sequence[dict[str, Any]]], str]]
    if isinstance(predictions, pipeline.TaggedPredictions):
        rows = [_tags(predictions, row) for row in range(len(predictions.tokens))]
        written = {".csv": partial(_csv_of, _words_as_rows, raw=raw), ".jsonl": _as_jsonl, ".conll": _as_conll}
    else:
        rows = [_prediction(predictions, row) for row in range(len(predictions.labels))]
        written = {".csv": partial(_csv_of, _as_rows, raw=raw), ".jsonl": _as_jsonl}
    ending = next(iter(written)) if out is None else Path(out).suffix
    if ending not in written:
        raise OptionError(
            f"--out {out} does not go with this model",
            why="it labels whole rows, and such a file holds tagged words",
            fix="name the file predictions.csv or predictions.jsonl",
        )
    share = predictions.share_unlike
    warnings = list(predictions.warnings)
    if out is not None and ending == ".conll":
        warnings += _notes_on_conll(rows, file=Path(out).name)
    text_of_rows = written[ending](rows)
    if out is not None:
        write_text_atomically(Path(out), text_of_rows)
    if as_json:
        _print_json({"n": len(rows), "share_unlike_training": share, "warnings": warnings, "predictions": rows})
    elif out is not None:
        _out(f"{len(rows):,} predictions written to {out}; {share:.1%} of the rows are unlike the training data")
    else:
        sys.stdout.write(text_of_rows if raw else printable(text_of_rows))
        if not quiet:
            _err(f"{share:.1%} of {len(rows):,} rows are unlike the training data")
    if not quiet:
        for warning in warnings:
            _err(f"warning: {warning}")
    unreadable = sum("unreadable" in row for row in rows)
    if unreadable and not quiet:
        _err(f"{unreadable:,} of {len(rows):,} images cannot be read and have no label")


def _tags(predictions: TaggedPredictions, row: int) -> dict[str, Any]:
    """One sentence of the output; a word that the model does not see has a tag, and no probability."""
    probabilities = predictions.probabilities[row].tolist()
    return {
        "tokens": list(predictions.tokens[row]),
        "tags": list(predictions.tags[row]),
        "probabilities": [None if math.isnan(probability) else round(probability, 6) for probability in probabilities],
        "unlike_training": bool(predictions.unlike[row]),
    }


def _words_as_rows(rows: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """A word a line, with the number of its sentence."""
    lines: list[list[Any]] = [["sentence", "word", "tag", "probability", "unlike_training"]]
    for number, row in enumerate(rows, 1):
        words = zip(row["tokens"], row["tags"], row["probabilities"], strict=True)
        lines += [[number, *word, row["unlike_training"]] for word in words]
    return lines


def _as_conll(rows: Sequence[dict[str, Any]]) -> str:
    """A word and its tag a line, with a blank line between sentences; `_notes_on_conll` says what is not as it was."""
    sentences = (zip(row["tokens"], row["tags"], strict=True) for row in rows if row["tokens"])
    return "\n".join("".join(f"{_in_one_piece(word)}\t{tag}\n" for word, tag in words) for words in sentences)


def _in_one_piece(word: str) -> str:
    """A word without white space, which would part the line, or end it."""
    return re.sub(r"\s", "_", word) or "_"


def _notes_on_conll(rows: Sequence[dict[str, Any]], *, file: str) -> list[str]:
    """What such a file cannot hold, said."""
    notes = []
    if parted := sum(word != _in_one_piece(word) for row in rows for word in row["tokens"]):
        words = "1 word is empty or holds" if parted == 1 else f"{parted:,} words are empty or hold"
        notes.append(f"{words} white space, which parts columns: _ stands in its place in {file}")
    if empty := sum(not row["tokens"] for row in rows):
        have = "has no words and is" if empty == 1 else "have no words and are"
        notes.append(f"{empty:,} of {len(rows):,} sentences {have} left out of {file}")
    return notes


def _prediction(predictions: Predictions, row: int) -> dict[str, Any]:
    """One line of the output; an image that cannot be read has the reason in place of a label."""
    # Texts keep the order of their file; a folder's images have none that everyone knows.
    named = {} if predictions.kind == "text" else {"image": predictions.rows[row]}
    if row in predictions.unreadable:
        return named | {
            "label": None,
            "probability": None,
            "unlike_training": None,
            "probabilities": dict.fromkeys(predictions.class_names),
            "unreadable": predictions.unreadable[row],
        }
    probabilities = predictions.probabilities[row]
    return named | {
        "label": predictions.labels[row],
        "probability": round(float(probabilities.max()), 6),
        "unlike_training": bool(predictions.unlike[row]),
        "probabilities": {
            name: round(float(p), 6) for name, p in zip(predictions.class_names, probabilities, strict=True)
        },
    }


@app.command()
def clean(run: Annotated[str, typer.Argument(metavar="RUN_DIR", help="A run folder.")]) -> None:
    """Remove what a finished run keeps so that it can go on: caches and weights; the model, report and results stay."""
    from advisor import runs

    freed = runs.clean(Path(run))
    _out(f"{run}: {freed / 1e6:,.1f} MB removed; its search cannot be prolonged any more")


@app.command()
def report(
    run: Annotated[str, typer.Argument(metavar="RUN_DIR", help="A run folder.")],
    format: Annotated[str, typer.Option(help="html, md or json.")] = "html",
) -> None:
    """Write a run's report again; html and Markdown to the run folder, JSON to stdout."""
    formats = ("html", "md", "json")
    if format not in formats:
        raise OptionError(
            f"unknown format {format!r}.{did_you_mean(format, formats)}",
            why="the report is written in it",
            fix=f"use one of {', '.join(formats)}",
        )
    from advisor import runs

    folder = Path(run)
    advice = runs.read_advice(folder)
    if format == "json":
        _print_json({"advice": advice, "tuning": runs.read_tuning(folder)})
        return
    from advisor.report import write_report

    with runs.writing(folder):
        html = write_report(folder)
    _out(str(html if format == "html" else folder / "report.md"))


@app.command("model")
def show_model(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model folder, hub id, or torchvision:NAME.")],
    weights: Annotated[str | None, typer.Option(help="Safetensors file with a torchvision model's weights.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a model's blocks and what each freeze depth would train."""
    from tuner.blocks import find_blocks
    from tuner.loading import load_model

    with _progress(quiet=True):
        loaded, sha256, warnings = load_model(model, weights=weights)
    blocks = find_blocks(loaded)
    sizes = [sum(p.numel() for p in block.parameters()) for block in blocks]
    trained = [sum(sizes[k:]) for k in range(len(sizes) + 1)]
    if as_json:
        _print_json(
            {
                "id": model,
                "sha256": sha256,
                "n_blocks": len(blocks),
                "parameters": sum(sizes),
                "blocks": [
                    {"name": b.name, "parameters": n, "shared": b.shared} for b, n in zip(blocks, sizes, strict=True)
                ],
                "trained_by_depth": [{"frozen_blocks": k, "parameters": n} for k, n in enumerate(trained)],
                "warnings": warnings,
            }
        )
        return
    _out(f"{model}: {type(loaded).__name__}, {len(blocks)} blocks, {sum(sizes):,} parameters without the head")
    for block, size in zip(blocks, sizes, strict=True):
        note = f"   ({block.shared})" if block.shared else ""
        trains = f"frozen_blocks={block.index} trains {trained[block.index]:>14,}"
        _out(f"  block {block.index:<3} {block.name:<32} {size:>14,}   {trains}{note}")
    _out(f"  head      {'':<32} {'':>14}   frozen_blocks={len(sizes)} trains the head only")
    for warning in warnings:
        _out(f"warning: {warning}")


@source_app.command("build")
def source_build(
    corpus: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Text files, or image folders and .npz files; or folders of them."),
    ],
    model: ModelOption = None,
    name: Annotated[str | None, typer.Option(help="Name of the profile.")] = None,
    description: Annotated[str | None, typer.Option(help="What the texts or images are, for the report.")] = None,
    group: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column that says which document a text is from.")
    ] = None,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    out: Annotated[str | None, typer.Option(help="Profile file (default: the user's profiles).")] = None,
    quiet: QuietOption = False,
) -> None:
    """Embed a sample of pretraining text or images and store its statistics; no text and no pixels are kept."""
    from advisor.breadth import narrow_note
    from advisor.source import SourceProfile, build_from_files, load_profile
    from tuner.backbone import load_backbone

    with _progress(quiet) as progress:
        path = build_from_files(
            [Path(item) for item in corpus],
            backbone=load_backbone(model, device=device),
            name=name,
            description=description,
            group=group,
            out=None if out is None else Path(out),
            seed=seed,
            progress=progress,
        )
    _out(f"{path} ({path.stat().st_size / 1e6:.2f} MB)")
    profile = load_profile(path)
    note = narrow_note(profile) if isinstance(profile, SourceProfile) else None
    if note is not None:
        _err(f"warning: {note}")


@source_app.command("list")
def source_list(as_json: JsonOption = False) -> None:
    """List the profiles that are shipped or stored."""
    from advisor.source import list_profiles

    profiles = [profile.to_json() for profile in list_profiles()]
    if as_json:
        _print_json(profiles)
        return
    for profile in profiles:
        counted = profile["documents"]
        broad = f" (its length bands rest on {min(counted):,} to {max(counted):,} documents)" if counted else ""
        named = f"{profile['name']:<28} {profile['kind']:<6} {profile['model_sha256'][:12]}"
        _out(f"{named}  {profile['description']}{broad}")


@source_app.command("show")
def source_show(
    profile: Annotated[str, typer.Argument(metavar="PROFILE", help="Name or file of a profile.")],
    as_json: JsonOption = False,
) -> None:
    """Show what a profile covers and its ladder of anchors."""
    from advisor.source import describe_profile

    described = describe_profile(profile)
    if as_json:
        _print_json(described)
        return
    for key, value in described.items():
        lines = value if key == "bands" else [value]
        for number, line in enumerate(lines):
            shown = line if isinstance(line, (str, int, float)) else json.dumps(line, ensure_ascii=False)
            _out(f"{key if number == 0 else '':<14} {shown}")


@evidence_app.command("add")
def evidence_add(
    run: Annotated[list[str], typer.Argument(metavar="RUN_DIR...", help="Folders of finished `advisor tune` runs.")],
    as_json: JsonOption = False,
) -> None:
    """Keep what finished runs measured, to sharpen the advice for their model; every dataset counts once.

    Kept are scores, probes, sizes and names, nothing of the data itself, in a file for each run on this machine; delete
    the file to forget the run. `advisor recommend` and `advisor tune` use it at once.
    """
    from advisor.evidence import own, sharpening

    found = {folder: own.read_run(Path(folder)) for folder in run}
    for folder, read in found.items():
        sharpening.check_useful(read, folder=Path(folder))
    added = [(kept, *own.keep(kept)) for kept in found.values()]
    if as_json:
        _print_json([kept.to_json() | {"file": str(path), "replaced": replaced} for kept, path, replaced in added])
        return
    for kept, path, replaced in added:
        candidates = f"{len(kept.scores)} candidate{'s' * (len(kept.scores) != 1)}"
        _out(f"added    {kept.dataset} with {kept.model}: {kept.n:,} labelled rows, {candidates} ({path})")
        if replaced:
            _out("         it takes the place of an earlier run of the same dataset, so that the dataset counts once")


@evidence_app.command("list")
def evidence_list(as_json: JsonOption = False) -> None:
    """List your own runs that sharpen the advice."""
    from advisor.evidence import own

    found, warnings = own.read_own()
    if as_json:
        rows = [kept.to_json() | {"file": str(own.own_folder() / kept.file_name)} for kept in found]
        _print_json({"runs": rows, "warnings": warnings})
        return
    columns = ("model", "dataset", "rows", "candidates", "added")
    table = [columns, *((r.model, r.dataset, f"{r.n:,}", str(len(r.scores)), r.added) for r in found)]
    cells = [[in_one_line(cell) for cell in row] for row in table]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    for row in cells if found else ():
        _out("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    _out(f"in {own.own_folder()}" if found else NO_RUNS)
    for warning in warnings:
        _err(f"warning: {warning}")


NO_RUNS = "no runs of your own yet: advisor evidence add RUN_DIR keeps what a finished `advisor tune` measured"


@evidence_app.command("fit")
def evidence_fit(as_json: JsonOption = False) -> None:
    """Check your own runs and show what they change: expected scores before and after, by depth.

    Nothing is written: recommend and tune compute the same whenever they are asked. Scores are those that data like
    yours can expect, at the size and probe score that your runs had on average.
    """
    from advisor.evidence import sharpening

    effects, warnings = sharpening.effects()
    if as_json:
        _print_json({"effects": [found.to_json() for found in effects], "warnings": warnings})
        return
    for number, found in enumerate(effects):
        if number:
            _out("")
        for line in sharpening.effect_lines(found):
            _out(line)
    if not effects:
        _out(NO_RUNS)
    for warning in warnings:
        _err(f"warning: {warning}")


def _version(asked: bool) -> None:
    if asked:
        from advisor import __version__

        _out(f"advisor {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Which transfer-learning strategy for my data? Measured advice, a tuned freeze depth, a report."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 done, 2 the user can fix it, 1 a defect, 130 Ctrl-C."""
    with patient_streams() as output, ended_like_ctrl_c():
        status = _run(arguments)
        output.flush()
        if status or output.lost is None:
            return status
        _err(
            f"error: standard output could not be written ({output.lost})\n"
            "  why: the results that were to be printed are missing there; what the command saved is saved\n"
            "  fix: free some space, or lead the output to another disk; advisor report shows a run again"
        )
        return 2


def _run(arguments: Sequence[str] | None) -> int:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # Threads that spin while they wait take the core that the next small product needs: a fifth of the whole time.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        status = app(args=None if arguments is None else list(arguments), standalone_mode=False)
        return int(status or 0)
    except TransferError as error:
        _err(f"error: {error}")
        return 2
    except USAGE_ERROR as error:
        message = error.format_message()
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help page
            _err(message)
            return 2
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "advisor"
        _err(f"error: {message}\n  why: the command line could not be read\n  fix: see {command} --help")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("interrupted; a tuning run that had begun goes on with --resume\n")
        return 130
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        sys.stderr.write(
            "error: a name on the command line is longer than the file system takes\n"
            "  why: data and results are files\n  fix: shorten it\n"
        )
        return 2


def _check_data(data: str) -> None:
    """A dataset that is not there is said before the seconds that importing torch takes."""
    from advisor.tables import check_named

    check_named(data)


@contextmanager
def _progress(quiet: bool) -> Iterator[Progress | None]:
    """A bar on a terminal; elsewhere one plain line a stage; nothing with --quiet."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    if quiet:
        yield None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("starting", total=1.0)
            yield lambda message, fraction: bar.update(task, description=in_one_line(message), completed=fraction)
    else:
        yield _plain_lines()


def _plain_lines() -> Progress:
    """One line whenever the stage (what stands before the colon) changes; trials are stages of their own."""
    start = time.perf_counter()
    last = ""

    def show(message: str, _fraction: float) -> None:
        nonlocal last
        stage = message.partition(":")[0]
        if stage != last:
            _err(f"[{time.perf_counter() - start:6.1f} s] {in_one_line(message)}")
            sys.stderr.flush()
            last = stage

    return show


def _out(line: str) -> None:
    sys.stdout.write(printable(line) + "\n")


def _err(line: str) -> None:
    sys.stderr.write(printable(line) + "\n")


def _print_json(value: Any) -> None:
    sys.stdout.write(printable_json(json.dumps(value, ensure_ascii=False, allow_nan=False)) + "\n")


def _number(value: float | None, interval: Sequence[float] | None = None) -> str:
    if value is None:
        return "not measured"
    return f"{value:.3f}" + ("" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]")


def _counted(data: dict[str, Any]) -> str:
    """How much data there is, in its own words."""
    if "n_entities" not in data:
        return f"{data['n_examples']:,} examples, {data['n_classes']} classes"
    types = "1 type" if data["n_classes"] == 1 else f"{data['n_classes']} types"
    return f"{data['n_examples']:,} sentences, {data['n_entities']:,} entities of {types}"


def _baselines(baselines: dict[str, Any]) -> str:
    """What needs no pretrained model, with its scores."""
    if "token_linear" in baselines:
        lookup, linear = baselines["entity_lookup"], baselines["token_linear"]
        return (
            f"every word O {_number(baselines['majority']['score'])}, entities looked up {_number(lookup['score'])}, "
            f"words and shapes, linear {_number(linear['score'], linear['interval']) if linear else 'not measured'}"
        )
    name, linear = next((key, value) for key, value in baselines.items() if key.endswith("_linear"))
    return (
        f"majority {_number(baselines['majority']['score'])}, "
        f"{'TF-IDF' if name == 'tfidf_linear' else 'pixels'} + logistic regression "
        f"{_number(linear['score'], linear['interval']) if linear else 'not measured'}"
    )


def _print_advice(advice: dict[str, Any]) -> None:
    """The recommendation in a screenful."""
    from advisor.situation import Situation
    from advisor.strategy import STRATEGY_TITLES

    data, size, similarity, situation = (advice[key] for key in ("data", "size", "similarity", "situation"))
    strategy, freeze, baselines = advice["strategy"], advice["freeze"], advice["baselines"]
    n_blocks = advice["model"]["n_blocks"]
    _out(f"{data['name']} with {advice['model']['id']}: {_counted(data)}")
    read = [f"{name}: {in_one_line(column)}" for name, column in data["columns"].items() if column is not None]
    _out(f"columns         {', '.join(read)}")
    _out(f"{'entities' if 'n_entities' in data else 'classes':<16}{class_lines(data['class_counts'], indent=16)}")
    _out("")
    what = f"freeze {freeze['recommended']} of {n_blocks} blocks"
    if strategy["features"] is not None:
        what = strategy["features"].replace("_", " ")
    _out(f"recommendation  {STRATEGY_TITLES[strategy['name']]}: {what} (decided by: {strategy['decided_by']})")
    _out(f"size            {size['verdict']}: {size['why']}")
    # The rest of the sentence, what the profile covers, is for the report.
    _out(f"similarity      {similarity['verdict']}: {similarity['why'].partition('; the profile')[0]}")
    if situation["probabilities"] is None:
        _out("situation       not measured, since the similarity is not")
    else:
        shares = ", ".join(f"{number}: {share:.0%}" for number, share in situation["probabilities"].items())
        likeliest = situation.get("likeliest") or situation["number"]
        named = f"{likeliest} ({Situation(likeliest).title})" if likeliest else "not certain"
        certain = "" if situation["number"] else ", uncertain"
        _out(f"situation       {named}{certain}; probabilities {shares}")
    if strategy["classic_rule"]:
        _out(f"classic rule    {strategy['classic_rule']} (a prior, not a finding)")
    _out(f"baselines       {_baselines(baselines)}")
    _out("reasons")
    for reason in strategy["reasons"]:
        _out(f"  - {reason}")
    if advice.get("counterfactuals"):
        _out("what would change it")
        for line in advice["counterfactuals"]:
            _out(f"  - {line}")
    if advice["warnings"]:
        _out("warnings")
        for warning in advice["warnings"]:
            _out(f"  - {warning}")


def _began() -> float:
    """When this process began, on the monotonic clock: a budget counts what starting took, too."""
    import psutil

    running: float = time.time() - psutil.Process().create_time()
    return time.monotonic() - running


def _print_tuning(tuning: dict[str, Any]) -> None:
    """The search's outcome in a screenful."""
    from advisor.report.headline import headline
    from advisor.report.wording import variant_sentence
    from tuner.space import Candidate

    winner, first = tuning["winner"], dict(headline(tuning))
    label = Candidate(**winner["candidate"]).label(tuning["n_blocks"])
    if "under-trained" in first:
        _out(f"{'under-trained':<16}{first.pop('under-trained')}")
    test = _number(winner["test"]["score"], winner["test"]["interval"])
    _out(f"{'winner':<16}{label}; test {tuning['metric'].replace('_', ' ')} {test}")
    for heading, text in first.items():
        _out(f"{heading:<16}{text}")
    _print_quality(tuning["winner"]["test"], calibration=tuning.get("calibration"), metric=tuning["metric"])
    _out("tuning")
    named = {field.name for field in dataclasses.fields(Candidate)}
    candidates = [Candidate(**{key: row[key] for key in named & row.keys()}) for row in tuning["candidates"]]
    labels = [candidate.label(tuning["n_blocks"]) for candidate in candidates]
    width = max(map(len, labels), default=0)
    for label, row in zip(labels, tuning["candidates"], strict=True):
        spread = f" ± {row['sd']:.3f}" if row["sd"] is not None else ""
        seeds = "seed" if row["n"] == 1 else "seeds"
        expected = f", expected {row['expected']:.3f}" if row.get("expected") is not None else ""
        measured = f"{row['mean']:.3f}{spread:<9} ({row['n']} {seeds}, {row['seconds']:.1f} s a run{expected})"
        _out(f"  {label:<{width}} validation {measured}")
    for plan in tuning.get("plans", ())[:1]:
        _out(f"plan            {plan['text']}")
    changed = tuning["changed_from_advice"]
    if changed:
        _out(f"changed         from {changed['from']} to {changed['to']}: {changed['why']}")
    augmented = [("augmentation", tuning["augmentation"])] if tuning["augmentation"] else []
    variants = [*augmented, *(("option", found) for found in tuning.get("options", ()))]

    def say(*, tried: bool) -> None:
        for heading, found in variants:
            if (found.get("difference") is not None) == tried:
                _out(f"{heading:<16}{variant_sentence(found, n_blocks=tuning['n_blocks'])}")

    say(tried=True)
    _out(f"stopped         {tuning['stopped_because']}")
    if tuning["warnings"]:
        _out("warnings")
    for warning in tuning["warnings"]:
        _out(f"  - {warning}")
    say(tried=False)  # what was not tried stands last


def _print_quality(test: dict[str, Any], *, calibration: dict[str, Any] | None, metric: str) -> None:
    """The test scores beside the metric's, recall by class, and the probabilities, where they are stored."""
    from tuner.quality import calibration_sentence, other_metrics, recalls

    if beside := other_metrics(test.get("metrics", {}), metric=metric):
        _out(f"other metrics   {beside}")
    classes = recalls(test.get("by_class", ()))
    if "entities" in test:
        by_type = [row for row in test["entities"]["by_type"] if row["n_gold"]]
        classes = recalls([{"name": row["type"], "n": row["n_gold"], "recall": row["recall"]} for row in by_type])
    if classes:
        parts = [f"{short(in_one_line(name))} {recall}" for name, recall in classes]
        _out(f"recall          {in_lines(parts, indent=16, most=4)}")
    if calibration is not None and calibration["n"] == 0:
        _out(f"probabilities   not calibrated: {calibration['why']}")
    elif calibration is not None:
        first, *rest = calibration_sentence(calibration).split("; ")
        _out(f"probabilities   {first}")
        for part in rest:
            _out(f"{'':<16}{part}")


def _as_jsonl(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _as_rows(rows: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """A row a line, with the probability of every class."""
    classes = list(rows[0]["probabilities"]) if rows else []
    columns = [name for name in ("image", "label", "probability", "unlike_training") if not rows or name in rows[0]]
    last = ["unreadable"] if any("unreadable" in row for row in rows) else []
    header = [*columns, *(f"probability of {name}" for name in classes), *last]
    return [
        header,
        *(
            [*(row[name] for name in columns), *row["probabilities"].values(), *(row.get(name) for name in last)]
            for row in rows
        ),
    ]


def _csv_of(
    lines_of: Callable[[Sequence[dict[str, Any]]], list[list[Any]]], rows: Sequence[dict[str, Any]], *, raw: bool
) -> str:
    """Rows as CSV; unless `raw`, what a spreadsheet would take for a formula is marked as text."""
    import csv
    import io

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows(line if raw else [as_cell(cell) for cell in line] for line in lines_of(rows))
    return buffer.getvalue()
