"""Source profiles of image models: what a sample of pretraining images looks like at every resolution. No pixels."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.distance import knn_distances, texture_counts, unit_rows
from advisor.image_arrays import open_arrays
from advisor.image_folders import list_images, read_tree
from advisor.images import IMAGE_SUFFIXES, as_pixels, open_reference, references_in
from advisor.passages import evenly
from advisor.source import (
    SCHEMA,
    SMALLEST_HELD_OUT,
    SMALLEST_REFERENCE,
    K,
    NearestRows,
    middle_blocks,
    no_profile,
    quantise,
    stored_id,
)
from tuner.errors import DataError, MissingFileError
from tuner.pictures import Pictures
from tuner.records import write_bytes_atomically
from tuner.regular import check_regular

if TYPE_CHECKING:
    from PIL.Image import Image

    from tuner.backbone import Backbone
    from tuner.records import Progress

METHOD = 2
"""Of making profiles: cached ones of an earlier one are built again."""
RESOLUTIONS = (8, 16, 28, 32, 64, 128, 224)
"""Shorter sides in pixels at which images are compared: doublings, and 28, at which many small collections are stored
and which would lose nearly half of its detail at 16."""
ANCHORS = ("noise", "shuffled", "flat")
"""The far end of the ladder: noise, an image's own pixels in random order, one flat colour."""
ARRAYS = ("X_train", "x_train", "train_images", "images", "X_all", "X", "x")
"""Names under which an .npz file may hold its images, the most wanted first: models are trained on the train part."""
DEFAULT_DESCRIPTION = "images given by the user as the model's pretraining data"

REFERENCE_ROWS = 500
HELD_OUT_ROWS = 250
ANCHOR_ROWS = 120
# Every band stores all of its rows for every block; four blocks of the middle third say what all of them say.
MOST_BLOCKS = 4
# Sixteen bits of 64 directions are nearer to the full features than eight bits of 128, and take the same room.
PROJECTED_WIDTH = 64
NO_SPREAD = 1e-10
"""Share of the largest variance below which a direction holds nothing but rounding."""
# Unreadable, small and repeated images are left out of a sample, so more are looked at than are kept.
MOST_LOOKED_AT = 1000
# A channel may differ from another by this much in a grey image: JPEG codes colour coarsely.
GREY_WITHIN = 3


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


def is_grey(picture: Image) -> bool:
    """Whether an RGB picture has no colour.

    >>> from PIL import Image
    >>> is_grey(Image.new("RGB", (8, 8), (90, 91, 90))), is_grey(Image.new("RGB", (8, 8), (90, 60, 90)))
    (True, False)
    """
    values = np.asarray(picture).astype(np.int16)
    spread = values.max(2) - values.min(2)
    return bool((spread <= GREY_WITHIN).mean() > 0.99)


def image_rows(
    backbone: Backbone, images: Sequence[Image], blocks: Iterable[int], *, progress: Progress | None = None
) -> dict[int, np.ndarray]:
    """Pooled features (n, width) of some blocks, in full precision.

    Neighbours among images lie so close (a cosine distance of a hundredth) that half precision would show.
    """
    import torch

    backbone = dataclasses.replace(backbone, compute_dtype=torch.float32)
    features = backbone.block_features(backbone.encode(images), progress=progress)
    return {block: features[block] for block in blocks}


def settings_sha256(backbone: Backbone) -> str:
    """What identifies the way in which the model's processor makes its input of an image."""
    return hashlib.sha256(backbone.inputs.settings.encode()).hexdigest()


# --- read


def read_source_pictures(paths: Sequence[Path]) -> Pictures:
    """Images of files, folders (all below them, in order) and .npz files (see `ARRAYS`), not decoded yet.

    Raises `MissingFileError` and `DataError` for what holds no images.
    """
    return Pictures([picture for path in paths for picture in _pictures_of(path)])


