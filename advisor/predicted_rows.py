"""Predictions as rows of a file: JSON lines, CSV, CoNLL."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from advisor.terminal import as_cell

if TYPE_CHECKING:
    from advisor.predicting import Predictions, TaggedPredictions


def tags_of_row(predictions: TaggedPredictions, row: int) -> dict[str, Any]:
    """One sentence of the output; a word that the model does not see has a tag, and no probability."""
    probabilities = predictions.probabilities[row].tolist()
    return {
        "tokens": list(predictions.tokens[row]),
        "tags": list(predictions.tags[row]),
        "probabilities": [None if math.isnan(probability) else round(probability, 6) for probability in probabilities],
        "unlike_training": bool(predictions.unlike[row]),
    }


def words_as_rows(rows: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """A word a line, with the number of its sentence."""
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
    """What such a file cannot hold, said."""
    notes = []
    if parted := sum(word != _in_one_piece(word) for row in rows for word in row["tokens"]):
        words = "1 word is empty or holds" if parted == 1 else f"{parted:,} words are empty or hold"
        notes.append(f"{words} white space, which parts columns: _ stands in its place in {file}")
    if empty := sum(not row["tokens"] for row in rows):
        have = "has no words and is" if empty == 1 else "have no words and are"
        notes.append(f"{empty:,} of {len(rows):,} sentences {have} left out of {file}")
    return notes


def prediction_of_row(predictions: Predictions, row: int) -> dict[str, Any]:
    """One line of the output; an image that cannot be read has the reason in place of a label."""
    # Texts keep the order of their file; a folder's images have none that everyone knows.
    named = {} if predictions.kind == "text" else {"image": predictions.rows[row]}
    if row in predictions.unreadable:
        return named | {
            "label": None,
            "probability": None,
            "unlike_training": None,
            "probabilities": dict.fromkeys(predictions.class_names),
            "unreadable": predictions.unreadable[row],
        }
    probabilities = predictions.probabilities[row]
    return named | {
        "label": predictions.labels[row],
        "probability": round(float(probabilities.max()), 6),
        "unlike_training": bool(predictions.unlike[row]),
        "probabilities": {
            name: round(float(p), 6) for name, p in zip(predictions.class_names, probabilities, strict=True)
        },
    }


def as_jsonl(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_rows(rows: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """A row a line, with the probability of every class."""
    classes = list(rows[0]["probabilities"]) if rows else []
    columns = [name for name in ("image", "label", "probability", "unlike_training") if not rows or name in rows[0]]
    last = ["unreadable"] if any("unreadable" in row for row in rows) else []
    header = [*columns, *(f"probability of {name}" for name in classes), *last]
    return [
        header,
        *(
            [*(row[name] for name in columns), *row["probabilities"].values(), *(row.get(name) for name in last)]
            for row in rows
        ),
    ]


def csv_of(
    lines_of: Callable[[Sequence[dict[str, Any]]], list[list[Any]]], rows: Sequence[dict[str, Any]], *, raw: bool
) -> str:
    """Rows as CSV; unless `raw`, what a spreadsheet would take for a formula is marked as text."""
    import csv
    import io

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows(line if raw else [as_cell(cell) for cell in line] for line in lines_of(rows))
    return buffer.getvalue()
