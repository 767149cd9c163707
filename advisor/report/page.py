"""The page from top to bottom: the answer, the next command, the sections."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from advisor.data.thumbnails import Thumbnail
from advisor.report.fields import (
    Json,
    block_count,
    interval,
    line,
    lines,
    number,
    part,
    rows,
    score,
    score_interval,
    whole,
)
from advisor.report.findings import comparison_section, depth_section, features_section
from advisor.report.headline import headline
from advisor.report.particulars import data_section, provenance_section, search_section
from advisor.report.parts import (
    Blocks,
    Fact,
    Page,
    Run,
    Section,
    sentence,
)
from advisor.report.quality import beside, quality_section
from advisor.report.reasons import reasons_section
from advisor.report.situation import examples_section, situation_section
from advisor.report.wording import (
    capital,
    duration,
    metric_words,
    percent,
    plural,
    share,
    span,
    strategy_sentence,
    variant_sentence,
)
from tuner.names import SITUATIONS


def make_page(advice: Json, *, tuning: Json | None, thumbnails: tuple[Thumbnail, ...] | None = ()) -> Page:
    """The report of one run; `thumbnails` are None where they are damaged."""
    data, model = part(advice, "data"), part(advice, "model")
    run = Run(
        advice=advice,
        tuning=tuning,
        name=line(data.get("name"), limit=80) or "this dataset",
        n_blocks=block_count(model.get("n_blocks")) or block_count((tuning or {}).get("n_blocks")),
        metric=metric_words((tuning or {}).get("metric") or advice.get("metric")),
        thumbnails=thumbnails,
    )
    warnings = tuple(dict.fromkeys((*lines(advice, "warnings"), *lines(tuning, "warnings"))))
    sections = (
        situation_section(run),
        examples_section(run),
        reasons_section(run),
        depth_section(run),
        features_section(run),
        comparison_section(run),
        quality_section(run),
        search_section(run),
        Section(anchor="warnings", heading="Warnings", points=tuple(map(capital, warnings))),
        Section(anchor="next", heading="What to do next", points=tuple(map(capital, _next_steps(run)))),
        data_section(run),
        provenance_section(run),
        _untried(run),
    )
    return Page(
        question=f"Which transfer-learning strategy for {run.name}?",
        answer=_answer(run),
        lead=_lead(run),
        command=_command(run),
        facts=_facts(run),
        blocks=_blocks(run),
        warnings=warnings,
        sections=tuple(section for section in sections if not section.empty),
        version=line(part(advice, "versions").get("transfer-advisor"), limit=30),
    )


def _command(run: Run) -> str:
    """The next command: after tuning not the advice's own, which asked for tuning."""
    if run.tuning is None:
        return line(run.advice.get("next_command"), limit=2000)
    folder = line(run.tuning.get("model_dir"), limit=2000)
    after = f"advisor predict {shlex.quote(folder)} NEW_DATA" if folder and run.winner is not None else ""
    return line(run.tuning.get("next_command"), limit=2000) or after


def _next_steps(run: Run) -> tuple[str, ...]:
    if run.tuning is None:
        return lines(run.advice, "next_steps")
    asked = [row for row in rows(run.tuning, "unscored") if not (row.get("augmentation") or row.get("option"))]
    waiting = sum(row.get("head") == "own" for row in asked) if run.tuning.get("stopped_because") == "budget" else 0
    longer = (f"search longer (--budget): {plural(waiting, 'candidate')} of the plan had no score in time",)
    advised = (step for step in lines(run.advice, "next_steps") if "advisor tune" not in step)
    return (*(longer if waiting else ()), *advised)


def _answer(run: Run) -> str:
    what = strategy_sentence(run.chosen, n_blocks=run.n_blocks)
    if run.winner is None:
        basis = {
            "rule": "a first choice by rule of thumb, not yet measured",
            "probe": "the choice of the probes, not yet tuned",
            "evidence": "the choice of measured tasks, not yet tuned",
        }
        decided = str(part(run.advice, "strategy").get("decided_by"))
        return f"{what}: {basis.get(decided, 'a first choice, not yet tuned')}."
    test, validation = part(run.winner, "test"), part(run.winner, "validation")
    if score(test) is not None:
        return f"{what}: {percent(score(test))} {run.metric} on the test split."
    if score(validation) is not None:
        return f"{what}: {percent(score(validation))} {run.metric} on the validation split."
    return f"{what}."


