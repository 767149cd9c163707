"""Image datasets in ``.npz`` files: pairs of arrays by their names, loaded only where their headers can be believed."""

from __future__ import annotations

import re
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from advisor.data.images import ImageParts, as_pixels, held_column
from advisor.data.splits import SPLIT_NAMES
from tuner import memory
from tuner.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Header: TypeAlias = tuple[tuple[int, ...], np.dtype[Any]]
"""Shape and type of a stored array."""

MOST_PACKED = 500
"""An array file that unpacks to more than as many times its size holds nothing, or is meant to fill the memory."""
SMALL_BYTES = 100_000_000
"""What fills no memory may be packed as tightly as it likes, such as masks."""

_IMAGE_WORDS = frozenset({"x", "image", "images", "img", "imgs", "data"})
_LABEL_WORDS = frozenset({"y", "label", "labels", "target", "targets"})
_NAMES_ARRAYS = frozenset({"class_names", "classes", "label_names"})


def read_npz(path: Path) -> ImageParts:
    """The images and labels of a ``.npz`` file, paired by name: ``x_train`` and ``y_train``, ``images``, ``labels``.

    Pickled arrays are never loaded. Raises `DataError` for damaged files, and for arrays that make no pairs or have
    other shapes than (n, height, width), (n, height, width, 1, 3 or 4) or (n, 1 or 3, height, width).
    """
    import pyarrow as pa

    with open_arrays(path) as stored:
        arrays = {
            name: stored.load(name)
            for name in stored.headers
            if _role_of(name) is not None or name.lower() in _NAMES_ARRAYS
        }
        names = tuple(stored.headers)
    found: dict[tuple[str, bool], str] = {}
    for name in arrays:
        role = _role_of(name)
        if role is None:
            continue
        if role in found:
            raise _no_pairs(path, names, f"'{found[role]}' and '{name}' could both be meant")
        found[role] = name
    if not any(is_image for _, is_image in found):
        raise _no_pairs(path, names, "none is named like images")
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


def _no_pairs(path: Path, names: Sequence[str], reason: str) -> DataError:
    return DataError(
        f"{path}: it is not clear which arrays hold the images and which the labels ({reason})",
        why=f"they are told by their names; it holds: {_listed(names)}",
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


# --- loading

_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, KeyError, MemoryError, RuntimeError,
    tokenize.TokenError, SyntaxError, TypeError,  # of headers, which NumPy takes apart as Python
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ArrayFile:
    """An open ``.npz`` file: what its headers say of its arrays, and the arrays when they are asked for."""

    path: Path
    headers: Mapping[str, Header]
    _members: Mapping[str, zipfile.ZipInfo]
    _archive: zipfile.ZipFile

    def load(self, name: str) -> NDArray[Any]:
        """One array. Raises `DataError` for Python objects, for what no memory holds, and where the file is damaged.

        A header may promise more than is there, or a small file unpack to more than the memory: both are seen before
        anything is read.
        """
        shape, dtype = self.headers[name]
        if dtype.hasobject:
            raise _objects(f"{self.path}: array '{name}'")
        member = self._members[name]
        n_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
        packed = max(member.compress_size, 1)
        if n_bytes > member.file_size or (dtype.itemsize == 0 and np.prod(shape, dtype=object)):
            raise _damaged(self.path, f"array '{name}' should hold {_shape(shape)} values, and does not")
        if n_bytes > SMALL_BYTES and n_bytes > MOST_PACKED * packed:
            raise DataError(
                f"{self.path}: array '{name}' unpacks from {packed / 1e6:.1f} MB to {n_bytes / 1e6:,.0f} MB",
                why="images are never packed as tightly: it is nearly all one value, or meant to fill the memory",
                fix="check where the file comes from; if it is right, save it without packing, with np.savez",
            )
        _check_memory(self.path, name, shape, n_bytes)
        with _reading(self.path), self._archive.open(member) as file:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array


@contextmanager
def open_arrays(path: Path) -> Iterator[ArrayFile]:
    """An ``.npz`` file, of which only the headers are read. Raises `DataError` for what is none."""
    with _reading(path), path.open("rb") as file:
        head = file.read(6)
    if head[:1] == b"\x80":  # what every pickle since Python 2.3 begins with
        raise _objects(str(path))
    if head == b"\x93NUMPY":
        raise _damaged(path, "it holds one array, as an .npy file does")
    with _reading(path):
        archive = zipfile.ZipFile(path)
    with archive:
        headers: dict[str, Header] = {}
        members: dict[str, zipfile.ZipInfo] = {}
        with _reading(path):
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name != member.filename:
                    headers[name], members[name] = _read_header(archive, member), member
        yield ArrayFile(path=path, headers=headers, _members=members, _archive=archive)


def _read_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Header:
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):  # 3.0 is for fields with names, which are no pixels
            raise ValueError(f"array '{member.filename}' is stored in version {version} of the format")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    if any(side < 0 for side in shape):
        raise ValueError(f"array '{member.filename}' has the shape {shape}")
    return tuple(shape), dtype


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What goes wrong while a file is read, as a `DataError`; packed with a password or unknown method, too."""
    try:
        yield
    except _UNREADABLE as error:
        raise _damaged(path, str(error).splitlines()[0] if str(error) else type(error).__name__) from error


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} cannot be read as an array file ({reason})",
        why="the file is damaged, was not written to its end, or was not saved by NumPy",
        fix="copy it, or save it again with np.savez(path, images=images, labels=labels)",
    )


def _objects(place: str) -> DataError:
    return DataError(
        f"{place} holds Python objects",
        why="loading them would run code that the file brings along",
        fix="save numbers or strings: np.savez(path, images=np.stack(images), labels=np.array(labels).astype(str))",
    )


def _check_memory(path: Path, name: str, shape: Sequence[int], n_bytes: int) -> None:
    free = memory.free_memory()
    if free is not None and n_bytes > free:
        raise DataError(
            f"{path}: array '{name}', {_shape(shape)}, needs {n_bytes / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free",
            why="the images of an array file are held in memory",
            fix="save the images as files in class folders, which are opened as they are needed, or save fewer of them",
        )


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(f"{side:,}" for side in shape) or "one"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12:,} more" if len(names) > 12 else "") or "nothing"
