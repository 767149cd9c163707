"""Any dataset a person may name -> Arrow tables, one per given split. What the columns mean is decided elsewhere."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.cells import plain_texts
from advisor.files import (
    CONLL_SUFFIXES,
    FORMATS,
    FileTable,
    column_from_values,
    is_nested,
    nested_placeholder,
    read_file,
    refuse_repeated,
)
from advisor.image_arrays import read_npz
from advisor.image_folders import read_image_folder, read_tree
from advisor.image_metadata import read_metadata
from advisor.image_paths import names_images
from advisor.images import (
    ARRAY_SUFFIXES,
    IMAGE_SUFFIXES,
    EncodedColumn,
    Held,
    held_column,
    holds_encoded_images,
    images_column,
    is_image,
)
from advisor.parquet_tables import reads_as_text
from advisor.split_files import DESCRIPTIONS, SplitFiles, find_split_files, splits_of_names
from advisor.splits import SPLITS, split_of_name
from advisor.text_folders import read_text_folder
from tuner.errors import DataError, MissingFileError, OptionError, TransferError, did_you_mean
from tuner.given import plain_list
from tuner.hub import ask_hub, is_offline
from tuner.regular import check_regular

if TYPE_CHECKING:
    import pyarrow as pa

_SPLIT_FORMATS = frozenset(FORMATS) - {".txt"}
_FILE_SUFFIXES = frozenset({*FORMATS, *CONLL_SUFFIXES, *IMAGE_SUFFIXES, *ARRAY_SUFFIXES, ".zip", ".gz", ".xlsx"})
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True, kw_only=True)
class Tables:
    """A dataset as it was given: ``parts`` maps ``all``, or ``train``, ``validation`` and ``test``, to its rows.

    Columns of images are references, to files or into ``held``; paths in cells are relative to ``folder``, those of
    the test split to ``test_folder`` where it is a file of its own. Where the cells come out of a file (``confined``)
    they may name no files elsewhere. ``labels_are_names`` says that labels are names whatever they look like, such as
    folders called 1, 2 and 3; ``without_header`` says that columns were numbered, since nothing names them.
    """

    name: str
    place: str
    parts: Mapping[str, pa.Table]
    held: Held = field(default_factory=dict)
    folder: str = ""
    test_folder: str | None = None
    confined: bool = False
    labels_are_names: bool = False
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    without_header: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class HubDataset:
    """A dataset of the Hugging Face hub as `datasets` loads it: one `datasets.Dataset` a split, by its own name."""

    id: str
    splits: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The id without its owner."""
        return self.id.rpartition("/")[2]

    @property
    def place(self) -> str:
        """What messages call it."""
        return f"'{self.id}'"


def read_tables(
    data: Any,
    *,
    split: str | None = None,
    header: bool | None = None,
    names: Sequence[str] = (),
    labelled: bool = True,
) -> Tables:
    """Read a path, hub id, ``example:NAME``, data frame, `datasets` object, (texts, labels) or (images, labels).

    With `split`, only that split is kept, as the whole of the data. A dataset without a training split is trained
    on what it has: its validation split, or a lone test split, and a warning says so. Raises `MissingFileError`,
    `DataError` and `OptionError`. `header` and `names`, of columns that are known to be there, are as for `read_file`.
    Where they need not be `labelled`, a folder may hold text files alone, one text each.
    """
    if header is not None and not isinstance(data, (str, Path)):
        raise OptionError(
            f"header={header} does not go with data in memory",
            why="it says whether the first line of a file names its columns",
            fix="leave header away",
        )
    tables = _read_any(data, header=header, names=names, labelled=labelled)
    tables = replace(tables, parts={name: plain_texts(part) for name, part in tables.parts.items()})
    if split is not None:
        return only(tables, split)
    return with_training_rows(tables)


