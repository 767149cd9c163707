"""Paths in a table's cells -> files: where they are looked for, how freely they are written, how far they may lead."""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from advisor.data.images import IMAGE_SUFFIXES, is_reference
from advisor.data.splits import split_of_name
from tuner.errors import DataError, MissingFileError, OptionError

if TYPE_CHECKING:
    import pyarrow as pa

_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|data:image/")
_MOST_LISTED = 2_000_000  # names below the folder of a table, which may be anybody's home
_LOOKED_AT = 200  # rows that tell whether a column of ids names files
_TRIED = 20


class ImageFinder:
    """Finds the image files that cells name, for people who wrote them on another system or without an ending.

    Paths are relative to the table's folder, or else to the folder that the user names. Where the paths come out of a
    file, no file outside the two is taken: a table that somebody sent must not decide which of the user's files are
    read. What is named in Python may lie anywhere.

    Args:
        folder: the table's; "" for the current one.
        root: the folder that the user names with ``--images-root``; None where there is none.
        confined: whether the paths come out of a file, and may not lead outside `folder` and `root`.
        split: the table's own; of images of one name in the folders of several splits, that of this one is meant.

    Raises:
        MissingFileError: where there is no folder `root`.
    """

    def __init__(
        self, *, folder: str, root: str | Path | None = None, confined: bool, split: str | None = None
    ) -> None:
        self.folder = folder
        self.split = split
        self.root = None if root is None else os.fspath(Path(root).expanduser())
        self.confined = confined
        if self.root is not None and not os.path.isdir(self.root):
            raise MissingFileError(
                f"--images-root {self.root}: there is no such folder",
                why="the images that the table names are looked for in it",
                fix="pass the folder that holds the images",
            )
        allowed = [folder or os.curdir] if self.root is None else [folder or os.curdir, self.root]
        self._allowed = tuple(os.path.join(os.path.realpath(path), "") for path in allowed)
        self._listings: dict[str, dict[str, list[str]]] = {}
        self._real: dict[str, str] = {}
        self._below: dict[str, list[str]] | None = None

    def find_all(self, cells: Sequence[str | None], *, place: str, column: str) -> list[str | None]:
        """The path that each cell names, whether or not a file is there; None for a blank cell.

        Raises `DataError` for paths that lead outside, and where most are addresses or paths of Windows.
        """
        written = [cell.strip() if cell else "" for cell in cells]
        filled = [cell for cell in written if cell]
        _refuse_foreign(filled, place=place, column=column, folder=self.folder)
        found = [self.find(cell) if cell else None for cell in written]
        missing = [number for number, path in enumerate(found) if path is not None and not os.path.exists(path)]
        if self.confined and 2 * len(missing) > len(filled):
            for number in missing:  # a column of bare names, and the images in a folder beside the table
                found[number] = self._beside(written[number], place=place) or found[number]
        if self.confined:
            self._refuse_outside(found, place=place, column=column)
        return found

    def find(self, cell: str) -> str:
        """The path that one cell names; where there is no such file, the one it names as it is written."""
        cell = cell.removeprefix("./")
        plain = os.path.join(self.folder, cell)
        if os.path.lexists(plain):
            return plain
        bases = [self.folder] if self.root is None else [self.folder, self.root]
        slashed = cell.replace("\\", "/").removeprefix("./")
        for spelled in dict.fromkeys((cell, slashed, unquote(cell), unquote(slashed))):
            for base in bases:
                if (path := self._spelled(base, spelled)) is not None:
                    return path
        return plain

    def find_one(self, cell: str, *, place: str) -> str:
        """The path that a single value names, as `find` does for a cell. Raises `DataError` where it leads outside."""
        path = self.find(cell)
        if self.confined:
            self._refuse_outside([path], place=place, column="path")
        return path

    def names_files(self, cells: Sequence[str]) -> bool:
        """Whether nearly all of some cells, names without an ending, are those of images at hand."""
        found = sum(os.path.isfile(self.find(cell)) or self._beside(cell, place="") is not None for cell in cells)
        return bool(cells) and found >= 0.9 * len(cells)

    def _spelled(self, base: str, cell: str) -> str | None:
        """A file below `base` that is called so, but for capitals, accents of another form or a missing ending."""
        path = os.path.join(base, cell)
        if os.path.lexists(path):
            return path
        if os.path.isabs(cell):
            return None
        *folders, name = os.path.normpath(cell).split(os.sep)
        current = base
        for part in folders:
            step = os.path.join(current, part)
            if not os.path.isdir(step):
                alike = [name for name in self._listing(current).get(_key(part), ()) if _key(name) == _key(part)]
                if len(alike) != 1:
                    return None
                step = os.path.join(current, alike[0])
            current = step
        alike = self._listing(current).get(_key(name), [])
        if len(alike) > 1:
            raise DataError(
                f"'{cell}' could be {os.path.join(current, alike[0])} or {alike[1]}",
                why="a name without an ending, or in other capitals, must be that of one image",
                fix="write the names with their endings, just as the files are called",
            )
        return os.path.join(current, alike[0]) if alike else None

    def _listing(self, folder: str) -> dict[str, list[str]]:
        """Names in a folder, by themselves, and those of images also by their stems, in small letters."""
        if folder not in self._listings:
            try:
                names = sorted(os.listdir(folder or os.curdir))
            except (OSError, ValueError):  # not there, or not for us: then the images are missing, and counted
                names = []
            self._listings[folder] = _by_key(names)
        return self._listings[folder]

    def _beside(self, cell: str, *, place: str) -> str | None:
        """The only image of this name in the folders beside the table, at most two deep; None where there is none."""
        if "/" in cell or "\\" in cell:
            return None
        if self._below is None:
            self._below = {}
            for base in (self.folder,) if self.root is None else (self.folder, self.root):
                for path in _images_at_most_two_deep(base or os.curdir):
                    stem, _ = os.path.splitext(os.path.basename(path))
                    for key in {_key(os.path.basename(path)), _key(stem)}:
                        self._below.setdefault(key, []).append(os.path.normpath(path))
        found = list(dict.fromkeys(self._below.get(_key(cell), ())))
        if len(found) > 1 and self.split is not None:
            found = [path for path in found if self._is_of_split(path)] or found
        if len(found) > 1 and place:
            raise DataError(
                f"{place}: '{cell}' could be {found[0]} or {found[1]}",
                why="the table holds names without folders, and images of this name lie in several",
                fix="write the folder into the table too, such as "
                + os.path.relpath(found[0], self.folder or os.curdir),
            )
        return found[0] if found else None

    def _is_of_split(self, path: str) -> bool:
        """Whether a folder on the way to a file, below the table's, is called like the table's split."""
        below = os.path.dirname(os.path.relpath(path, self.folder or os.curdir))
        return any(split_of_name(step) == self.split for step in below.split(os.sep))

    def _is_outside(self, path: str) -> bool:
        """Whether a path leads out of what is allowed, by itself or through a link."""
        folder = os.path.dirname(path)
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder or os.curdir)
        real = os.path.join(self._real[folder], os.path.basename(path))
        if os.path.basename(path) in ("", os.curdir, os.pardir) or os.path.islink(path):
            real = os.path.realpath(path)
        return not real.startswith(self._allowed) and os.path.join(real, "") not in self._allowed

    def _refuse_outside(self, paths: Sequence[str | None], *, place: str, column: str) -> None:
        outside = [path for path in paths if path is not None and "\0" not in path and self._is_outside(path)]
        if not outside:
            return
        there = [path for path in outside if os.path.exists(path)]
        n = len([path for path in paths if path is not None])
        where = self.folder or "the current folder"
        counted = f"{place}: {len(outside):,} of {n:,} image paths in column '{column}'"
        lead = "leads" if n == 1 else "lead"
        if not there:
            if 2 * len(outside) <= n:
                return  # missing images, which are left out and counted
            raise DataError(
                f"{counted} {lead} outside {where}, to no file on this machine, such as {outside[0]}",
                why="the table was written where the images lay at these paths",
                fix="copy the images beside the table, and write paths relative to it, such as images/1.jpg",
            )
        common = os.path.commonpath([os.path.dirname(os.path.realpath(path)) for path in there])
        raise DataError(
            f"{counted} {lead} outside {where}, such as {there[0]}",
            why="a table decides which files are read, and one from elsewhere must not choose among all of yours",
            fix=f"if that is where your images are, say so: --images-root {shlex.quote(common)} "
            f"(in Python images_root={common!r}); or write paths below {where}",
        )


