"""A tiny set and a search of it."""

import numpy as np

import tuner.search.finish
import tuner.search.linear
import tuner.search.prefixes
import tuner.search.search
import tuner.search.ship
import tuner.search.storage
import tuner.search.study
import tuner.search.trainer
import tuner.tasks.heads
import tuner.training.train
from helpers import commands
from tuner.search.clock import Deadline
from tuner.search.data import LabelledRows, TuningData
from tuner.search.loop import Trials
from tuner.search.run_name import RunName
from tuner.search.search import search
from tuner.search.space import (
    candidate_at,
    default_space,
)
from tuner.search.trainer import Finished
from tuner.tasks.classes import Classes

NAMES = ("neg", "pos")


def labelled(n, seed):
    rows = commands.reviews(n, seed=seed)
    return LabelledRows(
        rows=[row["text"] for row in rows], labels=np.array([NAMES.index(row["label"]) for row in rows])
    )


DATA = TuningData(
    name="reviews",
    train=labelled(96, 0),
    validation=labelled(60, 1),
    test=labelled(40, 2),
    task=Classes(names=NAMES),
    fingerprint="x",
)


def run_search(backbone, folder, *, n_trials=4, space=None, **options):
    return search(
        backbone,
        data=DATA,
        space=space or default_space(4),
        recommended=candidate_at(3, 4),
        folder=folder,
        budget_s=options.pop("budget_s", None),
        n_trials=n_trials,
        **options,
    )


def trials_of(bench, folder, *, deadline=None, recommended=None, n_trials=None, **options):
    study = tuner.search.study.open_study(folder, seed=0, storage=None, name=None, run_key="x")
    return Trials(
        bench,
        study=study,
        deadline=deadline or Deadline(None),
        recommended=recommended or candidate_at(3, 4),
        n_trials=n_trials,
        **options,
    )


def kept(bench, name, depth, right, seed=0, also=()):
    """A finished run at a depth whose first `right` validation predictions are right, and those of rows `also`."""
    predictions = DATA.validation.labels.copy()
    predictions[right:] = 1 - predictions[right:]
    predictions[list(also)] = DATA.validation.labels[list(also)]
    candidate = candidate_at(depth, 4)
    finished = Finished(candidate=candidate, recipe={}, seed=seed, predictions=predictions, seconds=0.0)
    return bench.keep(named(name), finished)


def named(text):
    """The name of a run."""
    return RunName.parse(str(text))
