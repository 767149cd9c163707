"""Whether exact freezing, the cache and half precision hold on this accelerator, and how fast training is there.

    python benchmarks/gpu_check.py MODEL_FOLDER [--device auto] [--rows 512] [--steps 20] [--trials 30]

Needs torch, transformers, numpy and safetensors only, and a folder with a text model and its tokenizer. Runs one real
training with its audit at every depth, the check of the cache at every depth, the comparison of bf16 with fp32
features, equal trials one after the other with the memory in use after each, and examples per second by depth.
Exit status 1 where something does not hold.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tuner.freezing import FreezingError, freeze, thaw
from tuner.model.assemble import load_backbone
from tuner.model.backbone import Backbone
from tuner.model.classifier import build_classifier
from tuner.tasks.classes import Classes
from tuner.training.prefix import PrefixCache
from tuner.training.train import Recipe, Rows, check_replay, train

WORDS = "the a of in river castle song good bad film bank card water people music old new small light house north"
GROWTH_MB = 8.0
"""Memory that equal trials may add to what the first one left."""


def random_rows(backbone: Backbone, n: int) -> Rows:
    """Texts of 5 to 60 words in two classes."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS.split(), size=int(rng.integers(5, 60)))) for _ in range(n)]
    return Rows(encoded=backbone.encode(texts), labels=np.arange(n) % 2, task=Classes(names=("a", "b")))


class Check:
    """One model and its rows, measured at every depth."""

    def __init__(self, backbone: Backbone, *, rows: int, folder: Path) -> None:
        self.backbone, self.rows = backbone, random_rows(backbone, rows)
        self.initial = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
        self.cache = PrefixCache(folder, backbone=backbone, encoded=self.rows.encoded)
        self.cache.compute(range(1, backbone.n_blocks))

    def trained(self, depth: int, *, steps: int, cached: bool) -> float:
        """Seconds of the median step; `train` audits and raises `FreezingError`."""
        model, prefix, rows = self.model(depth, cached=cached)
        one = Rows(encoded=self.rows.encoded.take([0]), labels=self.rows.labels[:1], task=Classes(names=("a", "b")))
        marks: list[float] = []

        def mark(_done: int) -> None:
            if self.backbone.device.type == "cuda":
                torch.cuda.synchronize()
            marks.append(time.perf_counter())

        recipe = Recipe(learning_rate=1e-4, head_ratio=5.0, steps=steps, batch_size=16, seed=0)
        train(model, backbone=self.backbone, prefix=prefix, recipe=recipe, train_rows=rows, validation_rows=one,
              on_step=mark)  # fmt: skip
        return statistics.median(np.diff(marks[2:]))

    def model(self, depth: int, *, cached: bool) -> tuple[Any, Any, Rows]:
        """A fresh classifier at a depth, and the rows that feed it."""
        thaw(self.backbone.model)
        self.backbone.model.load_state_dict(self.initial)
        model = build_classifier(
            self.backbone.model,
            backbone=self.backbone,
            task=Classes(names=("a", "b")),
            features="last",
            frozen_blocks=depth,
        )
        prefix = freeze(model, self.backbone.blocks, frozen_blocks=depth)
        stored = self.cache.get(depth) if cached and 0 < depth < self.backbone.n_blocks else None
        return (
            model,
            prefix,
            Rows(encoded=self.rows.encoded, labels=self.rows.labels, cached=stored, task=Classes(names=("a", "b"))),
        )

    def replayed(self, depth: int) -> str | None:
        """None where the suffix from the cache equals the full model in logits and gradients, else the difference."""
        model, prefix, rows = self.model(depth, cached=True)
        return check_replay(model, backbone=self.backbone, rows=rows, prefix=prefix)


def memory_mb(device: torch.device) -> float | None:
    """Megabytes that tensors take on a GPU; None elsewhere."""
    return torch.cuda.memory_allocated(device) / 1e6 if device.type == "cuda" else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--trials", type=int, default=30)
    options = parser.parse_args()
    started = time.perf_counter()
    backbone = load_backbone(options.model, device=options.device)
    problems = [warning for warning in backbone.warnings if "bf16" in warning]
    with tempfile.TemporaryDirectory() as folder:
        check = Check(backbone, rows=options.rows, folder=Path(folder))
        speeds = {}
        for depth in range(backbone.n_blocks + 1):
            for way in ("cache", "no-grad prefix"):
                cached = way == "cache"
                if cached and not 0 < depth < backbone.n_blocks:
                    continue
                try:
                    speeds[f"{depth} {way}"] = round(16 / check.trained(depth, steps=options.steps, cached=cached), 1)
                except FreezingError as error:
                    problems.append(f"depth {depth}, {way}: {error}")
            if 0 < depth < backbone.n_blocks and (difference := check.replayed(depth)) is not None:
                problems.append(f"depth {depth}: {difference}")
        memory = []
        for _ in range(options.trials):
            check.trained(backbone.n_blocks // 2, steps=4, cached=True)
            memory.append(memory_mb(backbone.device))
    grown = None if memory[0] is None else memory[-1] - memory[0]
    if grown is not None and grown > GROWTH_MB:
        problems.append(f"{options.trials} equal trials grew the memory by {grown:.1f} MB")
    result = {
        "device": torch.cuda.get_device_name() if backbone.device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "compute_dtype": str(backbone.compute_dtype),
        "examples_per_second": speeds,
        "memory_grown_mb": grown,
        "seconds": round(time.perf_counter() - started, 1),
        "problems": problems,
    }
    print(json.dumps(result, indent=2))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
