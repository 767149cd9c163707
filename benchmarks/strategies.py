"""Every strategy and every option of training blocks, compared at the same rows, steps and seeds.

    python benchmarks/strategies.py [--sets trec6 mr ...] [--rows 200 1000] [--seeds 0 1 2] [--minutes 60] [--table]

Every set gives n training rows (stratified by the seed), a quarter as many validation rows beside them, and the same
1,000 test rows (500 of images). Options and augmentation are compared at the smaller size. Of several base learning
rates seed 0's validation rows choose one, with which further seeds run; nothing is chosen on the test rows. Appends one
line a run to results/strategies.csv and skips what is there, so that it may be stopped at any time; ``--table`` prints
the tables from that file.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from main_job import DATA, read, text_backbone

from advisor.measures.features import sample_rows
from tuner.inputs.pictures import Pictures
from tuner.model.assemble import load_backbone
from tuner.model.backbone import Backbone
from tuner.names import AUGMENTATIONS, OPTIONS
from tuner.search.bench import open_bench
from tuner.search.data import LabelledRows, TuningData
from tuner.search.run_name import RunName
from tuner.search.space import Candidate, SearchSpace, candidate_at
from tuner.tasks.classes import Classes
from tuner.tasks.heads import FEATURES

RESULTS = Path(__file__).parent / "results" / "strategies.csv"
SETS = ("trec6", "mr", "http_params", "medical_abstracts")
IMAGE_SETS = ("sign_digits_64",)
IMAGE_MODEL = "mobilenet_v1_0.25_128_imagenet"
SEEDS = (0, 1, 2)
TEST_ROWS = {"text": 1_000, "image": 500}
STEPS = {200: 120, 1_000: 300}
SCRATCH_LONGER = 3
RATES = {"text": (5e-5, 1.5e-4, 4.5e-4), "image": (5e-4, 1.5e-3, 4.5e-3)}
SCRATCH_RATES = (3e-4, 1.5e-3)
HEAD_RATIO = 5.0
REMOVED = {"layer_decay": "lower rates for lower blocks", "gradual_unfreezing": "gradual unfreezing"}
"""Options that were compared, won nowhere and are no longer there; their runs stay in the file."""
CHANGES = {"text": ("token_dropout", "masking", "mixup"), "image": ("trivialaugment", "mixup", "cutmix")}
FIELDS = ("set", "n", "candidate", "option", "augmentation", "seed", "rate", "steps", "validation", "test", "seconds",
          "device")  # fmt: skip


def candidates(n_blocks: int, *, kind: str, equal_widths: bool) -> list[Candidate]:
    """Linear ones first, then depths, then what may change the training at the middle depth and at none frozen."""
    half, quarters = round(n_blocks / 2), round(0.75 * n_blocks)
    named = [name for name in FEATURES if name != "last" and (equal_widths or not name.startswith("weighted"))]
    linear = [Candidate(strategy="feature_based", frozen_blocks=None, features=name) for name in named]
    depths = [candidate_at(depth, n_blocks) for depth in (n_blocks, quarters, half, 0)]
    scratch = Candidate(strategy="train_all", start="scratch", frozen_blocks=0)
    plain = [candidate_at(depth, n_blocks).to_json() for depth in (half, 0)]
    options = [Candidate(**base | {"option": option}) for option in OPTIONS for base in plain]
    changed = [Candidate(**base | {"augmentation": name}) for name in CHANGES[kind] for base in plain]
    return [*linear, *depths, *options, *changed, scratch]


def splits(name: str, *, n: int, seed: int) -> tuple[TuningData, int]:
    """Training rows, and validation and test rows behind each other, with the number of the former."""
    if name in IMAGE_SETS:
        with np.load(DATA / "images" / name / "data.npz") as stored:
            rows, given = list(stored["X_all"]), stored["y_all"].astype(str)
    else:
        parts = [read(file) for file in sorted((DATA / "text" / name).glob("*.jsonl"))]
        distinct = {row["text"]: row["label"] for part in parts for row in part}
        rows, given = list(distinct), np.array(list(distinct.values())).astype(str)
    names, labels = np.unique(given, return_inverse=True)
    test = sample_rows(labels, size=TEST_ROWS["image" if name in IMAGE_SETS else "text"], seed=0)
    left = np.setdiff1d(np.arange(len(labels)), test)
    train = left[sample_rows(labels[left], size=n, seed=seed)]
    left = np.setdiff1d(left, train)
    validation = left[sample_rows(labels[left], size=n // 4, seed=seed)]

    def part(positions: np.ndarray) -> LabelledRows:
        taken = [rows[int(position)] for position in positions]
        return LabelledRows(rows=Pictures(taken) if name in IMAGE_SETS else taken, labels=labels[positions])

    data = TuningData(
        name=name, train=part(train), validation=part(np.concatenate([validation, test])), test=part(test[:1]),
        task=Classes(names=tuple(names)), fingerprint=f"{name}-{n}-{seed}",
    )  # fmt: skip
    return data, len(validation)


class Table:
    """The lines that are there, and the file that grows by them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, str]] = []
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                self.rows = list(csv.DictReader(file))

    def of(self, **wanted: Any) -> list[dict[str, str]]:
        return [row for row in self.rows if all(row[key] == str(value) for key, value in wanted.items())]

    def add(self, row: dict[str, Any]) -> None:
        text = {key: "" if row[key] is None else str(row[key]) for key in FIELDS}
        fresh = not self.path.exists()
        with self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=FIELDS, lineterminator="\n")
            if fresh:
                writer.writeheader()
            writer.writerow(text)
        self.rows.append(text)


