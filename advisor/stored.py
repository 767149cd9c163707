"""What a stored ``advice.json`` must hold for a search to go on from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from advisor.kinds.words import words_of
from tuner.sealed import damaged
from tuner.search.stored import NUMBER, TEXT_OR_NOTHING, Kinds, check_candidates, check_interval, check_values

ADVICE_FIELDS: Mapping[str, Kinds] = {
    "model.id": str,
    "model.n_blocks": int,
    "model.max_length": (int, NoneType),
    "data.name": str,
    "data.n_examples": int,
    "data.n_classes": int,
    "data.fingerprint": str,
    "data.columns": dict,
    "data.class_counts": dict,
    "size.verdict": str,
    "size.why": str,
    "similarity.verdict": str,
    "similarity.why": str,
    "situation.probabilities": (dict, NoneType),
    "situation.number": (int, NoneType),
    "situation.name": TEXT_OR_NOTHING,
    "strategy.name": str,
    "strategy.features": TEXT_OR_NOTHING,
    "strategy.classic_rule": TEXT_OR_NOTHING,
    "strategy.decided_by": str,
    "strategy.reasons": list,
    "freeze.recommended": int,
    "space.n_blocks": int,
    "space.first": list,
    "space.controls": list,
    "space.depths": list,
    "space.learning_rate": list,
    "space.head_ratio": list,
    "space.epochs": list,
    "baselines.majority.score": NUMBER,
    "metric": str,
    "seed": int,
    "warnings": list,
    "next_command": str,
}


def check_advice(stored: Mapping[str, Any], *, path: Path) -> None:
    """Raise `DataError`, which names `path`, where a search cannot go on from a stored ``advice.json``."""
    fix = (
        "put the file back as it was, or run the same command with --out and a new folder; everything else in "
        f"{path.parent} is kept"
    )
    check_values(stored, ADVICE_FIELDS, path=path, fix=fix)
    for name in ("first", "controls"):
        check_candidates(stored["space"][name], {}, path=path, name=f"space.{name}", fix=fix)
    for name in ("depths", "learning_rate", "head_ratio", "epochs"):
        check_interval(stored["space"][name], path=path, name=f"space.{name}", fix=fix)
    words = words_of(stored)
    if not words.baselines.keys() <= stored["baselines"].keys():
        raise damaged(path, "baselines lack one", fix=fix)
    for name, found in stored["baselines"].items():
        if found is not None:
            check_values(found, {"score": NUMBER}, path=path, within=f"baselines.{name}.", fix=fix)
    linear = stored["baselines"][words.linear]
    if linear is not None:
        check_interval(linear.get("interval"), path=path, name=f"baselines.{words.linear}.interval", fix=fix)
