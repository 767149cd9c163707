"""Pictures of known pixels, in files and tables."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from advisor.data.target import TargetData

N = 24  # images of a dataset, unless a test needs more


def pixels(number: int, side: int = 8) -> np.ndarray:
    """An image that no other number has."""
    return np.random.default_rng(number).integers(0, 256, size=(side, side, 3), dtype=np.uint8)


def encoded(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels(number)).save(buffer, "PNG")
    return buffer.getvalue()


def put(path: Path | str, number: int) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(number))
    return path


def class_folders(folder: Path, *, n: int = N, names: tuple[str, ...] = ("cat", "dog"), first: int = 0) -> Path:
    for i in range(n):
        put(folder / names[i % len(names)] / f"{i:03}.png", first + i)
    return folder


def table(folder: Path, *, n: int = N, column: str = "image", **more: Any) -> pd.DataFrame:
    """Paths below `folder` with labels; the files are there."""
    for i in range(n):
        put(folder / "files" / f"{i:03}.png", i)
    paths = [f"files/{i:03}.png" for i in range(n)]
    return pd.DataFrame({column: paths, "label": ["cat", "dog"] * (n // 2), **more})


def numbers_of(target: TargetData, positions: np.ndarray | None = None) -> list[int]:
    """Which of `pixels` the images are, decoded."""
    positions = np.arange(target.n_examples) if positions is None else positions
    found = target.pictures_at(positions)
    known = {pixels(i).tobytes(): i for i in range(200)}
    return [known[np.asarray(picture).tobytes()] for picture in found[: len(positions)]]


def labelled(target: TargetData) -> dict[int, str]:
    return {n: target.class_names[c] for n, c in zip(numbers_of(target), target.labels.tolist(), strict=True)}
