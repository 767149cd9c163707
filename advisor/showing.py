"""What the command line shows of advice and results; it alone prints."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from advisor.terminal import class_lines, in_lines, in_one_line, printable, printable_json, short
from tuner.names import STRATEGIES, feature_words, metric_name

if TYPE_CHECKING:
    from advisor.kinds.words import Words


def print_out(line: str) -> None:
    sys.stdout.write(printable(line) + "\n")


def print_error(line: str) -> None:
    sys.stderr.write(printable(line) + "\n")


def print_json(value: Any) -> None:
    sys.stdout.write(printable_json(json.dumps(value, ensure_ascii=False, allow_nan=False)) + "\n")


def number_text(value: float | None, interval: Sequence[float] | None = None) -> str:
    if value is None:
        return "not measured"
    return f"{value:.3f}" + ("" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]")


def baselines_text(baselines: dict[str, Any], *, words: Words) -> str:
    """What needs no pretrained model, with its scores, that of the linear model with its interval."""

    def score(name: str) -> str:
        found = baselines[name] or {"score": None}
        return number_text(found["score"], found.get("interval") if name == words.linear else None)

    return ", ".join(f"{words.baseline_name(name)} {score(name)}" for name in words.baselines)


def print_advice(advice: dict[str, Any]) -> None:
    """The recommendation in a screenful."""
    from advisor.advice.situation import Situation
    from advisor.kinds.words import words_of

    data, size, similarity, situation = (advice[key] for key in ("data", "size", "similarity", "situation"))
    strategy, freeze, baselines = advice["strategy"], advice["freeze"], advice["baselines"]
    n_blocks, words = advice["model"]["n_blocks"], words_of(advice)
    print_out(f"{data['name']} with {advice['model']['id']}: {words.counted(data)}")
    read = [f"{name}: {in_one_line(column)}" for name, column in data["columns"].items() if column is not None]
    print_out(f"columns         {', '.join(read)}")
    if words.classes is not None:
        print_out(f"{words.classes:<16}{class_lines(data['class_counts'], indent=16)}")
    print_out("")
    what = f"freeze {freeze['recommended']} of {n_blocks} blocks"
    if strategy["features"] is not None:
        what = feature_words(strategy["features"])
    print_out(f"recommendation  {STRATEGIES[strategy['name']]}: {what} (decided by: {strategy['decided_by']})")
    print_out(f"size            {size['verdict']}: {size['why']}")
    # The rest of the sentence, what the profile covers, is for the report.
    print_out(f"similarity      {similarity['verdict']}: {similarity['why'].partition('; the profile')[0]}")
    if situation["probabilities"] is None:
        print_out("situation       not measured, since the similarity is not")
    else:
        shares = ", ".join(f"{number}: {share:.0%}" for number, share in situation["probabilities"].items())
        likeliest = situation.get("likeliest") or situation["number"]
        named = f"{likeliest} ({Situation(likeliest).title})" if likeliest else "not certain"
        certain = "" if situation["number"] else ", uncertain"
        print_out(f"situation       {named}{certain}; probabilities {shares}")
    if strategy["classic_rule"]:
        print_out(f"classic rule    {strategy['classic_rule']} (a prior, not a finding)")
    print_out(f"baselines       {baselines_text(baselines, words=words)}")
    print_out("reasons")
    for reason in strategy["reasons"]:
        print_out(f"  - {reason}")
    if advice.get("counterfactuals"):
        print_out("what would change it")
        for line in advice["counterfactuals"]:
            print_out(f"  - {line}")
    if advice["warnings"]:
        print_out("warnings")
        for warning in advice["warnings"]:
            print_out(f"  - {warning}")


def print_tuning(tuning: dict[str, Any]) -> None:
    """The search's outcome in a screenful."""
    from advisor.report.headline import headline
    from advisor.report.wording import variant_sentence
    from tuner.search.space import Candidate

    winner, first = tuning["winner"], dict(headline(tuning))
    label = Candidate(**winner["candidate"]).label(tuning["n_blocks"])
    if "under-trained" in first:
        print_out(f"{'under-trained':<16}{first.pop('under-trained')}")
    test = number_text(winner["test"]["score"], winner["test"]["interval"])
    print_out(f"{'winner':<16}{label}; test {metric_name(tuning['metric'])} {test}")
    for heading, text in first.items():
        print_out(f"{heading:<16}{text}")
    _print_quality(tuning["winner"]["test"], calibration=tuning.get("calibration"), metric=tuning["metric"])
    print_out("tuning")
    named = {field.name for field in dataclasses.fields(Candidate)}
    candidates = [Candidate(**{key: row[key] for key in named & row.keys()}) for row in tuning["candidates"]]
    labels = [candidate.label(tuning["n_blocks"]) for candidate in candidates]
    width = max(map(len, labels), default=0)
    for label, row in zip(labels, tuning["candidates"], strict=True):
        spread = f" ± {row['sd']:.3f}" if row["sd"] is not None else ""
        seeds = "seed" if row["n"] == 1 else "seeds"
        expected = f", expected {row['expected']:.3f}" if row.get("expected") is not None else ""
        measured = f"{row['mean']:.3f}{spread:<9} ({row['n']} {seeds}, {row['seconds']:.1f} s a run{expected})"
        print_out(f"  {label:<{width}} validation {measured}")
    for plan in tuning.get("plans", ())[:1]:
        print_out(f"plan            {plan['text']}")
    changed = tuning["changed_from_advice"]
    if changed:
        print_out(f"changed         from {changed['from']} to {changed['to']}: {changed['why']}")
    augmented = [("augmentation", tuning["augmentation"])] if tuning["augmentation"] else []
    variants = [*augmented, *(("option", found) for found in tuning.get("options", ()))]

    def say(*, tried: bool) -> None:
        for heading, found in variants:
            if (found.get("difference") is not None) == tried:
                print_out(f"{heading:<16}{variant_sentence(found, n_blocks=tuning['n_blocks'])}")

    say(tried=True)
    print_out(f"stopped         {tuning['stopped_because']}")
    if tuning["warnings"]:
        print_out("warnings")
    for warning in tuning["warnings"]:
        print_out(f"  - {warning}")
    say(tried=False)  # what was not tried stands last


def _print_quality(test: dict[str, Any], *, calibration: dict[str, Any] | None, metric: str) -> None:
    """The test scores beside the metric's, recall by class, and the probabilities, where they are stored."""
    from tuner.tasks.quality import calibration_sentence, other_metrics, recalls

    if beside := other_metrics(test.get("metrics", {}), metric=metric):
        print_out(f"other metrics   {beside}")
    by_type = [row for row in test.get("entities", {"by_type": ()})["by_type"] if row["n_gold"]]
    types = [{"name": row["type"], "n": row["n_gold"], "recall": row["recall"]} for row in by_type]
    if classes := recalls([*test.get("by_class", ()), *types]):
        parts = [f"{short(in_one_line(name))} {recall}" for name, recall in classes]
        print_out(f"recall          {in_lines(parts, indent=16, most=4)}")
    if calibration is not None and calibration["n"] == 0:
        print_out(f"probabilities   not calibrated: {calibration['why']}")
    elif calibration is not None:
        first, *rest = calibration_sentence(calibration).split("; ")
        print_out(f"probabilities   {first}")
        for part in rest:
            print_out(f"{'':<16}{part}")
