"""Source text: read from files, folders or the hub, and cut into passages of a few tokens' length range each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from advisor.data.splits import fold_text
from advisor.similarity.documents import (
    DOCUMENT_COLUMNS,
    ENOUGH_NEIGHBOURS,
    documents_by_name,
    in_order,
    is_running_text,
    number_documents,
)
from tuner.errors import DataError, MissingFileError, OptionError
from tuner.regular import check_regular

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

BANDS = ((8, 16), (17, 32), (33, 64), (65, 128))
"""Shortest and longest text of every length band in tokens, special tokens included."""

# More text than this adds time and no precision: a profile keeps about a thousand passages a band.
MAX_TEXTS = 20_000
TABLE_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
TEXT_SUFFIXES = (".txt", ".text", ".md")
# Held-out passages come from other documents than the reference ones; where there are fewer than this, from other
# stretches of them.
FEWEST_DOCUMENTS = 8
STRETCHES = 40
# Segments of one stratum (a file, or all that hold few documents) are numbered from a multiple of this.
STRATUM = 1 << 20

_SENTENCE = re.compile(r".+?(?:[.!?…]+[\"”’')\]]*(?=\s|$)|[。！？]+|$)", re.DOTALL)
_ABBREVIATION = re.compile(r"(?:^|\s)(?:Mr|Mrs|Ms|Dr|St|Prof|No|vs|etc|e\.g|i\.e|cf|[A-Z])\.$")


@dataclass(frozen=True, kw_only=True)
class SourceText:
    """Texts in their order; ``parts`` counts those of each file, so that every file can be given the same weight.

    ``documents`` numbers the document (article, book) that each text is from; None where `number_documents` is to say.
    """

    texts: tuple[str, ...]
    parts: tuple[int, ...]
    documents: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class FileText:
    """The texts of one file, and what it says of their documents: their numbers, or which lines stand together."""

    texts: list[str]
    documents: tuple[int, ...] | None = None
    blocks: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A run of whole sentences of one text.

    ``segment`` is what it was drawn with: its document, or a contiguous stretch of its part where documents are few.
    Segments from ``n * STRATUM`` on belong to stratum n.
    """

    text: str
    tokens: int
    part: int
    document: int
    segment: int


def read_source_text(paths: Sequence[Path], *, group: str | None = None) -> SourceText:
    """Read the texts of files and folders of files: plain text has one text a line, tables have a text column.

    `group` names the column that says which document a row is from; without it, a column named so is looked for. Raises
    `OptionError` where no file has columns, `MissingFileError` and `DataError` for what cannot be read as text.
    """
    files = [file for path in paths for file in _source_files(path)]
    if group is not None and not any(file.suffix.lower() in TABLE_SUFFIXES for file in files):
        raise OptionError(
            f"--group {group} names a column, and {', '.join(map(str, paths))} holds no table",
            why="it says which document a text is from",
            fix="omit it (in plain text an empty line, or a file for each, divides documents), or pass a table "
            f"with the columns text and {group}",
        )
    return joined(_read_file(file, group=group) for file in files)


def joined(files: Iterable[FileText]) -> SourceText:
    """Join the texts of several files into one source.

    Files too short to tell whether they hold one document each are judged together.
    """
    found = list(files)
    short = [file for file in found if file.documents is None and len(file.texts) < ENOUGH_NEIGHBOURS]
    together = is_running_text([text for file in short for text in file.texts])
    documents = [
        file.documents
        if file.documents is not None
        else number_documents(
            file.texts, blocks=file.blocks, running=together if len(file.texts) < ENOUGH_NEIGHBOURS else None
        )
        for file in found
    ]
    return SourceText(
        texts=tuple(text for file in found for text in file.texts),
        parts=tuple(len(file.texts) for file in found),
        documents=in_order(documents),
    )


