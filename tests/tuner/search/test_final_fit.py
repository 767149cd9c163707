"""The final fit: on training and validation rows, never on test rows; several seeds averaged; what interrupts it."""

import dataclasses
import math
import os
import signal

import numpy as np
import pytest
import torch

import tuner.search.final
import tuner.search.pace
import tuner.search.search
import tuner.search.ship
import tuner.search.trainer
from helpers import tiny
from helpers.searches import DATA, run_search, trials_of
from tuner.errors import DataError, ModelError
from tuner.model.assemble import load_backbone
from tuner.search.bench import Bench, open_bench
from tuner.search.final import Diverged, averages, final_fit, mean_weights
from tuner.search.run_name import RunName
from tuner.search.space import candidate_at, default_space
from tuner.training.train import Rows

RECIPE = {"learning_rate": 1e-3, "head_ratio": 2.0, "steps": 12.0, "epochs": 2.0}
TOO_FAST = RECIPE | {"learning_rate": 1e30, "steps": 30.0}


@pytest.fixture
def backbone():
    return load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")


@pytest.fixture
def bench(backbone, tmp_path):
    return open_bench(backbone, data=DATA, space=default_space(4), work=tmp_path, metric="accuracy", seed=0)


def fit(bench, *, depth=2, recipe=None, seeds=1, share=1.0, left=lambda: math.inf, on_step=lambda *_: None):
    with final_fit(
        bench, name="0000", candidate=candidate_at(depth, 4), recipe=recipe or RECIPE, share=share, most_seeds=seeds,
        why="a test", left=left, on_step=on_step,
    ) as (model, final):  # fmt: skip
        return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}, final


def fed_to_training(monkeypatch):
    """What every training run of the final fit is given."""
    seen, original = [], tuner.search.final.train

    def watched(model, **options):
        seen.append(options)
        return original(model, **options)

    monkeypatch.setattr(tuner.search.final, "train", watched)
    return seen


@pytest.mark.parametrize("depth", [0, 2])
def test_validation_rows_are_trained_on_and_test_rows_are_not(backbone, tmp_path, monkeypatch, depth):
    seen = fed_to_training(monkeypatch)
    space = dataclasses.replace(default_space(4), first=(candidate_at(depth, 4),), controls=(), depths=(depth, depth))
    result = run_search(backbone, tmp_path, n_trials=1, space=space)
    rows = {part: backbone.encode(getattr(DATA, part).rows).input_ids for part in ("train", "validation", "test")}
    fed = seen[0]["train_rows"]
    assert [ids.tolist() for ids in fed.encoded.input_ids] == [
        ids.tolist() for ids in (*rows["train"], *rows["validation"])
    ]
    assert fed.labels.tolist() == [*DATA.train.labels, *DATA.validation.labels]
    assert (fed.cached is not None) == (depth > 0)
    own = {tuple(ids) for part in ("train", "validation") for ids in rows[part]}
    assert any(tuple(ids) not in own for ids in rows["test"])  # else the comparison above would show nothing
    assert result.final["rows"] == 96 + 60
    assert result.final["steps"] == round(result.winner["params"]["steps"] * 156 / 96)


def test_cached_states_of_both_parts_are_those_of_their_rows(bench, backbone):
    """The joined cache gives any mixture of rows what the model itself computes for them."""
    whole = bench.trainer.on_all_rows()
    plain = Rows(encoded=whole.rows.train, labels=whole.rows.data.train.labels, task=whole.rows.task)
    joined = whole.prefixes.feed((plain, plain), 2)[0].cached
    rows = np.array([100, 3, 155, 95, 96])
    padded = backbone.padded(whole.rows.train, rows)
    cached = joined.batch(rows, padded=padded, device=backbone.device)
    with torch.inference_mode():
        states = backbone.states(backbone.collate(whole.rows.train, rows)).states[1]
    for place, row in enumerate(rows):
        length = whole.rows.train.lengths[row]
        torch.testing.assert_close(cached[place, :length], states[place, :length], atol=5e-3, rtol=5e-3)


