"""What counts as missing in cells of text, the same for every format: blanks, and what programs write for "no value".

pandas writes ``nan``, SQL ``NULL``, spreadsheets ``#N/A``. Words that may as well be a class, such as "none", are
decided by the company they keep.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

_MARKERS = ("nan", "-nan", "null", "(null)", "<null>", "<na>", "<nan>", "n/a", "#n/a", "#na", "[null]", "<none>")
_SPREADSHEET_ERRORS = ("#null!", "#ref!", "#value!", "#name?", "#num!", "#div/0!")
_AS_WRITTEN = ("None", "NaT", r"\N", "-", "--", "---")  # in other letters or lengths these say something
_ALWAYS = frozenset((*_MARKERS, *_SPREADSHEET_ERRORS))

MISSING_TEXT = (
    r"^[\s\p{Z}\x{200B}\x{FEFF}]*((?i:" + "|".join(map(re.escape, sorted(_ALWAYS))) + ")|"
    # re.escape writes what Arrow's RE2 reads, too
    + "|".join(map(re.escape, _AS_WRITTEN)) + r")?[\s\p{Z}\x{200B}\x{FEFF}]*$"
)  # fmt: skip
"""A pattern of the texts that say nothing, for Arrow."""


def is_missing_text(text: str) -> bool:
    """Whether a text is blank or stands for one that is missing.

    >>> [is_missing_text(text) for text in ("nan", "N/A", " ", "-", "none at all", "nankeen")]
    [True, True, True, True, False, False]
    """
    bare = text.strip().strip("\u200b\ufeff").strip()
    return not bare or bare in _AS_WRITTEN or bare.lower() in _ALWAYS


def missing_labels(values: Iterable[str]) -> frozenset[str]:
    """Which of the different labels of a dataset stand for a missing one.

    "None" and "NA" are classes where the other labels are written like them, "none" where there are other words,
    "-" and "?" among signs.

    >>> sorted(missing_labels(["0", "1", "nan", "None", ""]))
    ['', 'None', 'nan']
    >>> sorted(missing_labels(["Favor", "Against", "None"])), sorted(missing_labels(["joy", "anger", "none", "N/A"]))
    ([], ['N/A'])
    """
    labels = {value.strip() for value in values}
    others = {label for label in labels if not _could_be_missing(label)}
    return frozenset(label for label in labels if _could_be_missing(label) and not _is_class(label, others))


def _could_be_missing(label: str) -> bool:
    return not label or label.lower() in _ALWAYS or label.lower() in ("none", "na", "nat", "?", "-", "--", "---", r"\n")


def _is_class(label: str, others: Collection[str]) -> bool:
    words = [other for other in others if re.search(r"[^\W\d_]", other) and other.lower() not in ("true", "false")]
    if label == "None":
        return bool(words) and all(word[0].isupper() and not word.isupper() for word in words)
    if label == "NA":
        return bool(words) and all(word.isupper() for word in words)
    if label.lower() in ("none", "na", "nat") and label != "NaT":
        return bool(words)
    if label in ("-", "--", "---", "?"):
        return bool(others) and ("+" in others or not any(re.search(r"\w", other) for other in others))
    return label == r"\n"
