"""Tables with words and tags in their columns -> tagged sentences: the columns chosen, the cells read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.data.cells import holds_lists, is_missing, is_placeholder, keeps_lists, read_literal
from advisor.data.conll import is_conll
from advisor.data.files import read_file, read_lines
from advisor.data.opened import open_file
from advisor.data.read import read_data, tables_of_file
from advisor.data.schemes import OUTSIDE, illegal_transitions, ordered_tags, regular_tags, tag_scheme
from advisor.data.splits import SPLITS
from advisor.data.tables import Tables, only, with_training_rows
from advisor.data.tagged import (
    DOCUMENT,
    TaggedData,
    TaggedSentences,
    check_numbers,
    notes_on_sentences,
    refuse_numbers,
)
from tuner.errors import DataError, OptionError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa


TOKEN_NAMES = ("tokens", "words", "token", "word")
TAG_NAMES = ("tags", "ner_tags", "labels", "ner", "entities", "tag", "label", "named_entity")


def read_tagged(
    data: Any,
    *,
    text: str | None = None,
    label: str | None = None,
    group: str | None = None,
    tag_names: Sequence[str] | None = None,
    split: str | None = None,
) -> TaggedData:
    """Read sentences and the tags of their words from data of any kind (`advisor.data.read.read_data`).

    Args:
        data: a path, hub id, data frame, `datasets` object, or (sentences, tags) in lists.
        text: the column of words; None to go by its name.
        label: the column of tags; None to go by its name.
        group: the column of what sentences belong to; None where there is none.
        tag_names: names of tags that are numbers, by position; None for those in the dataset's own features.
        split: the only split to use; None for all.

    Raises:
        TransferError: what `advisor.data.read.read_data` and `tagged_data` raise.
    """
    return tagged_data(read_data(data), text=text, label=label, group=group, tag_names=tag_names, split=split)


def read_sentences(data: Any, *, text: str | None = None) -> tuple[list[list[str]], tuple[str, ...]]:
    """Read the words of sentences that need no tags, in order and none dropped, and warnings.

    `data` is as for `read_tagged`, its tags left out, or a list of lists of words; of several splits, the test split.
    In a CoNLL file a line may hold a word alone; a ``.txt`` file that is none holds a sentence a line, its words
    between spaces. Raises `DataError` for anything else.

    >>> read_sentences([["EU", "rejects"], ["lamb"]])
    ([['EU', 'rejects'], ['lamb']], ())
    """
    if isinstance(data, list) and all(isinstance(words, (list, tuple)) for words in data):
        return _words(data, place="the data"), ()
    if isinstance(data, (str, Path)) and (path := Path(data).expanduser()).suffix.lower() == ".txt" and path.is_file():
        file = open_file(path)
        if not is_conll(file):
            lines = read_lines(file)
            return [line.split() for line in lines.table.column("line").to_pylist()], lines.warnings
        tables = tables_of_file(path, read_file(file, labelled=False))
    else:
        tables = read_data(data, labelled=False)
    part = "test" if "test" in tables.parts else next(iter(tables.parts))
    chosen = _choose(tables, part, text=text, label=None, group=None, labelled=False)
    place = _place(tables)
    return _words(tables.parts[part].column(chosen["text"]).to_pylist(), place=place), tables.warnings


def holds_sentences(tables: Tables, *, text: str | None = None, label: str | None = None) -> bool:
    """Whether tables hold sentences of tagged words: what was read of CoNLL files, or lists in the columns of both.

    `text` and `label` name the columns that are looked at, where the user named them.
    """
    part, table = next(iter(tables.parts.items()))
    if part in tables.conll:
        return True
    names = [
        column_named(table.column_names, usual) if name is None else name if name in table.column_names else None
        for name, usual in ((text, TOKEN_NAMES), (label, TAG_NAMES))
    ]
    return all(name is not None and _are_lists(table.column(name)) for name in names)


def _are_lists(column: pa.ChunkedArray) -> bool:
    """Whether a column holds lists, or its first cells lists that are written as text: a few may be broken."""
    if keeps_lists(column.type):
        return not is_placeholder(column)
    return holds_lists(column.slice(0, 100).to_pylist())


def column_named(names: Sequence[str], usual: Sequence[str]) -> str | None:
    """The column with the first of the `usual` names that any column has, in any case; None where none has one."""
    lowered = {name.strip().lower(): name for name in reversed(names)}
    return next((lowered[name] for name in usual if name in lowered), None)


# --- sentences of all parts


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The cells of a part as lists; tags are names, or numbers where all are."""

    tokens: list[list[str]]
    tags: list[list[Any]]
    groups: list[str | None]


