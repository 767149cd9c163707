"""Fits what `advisor` ships as evidence from the measured runs: advisor/evidence/text.json and image.json.

    python benchmarks/fit_evidence.py

Taken are the cells of seed 0 at 100 to 1,000 rows, which hold every candidate at both learning rates. Shares of frozen
blocks are those of MiniLM's seven blocks; other models' depths are read off between their neighbours. Of further models
some depths are measured on some sets: they say how the mean of such a model differs from MiniLM's on the same rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from evidence_table import KEY, PROFILES, RUNS, read

from advisor.evidence.others import fit_other
from advisor.evidence.table import FOLDER, LINEAR, Evidence, Task, fit_evidence, trained
from tuner.records import write_json
from tuner.search.gaussian import logit

KNOTS = tuple(share / 7 for share in range(7))
ROWS = (100, 1_000)
KINDS = {"text": ("all-MiniLM-L6-v2",), "image": ("mobilenet_v1_0.25_128_imagenet", "resnet20_cifar10")}
FURTHER = {"text": ("paraphrase-MiniLM-L3-v2",), "image": ()}
PROBE = "concat_last_four"


def tasks_of(kind: str) -> list[Task]:
    """The complete cells of a kind of data."""
    runs, profiles = read(RUNS), read(PROFILES).set_index(KEY)
    runs = runs[runs.model.isin(KINDS[kind]) & (runs.seed == 0) & runs.n.between(*ROWS)]
    found = []
    for key, cell in runs.groupby(KEY):
        if key in profiles.index and (scores := scores_of(cell)) is not None:
            probes = json.loads(profiles.loc[key].probes)
            if PROBE in probes:
                found.append(
                    Task(
                        model=key[0], dataset=key[1], n=int(key[2]), probe=float(probes[PROBE]), scores=scores,
                        n_test=int(cell.test_rows.iloc[0]),
                    )
                )  # fmt: skip
    return found


def scores_of(cell: pd.DataFrame) -> Mapping[str, float] | None:
    """Test scores by item; None where a candidate or a rate is missing."""
    n_blocks = int(cell.frozen_blocks.max())
    linear = {"last" if name == "head_only" else name: score for name, score in linear_scores(cell)}
    scores = {name: linear[name] for name in LINEAR if name in linear}
    rates = sorted(cell.learning_rate[cell.learning_rate > 0].unique())
    if len(rates) != 2 or "last" not in scores or PROBE not in scores:
        return None
    for rate, name in zip(rates, ("low", "high"), strict=True):
        part = cell[cell.learning_rate == rate].set_index("frozen_blocks").test
        if sorted(part.index) != list(range(n_blocks)):
            return None
        shares = np.append(np.arange(n_blocks) / n_blocks, 1.0)
        at_depths = np.append(part.sort_index().to_numpy(), scores["last"])
        scores |= {trained(knot, name): float(np.interp(knot, shares, at_depths)) for knot in KNOTS}
    return scores


def linear_scores(cell: pd.DataFrame) -> list[tuple[str, float]]:
    part = cell[cell.learning_rate == 0]
    return list(zip(part.candidate, part.test, strict=True))


def rates_of(kind: str) -> dict[str, float]:
    """The two learning rates of a kind's runs."""
    runs = read(RUNS)
    found = sorted(runs[runs.model.isin(KINDS[kind]) & (runs.n <= ROWS[1])].learning_rate.unique())
    low, high = (rate for rate in found if rate > 0)
    return {"low": float(low), "high": float(high)}


def seeds_of(kind: str) -> dict[int, float]:
    """By number of rows, the variance over seeds of the log odds of trained candidates' test scores, pooled."""
    runs = read(RUNS)
    runs = runs[runs.model.isin(KINDS[kind]) & (runs.learning_rate > 0) & runs.n.between(*ROWS)]
    odds = [float(logit(score, n=rows)) for score, rows in zip(runs.test, runs.test_rows, strict=True)]
    groups = runs.assign(odds=odds).groupby([*KEY[:3], "candidate", "learning_rate"]).odds.agg(["var", "size"])
    repeated = groups[groups["size"] > 1].reset_index()
    return {int(n): float(np.average(part["var"], weights=part["size"] - 1)) for n, part in repeated.groupby("n")}


