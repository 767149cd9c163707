"""Source profiles: what a sample of a model's pretraining data looks like to that model. Statistics only, no text.

Built here from text, and in `advisor.image_source` from images; saved, found and listed here for both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.distance import knn_distances, trigram_counts, trigram_distance, unit_rows
from advisor.passages import (
    BANDS,
    STRATUM,
    STRETCHES,
    TABLE_SUFFIXES,
    TEXT_SUFFIXES,
    Passage,
    SourceText,
    cut_passages,
    even_quotas,
    evenly,
    joined,
    one_of_each,
    read_source_text,
    texts_of_table,
)
from tuner.errors import DataError, MissingFileError, ModelError, OptionError, RunFolderError, did_you_mean
from tuner.records import Record, user_cache_dir, write_bytes_atomically

if TYPE_CHECKING:
    from advisor.image_source import ImageBand, ImageProfile
    from tuner.backbone import Backbone
    from tuner.records import Progress

SCHEMA = 1
# How profiles of texts are made: rows of the first ones stood for themselves, not for the documents that they are from.
METHOD = 2
K = 5
PROJECTED_WIDTH = 128
REFERENCE_ROWS = 800
HELD_OUT_ROWS = 320
ANCHOR_ROWS = 160
# Of every four neighbouring documents, or stretches of few documents, one is held out.
HELD_OUT_EVERY = 4
# Fewer held-out passages than this say nothing about the spread of distances within the source.
SMALLEST_HELD_OUT = 25
SMALLEST_REFERENCE = 75
SUFFIX = ".safetensors"
SHIPPED = Path(__file__).parent / "profiles"
DEFAULT_DESCRIPTION = "text given by the user as the model's pretraining data"


@dataclass(frozen=True, kw_only=True)
class Band:
    """One length band of a profile; B blocks, P projected dimensions.

    ``reference`` (B, m, P) int8 are projected unit rows, to be multiplied by the profile's scale. The others are
    cosine distances to the k-th nearest reference row, (B, rows): of held-out passages and of the ladder's anchors
    (the held-out passages with their words shuffled; random letters). ``segments`` (rows,) says which document, or
    stretch of one, every held-out passage comes from (`advisor.passages.segment_numbers`): passages of one document are
    not independent. ``documents`` is how many documents all passages come from; None in profiles of before they were
    counted.
    """

    lowest: int
    highest: int
    reference: np.ndarray
    held_out: np.ndarray
    segments: np.ndarray
    shuffled: np.ndarray
    letters: np.ndarray
    documents: int | None = None


class NearestRows:
    """Distances to a profile's reference rows, stored projected and quantised: what profiles of both kinds share."""

    blocks: tuple[int, ...]
    k: int
    projection: np.ndarray | tuple[np.ndarray, ...]
    scale: np.ndarray

    def references(self, band: Band | ImageBand) -> np.ndarray:
        """Reference rows of a band, (B, m, P) float32."""
        rows: np.ndarray = band.reference.astype(np.float32) * self.scale[:, None, :]
        return rows

    def project(self, features: Sequence[np.ndarray] | Mapping[int, np.ndarray]) -> np.ndarray:
        """(n, width) features of every block to (B, n, P): scaled to length one, then projected.

        A projected row is shorter than one by what lies outside the source's main directions, so the scalar product
        with a reference row is still the cosine in the full space.
        """
        return np.stack([unit_rows(features[block]) @ self.projection[row] for row, block in enumerate(self.blocks)])

    def distances(
        self, features: Sequence[np.ndarray] | Mapping[int, np.ndarray], band: Band | ImageBand
    ) -> np.ndarray:
        """Cosine distances to the k-th nearest reference row of a band, (B, n)."""
        projected, references = self.project(features), self.references(band)
        return np.stack(
            [
                knn_distances(rows, source, k=self.k, unit=True)
                for rows, source in zip(projected, references, strict=True)
            ]
        )


