"""What may be passed on the command line: every argument and option, with its help."""

from __future__ import annotations

from typing import Annotated

import typer

DataArgument = Annotated[
    str, typer.Argument(metavar="DATA", help="File, folder, hub id, or example:NAME for a built-in example.")
]
ModelOption = Annotated[str | None, typer.Option(help="Model folder or hub id; the default is built in.")]
TextOption = Annotated[str | None, typer.Option(help="Column with the text.")]
PairOption = Annotated[str | None, typer.Option(help="Column with the second text of a pair.")]
ImageOption = Annotated[str | None, typer.Option(help="Column with the image, or its path.")]
LabelOption = Annotated[
    str | None, typer.Option(help="Column with the label, or with a list of labels; or columns of 0 and 1: a,b,c.")
]
TaskOption = Annotated[
    str | None,
    typer.Option(
        help="What labels are that are written as numbers: regression predicts the number, classification takes them "
        "for names of classes (default: regression where they are fractions)."
    ),
]
SeparatorOption = Annotated[
    str | None, typer.Option("--label-separator", help="What stands between several labels of a row, such as '|'.")
]
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
        "decision offsets are then tried too); of tagged words entity_f1 (default); of several labels a row micro_f1 "
        "(default), macro_f1 or subset_accuracy; of numbers r2 (default) or spearman."
    ),
]
PreferOption = Annotated[
    str,
    typer.Option(help="score: the highest expected score; speed: the cheapest candidate within one point of it."),
]
