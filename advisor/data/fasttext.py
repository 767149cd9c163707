"""fastText's training files -> an Arrow table: ``__label__x`` in front of a text, one a line."""

from __future__ import annotations

import re

from advisor.data.cells import FileTable
from advisor.data.encoding import python_stream
from advisor.data.opened import OpenFile
from tuner.errors import DataError

_MARK = "__label__"
_LINE = re.compile(r"((?:__label__\S+\s+)+)(.*)")
_DELIMITED = re.compile(r"__label__[^\s,;|]+[,;|]")


def is_fasttext(sample: str) -> bool:
    """Whether every line that is not blank begins with a label, parted from its text by white space.

    >>> is_fasttext("__label__good it works\\n__label__bad it broke\\n"), is_fasttext("__label__good,it works\\n")
    (True, False)
    """
    if not sample.lstrip().startswith(_MARK):
        return False
    lines = [line for line in sample.split("\n") if line.strip()]
    return all(line.startswith(_MARK) for line in lines) and not all(_DELIMITED.match(line) for line in lines)


def read_fasttext(file: OpenFile, encoding: str) -> FileTable:
    """Texts and labels of a fastText file, in lists where a line has several. Raises `DataError` for other lines."""
    import pyarrow as pa

    texts: list[str] = []
    labels: list[list[str]] = []
    with python_stream(file, encoding) as stream:
        for number, raw in enumerate(stream, 1):
            line = raw.decode("utf-8").strip()
            if not line:
                continue
            found = _LINE.fullmatch(line)
            if found is None:
                raise DataError(
                    f"{file.path}, line {number:,}: no text behind a label, as fastText's files have it",
                    why=f"the other lines are a {_MARK}NAME and a text",
                    fix="write the line like the others, or leave it out",
                )
            labels.append([name.removeprefix(_MARK) for name in found[1].split()])
            texts.append(found[2])
    several = any(len(of_line) > 1 for of_line in labels)
    return FileTable(table=pa.table({"text": texts, "label": labels if several else [name for (name,) in labels]}))
