"""The end of a search: the winner is scored on the test split once and saved, and all is put into one record."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tuner.export import ADVICE_FILE, SUPPORT_ROWS, TransferModel, measure_support, model_card
from tuner.interruption import Interruption
from tuner.model.classifier import TransferClassifier, classify, final_linear
from tuner.names import BASELINES, baseline_name
from tuner.sealed import read_sealed, seal_folder, write_sealed
from tuner.search.bench import Bench
from tuner.search.choice import Comparison, choose_winner, difference
from tuner.search.data import encode_rows
from tuner.search.decision import Decision, decide_and_fold
from tuner.search.journal import WORK
from tuner.search.loop import Trials
from tuner.search.plan import LEAST_SHARE
from tuner.search.result import TuningResult
from tuner.search.ship import INTERRUPTED_FIT, Shipped, ship
from tuner.search.space import ENOUGH_FOR_SCRATCH, SCRATCH_EPOCHS
from tuner.search.store import Run
from tuner.search.stored import TestScores
from tuner.search.variants import AUGMENTED

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FEW_ROWS = 30
"""With fewer validation rows than this, a bootstrap that finds no spread has seen too little of it."""
TESTED = "test.json"


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
    """Fit and save the winner, score it on the test split, and put everything measured into one record.

    Args:
        bench: of the search.
        trials: what was planned and run.
        folder: the run folder, which the model is saved in.
        stopped_because: why the trials ended: ``interrupted`` omits the final fit.
        baselines: measured beforehand, by name; None for one that could not be measured.
        limited_to: the strategy that the search was restricted to, if any.
        earlier: the result of an earlier stop of this search, whose seconds are added.
        interruption: of the search; it holds back further signals once the model is fitted.
    """
    data = bench.rows.data
    with ship(bench, trials=trials, interrupted=stopped_because == "interrupted") as shipped:
        if INTERRUPTED_FIT in shipped.notes:
            stopped_because = "interrupted"
        if interruption is not None:
            interruption.hold()
        compared = choose_winner(bench.scored)[1] if bench.runs else []
        if bench.progress is not None:
            bench.progress("saving the winner: scoring it on the test split", 1.0)
        linear = final_linear(shipped.model, bench.backbone.blocks, n_classes=bench.rows.task.n_outputs)
        assert linear is not None  # a classifier without one is never built
        decision = decide_and_fold(linear, logits=shipped.logits, rows=bench.rows, seed=bench.seed)
        test = _test_once(bench, shipped.model, name=shipped.name, decision=decision)
        notes = test.pop("notes")
        calibration = _calibration(decision, test.pop("calibration", None), unit=bench.rows.task.unit)
        _save(bench, shipped, folder=folder, test=test, calibration=calibration)
    deadline = trials.clock.deadline
    chosen = next((entry for entry in compared if entry.run is shipped.run), None)
    warnings = [
        *bench.warnings,
        *shipped.notes,
        *_beaten_by(baselines, chosen),
        *of_scratch(bench.leaders(), n_train=len(data.train.rows)),
    ]
    warnings += [*_under_trained(shipped), *notes]
    if test["times"] > 1:
        warnings.append(
            f"the test split was scored {test['times']} times: an earlier stop of this search had another model before"
        )
    ranked = [_ranked(entry) for entry in compared]
    return TuningResult(
        candidates=tuple(ranked),
        by_depth=_by_depth(ranked, option=bench.space.option),
        winner={
            "candidate": shipped.candidate.to_json(),
            "params": shipped.recipe,
            "validation": {
                "mean": None if chosen is None else chosen.mean,
                "sd": None if chosen is None else chosen.sd,
                "seeds": [] if chosen is None else list(chosen.seeds),
            },
            "expected": _expected(trials, shipped, chosen),
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
        metric=bench.rows.truth.metric,
        n_blocks=bench.backbone.n_blocks,
        seed=bench.seed,
        seconds=deadline.used + (earlier.seconds if earlier is not None else 0.0),
        split_sizes={
            "train": len(data.train.rows),
            "validation": len(data.validation.rows),
            "test": test["n"],
        },
        range={"advised": bench.space.depths, "searched": trials.sampling.depths},
        prefix={
            "cache": bool(bench.prefixes.depths),
            "by_depth": dict(bench.prefixes.notes),
            "seconds": bench.prefixes.pass_seconds,
        },
        warnings=tuple(warnings),
        limited_to=limited_to,
        augmentation=_augmentation(bench, trials),
        options=(*_options(bench, trials, shipped=shipped), *decision.option(shipped.candidate)),
        calibration=calibration,
        unscored=trials.unscored([entry.run.candidate for entry in compared]),
        final=None if shipped.final is None else shipped.final.to_json(),
        plans=tuple(trials.planner.plans),
    )


def _save(
    bench: Bench, shipped: Shipped, *, folder: Path, test: Mapping[str, Any], calibration: dict[str, Any] | None
) -> None:
    """Save the model that is shipped with its card and the advice, in place of an earlier one."""
    data, backbone = bench.rows.data, bench.backbone
    rows = np.random.default_rng(bench.seed).permutation(len(data.train.rows))[:SUPPORT_ROWS]
    _, features = classify(shipped.model, backbone=backbone, encoded=bench.rows.train.take(rows))
    card = model_card(
        base=backbone.id,
        data=data.name,
        metric=bench.rows.truth.metric,
        score=test["score"],
        interval=test["interval"],
        candidate=shipped.candidate.label(backbone.n_blocks),
        recipe=shipped.recipe,
        task=data.task.as_saved,
        head=data.task.head(backbone.inputs.head),
        n_train=len(data.train.rows) if shipped.final is None else shipped.final.rows,
        n_test=test["n"],
        times_tested=test["times"],
        native=not isinstance(shipped.model, TransferClassifier),
        whole_words=shipped.candidate.top == "bilstm",
        metrics=test.get("metrics"),
        by_class=test.get("by_class", ()),
        calibration=calibration,
    )
    # Saved beside its place and moved there, so that an interruption leaves no half a model.
    saving = folder / WORK / "model"
    reader = backbone.inputs.saved_reader()
    support = measure_support(features)
    TransferModel(classifier=shipped.model, reader=reader, support=support, card=card).save_pretrained(saving)
    if (folder / ADVICE_FILE).exists():
        shutil.copyfile(folder / ADVICE_FILE, saving / ADVICE_FILE)
        seal_folder(saving)
    replaced = folder / WORK / "replaced"
    shutil.rmtree(replaced, ignore_errors=True)
    if (folder / "model").exists():
        (folder / "model").rename(replaced)
    saving.rename(folder / "model")


def _ranked(entry: Comparison) -> dict[str, Any]:
    """A candidate with its scores, as the result tells it."""
    return entry.run.candidate.to_json() | {
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


def _by_depth(ranked: Sequence[Mapping[str, Any]], *, option: str | None) -> tuple[dict[str, Any], ...]:
    """The scores of pretrained blocks by the number that is frozen, trained as the search trains them."""
    found: dict[int, dict[str, Any]] = {}
    for entry in ranked:  # best first: of two heads at a depth the better one stands
        is_plain = entry["augmentation"] is None and entry["option"] in (None, option)
        if entry["frozen_blocks"] is not None and entry["start"] == "pretrained" and is_plain:
            kept = ("frozen_blocks", "mean", "sd", "n", "interval", "seconds")
            found.setdefault(int(entry["frozen_blocks"]), {key: entry[key] for key in kept})
    return tuple(found[depth] for depth in sorted(found))


def tested(work: Path) -> dict[str, dict[str, Any]]:
    """Read the scores on the test split that were made before, by run. Raises `DataError` where they are damaged."""
    path = work / TESTED
    fix = "delete it: --resume then scores the test split again, and cannot say how often it was looked at before"
    scored = read_sealed(path, fix=fix, sealed=False) if path.exists() else {}
    for name, scores in scored.items():
        TestScores.from_json(scores, path=path, fix=fix, at=name, ignores_added=True)
    return scored


def _calibration(decision: Decision, measured: Mapping[str, Any] | None, *, unit: str) -> dict[str, Any] | None:
    """The temperature with the ``n`` validation rows that it is fitted on, and what it changed on ``n_test`` rows.

    None for a task without probabilities.
    """
    found, fitted = dict(measured or {}), decision.temperature
    if fitted is None:
        return None
    n_test = found.pop("n", None)
    return {"temperature": fitted.value, "n": fitted.n, "unit": unit, "why": fitted.why, "n_test": n_test, **found}


def _test_once(bench: Bench, model: PreTrainedModel, *, name: str, decision: Decision) -> dict[str, Any]:
    """The winner's score on the test split, kept at once: no model is ever scored there twice, whatever interrupts."""
    scored, data = tested(bench.store.work), bench.rows.data
    if name not in scored:
        encoded, part, notes = encode_rows(bench.backbone, data.test, what="test", progress=bench.progress)
        logits, _ = classify(model, backbone=bench.backbone, encoded=encoded)
        task, fitted = data.task.as_saved, decision.temperature
        metric = bench.rows.truth.metric
        truth = part.truth(task, metric=metric)
        predicted = task.decode(logits)
        scored[name] = {
            "score": truth.score(predicted),
            "interval": truth.interval(predicted, seed=bench.seed),
            "n": len(part.rows),
            "notes": list(notes),
        }
        temperature = None if fitted is None else fitted.value
        scored[name] |= truth.assess(logits, temperature=temperature, seen=encoded.seen, seed=bench.seed)
        write_sealed(bench.store.work / TESTED, scored)
    return {"notes": [], **scored[name], "times": len(scored)}