def _source_files(path: Path) -> list[Path]:
    path = path.expanduser()
    check_regular(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise MissingFileError(
            f"there is no file or folder {path}",
            why="the source text is read from it",
            fix="pass a text file (one text a line), a table with a text column, or a folder of such files",
        )
    wanted = (*TEXT_SUFFIXES, *TABLE_SUFFIXES)
    # Descriptions that lie beside data are no pretraining text.
    skipped = ("readme.md", "meta.json", "license.txt", "licence.txt")
    found = sorted(
        file for file in path.rglob("*")
        if file.is_file() and file.suffix.lower() in wanted and file.name.lower() not in skipped
        and not any(piece.startswith(".") for piece in file.relative_to(path).parts)
    )  # fmt: skip
    if not found:
        raise DataError(
            f"{path} holds no text files",
            why=f"the source text is read from files that end in {', '.join(wanted)}",
            fix="pass a folder with such files, or a single file; of images, --model with the image model they trained",
        )
    return found


def texts_of_table(table: pa.Table, *, place: str, group: str | None = None) -> FileText:
    """Take the texts out of a table, and the documents that they are from where a column says so."""
    from advisor.data.columns import choose_columns

    columns = choose_columns(table, place=place, group=group, labelled=False)
    texts = table.column(columns.content).to_pylist()
    kept = [row for row, text in enumerate(texts) if text and text.strip()]
    named = columns.group or _document_column(table, text=columns.content)
    found = [texts[row] for row in kept]
    if named is None:
        return FileText(texts=found)
    names = table.column(named).to_pylist()
    return FileText(texts=found, documents=documents_by_name([names[row] for row in kept]))


def _document_column(table: pa.Table, *, text: str) -> str | None:
    """The column that is named like a document's name and filled in for most rows."""
    names: list[str] = table.column_names
    plain = {name.strip().lower().replace(" ", "_"): name for name in names if name != text}
    for wanted in DOCUMENT_COLUMNS:
        if wanted in plain and table.column(plain[wanted]).null_count * 2 < table.num_rows:
            return plain[wanted]
    return None


def _read_file(path: Path, *, group: str | None = None) -> FileText:
    if path.suffix.lower() in TABLE_SUFFIXES:
        from advisor.data.files import read_file

        return texts_of_table(read_file(path).table, place=str(path), group=group)
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text (byte {error.start:,})",
            why="a source profile is built from text",
            fix="pass a text file in UTF-8, or convert it: iconv -f ENCODING -t UTF-8 FILE > NEW",
        ) from error
    except OSError as error:
        raise MissingFileError(
            f"{path} cannot be read ({error.strerror or error})",
            why="the source text is read from it",
            fix="check that you may read the file",
        ) from error
    if "\x00" in content:
        raise DataError(
            f"{path} is binary, not text",
            why="a source profile is built from text",
            fix="pass a text file with one text a line, or a table with a text column",
        )
    lines: list[str] = []
    blocks: list[int] = []
    block = 0
    for line in content.splitlines():
        if line.strip():
            lines.append(line.strip())
            blocks.append(block)
        elif blocks:
            block = blocks[-1] + 1
    return FileText(texts=lines, blocks=tuple(blocks))


def split_sentences(text: str) -> list[str]:
    """Split a text into sentences, by their final punctuation.

    >>> split_sentences('Mrs. Reed slept. "Did she?" Yes!')
    ['Mrs. Reed slept.', '"Did she?"', 'Yes!']
    """
    sentences: list[str] = []
    for match in _SENTENCE.finditer(text):
        sentence = match.group().strip()
        if sentences and _ABBREVIATION.search(sentences[-1]):
            sentences[-1] = f"{sentences[-1]} {sentence}"
        elif sentence:
            sentences.append(sentence)
    return sentences


def cut_passages(
    source: SourceText, *, tokenizer: PreTrainedTokenizerBase, bands: Sequence[tuple[int, int]] = BANDS, seed: int = 0
) -> tuple[tuple[Passage, ...], ...]:
    """Cut texts into passages of every length band, in the order of the texts.

    A passage is a run of neighbouring sentences of one text whose length falls into the band; where in the band it
    should end is drawn anew for every passage. Sentences with the placeholder ``<unk>`` break a run.

    Args:
        source: the texts; copies count once.
        tokenizer: the model's, which counts the tokens.
        bands: the shortest and longest passage of every band in tokens, special ones included.
        seed: draws where passages end.

    Returns:
        the passages of each band.
    """
    runs = _sentence_runs(_thin(source), tokenizer)
    special = int(tokenizer.num_special_tokens_to_add())
    rng = np.random.default_rng(seed)
    return tuple(_band_passages(runs, lowest - special, highest - special, special, rng) for lowest, highest in bands)


def _thin(source: SourceText) -> list[_Text]:
    """Texts with part and document, each once, evenly thinned to `MAX_TEXTS` with the same share for every part."""
    parts = np.repeat(np.arange(len(source.parts)), source.parts).tolist()
    documents = source.documents
    if documents is None:
        ends = np.cumsum(source.parts).tolist()
        starts = [end - size for end, size in zip(ends, source.parts, strict=True)]
        documents = in_order(
            [number_documents(source.texts[start:end]) for start, end in zip(starts, ends, strict=True)]
        )
    first: dict[str, int] = {}
    for position, text in enumerate(source.texts):
        first.setdefault(fold_text(text), position)  # a copy among the held-out passages would lie at no distance
    by_part: list[list[_Text]] = [[] for _ in source.parts]
    for position in first.values():
        by_part[parts[position]].append((parts[position], documents[position], source.texts[position]))
    quotas = even_quotas([len(part) for part in by_part], total=MAX_TEXTS)
    return [part[i] for part, quota in zip(by_part, quotas, strict=True) for i in evenly(len(part), quota)]


