"""The sections to look things up in: the search, the data, provenance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from advisor.report.fields import Json, line, number, part, rows, score, score_interval, whole
from advisor.report.parts import (
    Fact,
    Run,
    Section,
    flat,
    make_table,
    records_table,
    same_candidate,
)
from advisor.report.wording import (
    any_value,
    duration,
    key_words,
    percent,
    plain,
    plural,
    share,
    span,
)


def search_section(run: Run) -> Section:
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
    asked, used = number(budget.get("asked_s")), number(budget.get("used_s", tuning.get("seconds")))
    if used is not None or asked is not None:
        facts.append(Fact(label="Time", value=duration(used), note=f"asked for {duration(asked)}" if asked else ""))
    stopped = line(tuning.get("stopped_because"), limit=60)
    if stopped:
        words = {
            "budget": "the time was used up",
            "trials": "all trials were made",
            "interrupted": "it was interrupted; the best so far counts",
            "exhausted": "nothing was left to try",
        }.get(stopped, "")
        facts.append(Fact(label="Stopped by", value=stopped, note=words))
    validation = part(run.winner, "validation")
    if validation:
        sd, seeds = number(validation.get("sd")), validation.get("seeds")
        count = len(seeds) if isinstance(seeds, (list, tuple)) else whole(seeds)
        facts.append(
            Fact(
                label=f"Winner on validation, {run.metric}",
                value=percent(score(validation)),
                note=", ".join(
                    text
                    for text in (
                        f"s.d. {100 * sd:.1f} points" if sd is not None and (count or 2) > 1 else "",
                        plural(count, "seed") if count else "",
                    )
                    if text
                ),
            )
        )
    tables, folded = [], []
    candidates = sorted(rows(tuning, "candidates"), key=lambda row: -(number(row.get("mean")) or -1.0))
    if candidates:
        winner = part(run.winner, "candidate") if run.winner else {}
        mark = next((i for i, row in enumerate(candidates) if winner and same_candidate(row, winner)), None)
        tables.append(
            make_table(
                "Everything that was tried, validation split",
                _CANDIDATE_COLUMNS,
                (_candidate_cells(run, row) for row in candidates),
                mark=mark,
            )
        )
    found = rows(part(part(run.winner, "test"), "entities"), "by_type") if run.winner else ()
    if found:
        tables.append(
            make_table("Entities of the test split, by type", _TYPE_COLUMNS, [_type_cells(row) for row in found])
        )
    confirmations = rows(tuning, "confirmations")
    if confirmations:
        folded.append(records_table("Confirmation on more seeds", confirmations, run=run))
    params = part(run.winner, "params")
    if params:
        folded.append(
            make_table(
                "The winner's settings",
                (("Setting", False), ("Value", True)),
                [(key_words(str(key)), any_value(value)) for key, value in params.items()],
            )
        )
    return Section(
        anchor="search", heading="What the search did", facts=tuple(facts), tables=tuple(tables), folded=tuple(folded)
    )


_CANDIDATE_COLUMNS = (
    ("Candidate", False),
    ("Mean", True),
    ("95% interval", True),
    ("s.d., points", True),
    ("Below the best", True),
    ("Runs", True),
    ("Time", True),
)


_TYPE_COLUMNS = (
    ("Type", False),
    ("F1", True),
    ("Precision", True),
    ("Recall", True),
    ("Entities", True),
    ("Predicted", True),
    ("Both", True),
)


def _type_cells(row: Json) -> tuple[str, ...]:
    counts = [whole(row.get(key)) for key in ("n_gold", "n_predicted", "n_correct")]
    scores = [percent(number(row.get(key))) for key in ("f1", "precision", "recall")]
    return (line(row.get("type"), limit=60), *scores, *("–" if count is None else f"{count:,}" for count in counts))


def _candidate_cells(run: Run, row: Json) -> tuple[str, ...]:
    sd, n = number(row.get("sd")), whole(row.get("n"))
    below, error = number(row.get("below_best")), number(row.get("standard_error"))
    return (
        run.words(row),
        percent(number(row.get("mean"))),
        span(score_interval(row)) or "–",
        f"{100 * sd:.1f}" if sd is not None and (n or 1) > 1 else "–",
        "–" if below is None else f"{100 * below:.1f}" + ("" if error is None else f" ± {100 * error:.1f}"),
        f"{n:,}" if n is not None else "–",
        duration(number(row.get("seconds"))),
    )


def data_section(run: Run) -> Section:
    data, size = part(run.advice, "data"), part(run.advice, "size")
    facts = []
    for count in run.kind.counts:
        n = run.count_of(count)
        if n is not None:
            facts.append(Fact(label=count.label, value=f"{n:,}"))
    truncated = number(data.get("truncated"))
    if truncated is not None:
        facts.append(Fact(label="Cut to length", value=share(truncated) if truncated <= 1 else plain(truncated)))
    body: list[tuple[str, str]] = []
    for key in ("kind", "task", "scheme", "tags", "columns", "splits"):
        if data.get(key) is not None:
            body += [(name, any_value(value)) for name, value in flat({key: data[key]})]
    folded = [make_table("Columns and splits", (("What", False), ("Value", False)), body)] if body else []
    counts = _class_counts(data, size)
    if counts:
        caption, named, counted = run.kind.class_table
        folded.append(
            make_table(
                f"{caption}, {len(counts):,}",
                ((named, False), (counted, True)),
                [(name, f"{n:,}") for name, n in counts],
            )
        )
    return Section(anchor="data", heading="The data", facts=tuple(facts), folded=tuple(folded))


def _class_counts(data: Json, size: Json) -> list[tuple[str, int]]:
    """Class names with their counts, largest first, in whichever of its forms the record has them."""
    for record in (data, size):
        given = record.get("class_counts") or record.get("classes")
        if isinstance(given, Mapping):
            pairs = [(line(str(name), limit=120), whole(n)) for name, n in given.items()]
        elif isinstance(given, (list, tuple)) and isinstance(record.get("class_names"), (list, tuple)):
            pairs = [(line(name, limit=120), whole(n)) for name, n in zip(record["class_names"], given, strict=False)]
        elif isinstance(given, (list, tuple)):
            pairs = [
                (line(item.get("name"), limit=120), whole(item.get("n", item.get("count"))))
                for item in given
                if isinstance(item, Mapping)
            ]
        else:
            continue
        found = [(name or "(empty)", n) for name, n in pairs if n is not None]
        if found:
            return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:1000]
    return []


def provenance_section(run: Run) -> Section:
    advice, tuning = run.advice, run.tuning
    body: list[tuple[str, str]] = []

    def add(prefix: str, record: Json | None, keys: Iterable[str], say: Callable[[Any], str] = any_value) -> None:
        for key in keys:
            value = (record or {}).get(key)
            if isinstance(value, Mapping):
                body.extend((f"{prefix}{name}", say(item)) for name, item in flat({key: value}))
            elif value is not None and value != [] and value != "":
                body.append((f"{prefix}{key_words(key)}", say(value)))

    add("model ", part(advice, "model"), ("id", "sha256", "revision", "n_blocks", "parameters", "pooling", "width"))
    add("data ", part(advice, "data"), ("name", "fingerprint"))
    add("", part(advice, "similarity"), ("source",))
    add("", advice, ("schema", "seed", "metric"))
    add("tuning ", tuning, ("seed", "metric", "split_sizes", "prefix", "model_dir"))
    add(
        "recommend took ",
        {"": advice.get("seconds")} if number(advice.get("seconds")) is not None else part(advice, "seconds"),
        [""] if number(advice.get("seconds")) is not None else part(advice, "seconds"),
        _seconds,
    )
    add("version of ", part(advice, "versions"), part(advice, "versions"))
    body = [(name.strip(), value) for name, value in body]
    blocks = part(advice, "model").get("blocks")
    folded = [make_table("Versions, seeds and hashes", (("What", False), ("Value", False)), body)] if body else []
    if isinstance(blocks, (list, tuple)) and blocks:
        if all(isinstance(block, Mapping) for block in blocks):
            folded.append(
                records_table("Blocks of the model", [block for block in blocks if isinstance(block, Mapping)])
            )
        else:
            folded.append(
                make_table(
                    "Blocks of the model",
                    (("Block", True), ("Name", False)),
                    [(str(i), any_value(block)) for i, block in enumerate(blocks)],
                )
            )
    return Section(anchor="provenance", heading="Where these numbers come from", folded=tuple(folded))


def _seconds(value: Any) -> str:
    return duration(number(value)) if number(value) is not None else any_value(value)
