"""From expected scores to one candidate, by score or by speed, and what else is worth knowing of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from advisor.evidence.predictions import Prediction, cheapest_within
from tuner.errors import OptionError, did_you_mean
from tuner.records import Record

PREFERENCES = ("score", "speed")
ONE_POINT = 1.0
"""Expected loss, in points, that speed may cost."""


@dataclass(frozen=True, kw_only=True)
class Decision(Record):
    """The candidate with the highest expected score, the cheapest within one point of it, and the one preferred."""

    best: Prediction
    cheapest: Prediction
    chosen: Prediction


def check_preference(prefer: str) -> None:
    """Raise `OptionError` for a preference other than ``score`` and ``speed``."""
    if prefer not in PREFERENCES:
        raise OptionError(
            f"unknown preference {prefer!r}.{did_you_mean(prefer, PREFERENCES)}",
            why="it says whether the highest expected score is advised, or the cheapest candidate within a point of it",
            fix="pass --prefer score or --prefer speed",
        )


def decide(predictions: Sequence[Prediction], *, prefer: str) -> Decision:
    """Choose among predictions, best first; ``prefer`` is ``score`` or ``speed``.

    Fresh weights are a control, to see what pretraining is worth, and never advised.
    """
    able = [prediction for prediction in predictions if prediction.candidate.start == "pretrained"]
    cheapest = cheapest_within(able, points=ONE_POINT)
    return Decision(best=able[0], cheapest=cheapest, chosen=able[0] if prefer == "score" else cheapest)


def in_words(found: Prediction, *, n_blocks: int) -> str:
    """Say what a candidate is, and what it is expected to score, in percent.

    >>> from tuner.search.space import candidate_at
    >>> in_words(Prediction(candidate=candidate_at(2, 7), score=0.84, interval=(0.81, 0.87), learning_rate=4.5e-5,
    ...     cost=0.7, seconds=None, why=""), n_blocks=7)
    '2 of 7 blocks frozen, 84.0 % [81.0, 87.0]'
    """
    low, high = (100 * edge for edge in found.interval)
    return f"{found.candidate.label(n_blocks)}, {100 * found.score:.1f} % [{low:.1f}, {high:.1f}]"


def reasons(decision: Decision, *, n_blocks: int) -> list[str]:
    """Say what is expected of the best candidate and of the cheapest near it, and where that comes from."""
    best, cheapest = decision.best, decision.cheapest
    said = f"best: {in_words(best, n_blocks=n_blocks)} (80 % interval)"
    if cheapest.candidate != best.candidate:
        time = f"{100 * cheapest.cost / best.cost:.0f} % of the time" if cheapest.cost else "almost no time"
        said += f"; within one point at {time}: {in_words(cheapest, n_blocks=n_blocks)}"
    return [said, f"expected from {best.why}"]


def counterfactuals(
    decision: Decision, predictions: Sequence[Prediction], *, n: int, n_blocks: int,
    at_rows: Callable[[int], Sequence[Prediction]], most_rows: int,
) -> list[str]:  # fmt: skip
    """Say what would change the answer: ten times the rows, a model closer to the data, half the time.

    Args:
        decision: the answer.
        predictions: all of them.
        n: labelled rows.
        n_blocks: blocks of the model.
        at_rows: predictions at another number of rows, the probe's score unchanged.
        most_rows: of the evidence; beyond it nothing was measured.
    """
    best = decision.best
    if 10 * n > most_rows:
        more = f"ten times the rows: not known, since the evidence ends at {most_rows:,} rows"
    else:
        then = at_rows(10 * n)[0]
        same = "the same advice" if then.candidate == best.candidate else then.candidate.label(n_blocks)
        gained = 100 * (then.score - best.score)
        more = f"ten times the rows: {same}; the gain over the probe changes by {gained:+.1f} points"
    closer = (
        "a model closer to the data: not known; similarity to the source lowered no loss on left-out sets, so it "
        "changes no prediction"
    )
    affordable = [found for found in predictions if found.cost <= best.cost / 2]
    half = "half the time: nothing cheaper was measured"
    if affordable:
        lost = 100 * (best.score - affordable[0].score)
        half = f"half the time: {in_words(affordable[0], n_blocks=n_blocks)}, {lost:.1f} points less"
    return [more, closer, half]