def due(
    table: Table, *, cell: dict[str, Any], candidate: Candidate, n_blocks: int, kind: str
) -> Iterator[float | None]:
    """The base learning rates that a candidate still has to run with at a seed."""
    key = cell | {
        "candidate": Candidate(**candidate.to_json() | {"option": None, "augmentation": None}).label(n_blocks),
        "option": candidate.option or "", "augmentation": candidate.augmentation or "",
    }  # fmt: skip
    if candidate.is_linear:
        yield from () if table.of(**key) else (None,)
        return
    rates = SCRATCH_RATES if candidate.start == "scratch" else RATES[kind]
    if cell["seed"] > 0:
        first = table.of(**key | {"seed": 0})
        if len(first) < len(rates):
            return
        rates = (float(max(first, key=lambda row: float(row["validation"]))["rate"]),)
    yield from (rate for rate in rates if not table.of(**key | {"rate": rate}))


def run_cell(backbone: Backbone, table: Table, *, name: str, n: int, seed: int, until: float) -> None:
    """All runs of a set at a size and a seed that are still missing."""
    kind = backbone.inputs.noun
    cell = {"set": name, "n": n, "seed": seed}
    equal = len({*backbone.widths}) == 1
    asked = candidates(backbone.n_blocks, kind=kind, equal_widths=equal)
    if n > min(STEPS):  # options and augmentation are for small data
        asked = [candidate for candidate in asked if candidate.option is None and candidate.augmentation is None]
    wanted = [
        (candidate, rate)
        for candidate in asked
        for rate in due(table, cell=cell, candidate=candidate, n_blocks=backbone.n_blocks, kind=kind)
    ]
    if not wanted:
        return
    data, n_validation = splits(name, n=n, seed=seed)
    first = tuple(candidate for candidate, _ in wanted)
    space = SearchSpace(n_blocks=backbone.n_blocks, first=first, controls=(), depths=(0, 0))
    truth = data.validation.labels
    with tempfile.TemporaryDirectory() as work:
        bench = open_bench(backbone, data=data, space=space, work=Path(work), metric="accuracy", seed=seed)
        for number, (candidate, rate) in enumerate(wanted):
            if time.monotonic() > until:
                break
            steps = STEPS[n] * (SCRATCH_LONGER if candidate.start == "scratch" else 1)
            ratio = 1.0 if candidate.start == "scratch" else HEAD_RATIO
            if rate is None:
                made = bench.run_head(RunName(trial=number), candidate, seed=seed)
            else:
                recipe = {"learning_rate": rate, "head_ratio": ratio, "steps": float(steps)}
                made = bench.run_trained(RunName(trial=number), candidate, recipe=recipe, seed=seed)
            assert made is not None
            right = made.predictions == truth
            plain = Candidate(**candidate.to_json() | {"option": None, "augmentation": None})
            table.add(
                cell
                | {
                    "candidate": plain.label(backbone.n_blocks), "option": candidate.option,
                    "augmentation": candidate.augmentation, "rate": rate, "steps": None if rate is None else steps,
                    "validation": round(float(right[:n_validation].mean()), 4),
                    "test": round(float(right[n_validation:].mean()), 4), "seconds": round(made.seconds, 2),
                    "device": backbone.device.type,
                }
            )  # fmt: skip


def chosen(table: Table) -> pd.DataFrame:
    """Of every candidate and seed the run whose rate seed 0's validation rows chose."""
    frame = pd.DataFrame(table.rows)
    for column in ("n", "seed", "validation", "test", "seconds"):
        frame[column] = pd.to_numeric(frame[column])
    frame["what"] = (frame.option + frame.augmentation).map(OPTIONS | REMOVED | AUGMENTATIONS).fillna("")
    key = ["set", "n", "candidate", "what"]
    zero = frame[frame.seed == 0].sort_values("validation", ascending=False, kind="stable").drop_duplicates(key)
    return frame.merge(zero[[*key, "rate"]], on=[*key, "rate"])