def tagged_data(
    tables: Tables,
    *,
    text: str | None = None,
    label: str | None = None,
    group: str | None = None,
    tag_names: Sequence[str] | None = None,
    split: str | None = None,
) -> TaggedData:
    """Take tagged sentences out of tables, and check them.

    Args:
        tables: of all splits; words and tags are columns of lists, or of lists written as JSON.
        text: the column of words; None to go by its name (``tokens``, ``words``...).
        label: the column of tags; None to go by its name (``tags``, ``ner_tags``...).
        group: the column of what sentences belong to; None where there is none. In a CoNLL file with two ``-DOCSTART-``
            lines or more it is the document.
        tag_names: what integer tags are positions in; None for the names in the dataset's own features.
        split: the only split to use; None for all.

    Raises:
        DataError: where tags do not match the words in number or belong to no scheme.
        OptionError: where columns of a CoNLL file are named.
    """
    tables = replace(tables, place=_place(tables))
    tables = only(tables, split) if split is not None else with_training_rows(tables)
    places = {part: tables.place if part == "all" else f"the {part} split of {tables.place}" for part in tables.parts}
    columns: dict[str, str] = {}
    names: dict[str, None] = {}
    read: dict[str, _Part] = {}
    for part, table in tables.parts.items():
        columns = _choose(tables, part, text=text, label=label, group=group)
        own = tables.item_names.get(columns["label"], ()) if tag_names is None else tag_names
        names |= dict.fromkeys(own)
        cells = _read_part(table, columns, place=places[part])
        read[part] = replace(cells, tags=_named(cells.tags, own, known=tag_names is not None, place=places[part]))
        if part in tables.conll:
            columns = {"text": "first column", "label": "last column"}
    parts: dict[str, tuple[list[list[str]], list[list[str]]]] = {}
    groups: dict[str, tuple[str | None, ...]] = {}
    empty: dict[str, int] = {}
    unlabelled = [part for part, cells in read.items() if part in SPLITS[1:] and _has_no_tags(cells.tags)]
    for part, cells in read.items():
        if part in unlabelled:
            continue
        refuse_numbers(cells.tags, place=places[part])
        check_numbers(cells.tokens, cells.tags, place=places[part])
        kept = [row for row, words in enumerate(cells.tokens) if words]
        if not kept:
            raise DataError(
                f"{places[part]} holds no words", why="every sentence is empty", fix="pass tagged sentences"
            )
        empty[part] = len(cells.tokens) - len(kept)
        parts[part] = [cells.tokens[row] for row in kept], [cells.tags[row] for row in kept]
        groups[part] = tuple(cells.groups[row] for row in kept)
    every = [row for _, tags in parts.values() for row in tags]
    renamed, warnings = regular_tags({tag for row in every for tag in row}, place=tables.place)
    parts = {part: (tokens, [[renamed[tag] for tag in row] for row in tags]) for part, (tokens, tags) in parts.items()}
    every = [row for _, tags in parts.values() for row in tags]
    scheme = tag_scheme(every, place=tables.place)
    used = {tag for row in every for tag in row}
    order = [renamed[name] for name in names if name in renamed]
    if not used <= set(order):
        order = ordered_tags({OUTSIDE, *used})
    result = {
        part: TaggedSentences(
            tokens=tuple(map(tuple, tokens)),
            tags=tuple(map(tuple, tags)),
            tag_names=tuple(order),
            scheme=scheme,
            n_empty=empty[part],
            n_illegal=sum(len(illegal_transitions(row, scheme=scheme)) for row in tags),
            groups=groups[part] if any(name is not None for name in groups[part]) else (),
        )
        for part, (tokens, tags) in parts.items()
    }
    warnings += [f"{places[part]} has no tags: it was not used" for part in unlabelled]
    for part, sentences in result.items():
        warnings += notes_on_sentences(sentences, place=places[part])
    return TaggedData(
        name=tables.name,
        place=tables.place,
        parts=result,
        columns=columns,
        warnings=(*tables.warnings, *warnings),
    )


