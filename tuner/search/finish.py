"""The end of a search: the winner is chosen, fitted on all labelled rows, saved, and scored on the test split once."""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tuner.errors import ModelError
from tuner.export import ADVICE_FILE, SUPPORT_ROWS, TransferModel, measure_support, model_card
from tuner.inputs.tokens import Tokens
from tuner.interruption import Interruption
from tuner.model.classifier import TransferClassifier, classify
from tuner.names import baseline_name
from tuner.sealed import read_sealed, seal_folder, write_sealed
from tuner.search.choice import Comparison, choose_winner, difference
from tuner.search.decision import Decision, decide_and_fold
from tuner.search.final import Diverged, FinalFit, average_pays, fit_final
from tuner.search.journal import WORK
from tuner.search.loop import Trials
from tuner.search.plan import LEAST_SHARE, MOST_SEEDS, share_of
from tuner.search.result import TuningResult
from tuner.search.space import SCRATCH_EPOCHS, Candidate
from tuner.search.store import Run
from tuner.search.stored import TestScores
from tuner.search.trials import Bench, encode_rows
from tuner.tasks.assessment import assess
from tuner.training.train import Stopped

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FEW_ROWS = 30
"""With fewer validation rows than this, a bootstrap that finds no spread has seen too little of it."""
FIT_SHARE = 0.4
"""Of its schedule, below which fitting the winner again on all rows loses more than the further rows gain."""
TESTED = "test.json"
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


def ship(bench: Bench, *, trials: Trials, interrupted: bool) -> Shipped:
    """Choose the winner and fit it on all labelled rows, as far as there is time; Ctrl-C leaves the search's model."""
    measured = any(run.candidate.trains_blocks for run in bench.leaders())
    plan = None if interrupted or measured or not bench.refits else trials.plan()
    if plan is not None and plan.final.arm.candidate.trains_blocks:
        # Time for a single run: it goes to what is expected to score most, on all labelled rows.
        candidate = plan.final.arm.candidate
        recipe = prolonged(trials.usual(candidate, rate=plan.final.arm.learning_rate), by=max(plan.share, 1.0))
        winner, seeds, why = None, 1, "there was time for one fit"
    elif not bench.runs:
        raise _nothing_came_of(bench)
    else:
        winner, _ = choose_winner(bench)
        candidate, recipe = winner.candidate, dict(winner.recipe)
        seeds, why = 1, ""
    if interrupted or not bench.refits:
        return _of_search(bench)
    left, share = trials.left_s(), 1.0
    if candidate.trains_blocks:
        recipe, share = _final_recipe(bench, trials, candidate=candidate, recipe=recipe, left=left)
    if winner is not None and share < FIT_SHARE:
        note = f"there was no time to fit the winner again on all labelled rows: {max(left, 0):.0f} s were left"
        return _of_search(bench, notes=(note,))
    logits = None
    try:
        if winner is not None:
            logits = bench.validation_logits(_best(bench, winner))
        if winner is not None and candidate.trains_blocks:
            pays, why = average_pays(bench, winner)
            seeds = MOST_SEEDS if pays else 1
        model, final = fit_final(
            bench, name="single" if winner is None else winner.name, candidate=candidate, recipe=recipe, share=share,
            most_seeds=seeds, why=why, left=trials.left_s, on_step=trials.report_final(candidate),
        )  # fmt: skip
    except (KeyboardInterrupt, Stopped):
        if not bench.runs:
            raise KeyboardInterrupt from None
        return _of_search(bench, notes=(INTERRUPTED_FIT,))
    except Diverged:
        if not bench.runs:
            raise _nothing_came_of(bench) from None
        note = "the loss of the final fit was no number any more: the best model of the search is saved"
        return _of_search(bench, notes=(note,))
    name = f"{final.name}-final-{final.steps}x{len(final.seeds)}"
    return Shipped(
        model=bench.as_exported(model), name=name, candidate=candidate, recipe=recipe, run=winner, final=final,
        logits=logits,
    )  # fmt: skip


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
    share = share_of(trials.final_s(candidate, steps=whole["steps"]), left=left)
    if then != share > 0:  # in fewer steps it has to go as far
        known = [rate for rate in bench.expectations.rates if rate is not None]
        most = max((recipe["learning_rate"], *known))
        whole["learning_rate"] = min(recipe["learning_rate"] * math.sqrt(then / share), most)
    return whole, share


