"""The main job on real sets beside its rivals: tuned as advised, always-full fine-tuning, TF-IDF, head only.

    python benchmarks/main_job.py [--sets trec6 ag_news banking77 arsarcasm_arabic] [--rows 1000] [--budget 5m]

Every set gives `rows` training rows (stratified, seed 0), of which the tuner holds a fifth out for validation, and at
most 2,000 fixed test rows. Full fine-tuning is the same search over learning rate, head ratio and steps at depth 0,
with the same budget. Appends one line a set to results/main_job.csv, skipping sets that are already there.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from advisor import recommend, tune
from advisor.measures.features import sample_rows
from tuner.model.assemble import load_backbone
from tuner.model.backbone import Backbone

DATA = Path(os.environ.get("TRANSFER_DATA", Path(__file__).parents[2] / "shared" / "data"))
RESULTS = Path(__file__).parent / "results" / "main_job.csv"
SETS = ("trec6", "ag_news", "banking77", "arsarcasm_arabic")
TEST_ROWS = 2_000


@cache
def text_backbone() -> Backbone:
    """The built-in text model, or its copy in the folder `$TRANSFER_TEXT_MODEL`, where the package is not installed."""
    return load_backbone(os.environ.get("TRANSFER_TEXT_MODEL"))


def read(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:  # not splitlines(): texts may hold rarer line separators
        return [json.loads(line) for line in lines]


def pick(rows: list[dict[str, Any]], size: int) -> list[int]:
    """Positions of a stratified sample."""
    labels = np.unique([row["label"] for row in rows], return_inverse=True)[1]
    return [int(index) for index in sample_rows(labels, size=size, seed=0)]


def prepare(name: str, *, rows: int, folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write train.jsonl and test.jsonl with text and label; a set of one file is split, train rows first."""
    source = DATA / "text" / name
    files = sorted(source.glob("*.jsonl"))
    named = {file.stem: read(file) for file in files}
    if len(named) == 1:
        everything = next(iter(named.values()))
        chosen = pick(everything, rows)
        train = [everything[index] for index in chosen]
        left = set(chosen)
        test = [row for index, row in enumerate(everything) if index not in left]
    else:
        pool = named.get("train", named.get("validation", []))
        train = [pool[index] for index in pick(pool, rows)]
        test = named["test"] if "test" in named else named["validation"]
    test = [test[index] for index in pick(test, TEST_ROWS)]
    for split, part in (("train", train), ("test", test)):
        lines = [json.dumps({"text": row["text"], "label": row["label"]}, ensure_ascii=False) for row in part]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return train, test


def tfidf(train: list[dict[str, Any]], test: list[dict[str, Any]]) -> float:
    """Test accuracy of the TF-IDF baseline fitted on all training rows."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10.0, max_iter=200)
    )
    model.fit([row["text"] for row in train], [row["label"] for row in train])
    return float(model.score([row["text"] for row in test], [row["label"] for row in test]))


def run(name: str, *, rows: int, budget: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / name
        folder.mkdir()
        train, test = prepare(name, rows=rows, folder=folder)
        advice = recommend(folder, sample=rows)
        advised = tune(folder, advice=advice, budget=budget, out=Path(scratch) / "advised").to_json()
        full = tune(folder, advice=advice, strategy="train_all", budget=budget, out=Path(scratch) / "full").to_json()
    stored = advice.to_json()
    return {
        "set": name,
        "train_rows": len(train),
        "test_rows": len(test),
        "size": stored["size"]["verdict"],
        "similarity": stored["similarity"]["verdict"],
        "similarity_score": number(stored["similarity"]["score"]),
        "situation": stored["situation"]["number"],
        "advised_depth": stored["freeze"]["recommended"],
        "head_only_probe": number(stored["probes"][6]["score"]),
        "best_probe": number(stored["baselines"]["best_probe"]["score"]),
        "winner": json.dumps(advised["winner"]["candidate"]),
        "tuned_test": number(advised["winner"]["test"]["score"]),
        "tuned_low": number(advised["winner"]["test"]["interval"][0]),
        "tuned_high": number(advised["winner"]["test"]["interval"][1]),
        "full_test": number(full["winner"]["test"]["score"]),
        "full_low": number(full["winner"]["test"]["interval"][0]),
        "full_high": number(full["winner"]["test"]["interval"][1]),
        "tfidf_test": number(tfidf(train, test)),
        "tuned_trials": advised["trials"]["complete"],
        "full_trials": full["trials"]["complete"],
        "tuned_seconds": number(advised["budget"]["used_s"]),
        "full_seconds": number(full["budget"]["used_s"]),
    }


def number(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.out.parent.mkdir(exist_ok=True)
    done = set()
    if options.out.exists():
        with options.out.open(encoding="utf-8") as file:
            done = {row["set"] for row in csv.DictReader(file)}
    for name in options.sets:
        if name in done:
            continue
        row = run(name, rows=options.rows, budget=options.budget)
        fresh = not options.out.exists()
        with options.out.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
