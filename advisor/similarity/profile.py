"""What is known of a model's pretraining text: reference rows, a ladder of anchors, and distances to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from advisor.similarity.distance import knn_distances, unit_rows
from tuner.errors import DataError
from tuner.records import Record

if TYPE_CHECKING:
    from tuner.model.backbone import Backbone


SCHEMA = 1
# How profiles of texts are made: rows of the first ones stood for themselves, not for the documents that they are from.
METHOD = 2
K = 5
PROJECTED_WIDTH = 128
SUFFIX = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class Band:
    """One length band of a profile; B blocks, P projected dimensions.

    ``reference`` (B, m, P) int8 are projected unit rows, to be multiplied by the profile's scale. The others are cosine
    distances to the k-th nearest reference row, (B, rows): of held-out passages and of the ladder's anchors (the
    held-out passages with their words shuffled; random letters). ``segments`` (rows,) says which document, or stretch
    of one, every held-out passage comes from (`advisor.similarity.passages.segment_numbers`): passages of one document
    are not independent. ``documents`` is how many documents all passages come from; None in profiles of before they
    were counted.
    """

    lowest: int
    highest: int
    reference: np.ndarray
    held_out: np.ndarray
    segments: np.ndarray
    shuffled: np.ndarray
    letters: np.ndarray
    documents: int | None = None


class Reference(Protocol):
    """What distances are measured to: (B, m, P) integers, projected unit rows."""

    @property
    def reference(self) -> np.ndarray:
        """The reference rows, (B, m, P) integers."""


class NearestRows:
    """Distances to a profile's reference rows, stored projected and quantised: what profiles of both kinds share."""

    blocks: tuple[int, ...]
    k: int
    projection: np.ndarray | tuple[np.ndarray, ...]
    scale: np.ndarray

    def references(self, band: Reference) -> np.ndarray:
        """Reference rows of a band, (B, m, P) float32."""
        rows: np.ndarray = band.reference.astype(np.float32) * self.scale[:, None, :]
        return rows

    def project(self, features: Sequence[np.ndarray] | Mapping[int, np.ndarray]) -> np.ndarray:
        """(n, width) features of every block to (B, n, P): scaled to length one, then projected.

        A projected row is shorter than one by what lies outside the source's main directions, so the scalar product
        with a reference row is still the cosine in the full space.
        """
        return np.stack([unit_rows(features[block]) @ self.projection[row] for row, block in enumerate(self.blocks)])

    def distances(self, features: Sequence[np.ndarray] | Mapping[int, np.ndarray], band: Reference) -> np.ndarray:
        """Cosine distances to the k-th nearest reference row of a band, (B, n)."""
        projected, references = self.project(features), self.references(band)
        return np.stack(
            [
                knn_distances(rows, source, k=self.k, unit=True)
                for rows, source in zip(projected, references, strict=True)
            ]
        )


@dataclass(frozen=True, kw_only=True)
class SourceProfile(NearestRows):
    """A sample of pretraining text as one model sees it.

    ``projection`` (B, width, P) maps unit rows of the model's width to P dimensions, ``scale`` (B, P) undoes the
    quantisation. ``trigrams`` counts character trigrams; ``trigram_letters`` is the Jensen-Shannon distance of random
    letters to them. ``stage_two`` lists (name, pairs) of later training that this profile does not cover.
    """

    kind: ClassVar[str] = "text"

    name: str
    description: str
    model_id: str
    model_sha256: str
    pooling: str
    n_blocks: int
    width: int
    max_length: int
    blocks: tuple[int, ...]
    k: int
    bands: tuple[Band, ...]
    projection: np.ndarray
    scale: np.ndarray
    trigrams: Mapping[str, int]
    trigram_letters: float
    stage_two: tuple[tuple[str, int], ...]
    content_sha256: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class ProfileSummary(Record):
    """What `list_profiles` says of a profile; ``kind`` is text or image.

    ``documents`` is how many documents each length band rests on; None for images, and where they were not counted.
    """

    name: str
    kind: str
    documents: tuple[int, ...] | None
    description: str
    model_id: str
    model_sha256: str
    path: Path


def middle_blocks(n_blocks: int) -> tuple[int, ...]:
    """The middle third of the blocks: early ones see form, the last squeeze what they do not understand.

    >>> middle_blocks(7), middle_blocks(13), middle_blocks(2)
    ((2, 3, 4), (4, 5, 6, 7, 8), (0, 1))
    """
    return tuple(range(n_blocks // 3, n_blocks - n_blocks // 3))


def quantise(
    bands: Sequence[np.ndarray], *, dtype: type[np.signedinteger[Any]] = np.int8
) -> tuple[list[np.ndarray], np.ndarray]:
    """Turn the rows of every band, (B, m, P), into integers, and return with them the scale (B, P) that undoes it."""
    largest = np.maximum(np.stack([np.abs(rows).max(1) for rows in bands]).max(0), 1e-8).astype(np.float32)
    scale = largest / np.iinfo(dtype).max
    return [np.rint(rows / scale[:, None, :]).astype(dtype) for rows in bands], scale


def stored_id(backbone: Backbone) -> str:
    """The name by which a profile calls its model: of a folder its name, not its path, since profiles are passed on."""
    return Path(backbone.id).name if Path(backbone.id).is_dir() else backbone.id


def project(rows: np.ndarray, projection: np.ndarray) -> np.ndarray:
    """Multiply the rows of every block by its projection: (B, n, width) by (B, width, P) gives (B, n, P)."""
    return np.stack([block @ matrix for block, matrix in zip(rows, projection, strict=True)])


def no_profile(path: Path, why: str) -> DataError:
    """The error for a file that is no profile, or a broken one."""
    return DataError(
        f"{path} is not a source profile that can be read",
        why=why,
        fix="build it anew: advisor source build FILES... --out PROFILE.safetensors",
    )
