"""A user's own finished searches as evidence: read from run folders and kept in the user's folder, on this machine."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from advisor import runs
from advisor.kinds.words import is_known, words_of
from advisor.stored import DataSection, ModelSection
from tuner.errors import DataError, RunFolderError, damaged
from tuner.records import Record, user_cache_dir
from tuner.sealed import read_sealed, write_sealed
from tuner.search.space import Candidate
from tuner.search.stored import MeasuredScore, Ranked, SplitSizes

VERSION = 1
_ANEW = "delete it, and add the run again with `advisor evidence add RUN`"


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """What is labelled, in words, and the kind of the shipped evidence that serves it: its own or the nearest."""

    nouns: str
    shipped: str


KINDS: Mapping[str, Labelled] = {
    "text": Labelled(nouns="texts", shipped="text"),
    "text_pair": Labelled(nouns="pairs of texts", shipped="text"),
    "image": Labelled(nouns="images", shipped="image"),
}
"""By the names that own evidence is kept under."""


@dataclass(frozen=True, kw_only=True)
class OwnScore(Record):
    """What a candidate scored, 0 to 1, on average over its seeds, and how it was trained.

    ``rows_seen`` counts the training rows, repeats included. Both it and ``learning_rate`` are None where no block is
    trained.
    """

    candidate: Candidate
    score: float
    learning_rate: float | None
    rows_seen: float | None


@dataclass(frozen=True, kw_only=True)
class OwnRun(Record):
    """One finished search of the user's: what its candidates scored, and the probes that were measured before.

    ``n`` counts the labelled rows outside the test split; ``scores`` are of the validation rows, ``tested`` is the
    winner's on the test split. Nothing of the data is kept but its name and a fingerprint.
    """

    model: str
    model_fingerprint: str
    n_blocks: int
    dataset: str
    fingerprint: str
    kind: str
    metric: str
    n: int
    n_validation: int
    probes: Mapping[str, float]
    scores: tuple[OwnScore, ...]
    tested: OwnScore
    n_test: int
    added: str
    version: int = field(default=VERSION)

    @property
    def file_name(self) -> str:
        """The same name for every run of a dataset with a model by a metric, so that a later one takes its place."""
        identity = "\n".join((self.model_fingerprint, self.fingerprint, self.metric))
        named = re.sub(r"[^A-Za-z0-9._-]+", "_", f"{self.model.rpartition('/')[2]}-{self.dataset}")[:80].strip("._")
        return f"{named}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.json"


@dataclass(frozen=True, kw_only=True)
class _Probed(Record):
    """A probe, as far as evidence takes it from an ``advice.json``."""

    features: str
    score: float


@dataclass(frozen=True, kw_only=True)
class _Advised(Record):
    """An ``advice.json``, as far as evidence is taken from it."""

    model: ModelSection
    data: DataSection
    probes: tuple[_Probed, ...]
    metric: str
    next_command: str


@dataclass(frozen=True, kw_only=True)
class _Won(Record):
    """The winner of a search, as far as evidence takes it from a ``tuning.json``."""

    candidate: Candidate
    test: MeasuredScore
    params: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Tuned(Record):
    """A ``tuning.json``, as far as evidence is taken from it."""

    candidates: tuple[Ranked, ...]
    winner: _Won
    split_sizes: SplitSizes
    n_blocks: int
    metric: str


def own_folder() -> Path:
    """Where the user's own evidence lies."""
    return user_cache_dir() / "evidence"


# --- from a run folder


def read_run(folder: Path) -> OwnRun:
    """A finished search as evidence, by its run folder or the model's folder in it.

    Raises `TransferError` for a folder that is no finished run, for one that is damaged, and for runs that the evidence
    has nothing to compare with.
    """
    if folder.name == "model" and not (folder / runs.TUNING).exists() and (folder.parent / runs.TUNING).exists():
        folder = folder.parent
    again = "put the file back as it was, or run the search again with --out and a new folder"
    raw = runs.read_advice(folder)
    words = words_of(raw)
    if words.kept_as is None:
        raise DataError(
            f"{folder} {words.unlike_evidence}",
            why="the evidence is of labels of whole texts and images, and has nothing to compare it with",
            fix="add runs that label whole texts or images",
        )
    advice = _Advised.from_json(raw, path=folder / runs.ADVICE, fix=again, noun="advice", ignores_added=True)
    stored = runs.read_tuning(folder)
    if stored is None:
        raise DataError(
            f"{folder} holds no finished search: there is no {runs.TUNING}",
            why="evidence is what candidates scored once they were trained; advice alone is an expectation",
            fix=f"run the search to its end: {advice.next_command} --out {folder} --resume",
        )
    tuning = _Tuned.from_json(stored, path=folder / runs.TUNING, fix=again, noun="result", ignores_added=True)
    model, data, sizes, winner = advice.model, advice.data, tuning.split_sizes, tuning.winner
    if not is_known(raw):
        raise damaged(folder / runs.ADVICE, "it holds names or numbers that no search writes", fix=again)
    if tuning.n_blocks != model.n_blocks or tuning.metric != advice.metric:
        raise damaged(folder / runs.TUNING, f"it is of another search than {runs.ADVICE}", fix=again)
    found = OwnRun(
        model=model.id,
        model_fingerprint=model.fingerprint,
        n_blocks=model.n_blocks,
        dataset=data.name,
        fingerprint=data.fingerprint,
        kind=words.kept_as,
        metric=tuning.metric,
        n=data.splits.train + data.splits.validation,
        n_validation=sizes.validation,
        probes={probe.features: probe.score for probe in advice.probes},
        scores=tuple(
            _score(row.candidate, score=row.mean, recipe=row.recipe, n_train=sizes.train) for row in tuning.candidates
        ),
        tested=_score(winner.candidate, score=winner.test.score, recipe=winner.params, n_train=sizes.train),
        n_test=sizes.test,
        added=date.today().isoformat(),
    )
    _check_numbers(found, path=folder / runs.TUNING, fix=again)
    return found


