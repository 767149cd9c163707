"""What a few measured datasets say of a model beside those that the evidence is of: the level of its gains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from advisor.evidence.predictions import for_model, item_weights
from advisor.evidence.sharpening import unknown_level
from advisor.evidence.table import Evidence, OtherModel, Task, share_of
from tuner.search.expectations import USUAL_CORRELATION
from tuner.search.gaussian import Floats, logit


def fit_other(evidence: Evidence, tasks: Sequence[Task], *, paired: Sequence[Task]) -> OtherModel:
    """By how much another model gains more over its probe than the evidence says, from pairs of tasks on the same rows.

    A pair rids the difference of what is particular to the dataset, so that a dataset under two models is not counted
    as two; tasks of one dataset count as one together. One level is learned for all candidates: how they compare is
    taken from the evidence, since learning that from a few datasets made the advice worse (benchmarks/carry_over.py).

    Args:
        evidence: what was fitted on the models that it is of.
        tasks: of the other model; of trained items any shares, such as ``trained 0.500 low``.
        paired: tasks that the evidence was fitted on, of the same datasets and numbers of rows among them.

    Raises:
        ValueError: where a task has no pair, or there is none.
    """
    partners = {(task.dataset, task.n): task for task in paired}
    if not tasks or any((task.dataset, task.n) not in partners for task in tasks):
        raise ValueError("every task of another model needs one of the evidence's on the same rows")
    names = sorted({task.dataset for task in tasks})
    differences: dict[str, list[float]] = {name: [] for name in names}
    noises: dict[str, list[float]] = {name: [] for name in names}
    for task in tasks:
        items = np.stack([weights_of_item(item, evidence) for item in task.scores])
        partner = gains_of(partners[task.dataset, task.n], evidence.items)
        differences[task.dataset].append(float(np.mean(gains_of(task) - items @ partner)))
        noises[task.dataset].append(_noise(task, items.mean(0), evidence))
    prior = unknown_level(for_model(evidence, model=""))
    precisions = [1 / np.mean(noises[name]) for name in names]
    left = 1 / (1 / prior + sum(precisions))
    shift = left * sum(p * np.mean(differences[name]) for p, name in zip(precisions, names, strict=True))
    return OtherModel(
        model=tasks[0].model,
        datasets=tuple(names),
        rows=(min(task.n for task in tasks), max(task.n for task in tasks)),
        shift=round(float(shift), 6),
        learned=round(float(prior - left), 6),
    )


def _noise(task: Task, weights: Floats, evidence: Evidence) -> float:
    """Variance of a pair's mean difference: what tasks of one dataset differ by, and the test rows that both share."""
    within = evidence.gains(task.n)[1] - np.asarray(evidence.between)
    score = float(np.clip(np.mean([*task.scores.values()]), 0.5 / task.n_test, 1 - 0.5 / task.n_test))
    tested = 2 * (1 - USUAL_CORRELATION) / (task.n_test * score * (1 - score))
    return float(weights @ within @ weights + tested)


def gains_of(task: Task, items: Sequence[str] | None = None) -> Floats:
    """The (m,) gains over the probe, in log odds, of some of a task's items, or of all that it has."""
    scores = [task.scores[item] for item in items or task.scores]
    gains: Floats = logit(np.array(scores), n=task.n_test) - logit(task.probe, n=task.n)
    return gains


def weights_of_item(item: str, evidence: Evidence) -> Floats:
    """How the evidence's k items make up one at any share of frozen blocks, as (k,) weights."""
    found = share_of(item)
    if found is None:
        weights: Floats = np.eye(len(evidence.items))[evidence.items.index(item)]
        return weights
    return item_weights(evidence, found[0], found[1])