def _augmentation(bench: Bench, trials: Trials) -> dict[str, Any] | None:
    """Whether augmented images helped: the same candidate, recipe and seeds with and without."""
    policy = bench.space.augmentation
    if policy is None:
        return None
    found: dict[str, Any] = {
        "policy": policy,
        "mirror_loss": bench.trainer.views.measured_mirror_loss,
        "difference": None,
    }
    run = next((run for run in bench.leaders() if run.name.variant == AUGMENTED), None)
    if run is None:
        reasons = [why for candidate, why in trials.variants.not_repeated.items() if candidate.augmentation == policy]
        return found | {"why": reasons[0] if reasons else "no candidate that trains pretrained blocks came to a score"}
    return found | _against(bench, run, bench.runs[run.name.plain])


def _options(bench: Bench, trials: Trials, *, shipped: Shipped) -> tuple[dict[str, Any], ...]:
    """Whether options of training blocks helped: the same candidate, recipe and seeds with and without."""
    found = []
    for option in bench.space.options:
        run = next((run for run in bench.leaders() if run.name.variant == option), None)
        if run is not None:
            against = _against(bench, run, bench.runs[run.name.plain])
            found.append({"option": option, **against, "kept": shipped.candidate.option == option})
            continue
        reasons = [why for candidate, why in trials.variants.not_repeated.items() if candidate.option == option]
        why = reasons[0] if reasons else "no candidate that trains pretrained blocks came to a score"
        found.append({"option": option, "difference": None, "why": why})
    return tuple(found)