def _place(tables: Tables) -> str:
    return "the data" if tables.in_memory else tables.place


def _has_no_tags(tags: Sequence[Sequence[Any]]) -> bool:
    """Whether a split's tags are masked, as contests do: all missing, or all numbers below 0."""
    return all(isinstance(tag, int) and tag < 0 for row in tags for tag in row)


def _named(tags: list[list[Any]], names: Sequence[str], *, known: bool, place: str) -> list[list[Any]]:
    """Names in place of numbers, which are positions in `names`; masked tags, all below 0, stay.

    Where the names are not `known` but the dataset's own, its numbers were named when it was read, as far as they can
    be (`advisor.data.cells.names_of_items`).
    """
    numbers = {tag for row in tags for tag in row}
    if not names or not numbers or not all(isinstance(tag, int) for tag in numbers) or max(numbers) < 0:
        return tags
    if not known or min(numbers) < 0 or max(numbers) >= len(names):
        raise DataError(
            f"{place}: tag {min(numbers) if min(numbers) < 0 else max(numbers)} has no name",
            why=f"there are {len(names)} names, counted from 0",
            fix="repair the names of the tags, or the tags",
        )
    return [[names[tag] for tag in row] for row in tags]


# --- columns


def _choose(
    tables: Tables, part: str, *, text: str | None, label: str | None, group: str | None, labelled: bool = True
) -> dict[str, str]:
    """The columns of words (``text``) and tags (``label``), by the options or by name, and of groups if named.

    Tags are left out where they are not needed. Of a CoNLL file columns have their place, and groups are documents.
    """
    table, place = tables.parts[part], _place(tables)
    names = table.column_names
    if part in tables.conll:
        _refuse_columns(tables.conll[part], text=text, label=label, group=group)
        return {role: name for role, name in _OF_CONLL.items() if name in names}
    chosen: dict[str, str] = {}
    wanted = (("text", text, TOKEN_NAMES), ("label", label, TAG_NAMES))
    for role, given, usual in wanted if labelled else wanted[:1]:
        name = given if given is not None else column_named(names, usual)
        if name is None or name not in names:
            what = "words" if role == "text" else "tags"
            raise DataError(
                f"{place} has no column '{given}'.{did_you_mean(given, names)}"
                if given is not None
                else f"{place}: it is not clear which column holds the {what}",
                why=f"--{role} names it" if given is not None else f"none is called {', '.join(usual[:3])}...",
                fix=f"pass --{role} with one of: {', '.join(names)}",
            )
        chosen[role] = name
    if group is None:
        return chosen
    if tables.in_lists:
        raise OptionError(
            "--group does not go with tagged sentences that are given as lists",
            why="it names a column",
            fix="pass a table, such as a data frame with tokens, tags and that column",
        )
    if group not in names:
        raise DataError(
            f"{place} has no column '{group}'.{did_you_mean(group, names)}",
            why="--group names it",
            fix=f"pass --group with one of: {', '.join(names)}",
        )
    if group in chosen.values():
        raise OptionError(
            f"--group names the column '{group}', which holds words or tags",
            why="sentences of a group stay in one split, and every sentence would be a group of its own",
            fix="omit --group, or name the column of what belongs together, such as a document",
        )
    return {**chosen, "group": group}


_OF_CONLL = {"text": "tokens", "label": "tags", "group": "document"}