def _pictures_of(path: Path) -> list[Any]:
    check_regular(path)
    if not path.exists():
        raise MissingFileError(
            f"there is no file or folder {path}",
            why="the model's pretraining data is read from it",
            fix="check the path; it is relative to the current folder",
        )
    if path.suffix.lower() == ".npz" and path.is_file():
        return list(_read_npz(path))
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        return [path]
    try:
        if not path.is_dir():
            raise _no_images(path)
        column, held, _ = list_images(path, split="train")
    except DataError as error:
        pictures = [picture for file in _array_files(path) for picture in _read_npz(file)]
        if not pictures:
            raise _no_images(path) from error
        return pictures
    return [open_reference(reference, held=held) for reference in references_in(column).to_pylist()]


def _array_files(folder: Path) -> list[Path]:
    """The .npz files below a folder, by path; links are not followed."""
    if not folder.is_dir():
        return []
    paths = (Path(file) for file in read_tree(folder).files)
    return [path for path in paths if path.suffix.lower() == ".npz" and path.is_file() and not path.is_symlink()]


def _no_images(path: Path) -> DataError:
    return DataError(
        f"{path} holds no images",
        why="an image model is compared with the images that it was trained on",
        fix=f"pass a folder of images ({', '.join(sorted(IMAGE_SUFFIXES))}) or an .npz file of arrays",
    )


def _read_npz(path: Path) -> np.ndarray:
    """The array of images (n, height, width) or (n, height, width, 3) in an .npz file."""
    with open_arrays(path) as stored:
        fitting = [name for name, header in stored.headers.items() if _are_images(*header)]
        chosen = [name for name in ARRAYS if name in fitting] or (fitting if len(fitting) == 1 else [])
        if not chosen:
            shown = ", ".join(f"{name} {shape}" for name, (shape, _) in list(stored.headers.items())[:12]) or "nothing"
            raise DataError(
                f"{path} has {'several arrays' if fitting else 'no array'} that may be images: it holds {shown}",
                why="images are an array (n, height, width) or (n, height, width, 3)",
                fix=f"name the array one of {', '.join(ARRAYS)}",
            )
        array = stored.load(chosen[0])
    images: np.ndarray = as_pixels(array, place=f"{path}, array '{chosen[0]}'")
    return images


