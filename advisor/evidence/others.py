"""What a few measured datasets say of a model beside those that the evidence is of: how its mean gains differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from advisor.evidence.predictions import for_model, item_weights
from advisor.evidence.sharpening import unknown_of_mean
from advisor.evidence.table import Evidence, OtherModel, Task, share_of
from tuner.expectations import USUAL_CORRELATION
from tuner.gaussian import Floats, condition, logit


def fit_other(evidence: Evidence, tasks: Sequence[Task], *, paired: Sequence[Task]) -> OtherModel:
    """The difference between another model's mean gains and those of the evidence, by pairs of tasks on the same rows.

    A pair rids the difference of what is particular to the dataset, so that a dataset under two models is not counted
    as two. How far models differ at all is taken from how much wider strangers' intervals have to be: that is the
    prior, and items that were not measured move with those that were. Tasks of one dataset count as one together.

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
    prior = unknown_of_mean(for_model(evidence, model=""))
    names = [task.dataset for task in tasks]
    of, observed, noises = [], [], []
    for task in tasks:
        weights = np.stack([weights_of_item(item, evidence) for item in task.scores])
        of.append(weights)
        observed.append(gains_of(task) - weights @ gains_of(partners[task.dataset, task.n], evidence.items))
        within = evidence.gains(task.n)[1] - np.asarray(evidence.between)
        scores = np.array([*task.scores.values()]).clip(0.5 / task.n_test, 1 - 0.5 / task.n_test)
        tested = np.diag(2 * (1 - USUAL_CORRELATION) / (task.n_test * scores * (1 - scores)))
        noises.append(names.count(task.dataset) * (weights @ within @ weights.T + tested))
    noise = np.zeros((sum(map(len, noises)),) * 2)
    start = 0
    for part in noises:
        end = start + len(part)
        noise[start:end, start:end] = part
        start = end
    shift, left = condition(
        np.zeros(len(prior)), prior, observed=np.concatenate(observed), of=np.concatenate(of), noise=noise
    )
    return OtherModel(
        model=tasks[0].model,
        datasets=tuple(sorted(set(names))),
        rows=(min(task.n for task in tasks), max(task.n for task in tasks)),
        shift=tuple(round(float(value), 6) for value in shift),
        learned=tuple(tuple(round(float(value), 6) for value in row) for row in prior - left),
    )


def gains_of(task: Task, items: Sequence[str] | None = None) -> Floats:
    """(m,) gains over the probe in log odds, of some items or of all that the task has."""
    scores = [task.scores[item] for item in items or task.scores]
    gains: Floats = logit(np.array(scores), n=task.n_test) - logit(task.probe, n=task.n)
    return gains


def weights_of_item(item: str, evidence: Evidence) -> Floats:
    """(k,) how the evidence's items make up one at any share of frozen blocks."""
    found = share_of(item)
    if found is None:
        weights: Floats = np.eye(len(evidence.items))[evidence.items.index(item)]
        return weights
    return item_weights(evidence, found[0], found[1])
