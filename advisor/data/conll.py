"""CoNLL files, one word a line -> an Arrow table of lists: told from other files by a glance at them."""

from __future__ import annotations

from collections.abc import Sequence

from advisor.data.cells import FileTable
from advisor.data.encoding import python_stream
from advisor.data.opened import OpenFile
from advisor.data.schemes import OUTSIDE, PREFIXED
from advisor.data.tagged import DOCUMENT, FIRST_ROWS
from tuner.errors import DataError

CONLL_SUFFIXES = frozenset({".conll", ".bio", ".bioes", ".bilou", ".iob", ".iob1", ".iob2", ".iobes", ".ner"})
"""Names of files that hold one word a line, whatever is in them."""
MAY_BE_CONLL = frozenset({".txt", ".tsv", ".tab", ".data"})
"""Names of files that may, and are looked at."""


def read_conll(file: OpenFile, encoding: str, *, labelled: bool = True) -> FileTable:
    """The sentences of a file: lists of ``tokens`` and ``tags``, and where there are several the ``document`` of each.

    The first column of a line is the word and the last one its tag; lines without a tag raise with their numbers. There
    are no documents without two lines that begin one. Where they need not be `labelled`, there are no tags, and a line
    may hold a word alone.
    """
    import pyarrow as pa

    path = file.path
    with python_stream(file, encoding) as stream:
        content = stream.read().decode("utf-8")
    tokens: list[list[str]] = [[]]
    tags: list[list[str]] = [[]]
    documents: list[str] = []
    n_documents = 0
    alone: list[int] = []
    n_comments = 0
    for number, line in enumerate(content.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        fields = _fields(line)
        if not fields or fields[0] == DOCUMENT:
            n_documents += bool(fields)
            if tokens[-1]:
                tokens.append([])
                tags.append([])
        elif not tokens[-1] and _is_comment(line, fields):
            n_comments += 1
        elif len(fields) < 2 and labelled:
            alone.append(number)
        else:
            documents += [] if tokens[-1] else [f"{path} {n_documents}"]
            tokens[-1].append(fields[0])
            tags[-1] += [fields[-1]] if labelled else []
    if alone:
        shown = ", ".join(f"{number:,}" for number in alone[:FIRST_ROWS]) + (", ..." if len(alone) > FIRST_ROWS else "")
        lines = "line has" if len(alone) == 1 else "lines have"
        raise DataError(
            f"{path}: {len(alone):,} {lines} a word but no tag: {'line' if len(alone) == 1 else 'lines'} {shown}",
            why="every line holds a word, first, and its tag, last, with a tab or a space between",
            fix="add the tags (O outside entities); between sentences leave a line blank",
        )
    if not tokens[-1]:
        tokens.pop()
        tags.pop()
    if not tokens:
        raise DataError(f"{path} holds no words", why="all its lines are blank", fix="pass a file with tagged words")
    if len(tokens) > 1 and all(words == [str(i + 1) for i in range(len(words))] for words in tokens):
        raise DataError(
            f"{path}: its first column counts the words of a sentence, as in CoNLL-U",
            why="the first column is read as the words",
            fix="leave that column out, so that a line begins with its word",
        )
    kind = pa.list_(pa.string())
    columns = {"tokens": pa.array(tokens, kind)}
    if labelled:
        columns["tags"] = pa.array(tags, kind)
    if n_documents > 1:
        columns["document"] = pa.array(documents, pa.string())
    warnings = (f"{path.name}: {n_comments:,} comment lines were skipped",) if n_comments else ()
    return FileTable(table=pa.table(columns), warnings=warnings, is_conll=True)


def _fields(line: str) -> list[str]:
    """The columns of a line: between tabs where there are some, else between spaces; nothing of a blank line.

    Other white space may be part of a word, as in web text.
    """
    if not line.strip(" \t"):
        return []
    if "\t" in line:
        return [part.strip(" ") for part in line.rstrip(" \t").split("\t")]
    return [part for part in line.split(" ") if part]


def _is_comment(line: str, fields: Sequence[str]) -> bool:
    """A line such as ``# id 12`` before a sentence; the word # has a tag."""
    return line.startswith("#") and not _is_tag(fields[-1])


def _is_tag(text: str) -> bool:
    return text == OUTSIDE or bool(PREFIXED.fullmatch(text)) or (len(text) == 1 and text in "BIESLU")


def is_conll(file: OpenFile) -> bool:
    """Whether a file holds one word a line, by its name, else by its first lines."""
    ending, head = file.path.suffix.lower(), file.head
    if ending in CONLL_SUFFIXES:
        return True
    if ending not in MAY_BE_CONLL or b"\0" in head:
        return False
    lines = head.decode("utf-8", errors="replace").replace("\r\n", "\n").split("\n")[:-1]
    columns = [_fields(line) for line in lines[:2000]]
    words = [fields for fields in columns if fields and fields[0] != DOCUMENT]
    if not words or all(columns[:-1]):  # tables have a header and no blank lines
        one_word = sum(" " not in fields[0] for fields in words) > 0.5 * len(words)  # else texts and classes called B
        return one_word and all(len(fields) > 1 and _is_tag(fields[-1]) for fields in words)
    tagged = sum(len(fields) > 1 and _is_tag(fields[-1]) for fields in words)
    return tagged > 0.5 * len(words)  # where types stand without a letter, the words outside are tags still
