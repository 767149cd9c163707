"""What a search found, as ``tuning.json`` holds it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.errors import DataError
from tuner.export import TransferModel
from tuner.records import SCHEMA, Record, read_record
from tuner.sealed import unsealed
from tuner.search.journal import WORK
from tuner.search.stored import check_tuning


@dataclass(frozen=True, kw_only=True)
class TuningResult(Record):
    """What ``tuning.json`` holds; ``model`` loads the winner."""

    candidates: tuple[dict[str, Any], ...]
    by_depth: tuple[dict[str, Any], ...]
    winner: dict[str, Any]
    changed_from_advice: dict[str, str] | None
    baselines: Mapping[str, Any]
    trials: dict[str, int]
    confirmations: tuple[dict[str, Any], ...]
    budget: dict[str, float] | None
    stopped_because: str
    model_dir: str
    metric: str
    n_blocks: int
    seed: int
    seconds: float
    split_sizes: dict[str, int]
    range: dict[str, Any]
    prefix: dict[str, Any]
    warnings: tuple[str, ...]
    limited_to: str | None = None
    augmentation: dict[str, Any] | None = None
    options: tuple[dict[str, Any], ...] = ()
    calibration: dict[str, Any] | None = None
    unscored: tuple[dict[str, Any], ...] = ()
    final: dict[str, Any] | None = None
    plans: tuple[dict[str, Any], ...] = ()
    schema: int = field(default=SCHEMA)

    @property
    def model(self) -> TransferModel:
        """The winner, loaded from its folder."""
        return TransferModel.from_pretrained(self.model_dir)


def read_result(path: Path) -> TuningResult:
    """A stored ``tuning.json``. Raises `DataError` where it is damaged."""
    fix = f"put the file back as it was; the model in {path.parent / 'model'} is not touched and still predicts"
    if (path.parent / WORK).exists():
        fix = "delete it: --resume writes it again from the finished runs, which are kept"
    stored = unsealed(read_record(path, expected={"winner": dict, "candidates": list}, fix=fix), path=path, fix=fix)
    check_tuning(stored, path=path, fix=fix)
    known = {field.name for field in dataclasses.fields(TuningResult)}
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in stored.items() if key in known
    }
    try:
        # A run folder may have been moved since.
        return TuningResult(**values | {"model_dir": str(path.parent / "model")})
    except TypeError as error:
        raise DataError(
            f"{path} is not the result of a search ({error})",
            why="it is damaged, or was written by something else",
            fix=fix,
        ) from error
