"""A stratified sample of the target data, embedded once: pooled features of every block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tuner.inputs import Pixels, Tokens
from tuner.pairs import in_words
from tuner.pictures import Pictures

if TYPE_CHECKING:
    from advisor.target import TargetData
    from tuner.backbone import Backbone, Features
    from tuner.inputs import Encoded
    from tuner.records import Progress

DEFAULT_SAMPLE = 2000
LOOKED_AT = 100
"""Images whose size and colour stand for all."""
MOSTLY = 0.9


@dataclass(frozen=True, kw_only=True)
class BlockFeatures:
    """Features of the sampled training rows.

    ``features`` are (n, width) float32 of every block, ``labels`` and ``lengths`` (tokens, special ones included; 1 an
    image) are (n,), ``rows`` are the positions in the target data; rows of equal ``groups`` (n,) stay in one fold.
    ``texts`` are empty for images and ``pixels`` None for texts. ``truncated`` is the share of texts cut to the model's
    length; ``warnings`` say which images could not be read and are no rows here, and how the others were adapted.
    """

    rows: np.ndarray
    texts: tuple[str, ...] = ()
    pixels: Pixels | None = None
    features: Features
    labels: np.ndarray
    groups: np.ndarray | None
    lengths: np.ndarray
    truncated: float
    warnings: tuple[str, ...] = ()


def sample_rows(labels: np.ndarray, *, size: int, seed: int) -> np.ndarray:
    """Positions of a stratified sample, in random order: every class by its share, but two rows where it has them.

    >>> sorted(sample_rows(np.array([0] * 8 + [1, 1]), size=5, seed=0).tolist())[-2:]
    [8, 9]
    """
    generator = np.random.default_rng(seed)
    if size >= len(labels):
        return generator.permutation(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * size / len(labels)
    take = np.maximum(np.floor(exact).astype(int), np.minimum(counts, 2))
    for index in np.argsort(-(exact - np.floor(exact)), kind="stable"):
        if take.sum() >= size:
            break
        take[index] = min(take[index] + 1, counts[index])
    while take.sum() > size and (take > 2).any():  # the guaranteed rows of rare classes come out of the common ones
        take[np.argmax(np.where(take > 2, take - exact, -np.inf))] -= 1
    parts = [
        generator.choice(np.flatnonzero(labels == label), size=wanted, replace=False)
        for label, wanted in zip(classes, take, strict=True)
    ]
    return generator.permutation(np.concatenate(parts))


def take_rows(features: Sequence[np.ndarray], rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """The features of some rows, of every block."""
    return tuple(block[rows] for block in features)


def embed(
    target: TargetData,
    *,
    backbone: Backbone,
    sample: int = DEFAULT_SAMPLE,
    seed: int = 0,
    progress: Progress | None = None,
) -> BlockFeatures:
    """One forward pass over a sample of the training rows; validation and test rows stay unseen."""
    rows = target.train[sample_rows(target.labels[target.train], size=sample, seed=seed)]
    given = target.rows_at(rows)
    encoded = backbone.encode(given, progress=progress)
    warnings: tuple[str, ...] = ()
    if isinstance(given, Pictures):
        warnings = _adapted(given, encoded)
    if isinstance(given, Pictures) and given.unreadable:
        kept = given.readable()
        note = given.note("sampled images")
        if len(given) < target.n_examples:  # images are opened where they are used, not counted one by one
            note += "; the number of examples counts such images among those that were not sampled"
        encoded, rows, warnings = encoded.take(kept), rows[kept], (note, *warnings)
    return BlockFeatures(
        rows=rows,
        texts=() if isinstance(given, Pictures) else tuple(in_words(text) for text in given),
        pixels=encoded if isinstance(encoded, Pixels) else None,
        features=backbone.block_features(encoded, progress=progress),
        labels=target.labels[rows],
        groups=target.kept_together(rows),
        lengths=encoded.lengths,
        truncated=float(encoded.truncated.mean()) if isinstance(encoded, Tokens) else 0.0,
        warnings=warnings,
    )


def _adapted(pictures: Pictures, encoded: Encoded) -> tuple[str, ...]:
    """What was done to small or grey images, so that the model can read them."""
    from advisor.image_source import is_grey

    readable = [row for row in range(min(len(pictures), LOOKED_AT)) if row not in pictures.unreadable]
    shown = [pictures[row] for row in readable]
    if not shown or not isinstance(encoded, Pixels):
        return ()
    said = []
    side, read = int(np.median([min(picture.size) for picture in shown])), min(encoded.values.shape[-2:])
    if side < read:
        said.append(
            f"the images' shorter side is {side} pixels (median); they are enlarged to the {read} the model reads"
        )
    grey = float(np.mean([is_grey(picture) for picture in shown]))
    if grey > MOSTLY:
        said.append("the images are grey; the model reads them as three equal colour channels")
    return tuple(said)
