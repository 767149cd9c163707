"""One JSON value -> rows: by rows, by columns, by split, below a key, and as pandas writes tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advisor.data.columns import TEXT_NAMES
from advisor.data.header import name_columns
from advisor.data.splits import SPLIT_NAMES, split_of_name
from tuner.errors import DataError

_DEEPEST_KEY = 3
"""How far below keys rows are looked for."""
_SENTENCE_NAMES = frozenset({"tokens", "words"})
"""Lists of these names are one sentence's words, not a column."""


@dataclass(frozen=True, kw_only=True)
class JsonRows:
    """Rows with their cells by name of column: all those of a file, or those of each split in it.

    ``parts`` are the rows by split, or ``all``; ``without_header`` says that columns were numbered since nothing names
    them.
    """

    parts: Mapping[str, Sequence[Mapping[str, Any]]]
    warnings: tuple[str, ...] = ()
    without_header: bool = False


def rows_of_value(value: Any, *, path: Path, header: bool | None = None, names: Sequence[str] = ()) -> JsonRows:
    """Find the rows in a JSON value: a list, or one object in a layout that is known here.

    Known are a list of objects or of lists of cells; an object of columns, as lists or, as pandas writes them, as
    objects from row to cell; pandas' ``split`` and ``table``; an object from a row's name to the row; an object of
    splits, each in any of these; and all of them below a key, beside what is no table. An object that holds a text and
    no table is one row.

    Args:
        value: a list or an object, as Python's ``json`` reads it.
        path: the file, for messages.
        header: whether the first of rows that are lists names the columns; None: it is judged by its look.
        names: columns that are known to be there.

    Raises:
        DataError: for any other layout, which the message names.

    >>> rows_of_value({"text": ["a", "b"], "label": [0, 1]}, path=Path("x.json")).parts["all"][1]
    {'text': 'b', 'label': 1}
    >>> rows_of_value({"version": 1, "data": {"train": [{"text": "a"}]}}, path=Path("x.json")).parts
    {'train': [{'text': 'a'}]}
    """
    parts, warnings = _parts_of(value, path, depth=0)
    if any(isinstance(row, list) for rows in parts.values() for row in rows):
        read = rows_of_lists(parts, path=path, header=header, names=names)
        return JsonRows(parts=read.parts, warnings=(*warnings, *read.warnings), without_header=read.without_header)
    for rows in parts.values():
        _refuse_nested(rows, path)
    return JsonRows(parts=parts, warnings=tuple(warnings))


def rows_of_lists(
    parts: Mapping[str, Sequence[Any]], *, path: Path, header: bool | None, names: Sequence[str]
) -> JsonRows:
    """Name the cells of rows that are lists of cells, of the same number everywhere.

    Args:
        parts: the rows by split, or ``all`` of them; the first row of each part may be its header.
        path: the file, for messages.
        header: whether the first row of a part names the columns; None: it is judged by its look.
        names: columns that are known to be there.

    Raises:
        DataError: for a row of another length, or that is no list.
    """
    read: dict[str, list[dict[str, Any]]] = {}
    warnings: tuple[str, ...] = ()
    numbered = False
    for split, rows in parts.items():
        width = len(rows[0]) if rows and isinstance(rows[0], list) else 0
        for number, row in enumerate(rows, 1):
            if not isinstance(row, list) or len(row) != width:
                what = f"{len(row):,} cells" if isinstance(row, list) else f"a JSON {kind_of(row)}"
                raise DataError(
                    f"{path}, row {number:,}: {what} where the first row is a list of {width:,}",
                    why="cells of rows without names are told by their place",
                    fix='write every row as an object, as in {"text": "...", "label": "..."}, one a line (JSONL)',
                )
        if not width:
            continue
        cells = [["" if cell is None else str(cell) for cell in row] for row in rows[:1000]]
        columns = name_columns(cells, place=path.name, header=header, known=names)
        numbered |= columns.without_header
        warnings = warnings or columns.warnings
        read[split] = [dict(zip(columns.names, row, strict=True)) for row in rows[columns.n_header :]]
    return JsonRows(parts=read or {"all": []}, warnings=warnings, without_header=numbered)


