"""What each block knows before training, and how far training moves it: low blocks general, high blocks specific?

    python benchmarks/blocks.py [--sets trec6 mr http_params medical_abstracts] [--rows 1000] [--seeds 0 1 2]

Everything is trained for 300 steps with one rate for all blocks. Of every set, seed (which draws the training rows) and
block: the accuracy of a linear probe on the same 1,000 test rows (five folds) before and after, the relative change of
the block's weights, and that of its pooled features (1 - cosine, mean over those rows). Appends to results/blocks.csv
and skips the sets and seeds that are there.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from evidence_table import append
from main_job import text_backbone
from strategies import HEAD_RATIO, RATES, SEEDS, SETS, STEPS, splits

from tuner.model.backbone import Backbone
from tuner.search.bench import open_bench
from tuner.search.run_name import RunName
from tuner.search.space import candidate_at, default_space
from tuner.tasks.heads import cross_validate

RESULTS = Path(__file__).parent / "results" / "blocks.csv"


def probe(features: np.ndarray, labels: np.ndarray, *, n_classes: int) -> float:
    """Accuracy of a linear head in five folds."""
    folds = np.random.default_rng(0).permutation(len(labels)) % 5
    predicted = cross_validate((features,), labels, n_classes=n_classes, folds=folds).predictions
    return float((predicted == labels).mean())


def measure(backbone: Backbone, name: str, *, n: int, seed: int) -> list[dict[str, Any]]:
    """A row for every block."""
    data, n_validation = splits(name, n=n, seed=seed)
    n_classes = len(data.task.names)
    with tempfile.TemporaryDirectory() as work:
        bench = open_bench(
            backbone, data=data, space=default_space(backbone.n_blocks), work=Path(work), metric="accuracy", seed=seed
        )
        labels = bench.rows.truth.labels[n_validation:]
        test = bench.rows.validation.take(np.arange(n_validation, len(bench.rows.validation)))
        before = [block[n_validation:].copy() for block in bench.prefixes.validation_features]
        weights = [[p.detach().clone() for p in block.parameters()] for block in backbone.blocks]
        recipe = {"learning_rate": RATES["text"][1], "head_ratio": HEAD_RATIO, "steps": float(STEPS[n])}
        run = bench.run_trained(RunName(trial=0), candidate_at(0, backbone.n_blocks), recipe=recipe, seed=seed)
        assert run is not None
        with bench.loaded(run):
            after = backbone.block_features(test)
            trained = [[p.detach().clone() for p in block.parameters()] for block in backbone.blocks]
        rows = []
        for index in range(backbone.n_blocks):
            moved = [now - was for now, was in zip(trained[index], weights[index], strict=True)]
            size = torch.stack([was.square().sum() for was in weights[index]]).sum().sqrt()
            change = torch.stack([delta.square().sum() for delta in moved]).sum().sqrt() / size
            old, new = before[index], after[index]
            cosine = (old * new).sum(1) / np.linalg.norm(old, axis=1) / np.linalg.norm(new, axis=1)
            rows.append(
                {
                    "set": name, "n": n, "seed": seed, "block": index,
                    "probe": round(probe(old, labels, n_classes=n_classes), 4),
                    "weights_moved": round(float(change), 5), "features_moved": round(float(1 - cosine.mean()), 5),
                    "probe_tuned": round(probe(new, labels, n_classes=n_classes), 4),
                }
            )  # fmt: skip
    return rows


def markdown_table(path: Path = RESULTS) -> str:
    """By block and set, the probe before training and what it gained by it, and how far weights and features moved:
    means over seeds, with their standard deviation for what varies most."""
    frame = pd.read_csv(path)
    frame["gained"] = 100 * (frame.probe_tuned - frame.probe)
    sets = list(dict.fromkeys(frame["set"]))
    columns = "probe before | gained, points | weights moved | features moved"
    lines = ["| block | " + " | ".join(f"{name}: {columns}" for name in sets) + " |"]
    lines.append("|---:" * (1 + 4 * len(sets)) + "|")
    for block in sorted(set(frame.block)):
        cells = []
        for name in sets:
            own = frame[(frame.block == block) & (frame["set"] == name)]
            spread = f" ± {own.gained.std():.1f}" if len(own) > 1 else ""
            cells.append(f"{100 * own.probe.mean():.1f} | {own.gained.mean():+.1f}{spread}")
            cells.append(f"{100 * own.weights_moved.mean():.1f} % | {own.features_moved.mean():.3f}")
        lines.append(f"| {block} | " + " | ".join(cells) + " |")
    seeds = frame.groupby("set", sort=False).seed.nunique()
    return "\n".join([*lines, "", f"Seeds: {', '.join(f'{name}: {count}' for name, count in seeds.items())}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--rows", type=int, default=1_000, choices=list(STEPS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the table of what was measured")
    options = parser.parse_args()
    if options.table:
        print(markdown_table(options.out))
        return
    there = set()
    if options.out.exists():
        frame = pd.read_csv(options.out)
        there = set(zip(frame["set"], frame.n, frame.seed, strict=True))
    for seed in options.seeds:
        for name in options.sets:
            if (name, options.rows, seed) not in there:
                for row in measure(text_backbone(), name, n=options.rows, seed=seed):
                    append(options.out, row)


if __name__ == "__main__":
    main()
