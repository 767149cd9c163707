"""The budget as a plan: which runs are worth their seconds, and what is left for the final fit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tuner.records import Record
from tuner.search.expectations import SCHEDULE_SHARE, Arm, cut_loss
from tuner.search.gaussian import Floats, condition, score_at

LEAST_SHARE = 0.2
"""Share of its schedule below which a run is under-trained."""
LEAST_GAIN = 5e-4
"""Gain in score that a run has to be expected to bring to be planned."""
LEAST_WORTH = 5e-3
"""Gain in score that all runs and the average of seeds together have to bring in expectation over a final fit at once:
on left-out datasets, choosing with the scores of one or two runs gained a fifth of a point."""
AVERAGE_GAIN = 5e-3
"""Gain in score by which the average of three seeds' weights beats a single one: measured on twelve text sets."""
MOST_SEEDS = 3
LONGEST = 1 / SCHEDULE_SHARE
"""How many times its schedule a final fit may take that nothing was measured for: as long as the evidence's runs."""
SPENT = 0.95
"""Share of the time that is left that such a fit may take: nothing after it makes up for a slower machine."""
NEVER = -100.0
"""Log odds of what may not be chosen."""
DRAWS = 1_024


@dataclass(frozen=True, kw_only=True)
class Offer(Record):
    """A run that may be bought: what it trains, and the seconds that it and its final fit take.

    ``run_s`` are the seconds of a run on the training rows, for the arm's share of its schedule, and None of what was
    measured already. ``final_s`` are those of a final fit on all labelled rows at its full schedule.
    """

    arm: Arm
    run_s: float | None
    final_s: float


@dataclass(frozen=True, kw_only=True)
class Plan(Record):
    """Runs in the order of their worth, then the final fit.

    ``share`` is the part of its schedule that the final fit has time for, more than 1 where nothing is measured and
    time is left; ``seeds`` over how many it is averaged, and ``seconds`` what all of it takes. ``expected`` is the
    score that the final model is expected to reach.
    """

    runs: tuple[Offer, ...]
    final: Offer
    share: float
    seeds: int
    seconds: float
    expected: float

    @property
    def under_trained(self) -> bool:
        """Whether the final fit is cut to less than `LEAST_SHARE` of its schedule."""
        return self.share < LEAST_SHARE


