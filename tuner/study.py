"""The Optuna study of a search: its storage, its sampler and pruner, and what tells it from other studies."""

from __future__ import annotations

import json
import uuid
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.errors import OptionError
from tuner.records import write_json

if TYPE_CHECKING:
    import optuna


STUDY = "study.journal"


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """The Optuna storage at a URL; `OptionError` where there is none or it cannot be reached."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return optuna.storages.get_storage(url)
    except (SQLAlchemyError, ImportError, ValueError, OSError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise OptionError(
            f"--storage {url!r} cannot be opened ({type(error).__name__}: {reason[:200]})",
            why="the trials of the search would be stored there",
            fix="pass a URL that Optuna takes, such as sqlite:///trials.db, or leave --storage away",
        ) from error


def run_key_of(work: Path) -> str:
    """What tells the study of this run from all others in a shared storage: made once, kept in its work folder."""
    path = work / "run.json"
    if not path.exists():
        write_json(path, {"run": uuid.uuid4().hex})
    return str(json.loads(path.read_text(encoding="utf-8"))["run"])


def open_study(
    folder: Path, *, seed: int, storage: optuna.storages.BaseStorage | None, name: str | None, run_key: str
) -> optuna.Study:
    """The study in the run folder's journal, or in another storage; trials of a dead process are marked failed.

    Raises `OptionError` where the study holds the trials of another run, which would count and steer here.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=name or ("freeze-depth" if storage is None else f"freeze-depth-{run_key}"),
        storage=storage or optuna.storages.JournalStorage(JournalFileBackend(str(folder / STUDY))),
        sampler=_sampler(seed),
        # Linear candidates finish first and report nothing on the way: what counts is how many trials were seen at the
        # same point, and a quarter of a schedule is too early to judge.
        pruner=optuna.pruners.MedianPruner(n_startup_trials=0, n_warmup_steps=1, n_min_trials=3),
        direction="maximize",
        load_if_exists=True,
    )
    owner = study.user_attrs.get("run")
    if owner != run_key and (owner is not None or study.trials):
        raise OptionError(
            f"the study {study.study_name!r} already holds the trials of another run",
            why="they would be counted and steer the search, and their trained models are not here",
            fix="pass another --study, or --out with a new folder",
        )
    study.set_user_attr("run", run_key)
    # One process works on a run, so a trial that still runs in its study belongs to one that died.
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    while study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,)):
        study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)  # queued by a process that died before it ran
    if study.trials:  # a resumed sampler must not draw the first session's numbers again
        study.sampler = _sampler(seed + len(study.trials))
    return study


def _sampler(seed: int) -> optuna.samplers.BaseSampler:
    import optuna

    with warnings.catch_warnings():
        # group is marked experimental; without it, one trial without parameters (a linear candidate) would make the
        # sampler forget how the parameters of all others hang together.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=6, multivariate=True, group=True)
