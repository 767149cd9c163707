"""The final fit: the winner's recipe on all labelled rows, over several seeds whose weights are averaged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save

from tuner.interruption import uninterrupted
from tuner.model.classifier import classify
from tuner.records import Record
from tuner.sealed import read_sealed, write_sealed
from tuner.search.bench import Bench
from tuner.search.space import Candidate
from tuner.search.store import Run, RunStore
from tuner.search.trainer import RANDOM_HEADS, Trainer, trained_weights
from tuner.training.train import Outcome, Stopped, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FOLDER = "final"


@dataclass(frozen=True, kw_only=True)
class FittedSeed(Record):
    """What is stored beside the weights of one seed, whose SHA-256 is ``weights``: its recipe, and what it took."""

    weights: str
    seconds: float
    steps: int
    recipe: dict[str, float]
    rows: int
    candidate: Candidate


@dataclass(frozen=True, kw_only=True)
class FinalFit(Record):
    """What was trained on all labelled rows: how many rows, steps, seeds, and whether weights were averaged and why."""

    name: str
    rows: int
    steps: int
    share: float
    seeds: tuple[int, ...]
    averaged: bool
    why: str
    seconds: float


class Diverged(Exception):  # noqa: N818  # a signal, not an error
    """Raised where the loss of a final fit is no number any more."""


def averages(candidate: Candidate) -> bool:
    """Whether seeds of a candidate share their start, without which the average of their weights means nothing."""
    return candidate.trains_blocks and candidate.start == "pretrained" and candidate.head == "own" and (
        candidate.option not in RANDOM_HEADS
    )  # fmt: skip


def average_pays(bench: Bench, winner: Run) -> tuple[bool, str]:
    """Whether the average of a winner's confirmed weights scores no less than they do on average, and the figures."""
    repeats = bench.scored.repeats(winner)[1:]
    if not averages(winner.candidate):
        return False, "its seeds do not share their start"
    if len(repeats) < 2:
        return False, "it was not confirmed with further seeds, which would say whether averaging pays"
    weights = [bench.store.load_weights(run) for run in repeats]
    trainer, rows = bench.trainer, bench.rows
    with trainer.loaded(repeats[0].candidate, seed=repeats[0].seed, weights=mean_weights(weights)) as built:
        logits, _ = classify(built.model, backbone=bench.backbone, encoded=rows.validation)
    ours = rows.truth.score(rows.task.decode(logits))
    theirs = float(np.mean([run.score for run in repeats]))
    said = f"on validation the average of {len(repeats)} seeds scores {ours:.3f}, they {theirs:.3f} on average"
    return ours >= theirs, said