def make_plan(
    offers: Sequence[Offer], *, mean: Floats, covariance: Floats, noise: Floats, left_s: float, averages: bool = True,
    measured: Sequence[int] = (), only_measured: bool = False,
) -> Plan:  # fmt: skip
    """Buy the runs whose measurement is expected to gain most a second, as long as the final fit stays affordable.

    A run is worth what choosing with its score gains in expectation: the mean of the best posterior expectation minus
    the best one before (knowledge gradient: Frazier, Powell & Dayanik 2009), by simulation. Where there is time for a
    single fit, there is none to measure with: it is the candidate with the highest expected score, at as much of its
    schedule as fits. So it is where all runs are worth less than `LEAST_WORTH`.

    Args:
        offers: what may be run and fitted.
        mean: (k,) expected log odds of the offers.
        covariance: (k, k) of them.
        noise: (k,) variance of a validation score's log odds that other candidates do not share.
        left_s: seconds for runs and final fit.
        averages: whether the weights of several seeds may be averaged.
        measured: places of trained offers that were measured already.
        only_measured: whether what is not measured cannot be fitted in the end.
    """
    trains = np.array([offer.arm.candidate.trains_blocks for offer in offers])

    def able(chosen: Sequence[int]) -> Floats:
        """0 for what may be fitted in the end: once something that trains blocks is measured, only what is measured."""
        known = [*measured, *chosen]
        unknown = trains & ~np.isin(np.arange(len(offers)), known)
        hidden = unknown if known or only_measured else np.zeros(len(offers), dtype=bool)
        return np.where(hidden, NEVER, 0.0)

    draws = np.random.default_rng(0).standard_normal((DRAWS, len(offers)))
    draws = np.concatenate([draws, -draws])
    final_s = np.array([offer.final_s for offer in offers])
    chosen: list[int] = []
    left = left_s

    def value_of(some: Sequence[int], *, left: float) -> float:
        return _value(
            some, offers, mean=mean, covariance=covariance, noise=noise, left=left, draws=draws, able=able(some)
        )

    value, averaged = value_of((), left=left), False
    while True:
        final = int(np.argmax(_after_cuts((mean + able(chosen))[None], final_s, left=left)[0]))
        # Whether averaging pays is seen on confirmations, which take as long as the run did.
        average_s = (MOST_SEEDS - 1) * ((offers[final].run_s or final_s[final]) + final_s[final])
        may_average = averages and trains[final] and final_s[final] + average_s <= left
        reserved = average_s if averaged and may_average else 0.0
        worth: dict[int, tuple[float, float]] = {}
        for place, offer in enumerate(offers):
            if offer.run_s is None or place in chosen or offer.run_s > left - reserved:
                continue
            then = value_of((*chosen, place), left=left - reserved - offer.run_s)
            if then - value >= LEAST_GAIN:
                worth[place] = then, (then - value) / max(offer.run_s, 1e-9)
        best = max(worth, key=lambda place: worth[place][1], default=None)
        if may_average and not averaged and (best is None or AVERAGE_GAIN / average_s >= worth[best][1]):
            averaged = True
            continue
        if best is None:
            break
        chosen.append(best)
        value = worth[best][0]
        left -= offers[best].run_s or 0.0
    share = share_of(float(final_s[final]), left=left - reserved)
    # Whichever of the runs wins is fitted in the end: the slowest of them may.
    most_s = max(float(final_s[place]) for place in (final, *chosen))
    if trains[final] and not chosen and not measured and not only_measured and most_s > 0:
        longer = max(1.0, min(LONGEST, SPENT * left / most_s))
        share, most_s = (longer if longer > 1 else share), most_s * longer
    fit_s = min(most_s, max(left - reserved, 0.0))
    plan = Plan(
        runs=tuple(offers[place] for place in chosen),
        final=offers[final],
        share=share,
        seeds=MOST_SEEDS if reserved else 1,
        seconds=float(left_s - left + fit_s + reserved),
        expected=float(value + (AVERAGE_GAIN if reserved else 0.0)),
    )
    if chosen and not measured and not only_measured:
        at_once = make_plan(
            [replace(offer, run_s=None if offer.run_s is None else math.inf) for offer in offers], mean=mean,
            covariance=covariance, noise=noise, left_s=left_s, averages=averages,
        )  # fmt: skip
        if plan.expected - at_once.expected < LEAST_WORTH:
            return at_once
    return plan


def validated(plan: Plan, offers: Sequence[Offer], *, left_s: float) -> Plan:
    """Add a run of what a plan without runs fits in the end, where there is time for both.

    Such a run tells nothing of what to fit, but gives the model a validation score, and logits to calibrate it with.
    Other plans stay as they are.

    Args:
        plan: of these offers.
        offers: what may be run and fitted.
        left_s: seconds for run and final fit.
    """
    offer = next(offer for offer in offers if offer.arm == plan.final.arm)
    if plan.runs or offer.run_s is None or offer.run_s + offer.final_s > left_s:
        return plan
    once_s = offer.run_s + offer.final_s
    seeds = MOST_SEEDS if MOST_SEEDS * once_s <= left_s else 1
    gain = AVERAGE_GAIN if seeds > 1 else 0.0
    return Plan(
        runs=(offer,), final=offer, share=1.0, seeds=seeds, seconds=seeds * once_s, expected=plan.expected + gain
    )


def share_of(final_s: float, *, left: float) -> float:
    """The part of a schedule that fits into what is left.

    >>> share_of(40.0, left=10.0), share_of(40.0, left=50.0), share_of(0.0, left=1.0)
    (0.25, 1.0, 1.0)
    """
    return 1.0 if final_s <= left else max(left, 0.0) / final_s


def _after_cuts(odds: Floats, final_s: Floats, *, left: float) -> Floats:
    shares = np.array([share_of(seconds, left=left) for seconds in final_s])
    # What nothing is left for cannot win; under-trained is chosen only where nothing else is there.
    losses = np.array([cut_loss(share) + (-NEVER / 10 if share < LEAST_SHARE else 0.0) for share in shares])
    found: Floats = odds - losses
    return found