def test_the_averaged_model_is_the_mean_of_the_weights(bench):
    trained, made = fit(bench, seeds=3)
    alone = [bench.store.read_weights(f"final-0000-{seed}", sha256=None, fix="") for seed in range(3)]
    assert made.seeds == (0, 1, 2)
    assert made.averaged
    assert "head.linear.weight" in trained
    for name, parameter in trained.items():
        torch.testing.assert_close(parameter, torch.stack([some[name] for some in alone]).mean(0))
    assert not torch.equal(alone[0]["head.linear.weight"], alone[1]["head.linear.weight"])


def test_numbers_that_count_are_not_averaged():
    found = mean_weights(
        [{"w": torch.tensor([1.0]), "n": torch.tensor(3)}, {"w": torch.tensor([2.0]), "n": torch.tensor(5)}]
    )
    assert found["w"].tolist() == [1.5]
    assert found["n"].item() == 3


def test_only_seeds_that_share_their_start_are_averaged():
    trained = candidate_at(2, 4)
    assert averages(trained)
    assert not averages(candidate_at(4, 4))
    assert not averages(dataclasses.replace(trained, start="scratch"))
    assert not averages(dataclasses.replace(trained, option="random_head"))
    assert not averages(dataclasses.replace(trained, option="fresh_top"))
    assert not averages(dataclasses.replace(trained, head="native"))


def test_the_winner_is_averaged_only_where_that_paid_on_validation(backbone, tmp_path, monkeypatch):
    space = dataclasses.replace(default_space(4), first=(candidate_at(2, 4),), controls=(), depths=(2, 2))
    result = run_search(backbone, tmp_path / "a", n_trials=1, space=space)
    assert "on validation the average of 2 seeds scores" in result.final["why"]
    monkeypatch.setattr(tuner.search.ship, "average_pays", lambda *_: (False, "it did not pay"))
    result = run_search(backbone, tmp_path / "b", n_trials=1, space=space)
    assert (result.final["averaged"], result.final["seeds"]) == (False, [0])
    assert result.final["why"] == "it did not pay"


def test_a_seed_that_was_fitted_is_not_fitted_again(bench, monkeypatch):
    first, made = fit(bench, seeds=2)
    seen = fed_to_training(monkeypatch)
    again, _ = fit(bench, seeds=3)
    assert len(seen) == 1  # the third
    fit(bench, seeds=1, recipe=RECIPE | {"steps": 14.0})
    assert len(seen) == 2  # another recipe
    assert made.seeds == (0, 1)
    assert first is not again


def test_a_slower_machine_ends_the_decay_in_time(bench):
    """After ten steps there is time for two more of what was asked for."""
    clock = iter([math.inf])

    def left():
        return next(clock, 1e-9)

    rates, original = [], torch.optim.AdamW.step

    def step(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        _, made = fit(bench, recipe=RECIPE | {"steps": 40.0}, left=left)
    assert made.steps == 20  # told so after twenty: at ten there seemed to be time
    assert made.share == pytest.approx(20 / round(40 * 156 / 96))
    assert len(rates) == 20


def test_ctrl_c_during_the_final_fit_saves_the_best_model_of_the_search(backbone, tmp_path, monkeypatch):
    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tuner.search.final, "train", interrupted)
        result = run_search(backbone, tmp_path, n_trials=2)
    assert result.stopped_because == "interrupted"
    assert tuner.search.ship.INTERRUPTED_FIT in result.warnings
    assert result.final is None
    assert result.model.predict(["good film"])[0] in ("neg", "pos")
    resumed = run_search(backbone, tmp_path, n_trials=2, resume=True)
    assert resumed.stopped_because == "trials"
    assert resumed.winner["test"]["times"] == (1 if resumed.final is None else 2)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_loss_that_is_no_number_ends_the_fit_and_is_said(backbone, tmp_path, bench):
    with pytest.raises(Diverged):
        fit(bench, recipe=TOO_FAST)
    run = bench.run_trained(RunName(trial=1), candidate_at(2, 4), recipe=TOO_FAST, seed=0)
    assert run is None
    assert "its loss was no number any more after" in bench.warnings[-1]


