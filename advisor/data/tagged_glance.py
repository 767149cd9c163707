"""A glance at data before it is read: whether it holds sentences of tagged words."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.data.conll import MAY_BE_CONLL, is_conll
from advisor.data.files import (
    CONLL_SUFFIXES,
    FORMATS,
    first_rows,
    read_head,
    refuse_binary,
)
from advisor.data.json_layouts import rows_of_value
from advisor.data.split_files import SplitFiles, find_split_files
from advisor.data.tables import HubDataset
from advisor.data.tagged import (
    BETWEEN_ROWS,
    is_missing,
    read_literal,
)
from tuner.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


TOKEN_NAMES = ("tokens", "words", "token", "word")
TAG_NAMES = ("tags", "ner_tags", "labels", "ner", "entities", "tag", "label", "named_entity")
_GLANCED_ROWS = 20


def is_tagged(data: Any, *, text: str | None = None, label: str | None = None) -> bool:
    """Whether data looks like tagged sentences rather than labelled texts, by a glance; what is broken does not.

    `text` and `label` name the columns that are looked at, where the user named them.

    >>> is_tagged((["EU", "rejects"], ["a", "b"])), is_tagged(([["EU", "rejects"]], [["B-org", "O"]]))
    (False, True)
    """
    columns = _Columns(text=text, label=label)
    if isinstance(data, (str, Path)):
        path = Path(data).expanduser()
        if path.is_dir() and str(data).strip():
            return _is_tagged_folder(path, columns)
        return path.is_file() and _is_tagged_file(path, columns)
    if isinstance(data, HubDataset):
        return is_tagged(data.splits, text=text, label=label)
    if isinstance(data, Mapping):
        return bool(data) and is_tagged(next(iter(data.values())), text=text, label=label)
    if hasattr(data, "columns") and hasattr(data, "iloc"):
        names = [str(name) for name in data.columns]
        found = columns.of(names)
        return all(name is not None and _holds_lists(data.iloc[:_GLANCED_ROWS, names.index(name)]) for name in found)
    if hasattr(data, "features") and hasattr(data, "column_names"):
        return _are_lists(data.features.arrow_schema, columns)
    pair = isinstance(data, (tuple, list)) and len(data) == 2
    return bool(
        pair and all(isinstance(part, (tuple, list)) and part and _holds_lists(part[:_GLANCED_ROWS]) for part in data)
    )


def column_named(names: Sequence[str], usual: Sequence[str]) -> str | None:
    """The first of the usual names that a column has."""
    lowered = {name.strip().lower(): name for name in reversed(names)}
    return next((lowered[name] for name in usual if name in lowered), None)


def is_saved_dataset(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def splits_of_folder(folder: Path) -> SplitFiles:
    """The folder's files that are named after splits, or those of its ``data`` folder, as repositories have them."""
    endings = {*FORMATS, *CONLL_SUFFIXES, *MAY_BE_CONLL}
    found = find_split_files(folder, endings)
    return found if found.files or not (folder / "data").is_dir() else find_split_files(folder / "data", endings)


# --- a glance


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """The columns that the user named, where he did."""

    text: str | None
    label: str | None

    def of(self, names: Sequence[str]) -> tuple[str | None, str | None]:
        """Which columns would hold words and tags; None for one that is not there."""
        given = ((self.text, TOKEN_NAMES), (self.label, TAG_NAMES))
        text, label = (
            column_named(names, usual) if name is None else name if name in names else None for name, usual in given
        )
        return text, label


def _is_tagged_folder(folder: Path, columns: _Columns) -> bool:
    if is_saved_dataset(folder):
        import datasets

        try:
            saved = datasets.load_from_disk(str(folder))
        except (OSError, ValueError, KeyError):
            return False
        return is_tagged(saved, text=columns.text, label=columns.label)
    try:
        files = splits_of_folder(folder).files
        return bool(files) and _is_tagged_file(next(iter(files.values()))[0], columns)
    except DataError:
        return False


def _is_tagged_file(path: Path, columns: _Columns) -> bool:
    """By the name or first lines of CoNLL files, the first rows of JSON and CSV, the types of Parquet."""
    try:
        if is_conll(path):
            return True
        head = read_head(path)
        if head.startswith(b"PAR1"):
            from pyarrow import parquet

            return _are_lists(parquet.read_schema(path), columns)
        if FORMATS.get(path.suffix.lower()) == "json":
            rows = _first_json_rows(head.decode("utf-8-sig", errors="replace"), path)
        else:
            refuse_binary(path, head)
            rows = first_rows(path, most=_GLANCED_ROWS)
    except (OSError, ValueError, csv.Error, DataError):
        return False
    names = list(dict.fromkeys(name for row in rows for name in row))
    return all(name is not None and _holds_lists([row.get(name) for row in rows]) for name in columns.of(names))


def _first_json_rows(text: str, path: Path) -> list[dict[str, Any]]:
    """The objects at the beginning of JSON lines or of a list, up to one that is cut off; of one object, its rows."""
    rows, decoder = [], json.JSONDecoder()
    at = BETWEEN_ROWS.match(text, len(text) - len(text.lstrip().removeprefix("[")))
    while at is not None and at.end() < len(text):
        try:
            row, end = decoder.raw_decode(text, at.end())
        except (ValueError, RecursionError):
            break
        rows += [row] if isinstance(row, dict) else []
        at = BETWEEN_ROWS.match(text, end)
    if len(rows) == 1 and not text.lstrip().startswith("["):
        return [dict(row) for row in next(iter(rows_of_value(rows[0], path=path).parts.values()))]
    return rows


def _are_lists(schema: pa.Schema, columns: _Columns) -> bool:
    """Whether the columns of words and tags hold lists of texts or integers."""
    import pyarrow as pa

    return all(
        name is not None and (pa.types.is_list(kind := schema.field(name).type) or pa.types.is_large_list(kind))
        for name in columns.of(schema.names)
    )


def _holds_lists(cells: Any) -> bool:
    """Whether most cells that are not missing are lists, arrays, or lists written as text: a few may be broken."""
    filled = [cell for cell in cells if not is_missing(cell)]
    return sum(map(_is_list, filled)) > 0.5 * len(filled)


def _is_list(cell: Any) -> bool:
    if isinstance(cell, str):
        return cell.lstrip().startswith("[") and isinstance(read_literal(cell.strip()), list)
    return isinstance(cell, (list, tuple)) or getattr(cell, "ndim", 0) == 1