def _value(
    measured: Sequence[int], offers: Sequence[Offer], *, mean: Floats, covariance: Floats, noise: Floats, left: float,
    draws: Floats, able: Floats,
) -> float:  # fmt: skip
    """The score that the final fit is expected to reach where some offers are measured before it is chosen."""
    final_s = np.array([offer.final_s for offer in offers])
    after, spread = mean[None], np.sqrt(np.clip(np.diag(covariance), 0, None))
    if measured:
        of = np.zeros((len(measured), len(offers)))
        of[np.arange(len(measured)), list(measured)] = 1.0
        own = np.diag(noise[list(measured)])
        _, left_over = condition(mean, covariance, observed=of @ mean, of=of, noise=own)
        # What is learnt moves the expectations by as much as it takes away of their covariance.
        moves = covariance - left_over
        values, vectors = np.linalg.eigh((moves + moves.T) / 2)
        after = mean + draws @ (vectors * np.sqrt(np.clip(values, 0, None))).T
        spread = np.sqrt(np.clip(np.diag(left_over), 0, None))
    reached = _after_cuts(after + able, final_s, left=left)
    best = reached.argmax(1)
    # The expectation of a logistic function of a Gaussian, to the accuracy that a choice needs (MacKay 1992).
    shrunk = reached[np.arange(len(after)), best] / np.sqrt(1 + math.pi / 8 * spread[best] ** 2)
    return float(score_at(shrunk).mean())


def in_words(plan: Plan, *, n_blocks: int, rows: int, tail_s: float, refits: bool = True) -> str:
    """Tell a plan in one sentence, without its full stop.

    Args:
        plan: what is told.
        n_blocks: of the model.
        rows: all labelled rows, which the final fit trains on.
        tail_s: seconds of what follows the training, which are added to the plan's.
        refits: whether there is a final fit; else the best run is saved.

    >>> from tuner.search.space import candidate_at
    >>> offer = Offer(arm=Arm(candidate=candidate_at(2, 7), learning_rate=1e-4), run_s=30.0, final_s=40.0)
    >>> in_words(Plan(runs=(offer,), final=offer, share=1.0, seeds=3, seconds=210.0, expected=0.8), n_blocks=7,
    ...          rows=300, tail_s=8.0)
    '1 run: 2 of 7 blocks frozen; then the final fit of the best on all 300 labelled rows, three seeds averaged; about 3 min 38 s'
    """  # noqa: E501  # what it prints is one line
    named = [offer.arm.candidate.label(n_blocks) for offer in plan.runs]
    listed = [f"{name} at {_rates(plan, name, n_blocks)}" if named.count(name) > 1 else name
              for name in dict.fromkeys(named)]  # fmt: skip
    some = f"{len(plan.runs)} run{'s' if len(plan.runs) != 1 else ''}: {', '.join(listed)}; then the"
    what = "the best" if named else plan.final.arm.candidate.label(n_blocks)
    if not named:
        some = "no run on validation rows is worth its time: the"
    if not refits:
        return f"{some} best of what was run is saved; about {duration(plan.seconds + tail_s)}"
    text = f"{some} final fit of {what} on all {rows:,} labelled rows"
    if plan.share < 1:
        text += f", {100 * plan.share:.0f} % of its schedule"
    elif plan.share > 1:
        text += f", {plan.share:.1f} times the schedule of a run"
    text += ", three seeds averaged" if plan.seeds > 1 else ""
    return f"{text}; about {duration(plan.seconds + tail_s)}"


def _rates(plan: Plan, name: str, n_blocks: int) -> str:
    rates = [offer.arm.learning_rate for offer in plan.runs if offer.arm.candidate.label(n_blocks) == name]
    return " and ".join(f"{rate:.2g}" for rate in rates if rate is not None)


def duration(seconds: float) -> str:
    """Tell a number of seconds in words.

    >>> duration(45), duration(160), duration(120)
    ('45 s', '2 min 40 s', '2 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    parts = ([f"{minutes} min"] if minutes else []) + ([f"{rest} s"] if rest or not minutes else [])
    return " ".join(parts)


def speeds(measured: Mapping[int, float], n_blocks: int) -> list[float]:
    """Seconds of a step at every depth from 0 to ``n_blocks - 1``, between those that were measured.

    >>> speeds({0: 4.0, 2: 2.0}, 4)
    [4.0, 3.0, 2.0, 1.0]
    """
    depths = sorted(measured)
    known = [*depths, n_blocks]
    return np.interp(range(n_blocks), known, [*(measured[d] for d in depths), 0.0]).tolist()
