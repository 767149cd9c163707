"""Distances become one calibrated similarity, 1 at the source and 0 at the far end, with interval and verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.measures.probed import take_rows
from advisor.similarity.breadth import breadth, narrow_note
from advisor.similarity.distance import (
    excess_knn_surprisal,
    frechet_infinity,
    inside_support,
    surprisal,
    trigram_counts,
    trigram_distance,
)
from advisor.similarity.passages import STRATUM
from advisor.similarity.profile import Band, SourceProfile
from tuner.errors import ModelError
from tuner.records import Record

if TYPE_CHECKING:
    from advisor.similarity.image_profile import ImageProfile

DRAWS = 400
# Shares of the way from the source to random letters. The source's own words in random order, which keep its topics,
# lie at an eighth to a fifth; half of the way is nearer to noise than to the source.
SIMILAR_WITHIN = 0.25
DISSIMILAR_BEYOND = 0.5
LEVEL = 0.95
SUPPORT_COVERAGE = 0.95
# Far in support: more than half of the rows lie outside the radius that holds 95 % of the source.
FAR_SUPPORT = 0.5
# Far in trigrams: more than half of the way to random letters.
FAR_TRIGRAMS = 0.5
FRECHET_WIDTH = 64
MANY_OUTSIDE = 0.2
FEW_ROWS = 50


@dataclass(frozen=True, kw_only=True)
class SimilarityProfile(Record):
    """How near the target data lies to what the model was pretrained on.

    ``score`` is 1 at the source and 0 at the far end; ``cuts`` are the scores below which data is dissimilar and above
    which it is similar, where the interval agrees. ``p_similar`` is what the situation is computed from; None where
    nothing was measured. ``examples`` are positions in the data, by ``nearest`` and ``farthest``; of images only.
    """

    verdict: str
    score: float | None
    interval: tuple[float, float] | None
    p_similar: float | None
    cuts: tuple[float, float] | None
    source: str | None
    measures: Mapping[str, Any]
    warnings: tuple[str, ...]
    why: str
    examples: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Target rows against the bands they fall in: all arrays (B, n), but ``band`` (n,)."""

    band: np.ndarray
    surprisals: np.ndarray
    inside: np.ndarray


def measure_similarity(
    features: Sequence[np.ndarray],
    *,
    lengths: np.ndarray,
    texts: Sequence[str],
    profile: SourceProfile | ImageProfile | None,
    how_to_measure: str,
    seed: int = 0,
) -> SimilarityProfile:
    """Compare target rows with a source profile.

    The measure is the excess k-NN surprisal (`advisor.similarity.distance.excess_knn_surprisal`) within length bands at
    the middle blocks, divided by that of random letters (mean over the bands). Both cuts come from the ladder at the
    target's own lengths: a quarter of the way to random letters (nearer: similar) and half of it (farther: dissimilar).

    Args:
        features: (n, width) of every block.
        lengths: (n,) in tokens, special ones included.
        texts: the n texts.
        profile: what the model's pretraining data is like; None where that is not known, and nothing is measured.
        how_to_measure: the command to print where there is no profile.
        seed: of the bootstrap, and of the draws that the other measures need.

    Raises:
        ModelError: for a profile of images.
    """
    if profile is None:
        return unmeasured(
            "there is no source profile for this model; to measure similarity, pass text that it was trained on: "
            f"{how_to_measure}"
        )
    if not isinstance(profile, SourceProfile):
        raise wrong_kind(profile.name, described="images", compared="texts")
    rng = np.random.default_rng(seed)
    rows = _compare(features, lengths, profile)
    far = np.mean([excess_knn_surprisal(band.letters, band.held_out) for band in profile.bands], axis=0)
    measures, why_far = _measures(features, rows, texts, profile, far, seed=seed)
    shares = np.bincount(rows.band, minlength=len(profile.bands)) / len(rows.band)
    warnings = _warnings(lengths, profile, shares)
    if far.min() <= 0.05:
        return unmeasured(
            "this model's middle blocks do not tell random letters from its source, so there is no scale to place the "
            "data on",
            source=profile.name,
            measures=measures,
            warnings=warnings,
        )
    held_out = np.stack([surprisal(band.held_out).mean(1) for band in profile.bands], axis=1)
    score = float(1 - ((rows.surprisals.mean(1) - held_out @ shares) / far).mean())
    draws = _draws(rows, profile, rng)
    cuts = _cuts(profile, shares, far)
    verdict, (low, high), p_similar = judge(score, draws, cuts)
    capped = bool(profile.stage_two) and why_far is not None
    if capped:
        # Stage 2 may have held such text: the distance to stage 1 alone must not make "dissimilar" the likelier answer.
        verdict = "uncertain" if verdict == "dissimilar" else verdict
        p_similar = max(p_similar, 0.5)
    return SimilarityProfile(
        verdict=verdict,
        score=clip_score(score),
        interval=(clip_score(low), clip_score(high)),
        p_similar=p_similar,
        cuts=(clip_score(cuts[0]), clip_score(cuts[1])),
        source=profile.name,
        measures=measures,
        warnings=warnings,
        why=_why(
            profile,
            score,
            (low, high),
            cuts,
            documents=breadth(profile, np.flatnonzero(shares).tolist()),
            held_back=why_far if capped and score < cuts[1] else None,
        ),
    )


