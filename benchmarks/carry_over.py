"""Does evidence carry over to another model? Shares of frozen blocks under two models, on the same rows.

    python benchmarks/carry_over.py [--model paraphrase-MiniLM-L3-v2]

Printed are how mean gains over the probe by share go together (rank correlations), what advice from the first model's
evidence costs on the other one, with and without what was measured of the other one on other datasets, and what its
intervals cover. The dataset that is judged is left out under all models.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from evidence_table import KEY, PROFILES, RUNS, read, unpack
from fit_evidence import FURTHER, fit, partial_tasks_of, tasks_of
from scipy.stats import spearmanr
from scoreboard import candidate_name, name_of, regrets_of

from advisor.evidence.others import fit_other, gains_of, weights_of_item
from advisor.evidence.predictions import cheapest_within, expect, predict_scores
from advisor.evidence.table import Evidence, Task, share_of
from advisor.measures.probe import Probe

CONSTANTS = {
    "everything trained": (0.0, "low"),
    "everything trained, high rate": (0.0, "high"),
    "half frozen": (0.5, "low"),
    "half frozen, high rate": (0.5, "high"),
    "three quarters frozen": (0.75, "low"),
    "three quarters frozen, high rate": (0.75, "high"),
    "head only": (1.0, ""),
}


def gains_by_item(tasks: list[Task], paired: list[Task], evidence: Evidence) -> pd.DataFrame:
    """A row for each task and item: the gain under both models, the first one's read off at the same share."""
    partners = {(task.dataset, task.n): task for task in paired}
    rows = []
    for task in tasks:
        first = gains_of(partners[task.dataset, task.n], evidence.items)
        for item, gain in zip(task.scores, gains_of(task), strict=True):
            rows.append(
                {"set": task.dataset, "n": task.n, "item": item, "other": gain,
                 "first": float(weights_of_item(item, evidence) @ first)}
            )  # fmt: skip
    return pd.DataFrame(rows)


def correlations(gains: pd.DataFrame) -> str:
    """Rank correlations of mean gains, of all items and of trained shares alone, and within datasets."""
    lines = ["| items | means over sets | within a set, mean |", "|---|---:|---:|"]
    trained = gains.item.map(lambda item: share_of(item) is not None)
    for name, part in (("all", gains), ("trained blocks", gains[trained])):
        by_set = part.groupby(["set", "item"])[["first", "other"]].mean()
        means = by_set.groupby("item").mean()
        within = [spearmanr(one["first"], one["other"]).statistic for _, one in by_set.groupby("set")]
        over = spearmanr(means["first"], means["other"]).statistic
        lines.append(f"| {name} ({len(means)}) | {over:.2f} | {np.nanmean(within):.2f} |")
    return "\n".join(lines)


def judged(model: str, tasks: list[Task], paired: list[Task]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Regret of every policy, and coverage of intervals, on every task of the other model."""
    runs, profiles = read(RUNS), read(PROFILES).set_index(KEY)
    runs = runs[(runs.model == model) & (runs.seed == 0)]
    n_blocks = int(runs.frozen_blocks.max())
    measured: dict[tuple[str, int], Mapping[str, np.ndarray]] = {}
    for task in tasks:
        cell = runs[(runs.set == task.dataset) & (runs.n == task.n)]
        rates = sorted(cell.learning_rate[cell.learning_rate > 0].unique())
        measured[task.dataset, task.n] = {
            candidate_name(row.candidate, row.learning_rate, rates): unpack(row.correct, n=row.test_rows)
            for row in cell.itertuples()
        }
    regret = {key: regrets_of(right) for key, right in measured.items()}
    names = {
        policy: "head_only" if share == 1 else f"depth_{round(share * n_blocks)} {rate}"
        for policy, (share, rate) in CONSTANTS.items()
    }
    rows, covered = [], []
    for task in tasks:
        key = (task.dataset, task.n)
        others = [other for other in paired if other.dataset != task.dataset]
        own = [other for other in tasks if other.dataset != task.dataset]
        first = fit("text", others)
        both = replace(first, others=(fit_other(first, own, paired=others),))
        chosen = dict(names)
        means = {p: np.mean([regret[o.dataset, o.n][names[p]] for o in own]) for p in names}
        chosen["constant chosen in the fold"] = names[min(means, key=lambda policy: means[policy])]
        probes = json.loads(profiles.loc[(model, *key, 0)].probes)
        found = [Probe(features=n, block=None, score=s, interval=(s, s), l2=1.0) for n, s in probes.items()]
        for label, evidence in (("the first model's evidence", first), ("with its own", both)):
            expected = expect(evidence, found, n=task.n, n_blocks=n_blocks, model=model)
            predictions = [
                p for p in predict_scores(expected, n_blocks=n_blocks) if name_of(p, evidence.rates) in regret[key]
            ]
            chosen[f"advice, {label}"] = name_of(predictions[0], evidence.rates)
            cheap = cheapest_within(predictions, points=1.0)
            chosen[f"advice for speed, {label}"] = name_of(cheap, evidence.rates)
            for p in predictions:
                score = float(measured[key][name_of(p, evidence.rates)].mean())
                noise = np.sqrt(max(score * (1 - score), 1e-4) / task.n_test)
                low, high = p.interval
                inside = low - noise <= score <= high + noise
                covered.append({"evidence": label, "set": task.dataset, "covered": inside, "width": high - low})
        rows += [{"policy": p, "set": task.dataset, "regret": regret[key][name]} for p, name in chosen.items()]
    return pd.DataFrame(rows), pd.DataFrame(covered)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=FURTHER["text"][0])
    options = parser.parse_args()
    paired = tasks_of("text")
    partners = {(task.dataset, task.n) for task in paired}
    tasks = [task for task in partial_tasks_of(options.model) if (task.dataset, task.n) in partners]
    tasks = [task for task in tasks if len(task.scores) == max(len(other.scores) for other in tasks)]
    cells = ", ".join(f"{task.dataset} ({task.n})" for task in tasks)
    print(f"{options.model}: {len(tasks)} cells of {len({task.dataset for task in tasks})} sets: {cells}\n")
    gains = gains_by_item(tasks, paired, fit("text", paired))
    print(gains.groupby("item", sort=False)[["first", "other"]].mean().round(3).to_string(), "\n")
    print(correlations(gains), "\n")
    regret, covered = judged(options.model, tasks, paired)
    by_set = regret.groupby(["policy", "set"]).regret.mean().unstack()
    table = pd.DataFrame({"mean": by_set.mean(axis=1), "worst": by_set.max(axis=1), "worst set": by_set.idxmax(axis=1)})
    print(table.sort_values("mean", ascending=False).round(2).to_string(), "\n")
    print(
        covered.groupby(["evidence", "set"])[["covered", "width"]]
        .mean()
        .groupby("evidence")
        .mean()
        .round(3)
        .to_string()
    )


if __name__ == "__main__":
    main()
