"""The section on the saved model: all metrics, all classes, and what its probabilities are worth."""

from __future__ import annotations

from advisor.report.fields import Json, interval, line, number, part, rows, score, score_interval, whole
from advisor.report.parts import Fact, Run, Section, Table, make_table, sentence
from advisor.report.wording import NOT_MEASURED, feature_words, percent, plural, span
from tuner.names import BASELINES, IN_UNITS, METRICS

SHOWN_CLASSES = 12
"""Classes in the table that is shown; with more it is folded."""
MOST_CLASSES = 1_000


def quality_section(run: Run) -> Section:
    test = part(run.winner, "test") if run.winner else {}
    tables, classes = _metric_table(run, test), _class_table(test, noun=run.kind.class_table[1])
    shown = tuple(table for table in classes if len(table.rows) <= SHOWN_CLASSES)
    calibration = part(run.tuning, "calibration")
    facts, paragraphs = _calibration(calibration)
    return Section(
        anchor="quality",
        heading="The saved model, on rows that it has not seen" if run.winner else "By other metrics",
        paragraphs=paragraphs,
        facts=facts,
        tables=(*tables, *shown),
        folded=tuple(table for table in classes if table not in shown),
    )


def beside(test: Json, *, metric: str) -> str:
    """The scores of a test split beside the one under the metric, by its words, in a few words."""
    found = ((name, METRICS.get(name, ""), score(scored)) for name, scored in part(test, "metrics").items())
    return "; ".join(
        f"{words} {_value(name, value)}" for name, words, value in found if words not in ("", metric) and value
    )


def _value(metric: str, value: float) -> str:
    """A score as people say it, of metrics that are no shares as it is."""
    return f"{value:.4g}" if metric in IN_UNITS else percent(value)


def _metric_table(run: Run, test: Json) -> tuple[Table, ...]:
    """What has scores under several metrics: the saved model, and what the advice measured by cross-validation."""
    compared = [("the saved model, test split", part(test, "metrics"))] if part(test, "metrics") else []
    baselines = part(run.advice, "baselines")
    for key in BASELINES:
        name, record = run.kind.baseline_name(key), part(baselines, key)
        if found := part(record, "metrics"):
            which = f" ({feature_words(record.get('features'))})" if key == "best_probe" else ""
            compared.append((f"{name}{which}, cross-validated", found))
    names = [name for name in METRICS if any(name in found for _, found in compared)]
    if len(names) < 2:
        return ()
    body = [[what, *(_scored(part(found, name), metric=name) for name in names)] for what, found in compared]
    columns = [("What", False), *((METRICS[name], True) for name in names)]
    return (make_table("By every metric, with 95% intervals", columns, body, mark=0 if test else None),)


def _scored(record: Json, *, metric: str) -> str:
    value, bounds = score(record), score_interval(record)
    if value is None:
        return NOT_MEASURED
    if metric in IN_UNITS:
        return _value(metric, value) + (f" ({bounds[0]:.4g} to {bounds[1]:.4g})" if bounds else "")
    return percent(value) + (f" ({span(bounds)})" if bounds else "")


def _class_table(test: Json, *, noun: str) -> tuple[Table, ...]:
    """Every class, or what the `noun` says, the lowest recall first."""
    found = sorted(rows(test, "by_class"), key=lambda row: _first(number(row.get("recall"))))
    body = []
    for row in found[:MOST_CLASSES]:
        bounds, counts = interval(row.get("interval")), [whole(row.get(key)) for key in ("n", "n_predicted")]
        body.append(
            [
                line(row.get("name"), limit=80) or "(empty)",
                _share(number(row.get("recall"))),
                span(bounds) or "–",
                *(_share(number(row.get(key))) for key in ("precision", "f1")),
                *("–" if count is None else f"{count:,}" for count in counts),
            ]
        )
    columns = (
        (noun, False), ("Recall", True), ("95% interval", True), ("Precision", True), ("F1", True),
        ("Test rows", True), ("Predicted", True),
    )  # fmt: skip
    return (make_table(f"Test split, by {noun.lower()}", columns, body),) if body else ()


def _first(recall: float | None) -> float:
    return 2.0 if recall is None else recall  # classes without rows come last


def _share(value: float | None) -> str:
    return "–" if value is None else percent(value)


def _calibration(found: Json) -> tuple[tuple[Fact, ...], tuple[str, ...]]:
    temperature = number(found.get("temperature"))
    if temperature is None:
        return (), ()
    unit, n, n_test = line(found.get("unit"), limit=20) or "row", whole(found.get("n")), whole(found.get("n_test"))
    note = f"fitted on {plural(n, f'validation {unit}')}" if n is not None else ""
    facts = [Fact(label="Temperature", value=f"{temperature:.2f}", note=note)]
    said = (
        "Probabilities are calibrated: every logit is divided by one temperature, which changes no prediction and is "
        "part of the saved weights."
    )
    if why := line(found.get("why")):
        said += f" {sentence(why)}"
    paragraphs = [said]
    before, after = number(found.get("ece_before")), number(found.get("ece_after"))
    if before is None or after is None:
        return tuple(facts), tuple(paragraphs)
    for label, value, key in (("Calibration error before", before, "before"), ("After", after, "after")):
        bounds = interval(found.get(f"ece_{key}_interval"))
        facts.append(
            Fact(
                label=label,
                value=f"{value:.3f}",
                note=f"95% interval {bounds[0]:.3f} to {bounds[1]:.3f}" if bounds else "",
            )
        )
    chance = number(found.get("ece_by_chance"))
    error = "The expected calibration error is the mean difference of confidence and accuracy, in 15 bins of "
    error += "equal width (Guo et al. 2017)"
    error += f", on {plural(n_test, f'test {unit}')}" if n_test is not None else ""
    error += f"; perfect probabilities would show {chance:.3f} on so few by chance" if chance is not None else ""
    confidence = [number(found.get(key)) for key in ("confidence_before", "confidence_after", "accuracy")]
    if None not in confidence:
        sure, surer, right = (percent(value) for value in confidence)
        error += f". Mean confidence was {sure} and is {surer}, where {right} are right"
    return tuple(facts), (*paragraphs, f"{error}.")
