"""Images against a source profile, at a resolution that both have, with a second measure that needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.data.images import is_grey
from advisor.similarity.distance import excess_knn_surprisal, inside_support, surprisal, texture_distance
from advisor.similarity.image_profile import ANCHORS, ImageBand, ImageProfile, bring_to, image_rows, textures_of
from advisor.similarity.similarity import (
    DISSIMILAR_BEYOND,
    DRAWS,
    FAR_SUPPORT,
    FEW_ROWS,
    MANY_OUTSIDE,
    SIMILAR_WITHIN,
    SUPPORT_COVERAGE,
    SimilarityProfile,
    clip_score,
    judge,
    unmeasured,
    wrong_kind,
)
from tuner.inputs.pictures import Pictures

if TYPE_CHECKING:
    from advisor.similarity.profile import SourceProfile
    from tuner.model.backbone import Backbone
    from tuner.records import Progress

MOST_IMAGES = 500
EXAMPLES = 6
"""Images nearest to the source, and as many farthest from it, that the report shows."""
# An anchor nearer than this to the source, in nats, is no far end.
SMALLEST_SCALE = 0.05
CUTS = (1 - DISSIMILAR_BEYOND, 1 - SIMILAR_WITHIN)
NAMES = {"noise": "noise", "shuffled": "shuffled pixels", "flat": "flat colour"}


@dataclass(frozen=True, kw_only=True)
class _Images:
    """The sampled images at the resolution they are compared at: (n,) arrays, and one array of textures (n, 80).

    ``position`` is where an image stands among those that were given.
    """

    position: np.ndarray
    native: np.ndarray
    band: np.ndarray
    grey: np.ndarray
    textures: np.ndarray
    surprisals: np.ndarray
    inside: np.ndarray
    left_out: int


def measure_image_similarity(
    pictures: Sequence[Any],
    *,
    backbone: Backbone,
    profile: ImageProfile | SourceProfile | None,
    how_to_measure: str,
    seed: int = 0,
    progress: Progress | None = None,
) -> SimilarityProfile:
    """Compare images with a source profile.

    A network sees resolution before it sees content, so every image is first brought to the largest resolution of the
    profile that does not exceed its own, and compared with source images brought there in the same way. The measure is
    the excess k-NN surprisal (`advisor.similarity.distance.excess_knn_surprisal`) at the middle blocks, divided by the
    mean of three anchors at the images' own resolutions: noise, shuffled pixels and flat colour. Where local textures
    (`advisor.similarity.distance.texture_distance`) contradict, the verdict is "uncertain"; where the model's features
    leave it uncertain and the textures lie at the far end, it is "dissimilar".

    Args:
        pictures: the images, of which at most `MOST_IMAGES` are looked at; those that cannot be read are left out.
        backbone: the model.
        profile: what its pretraining data is like; None where that is not known, and nothing is measured.
        how_to_measure: the command to print where there is no profile.
        seed: draws the images that are looked at, and the bootstrap.
        progress: told how far it is.

    Returns:
        the similarity, whose ``examples`` are positions among the images given.

    Raises:
        ModelError: for a profile of texts.
        DataError: where most images cannot be read.
    """
    if profile is None:
        return unmeasured(
            "there is no source profile for this model; to measure similarity, pass images that it was trained on: "
            f"{how_to_measure}"
        )
    if not isinstance(profile, ImageProfile):
        raise wrong_kind(profile.name, described="texts", compared="images")
    rng = np.random.default_rng(seed)
    given = pictures if isinstance(pictures, Pictures) else Pictures(pictures)
    if not len(given):
        raise ValueError("no images to compare")
    chosen = rng.permutation(len(given))[:MOST_IMAGES]
    images = _compare(given.take(chosen), chosen, backbone=backbone, profile=profile, progress=progress)
    shares = np.bincount(images.band, minlength=len(profile.bands)) / len(images.band)
    # (3, B): every anchor at the images' own resolutions
    ends = np.stack([_excess_of(profile, anchor) @ shares for anchor in ANCHORS])
    far = ends.mean(0)
    textures = _textures(images, profile, rng)
    measures = _measures(images, profile, ends, textures)
    warnings = _warnings(images, profile)
    unseen = [NAMES[anchor] for anchor, end in zip(ANCHORS, ends.min(1), strict=True) if end <= SMALLEST_SCALE]
    if unseen:
        return unmeasured(
            f"this model's middle blocks do not tell {' and '.join(unseen)} from its source, so there is no scale to "
            "place the data on",
            source=profile.name,
            measures=measures,
            warnings=warnings,
        )
    held_out = np.stack([surprisal(band.held_out).mean(1) for band in profile.bands], axis=1)
    score = float(1 - ((images.surprisals.mean(1) - held_out @ shares) / far).mean())
    draws = _draws(images, profile, rng)
    verdict, interval, p_similar = judge(score, draws, CUTS)
    contradicted = None
    # The second measure knows nothing of what the model sees. It may take a verdict back; it gives one only where the
    # first has none and it stands at its own far end: of strokes at 8 pixels a network sees little more than blur.
    alone = verdict == "uncertain" and textures["beyond_sampling"] >= textures["far_end"]
    if alone:
        verdict, p_similar = "dissimilar", 0.0
    elif textures["beyond_sampling"] >= textures["far_above"]:
        p_similar = min(p_similar, 0.5)
        contradicted = "similar"
    elif textures["beyond_sampling"] <= textures["near_below"]:
        p_similar = max(p_similar, 0.5)
        contradicted = "dissimilar"
    held_back = contradicted if verdict == contradicted else None
    return SimilarityProfile(
        verdict="uncertain" if held_back else verdict,
        score=clip_score(score),
        interval=(clip_score(interval[0]), clip_score(interval[1])),
        p_similar=p_similar,
        cuts=CUTS,
        source=profile.name,
        measures=measures,
        warnings=warnings,
        why=_why(profile, images, score, interval, textures, held_back=held_back, alone=alone),
        examples=_examples(images, profile),
    )


def image_ladder(profile: ImageProfile, band: ImageBand) -> dict[str, float]:
    """Excess surprisal of a band's anchors, mean over blocks, in nats; and the spread between halves of the source.

    ``halves`` is the standard deviation of the difference between random halves of the held-out images.
    """
    rng = np.random.default_rng(profile.seed)
    values = surprisal(band.held_out).mean(0)
    differences = []
    for _ in range(50):
        order = rng.permutation(len(values))
        half = len(values) // 2
        differences.append(values[order[:half]].mean() - values[order[half:]].mean())
    excess = {anchor: float(excess_knn_surprisal(getattr(band, anchor), band.held_out).mean()) for anchor in ANCHORS}
    return {"halves": round(float(np.std(differences)), 4)} | {name: round(value, 4) for name, value in excess.items()}


def resolution_band(native: np.ndarray, profile: ImageProfile) -> np.ndarray:
    """The band of images with these shorter sides: the largest that is not above theirs, else the smallest."""
    resolutions = np.array([band.resolution for band in profile.bands])
    bands: np.ndarray = np.maximum(np.searchsorted(resolutions, native, side="right") - 1, 0)
    return bands


def _compare(
    sample: Pictures, position: np.ndarray, *, backbone: Backbone, profile: ImageProfile, progress: Progress | None
) -> _Images:
    native, grey, resized = [], [], []
    for start in range(0, len(sample), 64):
        if progress is not None:
            progress("bringing images to the source's resolution", 0.5 * start / len(sample))
        for picture in sample[start : start + 64]:
            native.append(min(picture.size))
            grey.append(is_grey(picture))
            band = profile.bands[int(resolution_band(np.array(native[-1]), profile))]
            resized.append(bring_to(picture, band.resolution))
    kept = sample.readable()
    images = [resized[row] for row in kept]
    band_index = resolution_band(np.array(native)[kept], profile)
    surprisals = np.empty((len(profile.blocks), len(kept)))
    inside = np.empty(surprisals.shape, dtype=bool)
    for number, band in enumerate(profile.bands):
        chosen = np.flatnonzero(band_index == number)
        if not len(chosen):
            continue
        if progress is not None:
            progress(f"comparing with the source at {band.resolution} pixels", 0.5 + 0.5 * number / len(profile.bands))
        distances = profile.distances(image_rows(backbone, [images[row] for row in chosen], profile.blocks), band)
        surprisals[:, chosen] = surprisal(distances)
        inside[:, chosen] = inside_support(distances, band.held_out, coverage=SUPPORT_COVERAGE)
    return _Images(
        position=position[kept],
        native=np.array(native)[kept],
        band=band_index,
        grey=np.array(grey)[kept],
        textures=textures_of(images),
        surprisals=surprisals,
        inside=inside,
        left_out=len(sample) - len(kept),
    )


def _examples(images: _Images, profile: ImageProfile) -> dict[str, tuple[int, ...]]:
    """The images that surprise the model least and most, against the source's own of their resolution."""
    held_out = np.stack([surprisal(band.held_out).mean(1) for band in profile.bands], axis=1)
    order = np.argsort((images.surprisals - held_out[:, images.band]).mean(0), kind="stable")
    shown = min(EXAMPLES, len(order) // 2)
    sides = {"nearest": order[:shown], "farthest": order[::-1][:shown]}
    return {name: tuple(int(row) for row in images.position[rows]) for name, rows in sides.items()}


def _excess_of(profile: ImageProfile, anchor: str) -> np.ndarray:
    """(B, bands): excess surprisal of one anchor."""
    return np.stack([excess_knn_surprisal(getattr(band, anchor), band.held_out) for band in profile.bands], axis=1)


def _draws(images: _Images, profile: ImageProfile, rng: np.random.Generator) -> np.ndarray:
    """Bootstrap scores: target images, held-out source images and rows of the anchors are drawn anew each."""
    n, n_bands, n_blocks = len(images.band), len(profile.bands), len(profile.blocks)
    columns = np.concatenate([images.surprisals.T, np.eye(n_bands)[images.band]], axis=1)
    held_out = [surprisal(band.held_out) for band in profile.bands]
    ends = [[surprisal(getattr(band, anchor)) for band in profile.bands] for anchor in ANCHORS]
    scores = np.empty(DRAWS)
    for draw in range(DRAWS):
        means = np.bincount(rng.integers(n, size=n), minlength=n) @ columns / n
        zero = _resampled(held_out, rng) @ means[n_blocks:]
        end = np.mean([_resampled(values, rng) for values in ends], axis=0) @ means[n_blocks:]
        far = np.maximum(end - zero, 1e-3)
        scores[draw] = 1 - ((means[:n_blocks] - zero) / far).mean()
    return scores


def _resampled(values: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """(B, bands): mean over rows drawn anew."""
    return np.stack([rows[:, rng.integers(rows.shape[1], size=rows.shape[1])].mean(1) for rows in values], axis=1)


def _textures(images: _Images, profile: ImageProfile, rng: np.random.Generator) -> dict[str, Any]:
    """Texture distance within bands, what as many source images would have, and the cuts that the ladder gives.

    They are shares of the way to the nearest anchor, ``far_end``, not to their mean: what mostly takes verdicts back
    may be strict.
    """
    values, own, ends, weights = [], [], [], []
    for number, band in enumerate(profile.bands):
        chosen = np.flatnonzero(images.band == number)
        if not len(chosen):
            continue
        weights.append(len(chosen))
        values.append(texture_distance(images.textures[chosen].sum(0), band.textures))
        ends.append([texture_distance(counts, band.textures) for counts in band.anchor_textures])
        # Few images differ from anything: what as many of the source's own would show is taken off.
        size = min(len(chosen), len(band.held_out_textures))
        draws = [rng.choice(len(band.held_out_textures), size, replace=False) for _ in range(10)]
        own.append(np.mean([texture_distance(band.held_out_textures[rows].sum(0), band.textures) for rows in draws]))
    value, itself = float(np.average(values, weights=weights)), float(np.average(own, weights=weights))
    anchors = np.average(np.array(ends), axis=0, weights=weights)
    return {
        "value": round(value, 4),
        "unit": "bits",
        "source_itself": round(itself, 4),
        "beyond_sampling": round(max(value - itself, 0.0) / max(1 - itself, 1e-6), 4),
        "anchors": {anchor: round(float(end), 4) for anchor, end in zip(ANCHORS, anchors, strict=True)},
        "near_below": round(SIMILAR_WITHIN * float(anchors.min()), 4),
        "far_above": round(DISSIMILAR_BEYOND * float(anchors.min()), 4),
        "far_end": round(float(anchors.min()), 4),
    }


def _measures(images: _Images, profile: ImageProfile, ends: np.ndarray, textures: dict[str, Any]) -> dict[str, Any]:
    held_out = np.stack([surprisal(band.held_out).mean(1) for band in profile.bands], axis=1)
    excess = images.surprisals - held_out[:, images.band]
    by_band = {}
    for number, band in enumerate(profile.bands):
        chosen = images.band == number
        if chosen.any():
            by_band[f"{band.resolution} pixels"] = {
                "rows": int(chosen.sum()),
                "value": round(float(excess[:, chosen].mean()), 4),
                **image_ladder(profile, band),
            }
    return {
        "excess_knn_surprisal": {
            "value": round(float(excess.mean()), 4),
            "unit": "nats",
            "far_end": round(float(ends.mean()), 4),
            "anchors": {name: round(float(end), 4) for name, end in zip(ANCHORS, ends.mean(1), strict=True)},
            "by_block": {
                str(block): round(float(value), 4) for block, value in zip(profile.blocks, excess.mean(1), strict=True)
            },
            "by_band": by_band,
        },
        "support_share": {"value": round(float(images.inside.mean()), 4), "far_below": FAR_SUPPORT},
        "texture_distance": textures,
        "grey_share": {"target": round(float(images.grey.mean()), 4), "source": round(profile.grey, 4)},
        "native_resolution": {"target": int(np.median(images.native)), "source": profile.native, "unit": "pixels"},
        "images": {"compared": len(images.band), "unreadable": images.left_out},
    }


def _warnings(images: _Images, profile: ImageProfile) -> tuple[str, ...]:
    warnings = []
    smallest = profile.bands[0].resolution
    small = float((images.native < smallest).mean())
    if small > MANY_OUTSIDE:
        warnings.append(
            f"{small:.0%} of the images have fewer than {smallest} pixels on their shorter side; they are enlarged and "
            "compared with the source's smallest images, which makes them look farther than they are"
        )
    if len(images.band) < FEW_ROWS:
        warnings.append(f"similarity rests on {len(images.band)} images only")
    if _colour_differs(images, profile):
        warnings.append(f"{_colours(images, profile)}: part of the distance may be colour rather than content")
    return tuple(warnings)


def _colour_differs(images: _Images, profile: ImageProfile) -> bool:
    return abs(float(images.grey.mean()) - profile.grey) > MANY_OUTSIDE


def _colours(images: _Images, profile: ImageProfile) -> str:
    return f"{images.grey.mean():.0%} of the images are grey, of the source's {profile.grey:.0%}"


def _why(
    profile: ImageProfile,
    images: _Images,
    score: float,
    interval: tuple[float, float],
    textures: dict[str, Any],
    *,
    held_back: str | None,
    alone: bool,
) -> str:
    shown = f"{clip_score(score):.2f} [{clip_score(interval[0]):.2f}, {clip_score(interval[1]):.2f}]"
    sides = sorted({profile.bands[number].resolution for number in images.band})
    sizes = f"{sides[0]}" if len(sides) == 1 else f"{sides[0]} to {sides[-1]}"
    parts = [
        f"score {shown} on a scale from 1 (the source itself) to 0 (noise, shuffled pixels and flat colour, on "
        f"average), all brought to {sizes} pixels; similar is above {CUTS[1]:.2f} (a quarter of the way), dissimilar "
        f"below {CUTS[0]:.2f} (half of the way)",
        f"the profile {profile.name!r} covers: {profile.description}",
    ]
    if _colour_differs(images, profile):
        parts.append(_colours(images, profile))
    if held_back is not None:
        found = f"(texture distance {textures['beyond_sampling']:.2f}"
        textured = (
            f"far from the source's {found}, far is above {textures['far_above']:.2f})"
            if held_back == "similar"
            else f"like the source's {found}, near is below {textures['near_below']:.2f})"
        )
        parts.append(
            f"the model's features alone say {held_back}, but the images' local textures are {textured}, so the answer "
            "is uncertain"
        )
    if alone:
        parts.append(
            "the model's features alone leave it uncertain; the images' local textures are as far from the source's "
            f"(texture distance {textures['beyond_sampling']:.2f}) as the nearest of noise, shuffled pixels and flat "
            f"colour ({textures['far_end']:.2f}), so they are dissimilar"
        )
    return "; ".join(parts)
