"""The search over freeze depths: budget, pruning, resume, confirmation, and the result."""

from __future__ import annotations

import dataclasses
import errno
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from tuner.errors import OptionError, TransferError
from tuner.interruption import Interruption
from tuner.records import Progress, folder_error
from tuner.sealed import write_sealed
from tuner.search.bench import open_bench
from tuner.search.clock import Deadline
from tuner.search.data import TuningData
from tuner.search.final import check_fits
from tuner.search.finish import finish, tested
from tuner.search.journal import STUDY, WORK, mend_journal
from tuner.search.loop import Trials, check_budget
from tuner.search.result import TuningResult, read_result
from tuner.search.space import Candidate, SearchSpace
from tuner.search.store import RunStore, identify
from tuner.search.study import open_study, reconcile
from tuner.search.trainer import CLASS_WEIGHTED
from tuner.tasks.known import check_metric
from tuner.training.augmentation import check_policy

if TYPE_CHECKING:
    import optuna

    from tuner.model.backbone import Backbone
    from tuner.search.expectations import Expectations


GOES_ON = ("interrupted", "budget")
"""Why a search stopped that can go on: its runs and caches are kept."""
ENDED_BEFORE = (
    "this search had come to its end and its test split has been used: the result is shown as it was; "
    "a new search needs a new --out"
)


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
    expectations: Expectations | None = None,
    prefer: str = "score",
    refit: bool = True,
    began: float | None = None,
    interruption: Interruption | None = None,
) -> TuningResult:
    """Search the space, fit the winner on all labelled rows, save it and score it on the test split once.

    Stops at the budget or the number of trials, whichever comes first, or at Ctrl-C with the best so far. Everything
    that was computed stays in `folder`, so that a search that is resumed repeats nothing: one that was interrupted or
    stopped for its budget goes on, and scores the test split again only where another model wins, which it says; one
    that came to its end is returned as it is, since its test split has been used. With a number of trials and no
    budget, equal seeds give equal results.

    Args:
        backbone: the pretrained model.
        data: training, validation and test rows.
        space: what may be tried.
        recommended: what the advice says to train.
        folder: the run folder.
        budget_s: seconds of the whole command, None without a bound; they become a plan (`tuner.search.plan`).
        n_trials: trials at most.
        limited_to: the strategy that `space` was restricted to, if any.
        metric: by default accuracy, of tags entity F1.
        seed: of everything that is drawn.
        resume: go on in this folder.
        storage: of the study; a journal in the run folder by default.
        study_name: in that storage.
        progress: told what is being done.
        baselines: measured beforehand, for the result.
        expectations: what the evidence expects of the candidates; nothing is expected of them by default.
        prefer: ``score``, or ``speed`` for the fastest winner within a point.
        refit: whether the winner is fitted again on training and validation rows together.
        began: when the command began (`time.monotonic`), which the budget counts from.
        interruption: entered by the caller; it keeps further signals from the saving of the winner.

    Raises:
        OptionError: where the budget is too short for one trial, or a resumed search was limited otherwise.
    """
    metric = check_metric(metric, task=data.task)
    if data.task.weighs(metric) and space.option is None:
        space = dataclasses.replace(space, options=(CLASS_WEIGHTED, *space.options))
    finished = folder / "tuning.json"
    earlier = read_result(finished) if resume and finished.exists() else None
    if earlier is not None and not (earlier.stopped_because in GOES_ON and (folder / WORK).exists()):
        _check_limit(earlier.limited_to, limited_to, folder=folder)
        _check_augmentation((earlier.augmentation or {}).get("policy"), space.augmentation, folder=folder)
        shutil.rmtree(folder / WORK, ignore_errors=True)  # left where the process died after writing the result
        return dataclasses.replace(earlier, warnings=(*earlier.warnings, ENDED_BEFORE))
    deadline = Deadline(budget_s, began=began)
    work = folder / WORK
    try:
        identity = identify(work, own_journal=storage is None)
        tested(work)  # damage is said before anything is trained
        store = RunStore(work)
        check_fits(store)
        dropped = mend_journal(folder, work=work) if storage is None else None
        bench = open_bench(
            backbone, data=data, space=space, work=work, metric=metric, seed=seed, progress=progress,
            expectations=expectations, prefer=prefer, refits=refit, store=store,
            notes=() if dropped is None else (dropped,),
        )  # fmt: skip
        if space.augmentation is not None:
            check_policy(space.augmentation, backbone=backbone, task=data.task)
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
        trials = Trials(
            bench, study=study, deadline=deadline, recommended=recommended, n_trials=n_trials,
            test_rows=len(data.test.rows), journal_of=folder if storage is None else None,
        )  # fmt: skip
        check_budget(trials, asked=(*space.first, *space.controls))
        try:
            stopped_because = trials.run()
            if stopped_because != "interrupted" and not (trials.compare_variants() and trials.confirm()):
                stopped_because = "interrupted"
        except KeyboardInterrupt:
            if not bench.runs:
                raise
            stopped_because = "interrupted"
        result = finish(
            bench,
            trials=trials,
            folder=folder,
            stopped_because=stopped_because,
            baselines=baselines or {},
            limited_to=limited_to,
            earlier=earlier,
            interruption=interruption,
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
    write_sealed(finished, result.to_json())
    if result.stopped_because not in GOES_ON:  # one that may go on needs its caches and weights
        shutil.rmtree(folder / WORK)
    return result


def _check_limit(then: str | None, now: str | None, *, folder: Path) -> None:
    """Raise `OptionError` where a search is to go on with another limit than it started with."""
    if then != now:
        raise OptionError(
            f"the search in {folder} was {'not limited' if then is None else f'limited to {then}'}, not "
            f"{'without a limit' if now is None else f'to {now}'}",
            why="candidates of both would be mixed, and the winner would be neither's",
            fix=f"{'omit --strategy' if then is None else f'pass --strategy {then}'}, or --out with a new folder",
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
