import dataclasses
import json
import re
import time
from contextlib import contextmanager, nullcontext

import numpy as np
import optuna
import pytest
import torch

import tuner.search.finish
import tuner.search.linear
import tuner.search.prefixes
import tuner.search.search
import tuner.search.ship
import tuner.search.storage
import tuner.search.study
import tuner.search.trainer
import tuner.tasks.heads
import tuner.training.train
from helpers import tiny
from helpers.searches import DATA, NAMES, kept, named, run_search, trials_of
from tuner.errors import DataError, OptionError, RunFolderError
from tuner.freezing import freeze
from tuner.model.assemble import load_backbone
from tuner.model.classifier import build_classifier
from tuner.sealed import read_sealed, write_sealed
from tuner.search.bench import Bench, open_bench
from tuner.search.choice import choose_winner, compare
from tuner.search.clock import Deadline
from tuner.search.linear import LinearHeads
from tuner.search.loop import Trials
from tuner.search.prefixes import Prefixes
from tuner.search.ship import Shipped
from tuner.search.space import (
    Candidate,
    SearchSpace,
    candidate_at,
    check_strategy,
    default_space,
    restrict,
    space_notes,
)
from tuner.search.trainer import Trainer
from tuner.tasks.classes import Classes
from tuner.training.train import (
    Recipe,
    Rows,
    Stopped,
    optimizer_for,
    predict,
    rows_on_the_way,
    train,
    training_batches,
)


@pytest.fixture
def backbone():
    return load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")


@pytest.fixture
def bench(backbone, tmp_path):
    return open_bench(backbone, data=DATA, space=default_space(4), work=tmp_path, metric="accuracy", seed=0)


# -- what a trial asks for reaches training --------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 2, 3])
def test_tuned_values_reach_training(backbone, depth, monkeypatch):
    """Seen from inside the optimizer and the model while they run, not read back from the request."""
    model = build_classifier(
        backbone.model, backbone=backbone, task=Classes(names=NAMES), features="last", frozen_blocks=depth
    )
    prefix = freeze(model, backbone.blocks, frozen_blocks=depth)
    seen = []
    original = torch.optim.AdamW.step

    def step(self, *args, **kwargs):
        in_head = {id(p) for p in model.head.parameters()}
        groups = [(id(g["params"][0]) in in_head, g["lr"], g["weight_decay"]) for g in self.param_groups]
        seen.append((groups, sum(p.numel() for g in self.param_groups for p in g["params"])))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    recipe = Recipe(learning_rate=3e-4, head_ratio=7.0, steps=20, batch_size=8, seed=0)
    rows = Rows(encoded=backbone.encode(DATA.train.rows), labels=DATA.train.labels, task=Classes(names=NAMES))
    outcome = train(model, backbone=backbone, prefix=prefix, recipe=recipe, train_rows=rows, validation_rows=rows)
    assert outcome.steps == len(seen) == 20
    peak_base = max(lr for groups, _ in seen for is_head, lr, _ in groups if not is_head)
    peak_head = max(lr for groups, _ in seen for is_head, lr, _ in groups if is_head)
    assert peak_base == pytest.approx(3e-4)
    assert peak_head == pytest.approx(7 * 3e-4)
    expected = sum(p.numel() for block in backbone.blocks[depth:] for p in block.parameters())
    if outcome.embedding_rows is not None:
        expected -= (backbone.text.vocabulary - outcome.embedding_rows) * backbone.width
    assert {held for _, held in seen} == {expected + sum(p.numel() for p in model.head.parameters())}


def test_biases_and_norms_do_not_decay(backbone):
    model = build_classifier(
        backbone.model, backbone=backbone, task=Classes(names=NAMES), features="last", frozen_blocks=0
    )
    freeze(model, backbone.blocks, frozen_blocks=1)
    optimizer = optimizer_for(
        model, backbone.blocks, Recipe(learning_rate=1e-3, head_ratio=1, steps=1, batch_size=8, seed=0)
    )
    for group in optimizer.param_groups:
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] > 0}
    freeze(model, backbone.blocks, frozen_blocks=0)
    optimizer = optimizer_for(
        model, backbone.blocks, Recipe(learning_rate=1e-3, head_ratio=1, steps=1, batch_size=8, seed=0)
    )
    words = model.base.get_input_embeddings().weight
    (group,) = [g for g in optimizer.param_groups if any(p is words for p in g["params"])]
    assert group["weight_decay"] == 0


def test_training_only_the_words_that_occur_gives_the_same_weights(backbone, monkeypatch):
    for module in backbone.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    few = ["good film", "bad film", "a sad cat", "happy red dog"] * 4
    rows = Rows(encoded=backbone.encode(few), labels=np.array([1, 0, 0, 1] * 4), task=Classes(names=NAMES))
    recipe = Recipe(learning_rate=1e-3, head_ratio=2, steps=10, batch_size=8, seed=0)
    trained = []
    for compact in (True, False):
        if not compact:
            monkeypatch.setattr(tuner.training.train, "compact_vocabulary", lambda *_a, **_k: nullcontext(None))
        backbone.model.load_state_dict(before)
        torch.manual_seed(0)
        model = build_classifier(
            backbone.model, backbone=backbone, task=Classes(names=NAMES), features="last", frozen_blocks=0
        )
        prefix = freeze(model, backbone.blocks, frozen_blocks=0)
        outcome = train(model, backbone=backbone, prefix=prefix, recipe=recipe, train_rows=rows, validation_rows=rows)
        trained.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        assert (outcome.embedding_rows is not None) == compact
    ours, full = trained
    assert ours.keys() == full.keys()
    for name, tensor in full.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=1e-5)
    used = np.unique(np.concatenate(rows.encoded.input_ids))
    unused = np.setdiff1d(np.arange(backbone.text.vocabulary), used)
    words = "base.embeddings.word_embeddings.weight"
    assert outcome.embedding_rows is None
    assert len(unused) > 0
    assert torch.equal(ours[words][unused], full[words][unused])
    assert not torch.equal(ours[words][used], before[words.removeprefix("base.")][used])


