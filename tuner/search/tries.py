"""One trial of a study: it is asked for, trained, stored, and told to the study."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tuner.interruption import uninterrupted
from tuner.search.bench import Bench
from tuner.search.clock import Clock
from tuner.search.journal import seal_journal
from tuner.search.planning import FINAL_SHARE, Planner, within
from tuner.search.sampling import Sampling
from tuner.search.space import Candidate
from tuner.search.store import Pruned
from tuner.search.telling import Telling
from tuner.training.train import Stopped, rows_on_the_way

if TYPE_CHECKING:
    import optuna

HEAD_SHARE = 0.15
"""Share of the budget that fitting one BiLSTM may take."""


class Tries:
    """Runs single trials.

    Args:
        bench: where they run.
        study: that they are told to.
        clock: of the search.
        planner: knows the recipe of what is not sampled.
        sampling: draws the rest.
        telling: told what is being trained.
        journal_of: the run folder whose journal the study lies in; None where it lies in another storage.
    """

    def __init__(
        self,
        bench: Bench,
        *,
        study: optuna.Study,
        clock: Clock,
        planner: Planner,
        sampling: Sampling,
        telling: Telling,
        journal_of: Path | None = None,
    ) -> None:
        self._bench, self._study, self._clock, self._planner = bench, study, clock, planner
        self._sampling, self._telling, self._journal_of = sampling, telling, journal_of

    def one(
        self, queued: Candidate | None, *, rate: float | None = None, share: float = 1.0, most_s: float = math.inf
    ) -> None:
        """Run one trial of the study: train a candidate, store what came out, and tell the study.

        Args:
            queued: the candidate whose turn it is; None for a sampled one.
            rate: the learning rate that is planned for a queued one; by default the usual one of its depth.
            share: of its schedule that is planned for a queued one.
            most_s: seconds that a sampled one may take.
        """
        from optuna.trial import TrialState

        steps_planned = None
        if queued is not None and queued.trains_blocks and queued.start == self._bench.space.start:
            values = self._planner.usual(queued, rate=rate, share=share)
            steps_planned = values.pop("steps")
            low, high = self._bench.space.epochs
            self._study.enqueue_trial({**values, "epochs": int(within(round(values["epochs"]), (low, high)))})
        trial = self._study.ask()
        candidate, recipe = self._sampling.suggest(trial, queued, steps=steps_planned, most_s=most_s)
        if share < 1:  # less than it was to have, which the final fit makes up for
            recipe["share"] = share
        trial.set_user_attr("candidate", candidate.to_json())
        trial.set_user_attr("recipe", recipe)
        name = self._bench.store.next_name()
        trial.set_user_attr("run", str(name))
        label = candidate.label(self._bench.backbone.n_blocks)
        truth = self._bench.rows.truth.take(rows_on_the_way(len(self._bench.rows.validation)))
        steps = int(recipe.get("steps", 0))
        out_of_time = False
        self._telling(f"trial {trial.number + 1}: {label}", steps=steps)

        def check(done: int, predictions: np.ndarray) -> None:
            # Checks lie so many steps apart in every run, so that runs of any length compare at equal steps. The last
            # one of a run that ends sooner than it was planned to is its score.
            if done < steps and done % self._bench.pace.check_every == 0:
                trial.report(truth.score(predictions), done // self._bench.pace.check_every - 1)
                if trial.should_prune():
                    raise Stopped

        began = time.perf_counter()

        def step(done: int) -> int | None:
            nonlocal out_of_time
            if done % 10:
                return None
            self._telling(f"trial {trial.number + 1}: {label}", steps_done=done, steps=steps)
            # The speed that was measured may have been wrong; the first trial may overrun, later ones may not.
            if self._bench.runs and self._clock.left() < 0:
                out_of_time = True
                trial.set_user_attr("out_of_time", True)
                raise Stopped
            return self.sooner(done, steps, per_step=(time.perf_counter() - began) / max(done, 1))

        try:
            if not candidate.trains_blocks:
                share = (
                    math.inf if self._clock.deadline.budget_s is None else HEAD_SHARE * self._clock.deadline.budget_s
                )
                run = self._bench.run_head(
                    name, candidate, seed=self._bench.seed, on_step=step, most_seconds=min(share, self._clock.left())
                )
            else:
                run = self._bench.run_trained(
                    name, candidate, recipe=recipe, seed=self._bench.seed, on_check=check, on_step=step
                )
        except BaseException:
            if name not in self._bench.runs:  # else it is done, and Ctrl-C came after that
                self._study.tell(trial, state=TrialState.FAIL)
            raise
        # What is stored is the truth of what was done; a study that a dying process did not tell is told on resuming.
        if run is None:
            pruned = Pruned(name=name, candidate=candidate, recipe=recipe, out_of_time=out_of_time)
            with uninterrupted():
                self._bench.store.keep_pruned(pruned)
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            trial.set_user_attr("seconds", run.seconds)
            self._study.tell(trial, run.score)
        if self._journal_of is not None:
            seal_journal(self._journal_of, work=self._bench.store.work)

    def sooner(self, done: int, steps: int, *, per_step: float) -> int | None:
        """After how many steps a run has to end for its final fit to have time; None where it may go on to its end.

        A machine may be slower than planned. No run is cut to less than half of what it was begun with.

        Args:
            done: steps that are done.
            steps: that the run was begun with.
            per_step: seconds of a step, as they were until now.
        """
        if not self._clock.by_time or not steps:
            return None
        bench = self._bench
        growth = self._clock.growth if bench.refits else 0.0
        final_s = FINAL_SHARE * growth * min(steps, bench.pace.schedule) * per_step
        possible = done + (self._clock.left() - final_s) / per_step - bench.pace.check_steps
        return max(int(possible), steps // 2, done) if possible < steps else None