def _read_any(data: Any, *, header: bool | None = None, names: Sequence[str] = (), labelled: bool = True) -> Tables:
    if isinstance(data, (str, Path)):
        return _read_named(data, header=header, names=names, labelled=labelled)
    if isinstance(data, HubDataset):
        return _from_datasets(data.splits, name=data.name, place=data.place)
    if isinstance(data, Mapping):
        return _read_any(_as_frame(data)) if _are_columns(data) else _read_mapping(data)
    if isinstance(data, list) and data and all(isinstance(row, Mapping) for row in data):
        return _read_any(_as_frame(data))
    if hasattr(data, "columns") and hasattr(data, "iloc"):
        table, held = _from_frame(data, place="the data frame")
        return Tables(name="data", place="the data frame", parts={"all": table}, held=held)
    if hasattr(data, "features") and hasattr(data, "column_names"):
        return _from_datasets({"all": data}, name="data", place="the dataset")
    if isinstance(data, Iterator):
        rows = list(data)
        are_rows = bool(rows) and all(isinstance(row, Mapping) for row in rows)
        return _read_any(rows if are_rows else tuple(rows))
    if isinstance(data, (tuple, list)) and len(data) == 2 and not any(isinstance(part, (str, bytes)) for part in data):
        table, held = _from_lists(*data)
        return Tables(name="data", place="the lists", parts={"all": table}, held=held)
    if isinstance(data, (tuple, list)):
        raise _unread_list(data)
    raise DataError(
        f"data of type {type(data).__name__} cannot be read",
        why="texts and labels are looked for in tables and lists",
        fix="pass a path, a pandas DataFrame, a datasets.Dataset or DatasetDict, or (texts, labels)",
    )


def _unread_list(data: Sequence[Any]) -> DataError:
    """The refusal of a list that is no rows, by what is in it."""
    if not data:
        return DataError("the list is empty", why="it holds no rows", fix="pass a list with at least one row")
    first = data[0]
    fix = (
        "pass rows as dictionaries, such as [{'text': ..., 'label': ...}, ...], a pandas DataFrame, or (texts, labels)"
    )
    if isinstance(first, (tuple, list)):
        return DataError(
            f"a list of {len(data):,} {type(first).__name__}s cannot be read",
            why="which of their values are texts and which are labels is not said",
            fix="pass (texts, labels), for pairs: texts, labels = zip(*rows); or a pandas DataFrame with named columns",
        )
    return DataError(
        f"a list with a value of type {type(first).__name__} in it cannot be read",
        why="rows are texts, or dictionaries with named values",
        fix=fix,
    )


def _are_columns(data: Mapping[Any, Any]) -> bool:
    """Whether a dictionary maps names to lists of values, as many each, rather than splits to tables."""
    values = list(data.values())
    lists = all(isinstance(part, (list, tuple)) or getattr(part, "ndim", 0) == 1 for part in values)
    return bool(values) and lists and len({len(part) for part in values}) == 1 and not splits_of_names(map(str, data))


def _as_frame(data: Any) -> Any:
    import pandas as pd

    return pd.DataFrame({name: list(values) for name, values in data.items()} if isinstance(data, Mapping) else data)


def only(tables: Tables, split: str) -> Tables:
    """The tables without the other splits. Raises `OptionError` where that one is not there."""
    wanted = split if split in tables.parts else split_of_name(split) or split
    if wanted not in tables.parts:
        if set(tables.parts) == {"all"}:
            raise OptionError(
                f"--split {split}: {tables.place} has no splits",
                why="it is one table",
                fix="leave --split out, or pass a folder with train.*, validation.* and test.*",
            )
        raise OptionError(
            f"--split {split}: {tables.place} has no such split.{did_you_mean(split, tables.parts)}",
            why="only its rows would be used",
            fix=f"choose one of: {', '.join(tables.parts)}",
        )
    return replace(tables, parts={"all": tables.parts[wanted]})


def with_training_rows(tables: Tables) -> Tables:
    """The tables with rows to train on: where nothing is called so, another split is taken for them, with a warning."""
    parts = dict(tables.parts)
    warnings = list(tables.warnings)
    if "train" in parts or "all" in parts:
        if "train" in parts and parts.pop("all", None) is not None:
            warnings.append(f"{tables.place} has train.* and all.*: all.* was ignored")
        elif "all" in parts and len(parts) > 1:
            parts["train"] = parts.pop("all")
    elif set(parts) == {"validation", "test"}:
        parts = {"train": parts["validation"], "test": parts["test"]}
        warnings.append(f"{tables.place} has no training split: its validation split is trained on")
    elif len(parts) == 1:
        (name,) = parts
        parts = {"all": parts[name]}
        warnings.append(f"{tables.place} has a {name} split only: its rows are divided into new splits")
    ordered = {name: parts[name] for name in ("all", *SPLITS) if name in parts}
    return replace(tables, parts=ordered, warnings=tuple(warnings))


# --- named data: files, folders, hub ids, examples


