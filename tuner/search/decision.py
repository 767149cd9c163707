"""What is done to the logits of the model that is shipped: offsets of the classes where they help, one temperature."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tuner.records import Record
from tuner.search.rows import EncodedRows
from tuner.search.space import Candidate
from tuner.tasks.base import Task
from tuner.tasks.calibration import Temperature, fold
from tuner.tasks.imbalance import Offsets
from tuner.tasks.truth import Truth

if TYPE_CHECKING:
    import torch

OFFSETS = "decision_offsets"


@dataclass(frozen=True, kw_only=True)
class Decision(Record):
    """The temperature, None without probabilities, and the offsets, None where the metric asks for none."""

    temperature: Temperature | None
    offsets: Offsets | None = None
    why_no_offsets: str | None = None

    @property
    def added(self) -> np.ndarray | None:
        """(C,) offsets that are added to the logits; None where they do not help."""
        return np.array(self.offsets.values) if self.offsets is not None and self.offsets.helps else None

    def option(self, candidate: Candidate) -> tuple[dict[str, Any], ...]:
        """What the offsets were worth to the candidate that was chosen, as an entry of the result's options."""
        if self.why_no_offsets is not None:
            return ({"option": OFFSETS, "difference": None, "why": self.why_no_offsets},)
        if self.offsets is None:
            return ()
        low, high = self.offsets.interval
        verdict = "it helped" if low > 0 else "no difference is shown" if high >= 0 else "it harmed"
        if self.offsets.strength == 0:
            verdict = "no offset is best"
        return (
            {
                "option": OFFSETS,
                "difference": self.offsets.difference,
                "interval": self.offsets.interval,
                "seeds": 1,
                "candidate": candidate.to_json(),
                "strength": self.offsets.strength,
                "kept": self.offsets.helps,
                "why": verdict,
            },
        )


def decide(
    logits: np.ndarray | None,
    *,
    task: Task,
    truth: Truth,
    train_labels: np.ndarray,
    seen: np.ndarray | None = None,
    seed: int = 0,
    takes_offsets: bool = True,
) -> Decision:
    """Offsets and temperature from the validation rows' logits, under a model that these rows did not train.

    Offsets are chosen under metrics that count all classes alike, and the temperature on what they leave.

    Args:
        logits: (n, C) of the validation rows, or of the words of tagged ones; None where there is no such model, since
            there was time for a single fit on all labelled rows.
        task: what is predicted.
        truth: what the validation rows are scored against.
        train_labels: (m, ...) labels of the training rows.
        seen: (n,) which words the model sees; None where it sees everything.
        seed: of the interval of what offsets change.
        takes_offsets: whether the last layer of the model has a bias to add them to.
    """
    moves = task.moves(truth.metric)
    if logits is None:
        why = "there was time for a single fit on all labelled rows, which leaves none to fit it on"
        return Decision(temperature=task.uncalibrated(why), why_no_offsets=why if moves else None)
    labels, offsets, why_not = truth.labels, None, None
    if moves and takes_offsets:
        offsets = task.choose_offsets(logits, truth, trained_on=train_labels, seed=seed)
    elif moves:
        why_not = "the architecture's own last layer has no bias to add them to"
    if seen is not None:  # of others the model says nothing
        logits, labels = logits[seen], labels[seen]
    decision = Decision(temperature=None, offsets=offsets, why_no_offsets=why_not)
    moved = logits if decision.added is None else logits + decision.added
    return replace(decision, temperature=task.fit_temperature(moved, labels))


def decide_and_fold(linear: torch.nn.Linear, *, logits: np.ndarray | None, rows: EncodedRows, seed: int) -> Decision:
    """Decide on offsets and temperature, and put both into the last layer of the model that is shipped, in place.

    Args:
        linear: that layer.
        logits: (n, C) of the validation rows, or of their words, under a model that they did not train; None where
            there is no such model.
        rows: encoded training and validation rows.
        seed: of the interval of what offsets change.
    """
    decision = decide(
        logits, task=rows.task, truth=rows.truth, train_labels=rows.data.train.labels, seen=rows.validation.seen,
        seed=seed, takes_offsets=linear.bias is not None,
    )  # fmt: skip
    value = 1.0 if decision.temperature is None else decision.temperature.value
    temperature, offsets = rows.task.folding(temperature=value, offsets=decision.added)
    fold(linear, temperature=temperature, offsets=offsets)
    return decision