def _of_search(bench: Bench, *, notes: tuple[str, ...] = ()) -> Shipped:
    """The winner as it was trained on the training rows: of its repeats the best."""
    winner, _ = choose_winner(bench)
    best = _best(bench, winner)
    logits = bench.validation_logits(best)  # before the model is made, with which it shares the base
    return Shipped(
        model=bench.exported(best), name=best.name, candidate=winner.candidate, recipe=dict(winner.recipe), run=winner,
        final=None, logits=logits, notes=notes,
    )  # fmt: skip


def _best(bench: Bench, winner: Run) -> Run:
    """Of a winner's repeats the best."""
    return max(bench.repeats(winner), key=lambda run: run.score)


def finish(
    bench: Bench,
    *,
    trials: Trials,
    folder: Path,
    stopped_because: str,
    baselines: Mapping[str, Any],
    limited_to: str | None,
    earlier: TuningResult | None,
    interruption: Interruption | None,
) -> TuningResult:
    """Fit and save the winner, score it on the test split, and put everything measured into one record."""
    deadline = trials.deadline
    shipped = ship(bench, trials=trials, interrupted=stopped_because == "interrupted")
    if INTERRUPTED_FIT in shipped.notes:
        stopped_because = "interrupted"
    if interruption is not None:
        interruption.hold()
    _, compared = choose_winner(bench) if bench.runs else (None, [])
    chosen = next((entry for entry in compared if entry.run is shipped.run), None)
    model = shipped.model
    if bench.progress is not None:
        bench.progress("saving the winner: scoring it on the test split", 1.0)
    data, n_blocks, metric = bench.data, bench.backbone.n_blocks, bench.metric
    warnings = [*bench.warnings, *shipped.notes, *_beaten_by(baselines, chosen), *_cut_short(bench)]
    warnings += _under_trained(shipped, trials)
    decision = decide_and_fold(model, bench=bench, logits=shipped.logits)
    test = _test_once(bench, model, name=shipped.name, decision=decision)
    warnings += test.pop("notes")
    unit = "word" if data.is_tagged else "row"
    calibration = _calibration(decision, test.pop("calibration", None), unit=unit)
    if test["times"] > 1:
        warnings.append(
            f"the test split was scored {test['times']} times: an earlier stop of this search had another model before"
        )
    label = shipped.candidate.label(n_blocks)
    rows = np.random.default_rng(bench.seed).permutation(len(data.train.rows))[:SUPPORT_ROWS]
    _, features = classify(model, backbone=bench.backbone, encoded=bench.train_encoded.take(rows))
    card = model_card(
        base=bench.backbone.id,
        data=data.name,
        metric=metric,
        score=test["score"],
        interval=test["interval"],
        candidate=label,
        recipe=shipped.recipe,
        class_names=data.class_names,
        n_train=len(data.train.rows) if shipped.final is None else shipped.final.rows,
        n_test=test["n"],
        times_tested=test["times"],
        native=not isinstance(model, TransferClassifier),
        whole_words=shipped.candidate.top == "bilstm",
        kind="token" if data.is_tagged else "text" if bench.backbone.is_text else "image",
        metrics=test.get("metrics"),
        by_class=test.get("by_class", ()),
        calibration=calibration,
    )
    # Saved beside its place and moved there, so that an interruption leaves no half a model.
    saving = folder / WORK / "model"
    reader = copy.deepcopy(bench.backbone.inputs.reader)
    if bench.backbone.is_text:
        # Pipelines cut texts at the tokenizer's own limit, which may lie far beyond what the model was tuned on.
        reader.model_max_length = bench.backbone.max_length
    TransferModel(classifier=model, reader=reader, support=measure_support(features), card=card).save_pretrained(saving)
    if (folder / ADVICE_FILE).exists():
        shutil.copyfile(folder / ADVICE_FILE, saving / ADVICE_FILE)
        seal_folder(saving)
    replaced = folder / WORK / "replaced"
    shutil.rmtree(replaced, ignore_errors=True)
    if (folder / "model").exists():
        (folder / "model").rename(replaced)
    saving.rename(folder / "model")
    rank = [
        entry.run.candidate.to_json()
        | {
            "mean": entry.mean,
            "sd": entry.sd,
            "n": len(entry.seeds),
            "interval": entry.interval,
            "expected": entry.expected,
            "below_best": entry.below_best,
            "standard_error": entry.standard_error,
            "seconds": entry.run.seconds,
            "recipe": entry.run.recipe,
        }
        for entry in compared
    ]
    at_depth: dict[int, dict[str, Any]] = {}
    for entry in rank:  # best first: of two heads at a depth the better one stands
        is_plain = entry["augmentation"] is None and entry["option"] in (None, bench.space.option)
        if entry["frozen_blocks"] is not None and entry["start"] == "pretrained" and is_plain:
            kept = ("frozen_blocks", "mean", "sd", "n", "interval", "seconds")
            at_depth.setdefault(int(entry["frozen_blocks"]), {key: entry[key] for key in kept})
    return TuningResult(
        candidates=tuple(rank),
        by_depth=tuple(at_depth[depth] for depth in sorted(at_depth)),
        winner={
            "candidate": shipped.candidate.to_json(),
            "params": shipped.recipe,
            "validation": {
                "mean": None if chosen is None else chosen.mean,
                "sd": None if chosen is None else chosen.sd,
                "seeds": [] if chosen is None else list(chosen.seeds),
            },
            "expected": _expected(bench, trials, shipped, chosen),
            "test": test,
            "run": shipped.name,
        },
        changed_from_advice=_change(trials, shipped=shipped, chosen=chosen, compared=compared),
        baselines=baselines,
        trials=trials.counts(),
        confirmations=tuple(
            {"candidate": run.candidate.to_json(), "seed": run.seed, "score": run.score, "seconds": run.seconds}
            for run in bench.runs.values()
            if run.is_confirmation
        ),
        budget=None if deadline.budget_s is None else {"asked_s": deadline.budget_s, "used_s": deadline.used},
        stopped_because=stopped_because,
        model_dir=str(folder / "model"),
        metric=metric,
        n_blocks=n_blocks,
        seed=bench.seed,
        seconds=deadline.used + (earlier.seconds if earlier is not None else 0.0),
        split_sizes={
            "train": len(data.train.rows),
            "validation": len(data.validation.rows),
            "test": test["n"],
        },
        range={"advised": bench.space.depths, "searched": trials.depths},
        prefix={
            "cache": bool(bench.cached_depths),
            "by_depth": bench.prefix_notes,
            "seconds": bench.pass_seconds,
        },
        warnings=tuple(warnings),
        limited_to=limited_to,
        augmentation=_augmentation(bench, trials),
        options=(*_options(bench, trials, shipped=shipped), *decision.option(shipped.candidate)),
        calibration=calibration,
        unscored=trials.unscored([entry.run.candidate for entry in compared]),
        final=None if shipped.final is None else shipped.final.to_json(),
        plans=tuple(trials.plans),
    )


