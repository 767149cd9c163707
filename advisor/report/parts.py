"""What a report is made of, and the run it is about.

Every section is words, facts, figures and tables; the templates only lay them out, so that HTML and Markdown cannot
disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from advisor.data.thumbnails import Thumbnail
from advisor.kinds.words import Count, Note, Words, words_of
from advisor.report.drawing import Drawing, Mark
from advisor.report.fields import Json, interval, number, part, rows, score_interval, whole
from advisor.report.wording import (
    any_value,
    candidate_words,
    capital,
    duration,
    key_words,
    percent,
)
from tuner.names import SITUATIONS

LIKELY_FROM = 0.4
"""A situation below this probability is not singled out: of four, it is hardly ahead of the others."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as text; `numeric` columns are set right-aligned, row `mark` is the one that matters."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    mark: int | None = None


@dataclass(frozen=True, kw_only=True)
class FigureOnPage:
    """A drawing with its caption and the table of what it shows."""

    title: str
    caption: str
    drawing: Drawing
    table: Table
    full: bool = False


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A value worth reading from afar, and a note under it."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Thumbnails beside each other: data URIs with the names under them, which are all that Markdown shows."""

    caption: str
    pictures: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One heading with what belongs under it; empty parts are not rendered."""

    anchor: str
    heading: str
    paragraphs: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    figures: tuple[FigureOnPage, ...] = ()
    strips: tuple[Strip, ...] = ()
    tables: tuple[Table, ...] = ()  # shown
    folded: tuple[Table, ...] = ()  # behind a summary line in HTML

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        shown = (self.paragraphs, self.points, self.facts, self.figures, self.strips, self.tables, self.folded)
        return not any(shown)


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """The model as a row of blocks: the first `frozen` of `total` are frozen."""

    frozen: int
    total: int
    scratch: bool
    words: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """The whole report, from its title to its last section."""

    question: str
    answer: str
    lead: tuple[str, ...]
    command: str
    facts: tuple[Fact, ...]
    blocks: Blocks | None
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]
    version: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """The two records of a run, with what several sections need from them."""

    advice: Json
    tuning: Json | None
    name: str
    n_blocks: int | None
    metric: str
    thumbnails: tuple[Thumbnail, ...] | None = ()

    @cached_property
    def kind(self) -> Words:
        """The words for the kind of data."""
        return words_of(self.advice)

    def noun_of(self, key: str) -> str:
        """What a count of the data is called."""
        return self.kind.keys.get(key, key_words(key))

    def count_of(self, count: Count | Note) -> int | None:
        """A count of the data; None where the advice does not have it."""
        return whole(part(self.advice, count.section).get(count.key))

    @property
    def recommended(self) -> Json:
        """The advice as a candidate: strategy, start, depth and features."""
        strategy = part(self.advice, "strategy")
        return {
            "strategy": strategy.get("name"),
            "start": strategy.get("start"),
            "frozen_blocks": part(self.advice, "freeze").get("recommended"),
            "features": strategy.get("features"),
        }

    @property
    def winner(self) -> Json | None:
        """The record of the candidate that won the search; None where nothing was tuned."""
        found = part(self.tuning, "winner")
        return found if part(found, "candidate") else None

    @property
    def chosen(self) -> Json:
        """The candidate that the report's answer is about."""
        return part(self.winner, "candidate") if self.winner else self.recommended

    @property
    def depth(self) -> int | None:
        """The chosen freeze depth."""
        return self.depth_of(self.chosen)

    def depth_of(self, candidate: Json) -> int | None:
        """A candidate's depth; what trains nothing or everything says so by its strategy too."""
        given = whole(candidate.get("frozen_blocks"))
        if given is not None:
            return given
        strategy = candidate.get("strategy")
        if strategy == "train_all":
            return 0
        return self.n_blocks if strategy in ("head_only", "feature_based") else None

    def words(self, candidate: Json) -> str:
        """A candidate's short name."""
        return candidate_words(candidate, n_blocks=self.n_blocks)

    def best_by_depth(self) -> dict[int, Json]:
        """The tuner's row of every depth it measured; the best one where a depth was tried in several ways."""
        found: dict[int, Json] = {}
        for row in rows(self.tuning, "by_depth"):
            depth, mean = whole(row.get("frozen_blocks")), number(row.get("mean"))
            if depth is not None and mean is not None and mean >= (number(found.get(depth, {}).get("mean")) or 0.0):
                found[depth] = row
        return dict(sorted(found.items()))

    def marked_depth(self) -> int | None:
        """The depth that was chosen, where what was chosen is one: from scratch or on other features it is not."""
        is_depth = self.chosen.get("start") != "scratch" and self.chosen.get("strategy") != "feature_based"
        inside = self.depth is not None and self.n_blocks is not None and self.depth <= self.n_blocks
        return self.depth if is_depth and inside else None

    def measured_depths(self) -> tuple[Mark, ...]:
        """Validation score by depth, from the tuner."""
        won = None if self.winner is None else self.marked_depth()
        return tuple(
            measured_mark(row, label=self.words({"strategy": "freeze_part", "frozen_blocks": k}), x=k, strong=k == won)
            for k, row in self.best_by_depth().items()
        )

    def seconds_by_depth(self) -> dict[int, float]:
        """What one run at a depth cost."""
        found = {depth: number(row.get("seconds")) for depth, row in self.best_by_depth().items()}
        return {depth: value for depth, value in found.items() if value is not None and value >= 0}

    def searched(self) -> tuple[int, int] | None:
        """The range of depths that the search sampled, or is advised to."""
        bounds = interval(part(self.tuning, "range").get("searched"))
        bounds = bounds or interval(part(self.advice, "freeze").get("search"))
        return None if bounds is None else (int(bounds[0]), int(bounds[1]))

    def predicted_depths(self) -> tuple[Json, ...]:
        """The advice's entry for every depth."""
        found = (row for row in rows(part(self.advice, "freeze"), "predicted_by_depth"))
        return tuple(
            sorted(
                (row for row in found if whole(row.get("frozen_blocks")) is not None),
                key=lambda row: whole(row.get("frozen_blocks")) or 0,
            )
        )

    @property
    def similarity_unmeasured(self) -> bool:
        """Whether there is no similarity score."""
        similarity = part(self.advice, "similarity")
        return similarity.get("verdict") in (None, "unmeasured") or number(similarity.get("score")) is None

    @property
    def likely_situation(self) -> int | None:
        """The named situation, or one that is clearly ahead; None where naming one would say too much."""
        named = whole(part(self.advice, "situation").get("number"))
        if named in SITUATIONS:
            return named
        chances = self.probabilities or {}
        first = max(chances, key=lambda n: chances[n], default=None)
        return first if first is not None and chances[first] >= LIKELY_FROM else None

    @property
    def probabilities(self) -> dict[int, float] | None:
        """The four situations' probabilities; None where one of them is missing."""
        given = part(part(self.advice, "situation"), "probabilities")
        found = {n: number(given.get(str(n))) for n in SITUATIONS}
        clean = {n: min(1.0, max(0.0, p)) for n, p in found.items() if p is not None}
        return clean if len(clean) == len(SITUATIONS) else None


