"""The command line: results to stdout, progress to stderr.

Heavy imports stay inside the commands, so that ``advisor --help`` answers at once.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from advisor.collections_cli import evidence_app, source_app
from advisor.parameters import (
    DataArgument,
    DeviceOption,
    EvidenceOption,
    ExamplesOption,
    GroupOption,
    HeaderOption,
    ImageOption,
    JsonOption,
    LabelOption,
    LengthOption,
    MetricOption,
    ModelOption,
    OutOption,
    PairOption,
    PreferOption,
    QuietOption,
    RareOption,
    RootOption,
    SampleOption,
    SeedOption,
    SeparatorOption,
    SourceOption,
    SplitOption,
    TaskOption,
    TestOption,
    TextOption,
    WeightsOption,
)
from advisor.progressing import shown_progress
from advisor.showing import print_advice, print_error, print_json, print_out, print_tuning
from advisor.streams import ended_like_ctrl_c, patient_streams
from advisor.terminal import printable
from tuner.errors import OptionError, TransferError, did_you_mean

# Typer carries its own copy of click, so the base of its usage errors is reached through the one it exports.
USAGE_ERROR: Any = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="advisor",
    help="Which transfer-learning strategy for my data? Measured advice, a tuned freeze depth, a report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(source_app, name="source")
app.add_typer(evidence_app, name="evidence")


@app.command()
def recommend(
    data: DataArgument,
    model: ModelOption = None,
    text: TextOption = None,
    text_pair: PairOption = None,
    image: ImageOption = None,
    label: LabelOption = None,
    task: TaskOption = None,
    label_separator: SeparatorOption = None,
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
    with shown_progress(quiet) as progress:
        advised = pipeline.recommend(
            data, model=model, text=text, text_pair=text_pair, image=image, label=label,
            label_separator=label_separator, task=task, group=group, split=split,
            test=test, images_root=images_root, source=source, weights=weights, sample=sample, max_length=max_length,
            metric=metric, device=device, seed=seed, drop_rare=drop_rare, prefer=prefer, header=header,
            own_evidence=not no_evidence, examples=not no_examples, out=out or None, progress=progress,
        )  # fmt: skip
        folder = Path(out) if out else runs.claim_folder(advised.data["name"], advised.model["id"])
        if not out:
            pipeline.save_advice(advised, folder, claimed=True)
    advice = advised.to_json()
    if as_json:
        print_json(advice | {"run_dir": str(folder)})
        return
    print_advice(advice)
    print_out("")
    print_out(f"report   {folder / 'report.html'}")
    print_out(f"next     {advice['next_command']}")


@app.command()
def tune(
    data: DataArgument,
    model: ModelOption = None,
    text: TextOption = None,
    text_pair: PairOption = None,
    image: ImageOption = None,
    label: LabelOption = None,
    task: TaskOption = None,
    label_separator: SeparatorOption = None,
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
    from tuner.search.journal import WORK

    def show(advice: dict[str, Any]) -> None:
        if not as_json:
            print_advice(advice)
            print_out("")

    with shown_progress(quiet) as progress:
        result = pipeline.tune(
            data, model=model, text=text, text_pair=text_pair, image=image, label=label,
            label_separator=label_separator, task=task, group=group, split=split,
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
        print_json(stored | {"run_dir": str(folder)})
        return
    print_tuning(stored)
    print_out("")
    print_out(f"report   {folder / 'report.html'}")
    print_out(f"model    {result.model_dir}")
    print_out(f"next     advisor predict {folder} NEW_DATA")
    if (folder / WORK).exists():
        freed = sum(path.stat().st_size for path in (folder / WORK).rglob("*") if path.is_file())
        print_out(
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
    from advisor.predicting import predict as predict_rows
    from tuner.records import write_text_atomically

    with shown_progress(quiet) as progress:
        predictions = predict_rows(
            run, data, text=text, text_pair=text_pair, image=image, images_root=images_root, header=header,
            device=device, progress=progress,
        )  # fmt: skip
    ending = predictions.endings[0] if out is None else Path(out).suffix
    if ending not in predictions.endings:
        raise OptionError(
            f"--out {out} does not go with this model",
            why="it labels whole rows, and such a file holds tagged words",
            fix="name the file predictions.csv or predictions.jsonl",
        )
    share = predictions.share_unlike
    warnings = [*predictions.warnings, *(() if out is None else predictions.notes_on(Path(out).name))]
    rows = predictions.records()
    text_of_rows = predictions.written(ending, raw=raw)
    if out is not None:
        write_text_atomically(Path(out), text_of_rows)
    if as_json:
        print_json({"n": len(rows), "share_unlike_training": share, "warnings": warnings, "predictions": rows})
    elif out is not None:
        print_out(f"{len(rows):,} predictions written to {out}; {share:.1%} of the rows are unlike the training data")
    else:
        sys.stdout.write(text_of_rows if raw else printable(text_of_rows))
        if not quiet:
            print_error(f"{share:.1%} of {len(rows):,} rows are unlike the training data")
    if not quiet:
        for warning in warnings:
            print_error(f"warning: {warning}")
    unreadable = predictions.n_unreadable
    if unreadable and not quiet:
        print_error(f"{unreadable:,} of {len(rows):,} images cannot be read and have no label")


@app.command()
def clean(run: Annotated[str, typer.Argument(metavar="RUN_DIR", help="A run folder.")]) -> None:
    """Remove what a finished run keeps so that it can go on: caches and weights; the model, report and results stay."""
    from advisor import runs

    freed = runs.clean(Path(run))
    print_out(f"{run}: {freed / 1e6:,.1f} MB removed; its search cannot be prolonged any more")


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
        print_json({"advice": advice, "tuning": runs.read_tuning(folder)})
        return
    from advisor.report import write_report

    with runs.writing(folder):
        html = write_report(folder)
    print_out(str(html if format == "html" else folder / "report.md"))


@app.command("model")
def show_model(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model folder, hub id, or torchvision:NAME.")],
    weights: Annotated[str | None, typer.Option(help="Safetensors file with a torchvision model's weights.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a model's blocks and what each freeze depth would train."""
    from tuner.blocks import find_blocks
    from tuner.model.loading import load_model

    with shown_progress(quiet=True):
        loaded, sha256, warnings = load_model(model, weights=weights)
    blocks = find_blocks(loaded)
    sizes = [sum(p.numel() for p in block.parameters()) for block in blocks]
    trained = [sum(sizes[k:]) for k in range(len(sizes) + 1)]
    if as_json:
        print_json(
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
    print_out(f"{model}: {type(loaded).__name__}, {len(blocks)} blocks, {sum(sizes):,} parameters without the head")
    for block, size in zip(blocks, sizes, strict=True):
        note = f"   ({block.shared})" if block.shared else ""
        trains = f"frozen_blocks={block.index} trains {trained[block.index]:>14,}"
        print_out(f"  block {block.index:<3} {block.name:<32} {size:>14,}   {trains}{note}")
    print_out(f"  head      {'':<32} {'':>14}   frozen_blocks={len(sizes)} trains the head only")
    for warning in warnings:
        print_out(f"warning: {warning}")


def _version(asked: bool) -> None:
    if asked:
        from advisor import __version__

        print_out(f"advisor {__version__}")
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
        print_error(
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
        print_error(f"error: {error}")
        return 2
    except USAGE_ERROR as error:
        message = error.format_message()
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help page
            print_error(message)
            return 2
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "advisor"
        print_error(f"error: {message}\n  why: the command line could not be read\n  fix: see {command} --help")
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
    from advisor.data.read import check_named

    check_named(data)


def _began() -> float:
    """When this process began, on the monotonic clock: a budget counts what starting took, too."""
    import psutil

    running: float = time.time() - psutil.Process().create_time()
    return time.monotonic() - running
