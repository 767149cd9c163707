"""Training examples per second by freeze depth: from the cache, through a no-grad prefix, and as a plain trainer does.

    python benchmarks/cache.py [text|images] [--rows 512] [--steps 24] [--repeats 3]

Plain training only sets requires_grad: dropout stays on in the frozen blocks, every batch runs through them, and the
optimizer steps over the whole embedding table. The texts are real film-review sentences for the built-in model, the
images photographs of hands for MobileNet V1 (0.5, 160 pixels) with its
ImageNet weights, at seven of its depths.
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

from tuner.freezing import freeze, thaw
from tuner.model.assemble import load_backbone
from tuner.model.backbone import Backbone
from tuner.model.classifier import build_classifier
from tuner.tasks.classes import Classes
from tuner.training import train as training
from tuner.training.prefix import PrefixCache
from tuner.training.train import Recipe, Rows, train, training_batches

DATA = Path(os.environ.get("TRANSFER_DATA", Path(__file__).parents[2] / "shared" / "data"))
BATCH = 16


def texts(n: int) -> tuple[Backbone, list[str], list[str]]:
    """The model, texts and labels."""
    with next((DATA / "text" / "mr").glob("*.jsonl")).open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    rows = [rows[int(row)] for row in np.random.default_rng(0).permutation(len(rows))[:n]]
    return load_backbone(device="cpu"), [row["text"] for row in rows], [row["label"] for row in rows]


def images(n: int) -> tuple[Backbone, list[np.ndarray], list[int]]:
    """The model, images and labels."""
    with np.load(DATA / "images" / "sign_digits_64" / "data.npz") as stored:
        pixels, labels = stored["X_all"], stored["y_all"]
    chosen = np.random.default_rng(0).permutation(len(pixels))[:n]
    backbone = load_backbone(DATA / "models" / "mobilenet_v1_0.5_160_imagenet", device="cpu")
    return backbone, list(pixels[chosen]), list(labels[chosen])


def examples_per_second(backbone: Backbone, rows: Rows, *, depth: int, way: str, steps: int) -> float:
    """Of one way at one depth, from the median step."""
    thaw(backbone.model)
    model = build_classifier(
        backbone.model,
        backbone=backbone,
        task=Classes(names=class_names(rows.labels)),
        features="last",
        frozen_blocks=depth,
    )
    recipe = Recipe(learning_rate=1e-5, head_ratio=1.0, steps=steps, batch_size=BATCH, seed=0)
    marks: list[float] = []
    if way == "plain":
        _plain(model, backbone, rows, depth=depth, recipe=recipe, marks=marks)
    else:
        prefix = freeze(model, backbone.blocks, frozen_blocks=depth)
        one = Rows(encoded=rows.encoded.take([0]), labels=rows.labels[:1], task=Classes(names=("a", "b")))
        train(model, backbone=backbone, prefix=prefix, recipe=recipe, train_rows=rows, validation_rows=one,
              on_step=lambda _done: marks.append(time.perf_counter()))  # fmt: skip
    return BATCH / statistics.median(np.diff(marks[2:]))


def class_names(labels: np.ndarray) -> tuple[str, ...]:
    """A name for every class."""
    return tuple(str(label) for label in range(int(labels.max()) + 1))


def _plain(
    model: torch.nn.Module, backbone: Backbone, rows: Rows, *, depth: int, recipe: Recipe, marks: list[float]
) -> None:
    for block in backbone.blocks[:depth]:
        for parameter in block.parameters():
            parameter.requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5, weight_decay=0.01)
    model.train()
    for positions in training_batches(rows, recipe):
        with backbone.autocast():
            logits = model(**backbone.collate(rows.encoded, positions)).logits
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
    parser.add_argument("kind", nargs="?", choices=("text", "images"), default="text")
    options = parser.parse_args()
    backbone, inputs, names = (texts if options.kind == "text" else images)(options.rows)
    encoded, labels = backbone.encode(inputs), np.unique(names, return_inverse=True)[1].astype(np.int64)
    depths = [int(depth) for depth in np.linspace(0, backbone.n_blocks - 1, 7)]
    measured: dict[tuple[int, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        cache = PrefixCache(Path(folder), backbone=backbone, encoded=encoded)
        started = time.perf_counter()
        cache.compute(depths)
        size = sum(map(cache.bytes_at, depths[1:])) / 1e6
        print(f"one pass for {len(depths) - 1} depths: {time.perf_counter() - started:.1f} s, {size:.0f} MB")
        for _ in range(options.repeats):
            for depth in depths:
                for way in ("plain", "no-grad prefix", "cache"):
                    stored = cache.get(depth) if way == "cache" and depth else None
                    rows = Rows(encoded=encoded, labels=labels, cached=stored, task=Classes(names=("a", "b")))
                    if way == "cache" and not depth:
                        continue
                    speed = examples_per_second(backbone, rows, depth=depth, way=way, steps=options.steps)
                    measured[depth, way].append(speed)
    full = statistics.median(measured[0, "plain"])
    print("| frozen blocks | plain | no-grad prefix | cache | cache / full plain | cache / no-grad |")
    print("|---|---|---|---|---|---|")
    for depth in depths:
        plain, prefix = (statistics.median(measured[depth, way]) for way in ("plain", "no-grad prefix"))
        cached = statistics.median(measured[depth, "cache"]) if depth else prefix
        print(f"| {depth} | {plain:.0f} | {prefix:.0f} | {cached:.0f} | {cached / full:.1f} | {cached / prefix:.1f} |")


if __name__ == "__main__":
    main()
