"""What the report says: from a run's advice and tuning result to one record that HTML and Markdown both render.

Every section is words, facts, figures and tables; the templates only lay them out, so the two formats cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advisor.report import plots
from advisor.report.fields import Json, interval, line, lines, number, part, rows, score, score_interval, whole
from advisor.report.plots import Drawing, Mark
from advisor.report.wording import (
    BASELINES,
    CLASSIC_RULES,
    NOT_MEASURED,
    SITUATIONS,
    any_value,
    candidate_words,
    duration,
    feature_words,
    key_words,
    metric_words,
    percent,
    plain,
    plural,
    points,
    share,
    span,
    strategy_sentence,
)

MOST_ROWS_DRAWN = 12
"""Rows in a figure; the table behind it has all of them."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as text; `numeric` columns are set right-aligned, row `mark` is the one that matters."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    mark: int | None = None


@dataclass(frozen=True, kw_only=True)
class FigureOnPage:
    """A drawing with its caption and the table of what it shows."""

    title: str
    caption: str
    drawing: Drawing
    table: Table
    full: bool = False


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A value worth reading from afar, and a note under it."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One heading with what belongs under it; empty parts are not rendered."""

    anchor: str
    heading: str
    paragraphs: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    figures: tuple[FigureOnPage, ...] = ()
    tables: tuple[Table, ...] = ()  # shown
    folded: tuple[Table, ...] = ()  # behind a summary line in HTML

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (
            self.paragraphs or self.points or self.facts or self.figures or self.tables or self.folded
        )


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """The model as a row of blocks: the first `frozen` of `total` are frozen."""

    frozen: int
    total: int
    scratch: bool
    words: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """The whole report."""

    question: str
    answer: str
    lead: tuple[str, ...]
    command: str
    facts: tuple[Fact, ...]
    blocks: Blocks | None
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]
    version: str


@dataclass(frozen=True, kw_only=True)
class _Run:
    """The two records of a run, with what several sections need from them."""

    advice: Json
    tuning: Json | None
    name: str
    n_blocks: int | None
    metric: str

    @property
    def recommended(self) -> Json:
        """The advice as a candidate: strategy, start, depth and features."""
        strategy = part(self.advice, "strategy")
        return {
            "strategy": strategy.get("name"),
            "start": strategy.get("start"),
            "frozen_blocks": part(self.advice, "freeze").get("recommended"),
            "features": strategy.get("features"),
        }

    @property
    def winner(self) -> Json | None:
        """The tuned winner's record, if there is one."""
        found = part(self.tuning, "winner")
        return found if part(found, "candidate") else None

    @property
    def chosen(self) -> Json:
        """The candidate that the report's answer is about."""
        return part(self.winner, "candidate") if self.winner else self.recommended

    @property
    def depth(self) -> int | None:
        """The chosen freeze depth."""
        return self.depth_of(self.chosen)

    def depth_of(self, candidate: Json) -> int | None:
        """A candidate's depth; what trains nothing or everything says so by its strategy too."""
        given = whole(candidate.get("frozen_blocks"))
        if given is not None:
            return given
        strategy = candidate.get("strategy")
        if strategy == "train_all":
            return 0
        return self.n_blocks if strategy in ("head_only", "feature_based") else None

    def words(self, candidate: Json) -> str:
        """A candidate's short name."""
        return candidate_words(candidate, n_blocks=self.n_blocks)

    def measured_depths(self) -> tuple[Mark, ...]:
        """Validation score by depth, from the tuner."""
        marks = []
        for row in rows(self.tuning, "by_depth"):
            depth, mean, sd = whole(row.get("frozen_blocks")), number(row.get("mean")), number(row.get("sd"))
            if depth is None or mean is None:
                continue
            n = whole(row.get("n")) or 1
            spread = sd if sd is not None and n > 1 else None
            marks.append(Mark(
                label=self.words({"strategy": "freeze_part", "frozen_blocks": depth}), score=mean, x=depth,
                low=None if spread is None else mean - spread, high=None if spread is None else mean + spread,
                hollow=spread is None, strong=self.winner is not None and depth == self.depth
                and self.chosen.get("strategy") != "feature_based" and self.chosen.get("start") != "scratch",
            ))
        return tuple(sorted(marks, key=lambda mark: mark.x))

    def predicted_depths(self) -> tuple[Json, ...]:
        """The advice's entry for every depth."""
        found = (row for row in rows(part(self.advice, "freeze"), "predicted_by_depth"))
        return tuple(sorted((row for row in found if whole(row.get("frozen_blocks")) is not None),
                            key=lambda row: whole(row.get("frozen_blocks")) or 0))


