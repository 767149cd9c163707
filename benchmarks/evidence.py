"""The evidence table: every freeze depth, head only, feature variants and scratch on many real sets, run by run.

    python benchmarks/evidence.py [--sets ...] [--models ...] [--rows ...] [--only runs] [--depths ...] [--minutes N]
        [--summary]

A cell is a model, a set, a number of training rows and a seed, which draws those rows, divides them and trains. A fifth
of the rows is held out for validation, as the tuner does; on seed 0 it chooses the learning rate out of two, and the
other seeds run that one. Test rows are the same for all cells of a set and a size; they choose nothing. Runs are
appended to results/evidence_runs.csv a line at a time, what `recommend` measures to results/evidence_profiles.csv; both
are keyed by cell, and what is there is skipped, so that the benchmark may be stopped at any time, and a deleted file of
profiles is measured anew without training. `--summary` prints what the table says so far.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from evidence_table import KEY, PROFILES, RUNS, append, chosen_rates, pack, read, summary
from main_job import text_backbone

from advisor import recommend
from advisor.advice.strategy import default_depth
from advisor.data.load import load_target
from advisor.kinds.table import kind_of
from tuner.errors import TransferError
from tuner.freezing import has_statistics
from tuner.model.assemble import load_backbone, resolve_device
from tuner.model.backbone import Backbone
from tuner.search.bench import Bench, open_bench
from tuner.search.data import TuningData
from tuner.search.run_name import RunName
from tuner.search.space import RATES, RATES_WITH_BATCH_NORM, SCRATCH_RATES, Candidate, SearchSpace, candidate_at
from tuner.tasks.heads import FEATURES, fits

DATA = Path(os.environ.get("TRANSFER_DATA", Path(__file__).parents[2] / "shared" / "data"))
TEXT_MODEL, MOBILENET, RESNET = "all-MiniLM-L6-v2", "mobilenet_v1_0.25_128_imagenet", "resnet20_cifar10"
MINILM_L3, DISTILBERT, LITE0 = "paraphrase-MiniLM-L3-v2", "distilbert-cased-grammar", "efficientnet-lite0_128"
N_BLOCKS = {TEXT_MODEL: 7, MOBILENET: 14, RESNET: 10}
FURTHER = {MINILM_L3: 4, LITE0: 17, DISTILBERT: 7}
"""Models of which some depths are measured once: do shares of frozen blocks carry over? Their folders lie in
`$TRANSFER_MODELS`; EfficientNet-Lite0 reads 128 pixels a side, which its preprocessor_config.json has to say."""
MODELS = Path(os.environ.get("TRANSFER_MODELS", DATA / "models"))
SHARES = (0.0, 0.25, 0.5, 0.75)
TEXT_SETS = (
    "ag_news", "mr", "cr", "trec6", "medical_abstracts", "mag_paper_fields", "tweet_emotion", "tweet_hate",
    "stackoverflow_titles", "clinc150", "banking77", "gnad10_german", "indonlu_smsa", "arsarcasm_arabic", "http_params",
    "smiles_hiv",
)  # fmt: skip
LARGE_SETS = ("mag_paper_fields", "stackoverflow_titles", "mr", "tweet_hate", "indonlu_smsa", "arsarcasm_arabic")
IMAGE_SETS = ("sign_digits_64", "mnist_t10k", "omniglot_alphabets_32")
SMALL, LARGE, SEEDS = (100, 1_000, 300), 10_000, (0, 1, 2)
TEST_ROWS, LEAST_PER_CLASS = 1_000, 5
"""With fewer rows than five a class, a cell takes as many of the classes as there are rows for."""
MOST_STEPS, EPOCHS = 400, 20
LARGE_EPOCHS, SCRATCH_EPOCHS = 3, 8
HEAD_RATIO = 5.0
MOST_HOURS, FIRST_RUNS = 24.0, 50
PARTS = ("profiles", "runs")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What shares one draw of rows and one cache of frozen blocks."""

    model: str
    set: str
    n: int
    seed: int

    @property
    def key(self) -> dict[str, str | int]:
        """The columns that name it."""
        return {"model": self.model, "set": self.set, "n": self.n, "seed": self.seed}


# --- the plan


def plan() -> list[Cell]:
    """All cells, in an order in which a stop at any time leaves every set measured alike."""
    tiers = [(n, seed) for seed in SEEDS for n in SMALL] + [(LARGE, seed) for seed in SEEDS]
    pairs = [(TEXT_MODEL, name) for name in TEXT_SETS]
    pairs += [(model, name) for name in IMAGE_SETS for model in (MOBILENET, RESNET)]
    return [
        Cell(model=model, set=name, n=n, seed=seed)
        for n, seed in tiers
        for model, name in pairs
        if n != LARGE or name in LARGE_SETS
    ]


