"""What a trial trains: a queued candidate with its recipe, or one that the sampler draws within a range of depths."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from tuner.search.bench import Bench
from tuner.search.clock import Clock
from tuner.search.plan import LEAST_SHARE
from tuner.search.space import SCRATCH_EPOCHS, SCRATCH_RATES, Candidate, candidate_at

if TYPE_CHECKING:
    import optuna


class Sampling:
    """Draws candidates and recipes.

    Args:
        bench: of the search.
        clock: its time.
    """

    def __init__(self, bench: Bench, *, clock: Clock) -> None:
        self._bench, self._clock = bench, clock
        self.depths = bench.space.depths
        """The range of frozen blocks that is sampled."""

    @property
    def is_exhausted(self) -> bool:
        """Whether there is nothing to sample: the range holds no depth that trains blocks."""
        low, high = self.depths
        return low > min(high, self._bench.backbone.n_blocks - 1)

    def widen(self) -> None:
        """Widen the sampled range to the leader's depth, where that is a control outside it."""
        leaders = [run for run in self._bench.leaders() if run.candidate.start == "pretrained"]
        if leaders and leaders[0].candidate.strategy != "feature_based":
            depth = leaders[0].candidate.frozenness(self._bench.backbone.n_blocks)
            low, high = min(self.depths[0], depth), max(self.depths[1], depth)
            if (low, high) != self.depths:
                self.depths = low, high
                self._bench.prefixes.cache(range(low, high + 1))

    def suggest(
        self, trial: optuna.Trial, queued: Candidate | None, *, steps: float | None, most_s: float
    ) -> tuple[Candidate, dict[str, float]]:
        """Choose what a trial trains, and with which recipe: the queued candidate, or one that the sampler draws.

        Args:
            trial: of the study, which the values are drawn from.
            queued: the candidate whose turn it is; None to draw one.
            steps: optimizer steps, where they are planned; None for those of the epochs that are drawn.
            most_s: seconds that the run may take; it gets fewer steps where they do not suffice, down to `LEAST_SHARE`
                of a schedule.

        Returns:
            the candidate and its recipe, which is empty where no block is trained.
        """
        space, n_blocks = self._bench.space, self._bench.backbone.n_blocks
        if queued is not None and not queued.trains_blocks:
            return queued, {}
        if queued is not None and queued.start == "scratch" != space.start:
            rate, epochs = math.sqrt(math.prod(SCRATCH_RATES)), sum(SCRATCH_EPOCHS) // 2
            values = {"learning_rate": rate, "head_ratio": 1.0, "epochs": float(epochs)}
            return queued, values | {"steps": float(self._bench.pace.steps_for(epochs))}
        low, high = self.depths
        if queued is not None:
            low, high = min(low, queued.frozen_blocks or 0), max(high, queued.frozen_blocks or 0)
        depth = trial.suggest_int("frozen_blocks", low, min(high, n_blocks - 1))
        values = {
            "learning_rate": trial.suggest_float("learning_rate", *space.learning_rate, log=True),
            "head_ratio": trial.suggest_float("head_ratio", *space.head_ratio, log=True),
            "epochs": float(trial.suggest_int("epochs", *space.epochs)),
        }
        candidate = dataclasses.replace(candidate_at(depth, n_blocks), start=space.start, option=space.option)
        asked = steps or float(self._bench.pace.steps_for(int(values["epochs"])))
        taken = asked
        if math.isfinite(most_s):
            affordable = most_s / self._clock.step_s(depth) - self._bench.pace.check_steps
            taken = float(
                max(min(asked, int(affordable)), min(asked, math.ceil(LEAST_SHARE * self._bench.pace.schedule)))
            )
        if steps is not None or taken != asked:
            values["epochs"] = round(taken / self._bench.pace.steps_for(1), 1)
        return candidate, values | {"steps": taken}