def make_page(advice: Json, *, tuning: Json | None, examples: Json | None) -> Page:
    """The report of one run."""
    data, model = part(advice, "data"), part(advice, "model")
    run = _Run(
        advice=advice, tuning=tuning, name=line(data.get("name"), limit=80) or "this dataset",
        n_blocks=whole(model.get("n_blocks")) or whole((tuning or {}).get("n_blocks")),
        metric=metric_words((tuning or {}).get("metric") or advice.get("metric")),
    )
    warnings = tuple(dict.fromkeys((*lines(advice, "warnings"), *lines(tuning, "warnings"))))
    sections = (
        _situation(run), _reasons(run), _depth(run), _features(run), _comparison(run), _search(run),
        Section(anchor="warnings", heading="Warnings", points=warnings),
        Section(anchor="next", heading="What to do next", points=lines(advice, "next_steps")),
        _data(run), _examples(examples), _provenance(run),
    )
    return Page(
        question=f"Which transfer-learning strategy for {run.name}?",
        answer=_answer(run), lead=_lead(run), command=line(advice.get("next_command"), limit=2000), facts=_facts(run),
        blocks=_blocks(run), warnings=warnings, sections=tuple(section for section in sections if not section.empty),
        version=line(part(advice, "versions").get("transfer-advisor"), limit=30),
    )


def _answer(run: _Run) -> str:
    sentence = strategy_sentence(run.chosen, n_blocks=run.n_blocks)
    if run.winner is None:
        basis = {
            "rule": "a first choice by rule of thumb, not yet measured",
            "probe": "the choice of the probes, not yet tuned",
            "evidence": "the choice of measured tasks, not yet tuned",
        }
        decided = str(part(run.advice, "strategy").get("decided_by"))
        return f"{sentence}: {basis.get(decided, 'a first choice, not yet tuned')}."
    test, validation = part(run.winner, "test"), part(run.winner, "validation")
    if score(test) is not None:
        return f"{sentence}: {percent(score(test))} {run.metric} on the test split."
    if score(validation) is not None:
        return f"{sentence}: {percent(score(validation))} {run.metric} on the validation split."
    return f"{sentence}."


def _lead(run: _Run) -> tuple[str, ...]:
    said = []
    if run.winner is not None:
        bounds = score_interval(part(run.winner, "test"))
        if bounds:
            said.append(f"With 95% confidence the test score lies between {percent(bounds[0])} and "
                        f"{percent(bounds[1])}; the test split was scored once, by the winner.")
        changed = part(run.tuning, "changed_from_advice")
        if changed:
            said.append(f"The advice was {_change(run, changed.get('from'))}; tuning chose "
                        f"{_change(run, changed.get('to'))}. {_sentence(line(changed.get('why')))}".strip())
        else:
            said.append("The tuner measured the alternatives and kept the advice.")
    else:
        size, similarity = part(run.advice, "size"), part(run.advice, "similarity")
        said.append(f"{run.name} is {_verdict(size, 'size')} and {_verdict(similarity, 'similarity')}. "
                    "Depths that nobody has trained on this data have no score here; tuning measures them.")
    return tuple(said)


def _verdict(record: Json, which: str) -> str:
    verdict = line(record.get("verdict"), limit=30)
    if which == "size":
        return {"uncertain": "between small and large", "": "of unmeasured size"}.get(verdict, verdict)
    return {
        "similar": "similar to what the model was pretrained on",
        "dissimilar": "unlike what the model was pretrained on",
        "uncertain": "neither clearly like nor unlike what the model was pretrained on",
    }.get(verdict, "not yet compared with what the model was pretrained on")


def _change(run: _Run, value: Any) -> str:
    if isinstance(value, Mapping):
        return run.words(value)
    depth = whole(value)
    if depth is not None:
        return run.words({"strategy": "freeze_part", "frozen_blocks": depth})
    return line(value, limit=80) or "something else"


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if not text or text.endswith((".", "!", "?", "…")) else text + "."


def _facts(run: _Run) -> tuple[Fact, ...]:
    data, size = part(run.advice, "data"), part(run.advice, "size")
    facts = []
    if run.winner is not None:
        test = part(run.winner, "test")
        bounds = score_interval(test)
        facts.append(Fact(label=f"Test {run.metric}", value=percent(score(test)),
                          note=f"95% interval {span(bounds)}" if bounds else ""))
    depth = run.depth
    searched = interval(part(run.advice, "freeze").get("search"))
    note = ""
    if run.winner is not None:
        advised = run.depth_of(run.recommended)
        note = "as advised" if advised == depth else f"advised: {advised}" if advised is not None else ""
    elif searched:
        note = f"to be tuned between {searched[0]:.0f} and {searched[1]:.0f}"
    if depth is not None and run.n_blocks:
        facts.append(Fact(label="Frozen blocks", value=f"{depth} of {run.n_blocks}", note=note))
    facts.append(_situation_fact(run))
    examples, classes = whole(data.get("n_examples")), whole(data.get("n_classes"))
    if run.winner is not None:
        used = number(part(run.tuning, "budget").get("used_s"))
        complete, pruned = (whole(part(run.tuning, "trials").get(key)) for key in ("complete", "pruned"))
        trials = plural(complete, "trial") if complete is not None else ""
        if trials and pruned:
            trials += f", {pruned} pruned"
        if used is not None or trials:
            facts.append(Fact(label="Tuning took", value=duration(used), note=trials) if used is not None
                         else Fact(label="Tuning", value=trials))
    elif examples is not None:
        smallest = whole(size.get("n_per_class_min"))
        note = plural(classes, "class", "classes") if classes is not None else ""
        if smallest is not None:
            note += f", smallest {smallest:,}"
        facts.append(Fact(label="Examples", value=f"{examples:,}", note=note.lstrip(", ")))
    best = part(part(run.advice, "baselines"), "best_probe")
    if run.winner is None and score(best) is not None:
        bounds = score_interval(best)
        facts.append(Fact(label="Best probe", value=percent(score(best)), note=f"{span(bounds)}" if bounds else ""))
    return tuple(facts)