def _are_images(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    numbers = np.issubdtype(dtype, np.number) or dtype == np.bool_
    colours = len(shape) == 3 or (len(shape) == 4 and (shape[3] in (1, 3, 4) or shape[1] in (1, 3)))
    return bool(numbers and colours and shape[0] and math.prod(shape[1:]) > 3)


def looked_at(pictures: Pictures, *, seed: int) -> Pictures:
    """The random part of a source that a profile is made of."""
    order = np.random.default_rng(seed).permutation(len(pictures))
    return pictures.take(order[:MOST_LOOKED_AT])


def hash_pictures(pictures: Pictures) -> str:
    """SHA-256 over images as they are given: the bytes of files, else pixels, with their borders."""
    digest = hashlib.sha256()
    for row, given in enumerate(pictures.given):
        if isinstance(given, (str, Path)) and Path(given).is_file():
            content = Path(given).read_bytes()
        elif isinstance(given, np.ndarray):
            content = repr(given.shape).encode() + given.tobytes()
        else:
            picture = pictures[row]
            content = repr(picture.size).encode() + picture.tobytes()
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()


# --- build


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """Distinct readable images of a source at every resolution that they have; ``native`` (n,) are shorter sides."""

    native: np.ndarray
    grey: np.ndarray
    at: dict[int, list[Image | None]]


def build_image_profile(
    pictures: Sequence[Any],
    *,
    backbone: Backbone,
    name: str,
    description: str = DEFAULT_DESCRIPTION,
    seed: int = 0,
    progress: Progress | None = None,
) -> ImageProfile:
    """Embed a sample of `pictures` at every resolution up to their own and the model's, and measure the ladder.

    The same images, model, seed and machine give the same profile. Raises `DataError` where there are too few images.
    """
    source = looked_at(pictures if isinstance(pictures, Pictures) else Pictures(pictures), seed=seed)
    if not len(source):
        raise _too_few(0)
    largest = min(backbone.inputs.example().values.shape[-2:])  # type: ignore[union-attr]  # of an image model
    sample = _sample(source, largest=largest, progress=progress)
    rng = np.random.default_rng(seed)
    middle = middle_blocks(backbone.n_blocks)
    blocks = tuple(middle[position] for position in evenly(len(middle), min(MOST_BLOCKS, len(middle))))
    held_out_row = np.arange(len(sample.native)) % 3 == 2  # their order is random already
    usable: list[tuple[int, list[Image], list[Image]]] = []
    for resolution, images in sample.at.items():
        sides = [
            [image for image, held in zip(images, held_out_row, strict=True) if image is not None and held == wanted]
            for wanted in (False, True)
        ]
        if len(sides[0]) >= SMALLEST_REFERENCE and len(sides[1]) >= SMALLEST_HELD_OUT:
            usable.append((resolution, sides[0][:REFERENCE_ROWS], sides[1][:HELD_OUT_ROWS]))
    if not usable:
        raise _too_few(len(sample.native))
    rows: list[list[list[np.ndarray]]] = []
    anchors: list[dict[str, list[Image]]] = []
    for number, (resolution, reference, held_out) in enumerate(usable):
        anchors.append(anchor_images(held_out[:ANCHOR_ROWS], rng))
        groups = (reference, held_out, *anchors[-1].values())
        embedded = []
        for step, group in enumerate(groups):
            if progress is not None:
                done = 0.2 + 0.8 * (number + step / len(groups)) / len(usable)
                progress(f"embedding source images at {resolution} pixels", done)
            features = image_rows(backbone, group, blocks)
            embedded.append([unit_rows(features[block]) for block in blocks])
        rows.append(embedded)
    projection, centres = _projection([embedded[0] for embedded in rows])
    quantised, scale = quantise([_coordinates(embedded[0], projection, centres) for embedded in rows], dtype=np.int16)
    profile = ImageProfile(
        name=name,
        description=description,
        model_id=stored_id(backbone),
        model_sha256=backbone.fingerprint,
        settings_sha256=settings_sha256(backbone),
        pooling=backbone.pooling,
        n_blocks=backbone.n_blocks,
        width=backbone.width,
        blocks=blocks,
        k=K,
        bands=(),
        projection=projection,
        scale=scale,
        native=int(np.median(sample.native)),
        grey=float(sample.grey.mean()),
        content_sha256=hash_pictures(source),
        seed=seed,
    )
    bands = tuple(
        _ladder(profile, resolution, reference, embedded, held_out=images[1], given=images[0], anchors=made)
        for (resolution, *images), reference, embedded, made in zip(usable, quantised, rows, anchors, strict=True)
    )
    return dataclasses.replace(profile, bands=bands)


def _too_few(found: int) -> DataError:
    needed = SMALLEST_REFERENCE + 2 * SMALLEST_HELD_OUT
    return DataError(
        f"too few source images: {found} different ones were found, at least {needed} are needed",
        why="the spread of distances within the source is measured on images of one resolution, "
        f"{RESOLUTIONS[0]} pixels or more on the shorter side",
        fix=f"pass at least {needed} different images ({REFERENCE_ROWS + HELD_OUT_ROWS} make a good profile)",
    )


def _sample(source: Pictures, *, largest: int, progress: Progress | None) -> _Sample:
    """Images at the resolutions they have and the model tells apart; repeated ones count once.

    A copy among both the reference and the held-out images would make the source look closer to itself than it is.
    """
    native: list[int] = []
    grey: list[bool] = []
    at: dict[int, list[Image | None]] = {}
    resolutions = [side for side in RESOLUTIONS if side <= largest] or [RESOLUTIONS[0]]
    seen: set[bytes] = set()
    for start in range(0, len(source), 64):
        if progress is not None:
            progress(f"reading source images: {start:,} of {len(source):,}", 0.2 * start / len(source))
        for row, picture in enumerate(source[start : start + 64], start=start):
            key = hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).digest()
            if row in source.unreadable or key in seen:
                continue
            seen.add(key)
            side = min(picture.size)
            native.append(side)
            grey.append(is_grey(picture))
            for resolution in resolutions:
                at.setdefault(resolution, []).append(bring_to(picture, resolution) if side >= resolution else None)
    source.readable()  # raises where most cannot be read
    return _Sample(native=np.array(native), grey=np.array(grey), at=at)