def test_batches_cover_every_row_once_an_epoch():
    rows = Rows(
        encoded=load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu").encode(DATA.train.rows),
        labels=DATA.train.labels,
        task=Classes(names=NAMES),
    )
    recipe = Recipe(learning_rate=1e-3, head_ratio=1, steps=24, batch_size=8, seed=0)
    batches = list(training_batches(rows, recipe))
    assert len(batches) == 24
    first, second = np.concatenate(batches[:12]), np.concatenate(batches[12:])
    assert sorted(first) == sorted(second) == list(range(96))
    assert list(first) != list(second)


def test_a_run_can_be_stopped_on_the_way(backbone):
    model = build_classifier(
        backbone.model, backbone=backbone, task=Classes(names=NAMES), features="last", frozen_blocks=3
    )
    prefix = freeze(model, backbone.blocks, frozen_blocks=3)
    rows = Rows(encoded=backbone.encode(DATA.train.rows), labels=DATA.train.labels, task=Classes(names=NAMES))

    def check(done, predictions):
        assert len(predictions) == 96
        if done == 10:
            raise Stopped

    recipe = Recipe(learning_rate=1e-3, head_ratio=1, steps=20, batch_size=8, seed=0)
    outcome = train(
        model, backbone=backbone, prefix=prefix, recipe=recipe, train_rows=rows, validation_rows=rows, on_check=check
    )
    assert (outcome.stopped, outcome.steps) == (True, 10)


def test_cached_and_plain_training_agree(backbone, bench):
    """Without dropout the two ways see the same numbers up to 16-bit storage."""
    for module in backbone.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    recipe = {"learning_rate": 1e-3, "head_ratio": 2.0, "steps": 12.0}
    cached = bench.run_trained(named("0"), candidate_at(2, 4), recipe=recipe, seed=0)
    assert bench.prefixes.notes[2].startswith("cached")
    bench.prefixes._depths.remove(2)
    plain = bench.run_trained(named("1"), candidate_at(2, 4), recipe=recipe, seed=0)
    assert (cached.predictions == plain.predictions).mean() > 0.9


# -- the study ---------------------------------------------------------------------------------------------------------


def test_first_and_controls_are_tried_in_order(backbone, tmp_path):
    first = (candidate_at(3, 4), Candidate(strategy="feature_based", frozen_blocks=None, features="weighted_all"))
    space = SearchSpace(
        n_blocks=4, first=first, controls=(candidate_at(0, 4), first[0], candidate_at(4, 4)), depths=(2, 4)
    )
    run_search(backbone, tmp_path, space=space, n_trials=6)
    trials = read_study(tmp_path).trials
    tried = [Candidate(**trial.user_attrs["candidate"]) for trial in trials]
    assert tried[:4] == [first[0], first[1], candidate_at(4, 4), candidate_at(0, 4)]  # linear ones cost a second
    assert all(c.frozen_blocks in (0, 2, 3) for c in tried[4:])  # 0 only where the control leads and widens the range


def test_a_budget_begins_with_what_costs_a_second(backbone, tmp_path):
    space = SearchSpace(
        n_blocks=4, first=(candidate_at(3, 4),), controls=(candidate_at(0, 4), candidate_at(4, 4)), depths=(2, 4)
    )
    run_search(backbone, tmp_path, space=space, n_trials=3, budget_s=600)
    tried = [Candidate(**trial.user_attrs["candidate"]) for trial in read_study(tmp_path).trials]
    assert tried[0] == candidate_at(4, 4)
    assert tried[1] == candidate_at(3, 4)  # then what tells most a second
    assert tried[2].frozen_blocks in {0, 2}  # of what was asked for and the sampled range


def read_study(folder):
    from optuna.storages.journal import JournalFileBackend

    storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    return optuna.load_study(study_name="freeze-depth", storage=storage)


def test_training_from_scratch_is_a_control(backbone, tmp_path):
    scratch = Candidate(strategy="train_all", start="scratch", frozen_blocks=0)
    space = SearchSpace(n_blocks=4, first=(scratch, candidate_at(3, 4)), controls=(), depths=(0, 2))
    result = run_search(backbone, tmp_path, space=space, n_trials=2)
    assert {row["start"] for row in result.candidates} == {"scratch", "pretrained"}
    assert all(row["frozen_blocks"] != 0 for row in result.by_depth)


def test_a_resumed_search_repeats_nothing(backbone, tmp_path, monkeypatch):
    calls = []
    original = Bench.run_trained

    def counted(self, name, candidate, **options):
        if len(calls) == 2:
            raise RuntimeError("the machine dies here")
        calls.append(name)
        return original(self, name, candidate, **options)

    monkeypatch.setattr(Bench, "run_trained", counted)
    with pytest.raises(RuntimeError, match="dies here"):
        run_search(backbone, tmp_path, n_trials=6)
    monkeypatch.setattr(Bench, "run_trained", original)
    before = {t.number: t.value for t in read_study(tmp_path).trials if t.state == optuna.trial.TrialState.COMPLETE}
    names = set()

    def recorded(self, name, candidate, **options):
        names.add(name)
        return original(self, name, candidate, **options)

    monkeypatch.setattr(Bench, "run_trained", recorded)
    result = run_search(backbone, tmp_path, n_trials=6, resume=True)
    after = {t.number: t.value for t in read_study(tmp_path).trials}
    assert before.items() <= after.items()
    assert not names & set(calls)
    assert result.trials["complete"] + result.trials["pruned"] == 6
    assert result.trials["failed"] == 1
    (tmp_path / ".search").mkdir()  # as where the process died between the result and its clearing away
    again = run_search(backbone, tmp_path, n_trials=50, resume=True)
    assert again.to_json() == result.to_json() | {"warnings": [*result.warnings, tuner.search.search.ENDED_BEFORE]}
    assert not (tmp_path / ".search").exists()


