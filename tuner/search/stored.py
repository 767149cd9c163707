"""The records of what a search stores: what it goes on from, and the parts of its result that are plain mappings."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated, Any

from tuner.records import Record
from tuner.search.space import Candidate
from tuner.tasks.assessment import ClassScore
from tuner.tasks.entities import EntityScores
from tuner.tasks.metrics import Scored


@dataclass(frozen=True, kw_only=True)
class PassTime(Record):
    """What the pass over the frozen blocks took: seconds of all rows, and of one row where that was measured."""

    seconds: float
    row_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Ranked(Candidate):
    """A candidate with what it scored on the validation rows: a row of ``candidates`` in ``tuning.json``.

    ``mean`` and ``sd`` are over ``n`` seeds. What earlier versions did not measure is None.
    """

    exact = False

    mean: float
    sd: float | None
    n: int
    interval: tuple[float, float] | None = None
    expected: float | None = None
    below_best: float | None = None
    standard_error: float | None = None
    seconds: float
    recipe: dict[str, float] = field(default_factory=dict)

    @property
    def candidate(self) -> Candidate:
        """The candidate alone."""
        return Candidate(**{item.name: getattr(self, item.name) for item in fields(Candidate)})


@dataclass(frozen=True, kw_only=True)
class MeasuredScore(Record):
    """A score, with its interval where it has one: what every baseline holds."""

    score: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class TestScores(Record):
    """What the saved model scores on the test split; earlier versions measured the score and its interval alone."""

    __test__ = False  # the name is not one of a test class

    score: float
    interval: tuple[float, float]
    metrics: dict[str, Annotated[Any, Scored]] = field(default_factory=dict)
    by_class: tuple[Annotated[Any, ClassScore], ...] = ()
    entities: Annotated[Any, EntityScores] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Validation(Record):
    """Mean and standard deviation of the winner's validation scores over its seeds; none where it has no run."""

    mean: float | None
    sd: float | None
    seeds: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Winner(Record):
    """What was saved: the candidate, the recipe that it was trained with, and what it scored."""

    candidate: Annotated[Any, Candidate]
    test: Annotated[Any, TestScores]
    params: dict[str, float] = field(default_factory=dict)
    validation: Annotated[Any, Validation] | None = None
    expected: float | None = None
    run: str | None = None


@dataclass(frozen=True, kw_only=True)
class FittedTemperature(Record):
    """The temperature and the ``n`` validation rows that it was fitted on, where no test rows measured its effect."""

    temperature: float
    n: int
    unit: str
    why: str | None
    n_test: None


@dataclass(frozen=True, kw_only=True)
class MeasuredTemperature(Record):
    """A temperature, and what it changed on ``n_test`` test rows (`tuner.tasks.assessment.Calibration`)."""

    temperature: float
    n: int
    unit: str
    why: str | None
    n_test: int
    ece_before: float
    ece_before_interval: tuple[float, float]
    ece_after: float
    ece_after_interval: tuple[float, float]
    ece_by_chance: float
    confidence_before: float
    confidence_after: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Change(Record):
    """From which candidate to which a search left the advice, and why."""

    from_: str = field(metadata={"key": "from"})
    to: str
    why: str


@dataclass(frozen=True, kw_only=True)
class PlanNote(Record):
    """A plan as it was told to the user."""

    text: str


@dataclass(frozen=True, kw_only=True)
class SplitSizes(Record):
    """Rows of each split that a search used."""

    train: int
    validation: int
    test: int
