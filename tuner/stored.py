"""What stored JSON must hold for a search to go on from it and for its result to be shown again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any, TypeAlias

from tuner.sealed import damaged
from tuner.space import Candidate

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
}
_MISSING = object()


def check_tuning(stored: Mapping[str, Any], *, path: Path, fix: str) -> None:
    """Raise `DataError`, which names `path`, where a stored ``tuning.json`` cannot be shown again."""
    check_values(stored, TUNING_FIELDS, path=path, fix=fix)
    check_candidates(stored["candidates"], MEASURED_FIELDS, path=path, name="candidates", fix=fix)
    check_candidates([stored["winner"]["candidate"]], {}, path=path, name="winner.candidate", fix=fix)
    check_interval(stored["winner"]["test"]["interval"], path=path, name="winner.test.interval", fix=fix)
    if stored["changed_from_advice"] is not None:
        check_values(stored["changed_from_advice"], dict.fromkeys(("from", "to", "why"), str), path=path, fix=fix)


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