def _lead(run: Run) -> tuple[str, ...]:
    said = []
    if run.winner is not None:
        bounds = score_interval(part(run.winner, "test"))
        if bounds:
            times = whole(part(run.winner, "test").get("times")) or 1
            scored = "once, by the winner" if times == 1 else f"{times} times, since an interrupted search went on"
            headings = {"under-trained": "Under-trained: ", "trained": "The model was trained ", "gain": "It gains ",
                        "cheaper": "Cheaper, within a point: "}  # fmt: skip
            first = dict(headline(run.tuning or {}))
            if "under-trained" in first:
                said.append(sentence(headings["under-trained"] + first.pop("under-trained")))
            said.append(
                f"With 95% confidence the test score lies between {percent(bounds[0])} and "
                f"{percent(bounds[1])}; the test split was scored {scored}."
            )
            said += [sentence(headings[heading] + text) for heading, text in first.items()]
        changed = part(run.tuning, "changed_from_advice")
        if changed:
            said.append(
                f"The advice was {_change(run, changed.get('from'))}; tuning chose "
                f"{_change(run, changed.get('to'))}. {sentence(line(changed.get('why')))}".strip()
            )
        else:
            # What was fitted at once, without a score on validation rows, is not among what was measured.
            validated = score(part(run.winner, "validation")) is not None
            others = len(rows(run.tuning, "candidates")) - validated
            said.append(
                f"The tuner measured {plural(others, 'alternative')} and kept the advice."
                if others > 0
                else "No alternative came to a score, so the advice stands."
            )
        said += [
            f"{what}: {sentence(variant_sentence(row, n_blocks=run.n_blocks))}"
            for what, row in _variants(run)
            if number(row.get("difference")) is not None
        ]
    else:
        size, similarity = part(run.advice, "size"), part(run.advice, "similarity")
        said.append(
            f"{run.name} is {_verdict(size, 'size')} and {_verdict(similarity, 'similarity')}. "
            "Depths that nobody has trained on this data have no score here; tuning measures them."
        )
    return tuple(said)


def _variants(run: Run) -> list[tuple[str, Json]]:
    """Augmentation and the options of training, tried or not."""
    augmentation = part(run.tuning, "augmentation")
    found = [("Augmentation", augmentation)] if augmentation else []
    return found + [("Option of training", row) for row in rows(run.tuning, "options")]


def _untried(run: Run) -> Section:
    """What was not tried, and why: it stands last."""
    points = [
        f"{what}: {sentence(variant_sentence(row, n_blocks=run.n_blocks))}"
        for what, row in _variants(run)
        if number(row.get("difference")) is None
    ]
    return Section(anchor="untried", heading="What was not tried", points=tuple(points))


def _verdict(record: Json, which: str) -> str:
    verdict = line(record.get("verdict"), limit=30)
    if which == "size":
        return {"uncertain": "between small and large", "": "of unmeasured size"}.get(verdict, verdict)
    return {
        "similar": "similar to what the model was pretrained on",
        "dissimilar": "unlike what the model was pretrained on",
        "uncertain": "neither clearly like nor unlike what the model was pretrained on",
    }.get(verdict, "not yet compared with what the model was pretrained on")


def _change(run: Run, value: Any) -> str:
    if isinstance(value, Mapping):
        return run.words(value)
    depth = whole(value)
    if depth is not None:
        return run.words({"strategy": "freeze_part", "frozen_blocks": depth})
    return line(value, limit=80) or "something else"


def _facts(run: Run) -> tuple[Fact, ...]:
    facts = []
    if run.winner is not None:
        test = part(run.winner, "test")
        bounds = score_interval(test)
        facts.append(
            Fact(
                label=f"Test {run.metric}",
                value=percent(score(test)),
                note="; ".join(
                    text
                    for text in (f"95% interval {span(bounds)}" if bounds else "", beside(test, metric=run.metric))
                    if text
                ),
            )
        )
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
    if run.winner is not None:
        used = number(part(run.tuning, "budget").get("used_s", (run.tuning or {}).get("seconds")))
        complete, pruned = (whole(part(run.tuning, "trials").get(key)) for key in ("complete", "pruned"))
        trials = plural(complete, "trial") if complete is not None else ""
        if trials and pruned:
            trials += f", {pruned} pruned"
        if used is not None or trials:
            facts.append(
                Fact(label="Tuning took", value=duration(used), note=trials)
                if used is not None
                else Fact(label="Tuning", value=trials)
            )
    elif (counted := run.count_of(run.kind.main)) is not None:
        notes = ((note, run.count_of(note)) for note in run.kind.main_notes)
        said = [(note.one if n == 1 else note.many).format(n) for note, n in notes if n is not None]
        facts.append(Fact(label=run.kind.main.label, value=f"{counted:,}", note=", ".join(said)))
    best = part(part(run.advice, "baselines"), "best_probe")
    if run.winner is None and score(best) is not None:
        bounds = score_interval(best)
        facts.append(Fact(label="Best probe", value=percent(score(best)), note=f"{span(bounds)}" if bounds else ""))
    return tuple(facts)


def _situation_fact(run: Run) -> Fact:
    situation = part(run.advice, "situation")
    n = whole(situation.get("number"))
    probabilities = run.probabilities
    if n in SITUATIONS:
        chance = f", {share(probabilities[n])}" if probabilities else ""
        return Fact(label="Situation", value=f"{n} of 4", note=f"{SITUATIONS[n]}{chance}")
    if probabilities is None:
        return Fact(
            label="Situation", value="Not known", note="similarity not measured" if run.similarity_unmeasured else ""
        )
    likely = run.likely_situation
    if likely is not None:
        note = f"most likely {likely}: {SITUATIONS[likely]}, {share(probabilities[likely])}"
    else:
        note = f"none of the four is above {share(max(probabilities.values()))}"
    return Fact(label="Situation", value="Uncertain", note=note)


def _blocks(run: Run) -> Blocks | None:
    depth, total = run.depth, run.n_blocks
    if depth is None or not total or not 0 <= depth <= total or total > 400:
        return None
    scratch = run.chosen.get("start") == "scratch"
    if scratch:
        words = f"All {total} blocks and the head are trained from random weights"
    else:
        words = f"{depth} of {total} blocks frozen, {total - depth} trained, then the head"
    return Blocks(frozen=depth, total=total, scratch=scratch, words=words)