def mean_weights(weights: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of several sets of weights; whole numbers, which count, are those of the first.

    >>> mean_weights([{"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 2.0])}])
    {'w': tensor([2., 2.])}
    """
    mean: dict[str, torch.Tensor] = {}
    for name, first in weights[0].items():
        if first.is_floating_point():
            mean[name] = torch.stack([some[name].float() for some in weights]).mean(0).to(first.dtype)
        else:
            mean[name] = first
    return mean


@contextmanager
def final_fit(
    bench: Bench,
    *,
    name: str,
    candidate: Candidate,
    recipe: Mapping[str, float],
    share: float,
    most_seeds: int,
    why: str,
    left: Callable[[], float],
    on_step: Callable[[int, int, int], None],
) -> Iterator[tuple[PreTrainedModel, FinalFit]]:
    """Train a candidate on training and validation rows together, and lend the model while the context is entered.

    What is trained of a seed is kept at once, so that a search that is resumed goes on with the next one.

    Args:
        bench: of the search.
        name: of the run whose recipe this is.
        candidate: what is trained.
        recipe: on the training rows alone; the steps grow with the rows.
        share: of these steps, for want of time.
        most_seeds: over how many to average; further ones begin only as long as there is time for them.
        why: they are averaged, or are not.
        left: seconds that are left for training.
        on_step: called with the seed's place, the number of steps done and of those asked for; may raise `Stopped`,
            as Ctrl-C may, which both leave the search's own model to be saved.

    Returns:
        the model, and what was done.

    Raises:
        Diverged: where the loss is no number any more.
        Stopped: where `on_step` ended it.
    """
    whole = bench.trainer.on_all_rows()
    n = len(whole.rows.train)
    made = FinalFit(name=name, rows=n, steps=0, share=share, seeds=(bench.seed,), averaged=False, why=why, seconds=0.0)
    if not candidate.trains_blocks:
        with _head_fit(whole, candidate, recipe) as model:
            model.eval()
            yield model, made
        return
    growth = share * n / len(bench.rows.train)
    asked = {**recipe, "steps": float(max(round(growth * recipe["steps"]), 1))}
    weights: list[dict[str, torch.Tensor]] = []
    seconds, steps = 0.0, 0
    for place in range(most_seeds):
        if weights and left() < 1.05 * seconds / len(weights):
            break
        trained, outcome = _train_seed(
            whole, store=bench.store, name=name, candidate=candidate, recipe=asked, seed=bench.seed + place, left=left,
            on_step=partial(on_step, place),
        )  # fmt: skip
        weights.append(trained)
        seconds, steps = seconds + outcome.seconds, max(steps, outcome.steps)
    seeds = tuple(bench.seed + place for place in range(len(weights)))
    share *= steps / asked["steps"]
    made = replace(made, steps=steps, share=share, seeds=seeds, averaged=len(seeds) > 1, seconds=seconds)
    mean = mean_weights(weights) if len(weights) > 1 else weights[0]
    with whole.loaded(candidate, seed=seeds[-1], weights=mean) as built:
        yield built.model, made


@contextmanager
def _head_fit(whole: Trainer, candidate: Candidate, recipe: Mapping[str, float]) -> Iterator[PreTrainedModel]:
    """A linear head or a BiLSTM on the features of all rows."""
    if candidate.is_linear:
        with whole.built(candidate, seed=whole.seed) as built:
            yield built.model
        return
    with whole.with_bilstm(candidate, seed=whole.seed, most_epochs=int(recipe["epochs"])) as fitted:
        if fitted is None:
            raise Stopped
        yield fitted[0]


def _train_seed(
    whole: Trainer, *, store: RunStore, name: str, candidate: Candidate, recipe: Mapping[str, float], seed: int,
    left: Callable[[], float], on_step: Callable[[int, int], None],
) -> tuple[dict[str, torch.Tensor], FittedSeed]:  # fmt: skip
    """What is trained with one seed, and how long it took; read back where it was trained before."""
    mark = store.work / FOLDER / f"{FOLDER}-{name}-{seed}.json"
    rows = len(whole.rows.train)
    kept = _read_seed(mark, store)
    if kept is not None and replace(kept[0], recipe=dict(recipe), rows=rows, candidate=candidate) == kept[0]:
        stored, weights = kept
        return weights, stored

    def fit(recipe: dict[str, float]) -> tuple[dict[str, torch.Tensor], Outcome]:
        with whole.built(candidate, seed=seed) as built:
            asked = whole.asked(candidate, recipe, seed=seed)

            def step(done: int) -> int | None:
                on_step(done, asked.steps)
                if done % 10 or done == asked.steps:
                    return None
                # Where the machine became slower than planned, the run ends its decay in time.
                possible = done + max(left(), 0.0) * done / (time.perf_counter() - start)
                return int(possible) if possible < asked.steps else None

            start = time.perf_counter()
            outcome = train(
                built.model, backbone=whole.backbone, prefix=built.prefix, recipe=asked, train_rows=built.train_rows,
                validation_rows=whole.first_validation_row(), on_step=step,
            )  # fmt: skip
            # Copies: the next seed trains in the same tensors.
            return {name: tensor.clone() for name, tensor in trained_weights(built.model).items()}, outcome

    (weights, outcome), _ = whole.within_memory(fit, dict(recipe))
    if outcome.stopped:
        raise Diverged if outcome.diverged else Stopped
    with uninterrupted():
        sha256 = store.keep_weights(mark.stem, save(weights))
        fitted = FittedSeed(
            weights=sha256, seconds=outcome.seconds, steps=outcome.steps, recipe=dict(recipe),
            rows=rows, candidate=candidate,
        )  # fmt: skip
        write_sealed(mark, fitted.to_json())
    return weights, fitted


def check_fits(store: RunStore) -> None:
    """Raise `DataError` where what was kept of a final fit that was cut short is damaged."""
    for mark in sorted((store.work / FOLDER).glob("*.json")):
        _read_seed(mark, store)


def _read_seed(mark: Path, store: RunStore) -> tuple[FittedSeed, dict[str, torch.Tensor]] | None:
    """What was kept of one seed of a final fit, and its weights; None where either is not there."""
    if not mark.exists() or not store.weights_path(mark.stem).exists():
        return None
    fix = f"delete {mark}: --resume makes the final fit again; the runs of the search are kept"
    stored = FittedSeed.from_json(read_sealed(mark, fix=fix), path=mark, fix=fix)
    return stored, store.read_weights(mark.stem, sha256=stored.weights, fix=fix)
