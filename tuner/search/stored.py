"""What stored JSON must hold for a search to go on from it and for its result to be shown again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any, TypeAlias

from tuner.sealed import damaged
from tuner.search.space import Candidate

NUMBER = (int, float)
TEXT_OR_NOTHING = (str, NoneType)
Kinds: TypeAlias = type | tuple[type, ...]
CANDIDATE_FIELDS: Mapping[str, Kinds] = {
    "strategy": str,
    "frozen_blocks": (int, NoneType),
    "features": TEXT_OR_NOTHING,
}
MEASURED_FIELDS: Mapping[str, Kinds] = {
    "mean": NUMBER,
    "sd": (*NUMBER, NoneType),
    "n": int,
    "seconds": NUMBER,
}
TUNING_FIELDS: Mapping[str, Kinds] = {
    "candidates": list,
    "winner.candidate": dict,
    "winner.test.score": NUMBER,
    "winner.test.interval": list,
    "changed_from_advice": (dict, NoneType),
    "stopped_because": str,
    "n_blocks": int,
    "metric": str,
    "warnings": list,
    "baselines": dict,
}
CLASS_FIELDS: Mapping[str, Kinds] = {"name": str, "n": int, "recall": (*NUMBER, NoneType)}
CALIBRATION_FIELDS: Mapping[str, Kinds] = {
    "temperature": NUMBER,
    "n": int,
    "unit": str,
    "why": TEXT_OR_NOTHING,
    "n_test": (int, NoneType),
}
CALIBRATED_FIELDS: Mapping[str, Kinds] = dict.fromkeys(
    ("ece_before", "ece_after", "ece_by_chance", "confidence_before", "confidence_after", "accuracy"), NUMBER
)
"""Beside those of a calibration, where it was measured on test rows."""
_MISSING = object()


def check_tuning(stored: Mapping[str, Any], *, path: Path, fix: str) -> None:
    """Raise `DataError`, which names `path`, where a stored ``tuning.json`` cannot be shown again."""
    check_values(stored, TUNING_FIELDS, path=path, fix=fix)
    check_candidates(stored["candidates"], MEASURED_FIELDS, path=path, name="candidates", fix=fix)
    check_candidates([stored["winner"]["candidate"]], {}, path=path, name="winner.candidate", fix=fix)
    for row in stored["candidates"]:
        _check_interval_of(row, path=path, within="candidates.", fix=fix)
    for name, found in stored["baselines"].items():
        if found is not None:
            check_values(found, {"score": NUMBER}, path=path, within=f"baselines.{name}.", fix=fix)
            _check_interval_of(found, path=path, within=f"baselines.{name}.", fix=fix)
    _check_test(stored["winner"]["test"], path=path, fix=fix)
    if (calibration := stored.get("calibration")) is not None:
        _check_calibration(calibration, path=path, fix=fix)
    if stored["changed_from_advice"] is not None:
        check_values(stored["changed_from_advice"], dict.fromkeys(("from", "to", "why"), str), path=path, fix=fix)


def _check_test(test: Mapping[str, Any], *, path: Path, fix: str) -> None:
    """What was measured on the test split; earlier versions measured the score alone."""
    check_interval(test["interval"], path=path, name="winner.test.interval", fix=fix)
    for name, found in test.get("metrics", {}).items():
        within = f"winner.test.metrics.{name}."
        check_values(found, {"score": NUMBER, "interval": list}, path=path, within=within, fix=fix)
        _check_interval_of(found, path=path, within=within, fix=fix)
    for row in test.get("by_class", ()):
        check_values(row, CLASS_FIELDS, path=path, within="winner.test.by_class.", fix=fix)
        _check_interval_of(row, path=path, within="winner.test.by_class.", fix=fix)


def _check_calibration(stored: Any, *, path: Path, fix: str) -> None:
    check_values(stored, CALIBRATION_FIELDS, path=path, within="calibration.", fix=fix)
    if stored["n_test"] is not None:
        check_values(stored, CALIBRATED_FIELDS, path=path, within="calibration.", fix=fix)
        for name in ("ece_before_interval", "ece_after_interval"):
            check_interval(stored.get(name), path=path, name=f"calibration.{name}", fix=fix)


def _check_interval_of(stored: Mapping[str, Any], *, path: Path, within: str, fix: str) -> None:
    """The interval of something stored, where it has one."""
    if stored.get("interval") is not None:
        check_interval(stored["interval"], path=path, name=f"{within}interval", fix=fix)


def check_interval(stored: Any, *, path: Path, name: str, fix: str) -> None:
    """Raise `DataError` where something stored is not a pair of numbers."""
    if not isinstance(stored, list) or len(stored) != 2 or not all(isinstance(edge, NUMBER) for edge in stored):
        raise damaged(path, f"{name} is not a pair of numbers", fix=fix)


def check_candidates(stored: Sequence[Any], more: Mapping[str, Any], *, path: Path, name: str, fix: str) -> None:
    """Raise `DataError` where one of some stored candidates is none, or lacks one of `more` values of it."""
    named = {field.name for field in fields(Candidate)}
    for item in stored:
        check_values(item, {**CANDIDATE_FIELDS, **more}, path=path, within=f"{name}.", fix=fix)
        if not more and (unknown := item.keys() - named):
            raise damaged(path, f"{name} holds {', '.join(sorted(unknown))}, which no candidate has", fix=fix)


def check_values(stored: Any, wanted: Mapping[str, Kinds], *, path: Path, fix: str, within: str = "") -> None:
    """Raise `DataError` where a value is missing or of another type; ``model.id`` leads into the record `model`."""
    for name, kinds in wanted.items():
        value = stored
        for key in name.split("."):
            value = value.get(key, _MISSING) if isinstance(value, Mapping) else _MISSING
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise damaged(
                path, f"{within}{name} is {'missing' if value is _MISSING else 'not what it should be'}", fix=fix
            )
