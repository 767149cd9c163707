"""Image datasets -> tables of references, and what opens them: folders of classes, array files, encoded columns.

A reference is a path, or `PLACE/17` for the image in row 17 of what is held in memory under that place. Nothing is
decoded here: `tuner.pictures` does that when a model asks for the pixels, and leaves out what cannot be read.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from advisor.splits import SPLIT_NAMES, SPLITS
from tuner.errors import DataError, MissingFileError
from tuner.pictures import Pictures

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".avif"}
)
ARRAY_SUFFIXES = frozenset({".npz", ".npy"})

Held: TypeAlias = Mapping[str, Sequence[Any] | NDArray[Any]]
"""Images that are no files of their own, by the place their references begin with."""

HOW_TO_ARRANGE = (
    "put the images of each class into a folder named after it (cats/1.png, dogs/2.png; or train/cats/1.png, "
    "test/dogs/2.png), or pass a CSV file with a column of paths and a column of labels"
)

_CONTAINERS = ("images", "imgs", "data")  # folders that stand between a dataset's folder and its classes
_TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
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


def references_in(column: pa.ChunkedArray | pa.Array, *, folder: str) -> pa.ChunkedArray:
    """A column's references as strings. Cells that hold paths are taken relative to `folder`; blank ones are null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if is_reference(column.type):
        fields = pc.struct_field(column, [0]).cast(pa.large_string())
        return fields if isinstance(fields, pa.ChunkedArray) else pa.chunked_array([fields])
    cells = (cell.strip() if cell else "" for cell in column.to_pylist())
    return pa.chunked_array(
        [pa.array([os.path.join(folder, cell) if cell else None for cell in cells], pa.large_string())]
    )


def open_reference(reference: str, *, held: Held) -> Any:
    """What a reference stands for, as `tuner.pictures.open_picture` takes it: a path, bytes, an array, a PIL image."""
    place, _, row = reference.rpartition("/")
    return held[place][int(row)] if place in held else reference


def name_of(reference: str, *, held: Held) -> str:
    """A reference for people: a file whose name is not UTF-8 by that name, its bytes escaped."""
    place, _, row = reference.rpartition("/")
    item = held[place][int(row)] if place in held else None
    return _shown(item) if isinstance(item, str) else reference


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

    def __init__(self, load: Callable[[int, int], pa.ChunkedArray], *, n_rows: int) -> None:
        self._load = load
        self._n_rows = n_rows

    def __len__(self) -> int:
        return self._n_rows

    def __getitem__(self, row: Any) -> Any:
        return _unwrapped(self._load(row, 1)[0].as_py())

    def sizes(self) -> NDArray[np.int64]:
        """Bytes of each image, 0 where there is none; the images themselves are not touched."""
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
        paths = _references([None if item is None else os.fspath(item) for item in items], odd=odd, place=place)
        return reference_column(paths), {place: odd} if odd else {}
    return held_column(place, len(items)), {place: items}


def _unwrapped(item: Any) -> Any:
    if isinstance(item, dict) and set(item) == {"bytes", "path"}:
        return item["path"] if item["bytes"] is None else item["bytes"]
    return None if isinstance(item, float) and np.isnan(item) else item  # pandas writes what is missing as nan


# --- folders


@dataclass(kw_only=True)
class _Ignored:
    """What a listing passed over."""

    files: list[str] = field(default_factory=list)  # no images, or hidden
    links: list[str] = field(default_factory=list)

    def warnings(self, folder: Path) -> Iterator[str]:
        if n := len(self.files):
            were = "file that is no image was" if n == 1 else "files that are no images were"
            yield f"{folder}: {n:,} {were} ignored, such as {_shown(self.files[0])}"
        if n := len(self.links):
            were = "link was" if n == 1 else "links were"
            yield (
                f"{folder}: {n:,} {were} not followed, such as {_shown(self.links[0])}: they lead outside the folder, "
                "to a folder or nowhere"
            )