def _situation_fact(run: _Run) -> Fact:
    situation = part(run.advice, "situation")
    n = whole(situation.get("number"))
    probabilities = _probabilities(run)
    if n in SITUATIONS:
        chance = f", {share(probabilities[n])}" if probabilities else ""
        return Fact(label="Situation", value=f"{n} of 4", note=f"{SITUATIONS[n]}{chance}")
    if probabilities is None:
        return Fact(label="Situation", value="Not known", note="similarity not measured"
                    if _similarity_unmeasured(run) else "")
    likely = max(probabilities, key=lambda key: probabilities[key])
    return Fact(label="Situation", value="Uncertain",
                note=f"most likely {likely}: {SITUATIONS[likely]}, {share(probabilities[likely])}")


def _similarity_unmeasured(run: _Run) -> bool:
    similarity = part(run.advice, "similarity")
    return similarity.get("verdict") in (None, "unmeasured") or number(similarity.get("score")) is None


def _probabilities(run: _Run) -> dict[int, float] | None:
    given = part(part(run.advice, "situation"), "probabilities")
    found = {n: number(given.get(str(n), given.get(n))) for n in SITUATIONS}
    clean = {n: min(1.0, max(0.0, p)) for n, p in found.items() if p is not None}
    return clean if len(clean) == len(SITUATIONS) else None


def _blocks(run: _Run) -> Blocks | None:
    depth, total = run.depth, run.n_blocks
    if depth is None or not total or not 0 <= depth <= total or total > 400:
        return None
    scratch = run.chosen.get("start") == "scratch"
    if scratch:
        words = f"All {total} blocks and the head are trained from random weights"
    else:
        words = f"{depth} of {total} blocks frozen, {total - depth} trained, then the head"
    return Blocks(frozen=depth, total=total, scratch=scratch, words=words)


def _table(caption: str, columns: Sequence[tuple[str, bool]], body: Iterable[Sequence[str]],
           mark: int | None = None) -> Table:
    return Table(caption=caption, columns=tuple(name for name, _ in columns),
                 numeric=tuple(is_number for _, is_number in columns), rows=tuple(tuple(row) for row in body), mark=mark)


def _situation(run: _Run) -> Section:
    size, similarity = part(run.advice, "size"), part(run.advice, "similarity")
    situation = part(run.advice, "situation")
    probabilities, axes = _probabilities(run), part(situation, "axes")
    p_large = _first(axes.get("p_large"), size.get("p_large"),
                     None if probabilities is None else probabilities[1] + probabilities[2])
    p_similar = _first(axes.get("p_similar"), similarity.get("p_similar"),
                       None if probabilities is None else probabilities[2] + probabilities[4])
    if _similarity_unmeasured(run) and probabilities is None:
        p_similar = None
    number_ = whole(situation.get("number"))
    if number_ in SITUATIONS:
        where = f"Most likely situation {number_}: {SITUATIONS[number_]}."
    elif probabilities is None:
        where = "No situation: one of the two axes was not measured."
    else:
        candidates = [n for value in (situation.get("candidates") or ()) if (n := whole(value)) in SITUATIONS]
        named = " or ".join(f"{n} ({SITUATIONS[n]})" for n in candidates)
        where = f"Between situations: {named}." if named else "No single situation is likely enough to name."
    description = where + " " + (
        "; ".join(f"situation {n}, {SITUATIONS[n]}: {share(p)}" for n, p in probabilities.items()) + "."
        if probabilities else "No probabilities."
    )
    figures = [FigureOnPage(
        title="The four situations",
        caption="The shaded square is as large as one cell; the part of it in a cell is that situation's probability."
        if p_similar is not None and p_large is not None
        else "The hatched band covers everything that is still possible: one axis was not measured.",
        drawing=plots.quadrant(p_large=_unit(p_large), p_similar=_unit(p_similar), probabilities=probabilities,
                               title=f"Where {run.name} stands among the four situations", description=description),
        table=_table(
            "The four situations", (("Situation", False), ("Classic rule", False), ("Probability", True)),
            ((f"{n} · {SITUATIONS[n]}", CLASSIC_RULES[n],
              share(probabilities[n]) if probabilities else NOT_MEASURED) for n in SITUATIONS),
            mark=number_ - 1 if number_ in SITUATIONS else None,
        ),
    )]
    value, bounds, cuts = (number(similarity.get("score")), interval(similarity.get("interval")),
                           interval(similarity.get("cuts")))
    if value is not None:
        said = f"{value:.2f}" + (f", 95% interval {bounds[0]:.2f} to {bounds[1]:.2f}" if bounds else "")
        figures.append(FigureOnPage(
            title="Similarity to the pretraining data",
            caption="0 is the far end of the profile's ladder, 1 is the pretraining sample itself.",
            drawing=plots.similarity_scale(
                score=value, interval=bounds, cuts=cuts, title="Similarity score on its scale",
                description=f"Score {said}." + (f" Dissimilar below {cuts[0]:.2f}, similar above {cuts[1]:.2f}."
                                                if cuts else ""),
            ),
            table=_table("Similarity", (("Quantity", False), ("Value", True)), [
                ("Score", f"{value:.3f}"),
                ("95% interval", f"{bounds[0]:.3f} to {bounds[1]:.3f}" if bounds else NOT_MEASURED),
                ("Dissimilar below", f"{cuts[0]:.3f}" if cuts else NOT_MEASURED),
                ("Similar above", f"{cuts[1]:.3f}" if cuts else NOT_MEASURED),
            ]),
        ))
    source = line(similarity.get("source"), limit=200)
    facts = (
        Fact(label="Size", value=line(size.get("verdict"), limit=30) or NOT_MEASURED, note=line(size.get("why"))),
        Fact(label="Similarity", value=line(similarity.get("verdict"), limit=30) or NOT_MEASURED,
             note=line(similarity.get("why"))),
        Fact(label="Situation", value=f"{number_} · {SITUATIONS[number_]}" if number_ in SITUATIONS else
             "uncertain" if probabilities else NOT_MEASURED,
             note="The quadrant is a rule of thumb. It is the starting point; what was measured overrules it."),
    )
    measures = [(name, any_value(item)) for name, item in _flat(part(similarity, "measures"))]
    folded = []
    if measures or source:
        folded.append(_table("All similarity measures", (("Measure", False), ("Value", True)),
                             [*([("source profile", source)] if source else []), *measures]))
    return Section(anchor="situation", heading="Where this dataset stands", facts=facts, figures=tuple(figures),
                   folded=tuple(folded))