def markdown_tables(table: Table) -> dict[str, str]:
    """Test accuracy and seconds by strategy, by how many points every option changes its plain candidate, and which
    option won where."""
    best = chosen(table)
    plain = best[best.what == ""]
    keys = ["set", "n", "seed", "candidate"]
    changed = best[best.what != ""].merge(plain, on=keys, suffixes=("", "_plain"))
    changed["what"] = changed.what.where(~changed.option.isin(list(REMOVED)), changed.what + " (removed)")
    changed["points"] = 100 * (changed.test - changed.test_plain)
    seconds = {
        name: plain[plain.device == device].set_index(keys).seconds.rename("value")
        for name, device in (("seconds", "cpu"), ("seconds_gpu", "cuda"))
    }
    return {
        "strategies": _pivot(100 * plain.set_index(keys).test.rename("value"), index=["candidate"]),
        **{name: _pivot(values, index=["candidate"]) for name, values in seconds.items()},
        "options": _pivot(
            changed.set_index([*keys, "what"]).points.rename("value"), index=["what", "candidate"], signed=True
        ),
        "wins": wins_table(best),
    }


def gains(best: pd.DataFrame) -> pd.DataFrame:
    """What every option and augmentation is worth to somebody who may also choose the depth.

    A row for each of them, a set and a seed: ``points`` by which its test score is above the plain one's, each at the
    depth out of those it was tried at whose validation score is higher on average over the seeds.
    """
    changed = best[best.what != ""]
    rows = []
    for (what, name, n), tried in changed.groupby(["what", "set", "n"], sort=False):
        plain = best[(best.what == "") & (best["set"] == name) & (best.n == n)]
        scores = [
            part[part.candidate == part.groupby("candidate").validation.mean().idxmax()].set_index("seed").test
            for part in (tried, plain[plain.candidate.isin(tried.candidate)])
        ]
        points = 100 * (scores[0] - scores[1]).dropna()
        rows += [{"what": what, "set": name, "n": n, "seed": seed, "points": value} for seed, value in points.items()]
    return pd.DataFrame(rows)


def wins_table(best: pd.DataFrame) -> str:
    """Mean points of `gains` with their standard error over seeds by set; a win is more than one standard error."""
    found = gains(best).groupby(["what", "set"], sort=False).points.agg(["mean", "sem"])
    names = list(dict.fromkeys(name for _, name in found.index))
    lines = ["| " + " | ".join(["", *names, "wins on"]) + " |", "|---|" + "---:|" * len(names) + "---|"]
    removed = list(REMOVED.values())
    for what in dict.fromkeys(what for what, _ in found.index):
        part = found.loc[what]
        won = [name for name in part.index if part["mean"][name] > part["sem"][name]]
        cells = [f"{part['mean'][n]:+.1f} ± {part['sem'][n]:.1f}" if n in part.index else "–" for n in names]
        nowhere = "nothing: removed" if what in removed else "nothing"
        lines.append("| " + " | ".join([what, *cells, ", ".join(won) or nowhere]) + " |")
    return "\n".join(lines)


def _pivot(values: pd.Series, *, index: list[str], signed: bool = False) -> str:
    """Means over seeds, with their standard deviation where there are several, as a table of Markdown."""
    frame = values.reset_index()
    columns = list(frame[["set", "n"]].drop_duplicates().itertuples(index=False, name=None))
    cells = frame.groupby([*index, "set", "n"], sort=False).value.agg(["mean", "std", "count"])
    lines = ["| " + " | ".join([*([""] * len(index)), *(f"{name}, {n:,}" for name, n in columns)]) + " |"]
    lines.append("|---" * len(index) + "|---:" * len(columns) + "|")
    for key in frame[index].drop_duplicates().itertuples(index=False, name=None):
        row = list(key)
        for column in columns:
            place = (*key, *column)
            if place not in cells.index:
                row.append("–")
                continue
            mean, spread, count = cells.loc[place]
            shown = f"{mean:+.1f}" if signed else f"{mean:.1f}"
            row.append(f"{shown} ± {spread:.1f}" if count > 1 else shown)
        lines.append("| " + " | ".join(row) + " |")
    seeds = frame.groupby(["set", "n"], sort=False).seed.nunique()
    counted = ", ".join(f"{name} at {n:,}: {count}" for (name, n), count in seeds.items())
    return "\n".join([*lines, "", f"Seeds: {counted}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=[*SETS, *IMAGE_SETS])
    parser.add_argument("--rows", nargs="+", type=int, default=list(STEPS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--minutes", type=float, default=24 * 60.0)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    table = Table(options.out)
    if options.table:
        for name, text in markdown_tables(table).items():
            print(f"\n{name}\n\n{text}")
        return
    until = time.monotonic() + 60 * options.minutes
    backbones: dict[str, Backbone] = {}
    for n in options.rows:
        for seed in options.seeds:
            for name in options.sets:
                kind = "image" if name in IMAGE_SETS else "text"
                if kind not in backbones:
                    image_model = DATA / "models" / IMAGE_MODEL
                    backbones[kind] = text_backbone() if kind == "text" else load_backbone(image_model)
                run_cell(backbones[kind], table, name=name, n=n, seed=seed, until=until)
                print(f"{name} {n} seed {seed}: {len(table.rows)} runs", flush=True)


if __name__ == "__main__":
    main()