def judge(score: float, draws: np.ndarray, cuts: tuple[float, float]) -> tuple[str, tuple[float, float], float]:
    """The verdict, interval and `p_similar` of a score, by bootstrap draws (n,) and the cuts (dissimilar, similar).

    A verdict holds where the whole interval lies beyond its cut; `p_similar` runs from 0 at the lower cut to 1 at the
    upper one, mean over the draws.

    >>> judge(0.9, np.array([0.9, 0.9]), (0.5, 0.75))
    ('similar', (0.9, 0.9), 1.0)
    """
    low, high = (float(value) for value in np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    low, high = min(low, score), max(high, score)
    verdict = "similar" if low >= cuts[1] else "dissimilar" if high <= cuts[0] else "uncertain"
    return verdict, (low, high), float(np.clip((draws - cuts[0]) / (cuts[1] - cuts[0]), 0, 1).mean())


def unmeasured(
    why: str, *, source: str | None = None, measures: Mapping[str, Any] | None = None, warnings: tuple[str, ...] = ()
) -> SimilarityProfile:
    """A similarity profile without a score, which says why there is none.

    Args:
        why: in a sentence.
        source: the name of the profile that was compared with; None where there was none.
        measures: what was measured nevertheless.
        warnings: to be shown with it.
    """
    return SimilarityProfile(
        verdict="unmeasured",
        score=None,
        interval=None,
        p_similar=None,
        cuts=None,
        source=source,
        measures=measures or {},
        warnings=warnings,
        why=why,
    )


def wrong_kind(name: str, *, described: str, compared: str) -> ModelError:
    """The error for a profile of texts where images are compared, and the other way round."""
    return ModelError(
        f"the profile {name!r} describes {described}, and {compared} are compared with it",
        why="a profile holds what its own model makes of its pretraining data",
        fix=f"pass a profile of {compared}: `advisor source list` names the kind of every profile",
    )


def ladder_positions(profile: SourceProfile, band: Band) -> dict[str, float]:
    """Excess surprisal of a band's anchors, mean over blocks, in nats: halves of the source, shuffled words, letters.

    ``halves`` is the standard deviation of the difference between random halves of the held-out documents.
    """
    rng = np.random.default_rng(profile.seed)
    segments = np.unique(band.segments)
    values = surprisal(band.held_out).mean(0)
    differences = []
    for _ in range(50):
        first = np.isin(band.segments, rng.permutation(segments)[: max(len(segments) // 2, 1)])
        if first.any() and not first.all():
            differences.append(values[first].mean() - values[~first].mean())
    return {
        "halves": round(float(np.std(differences)), 4) if differences else 0.0,
        "shuffled": round(float(excess_knn_surprisal(band.shuffled, band.held_out).mean()), 4),
        "letters": round(float(excess_knn_surprisal(band.letters, band.held_out).mean()), 4),
    }


def band_of(lengths: np.ndarray, profile: SourceProfile) -> np.ndarray:
    """The band of every row: the one it falls in, else the nearest."""
    highest = np.array([band.highest for band in profile.bands])
    lowest = np.array([band.lowest for band in profile.bands])
    lengths = np.asarray(lengths)[:, None]
    outside = np.maximum(np.maximum(lowest - lengths, lengths - highest), 0)
    nearest: np.ndarray = outside.argmin(1)
    return nearest


def _compare(features: Sequence[np.ndarray], lengths: np.ndarray, profile: SourceProfile) -> _Rows:
    if len(lengths) == 0:
        raise ValueError("no target rows to compare")
    band_index = band_of(lengths, profile)
    surprisals = np.empty((len(profile.blocks), len(lengths)))
    inside = np.empty(surprisals.shape, dtype=bool)
    for number, band in enumerate(profile.bands):
        chosen = np.flatnonzero(band_index == number)
        if not len(chosen):
            continue
        distances = profile.distances(take_rows(features, chosen), band)
        surprisals[:, chosen] = surprisal(distances)
        inside[:, chosen] = inside_support(distances, band.held_out, coverage=SUPPORT_COVERAGE)
    return _Rows(band=band_index, surprisals=surprisals, inside=inside)


def _draws(rows: _Rows, profile: SourceProfile, rng: np.random.Generator) -> np.ndarray:
    """Bootstrap scores: target rows, documents of the held-out source and random-letter rows are drawn anew each."""
    n = rows.surprisals.shape[1]
    columns = np.concatenate([rows.surprisals.T, np.eye(len(profile.bands))[rows.band]], axis=1)
    n_blocks = len(profile.blocks)
    scores = np.empty(DRAWS)
    letters = [surprisal(band.letters) for band in profile.bands]
    segments = [_segments(band) for band in profile.bands]
    for draw in range(DRAWS):
        means = np.bincount(rng.integers(n, size=n), minlength=n) @ columns / n
        held_out = np.stack([_resampled_mean(parts, rng) for parts in segments], axis=1)
        ends = [values[:, rng.integers(values.shape[1], size=values.shape[1])].mean(1) for values in letters]
        far = np.maximum(np.mean(np.stack(ends, axis=1) - held_out, axis=1), 1e-3)
        scores[draw] = 1 - ((means[:n_blocks] - held_out @ means[n_blocks:]) / far).mean()
    return scores


def _segments(band: Band) -> list[tuple[np.ndarray, np.ndarray]]:
    """For every stratum: sums (segments, B) and row counts of its held-out segments, documents or stretches of them."""
    values = surprisal(band.held_out)
    names, members = np.unique(band.segments, return_inverse=True)
    sums = np.stack([np.bincount(members, weights=block, minlength=len(names)) for block in values], axis=1)
    counts = np.bincount(members, minlength=len(names))
    return [(sums[names // STRATUM == stratum], counts[names // STRATUM == stratum])
            for stratum in np.unique(names // STRATUM)]  # fmt: skip


def _resampled_mean(parts: Sequence[tuple[np.ndarray, np.ndarray]], rng: np.random.Generator) -> np.ndarray:
    total, count = np.zeros(parts[0][0].shape[1]), 0.0
    for sums, counts in parts:
        chosen = rng.integers(len(counts), size=len(counts))
        # Segments differ in size: the drawn mean stands for as many rows as the stratum has.
        total += sums[chosen].sum(0) / counts[chosen].sum() * counts.sum()
        count += counts.sum()
    return total / count


def _cuts(profile: SourceProfile, shares: np.ndarray, far: np.ndarray) -> tuple[float, float]:
    """Scores at the two shares of the way to random letters, at the target's own lengths.

    Long texts make every difference plainer, so the same distance means less there: the anchors move along.
    """
    letters = np.stack([excess_knn_surprisal(band.letters, band.held_out) for band in profile.bands], axis=1) @ shares
    way = max(float((letters / far).mean()), 1e-3)
    return 1 - DISSIMILAR_BEYOND * way, 1 - SIMILAR_WITHIN * way


def _measures(
    features: Sequence[np.ndarray],
    rows: _Rows,
    texts: Sequence[str],
    profile: SourceProfile,
    far: np.ndarray,
    *,
    seed: int,
) -> tuple[dict[str, Any], str | None]:
    """All measures, and why they do not agree that the data is far (None where they do)."""
    held_out = np.stack([surprisal(band.held_out).mean(1) for band in profile.bands], axis=1)
    excess = rows.surprisals - held_out[:, rows.band]
    by_band = {}
    for number, band in enumerate(profile.bands):
        chosen = rows.band == number
        if chosen.any():
            by_band[f"{band.lowest}-{band.highest} tokens"] = {
                "rows": int(chosen.sum()),
                **({} if band.documents is None else {"documents": band.documents}),
                "value": round(float(excess[:, chosen].mean()), 4),
                **ladder_positions(profile, band),
            }
    trigrams = _trigrams(texts, profile, seed=seed)
    support = float(rows.inside.mean())
    measures = {
        "excess_knn_surprisal": {
            "value": round(float(excess.mean()), 4),
            "unit": "nats",
            "far_end": round(float(far.mean()), 4),
            "by_block": {
                str(block): round(float(value), 4) for block, value in zip(profile.blocks, excess.mean(1), strict=True)
            },
            "by_band": by_band,
        },
        "support_share": {"value": round(support, 4), "far_below": FAR_SUPPORT},
        "trigram_distance": trigrams,
        "frechet_infinity": _frechet(features, rows, profile, seed=seed),
    }
    if trigrams["value"] is None or trigrams["beyond_sampling"] < trigrams["far_above"]:
        return measures, "its character trigrams are those of the source's language"
    if support > FAR_SUPPORT:
        return measures, f"{support:.0%} of the rows lie inside the source's support"
    return measures, None


def _trigrams(texts: Sequence[str], profile: SourceProfile, *, seed: int) -> dict[str, Any]:
    """Trigram distance, what as many trigrams of the source itself would have, and the cut derived from letters."""
    counts = trigram_counts(texts)
    total = sum(counts.values())
    if total == 0:
        return {"value": None, "why": "the texts are too short to have trigrams"}
    names = list(profile.trigrams)
    source = np.array([profile.trigrams[name] for name in names], dtype=np.float64)
    drawn = np.random.default_rng(seed).multinomial(min(total, 10_000_000), source / source.sum())
    own = trigram_distance({name: int(n) for name, n in zip(names, drawn, strict=True) if n}, profile.trigrams)
    value = trigram_distance(counts, profile.trigrams)
    return {
        "value": round(value, 4),
        "source_itself": round(own, 4),
        # Little text differs from anything: what is left of the range up to 1 is what the target could show.
        "beyond_sampling": round(max(value - own, 0.0) / max(1 - own, 1e-6), 4),
        "random_letters": round(profile.trigram_letters, 4),
        "far_above": round(FAR_TRIGRAMS * profile.trigram_letters, 4),
    }


def _frechet(features: Sequence[np.ndarray], rows: _Rows, profile: SourceProfile, *, seed: int) -> dict[str, Any]:
    """Fréchet distance per whitened dimension at the middle block, within bands, weighted by their rows."""
    middle = len(profile.blocks) // 2
    block = profile.blocks[middle]
    values, weights = [], []
    for number, band in enumerate(profile.bands):
        chosen = np.flatnonzero(rows.band == number)
        reference = profile.references(band)[middle]
        width = min(FRECHET_WIDTH, reference.shape[1])
        if min(len(chosen), len(reference)) < 2 * width:
            continue
        target = profile.project(take_rows(features, chosen))[middle]
        mean = reference.mean(0)
        variances, directions = np.linalg.eigh(np.cov(reference - mean, rowvar=False))
        main = directions[:, ::-1][:, :width] / np.sqrt(np.maximum(variances[::-1][:width], 1e-12))
        values.append(frechet_infinity((target - mean) @ main, (reference - mean) @ main, seed=seed) / width)
        weights.append(len(chosen))
    if not values:
        return {
            "value": None,
            "block": block,
            "why": f"no length band holds {2 * FRECHET_WIDTH} rows, which {FRECHET_WIDTH} dimensions need",
        }
    return {
        "value": round(float(np.average(values, weights=weights)), 4),
        "block": block,
        "rows": int(sum(weights)),
        "why": "per whitened dimension; 0 = the same mean and covariance; a narrow target counts as far",
    }


def _warnings(lengths: np.ndarray, profile: SourceProfile, shares: np.ndarray) -> tuple[str, ...]:
    warnings = []
    narrow = narrow_note(profile, np.flatnonzero(shares > MANY_OUTSIDE).tolist())
    if narrow is not None:
        warnings.append(narrow)
    lowest, highest = profile.bands[0].lowest, profile.bands[-1].highest
    short, long = float((lengths < lowest).mean()), float((lengths > highest).mean())
    if short > MANY_OUTSIDE:
        warnings.append(
            f"{short:.0%} of the texts have fewer than {lowest} tokens; they are compared with the source's shortest "
            "passages, which makes them look farther than they are"
        )
    if long > MANY_OUTSIDE:
        warnings.append(
            f"{long:.0%} of the texts have more than {highest} tokens; they are compared with the source's longest "
            "passages, which makes them look farther than they are"
        )
    inside = (lengths >= lowest) & (lengths <= highest)
    between = inside & ~np.any([(lengths >= b.lowest) & (lengths <= b.highest) for b in profile.bands], axis=0)
    if between.mean() > MANY_OUTSIDE:
        warnings.append(
            f"{between.mean():.0%} of the texts have a length that the source profile holds too few passages of; they "
            "are compared with the nearest length"
        )
    if len(lengths) < FEW_ROWS:
        warnings.append(f"similarity rests on {len(lengths)} texts only")
    return tuple(warnings)


def _why(
    profile: SourceProfile,
    score: float,
    interval: tuple[float, float],
    cuts: tuple[float, float],
    *,
    documents: str | None,
    held_back: str | None,
) -> str:
    shown = f"{clip_score(score):.2f} [{clip_score(interval[0]):.2f}, {clip_score(interval[1]):.2f}]"
    place = (
        f"score {shown} on a scale from 1 (the source itself) to 0 (random letters, mean over all lengths); at these "
        f"texts' own lengths, similar is above {clip_score(cuts[1]):.2f} (a quarter of the way to random letters), "
        f"dissimilar below {clip_score(cuts[0]):.2f} (half of the way)"
    )
    covers = f"the profile {profile.name!r} covers: {profile.description}"
    if documents is not None:
        covers += f" ({documents} at these texts' lengths)"
    parts = [place, covers]
    if profile.stage_two:
        total = sum(pairs for _, pairs in profile.stage_two)
        largest = ", ".join(f"{name} {pairs / 1e6:.0f} M" for name, pairs in profile.stage_two[:4])
        parts.append(f"it does not cover stage 2 of the model's training ({total / 1e6:,.0f} M pairs: {largest}, ...)")
    if held_back is not None:
        parts.append(f"so data like this is at most uncertain, never dissimilar, because {held_back}")
    return "; ".join(parts)


def clip_score(value: float) -> float:
    """Clip a score to 0..1, and round it to four digits.

    >>> clip_score(1.25), clip_score(0.123456)
    (1.0, 0.1235)
    """
    return round(float(min(max(value, 0.0), 1.0)), 4)
