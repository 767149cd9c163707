"""Linear probes on frozen features: every block, and the feature-based variants, cross-validated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from advisor.measures.features import take_rows
from tuner.errors import DataError
from tuner.names import feature_words
from tuner.records import Record
from tuner.tasks.heads import (
    FEATURES,
    L2_GRID,
    cross_validate,
    feature_blocks,
    fit_head,
    fits,
    is_weighted,
    select_features,
)
from tuner.tasks.metrics import Scored, scores_by_metric
from tuner.tasks.tags import OUTSIDE

if TYPE_CHECKING:
    from advisor.measures.features import BlockFeatures
    from tuner.model.backbone import Features
    from tuner.records import Progress
    from tuner.tasks.heads import LinearHead
    from tuner.tasks.truth import Truth

FOLDS = 5
WORD_FOLDS = 3
"""Folds of sentences whose words are probed: at equal cost, three of more sentences tell more than five of fewer."""
WORD_L2_GRID = (300.0, 100.0, 30.0)
"""Penalties of probes on words: there are more rows than of texts, and the best one lay between these on real sets."""
CURVE_PARTS = (8, 4, 2, 1)
CURVE_REPEATS = 3


@dataclass(frozen=True, kw_only=True)
class Probe(Record):
    """One probe's cross-validated score; ``block`` is None for variants that read several blocks.

    ``metrics`` are the scores of classes by every metric, which the best probe and the last block's have.
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


def probe_folds(features: BlockFeatures, *, seed: int) -> np.ndarray:
    """The fold of every row that probes and baselines learn from (`BlockFeatures.n_probed`)."""
    if features.tagged is None:
        return assign_folds(features.labels, groups=features.groups, seed=seed)
    return sentence_folds(features.labels[: features.n_probed], groups=features.probed_groups, seed=seed)


def sentence_folds(strata: np.ndarray, *, groups: np.ndarray | None, seed: int) -> np.ndarray:
    """(n,) fold numbers of sentences, equal sentences in one fold, those of a stratum spread.

    >>> folds = sentence_folds(np.array([0, 0, 0, 1, 1, 1]), groups=np.array([0, 0, 1, 2, 3, 4]), seed=0)
    >>> bool(folds[0] == folds[1]), int(folds.max()) + 1
    (True, 3)
    """
    if groups is None:
        return assign_folds(strata, n_folds=WORD_FOLDS, seed=seed)
    _, first, unit = np.unique(groups, return_index=True, return_inverse=True)
    return assign_folds(strata[first], n_folds=WORD_FOLDS, seed=seed)[unit]


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """What probes learn from. A row is a text, an image, or a sentence, which has a place for each of its words.

    ``x`` are the features of the places that the model sees, of every block; ``at`` (N,) is where in them a place
    stands, -1 for one that it does not see. ``folds`` are of rows.
    """

    x: Features
    at: np.ndarray
    truth: Truth
    folds: np.ndarray
    n_classes: int

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where the labels of some rows stand."""
        return self.truth.places(rows)

    @property
    def seen(self) -> np.ndarray:
        return np.asarray(self.at >= 0)

    def cross_validated(self, name: str, *, l2: Sequence[float]) -> tuple[np.ndarray, float]:
        """Out-of-fold predictions of a feature variant's probe, for every place, and its penalty."""
        folds = self.truth.spread(self.folds)
        fitted = cross_validate(
            select_features(self.x, name=name),
            self.truth.labels[self.seen],
            n_classes=self.n_classes,
            folds=folds[self.seen],
            l2=l2,
            weighted=is_weighted(name),
        )
        return self._everywhere(fitted.predictions, np.flatnonzero(self.seen)), fitted.l2

    def fit(self, name: str, rows: np.ndarray, *, l2: float) -> LinearHead | None:
        """A probe on some rows; None where they show one class only."""
        places = self.places(rows)
        places = places[self.at[places] >= 0]
        labels = self.truth.labels[places]
        if len(np.unique(labels)) < 2:
            return None
        x = take_rows(select_features(self.x, name=name), self.at[places])
        return fit_head(x, labels, n_classes=self.n_classes, l2=l2)

    def predict(self, head: LinearHead, name: str, rows: np.ndarray) -> np.ndarray:
        """Predictions for the places of some rows, in their order."""
        at = self.at[self.places(rows)]
        seen = np.flatnonzero(at >= 0)
        x = take_rows(select_features(self.x, name=name), at[seen])
        return self._everywhere(head.logits(x).argmax(1), seen, n=len(at))

    def _everywhere(self, predictions: np.ndarray, seen: np.ndarray, n: int | None = None) -> np.ndarray:
        """Predictions with those of places that the model does not see, which are outside of entities."""
        whole = np.full(len(self.at) if n is None else n, OUTSIDE, dtype=np.int64)
        whole[seen] = predictions
        return whole


def _rows_of(features: BlockFeatures, *, n_classes: int, metric: str, seed: int) -> _Rows:
    tagged = features.tagged
    if tagged is None:
        x, seen = features.features, np.ones(len(features.labels), dtype=bool)
    else:
        # Single precision once, since every fit would convert them again.
        x, seen = tuple(block[tagged.seen].astype(np.float32) for block in tagged.features), tagged.seen
    return _Rows(
        x=x,
        at=np.where(seen, np.cumsum(seen) - 1, -1),
        truth=features.truth(metric),
        folds=probe_folds(features, seed=seed),
        n_classes=n_classes,
    )


def probe_blocks(
    features: BlockFeatures,
    *,
    n_classes: int,
    metric: str = "accuracy",
    seed: int = 0,
    progress: Progress | None = None,
) -> ProbeProfile:
    """Cross-validate a linear probe on every block and feature variant, and draw the best block's learning curve.

    Of tagged sentences the probes classify words, each by its own state, and are scored by whole entities; variants
    of several blocks then take the penalty of the best single one, since trying others would cost minutes.
    """
    rows = _rows_of(features, n_classes=n_classes, metric=metric, seed=seed)
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
        grid: Sequence[float] = L2_GRID if features.tagged is None else WORD_L2_GRID
        if features.tagged is not None and len(blocks) > 1:
            grid = (max(probes, key=lambda probe: probe.score).l2,)
        predictions, l2 = rows.cross_validated(name, l2=grid)
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
    if features.tagged is None:
        truth = rows.truth
        for place, probe in enumerate(probes):
            if probe.features in named:
                scores = scores_by_metric(truth.labels, predicted[probe.features], groups=truth.groups, seed=seed)
                probes[place] = replace(probe, metrics=scores)
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
        unit="row" if features.tagged is None else "sentence",
    )


def _learning_curve(rows: _Rows, *, probe: Probe, seed: int) -> tuple[CurvePoint, ...]:
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