def anchor_images(images: Sequence[Image], rng: np.random.Generator) -> dict[str, list[Image]]:
    """Images of the same sizes that show nothing: noise, the images' own pixels in random order, one flat colour."""
    from PIL import Image

    made: dict[str, list[Image.Image]] = {anchor: [] for anchor in ANCHORS}
    for image in images:
        pixels = np.asarray(image)
        values = {
            "noise": rng.integers(0, 256, size=pixels.shape, dtype=np.uint8),
            "shuffled": rng.permutation(pixels.reshape(-1, 3)).reshape(pixels.shape),
            "flat": np.broadcast_to(rng.integers(0, 256, size=3, dtype=np.uint8), pixels.shape),
        }
        for anchor, array in values.items():
            made[anchor].append(Image.fromarray(np.ascontiguousarray(array)))
    return made


def _projection(references: Sequence[Sequence[np.ndarray]]) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """One (width, P) array a block and the mean coordinate (B,) of its rows along their common direction.

    Features behind a ReLU all point the same way, so their cosine distances are small differences of large numbers,
    which integers would lose. The common direction is therefore kept twice: once for its mean, which is the same
    for every row and so exact, once for the small rest. The other columns are the main directions beside it; blocks
    that have fewer are filled up with zeros.
    """
    projections, centres = [], []
    for block in range(len(references[0])):
        rows = np.concatenate([band[block] for band in references]).astype(np.float64)
        mean = rows.mean(0)
        common = (mean / np.linalg.norm(mean)).astype(np.float16).astype(np.float64)
        along = rows @ common / (common @ common)
        beside = rows - along[:, None] * common
        values, vectors = np.linalg.eigh(beside.T @ beside)
        # Directions that no row has are arbitrary, and might hold the common one, which would then count twice.
        main = vectors[:, values > NO_SPREAD * values[-1]][:, ::-1][:, : PROJECTED_WIDTH - 2]
        # An eigenvector's sign is arbitrary; fixing it makes profiles reproducible.
        main = main * np.sign(main[np.abs(main).argmax(0), np.arange(main.shape[1])])
        columns = np.zeros((rows.shape[1], PROJECTED_WIDTH))
        columns[:, 0] = columns[:, 1] = common
        columns[:, 2 : 2 + main.shape[1]] = main
        projections.append(columns.astype(np.float16).astype(np.float32))
        centres.append(along.mean())
    return tuple(projections), np.array(centres)


def _coordinates(rows: Sequence[np.ndarray], projection: Sequence[np.ndarray], centres: np.ndarray) -> np.ndarray:
    """(B, m, P): what gives the rows' scalar products when multiplied with projected rows."""
    found = []
    for block, matrix, centre in zip(rows, projection, centres, strict=True):
        common = matrix[:, 0]
        coordinates = block @ matrix
        coordinates[:, 1] = coordinates[:, 0] / (common @ common) - centre
        coordinates[:, 0] = centre
        found.append(coordinates)
    return np.stack(found)


def _ladder(
    profile: ImageProfile,
    resolution: int,
    reference: np.ndarray,
    embedded: Sequence[Sequence[np.ndarray]],
    *,
    given: Sequence[Image],
    held_out: Sequence[Image],
    anchors: dict[str, list[Image]],
) -> ImageBand:
    source = reference.astype(np.float32) * profile.scale[:, None, :]

    def distances(rows: Sequence[np.ndarray]) -> np.ndarray:
        pairs = zip(rows, profile.projection, source, strict=True)
        return np.stack([knn_distances(block @ matrix, near, k=K, unit=True) for block, matrix, near in pairs])

    return ImageBand(
        resolution=resolution,
        reference=reference,
        held_out=distances(embedded[1]),
        noise=distances(embedded[2]),
        shuffled=distances(embedded[3]),
        flat=distances(embedded[4]),
        textures=textures_of(given).sum(0),
        held_out_textures=textures_of(held_out),
        anchor_textures=np.stack([textures_of(anchors[anchor]).sum(0) for anchor in ANCHORS]),
    )


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
    """The profile whose scalars `advisor.source.load_profile` has read. Raises `DataError` where a part is missing."""
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


def describe_image_profile(profile: ImageProfile, path: Path) -> dict[str, Any]:
    """What a profile covers, and its ladder of anchors, as plain values."""
    from advisor.image_similarity import image_ladder

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
