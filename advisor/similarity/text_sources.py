"""What a text model was pretrained on: texts, read and embedded, and their profiles on disk."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.similarity.build import DEFAULT_DESCRIPTION, build_profile, hash_texts
from advisor.similarity.passages import (
    STRATUM,
    STRETCHES,
    TABLE_SUFFIXES,
    TEXT_SUFFIXES,
    SourceText,
    joined,
    read_source_text,
    texts_of_table,
)
from advisor.similarity.profile import METHOD, SCHEMA, SUFFIX, Band, SourceProfile, no_profile
from advisor.similarity.profile_files import kept
from advisor.similarity.similarity import ladder_positions
from tuner.errors import MissingFileError
from tuner.records import user_cache_dir, write_bytes_atomically

if TYPE_CHECKING:
    from tuner.model.backbone import Backbone
    from tuner.records import Progress

NOUNS = "texts"
DATA = "FILES..."
WANTED = "a text file, a folder, or a hub id (owner/name)"


def build(
    paths: Sequence[Path],
    *,
    backbone: Backbone,
    name: str,
    description: str | None,
    group: str | None,
    seed: int,
    progress: Progress | None,
) -> SourceProfile:
    """Build a profile of the texts in files or folders (`advisor.similarity.library.Sources.build`)."""
    source = read_source_text(paths, group=group)
    return build_profile(
        source.texts,
        backbone=backbone,
        name=name,
        description=description or DEFAULT_DESCRIPTION,
        parts=source.parts,
        documents=source.documents,
        seed=seed,
        progress=progress,
    )


def find(source: str | Path, *, backbone: Backbone, seed: int, progress: Progress | None) -> SourceProfile | None:
    """A profile of the texts in a file, a folder or a hub dataset; None where `source` can be none of them.

    Raises `MissingFileError` where it can only be a file, and there is none.
    """
    text = str(source)
    path = Path(text).expanduser()
    if path.exists():
        return _embedded(
            read_source_text([path]), backbone=backbone, name=path.resolve().name, seed=seed, progress=progress
        )
    if isinstance(source, Path) or path.suffix in (SUFFIX, *TEXT_SUFFIXES, *TABLE_SUFFIXES) or path.is_absolute():
        raise MissingFileError(
            f"--source: there is no file {text}",
            why="the model's pretraining data is read from it",
            fix="check the path, or pass the name of a profile: `advisor source list` names them",
        )
    if text.count("/") == 1 and not text.startswith((".", "~")):
        return _embedded(_hub_text(text), backbone=backbone, name=text, seed=seed, progress=progress)
    return None


def _embedded(
    source: SourceText, *, backbone: Backbone, name: str, seed: int, progress: Progress | None
) -> SourceProfile:
    documents = hash_texts(map(str, source.documents or ()))
    made_with = (backbone.fingerprint, backbone.pooling, backbone.max_length, METHOD, seed, documents, *source.parts)
    key = hash_texts(list(map(str, made_with)))[:16]

    def built() -> SourceProfile:
        return build_profile(
            source.texts,
            backbone=backbone,
            name=name,
            parts=source.parts,
            documents=source.documents,
            seed=seed,
            progress=progress,
        )

    path = user_cache_dir() / "sources" / f"{key}-{hash_texts(source.texts)[:16]}{SUFFIX}"
    return kept(path, name=name, load=load, build=built, save=save)


def _hub_text(name: str) -> SourceText:
    """The text column of a hub dataset."""
    from advisor.data.read import read_tables

    tables = read_tables(name)
    source = joined(texts_of_table(table, place=tables.place) for table in tables.parts.values())
    return dataclasses.replace(source, parts=(len(source.texts),))


def misfit(profile: SourceProfile, backbone: Backbone) -> tuple[str, str] | None:
    """None, since a profile of texts fits every model with its weights and pooling."""
    return None


def describe(profile: SourceProfile, path: Path) -> dict[str, Any]:
    """What a profile covers, and its ladder of anchors, as plain values."""
    return {
        "name": profile.name,
        "kind": "text",
        "description": profile.description,
        "model": profile.model_id,
        "model_sha256": profile.model_sha256,
        "pooling": profile.pooling,
        "blocks": list(profile.blocks),
        "k": profile.k,
        "bands": [
            {
                "tokens": [band.lowest, band.highest],
                "documents": band.documents,
                "reference": band.reference.shape[1],
                "held_out": band.held_out.shape[1],
                "ladder": ladder_positions(profile, band),
            }
            for band in profile.bands
        ],
        "trigrams": len(profile.trigrams),
        "trigram_letters": profile.trigram_letters,
        "stage_two": dict(profile.stage_two),
        "content_sha256": profile.content_sha256,
        "seed": profile.seed,
        "megabytes": round(path.stat().st_size / 1e6, 2),
    }


# --- files


_SCALARS = (
    "name", "description", "model_id", "model_sha256", "pooling", "n_blocks", "width", "max_length", "blocks", "k",
    "trigram_letters", "stage_two", "content_sha256", "seed",
)  # fmt: skip


def save(profile: SourceProfile, path: Path) -> None:
    """Write a profile as one safetensors file, whole or not at all; the same profile gives the same bytes."""
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


def load(path: Path, values: dict[str, Any]) -> SourceProfile:
    """The profile whose scalars have been read. Raises `DataError` where a part is missing."""
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
