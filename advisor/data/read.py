"""Data of any kind -> tables: the one door for files, folders, saved datasets, hub ids, examples, data in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.data.cells import FileTable, plain_texts, single_labels
from advisor.data.conll import CONLL_SUFFIXES, MAY_BE_CONLL, is_conll
from advisor.data.files import FORMATS, read_file
from advisor.data.image_arrays import read_npz
from advisor.data.image_folders import read_image_folder, read_tree
from advisor.data.image_metadata import read_metadata
from advisor.data.image_paths import names_images
from advisor.data.images import (
    ARRAY_SUFFIXES,
    IMAGE_SUFFIXES,
)
from advisor.data.in_memory import (
    are_columns,
    as_frame,
    from_datasets,
    from_frame,
    from_lists,
    is_pair,
    read_mapping,
    unread_list,
)
from advisor.data.opened import OpenFile, open_file
from advisor.data.split_files import DESCRIPTIONS, SplitFiles, find_split_files, splits_of_names
from advisor.data.splits import SPLITS
from advisor.data.tables import (
    HubDataset,
    Tables,
    concatenate,
    merged_names,
    only,
    refuse_no_rows,
    with_training_rows,
)
from advisor.data.text_folders import read_text_folder
from tuner.errors import DataError, MissingFileError, OptionError, TransferError, did_you_mean
from tuner.hub import ask_hub, is_offline
from tuner.regular import check_regular

if TYPE_CHECKING:
    import pyarrow as pa


_TABLE_FORMATS = frozenset(FORMATS) - {".txt"}
_SPLIT_FORMATS = _TABLE_FORMATS | CONLL_SUFFIXES
_FILE_SUFFIXES = frozenset({*FORMATS, *CONLL_SUFFIXES, *IMAGE_SUFFIXES, *ARRAY_SUFFIXES, ".zip", ".gz", ".xlsx"})
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def read_tables(
    data: Any,
    *,
    split: str | None = None,
    header: bool | None = None,
    names: Sequence[str] = (),
    labelled: bool = True,
) -> Tables:
    """Read data of any kind, as `read_data` does, and prepare its splits and labels (`tables_of_rows`).

    Args:
        data: as for `read_data`.
        split: the only split to keep; None for all (`tables_of_rows`).
        header: as for `read_data`.
        names: columns that are known to be there.
        labelled: whether rows need labels.
    """
    return tables_of_rows(read_data(data, header=header, names=names, labelled=labelled), split=split)


def tables_of_rows(tables: Tables, *, split: str | None = None) -> Tables:
    """Select the splits to use, and take labels out of the lists of one each that they may stand in.

    With `split`, only that split is kept, as the whole of the data. A dataset without a training split is trained
    on what it has: its validation split, or a lone test split, and a warning says so. Raises `OptionError`.
    """
    tables = replace(tables, parts={name: single_labels(part) for name, part in tables.parts.items()})
    if split is not None:
        return only(tables, split)
    return with_training_rows(tables)


def read_data(data: Any, *, header: bool | None = None, names: Sequence[str] = (), labelled: bool = True) -> Tables:
    """Read a path, hub id, ``example:NAME``, data frame, `datasets` object, (texts, labels) or (images, labels).

    Cells hold what the data does: lists stay lists, so that sentences of tagged words are tables too, whether they
    come from CoNLL files (`advisor.data.conll`) or from columns of lists.

    Args:
        data: any of these.
        header: whether the first row of a file names its columns; None: it is judged (`advisor.data.header`).
        names: columns that are known to be there.
        labelled: whether rows need labels; where they do not, a folder may hold text files alone, one text each.

    Raises:
        TransferError: a `MissingFileError`, `DataError` or `OptionError`.
    """
    if header is not None and not isinstance(data, (str, Path)):
        raise OptionError(
            f"header={header} does not go with data in memory",
            why="it says whether the first line of a file names its columns",
            fix="omit header",
        )
    tables = _read_any(data, header=header, names=names, labelled=labelled)
    return replace(tables, parts={name: plain_texts(part) for name, part in tables.parts.items()})


def _read_any(data: Any, *, header: bool | None = None, names: Sequence[str] = (), labelled: bool = True) -> Tables:
    if isinstance(data, (str, Path)):
        return _read_named(data, header=header, names=names, labelled=labelled)
    if isinstance(data, HubDataset):
        return from_datasets(data.splits, name=data.name, place=data.place)
    if isinstance(data, Mapping):
        return _read_any(as_frame(data)) if are_columns(data) else read_mapping(data)
    if isinstance(data, list) and data and all(isinstance(row, Mapping) for row in data):
        return _read_any(as_frame(data))
    if hasattr(data, "columns") and hasattr(data, "iloc"):
        table, held = from_frame(data, place="the data frame")
        return Tables(name="data", place="the data frame", parts={"all": table}, held=held, in_memory=True)
    if hasattr(data, "features") and hasattr(data, "column_names"):
        return from_datasets({"all": data}, name="data", place="the dataset")
    if isinstance(data, Iterator):
        rows = list(data)
        are_rows = bool(rows) and all(isinstance(row, Mapping) for row in rows)
        return _read_any(rows if are_rows else tuple(rows))
    if is_pair(data):
        table, held = from_lists(*data)
        return Tables(name="data", place="the lists", parts={"all": table}, held=held, in_memory=True, in_lists=True)
    if isinstance(data, (tuple, list)):
        raise unread_list(data)
    raise DataError(
        f"data of type {type(data).__name__} cannot be read",
        why="texts and labels are looked for in tables and lists",
        fix="pass a path, a pandas DataFrame, a datasets.Dataset or DatasetDict, or (texts, labels)",
    )


# --- named data: files, folders, hub ids, examples


def _read_named(data: str | Path, *, header: bool | None, names: Sequence[str], labelled: bool) -> Tables:
    text = str(data)
    if text.startswith("example:"):
        from advisor.data.examples import load_example

        name = text.partition(":")[2]
        table, held = from_frame(load_example(name), place=text)
        return Tables(name=name, place=text, parts={"all": table}, held=held)
    if not text.strip():
        raise MissingFileError(
            "no dataset was named", why="the name is empty", fix="pass a file, a folder, a hub id or example:docstrings"
        )
    path = Path(text).expanduser()
    if path.is_dir():
        return _read_folder(path, header=header, names=names, labelled=labelled)
    if path.exists():
        return read_path(path, header=header, names=names, labelled=labelled)
    if _could_be_hub_id(text):
        return _read_any(_load_hub(text))
    raise missing_file(path)


def read_path(path: Path, *, header: bool | None = None, names: Sequence[str] = (), labelled: bool = True) -> Tables:
    """Read a table file or an array file, as the whole of the data.

    Args:
        path: of the file.
        header: as for `advisor.data.files.read_file`.
        names: columns that are known to be there.
        labelled: whether rows need labels.
    """
    check_regular(path)
    if path.suffix.lower() == ".npz":
        found = read_npz(path)
        for table in found.parts.values():
            refuse_no_rows(table.num_rows, place=str(path))
        class_names = {"label": found.class_names} if found.class_names else {}
        return Tables(name=path.stem, place=str(path), parts=found.parts, held=found.held, class_names=class_names)
    return tables_of_file(path, read_file(path, header=header, names=names, labelled=labelled))


def tables_of_file(path: Path, result: FileTable) -> Tables:
    """Make tables of what was read of a single file, as the whole of the data."""
    return Tables(
        name=path.stem,
        place=str(path),
        parts=result.parts or {"all": result.table},
        held=result.held,
        folder=_folder_of(path),
        confined=True,
        class_names=result.class_names,
        item_names=result.item_names,
        without_header=result.without_header,
        conll={"all": str(path)} if result.is_conll else {},
        warnings=result.warnings,
    )


def _folder_of(path: Path) -> str:
    return "" if path.parent == Path() else str(path.parent)


def missing_file(path: Path) -> MissingFileError:
    """The error for a path that does not exist, with the closest name there is. A device or pipe raises `DataError`."""
    check_regular(path)
    folder = path.parent
    if not folder.is_dir():
        return MissingFileError(
            f"{path} does not exist: there is no folder {folder}",
            why="the dataset is read from it",
            fix="check the path",
        )
    names = [entry.name for entry in folder.iterdir()]
    lowered = {name.lower(): name for name in names}
    hint = did_you_mean(path.name, names) or did_you_mean(path.name.lower(), lowered)
    for low, name in lowered.items():
        hint = hint.replace(f"'{low}'", f"'{name}'")
    return MissingFileError(
        f"{path} does not exist.{hint}", why="the dataset is read from it", fix="check the name and the folder"
    )


def _could_be_hub_id(text: str) -> bool:
    """A name or owner/name that is not meant as a path: no table ending, no such folder or like-named file here."""
    if not _HUB_ID.fullmatch(text) or Path(text).suffix.lower() in _FILE_SUFFIXES:
        return False
    owner, slash, _ = text.partition("/")
    if slash:
        return not Path(owner).is_dir()
    return not did_you_mean(text, [entry.name for entry in Path.cwd().iterdir()])


def _read_folder(folder: Path, *, header: bool | None, names: Sequence[str], labelled: bool) -> Tables:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return _read_saved(folder)
    of_splits, opened = _split_files(folder)
    files = of_splits.files
    if not files:
        found = (
            _read_table_of_images(folder, header=header, names=names)
            or read_images_of_folder(folder)
            or _read_texts_of_folder(folder, labelled=labelled)
        )
        if found is None:
            raise _no_split_files(folder)
        return found
    parts: dict[str, pa.Table] = {}
    held: dict[str, Any] = {}
    class_names: dict[str, tuple[str, ...]] = {}
    item_names: list[Mapping[str, tuple[str, ...]]] = []
    conll: dict[str, str] = {}
    warnings = of_splits.notes(folder)
    for split in ("all", *SPLITS):
        results = []
        for path in files.get(split, ()):
            results.append(_read_part(opened.get(path, path), header=header, names=names, labelled=labelled))
            if results[-1].is_conll:
                conll.setdefault(split, str(path))
            if results[-1].without_header:
                header = False  # files of one dataset are alike
            elif header is None:
                names = [*names, *results[-1].table.column_names]
        if not results:
            continue
        parts[split] = concatenate([result.table for result in results], place=f"the {split} files of {folder}")
        for result in results:
            held |= result.held
            class_names |= result.class_names
            item_names.append(result.item_names)
            warnings.extend(result.warnings)
    first = next(path for paths in files.values() for path in paths)
    return Tables(
        name=folder.resolve().name,
        place=str(folder),
        parts=parts,
        held=held,
        folder=_folder_of(first),
        confined=True,
        class_names=class_names,
        item_names=merged_names(item_names),
        conll=conll,
        warnings=tuple(warnings),
    )


def _read_table_of_images(folder: Path, *, header: bool | None, names: Sequence[str]) -> Tables | None:
    """The one table in a folder, where it names the images beside it or below; None where folders may be classes."""
    tables = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in _TABLE_FORMATS and path.stem.lower() not in DESCRIPTIONS and path.is_file()
    ]
    if len(tables) != 1:
        return None
    tree = read_tree(folder)
    if not tree.images or len([name for name in tree.children if name]) > 1:
        return None
    found = read_path(tables[0], header=header, names=names)
    if not all(names_images(part, folder=found.folder) for part in found.parts.values()):
        return None
    return replace(found, name=folder.resolve().name)


def _read_texts_of_folder(folder: Path, *, labelled: bool) -> Tables | None:
    """A folder of text files by class, or None where it holds none; without classes where none are needed."""
    if any(path.suffix.lower() in _TABLE_FORMATS for path in folder.iterdir()):
        return None  # a table lies there, and is what is meant
    found = read_text_folder(folder, labelled=labelled)
    if found is None:
        return None
    return Tables(
        name=folder.resolve().name,
        place=str(folder),
        parts=found.parts,
        labels_are_names=True,
        warnings=found.warnings,
    )


def _read_part(file: Path | OpenFile, *, header: bool | None, names: Sequence[str], labelled: bool) -> FileTable:
    """A file that is named after a split, and so holds no splits of its own."""
    result = read_file(file, header=header, names=names, labelled=labelled)
    path = file if isinstance(file, Path) else file.path
    if result.parts:
        raise DataError(
            f"{path} holds several splits: {', '.join(result.parts)}",
            why="its name says that it is one",
            fix="pass that file alone, or save every split as a file",
        )
    return result


def read_images_of_folder(folder: Path) -> Tables | None:
    """Read a folder of class folders, or of images with metadata beside them; None where it holds no images."""
    tree = read_tree(folder)
    metadata = read_metadata(tree)
    if metadata is not None:
        place = f"the metadata of {folder}"
        return Tables(
            name=folder.resolve().name,
            place=str(folder),
            parts={split: concatenate(tables, place=place) for split, tables in metadata.parts.items()},
            folder=str(folder),
            confined=True,
            class_names=metadata.class_names,
            warnings=metadata.warnings,
        )
    found = read_image_folder(tree)
    if found is None:
        return None
    return Tables(
        name=folder.resolve().name,
        place=str(folder),
        parts=found.parts,
        held=found.held,
        folder=str(folder),
        labels_are_names=True,
        warnings=found.warnings,
    )


def is_table_folder(folder: Path) -> bool:
    """Whether a folder is read as tables: a saved dataset, or files named after splits."""
    saved = (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()
    return saved or bool(_split_files(folder)[0].files)


def _split_files(folder: Path) -> tuple[SplitFiles, dict[Path, OpenFile]]:
    """The folder's tables that are named after splits, or those of its ``data`` folder, as repositories have them.

    CoNLL files that have the ending of texts were opened to tell them from these.
    """
    opened = _opened_conll(folder)
    found = find_split_files(folder, _SPLIT_FORMATS, others=opened)
    below = folder / "data"
    if found.files or not below.is_dir():
        return found, opened
    opened = _opened_conll(below)
    return find_split_files(below, _SPLIT_FORMATS, others=opened), opened


def _opened_conll(folder: Path) -> dict[Path, OpenFile]:
    endings = _SPLIT_FORMATS | MAY_BE_CONLL
    paths = [path for path in folder.iterdir() if path.suffix.lower() in endings]
    of_splits = {name for names in splits_of_names([path.stem for path in paths]).values() for name in names}
    opened = {}
    for path in paths:
        if path.stem in of_splits and path.suffix.lower() not in _SPLIT_FORMATS and path.is_file():
            try:
                file = open_file(path)
            except TransferError:
                continue
            if is_conll(file):
                opened[path] = file
    return opened


def _no_split_files(folder: Path) -> TransferError:
    entries = sorted(folder.iterdir())
    tables = [path.name for path in entries if path.is_file() and path.suffix.lower() in FORMATS]
    if not entries:
        return DataError(
            f"the folder {folder} is empty",
            why="a dataset folder holds train.*, or all.*, and optionally validation.* and test.*; or images by class",
            fix="pass a file, or put the files there (csv, tsv, jsonl or parquet)",
        )
    shown = ", ".join([path.name for path in entries][:8]) + (", ..." if len(entries) > 8 else "")
    fix = (
        f"pass one of its files, such as {folder / tables[0]}"
        if tables
        else "name the files train.csv, validation.csv and test.csv (or tsv, jsonl, parquet), or pass a single file"
    )
    return DataError(
        f"the folder {folder} has no file named train.*, validation.*, test.* or all.*",
        why=f"other files are ignored; it holds {shown}",
        fix=fix,
    )


def _read_saved(folder: Path) -> Tables:
    import datasets

    try:
        saved = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{folder} cannot be loaded as a saved dataset ({str(error).splitlines()[0]})",
            why="it has the files of one, but they are damaged or incomplete",
            fix="save it again with save_to_disk",
        ) from error
    parts = saved if isinstance(saved, dict) else {"all": saved}
    found = from_datasets(parts, name=folder.resolve().name, place=str(folder))
    return replace(found, folder=str(folder), confined=True)


def _load_hub(name: str) -> HubDataset:
    """A dataset of the hub, or out of its local cache when the hub is switched off."""
    _check_hub(name)
    import datasets

    try:
        loaded = datasets.load_dataset(name)
    except (ConnectionError, FileNotFoundError) as error:
        why = "HF_HUB_OFFLINE is set and it is not in the local cache" if is_offline() else _first_line(error)
        raise _not_fetched(name, why) from error
    except (ValueError, RuntimeError, OSError) as error:
        raise DataError(
            f"'{name}' cannot be loaded from the hub ({_first_line(error)})",
            why="it may need a configuration to be chosen, or run code of its own, which is never done",
            fix="download its files, pass the one you mean, or a folder with train.parquet and test.parquet",
        ) from error
    return HubDataset(id=name, splits=dict(loaded))


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


def check_named(data: str | Path) -> None:
    """Raise at once where a named dataset is not there; asked before what takes seconds to import."""
    text = str(data)
    if text.startswith("example:") or not text.strip() or Path(text).expanduser().exists():
        return
    if not _could_be_hub_id(text):
        raise missing_file(Path(text).expanduser())
    _check_hub(text)


def _check_hub(name: str) -> None:
    if is_offline():
        return
    answer = ask_hub(name, "dataset")
    if answer == "unreachable":
        raise _not_fetched(name, "the hub cannot be reached from here")
    if answer == "missing":
        raise MissingFileError(
            f"'{name}' is neither a file or folder here nor a dataset on the hub that may be read",
            why="the dataset is read from it",
            fix="check the name; for a private or gated dataset log in first with: hf auth login",
        )


def _not_fetched(name: str, why: str) -> MissingFileError:
    folder = name.rpartition("/")[2]
    return MissingFileError(
        f"'{name}' is neither a file nor a folder here, and it cannot be fetched as a hub dataset: {why}",
        why="the dataset is read from it",
        fix=f"where there is a network run: hf download {name} --repo-type dataset --local-dir {folder}; bring that "
        f"folder here (its files named train.parquet, test.parquet...) and pass ./{folder}; or correct the path",
    )
