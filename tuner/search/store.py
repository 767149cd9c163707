"""The finished runs of a search on disk: what was done, whatever the study, the process or the disk did since."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tuner.errors import damaged
from tuner.records import Record, write_bytes_atomically
from tuner.regular import irregular
from tuner.sealed import file_sha256, read_sealed, write_sealed
from tuner.search.run_name import RunName
from tuner.search.space import Candidate

if TYPE_CHECKING:
    import torch

FORMAT = 2
"""Version of the format of a search's files. Those of format 1, which named none, carry no checksums."""
IDENTITY = "run.json"
EARLIER = {"own_journal": None, "format": 1}
"""What the identities of earlier versions do not say."""


@dataclass(frozen=True, kw_only=True)
class Identity(Record):
    """What tells a search from all others: made once, and kept in its work folder."""

    run: str
    own_journal: bool | None
    """Whether its study lies in the run folder; None where an earlier version did not say."""
    format: int = FORMAT


def identify(work: Path, *, own_journal: bool) -> Identity:
    """The identity of the search in a work folder, which is made where there is none yet."""
    path = work / IDENTITY
    if not path.exists():
        made = Identity(run=uuid.uuid4().hex, own_journal=own_journal)
        write_sealed(path, made.to_json())
        return made
    fix = (
        f"delete it: --resume then goes on from the finished runs in {work / 'runs'}; a search that was started "
        "with --storage needs the file as it was, or a new --out"
    )
    stored = read_sealed(path, fix=fix, sealed=False)
    return Identity.from_json(EARLIER | stored, path=path, fix=fix)


@dataclass(frozen=True, kw_only=True)
class Run(Record):
    """One finished training of a candidate: what was asked for and what came out on the validation rows.

    ``weights`` is the SHA-256 of its trained weights, None where there are none beside a linear head.
    """

    name: RunName
    candidate: Candidate
    recipe: dict[str, float]
    seed: int
    score: float
    seconds: float
    predictions: np.ndarray
    weights: str | None = None

    @property
    def is_confirmation(self) -> bool:
        """Whether this repeats a trial with another seed."""
        return self.name.repeat is not None

    @property
    def is_trial(self) -> bool:
        """Whether this counts as a trial of the study; confirmations and variants do not."""
        return not self.name.variants and self.name.repeat is None


@dataclass(frozen=True, kw_only=True)
class Pruned(Record):
    """A trial that was stopped on the way: it counts, and has no score."""

    name: RunName
    candidate: Candidate
    recipe: dict[str, float]
    out_of_time: bool = False


class RunStore:
    """The runs and pruned trials of one search, in memory and on disk.

    A run's weights are written before the run, so that a stored run is whole; both carry checksums.
    """

    def __init__(self, work: Path) -> None:
        self.work = work
        self.runs: dict[RunName, Run] = {}
        self.pruned: dict[RunName, Pruned] = {}

    def read(self) -> None:
        """Read back what is stored. Raises `DataError` for a damaged file, which it names."""
        sealed = not (self.work / IDENTITY).exists() or identify(self.work, own_journal=True).format >= FORMAT
        for path in sorted((self.work / "runs").glob("*.json")):
            fix = (
                f"delete it, and {self.weights_path(path.stem)} where that exists: the other finished runs are kept, "
                "and --resume runs this trial again"
            )
            stored = read_sealed(path, fix=fix, sealed=sealed)
            run: Run | Pruned
            if "score" in stored:
                run = Run.from_json(stored, path=path, fix=fix, noun="run")
            else:
                run = Pruned.from_json(stored, path=path, fix=fix, noun="run")
            if str(run.name) != path.stem:
                raise damaged(path, f"it holds run {run.name}", fix=fix)
            if isinstance(run, Run):
                self.runs[run.name] = run
            else:
                self.pruned[run.name] = run

    def check_weights(self, wanted: Iterable[Run]) -> None:
        """Raise `DataError` where the weights of a run are missing, or are not those that were stored."""
        for run in wanted:
            path = self.weights_path(run.name)
            if run.weights is not None and (not path.is_file() or file_sha256(path) != run.weights):
                how = "its content differs from its checksum" if path.is_file() else "it is missing"
                raise damaged(path, how, fix=self._without(run.name))

    def _without(self, name: RunName) -> str:
        return (
            f"delete {self._path(name)} as well: the other finished runs are kept, and --resume runs this trial again"
        )

    def keep(self, run: Run) -> None:
        """Store a finished run; its weights were stored before."""
        write_sealed(self._path(run.name), run.to_json())
        self.runs[run.name] = run

    def keep_pruned(self, pruned: Pruned) -> None:
        """Store a trial that was stopped on the way."""
        write_sealed(self._path(pruned.name), pruned.to_json())
        self.pruned[pruned.name] = pruned

    def keep_weights(self, name: RunName | str, content: bytes) -> str:
        """Store the bytes of a safetensors file under the name of a run; returns their SHA-256."""
        write_bytes_atomically(self.weights_path(name), content)
        return hashlib.sha256(content).hexdigest()

    def load_weights(self, run: Run) -> dict[str, torch.Tensor]:
        """The trained weights of a run. Raises `DataError` where they are missing or damaged."""
        self.check_weights((run,))
        return self.read_weights(run.name, sha256=None, fix=self._without(run.name))

    def read_weights(self, name: RunName | str, *, sha256: str | None, fix: str) -> dict[str, torch.Tensor]:
        """Read weights by the name that they were kept under.

        Args:
            name: of the run.
            sha256: the checksum that is expected; with None it is not compared. Runs of an earlier version have none.
            fix: what the user can do where they are damaged, for the message.

        Raises:
            DataError: where they are missing or damaged, or have another checksum than expected.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.weights_path(name)
        if (kind := irregular(path)) is not None:  # a pipe would be waited for
            raise damaged(path, f"it is {kind}, not a file", fix=fix)
        try:
            weights: dict[str, torch.Tensor] = load_file(path)
        except (OSError, SafetensorError) as error:
            raise damaged(path, str(error), fix=fix) from error
        if sha256 is not None and file_sha256(path) != sha256:
            raise damaged(path, "its content differs from its checksum", fix=fix)
        return weights

    def drop_weights(self, names: Iterable[RunName]) -> None:
        """Remove the weights of runs that can no longer win."""
        for name in names:
            self.weights_path(name).unlink(missing_ok=True)

    def next_name(self) -> RunName:
        """The name of the next trial: one whose number no stored run has, whatever the study lost."""
        return RunName(trial=max((name.trial for name in (*self.runs, *self.pruned)), default=-1) + 1)

    @property
    def trials(self) -> tuple[Run | Pruned, ...]:
        """Finished and pruned trials in their order."""
        ended: list[Run | Pruned] = [*(run for run in self.runs.values() if run.is_trial), *self.pruned.values()]
        return tuple(sorted(ended, key=lambda trial: trial.name.trial))

    def weights_path(self, name: RunName | str) -> Path:
        """Where a run's trained weights are kept."""
        return self.work / "weights" / f"{name}.safetensors"

    def _path(self, name: RunName) -> Path:
        return self.work / "runs" / f"{name}.json"