def read_image_folder(folder: Path) -> ImageParts | None:
    """The images of ``class/name.png`` or ``train/class/name.png``, sorted by path; None where there are none.

    A class is a folder with everything below it. Hidden files, files that are no images and links that lead outside
    `folder` are left out, with a warning that counts them. Raises `DataError` where images are there but no classes.
    """
    ignored = _Ignored()
    root = os.path.realpath(folder)
    inner, tree = _into_container(os.fspath(folder), root, ignored)
    if not any(tree.values()):
        if ignored.links and not any(name.endswith(".txt") for name in ignored.files):
            raise DataError(
                f"the folder {folder} holds no images, only links that are not followed ({len(ignored.links):,})",
                why="links to folders, and to files outside the folder, could lead anywhere",
                fix="pass the folder that they lead to, or a CSV file with a column of paths",
            )
        return None
    splits = _splits_among(folder, inner, tree)
    warnings: list[str] = []
    odd: list[str] = []
    place = f"{folder}: names that are not UTF-8"
    parts: dict[str, pa.Table] = {}
    if splits:
        for split in ("all", *SPLITS):
            if split in splits:
                top = os.path.join(inner, splits[split])
                parts[split] = _class_table(top, _by_class(top, tree[splits[split]]), odd=odd, place=place)
        others = [name for name in tree if tree[name] and name not in splits.values()]
        unused = sum(len(tree[name]) for name in others)
    else:
        classes = {name: paths for name, paths in tree.items() if name and paths}
        parts["all"] = _class_table(inner, {**classes, "": []}, odd=odd, place=place)
        others = [""] if tree[""] else []
        unused = len(tree[""])
    if unused:
        where = ", ".join(_shown(name) or "the folder itself" for name in others[:3])
        warnings.append(f"{folder}: {unused:,} images outside the class folders were ignored (in {where})")
    empty = [name for name, paths in tree.items() if name and not paths]
    if empty:
        warnings.append(f"{folder}: folders without images were ignored: {', '.join(map(_shown, empty[:5]))}")
    if any(name.endswith(_TABLES) for name in ignored.files) and not _class_names(parts):
        return None  # the table says what they are
    _check_classes(folder, parts)
    return ImageParts(parts=parts, held={place: odd} if odd else {}, warnings=(*warnings, *ignored.warnings(folder)))


def list_images(folder: Path, *, split: str = "test") -> tuple[pa.Array, Held, tuple[str, ...]]:
    """References to all images below a folder, sorted by path, and warnings that count what was passed over.

    Where the folder has splits, the images of that `split`. Raises `DataError` where there are none.
    """
    ignored = _Ignored()
    _, tree = _into_container(os.fspath(folder), os.path.realpath(folder), ignored)
    wanted = [name for name in tree if SPLIT_NAMES.get(name.lower()) == split]
    others = {SPLIT_NAMES.get(name.lower()) for name in tree if name and tree[name]} - {split}
    if len(wanted) == 1 and others and None not in others and not tree[""]:
        tree = {wanted[0]: tree[wanted[0]]}
    paths = sorted(path for below in tree.values() for path in below)
    if not paths:
        raise DataError(
            f"the folder {folder} holds no images",
            why=f"files are told by their endings: {', '.join(sorted(IMAGE_SUFFIXES))}",
            fix="pass the folder with the images, or a table with a column of paths",
        )
    column, held = images_column(paths, place=f"{folder}: names that are not UTF-8")
    return column, held, tuple(ignored.warnings(folder))


def _into_container(folder: str, root: str, ignored: _Ignored) -> tuple[str, dict[str, list[str]]]:
    """The folder that holds the classes or splits, and the images below each of its sub-folders ("" for its own)."""
    while True:
        folders, loose = _entries(folder, root, ignored)
        if not loose and len(folders) == 1 and folders[0].lower() in _CONTAINERS:
            folder = os.path.join(folder, folders[0])
            continue
        tree = {name: _images_below(os.path.join(folder, name), root, ignored) for name in folders}
        return folder, {**tree, "": loose}


def _entries(folder: str, root: str, ignored: _Ignored) -> tuple[list[str], list[str]]:
    """Names of the sub-folders, and paths of the images that lie in `folder` itself, both sorted."""
    folders, images = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    ignored.files.append(entry.path)
                elif entry.is_symlink() and not _leads_to_file_inside(entry.path, root):
                    ignored.links.append(entry.path)
                elif entry.is_dir():
                    folders.append(entry.name)
                elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES and entry.is_file():
                    images.append(entry.path)
                else:
                    ignored.files.append(entry.path)
    except OSError as error:
        raise MissingFileError(
            f"the folder {_shown(folder)} cannot be read ({error.strerror or error})",
            why="its images belong to the dataset",
            fix="check that you may read it, or move it out of the dataset's folder",
        ) from error
    return sorted(folders), sorted(images)