def tested(work: Path) -> dict[str, dict[str, Any]]:
    """What was scored on the test split before, by run. Raises `DataError` where that is damaged."""
    path = work / TESTED
    fix = "delete it: --resume then scores the test split again, and cannot say how often it was looked at before"
    scored = read_sealed(path, fix=fix, sealed=False) if path.exists() else {}
    for name, scores in scored.items():
        TestScores.from_json(scores, path=path, fix=fix, at=name, ignores_added=True)
    return scored


def _calibration(decision: Decision, measured: Mapping[str, Any] | None, *, unit: str) -> dict[str, Any]:
    """The temperature with the ``n`` validation rows that it is fitted on, and what it changed on ``n_test`` rows."""
    found = dict(measured or {})
    fitted, n_test = decision.temperature, found.pop("n", None)
    return {"temperature": fitted.value, "n": fitted.n, "unit": unit, "why": fitted.why, "n_test": n_test, **found}


def _test_once(bench: Bench, model: PreTrainedModel, *, name: str, decision: Decision) -> dict[str, Any]:
    """The winner's score on the test split, kept at once: no model is ever scored there twice, whatever interrupts."""
    scored = tested(bench.work)
    if name not in scored:
        encoded, part, notes = encode_rows(bench.backbone, bench.data.test, what="test", progress=bench.progress)
        logits, _ = classify(model, backbone=bench.backbone, encoded=encoded)
        truth, predicted = part.truth(metric=bench.metric, names=bench.data.class_names), logits.argmax(1)
        scored[name] = {
            "score": truth.score(predicted),
            "interval": truth.interval(predicted, seed=bench.seed),
            "n": len(part.rows),
            "notes": list(notes),
        }
        seen = encoded.seen if isinstance(encoded, Tokens) and bench.data.is_tagged else None
        scored[name] |= assess(logits, truth, temperature=decision.temperature.value, seen=seen, seed=bench.seed)
        write_sealed(bench.work / TESTED, scored)
    return {"notes": [], **scored[name], "times": len(scored)}


