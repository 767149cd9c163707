"""Small pictures of the images nearest to and farthest from the model's source, for the report."""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.records import SCHEMA, Record, write_json

if TYPE_CHECKING:
    from advisor.target import TargetData

EXAMPLES = "examples.json"
SIDE = 64
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True)
class Thumbnail(Record):
    """A PNG of at most 64 pixels a side in base64; ``place`` is nearest or farthest."""

    place: str
    class_name: str
    png: str


def make_thumbnails(target: TargetData, examples: Mapping[str, Sequence[int]]) -> tuple[Thumbnail, ...]:
    """Thumbnails of some rows of image data, by where they lie."""
    made = []
    for place, rows in examples.items():
        for row, picture in zip(rows, target.pictures_at(rows)[:], strict=True):
            picture.thumbnail((SIDE, SIDE))
            buffer = io.BytesIO()
            picture.save(buffer, format="PNG")
            name = target.class_names[target.labels[row]]
            made.append(
                Thumbnail(place=place, class_name=name, png=base64.b64encode(buffer.getvalue()).decode("ascii"))
            )
    return tuple(made)


def write_thumbnails(thumbnails: Sequence[Thumbnail], folder: Path) -> None:
    """Into the run folder, beside the advice, which holds nothing of the data itself."""
    if thumbnails:
        write_json(folder / EXAMPLES, {"schema": SCHEMA, "images": list(thumbnails)})


def read_thumbnails(folder: Path) -> tuple[Thumbnail, ...]:
    """Those of a run folder; none where there are none, or where the file is not what was written."""
    try:
        stored = json.loads((folder / EXAMPLES).read_bytes())
        found = tuple(Thumbnail(**image) for image in stored["images"]) if stored["schema"] == SCHEMA else ()
        whole = all(base64.b64decode(image.png, validate=True).startswith(_PNG) for image in found)
    except (OSError, ValueError, KeyError, TypeError, binascii.Error, RecursionError):
        return ()
    return found if whole else ()
