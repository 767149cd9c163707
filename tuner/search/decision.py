"""What is done to the logits of the model that is shipped: offsets of the classes where they help, one temperature."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tuner.model.classifier import final_linear
from tuner.records import Record
from tuner.search.space import Candidate
from tuner.search.trials import Bench
from tuner.tasks.calibration import Temperature, fold
from tuner.tasks.imbalance import Offsets

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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
        """What the offsets were worth to the candidate that was chosen, as an option of the search is told."""
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


def decide(bench: Bench, logits: np.ndarray | None, *, takes_offsets: bool = True) -> Decision:
    """Offsets and temperature from the validation rows' logits, under a model that these rows did not train.

    None stands for no such model, since there was time for a single fit on all labelled rows.
    Offsets are chosen under metrics that count all classes alike, and the temperature on what they leave.
    """
    task = bench.task
    if logits is None:
        why = "there was time for a single fit on all labelled rows, which leaves none to fit it on"
        no_offsets = why if task.moves(bench.metric) else None
        return Decision(temperature=task.uncalibrated(why), why_no_offsets=no_offsets)
    labels, offsets, why_not = bench.data.validation.labels, None, None
    if task.moves(bench.metric) and takes_offsets:
        offsets = task.choose_offsets(logits, bench.truth, trained_on=bench.data.train.labels, seed=bench.seed)
    elif task.moves(bench.metric):
        why_not = "the architecture's own last layer has no bias to add them to"
    seen = bench.validation_encoded.seen  # of others the model says nothing
    decision = Decision(temperature=None, offsets=offsets, why_no_offsets=why_not)
    moved = logits if decision.added is None else logits + decision.added
    return replace(decision, temperature=task.fit_temperature(moved[seen], labels[seen]))


def decide_and_fold(model: PreTrainedModel, *, bench: Bench, logits: np.ndarray | None) -> Decision:
    """Decide from the validation rows' `logits`, and put it into the last layer of the model that is shipped."""
    linear = final_linear(model, bench.backbone.blocks, n_classes=bench.n_classes)
    assert linear is not None  # a classifier without one is never built
    decision = decide(bench, logits, takes_offsets=linear.bias is not None)
    value = 1.0 if decision.temperature is None else decision.temperature.value
    temperature, offsets = bench.task.folding(temperature=value, offsets=decision.added)
    fold(linear, temperature=temperature, offsets=offsets)
    return decision
