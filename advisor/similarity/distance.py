"""Distances between two sets of rows: pure functions on arrays, texts and images, no model, no state.

``target`` and ``source`` are (n, d) and (m, d) arrays of pooled features, one row a text or image, unless said
otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

# A distance of zero (a target row that is a source row) would have surprisal minus infinity.
SMALLEST_DISTANCE = 1e-3
CHUNK = 4096
# Borders of the classes of local contrast, in steps of 255.
TEXTURE_CONTRASTS = (1, 2, 4, 8, 16, 32, 64)


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length one, as float32; a row of zeros stays one.

    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    rows = np.asarray(rows, dtype=np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1.0)


def knn_distances(target: np.ndarray, source: np.ndarray, *, k: int = 5, unit: bool = False) -> np.ndarray:
    """Cosine distance of every target row to its k-th nearest source row, (n,), in 0..2.

    Small where the source is dense: the distance is the radius of a ball that holds k source rows, so its logarithm
    grows as the source's density falls (Loftsgaarden & Quesenberry 1965; deep features: Sun et al. 2022).

    Args:
        target: (n, d) features.
        source: (m, d) features.
        k: the rank of the neighbour that is measured to, from 1.
        unit: whether the rows are already scaled, possibly before a projection that shortened them, and must not be
            scaled again.

    Raises:
        ValueError: where the source has fewer than k rows or the widths differ.

    >>> source = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    >>> knn_distances(np.array([[2.0, 0.0]]), source, k=2).tolist()
    [1.0]
    """
    if k < 1 or len(source) < k:
        raise ValueError(f"{len(source)} source rows have no neighbour number {k}")
    if target.shape[1] != source.shape[1]:
        raise ValueError(f"target rows have {target.shape[1]} values, source rows {source.shape[1]}")
    if not unit:
        target, source = unit_rows(target), unit_rows(source)
    distances = np.empty(len(target), dtype=np.float32)
    for start in range(0, len(target), CHUNK):
        similarity = target[start : start + CHUNK] @ source.T
        nearest = np.partition(similarity, len(source) - k, axis=1)[:, len(source) - k]
        distances[start : start + CHUNK] = 1.0 - nearest
    return np.clip(distances, 0.0, 2.0)


def surprisal(distances: np.ndarray) -> np.ndarray:
    """Logarithm of k-NN distances: surprisal under the source's k-NN density, up to scale and a constant, in nats.

    >>> surprisal(np.array([1.0, 0.0])).round(3).tolist()
    [0.0, -6.908]
    """
    logs: np.ndarray = np.log(np.maximum(distances, SMALLEST_DISTANCE))
    return logs


def excess_knn_surprisal(target_distances: np.ndarray, held_out_distances: np.ndarray) -> np.ndarray:
    """How much more surprising target rows are to the source than its own held-out rows: difference of mean logs.

    Distances are (..., rows), the result (...). The cross-entropy difference of Moore & Lewis (2010) with a k-NN
    density. Directed: a target that covers little of the source costs nothing as long as it lies inside. 0 = as near as
    the source itself; log 2 = twice as far.

    >>> float(excess_knn_surprisal(np.array([0.2, 0.4]), np.array([0.1, 0.2])).round(4))  # twice as far: log 2
    0.6931
    """
    if target_distances.shape[-1] == 0 or held_out_distances.shape[-1] == 0:
        raise ValueError("no rows to compare")
    excess: np.ndarray = surprisal(target_distances).mean(-1) - surprisal(held_out_distances).mean(-1)
    return excess


def inside_support(
    target_distances: np.ndarray, held_out_distances: np.ndarray, *, coverage: float = 0.95
) -> np.ndarray:
    """(..., n) booleans: target rows within the radius that holds `coverage` of the (..., m) held-out rows.

    Their share is the precision of the target with respect to the source's support (Kynkäänniemi et al. 2019), with
    one radius.

    >>> inside_support(np.array([0.1, 0.3, 0.9, 0.8]), np.array([0.1, 0.2, 0.5]), coverage=1.0).mean()
    np.float64(0.5)
    """
    if target_distances.shape[-1] == 0 or held_out_distances.shape[-1] == 0:
        raise ValueError("no rows to compare")
    inside: np.ndarray = target_distances <= np.quantile(held_out_distances, coverage, axis=-1, keepdims=True)
    return inside


def frechet_distance(target: np.ndarray, source: np.ndarray) -> float:
    """Squared Fréchet distance between Gaussians fitted to both: ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))``.

    Sees means and covariances only, is symmetric (a narrow target counts as far) and biased upwards for small samples:
    see `frechet_infinity`. Heusel et al. 2017. Raises `ValueError` for fewer than two rows on a side.

    >>> a = np.array([[-1.0], [1.0]])
    >>> round(frechet_distance(3 + 2 * a, a), 6)  # means 3 apart; standard deviations 2 sqrt(2) and sqrt(2)
    11.0
    """
    if min(len(target), len(source)) < 2:
        raise ValueError("two rows on either side are needed for a covariance")
    first, second = np.asarray(target, dtype=np.float64), np.asarray(source, dtype=np.float64)
    covariance_1 = np.atleast_2d(np.cov(first, rowvar=False))
    covariance_2 = np.atleast_2d(np.cov(second, rowvar=False))
    # tr (S1 S2)^(1/2) from the eigenvalues of S1^(1/2) S2 S1^(1/2), which is symmetric
    values, vectors = np.linalg.eigh(covariance_1)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ covariance_2 @ root), 0, None)).sum()
    shift = first.mean(0) - second.mean(0)
    distance = shift @ shift + np.trace(covariance_1) + np.trace(covariance_2) - 2 * cross
    return float(max(distance, 0.0))


def frechet_infinity(
    target: np.ndarray, source: np.ndarray, *, n_sizes: int = 5, repeats: int = 2, seed: int = 0
) -> float:
    """Fréchet distance at infinite sample size: a straight line through FD against 1/N, read off at 0.

    Equal numbers N of rows are drawn from both sides without replacement, N between half and all of the smaller side
    (Chong & Forsyth 2020). May fall slightly below 0 for equal distributions.

    Args:
        target: (n, d) features.
        source: (m, d) features.
        n_sizes: how many values of N the line is fitted to, at most.
        repeats: draws at each of them, whose mean is used.
        seed: of the draws.

    Raises:
        ValueError: where the smallest subsample would have fewer rows than dimensions: its covariance is singular and
            the line is no line.

    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(600, 8)), rng.normal(size=(600, 8))
    >>> frechet_distance(a[:100], b[:100]) > 3 * abs(frechet_infinity(a, b))
    True
    """
    n, width = min(len(target), len(source)), target.shape[1]
    if n // 2 < max(width, 2):
        raise ValueError(f"{n} rows are fewer than the {2 * max(width, 2)} that {width} dimensions need")
    rng = np.random.default_rng(seed)
    sizes = np.unique(np.linspace(n // 2, n, n_sizes).astype(int))
    distances = [
        np.mean(
            [
                frechet_distance(
                    target[rng.choice(len(target), size, replace=False)],
                    source[rng.choice(len(source), size, replace=False)],
                )
                for _ in range(repeats)
            ]
        )
        for size in sizes
    ]
    return float(np.polyfit(1.0 / sizes, distances, 1)[1])


def trigram_counts(texts: Iterable[str]) -> Counter[str]:
    """How often every three-character string occurs; white space is collapsed, case kept, texts padded by a space.

    >>> trigram_counts(["abc", "abc  d"])["abc"]
    2
    """
    counts: Counter[str] = Counter()
    for text in texts:
        clean = f" {' '.join(text.split())} "
        counts.update(map("".join, zip(clean, clean[1:], clean[2:], strict=False)))
    return counts


def trigram_distance(target: Mapping[str, float], source: Mapping[str, float]) -> float:
    """Jensen-Shannon divergence between two trigram distributions, in bits: 0 = the same, 1 = nothing in common.

    Says which language and script, and roughly which kind, without a model (Lin 1991). Biased upwards for little text.
    Raises `ValueError` where a side is empty.

    >>> trigram_distance({"abc": 1}, {"abc": 5}), trigram_distance({"abc": 1}, {"xyz": 1})
    (0.0, 1.0)
    >>> round(trigram_distance({"abc": 1}, {"abc": 1, "xyz": 1}), 4)
    0.3113
    """
    total_1, total_2 = sum(target.values()), sum(source.values())
    if total_1 <= 0 or total_2 <= 0:
        raise ValueError("no trigrams to compare")
    keys = list(dict.fromkeys([*target, *source]))  # not a set: sums must not depend on the order of hashes
    p = np.fromiter((target.get(key, 0) / total_1 for key in keys), dtype=np.float64, count=len(keys))
    q = np.fromiter((source.get(key, 0) / total_2 for key in keys), dtype=np.float64, count=len(keys))
    return _jensen_shannon(p, q)


def texture_counts(image: np.ndarray) -> np.ndarray:
    """How often every local texture occurs in an image (h, w, 3) of bytes, (80,): contrast times pattern, in grey.

    Every pixel with eight neighbours is put into one of eight classes of contrast (root mean square of the neighbours'
    differences to it: below 1, 2, 4, ... 64, or above, out of 255) and one of ten rotation-invariant patterns (how many
    neighbours are brighter, or "mixed" where they do not lie side by side): local binary patterns with contrast, Ojala
    et al. 2002. Colour does not count. Raises `ValueError` for an image without inner pixels.

    >>> edge = np.zeros((3, 3, 3), dtype=np.uint8)
    >>> edge[:, 2] = 100  # three of eight neighbours are brighter by 100: contrast 61 is class 6
    >>> np.flatnonzero(texture_counts(edge)).tolist()
    [63]
    """
    height, width = image.shape[:2]
    if min(height, width) < 3:
        raise ValueError(f"an image of {width} × {height} pixels has no pixel with eight neighbours")
    # Sums of thousandths are exact in integers: equal pixels are equal, whatever the order of the sum.
    grey = (image.astype(np.int32) @ np.array([299, 587, 114], dtype=np.int32)).astype(np.float32) / 1000
    around = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))
    inner = grey[1:-1, 1:-1]
    steps = np.stack([grey[y : height - 2 + y, x : width - 2 + x] - inner for y, x in around])
    contrast = np.digitize(np.sqrt((steps**2).mean(0)), TEXTURE_CONTRASTS)
    brighter = steps > 0
    changes = (brighter != np.roll(brighter, 1, axis=0)).sum(0)
    pattern = np.where(changes <= 2, brighter.sum(0), 9)
    return np.bincount((contrast * 10 + pattern).ravel(), minlength=10 * (len(TEXTURE_CONTRASTS) + 1))


def texture_distance(target: np.ndarray, source: np.ndarray) -> float:
    """Jensen-Shannon divergence between two counts of textures (`texture_counts`), in bits: 0 = the same, 1 = disjoint.

    Says without a model whether images have the fine structure of the source's: smooth, drawn and flat images have not,
    whatever the network makes of them. Raises `ValueError` where a side is empty.

    >>> texture_distance(np.array([3, 0]), np.array([1, 0])), texture_distance(np.array([3, 0]), np.array([0, 2]))
    (0.0, 1.0)
    """
    total_1, total_2 = target.sum(), source.sum()
    if total_1 <= 0 or total_2 <= 0:
        raise ValueError("no textures to compare")
    return _jensen_shannon(target / total_1, source / total_2)


def _jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    return max(_entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2, 0.0)


def _entropy(probabilities: np.ndarray) -> float:
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log2(positive)).sum())
