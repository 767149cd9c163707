"""What an image model was pretrained on: images, read and embedded, and their profiles on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.similarity.build import hash_texts
from advisor.similarity.image_build import (
    DEFAULT_DESCRIPTION,
    build_image_profile,
    hash_pictures,
    looked_at,
    read_source_pictures,
)
from advisor.similarity.image_profile import (
    METHOD,
    ImageProfile,
    load_image_profile,
    save_image_profile,
    settings_sha256,
)
from advisor.similarity.image_similarity import image_ladder
from advisor.similarity.profile import SUFFIX
from advisor.similarity.profile_files import kept
from tuner.errors import OptionError
from tuner.records import user_cache_dir

if TYPE_CHECKING:
    from tuner.model.backbone import Backbone
    from tuner.records import Progress

NOUNS = "images"
DATA = "IMAGES..."
WANTED = "an image folder or an .npz file"

save, load = save_image_profile, load_image_profile


def build(
    paths: Sequence[Path],
    *,
    backbone: Backbone,
    name: str,
    description: str | None,
    group: str | None,
    seed: int,
    progress: Progress | None,
) -> ImageProfile:
    """Build a profile of the images in files or folders (`advisor.similarity.library.Sources.build`)."""
    if group is not None:
        raise OptionError(
            f"--group {group} names a column, and {backbone.id} reads images",
            why="it says which document a text is from",
            fix="omit --group",
        )
    return build_image_profile(
        read_source_pictures(paths),
        backbone=backbone,
        name=name,
        description=description or DEFAULT_DESCRIPTION,
        seed=seed,
        progress=progress,
    )


def find(source: str | Path, *, backbone: Backbone, seed: int, progress: Progress | None) -> ImageProfile | None:
    """A profile of the images in a file or a folder; None where `source` can be neither."""
    path = Path(str(source)).expanduser()
    if not (path.exists() or isinstance(source, Path) or path.suffix or path.is_absolute()):
        return None
    pictures = read_source_pictures([path])
    content = hash_pictures(looked_at(pictures, seed=seed))
    made_with = (backbone.fingerprint, backbone.pooling, settings_sha256(backbone), METHOD, seed)
    key = hash_texts(list(map(str, made_with)))[:16]
    name = path.resolve().name

    def built() -> ImageProfile:
        return build_image_profile(pictures, backbone=backbone, name=name, seed=seed, progress=progress)

    cache = user_cache_dir() / "sources" / f"{key}-{content[:16]}{SUFFIX}"
    return kept(cache, name=name, load=load, build=built, save=save)


def misfit(profile: ImageProfile, backbone: Backbone) -> tuple[str, str] | None:
    """What of a profile does not fit a model of its weights and pooling, and why that matters; None where all fits."""
    if profile.settings_sha256 == settings_sha256(backbone):
        return None
    return "another image processor", "the model sees images cut and scaled in another way than the source was"


def describe(profile: ImageProfile, path: Path) -> dict[str, Any]:
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
