"""Situation and evidence become advice: a strategy with reasons, a freeze depth, and where the search looks first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from advisor.advice.situation import CANDIDATE_FROM, Situation, SituationEstimate
from advisor.data.thumbnails import Thumbnail
from advisor.evidence.decision import Decision, decide
from advisor.evidence.decision import reasons as evidence_reasons
from advisor.evidence.predictions import Prediction
from advisor.evidence.table import RuleCost
from advisor.kinds.words import words_of
from advisor.measures.baselines import Baseline
from advisor.measures.probe import Probe, ProbeProfile
from advisor.measures.size import SizeProfile
from advisor.similarity.similarity import SimilarityProfile
from advisor.stored import DataSection, ModelSection
from tuner.errors import damaged
from tuner.names import STRATEGY_NUMBERS, feature_words
from tuner.records import SCHEMA, Record
from tuner.search.expectations import Expectations
from tuner.search.space import EPOCHS, RATES, RATES_WITH_BATCH_NORM, Candidate, SearchSpace, candidate_at
from tuner.search.stored import MeasuredScore

DEFAULT_SHARE = 0.75
"""Where a search starts that has no evidence to start from, and a control of every search: three quarters of the blocks
frozen. On sixteen text sets of 100, 300 and 1,000 rows (MiniLM, seed 0, benchmarks/evidence.py) it lay 2.2 points below
the best candidate, with a standard error over sets of 0.5."""

NOTHING_LEFT = 0.01
"""Where the head-only probe's lower bound is within one point of a perfect score, training blocks cannot pay."""


@dataclass(frozen=True, kw_only=True)
class DepthPrediction(Record):
    """The score expected at a freeze depth; null where nothing was measured."""

    frozen_blocks: int
    score: float | None
    interval: tuple[float, float] | None
    why: str


@dataclass(frozen=True, kw_only=True)
class FreezeAdvice(Record):
    """The recommended freeze depth and the range that the search samples."""

    recommended: int
    search: tuple[int, int]
    predicted_by_depth: tuple[DepthPrediction, ...]


@dataclass(frozen=True, kw_only=True)
class StrategyChoice(Record):
    """The recommended strategy, beside what the classic rule says, and what decided."""

    name: str
    number: int | None
    start: str
    features: str | None
    classic_rule: str | None
    decided_by: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Advice(Record):
    """The recommendation with everything it rests on; ``to_json()`` is ``advice.json``, which holds nothing of the data
    itself: thumbnails lie beside it. What is annotated with a record is a plain mapping of that record's values.
    """

    model: Annotated[dict[str, Any], ModelSection]
    data: Annotated[dict[str, Any], DataSection]
    size: SizeProfile
    similarity: SimilarityProfile
    situation: SituationEstimate
    strategy: StrategyChoice
    freeze: FreezeAdvice
    space: SearchSpace
    probes: tuple[Probe, ...]
    baselines: dict[str, Annotated[Any, MeasuredScore] | None]
    metric: str
    warnings: tuple[str, ...]
    next_steps: tuple[str, ...]
    next_command: str
    seconds: dict[str, float]
    versions: dict[str, str]
    seed: int
    predicted: tuple[Prediction, ...] = ()
    expectations: Expectations | None = None
    prefer: str = "score"
    counterfactuals: tuple[str, ...] = ()
    thumbnails: tuple[Thumbnail, ...] = field(default=(), repr=False, metadata={"stored": False})
    schema: int = field(default=SCHEMA)

    @property
    def candidate(self) -> Candidate:
        """The candidate that the advice says to train."""
        if self.strategy.features is not None:
            return Candidate(strategy="feature_based", frozen_blocks=None, features=self.strategy.features)
        return candidate_at(self.freeze.recommended, self.space.n_blocks)


def default_depth(n_blocks: int) -> int:
    """The freeze depth of three quarters of the blocks; at least one is trained and one frozen where there are two.

    >>> default_depth(7), default_depth(13), default_depth(2)
    (5, 10, 1)
    """
    return max(min(round(DEFAULT_SHARE * n_blocks), n_blocks - 1), 1)