def test_without_a_refit_the_model_of_the_search_is_saved(backbone, tmp_path):
    result = run_search(backbone, tmp_path, n_trials=2, refit=False)
    assert result.final is None
    assert RunName.parse(result.winner["run"]).original in {RunName(trial=0), RunName(trial=1)}


def test_a_search_that_stopped_for_its_budget_goes_on_and_repeats_nothing(backbone, tmp_path, monkeypatch):
    names, original = [], Bench.keep

    def kept(self, name, finished):
        names.append(name)
        return original(self, name, finished)

    monkeypatch.setattr(Bench, "keep", kept)
    first = run_search(backbone, tmp_path, n_trials=None, budget_s=15.0)
    assert first.stopped_because == "budget"
    assert (tmp_path / ".search").exists()
    once = len(names)
    second = run_search(backbone, tmp_path, n_trials=None, budget_s=40.0, resume=True)
    assert len(names) == len(set(names))
    assert len(names) > once
    assert second.trials["complete"] >= first.trials["complete"]
    looked = second.winner["test"]["times"]
    assert looked == (1 if second.winner["run"] == first.winner["run"] else 2)
    assert any("scored 2 times" in warning for warning in second.warnings) == (looked == 2)


def test_a_fit_without_a_validated_run_says_so(bench, tmp_path, monkeypatch):
    """Where there is time for a single fit, it goes to what is advised."""
    space = dataclasses.replace(default_space(4), first=(candidate_at(2, 4),), controls=(), depths=(2, 2))
    bench.pace.step_seconds, bench.pace.rows_seen = {2: 0.5}, 16 * 20 * 2
    bench = dataclasses.replace(bench, space=space)
    trials = trials_of(bench, tmp_path / "study", recommended=candidate_at(2, 4))
    trials.clock.by_time = True
    monkeypatch.setattr(trials.clock, "left", lambda: 8.0)  # half of a final fit of 20 steps of half a second
    assert trials.planner.plan().runs == ()
    with tuner.search.ship.ship(bench, trials=trials, interrupted=False) as shipped:
        assert shipped.run is None
    assert shipped.candidate == candidate_at(2, 4)
    assert shipped.final.why == "there was time for one fit"
    assert shipped.final.share == pytest.approx(8.0 / (0.5 * 20 * 156 / 96), abs=0.03)


def test_a_fit_that_nothing_was_measured_for_takes_the_time_that_is_left(bench, tmp_path, monkeypatch):
    """Twice the steps of a run at most, at the rate that goes as far in them."""
    space = dataclasses.replace(default_space(4), first=(candidate_at(2, 4),), controls=(), depths=(2, 2))
    bench.pace.step_seconds, bench.pace.rows_seen = {2: 0.5}, 16 * 20 * 2
    bench = dataclasses.replace(bench, space=space)
    trials = trials_of(bench, tmp_path / "study", recommended=candidate_at(2, 4))
    trials.clock.by_time = True
    plan = dataclasses.replace(trials_plan(trials), share=2.0)
    monkeypatch.setattr(trials.planner, "plan", lambda: plan)
    with tuner.search.ship.ship(bench, trials=trials, interrupted=False) as shipped:
        assert shipped.run is None
    usual = trials.planner.usual(candidate_at(2, 4), rate=plan.final.arm.learning_rate)
    assert shipped.recipe["steps"] == 2 * usual["steps"]
    assert shipped.recipe["learning_rate"] == pytest.approx(usual["learning_rate"] / 2**0.5)
    assert shipped.final.steps == round(2 * usual["steps"] * 156 / 96)
    assert shipped.final.share == 1.0


