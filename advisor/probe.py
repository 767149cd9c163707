"""Linear probes on frozen features: every block, and the feature-based variants, cross-validated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.features import take_rows
from tuner.errors import DataError
from tuner.heads import FEATURES, cross_validate, feature_blocks, fit_head, fits, is_weighted, select_features
from tuner.metrics import bootstrap_scores, interval, score
from tuner.records import Record

if TYPE_CHECKING:
    from advisor.features import BlockFeatures
    from tuner.records import Progress

FOLDS = 5
CURVE_PARTS = (8, 4, 2, 1)
CURVE_REPEATS = 3


@dataclass(frozen=True, kw_only=True)
class Probe(Record):
    """One probe's cross-validated score; ``block`` is None for variants that read several blocks."""

    features: str
    block: int | None
    score: float
    interval: tuple[float, float]
    l2: float


@dataclass(frozen=True, kw_only=True)
class CurvePoint(Record):
    """Score of the probe when it is trained on ``n`` rows, and what it gained over the point before, paired by rows."""

    n: int
    score: float
    interval: tuple[float, float]
    gain: float | None = None
    gain_interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class ProbeProfile(Record):
    """All probes of a dataset, the head-only one named, and the learning curve of the best single block."""

    metric: str
    n_rows: int
    folds: int
    probes: tuple[Probe, ...]
    head_only: Probe
    best: Probe
    learning_curve: tuple[CurvePoint, ...]
    curve_features: str


def assign_folds(
    labels: np.ndarray, *, groups: np.ndarray | None = None, n_folds: int = FOLDS, seed: int
) -> np.ndarray:
    """(n,) fold numbers, stratified by class; with groups, a group's rows share a fold.

    Raises `DataError` where too few groups leave one class to learn from.
    A class with fewer rows than folds is spread over as many as it has. Without groups every class is shuffled and
    dealt out in turn, starting where the last class stopped, so that the folds stay equally large.
    """
    if groups is not None:
        return _group_folds(labels, groups=groups, n_folds=n_folds, seed=seed)
    generator = np.random.default_rng(seed)
    order = np.concatenate([generator.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    folds = np.empty(len(labels), dtype=np.int64)
    folds[order] = np.arange(len(labels)) % n_folds
    return folds


def _group_folds(labels: np.ndarray, *, groups: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    from sklearn.model_selection import StratifiedGroupKFold

    n_folds = min(n_folds, len(np.unique(groups)), int(np.bincount(labels).max()))
    folds = np.zeros(len(labels), dtype=np.int64)
    if n_folds >= 2:
        splitter = StratifiedGroupKFold(n_splits=n_folds, shuffle=True, random_state=seed)
        for fold, (_, held_out) in enumerate(splitter.split(labels, labels, groups)):
            folds[held_out] = fold
    if n_folds < 2 or any(len(np.unique(labels[folds != fold])) < 2 for fold in range(n_folds)):
        raise DataError(
            f"the training rows form {len(np.unique(groups)):,} groups (equal texts, or those of --group): too few to "
            "be cross-validated",
            why="with one group held out, the rows that are left show one class only",
            fix="add different texts, or pass --group with a column of more and smaller groups",
        )
    return folds


def probe_blocks(
    features: BlockFeatures,
    *,
    n_classes: int,
    metric: str = "accuracy",
    seed: int = 0,
    progress: Progress | None = None,
) -> ProbeProfile:
    """Cross-validate a linear probe on every block and feature variant, and draw the best block's learning curve."""
    folds = assign_folds(features.labels, groups=features.groups, seed=seed)
    n_blocks = len(features.features)
    # The last block, the second to last and the stem are single blocks: probed once, shown under their block number.
    names = [f"block_{block}" for block in range(n_blocks)]
    widths = [block.shape[1] for block in features.features]
    names += [n for n in FEATURES if len(feature_blocks(n, n_blocks=n_blocks)) > 1 and fits(n, widths=widths)]
    probes = []
    for done, name in enumerate(names):
        if progress is not None:
            progress(f"probing: {name.replace('_', ' ')}", done / len(names))
        blocks = feature_blocks(name, n_blocks=n_blocks)
        fitted = cross_validate(
            select_features(features.features, name=name),
            features.labels,
            n_classes=n_classes,
            folds=folds,
            weighted=is_weighted(name),
        )
        probes.append(
            Probe(
                features="last" if name == f"block_{n_blocks - 1}" else name,
                block=blocks[0] if len(blocks) == 1 else None,
                score=score(features.labels, fitted.predictions, metric=metric),
                interval=interval(
                    features.labels, fitted.predictions, metric=metric, groups=features.groups, seed=seed
                ),
                l2=fitted.l2,
            )
        )
    head_only = next(probe for probe in probes if probe.features == "last")
    best_block = max((probe for probe in probes if probe.block is not None), key=lambda probe: probe.score)
    return ProbeProfile(
        metric=metric,
        n_rows=len(features.labels),
        folds=int(folds.max()) + 1,
        probes=tuple(probes),
        head_only=head_only,
        best=max(probes, key=lambda probe: probe.score),
        learning_curve=learning_curve(features, probe=best_block, n_classes=n_classes, metric=metric, seed=seed),
        curve_features=best_block.features,
    )


def learning_curve(
    features: BlockFeatures, *, probe: Probe, n_classes: int, metric: str, seed: int
) -> tuple[CurvePoint, ...]:
    """Scores of one block's probe trained on an eighth, a quarter, a half and all of the rows that are not held out.

    Three folds of five are held out in turn; smaller training sets are nested in larger ones, so the curve's
    points differ by size alone.
    """
    folds = assign_folds(features.labels, groups=features.groups, seed=seed)
    x = select_features(features.features, name=probe.features)
    points: list[CurvePoint] = []
    before: dict[int, np.ndarray] = {}
    for part in CURVE_PARTS:
        predicted, sizes = {}, []
        for fold in range(min(CURVE_REPEATS, int(folds.max()) + 1)):
            # Rows come in random order (see `sample_rows`), so the first n are a random sample of the others.
            train = np.flatnonzero(folds != fold)
            train = train[: max(len(train) // part, 2)]
            if len(np.unique(features.labels[train])) < 2:
                continue
            head = fit_head(take_rows(x, train), features.labels[train], n_classes=n_classes, l2=probe.l2)
            predicted[fold] = head.logits(take_rows(x, folds == fold)).argmax(1)
            sizes.append(len(train))
        if not predicted:
            continue
        options = {"metric": metric, "groups": _held_out(features.groups, folds, predicted), "seed": seed}
        labels, now = _held_out(features.labels, folds, predicted), np.concatenate(list(predicted.values()))
        gain, gain_interval = None, None
        if before.keys() == predicted.keys():
            then = np.concatenate(list(before.values()))
            gain = score(labels, now, metric=metric) - score(labels, then, metric=metric)
            draws = bootstrap_scores(labels, now, **options) - bootstrap_scores(labels, then, **options)
            low, high = np.quantile(draws, [0.025, 0.975])
            gain_interval = float(low), float(high)
        points.append(
            CurvePoint(
                n=round(float(np.mean(sizes))),
                score=score(labels, now, metric=metric),
                interval=interval(labels, now, **options),
                gain=gain,
                gain_interval=gain_interval,
            )
        )
        before = predicted
    return tuple(points)


def _held_out(values: Any, folds: np.ndarray, chosen: Iterable[int]) -> Any:
    """The values of the rows in these folds, fold after fold; None stays None."""
    return None if values is None else np.concatenate([values[folds == fold] for fold in chosen])