def measured_mark(row: Json, *, label: str, x: float = 0.0, strong: bool = False) -> Mark:
    """Make a mark of a tuner's row: its interval where it has one, else one standard deviation over its seeds.

    Args:
        row: with ``mean``, ``sd``, the number of seeds ``n`` and perhaps an interval.
        label: what the mark is called.
        x: where it stands along the axis.
        strong: whether the figure is about this one.
    """
    mean, sd, n = number(row.get("mean")) or 0.0, number(row.get("sd")), whole(row.get("n")) or 1
    bounds = score_interval(row) or (None if sd is None or n < 2 else (mean - sd, mean + sd))
    low, high = bounds or (None, None)
    return Mark(label=label, score=mean, low=low, high=high, x=x, strong=strong, hollow=n < 2)


def make_table(
    caption: str, columns: Sequence[tuple[str, bool]], body: Iterable[Sequence[str]], mark: int | None = None
) -> Table:
    """Make a table of cells that are text already.

    Args:
        caption: stands above it.
        columns: the name of every column, and whether it holds numbers.
        body: the rows, each with one text a column.
        mark: position of the row that matters; None where none does.
    """
    return Table(
        caption=caption,
        columns=tuple(name for name, _ in columns),
        numeric=tuple(is_number for _, is_number in columns),
        rows=tuple(tuple(row) for row in body),
        mark=mark,
    )


def flat(record: Json, prefix: str = "") -> list[tuple[str, Any]]:
    """Nested measures as (name, value) pairs; a record with a value and an interval stays together."""
    found: list[tuple[str, Any]] = []
    for key, value in record.items():
        name = f"{prefix}{key_words(str(key))}"
        nested = isinstance(value, Mapping) and len(prefix) < 200
        if nested and not {"value", "score", "interval"} & set(value):
            found += flat(value, f"{name}: ")
        else:
            found.append((name, value))
    return found


def sentence(text: str) -> str:
    """The text with a capital at its beginning and a full stop at its end, if it has none."""
    text = capital(text)
    return text if not text or text.endswith((".", "!", "?", "…")) else text + "."


def same_candidate(one: Json, other: Json) -> bool:
    """Whether two records are of one candidate; what one of them leaves out is the usual."""
    usual = {"head": "own", "option": None, "top": "linear", "augmentation": None}
    keys = ("strategy", "start", "frozen_blocks", "features", *usual)
    return all(one.get(key, usual.get(key)) == other.get(key, usual.get(key)) for key in keys)


def records_table(caption: str, records: Sequence[Json], *, run: Run | None = None, limit: int = 400) -> Table:
    """Show a list of records of any shape as a table: the union of their keys, twelve at most, as columns.

    Args:
        caption: stands above the table.
        records: one a row.
        run: the run that they are of, which says a candidate in words; None to show candidates as any value is.
        limit: how many records are shown at most.
    """
    keys = list(dict.fromkeys(str(key) for record in records for key in record))[:12]
    scores = {"score", "mean", "validation", "accuracy", "macro_f1", "balanced_accuracy"}

    def cell(record: Json, key: str) -> str:
        value = record.get(key)
        if run is not None and key == "candidate" and isinstance(value, Mapping):
            return run.words(value)
        as_number = number(value)
        if as_number is not None and key in scores:
            return percent(as_number)
        if as_number is not None and key == "seconds":
            return duration(as_number)
        return any_value(value)

    body = [[cell(record, key) for key in keys] for record in records[:limit]]
    columns = [(key_words(key), all(number(record.get(key)) is not None for record in records)) for key in keys]
    return make_table(caption, columns, body)
