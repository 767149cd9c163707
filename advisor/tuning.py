"""What a search is given: the rows of every split, at most so many, and a run folder that fits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from advisor import runs
from advisor.data.target import TargetData
from advisor.kinds.base import Kind
from advisor.measures.features import sample_rows
from tuner.errors import OptionError
from tuner.model.backbone import Backbone
from tuner.search.data import LabelledRows, TuningData

TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS = 20_000, 2_000, 10_000
"""Rows the search trains, validates and tests on at most: beyond them a trial no longer fits a sensible budget, and a
test score is known to a point already."""


def tuning_data(target: TargetData, *, kind: Kind, seed: int) -> TuningData:
    """The splits in the form that the search takes; very large ones are sampled, stratified."""

    def part(rows: np.ndarray, most: int) -> LabelledRows:
        if len(rows) > most:
            rows = np.sort(rows[sample_rows(target.labels[rows], size=most, seed=seed)])
        return kind.labelled_rows(target, rows)

    parts = (("trained", target.train, TRAIN_ROWS), ("tested", target.test, TEST_ROWS))
    notes = tuple(
        f"{what} on a sample of {most:,} of {len(rows):,} rows" for what, rows, most in parts if len(rows) > most
    )
    return TuningData(
        name=target.name,
        train=part(target.train, TRAIN_ROWS),
        validation=part(target.validation, VALIDATION_ROWS),
        test=part(target.test, TEST_ROWS),
        task=kind.task(target),
        fingerprint=target.fingerprint,
        notes=notes,
    )


def tuning_folder(out: str | Path | None, *, target: TargetData, backbone: Backbone, resume: bool) -> tuple[Path, bool]:
    """Find or make the run folder of a search.

    Args:
        out: the folder that was asked for; None for one with a name of its own under ``runs/``.
        target: the data, by whose name a new folder is called.
        backbone: the model, by whose name a new folder is called.
        resume: whether to go on in the newest run of the same data and model, if there is one.

    Returns:
        The folder, and whether it was made here and now.
    """
    if out is not None:
        return Path(out), False
    if resume:
        earlier = runs.find_run(data_fingerprint=target.fingerprint, model=backbone.fingerprint)
        if earlier is not None:
            return earlier, False
    return runs.claim_folder(target.name, backbone.id), True


def check_same_run(
    stored: Mapping[str, Any],
    *,
    target: TargetData,
    backbone: Backbone,
    max_length: int | None,
    metric: str,
    seed: int,
    folder: Path | str,
) -> None:
    """Raise `OptionError` where stored advice is not of this data, model and metric, and not with this seed and length.

    Args:
        stored: the values of an ``advice.json``.
        target: the data.
        backbone: the model.
        max_length: tokens that a row is cut to; None where rows have no tokens.
        metric: what candidates are scored by.
        seed: of everything that is drawn.
        folder: where the advice lies, for the message.
    """
    model = stored["model"].get("sha256") or stored["model"].get("revision") or stored["model"].get("id")
    for what, here, there in (
        ("data", target.fingerprint, stored["data"].get("fingerprint")),
        ("model", backbone.fingerprint, model),
        ("metric", metric, stored["metric"]),
        ("length", max_length, stored["model"]["max_length"]),
        ("seed", seed, stored["seed"]),
    ):
        if here != there:
            raise OptionError(
                f"{folder} is of another {what}: {there}, not {here}",
                why="advice and runs can only be continued with what they started with",
                fix=f"pass the same {what}, columns and seed as then, or --out with a new folder",
            )
