"""Files of profiles: what all kinds of them share, and how those that are built on the spot are kept."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from advisor.similarity.profile import SCHEMA, no_profile
from tuner.errors import DataError, MissingFileError, RunFolderError

if TYPE_CHECKING:
    from advisor.similarity.image_profile import ImageProfile
    from advisor.similarity.profile import SourceProfile

Kept = TypeVar("Kept", "SourceProfile", "ImageProfile")


def read_values(path: Path) -> dict[str, Any]:
    """Read the profile's scalars, without its arrays."""
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


def kept(
    path: Path,
    *,
    name: str,
    load: Callable[[Path, dict[str, Any]], Kept],
    build: Callable[[], Kept],
    save: Callable[[Kept, Path], None],
) -> Kept:
    """Load a profile from its cache file, or build it and store it there.

    A file that is cut off or of another version is built again; a cache that cannot be written is passed over.

    Args:
        path: of the cache file.
        name: what the profile is called, whatever the file says.
        load: reads a profile from a path, whose scalars have been read.
        build: makes the profile.
        save: writes a profile to a path.
    """
    if path.is_file():
        try:
            return dataclasses.replace(load(path, read_values(path)), name=name)
        except DataError:
            path.unlink()  # cut off or from another version: building it again is all it takes
    profile = build()
    with contextlib.suppress(RunFolderError):  # a cache that cannot be written costs time, not the answer
        save(profile, path)
    return profile