@dataclass(frozen=True, kw_only=True)
class SourceProfile(NearestRows):
    """A sample of pretraining text as one model sees it.

    ``projection`` (B, width, P) maps unit rows of the model's width to P dimensions, ``scale`` (B, P) undoes the
    quantisation. ``trigrams`` counts character trigrams; ``trigram_letters`` is the Jensen-Shannon distance of random
    letters to them. ``stage_two`` lists (name, pairs) of later training that this profile does not cover.
    """

    name: str
    description: str
    model_id: str
    model_sha256: str
    pooling: str
    n_blocks: int
    width: int
    max_length: int
    blocks: tuple[int, ...]
    k: int
    bands: tuple[Band, ...]
    projection: np.ndarray
    scale: np.ndarray
    trigrams: Mapping[str, int]
    trigram_letters: float
    stage_two: tuple[tuple[str, int], ...]
    content_sha256: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class ProfileSummary(Record):
    """What `list_profiles` says of a profile; ``kind`` is text or image.

    ``documents`` is how many documents each length band rests on; None for images, and where they were not counted.
    """

    name: str
    kind: str
    documents: tuple[int, ...] | None
    description: str
    model_id: str
    model_sha256: str
    path: Path


def middle_blocks(n_blocks: int) -> tuple[int, ...]:
    """The middle third of the blocks: early ones see form, the last squeeze what they do not understand.

    >>> middle_blocks(7), middle_blocks(13), middle_blocks(2)
    ((2, 3, 4), (4, 5, 6, 7, 8), (0, 1))
    """
    return tuple(range(n_blocks // 3, n_blocks - n_blocks // 3))


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
        texts: The source, in its order; copies count once.
        backbone: The model whose profile it becomes.
        name: What the profile is called.
        description: What the texts are, for the report.
        parts: The number of texts of each file, in order; every file counts the same.
        documents: The number of the document that every text is from; None where
            `advisor.documents.number_documents` is to say.
        stage_two: (name, pairs) of later training that the texts do not cover; None for what the model's folder lists.
        seed: Draws passages and anchors.
        progress: Told how far it is.

    Raises:
        DataError: No length has enough passages.
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
        samples: The passages of every band.
        backbone: The model whose profile it becomes.
        name: What the profile is called.
        description: What the texts are, for the report.
        content_sha256: Of all that the passages were taken from.
        stage_two: (name, pairs) of later training that the texts do not cover; None for what the model's folder lists.
        seed: Draws the anchors.
        progress: Told how far it is.
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
    projected = [_project(reference, projection) for _, reference, *_ in embedded]
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


def quantise(
    bands: Sequence[np.ndarray], *, dtype: type[np.signedinteger[Any]] = np.int8
) -> tuple[list[np.ndarray], np.ndarray]:
    """Rows of every band, (B, m, P), as integers, and the scale (B, P) that undoes it."""
    largest = np.maximum(np.stack([np.abs(rows).max(1) for rows in bands]).max(0), 1e-8).astype(np.float32)
    scale = largest / np.iinfo(dtype).max
    return [np.rint(rows / scale[:, None, :]).astype(dtype) for rows in bands], scale


def stored_id(backbone: Backbone) -> str:
    """What a profile calls its model: a folder is named, not located, since profiles are passed on."""
    return Path(backbone.id).name if Path(backbone.id).is_dir() else backbone.id


def _project(rows: np.ndarray, projection: np.ndarray) -> np.ndarray:
    return np.stack([block @ matrix for block, matrix in zip(rows, projection, strict=True)])


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
        projected = _project(rows, projection)
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


def build_from_files(
    paths: Sequence[Path],
    *,
    backbone: Backbone,
    name: str | None = None,
    description: str | None = None,
    group: str | None = None,
    out: Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Build a profile from files or folders and save it: to `out`, else among the user's profiles. Returns the file.

    A profile among the user's is found again by name, and without one where it is the only one of its model.

    Args:
        paths: Files or folders: text or tables for a text model, images for an image model.
        backbone: The model.
        name: What it is called; by default as the files are.
        description: What the texts or images are, for the report.
        group: The column of tables that says which document a text is from.
        out: The file to write.
        seed: Draws what is kept.
        progress: Told how far it is.
    """
    if out is not None and (out.exists() or out.suffix != SUFFIX):
        raise OptionError(
            f"--out {out} already exists" if out.exists() else f"--out {out} does not end in {SUFFIX}",
            why="files are never overwritten, and profiles are known by their ending",
            fix=f"pass a new name that ends in {SUFFIX}",
        )
    if name is None:
        stems = [path.resolve().stem if path.is_file() else path.resolve().name for path in paths]
        name = out.name.removesuffix(SUFFIX) if out is not None else "-".join(stems)
    profile: SourceProfile | ImageProfile
    if backbone.is_text:
        source = read_source_text(paths, group=group)
        profile = build_profile(
            source.texts,
            backbone=backbone,
            name=name,
            description=description or DEFAULT_DESCRIPTION,
            parts=source.parts,
            documents=source.documents,
            seed=seed,
            progress=progress,
        )
    elif group is not None:
        raise OptionError(
            f"--group {group} names a column, and {backbone.id} reads images",
            why="it says which document a text is from",
            fix="leave --group away",
        )
    else:
        from advisor import image_source

        profile = image_source.build_image_profile(
            image_source.read_source_pictures(paths),
            backbone=backbone,
            name=name,
            description=description or image_source.DEFAULT_DESCRIPTION,
            seed=seed,
            progress=progress,
        )
    path = out
    if path is None:
        path = _user_profiles() / f"{_file_name(name)}-{backbone.fingerprint[:8]}{SUFFIX}"
        if path.exists() and load_profile(path).content_sha256 != profile.content_sha256:
            raise OptionError(
                f"there is a profile {name!r} of this model already, built from other data ({path})",
                why="files are never overwritten",
                fix="pass --name with another name, or remove that file",
            )
    save_profile(profile, path)
    return path


# --- save and load


_SCALARS = (
    "name", "description", "model_id", "model_sha256", "pooling", "n_blocks", "width", "max_length", "blocks", "k",
    "trigram_letters", "stage_two", "content_sha256", "seed",
)  # fmt: skip


def save_profile(profile: SourceProfile | ImageProfile, path: Path) -> None:
    """Write a profile as one safetensors file, whole or not at all; the same profile gives the same bytes."""
    if not isinstance(profile, SourceProfile):
        from advisor.image_source import save_image_profile

        save_image_profile(profile, path)
        return
    from safetensors.numpy import save

    tensors = {"projection": profile.projection.astype(np.float16), "scale": profile.scale}
    for number, band in enumerate(profile.bands):
        for field in ("held_out", "shuffled", "letters"):
            tensors[f"band_{number}.{field}"] = getattr(band, field).astype(np.float32)
        tensors[f"band_{number}.reference"] = band.reference
        tensors[f"band_{number}.segments"] = band.segments
    tensors["trigrams.characters"] = np.array(
        [[ord(c) for c in trigram] for trigram in profile.trigrams], dtype=np.int32
    )
    tensors["trigrams.counts"] = np.array(list(profile.trigrams.values()), dtype=np.int32)
    values = {field: getattr(profile, field) for field in _SCALARS}
    values |= {
        "schema": SCHEMA,
        "bands": [(band.lowest, band.highest) for band in profile.bands],
        "documents": [band.documents for band in profile.bands],
    }
    content = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    # One key only: safetensors does not promise an order of several.
    write_bytes_atomically(path, save(content, metadata={"profile": json.dumps(values, sort_keys=True)}))


def load_profile(path: Path) -> SourceProfile | ImageProfile:
    """Read a profile, of texts or images. Raises `MissingFileError`, and `DataError` for a file that is none."""
    values = _read_values(path)
    if _kind(values) == "image":
        from advisor.image_source import load_image_profile

        return load_image_profile(path, values)
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
        documents = values.get("documents", [None] * len(values["bands"]))
        bands = tuple(
            Band(
                lowest=lowest,
                highest=highest,
                reference=tensors[f"band_{number}.reference"],
                held_out=tensors[f"band_{number}.held_out"],
                segments=_segments(tensors[f"band_{number}.segments"], counted=documents[number] is not None),
                shuffled=tensors[f"band_{number}.shuffled"],
                letters=tensors[f"band_{number}.letters"],
                documents=documents[number],
            )
            for number, (lowest, highest) in enumerate(values["bands"])
        )
        characters = tensors["trigrams.characters"].tolist()
        counts = tensors["trigrams.counts"].tolist()
        fields = {field: values[field] for field in _SCALARS}
        fields["blocks"] = tuple(values["blocks"])
        fields["stage_two"] = tuple((name, pairs) for name, pairs in values["stage_two"])
        return SourceProfile(
            bands=bands,
            projection=tensors["projection"].astype(np.float32),
            scale=tensors["scale"],
            trigrams={"".join(map(chr, row)): count for row, count in zip(characters, counts, strict=True)},
            **fields,
        )
    except (KeyError, IndexError, ValueError, TypeError, SafetensorError) as error:
        raise no_profile(path, f"a part of it is missing or broken ({error})") from error


def _segments(stored: np.ndarray, *, counted: bool) -> np.ndarray:
    """Segments as they are numbered now: profiles of before documents were counted have 40 to a file."""
    if counted:
        return stored
    file, stretch = np.divmod(stored.astype(np.int64), STRETCHES)
    return file * STRATUM + stretch


def _read_values(path: Path) -> dict[str, Any]:
    """The profile's scalars, without reading its arrays."""
    if not path.is_file():
        raise MissingFileError(
            f"there is no profile file {path}",
            why="the model's pretraining data is described there",
            fix="check the path; `advisor source list` names the profiles that are there",
        )
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        values = json.loads(metadata["profile"])
        schema = values["schema"]
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise no_profile(path, "it was not written by `advisor source build`") from error
    if schema != SCHEMA:
        raise no_profile(path, f"its format is {schema}, this version reads {SCHEMA}")
    return values  # type: ignore[no-any-return]


def _kind(values: Mapping[str, Any]) -> str:
    """Files of texts say nothing of it: the first ones were written when there was no other kind."""
    return str(values.get("kind", "text"))


def no_profile(path: Path, why: str) -> DataError:
    """The error for a file that is no profile, or a broken one."""
    return DataError(
        f"{path} is not a source profile that can be read",
        why=why,
        fix="build it anew: advisor source build FILES... --out PROFILE.safetensors",
    )


# --- find


def find_profile(
    source: str | Path | None, *, backbone: Backbone, progress: Progress | None = None, seed: int = 0
) -> SourceProfile | ImageProfile | None:
    """The profile to compare with: by name, profile file, data, or hub id; None for the model's own.

    Data is a text file or a folder of them for a text model, which gets a `SourceProfile`, and an image, a folder of
    images or an .npz file for an image model, which gets an `advisor.image_source.ImageProfile`. It is embedded on the
    spot and the profile is cached by model and content. Without `source`, the profile that is
    shipped for the model, else the only one the user has built for it, else None. Raises `OptionError` for an unknown
    or ambiguous name, `ModelError` for another model's profile, and what reading and building raise.
    """
    profiles = list_profiles()
    if source is None:
        return _own_profile(profiles, backbone)
    text = str(source)
    named = [profile for profile in profiles if profile.name == text]
    fitting = [profile for profile in named if profile.model_sha256 == backbone.fingerprint]
    path = Path(text).expanduser()
    if fitting or (named and not path.exists()):
        return _of_model(load_profile((fitting or named)[0].path), backbone)
    if path.is_file() and path.suffix == SUFFIX:
        return _of_model(load_profile(path), backbone)
    if not backbone.is_text and (path.exists() or isinstance(source, Path) or path.suffix or path.is_absolute()):
        return _from_pictures([path], backbone=backbone, name=path.resolve().name, seed=seed, progress=progress)
    if path.exists():
        return _from_text(
            read_source_text([path]), backbone=backbone, name=path.resolve().name, seed=seed, progress=progress
        )
    if isinstance(source, Path) or path.suffix in (SUFFIX, *TEXT_SUFFIXES, *TABLE_SUFFIXES) or path.is_absolute():
        raise MissingFileError(
            f"--source: there is no file {text}",
            why="the model's pretraining data is read from it",
            fix="check the path, or pass the name of a profile: `advisor source list` names them",
        )
    if backbone.is_text and text.count("/") == 1 and not text.startswith((".", "~")):
        return _from_text(_hub_text(text), backbone=backbone, name=text, seed=seed, progress=progress)
    names = sorted({profile.name for profile in profiles})
    raise OptionError(
        f"--source: there is no profile, file or folder {text!r}.{did_you_mean(text, names)}",
        why="it says what the model was pretrained on",
        fix=f"pass one of {', '.join(names) or '(none built yet)'}, "
        + (
            "a text file, a folder, or a hub id (owner/name)" if backbone.is_text else "an image folder or an .npz file"
        ),
    )


def _own_profile(profiles: Sequence[ProfileSummary], backbone: Backbone) -> SourceProfile | ImageProfile | None:
    fitting = [p for p in profiles if p.model_sha256 == backbone.fingerprint]
    shipped = [p for p in fitting if p.path.parent == SHIPPED]
    chosen = shipped or fitting
    if not chosen:
        return None
    if len(chosen) > 1:
        raise OptionError(
            f"there are {len(chosen)} source profiles of {backbone.id}: {', '.join(p.name for p in chosen)}",
            why="the similarity depends on which of them the data is compared with",
            fix=f"choose one, for example --source {chosen[0].name}",
        )
    return _of_model(load_profile(chosen[0].path), backbone)


def _of_model(profile: SourceProfile | ImageProfile, backbone: Backbone) -> SourceProfile | ImageProfile:
    of_text = isinstance(profile, SourceProfile)
    data = "FILES..." if backbone.is_text else "IMAGES..."
    if of_text != backbone.is_text:
        kinds = ("texts", "images") if of_text else ("images", "texts")
        raise ModelError(
            f"the profile {profile.name!r} describes {kinds[0]}, and {backbone.id} reads {kinds[1]}",
            why="a profile holds what its own model makes of its pretraining data",
            fix=f"build one for this model: advisor source build {data} --model {backbone.id}",
        )
    if profile.model_sha256 != backbone.fingerprint:
        raise ModelError(
            f"the profile {profile.name!r} belongs to another model ({profile.model_id})",
            why="features of two models cannot be compared: the SHA-256 of their weights differs",
            fix=f"build one for this model: advisor source build {data} --model {backbone.id}",
        )
    if (profile.pooling, profile.n_blocks, profile.width) != (backbone.pooling, backbone.n_blocks, backbone.width):
        raise ModelError(
            f"the profile {profile.name!r} was built with {profile.pooling} pooling of {profile.n_blocks} blocks",
            why=f"the model has {backbone.pooling} pooling of {backbone.n_blocks} blocks, width {backbone.width}",
            fix=f"build it anew: advisor source build {data} --model {backbone.id}",
        )
    if not isinstance(profile, SourceProfile):
        from advisor.image_source import settings_sha256

        if profile.settings_sha256 != settings_sha256(backbone):
            raise ModelError(
                f"the profile {profile.name!r} was built with another image processor",
                why="the model sees images cut and scaled in another way than the source was",
                fix=f"build it anew: advisor source build {data} --model {backbone.id}",
            )
    return profile


def _from_text(
    source: SourceText, *, backbone: Backbone, name: str, seed: int, progress: Progress | None
) -> SourceProfile:
    documents = hash_texts(map(str, source.documents or ()))
    made_with = (backbone.fingerprint, backbone.pooling, backbone.max_length, METHOD, seed, documents, *source.parts)
    key = hash_texts(list(map(str, made_with)))[:16]
    path = user_cache_dir() / "sources" / f"{key}-{hash_texts(source.texts)[:16]}{SUFFIX}"
    if path.is_file():
        try:
            cached = load_profile(path)
        except DataError:
            path.unlink()  # cut off or from another version: building it again is all it takes
        else:
            assert isinstance(cached, SourceProfile)
            return dataclasses.replace(cached, name=name)
    profile = build_profile(
        source.texts,
        backbone=backbone,
        name=name,
        parts=source.parts,
        documents=source.documents,
        seed=seed,
        progress=progress,
    )
    with contextlib.suppress(RunFolderError):  # a cache that cannot be written costs time, not the answer
        save_profile(profile, path)
    return profile


def _from_pictures(
    paths: Sequence[Path], *, backbone: Backbone, name: str, seed: int, progress: Progress | None
) -> ImageProfile:
    from advisor import image_source

    pictures = image_source.read_source_pictures(paths)
    content = image_source.hash_pictures(image_source.looked_at(pictures, seed=seed))
    settings = image_source.settings_sha256(backbone)
    made_with = (backbone.fingerprint, backbone.pooling, settings, image_source.METHOD, seed)
    key = hash_texts(list(map(str, made_with)))[:16]
    path = user_cache_dir() / "sources" / f"{key}-{content[:16]}{SUFFIX}"
    if path.is_file():
        try:
            cached = load_profile(path)
        except DataError:
            path.unlink()  # cut off or from another version: building it again is all it takes
        else:
            assert isinstance(cached, image_source.ImageProfile)
            return dataclasses.replace(cached, name=name)
    profile = image_source.build_image_profile(pictures, backbone=backbone, name=name, seed=seed, progress=progress)
    with contextlib.suppress(RunFolderError):  # a cache that cannot be written costs time, not the answer
        save_profile(profile, path)
    return profile


def _hub_text(name: str) -> SourceText:
    """The text column of a hub dataset."""
    from advisor.tables import read_tables

    tables = read_tables(name)
    source = joined(texts_of_table(table, place=tables.place) for table in tables.parts.values())
    return dataclasses.replace(source, parts=(len(source.texts),))


def list_profiles() -> tuple[ProfileSummary, ...]:
    """Profiles that are shipped, then those the user has built, by name; files that are none are passed over."""
    found = []
    for folder in (SHIPPED, _user_profiles()):
        for path in sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else ():
            try:
                values = _read_values(path)
                counted = tuple(values.get("documents", [None]))
                summary = ProfileSummary(
                    name=values["name"],
                    kind=_kind(values),
                    documents=None if None in counted else counted,
                    description=values["description"],
                    model_id=values["model_id"],
                    model_sha256=values["model_sha256"],
                    path=path,
                )
            except (DataError, KeyError, TypeError):
                continue  # `load_profile` says what is wrong with it when it is asked for
            found.append(summary)
    return tuple(found)


def describe_profile(profile: str | Path) -> dict[str, Any]:
    """What a profile, given by name or file, covers, and its ladder of anchors, as plain values."""
    from advisor.similarity import ladder_positions

    summaries = list_profiles()
    named = [summary.path for summary in summaries if summary.name == str(profile)]
    path = named[0] if named else Path(profile).expanduser()
    if not named and not path.exists() and path.suffix != SUFFIX:
        names = [summary.name for summary in summaries]
        raise OptionError(
            f"there is no profile {str(profile)!r}.{did_you_mean(str(profile), names)}",
            why="a profile is named or given as a file",
            fix=f"pass a profile file or one of: {', '.join(names) or '(none built yet)'}",
        )
    loaded = load_profile(path)
    if not isinstance(loaded, SourceProfile):
        from advisor.image_source import describe_image_profile

        return describe_image_profile(loaded, path)
    return {
        "name": loaded.name,
        "kind": "text",
        "description": loaded.description,
        "model": loaded.model_id,
        "model_sha256": loaded.model_sha256,
        "pooling": loaded.pooling,
        "blocks": list(loaded.blocks),
        "k": loaded.k,
        "bands": [
            {
                "tokens": [band.lowest, band.highest],
                "documents": band.documents,
                "reference": band.reference.shape[1],
                "held_out": band.held_out.shape[1],
                "ladder": ladder_positions(loaded, band),
            }
            for band in loaded.bands
        ],
        "trigrams": len(loaded.trigrams),
        "trigram_letters": loaded.trigram_letters,
        "stage_two": dict(loaded.stage_two),
        "content_sha256": loaded.content_sha256,
        "seed": loaded.seed,
        "megabytes": round(path.stat().st_size / 1e6, 2),
    }


def _user_profiles() -> Path:
    return user_cache_dir() / "profiles"


def _file_name(name: str) -> str:
    return "".join(character if character.isalnum() or character in "-_." else "-" for character in name)