def choose_strategy(
    situation: SituationEstimate,
    probes: ProbeProfile,
    *,
    n_blocks: int,
    baseline: Baseline | None,
    predictions: Sequence[Prediction] = (),
    prefer: str = "score",
    rule_costs: Mapping[str, RuleCost] | None = None,
) -> tuple[StrategyChoice, FreezeAdvice]:
    """Choose the strategy and the depth: what the probes settle, else what the evidence expects most of.

    The classic rule is shown as the prior it is, with what following it is expected to cost. Without evidence the
    answer is not known, and the search starts from the rule of situation 1, or else from the documented constant.

    Args:
        situation: the four situations with their probabilities.
        probes: linear probes measured here.
        n_blocks: blocks of the model.
        baseline: the linear model on words or pixels, which needs no pretraining.
        predictions: expected scores, best first; none where there is no evidence.
        prefer: ``score`` or ``speed``.
        rule_costs: by situation, what its classic rule cost in the evidence.
    """
    rule = situation.situation
    head_only = probes.head_only
    constant = default_depth(n_blocks)
    reasons: list[str] = []
    features = None
    if head_only.interval[0] >= 1 - NOTHING_LEFT:
        depth, decided_by = n_blocks, "probe"
        reasons.append(
            f"a linear head on frozen features already scores {_score(head_only)}: training blocks could gain less "
            f"than {100 * NOTHING_LEFT:.0f} point"
        )
    elif predictions:
        decision = decide(predictions, prefer=prefer)
        chosen, decided_by = decision.chosen.candidate, "evidence"
        depth, features = chosen.frozenness(n_blocks), chosen.features
        reasons += evidence_reasons(decision, n_blocks=n_blocks)
        reasons += _cost_of_the_rule(situation, decision, predictions, n_blocks=n_blocks, costs=rule_costs or {})
    elif rule is Situation.LARGE_DISSIMILAR:
        depth, decided_by = 0, "rule"
        reasons.append(NOT_KNOWN)
        reasons.append("the data is large and unlike what the model saw: the classic rule says to train everything")
    else:
        depth, decided_by = constant, "rule"
        reasons.append(NOT_KNOWN)
        reasons.append(f"the search starts at three quarters of the blocks, {constant} of {n_blocks}: a guess")
    reasons.append(_probe_reason(probes, baseline))
    if rule is None:
        reasons.append("no single situation is probable enough to name, so the search looks widely")
    name = "train_all" if depth == 0 else "head_only" if depth == n_blocks else "freeze_part"
    name = name if features is None else "feature_based"
    low, high = depth_range(situation, n_blocks=n_blocks)
    choice = StrategyChoice(
        name=name,
        number=STRATEGY_NUMBERS[name],
        start="pretrained",
        features=features,
        classic_rule=None if rule is None else f"{rule.title}: {rule.classic_rule}",
        decided_by=decided_by,
        reasons=tuple(reasons),
    )
    if predictions:
        pretrained = (p for p in predictions if p.candidate.features is None and p.candidate.start == "pretrained")
        by_depth = {p.candidate.frozenness(n_blocks): p for p in pretrained}
        expected = tuple(
            DepthPrediction(frozen_blocks=k, score=p.score, interval=p.interval, why=p.why)
            for k, p in sorted(by_depth.items())
        )
        return choice, FreezeAdvice(recommended=depth, search=(low, high), predicted_by_depth=expected)
    predicted = tuple(
        DepthPrediction(
            frozen_blocks=k,
            score=head_only.score if k == n_blocks else None,
            interval=head_only.interval if k == n_blocks else None,
            why=f"probe, {probes.folds}-fold cross-validated on {probes.n_rows:,} {probes.unit}s"
            if k == n_blocks
            else "not measured",
        )
        for k in range(n_blocks + 1)
    )
    return choice, FreezeAdvice(recommended=depth, search=(low, high), predicted_by_depth=predicted)


NOT_KNOWN = (
    "there is no evidence for this kind of task yet: what is best is not known until `advisor tune` has tried it"
)


