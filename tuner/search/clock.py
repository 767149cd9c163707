"""The time of a search: what is left of the budget, and what runs, the final fit and all that follows take of it."""

from __future__ import annotations

import math
import time

from tuner.export import SUPPORT_ROWS
from tuner.search.bench import Bench
from tuner.search.final import averages
from tuner.search.plan import MOST_SEEDS
from tuner.search.space import SCRATCH_EPOCHS, Candidate

TIMING_SHARE = 0.1
"""Share of the time that is left that timing a few steps may take."""
SAVING_S = 5.0
"""Seconds for saving the model and writing the report."""


class Deadline:
    """The seconds that are left of a budget, or endless ones without.

    Args:
        budget_s: seconds of the whole command, None without a bound.
        began: when it began, as `time.monotonic` has it; now by default.
    """

    def __init__(self, budget_s: float | None, *, began: float | None = None) -> None:
        self.budget_s = budget_s
        self._start = time.monotonic() if began is None else began

    @property
    def used(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def left(self) -> float:
        """Seconds left of the budget."""
        return math.inf if self.budget_s is None else self.budget_s - self.used


class Clock:
    """The seconds that are left, and those that are needed.

    Args:
        bench: of the search.
        deadline: of the whole command.
        test_rows: rows of the test split, whose scoring takes time in the end.
    """

    def __init__(self, bench: Bench, *, deadline: Deadline, test_rows: int = 0) -> None:
        self._bench, self.deadline, self._test_rows = bench, deadline, test_rows
        self.by_time = deadline.budget_s is not None
        """Whether the time is planned; else trials are counted."""

    def left(self) -> float:
        """Seconds left for trials, confirmations and the final fit."""
        return self.deadline.left() - self.tail_s()

    def step_s(self, depth: int) -> float:
        """Seconds of a step at a depth; timing a few steps may take `TIMING_SHARE` of what is left."""
        shallowest = min(self._bench.space.depths[0], self._bench.backbone.n_blocks - 1)
        return self._bench.trainer.seconds_per_step(
            depth, shallowest=shallowest, most_s=TIMING_SHARE * max(self.left(), 0.0)
        )

    def run_s(self, candidate: Candidate) -> float:
        """Seconds of a run of a candidate at its full schedule."""
        if not candidate.trains_blocks:
            return 0.0
        depth = candidate.frozenness(self._bench.backbone.n_blocks)
        return (self.usual_steps(candidate) + self._bench.pace.check_steps) * self.step_s(depth)

    def usual_steps(self, candidate: Candidate) -> int:
        """Steps of a run of a candidate at its full schedule."""
        if candidate.start == "scratch":
            return self._bench.pace.steps_for(sum(SCRATCH_EPOCHS) // 2)
        return self._bench.pace.schedule

    def final_s(self, candidate: Candidate, *, steps: float) -> float:
        """Seconds of one seed of a final fit on all labelled rows, with so many steps on the training rows alone."""
        return self.growth * steps * self.step_s(candidate.frozenness(self._bench.backbone.n_blocks))

    @property
    def growth(self) -> float:
        """How many times as many rows the final fit trains on as a run does."""
        return 1 + len(self._bench.rows.validation) / len(self._bench.rows.train)

    def usual_final_s(self, candidate: Candidate) -> float:
        """Seconds of one seed of a final fit at its full schedule; 0 where there is none."""
        return self.final_s(candidate, steps=self._bench.pace.schedule) if self._bench.refits else 0.0

    def tail_s(self) -> float:
        """Seconds of what comes after training: the test split, the saved model, the report."""
        bench = self._bench
        support = min(SUPPORT_ROWS, len(bench.rows.train))
        return SAVING_S + bench.pace.row_seconds * (self._test_rows + len(bench.rows.validation) + support)

    def reserve_s(self) -> float:
        """Seconds that confirming and fitting the leader take, as far as they are planned."""
        leaders = self._bench.leaders()
        if not self._bench.refits or not leaders or not leaders[0].candidate.trains_blocks:
            return 0.0
        final_s, run_s = self.usual_final_s(leaders[0].candidate), leaders[0].seconds
        average_s = (MOST_SEEDS - 1) * (run_s + final_s) if averages(leaders[0].candidate) else 0.0
        left = self.left()
        return final_s + (average_s if final_s + average_s <= left else 0.0)