def _first(*values: Any) -> float | None:
    return next((found for value in values if (found := number(value)) is not None), None)


def _unit(value: float | None) -> float | None:
    return None if value is None else min(1.0, max(0.0, value))


def _flat(record: Json, prefix: str = "") -> list[tuple[str, Any]]:
    """Nested measures as (name, value) pairs; a record with a value and an interval stays together."""
    found: list[tuple[str, Any]] = []
    for key, value in record.items():
        name = f"{prefix}{key_words(str(key))}"
        nested = isinstance(value, Mapping) and len(prefix) < 200
        if nested and not {"value", "score", "interval"} & set(value):
            found += _flat(value, f"{name}: ")
        else:
            found.append((name, value))
    return found


def _reasons(run: _Run) -> Section:
    strategy = part(run.advice, "strategy")
    decided = {
        "rule": "Decided by rule: nothing measured on this data or on earlier tasks settled it, so the documented "
        "default holds until the tuner has measured.",
        "probe": "Decided by the probes: linear classifiers on the model's frozen features, cross-validated on this "
        "data.",
        "evidence": "Decided by evidence: the measured results of earlier tasks.",
    }.get(str(strategy.get("decided_by")), "")
    classic = line(strategy.get("classic_rule"))
    paragraphs = [decided] if decided else []
    if classic:
        paragraphs.append(f"The classic rule: {_sentence(classic)}")
    paragraphs += _against_the_rule(run)
    return Section(anchor="reasons", heading="Why this strategy", points=lines(strategy, "reasons"),
                   paragraphs=tuple(paragraphs), tables=_rule_table(run))


def _classic_scores(run: _Run) -> dict[int, tuple[float, str]]:
    """What each situation's classic strategy scored here, with how it was measured."""
    found: dict[int, tuple[float, str]] = {}
    measured = run.measured_depths()
    total = run.n_blocks
    if measured and total:
        by_depth = {int(mark.x): mark for mark in measured}
        inner = [mark for mark in measured if 0 < mark.x < total]
        best = max(inner, key=lambda mark: mark.score) if inner else None
        if 0 in by_depth:
            found[1] = (by_depth[0].score, "all trained, validation")
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


def _against_the_rule(run: _Run) -> list[str]:
    probabilities = _probabilities(run)
    situation = whole(part(run.advice, "situation").get("number"))
    if situation not in SITUATIONS and probabilities:
        situation = max(probabilities, key=lambda n: probabilities[n])
    measured = _classic_scores(run)
    validation = score(part(run.winner, "validation")) if run.winner else None
    if situation not in measured or validation is None:
        return []
    value, how = measured[situation]
    verdict = f"{CLASSIC_RULES[situation].lower()}"
    difference = validation - value
    if abs(difference) < 0.0005:
        said = "the same as the winner"
    else:
        said = f"the winner has {points(difference)} on it" if difference > 0 else (
            f"{points(-difference)} against the winner, which freezes more at a score within one standard error"
        )
    return [f"Measured here, the rule of situation {situation} ({verdict}) reached {percent(value)} ({how}); {said}."]