def _cost_of_the_rule(
    situation: SituationEstimate, decision: Decision, predictions: Sequence[Prediction], *, n_blocks: int,
    costs: Mapping[str, RuleCost],
) -> list[str]:  # fmt: skip
    """What the classic rule of the likeliest situation is expected to lose here against the best candidate, and what it
    lost in that situation in the evidence."""
    if situation.likeliest is None:
        return []
    depths = {1: 0, 2: round(n_blocks / 2), 3: round(n_blocks / 2), 4: n_blocks}
    depth = depths[situation.likeliest]
    found = next((p for p in predictions if p.candidate == candidate_at(depth, n_blocks)), None)
    if found is None:
        return []
    lost = 100 * (decision.best.score - found.score)
    cost = f"costs {lost:.1f} points against the best" if lost >= 0.05 else "costs nothing"
    rule = Situation(situation.likeliest).classic_rule
    then = costs.get(str(situation.likeliest))
    measured = "; in the evidence that situation did not occur"
    if then is not None:
        measured = (
            f"; in that situation it lay {then.points:.1f} points below the best in the evidence "
            f"({then.cells} tasks of {then.sets} set{'s' * (then.sets != 1)})"
        )
    return [
        f"the classic rule of situation {situation.likeliest} ({rule}) is a prior; "
        f"{candidate_at(depth, n_blocks).label(n_blocks)}, as it would have it, {cost} in expectation{measured}"
    ]


def _score(probe: Probe) -> str:
    return f"{probe.score:.3f} [{probe.interval[0]:.3f}, {probe.interval[1]:.3f}]"


def _probe_reason(probes: ProbeProfile, baseline: Baseline | None) -> str:
    name = feature_words(probes.best.features)
    text = f"probes without training: head only {_score(probes.head_only)}, best {name} {_score(probes.best)}"
    if baseline is None:
        return text
    against = f"{baseline.method} scores {baseline.score:.3f}"
    if baseline.score > probes.best.interval[1]:
        return f"{text}; {against}, more than every probe: the frozen features miss something in this data"
    return f"{text}; {against}"


def _weights(situation: SituationEstimate) -> dict[Situation, float]:
    """The situations that steer the search, by probability; empty where nothing is known."""
    if situation.probabilities is None:
        return {}
    return {s: situation.probabilities[str(s.value)] for s in Situation}


def depth_range(situation: SituationEstimate, *, n_blocks: int) -> tuple[int, int]:
    """The sampled range of depths: the situations' own ranges, mixed by their probabilities, rounded outwards.

    Situation 1: none to half; 2 and 3: all depths; 4: half to all; unknown: all depths.
    """
    half = n_blocks / 2
    ranges = {
        Situation.LARGE_DISSIMILAR: (0.0, half),
        Situation.LARGE_SIMILAR: (0.0, float(n_blocks)),
        Situation.SMALL_DISSIMILAR: (0.0, float(n_blocks)),
        Situation.SMALL_SIMILAR: (half, float(n_blocks)),
    }
    weights = _weights(situation)
    if not weights:
        return 0, n_blocks
    low = sum(weight * ranges[s][0] for s, weight in weights.items())
    high = sum(weight * ranges[s][1] for s, weight in weights.items())
    # The tolerance keeps 6.999999, a sum of products, from becoming a range of its own.
    return math.floor(low + 1e-9), min(math.ceil(high - 1e-9), n_blocks)


OPTIONS_FOR_SMALL = ("random_head", "fresh_top")
"""Options of training blocks that won on some small set (docs/concepts.md)."""


