"""Which evidence speaks of some data and a model, and what it expects there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from advisor.advice.strategy import (
    measured_rates,
)
from advisor.data.target import TargetData
from advisor.evidence.own import fitting, read_own
from advisor.evidence.predictions import TRAINED_SHARE, expect
from advisor.evidence.sharpening import sharpen, unlike
from advisor.evidence.table import Evidence, load_evidence, load_rule
from advisor.measures.probe import ProbeProfile
from tuner.errors import DataError
from tuner.freezing import has_statistics
from tuner.model.backbone import Backbone
from tuner.search.expectations import SCHEDULE_SHARE, Expectations

if TYPE_CHECKING:
    import datasets
    import pandas as pd

    Data: TypeAlias = str | Path | pd.DataFrame | datasets.Dataset | datasets.DatasetDict | tuple[Any, Any]
    Model: TypeAlias = str | Path | tuple[Any, Any] | None


def evidence_for(
    target: TargetData, backbone: Backbone, *, metric: str, own: bool
) -> tuple[Evidence | None, tuple[str, ...]]:
    """What measured runs say of this kind of data, sharpened by the user's `own` runs of the model, and a warning for
    every file of evidence that was left out. None for kinds of tasks that nothing was measured of."""
    if target.tagged:
        return None, ()
    try:
        evidence = replace(load_evidence(target.kind), rule=load_rule(target.kind))
    except DataError as error:
        return None, (f"the evidence on {target.kind}s was left out: {error.what}; {error.fix}",)
    if not own:
        return evidence, ()
    kept, left_out = read_own()
    kind = _kind_of_task(target)
    fit = fitting(kept, model_fingerprint=backbone.fingerprint, kind=kind, metric=metric)
    return sharpen(evidence, fit, model=backbone.id, unlike=unlike(kind)), left_out


def _kind_of_task(target: TargetData) -> str:
    """What is labelled, as evidence tells tasks apart."""
    return "text_pair" if target.columns.get("text_pair") is not None else target.kind


def expectations_of(
    evidence: Evidence, target: TargetData, backbone: Backbone, probes: ProbeProfile
) -> Callable[[int], Expectations]:
    """Expected scores at so many labelled rows."""
    task = unlike(_kind_of_task(target))

    rates = measured_rates(batch_norm=has_statistics(backbone.blocks))

    def at(n: int) -> Expectations:
        return expect(
            evidence, probes.probes, n=n, n_blocks=backbone.n_blocks, model=backbone.id, rates=rates, unlike=task
        )

    return at


def epochs_of(expectations: Expectations | None, n_labelled: int) -> tuple[int, int] | None:
    """The epochs that are sampled: from half of the full schedule to half as many again."""
    if expectations is None:
        return None
    full = SCHEDULE_SHARE * expectations.rows_seen / max(TRAINED_SHARE * n_labelled, 1)
    return max(round(full / 2), 1), max(round(1.5 * full), 2)
