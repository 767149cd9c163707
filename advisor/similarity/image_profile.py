"""What is known of a model's pretraining images: reference rows and anchors by resolution, and how it is stored."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from advisor.similarity.distance import texture_counts
from advisor.similarity.profile import SCHEMA, NearestRows, no_profile
from tuner.records import write_bytes_atomically

if TYPE_CHECKING:
    from PIL.Image import Image

    from tuner.model.backbone import Backbone
    from tuner.records import Progress


METHOD = 2
"""Of making profiles: cached ones of an earlier one are built again."""
RESOLUTIONS = (8, 16, 28, 32, 64, 128, 224)
"""Shorter sides in pixels at which images are compared: doublings, and 28, at which many small collections are stored
and which would lose nearly half of its detail at 16."""
ANCHORS = ("noise", "shuffled", "flat")
"""The far end of the ladder: noise, an image's own pixels in random order, one flat colour."""
# Every band stores all of its rows for every block; four blocks of the middle third say what all of them say.
MOST_BLOCKS = 4
# Sixteen bits of 64 directions are nearer to the full features than eight bits of 128, and take the same room.
PROJECTED_WIDTH = 64


@dataclass(frozen=True, kw_only=True)
class ImageBand:
    """One resolution of a profile, ``resolution`` pixels on the shorter side; B blocks, P projected dimensions.

    ``reference`` (B, m, P) int16 are projected unit rows, to be multiplied by the profile's scale. ``held_out``,
    ``noise``, ``shuffled`` and ``flat`` are cosine distances to the k-th nearest reference row, (B, rows).
    ``textures`` (80,) counts the local textures of the reference images, ``held_out_textures`` (rows, 80) those of
    every held-out image, ``anchor_textures`` (3, 80) those of noise, shuffled pixels and flat colour.
    """

    resolution: int
    reference: np.ndarray
    held_out: np.ndarray
    noise: np.ndarray
    shuffled: np.ndarray
    flat: np.ndarray
    textures: np.ndarray
    held_out_textures: np.ndarray
    anchor_textures: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ImageProfile(NearestRows):
    """A sample of pretraining images as one model sees it, at every resolution up to their own and the model's.

    ``projection`` holds one (width, P) array a block, since blocks differ in width, ``scale`` (B, P) undoes the
    quantisation. ``settings_sha256`` identifies how the image processor cuts and scales, ``native`` is the median
    shorter side of the source's images in pixels, ``grey`` the share of them without colour.
    """

    kind: ClassVar[str] = "image"

    name: str
    description: str
    model_id: str
    model_sha256: str
    settings_sha256: str
    pooling: str
    n_blocks: int
    width: int
    blocks: tuple[int, ...]
    k: int
    bands: tuple[ImageBand, ...]
    projection: tuple[np.ndarray, ...]
    scale: np.ndarray
    native: int
    grey: float
    content_sha256: str
    seed: int


# --- images at one resolution


def bring_to(picture: Image, resolution: int) -> Image:
    """The picture with `resolution` pixels on its shorter side, antialiased, sides in proportion.

    >>> from PIL import Image
    >>> bring_to(Image.new("RGB", (64, 48)), 16).size
    (21, 16)
    """
    from PIL import Image

    width, height = picture.size
    shorter = min(width, height)
    if shorter == resolution:
        return picture
    size = (round(width * resolution / shorter), round(height * resolution / shorter))
    return picture.resize(size, Image.Resampling.BICUBIC)


def image_rows(
    backbone: Backbone, images: Sequence[Image], blocks: Iterable[int], *, progress: Progress | None = None
) -> dict[int, np.ndarray]:
    """Embed images and pool the features of some blocks, in full precision.

    Neighbours among images lie so close (a cosine distance of a hundredth) that half precision would show.

    Args:
        backbone: the model.
        images: n of them, as the model's processor takes them.
        blocks: the numbers of the blocks.
        progress: told how far it is.

    Returns:
        (n, width) features, by the number of their block.
    """
    import torch

    backbone = dataclasses.replace(backbone, compute_dtype=torch.float32)
    features = backbone.block_features(backbone.encode(images), progress=progress)
    return {block: features[block] for block in blocks}