def _rule_table(run: _Run) -> tuple[Table, ...]:
    measured, probabilities = _classic_scores(run), _probabilities(run)
    if not measured and probabilities is None:
        return ()
    winner = score(part(run.winner, "validation")) if run.winner else None
    body = []
    for n in SITUATIONS:
        cells = [f"{n} · {SITUATIONS[n]}", share(probabilities[n]) if probabilities else NOT_MEASURED, CLASSIC_RULES[n]]
        if n in measured:
            value, how = measured[n]
            cells.append(f"{percent(value)} ({how})")
        else:
            cells.append(NOT_MEASURED)
        body.append(cells)
    columns = [("Situation", False), ("Probability", True), ("Classic rule", False), (f"{run.metric} here", False)]
    caption = "What the classic rules say, and what was measured"
    if winner is not None:
        body.append(["This run's choice", "", strategy_sentence(run.chosen, n_blocks=run.n_blocks),
                     f"{percent(winner)} (validation)"])
    return (_table(caption, columns, body, mark=len(body) - 1 if winner is not None else None),)


def _depth(run: _Run) -> Section:
    total = run.n_blocks
    measured, entries = run.measured_depths(), run.predicted_depths()
    if not total or not (measured or entries):
        return Section(anchor="depth", heading="How many blocks to freeze")
    depths_measured = {int(mark.x) for mark in measured}
    predicted = []
    for row in entries:
        depth, value, bounds = whole(row.get("frozen_blocks")) or 0, number(row.get("score")), score_interval(row)
        if value is not None and not measured:  # other splits than the tuner's: the two are not drawn together
            predicted.append(Mark(label=f"{depth}", score=value, x=depth, low=bounds[0] if bounds else None,
                                  high=bounds[1] if bounds else None, hollow=bounds is None))
    known = depths_measured | {int(mark.x) for mark in predicted}
    unmeasured = [depth for depth in range(total + 1) if depth not in known]
    bounds = interval(part(run.advice, "freeze").get("search"))
    advised = run.depth_of(run.recommended)
    seconds = {
        depth: value for row in rows(run.tuning, "by_depth")
        if (depth := whole(row.get("frozen_blocks"))) is not None and (value := number(row.get("seconds"))) is not None
        and value >= 0
    }
    if measured:
        best = max(measured, key=lambda mark: mark.score)
        title = f"Validation {run.metric} by freeze depth"
        said = f"{plural(len(measured), 'depth')} measured; the highest mean is {percent(best.score)} at {best.label}"
        if run.winner is not None and run.depth is not None and not any(mark.strong for mark in measured):
            said += f"; the winner is {run.words(run.chosen)}"
        caption = "Dots are means over seeds, bars one standard deviation; a hollow dot is a single run."
    elif predicted:
        title = f"Predicted {run.metric} by freeze depth"
        said = f"{plural(len(predicted), 'depth')} with a score, {len(unmeasured)} not measured"
        caption = "Dots are cross-validated probes with their 95% interval; a question mark is a depth not measured yet."
    else:
        title, said = "Freeze depths", "no depth measured yet"
        caption = "A question mark is a depth not measured yet."
    if bounds and (int(bounds[0]), int(bounds[1])) != (0, total):
        caption += f" Tinted: the range to search, {bounds[0]:.0f} to {bounds[1]:.0f}."
    references = _baseline_marks(run)
    drawing = plots.depth_curve(
        measured=measured, predicted=predicted, unmeasured=unmeasured, references=references, seconds=seconds,
        n_blocks=total, searched=(int(bounds[0]), int(bounds[1])) if bounds else None, advised=advised,
        score_name=f"{'validation' if measured else 'cross-validated'} {run.metric}", title=title,
        description=f"{said}. Advised: {advised if advised is not None else 'none'} of {total}.",
    )
    why = {whole(row.get("frozen_blocks")): line(row.get("why"), limit=200) for row in entries}
    by_depth = {whole(row.get("frozen_blocks")): row for row in rows(run.tuning, "by_depth")}
    predictions = {whole(row.get("frozen_blocks")): row for row in entries}
    body = []
    for depth in range(total + 1):
        row = by_depth.get(depth)
        name = run.words({"strategy": "freeze_part", "frozen_blocks": depth})
        prediction = predictions.get(depth, {})
        expected = percent(number(prediction.get("score")))
        if score_interval(prediction):
            expected += f" ({span(score_interval(prediction))})"
        if run.tuning is not None:
            sd = number(row.get("sd")) if row else None
            runs = whole(row.get("n")) if row else None
            body.append([name, percent(number(row.get("mean")) if row else None),
                         f"{100 * sd:.1f}" if sd is not None and (runs or 1) > 1 else "–",
                         f"{runs:,}" if runs is not None else "–",
                         duration(seconds[depth]) if depth in seconds else "–", expected])
        else:
            body.append([name, expected, why.get(depth, "") or "–"])
    columns: tuple[tuple[str, bool], ...] = (("Depth", False), ("Before tuning", True), ("Why", False))
    if run.tuning is not None:
        columns = (("Depth", False), ("Validation", True), ("s.d., points", True), ("Runs", True), ("Time", True),
                   ("Before tuning", True))
    table = _table(title, columns, body, mark=run.depth if run.depth is not None and run.depth <= total else None)
    paragraph = "Frozen blocks keep their pretrained weights; the blocks after them and the head are trained."
    if measured:
        paragraph += " Of the depths within one standard error of the best, the most frozen one wins: it costs least."
    else:
        paragraph += " Only what was measured has a score."
    return Section(anchor="depth", heading="How many blocks to freeze", paragraphs=(paragraph,),
                   figures=(FigureOnPage(title=title, caption=caption, drawing=drawing, table=table, full=True),))


