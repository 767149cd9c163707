"""The Optuna study of a search: where it lies, its sampler and pruner, and that it tells what the stored runs tell."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.errors import OptionError
from tuner.interruption import uninterrupted
from tuner.search.journal import STUDY
from tuner.search.space import SearchSpace
from tuner.search.store import Pruned, Run

if TYPE_CHECKING:
    import optuna

OWNER_SECONDS = 2.0


def open_study(
    folder: Path, *, seed: int, storage: optuna.storages.BaseStorage | None, name: str | None, run_key: str
) -> optuna.Study:
    """Open the study in the run folder's journal, or in another storage, and make it where there is none.

    Args:
        folder: the run folder, which is made where it is missing.
        seed: of the sampler.
        storage: holds the study; None for the journal.
        name: of the study; by default ``freeze-depth``, in another storage with `run_key` after it.
        run_key: tells this run from all others.

    Raises:
        OptionError: where a study of that storage holds the trials of another run, which would count and steer here.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    class Journal(JournalFileBackend):  # type: ignore[misc]  # which has no types
        """A journal whose lock Ctrl-C does not leave behind, nor take for another's."""

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            with uninterrupted():
                super().append_logs(logs)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    # Optuna locks a journal by a link to it, which leads nowhere where the path is relative.
    journal = str((folder / STUDY).resolve())
    made: dict[str, Any] = {
        "study_name": name or ("freeze-depth" if storage is None else f"freeze-depth-{run_key}"),
        "storage": storage or optuna.storages.JournalStorage(Journal(journal)),
        "sampler": _sampler(seed),
        # Linear candidates finish first and report nothing on the way: what counts is how many trials were seen at the
        # same point, and a quarter of a schedule is too early to judge.
        "pruner": optuna.pruners.MedianPruner(n_startup_trials=0, n_warmup_steps=1, n_min_trials=3),
    }
    try:  # a study is made once: of two runs that begin together, one makes it
        study = optuna.create_study(**made, direction="maximize")
        study.set_user_attr("run", run_key)
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(**made)
    owner = _owner(study) if storage is not None else run_key
    if owner != run_key and (owner is not None or study.trials):
        raise OptionError(
            f"the study {study.study_name!r} already holds the trials of another run",
            why="they would be counted and steer the search, and their trained models are not here",
            fix="pass another --study, or --out with a new folder",
        )
    study.set_user_attr("run", run_key)
    return study


def _owner(study: optuna.Study) -> str | None:
    """The run that a study belongs to; one that was made just now gets its owner a moment later."""
    until = time.monotonic() + OWNER_SECONDS
    while (owner := study.user_attrs.get("run")) is None and not study.trials and time.monotonic() < until:
        time.sleep(0.1)
    return None if owner is None else str(owner)


def reconcile(study: optuna.Study, trials: Sequence[Run | Pruned], *, space: SearchSpace, seed: int) -> None:
    """Make a study tell what the stored trials tell, after a process died or the study lost some of them.

    A trial that was stored and not told is told now; one that the study does not know is added; whatever else still
    runs or waits belongs to a dead process, since one process works on a run, and is marked failed.

    Args:
        study: that is changed.
        trials: finished and pruned ones, as they are stored.
        space: the ranges that a sampler takes the values of an added trial from.
        seed: of the sampler that goes on; a study that holds trials gets another one.
    """
    from optuna.trial import TrialState, create_trial

    known: dict[str, Any] = {}
    for trial in study.get_trials(deepcopy=False):
        if trial.state != TrialState.FAIL:
            known[str(trial.user_attrs.get("run", f"{trial.number:04d}"))] = trial
    for stored in trials:
        score = stored.score if isinstance(stored, Run) else None
        state = TrialState.PRUNED if score is None else TrialState.COMPLETE
        found = known.get(str(stored.name))
        if found is None:
            params, distributions = _suggested(stored, space)
            attributes: dict[str, Any] = {
                "run": str(stored.name),
                "candidate": stored.candidate.to_json(),
                "recipe": stored.recipe,
            }
            if isinstance(stored, Pruned) and stored.out_of_time:
                attributes["out_of_time"] = True
            study.add_trial(
                create_trial(
                    state=state, value=score, params=params, distributions=distributions, user_attrs=attributes
                )
            )
        elif found.state == TrialState.RUNNING:
            study.tell(found.number, score, state=state)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    while study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.tell(study.ask(), state=TrialState.FAIL)  # queued by a process that died before it ran
    if study.trials:  # a resumed sampler must not draw the first session's numbers again
        study.sampler = _sampler(seed + len(study.trials))


def _suggested(stored: Run | Pruned, space: SearchSpace) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a sampler learns from a trial: the values that were trained, and the ranges of the space around them."""
    from optuna.distributions import FloatDistribution, IntDistribution

    if not stored.candidate.trains_blocks or stored.candidate.start != space.start:
        return {}, {}
    depth, recipe = int(stored.candidate.frozen_blocks or 0), stored.recipe
    epochs = min(max(round(recipe["epochs"]), space.epochs[0]), space.epochs[1])
    rates = {name: recipe[name] for name in ("learning_rate", "head_ratio")}
    return {"frozen_blocks": depth, "epochs": epochs, **rates}, {
        "frozen_blocks": IntDistribution(min(space.depths[0], depth), max(space.depths[1], depth)),
        "learning_rate": FloatDistribution(*space.learning_rate, log=True),
        "head_ratio": FloatDistribution(*space.head_ratio, log=True),
        "epochs": IntDistribution(*space.epochs),
    }


def _sampler(seed: int) -> optuna.samplers.BaseSampler:
    import optuna

    with warnings.catch_warnings():
        # group is marked experimental; without it, one trial without parameters (a linear candidate) would make the
        # sampler forget how the parameters of all others hang together.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=6, multivariate=True, group=True)