def _leads_to_file_inside(path: str, root: str) -> bool:
    """Links to folders are not followed at all: their images would be there twice, or without end."""
    target = os.path.realpath(path)
    return target.startswith(os.path.join(root, "")) and os.path.isfile(target)


def _images_below(folder: str, root: str, ignored: _Ignored) -> list[str]:
    found: list[str] = []
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        folders, images = _entries(current, root, ignored)
        found += images
        waiting += [os.path.join(current, name) for name in folders]
    return sorted(found)


def _splits_among(folder: Path, inner: str, tree: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Which sub-folder is which split; none where the sub-folders are classes. Raises where it could be either."""
    full = [name for name, paths in tree.items() if name and paths]
    named = [name for name in full if name.lower() in SPLIT_NAMES]
    splits: dict[str, str] = {}
    for name in named:
        split = SPLIT_NAMES[name.lower()]
        if split in splits:
            raise DataError(
                f"{folder} has more than one {split} folder: {_shown(splits[split])}, {_shown(name)}",
                why="it is not clear which one is meant",
                fix="leave one of them in the folder",
            )
        splits[split] = name
    if len(named) == len(full) or (len(named) > 1 and "train" in splits):
        return splits
    # One such name among others is a class ("train" beside "bus") unless it holds folders of its own.
    for name in named:
        if any(os.path.dirname(path) != os.path.join(inner, name) for path in tree[name]):
            other = next(other for other in full if other not in named)
            raise DataError(
                f"{folder}: it is not clear whether '{name}' is a split or a class, beside '{_shown(other)}'",
                why="it is named like a split and holds folders, as a split does; the folders beside it do not fit",
                fix="move the other folders out of it, or the images of this class directly into its folder",
            )
    return {}


def _by_class(folder: str, paths: Sequence[str]) -> dict[str, list[str]]:
    """Paths below `folder` by the first folder on the way to them; "" for those directly in it."""
    classes: dict[str, list[str]] = {"": []}
    start = len(os.path.join(folder, ""))
    for path in paths:
        first, separator, _ = path[start:].partition(os.sep)
        classes.setdefault(first if separator else "", []).append(path)
    return classes


def _class_table(folder: str, classes: Mapping[str, Sequence[str]], *, odd: list[str], place: str) -> pa.Table:
    """Images and the names of their classes; images of no class have none, as those of a contest's test split."""
    import pyarrow as pa

    references: list[str | None] = []
    labels: list[str | None] = []
    for name in sorted(classes):
        references += _references(classes[name], odd=odd, place=place)
        labels += [_shown(name) or None] * len(classes[name])
    return pa.table({"image": reference_column(references), "label": pa.array(labels, pa.string())})


def _references(paths: Sequence[str | None], *, odd: list[str], place: str) -> list[str | None]:
    """Paths as they are; those that are no UTF-8, which Arrow cannot store, are held in `odd`."""
    references: list[str | None] = []
    for path in paths:
        if path is not None and _shown(path) != path:
            references.append(f"{place}/{len(odd)}")
            odd.append(path)
        else:
            references.append(path)
    return references


def _shown(name: str) -> str:
    r"""A file name with bytes that are not UTF-8 written as \xff."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _class_names(parts: Mapping[str, pa.Table]) -> list[str]:
    return sorted({name for table in parts.values() for name in table.column("label").unique().to_pylist() if name})


def _check_classes(folder: Path, parts: Mapping[str, pa.Table]) -> None:
    names = _class_names(parts)
    if not names:
        raise DataError(
            f"{folder} holds images but no class folders",
            why="the class of an image is the name of the folder it lies in",
            fix=HOW_TO_ARRANGE,
        )
    if len(names) == 1:
        raise DataError(
            f"{folder} has images in one class folder only, '{names[0]}'",
            why="there is nothing to tell apart",
            fix=HOW_TO_ARRANGE,
        )


# --- arrays

_IMAGE_WORDS = frozenset({"x", "image", "images", "img", "imgs", "data"})
_LABEL_WORDS = frozenset({"y", "label", "labels", "target", "targets"})
_NAMES_ARRAYS = frozenset({"class_names", "classes", "label_names"})


def read_npz(path: Path) -> ImageParts:
    """The images and labels of a ``.npz`` file, paired by name: ``x_train`` and ``y_train``, ``images``, ``labels``.

    Pickled arrays are never loaded. Raises `DataError` for damaged files, and for arrays that make no pairs or have
    other shapes than (n, height, width), (n, height, width, 1, 3 or 4) or (n, 1 or 3, height, width).
    """
    import pyarrow as pa

    arrays = _load_arrays(path)
    found: dict[tuple[str, bool], str] = {}
    for name in arrays:
        role = _role_of(name)
        if role is None:
            continue
        if role in found:
            raise _no_pairs(path, arrays, f"'{found[role]}' and '{name}' could both be meant")
        found[role] = name
    if not any(is_image for _, is_image in found):
        raise _no_pairs(path, arrays, "none is named like images")
    held: dict[str, NDArray[Any]] = {}
    parts: dict[str, pa.Table] = {}
    for (split, is_images), name in found.items():
        if not is_images:
            continue
        pixels = as_pixels(arrays[name], place=f"{path}, array '{name}'")
        held[f"{path}:{name}"] = pixels
        columns = {"image": held_column(f"{path}:{name}", len(pixels))}
        labels = found.get((split, False))
        if labels is not None:
            columns["label"] = _label_column(arrays[labels], place=f"{path}, array '{labels}'")
            if len(columns["label"]) != len(pixels):
                raise DataError(
                    f"{path}: {len(pixels):,} images in '{name}' but {len(columns['label']):,} labels in '{labels}'",
                    why="the n-th label belongs to the n-th image",
                    fix="save both arrays with the same number of rows",
                )
        parts[split] = pa.table(columns)
    names_array = next((arrays[name] for name in arrays if name.lower() in _NAMES_ARRAYS), None)
    class_names = () if names_array is None else tuple(map(str, names_array.ravel().tolist()))
    return ImageParts(parts=parts, held=held, class_names=class_names)


def _load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays that matter by their names, others as empty ones."""
    name = ""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, NDArray[Any]] = {}
            for name in file.files:
                matters = _role_of(name) is not None or name.lower() in _NAMES_ARRAYS
                arrays[name] = file[name] if matters else np.empty(0)
            return arrays
    except ValueError as error:
        if "allow_pickle" not in str(error) and "pickled" not in str(error):
            raise _damaged(path, error) from error
        raise DataError(
            f"{path}: array '{name}' holds Python objects" if name else f"{path} holds Python objects",
            why="loading them would run code that the file brings along",
            fix="save numbers or strings: np.savez(path, images=np.stack(images), labels=np.array(labels).astype(str))",
        ) from error
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, KeyError, MemoryError, AttributeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(
        f"{path} cannot be read as an array file ({reason})",
        why="the file is damaged or was not written to its end",
        fix="copy or save it again, with np.savez",
    )


