"""What the time that is left is best spent on: plans from what is expected, what was measured, and what steps take."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tuner.search.bench import Bench
from tuner.search.choice import arm_of, measure, seed_variance
from tuner.search.clock import Clock
from tuner.search.expectations import DISTRUST, SCHEDULE_SHARE, USUAL_CORRELATION, Arm, cut_loss, scores, update
from tuner.search.plan import Offer, Plan, in_words, make_plan, validated
from tuner.search.space import Candidate

SHARES = (1.0, 0.5, 0.25)
"""Shares of its schedule that a run is planned with: less than all of it only where nothing else fits."""
FINAL_SHARE = 0.6
"""Share of its schedule that a final fit keeps where runs turn out slower than planned."""
DEFAULT_HEAD_RATIO = 5.0


class Planner:
    """Plans the runs of a search and remembers what it said of them.

    Args:
        bench: of the search.
        clock: its time.
        recommended: what is fitted where nothing speaks against it.
    """

    def __init__(self, bench: Bench, *, clock: Clock, recommended: Candidate) -> None:
        self._bench, self._clock, self.recommended = bench, clock, recommended
        self.plans: list[dict[str, Any]] = []
        """What was planned and when it was changed, in words."""
        self._said_speed = 0.0

    def plan(self) -> Plan | None:
        """Plan what the time that is left is best spent on; None without a budget. Said where it is new."""
        if not self._clock.by_time:
            return None
        plans: list[Plan] = []
        for share in SHARES:
            offers, measured = self.offers(share)
            if not offers:
                return None
            mean, covariance = self._posterior([offer.arm for offer in offers])
            n = self._bench.rows.truth.n_units
            scores = 1 / (1 + np.exp(-np.clip(mean, -4, 4)))
            noise = DISTRUST * (
                (1 - USUAL_CORRELATION) / (n * scores * (1 - scores)) + seed_variance(self._bench.scored)
            )
            # What is fitted in the end has its full schedule; of two that are expected to score alike, the advised one.
            mean = mean + np.array([cut_loss(offer.arm.share) for offer in offers])
            mean += 1e-6 * np.array([offer.arm.candidate == self.recommended for offer in offers])
            made = make_plan(
                offers, mean=mean, covariance=covariance, noise=noise, left_s=max(self._clock.left(), 0.0),
                averages=self._bench.refits, measured=measured, only_measured=not self._bench.refits,
            )  # fmt: skip
            plans.append(validated(made, offers, left_s=self._clock.left()) if self._bench.refits else made)
            # Runs at a part of their schedule are bought where none fits at all of it, its final fit included.
            left = self._clock.left()
            if measured or any(o.run_s is not None and o.run_s + FINAL_SHARE * o.final_s <= left for o in offers):
                break
        plan = plans[-1] if plans[-1].runs else plans[0]
        self._say(plan)
        return plan

    def offers(self, share: float) -> tuple[list[Offer], list[int]]:
        """List what may be run and fitted: all depths at their learning rates, for a share of their schedule.

        Returns:
            offers of these and of what was measured; and the places of what trains blocks among the latter.
        """
        bench, n_blocks = self._bench, self._bench.backbone.n_blocks
        entries = zip(bench.expectations.candidates, bench.expectations.rates, strict=True)
        tried = {(run.candidate, run.recipe.get("learning_rate")) for run in bench.runs.values()}
        tried |= {(pruned.candidate, pruned.recipe.get("learning_rate")) for pruned in bench.store.pruned.values()}
        offers, measured = [], []
        for candidate, rate in entries:
            if not candidate.trains_blocks or not self._allowed(candidate):
                continue
            at = self.at_share(rate, share)
            if (candidate, at) in tried:
                continue
            steps = share * bench.pace.schedule + bench.pace.check_steps
            run_s = steps * self._clock.step_s(candidate.frozenness(n_blocks))
            arm = Arm(candidate=candidate, learning_rate=at, share=share, schedule=SCHEDULE_SHARE)
            offers.append(Offer(arm=arm, run_s=run_s, final_s=self._clock.usual_final_s(candidate)))
        for run in bench.leaders():
            if not run.candidate.trains_blocks:
                offers.append(Offer(arm=arm_of(run), run_s=None, final_s=0.0))  # seconds, which there are in any case
            elif run.candidate.augmentation is None and run.candidate.head == "own":
                measured.append(len(offers))
                offers.append(Offer(arm=arm_of(run), run_s=None, final_s=self._clock.usual_final_s(run.candidate)))
        return offers, measured

    def at_share(self, rate: float | None, share: float) -> float | None:
        """The learning rate for a share of the schedule.

        One that was measured on longer runs has to go as far in fewer steps, up to the highest that was.
        """
        known = [value for value in self._bench.expectations.rates if value is not None]
        return rate if rate is None else min(rate / math.sqrt(SCHEDULE_SHARE * share), max(known))

    def _allowed(self, candidate: Candidate) -> bool:
        """Whether the search may train a candidate: what was asked for, such as what the advice says, and the range
        that is sampled."""
        space = self._bench.space
        low, high = space.depths
        in_range = candidate.start == space.start and low <= candidate.frozenness(space.n_blocks) <= high
        return in_range or (candidate.start == space.start and candidate in (*space.first, *space.controls))

    def _posterior(self, arms: Sequence[Arm]) -> tuple[np.ndarray, np.ndarray]:
        """Log odds that arms are expected to reach after what was measured."""
        leaders = self._bench.leaders()
        if not leaders:
            return self._bench.expectations.of(arms)
        known = [arm_of(run) for run in leaders]
        together = [*known, *(arm for arm in arms if arm not in known)]
        mean, covariance = update(
            self._bench.expectations, together, measured=range(len(known)), measurement=measure(self._bench.scored)
        )
        order = [together.index(arm) for arm in arms]
        return mean[order], covariance[np.ix_(order, order)]

    def _say(self, plan: Plan) -> None:
        """Note the first plan, and one that is made after the speed of the machine changed by a third."""
        rows = len(self._bench.rows.train) + len(self._bench.rows.validation)
        text = in_words(
            plan,
            n_blocks=self._bench.backbone.n_blocks,
            rows=rows,
            tail_s=self._clock.tail_s(),
            refits=self._bench.refits,
        )
        said = {"text": text, "at_s": round(self._clock.deadline.used, 1), "under_trained": plan.under_trained}
        if not self.plans:
            self.plans.append(said)
            if self._bench.progress is not None:
                self._bench.progress(f"plan: {text}", 0.0)
            self._said_speed = self._clock.step_s(0)
        elif max(self._said_speed, self._clock.step_s(0)) > 4 / 3 * min(self._said_speed, self._clock.step_s(0)):
            why = f"a step takes {self._clock.step_s(0):.2g} s of training everything, not {self._said_speed:.2g} s"
            self.plans.append(said | {"why": why})
            self._said_speed = self._clock.step_s(0)

    def expected(self, candidate: Candidate, recipe: Mapping[str, float]) -> float:
        """The score that a candidate which was not measured is expected to reach."""
        arm = Arm(candidate=candidate, learning_rate=recipe.get("learning_rate"), schedule=SCHEDULE_SHARE)
        mean, covariance = self._posterior([arm])
        return float(scores(mean, covariance)[0])

    def usual(self, candidate: Candidate, *, rate: float | None = None, share: float = 1.0) -> dict[str, float]:
        """The recipe that a depth is tried with before any are sampled.

        It has the learning rate that is expected to score most at this depth, or the middle of them, and a share of the
        full schedule.
        """
        space, expected = self._bench.space, self._bench.expectations
        plain = dataclasses.replace(candidate, augmentation=None, option=None, head="own")
        entries = [
            (mean, known)
            for c, known, mean in zip(expected.candidates, expected.rates, expected.mean, strict=True)
            if c == plain and known is not None
        ]
        middle = math.sqrt(space.learning_rate[0] * space.learning_rate[1])
        best = self.at_share(max(entries)[1], share) if entries else middle
        chosen = rate or best or middle
        steps = max(round(share * self._clock.usual_steps(candidate)), 1)
        return {
            "frozen_blocks": candidate.frozen_blocks or 0,
            "learning_rate": within(chosen, space.learning_rate),
            "head_ratio": within(DEFAULT_HEAD_RATIO, space.head_ratio),
            "epochs": round(steps / self._bench.pace.steps_for(1), 1),
            "steps": float(steps),
        }


def within(value: float, bounds: tuple[float, float]) -> float:
    """The value, or the bound that it exceeds.

    >>> within(3.0, (0.0, 2.0))
    2.0
    """
    return min(max(value, bounds[0]), bounds[1])
