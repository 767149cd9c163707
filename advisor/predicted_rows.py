"""Predictions for new rows, and how they are written: JSON lines, CSV, CoNLL."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from advisor.terminal import as_cell
from tuner.records import Record


@dataclass(frozen=True, kw_only=True)
class Predicted(Record):
    """What a saved model says of n new rows; subclasses hold the answers of one kind of task.

    ``unlike`` (n,) says which rows are unlike the training data: farther from its features than 95 % of the training
    rows are from each other.
    """

    endings: ClassVar[tuple[str, ...]] = (".csv", ".jsonl")
    """Of the files that these can be written to; the first one's form is also that of the standard output."""

    unlike: np.ndarray
    warnings: tuple[str, ...] = ()

    @property
    def share_unlike(self) -> float:
        """Share of the rows that are unlike the training data."""
        return float(self.unlike.mean()) if len(self.unlike) else 0.0

    @property
    def n_unreadable(self) -> int:
        """Rows that could not be read and have no answer."""
        return 0

    def records(self) -> list[dict[str, Any]]:
        """Every row as it stands in a file of JSON lines."""
        raise NotImplementedError

    def table(self) -> list[list[Any]]:
        """A header and the lines below it, as they stand in a CSV file."""
        raise NotImplementedError

    def written(self, ending: str, *, raw: bool) -> str:
        """The content of a file with one of `endings`; unless `raw`, cells of a CSV file are safe in a spreadsheet."""
        if ending == ".jsonl":
            return as_jsonl(self.records())
        return csv_of(self.table(), raw=raw)

    def notes_on(self, file: str) -> list[str]:
        """What a file of this name cannot hold."""
        return []


@dataclass(frozen=True, kw_only=True)
class Predictions(Predicted):
    """Labels and probabilities for new rows.

    ``rows`` are what the rows are known by, and ``shown_as`` is the column of the output that holds them; None where
    rows are known by their order. ``unreadable`` are positions of rows that could not be read, with the reason: they
    have no label (None), and are not counted among those that are unlike the training data.
    """

    rows: tuple[str, ...]
    labels: tuple[str | None, ...]
    probabilities: np.ndarray
    class_names: tuple[str, ...]
    unreadable: Mapping[int, str] = field(default_factory=dict)
    shown_as: str | None = None

    @property
    def share_unlike(self) -> float:
        """Share of the readable rows that are unlike the training data."""
        counted = np.delete(self.unlike, list(self.unreadable))
        return float(counted.mean()) if len(counted) else 0.0

    @property
    def n_unreadable(self) -> int:
        """Rows that could not be read and have no label."""
        return len(self.unreadable)

    def records(self) -> list[dict[str, Any]]:
        """Every row with its label; one that cannot be read has the reason in place of a label."""
        return [self._row(row) for row in range(len(self.labels))]

    def _row(self, row: int) -> dict[str, Any]:
        named = {} if self.shown_as is None else {self.shown_as: self.rows[row]}
        if row in self.unreadable:
            return named | {
                "label": None,
                "probability": None,
                "unlike_training": None,
                "probabilities": dict.fromkeys(self.class_names),
                "unreadable": self.unreadable[row],
            }
        probabilities = self.probabilities[row]
        return named | {
            "label": self.labels[row],
            "probability": round(float(probabilities.max()), 6),
            "unlike_training": bool(self.unlike[row]),
            "probabilities": {
                name: round(float(p), 6) for name, p in zip(self.class_names, probabilities, strict=True)
            },
        }

    def table(self) -> list[list[Any]]:
        """A header and a line for every row, with the probability of every class."""
        return as_rows(self.records())


@dataclass(frozen=True, kw_only=True)
class LabelPredictions(Predictions):
    """Lists of labels for new rows; ``probabilities`` (n, L) need not sum to 1."""

    labels: tuple[Any, ...]

    def _row(self, row: int) -> dict[str, Any]:
        found = super()._row(row)
        return {("labels" if key == "label" else key): value for key, value in found.items() if key != "probability"}

    def table(self) -> list[list[Any]]:
        """A header and a line for every row: its labels with a | between them, and the probability of every label."""
        rows = [{**row, "labels": None if row["labels"] is None else "|".join(row["labels"])} for row in self.records()]
        return as_rows(rows)