def _score(candidate: Candidate, *, score: float, recipe: Mapping[str, float], n_train: int) -> OwnScore:
    """What a candidate scored with a recipe, which says something of what trains blocks only."""
    known = recipe if candidate.trains_blocks else {}
    epochs = known.get("epochs")
    return OwnScore(
        candidate=candidate,
        score=score,
        learning_rate=known.get("learning_rate"),
        rows_seen=None if epochs is None else epochs * n_train,
    )


def _check_numbers(run: OwnRun, *, path: Path, fix: str) -> None:
    """Raise `DataError` for scores and counts that no search writes."""
    every = (*run.scores, run.tested)
    scores = [*run.probes.values(), *(score.score for score in every)]
    positive = [score.learning_rate for score in every] + [score.rows_seen for score in every]
    if not (
        min(run.n_blocks, run.n, run.n_validation, run.n_test) > 0
        and run.kind in KINDS
        and all(0 <= score <= 1 for score in scores)
        and all(value is None or 0 < value < math.inf for value in positive)
        and all(0 <= (score.candidate.frozen_blocks or 0) <= run.n_blocks for score in every)
    ):
        raise damaged(path, "it holds names or numbers that no search writes", fix=fix)


# --- in the user's folder


def keep(run: OwnRun) -> tuple[Path, bool]:
    """Store a run; returns its file, and whether it took the place of an earlier one of the same dataset."""
    path = own_folder() / run.file_name
    replaced = path.exists()
    try:
        write_sealed(path, run.to_json())
    except RunFolderError as error:
        raise RunFolderError(
            error.what,
            why="your own evidence is kept there",
            fix="free it, or name another folder in $TRANSFER_ADVISOR_HOME",
        ) from error
    return path, replaced


def read_own() -> tuple[tuple[OwnRun, ...], tuple[str, ...]]:
    """The user's own runs, oldest first, and a warning for each file that was left out: what is wrong with it."""
    found, warnings = [], []
    folder = own_folder()
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            found.append(read_own_run(path))
        except DataError as error:
            warnings.append(f"evidence of your own was left out: {error.what}; {error.fix}")
    return tuple(sorted(found, key=lambda run: (run.added, run.file_name))), tuple(warnings)


def read_own_run(path: Path) -> OwnRun:
    """One file of the user's evidence.

    Raises `DataError` where it is damaged, of another version, or of a model that it does not name.
    """
    stored = read_sealed(path, fix=_ANEW)
    if stored.get("version") != VERSION:
        raise DataError(
            f"{path} is evidence of version {stored.get('version')}; this program reads version {VERSION}",
            why="its numbers may mean something else",
            fix=_ANEW,
        )
    if not stored.get("model") or not stored.get("model_fingerprint"):
        raise DataError(
            f"{path} is of an unknown model", why="evidence sharpens advice for the model that it is of", fix=_ANEW
        )
    run = OwnRun.from_json(stored, path=path, fix=_ANEW, noun="run")
    if path.name != run.file_name:
        raise damaged(path, f"it holds the run {run.file_name}", fix=_ANEW)
    _check_numbers(run, path=path, fix=_ANEW)
    return run


def fitting(found: Sequence[OwnRun], *, model_fingerprint: str, kind: str, metric: str) -> tuple[OwnRun, ...]:
    """Select the runs of the same model and kind of task that are scored by the same metric.

    Args:
        found: the user's own runs.
        model_fingerprint: what the model's weights are told by.
        kind: of the task, one of `KINDS`.
        metric: by its name.
    """
    wanted = (model_fingerprint, kind, metric)
    return tuple(run for run in found if (run.model_fingerprint, run.kind, run.metric) == wanted)