def _against(bench: Bench, run: Run, plain: Run) -> dict[str, Any]:
    """By how much a variant of a candidate scores more than the candidate itself."""
    mean, (low, high), n, over_seeds = difference(bench.scored, run, plain)
    verdict = "it helped" if low > 0 else "it harmed" if high < 0 else "no difference is shown"
    if low == high != 0 and len(bench.rows.validation) < FEW_ROWS:
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
        if name != "best_probe"
        and name in BASELINES
        and baseline is not None
        and baseline["score"] > chosen.interval[1]
    ]


def of_scratch(runs: Iterable[Run], *, n_train: int) -> list[str]:
    """Warn of fresh weights that had few rows to learn from, or a schedule that the budget cut.

    Such a schedule is shorter than any that is searched otherwise.

    Args:
        runs: of the search, the best first.
        n_train: the rows that they were trained on.

    Returns:
        the warnings; none where the search trained no fresh weights.
    """
    best = next((run for run in runs if run.candidate.start == "scratch"), None)
    if best is None:
        return []
    notes = []
    if n_train < ENOUGH_FOR_SCRATCH:
        notes.append(
            f"{n_train:,} rows are few to train a network from fresh weights: it is a control, to see what pretraining "
            "is worth"
        )
    if best.recipe["epochs"] < SCRATCH_EPOCHS[0]:
        notes.append(
            f"the budget cut training from scratch to {best.recipe['epochs']:g} epochs, fewer than the "
            f"{SCRATCH_EPOCHS[0]} that fresh weights get at least: its score says little of what they can do; a longer "
            "--budget shows it"
        )
    return notes


def _under_trained(shipped: Shipped) -> list[str]:
    """A final fit that the budget cut is said to be cut, the first of all where it is under-trained."""
    if shipped.final is None or shipped.final.share >= 0.99:
        return []
    steps = f"{shipped.final.steps:,} step{'s' * (shipped.final.steps != 1)}"
    part = f"{100 * shipped.final.share:.0f} % of its schedule ({steps})"
    if shipped.final.share < LEAST_SHARE:
        return [f"under-trained: the budget left time for {part}; a longer --budget gives a better model"]
    return [f"the budget left time for {part} in the final fit"]


def _expected(trials: Trials, shipped: Shipped, chosen: Comparison | None) -> float:
    """The score that the winner is expected to reach, after what was measured."""
    return chosen.expected if chosen is not None else trials.planner.expected(shipped.candidate, shipped.recipe)


def _change(
    trials: Trials, *, shipped: Shipped, chosen: Comparison | None, compared: Sequence[Comparison]
) -> dict[str, str] | None:
    """Why the winner is not what was recommended, or None where it is: figures of one comparison."""
    recommended, n_blocks = trials.planner.recommended, trials.bench.backbone.n_blocks
    if shipped.candidate == recommended:
        return None
    advised = next((entry for entry in compared if entry.run.candidate == recommended), None)
    if chosen is None:
        why = (
            f"there was time for a single fit, and it is expected to score "
            f"{trials.planner.expected(shipped.candidate, shipped.recipe):.3f} in it"
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
