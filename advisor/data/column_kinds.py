"""What cells are that are neither texts nor classes: dates, addresses, identifiers, coordinates, quantities."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from advisor.data.splits import SPLIT_NAMES

if TYPE_CHECKING:
    import pyarrow as pa

_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec)[a-z]*\.?"
_TIME = r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[ap]\.?m\.?)?( ?(z|utc|gmt|[+-]\d{2}:?\d{2}))?"
_DATE = (
    rf"(\d{{4}}[-/.]\d{{1,2}}([-/.]\d{{1,2}})?|\d{{1,2}}[-/.]\d{{1,2}}[-/.](\d{{4}}|\d{{2}})"
    rf"|\d{{1,2}}(st|nd|rd|th)?[ -]{_MONTH}[ ,-]*\d{{2,4}}|{_MONTH} \d{{1,2}}(st|nd|rd|th)?,? \d{{4}}"
    rf"|\d{{4}}[- ]{_MONTH}[- ]\d{{1,2}}|{_MONTH} \d{{4}}|(mon|tue|wed|thu|fri|sat|sun)[a-z]*,? .*\d{{1,2}}:\d{{2}}.*)"
)
_KINDS = {
    "dates or times": rf"({_DATE}([t ,]+{_TIME})?|{_TIME}|\d{{8}}t\d{{6}}z?)",
    "addresses": r"([a-z][a-z0-9+.-]*://\S+|www\.\S+|[^\s@]+@[^\s@]+\.[^\s@]+|(\d{1,3}\.){3}\d{1,3}(:\d+)?)",
    "identifiers": r"(\{?[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}\}?|[0-9a-f]*\d[0-9a-f]*)",
    "telephone numbers": r"(\+\d[\d ()./-]{6,}\d|\(\d{2,5}\) ?[\d -]{5,}|\d{3}[-. ]\d{3,4}[-. ]\d{4})",
    "coordinates": r"\(?[-+]?\d{1,3}\.\d+ ?[,; ] ?[-+]?\d{1,3}\.\d+\)?",
}
_HASH_LENGTHS = frozenset({16, 24, 32, 36, 38, 40, 56, 64, 96, 128})
_NAMES = re.compile(
    r"(^|.*_)(id|ids|uid|uuid|guid|index|idx|hash|md5|sha\d*|checksum|date|datetime|time|timestamp|ts|created|updated"
    r"|created_at|updated_at|year|month|url|uri|link|href|email|phone|telephone|ip|lat|lon|lng|latitude|longitude"
    r"|zip|zipcode|zip_code|postcode|postal_code|user|username|row|row_number|line|line_number"
    r"|age|count|counts|length|len|price|likes|votes|upvotes|downvotes|retweets|retweet_count|favorites|views|shares"
    r"|replies|n_words|n_chars|word_count|char_count)"
    r"|unnamed(:?_?\d+(_level_\d+)?)?|level_\d+|__index_level_\d+__|#|no\.?|nr\.?"
)
_CELLS = 200  # of a column are looked at one by one
_LARGEST = 10_000
_MOST_NUMBERS = 20


def is_bookkeeping(name: str) -> bool:
    """Whether a column's name says that it keeps the books of its rows: ids, times, places, numbers of rows.

    >>> [is_bookkeeping(name) for name in ("user_id", "created_at", "Unnamed: 0", "intent", "stars")]
    [True, True, True, False, False]
    """
    return _NAMES.fullmatch(_plain(name)) is not None


def kind_of_cells(sample: pa.Table, name: str) -> str | None:
    """What nearly all cells of a column are, where it is nothing that is read or predicted; else None.

    Only the first filled cells are looked at, and strings only: Arrow's own dates say so by their type.
    """
    import pyarrow as pa

    column = sample.column(name)
    if pa.types.is_temporal(column.type):
        return "dates or times"
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return None
    cells = [cell for value in column.slice(0, 4 * _CELLS).to_pylist() if value and (cell := value.strip().lower())]
    cells = cells[:_CELLS]
    if not cells:
        return None
    for kind, pattern in _KINDS.items():
        matching = _matching(pattern)
        found = [cell for cell in cells if len(cell) <= 2_000 and matching.fullmatch(cell)]
        if kind == "identifiers":
            found = [cell for cell in found if len(cell) in _HASH_LENGTHS and not cell.isdigit()]
        if len(found) >= 0.9 * len(cells):
            return kind
    words = {cell for cell in cells if len(cell) <= 40}
    if len(words) <= 5 and all(cell in words for cell in cells) and words <= SPLIT_NAMES.keys():
        return "names of splits"
    return None


def column_of_splits(table: pa.Table) -> tuple[str, tuple[str, ...]] | None:
    """A column that says of each row in which split it is, and the names in it; None where there is none.

    >>> import pyarrow as pa
    >>> column_of_splits(pa.table({"text": ["a", "b"], "set": ["train", "test"]}))
    ('set', ('test', 'train'))
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for item in table.schema:
        if not (pa.types.is_string(item.type) or pa.types.is_large_string(item.type)):
            continue
        if kind_of_cells(table, item.name) == "names of splits":
            found = {value.strip() for value in pc.unique(table.column(item.name)).to_pylist() if value}
            if len(found) > 1 and all(name.lower() in SPLIT_NAMES for name in found):
                return item.name, tuple(sorted(found))
    return None


def numbers_as_classes(sample: pa.Table, name: str) -> bool | None:
    """Whether the numbers of a column may stand for classes: few whole ones, none large. None for other cells.

    Means, coordinates and amounts have fractions, times and codes are large, and years, ages and lengths are many.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    column = sample.column(name)
    distinct = pc.unique(column)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        values = [value.strip() for value in distinct.to_pylist() if value and value.strip()]
        if not values or not all(map(_IS_NUMBER.fullmatch, values)):
            return None
        numbers = sorted({float(value) for value in values})
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        numbers = sorted({float(value) for value in distinct.to_pylist() if value is not None and value == value})
    else:
        return None
    if not numbers or any(number != int(number) for number in numbers if abs(number) < 1e15):
        return False
    lowest, highest = numbers[0], numbers[-1]
    if max(-lowest, highest) >= _LARGEST or 1900 <= lowest <= highest <= 2100:
        return False
    return len(numbers) <= _MOST_NUMBERS or (lowest in (0, 1) and highest - lowest + 1 == len(numbers))


def are_codes(sample: pa.Table, name: str) -> bool:
    """Whether the cells are codes of letters and several digits in one piece, as of products or accounts."""
    cells = [value.strip() for value in sample.column(name).slice(0, _CELLS).to_pylist() if value and value.strip()]
    return bool(cells) and all(map(_CODE.fullmatch, cells))


_CODE = re.compile(r"(?=(.*\d){3})[A-Za-z0-9_.:/-]{6,}")
_IS_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)


@lru_cache
def _matching(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


@lru_cache(maxsize=1024)
def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip()).lower())
