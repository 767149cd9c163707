"""Schemes of tags: which one some tags follow, and which transitions it forbids."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tuner.errors import DataError

OUTSIDE = "O"
SCHEMES = ("IO", "IOB1", "BIO", "BIOES", "BILOU")
"""How tags say where entities begin and end; BIO is also called IOB2, BIOES IOBES, BILOU BIOUL."""
PREFIXED = re.compile(r"([BIESLU])[-_](.+)", re.DOTALL)
_ALMOST = re.compile(r"[bieslu][-_].+|.+[-_][BIESLU]", re.DOTALL)
_NO_TYPE = "ENTITY"


# --- schemes


def tag_scheme(tags: Sequence[Sequence[str]], *, place: str = "the data") -> str:
    """Which of `SCHEMES` the tags of some sentences follow, by the letters in them.

    B and I alone may be BIO, where every entity begins with B, or IOB1, where only one that follows another of its type
    does: the commoner way of beginning an entity decides, so that a few wrong tags do not. Raises `DataError` for
    letters that are in no scheme together.

    >>> tag_scheme([["B-a", "I-a", "O"]]), tag_scheme([["I-a", "B-a", "O", "I-a"]]), tag_scheme([["I-a", "O"]])
    ('BIO', 'IOB1', 'IO')
    >>> tag_scheme([["B-a", "E-a"]]), tag_scheme([["U-a", "O"]])
    ('BIOES', 'BILOU')
    """
    letters = {tag[0] for row in tags for tag in row if tag != OUTSIDE}
    if letters <= {"I"}:
        return "IO"
    if letters <= {"B", "I"}:
        with_b = with_i = 0
        for row in tags:
            for before, tag in zip((OUTSIDE, *row), row, strict=False):
                inside = before != OUTSIDE and before[2:] == tag[2:]
                with_b += tag[0] == "B" and not inside
                with_i += tag[0] == "I" and not inside
        return "IOB1" if with_i > with_b else "BIO"
    if letters <= set("BIES") and letters & set("BS"):
        return "BIOES"
    if letters <= set("BILU") and letters & set("BU"):
        return "BILOU"
    raise DataError(
        f"{place}: tags with the letters {', '.join(sorted(letters))} follow no scheme that is known here",
        why="the letters say where entities begin and end",
        fix=f"write them in one of: {', '.join(SCHEMES)} (such as B-person, I-person, O)",
    )


def illegal_transitions(tags: Sequence[str], *, scheme: str) -> tuple[int, ...]:
    """Positions of the words in one sentence whose tag may not follow the one before; the end counts as a word.

    In BIO an ``I-X`` follows only ``B-X`` or ``I-X``; in IOB1 a ``B-X`` does; in BIOES and BILOU an entity also has to
    be ended. In IO nothing is illegal.

    >>> illegal_transitions(["O", "I-a", "I-b", "B-a", "I-a"], scheme="BIO")
    (1, 2)
    >>> illegal_transitions(["B-a", "O", "I-a", "B-a"], scheme="IOB1")
    (0,)
    >>> illegal_transitions(["B-a", "O", "S-a", "B-a"], scheme="BIOES")
    (1, 4)
    """
    found = []
    before = OUTSIDE
    with_end = (*tags, OUTSIDE) if scheme in ("BIOES", "BILOU") else tags
    for position, tag in enumerate(with_end):
        same = before != OUTSIDE and before[2:] == tag[2:]
        if scheme == "BIO":
            illegal = tag[0] == "I" and not same
        elif scheme == "IOB1":
            illegal = tag[0] == "B" and not same
        else:
            is_open = before[0] in "BI"  # the entity of the word before goes on
            goes_on = tag[0] in "IEL"
            illegal = scheme != "IO" and (is_open != goes_on or (goes_on and not same))
        if illegal:
            found.append(position)
        before = tag
    return tuple(found)


def regular_tags(tags: set[str], *, place: str) -> tuple[dict[str, str], list[str]]:
    """Rewrite every tag as ``O`` or letter, hyphen and type, with warnings where that takes a guess.

    Raises `DataError` for tags that are of no entities, and where all are ``O``.
    """
    rest = tags - {OUTSIDE}
    if not rest:
        raise DataError(
            f"{place} holds no entity: every word is tagged O",
            why="there is nothing to learn from",
            fix="pass sentences with tags such as B-person, or name the column that holds them with --label",
        )
    prefixed = {tag: found for tag in rest if (found := PREFIXED.fullmatch(tag))}
    if len(prefixed) == len(rest):
        return {OUTSIDE: OUTSIDE, **{tag: f"{found[1]}-{found[2]}" for tag, found in prefixed.items()}}, []
    if rest <= set("BIESLU"):
        warning = f"{place}: the tags name no type of entity; it is called {_NO_TYPE} here"
        return {OUTSIDE: OUTSIDE, **{tag: f"{tag}-{_NO_TYPE}" for tag in rest}}, [warning]
    odd = sorted(rest - set(prefixed))
    if not prefixed and OUTSIDE in tags and not any(_ALMOST.fullmatch(tag) for tag in rest) and "" not in rest:
        warning = (
            f"{place}: the tags have no B- or I- before the type; neighbouring words of one type are read as one entity"
        )
        return {OUTSIDE: OUTSIDE, **{tag: f"I-{tag}" for tag in rest}}, [warning]
    shown = ", ".join(repr(tag) for tag in odd[:5]) + (", ..." if len(odd) > 5 else "")
    raise DataError(
        f"{place}: {len(odd):,} of {len(tags):,} different tags are no entity tags: {shown}",
        why="words outside are tagged O, those of an entity with a letter and its type, such as B-person and I-person; "
        "other tags of words, such as parts of speech, are not supported",
        fix="write the tags so, or name the column that holds entity tags with --label",
    )


def ordered_tags(tags: set[str]) -> list[str]:
    """Sort tags: ``O`` first, then type by type, letters in the order of ``BILESU``."""
    letters = "BILESU"
    return sorted(tags, key=lambda tag: ("", 0) if tag == OUTSIDE else (tag[2:], 1 + letters.index(tag[0])))
