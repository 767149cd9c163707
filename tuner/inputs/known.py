"""The inputs there are, and which one a model is fed by."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from tuner.inputs.images import ImageInputs
from tuner.inputs.texts import TextInputs

InputClass: TypeAlias = type[TextInputs] | type[ImageInputs]
INPUTS: tuple[InputClass, ...] = (TextInputs, ImageInputs)
"""A folder that holds the files of several is fed by the first."""


def input_of_reader(reader: object) -> InputClass | None:
    """The input that a tokenizer or image processor is the reader of; None for anything else."""
    return next((kind for kind in INPUTS if kind.reads(reader)), None)


def input_of_folder(path: Path) -> InputClass | None:
    """The input whose reader lies in a model's folder; None where there is none."""
    return next((kind for kind in INPUTS if any((path / file).exists() for file in kind.reader_files)), None)
