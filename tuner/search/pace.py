"""How many rows a step takes, how many steps a run has, and how long a step lasts."""

from __future__ import annotations

import math
from collections.abc import Callable

from tuner.search.expectations import SCHEDULE_SHARE
from tuner.search.plan import speeds
from tuner.training.train import CHECK_ROWS, CHECKS

SMALL_BATCH, LARGE_BATCH, LARGE_DATA = 16, 32, 2_000
TIMED_STEPS = 5
STEP_IN_PASSES = 3.0
"""What a training step takes, in forward passes of its rows: one, and two backwards."""


def usual_batch(n_train: int) -> int:
    """Number of rows a step that is usual for so many training rows."""
    return SMALL_BATCH if n_train <= LARGE_DATA else LARGE_BATCH


class Pace:
    """Steps of the runs of a search and the seconds that they take.

    It learns from the runs: what a step took (`note`), and that memory does not hold the rows of one (`halve`).

    Args:
        n_train: training rows.
        n_validation: validation rows.
        n_blocks: of the model.
        batch_size: rows a step.
        rows_seen: rows that a run of the evidence trained on, repeats included.
        row_seconds: of a forward pass of one row.
    """

    def __init__(
        self, *, n_train: int, n_validation: int, n_blocks: int, batch_size: int, rows_seen: int, row_seconds: float
    ) -> None:
        self.n_train, self.n_validation, self.n_blocks = n_train, n_validation, n_blocks
        self.batch_size, self.rows_seen, self.row_seconds = batch_size, rows_seen, row_seconds
        self.step_seconds: dict[int, float] = {}
        """Seconds of a step by frozen blocks, as far as they are known."""

    def steps_for(self, epochs: int) -> int:
        """Optimizer steps of so many epochs."""
        return epochs * -(-self.n_train // self.batch_size)

    @property
    def schedule(self) -> int:
        """Optimizer steps of a run at its full schedule."""
        return max(round(SCHEDULE_SHARE * self.rows_seen / self.batch_size), 1)

    @property
    def check_every(self) -> int:
        """Steps between the checks of a run: the same for runs of any length, so that they compare at equal steps."""
        return max(math.ceil(self.schedule / CHECKS), 1)

    @property
    def check_steps(self) -> float:
        """Cost of a run's checks on the validation rows, in training steps: a forward pass is a third of one."""
        rows = (CHECKS - 1) * min(self.n_validation, CHECK_ROWS) + self.n_validation
        return rows / self.batch_size / 3

    def seconds_per_step(
        self, depth: int, *, timed: Callable[[int], float], shallowest: int = 0, most_s: float = math.inf
    ) -> float:
        """Seconds of a training step at a depth, between those that runs showed.

        Where none has run yet, steps at the shallowest depth that may be trained are timed, as long as that takes at
        most so many seconds; else what a row took in the pass over the frozen blocks tells: a step passes forwards, and
        twice as much backwards. Either speaks for the other depths by the blocks that they train.

        Args:
            depth: number of frozen blocks.
            timed: runs a few steps at a depth and returns the seconds of one.
            shallowest: the depth that steps are timed at.
            most_s: seconds that timing them may take.
        """
        if not self.step_seconds:
            whole = STEP_IN_PASSES * self.row_seconds * self.batch_size
            if TIMED_STEPS * whole * (1 - shallowest / self.n_blocks) <= most_s:
                whole = timed(shallowest) / (1 - shallowest / self.n_blocks)
            self.step_seconds = {known: whole * (1 - known / self.n_blocks) for known in range(self.n_blocks)}
        return speeds(self.step_seconds, self.n_blocks)[min(depth, self.n_blocks - 1)]

    def note(self, depth: int, seconds: float) -> None:
        """Take note of the seconds of a step, as a run just showed them.

        Where other work on the machine changed them by a third, they changed at every depth.
        """
        if self.step_seconds:
            before = speeds(self.step_seconds, self.n_blocks)[depth]
            change = seconds / before if before > 0 else 1.0
            if not 3 / 4 < change < 4 / 3:
                self.step_seconds = {known: change * value for known, value in self.step_seconds.items()}
        self.step_seconds[depth] = seconds

    def halve(self) -> None:
        """Halve the rows a step from here on, which take half the time."""
        self.batch_size //= 2
        self.step_seconds = {depth: seconds / 2 for depth, seconds in self.step_seconds.items()}