def further_plan() -> list[Cell]:
    """Cells of further models: seed 0 of every set, at 300 rows first."""
    return [
        Cell(model=model, set=name, n=n, seed=0)
        for n in sorted(SMALL, key=(300, 100, 1_000).index)
        for model in FURTHER
        for name in (IMAGE_SETS if model == LITE0 else TEXT_SETS)
    ]


def depths_of(model: str) -> list[int]:
    """Freeze depths that are trained: all, of further models those nearest to `SHARES` and all blocks but one.

    >>> depths_of(DISTILBERT)
    [0, 2, 4, 5, 6]
    """
    if model in N_BLOCKS:
        return list(range(N_BLOCKS[model]))
    n_blocks = FURTHER[model]
    return sorted({round(share * n_blocks) for share in SHARES} | {n_blocks - 1})


def cut(
    cells: Sequence[Cell], *, hours: Callable[[Sequence[Cell]], float], most: float = MOST_HOURS
) -> tuple[list[Cell], list[str]]:
    """The cells that fit into so many hours, and what was left out for it: third seed, then n = 300, then images."""
    kept, left_out = list(cells), []
    rules: dict[str, Callable[[Cell], bool]] = {
        "third seed": lambda cell: cell.seed == SEEDS[2],
        "n = 300": lambda cell: cell.n == 300,
        "images": lambda cell: cell.set in IMAGE_SETS,
    }
    for what, applies in rules.items():
        if hours(kept) <= most:
            break
        kept = [cell for cell in kept if not applies(cell)]
        left_out.append(what)
    return kept, left_out


def projected_hours(cells: Sequence[Cell], runs: pd.DataFrame) -> float:
    """Hours for these cells from the first to the last run, at what a training row of each model took so far on the
    device that goes on, or on any where none was trained there yet."""
    here = runs[runs.device == resolve_device("auto").type]
    timed = here if here.rows_seen.sum() else runs
    per_row = timed.wall_seconds.sum() / max(timed.rows_seen.sum(), 1)
    totals = timed.groupby("model")[["wall_seconds", "rows_seen"]].sum()
    rates = {model: t.wall_seconds / t.rows_seen for model, t in totals.iterrows() if t.rows_seen}
    done = runs.groupby(KEY)[["wall_seconds", "rows_seen"]].sum().to_dict("index")
    seconds = 0.0
    for cell in cells:
        trained = [c for c in candidates(cell).values() if not c.is_linear]
        rows = sum(np.prod(schedule(c, round(0.8 * cell.n))) for c in trained) * (1 if cell.seed else 2)
        spent = done.get(tuple(cell.key.values()), {"wall_seconds": 0.0, "rows_seen": 0})
        left = max(float(rows) - spent["rows_seen"], 0.0)
        seconds += spent["wall_seconds"] + left * rates.get(cell.model, per_row)
    return seconds / 3600


def candidates(cell: Cell, widths: Sequence[int] | None = None) -> dict[str, Candidate]:
    """By name, what a cell trains; `widths` are those of the blocks, all the same where nothing is said."""
    n_blocks = (N_BLOCKS | FURTHER)[cell.model]
    named = {"head_only": candidate_at(n_blocks, n_blocks)}  # first, as the others start from its head
    if cell.n == LARGE:
        depths = (0, round(0.5 * n_blocks), default_depth(n_blocks))
        named |= {f"depth_{depth}": candidate_at(depth, n_blocks) for depth in depths}
        return named | {"scratch": Candidate(strategy="train_all", start="scratch", frozen_blocks=0)}
    for name in FEATURES:
        if name != "last" and fits(name, widths=widths or (1,) * n_blocks):
            named[name] = Candidate(strategy="feature_based", frozen_blocks=None, features=name)
    return named | {f"depth_{depth}": candidate_at(depth, n_blocks) for depth in depths_of(cell.model)}


