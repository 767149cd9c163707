"""The section of reasons: what spoke for the advice, and what the classic rule would have cost."""

from __future__ import annotations

from advisor.report.fields import line, lines, number, part, score, whole
from advisor.report.parts import (
    Run,
    Section,
    Table,
    make_table,
    sentence,
)
from advisor.report.wording import (
    NOT_MEASURED,
    capital,
    percent,
    points,
    share,
    strategy_sentence,
)
from tuner.names import CLASSIC_RULES, SITUATIONS


def reasons_section(run: Run) -> Section:
    strategy = part(run.advice, "strategy")
    decided = {
        "rule": "Decided by rule: nothing measured on this data or on earlier tasks settled it, so that this is where "
        "the search starts, not what is known to be best.",
        "probe": "Decided by the probes: linear classifiers on the model's frozen features, cross-validated on this "
        "data.",
        "evidence": "Decided by evidence: the measured results of earlier tasks.",
    }.get(str(strategy.get("decided_by")), "")
    heading = "Why this strategy"
    if run.winner is not None:
        heading = "Why this was advised, and what was measured"
        decided = decided.replace("Decided by", "The advice was decided by", 1)
    classic = line(strategy.get("classic_rule"))
    paragraphs = [decided] if decided else []
    if classic:
        paragraphs.append(f"The classic rule for {sentence(classic)[:1].lower()}{sentence(classic)[1:]}")
    paragraphs += _against_the_rule(run)
    changes = tuple(f"what would change it: {change}" for change in lines(run.advice, "counterfactuals"))
    return Section(
        anchor="reasons",
        heading=heading,
        points=tuple(map(capital, (*lines(strategy, "reasons"), *changes))),
        paragraphs=tuple(paragraphs),
        tables=_rule_table(run),
    )


def _classic_scores(run: Run) -> dict[int, tuple[float, str]]:
    """What each situation's classic strategy scored here, with how it was measured."""
    found: dict[int, tuple[float, str]] = {}
    measured = run.measured_depths()
    total = run.n_blocks
    if measured and total:
        by_depth = {int(mark.x): mark for mark in measured}
        inner = [mark for mark in measured if 0 < mark.x < total]
        best = max(inner, key=lambda mark: mark.score) if inner else None
        if 0 in by_depth:
            found[1] = (by_depth[0].score, "everything trained, validation")
        if best:
            found[2] = found[3] = (best.score, f"{best.label}, validation")
        if total in by_depth:
            found[4] = (by_depth[total].score, "head only, validation")
    if 4 not in found and total:
        for row in run.predicted_depths():
            value = number(row.get("score"))
            if whole(row.get("frozen_blocks")) == total and value is not None:
                found[4] = (value, "head-only probe, cross-validated")
    return found


def _against_the_rule(run: Run) -> list[str]:
    situation = run.likely_situation
    measured = _classic_scores(run)
    validation = score(part(run.winner, "validation")) if run.winner else None
    if situation is None or situation not in measured or validation is None:
        return []
    value, how = measured[situation]
    verdict = CLASSIC_RULES[situation]
    difference = validation - value
    if not how.endswith("validation"):
        said = f"the winner was scored on other rows, {percent(validation)} on validation, so no difference is drawn"
    elif abs(difference) < 0.0005:
        said = "the same as the winner"
    elif difference > 0:
        said = f"the winner has {points(difference)} on it"
    else:
        said = f"{points(-difference)} against the winner, but in a single run, which no further seed confirmed"
    return [f"Measured here, the rule of situation {situation} ({verdict}) reached {percent(value)} ({how}); {said}."]


def _rule_table(run: Run) -> tuple[Table, ...]:
    measured, probabilities = _classic_scores(run), run.probabilities
    if not measured and probabilities is None:
        return ()
    winner = score(part(run.winner, "validation")) if run.winner else None
    body = []
    for n in SITUATIONS:
        cells = [
            f"{n} · {SITUATIONS[n]}",
            share(probabilities[n]) if probabilities else NOT_MEASURED,
            capital(CLASSIC_RULES[n]),
        ]
        if n in measured:
            value, how = measured[n]
            cells.append(f"{percent(value)} ({how})")
        else:
            cells.append(NOT_MEASURED)
        body.append(cells)
    columns = [("Situation", False), ("Probability", True), ("Classic rule", False), (f"{run.metric} here", False)]
    caption = "What the classic rules say, and what was measured"
    if winner is not None:
        body.append(
            [
                "This run's choice",
                "",
                strategy_sentence(run.chosen, n_blocks=run.n_blocks),
                f"{percent(winner)} (validation)",
            ]
        )
    return (make_table(caption, columns, body, mark=len(body) - 1 if winner is not None else None),)