def settings_sha256(backbone: Backbone) -> str:
    """What identifies the way in which the model's processor makes its input of an image."""
    return hashlib.sha256(backbone.inputs.settings.encode()).hexdigest()


def coordinates(rows: Sequence[np.ndarray], projection: Sequence[np.ndarray], centres: np.ndarray) -> np.ndarray:
    """(B, m, P): what gives the rows' scalar products when multiplied with projected rows."""
    found = []
    for block, matrix, centre in zip(rows, projection, centres, strict=True):
        common = matrix[:, 0]
        coordinates = block @ matrix
        coordinates[:, 1] = coordinates[:, 0] / (common @ common) - centre
        coordinates[:, 0] = centre
        found.append(coordinates)
    return np.stack(found)


def textures_of(images: Sequence[Image]) -> np.ndarray:
    """Counts of local textures of every image, (n, 80)."""
    return np.stack([texture_counts(np.asarray(image)) for image in images]).astype(np.int32)


# --- save and load


_SCALARS = (
    "name", "description", "model_id", "model_sha256", "settings_sha256", "pooling", "n_blocks", "width", "blocks", "k",
    "native", "grey", "content_sha256", "seed",
)  # fmt: skip
_DISTANCES = ("held_out", *ANCHORS)
_TEXTURES = ("textures", "held_out_textures", "anchor_textures")


def save_image_profile(profile: ImageProfile, path: Path) -> None:
    """Write a profile as one safetensors file, whole or not at all; the same profile gives the same bytes."""
    from safetensors.numpy import save

    tensors: dict[str, np.ndarray] = {"scale": profile.scale}
    for number, matrix in enumerate(profile.projection):
        tensors[f"projection_{number}"] = matrix.astype(np.float16)
    for number, band in enumerate(profile.bands):
        tensors[f"band_{number}.reference"] = band.reference
        for field in _DISTANCES:
            tensors[f"band_{number}.{field}"] = getattr(band, field).astype(np.float32)
        for field in _TEXTURES:
            tensors[f"band_{number}.{field}"] = getattr(band, field).astype(np.int32)
        # Images of one size hold few pixels each: half the room where they fit.
        if band.held_out_textures.max() < 2**16:
            tensors[f"band_{number}.held_out_textures"] = band.held_out_textures.astype(np.uint16)
    values = {field: getattr(profile, field) for field in _SCALARS}
    values |= {"schema": SCHEMA, "kind": "image", "bands": [band.resolution for band in profile.bands]}
    content = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    # One key only: safetensors does not promise an order of several.
    write_bytes_atomically(path, save(content, metadata={"profile": json.dumps(values, sort_keys=True)}))


def load_image_profile(path: Path, values: dict[str, Any]) -> ImageProfile:
    """The profile whose scalars `advisor.similarity.library.load_profile` has read.

    Raises `DataError` where a part is missing.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
        bands = tuple(
            ImageBand(
                resolution=resolution,
                reference=tensors[f"band_{number}.reference"],
                **{field: tensors[f"band_{number}.{field}"] for field in _DISTANCES},
                **{field: tensors[f"band_{number}.{field}"].astype(np.int32) for field in _TEXTURES},
            )
            for number, resolution in enumerate(values["bands"])
        )
        fields = {field: values[field] for field in _SCALARS}
        fields["blocks"] = tuple(values["blocks"])
        projection = tuple(
            tensors[f"projection_{number}"].astype(np.float32) for number in range(len(fields["blocks"]))
        )
        return ImageProfile(bands=bands, projection=projection, scale=tensors["scale"], **fields)
    except (KeyError, ValueError, TypeError, SafetensorError) as error:
        raise no_profile(path, f"a part of it is missing or broken ({error})") from error