def scratch_of(kind: str) -> tuple[float, ...]:
    """Log odds that fresh weights lack against everything trained at the lower rate, on large sets: mean, standard
    deviation over sets, number of sets, rows. Empty where it was not measured."""
    runs = read(RUNS)
    runs = runs[runs.model.isin(KINDS[kind]) & (runs.seed == 0) & (runs.n > ROWS[1])]
    gains = []
    for _, cell in runs.groupby(["model", "set", "n"]):
        scratch, all_trained = cell[cell.candidate == "scratch"], cell[cell.candidate == "depth_0"]
        if len(scratch) and len(all_trained):
            lower = all_trained.sort_values("learning_rate").iloc[0]
            rows = int(lower.test_rows)
            gains.append(float(logit(scratch.test.max(), n=rows) - logit(lower.test, n=rows)))
    if len(gains) < 2:
        return ()
    return float(np.mean(gains)), float(np.std(gains, ddof=1)), float(len(gains)), float(runs.n.max())


def fit(kind: str, tasks: list[Task]) -> Evidence:
    """Evidence of tasks whose items are those that all of them hold."""
    common: list[str] = [item for item in tasks[0].scores if all(item in task.scores for task in tasks)]
    same: list[Any] = [Task(**{**vars(task), "scores": {item: task.scores[item] for item in common}}) for task in tasks]
    return fit_evidence(same, kind=kind, probe=PROBE, rates=rates_of(kind), seeds=seeds_of(kind))


def partial_tasks_of(model: str) -> list[Task]:
    """The cells of a further model, with the shares of its blocks that were trained at both learning rates."""
    runs, profiles = read(RUNS), read(PROFILES).set_index(KEY)
    runs = runs[(runs.model == model) & (runs.seed == 0) & runs.n.between(*ROWS)]
    found = []
    for key, cell in runs.groupby(KEY):
        n_blocks = int(cell.frozen_blocks.max())
        linear = {"last" if name == "head_only" else name: score for name, score in linear_scores(cell)}
        scores = {name: linear[name] for name in LINEAR if name in linear}
        rates = sorted(cell.learning_rate[cell.learning_rate > 0].unique())
        counts = cell[cell.learning_rate > 0].groupby("frozen_blocks").size()
        for row in cell[cell.learning_rate > 0].sort_values(["learning_rate", "frozen_blocks"]).itertuples():
            if counts[row.frozen_blocks] == 2:
                rate = ("low", "high")[rates.index(row.learning_rate)]
                scores[trained(row.frozen_blocks / n_blocks, rate)] = row.test
        if len(scores) > len(linear) and key in profiles.index:
            probes = json.loads(profiles.loc[key].probes)
            found.append(
                Task(
                    model=model, dataset=key[1], n=int(key[2]), probe=float(probes[PROBE]), scores=scores,
                    n_test=int(cell.test_rows.iloc[0]),
                )
            )  # fmt: skip
    return found


def with_others(kind: str, evidence: Evidence, tasks: list[Task]) -> Evidence:
    """Evidence with what is known of further models, of which some cells have a partner among the tasks."""
    partners = {(task.dataset, task.n) for task in tasks}
    parts = ([t for t in partial_tasks_of(model) if (t.dataset, t.n) in partners] for model in FURTHER[kind])
    return replace(evidence, others=tuple(fit_other(evidence, part, paired=tasks) for part in parts if part))


def main() -> None:
    for kind in KINDS:
        tasks = tasks_of(kind)
        evidence = replace(with_others(kind, fit(kind, tasks), tasks), scratch=scratch_of(kind))
        write_json(FOLDER / f"{kind}.json", evidence)
        print(f"{kind}: {evidence.n_tasks} tasks; {evidence.said}; items {', '.join(evidence.items)}")
        for other in evidence.others:
            print(f"{kind}: {other.said}")


if __name__ == "__main__":
    main()
