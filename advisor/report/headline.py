"""What a search says first: the answer, its gain over simpler models, the cheapest near it, and what was cut short."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tuner.space import Candidate

NEAR = 0.01
"""Within which of the best expected score a cheaper candidate is named."""
BASELINES = {"tfidf_linear": "TF-IDF", "pixel_linear": "pixels", "token_linear": "a linear model on the words' forms"}


def headline(tuning: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The first lines about a search, each with its heading.

    Args:
        tuning: the values of a ``tuning.json``.

    Returns:
        Pairs of heading and text; what was not measured has no line.
    """
    winner, n_blocks = tuning["winner"], tuning["n_blocks"]
    lines = []
    if tuning.get("final") and tuning["final"]["share"] < LEAST_SHARE:
        lines.append(("under-trained", next(w for w in tuning["warnings"] if w.startswith("under-trained"))[15:]))
    low, high = winner["test"]["interval"]
    label = _candidate(winner["candidate"]).label(n_blocks)
    score = f"{100 * winner['test']['score']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
    lines.append(("winner", f"{label}; test {tuning['metric'].replace('_', ' ')} {score}"))
    fitted = fit_sentence(tuning)
    if fitted is not None:
        lines.append(("trained", fitted))
    gains = [text for text in (_over_words(tuning), _over_head(tuning)) if text is not None]
    if gains:
        lines.append(("gain", "; ".join(gains)))
    near = _cheapest(tuning)
    if near is not None:
        lines.append(("cheaper", near))
    return lines


LEAST_SHARE = 0.2


def fit_sentence(tuning: Mapping[str, Any]) -> str | None:
    """What the saved model was trained on.

    >>> fit_sentence({"final": {"rows": 300, "steps": 200, "seeds": [0, 1, 2], "averaged": True, "why": "x"}})
    'on all 300 labelled rows, 200 steps, the weights of 3 seeds averaged (x)'
    """
    final = tuning.get("final")
    if not final:
        return None
    steps = f", {final['steps']:,} steps" if final["steps"] else ""
    seeds = f", the weights of {len(final['seeds'])} seeds averaged" if final["averaged"] else ", one seed"
    why = f" ({final['why']})" if final["why"] else ""
    return f"on all {final['rows']:,} labelled rows{steps}" + (f"{seeds}{why}" if final["steps"] else "")


def _candidate(stored: Mapping[str, Any]) -> Candidate:
    known = set(Candidate.__dataclass_fields__)
    return Candidate(**{key: value for key, value in stored.items() if key in known})


def _over_words(tuning: Mapping[str, Any]) -> str | None:
    """The winner on validation rows against the linear model on words or pixels in cross-validation."""
    validation = tuning["winner"].get("validation", {}).get("mean")
    name = next((name for name in BASELINES if tuning["baselines"].get(name)), None)
    row = _row_of(tuning, tuning["winner"]["candidate"])
    if validation is None or name is None or row is None or not row.get("interval"):
        return None
    baseline = tuning["baselines"][name]
    if not baseline.get("interval"):
        return None
    gain = validation - baseline["score"]
    half = math.hypot(*((entry["interval"][1] - entry["interval"][0]) / 2 for entry in (row, baseline)))
    return f"{_points(gain, half)} over {BASELINES[name]}"


def _over_head(tuning: Mapping[str, Any]) -> str | None:
    """The winner against head only, on the same validation rows."""
    winner = _row_of(tuning, tuning["winner"]["candidate"])
    head = next((row for row in tuning["candidates"] if row["strategy"] == "head_only"), None)
    if winner is None or head is None or winner is head or "standard_error" not in head:
        return None
    gain, error = winner["mean"] - head["mean"], math.hypot(head["standard_error"], winner["standard_error"])
    return f"{_points(gain, 1.96 * error)} over head only, on validation rows"


def _points(gain: float, half: float) -> str:
    return f"{100 * gain:+.1f} points [{100 * (gain - half):+.1f}, {100 * (gain + half):+.1f}]"


def _row_of(tuning: Mapping[str, Any], candidate: Mapping[str, Any]) -> Mapping[str, Any] | None:
    wanted = _candidate(candidate)
    return next((row for row in tuning["candidates"] if _candidate(row) == wanted), None)


def _cheapest(tuning: Mapping[str, Any]) -> str | None:
    """The fastest candidate whose expected score lies within a point of the winner's."""
    winner = _row_of(tuning, tuning["winner"]["candidate"])
    if winner is None or winner.get("expected") is None or not winner["seconds"]:
        return None
    near = [
        row for row in tuning["candidates"]
        if row.get("expected") is not None and winner["expected"] - row["expected"] <= NEAR
    ]  # fmt: skip
    cheapest = min(near, key=lambda row: row["seconds"])
    if cheapest is winner or cheapest["seconds"] > 0.8 * winner["seconds"]:
        return None
    label = _candidate(cheapest).label(tuning["n_blocks"])
    lost = 100 * (winner["expected"] - cheapest["expected"])
    than = f"{lost:.1f} points less" if lost >= 0.05 else "no less"
    part = 100 * cheapest["seconds"] / winner["seconds"]
    return f"{label}: expected to score {than}, at {part:.0f} % of the time of a run"
