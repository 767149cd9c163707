"""A user's own runs sharpen the shipped evidence: the mean of a model's gains, conditioned on what they scored."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from advisor.evidence.own import KINDS, OwnRun, OwnScore, read_own
from advisor.evidence.predictions import (
    TRAINED_SHARE,
    Prediction,
    expect,
    for_model,
    item_weights,
    predict_scores,
    rows_seen,
)
from advisor.evidence.table import Evidence, load_evidence
from advisor.measures.probe import Probe
from tuner.errors import DataError
from tuner.records import Record
from tuner.search.expectations import USUAL_CORRELATION
from tuner.search.gaussian import Floats, condition, logit
from tuner.tasks.heads import feature_blocks
from tuner.tasks.metrics import METRICS

LENGTH_SD = 0.15
"""Spread, in log odds, of what training e times as long, or as short, as the runs of the evidence changes. A judgement,
not a measurement: an eighth of the steps, as short budgets buy, then counts with a spread of 0.3, some 5 points."""

FINAL_SD = 0.1
"""Spread, in log odds, of what fitting the winner again on all labelled rows and averaging seeds changes: half a point
to two and a half in measured sets."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one dataset says of the evidence's k items.

    ``gains`` (m,) are in log odds over the probe, ``of`` (m, k) are the items that each is made of, and ``noise``
    (m, m) is the covariance of their noise.
    """

    gains: Floats
    of: Floats
    noise: Floats
    n: int


def sharpen(evidence: Evidence, own: Sequence[OwnRun], *, model: str, unlike: str | None = None) -> Evidence:
    """Update the evidence for one model with the user's own runs of it.

    The gains of a dataset are the model's mean gains and what is particular to the dataset. Own runs are further
    datasets, so they speak of the mean, of which the shipped evidence is the prior: with it they share what is not
    known of the mean, and nothing else. That is so much that a dataset of the user's weighs as much as one of the
    evidence; of another model, the level of all candidates together is learned faster, by all by which it is unknown.

    Args:
        evidence: what is shipped for this kind of data.
        own: the user's runs of the model.
        model: its name.
        unlike: what kind of task this is where the shipped evidence is of another one.
    """
    measured = [found for run in own if (found := measure(run, evidence)) is not None]
    if not measured:
        return evidence
    settled = for_model(evidence, model=model, unlike=unlike)
    prior = unknown_of_mean(settled)
    shift, left = posterior_of_mean(settled, measured, prior=prior)
    known = 0.0 if settled.learned is None else np.asarray(settled.learned)
    return replace(
        settled,
        mean=tuple((np.asarray(settled.mean) + shift).tolist()),
        learned=tuple(map(tuple, (known + prior - left).tolist())),
        own_runs=len(measured),
    )


def unknown_of_mean(evidence: Evidence) -> Floats:
    """The (k, k) covariance of what is not known of a model's mean gains, which all its datasets have in common.

    The evidence is for that model (`for_model`). How candidates compare carries over between models, the level less.
    """
    shape = (np.asarray(evidence.between) + np.asarray(evidence.within)) / evidence.wider_by**2
    known = 0.0 if evidence.learned is None else np.asarray(evidence.learned)
    unknown: Floats = unknown_level(evidence) + shape / (len(evidence.datasets) + 1) - known
    return unknown


def unknown_level(evidence: Evidence) -> float:
    """The variance of the level of a model's mean gains, before anything was measured with it.

    It is taken at the number of rows where levels vary least, since all sizes share it.
    """
    shared = 1 - evidence.wider_by**-2 if evidence.wider_by > 1 else 1 / (len(evidence.datasets) + 1)
    return shared * min(evidence.level)


def posterior_of_mean(evidence: Evidence, measured: Sequence[Measured], *, prior: Floats) -> tuple[Floats, Floats]:
    """The (k,) shift of the mean gains and the (k, k) covariance of what is left unknown of it.

    Args:
        evidence: for the model, before.
        measured: what the datasets say.
        prior: (k, k) covariance of what is not known of the mean before.
    """
    size = sum(len(found.gains) for found in measured)
    noise = np.zeros((size, size))
    left = []
    start = 0
    for found in measured:
        mean, covariance = evidence.gains(found.n)
        end = start + len(found.gains)
        # What is particular to the dataset is noise to the mean.
        noise[start:end, start:end] = found.of @ (covariance - prior) @ found.of.T + found.noise
        left.append(found.gains - found.of @ mean)
        start = end
    of = np.concatenate([found.of for found in measured])
    return condition(np.zeros(len(prior)), prior, observed=np.concatenate(left), of=of, noise=noise)


def measure(run: OwnRun, evidence: Evidence) -> Measured | None:
    """A run's scores as gains over its own probe; None where it tried nothing that the evidence has items for.

    Validation scores are of the same rows, so their noise goes together; the winner's test score, which no choice has
    flattered, has noise of its own. Recipes of other lengths than the evidence's measure the same less well.
    """
    reference = run.probes.get(evidence.probe, run.probes.get("last"))
    known = [(score, of) for score in run.scores if (of := weights_of(score, run.n_blocks, evidence)) is not None]
    validated = len(known)
    if (of := weights_of(run.tested, run.n_blocks, evidence)) is not None:
        known.append((run.tested, of))
    if reference is None or not known:
        return None
    rows = np.array([run.n_validation] * validated + [run.n_test] * (len(known) - validated))
    values = np.array([float(logit(score.score, n=int(n))) for (score, _), n in zip(known, rows, strict=True)])
    chance = 1 / (1 + np.exp(-values))
    spread = 1 / np.sqrt(rows * chance * (1 - chance))
    other_recipe = np.array([_length_sd(score, n=run.n) for score, _ in known])
    noise = np.diag(spread**2 + other_recipe**2)
    noise[validated:, validated:] += FINAL_SD**2
    same_rows = USUAL_CORRELATION * np.outer(spread, spread)[:validated, :validated]
    noise[:validated, :validated] += same_rows - np.diag(np.diag(same_rows))
    gains = values - float(logit(reference, n=run.n))
    return Measured(gains=gains, of=np.stack([of for _, of in known]), noise=noise, n=run.n)


def weights_of(score: OwnScore, n_blocks: int, evidence: Evidence) -> Floats | None:
    """How the evidence's k items make up what was scored, as (k,) weights; None for what they cannot.

    A learning rate between the two of the evidence lies between them on a log scale, one beyond them at the nearer.
    """
    candidate = score.candidate
    plain = (candidate.start, candidate.augmentation, candidate.option, candidate.head, candidate.top)
    if plain != ("pretrained", None, None, "own", "linear"):
        return None
    if not candidate.trains_blocks:
        name = "last" if candidate.features is None else _named(candidate.features, n_blocks)
        return np.eye(len(evidence.items))[evidence.items.index(name)] if name in evidence.items else None
    if score.learning_rate is None:
        return None
    low, high = (math.log(evidence.rates[rate]) for rate in ("low", "high"))
    way = float(np.clip((math.log(score.learning_rate) - low) / (high - low), 0, 1))
    share = (candidate.frozen_blocks or 0) / n_blocks
    return (1 - way) * item_weights(evidence, share, "low") + way * item_weights(evidence, share, "high")


def _named(features: str, n_blocks: int) -> str:
    """Features by the name that the evidence has for them: single blocks may be the first or the last but one.

    >>> _named("block_0", 7), _named("block_5", 7), _named("block_3", 7)
    ('embeddings', 'second_to_last', 'block_3')
    """
    if not features.startswith("block_"):
        return features
    known = {feature_blocks(name, n_blocks=n_blocks): name for name in ("embeddings", "second_to_last", "last")}
    return known.get(feature_blocks(features, n_blocks=n_blocks), features)


def _length_sd(score: OwnScore, *, n: int) -> float:
    """Spread for training on more rows, repeats included, than the evidence did, or on fewer."""
    if not score.candidate.trains_blocks:
        return 0.0
    usual = rows_seen(round(TRAINED_SHARE * n))
    return LENGTH_SD * abs(math.log((score.rows_seen or usual) / usual))


# --- what it changed


@dataclass(frozen=True, kw_only=True)
class Change(Record):
    """What own runs changed for a candidate, at the probe that they had on average: expected scores and intervals."""

    candidate: str
    share_frozen: float
    before: float
    after: float
    interval_before: tuple[float, float]
    interval_after: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Effect(Record):
    """What the user's own runs of one model and kind of task change, for data as theirs was on average."""

    model: str
    kind: str
    metric: str
    runs: int
    n: int
    probe: float
    said: str
    advised_before: str
    advised_after: str
    changes: tuple[Change, ...]