def _read_named(data: str | Path, *, header: bool | None, names: Sequence[str], labelled: bool) -> Tables:
    text = str(data)
    if text.startswith("example:"):
        from advisor.examples import load_example

        name = text.partition(":")[2]
        table, held = _from_frame(load_example(name), place=text)
        return Tables(name=name, place=text, parts={"all": table}, held=held)
    if not text.strip():
        raise MissingFileError(
            "no dataset was named", why="the name is empty", fix="pass a file, a folder, a hub id or example:docstrings"
        )
    path = Path(text).expanduser()
    if path.is_dir():
        return _read_folder(path, header=header, names=names, labelled=labelled)
    if path.exists():
        return read_path(path, header=header, names=names)
    if _could_be_hub_id(text):
        return _read_any(_load_hub(text))
    raise missing_file(path)


def loaded_from_hub(data: Any) -> Any:
    """The `HubDataset` where data is the id of one; anything else as it is. Raises as `read_tables` does."""
    if not isinstance(data, (str, Path)) or Path(data).expanduser().exists() or not _could_be_hub_id(str(data)):
        return data
    return _load_hub(str(data))


def read_path(path: Path, *, header: bool | None = None, names: Sequence[str] = ()) -> Tables:
    """A table file or an array file; `header` and `names` are as for `read_file`."""
    check_regular(path)
    if path.suffix.lower() == ".npz":
        found = read_npz(path)
        for table in found.parts.values():
            refuse_no_rows(table.num_rows, place=str(path))
        class_names = {"label": found.class_names} if found.class_names else {}
        return Tables(name=path.stem, place=str(path), parts=found.parts, held=found.held, class_names=class_names)
    result = read_file(path, header=header, names=names)
    return Tables(
        name=path.stem,
        place=str(path),
        parts=result.parts or {"all": result.table},
        held=result.held,
        folder=_folder_of(path),
        confined=True,
        class_names=result.class_names,
        without_header=result.without_header,
        warnings=result.warnings,
    )


def _folder_of(path: Path) -> str:
    return "" if path.parent == Path() else str(path.parent)


def missing_file(path: Path) -> MissingFileError:
    """The error for a path that does not exist, with the closest name beside it; what is there and no file raises."""
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
    of_splits = _split_files(folder)
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
    warnings = of_splits.notes(folder)
    for split in ("all", *SPLITS):
        results = []
        for path in files.get(split, ()):
            results.append(_read_part(path, header=header, names=names))
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
        warnings=tuple(warnings),
    )


def _read_table_of_images(folder: Path, *, header: bool | None, names: Sequence[str]) -> Tables | None:
    """The one table in a folder, where it names the images beside it or below; None where folders may be classes."""
    tables = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in _SPLIT_FORMATS and path.stem.lower() not in DESCRIPTIONS and path.is_file()
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
    if any(path.suffix.lower() in _SPLIT_FORMATS for path in folder.iterdir()):
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


def _read_part(path: Path, *, header: bool | None, names: Sequence[str]) -> FileTable:
    """A file that is named after a split, and so holds no splits of its own."""
    result = read_file(path, header=header, names=names)
    if result.parts:
        raise DataError(
            f"{path} holds several splits: {', '.join(result.parts)}",
            why="its name says that it is one",
            fix="pass that file alone, or save every split as a file",
        )
    return result


def read_images_of_folder(folder: Path) -> Tables | None:
    """A folder of class folders, or of images with metadata beside them, or None where it holds no images."""
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
    return saved or bool(_split_files(folder).files)


def _split_files(folder: Path) -> SplitFiles:
    """The folder's tables that are named after splits, or those of its ``data`` folder, as repositories have them."""
    found = find_split_files(folder, _SPLIT_FORMATS)
    return found if found.files or not (folder / "data").is_dir() else find_split_files(folder / "data", _SPLIT_FORMATS)


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
    found = _from_datasets(parts, name=folder.resolve().name, place=str(folder))
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


# --- data in memory


