"""Small pictures of the images nearest to and farthest from the model's source, for the report."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.records import SCHEMA, Record, folder_error, write_json

if TYPE_CHECKING:
    from advisor.data.target import TargetData

EXAMPLES = "examples.json"
SIDE = 64


@dataclass(frozen=True, kw_only=True)
class Thumbnail(Record):
    """A PNG of at most 64 pixels a side in base64; ``place`` is nearest or farthest."""

    place: str
    class_name: str
    png: str


def make_thumbnails(
    target: TargetData, examples: Mapping[str, Sequence[int]], *, label_of: Callable[[int], str]
) -> tuple[Thumbnail, ...]:
    """Make thumbnails of some rows of image data, by where they lie, each with what `label_of` says of its row."""
    made = []
    for place, rows in examples.items():
        for row, picture in zip(rows, target.pictures_at(rows)[:], strict=True):
            picture.thumbnail((SIDE, SIDE))
            picture.info.clear()  # a colour profile would be stored with it, and may be larger than the picture
            buffer = io.BytesIO()
            picture.save(buffer, format="PNG")
            png = base64.b64encode(buffer.getvalue()).decode("ascii")
            made.append(Thumbnail(place=place, class_name=label_of(row), png=png))
    return tuple(made)


def write_thumbnails(thumbnails: Sequence[Thumbnail], folder: Path) -> None:
    """Write thumbnails into the run folder, beside the advice, which holds nothing of the data itself.

    Without any, the file of an earlier run is removed.
    """
    path = folder / EXAMPLES
    if thumbnails:
        write_json(path, {"schema": SCHEMA, "images": list(thumbnails)})
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise folder_error(path, error) from error


def read_thumbnails(folder: Path) -> tuple[Thumbnail, ...] | None:
    """Read the thumbnails of a run folder, which may have none; None where the file is not what was written."""
    path = folder / EXAMPLES
    try:
        if not path.exists():
            return ()
        stored = json.loads(path.read_bytes())
        read = partial(Thumbnail.from_json, path=path, fix="run advisor recommend again", noun="thumbnail")
        found = tuple(map(read, stored["images"])) if stored["schema"] == SCHEMA else ()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if found and all(_is_small_png(image.png) for image in found) else None


def _is_small_png(stored: str) -> bool:
    """Whether this is the base64 of a whole PNG of the size that is written."""
    from PIL import Image

    try:
        picture = Image.open(io.BytesIO(base64.b64decode(stored, validate=True)), formats=("PNG",))
        picture.verify()
    except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError):
        return False
    return max(picture.size) <= SIDE
