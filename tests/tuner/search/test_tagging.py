"""Token classification through the search: words in, entities out, by every strategy."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import tuner.export  # registers our class with transformers' Auto classes
import tuner.search.bilstm
import tuner.tasks.heads
import tuner.tasks.tags
from helpers import tiny
from helpers.tagged_sentences import DATA, NAMES
from tuner.errors import DataError, OptionError
from tuner.export import TransferModel
from tuner.freezing import freeze
from tuner.inputs.encoded import IGNORED
from tuner.model.assemble import load_backbone
from tuner.model.classifier import TransferClassifier, classify
from tuner.search.bench import Bench, open_bench
from tuner.search.run_name import RunName
from tuner.search.search import search
from tuner.search.space import Candidate, SearchSpace, candidate_at, restrict, space_notes
from tuner.tasks.classes import Classes
from tuner.tasks.heads import FEATURES, fit_head
from tuner.tasks.known import check_metric
from tuner.tasks.one_of import cross_entropy
from tuner.tasks.tags import Tags, TagTruth
from tuner.training.prefix import PrefixCache
from tuner.training.train import Rows, Stopped, check_replay

BILSTM = Candidate(strategy="feature_based", frozen_blocks=None, features="concat_last_four", top="bilstm")


@pytest.fixture
def backbone(monkeypatch):
    monkeypatch.setattr(tuner.search.bilstm, "LSTM", (24, 2))
    return load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")


def space_of(*first: Candidate, depths: tuple[int, int] = (4, 4)) -> SearchSpace:
    return SearchSpace(n_blocks=4, first=first, controls=(), depths=depths, learning_rate=(2e-3, 6e-3))


def bench_of(backbone, folder, *first: Candidate) -> Bench:
    return open_bench(backbone, data=DATA, space=space_of(*first), work=folder, metric="entity_f1", seed=0)


def named(text: str) -> RunName:
    return RunName.parse(text)


def test_blocks_are_trained_by_words_and_predict_entities(backbone, tmp_path) -> None:
    bench = bench_of(backbone, tmp_path, candidate_at(2, 4))
    recipe = {"learning_rate": 5e-3, "head_ratio": 2.0, "steps": 150.0}
    run = bench.run_trained(named("0"), candidate_at(2, 4), recipe=recipe, seed=0)
    assert run.score > 0.9
    assert run.predictions.shape == DATA.validation.labels.shape
    assert "equal to the full model" in bench.prefixes.notes[2]
    with bench.loaded(run) as model:
        again, _ = classify(model, backbone=bench.backbone, encoded=bench.rows.validation)
    np.testing.assert_array_equal(again.argmax(1), run.predictions)


def test_only_words_first_subwords_are_in_the_loss() -> None:
    logits = torch.randn(2, 3, 4)
    targets = torch.tensor([[IGNORED, 1, IGNORED], [2, 0, IGNORED]])
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    torch.testing.assert_close(cross_entropy(logits, targets), expected)
    assert float(cross_entropy(logits, torch.full((2, 3), IGNORED))) == 0.0
    rows = torch.tensor([1, 3])
    torch.testing.assert_close(cross_entropy(logits[:, 0], rows), torch.nn.functional.cross_entropy(logits[:, 0], rows))


def test_replay_of_tagged_words_is_checked_in_their_own_loss(backbone, tmp_path) -> None:
    bench = bench_of(backbone, tmp_path, candidate_at(3, 4))
    other = PrefixCache(tmp_path / "o", backbone=backbone, encoded=bench.rows.train.take(np.arange(159, -1, -1)))
    other.compute([3])
    with bench.trainer.built(candidate_at(3, 4), seed=0) as built:
        model, prefix, train_rows = built.model, built.prefix, built.train_rows
        assert check_replay(model, backbone=bench.backbone, rows=train_rows, prefix=prefix) is None
        wrong = replace(train_rows, cached=other.get(3))
        assert "differ" in check_replay(model, backbone=bench.backbone, rows=wrong, prefix=prefix)


def test_a_linear_head_is_fitted_on_every_word(backbone, tmp_path) -> None:
    bench = bench_of(backbone, tmp_path, candidate_at(4, 4))
    run = bench.run_head(named("0"), candidate_at(4, 4), seed=0)
    assert run.score > 0.6
    assert run.score == pytest.approx(bench.rows.truth.by_type(run.predictions).f1)


def test_a_linear_head_of_many_words_is_fitted_on_some_of_them(backbone, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tuner.tasks.tags, "HEAD_WORDS", 200)
    monkeypatch.setattr(tuner.tasks.tags, "PENALTY_WORDS", 100)
    seen = []
    monkeypatch.setattr(
        tuner.tasks.heads, "fit_head", lambda x, y, **given: seen.append(len(y)) or fit_head(x, y, **given)
    )
    bench = bench_of(backbone, tmp_path, candidate_at(4, 4))
    assert bench.run_head(named("0"), candidate_at(4, 4), seed=0).score > 0.5
    assert 190 < seen[0] <= 200
    assert f"linear heads are fitted on 200 of {len(DATA.train.labels)} training words" in bench.warnings


def test_a_bilstm_reads_frozen_features_and_is_loaded_as_it_was(backbone, tmp_path) -> None:
    bench = bench_of(backbone, tmp_path, BILSTM)
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    run = bench.run_head(named("0"), BILSTM, seed=0)
    assert run.score > 0.8
    assert bench.run_again(run, seed=1).predictions.shape == run.predictions.shape
    with bench.loaded(run) as model:
        again, _ = classify(model, backbone=bench.backbone, encoded=bench.rows.validation)
        np.testing.assert_array_equal(again.argmax(1), run.predictions)
        for name, tensor in backbone.model.state_dict().items():
            torch.testing.assert_close(tensor, before[name])
        with pytest.raises(ValueError, match="word_starts"):
            model(input_ids=torch.tensor([[2, 5, 3]]))


def test_a_confirmation_of_a_bilstm_takes_no_more_epochs_than_its_trial(backbone, tmp_path) -> None:
    bench = bench_of(backbone, tmp_path, BILSTM)
    run = bench.run_head(named("0"), BILSTM, seed=0, most_seconds=0.0)
    assert run.recipe == {"epochs": 1.0}
    cut = [warning for warning in bench.warnings if "the time ended" in warning]
    assert cut == [
        "feature-based, concat last four, BiLSTM: the time ended its training after 1 of at most 40 epochs, so that "
        "its score says little of what it can do; a longer --budget shows it"
    ]
    assert bench.run_again(run, seed=1).recipe == {"epochs": 1.0}

    def out_of_time(_done) -> None:
        raise Stopped

    assert bench.run_again(run, seed=2, on_step=out_of_time) is None
    assert set(bench.runs) == {named("0"), named("0@1")}
    assert [warning for warning in bench.warnings if "the time ended" in warning] == cut


def test_words_that_the_model_does_not_see_are_outside(backbone, tmp_path) -> None:
    short = load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu", max_length=5)
    bench = bench_of(short, tmp_path, candidate_at(4, 4), BILSTM)
    assert any("are not seen and predicted O" in warning for warning in bench.warnings)
    unseen = ~bench.rows.validation.seen
    assert unseen.any()
    recipe = {"learning_rate": 5e-3, "head_ratio": 2.0, "steps": 30.0}
    runs = (
        bench.run_head(named("0"), candidate_at(4, 4), seed=0), bench.run_head(named("1"), BILSTM, seed=0),
        bench.run_trained(named("2"), candidate_at(1, 4), recipe=recipe, seed=0),
    )  # fmt: skip
    for run in runs:
        assert (run.predictions[unseen] == 0).all()
        assert run.predictions.any()


@pytest.mark.parametrize("candidate", [candidate_at(2, 4), candidate_at(4, 4), BILSTM])
def test_a_search_saves_a_tagger(backbone, tmp_path, candidate) -> None:
    depths = (2, 2) if candidate.trains_blocks else (4, 4)
    result = search(
        backbone, data=DATA, space=space_of(candidate, depths=depths), recommended=candidate, folder=tmp_path,
        budget_s=None, n_trials=1,
    )  # fmt: skip
    assert result.metric == "entity_f1"
    test = result.winner["test"]
    assert test["n"] == 50
    assert {entry["type"] for entry in test["entities"]["by_type"]} == {"animal", "mood"}
    model = TransferModel.from_pretrained(result.model_dir)
    tagged = model.predict(DATA.test.rows)
    assert [len(tags) for tags in tagged] == DATA.test.n_words.tolist()
    truth = DATA.test.truth(DATA.task, metric="entity_f1")
    numbers = np.array([NAMES.index(tag) for tags in tagged for tag in tags])
    assert truth.score(numbers) == pytest.approx(test["score"])
    assert model.task == DATA.task
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: token-classification" in card
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert isinstance(model.classifier, TransferClassifier) == (candidate == BILSTM)
    assert config["architectures"] == [type(model.classifier).__name__]
    with pytest.raises(DataError, match="a sentence is a list of words"):
        model.predict(["the cat"])
    shown = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    said = {}
    exec(compile(shown.replace("path/to/this/folder", str(tmp_path / "model")), "README.md", "exec"), said)
    if candidate == BILSTM:
        assert said["tags"] == model.predict([["EU", "rejects", "lamb", "."]])
        assert "transformers import pipeline" not in card
    else:
        assert {found["entity"] for found in said["classify"]("the cat was sad")} <= set(NAMES)


def test_masking_is_the_augmentation_of_tagged_words(backbone, tmp_path) -> None:
    reader = tiny.tokenizer()
    reader.mask_token = "[UNK]"
    masked = load_backbone((tiny.bert(), reader), device="cpu")
    candidate = replace(candidate_at(2, 4), augmentation="masking")
    bench = bench_of(masked, tmp_path, candidate_at(2, 4))
    recipe = {"learning_rate": 5e-3, "head_ratio": 2.0, "steps": 60.0}
    assert bench.run_trained(named("0"), candidate, recipe=recipe, seed=0).score > 0.5
    for policy in ("token_dropout", "mixup"):
        space = replace(space_of(candidate_at(2, 4)), augmentation=policy)
        with pytest.raises(OptionError, match="the data is tagged words"):
            search(
                masked, data=DATA, space=space, recommended=candidate_at(2, 4), folder=tmp_path / policy,
                budget_s=None, n_trials=1,
            )  # fmt: skip


def test_metrics_go_with_what_is_scored() -> None:
    tags, classes = Tags(names=NAMES), Classes(names=("a", "b"))
    assert check_metric(None, task=classes) == "accuracy"
    for metric, task in (("accuracy", tags), ("entity_f1", classes)):
        with pytest.raises(OptionError, match=f"--metric {metric} does not go with"):
            check_metric(metric, task=task)
    with pytest.raises(OptionError, match="unknown metric"):
        check_metric("entity", task=tags)


def test_the_truth_of_some_sentences_is_theirs() -> None:
    truth = DATA.validation.truth(DATA.task, metric="entity_f1")
    rows = np.array([7, 3, 20])
    some = truth.take(rows)
    part = DATA.validation.take(rows)
    np.testing.assert_array_equal(some.labels, part.labels)
    assert some.score(part.labels) == 1.0
    assert isinstance(some, TagTruth)
    low, high = truth.interval(np.where(np.arange(len(truth.labels)) % 3 == 0, 0, truth.labels), seed=0)
    assert 0 < low < high < 1


def test_views_and_rows_count_sentences(backbone, tmp_path) -> None:
    bench = bench_of(backbone, tmp_path, candidate_at(2, 4))
    rows = Rows(encoded=bench.rows.train, labels=DATA.train.labels, task=Tags(names=NAMES))
    assert len(rows) == 160
    freeze(backbone.model, backbone.blocks, frozen_blocks=0)
    assert rows.targets(np.array([0]), backbone=backbone).ndim == 2


class Elmo(torch.nn.Module):
    """A language model as in Peters et al. 2018: word vectors, and two layers that read both ways with a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = torch.nn.Embedding(31, 16, padding_idx=0)
        self.lstm1 = torch.nn.LSTM(16, 8, bidirectional=True, batch_first=True)
        self.lstm2 = torch.nn.LSTM(16, 8, bidirectional=True, batch_first=True)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        first, _ = self.lstm1(self.embeddings(input_ids))
        second, _ = self.lstm2(first)
        return first + second


