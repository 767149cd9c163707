"""Folders with one text a file, ``class/name.txt`` or ``train/class/name.txt`` -> an Arrow table for each split."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from advisor.data.encoding import guess_encoding
from advisor.data.splits import SPLITS, splits_of_siblings
from tuner.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

TEXT_ENDINGS = frozenset({".txt", ".text", ""})
"""Endings of text files, in small letters; collections of mails and news have none."""

_UNLABELLED = frozenset({"unsup", "unsupervised", "unlabeled", "unlabelled", "pred", "prediction", "predictions"})
_DESCRIPTIONS = frozenset({"readme", "license", "licence", "notes", "makefile", "changelog", "citation", "copying"})
_SAMPLE_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class TextParts:
    """A table for ``all``, or each split, with the columns ``text`` and ``label`` (none where there are no classes)."""

    parts: Mapping[str, pa.Table]
    warnings: tuple[str, ...]


@dataclass(kw_only=True)
class _Left:
    """What was passed over."""

    links: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


def read_text_folder(folder: Path, *, labelled: bool = True) -> TextParts | None:
    """The texts of ``class/name.txt``, below splits or not, sorted by path; None where there are no such files.

    A class is a folder with everything below it. Files without an ending count where nothing in them is binary; hidden
    files, links and descriptions do not, and folders such as ``unsup``, whose texts have no class, are named in a
    warning. Where texts need not be `labelled`, files that lie in no class folder are read too. Raises `DataError` for
    files in encodings that cannot be told, and where there are texts but no classes.
    """
    left = _Left()
    inner, tree = _into_container(folder, left)
    texts = {name: files for name, files in tree.items() if files}
    if not texts or (labelled and set(texts) == {""}):
        return None
    classes = {name: files for name, files in texts.items() if name}
    splits = splits_of_siblings(list(classes)) if classes else None
    warnings: list[str] = []
    by_class: dict[str, dict[str, list[Path]]] = {}
    if splits:
        for split in ("all", *SPLITS):
            for name in splits.get(split, ()):
                _add(by_class.setdefault(split, {}), inner / name, classes[name])
        used = {name for names in splits.values() for name in names}
        unused = {name: files for name, files in texts.items() if name not in used}
    else:
        by_class["all"] = {name: files for name, files in classes.items() if name.lower() not in _UNLABELLED}
        unused = {name: files for name, files in texts.items() if name not in by_class["all"]}
    names = {name for part in by_class.values() for name in part} - {""}
    if not labelled and (len(names) < 2 or not any(by_class.values())):
        files = sorted(file for part in tree.values() for file in part)
        return TextParts(parts={"all": _table({"": files}, folder, warnings)}, warnings=tuple(warnings))
    named = {name for name in names if name.lower() not in _UNLABELLED}
    if len(named) < 2:
        raise _no_classes(folder, inner, sorted(named))
    for split, part in by_class.items():
        for name in [name for name in part if name not in named]:
            unused[os.path.join(*(splits or {}).get(split, ()), name)] = part.pop(name)
    count = sum(map(len, unused.values()))
    if count:
        where = ", ".join(sorted(name.rstrip("/") or "the folder itself" for name in unused))
        be = "text file in no class folder was" if count == 1 else "text files in no class folder were"
        warnings.append(f"{folder}: {count:,} {be} not used (in {where})")
    if left.links:
        were = "link was" if len(left.links) == 1 else "links were"
        warnings.append(f"{folder}: {len(left.links):,} {were} not followed, such as {left.links[0]}")
    parts = {split: _table(part, folder, warnings) for split, part in by_class.items() if part}
    return TextParts(parts=parts, warnings=tuple(dict.fromkeys(warnings)))


def _add(part: dict[str, list[Path]], top: Path, files: Sequence[Path]) -> None:
    """Files below a split by the folder in it that they lie in; "" for those in none."""
    for file in files:
        below = file.relative_to(top).parts
        part.setdefault(below[0] if len(below) > 1 else "", []).append(file)


def _into_container(folder: Path, left: _Left) -> tuple[Path, dict[str, list[Path]]]:
    """The folder that holds classes or splits, and the text files below each of its sub-folders ("" for its own)."""
    loose: list[Path] = []
    while True:
        folders, files = _entries(folder, left)
        loose += files
        if len(folders) == 1:
            inside, beside = _entries(folders[0], left)
            wraps = len(inside) > 1 and not beside if loose else bool(inside)
            if wraps and splits_of_siblings([folders[0].name]) is None:
                folder = folders[0]
                continue
        return folder, {**{inner.name: list(_below(inner, left)) for inner in folders}, "": loose}


def _entries(folder: Path, left: _Left) -> tuple[list[Path], list[Path]]:
    """Sub-folders and text files, sorted."""
    folders: list[Path] = []
    files: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "__MACOSX")):
            continue
        if path.is_symlink():
            left.links.append(str(path))
        elif path.is_dir():
            folders.append(path)
        elif path.is_file() and _is_text(path):
            files.append(path)
        else:
            left.files.append(str(path))
    return folders, files


def _below(folder: Path, left: _Left) -> Iterator[Path]:
    folders, files = _entries(folder, left)
    yield from files
    for inner in folders:
        yield from _below(inner, left)


def _is_text(path: Path) -> bool:
    if path.suffix.lower() not in TEXT_ENDINGS and not path.suffix[1:].isdigit():
        return False
    if _DESCRIPTIONS.intersection(path.name.lower().split(".")):
        return False
    if path.suffix.lower() in (".txt", ".text"):
        return True
    with path.open("rb") as file:
        return b"\0" not in file.read(1 << 12)


def _table(part: Mapping[str, Sequence[Path]], folder: Path, warnings: list[str]) -> pa.Table:
    """Texts and their classes; without the column of labels where no class has a name."""
    import pyarrow as pa

    contents = [(name, file, file.read_bytes()) for name in sorted(part) for file in part[name]]
    encoding = _encoding_of({file: content for _, file, content in contents}, folder, warnings)
    texts = [_decoded(content, encoding).strip() for _, _, content in contents]
    columns = {"text": pa.array(texts, pa.large_string())}
    if any(part):
        columns["label"] = pa.array([name for name, _, _ in contents], pa.string())
    return pa.table(columns)


def _decoded(content: bytes, encoding: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode(encoding, errors="replace")


def _encoding_of(contents: Mapping[Path, bytes], folder: Path, warnings: list[str]) -> str:
    """What the files are in that are not UTF-8, told by all of them together."""
    others: list[Path] = []
    sample = b""
    for file, content in contents.items():
        if b"\0" in content:
            raise DataError(
                f"{file} is not a text file",
                why=f"it holds a zero byte, at position {content.index(0):,}",
                fix="save it as text in UTF-8, or move it out of the folder",
            )
        try:
            content.decode("utf-8-sig")
        except UnicodeDecodeError:
            others.append(file)
            if len(sample) < _SAMPLE_BYTES:
                sample += b"".join(line[:4096] for line in content.splitlines(keepends=True) if not line.isascii())
    if not others:
        return "utf-8"
    found = guess_encoding(sample)
    if found is None:
        raise DataError(
            f"{others[0]} is not UTF-8, and its encoding cannot be told safely ({len(others):,} of {len(contents):,} "
            "files are like that)",
            why="a wrong guess would garble the texts without a sign of it",
            fix="convert those files, each with: iconv -f ENCODING -t UTF-8 FILE > NEW",
        )
    shown = "Windows-1252" if found == "cp1252" else found
    are = "file is" if len(others) == 1 else "files are"
    read = "it was" if len(others) == 1 else "they were"
    warnings.append(f"{folder}: {len(others):,} {are} not UTF-8, such as {others[0].name}; {read} read as {shown}")
    return found


def _no_classes(folder: Path, inner: Path, names: Sequence[str]) -> DataError:
    found = f"one folder of text files, {names[0]}" if names else "text files"
    return DataError(
        f"the folder {folder} holds {found}, but no classes",
        why=f"a text's label is the folder it lies in, as in {inner.name}/CLASS/name.txt",
        fix="put the text files into one folder for each class, or save texts and labels as one table (CSV or JSONL)",
    )
