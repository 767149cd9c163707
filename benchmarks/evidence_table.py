"""The evidence table that evidence.py fills: its files, learning rates chosen, noise over seeds, regret of policies."""

from __future__ import annotations

import base64
import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

RESULTS = Path(__file__).parent / "results"
RUNS, PROFILES = RESULTS / "evidence_runs.csv", RESULTS / "evidence_profiles.csv"
KEY = ["model", "set", "n", "seed"]
CANDIDATE = ["model", "set", "n", "candidate"]
READ = [*KEY, "candidate", "learning_rate", "validation", "test", "rows_seen", "wall_seconds", "test_rows", "correct"]
HALVINGS = 20


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Add a line in one write, so that it is there whole whoever else writes; the header before the first."""
    path.parent.mkdir(exist_ok=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(row), lineterminator="\n")
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        if os.fstat(file).st_size == 0:
            writer.writeheader()
        writer.writerow(row)
        os.write(file, text.getvalue().encode())
    finally:
        os.close(file)


def read(path: Path) -> pd.DataFrame:
    """The rows so far; without any, the columns that are asked for."""
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=READ)


def pack(right: np.ndarray) -> str:
    """Whether each row was right, eight rows a byte, in base64.

    >>> pack(np.array([True, False, True]))
    'oA=='
    """
    return base64.b64encode(np.packbits(right).tobytes()).decode()


def unpack(text: str, *, n: int) -> np.ndarray:
    """(n,) booleans from `pack`."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8), count=n).astype(bool)


def chosen_rates(runs: pd.DataFrame) -> dict[tuple[str, str, int, str], float]:
    """By model, set, n and candidate, the learning rate with the better validation score on seed 0.

    Twenty validation rows often tie: then that of the two which is better on average over the cell's candidates, else
    the lower. Candidates whose second rate was not run yet are left out; linear heads have the rate 0.
    """
    first = runs[runs.seed == 0].assign(trained=runs.learning_rate > 0)
    first["place"] = first.groupby(CANDIDATE).learning_rate.rank()
    first["around"] = first.groupby([*CANDIDATE[:3], "trained", "place"]).validation.transform("mean")
    first = first.sort_values(["validation", "around", "learning_rate"], ascending=[False, False, True])
    groups = first.groupby(CANDIDATE).learning_rate.agg(["first", "size"])
    return groups[(groups["size"] > 1) | (groups["first"] == 0)]["first"].to_dict()


