"""Measured tasks and what they say together: means and covariances of gains over a probe, as shipped in JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tuner.errors import DataError
from tuner.records import Record
from tuner.search.gaussian import Floats, logit

FOLDER = Path(__file__).parent
VERSION = 1
CENTRE = 2.5
"""log10 of the number of rows at which means are stored."""
RIDGE = 3.0
"""Pull of the slopes over log10 rows towards none, in datasets. Chosen on left-out datasets (docs/scoreboard.md)."""
LEVEL_ROWS = (100, 300, 1_000)
LINEAR = ("last", "second_to_last", "weighted_last_four", "concat_last_four", "weighted_all", "embeddings")
"""Linear heads on frozen features that evidence was measured for, by features; ``last`` is head only."""
_WHY = "expected scores come from it"
_AGAIN = "install the package again, or fit the evidence again"
_RULE_AGAIN = "install the package again, or run benchmarks/scoreboard.py --write"
_TRAINED = re.compile(r"trained (?P<share>0\.\d+) (?P<rate>low|high)")


def trained(share: float, rate: str) -> str:
    """The name of training all blocks after a share of frozen ones, at the lower or the higher learning rate.

    >>> trained(2 / 7, "low")
    'trained 0.286 low'
    """
    return f"trained {share:.3f} {rate}"


@dataclass(frozen=True, kw_only=True)
class Task(Record):
    """One dataset at one size under one model: a cross-validated probe, and test scores of what was trained.

    ``scores`` are accuracies by item: names of features for linear heads (`LINEAR`), `trained` for the rest.
    """

    model: str
    dataset: str
    n: int
    probe: float
    scores: Mapping[str, float]
    n_test: int


@dataclass(frozen=True, kw_only=True)
class RuleCost(Record):
    """How many points the classic rule of a situation lay below the best candidate.

    It is measured in the tasks of so many sets whose likeliest situation it was.
    """

    points: float
    cells: int
    sets: int


@dataclass(frozen=True, kw_only=True)
class OtherModel(Record):
    """What a few measured datasets say of another model.

    ``shift`` is by how much the level of its gains differs from that of the evidence, and ``learned`` the variance of
    another model's level that this takes away.
    """

    model: str
    datasets: tuple[str, ...]
    rows: tuple[int, int]
    shift: float
    learned: float

    @property
    def said(self) -> str:
        """Where it comes from, for reasons and reports."""
        low, high = self.rows
        return f"{len(self.datasets)} with {self.model}, {f'{low:,} to ' if low < high else ''}{high:,} rows"


@dataclass(frozen=True, kw_only=True)
class Evidence(Record):
    """What measured tasks say of gains over a probe, in log odds.

    Gains have means that change with the number of rows (``mean`` at ``10 ** CENTRE`` rows, ``slope`` a factor of ten),
    a common uncertainty of their level by rows (``level``, variances at `LEVEL_ROWS`), and a covariance of their shape
    over datasets (``between``) and within one (``within``). ``probe`` names the features of the probe. ``seeds`` are
    the variances over seeds, which draw rows and train, at `LEVEL_ROWS`.
    """

    kind: str
    models: tuple[str, ...]
    datasets: tuple[str, ...]
    rows: tuple[int, int]
    probe: str
    items: tuple[str, ...]
    rates: Mapping[str, float]
    mean: tuple[float, ...]
    slope: tuple[float, ...]
    level: tuple[float, ...]
    between: tuple[tuple[float, ...], ...]
    within: tuple[tuple[float, ...], ...]
    seeds: tuple[float, ...]
    n_tasks: int
    version: int = field(default=VERSION)
    others: tuple[OtherModel, ...] = ()
    scratch: tuple[float, ...] = ()
    """Log odds that fresh weights gain over everything trained: mean, standard deviation, sets, rows; or nothing."""
    rule: Mapping[str, RuleCost] = field(default_factory=dict, metadata={"stored": False})
    """By situation, what the classic rule cost in the measured tasks (`load_rule`)."""
    settled: bool = field(default=False, metadata={"stored": False})
    """Whether it is of one model already (`advisor.evidence.predictions.for_model`); else of those it was fitted on."""
    wider_by: float = field(default=1.0, metadata={"stored": False})
    """By how much its standard deviations were multiplied, for a model that it was not fitted on."""
    other: OtherModel | None = field(default=None, metadata={"stored": False})
    own_runs: int = field(default=0, metadata={"stored": False})
    """How many of the user's own runs it was sharpened with (`advisor.evidence.sharpening`)."""
    learned: tuple[tuple[float, ...], ...] | None = field(default=None, metadata={"stored": False})
    """The covariance of the mean gains that runs of the model itself took away."""

    @property
    def said(self) -> str:
        """Where it comes from, for reasons and reports.

        >>> load_evidence("text").said
        '16 text sets, all-MiniLM-L6-v2, 100 to 1,000 rows'
        """
        low, high = self.rows
        own = f", and {self.own_runs:,} run{'s' * (self.own_runs > 1)} of your own" if self.own_runs else ""
        other = f", and {self.other.said}" if self.other else ""
        return (
            f"{len(self.datasets)} {self.kind} sets, {' and '.join(self.models)}, {low:,} to {high:,} rows{other}{own}"
        )

    def gains(self, n: int) -> tuple[Floats, Floats]:
        """(k,) means and (k, k) covariance of the items' gains in log odds over the probe, at so many rows.

        Beyond the measured numbers of rows the nearest ones speak.
        """
        size = float(np.clip(np.log10(n), *np.log10(self.rows)))
        mean = np.asarray(self.mean) + np.asarray(self.slope) * (size - CENTRE)
        level = float(np.interp(size, np.log10(LEVEL_ROWS), self.level))
        covariance = level + np.asarray(self.between) + np.asarray(self.within)
        return mean, covariance if self.learned is None else covariance - np.asarray(self.learned)

    def widened(self, by: float) -> Evidence:
        """This evidence with standard deviations that are so many times as large."""
        between, within = (np.asarray(part) * by**2 for part in (self.between, self.within))
        return replace(
            self,
            level=tuple(variance * by**2 for variance in self.level),
            between=tuple(map(tuple, between.tolist())),
            within=tuple(map(tuple, within.tolist())),
            wider_by=by * self.wider_by,
        )

    def seeds_at(self, n: int) -> float:
        """The variance of log odds over seeds at so many rows."""
        return float(np.interp(np.log10(n), np.log10(LEVEL_ROWS), self.seeds))


