"""Tagged sentences: the records, and the checks that they pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advisor.data.schemes import OUTSIDE, illegal_transitions
from tuner.errors import DataError
from tuner.records import Record
from tuner.tasks.entities import count_types, find_entities

DOCUMENT = "-DOCSTART-"
FIRST_ROWS = 3


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
        """The sentences as texts, words joined by spaces: what models read (`tuner.inputs.alignment.encode_words`)."""
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
    """Count the entities in the tags of some sentences, by type.

    >>> count_entities([["B-person", "I-person", "O", "B-place"], ["O", "O"], ["B-place"]])
    EntityCounts(total=3, by_type={'person': 1, 'place': 2}, n_sentences=2)
    """
    found = [find_entities(row) for row in tags]
    by_type = count_types(entity for row in found for entity in row)
    return EntityCounts(total=sum(by_type.values()), by_type=by_type, n_sentences=sum(map(bool, found)))


# --- checks


def refuse_numbers(tags: list[list[Any]], *, place: str) -> None:
    """Raise `DataError` for tags that are still numbers, since nothing names them."""
    numbers = {tag for row in tags for tag in row if isinstance(tag, int)}
    if numbers:
        raise DataError(
            f"{place}: the tags are numbers without names, from {min(numbers)} to {max(numbers)}",
            why="which of them begin an entity, and of which type, cannot be known",
            fix="write the tags as names such as B-person, or save them with `datasets` as a ClassLabel, which names "
            "its numbers",
        )


def check_numbers(tokens: list[list[str]], tags: list[list[str]], *, place: str) -> None:
    """Raise `DataError` where sentences have more or fewer tags than words, the first of them named."""
    wrong = [row for row, words in enumerate(tokens) if len(words) != len(tags[row])]
    if wrong:
        shown = ", ".join(
            f"row {row + 1:,} ({len(tokens[row]):,} words, {len(tags[row]):,} tags)" for row in wrong[:FIRST_ROWS]
        )
        raise DataError(
            f"{place}: in {len(wrong):,} of {len(tokens):,} sentences the tags do not match the words in number: "
            f"{shown}{', ...' if len(wrong) > FIRST_ROWS else ''}",
            why="the n-th tag is of the n-th word",
            fix="give every word of these sentences one tag (O outside entities), or leave the sentences out",
        )


def notes_on_sentences(sentences: TaggedSentences, *, place: str) -> list[str]:
    """Warnings of what was found in a split; they name rows and tags only, never words."""
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
