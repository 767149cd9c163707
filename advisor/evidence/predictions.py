"""Evidence and the probes measured here become an expected score, with an interval, for every candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from advisor.evidence.table import LINEAR, Evidence, share_of, trained
from advisor.measures.probe import Probe
from tuner.names import feature_words
from tuner.records import Record
from tuner.search.expectations import Expectations
from tuner.search.gaussian import Floats, condition, expected_score, logit, score_at
from tuner.search.space import Candidate, candidate_at

EPOCHS, MOST_STEPS, BATCH, LEAST_EPOCHS = 20, 400, 16, 3
"""How long the runs of the evidence trained: so many epochs, cut to so many steps of so many rows, and to no fewer than
three epochs."""
SCRATCH_ROWS = 5_000
"""Labelled rows from which fresh weights are predicted: they were measured on 10,000."""
TRAINED_SHARE = 0.8
"""Of the labelled rows of a task of the evidence, as in a search; the others validate."""
NORMAL_80 = 1.2816
"""Half the width of an 80 % interval in standard deviations."""
CONTRAST_NOISE = 3.0
"""Noise of the difference of two cross-validated probes on the same rows, in binomial variances of one."""
STRANGER = 1.5
"""By how much the spread grows where a model has no evidence of its own: the measured coverage of such intervals
(docs/scoreboard.md) says so."""


@dataclass(frozen=True, kw_only=True)
class Prediction(Record):
    """What a candidate is expected to score on test rows, before it was trained, with an 80 % interval.

    ``learning_rate`` is the one that the expectation is of; None where no block is trained. ``cost`` is the time of a
    run against that of training everything; ``seconds`` the same on this machine, None where that is not known.
    """

    candidate: Candidate
    score: float
    interval: tuple[float, float]
    learning_rate: float | None
    cost: float
    seconds: float | None
    why: str


def rows_seen(n: int) -> int:
    """How many rows a run of the evidence trained on, repeats included.

    That is `EPOCHS` epochs, but no more than `MOST_STEPS` steps of `BATCH` rows, and at least `LEAST_EPOCHS` epochs.

    >>> rows_seen(100), rows_seen(1_000), rows_seen(10_000)
    (2000, 6400, 30000)
    """
    return max(min(EPOCHS * n, MOST_STEPS * BATCH), LEAST_EPOCHS * n)


def for_model(evidence: Evidence, *, model: str, unlike: str | None = None) -> Evidence:
    """Fit the evidence to one model.

    It is at the model's own level where some of it was measured with the model, else with the mean of the models that
    it is of, the nearest, and wider.

    Args:
        evidence: of the same kind of data.
        model: its name; what stands before the last slash does not count.
        unlike: what kind of task this is where the evidence is of another one.
    """
    name = model.rstrip("/").rpartition("/")[2]
    if evidence.settled:
        return evidence
    if unlike is None and name in evidence.models:
        return replace(evidence, settled=True)
    wide = replace(evidence.widened(STRANGER), settled=True)
    known = next((other for other in evidence.others if other.model == name and unlike is None), None)
    if known is None:
        return wide
    k = len(evidence.items)
    learned = tuple((known.learned,) * k for _ in range(k))
    return replace(wide, mean=tuple(value + known.shift for value in evidence.mean), learned=learned, other=known)


def is_stranger(evidence: Evidence, *, model: str, unlike: str | None) -> bool:
    """Whether nothing of the evidence was measured with this model, or nothing on this kind of task."""
    measured = (*evidence.models, *(other.model for other in evidence.others))
    return unlike is not None or model.rstrip("/").rpartition("/")[2] not in measured


def expect(
    evidence: Evidence,
    probes: Sequence[Probe],
    *,
    n: int,
    n_blocks: int,
    model: str,
    rates: Mapping[str, float] | None = None,
    unlike: str | None = None,
) -> Expectations:
    """What every freeze depth, head only and the feature variants are expected to score, jointly, in log odds.

    The probe measured here sets the level; the evidence sets what each candidate gains over it. A depth is a share of
    the blocks, so that models of different depth share evidence: between two measured shares, both speak.

    Args:
        evidence: of the same kind of data.
        probes: the cross-validated probes measured here.
        n: labelled rows.
        n_blocks: blocks of the model.
        model: its name, to tell whether the evidence is of it.
        rates: the learning rates that low and high stand for in this model; those of the evidence by default.
        unlike: what kind of task this is where the evidence is of another one.
    """
    strange = not evidence.own_runs and is_stranger(evidence, model=model, unlike=unlike)
    evidence = for_model(evidence, model=model, unlike=unlike)
    measured = {probe.features: probe for probe in probes}
    reference = measured.get(evidence.probe) or measured["last"]
    level = float(logit(reference.score, n=n))
    gains, covariance = evidence.gains(n)
    why = f"{evidence.said}; level from the probe {feature_words(reference.features)}"
    if strange:
        what = "this model" if unlike is None else unlike
        why += f"; none of it is of {what}, so the interval is wider"
    candidates: list[Candidate] = []
    at_rates: list[float | None] = []
    rows: list[Floats] = []
    means: list[float] = []
    certainty: list[float] = []
    for features in LINEAR:
        if features in evidence.items and features in measured and not (features != "last" and n_blocks == 1):
            place = evidence.items.index(features)
            mean, sd = _of_linear(
                gains, covariance, place=place, reference=evidence.items.index(evidence.probe),
                contrast=float(logit(measured[features].score, n=n) - level), score=reference.score, n=n,
            )  # fmt: skip
            strategy = "head_only" if features == "last" else "feature_based"
            depth = n_blocks if features == "last" else None
            named = None if features == "last" else features
            candidates.append(Candidate(strategy=strategy, frozen_blocks=depth, features=named))
            at_rates.append(None)
            rows.append(np.eye(len(gains))[place])
            means.append(mean)
            # How its own probe compares says more of a linear head, and nothing of how the others go with it.
            certainty.append(sd / float(np.sqrt(covariance[place, place])))
    for depth in range(n_blocks):
        for rate, value in (rates or evidence.rates).items():
            row = item_weights(evidence, depth / n_blocks, rate)
            candidates.append(candidate_at(depth, n_blocks))
            at_rates.append(value)
            rows.append(row)
            means.append(float(row @ gains))
            certainty.append(1.0)
    own = np.zeros(len(candidates))
    if evidence.scratch and n >= SCRATCH_ROWS:
        gain, sd = evidence.scratch[:2]
        row = item_weights(evidence, 0.0, "low")
        candidates.append(Candidate(strategy="train_all", start="scratch", frozen_blocks=0))
        at_rates.append(None)
        rows.append(row)
        means.append(float(row @ gains) + gain)
        certainty.append(1.0)
        own = np.append(own, sd**2)
    weights, scale = np.stack(rows), np.array(certainty)
    joint = (weights @ covariance @ weights.T) * np.outer(scale, scale) + np.diag(own)
    return Expectations(
        candidates=tuple(candidates),
        rates=tuple(at_rates),
        mean=tuple(round(level + mean, 5) for mean in means),
        covariance=tuple(tuple(round(float(value), 6) for value in row) for row in joint),
        seeds=evidence.seeds_at(n),
        rows_seen=rows_seen(round(TRAINED_SHARE * n)),
        why=why,
    )


def predict_scores(
    expectations: Expectations, *, n_blocks: int, seconds: float | None = None
) -> tuple[Prediction, ...]:
    """Expected scores of all candidates at the better of their learning rates, best first.

    Args:
        expectations: of this data (`expect`).
        n_blocks: blocks of the model.
        seconds: what training everything takes here, if that is known.
    """
    best: dict[Candidate, int] = {}
    for place, candidate in enumerate(expectations.candidates):
        if candidate not in best or expectations.mean[place] > expectations.mean[best[candidate]]:
            best[candidate] = place
    found = [
        _prediction(
            candidate,
            np.asarray(expectations.mean[place]),
            float(np.sqrt(expectations.covariance[place][place])),
            rate=expectations.rates[place],
            cost=1 - candidate.frozenness(n_blocks) / n_blocks,
            seconds=seconds,
            why=expectations.why,
        )
        for candidate, place in best.items()
    ]
    return tuple(sorted(found, key=lambda prediction: -prediction.score))


def _prediction(
    candidate: Candidate, mean: Floats, sd: float, *, rate: float | None, cost: float, seconds: float | None, why: str
) -> Prediction:
    low, high = score_at(np.array([mean - NORMAL_80 * sd, mean + NORMAL_80 * sd])).tolist()
    return Prediction(
        candidate=candidate,
        score=float(expected_score(np.asarray(mean), np.asarray(sd))),
        interval=(low, high),
        learning_rate=rate,
        cost=cost,
        seconds=None if seconds is None else cost * seconds,
        why=why,
    )


def _of_linear(
    gains: Floats, covariance: Floats, *, place: int, reference: int, contrast: float, score: float, n: int
) -> tuple[float, float]:
    """Mean and standard deviation of a linear head's gain, given how its own probe compares with the reference.

    What such differences say of trained blocks made their predictions worse on left-out datasets, so that they speak of
    the head itself only.
    """
    if place == reference:
        return float(gains[place]), float(np.sqrt(covariance[place, place]))
    of = np.zeros((1, len(gains)))
    of[0, [place, reference]] = 1.0, -1.0
    kept = min(max(score, 0.05), 0.95)
    noise = np.array([[CONTRAST_NOISE / (n * kept * (1 - kept))]])
    mean, after = condition(gains, covariance, observed=np.array([contrast]), of=of, noise=noise)
    return float(mean[place]), float(np.sqrt(after[place, place]))


def item_weights(evidence: Evidence, share: float, rate: str) -> Floats:
    """How the measured items make up a share of frozen blocks: the two nearest, linearly; head only is a share of 1."""
    knots = sorted({found[0] for item in evidence.items if (found := share_of(item)) is not None})
    names = [trained(knot, rate) for knot in knots] + ["last"]
    places = np.array([*knots, 1.0])
    weights = np.zeros(len(evidence.items))
    for number, name in enumerate(names):
        unit = np.zeros(len(names))
        unit[number] = 1.0
        weights[evidence.items.index(name)] = float(np.interp(share, places, unit))
    return weights


def cheapest_within(predictions: Sequence[Prediction], *, points: float) -> Prediction:
    """The cheapest candidate whose expected score lies at most so many points below the highest."""
    best = max(prediction.score for prediction in predictions)
    near = [prediction for prediction in predictions if best - prediction.score <= points / 100]
    return min(near, key=lambda found: (found.cost, -found.score))
