"""Source text: read from files, folders or the hub, and cut into passages of a few tokens' length range each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tuner.errors import DataError, MissingFileError
from tuner.regular import check_regular

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BANDS = ((8, 16), (17, 32), (33, 64), (65, 128))
"""Shortest and longest text of every length band in tokens, special tokens included."""

# More text than this adds time and no precision: a profile keeps about a thousand passages a band.
MAX_TEXTS = 20_000
TABLE_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
TEXT_SUFFIXES = (".txt", ".text", ".md")
# Contiguous stretches of a file: held-out passages come from other stretches than the reference ones.
SEGMENTS = 40

_SENTENCE = re.compile(r".+?(?:[.!?…]+[\"”’')\]]*(?=\s|$)|[。！？]+|$)", re.DOTALL)
_ABBREVIATION = re.compile(r"(?:^|\s)(?:Mr|Mrs|Ms|Dr|St|Prof|No|vs|etc|e\.g|i\.e|cf|[A-Z])\.$")


@dataclass(frozen=True, kw_only=True)
class SourceText:
    """Texts in their order; ``parts`` counts those of each file, so that every file can be given the same weight."""

    texts: tuple[str, ...]
    parts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A run of whole sentences of one text; ``segment`` is the contiguous stretch of its part that it comes from."""

    text: str
    tokens: int
    part: int
    segment: int


def read_source_text(paths: Sequence[Path]) -> SourceText:
    """Texts of files and folders of files: plain text has one text a line, tables have a text column.

    Raises `MissingFileError` and `DataError` for what cannot be read as text.
    """
    files = [file for path in paths for file in _source_files(path)]
    parts = [_read_file(file) for file in files]
    return SourceText(texts=tuple(text for part in parts for text in part), parts=tuple(len(part) for part in parts))


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


def _read_file(path: Path) -> list[str]:
    if path.suffix.lower() in TABLE_SUFFIXES:
        from advisor.columns import choose_columns
        from advisor.files import read_file

        table = read_file(path).table
        column = choose_columns(table, place=str(path), labelled=False).content
        return [text for text in table.column(column).to_pylist() if text and text.strip()]
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
    return [line.strip() for line in content.splitlines() if line.strip()]


def split_sentences(text: str) -> list[str]:
    """Sentences of a text, by their final punctuation.

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
    """Passages of every band, in the order of the texts.

    A passage is a run of neighbouring sentences of one text whose length falls into the band; where in the band it
    should end is drawn anew for every passage. Sentences with the placeholder ``<unk>`` break a run.
    """
    runs = _sentence_runs(_thin(source), tokenizer)
    special = int(tokenizer.num_special_tokens_to_add())
    rng = np.random.default_rng(seed)
    return tuple(_band_passages(runs, lowest - special, highest - special, special, rng) for lowest, highest in bands)


def _thin(source: SourceText) -> list[tuple[int, str]]:
    """(part, text) pairs, evenly thinned to `MAX_TEXTS` with the same share for every part."""
    quotas = even_quotas(source.parts, total=MAX_TEXTS)
    kept: list[tuple[int, str]] = []
    start = 0
    for part, (size, quota) in enumerate(zip(source.parts, quotas, strict=True)):
        kept += [(part, source.texts[start + position]) for position in evenly(size, quota)]
        start += size
    return kept


def even_quotas(available: Sequence[int], *, total: int) -> list[int]:
    """The same number from everyone, and what the short ones lack from the others.

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


_Run = tuple[int, list[tuple[str, int]]]


def _sentence_runs(texts: Iterable[tuple[int, str]], tokenizer: PreTrainedTokenizerBase) -> list[_Run]:
    """Runs of (sentence, tokens) without ``<unk>``, each with its part."""
    runs: list[tuple[int, list[str]]] = []
    for part, text in texts:
        run: list[str] = []
        for sentence in [*split_sentences(text), "<unk>"]:
            if "<unk>" not in sentence:
                run.append(sentence)
            elif run:
                runs.append((part, run))
                run = []
    sentences = [sentence for _, run in runs for sentence in run]
    if not sentences:
        return []
    encoded = tokenizer(sentences, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    lengths = iter([len(ids) for ids in encoded])
    return [(part, [(sentence, next(lengths)) for sentence in run]) for part, run in runs]


def _band_passages(
    runs: Sequence[_Run], lowest: int, highest: int, special: int, rng: np.random.Generator
) -> tuple[Passage, ...]:
    found: list[tuple[str, int, int]] = []
    for part, run in runs:
        start = 0
        while start < len(run):
            wanted = int(rng.integers(lowest, highest + 1))
            stop, tokens = start, 0
            while stop < len(run) and tokens < wanted and tokens + run[stop][1] <= highest:
                tokens += run[stop][1]
                stop += 1
            if lowest <= tokens <= highest:
                found.append((" ".join(sentence for sentence, _ in run[start:stop]), tokens + special, part))
            start = max(stop, start + 1)
    sizes = np.bincount([part for _, _, part in found]) if found else np.zeros(0, dtype=int)
    seen = np.zeros(len(sizes), dtype=int)
    passages = []
    for text, tokens, part in found:
        segment = part * SEGMENTS + int(seen[part] * SEGMENTS // sizes[part])
        passages.append(Passage(text=text, tokens=tokens, part=part, segment=segment))
        seen[part] += 1
    return tuple(passages)
