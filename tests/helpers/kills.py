"""A search that is killed at a chosen write, or at a chosen moment, and resumed: run as a script by test_kills.py.

Everything is imported once; each search is a fork of this process, so that a kill costs no new imports. Forks come
before the first computation, since threads do not survive them.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TRIALS = 4
PATIENCE = 90
"""Seconds after which a search that goes on is said to hang."""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Aim:
    """Counts the writes of a process and kills it before, during or after one of them."""

    def __init__(self, *, at: int | None, when: str) -> None:
        self.at, self.when, self.count = at, when, 0

    def at_each(self, original: Callable[..., Any], half: Callable[..., Any] | None = None) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            here, self.count = self.count, self.count + 1
            if here == self.at and self.when != "after":
                if self.when == "during" and half is not None:
                    half(*args, **options)
                _die()
            result = original(*args, **options)
            if here == self.at:
                _die()
            return result

        return wrapped

    def take(self) -> None:
        """Watch everything that a search writes with: moves into place, the journal, weights, and clearing away."""
        import safetensors.numpy
        from optuna.storages.journal import JournalFileBackend

        import tuner.export

        def half_an_entry(backend: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
            line = json.dumps(logs[0]).encode()
            with open(backend._file_path, "ab") as file:
                file.write(line[: len(line) // 2])

        def half_a_tree(folder: Any, **_: Any) -> None:
            files = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
            for path in files[: len(files) // 2]:
                path.unlink()

        os.replace = self.at_each(os.replace)
        Path.rename = self.at_each(Path.rename)  # type: ignore[method-assign]
        Path.replace = self.at_each(Path.replace)  # type: ignore[method-assign]
        JournalFileBackend.append_logs = self.at_each(JournalFileBackend.append_logs, half_an_entry)
        safetensors.numpy.save_file = self.at_each(safetensors.numpy.save_file)
        tuner.export.save_native = self.at_each(tuner.export.save_native)
        shutil.rmtree = self.at_each(shutil.rmtree, half_a_tree)  # type: ignore[assignment]


def _search(folder: Path, *, resume: bool) -> dict[str, Any]:
    import numpy as np

    from helpers import commands, tiny
    from tuner.model.assemble import load_backbone
    from tuner.search.data import LabelledRows, TuningData
    from tuner.search.search import search
    from tuner.search.space import candidate_at, default_space
    from tuner.tasks.classes import Classes

    def labelled(n: int, seed: int) -> LabelledRows:
        rows = commands.reviews(n, seed=seed)
        labels = np.array([("neg", "pos").index(row["label"]) for row in rows])
        return LabelledRows(rows=[row["text"] for row in rows], labels=labels)

    data = TuningData(
        name="reviews", train=labelled(48, 0), validation=labelled(30, 1), test=labelled(20, 2),
        task=Classes(names=("neg", "pos")), fingerprint="x",
    )  # fmt: skip
    backbone = load_backbone((tiny.bert(layers=2), tiny.tokenizer()), device="cpu")
    result = search(
        backbone, data=data, space=default_space(3), recommended=candidate_at(2, 3), folder=folder, budget_s=None,
        n_trials=TRIALS, resume=resume,
    )  # fmt: skip
    return result.to_json()


def _forked(work: Callable[[], Any], *, report: Path | None, most: float) -> str:
    """Run something in a child; how that ended: done, failed, killed by itself, or still running after `most` seconds,
    when it is killed."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            found = work()
            if report is not None:
                report.write_text(json.dumps(found))
            status = 0
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        finally:
            os._exit(status)
    until = time.monotonic() + most
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "killed" if os.WIFSIGNALED(status) else "done" if os.WEXITSTATUS(status) == 0 else "failed"
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "still running"
        time.sleep(0.01)


def count(root: Path) -> tuple[int, float]:
    """How many writes a whole search makes, and its seconds."""
    report, start = root / "count.json", time.monotonic()

    def whole() -> int:
        aim = Aim(at=None, when="")
        aim.take()
        _search(root / "whole", resume=False)
        return aim.count

    assert _forked(whole, report=report, most=PATIENCE) == "done"
    return int(json.loads(report.read_text())), time.monotonic() - start


def kill(root: Path, *, at: int | None, when: str, after_s: float = PATIENCE) -> dict[str, Any]:
    """Kill a search at a write, or after some seconds, and let it go on: what was lost, if anything."""
    folder, report = root / "run", root / "resumed.json"
    shutil.rmtree(folder, ignore_errors=True)

    def first() -> None:
        Aim(at=at, when=when).take()
        _search(folder, resume=False)

    ended = _forked(first, report=None, most=after_s)
    stored = {path.name: path.read_bytes() for path in (folder / ".search" / "runs").glob("*.json")}

    def again() -> dict[str, Any]:
        from tuner.search.store import RunStore

        written = []
        keep, keep_pruned = RunStore.keep, RunStore.keep_pruned
        RunStore.keep = lambda self, run: written.append(f"{run.name}.json") or keep(self, run)
        RunStore.keep_pruned = lambda self, run: written.append(f"{run.name}.json") or keep_pruned(self, run)
        result = _search(folder, resume=True)
        return {"written": written, "trials": result["trials"], "test": result["winner"]["test"]}

    report.unlink(missing_ok=True)
    resumed = _forked(again, report=report, most=PATIENCE)
    found = json.loads(report.read_text()) if report.exists() else {"written": [], "trials": {}, "test": {}}
    trials = found["trials"]
    return {
        "at": at, "when": when, "ended": ended, "resumed": resumed, "stored": len(stored),
        "overwritten": sorted(set(found["written"]) & stored.keys()),
        "finished": trials.get("complete", 0) + trials.get("pruned", 0),
        "times_tested": found["test"].get("times"),
        "left": sorted(path.name for path in folder.iterdir()),
    }  # fmt: skip


def main(root: Path, n: int, *, seed: int) -> None:
    """So many kills spread over all writes, and a quarter as many at random moments; one JSON line each."""
    # Imports only: nothing is computed before the forks.
    import optuna  # noqa: F401
    import torch

    import tuner.search.search  # noqa: F401

    torch.set_num_threads(1)
    writes, seconds = count(root)
    rng = random.Random(seed)
    print(json.dumps({"writes": writes, "seconds": seconds}))
    spread = [(index * writes // n, ("before", "during", "after")[index % 3]) for index in range(n)]
    for at, when in spread:
        print(json.dumps(kill(root, at=at, when=when)), flush=True)
    for _ in range(n // 4):
        print(json.dumps(kill(root, at=None, when="at random", after_s=rng.uniform(0, seconds))), flush=True)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    main(Path(sys.argv[1]), int(sys.argv[2]), seed=int(sys.argv[3]))
