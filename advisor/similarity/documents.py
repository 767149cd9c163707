"""Which texts of a source belong to one document, since a source is as broad as its documents, not as its rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

# Names of columns that say which document a row is from, the most telling first.
DOCUMENT_COLUMNS = (
    "article", "article_id", "article_title", "document", "document_id", "doc", "doc_id", "docid", "page_id",
    "page_title", "book", "book_id", "book_title", "title", "url",
)  # fmt: skip
# With fewer texts than this nothing can be said of neighbours: they count as one document.
FEWEST_NEIGHBOURS = 20
MOST_NEIGHBOURS = 600
# Files with fewer texts than this are judged together.
ENOUGH_NEIGHBOURS = 300
# Neighbours are compared with texts that follow this much later. Rows sorted by class or topic are alike at both.
FAR_APART = 50
# In standard deviations. Shuffled sentences, reviews, titles and tweets lie between -0.1 and 0.15, also when they are
# sorted by class; paragraphs of articles and novels at 0.4 to 1.0, single sentences of them at 0.2 to 0.5.
RUNNING_FROM = 0.2
SURE_FROM = 3.0
LOOKED_AT = 300

_HEADING = re.compile(r"= [^=]+ =|<doc( [^>]*)?>")


def number_documents(
    texts: Sequence[str], *, blocks: Sequence[int] | None = None, running: bool | None = None
) -> tuple[int, ...]:
    """Number the documents that the texts of a file come from, where no column says so.

    Titles as Wikipedia dumps have them (``= Title =``, ``<doc ...>``) begin a document. Without them, every text is one
    of its own unless neighbours are alike (`is_running_text`); then every block between empty lines is, by the same
    test (`blocks` numbers them); then the whole file is one. `running` answers where the file is too short to tell.

    >>> number_documents(["= Lobster =", "It is blue.", "= = Habitat = =", "The sea.", "= Hen =", "It lays."])
    (0, 0, 0, 0, 1, 1)
    """
    headings = [_HEADING.fullmatch(text) is not None for text in texts]
    if sum(headings) > 1:
        counted = np.maximum(np.cumsum(headings) - 1, 0)  # what stands before the first title goes with it
        return tuple(counted.tolist())
    if not (is_running_text(texts) if running is None else running):
        return tuple(range(len(texts)))
    if blocks is not None and len(set(blocks)) < len(texts):
        joined: dict[int, str] = {}
        for text, block in zip(texts, blocks, strict=True):
            joined[block] = f"{joined[block]} {text}" if block in joined else text
        if not is_running_text(list(joined.values())):
            return tuple(blocks)
    return (0,) * len(texts)


def is_running_text(texts: Sequence[str]) -> bool:
    """Whether texts that follow one another are more alike than texts further apart, as in an article or a novel.

    Compared are weighted character strings of four, so that it holds for any language. Few texts count as running.

    >>> is_running_text([f"{animal} number {n}" for n in range(50) for animal in ("hen", "fox", "cow", "whale")])
    True
    >>> is_running_text([f"{animal} {animal} {animal}" for n in range(50) for animal in ("whale", "tiger", "horse")])
    False
    """
    lag = min(FAR_APART, (len(texts) - 1) // 2)
    count = min(MOST_NEIGHBOURS, len(texts) - lag)
    if count < FEWEST_NEIGHBOURS:
        return True
    from sklearn.feature_extraction.text import TfidfVectorizer

    starts = np.unique(np.linspace(0, len(texts) - lag - 1, count).astype(int))
    first, second, later = ([texts[start + step][:LOOKED_AT] for start in starts] for step in (0, 1, lag))
    try:
        vectors = TfidfVectorizer(
            analyzer="char_wb", ngram_range=(4, 4), sublinear_tf=True, min_df=2, max_df=0.2
        ).fit_transform([*first, *second, *later])
    except ValueError:  # no string of four occurs in two texts, or all of them occur everywhere: nothing is alike
        return False
    n = len(starts)
    own, near, far = vectors[:n], vectors[n : 2 * n], vectors[2 * n :]
    nearer = np.asarray(own.multiply(near - far).sum(1)).ravel()
    spread = float(nearer.std())
    if spread == 0:
        return False
    effect = float(nearer.mean()) / spread
    return effect > RUNNING_FROM and effect * float(np.sqrt(n)) > SURE_FROM


def documents_by_name(names: Sequence[object]) -> tuple[int, ...]:
    """Number documents by the values of a column; a missing value is a document of its own.

    >>> documents_by_name(["hen", "fox", None, "hen", None])
    (0, 1, 2, 0, 3)
    """
    seen: dict[object, int] = {}
    return tuple(
        seen.setdefault(("no name", row) if name is None else name, len(seen)) for row, name in enumerate(names)
    )


def in_order(parts: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Number the documents of several files, each numbered from 0, so that no two files share a number.

    >>> in_order([(0, 0, 1), (0, 1)])
    (0, 0, 1, 2, 3)
    """
    sizes = [max(part, default=-1) + 1 for part in parts]
    starts = accumulate(sizes, initial=0)
    return tuple(start + number for start, part in zip(starts, parts, strict=False) for number in part)