def search_space(
    situation: SituationEstimate,
    probes: ProbeProfile,
    *,
    recommended: Candidate,
    n_blocks: int,
    batch_norm: bool = False,
    epochs: tuple[int, int] | None = None,
    augmentation: str | None = None,
    tops: Sequence[str] = ("linear",),
) -> SearchSpace:
    """Say what the search tries first, in the order of the situations' probabilities, and what it always tries.

    Args:
        situation: the four situations with their probabilities.
        probes: linear probes measured here, which name the best single block and the best mix of blocks.
        recommended: the candidate that the advice says to train; it is tried first.
        n_blocks: blocks of the model.
        batch_norm: whether the model has batch norms, for which other learning rates are searched.
        epochs: the fewest and the most, out of the evidence; None for the usual range.
        augmentation: what fits the data, tried where the data may be small and dissimilar; None for none.
        tops: the networks that may read features; by every one after the first, the best features are read too.
    """

    def depth(share: float) -> Candidate:
        return candidate_at(max(0, min(round(share * n_blocks), n_blocks)), n_blocks)

    all_but_one, head_only = candidate_at(n_blocks - 1, n_blocks), candidate_at(n_blocks, n_blocks)
    # The best single block and the best mix: feature-based candidates other than head only, best first.
    others = sorted((p for p in probes.probes if p.features != "last"), key=lambda p: -p.score)
    best_block = next((p for p in others if p.block is not None), None)
    best_mix = next((p for p in others if p.block is None), None)
    variants = tuple(
        Candidate(strategy="feature_based", frozen_blocks=None, features=probe.features)
        for probe in sorted((p for p in (best_block, best_mix) if p is not None), key=lambda p: -p.score)
    )
    first_by_situation = {
        Situation.LARGE_DISSIMILAR: (
            depth(0),
            depth(0.25),
            Candidate(strategy="train_all", start="scratch", frozen_blocks=0),
        ),
        Situation.LARGE_SIMILAR: (depth(0.5), depth(0.75)),
        Situation.SMALL_DISSIMILAR: (depth(0.5), depth(0.75), all_but_one),
        Situation.SMALL_SIMILAR: (head_only, all_but_one),
    }
    weights = _weights(situation)
    ranked = [s for s in sorted(weights, key=lambda s: -weights[s]) if weights[s] >= CANDIDATE_FROM]
    # The probes have shown what these variants are worth, and a fit on the cached features takes seconds.
    first = [recommended, *variants, *(candidate for s in ranked for candidate in first_by_situation[s])]
    read = variants[0] if variants else Candidate(strategy="feature_based", frozen_blocks=None, features="last")
    first += [replace(read, top=top) for top in tops[1:]]
    may_be_small = bool({Situation.SMALL_DISSIMILAR, Situation.SMALL_SIMILAR} & {*ranked})
    controls = (depth(0), candidate_at(default_depth(n_blocks), n_blocks), head_only)
    return SearchSpace(
        n_blocks=n_blocks,
        first=tuple(dict.fromkeys(first)),
        controls=controls,
        depths=depth_range(situation, n_blocks=n_blocks),
        learning_rate=RATES_WITH_BATCH_NORM if batch_norm else RATES,
        epochs=EPOCHS if epochs is None else epochs,
        options=OPTIONS_FOR_SMALL if may_be_small else (),
        augmentation=augmentation if Situation.SMALL_DISSIMILAR in ranked else None,
    )


def measured_rates(*, batch_norm: bool) -> dict[str, float]:
    """The two learning rates of the evidence, a quarter and three quarters of the way through what is searched.

    >>> measured_rates(batch_norm=False)
    {'low': 4.5e-05, 'high': 0.00022}
    """
    low, high = (math.log(edge) for edge in (RATES_WITH_BATCH_NORM if batch_norm else RATES))
    at = {"low": 0.25, "high": 0.75}
    return {name: float(f"{math.exp(low + share * (high - low)):.2g}") for name, share in at.items()}


def stored_advice(stored: Mapping[str, Any], *, path: Path) -> Advice:
    """Read the advice out of the values of an ``advice.json``, so that a search can go on from it.

    Raises `DataError`, which names `path`, where they are damaged.
    """
    fix = (
        "put the file back as it was, or run the same command with --out and a new folder; everything else in "
        f"{path.parent} is kept"
    )
    advice = Advice.from_json(stored, path=path, fix=fix, noun="advice", ignores_added=True)
    words = words_of(stored)
    if absent := [f"data.{name} is missing" for name in words.told if stored["data"].get(name) is None]:
        raise damaged(path, "; ".join(absent), fix=fix)
    if not {*words.baselines} <= advice.baselines.keys() or advice.baselines["majority"] is None:
        raise damaged(path, "baselines lack one", fix=fix)
    linear = advice.baselines[words.linear]
    if linear is not None and linear.get("interval") is None:
        raise damaged(path, f"baselines.{words.linear}.interval is missing", fix=fix)
    return advice