def _baseline_marks(run: _Run) -> tuple[Mark, ...]:
    """Majority class and bag-of-words or pixels, as one score each; the tuner's own baselines first."""
    found = []
    for key in ("majority", "tfidf_linear", "pixel_linear"):
        for record in (part(run.tuning, "baselines"), part(run.advice, "baselines")):
            value, bounds = score(record.get(key)), score_interval(record.get(key))
            if value is not None:
                found.append(Mark(label=BASELINES[key], score=value, low=bounds[0] if bounds else None,
                                  high=bounds[1] if bounds else None, hollow=True))
                break
    return tuple(found)


def _features(run: _Run) -> Section:
    by_block, variants = [], []
    for row in rows(run.advice, "probes"):
        value, bounds = score(row), score_interval(row)
        if value is None:
            continue
        block, name = whole(row.get("block")), line(row.get("features"), limit=60)
        low, high = bounds or (None, None)
        is_block = name.startswith("block_") or (block is not None and not name)
        if is_block and block is None:
            block = int(name[6:]) if name[6:].isdigit() else None
        if is_block and block is not None:
            by_block.append(Mark(label=f"block {block}", score=value, low=low, high=high, x=block))
        elif name:
            variants.append(Mark(label=feature_words(name), score=value, low=low, high=high))
    by_block.sort(key=lambda mark: mark.x)
    variants.sort(key=lambda mark: -mark.score)
    figures = []
    if by_block:
        best = max(by_block, key=lambda mark: mark.score)
        by_block = [_emphasise(mark, mark is best) for mark in by_block]
        title = "Probe by block"
        figures.append(FigureOnPage(
            title=title, caption="A linear classifier on each block's frozen features, cross-validated; "
            "bars are 95% intervals.",
            drawing=plots.probe_curve(
                marks=by_block, references=[m for m in _baseline_marks(run) if m.label != BASELINES["majority"]],
                title=title, description=f"Best: {best.label} with {percent(best.score)}; last: "
                f"{by_block[-1].label} with {percent(by_block[-1].score)}.",
            ),
            table=_score_table(title, by_block, "Block"),
        ))
    if variants:
        variants = [_emphasise(mark, i == 0) for i, mark in enumerate(variants)]
        title = "Ways to read the frozen model"
        figures.append(FigureOnPage(
            title=title, caption="The same probe on the feature-based variants, best first.",
            drawing=plots.score_rows(name="variants", marks=variants[:MOST_ROWS_DRAWN], title=title,
                                     description=f"Best: {variants[0].label} with {percent(variants[0].score)}."),
            table=_score_table(title, variants, "Features"),
        ))
    return Section(anchor="features", heading="What the frozen model already knows", figures=tuple(figures))


def _emphasise(mark: Mark, strong: bool) -> Mark:
    return Mark(label=mark.label, score=mark.score, low=mark.low, high=mark.high, x=mark.x, strong=strong,
                hollow=mark.hollow)


def _score_table(caption: str, marks: Sequence[Mark], first: str) -> Table:
    body = [(mark.label, percent(mark.score), f"{100 * mark.low:.1f}–{100 * mark.high:.1f}%"
             if mark.low is not None and mark.high is not None else "–") for mark in marks]
    strong = next((i for i, mark in enumerate(marks) if mark.strong), None)
    return _table(caption, ((first, False), ("Score", True), ("Interval", True)), body, mark=strong)


def _comparison(run: _Run) -> Section:
    figures = []
    compared = list(_baseline_marks(run))
    best = part(part(run.advice, "baselines"), "best_probe")
    value, bounds = score(best), score_interval(best)
    if value is not None:
        block = whole(best.get("block"))
        where = f"block {block}" if block is not None else feature_words(best.get("features") or best.get("block"))
        compared.append(Mark(label=f"best probe ({where})" if where else "best probe", score=value,
                             low=bounds[0] if bounds else None, high=bounds[1] if bounds else None))
    for candidate in _ranked_candidates(run):
        compared.append(candidate)
    compared.sort(key=lambda mark: -mark.score)
    if compared:
        shown = compared
        if len(shown) > MOST_ROWS_DRAWN:
            baselines = {id(mark) for mark in compared if mark.hollow and mark.label in BASELINES.values()}
            keep = MOST_ROWS_DRAWN - len(baselines)
            others = [mark for mark in compared if id(mark) not in baselines][:keep]
            chosen = {id(mark) for mark in others} | baselines
            shown = [mark for mark in compared if id(mark) in chosen]
        title = "Against the baselines"
        caption = ("Probes and baselines are cross-validated on the training rows, tuned candidates are scored on "
                   "validation: small differences between the two kinds mean little."
                   if run.tuning is not None else "Cross-validated on the training rows.")
        figures.append(FigureOnPage(
            title=title, caption=caption,
            drawing=plots.score_rows(name="compare", marks=shown, title=title,
                                     description=f"Highest: {compared[0].label} with {percent(compared[0].score)}."),
            table=_score_table(title, compared, "What"),
        ))
    curve = []
    for row in rows(part(run.advice, "size"), "learning_curve"):
        n, value, bounds = number(row.get("n")), score(row), score_interval(row)
        if n is not None and n > 0 and value is not None:
            curve.append(Mark(label=f"{n:,.0f} rows", score=value, x=n, low=bounds[0] if bounds else None,
                              high=bounds[1] if bounds else None))
    curve.sort(key=lambda mark: mark.x)
    if curve:
        title = "Would more data help?"
        gain = points(curve[-1].score - curve[-2].score) if len(curve) > 1 else ""
        figures.append(FigureOnPage(
            title=title,
            caption="The probe's score with fewer training rows."
            + (f" From {curve[-2].label} to {curve[-1].label}: {gain}." if gain else ""),
            drawing=plots.learning_curve(marks=curve, title=title,
                                         description="; ".join(f"{m.label}: {percent(m.score)}" for m in curve) + "."),
            table=_score_table(title, curve, "Training rows"),
        ))
    return Section(anchor="comparison", heading="How it compares", figures=tuple(figures))


