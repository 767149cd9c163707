"""Whether the first row of a table names its columns or is data like the rows below it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from advisor.data.columns import IMAGE_NAMES, LABEL_NAMES, TEXT_NAMES

USUAL_NAMES = frozenset(
    {name for tier in (*TEXT_NAMES, *IMAGE_NAMES, *LABEL_NAMES) for name in tier}
    | {"id", "idx", "index", "uid", "guid", "key", "row", "name", "author", "user", "username", "user_id", "group",
       "source", "url", "link", "date", "time", "datetime", "timestamp", "created_at", "year", "split", "fold",
       "lang", "language", "score", "rating", "stars", "polarity", "stance", "toxicity", "toxic", "subject", "reviews",
       "sentences", "questions", "tweets", "comments", "documents", "messages", "utterances", "titles", "premise",
       "hypothesis", "sentence1", "sentence2", "text1", "text2", "text_a", "text_b", "question1", "question2", "tokens",
       "words", "tags", "ner_tags", "word", "token", "labels_id", "target_name", "answer", "response", "prompt",
       "length", "count", "confidence", "annotator", "domain", "product", "product_id", "location"}
)  # fmt: skip
"""What columns of datasets are often called, in small letters, words joined by underscores."""

_NUMBER = re.compile(r"[+-]?(\d+([.,]\d+)*|\.\d+)([eE][+-]?\d+)?%?")
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ,].*)?|\d{1,2}:\d{2}(:\d{2})?.*")
_PATH = re.compile(r"\S*\w\.[A-Za-z]{2,5}|https?://\S+|\S+/\S+")
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "-", "?"})
_IDENTIFIER = re.compile(r"[A-Za-z]+(_[A-Za-z0-9]+)+|[a-z]+[A-Z][A-Za-z0-9]*|[A-Za-z]{1,3}\d{1,2}")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_MOSTLY = 0.95
_LONG_TEXT = 5  # words

Verdict = Literal["header", "data"]


@dataclass(frozen=True, kw_only=True)
class ColumnNames:
    """What the columns are called, how many rows that took (0 where they were numbered), and what to say of it."""

    names: tuple[str, ...]
    n_header: int
    without_header: bool
    warnings: tuple[str, ...] = ()


def name_columns(
    records: Sequence[Sequence[str]], *, place: str, header: bool | None = None, known: Sequence[str] = ()
) -> ColumnNames:
    """Find the names of a table's columns: in its first row, or numbers where that is data.

    A warning says so where the first row is judged to be data, or where it could be either.

    Args:
        records: the first rows, all of the same number of cells.
        place: what messages call the table.
        header: whether the first row names the columns, as the user says; None: it is judged (`judge_first_row`).
        known: names that the user or a saved model expects.
    """
    first = [cell.strip() for cell in records[0]]
    numbered = tuple(f"column_{number}" for number in range(1, len(first) + 1))
    verdict, sure = judge_first_row(records, known=known) if header is None else ("header" if header else "data", True)
    if verdict == "header":
        doubtful = (
            f"{place}: the first row was taken as a header line, though it could be data; --no-header makes it a row",
        )
        return ColumnNames(names=tuple(first), n_header=1, without_header=False, warnings=() if sure else doubtful)
    between = " and " if len(numbered) == 2 else " to "
    called = numbered[0] if len(numbered) == 1 else f"{numbered[0]}{between}{numbered[-1]}"
    columns = "its column is" if len(numbered) == 1 else "its columns are"
    said = f"{place} has no header line: the first row looks like the others, so {columns} called {called}"
    warnings = () if header is False else (f"{said} (--header makes the first row their names)",)
    return ColumnNames(names=numbered, n_header=0, without_header=True, warnings=warnings)


def judge_first_row(records: Sequence[Sequence[str]], *, known: Sequence[str] = ()) -> tuple[Verdict, bool]:
    """Judge whether the first row is a header or data, and whether nothing speaks against that.

    Each column is asked: a usual name that is no value of the column speaks for a header, and so does text above
    numbers, a short name above long texts, or what is none of a few classes above those classes. A class that occurs
    below speaks for data, as do a number above numbers and a text as long as the others. Without evidence the first
    row is a header, as is the custom.

    >>> judge_first_row([["text", "label"], ["It broke after a week.", "bad"], ["It works very well.", "good"]])
    ('header', True)
    >>> judge_first_row([["ham", "See you at five."], ["spam", "Win a prize today!"], ["ham", "I am late, sorry."]])
    ('data', True)
    """
    first = [cell.strip() for cell in records[0]]
    if any(cell and cell in known for cell in first):
        return "header", True
    body = [record for record in records[1:] if len(record) == len(first)]
    columns = [[cell.strip() for cell in column] for column in zip(*body, strict=True)] or [[] for _ in first]
    if _counts_columns(first, columns):
        return "header", True
    votes = [_vote(cell, cells) for cell, cells in zip(first, columns, strict=True)]
    total = sum(votes)
    if total < 0:
        return "data", all(vote <= 0 for vote in votes)
    if not body:
        return "header", True
    return "header", total >= (2 if len(first) > 1 else 3)  # a word above texts may be the first text


def _vote(cell: str, below: Sequence[str]) -> int:
    """What a column says of its first cell: above 0 for a name, below 0 for data, by how strongly."""
    filled = [value for value in below if value.lower() not in _MISSING]
    if not cell:
        return 0
    counts = Counter(filled)
    usual = _plain(cell) in USUAL_NAMES and cell not in counts
    if usual and not _is_long(cell):
        return 4
    if not filled:
        return -2 if _is_long(cell) else 0
    for shape in (_NUMBER, _DATE, _PATH):
        if sum(bool(shape.fullmatch(value)) for value in filled) >= _MOSTLY * len(filled):
            if shape.fullmatch(cell):
                return -3
            if shape is not _PATH or len(filled) > 1:
                return 0 if cell.lower() in _MISSING else 3
    if cell in counts:
        return -4 if counts[cell] > 1 or len(counts) < len(filled) else -2
    few = len(counts) <= max(2, len(filled) / 4) and len(filled) >= 8
    if few:
        return _vote_of_classes(cell, counts)
    return _vote_of_texts(cell, filled)


def _vote_of_classes(cell: str, counts: Counter[str]) -> int:
    """None of the classes below: a name, the more surely the fewer classes are rare."""
    if all(value.startswith("__label__") for value in counts):
        return -3 if cell.startswith("__label__") else 3
    rows = counts.total()
    once = sum(count == 1 for count in counts.values())
    # Good and Turing: the share of rows whose class is met for the first time is about that of classes met once.
    return 3 if once <= 0.02 * rows else 1


def _vote_of_texts(cell: str, filled: Sequence[str]) -> int:
    """A short name above long texts, or a text as long as they are."""
    words = sorted(map(_n_words, filled))
    usual, shortest = words[len(words) // 2], words[0]
    n_words = _n_words(cell)
    if _is_long(cell):
        return -2
    if _IDENTIFIER.fullmatch(cell) and not any(_IDENTIFIER.fullmatch(value) for value in filled[:200]):
        return 3
    if usual >= _LONG_TEXT and n_words <= 2 and shortest > n_words and not re.search(r"[.!?…]$", cell):
        return 2
    if usual >= _LONG_TEXT and n_words <= 3:
        return 1 if not re.search(r"[.!?…]$", cell) else -1
    if n_words > 3 and usual > 2:
        return -1
    return 0


def _counts_columns(first: Sequence[str], columns: Sequence[Sequence[str]]) -> bool:
    """Whether the first row is 0, 1, 2..., as pandas calls columns without names, above cells that are no numbers."""
    named = [cell for cell in first if cell]
    counted = [str(number) for number in range(len(named))]
    if named != counted or (first[:1] != [""] and len(named) < len(first)) or not named:
        return False
    return any(
        cells and sum(bool(_NUMBER.fullmatch(value)) for value in cells) < 0.5 * len(cells)
        for cell, cells in zip(first, columns, strict=True)
        if cell
    )


def _is_long(cell: str) -> bool:
    """A sentence rather than a name."""
    return _n_words(cell) >= _LONG_TEXT or len(cell) > 60


def _n_words(text: str) -> int:
    """Words between spaces; in scripts without spaces, two characters count as a word."""
    return len(text.split()) + len(_UNSPACED.findall(text)) // 2


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower().lstrip("#").strip())
