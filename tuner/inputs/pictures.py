"""Any picture -> an RGB image: files, bytes, arrays and PIL images, decoded as they are needed, several at once."""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from tuner.errors import DataError
from tuner.inputs.formats import HEAD_BYTES, READ, name_of_content
from tuner.regular import irregular

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 100_000_000
"""Larger pictures are refused: a small file may claim a size that fills the memory."""
LARGE_SIDE = 1024
"""Larger pictures are shrunk to as many pixels as a square of this side has: models read fewer, and many are held."""
FEWEST_PIXELS_A_SIDE = 2
MOST_ELONGATED = 50
"""Models enlarge the shorter side to what they read: a picture much longer than wide would fill the memory."""
SMOOTH_MODES = ("L", "RGB", "CMYK", "YCbCr")
"""Modes whose pixels can be averaged as they are."""


class PictureError(ValueError):
    """Why one picture cannot be read."""


def open_picture(given: Any) -> Image:
    """A path, bytes, a PIL image, or an array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), as an RGB image.

    The first frame of an animation, upright as its EXIF says, alpha over white, 16-bit values scaled to 8 and floats in
    0..1 to 0..255; large ones are shrunk. The object that is given stays as it is. Raises `PictureError` for what is in
    none of the formats `tuner.inputs.formats.READ`, is damaged, is a pixel wide, much longer than wide, or too large.

    >>> open_picture(np.full((4, 6), 65535, dtype=np.uint16)).getpixel((0, 0))
    (255, 255, 255)
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if isinstance(given, np.ndarray):
        return _shrunk(Image.fromarray(_as_bytes(given)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a decompression bomb is judged by its size, below
            if isinstance(given, Image.Image):
                _check_size(*given.size)
                picture = _first_frame(given)
            else:
                picture = Image.open(_file_of(given), formats=READ)
                _check_size(*picture.size)
                picture.draft("RGB", (LARGE_SIDE, LARGE_SIDE))  # of JPEG only
            if picture.mode in SMOOTH_MODES and "transparency" not in picture.info:
                exif = picture.getexif()
                picture = _shrunk(picture)  # before it is copied
                picture.getexif().update(exif)
            return _shrunk(_as_rgb(ImageOps.exif_transpose(picture)))
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        found = name_of_content(_head_of(given))
        raise PictureError(f"it is {found}" if found else "it is no picture in a format that is known") from error
    except Image.DecompressionBombError as error:
        raise PictureError("it has too many pixels") from error
    except (OSError, ValueError, SyntaxError, TypeError, EOFError, OverflowError, MemoryError) as error:
        raise PictureError(str(error).splitlines()[0][:200] if str(error) else type(error).__name__) from error


class Pictures(Sequence["Image"]):
    """Pictures that are decoded when they are asked for, a slice of them in parallel.

    One that cannot be read comes as a grey square, and its position is kept in ``unreadable`` with the reason, so that
    its row can be left out (`tuner.search.data.encode_rows`).
    """

    def __init__(self, given: Sequence[Any], *, open_one: Callable[[Any], Any] | None = None) -> None:
        self.given = given
        self._open = open_one
        self.unreadable: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.given)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> list[Image]: ...
    def __getitem__(self, index: int | slice) -> Image | list[Image]:
        if isinstance(index, slice):
            rows = range(len(self))[index]
            if len(rows) < 2:
                return [self._at(row) for row in rows]
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                return list(pool.map(self._at, rows))
        return self._at(range(len(self))[index])

    def _at(self, row: int) -> Image:
        from PIL import Image

        try:
            given = self.given[row]
            return open_picture(given if self._open is None else self._open(given))
        except PictureError as error:
            self.unreadable[row] = str(error)
            return Image.new("RGB", (8, 8), (128, 128, 128))

    def take(self, positions: np.ndarray) -> Pictures:
        """Some of the pictures, not decoded."""
        return Pictures([self.given[int(row)] for row in positions], open_one=self._open)

    def readable(
        self, *, why: str = "what is learned from the few others would not be about this dataset"
    ) -> np.ndarray:
        """Positions of those that could be read, once all were asked for.

        Raises `DataError`, with this `why`, where fewer than half of them could.
        """
        if 2 * len(self.unreadable) > len(self):
            raise DataError(
                f"{len(self.unreadable):,} of {len(self):,} images cannot be read, such as {self._example()}",
                why=why,
                fix="check the files, and convert what is in another format to PNG or JPEG; WebP, GIF, BMP, TIFF, PPM, "
                "AVIF and JPEG 2000 are read too",
            )
        return np.setdiff1d(np.arange(len(self)), list(self.unreadable))

    def note(self, what: str) -> str:
        """A warning that says what was left out."""
        were = "it was" if len(self.unreadable) == 1 else "they were"
        return (
            f"{len(self.unreadable):,} of {len(self):,} {what} cannot be read and {were} left out, such as "
            f"{self._example()}"
        )

    def _example(self) -> str:
        row, why = min(self.unreadable.items())
        given = self.given[row]
        return f"{given if isinstance(given, (str, Path)) else f'number {row + 1}'} ({why})"


def is_one_picture(given: Any) -> bool:
    """Whether something is one picture, not many: a path object, bytes, a PIL image, (h, w) or (h, w, 1, 3 or 4).

    >>> is_one_picture(np.zeros((8, 8, 3))), is_one_picture(np.zeros((5, 8, 8)))
    (True, False)
    """
    if isinstance(given, np.ndarray):
        return given.ndim == 2 or (given.ndim == 3 and given.shape[2] in (1, 3, 4))
    is_pil = any(kind.__module__.partition(".")[0] == "PIL" for kind in type(given).__mro__)
    return is_pil or isinstance(given, (Path, bytes, bytearray, memoryview))


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise PictureError(f"{width:,} × {height:,} pixels are too many")
    if min(width, height) < FEWEST_PIXELS_A_SIDE:
        raise PictureError(f"{width:,} × {height:,} pixels show nothing")
    if max(width, height) > MOST_ELONGATED * min(width, height):
        raise PictureError(f"{width:,} × {height:,} pixels: one side is more than {MOST_ELONGATED} times the other")


def _first_frame(given: Image) -> Image:
    """The picture itself, of an animation a copy of its first frame, after which it stands where it stood."""
    if not getattr(given, "is_animated", False):
        return given
    frame = given.tell()
    given.seek(0)
    first = given.copy()
    given.seek(frame)
    return first


def _shrunk(picture: Image) -> Image:
    """With at most as many pixels as a square of `LARGE_SIDE`, sides in proportion."""
    from PIL import Image

    width, height = picture.size
    share = LARGE_SIDE / math.sqrt(width * height)
    if share >= 1:
        return picture
    size = (max(round(width * share), 1), max(round(height * share), 1))
    return picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def _file_of(given: Any) -> Any:
    if isinstance(given, (bytes, bytearray, memoryview)):
        return io.BytesIO(given)
    if isinstance(given, (str, Path)):
        if os.path.isdir(given):
            raise PictureError("it is a folder")
        if (kind := irregular(given)) is not None:
            raise PictureError(f"it is {kind}, not a file")
        return given
    raise PictureError(f"a {type(given).__name__} is no picture")


def _head_of(given: Any) -> bytes:
    """The first bytes of what `_file_of` has taken."""
    if isinstance(given, (str, Path)):
        with open(given, "rb") as file:
            return file.read(HEAD_BYTES)
    return bytes(given[:HEAD_BYTES])


def _as_rgb(picture: Image) -> Image:
    from PIL import Image

    if picture.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        return Image.fromarray(_as_bytes(np.asarray(picture)))
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def _as_bytes(array: np.ndarray) -> np.ndarray:
    """(h, w, 3) of bytes."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise PictureError(f"an array of shape {array.shape} is no picture: (height, width) or (height, width, 3)")
    _check_size(array.shape[1], array.shape[0])
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif array.dtype != np.uint8:
        array = _scaled(array)
    if array.ndim == 2:
        return np.repeat(array[:, :, None], 3, axis=2)
    if array.shape[2] == 4:
        alpha = array[:, :, 3:].astype(np.float32) / 255
        return (array[:, :, :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
    return np.ascontiguousarray(array)


def _scaled(array: np.ndarray) -> np.ndarray:
    """Numbers of any type as bytes: 16-bit by their range, floats within 0..1 or 0..255, other integers as they are."""
    if not np.issubdtype(array.dtype, np.number) or np.issubdtype(array.dtype, np.complexfloating):
        raise PictureError(f"values of type {array.dtype} are no pixels")
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        raise PictureError("some of its values are not finite")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 65535:
        raise PictureError(f"its values lie between {low:g} and {high:g}, not between 0 and 255, 65535 or 1")
    if np.issubdtype(array.dtype, np.floating) and high <= 1:
        values = values * 255
    elif array.dtype == np.uint16 or high > 255:
        values = values * (255 / 65535)
    return values.clip(0, 255).round().astype(np.uint8)