def unlike(kind: str) -> str | None:
    """The nouns of a kind of task whose shipped evidence is of another kind; None where it is of its own."""
    labelled = KINDS[kind]
    return labelled.nouns if labelled.shipped != kind else None


def effect(evidence: Evidence, own: Sequence[OwnRun]) -> Effect:
    """Expected scores of depths and heads before and after some runs of one model, kind and metric."""
    first = own[0]
    task = unlike(first.kind)
    sharpened = sharpen(evidence, own, model=first.model, unlike=task)
    probes = _mean_probes([run.probes for run in own])
    n = round(math.exp(np.mean([math.log(run.n) for run in own])))
    both = [
        predict_scores(
            expect(some, probes, n=n, n_blocks=first.n_blocks, model=first.model, unlike=task), n_blocks=first.n_blocks
        )
        for some in (evidence, sharpened)
    ]
    before, after = ({found.candidate: found for found in predictions} for predictions in both)
    changes = [
        _change(before[candidate], after[candidate], n_blocks=first.n_blocks)
        for candidate in sorted(before, key=lambda c: (c.frozenness(first.n_blocks), c.features or ""))
    ]
    level = next((p for p in probes if p.features == evidence.probe), probes[0])
    return Effect(
        model=first.model,
        kind=first.kind,
        metric=first.metric,
        runs=sharpened.own_runs,
        n=n,
        probe=level.score,
        said=sharpened.said,
        advised_before=both[0][0].candidate.label(first.n_blocks),
        advised_after=both[1][0].candidate.label(first.n_blocks),
        changes=tuple(changes),
    )