def fit_evidence(
    tasks: Sequence[Task], *, kind: str, probe: str, rates: Mapping[str, float], seeds: Mapping[int, float]
) -> Evidence:
    """Means and covariances of gains, with the dataset as the unit: every dataset weighs the same.

    Means are weighted least squares on log10 rows with shrunk slopes. What is left of every task is split into its
    level, whose variance depends on the number of rows, and its shape, whose covariance has a part between datasets and
    one within them.

    Args:
        tasks: measured tasks that all hold the same items, of two datasets at least.
        kind: ``text`` or ``image``.
        probe: the features of the tasks' probe.
        rates: the learning rates that ``low`` and ``high`` stand for.
        seeds: by number of rows, the variance of log odds over seeds.

    Raises:
        ValueError: for fewer datasets, or tasks that hold different items.
    """
    names = sorted({task.dataset for task in tasks})
    items = tuple(tasks[0].scores)
    if len(names) < 2 or any(set(task.scores) != set(items) for task in tasks):
        raise ValueError("evidence needs two datasets at least, and the same items of every task")
    dataset = np.array([names.index(task.dataset) for task in tasks])
    size = np.log10([task.n for task in tasks]) - CENTRE
    gains = np.stack(
        [
            np.array([logit(task.scores[item], n=task.n_test) for item in items]) - logit(task.probe, n=task.n)
            for task in tasks
        ]
    )
    weight = 1 / np.bincount(dataset)[dataset]
    design = np.column_stack([np.ones(len(tasks)), size])
    ridge = np.diag([0.0, RIDGE])
    coefficients = np.linalg.solve(design.T @ (weight[:, None] * design) + ridge, design.T @ (weight[:, None] * gains))
    left = gains - design @ coefficients
    level = left.mean(1)
    shape = left - level[:, None]
    centres = np.stack([shape[dataset == number].mean(0) for number in range(len(names))])
    inner = shape - centres[dataset]
    freedom = max(len(tasks) - len(names), 1)
    variances = [_level_variance(level, [task.n for task in tasks], rows) for rows in LEVEL_ROWS]
    return Evidence(
        kind=kind,
        models=tuple(sorted({task.model for task in tasks})),
        datasets=tuple(names),
        rows=(min(task.n for task in tasks), max(task.n for task in tasks)),
        probe=probe,
        items=items,
        rates=dict(rates),
        mean=_floats(coefficients[0]),
        slope=_floats(coefficients[1]),
        level=_floats(np.array(variances)),
        between=tuple(map(_floats, centres.T @ centres / (len(names) - 1))),
        within=tuple(map(_floats, inner.T @ inner / freedom)),
        seeds=_floats(np.interp(np.log(LEVEL_ROWS), np.log(sorted(seeds)), [seeds[n] for n in sorted(seeds)])),
        n_tasks=len(tasks),
    )