@dataclass(frozen=True, kw_only=True)
class NumberPredictions(Predictions):
    """Numbers for new rows; ``class_names`` holds their name, ``probabilities`` (n, 1) the numbers themselves."""

    labels: tuple[float | None, ...]  # type: ignore[assignment]  # numbers in place of names

    def _row(self, row: int) -> dict[str, Any]:
        found = super()._row(row)
        return {key: value for key, value in found.items() if not key.startswith("probabilit")}

    def table(self) -> list[list[Any]]:
        """A header and a line for every row, with its number."""
        rows = self.records()
        columns = [name for name in ("image", "label", "unlike_training") if not rows or name in rows[0]]
        columns += ["unreadable"] if any("unreadable" in row for row in rows) else []
        return [columns, *([row.get(name) for name in columns] for row in rows)]


@dataclass(frozen=True, kw_only=True)
class TaggedPredictions(Predicted):
    """Tags for the words of n new sentences.

    ``probabilities`` hold for every sentence a (words,) array: how probable each word's tag is, not a number (NaN) for
    words that the model does not see.
    """

    endings: ClassVar[tuple[str, ...]] = (".csv", ".jsonl", ".conll")

    tokens: tuple[tuple[str, ...], ...]
    tags: tuple[tuple[str, ...], ...]
    probabilities: tuple[np.ndarray, ...]

    def records(self) -> list[dict[str, Any]]:
        """Every sentence; a word that the model does not see has a tag, and no probability."""
        return [
            {
                "tokens": list(self.tokens[row]),
                "tags": list(self.tags[row]),
                "probabilities": [None if math.isnan(p) else round(p, 6) for p in self.probabilities[row].tolist()],
                "unlike_training": bool(self.unlike[row]),
            }
            for row in range(len(self.tokens))
        ]

    def table(self) -> list[list[Any]]:
        """A header and a line for every word, with the number of its sentence."""
        return words_as_rows(self.records())

    def written(self, ending: str, *, raw: bool) -> str:
        """The content of a file with one of `endings`."""
        return as_conll(self.records()) if ending == ".conll" else super().written(ending, raw=raw)

    def notes_on(self, file: str) -> list[str]:
        """Warnings of what a CoNLL file cannot hold; none for files of other kinds."""
        return notes_on_conll(self.records(), file=file) if file.endswith(".conll") else []


def words_as_rows(rows: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """A header and a line for every word, with the number of its sentence."""
    lines: list[list[Any]] = [["sentence", "word", "tag", "probability", "unlike_training"]]
    for number, row in enumerate(rows, 1):
        words = zip(row["tokens"], row["tags"], row["probabilities"], strict=True)
        lines += [[number, *word, row["unlike_training"]] for word in words]
    return lines


def as_conll(rows: Sequence[dict[str, Any]]) -> str:
    """A word and its tag a line, with a blank line between sentences; `notes_on_conll` says what is not as it was."""
    sentences = (zip(row["tokens"], row["tags"], strict=True) for row in rows if row["tokens"])
    return "\n".join("".join(f"{_in_one_piece(word)}\t{tag}\n" for word, tag in words) for words in sentences)


def _in_one_piece(word: str) -> str:
    """A word without white space, which would part the line, or end it."""
    return re.sub(r"\s", "_", word) or "_"


def notes_on_conll(rows: Sequence[dict[str, Any]], *, file: str) -> list[str]:
    """Warnings of what a CoNLL file cannot hold."""
    notes = []
    if parted := sum(word != _in_one_piece(word) for row in rows for word in row["tokens"]):
        words = "1 word is empty or holds" if parted == 1 else f"{parted:,} words are empty or hold"
        notes.append(f"{words} white space, which parts columns: _ stands in its place in {file}")
    if empty := sum(not row["tokens"] for row in rows):
        have = "has no words and is" if empty == 1 else "have no words and are"
        notes.append(f"{empty:,} of {len(rows):,} sentences {have} left out of {file}")
    return notes


def as_jsonl(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_rows(rows: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """A header and a line for every row, with the probability of every class."""
    classes = list(rows[0]["probabilities"]) if rows else []
    usual = ("image", "label", "labels", "probability", "unlike_training")
    columns = [name for name in usual if (name in rows[0] if rows else name != "labels")]
    last = ["unreadable"] if any("unreadable" in row for row in rows) else []
    header = [*columns, *(f"probability of {name}" for name in classes), *last]
    return [
        header,
        *(
            [*(row[name] for name in columns), *row["probabilities"].values(), *(row.get(name) for name in last)]
            for row in rows
        ),
    ]


def csv_of(lines: Sequence[Sequence[Any]], *, raw: bool) -> str:
    """Lines as CSV; unless `raw`, what a spreadsheet would take for a formula is marked as text."""
    import csv
    import io

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows(line if raw else [as_cell(cell) for cell in line] for line in lines)
    return buffer.getvalue()