def effects() -> tuple[tuple[Effect, ...], tuple[str, ...]]:
    """What the user's own runs change, by model, kind and metric, and a warning for each file that was left out."""
    found, warnings = read_own()
    groups: dict[tuple[str, str, str], list[OwnRun]] = {}
    for run in found:
        groups.setdefault((run.model_fingerprint, run.kind, run.metric), []).append(run)
    return tuple(effect(shipped_for(kind), own) for (_, kind, _), own in groups.items()), warnings


def shipped_for(kind: str) -> Evidence:
    """The shipped evidence nearest to a kind of task: that on texts serves pairs too."""
    return load_evidence(KINDS[kind].shipped)


def check_useful(run: OwnRun, *, folder: Path) -> None:
    """Raise `DataError` for a run that tried nothing that the evidence knows."""
    if measure(run, shipped_for(run.kind)) is None:
        tried = ", ".join(dict.fromkeys(s.candidate.label(run.n_blocks) for s in (*run.scores, run.tested)))
        raise DataError(
            f"{folder} holds no candidate that the evidence knows: {tried}",
            why="evidence is of freeze depths, head only and mixes of blocks, trained from pretrained weights",
            fix="add a run that was not limited to these by --strategy",
        )


def effect_lines(found: Effect) -> list[str]:
    """Say what own runs change, as the lines of a small table."""
    by = "" if found.metric == METRICS[0] else f" by {found.metric}"
    lines = [f"{found.model} on {KINDS[found.kind].nouns}{by}, from {found.said}"]
    lines.append(f"  at {found.n:,} labelled rows and a probe score of {100 * found.probe:.1f} %, expected score:")
    width = max(len(change.candidate) for change in found.changes)
    for change in found.changes:
        (low, high), (new_low, new_high) = change.interval_before, change.interval_after
        lines.append(
            f"  {change.candidate:<{width}}  {100 * change.before:5.1f} -> {100 * change.after:5.1f} "
            f"({100 * (change.after - change.before):+5.1f} points)   "
            f"[{100 * low:.0f}, {100 * high:.0f}] -> [{100 * new_low:.0f}, {100 * new_high:.0f}]"
        )
    if found.advised_before == found.advised_after:
        lines.append(f"  advised, before and now: {found.advised_after}")
    else:
        lines.append(f"  advised before: {found.advised_before}; now: {found.advised_after}")
    return lines


def _mean_probes(measured: Sequence[Mapping[str, float]]) -> tuple[Probe, ...]:
    """The probes that all runs have, at their mean scores."""
    common = [name for name in measured[0] if all(name in probes for probes in measured)]
    means = {name: float(np.mean([probes[name] for probes in measured])) for name in common}
    return tuple(Probe(features=n, block=None, score=s, interval=(s, s), l2=1.0) for n, s in means.items())


def _change(before: Prediction, after: Prediction, *, n_blocks: int) -> Change:
    return Change(
        candidate=before.candidate.label(n_blocks),
        share_frozen=before.candidate.frozenness(n_blocks) / n_blocks,
        before=before.score,
        after=after.score,
        interval_before=before.interval,
        interval_after=after.interval,
    )
