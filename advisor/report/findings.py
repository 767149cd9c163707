"""Sections on what was measured: scores by depth, of features, and of every candidate of a search."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from advisor.report import plots
from advisor.report.drawing import Mark
from advisor.report.fields import interval, line, number, part, rows, score, score_interval, whole
from advisor.report.parts import (
    FigureOnPage,
    Run,
    Section,
    Table,
    make_table,
    measured_mark,
    same_candidate,
    sentence,
)
from advisor.report.wording import (
    cost_sentence,
    duration,
    feature_words,
    percent,
    plural,
    points,
    span,
)
from tuner.names import BASELINES

MOST_ROWS_DRAWN = 12
"""Rows in a figure; the table behind it has all of them."""


def depth_section(run: Run) -> Section:
    total = run.n_blocks
    measured, entries = run.measured_depths(), run.predicted_depths()
    if not total or not (measured or entries):
        return Section(anchor="depth", heading="How many blocks to freeze")
    depths_measured = {int(mark.x) for mark in measured}
    predicted = []
    for row in entries:
        depth, value, bounds = whole(row.get("frozen_blocks")) or 0, number(row.get("score")), score_interval(row)
        if value is not None and not measured:  # other splits than the tuner's: the two are not drawn together
            predicted.append(
                Mark(
                    label=f"{depth}",
                    score=value,
                    x=depth,
                    low=bounds[0] if bounds else None,
                    high=bounds[1] if bounds else None,
                    hollow=bounds is None,
                )
            )
    known = depths_measured | {int(mark.x) for mark in predicted}
    unmeasured = [depth for depth in range(total + 1) if depth not in known]
    searched = run.searched()
    advised = run.depth_of(run.recommended)
    seconds = run.seconds_by_depth()
    if measured:
        best = max(measured, key=lambda mark: mark.score)
        title = f"Validation {run.metric} by freeze depth"
        said = f"{plural(len(measured), 'depth')} measured; the highest mean is {percent(best.score)} at {best.label}"
        if run.winner is not None and run.depth is not None and not any(mark.strong for mark in measured):
            said += f"; the winner is {run.words(run.chosen)}"
        caption = "Dots are means over seeds, hollow ones a single run; bars are "
        caption += (
            "95% intervals over the validation rows."
            if any(score_interval(row) for row in run.best_by_depth().values())
            else "one standard deviation."
        )
        if unmeasured:
            caption += " A question mark: no score, since it was not tried or was pruned on the way."
    elif predicted:
        title = f"Predicted {run.metric} by freeze depth"
        said = f"{plural(len(predicted), 'depth')} with a score, {len(unmeasured)} not measured"
        caption = (
            "Dots are cross-validated probes with their 95% interval; a question mark is a depth not measured yet."
        )
    else:
        title, said = "Freeze depths", "no depth measured yet"
        caption = "A question mark is a depth not measured yet."
    if searched and searched != (0, total):
        caption += f" Tinted: the range to search, {searched[0]} to {searched[1]}."
    references = _baseline_marks(run)
    drawing = plots.depth_curve(
        measured=measured,
        predicted=predicted,
        unmeasured=unmeasured,
        references=references,
        seconds=seconds,
        n_blocks=total,
        searched=searched,
        advised=advised,
        score_name=f"{'validation' if measured else 'cross-validated'} {run.metric}",
        title=title,
        description=f"{said}. Advised: {advised if advised is not None else 'none'} of {total}.",
    )
    table = _depth_table(run, title=title, total=total)
    paragraph = "Frozen blocks keep their pretrained weights; the blocks after them and the head are trained."
    if measured:
        paragraph += " The candidate with the highest mean wins; of equals the one that freezes more, which costs less."
        advised_range = interval(part(run.tuning, "range").get("advised"))
        if searched and advised_range and searched != advised_range:
            paragraph += (
                f" A control outside the advised range led, so the range was widened from "
                f"{advised_range[0]:.0f}–{advised_range[1]:.0f} to {searched[0]}–{searched[1]}."
            )
        unscored = [f"{run.words(row)} ({line(row.get('why'), limit=200)})" for row in rows(run.tuning, "unscored")]
        if unscored:
            paragraph += f" Without a score: {'; '.join(unscored)}."
    else:
        paragraph += " Only what was measured has a score."
    return Section(
        anchor="depth",
        heading="How many blocks to freeze",
        paragraphs=(paragraph,),
        figures=(FigureOnPage(title=title, caption=caption, drawing=drawing, table=table, full=True),),
    )


def _depth_table(run: Run, *, title: str, total: int) -> Table:
    """Every depth, measured or not."""
    seconds = run.seconds_by_depth()
    why = {whole(row.get("frozen_blocks")): line(row.get("why"), limit=200) for row in run.predicted_depths()}
    by_depth = run.best_by_depth()
    predictions = {whole(row.get("frozen_blocks")): row for row in run.predicted_depths()}
    body = []
    for depth in range(total + 1):
        measured = by_depth.get(depth)
        name = run.words({"strategy": "freeze_part", "frozen_blocks": depth})
        prediction = predictions.get(depth, {})
        expected = percent(number(prediction.get("score")))
        if score_interval(prediction):
            expected += f" ({span(score_interval(prediction))})"
        if run.tuning is not None:
            sd = number(measured.get("sd")) if measured else None
            runs = whole(measured.get("n")) if measured else None
            body.append(
                [
                    name,
                    percent(number(measured.get("mean")) if measured else None),
                    f"{100 * sd:.1f}" if sd is not None and (runs or 1) > 1 else "–",
                    f"{runs:,}" if runs is not None else "–",
                    duration(seconds[depth]) if depth in seconds else "–",
                    expected,
                ]
            )
        else:
            body.append([name, expected, why.get(depth, "") or "–"])
    columns: tuple[tuple[str, bool], ...] = (("Depth", False), ("Before tuning", True), ("Why", False))
    if run.tuning is not None:
        columns = (
            ("Depth", False),
            ("Validation", True),
            ("s.d., points", True),
            ("Runs", True),
            ("Time", True),
            ("Before tuning", True),
        )
    return make_table(title, columns, body, mark=run.marked_depth())


def _baseline_marks(run: Run, *, only: Collection[str] | None = None) -> tuple[Mark, ...]:
    """What needs no pretrained model, or `only` some of that, as one score each; the tuner's own baselines first."""
    found = []
    for key in BASELINES if only is None else only:
        if key == "best_probe":
            continue
        for record in (part(run.tuning, "baselines"), part(run.advice, "baselines")):
            value, bounds = score(record.get(key)), score_interval(record.get(key))
            if value is not None:
                found.append(
                    Mark(
                        label=run.kind.baseline_name(key),
                        score=value,
                        low=bounds[0] if bounds else None,
                        high=bounds[1] if bounds else None,
                        hollow=True,
                    )
                )
                break
    return tuple(found)


