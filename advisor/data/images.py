"""Image datasets -> tables of references, and what opens them: folders of classes, array files, encoded columns.

A reference is a path, or `PLACE/17` for the image in row 17 of what is held in memory under that place. Nothing is
decoded here: `tuner.inputs.pictures` does that when a model asks for the pixels, and leaves out what cannot be read.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tuner.errors import DataError
from tuner.inputs.formats import READ_SUFFIXES
from tuner.inputs.pictures import Pictures

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL.Image import Image

IMAGE_SUFFIXES = READ_SUFFIXES
ARRAY_SUFFIXES = frozenset({".npz", ".npy"})

Held: TypeAlias = Mapping[str, Sequence[Any] | NDArray[Any]]
"""Images that are no files of their own, by the place their references begin with."""

HOW_TO_ARRANGE = (
    "put the images of each class into a folder named after it (cats/1.png, dogs/2.png; or train/cats/1.png, "
    "test/dogs/2.png), or pass a CSV file with a column of paths and a column of labels"
)

_HEAD_BYTES = 1 << 16  # files of equal size nearly always differ here, so that few are read to their end
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, kw_only=True)
class ImageParts:
    """An image dataset as tables with the columns ``image`` and ``label``, one for each given split or ``all``."""

    parts: Mapping[str, pa.Table]
    held: Held = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


# --- references


def reference_column(references: Sequence[str | None]) -> pa.Array:
    """References as a column of a type of its own, which nobody can take for texts."""
    import pyarrow as pa

    return pa.StructArray.from_arrays([pa.array(references, pa.string())], ["image"])


def held_column(place: str, n_rows: int) -> pa.Array:
    """The references of `n_rows` images that are held under `place`.

    >>> held_column("x.npz:images", 2).to_pylist()
    [{'image': 'x.npz:images/0'}, {'image': 'x.npz:images/1'}]
    """
    return reference_column([f"{place}/{row}" for row in range(n_rows)])


def is_reference(kind: pa.DataType) -> bool:
    """Whether a column of this type holds references to images."""
    import pyarrow as pa

    return bool(pa.types.is_struct(kind) and kind.num_fields == 1 and kind.field(0).name == "image")


def references_in(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray:
    """The references in a column of them, as strings."""
    import pyarrow as pa
    import pyarrow.compute as pc

    fields = pc.struct_field(column, [0]).cast(pa.large_string())
    return fields if isinstance(fields, pa.ChunkedArray) else pa.chunked_array([fields])


def open_reference(reference: str, *, held: Held) -> Any:
    """What a reference stands for, as `tuner.inputs.pictures.open_picture` takes it: path, bytes, array, image."""
    place, _, row = reference.rpartition("/")
    return held[place][int(row)] if place in held else reference


def name_of(reference: str, *, held: Held) -> str:
    """How a reference is shown to people: a file whose name is not UTF-8 by that name, its bytes escaped."""
    place, _, row = reference.rpartition("/")
    item = held[place][int(row)] if place in held else None
    return shown_name(item) if isinstance(item, str) else reference


def pictures_of(references: Sequence[str], *, held: Held) -> Pictures:
    """Images that are decoded when they are asked for; messages name them by their references."""
    return Pictures(references, open_one=lambda reference: open_reference(reference, held=held))


# --- content


def contents_of(references: Sequence[str | None], *, held: Held) -> NDArray[np.uint64]:
    """A number for the content of each image, shape (n,): equal files and equal arrays share theirs; 0 is not there.

    Files of a size that no other has are never read, others are read to their end only where they begin alike.
    """
    import pandas as pd

    codes, unique = pd.factorize(np.asarray(references, dtype=object))
    sizes = _sizes_of(unique, held=held)
    keys = np.array([_hash(b"size", size) for size in sizes.tolist()], np.uint64)
    for most in (_HEAD_BYTES, None):
        alike = pd.Series(keys).duplicated(keep=False).to_numpy() & (sizes > 0)
        if most is None:
            alike &= sizes > _HEAD_BYTES
        for row in np.flatnonzero(alike).tolist():
            keys[row] = _hash(_digest(unique[row], held=held, most=most), int(sizes[row]))
    keys[sizes <= 0] = 0
    return np.asarray(np.append(keys, np.uint64(0))[codes], np.uint64)  # code -1, the last: rows without a reference


def _hash(content: bytes, size: int) -> int:
    digest = hashlib.blake2b(content + size.to_bytes(8, "big"), digest_size=8).digest()
    return int.from_bytes(digest, "big") or 1


def _sizes_of(references: Sequence[str], *, held: Held) -> NDArray[np.int64]:
    """Bytes of each image; 0 for what is not there, 1 for what is in memory as pixels and always compared."""
    sizes_held = {place: _sizes_held(items) for place, items in held.items()} if held else {}
    sizes = np.empty(len(references), np.int64)
    for i, reference in enumerate(references):
        place, _, row = reference.rpartition("/") if held else ("", "", "")
        sizes[i] = sizes_held[place][int(row)] if place in sizes_held else _file_size(reference)
    return sizes


def _sizes_held(items: Sequence[Any] | NDArray[Any]) -> NDArray[np.int64]:
    if isinstance(items, np.ndarray):
        return np.ones(len(items), np.int64)
    if isinstance(items, EncodedColumn):
        return items.sizes()
    return np.array([_size(item) for item in items], np.int64)


def _size(item: Any) -> int:
    if item is None:
        return 0
    if isinstance(item, (bytes, bytearray, memoryview)):
        return len(item)
    return _file_size(item) if isinstance(item, (str, Path)) else 1


def _file_size(path: str | Path) -> int:
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # a zero byte in a path is a ValueError
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _digest(reference: str, *, held: Held, most: int | None) -> bytes:
    """SHA-256 of an image's bytes, of the first `most` of them where they are a file; of a picture's pixels."""
    try:
        item = open_reference(reference, held=held)
        if isinstance(item, (str, Path)):
            with open(item, "rb") as file:
                if most is not None:
                    return hashlib.sha256(file.read(most)).digest()
                return hashlib.file_digest(file, "sha256").digest()
        if isinstance(item, (bytes, bytearray, memoryview)):
            return hashlib.sha256(item[:most]).digest()
        if isinstance(item, np.ndarray):
            kind = f"{item.dtype} {item.shape}".encode()
            return hashlib.sha256(kind + np.ascontiguousarray(item).tobytes()).digest()
        kind = f"{item.mode} {item.size} {item.getpalette()}".encode()
        return hashlib.sha256(kind + item.tobytes()).digest()
    except (OSError, SyntaxError, ValueError, AttributeError):
        # Unreadable or no picture at all: like nothing else here, and left out when it is to be decoded.
        return b"alone" + reference.encode("utf-8", "surrogatepass")


# --- encoded images in Arrow columns


class EncodedColumn(Sequence[Any]):
    """Encoded images, bytes or {bytes, path}, of an Arrow column that `load` gives slice by slice."""

    def __init__(
        self,
        load: Callable[[int, int], pa.ChunkedArray],
        *,
        n_rows: int,
        find: Callable[[str], str] | None = None,
    ) -> None:
        self._load = load
        self._n_rows = n_rows
        self._find = find

    def __len__(self) -> int:
        return self._n_rows

    def __getitem__(self, row: Any) -> Any:
        item = _unwrapped(self._load(row, 1)[0].as_py())
        return self._find(item) if self._find is not None and isinstance(item, str) else item

    def with_paths(self, find: Callable[[str], str]) -> EncodedColumn:
        """This column, where `find` says which file a path stands for that a row has instead of bytes."""
        return EncodedColumn(self._load, n_rows=self._n_rows, find=find)

    def sizes(self) -> NDArray[np.int64]:
        """The number of bytes of each image, (n,), 0 where there is none; the images themselves are not touched."""
        import pyarrow as pa
        import pyarrow.compute as pc

        sizes = np.zeros(len(self), np.int64)
        for start in range(0, len(self), _ROWS_AT_ONCE):
            column = self._load(start, _ROWS_AT_ONCE)
            encoded = pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column
            rows = slice(start, start + len(column))
            sizes[rows] = np.asarray(pc.fill_null(pc.binary_length(encoded), 0))
            for row in np.flatnonzero(np.asarray(pc.is_null(encoded))).tolist():
                sizes[start + row] = _size(self[start + row])  # a path instead of bytes
        return sizes


def holds_encoded_images(kind: pa.DataType, *, feature: str | None = None) -> bool:
    """Whether a column may hold encoded images: bytes, or objects of bytes and a path that are no `feature` else."""
    import pyarrow as pa

    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return feature in (None, "Image", "Value")
    if not pa.types.is_struct(kind) or feature not in (None, "Image"):
        return False
    fields = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
    encoded = fields.get("bytes")
    return set(fields) == {"bytes", "path"} and (pa.types.is_binary(encoded) or pa.types.is_large_binary(encoded))


def parquet_images(path: Path, column: str, *, n_rows: int) -> EncodedColumn:
    """The encoded images of a Parquet column, read when the first one is asked for."""
    import pyarrow as pa
    from pyarrow import parquet

    columns: list[pa.ChunkedArray] = []

    def load(start: int, n: int) -> pa.ChunkedArray:
        if not columns:
            try:
                with parquet.ParquetFile(path) as file:
                    # Small batches: images of one row group may be more than an Arrow array can hold.
                    batches = list(file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=[column]))
            except (pa.ArrowException, OSError) as error:
                raise DataError(
                    f"{path} cannot be read as Parquet ({str(error).splitlines()[0]})",
                    why=f"the images in its column '{column}' are damaged or were not written to their end",
                    fix="copy or save it again",
                ) from error
            columns.append(pa.Table.from_batches(batches).column(column))
        return columns[0].slice(start, n)

    return EncodedColumn(load, n_rows=n_rows)


def is_image(value: object) -> bool:
    """Whether a cell or list item is an image as Python holds it: bytes, pixels, a PIL image, a path object.

    Also {"bytes": ..., "path": ...}, which the datasets library makes of images that it does not decode.
    """
    if isinstance(value, (bytes, bytearray, Path)) or (isinstance(value, dict) and set(value) == {"bytes", "path"}):
        return True
    if isinstance(value, np.ndarray):
        return value.ndim in (2, 3)
    return any(kind.__module__.partition(".")[0] == "PIL" for kind in type(value).__mro__)


def images_column(images: Any, *, place: str) -> tuple[pa.Array, Held]:
    """References to a list or array of images: paths, encoded bytes, arrays or PIL images; None where one is missing.

    Raises `DataError` for what is no image.
    """
    if hasattr(images, "__array__") and getattr(images, "ndim", 0) >= 3:
        pixels = as_pixels(np.asarray(images), place=place)
        return held_column(place, len(pixels)), {place: pixels}
    items = [_unwrapped(item) for item in images]
    for i, item in enumerate(items):
        if not (item is None or isinstance(item, str) or is_image(item)):
            raise DataError(
                f"{place}: what stands at position {i} is of type {type(item).__name__}, not an image",
                why="an image is a path, encoded bytes, a PIL image or an array (height, width) or (height, width, 3)",
                fix="pass images only, and None where one is missing",
            )
    if all(item is None or isinstance(item, (str, Path)) for item in items):
        odd: list[str] = []
        paths = file_references([None if item is None else os.fspath(item) for item in items], odd=odd, place=place)
        return reference_column(paths), {place: odd} if odd else {}
    return held_column(place, len(items)), {place: items}


def _unwrapped(item: Any) -> Any:
    if isinstance(item, dict) and set(item) == {"bytes", "path"}:
        return item["path"] if item["bytes"] is None else item["bytes"]
    return None if isinstance(item, float) and np.isnan(item) else item  # pandas writes what is missing as nan


# --- names of files


def file_references(paths: Sequence[str | None], *, odd: list[str], place: str) -> list[str | None]:
    """References to files: their paths, except those that are no UTF-8, which Arrow cannot store: `odd` takes them."""
    references: list[str | None] = []
    for path in paths:
        if path is not None and shown_name(path) != path:
            references.append(f"{place}/{len(odd)}")
            odd.append(path)
        else:
            references.append(path)
    return references


def shown_name(name: str) -> str:
    r"""A file name with bytes that are not UTF-8 written as \xff."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


