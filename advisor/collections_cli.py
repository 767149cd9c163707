"""The command line on what is kept between runs: source profiles, and evidence of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from advisor.parameters import DeviceOption, JsonOption, ModelOption, QuietOption, SeedOption
from advisor.progressing import shown_progress
from advisor.showing import print_error, print_json, print_out
from advisor.terminal import in_one_line

source_app = typer.Typer(
    help="Source profiles: what a model was pretrained on.", no_args_is_help=True, rich_markup_mode=None
)
evidence_app = typer.Typer(
    help="Evidence of your own: finished `tune` runs sharpen the advice for their model. It stays on this machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


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
    from advisor.similarity.breadth import narrow_note
    from advisor.similarity.library import build_from_files, load_profile
    from advisor.similarity.profile import SourceProfile
    from tuner.model.assemble import load_backbone

    with shown_progress(quiet) as progress:
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
    print_out(f"{path} ({path.stat().st_size / 1e6:.2f} MB)")
    profile = load_profile(path)
    note = narrow_note(profile) if isinstance(profile, SourceProfile) else None
    if note is not None:
        print_error(f"warning: {note}")


@source_app.command("list")
def source_list(as_json: JsonOption = False) -> None:
    """List the profiles that are shipped or stored."""
    from advisor.similarity.library import list_profiles

    profiles = [profile.to_json() for profile in list_profiles()]
    if as_json:
        print_json(profiles)
        return
    for profile in profiles:
        counted = profile["documents"]
        broad = f" (its length bands rest on {min(counted):,} to {max(counted):,} documents)" if counted else ""
        named = f"{profile['name']:<28} {profile['kind']:<6} {profile['model_sha256'][:12]}"
        print_out(f"{named}  {profile['description']}{broad}")


@source_app.command("show")
def source_show(
    profile: Annotated[str, typer.Argument(metavar="PROFILE", help="Name or file of a profile.")],
    as_json: JsonOption = False,
) -> None:
    """Show what a profile covers and its ladder of anchors."""
    from advisor.similarity.library import describe_profile

    described = describe_profile(profile)
    if as_json:
        print_json(described)
        return
    for key, value in described.items():
        lines = value if key == "bands" else [value]
        for number, line in enumerate(lines):
            shown = line if isinstance(line, (str, int, float)) else json.dumps(line, ensure_ascii=False)
            print_out(f"{key if number == 0 else '':<14} {shown}")


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
        print_json([kept.to_json() | {"file": str(path), "replaced": replaced} for kept, path, replaced in added])
        return
    for kept, path, replaced in added:
        candidates = f"{len(kept.scores)} candidate{'s' * (len(kept.scores) != 1)}"
        print_out(f"added    {kept.dataset} with {kept.model}: {kept.n:,} labelled rows, {candidates} ({path})")
        if replaced:
            print_out(
                "         it takes the place of an earlier run of the same dataset, so that the dataset counts once"
            )


@evidence_app.command("list")
def evidence_list(as_json: JsonOption = False) -> None:
    """List your own runs that sharpen the advice."""
    from advisor.evidence import own

    found, warnings = own.read_own()
    if as_json:
        rows = [kept.to_json() | {"file": str(own.own_folder() / kept.file_name)} for kept in found]
        print_json({"runs": rows, "warnings": warnings})
        return
    columns = ("model", "dataset", "rows", "candidates", "added")
    table = [columns, *((r.model, r.dataset, f"{r.n:,}", str(len(r.scores)), r.added) for r in found)]
    cells = [[in_one_line(cell) for cell in row] for row in table]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    for row in cells if found else ():
        print_out("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print_out(f"in {own.own_folder()}" if found else NO_RUNS)
    for warning in warnings:
        print_error(f"warning: {warning}")


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
        print_json({"effects": [found.to_json() for found in effects], "warnings": warnings})
        return
    for number, found in enumerate(effects):
        if number:
            print_out("")
        for line in sharpening.effect_lines(found):
            print_out(line)
    if not effects:
        print_out(NO_RUNS)
    for warning in warnings:
        print_error(f"warning: {warning}")