def _role_of(name: str) -> tuple[str, bool] | None:
    """The split an array is of, and whether it holds the images (or the labels); None for other names.

    >>> _role_of("X_train"), _role_of("val_labels"), _role_of("images"), _role_of("mean_image")
    (('train', True), ('validation', False), ('all', True), None)
    """
    words = re.split(r"[_\-. ]+", name.lower())
    splits = [SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES]
    roles = [word for word in words if word in _IMAGE_WORDS | _LABEL_WORDS]
    if len(roles) != 1 or len(splits) > 1 or len(splits) + len(roles) != len(words):
        return None
    return (splits[0] if splits else "all"), roles[0] in _IMAGE_WORDS


def _no_pairs(path: Path, arrays: Mapping[str, Any], reason: str) -> DataError:
    return DataError(
        f"{path}: it is not clear which arrays hold the images and which the labels ({reason})",
        why=f"they are told by their names; it holds: {', '.join(arrays) or 'nothing'}",
        fix="save it with np.savez(path, images=..., labels=...), or x_train=, y_train=, x_test=, y_test=",
    )


def _label_column(array: NDArray[Any], *, place: str) -> pa.Array:
    import pyarrow as pa

    labels = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if labels.ndim != 1:
        raise DataError(
            f"{place} has the shape {array.shape}",
            why="one label an image is needed, shape (n,) or (n, 1); several labels an image are not supported yet",
            fix="save the number of the class; of one-hot labels that is labels.argmax(axis=1)",
        )
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    return pa.array(labels.tolist())


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