def _refuse_columns(path: str, *, text: str | None, label: str | None, group: str | None) -> None:
    """Raise `OptionError` where columns are named for a CoNLL file, whose columns have no names."""
    for option, name in (("--text", text), ("--label", label)):
        if name is not None:
            raise OptionError(
                f"{option} {name} does not go with {path}: it is a CoNLL file",
                why="its columns have no names: the first holds the words and the last one the tags",
                fix=f"omit {option}, or pass a table whose columns hold lists",
            )
    if group is not None:
        raise OptionError(
            f"--group does not go with tagged sentences in a CoNLL file such as {path}",
            why=f"its columns have no names; lines that begin with {DOCUMENT} mark its documents",
            fix=f"omit --group: documents between {DOCUMENT} lines are kept whole where splits are made",
        )


# --- cells


def _read_part(table: pa.Table, columns: dict[str, str], *, place: str) -> _Part:
    """The cells of the columns: words as texts, tags as texts, or as numbers where all are."""
    tags = [
        [_whole(tag) for tag in _items(cell, row, place=place)]
        for row, cell in enumerate(table.column(columns["label"]).to_pylist())
    ]
    if not all(isinstance(tag, int) for row in tags for tag in row):
        tags = [["" if tag is None else _clean(str(tag)).strip() for tag in row] for row in tags]
    of_groups: list[Any] = [None] * len(tags)
    if "group" in columns:
        of_groups = _group_cells(table.column(columns["group"]), place=place)
    return _Part(
        tokens=_words(table.column(columns["text"]).to_pylist(), place=place),
        tags=tags,
        groups=[_group_name(cell, row, place=place) for row, cell in enumerate(of_groups)],
    )


def _words(cells: Sequence[Any], *, place: str) -> list[list[str]]:
    return [
        [_word(word, row, place=place) for word in _items(cell, row, place=place)] for row, cell in enumerate(cells)
    ]


def _group_cells(column: pa.ChunkedArray, *, place: str) -> list[Any]:
    """The cells, those of which a reader kept nothing as empty objects."""
    return [{}] * len(column) if is_placeholder(column) else column.to_pylist()


def _items(cell: Any, row: int, *, place: str) -> list[Any]:
    """A cell's list, or list written as text (JSON or Python); nothing of a missing cell."""
    if is_missing(cell):
        return []
    if isinstance(cell, str):
        cell = read_literal(cell.strip())
    if isinstance(cell, (list, tuple)):
        return list(cell)
    raise DataError(
        f"{place}, row {row + 1:,}: the cell holds no list",
        why="a row is a sentence, as a list of its words beside a list of their tags",
        fix='write the lists as JSON, such as ["EU", "rejects"] and ["B-org", "O"], or pass a CoNLL file',
    )


def _word(word: Any, row: int, *, place: str) -> str:
    word = word.item() if isinstance(word, np.generic) else word
    if word is None or isinstance(word, (str, int, float)):
        return "" if word is None else _clean(str(word))
    raise DataError(
        f"{place}, row {row + 1:,}: a word is of type {type(word).__name__}, not text",
        why="the words are given to a tokenizer",
        fix="write a sentence as a flat list of words",
    )


def _group_name(cell: Any, row: int, *, place: str) -> str | None:
    """The name of a group, the same for 3 and 3.0; None for a missing cell."""
    if isinstance(cell, (list, tuple, dict, bytes)) or getattr(cell, "ndim", 0) > 0:
        raise DataError(
            f"{place}, row {row + 1:,}: the group is of type {type(cell).__name__}",
            why="--group needs one text, number or name a row",
            fix="write one value a row into that column, or name another column with --group",
        )
    return None if is_missing(cell) else _clean(str(_whole(cell)))


def _whole(tag: Any) -> Any:
    """3.0 and True as integers: tables with gaps turn class numbers into floats."""
    tag = tag.item() if isinstance(tag, np.generic) else tag
    if isinstance(tag, float) and tag.is_integer():
        return int(tag)
    return int(tag) if isinstance(tag, bool) else tag


def _clean(text: str) -> str:
    """Without halves of surrogate pairs, which JSON can spell but UTF-8 cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