def features_section(run: Run) -> Section:
    by_block: list[Mark] = []
    variants: list[Mark] = []
    for row in rows(run.advice, "probes"):
        value, bounds = score(row), score_interval(row)
        if value is None:
            continue
        block, name = whole(row.get("block")), line(row.get("features"), limit=60)
        low, high = bounds or (None, None)
        if block is None and name.startswith("block_") and name[6:].isdigit():
            block = int(name[6:])
        # a named variant may be a single block, as "last" is: then it belongs to both figures
        if block is not None and not any(mark.x == block for mark in by_block):
            by_block.append(Mark(label=f"block {block}", score=value, low=low, high=high, x=block))
        if name and not name.startswith("block_"):
            variants.append(Mark(label=feature_words(name), score=value, low=low, high=high))
    by_block.sort(key=lambda mark: mark.x)
    variants.sort(key=lambda mark: -mark.score)
    figures = []
    if by_block:
        best = max(by_block, key=lambda mark: mark.score)
        by_block = [_emphasise(mark, mark is best) for mark in by_block]
        title = "Probe by block"
        figures.append(
            FigureOnPage(
                title=title,
                caption=f"{run.kind.probe} on each block's frozen features, cross-validated; bars are 95% intervals.",
                drawing=plots.probe_curve(
                    marks=by_block,
                    references=_baseline_marks(run, only=(run.kind.linear,)),
                    title=title,
                    description=f"Best: {best.label} with {percent(best.score)}; last: "
                    f"{by_block[-1].label} with {percent(by_block[-1].score)}.",
                ),
                table=_score_table(title, by_block, "Block"),
            )
        )
    if variants:
        variants = [_emphasise(mark, i == 0) for i, mark in enumerate(variants)]
        title = "Ways to read the frozen model"
        figures.append(
            FigureOnPage(
                title=title,
                caption="The same probe on the feature-based variants, best first.",
                drawing=plots.score_rows(
                    name="variants",
                    marks=variants[:MOST_ROWS_DRAWN],
                    title=title,
                    description=f"Best: {variants[0].label} with {percent(variants[0].score)}.",
                ),
                table=_score_table(title, variants, "Features"),
            )
        )
    return Section(anchor="features", heading="What the frozen model already knows", figures=tuple(figures))


def _emphasise(mark: Mark, strong: bool) -> Mark:
    return Mark(
        label=mark.label, score=mark.score, low=mark.low, high=mark.high, x=mark.x, strong=strong, hollow=mark.hollow
    )


