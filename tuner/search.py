"""The search over freeze depths: budget, pruning, resume, confirmation, and the result."""

from __future__ import annotations

import copy
import dataclasses
import errno
import math
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError

from tuner.augmentation import check_policy
from tuner.choice import Comparison, choose_winner, difference
from tuner.classifier import TransferClassifier, classify
from tuner.errors import DataError, OptionError, TransferError
from tuner.export import ADVICE_FILE, SUPPORT_ROWS, TransferModel, measure_support, model_card
from tuner.interruption import Interruption, uninterrupted
from tuner.journal import STUDY, WORK, mend_journal, seal_journal
from tuner.records import SCHEMA, Progress, Record, folder_error, read_record, write_json
from tuner.scoring import check_metric
from tuner.sealed import read_sealed, seal_folder, write_sealed
from tuner.space import SCRATCH_EPOCHS, SCRATCH_RATES, Candidate, SearchSpace, candidate_at
from tuner.store import Pruned, Run, identify
from tuner.stored import check_tuning
from tuner.study import open_study, reconcile
from tuner.training import CHECKS, Stopped, rows_on_the_way
from tuner.trials import Bench, LabelledRows, TuningData, encode_rows

if TYPE_CHECKING:
    import optuna
    from transformers import PreTrainedModel

    from tuner.backbone import Backbone

__all__ = ["LabelledRows", "TuningData", "TuningResult", "search"]

SEARCH_SHARE = 0.65
"""Share of the budget for trials; the rest confirms the leaders on further seeds and saves the winner."""
TRIAL_SHARE = 0.15
"""Share of the budget that one trial may take; longer ones get fewer steps."""
FINALISTS = 3
CONFIRMATION_SEEDS = 2
CONFIRM_UNTIL = 0.92
"""Share of the budget after which no confirmation starts; the rest saves and tests the winner."""
LEAST_STEPS = 50
FEW_ROWS = 30
"""With fewer validation rows than this, a bootstrap that finds no spread has seen too little of it."""
DEFAULT_HEAD_RATIO, DEFAULT_EPOCHS = 5.0, 6
TESTED = "test.json"
ENDED_BEFORE = (
    "this search had come to its end and its test split has been used: the result is shown as it was; "
    "a new search needs a new --out"
)


@dataclass(frozen=True, kw_only=True)
class TuningResult(Record):
    """What ``tuning.json`` holds; ``model`` loads the winner."""

    candidates: tuple[dict[str, Any], ...]
    by_depth: tuple[dict[str, Any], ...]
    winner: dict[str, Any]
    changed_from_advice: dict[str, str] | None
    baselines: Mapping[str, Any]
    trials: dict[str, int]
    confirmations: tuple[dict[str, Any], ...]
    budget: dict[str, float] | None
    stopped_because: str
    model_dir: str
    metric: str
    n_blocks: int
    seed: int
    seconds: float
    split_sizes: dict[str, int]
    range: dict[str, Any]
    prefix: dict[str, Any]
    warnings: tuple[str, ...]
    limited_to: str | None = None
    augmentation: dict[str, Any] | None = None
    options: tuple[dict[str, Any], ...] = ()
    unscored: tuple[dict[str, Any], ...] = ()
    schema: int = field(default=SCHEMA)

    @property
    def model(self) -> TransferModel:
        """The winner, loaded from its folder."""
        return TransferModel.from_pretrained(self.model_dir)


