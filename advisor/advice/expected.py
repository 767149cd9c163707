"""Which evidence speaks of some data and a model, and what it expects there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from advisor.advice.strategy import measured_rates
from advisor.evidence.own import KINDS, fitting, read_own
from advisor.evidence.predictions import TRAINED_SHARE, expect
from advisor.evidence.sharpening import sharpen, unlike
from advisor.evidence.table import Evidence, load_evidence, load_rule
from advisor.measures.probe import ProbeProfile
from tuner.errors import DataError
from tuner.freezing import has_statistics
from tuner.model.backbone import Backbone
from tuner.search.expectations import SCHEDULE_SHARE, Expectations


def evidence_for(
    kept_as: str | None, backbone: Backbone, *, metric: str, own: bool
) -> tuple[Evidence | None, tuple[str, ...]]:
    """Find what measured runs say of this kind of data, sharpened by the user's own runs of the model.

    Args:
        kept_as: what evidence calls the kind of data (`advisor.kinds.words.Words.kept_as`); None for kinds of tasks
            that nothing was measured of.
        backbone: the model.
        metric: what models are scored by; only own runs under it are asked.
        own: whether the user's own runs are asked beside the shipped ones.

    Returns:
        The evidence, None where there is none or where what is shipped cannot be read; and a warning for every file of
        evidence that was left out.
    """
    if kept_as is None:
        return None, ()
    shipped = KINDS[kept_as].shipped
    try:
        evidence = replace(load_evidence(shipped), rule=load_rule(shipped))
    except DataError as error:
        return None, (f"the evidence on {KINDS[shipped].nouns} was left out: {error.what}; {error.fix}",)
    if not own:
        return evidence, ()
    kept, left_out = read_own()
    fit = fitting(kept, model_fingerprint=backbone.fingerprint, kind=kept_as, metric=metric)
    return sharpen(evidence, fit, model=backbone.id, unlike=unlike(kept_as)), left_out


def expectations_of(
    evidence: Evidence, backbone: Backbone, probes: ProbeProfile, *, task: str | None
) -> Callable[[int], Expectations]:
    """Make the function that says which scores are expected at so many labelled rows.

    Args:
        evidence: what measured runs say of this kind of data.
        backbone: the model.
        probes: the probes measured here, which set the level.
        task: what kind of task this is where the evidence is of another one, else None.
    """
    rates = measured_rates(batch_norm=has_statistics(backbone.blocks))

    def at(n: int) -> Expectations:
        return expect(
            evidence, probes.probes, n=n, n_blocks=backbone.n_blocks, model=backbone.id, rates=rates, unlike=task
        )

    return at


def epochs_of(expectations: Expectations | None, n_labelled: int) -> tuple[int, int] | None:
    """The fewest and the most epochs that are sampled: half of the full schedule to half as many again."""
    if expectations is None:
        return None
    full = SCHEDULE_SHARE * expectations.rows_seen / max(TRAINED_SHARE * n_labelled, 1)
    return max(round(full / 2), 1), max(round(1.5 * full), 2)
