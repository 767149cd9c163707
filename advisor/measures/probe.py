"""Linear probes on frozen features: every block, and the feature-based variants, cross-validated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tuner.names import feature_words
from tuner.records import Record
from tuner.tasks.heads import FEATURES, feature_blocks, fits
from tuner.tasks.metrics import Scored

if TYPE_CHECKING:
    from advisor.measures.features import BlockFeatures
    from advisor.measures.probed import ProbedRows
    from tuner.records import Progress
    from tuner.tasks.base import Task

CURVE_PARTS = (8, 4, 2, 1)
CURVE_REPEATS = 3


@dataclass(frozen=True, kw_only=True)
class Probe(Record):
    """One probe's cross-validated score; ``block`` is None for variants that read several blocks.

    ``metrics`` are the scores by every metric that there is; the best probe and the last block's have them.
    """

    features: str
    block: int | None
    score: float
    interval: tuple[float, float]
    l2: float
    metrics: Mapping[str, Scored] = field(default_factory=dict)


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
    unit: str = "row"


def probe_blocks(
    features: BlockFeatures,
    *,
    task: Task,
    metric: str = "accuracy",
    seed: int = 0,
    progress: Progress | None = None,
) -> ProbeProfile:
    """Cross-validate a linear probe on every block and feature variant, and draw the best block's learning curve.

    What a probe learns and how it is scored is a matter of the features (`BlockFeatures.probed`).

    Args:
        features: of the sampled rows.
        task: what a probe learns to predict.
        metric: what the probes are scored by.
        seed: draws the folds and the intervals.
        progress: told which variant is being probed.
    """
    rows = features.probed(task=task, metric=metric, seed=seed)
    n_blocks = len(features.features)
    # The last block, the second to last and the stem are single blocks: probed once, shown under their block number.
    names = [f"block_{block}" for block in range(n_blocks)]
    widths = [block.shape[1] for block in features.features]
    names += [n for n in FEATURES if len(feature_blocks(n, n_blocks=n_blocks)) > 1 and fits(n, widths=widths)]
    probes: list[Probe] = []
    predicted: dict[str, np.ndarray] = {}
    for done, name in enumerate(names):
        if progress is not None:
            progress(f"probing: {feature_words(name)}", done / len(names))
        blocks = feature_blocks(name, n_blocks=n_blocks)
        best_l2 = max(probes, key=lambda probe: probe.score).l2 if probes else None
        penalties = rows.penalties(single=len(blocks) == 1, best=best_l2)
        predictions, l2 = rows.cross_validated(name, l2=penalties)
        features_name = "last" if name == f"block_{n_blocks - 1}" else name
        predicted[features_name] = predictions
        probes.append(
            Probe(
                features=features_name,
                block=blocks[0] if len(blocks) == 1 else None,
                score=rows.truth.score(predictions),
                interval=rows.truth.interval(predictions, seed=seed),
                l2=l2,
            )
        )
    named = {"last", max(probes, key=lambda probe: probe.score).features}
    for place, probe in enumerate(probes):
        if probe.features in named:
            probes[place] = replace(probe, metrics=rows.by_metric(predicted[probe.features], seed=seed))
    head_only = next(probe for probe in probes if probe.features == "last")
    best_block = max((probe for probe in probes if probe.block is not None), key=lambda probe: probe.score)
    return ProbeProfile(
        metric=metric,
        n_rows=features.n_probed,
        folds=int(rows.folds.max()) + 1,
        probes=tuple(probes),
        head_only=head_only,
        best=max(probes, key=lambda probe: probe.score),
        learning_curve=_learning_curve(rows, probe=best_block, seed=seed),
        curve_features=best_block.features,
        unit=rows.unit,
    )


def _learning_curve(rows: ProbedRows, *, probe: Probe, seed: int) -> tuple[CurvePoint, ...]:
    """Scores of one block's probe trained on an eighth, a quarter, a half and all of the rows that are not held out.

    Three folds are held out in turn; smaller training sets are nested in larger ones, so the curve's points differ by
    size alone.
    """
    points: list[CurvePoint] = []
    before: dict[int, np.ndarray] = {}
    for part in CURVE_PARTS:
        predicted, sizes = {}, []
        for fold in range(min(CURVE_REPEATS, int(rows.folds.max()) + 1)):
            # Rows come in random order (see `sample_rows`), so the first n are a random sample of the others.
            train = np.flatnonzero(rows.folds != fold)
            train = train[: max(len(train) // part, 2)]
            head = rows.fit(probe.features, train, l2=probe.l2)
            if head is None:
                continue
            predicted[fold] = rows.predict(head, probe.features, np.flatnonzero(rows.folds == fold))
            sizes.append(len(train))
        if not predicted:
            continue
        truth = rows.truth.take(np.concatenate([np.flatnonzero(rows.folds == fold) for fold in predicted]))
        now = np.concatenate(list(predicted.values()))
        gain, gain_interval = None, None
        if before.keys() == predicted.keys():
            then = np.concatenate(list(before.values()))
            gain = truth.score(now) - truth.score(then)
            low, high = np.quantile(truth.draws(now, seed=seed) - truth.draws(then, seed=seed), [0.025, 0.975])
            gain_interval = float(low), float(high)
        points.append(
            CurvePoint(
                n=round(float(np.mean(sizes))),
                score=truth.score(now),
                interval=truth.interval(now, seed=seed),
                gain=gain,
                gain_interval=gain_interval,
            )
        )
        before = predicted
    return tuple(points)
