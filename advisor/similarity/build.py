"""Passages of a source -> its profile: which are references, which are held out, and how far the anchors lie."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from advisor.similarity.distance import knn_distances, trigram_counts, trigram_distance, unit_rows
from advisor.similarity.passages import (
    BANDS,
    STRATUM,
    Passage,
    SourceText,
    cut_passages,
    even_quotas,
    evenly,
    one_of_each,
)
from advisor.similarity.profile import (
    PROJECTED_WIDTH,
    Band,
    K,
    SourceProfile,
    middle_blocks,
    project,
    quantise,
    stored_id,
)
from tuner.errors import DataError

if TYPE_CHECKING:
    from tuner.model.backbone import Backbone
    from tuner.records import Progress


DEFAULT_DESCRIPTION = "text given by the user as the model's pretraining data"
REFERENCE_ROWS = 800
HELD_OUT_ROWS = 320
ANCHOR_ROWS = 160
# Of every four neighbouring documents, or stretches of few documents, one is held out.
HELD_OUT_EVERY = 4
# Fewer held-out passages than this say nothing about the spread of distances within the source.
SMALLEST_HELD_OUT = 25
SMALLEST_REFERENCE = 75


# --- build


@dataclass(frozen=True, kw_only=True)
class BandPassages:
    """The passages of a length band, each side out of documents of its own."""

    lengths: tuple[int, int]
    reference: Sequence[Passage]
    held_out: Sequence[Passage]

    @property
    def documents(self) -> int:
        """How many documents they come from."""
        return len({passage.document for passage in (*self.reference, *self.held_out)})


def build_profile(
    texts: Sequence[str],
    *,
    backbone: Backbone,
    name: str,
    description: str = DEFAULT_DESCRIPTION,
    parts: Sequence[int] | None = None,
    documents: Sequence[int] | None = None,
    stage_two: Sequence[tuple[str, int]] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> SourceProfile:
    """Cut `texts` into passages, take one of each document, and measure them (`measure_passages`).

    Args:
        texts: the source, in its order; copies count once.
        backbone: the model whose profile it becomes.
        name: what the profile is called.
        description: what the texts are, for the report.
        parts: the number of texts of each file, in order; every file counts the same.
        documents: the number of the document that every text is from; None where
            `advisor.similarity.documents.number_documents` is to say.
        stage_two: (name, pairs) of later training that the texts do not cover; None for what the model's folder lists.
        seed: draws passages and anchors.
        progress: told how far it is.

    Raises:
        DataError: where no length has enough passages.
    """
    source = SourceText(
        texts=tuple(texts),
        parts=tuple(parts) if parts is not None else (len(texts),),
        documents=None if documents is None else tuple(documents),
    )
    if sum(source.parts) != len(source.texts):
        raise ValueError(f"parts sum to {sum(source.parts)}, but there are {len(source.texts)} texts")
    if progress is not None:
        progress("cutting the source text into passages", 0.0)
    cut = cut_passages(source, tokenizer=backbone.tokenizer, seed=seed)
    bands = [
        (lengths, passages) for lengths, passages in zip(BANDS, cut, strict=True) if lengths[0] <= backbone.max_length
    ]
    samples = []
    for lengths, passages in bands:
        reference, held_out = _sample(passages, seed=seed)
        samples.append(BandPassages(lengths=lengths, reference=reference, held_out=held_out))
    usable = [s for s in samples if len(s.reference) >= SMALLEST_REFERENCE and len(s.held_out) >= SMALLEST_HELD_OUT]
    if not usable:
        raise _too_little(samples)
    return measure_passages(
        usable,
        backbone=backbone,
        name=name,
        description=description,
        content_sha256=hash_texts(source.texts),
        stage_two=stage_two,
        seed=seed,
        progress=progress,
    )


def measure_passages(
    samples: Sequence[BandPassages],
    *,
    backbone: Backbone,
    name: str,
    description: str,
    content_sha256: str,
    stage_two: Sequence[tuple[str, int]] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> SourceProfile:
    """Embed passages by length band and measure the ladder: held-out passages, shuffled words, random letters.

    The same passages, model, seed and machine give the same profile: features are computed in full precision.

    Args:
        samples: the passages of every band.
        backbone: the model whose profile it becomes.
        name: what the profile is called.
        description: what the texts are, for the report.
        content_sha256: of all that the passages were taken from.
        stage_two: (name, pairs) of later training that the texts do not cover; None for what the model's folder lists.
        seed: draws the anchors.
        progress: told how far it is.
    """
    import torch

    backbone = dataclasses.replace(backbone, compute_dtype=torch.float32)
    rng = np.random.default_rng(seed)
    letters = _LetterTexts(backbone, rng)
    blocks = middle_blocks(backbone.n_blocks)
    embedded: list[tuple[BandPassages, np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    letter_texts: list[str] = []
    for number, sample in enumerate(samples):
        count = len(sample.held_out)
        anchors = [sample.held_out[position] for position in evenly(count, min(ANCHOR_ROWS, count))]
        shuffled = [_shuffle_words(passage.text, rng) for passage in anchors]
        lettered = [letters.draw(passage.tokens) for passage in anchors]
        letter_texts += lettered
        groups = ([p.text for p in sample.reference], [p.text for p in sample.held_out], shuffled, lettered)
        features = []
        for step, group in enumerate(groups):
            if progress is not None:
                done = (number + step / len(groups)) / len(samples)
                progress(f"embedding source passages of {sample.lengths[0]} to {sample.lengths[1]} tokens", done)
            features.append(_unit_blocks(backbone, group, blocks))
        embedded.append((sample, features[0], features[1], features[2], features[3]))
    projection = _projection([reference for _, reference, *_ in embedded])
    projected = [project(reference, projection) for _, reference, *_ in embedded]
    quantised, scale = quantise(projected)
    trigrams = trigram_counts(passage.text for sample in samples for passage in sample.reference)
    return SourceProfile(
        name=name,
        description=description,
        model_id=stored_id(backbone),
        model_sha256=backbone.fingerprint,
        pooling=backbone.pooling,
        n_blocks=backbone.n_blocks,
        width=backbone.width,
        max_length=backbone.max_length,
        blocks=blocks,
        k=K,
        bands=tuple(
            _ladder(sample, rows, held_out, shuffled, lettered, projection=projection, scale=scale)
            for rows, (sample, _, held_out, shuffled, lettered) in zip(quantised, embedded, strict=True)
        ),
        projection=projection,
        scale=scale,
        trigrams=dict(sorted(trigrams.items())),
        trigram_letters=trigram_distance(trigram_counts(letter_texts), trigrams),
        stage_two=tuple(stage_two) if stage_two is not None else read_stage_two(backbone.path),
        content_sha256=content_sha256,
        seed=seed,
    )


def _too_little(samples: Sequence[BandPassages]) -> DataError:
    needed = HELD_OUT_EVERY * SMALLEST_HELD_OUT
    found = max(((len(s.reference), len(s.held_out)) for s in samples), key=sum, default=(0, 0))
    return DataError(
        f"too little source text: of one length at most {found[0]} passages were found to compare with and {found[1]} "
        f"of other documents to hold out; {SMALLEST_REFERENCE} and {SMALLEST_HELD_OUT} are needed",
        why="the spread of distances within the source is measured on passages of 8 to 16, 17 to 32, 33 to 64 and 65 "
        "to 128 tokens",
        fix=f"pass at least {2 * needed} sentences of running text (500 paragraphs or more make a good profile)",
    )


def _sample(passages: Sequence[Passage], *, seed: int = 0) -> tuple[list[Passage], list[Passage]]:
    """Reference and held-out passages out of different documents (or stretches of few), the same share for every file.

    Files with few documents are sampled together where they have enough of them: a folder may have an article a file.

    Every document gives one passage where there are many, and all the same number where there are few: several of one
    add little to how broad the source is.
    """
    rng = np.random.default_rng(seed)
    chosen: list[list[Passage]] = []
    for held_out, total in ((False, REFERENCE_ROWS), (True, HELD_OUT_ROWS)):
        side = [p for p in passages if (p.segment % HELD_OUT_EVERY == HELD_OUT_EVERY - 1) == held_out]
        strata: dict[int, list[Passage]] = {}
        for passage in side:
            strata.setdefault(passage.segment // STRATUM, []).append(passage)
        quotas = even_quotas([len(stratum) for stratum in strata.values()], total=total)
        chosen.append(
            [
                passage
                for stratum, quota in zip(strata.values(), quotas, strict=True)
                # A stratum that is used up gives all that it has, however its documents differ in length.
                for passage in one_of_each(stratum, total=max(quota, total // len(strata)), rng=rng)
            ]
        )
    return chosen[0], chosen[1]


def _shuffle_words(text: str, rng: np.random.Generator) -> str:
    words = text.split()
    if len(words) < 3:  # scripts without spaces: shuffle the characters
        return "".join(rng.permutation(list(text)))
    return " ".join(rng.permutation(words))


class _LetterTexts:
    """Texts of random letters, as long in tokens as is asked for."""

    def __init__(self, backbone: Backbone, rng: np.random.Generator, *, size: int = 4000) -> None:
        alphabet = np.array(list("abcdefghijklmnopqrstuvwxyz"))
        self.words = ["".join(rng.choice(alphabet, size=rng.integers(2, 10))) for _ in range(size)]
        ids = backbone.tokenizer(self.words, add_special_tokens=False, return_attention_mask=False)["input_ids"]
        self.lengths = [len(row) for row in ids]
        self.special = int(backbone.tokenizer.num_special_tokens_to_add())
        self.rng = rng

    def draw(self, tokens: int) -> str:
        words: list[str] = []
        total = self.special
        while total < tokens:
            choice = int(self.rng.integers(len(self.words)))
            words.append(self.words[choice])
            total += self.lengths[choice]
        return " ".join(words)


def _unit_blocks(backbone: Backbone, texts: Sequence[str], blocks: Sequence[int]) -> np.ndarray:
    """(B, n, width) unit rows of the blocks that are kept."""
    features = backbone.block_features(backbone.encode(texts))
    return np.stack([unit_rows(features[block]) for block in blocks])


def _projection(references: Sequence[np.ndarray]) -> np.ndarray:
    """(B, width, P): the main directions of the reference rows, not centred, so that scalar products are kept."""
    projections = []
    for rows in np.concatenate(references, axis=1).astype(np.float64):
        _, vectors = np.linalg.eigh(rows.T @ rows)
        main = vectors[:, ::-1][:, :PROJECTED_WIDTH]
        # An eigenvector's sign is arbitrary; fixing it makes profiles reproducible.
        main = main * np.sign(main[np.abs(main).argmax(0), np.arange(main.shape[1])])
        projections.append(main.astype(np.float16))
    return np.stack(projections).astype(np.float32)


def _ladder(
    sample: BandPassages,
    reference: np.ndarray,
    held_out: np.ndarray,
    shuffled: np.ndarray,
    letters: np.ndarray,
    *,
    projection: np.ndarray,
    scale: np.ndarray,
) -> Band:
    source = reference.astype(np.float32) * scale[:, None, :]

    def distances(rows: np.ndarray) -> np.ndarray:
        projected = project(rows, projection)
        return np.stack([knn_distances(a, b, k=K, unit=True) for a, b in zip(projected, source, strict=True)])

    return Band(
        lowest=sample.lengths[0],
        highest=sample.lengths[1],
        reference=reference,
        held_out=distances(held_out),
        segments=np.array([passage.segment for passage in sample.held_out], dtype=np.int64),
        shuffled=distances(shuffled),
        letters=distances(letters),
        documents=sample.documents,
    )


def read_stage_two(model_path: Path | None) -> tuple[tuple[str, int], ...]:
    """(name, pairs) of the training data that a sentence-transformers folder lists in ``data_config.json``.

    Files of one family (``stackexchange_title_body/...``) are added up; largest first. Empty where there is no list.
    """
    path = None if model_path is None else model_path / "data_config.json"
    if path is None or not path.is_file():
        return ()
    try:
        entries = [(str(entry["name"]), int(entry["lines"])) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, KeyError, TypeError):
        return ()  # another tool's file of the same name: no list is better than a wrong one
    pairs: Counter[str] = Counter()
    for name, lines in entries:
        pairs[name.partition("/")[0].removesuffix(".gz").removesuffix(".jsonl")] += lines
    return tuple(sorted(pairs.items(), key=lambda item: (-item[1], item[0])))


def hash_texts(texts: Iterable[str]) -> str:
    """SHA-256 over texts and their borders."""
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()
