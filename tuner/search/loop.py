"""The loop of a search: what is planned, what the sampler tries after it, variants, confirmations, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.errors import OptionError
from tuner.search.bench import Bench
from tuner.search.clock import SAVING_S, Clock, Deadline
from tuner.search.confirmations import confirm
from tuner.search.plan import LEAST_SHARE, Plan, duration
from tuner.search.planning import Planner
from tuner.search.sampling import Sampling
from tuner.search.space import Candidate, candidate_at
from tuner.search.store import Run
from tuner.search.telling import Telling
from tuner.search.tries import Tries
from tuner.search.variants import Variants

if TYPE_CHECKING:
    import optuna


class Trials:
    """The trials of a study: what is planned, what is sampled, and when to stop.

    Args:
        bench: where they run.
        study: that they are told to.
        deadline: of the whole command.
        recommended: what is tried first, and fitted where nothing speaks against it.
        n_trials: how many there may be; None without a bound.
        test_rows: rows of the test split, whose scoring takes time in the end.
        journal_of: the run folder whose journal the study lies in; None where it lies in another storage.
    """

    def __init__(
        self,
        bench: Bench,
        *,
        study: optuna.Study,
        deadline: Deadline,
        recommended: Candidate,
        n_trials: int | None,
        test_rows: int = 0,
        journal_of: Path | None = None,
    ) -> None:
        self.bench, self.study, self.n_trials = bench, study, n_trials
        self.clock = Clock(bench, deadline=deadline, test_rows=test_rows)
        self.planner = Planner(bench, clock=self.clock, recommended=recommended)
        self.sampling = Sampling(bench, clock=self.clock)
        self.telling = Telling(bench, deadline=deadline, n_trials=n_trials)
        self.tries = Tries(
            bench, study=study, clock=self.clock, planner=self.planner, sampling=self.sampling, telling=self.telling,
            journal_of=journal_of,
        )  # fmt: skip
        self.variants = Variants(bench, clock=self.clock, telling=self.telling)
        # Of a number of trials the first is what is recommended. A budget begins with what costs a second, so that
        # the plan knows what it scored.
        asked, by_time = dict.fromkeys((*bench.space.first, *bench.space.controls)), self.clock.by_time
        self.queue = sorted(
            asked, key=lambda candidate: (by_time and not candidate.is_linear, candidate != recommended,
                                          not candidate.is_linear)
        )  # fmt: skip

    def run(self) -> str:
        """Run trials until a bound is met; says which: budget, trials, exhausted or interrupted."""
        # Candidates whose trial was pruned before an interruption had their turn.
        done = {run.candidate for run in self.bench.runs.values()}
        done |= {pruned.candidate for pruned in self.bench.store.pruned.values()}
        self.queue = [candidate for candidate in self.queue if candidate not in done]
        try:
            while True:
                if self.n_trials is not None and len(self.bench.store.trials) >= self.n_trials:
                    return "trials"
                if self.clock.by_time:
                    ended = self._by_plan()
                    if ended is not None:
                        return ended
                    continue
                if not self.queue and self.sampling.is_exhausted:
                    return "exhausted"
                self.sampling.widen()
                self.tries.one(self.queue.pop(0) if self.queue else None)
        except KeyboardInterrupt:
            if not self.bench.runs:
                raise
            return "interrupted"

    def _by_plan(self) -> str | None:
        """One more trial within the budget; why there is none, or None where there was one."""
        head = next((c for c in self.queue if not c.trains_blocks), None)
        if head is not None:
            if self.bench.runs and self.clock.left() <= 0:
                return "budget"
            self.queue.remove(head)
            self.tries.one(head)
            return None
        plan = self.planner.plan()
        if plan is not None and plan.runs:
            arm = plan.runs[0].arm
            self.queue = [candidate for candidate in self.queue if candidate != arm.candidate]
            self.tries.one(arm.candidate, rate=arm.learning_rate, share=arm.share)
            return None
        if plan is not None and self._fits_at_once(plan):
            return "budget"
        spare = self._spare_s()
        fitting = [candidate for candidate in self.queue if self.clock.run_s(candidate) <= spare]
        if fitting:
            self.queue.remove(fitting[0])
            self.tries.one(fitting[0])
            return None
        if plan is not None and not self.bench.runs and not self.bench.store.pruned and not self.bench.refits:
            # Without a final fit there is nothing to save but a run, however short.
            arm, run_s = plan.final.arm, self.clock.run_s(plan.final.arm.candidate)
            self.tries.one(arm.candidate, rate=arm.learning_rate, share=min(max(self.clock.left() / run_s, 0.01), 1.0))
            return None
        if self.sampling.is_exhausted:
            return "exhausted"
        spare = self._spare_s(options=True)
        deepest = min(self.sampling.depths[1], self.bench.backbone.n_blocks - 1)
        if self.clock.run_s(candidate_at(deepest, self.bench.backbone.n_blocks)) > spare:
            return "budget"
        self.sampling.widen()
        self.tries.one(None, most_s=spare)
        return None

    def _fits_at_once(self, plan: Plan) -> bool:
        """Whether the time goes to a final fit of what trains blocks and was not measured: the score of another run
        would not tell whether it is better, and what is not measured could not be fitted any more."""
        trained = any(run.candidate.trains_blocks for run in self.bench.leaders())
        return self.bench.refits and not trained and not plan.runs and plan.final.arm.candidate.trains_blocks

    def _spare_s(self, *, options: bool = False) -> float:
        """Seconds that nothing needs which is planned; what was asked for goes before the options, sampling after
        them."""
        return self.clock.left() - self.clock.reserve_s() - (self.variants.due_s() if options else 0.0)

    def compare_variants(self) -> bool:
        """Train the best candidate with its variants; False where Ctrl-C cut it short."""
        return self.variants.compare()

    def confirm(self) -> bool:
        """Repeat the leading candidates with further seeds; False where Ctrl-C cut it short."""
        return confirm(self.bench, clock=self.clock, telling=self.telling)

    # -- what was done

    def counts(self) -> dict[str, int]:
        """Trials by how they ended. What is stored counts, since the study may not have been told of it."""
        from optuna.trial import TrialState

        complete = sum(isinstance(trial, Run) for trial in self.bench.store.trials)
        failed = self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        return {"complete": complete, "pruned": len(self.bench.store.pruned), "failed": len(failed)}

    def why_unscored(self, candidate: Candidate) -> str:
        """Why a candidate has no score: limited away, never reached, out of time, pruned or failed."""
        from optuna.trial import TrialState

        states = {}
        for trial in self.study.get_trials(deepcopy=False):
            if trial.user_attrs.get("candidate") == candidate.to_json():
                states[trial.state] = trial
        if TrialState.PRUNED in states:
            if states[TrialState.PRUNED].user_attrs.get("out_of_time"):
                return "the time was up before its trial came to an end"
            return "its trial was pruned: it scored less than the others after the same number of steps"
        if states:
            return "its trial failed"
        if candidate not in (*self.bench.space.first, *self.bench.space.controls):
            return "the search was limited to other strategies"
        return "the search stopped before its turn"

    def unscored(self, scored: Sequence[Candidate]) -> tuple[dict[str, Any], ...]:
        """Candidates that were asked for or begun and have no score, with the reason."""
        begun = (trial.user_attrs.get("candidate") for trial in self.study.get_trials(deepcopy=False))
        tried = (Candidate(**candidate) for candidate in begun if candidate is not None)
        named = dict.fromkeys((*self.bench.space.first, *self.bench.space.controls, *tried))
        reasons = {candidate: self.why_unscored(candidate) for candidate in named if candidate not in scored}
        reasons |= self.variants.not_repeated
        return tuple(candidate.to_json() | {"why": why} for candidate, why in reasons.items())


def check_budget(trials: Trials, *, asked: Sequence[Candidate]) -> None:
    """Raise `OptionError` where a budget is smaller than any plan.

    It then does not even hold the saving of a model, or only candidates are asked for that train blocks and not even
    an under-trained run of the fastest fits into what is left. Fitting a head takes seconds, so that one is fitted
    whatever measuring took.
    """
    bench, clock, deadline = trials.bench, trials.clock, trials.clock.deadline
    if deadline.budget_s is None or bench.runs:
        return
    prepared, tail_s = deadline.used, clock.tail_s()
    needed, left = 1.0, deadline.budget_s - SAVING_S
    if all(candidate.trains_blocks for candidate in asked):
        deepest = max(candidate.frozenness(bench.backbone.n_blocks) for candidate in asked)
        needed = math.ceil(LEAST_SHARE * bench.pace.schedule / 2) * clock.step_s(deepest)
        left = deadline.left() - tail_s
    if left < needed:
        enough = math.ceil(2 * (prepared + needed + tail_s) / 30) * 30
        raise OptionError(
            f"--budget of {deadline.budget_s:.3g} s is too short for one trial",
            why=f"measuring and preparing took {duration(prepared)}, the shortest run of what is tried takes "
            f"{duration(needed)}, and saving it {duration(tail_s)}",
            fix=f"pass --budget {enough}s or more",
        )
