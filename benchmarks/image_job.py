"""The main job on real image sets with real weights, beside its rivals.

    python benchmarks/image_job.py [--models ...] [--sets ...] [--rows 1000] [--budget 5m] [--full-budget 150s]

Every set gives `rows` training rows (stratified, seed 0), of which the tuner holds a fifth out for validation, and at
most 1,000 fixed test rows. Full fine-tuning is the search over learning rate, head ratio and steps at depth 0. The best
trained candidate is trained once more with batch norms that follow the batches instead of keeping their statistics;
both scores are on the validation rows. Appends one line a pair to results/image_job.csv, skipping pairs that are there;
several processes may share the file.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from image_similarity import CONTROL, cifar_resnet
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from advisor import recommend, tune
from advisor.data.load import load_target
from advisor.kinds.images import Images
from advisor.measures.baselines import small_pixels
from advisor.measures.features import sample_rows
from advisor.tuning import tuning_data
from tuner.freezing import freeze
from tuner.model.assemble import load_backbone
from tuner.model.backbone import Backbone
from tuner.search.bench import open_bench
from tuner.search.run_name import RunName
from tuner.search.space import Candidate, default_space

DATA = Path(os.environ.get("TRANSFER_DATA", Path(__file__).parents[2] / "shared" / "data"))
RESULTS = Path(__file__).parent / "results" / "image_job.csv"
MODELS = (
    "mobilenet_v1_0.25_128_imagenet", "mobilenet_v1_0.5_160_imagenet", "mobilenet_v2_1.0_224_imagenet", CONTROL,
)  # fmt: skip
SETS = {"sign_digits_64": "all", "mnist_t10k": "test", "omniglot_alphabets_32": "all"}
TEST_ROWS = 1_000


def prepare(name: str, *, rows: int, path: Path) -> dict[str, np.ndarray]:
    """Write an .npz file of training and test images, and return what is in it."""
    with np.load(DATA / "images" / name / "data.npz") as stored:
        images, labels = stored[f"X_{SETS[name]}"], stored[f"y_{SETS[name]}"]
    labels = labels.astype(np.int64)
    train = sample_rows(labels, size=rows, seed=0)
    left = np.setdiff1d(np.arange(len(labels)), train)
    test = left[sample_rows(labels[left], size=TEST_ROWS, seed=0)]
    parts = {"X_train": images[train], "y_train": labels[train], "X_test": images[test], "y_test": labels[test]}
    np.savez(path, **parts)
    return parts


def pixels(parts: dict[str, np.ndarray]) -> float:
    """Test accuracy of logistic regression on pixels, fitted on all training rows."""

    def rows(images: np.ndarray) -> np.ndarray:
        colour = images if images.ndim == 4 else np.repeat(images[..., None], 3, axis=3)
        return small_pixels(colour.transpose(0, 3, 1, 2))

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    model.fit(rows(parts["X_train"]), parts["y_train"])
    return float(model.score(rows(parts["X_test"]), parts["y_test"]))


def adapted(backbone: Backbone, data: Path, best: dict[str, Any], *, work: Path) -> float:
    """Validation score of a candidate whose batch norms follow the batches, same recipe and seed."""
    bench = open_bench(
        backbone, data=tuning_data(load_target(data), kind=Images(), seed=0), space=default_space(backbone.n_blocks),
        work=work, metric="accuracy", seed=0,
    )  # fmt: skip
    fields = ("strategy", "start", "frozen_blocks", "features", "augmentation", "head")
    candidate = Candidate(**{field: best[field] for field in fields})

    def following(model: Any, blocks: Any, *, frozen_blocks: int, keep_statistics: bool) -> Any:
        return freeze(model, blocks, frozen_blocks=frozen_blocks)

    with patch("tuner.search.trainer.freeze", following):
        run = bench.run_trained(RunName(trial=0), candidate, recipe=best["recipe"], seed=0)
    assert run is not None
    return run.score


def measure(model: str, name: str, *, rows: int, budget: str, full_budget: str) -> dict[str, Any]:
    backbone = cifar_resnet(DATA) if model == CONTROL else load_backbone(DATA / "models" / model, device="cpu")
    given = (backbone.model, backbone.inputs.reader) if model == CONTROL else DATA / "models" / model
    source = DATA / "source" / ("cifar10_images" if model == CONTROL else "tinyimagenet32_images")
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / f"{name}.npz"
        parts = prepare(name, rows=rows, path=data)
        advice = recommend(data, model=given, source=source, sample=rows)
        search = partial(tune, data, model=given, advice=advice)
        advised = search(budget=budget, out=Path(scratch) / "advised").to_json()
        full = search(budget=full_budget, strategy="train_all", augment="none", out=Path(scratch) / "full").to_json()
        head = search(trials=1, strategy="head_only", out=Path(scratch) / "head").to_json()
        trained = [row for row in advised["candidates"] if "steps" in row["recipe"] and row["head"] == "own"]
        plain = next(row for row in trained if row["augmentation"] is None and row["start"] == "pretrained")
        follows = adapted(backbone, data, plain, work=Path(scratch) / "bench")
    stored = advice.to_json()
    counts = np.bincount(parts["y_test"])
    low, high = stored["similarity"]["interval"] or (None, None)
    augmentation = advised["augmentation"] or {}
    return {
        "model": model,
        "set": name,
        "train_rows": len(parts["y_train"]),
        "test_rows": len(parts["y_test"]),
        "similarity": stored["similarity"]["verdict"],
        "similarity_score": number(stored["similarity"]["score"]),
        "similarity_low": number(low),
        "similarity_high": number(high),
        "size": stored["size"]["verdict"],
        "situation": stored["situation"]["number"],
        "n_blocks": backbone.n_blocks,
        "advised_depth": stored["freeze"]["recommended"],
        "winner": Candidate(**advised["winner"]["candidate"]).label(backbone.n_blocks),
        **scored("tuned", advised),
        **scored("full", full),
        **scored("head_only", head),
        "pixels_test": number(pixels(parts)),
        "majority_test": number(float(counts[np.argmax(np.bincount(parts["y_train"]))] / counts.sum())),
        "trained": Candidate(strategy=plain["strategy"], frozen_blocks=plain["frozen_blocks"]).label(backbone.n_blocks),
        "statistics_kept": number(plain["mean"]),
        "statistics_followed": number(follows),
        "augmentation": augmentation.get("policy"),
        "augmentation_difference": number(augmentation.get("difference")),
        "augmentation_verdict": augmentation.get("why"),
        "tuned_trials": advised["trials"]["complete"],
        "full_trials": full["trials"]["complete"],
    }


def scored(name: str, tuning: dict[str, Any]) -> dict[str, float | None]:
    """Test score and interval of a search's winner."""
    test = tuning["winner"]["test"]
    bounds = zip(("low", "high"), test["interval"], strict=True)
    return {f"{name}_test": number(test["score"])} | {f"{name}_{edge}": number(bound) for edge, bound in bounds}


def number(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def pairs(path: Path) -> set[tuple[str, str]]:
    if not path.exists():
        return set()
    with path.open(encoding="utf-8") as file:
        return {(row["model"], row["set"]) for row in csv.DictReader(file)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--full-budget", default="150s")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.out.parent.mkdir(exist_ok=True)
    for model, name in ((model, name) for name in options.sets for model in options.models):
        if (model, name) in pairs(options.out):
            continue
        row = measure(model, name, rows=options.rows, budget=options.budget, full_budget=options.full_budget)
        fresh = not options.out.exists()
        with options.out.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row), lineterminator="\n")
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