class Deadline:
    """The seconds that are left of a budget, or endless ones without."""

    def __init__(self, budget_s: float | None) -> None:
        self.budget_s = budget_s
        self._start = time.monotonic()

    @property
    def used(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def left(self, share: float = 1.0) -> float:
        """Seconds left of a share of the budget."""
        return math.inf if self.budget_s is None else share * self.budget_s - self.used


def search(
    backbone: Backbone,
    *,
    data: TuningData,
    space: SearchSpace,
    recommended: Candidate,
    folder: Path,
    budget_s: float | None,
    n_trials: int | None,
    limited_to: str | None = None,
    metric: str | None = None,
    seed: int = 0,
    resume: bool = False,
    storage: optuna.storages.BaseStorage | None = None,
    study_name: str | None = None,
    progress: Progress | None = None,
    baselines: Mapping[str, Any] | None = None,
    interruption: Interruption | None = None,
) -> TuningResult:
    """Search the space, confirm the leaders on further seeds, save the winner and score it on the test split once.

    Stops at the budget or the number of trials, whichever comes first, or at Ctrl-C with the best so far; from then on
    an `interruption` that the caller entered keeps further signals from the saving of the winner. Everything
    that was computed stays in `folder` until the end, so a search that is resumed repeats nothing; one that came to
    its end is returned as it is, since its test split has been used. One that goes on after an interruption scores the
    test split again only where another run wins, and says so. With a number of trials and no budget, equal seeds give
    equal results. `limited_to` names the strategy that `space` was restricted to, if any. Raises `OptionError` where
    the budget is too short for one trial, or where a resumed search was limited otherwise.
    """
    metric = check_metric(metric, tagged=data.is_tagged)
    finished = folder / "tuning.json"
    earlier = read_result(finished) if resume and finished.exists() else None
    if earlier is not None and earlier.stopped_because != "interrupted":
        _check_limit(earlier.limited_to, limited_to, folder=folder)
        _check_augmentation((earlier.augmentation or {}).get("policy"), space.augmentation, folder=folder)
        shutil.rmtree(folder / WORK, ignore_errors=True)  # left where the process died after writing the result
        return dataclasses.replace(earlier, warnings=(*earlier.warnings, ENDED_BEFORE))
    deadline = Deadline(budget_s)
    work = folder / WORK
    bench = Bench(backbone, data=data, space=space, work=work, metric=metric, seed=seed, progress=progress)
    try:
        identity = identify(work, own_journal=storage is None)
        _tested(work)  # damage is said before anything is trained
        dropped = mend_journal(folder, work=work) if storage is None else None
        if dropped is not None:
            bench.warnings.append(dropped)
        bench.prepare()
        if space.augmentation is not None:
            check_policy(space.augmentation, backbone=backbone, tagged=data.is_tagged)
        asked = (*space.first, *space.controls)
        check_budget(bench, first=recommended if recommended in asked else asked[0], deadline=deadline)
        study = open_study(folder, seed=seed, storage=storage, name=study_name, run_key=identity.run)
        elsewhere = identity.own_journal is not None and identity.own_journal != (storage is None)
        if bench.runs and (elsewhere or (storage is not None and not study.trials)):
            raise OptionError(
                f"the finished trials of {folder} are not in the study {study.study_name!r} of this storage",
                why="a search goes on from its own study, so that nothing is repeated or mixed",
                fix="pass the same --storage and --study as then, or --out with a new folder",
            )
        if study.trials:
            _check_limit(study.user_attrs.get("limited_to"), limited_to, folder=folder)
            _check_augmentation(study.user_attrs.get("augmentation"), space.augmentation, folder=folder)
        elif bench.store.trials:
            bench.warnings.append(
                f"{STUDY} did not hold the {len(bench.store.trials)} finished trials that are stored: it was made again"
            )
        reconcile(study, bench.store.trials, space=space, seed=seed)
        study.set_user_attr("limited_to", limited_to)
        study.set_user_attr("augmentation", space.augmentation)
        trials = _Trials(
            bench, study=study, deadline=deadline, recommended=recommended, n_trials=n_trials,
            journal_of=folder if storage is None else None,
        )  # fmt: skip
        try:
            stopped_because = trials.run()
            if stopped_because != "interrupted" and not trials.compare_variants():
                stopped_because = "interrupted"
            if not confirm(bench, deadline=deadline, skip=stopped_because == "interrupted"):
                stopped_because = "interrupted"
        except KeyboardInterrupt:
            if not bench.runs:
                raise
            stopped_because = "interrupted"
        if interruption is not None:
            interruption.hold()
        result = _finish(
            bench,
            trials=trials,
            folder=folder,
            deadline=deadline,
            stopped_because=stopped_because,
            baselines=baselines or {},
            limited_to=limited_to,
            earlier=earlier,
        )
    except (OSError, SafetensorError) as error:
        if isinstance(error, TransferError):
            raise
        # safetensors wraps the system's error and keeps its text only
        full = isinstance(error, SafetensorError) and "No space left" in str(error)
        system = OSError(errno.ENOSPC, str(error)) if full else error
        if not isinstance(system, OSError):
            raise
        raise folder_error(folder, system) from error
    finally:
        bench.restore_base()
    write_json(finished, result)
    if result.stopped_because != "interrupted":  # an interrupted search may go on from its caches and weights
        shutil.rmtree(folder / WORK)
    return result


def _check_limit(then: str | None, now: str | None, *, folder: Path) -> None:
    """Raise `OptionError` where a search is to go on with another limit than it started with."""
    if then != now:
        raise OptionError(
            f"the search in {folder} was {'not limited' if then is None else f'limited to {then}'}, not "
            f"{'without a limit' if now is None else f'to {now}'}",
            why="candidates of both would be mixed, and the winner would be neither's",
            fix=f"{'leave --strategy away' if then is None else f'pass --strategy {then}'}, or --out with a new folder",
        )


def _check_augmentation(then: str | None, now: str | None, *, folder: Path) -> None:
    """Raise `OptionError` where a search is to go on with other changes of its training rows."""
    if then != now:
        raise OptionError(
            f"the search in {folder} compares {then or 'no augmentation'}, not {now or 'no augmentation'}",
            why="what one was worth on some seeds would be counted as the other's",
            fix=f"pass --augment {then or 'none'}, or --out with a new folder",
        )


def has_finished_runs(folder: Path) -> bool:
    """Whether a search in this run folder was cut short after trials that it can go on from."""
    return any((folder / WORK / "runs").glob("*.json"))


def read_result(path: Path) -> TuningResult:
    """A stored ``tuning.json``. Raises `DataError` where it is damaged."""
    fix = f"put the file back as it was; the model in {path.parent / 'model'} is not touched and still predicts"
    if (path.parent / WORK).exists():
        fix = "delete it: --resume writes it again from the finished runs, which are kept"
    stored = read_record(path, expected={"winner": dict, "candidates": list}, fix=fix)
    check_tuning(stored, path=path, fix=fix)
    known = {field.name for field in dataclasses.fields(TuningResult)}
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in stored.items() if key in known
    }
    try:
        # A run folder may have been moved since.
        return TuningResult(**values | {"model_dir": str(path.parent / "model")})
    except TypeError as error:
        raise DataError(
            f"{path} is not the result of a search ({error})",
            why="it is damaged, or was written by something else",
            fix=fix,
        ) from error


