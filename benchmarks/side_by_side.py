"""Missing runs of the evidence table, the strategies and the taggers, many processes side by side: for one large GPU.

    python benchmarks/side_by_side.py --workers 14 --minutes 9 [--what tagging strategies evidence]

One training of a small model leaves most of a GPU idle, and waits for Python between its kernels. Tasks are cells of
the three benchmarks in the order of their plans; those whose learning rate an earlier seed chooses wait for it. What is
in the results is skipped, runs are appended as they end, and none begins after so many minutes. Profiles of the
evidence table are not measured here.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Any

import evidence
import strategies
import tagging
from main_job import text_backbone

WHAT = ("tagging", "strategies", "evidence")


@dataclass(frozen=True, kw_only=True)
class Task:
    """What one process does in one go; ``after`` names the task that must have ended before."""

    name: str
    after: str | None
    run: Callable[..., None]


def tagging_tasks() -> Iterator[Task]:
    """A candidate of a set at a seed is a task."""
    for seed in tagging.SEEDS:
        for name in tagging.SETS:
            for label in (candidate.label(7) for candidate in tagging.candidates(7)):
                before = f"tagging {name} {seed - 1} {label}" if seed else None
                yield Task(
                    name=f"tagging {name} {seed} {label}", after=before,
                    run=partial(tagging.measure, name, seed=seed, only=(label,)),
                )  # fmt: skip


def strategies_tasks() -> Iterator[Task]:
    """A set at a size and a seed is a task."""
    for n in strategies.STEPS:
        for seed in strategies.SEEDS:
            for name in strategies.SETS:
                before = f"strategies {name} {n} {seed - 1}" if seed else None
                yield Task(
                    name=f"strategies {name} {n} {seed}", after=before,
                    run=partial(strategies_cell, name=name, n=n, seed=seed),
                )  # fmt: skip


def strategies_cell(*, name: str, n: int, seed: int, until: float) -> None:
    """One cell, skipping what the file holds by now."""
    table = strategies.Table(strategies.RESULTS)
    strategies.run_cell(text_backbone(), table, name=name, n=n, seed=seed, until=until)


def evidence_tasks() -> Iterator[Task]:
    """A cell is a task; large ones take no hours here, so they are measured once before any other is repeated."""
    for cell in sorted(evidence.plan(), key=lambda cell: cell.seed):
        if not (evidence.DATA / ("images" if cell.set in evidence.IMAGE_SETS else "text") / cell.set).exists():
            continue
        after = f"evidence {cell.model} {cell.set} {cell.n} {cell.seed - 1}" if cell.seed else None
        yield Task(name=f"evidence {cell.model} {cell.set} {cell.n} {cell.seed}", after=after,
                   run=partial(evidence_cell, cell))  # fmt: skip


def evidence_cell(cell: evidence.Cell, *, until: float) -> None:
    """The runs of one cell."""
    evidence.run_cell(cell, deadline=until, parts=("runs",))


TASKS = {"tagging": tagging_tasks, "strategies": strategies_tasks, "evidence": evidence_tasks}


def perform(task: Task, until: float) -> tuple[str, float]:
    """In a worker; a task that fails says so and does not end the others."""
    start = time.monotonic()
    if start < until:
        task.run(until=until)
    return task.name, time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", nargs="+", default=list(WHAT), choices=WHAT)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=24 * 60.0, help="start no run after so many")
    options = parser.parse_args()
    until = time.monotonic() + 60 * options.minutes
    waiting = [task for what in options.what for task in TASKS[what]()]
    running: dict[Future[Any], Task] = {}
    with ProcessPoolExecutor(options.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        while waiting or running:
            unfinished = {task.name for task in (*waiting, *running.values())}
            ready = [task for task in waiting if task.after not in unfinished]
            for task in ready[: options.workers - len(running)]:
                waiting.remove(task)
                running[pool.submit(perform, task, until)] = task
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                task = running.pop(future)
                error = future.exception()
                outcome = f"{future.result()[1]:.0f} s" if error is None else f"failed: {error!r}"
                if error is not None or future.result()[1] > 1:
                    print(f"{task.name}: {outcome}", flush=True)


if __name__ == "__main__":
    main()