def trials_plan(trials):
    """The plan for half a final fit, which is one without runs."""
    left = trials.clock.left
    trials.clock.left = lambda: 8.0
    found = trials.planner.plan()
    trials.clock.left = left
    assert found.runs == ()
    return found


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")])
def test_where_memory_runs_out_the_batch_is_halved_and_that_is_said(bench, monkeypatch, error):
    batches, original = [], tuner.search.trainer.train

    def narrow(model, *, recipe, **options):
        batches.append((recipe.batch_size, recipe.steps))
        if recipe.batch_size > 4:
            raise error
        return original(model, recipe=recipe, **options)

    monkeypatch.setattr(tuner.search.trainer, "train", narrow)
    run = bench.run_trained(RunName(trial=0), candidate_at(2, 4), recipe=RECIPE, seed=0)
    assert batches == [(16, 12), (8, 24), (4, 48)]
    assert run.recipe["steps"] == 48
    assert bench.warnings[-2:] == [
        "memory ran out, so that training goes on with 8 rows a step",
        "memory ran out, so that training goes on with 4 rows a step",
    ]
    monkeypatch.setattr(tuner.search.trainer, "train", lambda *_args, **_options: (_ for _ in ()).throw(error))
    with pytest.raises(type(error)):
        bench.run_trained(RunName(trial=1), candidate_at(2, 4), recipe=RECIPE, seed=0)


def test_another_error_is_no_lack_of_memory(bench, monkeypatch):
    def broken(*_args, **_options):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(tuner.search.trainer, "train", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        bench.run_trained(RunName(trial=0), candidate_at(2, 4), recipe=RECIPE, seed=0)
    assert bench.pace.batch_size == 16


def test_a_recipe_that_was_chosen_to_be_short_stays_short(bench, tmp_path):
    """Only what had less than its schedule for want of time is given it in the final fit, at the rate of the whole."""
    bench.pace.step_seconds = {0: 0.01, 3: 0.01}
    trials = trials_of(bench, tmp_path / "study")
    chosen = {"learning_rate": 4e-4, "head_ratio": 5.0, "steps": 10.0, "epochs": 1.0}
    final = tuner.search.ship._final_recipe(bench, trials, candidate=candidate_at(2, 4), recipe=chosen, left=math.inf)
    assert final == (chosen, 1.0)
    cut = chosen | {"share": 0.25}
    recipe, share = tuner.search.ship._final_recipe(
        bench, trials, candidate=candidate_at(2, 4), recipe=cut, left=math.inf
    )
    assert share == 1.0
    assert recipe == {"learning_rate": 2e-4, "head_ratio": 5.0, "steps": 40.0, "epochs": 4.0}


def test_a_search_in_which_everything_diverges_says_so(backbone, tmp_path):
    space = dataclasses.replace(
        default_space(4), first=(candidate_at(2, 4),), controls=(), depths=(2, 2), learning_rate=(1e29, 1e31)
    )
    with pytest.raises(ModelError, match=r"came to a score: 2 of 4 blocks frozen at a learning rate of 1e\+30"):
        run_search(backbone, tmp_path, n_trials=1, space=space)


@pytest.mark.parametrize("refit", [True, False])
def test_a_budget_that_no_run_fits_into_still_ends_with_a_model(backbone, tmp_path, monkeypatch, refit):
    """Nothing but training is asked for, and a step seems to take so long that not even a quarter of a run fits."""
    monkeypatch.setattr(tuner.search.pace, "STEP_IN_PASSES", 1e6)
    monkeypatch.setattr(tuner.search.search, "check_budget", lambda *_args, **_options: None)
    space = dataclasses.replace(default_space(4), first=(candidate_at(2, 4),), controls=(), depths=(2, 2))
    result = run_search(backbone, tmp_path, n_trials=None, budget_s=20.0, space=space, refit=refit)
    assert result.winner["candidate"]["frozen_blocks"] == 2
    assert (result.final is None) == (not refit)
    assert result.model.predict(["good film"])[0] in ("neg", "pos")


def test_a_pipe_in_place_of_kept_weights_is_not_waited_for(bench):
    fit(bench)
    path = bench.store.weights_path("final-0000-0")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="it is a named pipe, not a file"):
        fit(bench)