def even_quotas(available: Sequence[int], *, total: int) -> list[int]:
    """Divide `total` among parts: the same number from each, and what the short ones lack from the others.

    >>> even_quotas([10, 100, 100], total=110)
    [10, 50, 50]
    """
    quotas = [0] * len(available)
    open_parts = sorted(range(len(available)), key=lambda part: available[part])
    left = total
    for position, part in enumerate(open_parts):
        quotas[part] = min(available[part], left // (len(open_parts) - position))
        left -= quotas[part]
    return quotas


def evenly(size: int, count: int) -> list[int]:
    """`count` positions spread evenly over range(size).

    >>> evenly(10, 3)
    [1, 5, 8]
    """
    return [int((index + 0.5) * size / count) for index in range(count)]


_Text = tuple[int, int, str]
_Run = tuple[int, int, list[tuple[str, int]]]


def _sentence_runs(texts: Iterable[_Text], tokenizer: PreTrainedTokenizerBase) -> list[_Run]:
    """Runs of (sentence, tokens) without ``<unk>``, each with its part and document."""
    runs: list[tuple[int, int, list[str]]] = []
    for part, document, text in texts:
        run: list[str] = []
        for sentence in [*split_sentences(text), "<unk>"]:
            if "<unk>" not in sentence:
                run.append(sentence)
            elif run:
                runs.append((part, document, run))
                run = []
    sentences = [sentence for _, _, run in runs for sentence in run]
    if not sentences:
        return []
    encoded = tokenizer(sentences, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    lengths = iter([len(ids) for ids in encoded])
    return [(part, document, [(sentence, next(lengths)) for sentence in run]) for part, document, run in runs]


def _band_passages(
    runs: Sequence[_Run], lowest: int, highest: int, special: int, rng: np.random.Generator
) -> tuple[Passage, ...]:
    found: list[tuple[str, int, int, int]] = []
    for part, document, run in runs:
        start = 0
        while start < len(run):
            wanted = int(rng.integers(lowest, highest + 1))
            stop, tokens = start, 0
            while stop < len(run) and tokens < wanted and tokens + run[stop][1] <= highest:
                tokens += run[stop][1]
                stop += 1
            if lowest <= tokens <= highest:
                text = " ".join(sentence for sentence, _ in run[start:stop])
                found.append((text, tokens + special, part, document))
            start = max(stop, start + 1)
    segments = segment_numbers([part for _, _, part, _ in found], [document for *_, document in found])
    return tuple(
        Passage(text=text, tokens=tokens, part=part, document=document, segment=segment)
        for (text, tokens, part, document), segment in zip(found, segments, strict=True)
    )


def segment_numbers(parts: Sequence[int], documents: Sequence[int]) -> list[int]:
    """The segment of every passage, from its part and its document.

    A part with enough documents has one for each. Parts with few have one for each where they have enough together (a
    folder with an article a file); otherwise each is cut into stretches.

    >>> segment_numbers([0] * 9, [4, 4, 5, 6, 7, 8, 9, 10, 11])
    [0, 0, 1, 2, 3, 4, 5, 6, 7]
    >>> segment_numbers([0, 0, 0, 0], [0, 0, 0, 0])
    [0, 10, 20, 30]
    """
    by_part: dict[int, dict[int, int]] = {}
    for part, document in zip(parts, documents, strict=True):
        by_part.setdefault(part, {}).setdefault(document, len(by_part[part]))
    few = {part for part, found in by_part.items() if len(found) < FEWEST_DOCUMENTS}
    pooled = {
        key: number
        for number, key in enumerate((part, document) for part in by_part if part in few for document in by_part[part])
    }
    sizes = Counter(parts)
    seen: Counter[int] = Counter()
    numbers = []
    for part, document in zip(parts, documents, strict=True):
        if part not in few:
            numbers.append(part * STRATUM + by_part[part][document])
        elif len(pooled) >= FEWEST_DOCUMENTS:
            numbers.append(min(few) * STRATUM + pooled[part, document])
        else:
            numbers.append(part * STRATUM + seen[part] * STRETCHES // sizes[part])
        seen[part] += 1
    return numbers


def one_of_each(passages: Sequence[Passage], *, total: int, rng: np.random.Generator) -> list[Passage]:
    """Choose at most `total` passages: one of each document, evenly spaced, or as many of each as there is room for."""
    by_document: dict[int, list[Passage]] = {}
    for passage in passages:
        by_document.setdefault(passage.document, []).append(passage)
    groups = list(by_document.values())
    if len(groups) > total:
        groups = [groups[position] for position in evenly(len(groups), total)]
    of_each = total // max(len(groups), 1)
    return [
        group[position]
        for group in groups
        for position in sorted(rng.choice(len(group), size=min(of_each, len(group)), replace=False).tolist())
    ]