def _read_mapping(data: Mapping[Any, Any]) -> Tables:
    """A `DatasetDict`, or a dictionary from split names to data frames or datasets."""
    parts = {str(name): part for name, part in data.items()}
    if parts and all(hasattr(part, "features") and hasattr(part, "column_names") for part in parts.values()):
        return _from_datasets(parts, name="data", place="the dataset")
    split_of = {name: split for split, names in splits_of_names(parts).items() for name in names}
    known = {split_of.get(name) for name in parts}
    if len(known) < len(parts) and None not in known:
        raise DataError(
            f"two of the keys {', '.join(parts)} name one split",
            why="it is not clear which one is meant",
            fix="name the data frames train, validation and test",
        )
    if not parts or None in known or not all(hasattr(part, "iloc") for part in parts.values()):
        raise DataError(
            f"a dictionary with the keys {', '.join(list(parts)[:8]) or '(none)'} cannot be read",
            why="its keys must be split names (train, validation, test, all) and its values data frames or datasets",
            fix="pass such a dictionary, a pandas DataFrame, or (texts, labels)",
        )
    tables: dict[str, pa.Table] = {}
    held: dict[str, Any] = {}
    for name, part in parts.items():
        tables[split_of[name]], of_part = _from_frame(part, place=f"the data frames: {name}")
        held |= of_part
    return Tables(name="data", place="the data frames", parts=tables, held=held)


def _from_lists(texts: Any, labels: Any) -> tuple[pa.Table, Held]:
    import pyarrow as pa

    texts = texts if _is_array_of_images(texts) else plain_list(texts)
    labels = plain_list(labels)
    first = next((text for text in texts if text is not None), None) if len(texts) else None
    if isinstance(first, bytes) and reads_as_text(first):
        raise DataError(
            "the texts are bytes, and no pictures",
            why="texts are given to a tokenizer, which reads strings",
            fix="decode them: [text.decode() for text in texts]",
        )
    if is_image(first):
        return _from_images(texts, labels)
    if len(texts) != len(labels):
        raise DataError(
            f"{len(texts):,} texts but {len(labels):,} labels",
            why="the n-th label belongs to the n-th text",
            fix="pass two lists of the same length",
        )
    refuse_no_rows(len(texts), place="the lists")
    wrong = next((i for i, text in enumerate(texts) if text is not None and not isinstance(text, str)), None)
    if wrong is not None:
        raise DataError(
            f"the text at position {wrong} is of type {type(texts[wrong]).__name__}, not str",
            why="texts are given to a tokenizer as they are",
            fix="pass (texts, labels), texts first, every text a string",
        )
    return pa.table({"text": column_from_values(texts), "label": column_from_values(labels)}), {}


def _is_array_of_images(given: Any) -> bool:
    return getattr(given, "ndim", 1) >= 3


def _from_images(images: Any, labels: Any) -> tuple[pa.Table, Held]:
    import pyarrow as pa

    labels = list(labels)
    if len(images) != len(labels):
        raise DataError(
            f"{len(images):,} images but {len(labels):,} labels",
            why="the n-th label belongs to the n-th image",
            fix="pass two lists of the same length",
        )
    column, held = images_column(images, place="the lists: images")
    return pa.table({"image": column, "label": column_from_values(labels)}), held


def refuse_no_rows(n_rows: int, *, place: str) -> None:
    """Raise `DataError` where a table has no rows."""
    if n_rows == 0:
        raise DataError(f"{place} is empty", why="it holds no rows", fix="pass labelled rows")


