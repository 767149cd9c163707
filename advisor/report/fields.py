"""Reading a run's JSON with care: whatever is missing, null or of another type becomes "not there", never an error.

A report must come out for every run, also one that was interrupted, damaged or written by another version, so nothing
here raises, and it does not read records (`tuner.records.Record.from_json`), which refuse what does not fit. Strings
are data: they are cleaned of characters that no page can show, and escaped later by the templates.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

# Control characters break XML; lone surrogates cannot be written as UTF-8; direction overrides would reorder the page.
_UNSHOWABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]")

Json = Mapping[str, Any]

MOST_BLOCKS = 1_000
"""The deepest published networks have some hundred layers."""


def part(record: Json | None, key: str) -> Json:
    """The mapping under `key`, or an empty one."""
    value = record.get(key) if record is not None else None
    return value if isinstance(value, Mapping) else {}


def rows(record: Json | None, key: str) -> tuple[Json, ...]:
    """The mappings in the list under `key`; anything else in it is skipped."""
    value = record.get(key) if record is not None else None
    return tuple(item for item in value if isinstance(item, Mapping)) if isinstance(value, (list, tuple)) else ()


def number(value: Any) -> float | None:
    """A finite number, or None. Truth values are not numbers.

    >>> number(0.5), number(True), number("0.5"), number(float("nan"))
    (0.5, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        as_float = float(value)
    except OverflowError:
        return None
    return as_float if math.isfinite(as_float) else None


def whole(value: Any) -> int | None:
    """A whole number, or None."""
    as_float = number(value)
    return int(as_float) if as_float is not None and as_float == int(as_float) else None


def block_count(value: Any) -> int | None:
    """How many blocks a model has, or None: every one is a row and a mark, so a number that none has is not drawn.

    >>> block_count(13), block_count(10**9), block_count(-1)
    (13, None, None)
    """
    found = whole(value)
    return found if found is not None and 0 <= found <= MOST_BLOCKS else None


def interval(value: Any) -> tuple[float, float] | None:
    """Two finite numbers in order, or None."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return None
    low, high = number(value[0]), number(value[1])
    return (low, high) if low is not None and high is not None and low <= high else None


def score(value: Any) -> float | None:
    """A score given as a number or as a record with "score" or "mean"."""
    if isinstance(value, Mapping):
        return next((found for key in ("score", "mean") if (found := number(value.get(key))) is not None), None)
    return number(value)


def score_interval(value: Any) -> tuple[float, float] | None:
    """The interval that came with a score, or None."""
    return interval(value.get("interval")) if isinstance(value, Mapping) else None


def line(value: Any, *, limit: int = 700) -> str:
    """Any value as one showable line; None and empty values become ''.

    >>> line("a\\n\\tb\\x00c"), line(None), line("abcdef", limit=4)
    ('a bc', '', 'abc…')
    """
    if value is None:
        return ""
    text = " ".join(_UNSHOWABLE.sub("", str(value)).split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def lines(record: Json | None, key: str) -> tuple[str, ...]:
    """The strings in the list under `key`, cleaned; records in it are read by their "text" or "why"."""
    value = record.get(key) if record is not None else None
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)):
        return ()
    found = (line(item.get("text") or item.get("why")) if isinstance(item, Mapping) else line(item) for item in value)
    return tuple(text for text in found if text)
