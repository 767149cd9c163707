"""What is shipped in the end: the winner of a search, fitted again on all labelled rows where there is time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tuner.errors import ModelError
from tuner.search.bench import Bench
from tuner.search.choice import choose_winner
from tuner.search.final import Diverged, FinalFit, average_pays, final_fit
from tuner.search.loop import Trials
from tuner.search.plan import MOST_SEEDS, share_of
from tuner.search.space import Candidate
from tuner.search.store import Run
from tuner.search.trainer import as_exported
from tuner.training.train import Stopped

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FIT_SHARE = 0.4
"""Share of its schedule below which fitting the winner again on all rows loses more than the further rows gain."""
INTERRUPTED_FIT = "the final fit on all labelled rows was interrupted: the best model of the search is saved"


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """The model that is saved, and where it comes from: a run of the search, or a final fit.

    ``run`` is the validated run behind it, None where there was time for a single fit. ``logits`` are those of the
    validation rows under that run's own model, which they did not train.
    """

    model: PreTrainedModel
    name: str
    candidate: Candidate
    recipe: Mapping[str, float]
    run: Run | None
    final: FinalFit | None
    logits: np.ndarray | None = None
    notes: tuple[str, ...] = ()


@contextmanager
def ship(bench: Bench, *, trials: Trials, interrupted: bool) -> Iterator[Shipped]:
    """Choose the winner and fit it on all labelled rows, as far as there is time; Ctrl-C leaves the search's model.

    What is shipped holds only while the context is entered: its model stands on the base that all candidates share.
    """
    with ExitStack() as loan:
        yield _fitted(bench, trials, loan) if bench.refits and not interrupted else _of_search(bench, loan)


def _fitted(bench: Bench, trials: Trials, loan: ExitStack) -> Shipped:
    """What is expected to score most, fitted on all labelled rows, or the search's own model where that fails."""
    measured = any(run.candidate.trains_blocks for run in bench.leaders())
    plan = None if measured else trials.planner.plan()
    winner: Run | None = None
    if plan is not None and plan.final.arm.candidate.trains_blocks:
        # Time for a single run: it goes to what is expected to score most, on all labelled rows.
        candidate, rate = plan.final.arm.candidate, plan.final.arm.learning_rate
        recipe = prolonged(trials.planner.usual(candidate, rate=rate), by=max(plan.share, 1.0))
        why = "there was time for one fit"
    else:
        winner, why = _winner(bench), ""
        candidate, recipe = winner.candidate, dict(winner.recipe)
    left, share, seeds = trials.clock.left(), 1.0, 1
    if candidate.trains_blocks:
        recipe, share = _final_recipe(bench, trials, candidate=candidate, recipe=recipe, left=left)
    if winner is not None and share < FIT_SHARE:
        note = f"there was no time to fit the winner again on all labelled rows: {max(left, 0):.0f} s were left"
        return _of_search(bench, loan, notes=(note,))
    logits = None
    try:
        if winner is not None:
            logits = bench.validation_logits(_best(bench, winner))
        if winner is not None and candidate.trains_blocks:
            pays, why = average_pays(bench, winner)
            seeds = MOST_SEEDS if pays else 1
        model, final = loan.enter_context(
            final_fit(
                bench, name="single" if winner is None else str(winner.name), candidate=candidate, recipe=recipe,
                share=share, most_seeds=seeds, why=why, left=trials.clock.left,
                on_step=trials.telling.of_final_fit(candidate),
            )
        )  # fmt: skip
    except (KeyboardInterrupt, Stopped):
        if not bench.runs:
            raise KeyboardInterrupt from None
        return _of_search(bench, loan, notes=(INTERRUPTED_FIT,))
    except Diverged:
        if not bench.runs:
            raise _nothing_came_of(bench) from None
        note = "the loss of the final fit was no number any more: the best model of the search is saved"
        return _of_search(bench, loan, notes=(note,))
    return Shipped(
        model=as_exported(model, backbone=bench.backbone), name=f"{final.name}-final-{final.steps}x{len(final.seeds)}",
        candidate=candidate, recipe=recipe, run=winner, final=final, logits=logits,
    )  # fmt: skip


def _winner(bench: Bench) -> Run:
    if not bench.runs:
        raise _nothing_came_of(bench)
    return choose_winner(bench.scored)[0]


def _of_search(bench: Bench, loan: ExitStack, *, notes: tuple[str, ...] = ()) -> Shipped:
    """The winner as it was trained on the training rows: of its repeats the best."""
    winner = _winner(bench)
    best = _best(bench, winner)
    logits = bench.validation_logits(best)  # before the model is lent, with which it shares the base
    model = as_exported(loan.enter_context(bench.loaded(best)), backbone=bench.backbone)
    return Shipped(
        model=model, name=str(best.name), candidate=winner.candidate, recipe=dict(winner.recipe), run=winner,
        final=None, logits=logits, notes=notes,
    )  # fmt: skip


def _best(bench: Bench, winner: Run) -> Run:
    """The run with the highest score among a winner and its repeats."""
    return max(bench.scored.repeats(winner), key=lambda run: run.score)


def prolonged(recipe: Mapping[str, float], *, by: float) -> dict[str, float]:
    """A recipe for so many times its steps, at the learning rate that goes as far in them.

    >>> prolonged({"learning_rate": 2e-4, "head_ratio": 5.0, "epochs": 5.0, "steps": 75.0}, by=4.0)
    {'learning_rate': 0.0001, 'head_ratio': 5.0, 'epochs': 20.0, 'steps': 300.0}
    """
    longer = {"learning_rate": 1 / math.sqrt(by), "epochs": by, "steps": by}
    return {name: value * longer.get(name, 1.0) for name, value in recipe.items()}


def _nothing_came_of(bench: Bench) -> ModelError:
    """There is no model to save: what was trained fell apart."""
    said = [warning for warning in bench.warnings if "no number" in warning]
    return ModelError(
        f"nothing that was trained came to a score{': ' + said[-1] if said else ''}",
        why="weights whose loss is no number predict nothing",
        fix="omit --strategy, so that heads on frozen features are candidates too, or use another --model",
    )


def _final_recipe(
    bench: Bench, trials: Trials, *, candidate: Candidate, recipe: Mapping[str, float], left: float
) -> tuple[dict[str, float], float]:
    """A run's recipe for the final fit, and the share of it that there is time for.

    A run that had only a part of its schedule stands for the full one: its learning rate is that of the full schedule
    again, and of the share that fits. What was chosen to be short stays as it is.
    """
    then = recipe.get("share", 1.0)
    whole = {name: value for name, value in recipe.items() if name != "share"}
    whole |= {name: recipe[name] / then for name in ("steps", "epochs")}
    share = share_of(trials.clock.final_s(candidate, steps=whole["steps"]), left=left)
    if then != share > 0:  # in fewer steps it has to go as far
        known = [rate for rate in bench.expectations.rates if rate is not None]
        most = max((recipe["learning_rate"], *known))
        whole["learning_rate"] = min(recipe["learning_rate"] * math.sqrt(then / share), most)
    return whole, share