def check_budget(bench: Bench, *, first: Candidate, deadline: Deadline) -> None:
    """Raise `OptionError` where not even the shortest run of what is tried first fits into what is left."""
    if deadline.budget_s is None or bench.runs:
        return
    prepared = deadline.used
    needed = 1.0
    if first.trains_blocks:
        steps = min(bench.steps_for(bench.space.epochs[0]), LEAST_STEPS)
        needed = (steps + bench.check_steps) * bench.seconds_per_step(int(first.frozen_blocks or 0))
    if deadline.left() < needed:
        enough = math.ceil(4 * (prepared + needed) / 30) * 30
        raise OptionError(
            f"--budget of {deadline.budget_s:.3g} s is too short for one trial",
            why=f"preparing took {prepared:.0f} s, and the shortest run of what is tried first takes {needed:.0f} s",
            fix=f"pass --budget {enough}s or more",
        )


class _Trials:
    """The trials of a study: what is tried first, what is sampled, and when to stop."""

    def __init__(
        self,
        bench: Bench,
        *,
        study: optuna.Study,
        deadline: Deadline,
        recommended: Candidate,
        n_trials: int | None,
        journal_of: Path | None = None,
    ) -> None:
        self.bench, self.study, self.deadline = bench, study, deadline
        self.journal_of = journal_of
        """The run folder whose journal the study lies in; None where it lies in another storage."""
        self.recommended, self.n_trials = recommended, n_trials
        self.depths = bench.space.depths
        # Of a number of trials the first is what is recommended. A budget begins with what costs a second, so that
        # one slow trial that uses it up has these beside it.
        asked = dict.fromkeys((*bench.space.first, *bench.space.controls))
        by_time = deadline.budget_s is not None
        self.queue = sorted(
            asked, key=lambda candidate: (by_time and not candidate.is_linear, candidate != recommended,
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
                if self.bench.runs and self._left() <= 0:
                    return "budget"
                if not self.queue and self._nothing_to_sample():
                    return "exhausted"
                self._widen()
                self._trial(self.queue.pop(0) if self.queue else None)
        except KeyboardInterrupt:
            if not self.bench.runs:
                raise
            return "interrupted"

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

        `spare` are seconds that it has to leave for what comes behind it.
        """
        needed = leader.seconds + self.bench.seconds_for_views(candidate) + spare
        left = self.deadline.left(CONFIRM_UNTIL)
        if why is None and left < needed:
            why = f"it takes about {needed:.0f} s with what comes behind it, and {max(left, 0):.0f} s were left"
        if why is not None:
            self.not_repeated[candidate] = why
            return True
        steps = int(leader.recipe["steps"])
        label = candidate.label(self.bench.backbone.n_blocks)

        def step(done: int) -> None:
            if done % 10 == 0:
                self._report(label, steps_done=done, steps=steps)
                if self.deadline.left(CONFIRM_UNTIL) < 0:
                    raise Stopped

        try:
            run = self.bench.run_trained(
                f"{leader.name}-{kind}", candidate, recipe=leader.recipe, seed=leader.seed, on_step=step
            )
        except KeyboardInterrupt:
            return False
        if run is None:
            self.not_repeated[candidate] = "the time was up before its trial came to an end"
        return True

    def _option_due(self, option: str) -> Run | None:
        """The best candidate that was trained in the plain way, as long as none was with the option."""
        if any(run.candidate.option == option for run in self.bench.runs.values()):
            return None
        leaders = (run for run in self.bench.leaders() if run.candidate.option is None)
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

    def _left(self) -> float:
        """Seconds left for trials: the comparisons after them take their time from theirs."""
        left = self.deadline.left(SEARCH_SHARE)
        if self.queue:  # what was asked for and the controls go before variants
            return left
        due = (self._option_due(option) for option in self.bench.space.options)
        left -= sum(leader.seconds for leader in due if leader is not None)
        if (native := self._native_due()) is not None:
            left -= native.seconds
        if (leader := self._augmentation_due()) is not None:
            candidate = dataclasses.replace(leader.candidate, augmentation=self.bench.space.augmentation)
            left -= leader.seconds + self.bench.seconds_for_views(candidate)
        return left

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
            return "its trial was pruned: it lay behind the others on the way"
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

    def _trial(self, queued: Candidate | None) -> None:
        from optuna.trial import TrialState

        if queued is not None and queued.trains_blocks and queued.start == self.bench.space.start:
            self.study.enqueue_trial(self._middle(queued))
        trial = self.study.ask()
        candidate, recipe = self._suggest(trial, queued)
        trial.set_user_attr("candidate", candidate.to_json())
        trial.set_user_attr("recipe", recipe)
        name = self.bench.store.next_name()
        trial.set_user_attr("run", name)
        label = candidate.label(self.bench.backbone.n_blocks)
        truth = self.bench.truth.take(rows_on_the_way(len(self.bench.validation_encoded)))
        steps = int(recipe.get("steps", 0))
        out_of_time = False
        self._report(f"trial {trial.number + 1}: {label}", steps_done=0, steps=steps)

        def check(index: int, predictions: np.ndarray) -> None:
            if index < CHECKS - 1:
                trial.report(truth.score(predictions), index)
                if trial.should_prune():
                    raise Stopped

        def step(done: int) -> None:
            nonlocal out_of_time
            if done % 10 == 0:
                self._report(f"trial {trial.number + 1}: {label}", steps_done=done, steps=steps)
                # The speed that was measured may have been wrong; the first trial may overrun, later ones may not.
                if self.bench.runs and self.deadline.left(CONFIRM_UNTIL) < 0:
                    out_of_time = True
                    trial.set_user_attr("out_of_time", True)
                    raise Stopped

        try:
            if not candidate.trains_blocks:
                share = math.inf if self.deadline.budget_s is None else TRIAL_SHARE * self.deadline.budget_s
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

    def _middle(self, candidate: Candidate) -> dict[str, float]:
        """The parameters that a queued depth is tried with: the middle of the learning rates, usual ones else."""
        space = self.bench.space
        return {
            "frozen_blocks": candidate.frozen_blocks or 0,
            "learning_rate": math.sqrt(space.learning_rate[0] * space.learning_rate[1]),
            "head_ratio": _within(DEFAULT_HEAD_RATIO, space.head_ratio),
            "epochs": sum(space.epochs) // 2 if space.start == "scratch" else _within(DEFAULT_EPOCHS, space.epochs),
        }

    def _suggest(self, trial: optuna.Trial, queued: Candidate | None) -> tuple[Candidate, dict[str, float]]:
        """What the trial trains: the queued candidate, or a sampled one; steps are cut to fit the budget."""
        space, n_blocks = self.bench.space, self.bench.backbone.n_blocks
        if queued is not None and not queued.trains_blocks:
            return queued, {}
        if queued is not None and queued.start == "scratch" != space.start:
            rate, epochs = math.sqrt(math.prod(SCRATCH_RATES)), sum(SCRATCH_EPOCHS) // 2
            values = {"learning_rate": rate, "head_ratio": 1.0, "epochs": float(epochs)}
            return queued, self._with_steps(values, depth=0)
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
        return candidate, self._with_steps(values, depth=depth)

    def _with_steps(self, values: dict[str, float], *, depth: int) -> dict[str, float]:
        """Epochs as steps, cut to a share of the budget: fewer steps with a full schedule beat half a schedule."""
        steps = asked = self.bench.steps_for(int(values["epochs"]))
        if self.deadline.budget_s is not None:
            seconds = min(TRIAL_SHARE * self.deadline.budget_s, max(self._left(), 0.0))
            affordable = int(seconds / self.bench.seconds_per_step(depth) - self.bench.check_steps)
            steps = max(min(steps, affordable), min(steps, LEAST_STEPS))
        epochs = values["epochs"] if steps == asked else round(steps / self.bench.steps_for(1), 1)
        return values | {"epochs": epochs, "steps": float(steps)}

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


def _within(value: float, bounds: tuple[float, float]) -> float:
    """The value, or the bound that it exceeds."""
    return min(max(value, bounds[0]), bounds[1])


def confirm(bench: Bench, *, deadline: Deadline, skip: bool) -> bool:
    """Repeat the leading candidates, and the one that would win, with further seeds, as far as the budget reaches.

    False where Ctrl-C cut it short.
    """
    if skip:
        return True
    leaders = [run for run in bench.leaders() if not run.candidate.is_linear][:FINALISTS]
    wanted = [(run, offset) for offset in range(1, CONFIRMATION_SEEDS + 1) for run in leaders]
    confirmed = set()

    def step(done: int) -> None:
        if done % 10 == 0 and deadline.left(CONFIRM_UNTIL) < 0:
            raise Stopped

    while wanted:
        run, offset = wanted.pop(0)
        name = f"{run.name}@{bench.seed + offset}"
        confirmed.add(run.name)
        try:
            if name not in bench.runs and deadline.left(CONFIRM_UNTIL) > run.seconds:
                if bench.progress is not None:
                    label = run.candidate.label(bench.backbone.n_blocks)
                    fraction = 1.0 if deadline.budget_s is None else min(deadline.used / deadline.budget_s, 1.0)
                    bench.progress(f"confirming {label}: seed {bench.seed + offset}", fraction)
                bench.run_again(name, run, seed=bench.seed + offset, on_step=step)
            winner, _ = choose_winner(bench)
        except KeyboardInterrupt:
            return False
        if not wanted and winner.name not in confirmed and not winner.candidate.is_linear:
            wanted = [(winner, extra) for extra in range(1, CONFIRMATION_SEEDS + 1)]
    return True


def _finish(
    bench: Bench,
    *,
    trials: _Trials,
    folder: Path,
    deadline: Deadline,
    stopped_because: str,
    baselines: Mapping[str, Any],
    limited_to: str | None,
    earlier: TuningResult | None,
) -> TuningResult:
    """Save the winner, score it on the test split, and put everything measured into one record."""
    winner, compared = choose_winner(bench)
    chosen = next(entry for entry in compared if entry.run is winner)
    if bench.progress is not None:
        bench.progress("saving the winner: scoring it on the test split", 1.0)
    shipped = max(bench.repeats(winner), key=lambda run: run.score)
    model = bench.exported(shipped)
    data, n_blocks, metric = bench.data, bench.backbone.n_blocks, bench.metric
    warnings = [*bench.warnings, *_beaten_by(baselines, chosen), *_cut_short(bench)]
    test = _test_once(bench, model, run=shipped)
    warnings += test.pop("notes")
    if test["times"] > 1:
        warnings.append(
            f"the test split was scored {test['times']} times: an interrupted search had another winner before"
        )
    label = winner.candidate.label(n_blocks)
    rows = np.random.default_rng(bench.seed).permutation(len(data.train.rows))[:SUPPORT_ROWS]
    _, features = classify(model, backbone=bench.backbone, encoded=bench.train_encoded.take(rows))
    card = model_card(
        base=bench.backbone.id,
        data=data.name,
        metric=metric,
        score=test["score"],
        interval=test["interval"],
        candidate=label,
        recipe=winner.recipe,
        class_names=data.class_names,
        n_train=len(data.train.rows),
        n_test=test["n"],
        times_tested=test["times"],
        native=not isinstance(model, TransferClassifier),
        whole_words=winner.candidate.top == "bilstm",
        kind="token" if data.is_tagged else "text" if bench.backbone.is_text else "image",
    )
    # Saved beside its place and moved there, so that an interruption leaves no half a model.
    saving = folder / WORK / "model"
    reader = copy.deepcopy(bench.backbone.inputs.reader)
    if bench.backbone.is_text:
        # Pipelines cut texts at the tokenizer's own limit, which may lie far beyond what the model was tuned on.
        reader.model_max_length = bench.backbone.max_length
    TransferModel(classifier=model, reader=reader, support=measure_support(features), card=card).save_pretrained(saving)
    if (folder / ADVICE_FILE).exists():
        shutil.copyfile(folder / ADVICE_FILE, saving / ADVICE_FILE)
        seal_folder(saving)
    replaced = folder / WORK / "replaced"
    shutil.rmtree(replaced, ignore_errors=True)
    if (folder / "model").exists():
        (folder / "model").rename(replaced)
    saving.rename(folder / "model")
    rank = [
        entry.run.candidate.to_json()
        | {
            "mean": entry.mean,
            "sd": entry.sd,
            "n": len(entry.seeds),
            "interval": entry.interval,
            "below_best": entry.below_best,
            "standard_error": entry.standard_error,
            "seconds": entry.run.seconds,
            "recipe": entry.run.recipe,
        }
        for entry in compared
    ]
    at_depth: dict[int, dict[str, Any]] = {}
    for entry in rank:  # best first: of two heads at a depth the better one stands
        is_plain = entry["augmentation"] is None and entry["option"] in (None, bench.space.option)
        if entry["frozen_blocks"] is not None and entry["start"] == "pretrained" and is_plain:
            kept = ("frozen_blocks", "mean", "sd", "n", "interval", "seconds")
            at_depth.setdefault(int(entry["frozen_blocks"]), {key: entry[key] for key in kept})
    return TuningResult(
        candidates=tuple(rank),
        by_depth=tuple(at_depth[depth] for depth in sorted(at_depth)),
        winner={
            "candidate": winner.candidate.to_json(),
            "params": winner.recipe,
            "validation": {
                "mean": chosen.mean,
                "sd": chosen.sd,
                "seeds": list(chosen.seeds),
            },
            "test": test,
            "run": shipped.name,
        },
        changed_from_advice=_change(trials, chosen=chosen, compared=compared),
        baselines=baselines,
        trials=trials.counts(),
        confirmations=tuple(
            {"candidate": run.candidate.to_json(), "seed": run.seed, "score": run.score, "seconds": run.seconds}
            for run in bench.runs.values()
            if run.is_confirmation
        ),
        budget=None if deadline.budget_s is None else {"asked_s": deadline.budget_s, "used_s": deadline.used},
        stopped_because=stopped_because,
        model_dir=str(folder / "model"),
        metric=metric,
        n_blocks=n_blocks,
        seed=bench.seed,
        seconds=deadline.used + (earlier.seconds if earlier is not None else 0.0),
        split_sizes={
            "train": len(data.train.rows),
            "validation": len(data.validation.rows),
            "test": test["n"],
        },
        range={"advised": bench.space.depths, "searched": trials.depths},
        prefix={
            "cache": bool(bench.cached_depths),
            "by_depth": bench.prefix_notes,
            "seconds": bench.pass_seconds,
        },
        warnings=tuple(warnings),
        limited_to=limited_to,
        augmentation=_augmentation(bench, trials),
        options=_options(bench, trials),
        unscored=trials.unscored([entry.run.candidate for entry in compared]),
    )


def _tested(work: Path) -> dict[str, dict[str, Any]]:
    """What was scored on the test split before, by run. Raises `DataError` where that is damaged."""
    path = work / TESTED
    fix = "delete it: --resume then scores the test split again, and cannot say how often it was looked at before"
    return read_sealed(path, expected={}, fix=fix, sealed=False) if path.exists() else {}


def _test_once(bench: Bench, model: PreTrainedModel, *, run: Run) -> dict[str, Any]:
    """The winner's score on the test split, kept at once: no run is ever scored there twice, whatever interrupts."""
    scored = _tested(bench.work)
    if run.name not in scored:
        encoded, part, notes = encode_rows(bench.backbone, bench.data.test, what="test", progress=bench.progress)
        logits, _ = classify(model, backbone=bench.backbone, encoded=encoded)
        truth, predicted = part.truth(metric=bench.metric, names=bench.data.class_names), logits.argmax(1)
        scored[run.name] = {
            "score": truth.score(predicted),
            "interval": truth.interval(predicted, seed=bench.seed),
            "n": len(part.rows),
            "notes": list(notes),
        }
        if bench.data.is_tagged:
            scored[run.name] |= {"entities": truth.by_type(predicted).to_json()}
        write_sealed(bench.work / TESTED, scored)
    return {"notes": [], **scored[run.name], "times": len(scored)}


def _augmentation(bench: Bench, trials: _Trials) -> dict[str, Any] | None:
    """Whether augmented images helped: the same candidate, recipe and seeds with and without."""
    policy = bench.space.augmentation
    if policy is None:
        return None
    found: dict[str, Any] = {"policy": policy, "mirror_loss": bench.measured_mirror_loss, "difference": None}
    run = next((run for run in bench.leaders() if run.name.endswith("-augmented")), None)
    if run is None:
        reasons = [why for candidate, why in trials.not_repeated.items() if candidate.augmentation == policy]
        return found | {"why": reasons[0] if reasons else "no candidate that trains pretrained blocks came to a score"}
    return found | _against(bench, run, bench.runs[run.name.removesuffix("-augmented")])


def _options(bench: Bench, trials: _Trials) -> tuple[dict[str, Any], ...]:
    """Whether options of training blocks helped: the same candidate, recipe and seeds with and without."""
    found = []
    for option in bench.space.options:
        run = next((run for run in bench.leaders() if run.name.endswith(f"-{option}")), None)
        if run is not None:
            found.append({"option": option, **_against(bench, run, bench.runs[run.name.removesuffix(f"-{option}")])})
            continue
        reasons = [why for candidate, why in trials.not_repeated.items() if candidate.option == option]
        why = reasons[0] if reasons else "no candidate that trains pretrained blocks came to a score"
        found.append({"option": option, "difference": None, "why": why})
    return tuple(found)


def _against(bench: Bench, run: Run, plain: Run) -> dict[str, Any]:
    """By how much a variant of a candidate scores more than the candidate itself."""
    mean, (low, high), n, over_seeds = difference(bench, run, plain)
    verdict = "it helped" if low > 0 else "it harmed" if high < 0 else "no difference is shown"
    if low == high != 0 and len(bench.validation_encoded) < FEW_ROWS:
        verdict = "the validation rows are too few to tell"
    elif not over_seeds and not low <= 0 <= high:
        verdict = f"{'ahead' if low > 0 else 'behind'} on one seed, which may be chance"
    return {
        "difference": mean,
        "interval": (low, high),
        "seeds": n,
        "candidate": plain.candidate.to_json(),
        "seconds": (plain.seconds, run.seconds),
        "why": verdict,
    }


def _beaten_by(baselines: Mapping[str, Any], chosen: Comparison) -> list[str]:
    """A baseline that clearly scores more than the winner is said to: both are measured without the test split."""
    return [
        f"the baseline {name.replace('_', ' ')} scores {baseline['score']:.3f} in cross-validation, more than the "
        f"winner's {chosen.mean:.3f} [{chosen.interval[0]:.3f}, {chosen.interval[1]:.3f}] in "
        "validation: this model may be the wrong one for this data"
        for name, baseline in baselines.items()
        if name in ("majority", "tfidf_linear", "pixel_linear", "entity_lookup", "token_linear")
        and baseline is not None
        and baseline["score"] > chosen.interval[1]
    ]


def _cut_short(bench: Bench) -> list[str]:
    """Training from scratch whose schedule the budget cut to less than is searched otherwise is said to be."""
    best = next((run for run in bench.leaders() if run.candidate.start == "scratch"), None)
    if best is None or best.recipe["epochs"] >= SCRATCH_EPOCHS[0]:
        return []
    return [
        f"the budget cut training from scratch to {best.recipe['epochs']:g} epochs, fewer than the {SCRATCH_EPOCHS[0]} "
        "that fresh weights get at least: its score says little of what they can do; a longer --budget shows it"
    ]


def _change(trials: _Trials, *, chosen: Comparison, compared: Sequence[Comparison]) -> dict[str, str] | None:
    """Why the winner is not what was recommended, or None where it is."""
    recommended, n_blocks = trials.recommended, trials.bench.backbone.n_blocks
    if chosen.run.candidate == recommended:
        return None
    advised = next((entry for entry in compared if entry.run.candidate == recommended), None)
    if advised is None:
        why = f"the recommended candidate has no score: {trials.why_unscored(recommended)}"
    else:
        ours, theirs = f"{chosen.mean:.3f}", f"{advised.mean:.3f}"
        if chosen.mean > advised.mean:
            more = 100 * (chosen.mean - advised.mean)
            why = f"on validation it scores {ours}, {more:.1f} points more than the recommended candidate's {theirs}"
        elif chosen.mean == advised.mean:
            why = f"both score {ours} on validation, and it is cheaper, since it trains less"
        else:
            why = (
                f"its {ours} on validation is the mean over further seeds; the recommended candidate's {theirs} is a "
                "single run that no further seed confirmed"
            )
    return {"from": recommended.label(n_blocks), "to": chosen.run.candidate.label(n_blocks), "why": why}
