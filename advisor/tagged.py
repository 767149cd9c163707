"""Tagged sentences of any kind -> `TaggedSentences`: words and their entity tags, read, checked and counted."""

from __future__ import annotations

import ast
import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from advisor.files import (
    CONLL_SUFFIXES,
    FORMATS,
    detect_encoding,
    features_in,
    first_rows,
    python_stream,
    read_file,
    read_head,
    refuse_binary,
    refuse_repeated,
)
from advisor.json_layouts import rows_of_value
from advisor.json_tables import json_rows
from advisor.split_files import SplitFiles, find_split_files, splits_of_names
from advisor.splits import SPLITS
from advisor.tables import (
    HubDataset,
    Tables,
    known_splits,
    loaded_from_hub,
    missing_file,
    only,
    refuse_no_rows,
    with_training_rows,
)
from tuner.entities import count_types, find_entities
from tuner.errors import DataError, OptionError, did_you_mean
from tuner.records import Record

if TYPE_CHECKING:
    import pyarrow as pa

OUTSIDE = "O"
SCHEMES = ("IO", "IOB1", "BIO", "BIOES", "BILOU")
"""How tags say where entities begin and end; BIO is also called IOB2, BIOES IOBES, BILOU BIOUL."""
TOKEN_NAMES = ("tokens", "words", "token", "word")
TAG_NAMES = ("tags", "ner_tags", "labels", "ner", "entities", "tag", "label", "named_entity")

_MAY_BE_CONLL = frozenset({".txt", ".tsv", ".tab", ".data"})
_DOCUMENT = "-DOCSTART-"
_PREFIXED = re.compile(r"([BIESLU])[-_](.+)", re.DOTALL)
_ALMOST = re.compile(r"[bieslu][-_].+|.+[-_][BIESLU]", re.DOTALL)
_NO_TYPE = "ENTITY"
_FIRST_ROWS = 3
_GLANCED_ROWS = 20
_BETWEEN_ROWS = re.compile(r"[\s,]*")


