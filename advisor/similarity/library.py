"""Profiles on disk, shipped or the user's own: built from files, found for a model, saved, read and described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from advisor.similarity import image_sources, text_sources
from advisor.similarity.profile import SUFFIX, ProfileSummary, SourceProfile, no_profile
from advisor.similarity.profile_files import read_values
from tuner.errors import DataError, ModelError, OptionError, did_you_mean
from tuner.inputs.images import ImageInputs
from tuner.inputs.texts import TextInputs
from tuner.records import user_cache_dir

if TYPE_CHECKING:
    from advisor.similarity.image_profile import ImageProfile
    from tuner.model.backbone import Backbone
    from tuner.records import Progress


class Sources(Protocol):
    """What models with one kind of input were pretrained on, and its profiles: a module of this room.

    `NOUNS` are what a profile describes, `DATA` what stands for it in a command, `WANTED` what ``--source`` takes.
    """

    NOUNS: str
    DATA: str
    WANTED: str

    def build(
        self, paths: Sequence[Path], *, backbone: Backbone, name: str, description: str | None, group: str | None,
        seed: int, progress: Progress | None,
    ) -> Any:  # fmt: skip
        """Build a profile from files or folders.

        Args:
            paths: files or folders with the texts or images.
            backbone: the model whose profile it becomes.
            name: what it is called.
            description: what the texts or images are, for the report; None for a general one.
            group: the column of tables that says which document a text is from; None where there is none.
            seed: draws what is kept.
            progress: told how far it is.

        Raises:
            TransferError: for files that hold no texts or images, or too few, and for a `group` beside images.
        """

    def find(self, source: str | Path, *, backbone: Backbone, seed: int, progress: Progress | None) -> Any:
        """Build a profile of the data that `source` names, or take it out of the cache.

        Args:
            source: a file or a folder, and of texts a hub dataset's id.
            backbone: the model whose profile it becomes.
            seed: draws what is kept.
            progress: told how far it is.

        Returns:
            the profile; None where `source` names no data.

        Raises:
            TransferError: where it can only name a file, and there is none, or what it names cannot be read.
        """

    def misfit(self, profile: Any, backbone: Backbone) -> tuple[str, str] | None:
        """What of a profile does not fit a model with the same weights, and why that matters; None where all fits."""

    def describe(self, profile: Any, path: Path) -> dict[str, Any]:
        """Describe what a profile covers, as plain values."""

    @property
    def save(self) -> Any:
        """Writes a profile to a path."""

    @property
    def load(self) -> Any:
        """Reads a profile from a path, whose scalars have been read."""


SOURCES: Mapping[str, Sources] = {"text": text_sources, "image": image_sources}
"""By what files of profiles call it."""
_READ_BY: Mapping[type, Sources] = {TextInputs: text_sources, ImageInputs: image_sources}


def _sources_of(backbone: Backbone) -> Sources:
    return _READ_BY[type(backbone.inputs)]


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
        paths: files or folders: text or tables for a text model, images for an image model.
        backbone: the model.
        name: what it is called; by default as the files are.
        description: what the texts or images are, for the report.
        group: the column of tables that says which document a text is from.
        out: the file to write.
        seed: draws what is kept.
        progress: told how far it is.

    Raises:
        OptionError: where the file is there already, or does not end as profiles do.
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
    profile = _sources_of(backbone).build(
        paths, backbone=backbone, name=name, description=description, group=group, seed=seed, progress=progress
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


def save_profile(profile: SourceProfile | ImageProfile, path: Path) -> None:
    """Write a profile as one safetensors file, whole or not at all; the same profile gives the same bytes."""
    SOURCES[profile.kind].save(profile, path)


def load_profile(path: Path) -> SourceProfile | ImageProfile:
    """Read a profile, of texts or images. Raises `MissingFileError`, and `DataError` for a file that is none."""
    values = read_values(path)
    sources = SOURCES.get(_kind(values))
    if sources is None:
        raise no_profile(path, f"it is of {_kind(values)}, which this version does not compare")
    loaded: SourceProfile | ImageProfile = sources.load(path, values)
    return loaded


def _kind(values: Mapping[str, Any]) -> str:
    """Files of texts say nothing of it: the first ones were written when there was no other kind."""
    return str(values.get("kind", "text"))


# --- find


def find_profile(
    source: str | Path | None, *, backbone: Backbone, progress: Progress | None = None, seed: int = 0
) -> SourceProfile | ImageProfile | None:
    """Find the profile to compare with: by name, profile file, data, or hub id.

    Data is embedded on the spot, and the profile is cached by model and content.

    Args:
        source: a profile's name or file, or data: a text file, a folder of them or a hub id for a text model; an image,
            a folder of images or an .npz file for an image model. None for the profile that is shipped for the model,
            else the only one the user has built for it.
        backbone: the model.
        progress: told how far the embedding is.
        seed: draws what is kept of data.

    Returns:
        a `SourceProfile` for a text model, an `advisor.similarity.image_profile.ImageProfile` for an image model; None
        where no `source` is named and the model has no profile.

    Raises:
        OptionError: for an unknown or ambiguous name.
        ModelError: for another model's profile.
        TransferError: what reading and building raise.
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
    sources = _sources_of(backbone)
    found: SourceProfile | ImageProfile | None = sources.find(source, backbone=backbone, seed=seed, progress=progress)
    if found is not None:
        return found
    names = sorted({profile.name for profile in profiles})
    raise OptionError(
        f"--source: there is no profile, file or folder {text!r}.{did_you_mean(text, names)}",
        why="it says what the model was pretrained on",
        fix=f"pass one of {', '.join(names) or '(none built yet)'}, {sources.WANTED}",
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
    sources = _sources_of(backbone)
    anew = f"advisor source build {sources.DATA} --model {backbone.id}"
    if SOURCES[profile.kind] is not sources:
        raise ModelError(
            f"the profile {profile.name!r} describes {SOURCES[profile.kind].NOUNS}, and {backbone.id} reads "
            f"{sources.NOUNS}",
            why="a profile holds what its own model makes of its pretraining data",
            fix=f"build one for this model: {anew}",
        )
    if profile.model_sha256 != backbone.fingerprint:
        raise ModelError(
            f"the profile {profile.name!r} belongs to another model ({profile.model_id})",
            why="features of two models cannot be compared: the SHA-256 of their weights differs",
            fix=f"build one for this model: {anew}",
        )
    if (profile.pooling, profile.n_blocks, profile.width) != (backbone.pooling, backbone.n_blocks, backbone.width):
        raise ModelError(
            f"the profile {profile.name!r} was built with {profile.pooling} pooling of {profile.n_blocks} blocks",
            why=f"the model has {backbone.pooling} pooling of {backbone.n_blocks} blocks, width {backbone.width}",
            fix=f"build it anew: {anew}",
        )
    if (why_not := sources.misfit(profile, backbone)) is not None:
        raise ModelError(
            f"the profile {profile.name!r} was built with {why_not[0]}", why=why_not[1], fix=f"build it anew: {anew}"
        )
    return profile


def list_profiles() -> tuple[ProfileSummary, ...]:
    """Profiles that are shipped, then those the user has built, by name; files that are none are passed over."""
    found = []
    for folder in (SHIPPED, _user_profiles()):
        for path in sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else ():
            try:
                values = read_values(path)
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
    return SOURCES[loaded.kind].describe(loaded, path)


def _user_profiles() -> Path:
    return user_cache_dir() / "profiles"


def _file_name(name: str) -> str:
    return "".join(character if character.isalnum() or character in "-_." else "-" for character in name)
