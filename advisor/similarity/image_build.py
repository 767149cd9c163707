"""Images of a source -> their profile: what is read, which are references and held out, and the anchors."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.data.image_arrays import open_arrays
from advisor.data.image_folders import list_images, read_tree
from advisor.data.images import IMAGE_SUFFIXES, as_pixels, is_grey, open_reference, references_in
from advisor.similarity.build import SMALLEST_HELD_OUT, SMALLEST_REFERENCE
from advisor.similarity.distance import knn_distances, unit_rows
from advisor.similarity.image_profile import (
    ANCHORS,
    MOST_BLOCKS,
    PROJECTED_WIDTH,
    RESOLUTIONS,
    ImageBand,
    ImageProfile,
    bring_to,
    coordinates,
    image_rows,
    settings_sha256,
    textures_of,
)
from advisor.similarity.passages import evenly
from advisor.similarity.profile import K, middle_blocks, quantise, stored_id
from tuner.errors import DataError, MissingFileError
from tuner.inputs.pictures import Pictures
from tuner.regular import check_regular

if TYPE_CHECKING:
    from PIL.Image import Image

    from tuner.model.backbone import Backbone
    from tuner.records import Progress


ARRAYS = ("X_train", "x_train", "train_images", "images", "X_all", "X", "x")
"""Names under which an .npz file may hold its images, the most wanted first: models are trained on the train part."""
DEFAULT_DESCRIPTION = "images given by the user as the model's pretraining data"

REFERENCE_ROWS = 500
HELD_OUT_ROWS = 250
ANCHOR_ROWS = 120
NO_SPREAD = 1e-10
"""Share of the largest variance below which a direction holds nothing but rounding."""
# Unreadable, small and repeated images are left out of a sample, so more are looked at than are kept.
MOST_LOOKED_AT = 1000


# --- read


def read_source_pictures(paths: Sequence[Path]) -> Pictures:
    """List the images of files, folders (all below them, in order) and .npz files (see `ARRAYS`), not decoded yet.

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
    """Draw the random part of a source that a profile is made of."""
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
    """Embed a sample of images at every resolution up to their own and the model's, and measure the ladder.

    The same images, model, seed and machine give the same profile.

    Args:
        pictures: the source's images.
        backbone: the model whose profile it becomes.
        name: what the profile is called.
        description: what the images are, for the report.
        seed: draws the sample and the anchors.
        progress: told how far it is.

    Raises:
        DataError: where there are too few images.
    """
    source = looked_at(pictures if isinstance(pictures, Pictures) else Pictures(pictures), seed=seed)
    if not len(source):
        raise _too_few(0)
    largest = min(backbone.inputs.example().values.shape[-2:])
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
    quantised, scale = quantise([coordinates(embedded[0], projection, centres) for embedded in rows], dtype=np.int16)
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