# --- arrays


def as_pixels(array: NDArray[Any], *, place: str) -> NDArray[Any]:
    """Images of one array as bytes or 16-bit values, (n, height, width) or with channels last.

    Bytes are not copied. The scale is judged over all images: what is dark in an array of 0..255 stays dark.

    >>> as_pixels(np.full((2, 3, 8, 8), 0.5), place="x").shape
    (2, 8, 8, 3)
    """
    pixels = array
    if pixels.ndim == 4 and pixels.shape[3] not in (1, 3, 4) and pixels.shape[1] in (1, 3):
        pixels = pixels.transpose(0, 2, 3, 1)
    if (
        pixels.ndim not in (3, 4)
        or (pixels.ndim == 4 and pixels.shape[3] not in (1, 3, 4))
        or pixels.dtype.kind not in "buif"
    ):
        raise DataError(
            f"{place} has the shape {array.shape} and holds {array.dtype}: these are no images",
            why="images have the shape (n, height, width), (n, height, width, 1, 3 or 4) or (n, 1 or 3, height, width)",
            fix="reshape them before they are saved, such as images.reshape(-1, 28, 28)",
        )
    if len(pixels) and not pixels.size:  # of which there might be any number: they take no room
        raise DataError(
            f"{place} has the shape {array.shape}: its images have no pixels",
            why="there is nothing to see on them",
            fix="save the images themselves",
        )
    if pixels.dtype in (np.uint8, np.uint16) or not pixels.size:
        return pixels
    low, high = float(pixels.min()), float(pixels.max())
    fractional = pixels.dtype.kind == "f"
    if not (0 <= low <= high <= (255 if fractional else 65535)):  # nan is in no range
        raise DataError(
            f"{place} holds values from {low:g} to {high:g}",
            why="pixels lie between 0 and 255, 0 and 1, or, as integers, 0 and 65535",
            fix="save the images before they are standardised, or scale them back",
        )
    scale = 255 if high <= 1 and pixels.dtype.kind in "bf" else 1
    kind = np.uint8 if high * scale <= 255 else np.uint16
    converted = np.empty(pixels.shape, kind)
    for start in range(0, len(pixels), _ROWS_AT_ONCE):  # no second array of floats
        rows = pixels[start : start + _ROWS_AT_ONCE]
        converted[start : start + _ROWS_AT_ONCE] = np.rint(rows * scale) if fractional else rows.astype(kind) * scale
    return converted


# A channel may differ from another by this much in a grey image: JPEG codes colour coarsely.
GREY_WITHIN = 3


def is_grey(picture: Image) -> bool:
    """Whether an RGB picture has no colour.

    >>> from PIL import Image
    >>> is_grey(Image.new("RGB", (8, 8), (90, 91, 90))), is_grey(Image.new("RGB", (8, 8), (90, 60, 90)))
    (True, False)
    """
    values = np.asarray(picture).astype(np.int16)
    spread = values.max(2) - values.min(2)
    return bool((spread <= GREY_WITHIN).mean() > 0.99)