def _level_variance(level: Floats, sizes: Sequence[int], rows: int) -> float:
    """Mean square of the levels of the tasks whose size is nearest to so many rows."""
    nearest = [min(LEVEL_ROWS, key=lambda known: abs(np.log(known / n))) == rows for n in sizes]
    chosen = level[np.array(nearest)] if any(nearest) else level
    return float(np.mean(chosen**2))


def _floats(values: Floats) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)


@cache
def load_evidence(kind: str) -> Evidence:
    """Load the shipped evidence for texts or images."""
    return read_evidence(FOLDER / f"{kind}.json")


def read_evidence(path: Path) -> Evidence:
    """Read evidence from a file. Raises `DataError` where it is damaged or of another version."""
    try:
        stored: dict[str, Any] = json.loads(path.read_bytes())
        if stored["version"] != VERSION:
            raise DataError(
                f"{path} is evidence of version {stored['version']}; this program reads version {VERSION}",
                why="its numbers may mean something else",
                fix="fit it again with this version",
            )
        found = Evidence.from_json(stored, path=path, fix=_AGAIN, why=_WHY, noun="evidence")
        k = len(found.items)
        whole = {len(found.mean), len(found.slope), np.shape(found.between), np.shape(found.within)} == {k, (k, k)}
        whole = whole and all(np.isfinite([o.shift, o.learned]).all() for o in found.others)
        if not whole or not np.isfinite(found.gains(300)[1]).all():
            raise ValueError("its parts do not fit together")
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} cannot be read as evidence ({error})",
            why=_WHY,
            fix=_AGAIN,
        ) from error
    return found


def load_rule(kind: str) -> Mapping[str, RuleCost]:
    """Read what the classic rule cost by situation, as benchmarks/scoreboard.py measured it.

    Raises `DataError` where the file is damaged.
    """
    path = FOLDER / "rule.json"
    try:
        stored = json.loads(path.read_bytes())[kind]
        return {
            number: RuleCost.from_json(cost, path=path, fix=_RULE_AGAIN, at=number) for number, cost in stored.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        said = error.what if isinstance(error, DataError) else error
        raise DataError(
            f"{path} cannot be read as costs of the classic rule ({said})", why="the reasons name them", fix=_RULE_AGAIN
        ) from error


def share_of(item: str) -> tuple[float, str] | None:
    """The share of frozen blocks and the learning rate that a trained item's name says; None for a linear head."""
    found = _TRAINED.fullmatch(item)
    return None if found is None else (float(found["share"]), found["rate"])
