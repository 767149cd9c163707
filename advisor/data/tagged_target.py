"""Tagged sentences -> `TargetData`: words and tags numbered, splits made, leaks and copies counted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advisor.data.options import DataOptions
from advisor.data.read import missing_file, read_path
from advisor.data.schemes import OUTSIDE
from advisor.data.sentences import tagged_data
from advisor.data.splits import (
    FEWEST_TRAINING_ROWS,
    SPLITS,
    carve_missing,
    ids_per_class,
    leakage_note,
    leaks,
    number_texts,
    repeats_note,
    sentence_units,
    shared_groups,
    without_leaks,
)
from advisor.data.tables import Tables
from advisor.data.tagged import TaggedData, TaggedSentences
from advisor.data.target import TargetData
from tuner.errors import DataError, OptionError

NOUN = "sentence"
TASK = "token_classification"


def load_tagged(tables: Tables, options: DataOptions | None = None) -> TargetData:
    """Check and divide the sentences in tables (`advisor.data.sentences.tagged_data`), as `load_target` does texts.

    Given splits are used; what is missing of test and validation is carved out of the training sentences, so that
    every type of entity is spread, and copies of a sentence (and all sentences of a `group`, or of a document where a
    CoNLL file marks some and nothing is held out yet) stand on one side. Options that mean nothing here raise
    `OptionError`. Raises `DataError` for what cannot be learned from.

    >>> from advisor.data.read import read_data
    >>> tokens = [["Paul", "saw", f"Oslo {i}"] for i in range(10)]
    >>> target = load_tagged(read_data((tokens, [["B-person", "O", "B-place"]] * 10)))
    >>> target.class_names, target.tags[0].tolist(), len(target.train), len(target.test)
    (('O', 'B-person', 'B-place'), [1, 0, 2], 6, 2)
    """
    options = options or DataOptions()
    refuse_options(options.given())
    named = {"text": options.text, "label": options.label, "group": options.group}
    given = tagged_data(tables, split=options.split, **named)
    given = _with_test(given, options.test, **named) if options.test is not None else given
    return _divide(_gather(given), seed=options.seed)


def refuse_options(options: Mapping[str, Any]) -> None:
    """Raise `OptionError` for options of other kinds of data."""
    why = {
        "text-pair": "a sentence and its tags stand alone",
        "image": "the words of sentences are tagged, not images",
        "images-root": "the words of sentences are tagged, not images",
        "no-header": "words are told by the names of columns, or by their place in a CoNLL file",
        "task": "tags are names, not numbers",
        "label-separator": "every word has one tag",
        "drop-rare": "no type of entity is too rare to be kept: only sentences are divided",
    }
    for name in why:
        if options.get(name):
            raise OptionError(f"--{name} does not go with tagged sentences", why=why[name], fix=f"omit --{name}")


def _with_test(
    given: TaggedData, test: str | Path, *, text: str | None, label: str | None, group: str | None
) -> TaggedData:
    """The data with the sentences of a file as its test split."""
    path = Path(test).expanduser()
    if path.is_dir():
        raise OptionError(
            f"--test {path} is a folder",
            why="the winner is scored on the sentences of one file",
            fix="pass a file with tagged sentences, or a DATA folder that holds train.* and test.*",
        )
    if not path.exists():
        raise missing_file(path)
    tables = read_path(path)
    read = tagged_data(tables, **({} if tables.conll else {"text": text, "label": label, "group": group}))
    parts = dict(given.parts)
    parts["train"] = parts.pop("all") if "all" in parts else parts["train"]
    warnings = (*given.warnings, *read.warnings)
    if "test" in parts:
        warnings = (*warnings, f"the test split of {given.place} was replaced by {path.name}")
    parts["test"] = read.parts.get("test", next(iter(read.parts.values())))
    return replace(given, parts={name: parts[name] for name in SPLITS if name in parts}, warnings=warnings)


# --- sentences of all splits, one below the other


@dataclass(frozen=True, kw_only=True)
class _Sentences:
    """Sentences on their way to `TargetData`. ``split`` indexes `SPLITS`; ``strata`` are what is spread over splits.

    ``groups`` (n,) number what belongs together: the values of a column, or documents (``by_document``).
    """

    given: TaggedData
    words: tuple[tuple[str, ...], ...]
    tags: tuple[NDArray[np.int64], ...]
    names: tuple[str, ...]
    types: tuple[str, ...]
    text_ids: NDArray[np.int32]  # equal but for capitals, white space and forms of characters
    exact_ids: NDArray[np.int32]
    strata: NDArray[np.int32]
    groups: NDArray[np.int32] | None
    by_document: bool
    split: NDArray[np.int8]
    to_carve: tuple[str, ...]

    @property
    def place(self) -> str:
        return self.given.place


def _gather(given: TaggedData) -> _Sentences:
    """All splits below each other, tags as numbers: ``O`` is 0, the others follow as they are named, used ones only."""
    import pyarrow as pa

    parts = given.parts
    named = [row for part in parts.values() for row in part.tags]
    used = {tag for row in named for tag in row}
    order = dict.fromkeys(tag for part in parts.values() for tag in part.tag_names)
    names = (OUTSIDE, *(tag for tag in order if tag in used and tag != OUTSIDE))
    number = {tag: position for position, tag in enumerate(names)}
    words = tuple(words for part in parts.values() for words in part.tokens)
    tags = tuple(np.array([number[tag] for tag in row], dtype=np.int64) for row in named)
    types = tuple(dict.fromkeys(tag[2:] for tag in names[1:]))
    by_document = "group" not in given.columns
    grouped = not by_document or not {"validation", "test"} & set(parts)  # given splits divide documents already
    splits = [0 if name == "all" else SPLITS.index(name) for name in parts]
    texts = pa.chunked_array([pa.array([" ".join(row) for row in words], pa.large_string())])
    return _Sentences(
        given=given,
        words=words,
        tags=tags,
        names=names,
        types=types,
        text_ids=number_texts(texts, folded=True),
        exact_ids=number_texts(texts),
        strata=_strata(tags, names=names, types=types),
        groups=_group_numbers(parts.values()) if grouped else None,
        by_document=by_document,
        split=np.repeat(np.array(splits, np.int8), [len(part) for part in parts.values()]),
        to_carve=tuple(name for name in ("test", "validation") if name not in parts),
    )


def _group_numbers(parts: Iterable[TaggedSentences]) -> NDArray[np.int32] | None:
    """A number for each group, None where there are none; sentences without one are groups of their own."""
    names = [name for part in parts for name in (part.groups or (None,) * len(part))]
    if all(name is None for name in names):
        return None
    seen: dict[str | int, int] = {}
    return np.array(
        [seen.setdefault(row if name is None else name, len(seen)) for row, name in enumerate(names)], dtype=np.int32
    )


def _strata(tags: Sequence[NDArray[np.int64]], *, names: Sequence[str], types: Sequence[str]) -> NDArray[np.int32]:
    """0 for sentences without entities, else the number of their rarest type + 1."""
    of_tag = np.array([0, *(types.index(name[2:]) + 1 for name in names[1:])])
    held = [np.unique(of_tag[row]) for row in tags]
    rows = np.bincount(np.concatenate(held), minlength=len(types) + 1)
    rows[0] = len(tags) + 1  # every type is rarer than no type
    return np.array([kinds[np.argmin(rows[kinds])] for kinds in held], dtype=np.int32)


# --- splits


def _divide(rows: _Sentences, *, seed: int) -> TargetData:
    """Take sentences that leak out of training, refuse what is too little, and carve what is not given."""
    split, n_leaked = without_leaks(rows.split, rows.text_ids, place=rows.place, noun=NOUN)
    n_near = n_leaked - int(leaks(rows.split, rows.exact_ids).sum())
    _check_enough(rows, split)
    strata = _merged(rows, rows.text_ids, rows.strata, split)
    units, spread = rows.text_ids, strata
    if (groups := _groups_to_keep(rows, split)) is not None:
        units = sentence_units(rows.text_ids, groups)
        units = units if _n_holding(rows, units, split) >= _needed(rows) else groups
        spread = _merged(rows, units, _of_units(units, rows.strata), split)
    split = carve_missing(split, units, spread, to_carve=rows.to_carve, seed=(seed, 0))
    if groups is not None:  # a sentence may stand in several groups
        split, leaked_by_sentence = without_leaks(split, rows.text_ids, place=rows.place, noun=NOUN)
        n_leaked += leaked_by_sentence
    rows = replace(rows, groups=groups)
    _check_divided(rows, split)
    return _finished(rows, split, strata, n_leaked=n_leaked, n_near=n_near)


def _needed(rows: _Sentences) -> int:
    return FEWEST_TRAINING_ROWS + len(rows.to_carve)


def _carved(rows: _Sentences) -> str:
    return f", 1 for {' and 1 for '.join(rows.to_carve)}" if rows.to_carve else ""


def _check_enough(rows: _Sentences, split: NDArray[np.int8]) -> None:
    """Raise where there are too few different sentences with entities to learn from and to hold some out."""
    n = _n_holding(rows, rows.text_ids, split)
    if n < _needed(rows):
        raise DataError(
            f"{rows.place}: {n:,} different training {'sentence holds' if n == 1 else 'sentences hold'} an entity",
            why=f"{_needed(rows)} are needed: {FEWEST_TRAINING_ROWS} to learn from{_carved(rows)}",
            fix="tag more sentences",
        )


def _n_holding(rows: _Sentences, ids: NDArray[np.int32], split: NDArray[np.int8]) -> int:
    """How many different training sentences, or groups of them, hold an entity."""
    return len(np.unique(ids[(split == 0) & (rows.strata > 0)]))


def _groups_to_keep(rows: _Sentences, split: NDArray[np.int8]) -> NDArray[np.int32] | None:
    """The groups where there are enough to be divided; of a column that the user named they have to be."""
    if rows.groups is None or (n := _n_holding(rows, rows.groups, split)) >= _needed(rows):
        return rows.groups
    if rows.by_document:
        return None
    raise DataError(
        f"{rows.place}: {n:,} training {'group' if n == 1 else 'groups'} in column '{rows.given.columns['group']}' "
        f"{'holds' if n == 1 else 'hold'} an entity",
        why=f"sentences of one group stay together; {_needed(rows)} are needed: {FEWEST_TRAINING_ROWS} to learn from"
        f"{_carved(rows)}",
        fix="pass --group with a column of more and smaller groups",
    )


def _of_units(units: NDArray[np.int32], strata: NDArray[np.int32]) -> NDArray[np.int32]:
    """For every row the rarest stratum of its unit, 0 only where the whole unit holds no entity."""
    unit = np.unique(units, return_inverse=True)[1]
    sizes = np.bincount(strata)
    sizes[0] = len(strata) + 1
    from_rarest = np.argsort(sizes, kind="stable")
    rank = np.empty_like(from_rarest)
    rank[from_rarest] = np.arange(len(rank))
    rarest = np.full(int(unit.max()) + 1, len(rank))
    np.minimum.at(rarest, unit, rank[strata])
    return np.asarray(from_rarest[rarest][unit], np.int32)


def _merged(
    rows: _Sentences, ids: NDArray[np.int32], strata: NDArray[np.int32], split: NDArray[np.int8]
) -> NDArray[np.int32]:
    """The strata, those too small to be in every split together with the largest one that holds entities."""
    train = split == 0
    counts = ids_per_class(ids[train], strata[train], len(rows.types) + 1)
    small = counts < _needed(rows)
    small[0] = False
    largest = 1 + int(counts[1:].argmax())
    return np.where(small[strata], largest, strata).astype(np.int32)


def _check_divided(rows: _Sentences, split: NDArray[np.int8]) -> None:
    """Raise for a split without sentences or entities: nothing could be learned from it, or scored on it."""
    for number, name in enumerate(SPLITS):
        inside = split == number
        if not (inside & (rows.strata > 0)).any():
            lacks = "no entity" if inside.any() else "no sentence left"
            raise DataError(
                f"the {name} split of {rows.place} holds {lacks}",
                why="entities are what is learned and scored, in sentences that no later split repeats",
                fix="tag more sentences"
                if name in rows.to_carve
                else "repair the split, or leave it out: sentences of the data are then held out instead",
            )


def _finished(
    rows: _Sentences, split: NDArray[np.int8], strata: NDArray[np.int32], *, n_leaked: int, n_near: int
) -> TargetData:
    import pandas as pd

    given = rows.given
    n, n_left_out = len(rows.words), int((split < 0).sum())
    n_duplicates, n_conflicting = n - len(np.unique(rows.exact_ids)), _conflicting(rows)
    warnings = [*given.warnings, *_documents_note(rows), *_unlearned(rows, split)]
    if n_leaked or n_left_out:
        warnings.append(leakage_note(n_leaked, n_left_out, noun=NOUN, n_near=n_near))
    if n_duplicates > 0.05 * n:
        warnings.append(repeats_note(n_duplicates, n, noun=NOUN))
    if n_conflicting:
        many = "sentence occurs" if n_conflicting == 1 else "sentences occur"
        warnings.append(f"{n_conflicting:,} {many} with more than one sequence of tags; kept as they are")
    warnings += shared_groups(rows.groups, split)
    of_groups = given.columns.get("group") or (None if rows.groups is None else "-DOCSTART- lines")
    positions = [np.flatnonzero(split == number) for number in range(3)]
    n_empty = sum(part.n_empty for part in given.parts.values())
    return TargetData(
        name=given.name,
        kind="text",
        task=TASK,
        texts=pd.Series([" ".join(words) for words in rows.words], name="text", dtype="str"),
        words=rows.words,
        tags=rows.tags,
        scheme=next(iter(given.parts.values())).scheme,
        text_ids=rows.text_ids,
        labels=strata,
        class_names=rows.names,
        train=positions[0],
        validation=positions[1],
        test=positions[2],
        columns={"text": given.columns.get("text"), "label": given.columns.get("label"), "group": of_groups},
        groups=rows.groups,
        given_splits=tuple(name for name in given.parts if name != "all"),
        n_duplicates=n_duplicates,
        n_conflicting=n_conflicting,
        n_leaked=n_leaked,
        n_dropped={
            **({"empty_text": n_empty} if n_empty else {}),
            **({"leaked": n_left_out} if n_left_out else {}),
        },
        warnings=tuple(warnings),
        fingerprint=_fingerprint(rows, split),
    )


def _documents_note(rows: _Sentences) -> list[str]:
    """What was done with the documents that a CoNLL file marks, where nothing was held out yet."""
    n = len({name for part in rows.given.parts.values() for name in part.groups if name is not None})
    if not rows.by_document or not n or len(rows.to_carve) < 2:
        return []
    if rows.groups is None:
        return [
            f"{rows.place}: -DOCSTART- lines mark {n:,} documents, too few to keep them whole: sentences of one may "
            "stand in two splits"
        ]
    return [f"{rows.place}: -DOCSTART- lines mark {n:,} documents; the sentences of a document stay in one split"]


def _conflicting(rows: _Sentences) -> int:
    """Distinct sentences that are tagged in more than one way."""
    ways = {(int(number), tags.tobytes()) for number, tags in zip(rows.exact_ids, rows.tags, strict=True)}
    return int((np.bincount([number for number, _ in ways]) > 1).sum())


def _unlearned(rows: _Sentences, split: NDArray[np.int8]) -> list[str]:
    """A warning on types that no training sentence holds: they cannot be predicted, and count as missed."""
    held = {number for row in np.flatnonzero(split == 0) for number in rows.tags[row].tolist()}
    learned = {rows.names[number][2:] for number in held if number}
    absent = [name for name in rows.types if name not in learned]
    if not absent:
        return []
    shown = ", ".join(name if len(name) <= 40 else name[:39] + "…" for name in absent[:5])
    shown += f" and {len(absent) - 5:,} more" if len(absent) > 5 else ""
    return [f"no training sentence holds an entity of the type {shown}: such entities count as missed"]


def _fingerprint(rows: _Sentences, split: NDArray[np.int8]) -> str:
    """SHA-256 over words, tags, their names and the splits."""
    digest = hashlib.sha256()
    for words, tags in zip(rows.words, rows.tags, strict=True):
        digest.update(np.array([len(words), *map(len, words)], dtype=np.int64).tobytes())
        digest.update("".join(words).encode())
        digest.update(tags.tobytes())
    digest.update("\0".join(rows.names).encode())
    digest.update(split.tobytes())
    return digest.hexdigest()