def _ranked_candidates(run: _Run) -> list[Mark]:
    found = []
    for row in rows(run.tuning, "candidates"):
        mean, sd, n = number(row.get("mean")), number(row.get("sd")), whole(row.get("n")) or 1
        if mean is None:
            continue
        spread = sd if sd is not None and n > 1 else None
        found.append(Mark(
            label=run.words(row), score=mean, low=None if spread is None else mean - spread,
            high=None if spread is None else mean + spread, hollow=spread is None,
            strong=run.winner is not None and _same(row, part(run.winner, "candidate")),
        ))
    return sorted(found, key=lambda mark: -mark.score)


def _same(one: Json, other: Json) -> bool:
    return all(one.get(key) == other.get(key) for key in ("strategy", "start", "frozen_blocks", "features",
                                                          "augmentation"))


def _search(run: _Run) -> Section:
    tuning = run.tuning
    if tuning is None:
        return Section(anchor="search", heading="What the search did")
    trials, budget = part(tuning, "trials"), part(tuning, "budget")
    counts = {key: whole(trials.get(key)) for key in ("complete", "pruned", "failed")}
    said = ", ".join(f"{value:,} {key}" for key, value in counts.items() if value is not None)
    facts = []
    if said:
        total = sum(value for value in counts.values() if value is not None)
        facts.append(Fact(label="Trials", value=f"{total:,}", note=said))
    asked, used = number(budget.get("asked_s")), number(budget.get("used_s"))
    if used is not None or asked is not None:
        facts.append(Fact(label="Time", value=duration(used), note=f"asked for {duration(asked)}" if asked else ""))
    stopped = line(tuning.get("stopped_because"), limit=60)
    if stopped:
        words = {"budget": "the time was used up", "trials": "all trials were made",
                 "interrupted": "it was interrupted; the best so far counts",
                 "exhausted": "nothing was left to try"}.get(stopped, "")
        facts.append(Fact(label="Stopped by", value=stopped, note=words))
    validation = part(run.winner, "validation")
    if validation:
        sd, seeds = number(validation.get("sd")), validation.get("seeds")
        count = len(seeds) if isinstance(seeds, (list, tuple)) else whole(seeds)
        facts.append(Fact(label=f"Winner on validation, {run.metric}", value=percent(score(validation)),
                          note=", ".join(text for text in (
                              f"s.d. {100 * sd:.1f} points" if sd is not None and (count or 2) > 1 else "",
                              plural(count, "seed") if count else "") if text)))
    tables, folded = [], []
    candidates = sorted(rows(tuning, "candidates"), key=lambda row: -(number(row.get("mean")) or -1.0))
    if candidates:
        winner = part(run.winner, "candidate") if run.winner else {}
        mark = next((i for i, row in enumerate(candidates) if winner and _same(row, winner)), None)
        tables.append(_table(
            "Everything that was tried, validation split",
            (("Candidate", False), ("Mean", True), ("s.d., points", True), ("Runs", True), ("Time", True)),
            ((run.words(row), percent(number(row.get("mean"))),
              f"{100 * sd:.1f}" if (sd := number(row.get("sd"))) is not None and (whole(row.get("n")) or 1) > 1 else "–",
              f"{runs:,}" if (runs := whole(row.get("n"))) is not None else "–", duration(number(row.get("seconds"))))
             for row in candidates), mark=mark,
        ))
    confirmations = rows(tuning, "confirmations")
    if confirmations:
        folded.append(_records("Confirmation on more seeds", confirmations, run=run))
    params = part(run.winner, "params")
    if params:
        folded.append(_table("The winner's settings", (("Setting", False), ("Value", True)),
                             [(key_words(str(key)), any_value(value)) for key, value in params.items()]))
    return Section(anchor="search", heading="What the search did", facts=tuple(facts), tables=tuple(tables),
                   folded=tuple(folded))


