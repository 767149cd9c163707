"""A folder of images -> tables by split: which of its folders are classes, which are splits, and which are neither."""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from advisor.data.images import (
    HOW_TO_ARRANGE,
    IMAGE_SUFFIXES,
    Held,
    ImageParts,
    file_references,
    images_column,
    reference_column,
    shown_name,
)
from advisor.data.splits import SPLITS, split_of_name, splits_of_siblings
from tuner.errors import DataError, MissingFileError
from tuner.inputs.formats import unread_format

if TYPE_CHECKING:
    import pyarrow as pa

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Tables of the Hugging Face ImageFolder convention, beside the images that their column ``file_name`` names."""

_CONTAINERS = ("images", "imgs", "data")  # folders that stand between a dataset's folder and its classes
_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".xlsx", ".xls")
_FOLD = re.compile(r"(cv|k|cross)?[-_ ]?fold[-_ ]?\d+", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class ImageTree:
    """What lies below a folder: ``images`` are paths, sorted; ``inner`` is the folder that holds classes or splits."""

    folder: Path
    inner: str
    images: tuple[str, ...]
    folders: tuple[str, ...]
    files: tuple[str, ...]  # no images, or hidden
    links: tuple[str, ...]  # that lead outside, to a folder or nowhere

    @property
    def tables(self) -> list[str]:
        """The paths of tables among the files that are no images."""
        return [path for path in self.files if path.lower().endswith(_TABLES) and not _is_hidden(path)]

    @property
    def children(self) -> dict[str, list[str]]:
        """The images by the sub-folder of ``inner`` that they are below; "" for those that lie in it directly."""
        return _by_class(self.inner, self.images)

    def empty_folders(self) -> list[str]:
        """Sub-folders of ``inner`` without an image."""
        names = (os.path.basename(path) for path in self.folders if os.path.dirname(path) == self.inner)
        return sorted(set(names) - set(self.children))

    def notes(self, *, but: Sequence[str] = ()) -> Iterator[str]:
        """Warnings that count what was passed over, `but` for files that were read."""
        unread = {path: unread_format(path) for path in self.files if not _is_hidden(path)}
        pictures = [path for path, kind in unread.items() if kind is not None]
        tables = [path for path in self.tables if path not in but]
        others = [path for path in self.files if path not in {*pictures, *tables, *but}]
        if n := len(others):
            were = "file that is no image was" if n == 1 else "files that are no images were"
            yield f"{self.folder}: {n:,} {were} ignored, such as {shown_name(others[0])}"
        if pictures:
            yield (
                f"{self.folder}: {_formats(pictures)} {'was' if len(pictures) == 1 else 'were'} not read, such as "
                f"{shown_name(pictures[0])}: convert pictures to JPEG or PNG to have them used"
            )
        if tables:
            were = "table beside the images was" if len(tables) == 1 else "tables beside the images were"
            named = ", ".join(shown_name(os.path.relpath(path, self.folder)) for path in tables[:5])
            yield f"{self.folder}: {len(tables):,} {were} not read: {named}"
        if n := len(self.links):
            were = "link was" if n == 1 else "links were"
            yield (
                f"{self.folder}: {n:,} {were} not followed, such as {shown_name(self.links[0])}: they lead outside the "
                "folder, to a folder or nowhere"
            )


def _is_hidden(path: str) -> bool:
    return os.path.basename(path).startswith(".")


def _formats(paths: Sequence[str]) -> str:
    """How many files there are of each format.

    >>> _formats(["a.heic", "b.heic", "c.pdf"])
    '2 HEIC files and 1 PDF file'
    """
    counts = Counter(unread_format(path) for path in paths)
    shown = [f"{n:,} {kind} {'file' if n == 1 else 'files'}" for kind, n in counts.most_common()]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


# --- what is there


def read_tree(folder: Path) -> ImageTree:
    """List a folder with everything below it. Links to folders, and to files outside it, are not followed."""
    root = os.path.realpath(folder)
    images: list[str] = []
    folders: list[str] = []
    files: list[str] = []
    links: list[str] = []
    waiting = [os.fspath(folder)]
    while waiting:
        current = waiting.pop()
        for entry in _entries(current, folder):
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                files.append(entry.path)
            elif entry.is_symlink() and not _leads_to_file_inside(entry.path, root):
                links.append(entry.path)
            elif entry.is_dir():
                folders.append(entry.path)
                waiting.append(entry.path)
            elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES and entry.is_file():
                images.append(entry.path)
            else:
                files.append(entry.path)
    images.sort()
    inner = _unwrapped(os.fspath(folder), images)
    listed = {"images": images, "folders": sorted(folders), "files": sorted(files), "links": sorted(links)}
    return ImageTree(folder=folder, inner=inner, **{name: tuple(paths) for name, paths in listed.items()})


def _entries(path: str, folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise DataError(
                f"{folder} holds folders in folders, too many for a path: {shown_name(path)[:80]}...",
                why="the system takes no longer paths, so what is below cannot be opened",
                fix="remove the nested folders, or pass the folder that holds the classes",
            ) from error
        raise MissingFileError(
            f"the folder {shown_name(path)} cannot be read ({error.strerror or error})",
            why="its images belong to the dataset",
            fix="check that you may read it, or move it out of the dataset's folder",
        ) from error


def _leads_to_file_inside(path: str, root: str) -> bool:
    """Links to folders are not followed at all: their images would be there twice, or without end."""
    target = os.path.realpath(path)
    return target.startswith(os.path.join(root, "")) and os.path.isfile(target)


def _unwrapped(folder: str, images: Sequence[str]) -> str:
    """The folder that holds the classes or splits: below `folder` where its one sub-folder only wraps them."""
    inner = folder
    while True:
        children = _by_class(folder, images)
        if children[""] or len(children) != 2 or splits_of_siblings([name for name in children if name]):
            break
        name = next(name for name in children if name)
        folder = os.path.join(folder, name)
        below = _by_class(folder, images)
        if name.lower() in _CONTAINERS:
            inner = folder
        elif below[""]:
            break
        elif len(below) > 2 or splits_of_siblings([name for name in below if name]):
            inner = folder
    return inner


def _by_class(folder: str, paths: Sequence[str]) -> dict[str, list[str]]:
    """Paths below `folder` by the first folder on the way to them; "" for those directly in it."""
    classes: dict[str, list[str]] = {}
    loose: list[str] = []
    start = len(os.path.join(folder, ""))
    for path in paths:
        first, separator, _ = path[start:].partition(os.sep)
        (classes.setdefault(first, []) if separator else loose).append(path)
    return {**classes, "": loose}


# --- classes and splits


def read_image_folder(tree: ImageTree) -> ImageParts | None:
    """The images of ``class/name.png`` or ``train/class/name.png``, sorted by path; None where there are none.

    A class is a folder with everything below it. Folders named after splits are splits, above the classes or below
    them. Hidden files, files that are no images and links that lead outside the folder are left out, with a warning
    that counts them. Raises `DataError` where images are there but no classes, and for folders that hold the same
    sub-folders each, as folds do.
    """
    folder, inner, children = tree.folder, tree.inner, tree.children
    if not tree.images:
        _refuse_unread(tree)
        return None
    splits = splits_of_folders(tree)
    warnings: list[str] = []
    odd: list[str] = []
    place = f"{folder}: names that are not UTF-8"
    by_split: dict[str, dict[str, list[str]]] = {}
    if splits:
        for split, name in splits.items():
            top, by_split[split] = _classes_of_split(os.path.join(inner, name), children[name], split=split)
            _refuse_folds(folder, top, by_split[split], inside=f" in its {split} split")
        others = [name for name in children if children[name] and name not in splits.values()]
    else:
        classes = {name: paths for name, paths in children.items() if name}
        by_split = _splits_below_classes(inner, classes) or {}
        if not by_split:
            _refuse_folds(folder, inner, classes, inside="")
            by_split = {"all": {**classes, "": []}}
        others = [""] if children[""] else []
    parts = {
        split: _class_table(by_split[split], odd=odd, place=place) for split in ("all", *SPLITS) if split in by_split
    }
    if unused := sum(len(children[name]) for name in others):
        where = ", ".join(shown_name(name) or "the folder itself" for name in others[:3])
        were = "image outside the class folders was" if unused == 1 else "images outside the class folders were"
        warnings.append(f"{folder}: {unused:,} {were} ignored (in {where})")
    if empty := tree.empty_folders():
        warnings.append(f"{folder}: folders without images were ignored: {', '.join(map(shown_name, empty[:5]))}")
    if tree.tables and not _class_names(parts):
        return None  # the table says what they are
    if "train" in by_split and not any(by_split["train"][name] for name in by_split["train"] if name):
        _refuse_no_classes(f"{folder}, in its train split,")
    _check_classes(folder, parts)
    return ImageParts(parts=parts, held={place: odd} if odd else {}, warnings=(*warnings, *tree.notes()))


def _refuse_unread(tree: ImageTree) -> None:
    """Raise where a folder holds links only, or pictures only in formats that are not read."""
    if tree.links and not tree.tables and not any(path.endswith(".txt") for path in tree.files):
        raise DataError(
            f"the folder {tree.folder} holds no images, only links that are not followed ({len(tree.links):,})",
            why="links to folders, and to files outside the folder, could lead anywhere",
            fix="pass the folder that they lead to, or a CSV file with a column of paths",
        )
    unread = [path for path in tree.files if unread_format(path) is not None and not _is_hidden(path)]
    if unread and not tree.tables:
        raise DataError(
            f"the folder {tree.folder} holds {_formats(unread)} and no image that can be read, such as "
            f"{shown_name(unread[0])}",
            why="JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, AVIF and JPEG 2000 are read, and are told by their endings",
            fix="convert the pictures to JPEG or PNG, keeping the folders as they are",
        )


def list_images(folder: Path, *, split: str = "test") -> tuple[pa.Array, Held, tuple[str, ...]]:
    """References to all images below a folder, sorted by path, and warnings that count what was passed over.

    Where the folder has splits, the images of that `split`. Raises `DataError` where there are none.
    """
    tree = read_tree(folder)
    paths: Sequence[str] = tree.images
    if not paths:
        _refuse_unread(tree)
        raise DataError(
            f"the folder {folder} holds no images",
            why=f"files are told by their endings: {', '.join(sorted(IMAGE_SUFFIXES))}",
            fix="pass the folder with the images, or a table with a column of paths",
        )
    children = tree.children
    splits = {} if children[""] else splits_of_siblings([name for name in children if name]) or {}
    if split in splits and len(splits) > 1:
        paths = sorted(path for name in splits[split] for path in children[name])
    column, held = images_column(list(paths), place=f"{folder}: names that are not UTF-8")
    return column, held, tuple(tree.notes())


def splits_of_folders(tree: ImageTree) -> dict[str, str]:
    """The sub-folder of each split; none where they are classes. Raises `DataError` where it could be either."""
    children = tree.children
    full = [name for name in children if name]
    # Of several names, those that mean splits together are splits; others beside them belong to no split.
    named = [name for name in full if split_of_name(name) is not None]
    found = splits_of_siblings(full)
    if found is None and len(named) > 1:
        found = splits_of_siblings(named)
        found = found if found is not None and "train" in found else None
    if found is not None:
        for split, names in found.items():
            nested = [name for name in names if _holds_folders(tree.inner, name, children[name])]
            if len(names) > 1 and nested:
                raise DataError(
                    f"{tree.folder} has more than one {split} folder: {', '.join(map(shown_name, names))}",
                    why="it is not clear which one is meant",
                    fix="leave one of them in the folder, or put the images of each class into one of them",
                )
        if all(len(names) == 1 for names in found.values()):
            return {split: name for split in ("all", *SPLITS) for name in found.get(split, ())}
        return {}
    # One such name among others is a class ("train" beside "bus") unless it holds folders of its own.
    for name in named:
        if name.isalpha() and _holds_folders(tree.inner, name, children[name]):
            other = next(other for other in full if other != name)
            raise DataError(
                f"{tree.folder}: it is not clear whether '{name}' is a split or a class, beside '{shown_name(other)}'",
                why="it is named like a split and holds folders, as a split does; the folders beside it do not fit",
                fix="move the other folders out of it, or the images of this class directly into its folder",
            )
    return {}


def _holds_folders(inner: str, name: str, paths: Sequence[str]) -> bool:
    """Whether some of the images lie in folders below this one."""
    return any(os.path.dirname(path) != os.path.join(inner, name) for path in paths)


def _classes_of_split(folder: str, paths: Sequence[str], *, split: str) -> tuple[str, dict[str, list[str]]]:
    """The folder of a split that holds its classes, past such as only wrap them (``train/train/cat``), and these."""
    while True:
        classes = _by_class(folder, paths)
        names = [name for name in classes if name]
        if classes[""] or len(names) != 1:
            return folder, classes
        (name,) = names
        if name != os.path.basename(folder) and name.lower() not in _CONTAINERS and split_of_name(name) != split:
            return folder, classes
        folder = os.path.join(folder, name)


def _splits_below_classes(inner: str, classes: Mapping[str, Sequence[str]]) -> dict[str, dict[str, list[str]]] | None:
    """The images by split and class where every class holds its own splits (``cat/train``, ``cat/test``), else None."""
    below = {name: _by_class(os.path.join(inner, name), paths) for name, paths in classes.items()}
    found = splits_of_siblings(sorted({split for of_class in below.values() for split in of_class if split}))
    if len(classes) < 2 or any(of_class[""] for of_class in below.values()) or not found or "train" not in found:
        return None
    return {
        split: {name: [path for folder in folders for path in below[name].get(folder, ())] for name in below}
        for split, folders in found.items()
    }


def _refuse_folds(folder: Path, top: str, classes: Mapping[str, Sequence[str]], *, inside: str) -> None:
    """Raise where what would be classes hold the same sub-folders each, or are named like folds."""
    names = sorted(name for name, paths in classes.items() if name and paths)
    if len(names) < 2:
        return
    below = []
    for name in names:
        found = _by_class(os.path.join(top, name), classes[name])
        below.append(frozenset() if found[""] else frozenset(found))
    shared = sorted(frozenset.intersection(*below) - {""})
    named_folds = all(_FOLD.fullmatch(name) for name in names)
    if not named_folds and (len(set(below)) > 1 or len(shared) < 2):
        return
    shown = ", ".join(map(shown_name, names[:-1][:5])) + (" ..." if len(names) > 6 else "")
    shown = f"{shown} and {shown_name(names[-1])}"
    if not shared:
        raise DataError(
            f"{folder} holds {shown}{inside}, which are named like folds",
            why="the class of an image is the name of the folder it lies in, and folds are no classes",
            fix=HOW_TO_ARRANGE,
        )
    held = " and ".join(f"'{shown_name(name)}'" for name in shared[:2]) + (" ..." if len(shared) > 2 else "")
    like = ", as folds of cross-validation do" if named_folds else ""
    raise DataError(
        f"{folder}: {shown} all hold the same folders{inside}: {held}",
        why=f"the images can be told apart by either, and only one of the two can be the classes{like}",
        fix=f"where {held} are the classes, keep one folder for each ({shared[0]}/, {shared[1]}/) with all of its "
        f"images, or call the folders above them train, validation and test; where {shown_name(names[0])}, "
        f"{shown_name(names[1])}... are the classes, put their images directly into them",
    )


# --- tables of classes


def _class_table(classes: Mapping[str, Sequence[str]], *, odd: list[str], place: str) -> pa.Table:
    """Images and the names of their classes; images of no class have none, as those of a contest's test split."""
    import pyarrow as pa

    references: list[str | None] = []
    labels: list[str | None] = []
    for name in sorted(classes):
        references += file_references(classes[name], odd=odd, place=place)
        labels += [shown_name(name) or None] * len(classes[name])
    return pa.table({"image": reference_column(references), "label": pa.array(labels, pa.string())})


def _class_names(parts: Mapping[str, pa.Table]) -> list[str]:
    return sorted({name for table in parts.values() for name in table.column("label").unique().to_pylist() if name})


def _check_classes(folder: Path, parts: Mapping[str, pa.Table]) -> None:
    names = _class_names(parts)
    if not names:
        _refuse_no_classes(str(folder))
    if len(names) == 1:
        raise DataError(
            f"{folder} has images in one class folder only, '{names[0]}'",
            why="there is nothing to tell apart",
            fix=HOW_TO_ARRANGE,
        )


def _refuse_no_classes(place: str) -> NoReturn:
    raise DataError(
        f"{place} holds images but no class folders",
        why="the class of an image is the name of the folder it lies in",
        fix=HOW_TO_ARRANGE,
    )
