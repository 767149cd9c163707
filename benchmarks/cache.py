"""Training examples per second by freeze depth: from the cache, through a no-grad prefix, and as a plain trainer does.

    python benchmarks/cache.py [--rows 512] [--steps 24] [--repeats 3]

Plain training only sets requires_grad: dropout stays on in the frozen blocks, every batch runs through them, and the
optimizer steps over the whole embedding table. The texts are real film-review sentences, the model is the built-in one.
The ways are interleaved and repeated, so that a noisy machine disturbs all alike; medians are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from tuner import training
from tuner.backbone import Backbone, load_backbone
from tuner.classifier import build_classifier
from tuner.freezing import freeze, thaw
from tuner.prefix import PrefixCache
from tuner.training import Recipe, Rows, train, training_batches

DATA = Path(os.environ.get("TRANSFER_DATA", Path(__file__).parents[2] / "shared" / "data"))
BATCH = 16


def examples_per_second(backbone: Backbone, rows: Rows, *, depth: int, way: str, steps: int) -> float:
    """Of one way at one depth, from the median step."""
    thaw(backbone.model)
    model = build_classifier(
        backbone.model, backbone=backbone, class_names=("a", "b"), features="last", frozen_blocks=depth
    )
    recipe = Recipe(learning_rate=1e-5, head_ratio=1.0, steps=steps, batch_size=BATCH, seed=0)
    marks: list[float] = []
    if way == "plain":
        _plain(model, backbone, rows, depth=depth, recipe=recipe, marks=marks)
    else:
        prefix = freeze(model, backbone.blocks, frozen_blocks=depth)
        one = Rows(encoded=rows.encoded.take([0]), labels=rows.labels[:1])
        train(model, backbone=backbone, prefix=prefix, recipe=recipe, train_rows=rows, validation_rows=one,
              on_step=lambda _done: marks.append(time.perf_counter()))  # fmt: skip
    return BATCH / statistics.median(np.diff(marks[2:]))


def _plain(
    model: torch.nn.Module, backbone: Backbone, rows: Rows, *, depth: int, recipe: Recipe, marks: list[float]
) -> None:
    for block in backbone.blocks[:depth]:
        for parameter in block.parameters():
            parameter.requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5, weight_decay=0.01)
    model.train()
    for positions in training_batches(rows, recipe):
        input_ids, mask = backbone.collate(rows.encoded, positions)
        with backbone.autocast():
            logits = model(input_ids=input_ids, attention_mask=mask).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), torch.from_numpy(rows.labels[positions]))
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], training.CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad()
        marks.append(time.perf_counter())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with next((DATA / "text" / "mr").glob("*.jsonl")).open(encoding="utf-8") as lines:
        records = [json.loads(line) for line, _ in zip(lines, range(options.rows), strict=False)]
    backbone = load_backbone(device="cpu")
    encoded = backbone.encode([record["text"] for record in records])
    labels = np.unique([record["label"] for record in records], return_inverse=True)[1].astype(np.int64)
    labels = np.arange(len(labels)) % 2 if labels.max() == 0 else labels
    measured: dict[tuple[int, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        cache = PrefixCache(Path(folder), backbone=backbone, encoded=encoded)
        started = time.perf_counter()
        cache.compute(range(1, backbone.n_blocks))
        print(f"one pass for {backbone.n_blocks - 1} depths: {time.perf_counter() - started:.1f} s, "
              f"{cache.bytes_per_depth / 1e6:.0f} MB a depth")  # fmt: skip
        for _ in range(options.repeats):
            for depth in range(backbone.n_blocks):
                for way in ("plain", "no-grad prefix", "cache"):
                    stored = cache.get(depth) if way == "cache" and depth else None
                    rows = Rows(encoded=encoded, labels=labels, cached=stored)
                    if way == "cache" and not depth:
                        continue
                    speed = examples_per_second(backbone, rows, depth=depth, way=way, steps=options.steps)
                    measured[depth, way].append(speed)
    full = statistics.median(measured[0, "plain"])
    print("| frozen blocks | plain | no-grad prefix | cache | cache / full plain | cache / no-grad |")
    print("|---|---|---|---|---|---|")
    for depth in range(backbone.n_blocks):
        plain, prefix = (statistics.median(measured[depth, way]) for way in ("plain", "no-grad prefix"))
        cached = statistics.median(measured[depth, "cache"]) if depth else prefix
        print(f"| {depth} | {plain:.0f} | {prefix:.0f} | {cached:.0f} | {cached / full:.1f} | {cached / prefix:.1f} |")


if __name__ == "__main__":
    main()
