"""Files, folders and data in memory -> tagged sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.data.conll import is_conll, read_conll
from advisor.data.files import (
    FORMATS,
    detect_encoding,
    features_in,
    python_stream,
    read_file,
    read_head,
    refuse_binary,
    refuse_repeated,
)
from advisor.data.json_tables import json_rows
from advisor.data.read import loaded_from_hub, missing_file
from advisor.data.schemes import OUTSIDE, illegal_transitions, ordered_tags, regular_tags, tag_scheme
from advisor.data.split_files import splits_of_names
from advisor.data.splits import SPLITS
from advisor.data.tables import HubDataset, Tables, known_splits, only, refuse_no_rows, with_training_rows
from advisor.data.tagged import (
    DOCUMENT,
    TaggedData,
    TaggedSentences,
    check_numbers,
    has_no_tags,
    is_placeholder,
    named_columns,
    notes_on_sentences,
    refuse_numbers,
    tagged_table,
)
from advisor.data.tagged_glance import TAG_NAMES, TOKEN_NAMES, column_named, is_saved_dataset, splits_of_folder
from tuner.errors import DataError, OptionError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa


def read_tagged(
    data: Any,
    *,
    text: str | None = None,
    label: str | None = None,
    group: str | None = None,
    tag_names: Sequence[str] | None = None,
    split: str | None = None,
) -> TaggedData:
    """Read sentences and the tags of their words, and check them.

    `data` is a CoNLL file (one word a line, the first column the word and the last one its tag, separated by tabs or
    spaces, a blank line between sentences); a JSONL, JSON, Parquet or CSV file, data frame, hub id or `datasets`
    object whose columns `text` and `label` (guessed by name: ``tokens``, ``tags``, ``ner_tags``...) hold lists, arrays,
    or lists written as JSON; (tokens, tags); a folder with train.*, and validation.* and test.* where there are such;
    or a dictionary of splits. Integer tags are positions in `tag_names`, by default the names in the dataset's own
    features. What sentences belong to is in the column `group`; in a CoNLL file with two ``-DOCSTART-`` lines or more
    it is the document.

    Raises `DataError` where tags do not match the words in number or belong to no scheme, `OptionError` where columns
    of a CoNLL file are named, and `MissingFileError`.
    """
    tables, columns, names = _read_any(data, text=text, label=label, group=group, tag_names=tag_names)
    tables = only(tables, split) if split is not None else with_training_rows(tables)
    places = {part: tables.place if part == "all" else f"the {part} split of {tables.place}" for part in tables.parts}
    parts: dict[str, tuple[list[list[str]], list[list[str]]]] = {}
    groups: dict[str, tuple[str | None, ...]] = {}
    empty: dict[str, int] = {}
    unlabelled = [part for part, table in tables.parts.items() if part in SPLITS[1:] and has_no_tags(table)]
    for part, table in tables.parts.items():
        if part in unlabelled:
            continue
        tokens = table.column("tokens").to_pylist()
        tags = [row or [] for row in table.column("tags").to_pylist()]
        refuse_numbers(tags, place=places[part])
        check_numbers(tokens, tags, place=places[part])
        kept = [row for row, words in enumerate(tokens) if words]
        if not kept:
            raise DataError(
                f"{places[part]} holds no words", why="every sentence is empty", fix="pass tagged sentences"
            )
        empty[part] = len(tokens) - len(kept)
        parts[part] = [tokens[row] for row in kept], [tags[row] for row in kept]
        of_rows = table.column("groups").to_pylist()
        groups[part] = tuple(of_rows[row] for row in kept)
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


def read_sentences(data: Any, *, text: str | None = None) -> tuple[list[list[str]], tuple[str, ...]]:
    """The words of sentences without need of tags, in order and none dropped, and warnings.

    `data` is as for `read_tagged`, its tags left out, or a list of lists of words; of several splits, the test split.
    In a CoNLL file a line may hold a word alone; a ``.txt`` file that is none holds a sentence a line, its words
    between spaces. Raises `DataError` for anything else.

    >>> read_sentences([["EU", "rejects"], ["lamb"]])
    ([['EU', 'rejects'], ['lamb']], ())
    """
    if isinstance(data, list) and all(isinstance(words, (list, tuple)) for words in data):
        return tagged_table(data, place="the data").column("tokens").to_pylist(), ()
    tables, _, _ = _read_any(data, text=text, label=None, labelled=False)
    table = tables.parts.get("test", next(iter(tables.parts.values())))
    return table.column("tokens").to_pylist(), tables.warnings


# --- reading: files, folders, data in memory


def _read_any(
    data: Any,
    *,
    text: str | None,
    label: str | None,
    group: str | None = None,
    tag_names: Sequence[str] | None = None,
    labelled: bool = True,
) -> tuple[Tables, dict[str, str], tuple[str, ...]]:
    """Tables of ``tokens``, ``tags`` (both lists) and ``groups``, the columns' own names, and names of tags in order.

    Every part's numbers are named by its own list, since lists may differ in order, or by `tag_names`. Where they need
    not be `labelled`, tags may be empty.
    """
    reader = _Reader(text=text, label=label, group=group, tag_names=tag_names, labelled=labelled)
    data = loaded_from_hub(data)
    if isinstance(data, (str, Path)):
        path = Path(data).expanduser()
        if path.is_dir():
            tables = reader.folder(path)
        elif path.is_file():
            part = reader.file(path)
            tables = Tables(name=path.stem, place=str(path), parts={"all": part})
        else:
            raise missing_file(path)
    elif isinstance(data, HubDataset):
        tables = Tables(name=data.name, place=data.place, parts=reader.splits(data.splits, place=data.place))
    elif isinstance(data, Mapping):
        parts = {}
        split_of = {name: split for split, names in splits_of_names(map(str, data)).items() for name in names}
        for name, given in data.items():
            if str(name) not in split_of:
                raise DataError(
                    f"a dictionary with the key {name!r} cannot be read." + did_you_mean(str(name), ("all", *SPLITS)),
                    why="its keys are splits",
                    fix="name them train, validation and test, or all",
                )
            parts[split_of[str(name)]] = reader.memory(given, place=f"the data: {name}")
        tables = Tables(name="data", place="the data", parts=parts)
    else:
        tables = Tables(name="data", place="the data", parts={"all": reader.memory(data, place="the data")})
    return replace(tables, warnings=tuple(reader.warnings)), reader.columns, tuple(reader.names)


class _Reader:
    """Reads parts of one dataset; remembers the columns, the names of all parts' numbered tags, and warnings."""

    def __init__(
        self,
        *,
        text: str | None,
        label: str | None,
        group: str | None,
        tag_names: Sequence[str] | None,
        labelled: bool,
    ) -> None:
        self._text, self._label, self._group, self._labelled = text, label, group, labelled
        self._tag_names = tag_names
        self.columns: dict[str, str] = {}
        self.names: dict[str, None] = {}
        self.warnings: list[str] = []

    def folder(self, folder: Path) -> Tables:
        if is_saved_dataset(folder):
            import datasets

            saved = datasets.load_from_disk(str(folder))
            given = saved if isinstance(saved, dict) else {"all": saved}
            parts = self.splits(given, place=str(folder))
            return Tables(name=folder.resolve().name, place=str(folder), parts=parts)
        found = splits_of_folder(folder)
        files = found.files
        if not files:
            raise DataError(
                f"the folder {folder} has no file named train.*, validation.*, test.* or all.*",
                why="tagged sentences are read from such files (conll, txt, tsv, jsonl, parquet...)",
                fix="name the files so, or pass a single file",
            )
        parts = {}
        self.warnings += found.notes(folder)
        for split in ("all", *SPLITS):
            if split in files:
                parts[split] = _below(self.file(path) for path in files[split])
        return Tables(name=folder.resolve().name, place=str(folder), parts=parts)

    def splits(self, given: Mapping[str, Any], *, place: str) -> dict[str, pa.Table]:
        """The splits of a `datasets.DatasetDict`."""
        known, ignored = known_splits(given, place=place)
        if ignored:
            self.warnings.append(f"{place} has splits that were ignored: {', '.join(ignored)}")
        return {name: self.memory(part, place=f"{place}, {name}") for name, part in known.items()}

    def file(self, path: Path) -> pa.Table:
        if is_conll(path):
            self._refuse_columns(path)
            self.columns = {"text": "first column", "label": "last column"}
            tokens, tags, documents, warnings = read_conll(path, labelled=self._labelled)
            self.warnings += warnings
            return tagged_table(tokens, tags, documents, place=str(path))
        if not self._labelled and path.suffix.lower() == ".txt":
            head = read_head(path)
            refuse_binary(path, head)
            encoding, warning = detect_encoding(path, head)
            self.warnings += [warning] if warning else []
            with python_stream(path, encoding) as stream:
                lines = stream.read().decode("utf-8").split("\n")
            words = [line.split() for line in lines[: -1 if lines[-1] == "" else None]]
            refuse_no_rows(len(words), place=str(path))
            return tagged_table(words, place=str(path))
        result = read_file(path)
        self.warnings += result.warnings
        if result.parts:
            raise DataError(
                f"{path} holds several splits: {', '.join(result.parts)}",
                why="a file of tagged sentences is read as one split",
                fix="save every split as a file of its own: train.jsonl, validation.jsonl, test.jsonl in one folder",
            )
        chosen = self._choose(result.table.column_names, place=str(path))
        if path.read_bytes()[:4] == b"PAR1":
            return self._parquet(path, chosen)
        columns = {role: result.table.column(name) for role, name in chosen.items()}
        if FORMATS.get(path.suffix.lower()) == "json" and any(is_placeholder(cells.type) for cells in columns.values()):
            encoding, _ = detect_encoding(path, read_head(path))
            # Values of several kinds in one list, or a file that is one value.
            rows = list(json_rows(path, encoding).parts["all"])
            return self._table(
                {role: [row.get(name) for row in rows] for role, name in chosen.items()}, place=str(path)
            )
        return self._table({role: cells.to_pylist() for role, cells in columns.items()}, place=str(path))

    def _refuse_columns(self, path: Path) -> None:
        """Raise `OptionError` where columns are named for a CoNLL file, whose columns have no names."""
        for option, name in (("--text", self._text), ("--label", self._label)):
            if name is not None:
                raise OptionError(
                    f"{option} {name} does not go with {path}: it is a CoNLL file",
                    why="its columns have no names: the first holds the words and the last one the tags",
                    fix=f"omit {option}, or pass a table whose columns hold lists",
                )
        if self._group is not None:
            raise OptionError(
                f"--group does not go with tagged sentences in a CoNLL file such as {path}",
                why=f"its columns have no names; lines that begin with {DOCUMENT} mark its documents",
                fix=f"omit --group: documents between {DOCUMENT} lines are kept whole where splits are made",
            )

    def _parquet(self, path: Path, chosen: Mapping[str, str]) -> pa.Table:
        from pyarrow import parquet

        table = parquet.read_table(path, columns=list(chosen.values()))
        feature = features_in(table.schema.metadata).get(chosen.get("label", ""), {})
        inner = feature.get("feature", {})
        names = inner.get("names", ()) if isinstance(inner, dict) and inner.get("_type") == "ClassLabel" else ()
        cells = {role: table.column(name).to_pylist() for role, name in chosen.items()}
        return self._table(cells, names=tuple(map(str, names)), place=str(path))

    def memory(self, data: Any, *, place: str) -> pa.Table:
        if hasattr(data, "columns") and hasattr(data, "iloc"):
            names = [str(name) for name in data.columns]
            refuse_repeated(names, place=place)
            refuse_no_rows(len(data), place=place)
            by_name = dict(zip(names, data.columns, strict=True))
            chosen = self._choose(names, place=place)
            return self._table({role: data[by_name[name]].tolist() for role, name in chosen.items()}, place=place)
        if hasattr(data, "features") and hasattr(data, "column_names"):
            refuse_no_rows(len(data), place=place)
            chosen = self._choose(data.column_names, place=place)
            rows = data.select_columns(list(chosen.values())).with_format("arrow")[:]
            inner = getattr(data.features[chosen["label"]], "feature", None) if "label" in chosen else None
            of_tags = tuple(getattr(inner, "names", ()))  # of a list of ClassLabel
            return self._table(
                {role: rows.column(name).to_pylist() for role, name in chosen.items()}, names=of_tags, place=place
            )
        if isinstance(data, (tuple, list)) and len(data) == 2 and not any(isinstance(part, str) for part in data):
            tokens, tags = list(data[0]), list(data[1])
            if len(tokens) != len(tags):
                raise DataError(
                    f"{len(tokens):,} sentences but {len(tags):,} rows of tags",
                    why="the n-th row of tags belongs to the n-th sentence",
                    fix="pass two lists of the same length",
                )
            refuse_no_rows(len(tokens), place=place)
            if self._group is not None:
                raise OptionError(
                    "--group does not go with tagged sentences that are given as lists",
                    why="it names a column",
                    fix="pass a table, such as a data frame with tokens, tags and that column",
                )
            self.columns = {"text": "tokens", "label": "tags"}
            return self._table({"text": tokens, "label": tags}, place=place)
        raise DataError(
            f"tagged sentences cannot be read from data of type {type(data).__name__}",
            why="words and tags are looked for in tables and lists",
            fix="pass a path, a data frame or datasets.Dataset with tokens and tags, or (tokens, tags)",
        )

    def _table(self, cells: Mapping[str, Sequence[Any]], *, names: Sequence[str] = (), place: str) -> pa.Table:
        """Cells as lists (`tagged_table`), numbered tags named by the caller's list, or else by this part's own."""
        names = names if self._tag_names is None else self._tag_names
        self.names |= dict.fromkeys(names)
        return named_columns(
            tagged_table(cells["text"], cells.get("label"), cells.get("group"), place=place), names, place=place
        )

    def _choose(self, names: Sequence[str], *, place: str) -> dict[str, str]:
        """The columns of words (``text``) and tags (``label``), by the options or by name, and of groups if named.

        Tags are left out where they are not needed.
        """
        chosen = []
        wanted = (("--text", self._text, TOKEN_NAMES), ("--label", self._label, TAG_NAMES))
        for option, given, usual in wanted if self._labelled else wanted[:1]:
            name = given if given is not None else column_named(names, usual)
            if name is None or name not in names:
                what = "words" if option == "--text" else "tags"
                raise DataError(
                    f"{place} has no column '{given}'.{did_you_mean(given, names)}"
                    if given is not None
                    else f"{place}: it is not clear which column holds the {what}",
                    why=f"{option} names it" if given is not None else f"none is called {', '.join(usual[:3])}...",
                    fix=f"pass {option} with one of: {', '.join(names)}",
                )
            chosen.append(name)
        self.columns = dict(zip(("text", "label"), chosen, strict=False))
        if self._group is not None:
            if self._group not in names:
                raise DataError(
                    f"{place} has no column '{self._group}'.{did_you_mean(self._group, names)}",
                    why="--group names it",
                    fix=f"pass --group with one of: {', '.join(names)}",
                )
            if self._group in chosen:
                raise OptionError(
                    f"--group names the column '{self._group}', which holds words or tags",
                    why="sentences of a group stay in one split, and every sentence would be a group of its own",
                    fix="omit --group, or name the column of what belongs together, such as a document",
                )
            self.columns["group"] = self._group
        return self.columns


def _below(tables: Iterator[pa.Table]) -> pa.Table:
    import pyarrow as pa

    parts = list(tables)
    if len({str(part.schema.field("tags").type) for part in parts}) == 1:
        return pa.concat_tables(parts)
    raise DataError(
        "the files of one split hold tags of different kinds, names and numbers",
        why="they are read as one",
        fix="save them alike",
    )
