"""Table 7 of the BERT paper on other data: feature variants under a BiLSTM, freeze depths, full fine-tuning.

    python benchmarks/tagging.py [--sets wnut17 ncbi_disease] [--seeds 0 1 2] [--minutes N] [--table]

Named entities, with the splits as published, by the built-in text model. Features are read by the paper's two-layer
BiLSTM and by a linear head; blocks are fine-tuned for five epochs with the better of two learning rates on seed 0's
validation sentences. Test sentences choose nothing. Appends one line a run to results/tagging.csv and skips what is
there, so that it may be stopped at any time; ``--table`` prints the table from that file.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from evidence_table import RESULTS, append
from main_job import DATA, text_backbone

from advisor.data.sentences import read_tagged
from advisor.data.tagged import TaggedSentences
from tuner.search.bench import Bench, open_bench
from tuner.search.data import LabelledRows, TuningData
from tuner.search.run_name import RunName
from tuner.search.space import Candidate, SearchSpace, candidate_at
from tuner.search.store import Run
from tuner.tasks.heads import FEATURES
from tuner.tasks.tags import Tags
from tuner.tasks.truth import Truth

TABLE = RESULTS / "tagging.csv"
SETS, SEEDS = ("wnut17", "ncbi_disease"), (0, 1, 2)
RATES, HEAD_RATIO, EPOCHS = (1e-4, 3e-4), 5.0, 5
PUBLISHED = {
    "feature-based, embeddings, BiLSTM": 91.0, "feature-based, second to last, BiLSTM": 95.6,
    "feature-based, last, BiLSTM": 94.9, "feature-based, weighted last four, BiLSTM": 95.9,
    "feature-based, concat last four, BiLSTM": 96.1, "feature-based, weighted all, BiLSTM": 95.5,
    "everything trained": 96.4,
}  # fmt: skip
"""Development F1 on CoNLL-2003 of BERT-base (Devlin et al. 2019, Table 7)."""


def candidates(n_blocks: int) -> list[Candidate]:
    """Linear heads, BiLSTMs, and freeze depths from the most frozen on."""
    read = [Candidate(strategy="feature_based", frozen_blocks=None, features=name) for name in FEATURES]
    tops = [Candidate(**candidate.to_json() | {"top": "bilstm"}) for candidate in read]
    return [*read, *tops, *(candidate_at(depth, n_blocks) for depth in range(n_blocks - 1, -1, -1))]


def labelled(sentences: TaggedSentences, names: tuple[str, ...]) -> LabelledRows:
    """Sentences as the bench takes them, tags numbered by `names`."""
    tags = [names.index(tag) for row in sentences.tags for tag in row]
    n_words = np.array([len(words) for words in sentences.tokens])
    return LabelledRows(rows=list(sentences.tokens), labels=np.array(tags), n_words=n_words)


def read_set(name: str) -> tuple[TuningData, Truth, Truth]:
    """A set whose validation rows are those of validation and of test behind each other, and the truth of both."""
    parts = read_tagged(DATA / "ner" / name).parts
    names = ("O", *(tag for tag in parts["train"].tag_names if tag != "O"))
    rows = {part: labelled(parts[part], names) for part in ("train", "validation", "test")}
    both = LabelledRows(
        rows=[*rows["validation"].rows, *rows["test"].rows],
        labels=np.concatenate([rows["validation"].labels, rows["test"].labels]),
        n_words=np.concatenate([rows["validation"].n_words, rows["test"].n_words]),
    )
    data = TuningData(
        name=name, train=rows["train"], validation=both, test=rows["test"], task=Tags(names=names), fingerprint=name
    )
    truths = [rows[part].truth(data.task, metric="entity_f1") for part in ("validation", "test")]
    return data, truths[0], truths[1]


def due(table: pd.DataFrame, *, name: str, candidate: str, seed: int, kind: Candidate) -> Iterator[float]:
    """The learning rates, 0 where there is none, that a candidate still has to run with at a seed."""
    own = table[(table["set"] == name) & (table.candidate == candidate)] if len(table) else table
    rates: tuple[float, ...] = (0.0,)
    if kind.is_linear and seed > 0:
        return
    if kind.trains_blocks:
        rates = RATES
        if seed > 0:
            first = own[own.seed == 0] if len(own) else own
            if len(first) < len(RATES):
                return
            rates = (float(first.sort_values("validation").rate.iloc[-1]),)
    there = set(own[own.seed == seed].rate) if len(own) else set()
    yield from (rate for rate in rates if rate not in there)


def run(bench: Bench, candidate: Candidate, *, rate: float, seed: int) -> Run:
    """Train or fit one candidate."""
    name = RunName(trial=len(bench.runs))
    if candidate.trains_blocks:
        recipe = {"learning_rate": rate, "head_ratio": HEAD_RATIO, "steps": float(bench.pace.steps_for(EPOCHS))}
        made = bench.run_trained(name, candidate, recipe=recipe, seed=seed)
    else:
        made = bench.run_head(name, candidate, seed=seed)
    assert made is not None
    bench.store.drop_weights([name])
    return made


def measure(name: str, *, seed: int, until: float, only: Collection[str] | None = None) -> None:
    """All runs of a set at a seed that are missing; with `only`, those of the candidates of these names."""
    backbone = text_backbone()
    n = backbone.n_blocks
    table = pd.read_csv(TABLE) if TABLE.exists() else pd.DataFrame()
    wanted = [
        (candidate, label, rate)
        for candidate, label in ((candidate, candidate.label(n)) for candidate in candidates(n))
        if only is None or label in only
        for rate in due(table, name=name, candidate=label, seed=seed, kind=candidate)
    ]
    if not wanted:
        return
    data, validation, test = read_set(name)
    depths = tuple(dict.fromkeys(candidate for candidate, _, _ in wanted if candidate.trains_blocks))
    # Words' features come with the pass over a prefix; where no depth is trained, no prefix is stored.
    space = SearchSpace(n_blocks=n, first=depths, controls=(), depths=(0, 0))
    with tempfile.TemporaryDirectory() as work:
        bench = open_bench(backbone, data=data, space=space, work=Path(work), metric="entity_f1", seed=0)
        for candidate, label, rate in wanted:
            if time.monotonic() > until:
                break
            done = run(bench, candidate, rate=rate, seed=seed)
            row = row_of(done, name=name, label=label, rate=rate, seed=seed, truths=(validation, test))
            append(TABLE, row | {"device": backbone.device.type})
            print(name, seed, label, rate, round(done.seconds), flush=True)


def row_of(done: Run, *, name: str, label: str, rate: float, seed: int, truths: tuple[Truth, Truth]) -> dict[str, Any]:
    """A line of the table."""
    cut = len(truths[0].labels)
    scores = truths[1].by_type(done.predictions[cut:])
    return {
        "set": name, "candidate": label, "seed": seed, "rate": rate, "epochs": done.recipe.get("epochs", EPOCHS),
        "validation": round(truths[0].score(done.predictions[:cut]), 4), "test": round(scores.f1, 4),
        "test_precision": round(scores.precision, 4), "test_recall": round(scores.recall, 4),
        "seconds": round(done.seconds, 1),
    }  # fmt: skip


def table() -> str:
    """Test F1, mean and standard deviation over seeds, and median seconds on CPU and GPU by candidate and set, beside
    the published figures."""
    runs = pd.read_csv(TABLE)
    zero = runs[runs.seed == 0].sort_values("validation").drop_duplicates(["set", "candidate"], keep="last")
    chosen = runs.merge(zero[["set", "candidate", "rate"]], on=["set", "candidate", "rate"])
    lines = []
    for label in dict.fromkeys(candidate.label(7) for candidate in candidates(7)):
        cells = [label]
        for name in SETS:
            own = chosen[(chosen["set"] == name) & (chosen.candidate == label)]
            spread = f" ± {100 * own.test.std():.1f}" if len(own) > 1 else ""
            cells.append(f"{100 * own.test.mean():.1f}{spread}" if len(own) else "–")
            seconds = own.groupby("device").seconds.median()
            cells += [f"{seconds[device]:.0f}" if device in seconds else "–" for device in ("cpu", "cuda")]
        cells.append(f"{PUBLISHED[label]:.1f}" if label in PUBLISHED else "")
        lines.append("| " + " | ".join(cells) + " |")
    heads = ["candidate", *(part for name in SETS for part in (name, "s, CPU", "s, GPU")), "CoNLL-2003, published"]
    return "\n".join(["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--minutes", type=float, default=24 * 60.0)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table())
        return
    until = time.monotonic() + 60 * options.minutes
    for seed in options.seeds:
        for name in options.sets:
            measure(name, seed=seed, until=until)


if __name__ == "__main__":
    main()
