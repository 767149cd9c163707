"""The loop of a search: what is planned, what the sampler tries after it, variants, confirmations, and when to stop."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tuner.errors import OptionError
from tuner.export import SUPPORT_ROWS
from tuner.interruption import uninterrupted
from tuner.search.choice import arm_of, choose_winner, measure, seed_variance
from tuner.search.expectations import DISTRUST, SCHEDULE_SHARE, USUAL_CORRELATION, Arm, cut_loss, scores, update
from tuner.search.final import averages
from tuner.search.journal import seal_journal
from tuner.search.plan import LEAST_SHARE, MOST_SEEDS, Offer, Plan, duration, in_words, make_plan, validated
from tuner.search.space import SCRATCH_EPOCHS, SCRATCH_RATES, Candidate, candidate_at
from tuner.search.store import Pruned, Run
from tuner.search.trials import CLASS_WEIGHTED, Bench
from tuner.training.train import Stopped, rows_on_the_way

if TYPE_CHECKING:
    import optuna

FINALISTS = 3
CONFIRMATION_SEEDS = 2
SHARES = (1.0, 0.5, 0.25)
"""Of its schedule that a run is planned with: less than all of it only where nothing else fits."""
FINAL_SHARE = 0.6
"""Of its schedule that a final fit keeps where runs turn out slower than planned."""
HEAD_SHARE = 0.15
"""Share of the budget that fitting one BiLSTM may take."""
TIMING_SHARE = 0.1
"""Of the time that is left, which timing a few steps may take."""
SAVING_S = 5.0
"""Seconds for saving the model and writing the report."""
DEFAULT_HEAD_RATIO = 5.0


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
        self.bench, self.study, self.deadline = bench, study, deadline
        self.journal_of = journal_of
        self.recommended, self.n_trials = recommended, n_trials
        self.depths = bench.space.depths
        self.plans: list[dict[str, Any]] = []
        """What was planned and when it was changed, in words."""
        self._test_rows = test_rows
        # Of a number of trials the first is what is recommended. A budget begins with what costs a second, so that
        # the plan knows what it scored.
        asked = dict.fromkeys((*bench.space.first, *bench.space.controls))
        self.by_time = deadline.budget_s is not None
        self.queue = sorted(
            asked, key=lambda candidate: (self.by_time and not candidate.is_linear, candidate != recommended,
                                          not candidate.is_linear)
        )  # fmt: skip
        self.not_repeated: dict[Candidate, str] = {}

    def run(self) -> str:
        """Run trials until a bound is met; says which: budget, trials, exhausted or interrupted."""
        # Candidates whose trial was pruned before an interruption had their turn.
        done = {run.candidate for run in self.bench.runs.values()}
        done |= {pruned.candidate for pruned in self.bench.store.pruned.values()}
        self.queue = [candidate for candidate in self.queue if candidate not in done]
        try:
            while True:
                if self.n_trials is not None and self._finished() >= self.n_trials:
                    return "trials"
                if self.by_time:
                    ended = self._by_plan()
                    if ended is not None:
                        return ended
                    continue
                if not self.queue and self._nothing_to_sample():
                    return "exhausted"
                self._widen()
                self._trial(self.queue.pop(0) if self.queue else None)
        except KeyboardInterrupt:
            if not self.bench.runs:
                raise
            return "interrupted"

    # -- the plan

    def _by_plan(self) -> str | None:
        """One more trial within the budget; why there is none, or None where there was one."""
        head = next((c for c in self.queue if not c.trains_blocks), None)
        if head is not None:
            if self.bench.runs and self._left() <= 0:
                return "budget"
            self.queue.remove(head)
            self._trial(head)
            return None
        plan = self.plan()
        if plan is not None and plan.runs:
            arm = plan.runs[0].arm
            self.queue = [candidate for candidate in self.queue if candidate != arm.candidate]
            self._trial(arm.candidate, rate=arm.learning_rate, share=arm.share)
            return None
        if plan is not None and self._fits_at_once(plan):
            return "budget"
        spare = self._spare_s()
        fitting = [candidate for candidate in self.queue if self._run_s(candidate) <= spare]
        if fitting:
            self.queue.remove(fitting[0])
            self._trial(fitting[0])
            return None
        if plan is not None and not self.bench.runs and not self.bench.store.pruned and not self.bench.refits:
            # Without a final fit there is nothing to save but a run, however short.
            arm, run_s = plan.final.arm, self._run_s(plan.final.arm.candidate)
            self._trial(arm.candidate, rate=arm.learning_rate, share=min(max(self._left() / run_s, 0.01), 1.0))
            return None
        if self._nothing_to_sample():
            return "exhausted"
        spare = self._spare_s(options=True)
        deepest = min(self.depths[1], self.bench.backbone.n_blocks - 1)
        if self._run_s(candidate_at(deepest, self.bench.backbone.n_blocks)) > spare:
            return "budget"
        self._widen()
        self._trial(None, most_s=spare)
        return None

    def _fits_at_once(self, plan: Plan) -> bool:
        """Whether the time goes to a final fit of what trains blocks and was not measured: the score of another run
        would not tell whether it is better, and what is not measured could not be fitted any more."""
        trained = any(run.candidate.trains_blocks for run in self.bench.leaders())
        return self.bench.refits and not trained and not plan.runs and plan.final.arm.candidate.trains_blocks

    def plan(self) -> Plan | None:
        """What the time that is left is best spent on; None without a budget. Said where it is new."""
        if not self.by_time:
            return None
        plans: list[Plan] = []
        for share in SHARES:
            offers, measured = self._offers(share)
            if not offers:
                return None
            mean, covariance = self._posterior([offer.arm for offer in offers])
            n = self.bench.truth.n_units
            scores = 1 / (1 + np.exp(-np.clip(mean, -4, 4)))
            noise = DISTRUST * ((1 - USUAL_CORRELATION) / (n * scores * (1 - scores)) + seed_variance(self.bench))
            # What is fitted in the end has its full schedule; of two that are expected to score alike, the advised one.
            mean = mean + np.array([cut_loss(offer.arm.share) for offer in offers])
            mean += 1e-6 * np.array([offer.arm.candidate == self.recommended for offer in offers])
            made = make_plan(
                offers, mean=mean, covariance=covariance, noise=noise, left_s=max(self._left(), 0.0),
                averages=self.bench.refits, measured=measured, only_measured=not self.bench.refits,
            )  # fmt: skip
            plans.append(validated(made, offers, left_s=self._left()) if self.bench.refits else made)
            # Runs at a part of their schedule are bought where none fits at all of it, its final fit included.
            left = self._left()
            if measured or any(o.run_s is not None and o.run_s + FINAL_SHARE * o.final_s <= left for o in offers):
                break
        plan = plans[-1] if plans[-1].runs else plans[0]
        self._say(plan)
        return plan

    def _offers(self, share: float) -> tuple[list[Offer], list[int]]:
        """What may be run and fitted: all depths at their learning rates, for a share of their schedule, and what was
        measured; and the places of what trains blocks among the latter."""
        bench, n_blocks = self.bench, self.bench.backbone.n_blocks
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
            steps = share * bench.schedule + bench.check_steps
            run_s = steps * self.step_s(candidate.frozenness(n_blocks))
            arm = Arm(candidate=candidate, learning_rate=at, share=share, schedule=SCHEDULE_SHARE)
            offers.append(Offer(arm=arm, run_s=run_s, final_s=self._final_s(candidate)))
        for run in bench.leaders():
            if not run.candidate.trains_blocks:
                offers.append(Offer(arm=arm_of(run), run_s=None, final_s=0.0))  # seconds, which there are in any case
            elif run.candidate.augmentation is None and run.candidate.head == "own":
                measured.append(len(offers))
                offers.append(Offer(arm=arm_of(run), run_s=None, final_s=self._final_s(run.candidate)))
        return offers, measured

    def at_share(self, rate: float | None, share: float) -> float | None:
        """The learning rate for a share of the schedule: one that was measured on longer runs has to go as far in fewer
        steps, up to the highest that was."""
        known = [value for value in self.bench.expectations.rates if value is not None]
        return rate if rate is None else min(rate / math.sqrt(SCHEDULE_SHARE * share), max(known))

    def _allowed(self, candidate: Candidate) -> bool:
        """Whether the search may train a candidate: what was asked for, such as what the advice says, and the range
        that is sampled."""
        space = self.bench.space
        low, high = space.depths
        in_range = candidate.start == space.start and low <= candidate.frozenness(space.n_blocks) <= high
        return in_range or (candidate.start == space.start and candidate in (*space.first, *space.controls))

    def _posterior(self, arms: Sequence[Arm]) -> tuple[np.ndarray, np.ndarray]:
        """Log odds that arms are expected to reach after what was measured."""
        leaders = self.bench.leaders()
        if not leaders:
            return self.bench.expectations.of(arms)
        known = [arm_of(run) for run in leaders]
        together = [*known, *(arm for arm in arms if arm not in known)]
        mean, covariance = update(
            self.bench.expectations, together, measured=range(len(known)), measurement=measure(self.bench)
        )
        order = [together.index(arm) for arm in arms]
        return mean[order], covariance[np.ix_(order, order)]

    def _say(self, plan: Plan) -> None:
        """Note the first plan, and one that is made after the speed of the machine changed by a third."""
        rows = len(self.bench.train_encoded) + len(self.bench.validation_encoded)
        text = in_words(
            plan, n_blocks=self.bench.backbone.n_blocks, rows=rows, tail_s=self.tail_s(), refits=self.bench.refits
        )
        said = {"text": text, "at_s": round(self.deadline.used, 1), "under_trained": plan.under_trained}
        if not self.plans:
            self.plans.append(said)
            if self.bench.progress is not None:
                self.bench.progress(f"plan: {text}", 0.0)
            self._speed = self.step_s(0)
        elif max(self._speed, self.step_s(0)) > 4 / 3 * min(self._speed, self.step_s(0)):
            why = f"a step takes {self.step_s(0):.2g} s of training everything, not {self._speed:.2g} s"
            self.plans.append(said | {"why": why})
            self._speed = self.step_s(0)

    def step_s(self, depth: int) -> float:
        """Seconds of a step at a depth; timing a few steps may take `TIMING_SHARE` of what is left."""
        shallowest = min(self.bench.space.depths[0], self.bench.backbone.n_blocks - 1)
        return self.bench.seconds_per_step(depth, shallowest=shallowest, most_s=TIMING_SHARE * max(self._left(), 0.0))

    def _run_s(self, candidate: Candidate) -> float:
        """Seconds of a run of a candidate at its full schedule."""
        if not candidate.trains_blocks:
            return 0.0
        depth = candidate.frozenness(self.bench.backbone.n_blocks)
        return (self._usual_steps(candidate) + self.bench.check_steps) * self.step_s(depth)

    def _usual_steps(self, candidate: Candidate) -> int:
        if candidate.start == "scratch":
            return self.bench.steps_for(sum(SCRATCH_EPOCHS) // 2)
        return self.bench.schedule

    def _final_s(self, candidate: Candidate) -> float:
        """Seconds of one seed of a final fit at its full schedule."""
        return self.final_s(candidate, steps=self.bench.schedule) if self.bench.refits else 0.0

    def left_s(self) -> float:
        """Seconds left for the final fit."""
        return self._left()

    def final_s(self, candidate: Candidate, *, steps: float) -> float:
        """Seconds of one seed of a final fit on all labelled rows, with so many steps on the training rows alone."""
        bench = self.bench
        growth = 1 + len(bench.validation_encoded) / len(bench.train_encoded)
        return growth * steps * self.step_s(candidate.frozenness(bench.backbone.n_blocks))

    def expected(self, candidate: Candidate, recipe: Mapping[str, float]) -> float:
        """The score that a candidate is expected to reach which was not measured."""
        arm = Arm(candidate=candidate, learning_rate=recipe.get("learning_rate"), schedule=SCHEDULE_SHARE)
        mean, covariance = self._posterior([arm])
        return float(scores(mean, covariance)[0])

    def report_final(self, candidate: Candidate) -> Callable[[int, int, int], None]:
        """What tells how far a final fit is."""
        label = f"final fit of {candidate.label(self.bench.backbone.n_blocks)} on all labelled rows"

        def report(place: int, done: int, of: int) -> None:
            if done % 10 == 0:
                self._report(f"{label}, seed {place + 1}", steps_done=done, steps=of)

        return report

    def tail_s(self) -> float:
        """Seconds of what comes after training: the test split, the saved model, the report."""
        bench = self.bench
        support = min(SUPPORT_ROWS, len(bench.train_encoded))
        return SAVING_S + bench.row_seconds * (self._test_rows + len(bench.validation_encoded) + support)

    def reserve_s(self) -> float:
        """Seconds that confirming and fitting the leader take, as far as they are planned."""
        leaders = self.bench.leaders()
        if not self.bench.refits or not leaders or not leaders[0].candidate.trains_blocks:
            return 0.0
        final_s, run_s = self._final_s(leaders[0].candidate), leaders[0].seconds
        average_s = (MOST_SEEDS - 1) * (run_s + final_s) if averages(leaders[0].candidate) else 0.0
        left = self._left()
        return final_s + (average_s if final_s + average_s <= left else 0.0)

    def _spare_s(self, *, options: bool = False) -> float:
        """Seconds that nothing needs which is planned; what was asked for goes before the options, sampling after
        them."""
        return self._left() - self.reserve_s() - (self._due_s() if options else 0.0)

    def _left(self) -> float:
        """Seconds left for trials, confirmations and the final fit."""
        return self.deadline.left() - self.tail_s()

    # -- variants

    def compare_variants(self) -> bool:
        """Train the best trained candidate once more with every variant of it, same recipe and seed: with augmented
        rows, with the options of training blocks, with the architecture's own head.

        What is not worth training has a note why. False where Ctrl-C cut it short.
        """
        leader = self._augmentation_due()
        if leader is not None:
            candidate = dataclasses.replace(leader.candidate, augmentation=self.bench.space.augmentation)
            why = self.bench.why_not_augmented(candidate)
            if not self._repeat_with(leader, candidate, kind="augmented", why=why):
                return False
        for option in self.bench.space.options:
            leader = self._option_due(option)
            if leader is not None:
                candidate = dataclasses.replace(leader.candidate, option=option)
                native = self._native_due()
                spare = 0.0 if native is None else native.seconds
                if not self._repeat_with(leader, candidate, kind=option, why=None, spare=spare):
                    return False
        leader = self._native_due()
        if leader is None:
            return True
        candidate = dataclasses.replace(leader.candidate, head="native")
        return self._repeat_with(leader, candidate, kind="native", why=self.bench.why_no_native(leader.candidate))

    def _repeat_with(
        self, leader: Run, candidate: Candidate, *, kind: str, why: str | None, spare: float = 0.0
    ) -> bool:
        """A run of a leader's recipe with a variant of its candidate, or a note `why` there is none.

        `spare` are seconds that it has to leave for what comes after it.
        """
        needed = leader.seconds + self.bench.seconds_for_views(candidate) + spare
        reserve_s = self.reserve_s() if self.by_time else 0.0
        left = self._left() - reserve_s
        if why is None and left < needed:
            why = f"it takes about {needed:.0f} s with what comes after it, and {max(left, 0):.0f} s were left"
        if why is not None:
            self.not_repeated[candidate] = why
            return True
        steps = int(leader.recipe.get("steps", 0))  # a linear head has none
        label = candidate.label(self.bench.backbone.n_blocks)

        def step(done: int) -> None:
            if done % 10 == 0:
                self._report(label, steps_done=done, steps=steps)
                if self._left() < reserve_s:
                    raise Stopped

        try:
            name = f"{leader.name}-{kind}"
            if candidate.is_linear:
                run: Run | None = self.bench.run_linear(name, candidate)
            else:
                run = self.bench.run_trained(name, candidate, recipe=leader.recipe, seed=leader.seed, on_step=step)
        except KeyboardInterrupt:
            return False
        if run is None:
            self.not_repeated[candidate] = "the time was up before its trial came to an end"
        return True

    def _option_due(self, option: str) -> Run | None:
        """The best candidate that was trained in the plain way, as long as none was with the option.

        Classes are weighted in whatever is best, linear heads included.
        """
        if any(run.candidate.option == option for run in self.bench.runs.values()):
            return None
        leaders = (run for run in self.bench.leaders() if run.candidate.option is None)
        if option == CLASS_WEIGHTED:
            return next(leaders, None)
        return self._best_trained(leaders)

    def _augmentation_due(self) -> Run | None:
        """The best trained candidate, where it is to be augmented and was not."""
        policy = self.bench.space.augmentation
        if policy is None or any(run.candidate.augmentation == policy for run in self.bench.runs.values()):
            return None
        return self._best_trained(self.bench.leaders())

    def _native_due(self) -> Run | None:
        """The best trained candidate, as long as no native head was trained."""
        if any(run.candidate.head == "native" for run in self.bench.runs.values()):
            return None
        return self._best_trained(self.bench.leaders())

    def _best_trained(self, leaders: Iterable[Run]) -> Run | None:
        trained = (run for run in leaders if run.candidate.trains_blocks)
        return next((run for run in trained if run.candidate.start == "pretrained"), None)

    def _due_s(self) -> float:
        """Seconds of the variants that are compared after the trials."""
        due = [self._option_due(option) for option in self.bench.space.options]
        due.append(self._native_due())
        seconds = sum(leader.seconds for leader in due if leader is not None)
        if (leader := self._augmentation_due()) is not None:
            candidate = dataclasses.replace(leader.candidate, augmentation=self.bench.space.augmentation)
            seconds += leader.seconds + self.bench.seconds_for_views(candidate)
        return seconds

    # -- confirmations

    def confirm(self) -> bool:
        """Repeat what would win, and the leading candidates, with further seeds, as far as the budget reaches.

        False where Ctrl-C cut it short.
        """
        bench = self.bench

        def leaders() -> list[Run]:
            found = [c.run for c in sorted(choose_winner(bench)[1], key=lambda c: -c.expected)]
            return [run for run in found if not run.candidate.is_linear][:FINALISTS]

        def step(done: int) -> None:
            if done % 10 == 0 and self._left() < 0:
                raise Stopped

        if not bench.runs:  # there was time for a single fit, or nothing came to a score
            return True
        confirmed: set[str] = set()
        first = next(iter(leaders()), None)
        wanted = [(run, offset) for run in leaders() for offset in range(1, CONFIRMATION_SEEDS + 1)]
        while wanted:
            run, offset = wanted.pop(0)
            name = f"{run.name}@{bench.seed + offset}"
            confirmed.add(run.name)
            final_s = self._final_s(run.candidate) if self.bench.refits and run.candidate.trains_blocks else 0.0
            # What would win is confirmed first; the others' confirmations leave time to average its seeds.
            final_s *= 1 if run is first else MOST_SEEDS
            # Seeds come in pairs: one alone says nothing of how they vary, nor whether their average pays.
            needed = (CONFIRMATION_SEEDS + 1 - offset) * run.seconds + final_s
            try:
                if name not in bench.runs and self._left() > needed:
                    label = run.candidate.label(bench.backbone.n_blocks)
                    self._report(f"confirming {label}: seed {bench.seed + offset}", steps_done=0, steps=0)
                    bench.run_again(name, run, seed=bench.seed + offset, on_step=step)
                winner, _ = choose_winner(bench)
            except KeyboardInterrupt:
                return False
            if not wanted and winner.name not in confirmed and not winner.candidate.is_linear:
                wanted = [(winner, extra) for extra in range(1, CONFIRMATION_SEEDS + 1)]
        return True

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
        reasons |= self.not_repeated
        return tuple(candidate.to_json() | {"why": why} for candidate, why in reasons.items())

    def _finished(self) -> int:
        return len(self.bench.store.trials)

    # -- one trial

    def _nothing_to_sample(self) -> bool:
        low, high = self.depths
        return low > min(high, self.bench.backbone.n_blocks - 1)

    def _widen(self) -> None:
        """Where a control outside the sampled range leads, the range grows to it."""
        leaders = [run for run in self.bench.leaders() if run.candidate.start == "pretrained"]
        if leaders and leaders[0].candidate.strategy != "feature_based":
            depth = leaders[0].candidate.frozenness(self.bench.backbone.n_blocks)
            low, high = min(self.depths[0], depth), max(self.depths[1], depth)
            if (low, high) != self.depths:
                self.depths = low, high
                self.bench.cache(range(low, high + 1))

    def _trial(
        self, queued: Candidate | None, *, rate: float | None = None, share: float = 1.0, most_s: float = math.inf
    ) -> None:
        """One trial of the study: a queued candidate, at the learning rate and share of its schedule that are planned,
        or a sampled one."""
        from optuna.trial import TrialState

        steps_planned = None
        if queued is not None and queued.trains_blocks and queued.start == self.bench.space.start:
            values = self.usual(queued, rate=rate, share=share)
            steps_planned = values.pop("steps")
            low, high = self.bench.space.epochs
            self.study.enqueue_trial({**values, "epochs": int(_within(round(values["epochs"]), (low, high)))})
        trial = self.study.ask()
        candidate, recipe = self._suggest(trial, queued, steps=steps_planned, most_s=most_s)
        if share < 1:  # less than it was to have, which the final fit makes up for
            recipe["share"] = share
        trial.set_user_attr("candidate", candidate.to_json())
        trial.set_user_attr("recipe", recipe)
        name = self.bench.store.next_name()
        trial.set_user_attr("run", name)
        label = candidate.label(self.bench.backbone.n_blocks)
        truth = self.bench.truth.take(rows_on_the_way(len(self.bench.validation_encoded)))
        steps = int(recipe.get("steps", 0))
        out_of_time = False
        self._report(f"trial {trial.number + 1}: {label}", steps_done=0, steps=steps)

        def check(done: int, predictions: np.ndarray) -> None:
            # Checks lie so many steps apart in every run, so that runs of any length compare at equal steps. The last
            # one of a run that ends sooner than it was planned to is its score.
            if done < steps and done % self.bench.check_every == 0:
                trial.report(truth.score(predictions), done // self.bench.check_every - 1)
                if trial.should_prune():
                    raise Stopped

        began = time.perf_counter()

        def step(done: int) -> int | None:
            nonlocal out_of_time
            if done % 10:
                return None
            self._report(f"trial {trial.number + 1}: {label}", steps_done=done, steps=steps)
            # The speed that was measured may have been wrong; the first trial may overrun, later ones may not.
            if self.bench.runs and self._left() < 0:
                out_of_time = True
                trial.set_user_attr("out_of_time", True)
                raise Stopped
            return self._sooner(done, steps, per_step=(time.perf_counter() - began) / max(done, 1))

        try:
            if not candidate.trains_blocks:
                share = math.inf if self.deadline.budget_s is None else HEAD_SHARE * self.deadline.budget_s
                run = self.bench.run_head(
                    name, candidate, seed=self.bench.seed, on_step=step, most_seconds=min(share, self._left())
                )
            else:
                run = self.bench.run_trained(
                    name, candidate, recipe=recipe, seed=self.bench.seed, on_check=check, on_step=step
                )
        except BaseException:
            if name not in self.bench.runs:  # else it is done, and Ctrl-C came after that
                self.study.tell(trial, state=TrialState.FAIL)
            raise
        # What is stored is the truth of what was done; a study that a dying process did not tell is told on resuming.
        if run is None:
            pruned = Pruned(name=name, candidate=candidate, recipe=recipe, out_of_time=out_of_time)
            with uninterrupted():
                self.bench.store.keep_pruned(pruned)
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            trial.set_user_attr("seconds", run.seconds)
            self.study.tell(trial, run.score)
        if self.journal_of is not None:
            seal_journal(self.journal_of, work=self.bench.work)

    def _sooner(self, done: int, steps: int, *, per_step: float) -> int | None:
        """After how many steps a run has to end for its final fit to have time, on a machine that is slower than
        planned; None where it is not. No run is cut to less than half of what it was begun with."""
        if not self.by_time or not steps:
            return None
        bench = self.bench
        growth = 1 + len(bench.validation_encoded) / len(bench.train_encoded) if bench.refits else 0.0
        final_s = FINAL_SHARE * growth * min(steps, bench.schedule) * per_step
        possible = done + (self._left() - final_s) / per_step - bench.check_steps
        return max(int(possible), steps // 2, done) if possible < steps else None

    def usual(self, candidate: Candidate, *, rate: float | None = None, share: float = 1.0) -> dict[str, float]:
        """The parameters that a depth is tried with before any are sampled: the learning rate that is expected to score
        most at this depth, or the middle of them, and a share of the full schedule."""
        space, expected = self.bench.space, self.bench.expectations
        plain = dataclasses.replace(candidate, augmentation=None, option=None, head="own")
        entries = [
            (mean, known)
            for c, known, mean in zip(expected.candidates, expected.rates, expected.mean, strict=True)
            if c == plain and known is not None
        ]
        middle = math.sqrt(space.learning_rate[0] * space.learning_rate[1])
        best = self.at_share(max(entries)[1], share) if entries else middle
        chosen = rate or best or middle
        steps = max(round(share * self._usual_steps(candidate)), 1)
        return {
            "frozen_blocks": candidate.frozen_blocks or 0,
            "learning_rate": _within(chosen, space.learning_rate),
            "head_ratio": _within(DEFAULT_HEAD_RATIO, space.head_ratio),
            "epochs": round(steps / self.bench.steps_for(1), 1),
            "steps": float(steps),
        }

    def _suggest(
        self, trial: optuna.Trial, queued: Candidate | None, *, steps: float | None, most_s: float
    ) -> tuple[Candidate, dict[str, float]]:
        """What the trial trains: the queued candidate, or a sampled one that fits into so many seconds."""
        space, n_blocks = self.bench.space, self.bench.backbone.n_blocks
        if queued is not None and not queued.trains_blocks:
            return queued, {}
        if queued is not None and queued.start == "scratch" != space.start:
            rate, epochs = math.sqrt(math.prod(SCRATCH_RATES)), sum(SCRATCH_EPOCHS) // 2
            values = {"learning_rate": rate, "head_ratio": 1.0, "epochs": float(epochs)}
            return queued, values | {"steps": float(self.bench.steps_for(epochs))}
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
        asked = steps or float(self.bench.steps_for(int(values["epochs"])))
        taken = asked
        if math.isfinite(most_s):
            affordable = most_s / self.step_s(depth) - self.bench.check_steps
            taken = float(max(min(asked, int(affordable)), min(asked, math.ceil(LEAST_SHARE * self.bench.schedule))))
        if steps is not None or taken != asked:
            values["epochs"] = round(taken / self.bench.steps_for(1), 1)
        return candidate, values | {"steps": taken}

    def _report(self, message: str, *, steps_done: int, steps: int) -> None:
        if self.bench.progress is None:
            return
        best = self.bench.leaders()[0].score if self.bench.runs else None
        parts = [f"step {steps_done} of {steps}"] if steps else []
        if best is not None:
            parts.append(f"best {self.bench.metric} {best:.3f}")
        left, fraction = self.deadline.left(), 0.0
        if self.deadline.budget_s is not None:
            parts.append(f"{max(left, 0):.0f} s left")
            fraction = min(self.deadline.used / self.deadline.budget_s, 1.0)
        elif self.n_trials is not None:
            within = steps_done / steps if steps else 0.0
            fraction = min((self._finished() + within) / self.n_trials, 1.0)
        self.bench.progress(f"{message}: {', '.join(parts)}", fraction)


def check_budget(trials: Trials, *, asked: Sequence[Candidate]) -> None:
    """Raise `OptionError` where a budget is smaller than any plan: it does not even hold the saving of a model, or only
    candidates are asked for that train blocks and not even an under-trained run of the fastest fits into what is left.
    Fitting a head takes seconds, so that one is fitted whatever measuring took."""
    bench, deadline = trials.bench, trials.deadline
    if deadline.budget_s is None or bench.runs:
        return
    prepared, tail_s = deadline.used, trials.tail_s()
    needed, left = 1.0, deadline.budget_s - SAVING_S
    if all(candidate.trains_blocks for candidate in asked):
        deepest = max(candidate.frozenness(bench.backbone.n_blocks) for candidate in asked)
        needed = math.ceil(LEAST_SHARE * bench.schedule / 2) * trials.step_s(deepest)
        left = deadline.left() - tail_s
    if left < needed:
        enough = math.ceil(2 * (prepared + needed + tail_s) / 30) * 30
        raise OptionError(
            f"--budget of {deadline.budget_s:.3g} s is too short for one trial",
            why=f"measuring and preparing took {duration(prepared)}, the shortest run of what is tried takes "
            f"{duration(needed)}, and saving it {duration(tail_s)}",
            fix=f"pass --budget {enough}s or more",
        )


def _within(value: float, bounds: tuple[float, float]) -> float:
    """The value, or the bound that it exceeds."""
    return min(max(value, bounds[0]), bounds[1])
