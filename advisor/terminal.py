"""What of other people's texts may reach a terminal or a spreadsheet: no control characters, no formulas."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence

# C0 and C1 controls but for line feeds and tabs, DEL, what reorders or breaks lines unseen, halves of surrogate pairs
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e007f]"
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
_LINES_OF_CLASSES = 6


def printable(text: str) -> str:
    r"""A text with its control characters written out, so that names in data cannot steer a terminal.

    >>> print(printable("a\x1b[31mb\u202ec"))
    a\x1b[31mb\u202ec
    """
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def printable_json(text: str) -> str:
    """A JSON text in whose strings control characters are escaped as JSON has it."""
    return _CONTROLS.sub(lambda found: json.dumps(found[0])[1:-1], text)


def in_one_line(text: str) -> str:
    r"""A text with its control characters written out as `printable` does it, and line feeds and tabs too.

    >>> print(in_one_line("a\nb"))
    a\nb
    """
    return printable(text).replace("\n", r"\n").replace("\t", r"\t")


def as_cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: what begins like one is preceded by an apostrophe.

    Numbers stay numbers.

    >>> [as_cell(value) for value in ("=1+1", "-2", "@home", "fine", -0.5)]
    ["'=1+1", '-2', "'@home", 'fine', -0.5]
    """
    if isinstance(value, str) and value.startswith(_FORMULA) and not _NUMBER.fullmatch(value):
        return "'" + value
    return value


def class_lines(counts: Mapping[str, int], *, indent: int) -> str:
    """Classes with their counts in a few lines, the most frequent first; of many the last ones only as a number.

    >>> print(class_lines({"fine": 388, "broken": 12}, indent=2))
    fine 388, broken 12
    """
    width = max(60, min(shutil.get_terminal_size((120, 24)).columns, 160)) - indent
    shown = [f"{short(in_one_line(name))} {n:,}" for name, n in sorted(counts.items(), key=lambda item: -item[1])]
    for kept in range(min(len(shown), _LINES_OF_CLASSES * width // 3), 0, -1):
        rest = len(shown) - kept
        parts = [*shown[:kept], f"and {rest:,} more, down to {shown[-1]}"] if rest else shown
        lines = _wrapped(parts, width)
        if len(lines) <= _LINES_OF_CLASSES:
            break
    return ("\n" + " " * indent).join(lines)


def in_lines(parts: Sequence[str], *, indent: int, most: int = _LINES_OF_CLASSES) -> str:
    """Parts between commas in so many lines at most, breaking between parts; of more the number that is left out.

    >>> print(in_lines(["a 0.1", "b 0.2"], indent=2))
    a 0.1, b 0.2
    """
    width = max(60, min(shutil.get_terminal_size((120, 24)).columns, 160)) - indent
    for kept in range(len(parts), 0, -1):
        rest = len(parts) - kept
        lines = _wrapped([*parts[:kept], *([f"and {rest:,} more"] if rest else [])], width)
        if len(lines) <= most:
            break
    return ("\n" + " " * indent).join(lines)


def _wrapped(parts: Sequence[str], width: int) -> list[str]:
    """Parts between commas in lines that break between parts only."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) + 3 <= width:
            lines[-1] += f", {part}"
        else:
            lines[-1:] = [*(line + "," for line in lines[-1:]), part]
    return lines


def short(name: str) -> str:
    return name if len(name) <= 40 else name[:39] + "…"