def _is_image_name(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _by_key(names: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        if not name.isprintable() and any("\ud800" <= char <= "\udfff" for char in name):
            continue  # no UTF-8, so that no table can hold it
        stem, _ = os.path.splitext(name)
        keys = {_key(name), _key(stem)} if _is_image_name(name) else {_key(name)}
        for key in keys:
            found.setdefault(key, []).append(name)
    return found


def _images_at_most_two_deep(folder: str) -> list[str]:
    """Images in the sub-folders of a folder and in theirs; no links, nothing hidden."""
    found: list[str] = []
    waiting = [(folder, 0)]
    listed = 0
    while waiting and listed < _MOST_LISTED:
        current, depth = waiting.pop(0)
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    listed += 1
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if depth < 2:
                            waiting.append((entry.path, depth + 1))
                    elif depth and _is_image_name(entry.name) and entry.is_file(follow_symlinks=False):
                        found.append(entry.path)
        except OSError:
            continue  # a folder that may not be read is none of the table's
    return sorted(found)


def _refuse_foreign(cells: Sequence[str], *, place: str, column: str, folder: str) -> None:
    """Raise where most cells are addresses, or paths of a Windows computer."""
    where = folder or "the current folder"
    addresses = [cell for cell in cells if _ADDRESS.match(cell)]
    if 2 * len(addresses) > len(cells):
        raise DataError(
            f"{place}: {len(addresses):,} of {len(cells):,} cells in column '{column}' are addresses, such as "
            f"{addresses[0][:120]}",
            why=f"paths are taken relative to {where}; addresses on the web are not downloaded",
            fix="write the paths of files without file://, relative to the table"
            if addresses[0].lower().startswith("file:")
            else "download the images first, and write their paths, relative to the table, into the column",
        )
    windows = [cell for cell in cells if _WINDOWS.match(cell) and not os.path.lexists(cell)]
    if 2 * len(windows) > len(cells):
        raise DataError(
            f"{place}: {len(windows):,} of {len(cells):,} paths in column '{column}' are absolute paths of a Windows "
            f"computer, such as {windows[0][:120]}",
            why="there is no such drive here",
            fix="write paths relative to the table, with forward slashes: images/"
            + re.split(r"[\\/]", windows[0])[-1][:80],
        )


def path_references(column: pa.ChunkedArray, *, finder: ImageFinder, place: str, name: str) -> pa.ChunkedArray:
    """Turn a column of paths into paths that can be opened; references to images stay what they are, blank cells null.

    Args:
        column: the cells: paths as text, or references to images.
        finder: says which file a path names.
        place: what messages call the data.
        name: the column's.

    Raises:
        DataError: for paths that lead outside, and where most are addresses or paths of Windows.
    """
    import pyarrow as pa

    from advisor.data.images import references_in

    if is_reference(column.type):
        return references_in(column)
    cells = column.cast(pa.large_string()).to_pylist()
    return pa.chunked_array([pa.array(finder.find_all(cells, place=place, column=name), pa.large_string())])


def column_of_ids(table: pa.Table, *, finder: ImageFinder) -> str | None:
    """The column whose cells are names of images without their endings; None where there is none, or another way.

    Only tables in files are looked at, and none in which a column holds images, their paths, or texts.
    """
    import pyarrow as pa

    if not finder.confined:
        return None
    head = table.slice(0, _LOOKED_AT)
    candidates = {}
    for item in head.schema:
        if is_reference(item.type):
            return None
        if not (pa.types.is_string(item.type) or pa.types.is_large_string(item.type) or pa.types.is_integer(item.type)):
            continue
        cells = [str(value).strip() for value in head.column(item.name).to_pylist() if value is not None]
        cells = [cell for cell in cells if cell]
        wordy = sum(len(cell.split()) > 1 for cell in cells)
        if any(map(_is_image_name, cells[:_TRIED])):
            return None
        if cells and 2 * wordy > len(cells) and sum(map(len, cells)) >= 15 * len(cells):
            return None
        if cells and not wordy and 2 * len(set(cells)) > len(cells):
            candidates[item.name] = list(dict.fromkeys(cells))[:_TRIED]
    found = [name for name, cells in candidates.items() if finder.names_files(cells)]
    return found[0] if len(found) == 1 else None


def names_images(table: pa.Table, *, folder: str) -> bool:
    """Whether a column of a table in a file names images that are there, with their endings or without."""
    import pyarrow as pa

    finder = ImageFinder(folder=folder, confined=True)
    for item in table.schema:
        if not (pa.types.is_string(item.type) or pa.types.is_large_string(item.type)):
            continue
        cells = [cell.strip() for cell in table.column(item.name).slice(0, _LOOKED_AT).to_pylist() if cell]
        cells = list(dict.fromkeys(cell for cell in cells if cell))[:_TRIED]
        if cells and all(map(_is_image_name, cells)) and finder.names_files(cells):
            return True
    return column_of_ids(table, finder=finder) is not None


def refuse_root(root: str | Path | None) -> None:
    """Raise `OptionError` where ``--images-root`` is passed and nothing names images by paths."""
    if root is not None:
        raise OptionError(
            f"--images-root {root} does not go with this data",
            why="it says where the images lie that a table names by their paths, and no such column is read here",
            fix="omit it, or pass a table with --image and the column of paths",
        )