def at_chosen_rates(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs at those rates: one for each candidate of a cell."""
    rates = chosen_rates(runs)
    names = runs[CANDIDATE].itertuples(index=False, name=None)
    kept = [rates.get(name) == rate for name, rate in zip(names, runs.learning_rate, strict=True)]
    return runs[kept].drop_duplicates([*KEY, "candidate"])


def pooled_sd(runs: pd.DataFrame) -> pd.DataFrame:
    """By model and n, how the test scores of one candidate on one set vary over seeds: ``sd`` in points, ``groups``."""
    groups = runs.groupby(CANDIDATE).test.agg(["var", "size"]).query("size > 1")
    squares = groups.assign(freedom=groups["size"] - 1, squares=groups["var"] * (groups["size"] - 1))
    sums = squares.groupby(["model", "n"]).agg({"squares": "sum", "freedom": "sum", "size": "size"})
    return pd.DataFrame({"sd": 100 * np.sqrt(sums.squares / sums.freedom), "groups": sums["size"]})


def cross_fitted_regret(right: Mapping[str, np.ndarray], chosen: str, *, halves: Iterable[np.ndarray]) -> float:
    """Points lost by a choice: the best on one half of the test rows and the choice, both scored on the other half.

    `right` holds (n,) booleans by candidate, `halves` (n,) masks, each used both ways. A best that is picked where it
    is scored would be flattered by the noise of both.

    >>> right = {"a": np.array([1, 1, 1, 0]), "b": np.array([1, 0, 0, 0])}
    >>> cross_fitted_regret(right, "b", halves=[np.array([True, True, False, False])])
    50.0
    """
    names = list(right)
    scores = np.stack([right[name] for name in names]).astype(float)
    lost = []
    for mask in halves:
        for here, there in ((mask, ~mask), (~mask, mask)):
            best = scores[:, here].mean(1).argmax()
            lost.append((scores[best, there] - scores[names.index(chosen), there]).mean())
    return float(100 * np.mean(lost))


def random_halves(n: int) -> Iterator[np.ndarray]:
    """The same random halves of n rows whatever the set."""
    generator = np.random.default_rng(0)
    return (generator.permutation(n) < n // 2 for _ in range(HALVINGS))


def policies(names: Iterable[str], *, n_blocks: int, profile: Mapping[str, Any]) -> dict[str, str]:
    """Which of a cell's candidates each policy chooses: constants, the classic rule, and what was advised.

    Where the rule leaves a depth open, situations 2 and 3, half is what the search tries first.
    """
    chosen = {name: name for name in names if name.startswith("depth_") or name in ("head_only", "scratch")}
    half = f"depth_{round(0.5 * n_blocks)}"
    rule = {1: "depth_0", 2: half, 3: half, 4: "head_only"}
    if pd.notna(profile.get("situation")):
        chosen["classic rule, named"] = rule[int(profile["situation"])]
    if pd.notna(profile.get("p_1")):
        chosen["classic rule, likeliest"] = rule[max(rule, key=lambda situation: profile[f"p_{situation}"])]
    if pd.notna(profile.get("advised_depth")):
        depth = int(profile["advised_depth"])
        chosen["as advised"] = "head_only" if depth == n_blocks else f"depth_{depth}"
    return chosen


def regrets(runs: pd.DataFrame, profiles: pd.DataFrame) -> pd.DataFrame:
    """A row for each policy and complete cell: the cell's columns, ``policy``, ``regret`` in points.

    A cell is complete when it has a profile, so that all policies are compared on the same cells, and every candidate
    that any cell of its model and n has.
    """
    measured = {tuple(row[column] for column in KEY): row for row in profiles.to_dict("records")}
    runs = at_chosen_rates(runs)
    names = runs.groupby(["model", "n"]).candidate.agg(set).to_dict()
    rows = []
    for key, part in runs.groupby(KEY):
        right = {row.candidate: unpack(row.correct, n=row.test_rows) for row in part.itertuples()}
        if set(right) != names[key[0], key[2]] or key not in measured:
            continue
        chosen = policies(right, n_blocks=int(part.frozen_blocks.max()), profile=measured[key])
        for policy, name in chosen.items():
            if name in right:
                regret = cross_fitted_regret(right, name, halves=random_halves(len(right[name])))
                rows.append((*key, policy, regret))
    return pd.DataFrame(rows, columns=[*KEY, "policy", "regret"])


def situations_table(runs: pd.DataFrame, profiles: pd.DataFrame) -> str:
    """By situation, how many points the classic rule and the constants lost: means over sets of their mean regret over
    sizes and seeds, with standard errors over sets. A set is counted once for each model that it was measured with;
    cells of models whose similarity is not measured have no situation and are left out."""
    profiles = profiles.dropna(subset=["p_1"])
    found = regrets(runs, profiles).merge(profiles[[*KEY, "situation"]], on=KEY)
    found["situation"] = found.situation.fillna(0).astype(int)
    n_blocks = runs.groupby("model").frozen_blocks.max()
    named = {"classic rule, named": "classic rule", "as advised": "as advised", "head_only": "head only"}
    for model, n in n_blocks.items():
        depths = {round(0.75 * n): "three quarters frozen", round(0.5 * n): "half frozen", 0: "everything trained"}
        names = named | {f"depth_{depth}": name for depth, name in depths.items()}
        found.loc[found.model == model, "policy"] = found.policy.map(names)
    columns = ["classic rule", "as advised", "head only", "three quarters frozen", "half frozen", "everything trained"]
    lines = [
        "| " + " | ".join(["situation", "sets (cells)", *columns]) + " |",
        "|---|---:" + "|---:" * len(columns) + "|",
    ]
    for situation in (1, 2, 3, 4, 0):
        part = found[found.situation == situation]
        by_set = part.groupby(["policy", "model", "set"]).regret.mean().groupby("policy").agg(["mean", "sem", "size"])
        cells = dict.fromkeys(columns, "–")
        for name, row in by_set.iterrows():
            cells[name] = f"{row['mean']:.1f}" + (f" ± {row['sem']:.1f}" if row["size"] > 1 else "")
        n_sets, n_cells = part[["model", "set"]].drop_duplicates().shape[0], part[KEY].drop_duplicates().shape[0]
        name = str(situation) if situation else "none is certain"
        lines.append("| " + " | ".join([name, f"{n_sets} ({n_cells})", *cells.values()]) + " |")
    return "\n".join(lines)


def summary() -> str:
    """The table so far: rows, noise over seeds, and mean regret of constants and rules with the cells they cover."""
    runs, profiles = read(RUNS), read(PROFILES)
    if not len(runs):
        return "no runs yet"
    counts = runs.groupby(["model", "n", "seed"]).agg(sets=("set", "nunique"), runs=("set", "size"))
    lines = [f"{len(runs):,} runs, {len(profiles):,} profiles, {runs.wall_seconds.sum() / 3600:.1f} hours"]
    lines += ["", counts.to_string(), "", "Standard deviation over seeds, points:"]
    lines += [pooled_sd(at_chosen_rates(runs)).round(2).to_string(), "", "Mean cross-fitted regret, points (cells):"]
    table = regrets(runs, profiles).groupby(["model", "policy", "n"], sort=False).regret.agg(["mean", "size"])
    for model, part in table.groupby("model", sort=False):
        shown = part["mean"].map("{:.2f}".format) + part["size"].map(" ({})".format)
        lines += [str(model), shown.droplevel("model").unstack("n", sort=False).fillna("").to_string()]
    return "\n".join(lines)