def test_a_model_shaped_like_elmo_is_read_and_trained(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(tuner.search.bilstm, "LSTM", (16, 1))
    torch.manual_seed(0)
    backbone = load_backbone((Elmo(), tiny.tokenizer()), device="cpu")
    assert [block.name for block in backbone.blocks] == ["embeddings", "lstm1", "lstm2"]
    space = SearchSpace(n_blocks=3, first=(), controls=(), depths=(3, 3), learning_rate=(5e-3, 2e-2))
    variants = restrict(space, strategy="feature_based", widths=backbone.widths, tops=("linear", "bilstm"))
    assert {candidate.features for candidate in variants.first if candidate.top == "bilstm"} == set(FEATURES)
    assert "concat_last_four reads all 3 blocks: the model has no more" in space_notes(variants)
    result = search(
        backbone, data=DATA, space=variants, recommended=variants.first[0], folder=tmp_path / "features",
        budget_s=None, n_trials=len(variants.first),
    )  # fmt: skip
    assert len(result.candidates) == len(variants.first) == 12
    assert result.candidates[0]["mean"] > 0.8
    depths = tuple(candidate_at(depth, 3) for depth in (0, 1, 2))
    result = search(
        backbone, data=DATA, space=replace(space, first=depths, depths=(0, 2)), recommended=depths[0],
        folder=tmp_path / "depths", budget_s=None, n_trials=3,
    )  # fmt: skip
    assert {entry["frozen_blocks"] for entry in result.candidates} <= {0, 1, 2}
    assert result.candidates[0]["mean"] > 0.8
    notes = result.prefix["by_depth"]
    assert notes[1] == "cached; equal to the full model in logits and gradients"
    # Its layers read padding, which is cached as zeros: that is found out, and the model runs as a whole.
    assert notes[2].startswith("computed anew in every step: logits differ")
    model = TransferModel.from_pretrained(result.model_dir, module=Elmo())
    assert [len(tags) for tags in model.predict(DATA.test.rows)] == DATA.test.n_words.tolist()