def test_another_study_is_refused_when_a_search_goes_on(backbone, tmp_path, monkeypatch):
    """Runs are named by their trials, so a new study would write over them, test scores included."""

    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    url = f"sqlite:///{tmp_path / 'trials.db'}"
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(tuner.search.ship, "choose_winner", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_search(backbone, folder, n_trials=2, storage=tuner.search.storage.open_storage(url))
    for other in ({}, {"storage": tuner.search.storage.open_storage(url), "study_name": "other"}):
        with pytest.raises(OptionError, match="are not in the study"):
            run_search(backbone, folder, n_trials=2, resume=True, **other)
    result = run_search(backbone, folder, n_trials=2, resume=True, storage=tuner.search.storage.open_storage(url))
    assert result.trials["complete"] + result.trials["pruned"] == 2


def test_a_run_of_the_same_name_elsewhere_has_a_study_of_its_own(backbone, tmp_path):
    storage = tuner.search.storage.open_storage(f"sqlite:///{tmp_path / 'trials.db'}")
    space = restrict(default_space(4), strategy="head_only", widths=[32] * 4)
    for parent in ("a", "b"):
        result = run_search(backbone, tmp_path / parent / "run", n_trials=1, space=space, storage=storage)
        assert result.trials["complete"] == 1


def test_another_limit_is_refused_when_a_search_goes_on(backbone, tmp_path, monkeypatch):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(tuner.search.ship, "choose_winner", interrupted)
    limited = restrict(default_space(4), strategy="head_only", widths=[32] * 4)
    with pytest.raises(KeyboardInterrupt):
        run_search(backbone, tmp_path, n_trials=1, space=limited, limited_to="head_only")
    monkeypatch.undo()
    with pytest.raises(OptionError, match="was limited to head_only, not without a limit"):
        run_search(backbone, tmp_path, n_trials=1, resume=True)
    result = run_search(backbone, tmp_path, n_trials=1, resume=True, space=limited, limited_to="head_only")
    assert result.limited_to == "head_only"
    with pytest.raises(OptionError, match="not to train_all"):
        run_search(backbone, tmp_path, n_trials=1, resume=True, limited_to="train_all")


def test_another_augmentation_is_refused_when_a_search_goes_on(backbone, tmp_path, monkeypatch):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    augmented = dataclasses.replace(default_space(4), augmentation="token_dropout")
    monkeypatch.setattr(tuner.search.search, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_search(backbone, tmp_path, n_trials=2, space=augmented)
    monkeypatch.undo()
    mixed = dataclasses.replace(augmented, augmentation="mixup")
    with pytest.raises(OptionError, match="compares token_dropout, not mixup") as error:
        run_search(backbone, tmp_path, n_trials=2, space=mixed, resume=True)
    assert "--augment token_dropout" in error.value.fix
    run_search(backbone, tmp_path, n_trials=2, space=augmented, resume=True)
    with pytest.raises(OptionError, match="compares token_dropout, not no augmentation"):  # finished since
        run_search(backbone, tmp_path, n_trials=2, resume=True)


def test_ctrl_c_between_confirmations_ends_with_the_best_so_far(bench, tmp_path, monkeypatch):
    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    kept(bench, "0", 2, 55)
    monkeypatch.setattr(Bench, "run_again", interrupted)
    assert trials_of(bench, tmp_path).confirm() is False


def test_a_head_that_was_fitted_before_costs_what_fitting_it_took(bench, monkeypatch):
    fit = LinearHeads.fit

    def slow(self, x, **options):
        time.sleep(0.3)
        return fit(self, x, **options)

    monkeypatch.setattr(LinearHeads, "fit", slow)
    bench.trainer.head("last")
    monkeypatch.undo()
    assert bench.run_head(named("0"), candidate_at(4, 4), seed=0).seconds > 0.3


def test_depths_are_scored_by_what_is_trained_in_the_plain_way(backbone, tmp_path, monkeypatch):
    right = {(2, None): 40, (2, "token_dropout"): 55, (4, None): 30}
    keep = Bench.keep

    def fixed(self, name, finished):
        predictions = DATA.validation.labels.copy()
        wrong = slice(right[finished.candidate.frozen_blocks, finished.candidate.augmentation], None)
        predictions[wrong] = 1 - predictions[wrong]
        return keep(self, name, dataclasses.replace(finished, predictions=predictions))

    monkeypatch.setattr(Bench, "keep", fixed)
    monkeypatch.setattr(Trainer, "why_no_native", lambda *_: "not here")
    space = dataclasses.replace(
        default_space(4), first=(candidate_at(2, 4),), controls=(), depths=(2, 2), augmentation="token_dropout"
    )
    result = run_search(backbone, tmp_path, n_trials=1, space=space)
    assert result.winner["candidate"]["augmentation"] == "token_dropout"
    assert [(row["frozen_blocks"], row["mean"]) for row in result.by_depth] == [(2, pytest.approx(40 / 60))]


def test_a_scratch_schedule_that_the_budget_cut_is_said(bench):
    scratch = Candidate(strategy="train_all", start="scratch", frozen_blocks=0)
    run = kept(bench, "0", 0, 30)
    assert tuner.search.finish.of_scratch(bench.leaders(), n_train=20_000) == []
    bench.runs[run.name] = dataclasses.replace(run, candidate=scratch, recipe={"epochs": 3.1})
    assert (
        "cut training from scratch to 3.1 epochs, fewer than the 10"
        in tuner.search.finish.of_scratch(bench.leaders(), n_train=20_000)[0]
    )
    bench.runs[run.name] = dataclasses.replace(run, candidate=scratch, recipe={"epochs": 25.0})
    assert tuner.search.finish.of_scratch(bench.leaders(), n_train=20_000) == []


def test_a_difference_on_one_seed_is_no_verdict(bench):
    plain, changed = kept(bench, "0", 2, 30), kept(bench, "1", 3, 58)
    assert tuner.search.finish._against(bench, changed, plain)["why"] == "ahead on one seed, which may be chance"
    assert tuner.search.finish._against(bench, plain, changed)["why"] == "behind on one seed, which may be chance"
    kept(bench, "2", 1, 58)
    kept(bench, "2@1", 1, 54, seed=1)
    kept(bench, "2@2", 1, 50, seed=2)
    found = tuner.search.finish._against(bench, changed, plain)
    assert (found["why"], found["seeds"]) == ("it helped", 1)
    # Seeds have a variance of 8 rows, so that two runs differ by four rows of sixty; the rows alone are a binomial.
    rows_alone = 1.96 * np.sqrt(28 / 60 * 32 / 60 / 60)
    seeds = 1.96 * np.sqrt(2 * np.var([54, 50], ddof=1)) / 60
    assert found["difference"] - found["interval"][0] == pytest.approx(np.hypot(rows_alone, seeds), rel=0.1)


def test_few_rows_that_all_change_alike_are_no_verdict(bench, monkeypatch):
    plain, changed = kept(bench, "0", 2, 0), kept(bench, "1", 3, 60)
    assert tuner.search.finish._against(bench, changed, plain)["why"] == "ahead on one seed, which may be chance"
    monkeypatch.setattr(tuner.search.finish, "FEW_ROWS", 61)
    assert tuner.search.finish._against(bench, changed, plain)["why"] == "the validation rows are too few to tell"


def test_rows_that_are_all_right_on_every_seed_have_an_interval(bench):
    for name, seed in (("0", 0), ("0@1", 1), ("0@2", 2)):
        kept(bench, name, 2, 60, seed=seed)
    (entry,) = compare(bench.scored)
    assert entry.mean == 1.0
    assert entry.interval[0] == pytest.approx(0.94, abs=0.01)  # Wilson, 60 of 60


def test_texts_are_mixed_behind_cached_blocks_only(bench):
    mixed = [dataclasses.replace(candidate_at(depth, 4), augmentation="mixup") for depth in (0, 1, 3)]
    views = bench.trainer.views
    assert [views.why_not(candidate) for candidate in mixed] == [None] * 3
    bench.prefixes._depths = []
    bench.prefixes.note(3, "computed anew in every step: the cache's byte budget is used up")
    why = "texts are mixed behind cached blocks, and these are computed anew in every step: the cache's byte budget is"
    assert [views.why_not(candidate) for candidate in mixed[:2]] == [None] * 2
    assert str(views.why_not(mixed[2])).startswith(why)


def test_candidates_without_a_score_are_listed_with_the_reason(backbone, tmp_path):
    result = run_search(backbone, tmp_path, n_trials=1)
    own = [row for row in result.unscored if row["head"] == "own"]
    assert {(row["frozen_blocks"], row["why"]) for row in own} == {
        (0, "the search stopped before its turn"),
        (4, "the search stopped before its turn"),
    }
    (native,) = [row for row in result.unscored if row["head"] == "native"]
    assert "does not run on this base" in native["why"]


def test_a_resumed_cache_counts_what_is_on_disk_already(backbone, tmp_path, monkeypatch):
    space = default_space(4)
    options = {"data": DATA, "space": space, "work": tmp_path, "metric": "accuracy", "seed": 0}
    first = open_bench(backbone, **options)
    assert set(first.prefixes.depths) == {1, 2, 3}
    full = dataclasses.make_dataclass("usage", [("free", int)])(0)
    monkeypatch.setattr(tuner.search.prefixes.shutil, "disk_usage", lambda _path: full)
    again = open_bench(backbone, **options)
    assert again.prefixes.depths == first.prefixes.depths


def reopened(folder):
    """The study of a run folder as a process finds it that goes on from no stored trial."""
    study = tuner.search.study.open_study(folder, seed=0, storage=None, name=None, run_key="x")
    tuner.search.study.reconcile(study, (), space=default_space(4), seed=0)
    return study


def test_trials_of_a_dead_process_are_marked_failed(backbone, tmp_path):
    tuner.search.study.open_study(tmp_path, seed=0, storage=None, name=None, run_key="x").ask()
    study = reopened(tmp_path)
    assert [trial.state.name for trial in study.trials] == ["FAIL"]


def test_ctrl_c_keeps_the_best_so_far(backbone, tmp_path, monkeypatch):
    original = Bench.run_trained
    calls = []

    def interrupted(self, name, candidate, **options):
        calls.append(name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, name, candidate, **options)

    monkeypatch.setattr(Bench, "run_trained", interrupted)
    result = run_search(backbone, tmp_path, n_trials=20)
    assert result.stopped_because == "interrupted"
    assert result.trials == {"complete": 2, "pruned": 0, "failed": 1}  # one trained, the head, one cut off
    assert result.model.predict(["good film"])[0] in NAMES
    assert result.confirmations == ()


def test_a_search_goes_on_after_ctrl_c(backbone, tmp_path, monkeypatch):
    original = Bench.run_trained
    names = []

    def interrupted(self, name, candidate, **options):
        if len(names) == 1 and not resumed:
            raise KeyboardInterrupt
        names.append(name)
        return original(self, name, candidate, **options)

    monkeypatch.setattr(Bench, "run_trained", interrupted)
    resumed = False
    first = run_search(backbone, tmp_path, n_trials=5)
    resumed = True
    second = run_search(backbone, tmp_path, n_trials=5, resume=True)
    assert (first.stopped_because, second.stopped_because) == ("interrupted", "trials")
    assert second.trials["complete"] + second.trials["pruned"] == 5
    assert len(names) == len(set(names))
    if second.winner["run"] != first.winner["run"]:
        assert second.winner["test"]["times"] == 2
        assert any("was scored 2 times" in warning for warning in second.warnings)
    else:
        assert second.to_json()["winner"]["test"] == first.to_json()["winner"]["test"]
    assert {path.name for path in tmp_path.iterdir()} == {"model", "study.journal", "tuning.json"}


def test_an_interruption_after_the_test_scores_it_no_second_time(backbone, tmp_path, monkeypatch):
    original, scored = tuner.search.finish.classify, []
    expected = backbone.encode(DATA.test.rows).digest()

    def counted(*args, encoded, **options):
        scored.append(encoded.digest() == expected)
        return original(*args, encoded=encoded, **options)

    def interrupted(_features):
        raise KeyboardInterrupt

    monkeypatch.setattr(tuner.search.finish, "classify", counted)
    with monkeypatch.context() as patch:
        patch.setattr(tuner.search.finish, "measure_support", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_search(backbone, tmp_path, n_trials=3)
    assert not (tmp_path / "tuning.json").exists()
    result = run_search(backbone, tmp_path, n_trials=3, resume=True)
    assert scored.count(True) == 1
    assert result.winner["test"]["times"] == 1
    assert "scored once" in (tmp_path / "model" / "README.md").read_text()


def test_a_trial_that_overruns_the_budget_is_stopped(bench, tmp_path):
    kept(bench, "0", 4, 30)
    trials = trials_of(bench, tmp_path, deadline=Deadline(1e-6))
    bench.pace.step_seconds[3] = 1e-12  # a measured speed that promised too much
    trials.tries.one(candidate_at(3, 4))
    assert trials.counts() == {"complete": 1, "pruned": 1, "failed": 0}


def test_ctrl_c_while_confirming_can_be_resumed(backbone, tmp_path, monkeypatch):
    original = Bench.run_trained

    def interrupted(self, name, candidate, **options):
        if name.repeat is not None:
            raise KeyboardInterrupt
        return original(self, name, candidate, **options)

    monkeypatch.setattr(Bench, "run_trained", interrupted)
    assert run_search(backbone, tmp_path, n_trials=3).stopped_because == "interrupted"
    monkeypatch.setattr(Bench, "run_trained", original)
    assert run_search(backbone, tmp_path, n_trials=3, resume=True).confirmations


def test_ctrl_c_before_anything_finished_is_passed_on(backbone, tmp_path, monkeypatch):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Bench, "run_trained", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_search(backbone, tmp_path, n_trials=2)


def test_the_budget_holds(backbone, tmp_path):
    result = run_search(backbone, tmp_path, n_trials=None, budget_s=20.0)
    assert result.stopped_because == "budget"
    assert result.budget["asked_s"] == 20.0
    assert result.budget["used_s"] < 35.0
    assert result.trials["complete"] >= 2
    assert result.final["rows"] == 156
    assert "1 run" in result.plans[0]["text"] or "runs" in result.plans[0]["text"]


def test_a_budget_too_short_for_one_trial_is_said(backbone, tmp_path):
    with pytest.raises(OptionError, match="is too short for one trial"):
        run_search(backbone, tmp_path, n_trials=None, budget_s=0.01)


@pytest.mark.parametrize("where", ["cache", "model"])
def test_a_full_disk_is_said(backbone, tmp_path, monkeypatch, where):
    import errno
    import os

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    if where == "cache":
        monkeypatch.setattr(os, "posix_fallocate", full)
    else:
        monkeypatch.setattr(tuner.search.finish.TransferModel, "save_pretrained", full)
    with pytest.raises(RunFolderError, match="the disk is full"):
        run_search(backbone, tmp_path, n_trials=2)


def test_the_backbone_is_left_as_it_was(backbone, tmp_path):
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    run_search(backbone, tmp_path, n_trials=2)
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.model.state_dict().items())
    assert all(parameter.requires_grad for parameter in backbone.model.parameters())


def test_a_baseline_that_wins_is_said_to_win(backbone, tmp_path):
    perfect = {"score": 1.01, "interval": [1.0, 1.0]}
    result = run_search(backbone, tmp_path, n_trials=1, baselines={"majority": None, "tfidf_linear": perfect})
    assert any("TF-IDF + logistic regression scores 1.010" in warning for warning in result.warnings)
    poor = {"score": 0.1, "interval": [0.0, 0.2]}
    result = run_search(backbone, tmp_path / "b", n_trials=1, baselines={"tfidf_linear": poor})
    assert result.warnings == ()


def test_the_work_folder_is_gone_and_the_result_stays(backbone, tmp_path):
    result = run_search(backbone, tmp_path, n_trials=3)
    assert {path.name for path in tmp_path.iterdir()} == {"model", "study.journal", "tuning.json"}
    assert read_sealed(tmp_path / "tuning.json", fix="") == result.to_json()


def test_the_test_split_is_scored_once(backbone, tmp_path, monkeypatch):
    original, scored = tuner.search.finish.classify, []
    expected = backbone.encode(DATA.test.rows).digest()

    def counted(*args, encoded, **options):
        scored.append(encoded.digest() == expected)
        return original(*args, encoded=encoded, **options)

    monkeypatch.setattr(tuner.search.finish, "classify", counted)
    run_search(backbone, tmp_path, n_trials=3)
    assert scored.count(True) == 1


# -- the choice of the winner ------------------------------------------------------------------------------------------


def test_the_highest_mean_wins(bench):
    kept(bench, "0", 0, 55)
    kept(bench, "1", 3, 52, also=(57, 58))  # one row fewer of sixty, but five rows differ
    kept(bench, "2", 4, 40)
    compared = {entry.run.candidate.frozen_blocks: entry for entry in compare(bench.scored)}
    assert compared[3].below_best == pytest.approx(1 / 60)
    assert compared[3].standard_error == pytest.approx(np.sqrt((5 / 60 - 1 / 60**2) / 60), rel=0.1)
    assert compared[4].below_best > compared[4].standard_error
    assert choose_winner(bench.scored)[0].candidate.frozen_blocks == 0


def test_of_equals_the_cheapest_wins(bench):
    kept(bench, "0", 0, 50)
    kept(bench, "1", 3, 40, also=range(50, 60))
    kept(bench, "2", 2, 50)
    assert choose_winner(bench.scored)[0].candidate.frozen_blocks == 3


def test_a_single_run_does_not_win_over_what_was_confirmed(bench):
    kept(bench, "0", 0, 58)
    kept(bench, "0@1", 0, 50, seed=1)
    kept(bench, "1", 2, 54)
    assert choose_winner(bench.scored)[0].candidate.frozen_blocks == 0
    kept(bench, "2", 4, 52)  # a linear head has no seeds
    assert choose_winner(bench.scored)[0].candidate.frozen_blocks == 4


@pytest.mark.parametrize(
    ("right", "why"),
    [
        (
            (50, 44),
            r"after all validation scores it is expected to score 0\.\d+, [2-9]\.\d points more than the "
            r"recommended candidate's 0\.7\d\d; on validation they scored 0\.833 and 0\.733",
        ),
        ((50, 50), r"both are expected to score 0\.7\d\d, and it is cheaper, since it trains less"),
        ((40, 50), r"its 0\.\d+ is expected after further seeds; the recommended candidate's 0\.\d+ rests on a single"),
    ],
)
def test_the_reason_for_another_winner_is_one_comparison(bench, tmp_path, right, why):
    winner, recommended = kept(bench, "0", 3, right[0]), kept(bench, "1", 2, right[1])
    trials = trials_of(bench, tmp_path, recommended=recommended.candidate, n_trials=2)
    entries = {entry.run.name: entry for entry in compare(bench.scored)}
    shipped = Shipped(model=None, name=str(winner.name), candidate=winner.candidate, recipe={}, run=winner, final=None)
    change = tuner.search.finish._change(
        trials, shipped=shipped, chosen=entries[winner.name], compared=list(entries.values())
    )
    assert re.match(why, change["why"])
    assert change["from"] == "2 of 4 blocks frozen"
    assert change["to"] == "3 of 4 blocks frozen"


def test_repeats_count_and_the_trial_that_was_picked_does_not(bench):
    kept(bench, "0", 0, 58)
    kept(bench, "0@1", 0, 50, seed=1)
    kept(bench, "0@2", 0, 46, seed=2)
    kept(bench, "1", 3, 55)
    kept(bench, "2", 2, 45)
    compared = {entry.run.candidate.frozen_blocks: entry for entry in compare(bench.scored)}
    assert compared[0].mean == pytest.approx(48 / 60)
    assert compared[0].seeds == (1, 2)
    assert compared[0].standard_error == 0  # the best of those that were repeated, though depth 3 had one good run
    assert compared[3].below_best == pytest.approx((48 - 55) / 60)


def test_the_spread_over_seeds_enters_the_standard_error_of_all(bench):
    kept(bench, "0", 0, 58)
    kept(bench, "0@1", 0, 50, seed=1)
    kept(bench, "0@2", 0, 46, seed=2)
    kept(bench, "1", 3, 52)
    kept(bench, "1@1", 3, 44, seed=1)
    kept(bench, "1@2", 3, 46, seed=2)
    kept(bench, "2", 2, 44)
    entries = {entry.run.candidate.frozen_blocks: entry for entry in compare(bench.scored)}
    pooled = (np.var([50, 46], ddof=1) + np.var([44, 46], ddof=1)) / 2 / 60**2
    # Three or four rows of sixty differ between these, which the bootstrap sees; the rest is seeds.
    assert entries[3].standard_error > np.sqrt(pooled / 2 + pooled / 2)
    assert entries[2].standard_error > np.sqrt(pooled / 2 + pooled)  # a single run has the spread of a single run


def test_linear_heads_have_no_seeds(bench):
    kept(bench, "0", 0, 58)
    kept(bench, "0@1", 0, 50, seed=1)
    kept(bench, "0@2", 0, 46, seed=2)
    kept(bench, "1", 4, 48)
    entry = next(e for e in compare(bench.scored) if e.run.candidate.frozen_blocks == 4)
    rows_and_best = np.sqrt(np.var([50, 46], ddof=1) / 60**2 / 2)
    assert rows_and_best < entry.standard_error < 1.5 * rows_and_best


def test_leaders_are_confirmed_on_two_more_seeds(backbone, tmp_path):
    result = run_search(backbone, tmp_path, n_trials=5)
    seeds = {}
    for row in result.confirmations:
        seeds.setdefault(json.dumps(row["candidate"]), set()).add(row["seed"])
    assert seeds
    assert all(found == {1, 2} for found in seeds.values())
    confirmed = [row for row in result.candidates if row["n"] == 2]
    assert confirmed
    assert all(row["sd"] is not None for row in confirmed)


def test_confirmation_stops_with_the_budget(bench, tmp_path):
    kept(bench, "0", 0, 55)
    trials_of(bench, tmp_path, deadline=Deadline(1e-9)).confirm()
    assert not [run for run in bench.runs.values() if run.is_confirmation]


def test_a_confirmation_that_takes_longer_than_its_trial_stops_with_the_budget(bench, tmp_path, monkeypatch):
    recipe = {"learning_rate": 1e-3, "head_ratio": 1.0, "steps": 400.0}
    kept(bench, "0", 2, 55)
    bench.runs[named("0")] = dataclasses.replace(bench.runs[named("0")], recipe=recipe, seconds=0.0)
    trials = trials_of(dataclasses.replace(bench, refits=False), tmp_path, deadline=Deadline(100.0))
    left = iter([1.0, 1.0, 1.0])  # before it begins and after 10 and 20 steps
    monkeypatch.setattr(trials.clock, "left", lambda: next(left, -1.0))
    steps = []
    train = tuner.search.trainer.train

    def watched(*given, on_step, **options):
        return train(*given, on_step=lambda done: (steps.append(done), on_step(done))[1], **options)

    monkeypatch.setattr(tuner.search.trainer, "train", watched)
    trials.confirm()
    assert not [run for run in bench.runs.values() if run.is_confirmation]
    assert steps[-1] == 30


def test_a_leading_control_outside_widens_the_range(backbone, tmp_path, monkeypatch):
    def fixed(self, name, candidate, **_options):
        right = 60 if candidate.frozen_blocks == 0 else 30
        return kept(self, name, candidate.frozen_blocks, right)

    @contextmanager
    def untrained(self, _run):
        with self.trainer.built(candidate_at(0, 4), seed=0) as built:
            yield built.model.eval()

    monkeypatch.setattr(Bench, "run_trained", fixed)
    monkeypatch.setattr(Bench, "run_head", lambda self, name, _c, **_options: kept(self, name, 4, 20))
    monkeypatch.setattr(Trials, "confirm", lambda _self: True)
    monkeypatch.setattr(Bench, "loaded", untrained)
    monkeypatch.setattr(Bench, "validation_logits", lambda self, _run: np.eye(2)[self.rows.truth.labels])
    space = SearchSpace(n_blocks=4, first=(), controls=(candidate_at(0, 4), candidate_at(4, 4)), depths=(2, 4))
    cached, original = [], Prefixes.cache

    def cache(self, depths):
        original(self, depths)
        cached[:] = self.depths

    monkeypatch.setattr(Prefixes, "cache", cache)
    result = run_search(backbone, tmp_path, space=space, n_trials=5, refit=False)
    assert result.range == {"advised": (2, 4), "searched": (0, 4)}
    assert set(cached) == {1, 2, 3}  # the depths that came in by widening as well


# -- the space ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "depths", "first"),
    [("train_all", (0, 0), 0), ("head_only", (4, 4), 4), ("freeze_part", (1, 3), 3)],
)
def test_a_space_can_be_restricted_to_a_strategy(strategy, depths, first):
    space = restrict(default_space(4), strategy=strategy, widths=[32] * 4)
    assert space.depths == depths
    assert [c.frozen_blocks for c in space.first] == [first]
    assert space.controls == ()


def test_feature_based_tries_the_named_variants():
    space = restrict(default_space(7), strategy="feature_based", widths=[32] * 7)
    # The last block, by its own pooling, is head only.
    named = ["embeddings", "second_to_last", None, "weighted_last_four", "concat_last_four", "weighted_all"]
    assert [c.features for c in space.first] == named
    assert space.first[2] == candidate_at(7, 7)
    staged = restrict(default_space(4), strategy="feature_based", widths=[8, 8, 16, 16])
    assert [c.features for c in staged.first] == ["embeddings", "second_to_last", None, "concat_last_four"]


def test_a_block_that_has_a_name_is_tried_under_that_only():
    probed = tuple(
        Candidate(strategy="feature_based", frozen_blocks=None, features=f"block_{block}") for block in (0, 2, 5)
    )
    space = restrict(dataclasses.replace(default_space(7), first=probed), strategy="feature_based", widths=[32] * 7)
    assert [c.features for c in space.first if str(c.features).startswith("block")] == ["block_2"]


@pytest.mark.parametrize("strategy", ["head_only", "feature_based", "bilstm"])
def test_what_trains_no_block_is_neither_augmented_nor_trained_otherwise(strategy):
    space = dataclasses.replace(default_space(4), options=("random_head",), augmentation="masking")
    restricted = restrict(space, strategy=strategy, widths=[32] * 4, tops=("linear", "bilstm"))
    assert (restricted.options, restricted.augmentation) == ((), None)


def test_a_bilstm_on_the_best_probe_is_tried_first():
    best = Candidate(strategy="feature_based", frozen_blocks=None, features="weighted_all", top="bilstm")
    space = dataclasses.replace(default_space(4), first=(best,))
    tried = restrict(space, strategy="bilstm", widths=[32] * 4, tops=("linear", "bilstm")).first
    assert [c.features for c in tried[:2]] == ["weighted_all", "embeddings"]
    assert len(tried) == 6


@pytest.mark.parametrize("features", ["embeddings", "weighted_all", "block_2", "last"])
def test_a_space_can_be_restricted_to_features(features):
    space = restrict(default_space(4), strategy=features, widths=[32] * 4)
    assert [(c.strategy, c.features) for c in space.first] == [("feature_based", features)]
    assert space.depths == (4, 4)


def test_features_that_a_model_cannot_have_are_said():
    with pytest.raises(OptionError, match="weighted_all does not fit this model: its blocks are 8, 16 wide"):
        restrict(default_space(4), strategy="weighted_all", widths=[8, 8, 16, 16])
    with pytest.raises(OptionError, match="weighted_all does not fit this model"):
        check_strategy("weighted_all", widths=[8, 8, 16, 16])
    for name in ("block_4", "block_x", "block_²"):
        with pytest.raises(OptionError, match="or block_0 to block_3"):
            restrict(default_space(4), strategy=name, widths=[32] * 4)


def test_scratch_is_searched_at_its_own_rates_and_lengths(backbone, tmp_path):
    space = restrict(default_space(4), strategy="scratch", widths=[32] * 4)
    space = dataclasses.replace(space, epochs=(2, 3))
    result = run_search(backbone, tmp_path, n_trials=2, space=space)
    assert {(row["strategy"], row["start"]) for row in result.candidates} == {("train_all", "scratch")}
    assert result.trials["complete"] + result.trials["pruned"] == 2
    for row in result.candidates:
        assert 1e-4 <= row["recipe"]["learning_rate"] <= 2e-3
        assert row["recipe"]["head_ratio"] == 1.0


@pytest.mark.parametrize(
    ("n_blocks", "strategy", "said"),
    [
        (3, "weighted_last_four", "weighted_last_four reads all 3 blocks"),
        (3, "weighted_all", None),
        (7, "weighted_last_four", None),
    ],
)
def test_what_is_worth_knowing_of_what_is_tried_is_said(n_blocks, strategy, said):
    notes = space_notes(restrict(default_space(n_blocks), strategy=strategy, widths=[32] * n_blocks))
    assert [said in note for note in notes] == [True] if said else notes == ()


def test_a_scratch_control_is_warned_of_where_it_was_tried(bench):
    kept(bench, "0", 0, 30)
    assert tuner.search.finish.of_scratch(bench.leaders(), n_train=500) == []
    run = bench.leaders()[0]
    scratch = dataclasses.replace(
        run, candidate=dataclasses.replace(run.candidate, start="scratch"), recipe=run.recipe | {"epochs": 20.0}
    )
    (note,) = tuner.search.finish.of_scratch([run, scratch], n_train=500)
    assert "500 rows are few to train a network from fresh weights: it is a control" in note
    assert tuner.search.finish.of_scratch([scratch], n_train=20_000) == []
    assert scratch.candidate.label(7) == "trained from scratch (control)"


def test_unknown_strategies_are_said():
    with pytest.raises(OptionError, match="Did you mean 'head_only'"):
        restrict(default_space(4), strategy="head_onyl", widths=[32] * 4)


def test_impossible_depths_are_said():
    with pytest.raises(OptionError, match="9 frozen blocks of 4"):
        candidate_at(9, 4)


def test_checks_on_the_way_look_at_some_rows_and_the_end_at_all(backbone, monkeypatch):
    monkeypatch.setattr(tuner.training.train, "CHECK_ROWS", 10)
    model = build_classifier(
        backbone.model, backbone=backbone, task=Classes(names=NAMES), features="last", frozen_blocks=0
    )
    prefix = freeze(model, backbone.blocks, frozen_blocks=0)
    rows = Rows(encoded=backbone.encode(DATA.train.rows), labels=DATA.train.labels, task=Classes(names=NAMES))
    held_out = Rows(
        encoded=backbone.encode(DATA.validation.rows), labels=DATA.validation.labels, task=Classes(names=NAMES)
    )
    seen = []
    recipe = Recipe(learning_rate=1e-3, head_ratio=1, steps=8, batch_size=8, seed=0)
    train(
        model, backbone=backbone, prefix=prefix, recipe=recipe, train_rows=rows, validation_rows=held_out,
        on_check=lambda done, predictions: seen.append((done, len(predictions))),
    )  # fmt: skip
    assert seen == [(2, 10), (4, 10), (6, 10), (8, 60)]
    some = rows_on_the_way(60)
    everything = predict(model, backbone=backbone, rows=held_out, prefix=prefix)
    chosen = predict(model, backbone=backbone, rows=held_out, prefix=prefix, positions=some)
    np.testing.assert_allclose(chosen, everything[some], atol=0.02)


def test_sampled_steps_are_cut_so_that_a_trial_and_its_checks_fit_what_is_left(bench, tmp_path):
    trials = trials_of(bench, tmp_path, deadline=Deadline(100.0))
    bench.pace.step_seconds = {0: 0.15, 1: 0.15, 3: 0.15}
    trial = trials.study.ask({})
    _, recipe = trials.sampling.suggest(trial, candidate_at(3, 4), steps=1000.0, most_s=15.0)
    # 60 validation rows are scored 4 times in batches of 16; a forward pass is a third of a step.
    assert bench.pace.check_steps == pytest.approx(4 * 60 / 16 / 3)
    assert recipe["steps"] == 95


# -- a storage that several runs share -------------------------------------------------------------------------------


def test_runs_do_not_mix_in_a_shared_storage(backbone, tmp_path):
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    options = {
        "storage": tuner.search.storage.open_storage(url),
        "space": restrict(default_space(4), strategy="head_only", widths=[32] * 4),
    }
    first = run_search(backbone, tmp_path / "a", n_trials=1, **options)
    second = run_search(backbone, tmp_path / "b", n_trials=1, **options)
    assert first.trials == second.trials == {"complete": 1, "pruned": 0, "failed": 0}
    named = options | {"study_name": "mine"}
    run_search(backbone, tmp_path / "c", n_trials=1, **named)
    with pytest.raises(OptionError, match="already holds the trials of another run"):
        run_search(backbone, tmp_path / "d", n_trials=1, **named)


@pytest.mark.parametrize("url", ["garbage", "foo://x", "sqlite:////no/such/folder/trials.db", "postgresql://x"])
def test_a_storage_that_cannot_be_opened_is_said(url):
    with pytest.raises(OptionError, match="cannot be opened"):
        tuner.search.storage.open_storage(url)


def test_a_median_needs_three_trials_that_came_as_far(tmp_path):
    """Linear candidates, which report nothing, and one trained trial are no median to be pruned by."""
    study = tuner.search.study.open_study(tmp_path, seed=0, storage=None, name=None, run_key="x")
    for value in (0.7, 0.71, 0.72):
        study.tell(study.ask(), value)

    def pruned_at(scores):
        trial = study.ask()
        for index, value in enumerate(scores):
            trial.report(value, index)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                return index
        study.tell(trial, scores[-1])
        return None

    for good in ([0.80, 0.81, 0.82], [0.70, 0.71, 0.72], [0.60, 0.75, 0.81]):
        assert pruned_at(good) is None
    assert pruned_at([0.50, 0.55, 0.60]) == 1


# -- what is said about a recommended candidate without a score ------------------------------------------------------


@pytest.mark.parametrize(
    ("tell", "why"),
    [
        (None, "the search stopped before its turn"),
        ("pruned", "its trial was pruned: it scored less than the others after the same number of steps"),
        ("out of time", "the time was up before its trial came to an end"),
        ("failed", "its trial failed"),
        ("limited", "the search was limited to other strategies"),
    ],
)
def test_why_a_candidate_has_no_score(bench, tmp_path, tell, why):
    study = tuner.search.study.open_study(tmp_path, seed=0, storage=None, name=None, run_key="x")
    if tell == "limited":
        bench = dataclasses.replace(bench, space=restrict(bench.space, strategy="head_only", widths=[32] * 4))
    elif tell is not None:
        trial = study.ask()
        trial.set_user_attr("candidate", candidate_at(3, 4).to_json())
        if tell == "out of time":
            trial.set_user_attr("out_of_time", True)
        states = optuna.trial.TrialState
        study.tell(trial, state=states.FAIL if tell == "failed" else states.PRUNED)
    trials = Trials(bench, study=study, deadline=Deadline(None), recommended=candidate_at(3, 4), n_trials=1)
    assert trials.why_unscored(candidate_at(3, 4)) == why


def test_groups_stay_together_where_the_penalty_is_chosen(backbone, tmp_path, monkeypatch):
    groups = np.repeat(np.arange(24), 4)
    data = dataclasses.replace(DATA, train=dataclasses.replace(DATA.train, groups=groups))
    made = open_bench(backbone, data=data, space=default_space(4), work=tmp_path, metric="accuracy", seed=0)
    seen = {}
    original = tuner.tasks.heads.cross_validate

    def watched(*args, folds, **kwargs):
        seen["folds"] = folds
        return original(*args, folds=folds, **kwargs)

    monkeypatch.setattr(tuner.tasks.heads, "cross_validate", watched)
    made.trainer.head("last")
    assert all(len(set(seen["folds"][groups == group])) == 1 for group in range(24))
    assert set(seen["folds"]) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 1}', '{"schema": 1, "winner": {}, "candidates": []}'])
