"""Build the source profile that is shipped for all-MiniLM-L6-v2, and the same with a part of its sources left out.

Three parts of four are Wikipedia, one is books, as in the 2,500 and 800 million words that BERT was trained on. Up to
64 tokens Wikipedia is WikiSplit, one sentence (or the two that it was rewritten as) of every article; above, it is the
longest of those and a passage of every article of WikiText-2. The distances that are the zero of the scale are those of
articles that are held out. Books are two authors, too few to hold one out, so they say what lies inside the source, and
nothing of its zero. WikiSplit's file `tune` is left out: its articles are the positive control.

Run: python benchmarks/wikipedia_profile.py [--out FILE]   (data in $TRANSFER_DATA, default ../shared/data)
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from advisor.similarity.build import (
    HELD_OUT_EVERY,
    HELD_OUT_ROWS,
    REFERENCE_ROWS,
    BandPassages,
    hash_texts,
    measure_passages,
)
from advisor.similarity.library import SHIPPED, save_profile
from advisor.similarity.passages import BANDS, STRATUM, Passage, SourceText, cut_passages, evenly, one_of_each
from advisor.similarity.profile import SourceProfile
from tuner.model.assemble import load_backbone
from tuner.model.backbone import Backbone

NAME = "wikipedia-books"
FILE = f"all-MiniLM-L6-v2.{NAME}.safetensors"
DESCRIPTION = (
    "one passage of each of many articles of English Wikipedia (WikiSplit, above 64 tokens also WikiText-2) and, a "
    "quarter of all, passages of 19th-century books (Charlotte Brontë, Charles Darwin): a proxy for stage 1 of the "
    "model's training"
)
FRESH = "tune"
# The kind of WikiSplit's rows by shortest length, and the file: the kinds of one article repeat one another, so that a
# band takes every file in one kind only.
KINDS = {
    8: {"validation": "short", "test": "short"},
    17: {"validation": "sentence", "test": "short"},
    33: {"validation": "sentence", "test": "pair"},
    65: {"validation": "pair", "test": "pair"},
}
FRESH_KINDS = {8: "short", 17: "sentence", 33: "pair", 65: "pair"}
BOOK_SHARE = 0.25
# About a chapter.
STRETCH = 60
BOOKS = 1  # the stratum


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TRANSFER_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, default=SHIPPED / FILE)
    arguments = parser.parse_args()
    profile = build(arguments.data, backbone=load_backbone(device="cpu"))
    save_profile(profile, arguments.out)
    for band in profile.bands:
        print(f"{band.lowest} to {band.highest} tokens: {band.reference.shape[1]} reference passages, "
              f"{band.held_out.shape[1]} held out, of {band.documents:,} articles and books")  # fmt: skip
    print(f"{arguments.out} ({arguments.out.stat().st_size / 1e6:.2f} MB)")


def build(data: Path, *, backbone: Backbone, half: bool = False) -> SourceProfile:
    """The profile; `half` leaves out every other article of WikiText-2 and every other stretch of the books."""
    samples = sample_bands(data, backbone=backbone, half=half)
    return measure_passages(
        samples,
        backbone=backbone,
        name=f"half of {NAME}" if half else NAME,
        description=DESCRIPTION,
        content_sha256=hash_texts(p.text for sample in samples for p in (*sample.reference, *sample.held_out)),
    )


def sample_bands(data: Path, *, backbone: Backbone, half: bool = False, seed: int = 0) -> list[BandPassages]:
    """The passages of every band."""
    rng = np.random.default_rng(seed)
    split = read(data, "wikisplit", "sentences")
    lengths = backbone.encode([row["text"] for row in split]).lengths.tolist()
    articles = by_document(read(data, "wikitext2", "paragraphs"), key="article", half=half)
    books = by_document(read(data, "books", "paragraphs"), key=None, half=half)
    samples = []
    for lowest, highest in BANDS:
        rows = [
            (row["text"], length)
            for row, length in zip(split, lengths, strict=True)
            if lowest <= length <= highest and KINDS[lowest].get(row["part"]) == row["kind"]
        ]
        found = list(dict.fromkeys(rows))
        if lowest > 64:
            cut = cut_passages(articles, tokenizer=backbone.tokenizer, bands=((lowest, highest),), seed=seed)[0]
            of_each = one_of_each(cut, total=len({passage.document for passage in cut}), rng=rng)
            found += [(passage.text, passage.tokens) for passage in of_each]
        wiki = [
            Passage(text=text, tokens=tokens, part=0, document=number, segment=number)
            for number, (text, tokens) in enumerate(found)
        ]
        held_out = [passage for passage in wiki if passage.segment % HELD_OUT_EVERY == HELD_OUT_EVERY - 1]
        reference = [passage for passage in wiki if passage.segment % HELD_OUT_EVERY != HELD_OUT_EVERY - 1]
        reference = some(reference, int((1 - BOOK_SHARE) * REFERENCE_ROWS))
        cut = cut_passages(books, tokenizer=backbone.tokenizer, bands=((lowest, highest),), seed=seed)[0]
        # Nothing of a book is held out, so its author is what it counts as.
        of_books = [
            Passage(text=p.text, tokens=p.tokens, part=BOOKS, document=-1 - p.part, segment=BOOKS * STRATUM)
            for p in one_of_each(cut, total=int(len(reference) * BOOK_SHARE / (1 - BOOK_SHARE)), rng=rng)
        ]
        samples.append(
            BandPassages(
                lengths=(lowest, highest), reference=reference + of_books, held_out=some(held_out, HELD_OUT_ROWS)
            )
        )
    return samples


def some(passages: Sequence[Passage], most: int) -> list[Passage]:
    """At most so many of them, evenly spaced."""
    return [passages[position] for position in evenly(len(passages), min(most, len(passages)))]


def read(data: Path, source: str, name: str) -> list[dict[str, Any]]:
    """The rows of one of the sources."""
    with (data / "source" / source / f"{name}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def by_document(rows: Sequence[dict[str, Any]], *, key: str | None, half: bool) -> SourceText:
    """Paragraphs with their article; without a `key`, of books: a part for each author, stretches for documents."""
    names = [row[key] if key else f"{row['source']}, stretch {i // STRETCH}" for i, row in enumerate(rows)]
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    kept = [(row, order[name]) for row, name in zip(rows, names, strict=True) if not (half and order[name] % 2)]
    authors = [row.get("source") if key is None else None for row, _ in kept]
    return SourceText(
        texts=tuple(row["text"] for row, _ in kept),
        parts=tuple(authors.count(author) for author in dict.fromkeys(authors)),
        documents=tuple(number for _, number in kept),
    )


if __name__ == "__main__":
    main()
