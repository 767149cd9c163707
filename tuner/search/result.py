"""What a search found, as ``tuning.json`` holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tuner.export import TransferModel
from tuner.records import SCHEMA, Record, read_record
from tuner.sealed import unsealed
from tuner.search.journal import WORK
from tuner.search.stored import (
    Change,
    FittedTemperature,
    MeasuredScore,
    MeasuredTemperature,
    PlanNote,
    Ranked,
    SplitSizes,
    Winner,
)


@dataclass(frozen=True, kw_only=True)
class TuningResult(Record):
    """The result of a search, as ``tuning.json`` holds it; ``model`` loads the winner.

    What is annotated with a record is a plain mapping of that record's values.
    """

    candidates: tuple[Annotated[dict[str, Any], Ranked], ...]
    by_depth: tuple[dict[str, Any], ...]
    winner: Annotated[dict[str, Any], Winner]
    changed_from_advice: Annotated[dict[str, str], Change] | None
    baselines: Mapping[str, Annotated[Any, MeasuredScore] | None]
    trials: dict[str, int]
    confirmations: tuple[dict[str, Any], ...]
    budget: dict[str, float] | None
    stopped_because: str
    model_dir: str
    metric: str
    n_blocks: int
    seed: int
    seconds: float
    split_sizes: Annotated[dict[str, int], SplitSizes]
    range: dict[str, Any]
    prefix: dict[str, Any]
    warnings: tuple[str, ...]
    limited_to: str | None = None
    augmentation: dict[str, Any] | None = None
    options: tuple[dict[str, Any], ...] = ()
    calibration: (
        Annotated[dict[str, Any], FittedTemperature] | Annotated[dict[str, Any], MeasuredTemperature] | None
    ) = None
    unscored: tuple[dict[str, Any], ...] = ()
    final: dict[str, Any] | None = None
    plans: tuple[Annotated[dict[str, Any], PlanNote], ...] = ()
    schema: int = field(default=SCHEMA)

    @property
    def model(self) -> TransferModel:
        """The winner, loaded from its folder."""
        return TransferModel.from_pretrained(self.model_dir)


def read_result(path: Path) -> TuningResult:
    """Read a stored ``tuning.json``. Raises `DataError` where it is damaged."""
    fix = f"put the file back as it was; the model in {path.parent / 'model'} is not touched and still predicts"
    if (path.parent / WORK).exists():
        fix = "delete it: --resume writes it again from the finished runs, which are kept"
    stored = unsealed(read_record(path, expected={"winner": dict, "candidates": list}, fix=fix), path=path, fix=fix)
    # A run folder may have been moved since.
    return result_from(stored | {"model_dir": str(path.parent / "model")}, path=path, fix=fix)


def result_from(stored: Mapping[str, Any], *, path: Path, fix: str) -> TuningResult:
    """Turn the values of a ``tuning.json`` into a result.

    Raises `DataError`, which names `path`, for what is no result of a search.
    """
    return TuningResult.from_json(stored, path=path, fix=fix, noun="result", ignores_added=True)