def test_a_damaged_result_is_said_when_a_search_is_resumed(backbone, tmp_path, content):
    (tmp_path / "tuning.json").write_text(content)
    with pytest.raises(
        DataError, match=r"is not readable JSON|was not written by|is damaged: by_depth is missing; winner"
    ):
        run_search(backbone, tmp_path, resume=True)


def test_a_result_of_a_later_version_is_read(backbone, tmp_path):
    first = run_search(
        backbone, tmp_path, n_trials=1, space=restrict(default_space(4), strategy="head_only", widths=[32] * 4)
    )
    stored = json.loads((tmp_path / "tuning.json").read_text()) | {"added_later": 1}
    write_sealed(tmp_path / "tuning.json", {key: value for key, value in stored.items() if key != "sha256"})
    again = run_search(backbone, tmp_path, n_trials=1, resume=True)
    assert again.winner["test"]["score"] == first.winner["test"]["score"]


def test_a_trial_that_was_queued_by_a_dead_process_is_no_ones(tmp_path):
    study = tuner.search.study.open_study(tmp_path, seed=0, storage=None, name=None, run_key="x")
    study.enqueue_trial({"frozen_blocks": 1})
    again = reopened(tmp_path)
    assert [trial.state.name for trial in again.trials] == ["FAIL"]
    assert "frozen_blocks" not in again.ask().params