def _score_table(caption: str, marks: Sequence[Mark], first: str) -> Table:
    body = [
        (
            mark.label,
            percent(mark.score),
            f"{100 * mark.low:.1f}–{100 * mark.high:.1f}%" if mark.low is not None and mark.high is not None else "–",
        )
        for mark in marks
    ]
    strong = next((i for i, mark in enumerate(marks) if mark.strong), None)
    return make_table(caption, ((first, False), ("Score", True), ("Interval", True)), body, mark=strong)


def comparison_section(run: Run) -> Section:
    figures = []
    compared = list(_baseline_marks(run))
    best = part(part(run.advice, "baselines"), "best_probe")
    value, bounds = score(best), score_interval(best)
    if value is not None:
        block = whole(best.get("block"))
        where = f"block {block}" if block is not None else feature_words(best.get("features") or best.get("block"))
        compared.append(
            Mark(
                label=f"best probe ({where})" if where else "best probe",
                score=value,
                low=bounds[0] if bounds else None,
                high=bounds[1] if bounds else None,
            )
        )
    for candidate in _ranked_candidates(run):
        compared.append(candidate)
    compared.sort(key=lambda mark: -mark.score)
    if compared:
        shown = compared
        if len(shown) > MOST_ROWS_DRAWN:
            labels = {run.kind.baseline_name(key) for key in BASELINES}
            must = {id(mark) for mark in compared if mark.strong or mark.label in labels}
            others = [id(mark) for mark in compared if id(mark) not in must][: MOST_ROWS_DRAWN - len(must)]
            shown = [mark for mark in compared if id(mark) in must.union(others)]
        title = "Against the baselines"
        caption = (
            "Probes and baselines are cross-validated on the training rows, tuned candidates are scored on "
            "validation: small differences between the two kinds mean little."
            if run.tuning is not None
            else f"Cross-validated on the training {run.kind.rows}."
        )
        figures.append(
            FigureOnPage(
                title=title,
                caption=caption,
                drawing=plots.score_rows(
                    name="compare",
                    marks=shown,
                    title=title,
                    description=f"Highest: {compared[0].label} with {percent(compared[0].score)}.",
                ),
                table=_score_table(title, compared, "What"),
            )
        )
    curve, noun = [], run.kind.rows
    for row in rows(part(run.advice, "size"), "learning_curve"):
        n, value, bounds = number(row.get("n")), score(row), score_interval(row)
        if n is not None and n > 0 and value is not None:
            curve.append(
                Mark(
                    label=f"{n:,.0f} {noun}",
                    score=value,
                    x=n,
                    low=bounds[0] if bounds else None,
                    high=bounds[1] if bounds else None,
                )
            )
    curve.sort(key=lambda mark: mark.x)
    if curve:
        title = "Would more data help?"
        gain = _last_gain(rows(part(run.advice, "size"), "learning_curve"))
        figures.append(
            FigureOnPage(
                title=title,
                caption=f"The probe's score with fewer training {noun}."
                + (f" From {curve[-2].label} to {curve[-1].label}: {gain}." if gain and len(curve) > 1 else ""),
                drawing=plots.learning_curve(
                    marks=curve,
                    noun=noun,
                    title=title,
                    description="; ".join(f"{m.label}: {percent(m.score)}" for m in curve) + ".",
                ),
                table=_score_table(title, curve, f"Training {noun}"),
            )
        )
    return Section(anchor="comparison", heading="How it compares", paragraphs=_cost(run), figures=tuple(figures))


def _cost(run: Run) -> tuple[str, ...]:
    """What the best feature-based candidate cost against the best trained one."""
    ranked = rows(run.tuning, "candidates")  # best first
    fixed = ("feature_based", "head_only")
    frozen = next((row for row in ranked if row.get("strategy") in fixed), {})
    trained = next((row for row in ranked if row.get("strategy") not in fixed and row.get("start") != "scratch"), {})
    seconds = number(part(run.tuning, "prefix").get("seconds"))
    said = cost_sentence(pass_seconds=seconds, frozen=frozen, trained=trained, n_blocks=run.n_blocks)
    return (sentence(said),) if said else ()


def _last_gain(stored: Sequence[Any]) -> str:
    """What the last doubling of the rows gained, with its interval."""
    if not stored:
        return ""
    gain, bounds = number(stored[-1].get("gain")), interval(stored[-1].get("gain_interval"))
    if gain is None or bounds is None:
        return ""
    return f"{points(gain)} ({points(bounds[0])} to {points(bounds[1])})"


def _ranked_candidates(run: Run) -> list[Mark]:
    found = []
    for row in rows(run.tuning, "candidates"):
        if number(row.get("mean")) is not None:
            won = run.winner is not None and same_candidate(row, part(run.winner, "candidate"))
            found.append(measured_mark(row, label=run.words(row), strong=won))
    return sorted(found, key=lambda mark: -mark.score)