def _records(caption: str, records: Sequence[Json], *, run: _Run | None = None, limit: int = 400) -> Table:
    """A list of records of any shape as a table: the union of their keys as columns."""
    keys = list(dict.fromkeys(str(key) for record in records for key in record))[:12]
    scores = {"score", "mean", "validation", "accuracy", "macro_f1", "balanced_accuracy"}

    def cell(record: Json, key: str) -> str:
        value = record.get(key)
        if run is not None and key == "candidate" and isinstance(value, Mapping):
            return run.words(value)
        as_number = number(value)
        if as_number is not None and key in scores:
            return percent(as_number)
        if as_number is not None and key == "seconds":
            return duration(as_number)
        return any_value(value)

    body = [[cell(record, key) for key in keys] for record in records[:limit]]
    columns = [(key_words(key), all(number(record.get(key)) is not None for record in records)) for key in keys]
    return _table(caption, columns, body)


def _data(run: _Run) -> Section:
    data, size = part(run.advice, "data"), part(run.advice, "size")
    facts = []
    for label, value in (("Examples", data.get("n_examples")), ("Classes", data.get("n_classes")),
                         ("Smallest class", size.get("n_per_class_min")), ("Duplicates", size.get("n_duplicates"))):
        count = whole(value)
        if count is not None:
            facts.append(Fact(label=label, value=f"{count:,}"))
    truncated = number(data.get("truncated"))
    if truncated is not None:
        facts.append(Fact(label="Cut to length", value=share(truncated) if truncated <= 1 else plain(truncated)))
    body: list[tuple[str, str]] = []
    for key in ("kind", "task", "columns", "splits"):
        if data.get(key) is not None:
            body += [(name, any_value(value)) for name, value in _flat({key: data[key]})]
    folded = [_table("Columns and splits", (("What", False), ("Value", False)), body)] if body else []
    counts = _class_counts(data, size)
    if counts:
        folded.append(_table(f"Classes, {len(counts):,}", (("Class", False), ("Examples", True)),
                             [(name, f"{n:,}") for name, n in counts]))
    return Section(anchor="data", heading="The data", facts=tuple(facts), folded=tuple(folded))


def _class_counts(data: Json, size: Json) -> list[tuple[str, int]]:
    """Class names with their counts, largest first, in whichever of its forms the record has them."""
    for record in (data, size):
        given = record.get("class_counts") or record.get("classes")
        if isinstance(given, Mapping):
            pairs = [(line(str(name), limit=120), whole(n)) for name, n in given.items()]
        elif isinstance(given, (list, tuple)) and isinstance(record.get("class_names"), (list, tuple)):
            pairs = [(line(name, limit=120), whole(n))
                     for name, n in zip(record["class_names"], given, strict=False)]
        elif isinstance(given, (list, tuple)):
            pairs = [(line(item.get("name"), limit=120), whole(item.get("n", item.get("count"))))
                     for item in given if isinstance(item, Mapping)]
        else:
            continue
        found = [(name or "(empty)", n) for name, n in pairs if n is not None]
        if found:
            return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:1000]
    return []


def _examples(examples: Json | None) -> Section:
    tables = [_records(key_words(str(name)), rows(examples, name), limit=50) for name in examples or {}
              if rows(examples, name)]
    return Section(anchor="examples", heading="Examples from the data", tables=tuple(tables))


def _provenance(run: _Run) -> Section:
    advice, tuning = run.advice, run.tuning
    body: list[tuple[str, str]] = []

    def add(prefix: str, record: Json | None, keys: Iterable[str], say: Callable[[Any], str] = any_value) -> None:
        for key in keys:
            value = (record or {}).get(key)
            if isinstance(value, Mapping):
                body.extend((f"{prefix}{name}", say(item)) for name, item in _flat({key: value}))
            elif value is not None and value != [] and value != "":
                body.append((f"{prefix}{key_words(key)}", say(value)))

    add("model ", part(advice, "model"), ("id", "sha256", "revision", "n_blocks", "parameters", "pooling", "width"))
    add("data ", part(advice, "data"), ("name", "fingerprint"))
    add("", part(advice, "similarity"), ("source",))
    add("", advice, ("schema", "seed", "metric"))
    add("tuning ", tuning, ("seed", "metric", "split_sizes", "prefix", "model_dir"))
    add("recommend took ", {"": advice.get("seconds")} if number(advice.get("seconds")) is not None else
        part(advice, "seconds"), [""] if number(advice.get("seconds")) is not None else part(advice, "seconds"),
        _seconds)
    add("version of ", part(advice, "versions"), part(advice, "versions"))
    body = [(name.strip(), value) for name, value in body]
    blocks = part(advice, "model").get("blocks")
    folded = [_table("Versions, seeds and hashes", (("What", False), ("Value", False)), body)] if body else []
    if isinstance(blocks, (list, tuple)) and blocks:
        if all(isinstance(block, Mapping) for block in blocks):
            folded.append(_records("Blocks of the model", [block for block in blocks if isinstance(block, Mapping)]))
        else:
            folded.append(_table("Blocks of the model", (("Block", True), ("Name", False)),
                                 [(str(i), any_value(block)) for i, block in enumerate(blocks)]))
    return Section(anchor="provenance", heading="Where these numbers come from", folded=tuple(folded))


def _seconds(value: Any) -> str:
    return duration(number(value)) if number(value) is not None else any_value(value)