def _augmentation(bench: Bench, trials: Trials) -> dict[str, Any] | None:
    """Whether augmented images helped: the same candidate, recipe and seeds with and without."""
    policy = bench.space.augmentation
    if policy is None:
        return None
    found: dict[str, Any] = {"policy": policy, "mirror_loss": bench.measured_mirror_loss, "difference": None}
    run = next((run for run in bench.leaders() if run.name.endswith("-augmented")), None)
    if run is None:
        reasons = [why for candidate, why in trials.not_repeated.items() if candidate.augmentation == policy]
        return found | {"why": reasons[0] if reasons else "no candidate that trains pretrained blocks came to a score"}
    return found | _against(bench, run, bench.runs[run.name.removesuffix("-augmented")])


def _options(bench: Bench, trials: Trials, *, shipped: Shipped) -> tuple[dict[str, Any], ...]:
    """Whether options of training blocks helped: the same candidate, recipe and seeds with and without."""
    found = []
    for option in bench.space.options:
        run = next((run for run in bench.leaders() if run.name.endswith(f"-{option}")), None)
        if run is not None:
            against = _against(bench, run, bench.runs[run.name.removesuffix(f"-{option}")])
            found.append({"option": option, **against, "kept": shipped.candidate.option == option})
            continue
        reasons = [why for candidate, why in trials.not_repeated.items() if candidate.option == option]
        why = reasons[0] if reasons else "no candidate that trains pretrained blocks came to a score"
        found.append({"option": option, "difference": None, "why": why})
    return tuple(found)


def _against(bench: Bench, run: Run, plain: Run) -> dict[str, Any]:
    """By how much a variant of a candidate scores more than the candidate itself."""
    mean, (low, high), n, over_seeds = difference(bench, run, plain)
    verdict = "it helped" if low > 0 else "it harmed" if high < 0 else "no difference is shown"
    if low == high != 0 and len(bench.validation_encoded) < FEW_ROWS:
        verdict = "the validation rows are too few to tell"
    elif not over_seeds and not low <= 0 <= high:
        verdict = f"{'ahead' if low > 0 else 'behind'} on one seed, which may be chance"
    return {
        "difference": mean,
        "interval": (low, high),
        "seeds": n,
        "candidate": plain.candidate.to_json(),
        "seconds": (plain.seconds, run.seconds),
        "why": verdict,
    }