def schedule(candidate: Candidate, rows: int) -> tuple[int, int]:
    """Steps and rows a step, on so many training rows; `Bench` takes the same batches."""
    if rows <= max(SMALL):
        return min(MOST_STEPS, EPOCHS * -(-rows // 16)), 16
    batch = 16 if rows <= 2_000 else 32
    return (SCRATCH_EPOCHS if candidate.start == "scratch" else LARGE_EPOCHS) * -(-rows // batch), batch


def learning_rates(candidate: Candidate, *, batch_norm: bool) -> tuple[float, float]:
    """Two rates, a quarter and three quarters of the way through what the tuner searches.

    >>> learning_rates(candidate_at(0, 7), batch_norm=False)
    (4.5e-05, 0.00022)
    """
    searched = SCRATCH_RATES if candidate.start == "scratch" else RATES_WITH_BATCH_NORM if batch_norm else RATES
    low, high = np.log(searched)
    first, second = (float(f"{np.exp(low + share * (high - low)):.2g}") for share in (0.25, 0.75))
    return first, second


# --- one cell


@cache
def read_set(name: str) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """Texts or images, each once, their labels, and which of them may be tested on and which trained on."""
    if name in IMAGE_SETS:
        with np.load(DATA / "images" / name / "data.npz") as stored:
            part = next(key for key in ("all", "test") if f"X_{key}" in stored)
            images, labels = stored[f"X_{part}"], stored[f"y_{part}"].astype(np.int64)
        first = ~pd.Series([image.tobytes() for image in images]).duplicated().to_numpy()
        return images[first], labels[first], np.ones(first.sum(), bool), np.ones(first.sum(), bool)
    files = {path.stem: path for path in sorted((DATA / "text" / name).glob("*.jsonl"))}
    tested = next(part for part in ("test", "validation", "all") if part in files)
    frames = []
    for part in sorted(files, key=lambda part: part != tested):  # of copies, the one among the test rows stays
        with files[part].open(encoding="utf-8") as lines:  # not splitlines(): texts may hold rarer line separators
            rows = [json.loads(line) for line in lines]
        frames.append(pd.DataFrame({"text": [r["text"] for r in rows], "label": [r["label"] for r in rows]}))
        frames[-1]["testable"] = part == tested
    frame = pd.concat(frames)
    frame = frame[frame.text.str.strip() != ""].drop_duplicates("text")
    testable = frame.testable.to_numpy()
    trainable = ~testable if "train" in files else np.ones(len(frame), bool)
    return list(frame.text), frame.label.astype(str).to_numpy(), testable, trainable


def draw(labels: np.ndarray, *, size: int, seed: int, least: int = LEAST_PER_CLASS) -> np.ndarray:
    """Positions of a random sample with `least` rows of every class, as far as there are; larger ones hold smaller."""
    order = np.random.default_rng(seed).permutation(len(labels))
    rank = pd.Series(labels[order]).groupby(labels[order]).cumcount().to_numpy()
    return np.concatenate([order[rank < least], order[rank >= least]])[:size]


def draw_rows(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Positions of a cell's training rows, and of its test rows, which no seed changes."""
    _, labels, testable, trainable = read_set(cell.set)
    generator = np.random.default_rng(0)
    kept = np.isin(labels, generator.permutation(np.unique(labels))[: cell.n // LEAST_PER_CLASS])
    test = generator.permutation(np.flatnonzero(kept & testable))[: min(TEST_ROWS, int((kept.sum() + 2) // 3))]
    pool = np.setdiff1d(np.flatnonzero(kept & trainable), test)
    return pool[draw(labels[pool], size=cell.n, seed=cell.seed)], test


def write_data(cell: Cell, folder: Path) -> Path:
    """The cell's rows as a user would have them."""
    items, labels, _, _ = read_set(cell.set)
    parts = dict(zip(("train", "test"), draw_rows(cell), strict=True))
    if cell.set in IMAGE_SETS:
        arrays = {f"X_{part}": items[rows] for part, rows in parts.items()}
        np.savez(folder / "data.npz", **arrays, **{f"y_{part}": labels[rows] for part, rows in parts.items()})
        return folder / "data.npz"
    for part, rows in parts.items():
        lines = [json.dumps({"text": items[row], "label": labels[row]}, ensure_ascii=False) for row in rows]
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@cache
def load(model: str) -> tuple[Backbone, Any, Path | None]:
    """A model, what `recommend` takes for it, and its source data where no profile of it is shipped."""
    if model == TEXT_MODEL:
        return text_backbone(), None, None
    if model in FURTHER:
        return load_backbone(MODELS / model), MODELS / model, None
    if model == MOBILENET:
        path = DATA / "models" / model
        return load_backbone(path), path, DATA / "source" / "tinyimagenet32_images"
    from image_similarity import cifar_resnet

    backbone = cifar_resnet(DATA, device="auto")
    return backbone, (backbone.model, backbone.inputs.reader), DATA / "source" / "cifar10_images"


def profile(cell: Cell, data: Path, *, model: Any, source: Path | None) -> dict[str, Any]:
    """What `recommend` measures before anything is trained, as one row."""
    start = time.perf_counter()
    advice = recommend(data, model=model, source=source, seed=cell.seed, examples=False).to_json()
    size, similarity, situation = advice["size"], advice["similarity"], advice["situation"]
    best = advice["baselines"]["best_probe"]
    linear = advice["baselines"].get("tfidf_linear") or advice["baselines"].get("pixel_linear")
    low, high = similarity["interval"] or (None, None)
    return {
        **cell.key, "n_rows": size["n_examples"], "n_classes": advice["data"]["n_classes"],
        "n_per_class_min": size["n_per_class_min"], "size": size["verdict"], "p_large": number(size["p_large"]),
        "similarity": similarity["verdict"], "similarity_score": number(similarity["score"]),
        "similarity_low": number(low), "similarity_high": number(high), "p_similar": number(similarity["p_similar"]),
        "situation": situation["number"],
        **{f"p_{number_}": number((situation["probabilities"] or {}).get(str(number_))) for number_ in (1, 2, 3, 4)},
        "advised_strategy": advice["strategy"]["name"], "advised_depth": advice["freeze"]["recommended"],
        "decided_by": advice["strategy"]["decided_by"], "majority": number(advice["baselines"]["majority"]["score"]),
        "linear": number(linear and linear["score"]), "best_probe": best["features"],
        "best_score": number(best["score"]),
        "probes": json.dumps({p["features"]: number(p["score"]) for p in advice["probes"]}, separators=(",", ":")),
        "learning_curve": json.dumps([[p["n"], number(p["score"])] for p in size["learning_curve"]]),
        "seconds": round(time.perf_counter() - start, 2),
    }  # fmt: skip


def missing(cell: Cell, runs: pd.DataFrame, backbone: Backbone) -> list[tuple[str, float]]:
    """Names and learning rates (0 for linear heads) of a cell's runs that are still to do."""
    batch_norm = has_statistics(backbone.blocks)
    chosen = chosen_rates(runs)
    own = runs[(runs[KEY] == pd.Series(cell.key)).all(axis=1)]
    there = set(zip(own.candidate, own.learning_rate, strict=True))
    wanted: list[tuple[str, float]] = []
    for name, candidate in candidates(cell, backbone.widths).items():
        rate = chosen.get((cell.model, cell.set, cell.n, name))
        if candidate.is_linear:
            wanted.append((name, 0.0))
        elif cell.seed == 0:
            wanted += [(name, rate) for rate in learning_rates(candidate, batch_norm=batch_norm)]
        elif rate is not None:
            wanted.append((name, rate))
    return [run for run in wanted if run not in there]


def bench_of(cell: Cell, data: Path, *, backbone: Backbone, work: Path) -> tuple[Bench, int]:
    """The bench of a cell, which predicts validation and test rows in one go, and how many of those are validation."""
    target = load_target(data, seed=cell.seed)
    kind = kind_of(target)
    held_out = np.concatenate([target.validation, target.test])
    part = {
        name: kind.labelled_rows(target, rows)
        for name, rows in (("train", target.train), ("validation", held_out), ("test", target.test))
    }
    if len(target.test) != len(draw_rows(cell)[1]):
        raise ValueError(f"{cell}: test rows were lost, so that they are not those of the other seeds")
    trained = tuple(c for c in candidates(cell).values() if not c.is_linear)
    n = backbone.n_blocks
    space = SearchSpace(n_blocks=n, first=trained, controls=(), depths=(0, 0))
    bench = open_bench(
        backbone, data=TuningData(**part, name=cell.set, task=kind.task(target), fingerprint=""), space=space,
        work=work, metric="accuracy", seed=cell.seed,
    )  # fmt: skip
    return bench, len(target.validation)


def run(bench: Bench, cell: Cell, *, name: str, learning_rate: float, n_validation: int) -> dict[str, Any]:
    """Train one candidate, or fit its head, and predict what was held out."""
    candidate = candidates(cell, bench.backbone.widths)[name]
    steps, number_of_run = 0, RunName(trial=len(bench.runs))
    if candidate.is_linear:
        finished = bench.run_head(number_of_run, candidate, seed=cell.seed)
        assert finished is not None
        result = finished
    else:
        steps, batch = schedule(candidate, len(bench.rows.data.train.labels))
        if batch != bench.pace.batch_size:
            raise ValueError(f"the bench takes {bench.pace.batch_size} rows a step, not {batch}")
        ratio = 1.0 if candidate.start == "scratch" else HEAD_RATIO
        recipe = {"learning_rate": learning_rate, "head_ratio": ratio, "steps": float(steps)}
        with patch("tuner.training.train.CHECKS", 1):  # nobody looks at the scores on the way
            trained = bench.run_trained(number_of_run, candidate, recipe=recipe, seed=cell.seed)
        assert trained is not None
        result = trained
        bench.store.drop_weights([result.name])
    right = result.predictions == bench.rows.truth.labels
    return {
        **cell.key, "candidate": name, "frozen_blocks": candidate.frozenness(bench.backbone.n_blocks),
        "learning_rate": learning_rate, "l2": result.recipe.get("l2"), "steps": steps,
        "rows_seen": steps * bench.pace.batch_size, "train_rows": len(bench.rows.data.train.labels),
        "validation_rows": n_validation, "test_rows": len(right) - n_validation,
        "validation": number(right[:n_validation].mean()), "test": number(right[n_validation:].mean()),
        "seconds": round(result.seconds, 3), "device": bench.backbone.device.type,
        "correct": pack(right[n_validation:]),
    }  # fmt: skip


def run_cell(cell: Cell, *, deadline: float, parts: Sequence[str] = PARTS, depths: Sequence[int] | None = None) -> None:
    """Measure what is missing of a cell: its profile, then its runs, or only one of the two `parts`; of the runs that
    train blocks, only those at these `depths`, if any are said."""
    known = read(PROFILES)
    profiled = "profiles" not in parts or (len(known) > 0 and (known[KEY] == pd.Series(cell.key)).all(axis=1).any())
    backbone, model, source = load(cell.model)
    todo = missing(cell, read(RUNS), backbone) if "runs" in parts else []
    if depths is not None:
        wanted = {f"depth_{depth}" for depth in depths}
        todo = [(name, rate) for name, rate in todo if not rate or name in wanted]
    if profiled and not todo:
        return
    last = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        data = write_data(cell, Path(scratch))
        if not profiled:
            append(PROFILES, profile(cell, data, model=model, source=source))
        if not todo:
            return
        bench, n_validation = bench_of(cell, data, backbone=backbone, work=Path(scratch) / "bench")
        for name, learning_rate in todo:
            if time.monotonic() > deadline:
                break
            row = run(bench, cell, name=name, learning_rate=learning_rate, n_validation=n_validation)
            now = time.perf_counter()
            append(RUNS, row | {"wall_seconds": round(now - last, 3)})
            last = now
            print(*cell.key.values(), name, learning_rate, row["validation"], row["test"], row["seconds"], flush=True)


def number(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=(*TEXT_SETS, *IMAGE_SETS), choices=(*TEXT_SETS, *IMAGE_SETS))
    parser.add_argument("--models", nargs="+", default=tuple(N_BLOCKS), choices=(*N_BLOCKS, *FURTHER))
    parser.add_argument("--rows", nargs="+", type=int, default=(*SMALL, LARGE), choices=(*SMALL, LARGE))
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, choices=SEEDS)
    parser.add_argument("--only", nargs=1, dest="parts", default=PARTS, choices=PARTS)
    parser.add_argument("--depths", nargs="+", type=int, help="train these depths only")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run after so many")
    parser.add_argument("--summary", action="store_true", help="print what the table says so far, and stop")
    options = parser.parse_args()
    if options.summary:
        print(summary())
        return
    deadline = time.monotonic() + 60 * options.minutes
    cells = [
        cell
        for cell in (*plan(), *further_plan())
        if cell.set in options.sets
        and cell.model in options.models
        and cell.n in options.rows
        and cell.seed in options.seeds
    ]
    for cell in cells:
        if time.monotonic() > deadline:
            break
        runs = read(RUNS)
        if len(runs) >= FIRST_RUNS:
            kept, left_out = cut(cells, hours=lambda some, runs=runs: projected_hours(some, runs))
            if cell not in kept:
                continue
            hours = f"{projected_hours(cells, runs):.1f} hours projected"
            print(hours + (f", {projected_hours(kept, runs):.1f} without {', '.join(left_out)}" if left_out else ""))
        try:
            run_cell(cell, deadline=deadline, parts=options.parts, depths=options.depths)
        except TransferError as error:
            print(f"{cell}: {error}", flush=True)


if __name__ == "__main__":
    main()
