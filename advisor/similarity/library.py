"""Profiles on disk, shipped or the user's own: built from files, found for a model, saved, read and described."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.similarity import image_build, image_profile
from advisor.similarity.build import DEFAULT_DESCRIPTION, build_profile, hash_texts
from advisor.similarity.image_build import build_image_profile, hash_pictures, looked_at, read_source_pictures
from advisor.similarity.image_profile import ImageProfile, load_image_profile, save_image_profile, settings_sha256
from advisor.similarity.image_similarity import image_ladder
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
from advisor.similarity.profile import METHOD, SCHEMA, SUFFIX, Band, ProfileSummary, SourceProfile, no_profile
from advisor.similarity.similarity import ladder_positions
from tuner.errors import DataError, MissingFileError, ModelError, OptionError, RunFolderError, did_you_mean
from tuner.records import user_cache_dir, write_bytes_atomically

if TYPE_CHECKING:
    from tuner.model.backbone import Backbone
    from tuner.records import Progress


SHIPPED = Path(__file__).parents[1] / "profiles"


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
            fix="omit --group",
        )
    else:
        profile = build_image_profile(
            read_source_pictures(paths),
            backbone=backbone,
            name=name,
            description=description or image_build.DEFAULT_DESCRIPTION,
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


# --- find


def find_profile(
    source: str | Path | None, *, backbone: Backbone, progress: Progress | None = None, seed: int = 0
) -> SourceProfile | ImageProfile | None:
    """The profile to compare with: by name, profile file, data, or hub id; None for the model's own.

    Data is a text file or a folder of them for a text model, which gets a `SourceProfile`, and an image, a folder of
    images or an .npz file for an image model, which gets an `advisor.similarity.image_profile.ImageProfile`. It is
    embedded on the spot and the profile is cached by model and content. Without `source`, the profile that is shipped
    for the model, else the only one the user has built for it, else None. Raises `OptionError` for an unknown or
    ambiguous name, `ModelError` for another model's profile, and what reading and building raise.
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
    if not isinstance(profile, SourceProfile) and profile.settings_sha256 != settings_sha256(backbone):
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
    pictures = read_source_pictures(paths)
    content = hash_pictures(looked_at(pictures, seed=seed))
    settings = settings_sha256(backbone)
    made_with = (backbone.fingerprint, backbone.pooling, settings, image_profile.METHOD, seed)
    key = hash_texts(list(map(str, made_with)))[:16]
    path = user_cache_dir() / "sources" / f"{key}-{content[:16]}{SUFFIX}"
    if path.is_file():
        try:
            cached = load_profile(path)
        except DataError:
            path.unlink()  # cut off or from another version: building it again is all it takes
        else:
            assert isinstance(cached, ImageProfile)
            return dataclasses.replace(cached, name=name)
    profile = build_image_profile(pictures, backbone=backbone, name=name, seed=seed, progress=progress)
    with contextlib.suppress(RunFolderError):  # a cache that cannot be written costs time, not the answer
        save_profile(profile, path)
    return profile


def _hub_text(name: str) -> SourceText:
    """The text column of a hub dataset."""
    from advisor.data.read import read_tables

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
        return _describe_images(loaded, path)
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


def _describe_images(profile: ImageProfile, path: Path) -> dict[str, Any]:
    """What a profile covers, and its ladder of anchors, as plain values."""
    return {
        "name": profile.name,
        "kind": "image",
        "description": profile.description,
        "model": profile.model_id,
        "model_sha256": profile.model_sha256,
        "pooling": profile.pooling,
        "blocks": list(profile.blocks),
        "k": profile.k,
        "native": profile.native,
        "bands": [
            {
                "pixels": band.resolution,
                "reference": band.reference.shape[1],
                "held_out": band.held_out.shape[1],
                "ladder": image_ladder(profile, band),
            }
            for band in profile.bands
        ],
        "grey": round(profile.grey, 4),
        "content_sha256": profile.content_sha256,
        "seed": profile.seed,
        "megabytes": round(path.stat().st_size / 1e6, 2),
    }