@dataclass(frozen=True, kw_only=True)
class TaggedSentences:
    """Sentences as words with a tag each. Of n sentences, ``tokens`` and ``tags`` hold n tuples of equal lengths.

    ``tags`` are ``O`` or a letter of the ``scheme`` and a type (``B-person``), and ``tag_names`` are those of all
    splits, ``O`` among them, so that numbers mean the same in each. ``n_empty`` sentences without a word are not here.
    ``n_illegal`` transitions break the scheme, such as ``I-person`` after ``O``; they are kept as they are and read as
    conlleval reads them. ``groups`` names what each sentence belongs to, such as its document, None where nothing does;
    it is empty where no sentence has one.
    """

    tokens: tuple[tuple[str, ...], ...] = field(repr=False)
    tags: tuple[tuple[str, ...], ...] = field(repr=False)
    tag_names: tuple[str, ...]
    scheme: str = "BIO"
    n_empty: int = 0
    n_illegal: int = 0
    groups: tuple[str | None, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def n_words(self) -> int:
        """Words of all sentences."""
        return sum(map(len, self.tokens))

    @property
    def texts(self) -> list[str]:
        """The sentences as texts, words joined by spaces: what a model reads (`tuner.alignment.encode_words`)."""
        return [" ".join(words) for words in self.tokens]

    @cached_property
    def tag_numbers(self) -> tuple[NDArray[np.int64], ...]:
        """For every sentence its (words,) tags as positions in ``tag_names``."""
        number = {name: index for index, name in enumerate(self.tag_names)}
        return tuple(np.array([number[tag] for tag in tags], dtype=np.int64) for tags in self.tags)

    @cached_property
    def sentence_ids(self) -> NDArray[np.int32]:
        """(n,) numbers of the distinct sentences, in order of first appearance: equal words, equal number."""
        seen: dict[tuple[str, ...], int] = {}
        return np.array([seen.setdefault(words, len(seen)) for words in self.tokens], dtype=np.int32)

    @property
    def n_duplicates(self) -> int:
        """Sentences beyond the first of each exact sequence of words."""
        return len(self) - len(np.unique(self.sentence_ids))

    @property
    def n_conflicting(self) -> int:
        """Distinct sentences that occur with more than one sequence of tags."""
        pairs = set(zip(self.sentence_ids.tolist(), self.tags, strict=True))
        return sum(count > 1 for count in Counter(number for number, _ in pairs).values())

    def take(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> TaggedSentences:
        """Some of the sentences, in the order asked for; what was dropped before is not counted in them."""
        positions = [int(row) for row in rows]
        tags = tuple(self.tags[row] for row in positions)
        return replace(
            self,
            tokens=tuple(self.tokens[row] for row in positions),
            tags=tags,
            n_empty=0,
            n_illegal=sum(len(illegal_transitions(row, scheme=self.scheme)) for row in tags),
            groups=tuple(self.groups[row] for row in positions) if self.groups else (),
        )


@dataclass(frozen=True, kw_only=True)
class TaggedData:
    """A dataset as it was given: ``parts`` maps ``all``, or ``train``, ``validation`` and ``test``, to its sentences.

    ``columns`` says where words (``text``), tags (``label``) and, where a column was named, groups (``group``) were
    read; ``warnings`` what was found and done.
    """

    name: str
    place: str
    parts: Mapping[str, TaggedSentences]
    columns: Mapping[str, str]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EntityCounts(Record):
    """How many entities there are, of every type by name, and how many sentences hold one."""

    total: int
    by_type: dict[str, int]
    n_sentences: int


def count_entities(tags: Sequence[Sequence[str]]) -> EntityCounts:
    """The entities in the tags of some sentences, by type.

    >>> count_entities([["B-person", "I-person", "O", "B-place"], ["O", "O"], ["B-place"]])
    EntityCounts(total=3, by_type={'person': 1, 'place': 2}, n_sentences=2)
    """
    found = [find_entities(row) for row in tags]
    by_type = count_types(entity for row in found for entity in row)
    return EntityCounts(total=sum(by_type.values()), by_type=by_type, n_sentences=sum(map(bool, found)))


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
    unlabelled = [part for part, table in tables.parts.items() if part in SPLITS[1:] and _has_no_tags(table)]
    for part, table in tables.parts.items():
        if part in unlabelled:
            continue
        tokens = table.column("tokens").to_pylist()
        tags = [row or [] for row in table.column("tags").to_pylist()]
        _refuse_numbers(tags, place=places[part])
        _check_numbers(tokens, tags, place=places[part])
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
    renamed, warnings = _regular_tags({tag for row in every for tag in row}, place=tables.place)
    parts = {part: (tokens, [[renamed[tag] for tag in row] for row in tags]) for part, (tokens, tags) in parts.items()}
    every = [row for _, tags in parts.values() for row in tags]
    scheme = tag_scheme(every, place=tables.place)
    used = {tag for row in every for tag in row}
    order = [renamed[name] for name in names if name in renamed]
    if not used <= set(order):
        order = _ordered({OUTSIDE, *used})
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
        warnings += _notes(sentences, place=places[part])
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
        return _table(data, place="the data").column("tokens").to_pylist(), ()
    tables, _, _ = _read_any(data, text=text, label=None, labelled=False)
    table = tables.parts.get("test", next(iter(tables.parts.values())))
    return table.column("tokens").to_pylist(), tables.warnings


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


# --- schemes


def tag_scheme(tags: Sequence[Sequence[str]], *, place: str = "the data") -> str:
    """Which of `SCHEMES` the tags of some sentences follow, by the letters in them.

    B and I alone may be BIO, where every entity begins with B, or IOB1, where only one that follows another of its type
    does: the commoner way of beginning an entity decides, so that a few wrong tags do not. Raises `DataError` for
    letters that are in no scheme together.

    >>> tag_scheme([["B-a", "I-a", "O"]]), tag_scheme([["I-a", "B-a", "O", "I-a"]]), tag_scheme([["I-a", "O"]])
    ('BIO', 'IOB1', 'IO')
    >>> tag_scheme([["B-a", "E-a"]]), tag_scheme([["U-a", "O"]])
    ('BIOES', 'BILOU')
    """
    letters = {tag[0] for row in tags for tag in row if tag != OUTSIDE}
    if letters <= {"I"}:
        return "IO"
    if letters <= {"B", "I"}:
        with_b = with_i = 0
        for row in tags:
            for before, tag in zip((OUTSIDE, *row), row, strict=False):
                inside = before != OUTSIDE and before[2:] == tag[2:]
                with_b += tag[0] == "B" and not inside
                with_i += tag[0] == "I" and not inside
        return "IOB1" if with_i > with_b else "BIO"
    if letters <= set("BIES") and letters & set("BS"):
        return "BIOES"
    if letters <= set("BILU") and letters & set("BU"):
        return "BILOU"
    raise DataError(
        f"{place}: tags with the letters {', '.join(sorted(letters))} follow no scheme that is known here",
        why="the letters say where entities begin and end",
        fix=f"write them in one of: {', '.join(SCHEMES)} (such as B-person, I-person, O)",
    )


def illegal_transitions(tags: Sequence[str], *, scheme: str) -> tuple[int, ...]:
    """Positions of the words in one sentence whose tag may not follow the one before; the end counts as a word.

    In BIO an ``I-X`` follows only ``B-X`` or ``I-X``; in IOB1 a ``B-X`` does; in BIOES and BILOU an entity also has to
    be ended. In IO nothing is illegal.

    >>> illegal_transitions(["O", "I-a", "I-b", "B-a", "I-a"], scheme="BIO")
    (1, 2)
    >>> illegal_transitions(["B-a", "O", "I-a", "B-a"], scheme="IOB1")
    (0,)
    >>> illegal_transitions(["B-a", "O", "S-a", "B-a"], scheme="BIOES")
    (1, 4)
    """
    found = []
    before = OUTSIDE
    with_end = (*tags, OUTSIDE) if scheme in ("BIOES", "BILOU") else tags
    for position, tag in enumerate(with_end):
        same = before != OUTSIDE and before[2:] == tag[2:]
        if scheme == "BIO":
            illegal = tag[0] == "I" and not same
        elif scheme == "IOB1":
            illegal = tag[0] == "B" and not same
        else:
            is_open = before[0] in "BI"  # the entity of the word before goes on
            goes_on = tag[0] in "IEL"
            illegal = scheme != "IO" and (is_open != goes_on or (goes_on and not same))
        if illegal:
            found.append(position)
        before = tag
    return tuple(found)


def _regular_tags(tags: set[str], *, place: str) -> tuple[dict[str, str], list[str]]:
    """Every tag as ``O`` or letter, hyphen and type, and warnings on what was read so. Raises for other tags."""
    rest = tags - {OUTSIDE}
    if not rest:
        raise DataError(
            f"{place} holds no entity: every word is tagged O",
            why="there is nothing to learn from",
            fix="pass sentences with tags such as B-person, or name the column that holds them with --label",
        )
    prefixed = {tag: found for tag in rest if (found := _PREFIXED.fullmatch(tag))}
    if len(prefixed) == len(rest):
        return {OUTSIDE: OUTSIDE, **{tag: f"{found[1]}-{found[2]}" for tag, found in prefixed.items()}}, []
    if rest <= set("BIESLU"):
        warning = f"{place}: the tags name no type of entity; it is called {_NO_TYPE} here"
        return {OUTSIDE: OUTSIDE, **{tag: f"{tag}-{_NO_TYPE}" for tag in rest}}, [warning]
    odd = sorted(rest - set(prefixed))
    if not prefixed and OUTSIDE in tags and not any(_ALMOST.fullmatch(tag) for tag in rest) and "" not in rest:
        warning = (
            f"{place}: the tags have no B- or I- before the type; neighbouring words of one type are read as one entity"
        )
        return {OUTSIDE: OUTSIDE, **{tag: f"I-{tag}" for tag in rest}}, [warning]
    shown = ", ".join(repr(tag) for tag in odd[:5]) + (", ..." if len(odd) > 5 else "")
    raise DataError(
        f"{place}: {len(odd):,} of {len(tags):,} different tags are no entity tags: {shown}",
        why="words outside are tagged O, those of an entity with a letter and its type, such as B-person and I-person; "
        "other tags of words, such as parts of speech, are not supported",
        fix="write the tags so, or name the column that holds entity tags with --label",
    )


def _ordered(tags: set[str]) -> list[str]:
    """``O`` first, then type by type, letters as in SCHEMES."""
    letters = "BILESU"
    return sorted(tags, key=lambda tag: ("", 0) if tag == OUTSIDE else (tag[2:], 1 + letters.index(tag[0])))


# --- checks


def _named(table: pa.Table, names: Sequence[str], *, place: str) -> pa.Table:
    """The rows with names in place of numbers, which are positions in `names`; masked tags, all below 0, stay."""
    import pyarrow as pa

    tags = table.column("tags")
    numbers = {tag for row in tags.to_pylist() for tag in row or ()}
    if not names or not pa.types.is_integer(tags.type.value_type) or (numbers and max(numbers) < 0):
        return table
    if numbers and (min(numbers) < 0 or max(numbers) >= len(names)):
        raise DataError(
            f"{place}: tag {min(numbers) if min(numbers) < 0 else max(numbers)} has no name",
            why=f"there are {len(names)} names, counted from 0",
            fix="repair the names of the tags, or the tags",
        )
    named = pa.array([[names[tag] for tag in row or ()] for row in tags.to_pylist()], pa.list_(pa.string()))
    return table.set_column(table.column_names.index("tags"), "tags", named)


def _refuse_numbers(tags: list[list[Any]], *, place: str) -> None:
    """Raise `DataError` for tags that are numbers still, since nothing names them."""
    numbers = {tag for row in tags for tag in row if isinstance(tag, int)}
    if numbers:
        raise DataError(
            f"{place}: the tags are numbers without names, from {min(numbers)} to {max(numbers)}",
            why="which of them begin an entity, and of which type, cannot be known",
            fix="write the tags as names such as B-person, or save them with `datasets` as a ClassLabel, which names "
            "its numbers",
        )


def _has_no_tags(table: pa.Table) -> bool:
    """Whether a split's tags are masked, as contests do: all missing, or all numbers below 0."""
    tags = [tag for row in table.column("tags").to_pylist() for tag in row or ()]
    return all(isinstance(tag, int) and tag < 0 for tag in tags)


def _check_numbers(tokens: list[list[str] | None], tags: list[list[str]], *, place: str) -> None:
    """Raise `DataError` where sentences have more or fewer tags than words, the first of them named."""
    wrong = [row for row, words in enumerate(tokens) if len(words or ()) != len(tags[row])]
    if wrong:
        shown = ", ".join(
            f"row {row + 1:,} ({len(tokens[row] or ()):,} words, {len(tags[row]):,} tags)"
            for row in wrong[:_FIRST_ROWS]
        )
        raise DataError(
            f"{place}: in {len(wrong):,} of {len(tokens):,} sentences the tags do not match the words in number: "
            f"{shown}{', ...' if len(wrong) > _FIRST_ROWS else ''}",
            why="the n-th tag is of the n-th word",
            fix="give every word of these sentences one tag (O outside entities), or leave the sentences out",
        )


def _notes(sentences: TaggedSentences, *, place: str) -> list[str]:
    """What was found in a part, said; by row and tag only, never by word."""
    notes = []
    if sentences.n_empty:
        were = "sentence without a word was" if sentences.n_empty == 1 else "sentences without a word were"
        notes.append(f"{place}: {sentences.n_empty:,} {were} left out")
    if sentences.n_illegal:
        row, position = next(
            (row, found[0])
            for row, tags in enumerate(sentences.tags)
            if (found := illegal_transitions(tags, scheme=sentences.scheme))
        )
        tags = (OUTSIDE, *sentences.tags[row], "the end")
        at = f"sentence {row + 1:,}, word {position + 1:,}"
        if position == len(sentences.tags[row]):
            at = f"sentence {row + 1:,}"
        before = "the beginning" if position == 0 else tags[position]
        how = "transition between tags is" if sentences.n_illegal == 1 else "transitions between tags are"
        notes.append(
            f"{place}: {sentences.n_illegal:,} {how} illegal in {sentences.scheme}, such as {tags[position + 1]} after "
            f"{before} ({at}); they are kept, and read as conlleval reads them"
        )
    return notes


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
        if _is_saved(folder):
            import datasets

            saved = datasets.load_from_disk(str(folder))
            given = saved if isinstance(saved, dict) else {"all": saved}
            parts = self.splits(given, place=str(folder))
            return Tables(name=folder.resolve().name, place=str(folder), parts=parts)
        found = _split_files(folder)
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
            tokens, tags, documents, warnings = _read_conll(path, labelled=self._labelled)
            self.warnings += warnings
            return _table(tokens, tags, documents, place=str(path))
        if not self._labelled and path.suffix.lower() == ".txt":
            head = read_head(path)
            refuse_binary(path, head)
            encoding, warning = detect_encoding(path, head)
            self.warnings += [warning] if warning else []
            with python_stream(path, encoding) as stream:
                lines = stream.read().decode("utf-8").split("\n")
            words = [line.split() for line in lines[: -1 if lines[-1] == "" else None]]
            refuse_no_rows(len(words), place=str(path))
            return _table(words, place=str(path))
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
        if FORMATS.get(path.suffix.lower()) == "json" and any(
            _is_placeholder(cells.type) for cells in columns.values()
        ):
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
                    fix=f"leave {option} away, or pass a table whose columns hold lists",
                )
        if self._group is not None:
            raise OptionError(
                f"--group does not go with tagged sentences in a CoNLL file such as {path}",
                why=f"its columns have no names; lines that begin with {_DOCUMENT} mark its documents",
                fix=f"leave --group away: documents between {_DOCUMENT} lines are kept whole where splits are made",
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
        """Cells as lists (`_table`), numbered tags named by the caller's list, or else by this part's own."""
        names = names if self._tag_names is None else self._tag_names
        self.names |= dict.fromkeys(names)
        return _named(_table(cells["text"], cells.get("label"), cells.get("group"), place=place), names, place=place)

    def _choose(self, names: Sequence[str], *, place: str) -> dict[str, str]:
        """The columns of words (``text``) and tags (``label``), by the options or by name, and of groups if named.

        Tags are left out where they are not needed.
        """
        chosen = []
        wanted = (("--text", self._text, TOKEN_NAMES), ("--label", self._label, TAG_NAMES))
        for option, given, usual in wanted if self._labelled else wanted[:1]:
            name = given if given is not None else _column(names, usual)
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
                    fix="leave --group away, or name the column of what belongs together, such as a document",
                )
            self.columns["group"] = self._group
        return self.columns


def _column(names: Sequence[str], usual: Sequence[str]) -> str | None:
    """The first of the usual names that a column has."""
    lowered = {name.strip().lower(): name for name in reversed(names)}
    return next((lowered[name] for name in usual if name in lowered), None)


def _is_saved(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def _split_files(folder: Path) -> SplitFiles:
    """The folder's files that are named after splits, or those of its ``data`` folder, as repositories have them."""
    endings = {*FORMATS, *CONLL_SUFFIXES, *_MAY_BE_CONLL}
    found = find_split_files(folder, endings)
    return found if found.files or not (folder / "data").is_dir() else find_split_files(folder / "data", endings)


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


# --- cells


def _table(
    tokens: Sequence[Any], tags: Sequence[Any] | None = None, groups: Sequence[Any] | None = None, *, place: str
) -> pa.Table:
    """Cells as lists: words as texts; tags as texts, or as integers where all are, and empty where there are none.

    Groups are names, missing where there are none.
    """
    import pyarrow as pa

    tags = [None] * len(tokens) if tags is None else tags
    groups = [None] * len(tokens) if groups is None else groups
    words = [
        [_word(word, row, place=place) for word in _items(cell, row, place=place)] for row, cell in enumerate(tokens)
    ]
    tagged = [[_whole(tag) for tag in _items(cell, row, place=place)] for row, cell in enumerate(tags)]
    numbered = all(isinstance(tag, int) for row in tagged for tag in row)
    if not numbered:
        tagged = [["" if tag is None else _clean(str(tag)).strip() for tag in row] for row in tagged]
    kind = pa.list_(pa.int64() if numbered else pa.string())
    names = pa.array([_group_name(cell, row, place=place) for row, cell in enumerate(groups)], pa.string())
    try:
        return pa.table(
            {"tokens": pa.array(words, pa.list_(pa.string())), "tags": pa.array(tagged, kind), "groups": names}
        )
    except (pa.ArrowInvalid, OverflowError) as error:
        raise DataError(
            f"{place}: the tags hold numbers beyond 64 bits", why="tags are names or class numbers", fix="repair them"
        ) from error


def _items(cell: Any, row: int, *, place: str) -> list[Any]:
    """A cell's list, array, or list written as text (JSON or Python); nothing of a missing cell."""
    if cell is None or (isinstance(cell, float) and cell != cell):
        return []
    if hasattr(cell, "tolist") and getattr(cell, "ndim", 1) == 1:
        cell = cell.tolist()
    if isinstance(cell, str):
        written = cell.strip()
        if not written:
            return []
        cell = read_literal(written)
    if isinstance(cell, (list, tuple)):
        return list(cell)
    raise DataError(
        f"{place}, row {row + 1:,}: the cell holds no list",
        why="a row is a sentence, as a list of its words beside a list of their tags",
        fix='write the lists as JSON, such as ["EU", "rejects"] and ["B-org", "O"], or pass a CoNLL file',
    )


def read_literal(written: str) -> Any:
    """A value written as JSON or Python; None of anything else.

    >>> read_literal('["EU", null]'), read_literal("['EU']"), read_literal("EU")
    (['EU', None], ['EU'], None)
    """
    try:
        return json.loads(written)
    except (ValueError, RecursionError):
        try:
            return ast.literal_eval(written)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None


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
    return None if _is_missing(cell) else _clean(str(_whole(cell)))


def _whole(tag: Any) -> Any:
    """3.0 and True as integers: tables with gaps turn class numbers into floats."""
    tag = tag.item() if isinstance(tag, np.generic) else tag
    if isinstance(tag, float) and tag.is_integer():
        return int(tag)
    return int(tag) if isinstance(tag, bool) else tag


def _clean(text: str) -> str:
    """Without halves of surrogate pairs, which JSON can spell but UTF-8 cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _is_placeholder(kind: pa.DataType) -> bool:
    """The type of columns that a reader kept nothing of (`advisor.files.nested_placeholder`)."""
    import pyarrow as pa

    return bool(pa.types.is_list(kind) and pa.types.is_null(kind.value_type))


# --- CoNLL files


def _read_conll(
    path: Path, *, labelled: bool = True
) -> tuple[list[list[str]], list[list[str]], list[str] | None, list[str]]:
    """Words and tags of every sentence, its document, and warnings; lines without a tag raise with their numbers.

    There are no documents without two lines that begin one. Where they need not be `labelled`, there are no tags, and a
    line may hold a word alone.
    """
    head = read_head(path)
    refuse_binary(path, head)
    encoding, warning = detect_encoding(path, head)
    with python_stream(path, encoding) as stream:
        content = stream.read().decode("utf-8")
    tokens: list[list[str]] = [[]]
    tags: list[list[str]] = [[]]
    documents: list[str] = []
    n_documents = 0
    alone: list[int] = []
    n_comments = 0
    for number, line in enumerate(content.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        fields = _fields(line)
        if not fields or fields[0] == _DOCUMENT:
            n_documents += bool(fields)
            if tokens[-1]:
                tokens.append([])
                tags.append([])
        elif not tokens[-1] and _is_comment(line, fields):
            n_comments += 1
        elif len(fields) < 2 and labelled:
            alone.append(number)
        else:
            documents += [] if tokens[-1] else [f"{path} {n_documents}"]
            tokens[-1].append(fields[0])
            tags[-1] += [fields[-1]] if labelled else []
    if alone:
        shown = ", ".join(f"{number:,}" for number in alone[:_FIRST_ROWS]) + (
            ", ..." if len(alone) > _FIRST_ROWS else ""
        )
        lines = "line has" if len(alone) == 1 else "lines have"
        raise DataError(
            f"{path}: {len(alone):,} {lines} a word but no tag: {'line' if len(alone) == 1 else 'lines'} {shown}",
            why="every line holds a word, first, and its tag, last, with a tab or a space between",
            fix="add the tags (O outside entities); between sentences leave a line blank",
        )
    if not tokens[-1]:
        tokens.pop()
        tags.pop()
    if not tokens:
        raise DataError(f"{path} holds no words", why="all its lines are blank", fix="pass a file with tagged words")
    if len(tokens) > 1 and all(words == [str(i + 1) for i in range(len(words))] for words in tokens):
        raise DataError(
            f"{path}: its first column counts the words of a sentence, as in CoNLL-U",
            why="the first column is read as the words",
            fix="leave that column out, so that a line begins with its word",
        )
    warnings = [warning] if warning else []
    if n_comments:
        warnings.append(f"{path.name}: {n_comments:,} comment lines were skipped")
    return tokens, tags, documents if n_documents > 1 else None, warnings


def _fields(line: str) -> list[str]:
    """The columns of a line: between tabs where there are some, else between spaces; nothing of a blank line.

    Other white space may be part of a word, as in web text.
    """
    if not line.strip(" \t"):
        return []
    if "\t" in line:
        return [part.strip(" ") for part in line.rstrip(" \t").split("\t")]
    return [part for part in line.split(" ") if part]


def _is_comment(line: str, fields: Sequence[str]) -> bool:
    """A line such as ``# id 12`` before a sentence; the word # has a tag."""
    return line.startswith("#") and not _is_tag(fields[-1])


def _is_tag(text: str) -> bool:
    return text == OUTSIDE or bool(_PREFIXED.fullmatch(text)) or (len(text) == 1 and text in "BIESLU")


def is_conll(path: Path) -> bool:
    """Whether a file holds one word a line, by its name, else by its first lines."""
    if path.suffix.lower() in CONLL_SUFFIXES:
        return True
    if path.suffix.lower() not in _MAY_BE_CONLL:
        return False
    head = read_head(path)
    if b"\0" in head:
        return False
    lines = head.decode("utf-8", errors="replace").replace("\r\n", "\n").split("\n")[:-1]
    columns = [_fields(line) for line in lines[:2000]]
    words = [fields for fields in columns if fields and fields[0] != _DOCUMENT]
    if not words or all(columns[:-1]):  # tables have a header and no blank lines
        one_word = sum(" " not in fields[0] for fields in words) > 0.5 * len(words)  # else texts and classes called B
        return one_word and all(len(fields) > 1 and _is_tag(fields[-1]) for fields in words)
    tagged = sum(len(fields) > 1 and _is_tag(fields[-1]) for fields in words)
    return tagged > 0.5 * len(words)  # where types stand without a letter, the words outside are tags still


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
            _column(names, usual) if name is None else name if name in names else None for name, usual in given
        )
        return text, label


def _is_tagged_folder(folder: Path, columns: _Columns) -> bool:
    if _is_saved(folder):
        import datasets

        try:
            saved = datasets.load_from_disk(str(folder))
        except (OSError, ValueError, KeyError):
            return False
        return is_tagged(saved, text=columns.text, label=columns.label)
    try:
        files = _split_files(folder).files
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
    at = _BETWEEN_ROWS.match(text, len(text) - len(text.lstrip().removeprefix("[")))
    while at is not None and at.end() < len(text):
        try:
            row, end = decoder.raw_decode(text, at.end())
        except (ValueError, RecursionError):
            break
        rows += [row] if isinstance(row, dict) else []
        at = _BETWEEN_ROWS.match(text, end)
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
    filled = [cell for cell in cells if not _is_missing(cell)]
    return sum(map(_is_list, filled)) > 0.5 * len(filled)


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and cell != cell) or (isinstance(cell, str) and not cell.strip())


def _is_list(cell: Any) -> bool:
    if isinstance(cell, str):
        return cell.lstrip().startswith("[") and isinstance(read_literal(cell.strip()), list)
    return isinstance(cell, (list, tuple)) or getattr(cell, "ndim", 0) == 1
