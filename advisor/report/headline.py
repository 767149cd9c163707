"""What a search says first: the answer, its gain over simpler models, the cheapest near it, and what was cut short."""

from __future__ import annotations

import math

from advisor.report.fields import Json, interval, line, number, part, rows, whole
from advisor.report.wording import candidate_words
from tuner.names import baseline_name
from tuner.search.plan import LEAST_SHARE

NEAR = 0.01
"""Within which of the best expected score a cheaper candidate is named."""
LINEAR = ("tfidf_linear", "pixel_linear", "token_linear", "tfidf_ridge", "pixel_ridge")
"""Baselines that learn from the words or pixels themselves."""


def headline(tuning: Json) -> list[tuple[str, str]]:
    """What stands first about a search beside its answer, each with a heading; what was not measured has no line.

    Args:
        tuning: the values of a ``tuning.json``, which may be damaged.
    """
    found = {
        "under-trained": cut_sentence(tuning),
        "trained": fit_sentence(part(tuning, "final")),
        "gain": "; ".join(text for text in (_over_words(tuning), _over_head(tuning)) if text),
        "cheaper": _cheapest(tuning),
    }
    return [(heading, text) for heading, text in found.items() if text]


def cut_sentence(tuning: Json) -> str:
    """That the final fit had no time for a sensible part of its schedule; empty where it had.

    >>> cut_sentence({"final": {"share": 0.1, "steps": 20}})
    'the budget left time for 10 % of the schedule (20 steps); a longer --budget gives a better model'
    """
    final = part(tuning, "final")
    share, steps = number(final.get("share")), whole(final.get("steps"))
    if share is None or steps is None or share >= LEAST_SHARE:
        return ""
    part_of = f"{100 * share:.0f} % of the schedule ({steps:,} step{'s' * (steps != 1)})"
    return f"the budget left time for {part_of}; a longer --budget gives a better model"


def fit_sentence(final: Json) -> str:
    """What the saved model was trained on; empty where it was not fitted again.

    >>> fit_sentence({"rows": 300, "steps": 200, "seeds": [0, 1, 2], "averaged": True, "why": "x"})
    'on all 300 labelled rows, 200 steps, the weights of 3 seeds averaged (x)'
    """
    n, steps, seeds = whole(final.get("rows")), whole(final.get("steps")), final.get("seeds")
    if n is None:
        return ""
    text = f"on all {n:,} labelled rows"
    if not steps or not isinstance(seeds, (list, tuple)):
        return text
    several = f"the weights of {len(seeds)} seeds averaged" if len(seeds) > 1 else "one seed"
    why = line(final.get("why"), limit=200)
    return f"{text}, {steps:,} steps, {several}" + (f" ({why})" if why else "")


def _row_of(tuning: Json, candidate: Json) -> Json:
    """The row of a candidate among those that were measured; empty where it has none."""
    names = ("strategy", "start", "frozen_blocks", "features", "augmentation", "head", "option", "top")
    wanted = [candidate.get(name) for name in names]
    return next((row for row in rows(tuning, "candidates") if [row.get(name) for name in names] == wanted), {})


def _winner(tuning: Json) -> Json:
    return _row_of(tuning, part(part(tuning, "winner"), "candidate"))


def _over_words(tuning: Json) -> str:
    """The winner on validation rows against the linear model on words or pixels in cross-validation."""
    row, baselines = _winner(tuning), part(tuning, "baselines")
    name = next((name for name in LINEAR if part(baselines, name)), None)
    if name is None:
        return ""
    baseline = part(baselines, name)
    ours, theirs = number(row.get("mean")), number(baseline.get("score"))
    bounds = interval(row.get("interval")), interval(baseline.get("interval"))
    if ours is None or theirs is None or None in bounds:
        return ""
    half = math.hypot(*((edge[1] - edge[0]) / 2 for edge in bounds if edge is not None))
    return f"{_points(ours - theirs, half)} over {baseline_name(name)}"


def _over_head(tuning: Json) -> str:
    """The winner against head only, on the same validation rows."""
    winner = _winner(tuning)
    head = next((row for row in rows(tuning, "candidates") if row.get("strategy") == "head_only"), {})
    ours, theirs = number(winner.get("mean")), number(head.get("mean"))
    errors = number(winner.get("standard_error")), number(head.get("standard_error"))
    if winner is head or ours is None or theirs is None or errors[0] is None or errors[1] is None:
        return ""
    return f"{_points(ours - theirs, 1.96 * math.hypot(errors[0], errors[1]))} over head only, on validation rows"


def _points(gain: float, half: float) -> str:
    return f"{100 * gain:+.1f} points [{100 * (gain - half):+.1f}, {100 * (gain + half):+.1f}]"


def _cheapest(tuning: Json) -> str:
    """The fastest candidate whose expected score lies within a point of the winner's."""
    winner = _winner(tuning)
    best, most_s = number(winner.get("expected")), number(winner.get("seconds"))
    if best is None or not most_s:
        return ""
    near = [
        (seconds, expected, row)
        for row in rows(tuning, "candidates")
        if (expected := number(row.get("expected"))) is not None
        and (seconds := number(row.get("seconds"))) is not None
        and best - expected <= NEAR
    ]
    seconds, expected, row = min(near, key=lambda entry: entry[:2])
    if row is winner or seconds > 0.8 * most_s:
        return ""
    lost = 100 * (best - expected)
    than = f"{lost:.1f} points less" if lost >= 0.05 else "no less"
    label = candidate_words(row, n_blocks=whole(tuning.get("n_blocks")))
    return f"{label}: expected to score {than}, at {100 * seconds / most_s:.0f} % of the time of a run"