def _from_frame(frame: Any, *, place: str) -> tuple[pa.Table, Held]:
    """A pandas DataFrame; object columns of one scalar type are converted, others become text or placeholders.

    Columns of images are held as they are, and referred to.
    """
    import pyarrow as pa

    names = [str(name) for name in frame.columns]
    refuse_repeated(names, place="the data frame")
    refuse_no_rows(len(frame), place="the data frame")
    columns = []
    held: dict[str, Any] = {}
    for position in range(len(names)):
        series = frame.iloc[:, position]
        if str(series.dtype) == "object":
            values = [_of_enum(value) for value in series.tolist()]
            if _are_images(values):
                column, of_column = images_column(values, place=f"{place}: {names[position]}")
                held |= of_column
            else:
                column = column_from_values(values)
            columns.append(column)
            continue
        try:
            column = pa.array(series, from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            column = pa.array(series.astype(str), pa.string())
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if isinstance(kind, pa.BaseExtensionType):  # intervals, such as pandas.cut makes: their names are the values
            missing = series.isna()
            column = pa.array([None if gone else str(v) for v, gone in zip(series, missing, strict=True)], pa.string())
        columns.append(nested_placeholder(len(frame)) if is_nested(column.type) else column)
    return pa.table(columns, names=names), held


def _of_enum(value: Any) -> Any:
    return value.name if isinstance(value, enum.Enum) else value


def _are_images(values: Sequence[Any]) -> bool:
    """Whether an object column holds images and nothing else; most hold strings, which the first one tells."""
    filled = (value for value in values if value is not None and not (isinstance(value, float) and value != value))
    first = next(filled, None)
    return is_image(first) and all(is_image(value) or isinstance(value, str) for value in filled)


def known_splits(given: Mapping[str, Any], *, place: str) -> tuple[dict[str, Any], list[str]]:
    """By the usual names, the splits that are used, and what the others are called. A single one is all the data.

    Raises `DataError` where none has a name that is known.
    """
    known: dict[str, Any] = {}
    ignored = []
    split_of = {name: split for split, names in splits_of_names(map(str, given)).items() for name in names}
    plain = {str(name).lower() for name in given}
    for name, part in given.items():
        usual = split_of.get(str(name)) or ("all" if len(given) == 1 else None)
        # "test" is the test split, though "test2" stands before it
        if usual is None or usual in known or (usual in plain and str(name).lower() != usual):
            ignored.append(str(name))
        else:
            known[usual] = part
    if not known:
        raise DataError(
            f"{place} has no split named train, validation or test",
            why=f"its splits are {', '.join(map(str, given))}",
            fix="pass one of them as a Dataset, or rename them",
        )
    return known, ignored


def _from_datasets(parts: Mapping[str, Any], *, name: str, place: str) -> Tables:
    tables: dict[str, pa.Table] = {}
    held: dict[str, Any] = {}
    class_names: dict[str, tuple[str, ...]] = {}
    known, ignored = known_splits(parts, place=place)
    for split, dataset in known.items():
        if not hasattr(dataset, "__len__"):
            raise DataError(
                f"{place} is a stream of unknown length",
                why="counts, classes and splits are made from all rows",
                fix="load it without streaming=True",
            )
        refuse_no_rows(len(dataset), place=f"{place}, split {split}" if len(parts) > 1 else place)
        tables[split], of_split = _from_dataset(dataset, place=f"{place}, {split}")
        held |= of_split
        for column, feature in dataset.features.items():
            if type(feature).__name__ == "ClassLabel":
                class_names[column] = tuple(feature.names)
    warnings = (f"{place} has splits that were ignored: {', '.join(ignored)}",) if ignored else ()
    return Tables(name=name, place=place, parts=tables, held=held, class_names=class_names, warnings=warnings)


def _from_dataset(dataset: Any, *, place: str) -> tuple[pa.Table, Held]:
    """The scalar columns of a `datasets.Dataset`, and references to its images; audio and lists are only named."""
    import pyarrow as pa

    schema = dataset.features.arrow_schema
    plain = [item.name for item in schema if not is_nested(item.type)]
    columns: dict[str, Any] = {}
    if plain:
        table = dataset.select_columns(plain).with_format("arrow")[:]
        columns = {column: table.column(column) for column in plain}
    held = {}
    for item in schema:
        if holds_encoded_images(item.type, feature=type(dataset.features[item.name]).__name__):
            of_column = f"{place}: {item.name}"
            held[of_column] = _dataset_images(dataset, item.name)
            columns[item.name] = held_column(of_column, len(dataset))
    return pa.table({n: columns.get(n, nested_placeholder(len(dataset))) for n in schema.names}), held


def _dataset_images(dataset: Any, column: str) -> EncodedColumn:
    """Encoded images as the dataset stores them, in its order; a memory map stays one."""
    rows = dataset.select_columns([column]).with_format("arrow")
    return EncodedColumn(lambda start, n: rows[start : start + n].column(column), n_rows=len(dataset))


def concatenate(tables: Iterable[pa.Table], *, place: str) -> pa.Table:
    """Tables below each other; a column whose type differs becomes the wider type, or text."""
    import pyarrow as pa

    tables = list(tables)
    if len(tables) == 1:
        return tables[0]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        kinds: dict[str, set[str]] = {}
        for table in tables:
            for item in table.schema:
                kinds.setdefault(item.name, set()).add(str(item.type))
        mixed = [name for name, kind in kinds.items() if len(kind) > 1]
    try:
        return pa.concat_tables([_as_text(table, mixed) for table in tables], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"{place}: the columns {', '.join(mixed)} hold different kinds of values in different files",
            why="the files are read as one dataset",
            fix="save them all with the same columns and kinds of values",
        ) from error


def _as_text(table: pa.Table, names: Iterable[str]) -> pa.Table:
    import pyarrow as pa

    for name in names:
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, table.column(name).cast(pa.string()))
    return table