def _beaten_by(baselines: Mapping[str, Any], chosen: Comparison | None) -> list[str]:
    """A baseline that clearly scores more than the winner is said to: both are measured without the test split."""
    if chosen is None:
        return []
    return [
        f"the baseline {baseline_name(name)} scores {baseline['score']:.3f} in cross-validation, more than the "
        f"winner's {chosen.mean:.3f} [{chosen.interval[0]:.3f}, {chosen.interval[1]:.3f}] in "
        "validation: this model may be the wrong one for this data"
        for name, baseline in baselines.items()
        if name in ("majority", "tfidf_linear", "pixel_linear", "entity_lookup", "token_linear")
        and baseline is not None
        and baseline["score"] > chosen.interval[1]
    ]


def _cut_short(bench: Bench) -> list[str]:
    """Training from scratch whose schedule the budget cut to less than is searched otherwise is said to be."""
    best = next((run for run in bench.leaders() if run.candidate.start == "scratch"), None)
    if best is None or best.recipe["epochs"] >= SCRATCH_EPOCHS[0]:
        return []
    return [
        f"the budget cut training from scratch to {best.recipe['epochs']:g} epochs, fewer than the {SCRATCH_EPOCHS[0]} "
        "that fresh weights get at least: its score says little of what they can do; a longer --budget shows it"
    ]


def _under_trained(shipped: Shipped, trials: Trials) -> list[str]:
    """A final fit that the budget cut is said to be cut, the first of all where it is under-trained."""
    if shipped.final is None or shipped.final.share >= 0.99:
        return []
    steps = f"{shipped.final.steps:,} step{'s' * (shipped.final.steps != 1)}"
    part = f"{100 * shipped.final.share:.0f} % of its schedule ({steps})"
    if shipped.final.share < LEAST_SHARE:
        return [f"under-trained: the budget left time for {part}; a longer --budget gives a better model"]
    return [f"the budget left time for {part} in the final fit"]


def _expected(bench: Bench, trials: Trials, shipped: Shipped, chosen: Comparison | None) -> float:
    """The score that the winner is expected to reach, after what was measured."""
    return chosen.expected if chosen is not None else trials.expected(shipped.candidate, shipped.recipe)


def _change(
    trials: Trials, *, shipped: Shipped, chosen: Comparison | None, compared: Sequence[Comparison]
) -> dict[str, str] | None:
    """Why the winner is not what was recommended, or None where it is: figures of one comparison."""
    recommended, n_blocks = trials.recommended, trials.bench.backbone.n_blocks
    if shipped.candidate == recommended:
        return None
    advised = next((entry for entry in compared if entry.run.candidate == recommended), None)
    if chosen is None:
        why = (
            f"there was time for a single fit, and it is expected to score "
            f"{trials.expected(shipped.candidate, shipped.recipe):.3f} in it"
        )
    elif advised is None:
        why = f"the recommended candidate has no score: {trials.why_unscored(recommended)}"
    else:
        ours, theirs = f"{chosen.expected:.3f}", f"{advised.expected:.3f}"
        on_validation = f"on validation they scored {chosen.mean:.3f} and {advised.mean:.3f}"
        if round(chosen.expected, 6) > round(advised.expected, 6):
            more = 100 * (chosen.expected - advised.expected)
            why = (
                f"after all validation scores it is expected to score {ours}, {more:.1f} points more than the "
                f"recommended candidate's {theirs}; {on_validation}"
            )
        elif round(chosen.expected, 6) == round(advised.expected, 6):
            why = f"both are expected to score {ours}, and it is cheaper, since it trains less"
        elif trials.bench.prefer == "speed":
            why = f"it takes less time, and is expected to score {ours}, within a point of {theirs}; {on_validation}"
        else:
            why = (
                f"its {ours} is expected after further seeds; the recommended candidate's {theirs} rests on a single "
                "run that no further seed confirmed"
            )
    return {"from": recommended.label(n_blocks), "to": shipped.candidate.label(n_blocks), "why": why}