def kind_of(value: object) -> str:
    """The name that JSON has for a value's type."""
    kinds = ((bool, "boolean"), (dict, "object"), (list, "list"), (str, "string"), ((int, float), "number"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def _parts_of(value: Any, path: Path, *, depth: int) -> tuple[dict[str, list[Any]], list[str]]:
    """Rows by split, as objects or lists, and warnings."""
    if isinstance(value, list):
        return {"all": _checked_rows(value, path)}, []
    held = {name: item for name, item in value.items() if isinstance(item, (list, dict)) and item}
    rows = _split_oriented(value)
    rows = _by_columns(value, held, path) if rows is None else rows
    rows = _by_row_or_cell(value) if rows is None else rows
    if rows is not None:
        return {"all": rows}, []
    by_split = _by_split(held)
    if by_split:
        parts: dict[str, list[Any]] = {}
        warnings = []
        for split, name in by_split.items():
            below, of_part = _parts_of(held[name], path, depth=depth + 1)
            if set(below) != {"all"}:
                raise _no_table(value, path)
            parts[split] = below["all"]
            warnings += of_part
        unused = sorted(set(held) - set(by_split.values()))
        if unused:
            warnings.append(f"{path.name}: what stands below {_listed(unused)} was not used: no split is called so")
        return parts, warnings
    tables = [name for name, item in held.items() if isinstance(item, list) and isinstance(item[0], (dict, list))]
    below_keys = tables or [name for name in held if _holds_rows(held[name])] or list(held)
    scalars = {name: item for name, item in value.items() if not isinstance(item, (list, dict))}
    is_row = any(isinstance(item, str) and item.strip() for item in scalars.values()) and (depth == 0)
    if len(below_keys) == 1 and depth < _DEEPEST_KEY and not (is_row and _is_text_row(value)):
        item = held[below_keys[0]]
        if isinstance(item, dict) or isinstance(item[0], (dict, list)):
            return _parts_of(item, path, depth=depth + 1)
    if is_row or (depth == 0 and (not held or _SENTENCE_NAMES.intersection(value))):
        return {"all": [value]}, []
    raise _no_table(value, path)


def _checked_rows(rows: list[Any], path: Path) -> list[Any]:
    kind = list if rows and isinstance(rows[0], list) else dict
    for number, row in enumerate(rows, 1):
        if not isinstance(row, kind):
            raise DataError(
                f"{path}, row {number:,}: a JSON {kind_of(row)} where an object is expected",
                why='rows are objects with named values, as in {"text": "...", "label": "..."}',
                fix="write every row as an object with the same names",
            )
    return rows


def _split_oriented(value: Mapping[str, Any]) -> list[Any] | None:
    """``{"columns": [...], "index": [...], "data": [[...]]}``, pandas' ``orient="split"``."""
    columns, data = value.get("columns"), value.get("data")
    if not isinstance(columns, list) or not isinstance(data, list) or not columns:
        return None
    if not all(isinstance(row, list) and len(row) == len(columns) for row in data):
        return None
    if any(isinstance(name, (dict, list)) for name in columns):
        return None
    names = [str(name) for name in columns]
    return [dict(zip(names, row, strict=True)) for row in data]


def _by_columns(value: Mapping[str, Any], held: Mapping[str, Any], path: Path) -> list[Any] | None:
    """``{"text": [...], "label": [...]}``: lists of cells, and no more unless one has a usual name for texts."""
    lists = {name: item for name, item in held.items() if isinstance(item, list)}
    if not lists or len(lists) < len(held) or _SENTENCE_NAMES.intersection(value):
        return None
    if any(isinstance(cell, dict) for cells in lists.values() for cell in cells):
        return None
    named_as_texts = any(name.strip().lower() in tier for name in lists for tier in TEXT_NAMES)
    if len(lists) < len(value) and not named_as_texts:
        return None
    if len(lists) == 1 and isinstance(next(iter(lists.values()))[0], list):
        return None  # rows below a key
    if any(split_of_name(name) is not None and isinstance(cells[0], list) for name, cells in lists.items()):
        return None  # rows by split
    lengths = {name: len(cells) for name, cells in lists.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} ({length:,})" for name, length in list(lengths.items())[:5])
        raise DataError(
            f"{path}: its JSON holds lists of different lengths: {shown}",
            why="they are read as columns, and the n-th cells of all of them as row n",
            fix='make them equally long, or write the rows as JSONL: one {"text": "...", "label": "..."} a line',
        )
    return [dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True)]


def _by_row_or_cell(value: Mapping[str, Any]) -> list[Any] | None:
    """Objects of objects: ``{"text": {"0": ...}}`` by columns, as pandas writes it, or ``{"0": {"text": ...}}``."""
    inner = list(value.values())
    if not inner or not all(isinstance(item, dict) and item for item in inner):
        return None
    if any(isinstance(cell, dict) or _is_rows(cell) for item in inner for cell in item.values()):
        return None
    if all(split_of_name(name) is not None for name in value) and all(
        isinstance(cell, list) for item in inner for cell in item.values()
    ):
        return None  # columns by split
    keys = dict.fromkeys(key for item in inner for key in item)
    by_columns = all(key.isdigit() for key in keys) and not all(name.isdigit() for name in value)
    if all(isinstance(cell, list) for item in inner for cell in item.values()) and len(value) == 1:
        return None  # columns below a key
    if by_columns or (len(keys) > len(value) and all(item.keys() == inner[0].keys() for item in inner)):
        return [{name: item.get(key) for name, item in value.items()} for key in keys]
    if len(value) < 2:
        return None
    return inner


def _by_split(held: Mapping[str, Any]) -> dict[str, str]:
    """The key of each split whose value could be a table; nothing where two mean one split and neither is its name."""
    found: dict[str, str] = {}
    for name, item in held.items():
        split = split_of_name(name)
        if split is None or SPLIT_NAMES.get(found.get(split, "").lower()) == split:
            continue
        cells = list(item.values()) if isinstance(item, dict) else item
        if not isinstance(cells[0], (dict, list)) or (split in found and SPLIT_NAMES.get(name.lower()) != split):
            return {}
        found[split] = name
    order = ("all", "train", "validation", "test")
    return {split: found[split] for split in order if split in found}


def _is_rows(item: Any) -> bool:
    return isinstance(item, list) and bool(item) and isinstance(item[0], dict)


def _holds_rows(item: Any, *, depth: int = 0) -> bool:
    """Whether a list of objects lies in it, below a few keys."""
    if _is_rows(item):
        return True
    below = isinstance(item, dict) and depth < _DEEPEST_KEY
    return below and any(_holds_rows(inner, depth=depth + 1) for inner in item.values())


def _is_text_row(value: Mapping[str, Any]) -> bool:
    """Whether the object itself has a text by its usual name."""
    return any(
        isinstance(item, str) and any(name.lower() in tier for tier in TEXT_NAMES) for name, item in value.items()
    )


def _refuse_nested(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Raise where texts lie in lists of objects within the rows, as in SQuAD: title, paragraphs, questions, answers."""
    usual = {name for tier in TEXT_NAMES[:2] for name in tier}
    some = rows[:100]
    scalars = {name for row in some for name, cell in row.items() if not isinstance(cell, (dict, list, type(None)))}
    inside = sorted(
        {
            name
            for row in some
            for name, cell in row.items()
            if isinstance(cell, list) and cell and isinstance(cell[0], dict)
        }
    )
    if inside and len(scalars) < 2 and not any(name.lower() in usual for name in scalars):
        raise DataError(
            f"{path}: its JSON is nested: {_listed(inside)} holds lists of objects within each row, as in SQuAD",
            why="a row is one text, or pair of texts, and its label",
            fix='write the texts as rows, one object a line (JSONL): {"text": "...", "label": "..."}',
        )


def _no_table(value: Mapping[str, Any], path: Path) -> DataError:
    return DataError(
        f"{path} is one JSON object with the keys {_listed(list(value))}, and it is not clear which rows it holds",
        why="rows are read from a list of objects, from lists by column, or from such tables by split or below one key",
        fix='write the rows as JSONL: one object a line, as in {"text": "...", "label": "..."}',
    )


def _listed(names: Sequence[str]) -> str:
    shown = [name if len(name) <= 40 else name[:39] + "…" for name in names[:5]]
    return ", ".join(map(repr, shown)) + (", ..." if len(names) > 5 else "")
