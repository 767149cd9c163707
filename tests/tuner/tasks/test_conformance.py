"""Every input and every task keeps the promises that what follows them relies on."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

import tuner
from helpers.conformance import JOBS, Job
from tuner.export import TransferModel, measure_support
from tuner.freezing import freeze
from tuner.inputs.encoded import IGNORED
from tuner.inputs.given import rows_to_read
from tuner.inputs.known import INPUTS, input_of_folder, input_of_reader
from tuner.inputs.mixing import Mixture
from tuner.model.assemble import load_backbone
from tuner.model.classifier import TransferConfig, build_classifier, classify
from tuner.model.native import native_classifier
from tuner.tasks.base import OfRows
from tuner.tasks.calibration import fold
from tuner.tasks.heads import cross_validate, fit_head
from tuner.tasks.known import TASKS, check_metric, task_of_config
from tuner.training.augmentation import misfit, usual_policy
from tuner.training.prefix import PrefixCache
from tuner.training.train import Recipe, Rows, check_replay, forward, predict, train

DEPTH = 2


@pytest.fixture(scope="module", params=list(JOBS))
def job(request):
    return JOBS[request.param]


@pytest.fixture
def backbone(job):
    return load_backbone(job.model(), device="cpu")


@pytest.fixture
def encoded(job, backbone):
    return backbone.encode(job.rows)


def test_all_that_there_are_are_tried():
    assert {type(job.task) for job in JOBS.values()} == set(TASKS)
    assert {input_of_reader(job.model()[1]) for job in JOBS.values()} == set(INPUTS)


# --- inputs


def test_rows_know_where_their_labels_stand(job, encoded):
    n = len(job.rows)
    assert len(encoded) == len(encoded.lengths) == len(encoded.per_row) == n
    assert encoded.per_row.sum() == encoded.n_labelled == len(encoded.seen) == len(job.labels)
    np.testing.assert_array_equal(encoded.places(np.arange(n)), np.arange(len(job.labels)))
    assert len(encoded.places(np.array([1]))) == encoded.per_row[1]
    assert encoded.notes("rows") == ()


def test_rows_are_taken_and_joined(encoded):
    parts = encoded.take([0, 1]), encoded.take(np.arange(2, len(encoded)))
    assert parts[0].joined(parts[1]).digest() == encoded.digest() != parts[1].digest()
    turned = encoded.take(np.arange(len(encoded))[::-1])
    np.testing.assert_array_equal(turned.per_row, encoded.per_row[::-1])


def test_targets_and_picked_values_belong_to_the_same_units(job, backbone, encoded):
    rows = np.array([3, 0, 2])
    width = backbone.padded(encoded, rows)
    targets = encoded.targets(job.labels, rows, width=width)
    places, picked = encoded.pick(targets, rows)
    np.testing.assert_array_equal(picked, job.labels[places])
    np.testing.assert_array_equal(np.sort(places), np.sort(encoded.places(rows)[encoded.seen[encoded.places(rows)]]))
    assert (targets != IGNORED).sum() == job.labels[places].size
    np.testing.assert_array_equal(encoded.pick(torch.from_numpy(targets), rows)[1], picked)


def test_batches_hold_every_row_once_and_run(backbone, encoded):
    batches = list(backbone.batches(encoded))
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(len(encoded)))
    rows = batches[0][:3]
    padded = backbone.padded(encoded, rows)
    assert padded >= encoded.lengths[rows].max()
    with torch.no_grad():
        states = backbone.states(backbone.collate(encoded, rows)).states
    leading = (3, padded) if backbone.inputs.per_token else (3,)
    assert [tuple(state.shape) for state in states] == [(*leading, *shape) for shape in backbone.shapes]


def test_features_are_one_row_a_labelled_unit(backbone, encoded):
    features = backbone.block_features(encoded)
    assert [block.shape for block in features] == [(encoded.n_labelled, width) for width in backbone.widths]
    assert all(block.dtype == encoded.feature_type for block in features)


def test_rows_are_read_out_of_what_a_person_passes(job, backbone, encoded):
    given = job.rows if job.given is None else job.given
    form = job.task.form(backbone.inputs.form)
    assert form is job.form
    for held in (given, iter(given)):
        rows = form.checked(rows_to_read(held, form=form, pairs=job.given is not None), None)
        assert backbone.encode(rows).digest() == encoded.digest()


def test_the_usual_augmentation_makes_views_with_the_labels_of_their_rows(job, backbone, encoded):
    policies = [policy for policy in backbone.inputs.policies if misfit(policy, backbone=backbone) is None]
    usual = usual_policy(backbone, job.task)
    assert usual is None or misfit(usual, backbone=backbone, task=job.task) is None
    views = [policy for policy in policies if policy in ("token_dropout", "trivialaugment")]
    if job.task.misfit(views[0]) is not None:
        return
    n = len(encoded)
    made = backbone.inputs.views(encoded, policy=views[0], copies=3, seed=0, mirrors=lambda: False)
    assert len(made) == len(made.lengths) == 3 * n
    assert made.take(np.arange(n)).digest() == encoded.digest()
    rows = np.array([1, 4])
    width = backbone.padded(made, rows)
    np.testing.assert_array_equal(
        made.targets(job.labels, rows + 2 * n, width=width), encoded.targets(job.labels, rows, width=width)
    )


def test_its_reader_is_saved_as_a_copy_and_found_again(job, backbone, encoded, tmp_path):
    reader = backbone.inputs.saved_reader()
    assert reader is not backbone.inputs.reader
    reader.save_pretrained(tmp_path)
    kind = input_of_folder(tmp_path)
    assert kind is input_of_reader(reader) is type(backbone.inputs)
    again = load_backbone((backbone.model, reader), device="cpu")
    assert again.encode(job.rows).digest() == encoded.digest()


def test_the_example_of_a_model_is_four_rows(backbone):
    for uneven in (False, True):
        example = backbone.inputs.example(uneven=uneven)
        assert len(example) == 4
        assert backbone.block_features(example)[0].shape == (4, backbone.widths[0])
    assert backbone.inputs.noun != backbone.inputs.nouns


# --- tasks


def logits_of(job: Job, sure: float = 4.0) -> np.ndarray:
    """Logits that are right of every unit."""
    return job.logits(job.labels, sure)


def assert_alike(job: Job, found, expected, *, within: float = 1e-5) -> None:
    """The same; of predictions that can be nearly right, within that part of how far labels lie apart."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=within * job.scale)


def test_what_is_decoded_from_right_logits_is_all_right(job, encoded):
    task = job.task
    predictions = task.decode(logits_of(job), seen=encoded.seen)
    assert_alike(job, predictions, job.labels)
    predictions = job.labels  # the same, but for the last digits of numbers
    truth = task.truth(job.labels, metric=job.metric, n_words=job.n_words)
    assert truth.score(predictions) == 1.0
    low, high = truth.interval(predictions, seed=0)
    assert 0 <= low < high == 1.0
    assert (truth.draws(predictions, seed=0) == 1.0).all()
    assert truth.n_units == len(job.rows)
    assert len(truth.spread(np.arange(len(job.rows)))) == len(job.labels)
    some = truth.take(np.array([2, 0]))
    np.testing.assert_array_equal(some.labels, job.labels[truth.places(np.array([2, 0]))])
    groups = task.truth(job.labels, metric=job.metric, n_words=job.n_words, groups=np.arange(len(job.rows)) // 3)
    assert groups.n_units == -(-len(job.rows) // 3)


def test_a_worse_prediction_scores_less(job):
    task, rng = job.task, np.random.default_rng(0)
    truth = task.truth(job.labels, metric=job.metric, n_words=job.n_words)
    noise = task.decode(logits_of(job, sure=0.5) + rng.normal(size=(len(job.labels), task.n_outputs)).astype("float32"))
    assert truth.score(noise) < 1.0
    low, high = truth.interval(noise, seed=0)
    assert low <= truth.score(noise) <= high


def test_what_is_told_is_one_entry_a_row(job):
    told = job.task.told(job.labels, job.rows)
    assert len(told) == len(job.rows)
    assert job.task.probabilities(logits_of(job)).shape == (len(job.labels), job.task.n_outputs)


def test_an_assessment_is_plain_json(job, encoded):
    truth = job.task.truth(job.labels, metric=job.metric, n_words=job.n_words)
    found = truth.assess(logits_of(job), temperature=1.5, seen=encoded.seen, seed=0)
    score = json.loads(json.dumps(found))["metrics"][job.metric]["score"]
    assert score == 1.0 or (job.scale and score == pytest.approx(1.0, abs=1e-9))
    assert "calibration" not in truth.assess(logits_of(job), temperature=None)


def test_the_loss_falls_where_logits_become_right(job, backbone, encoded):
    rows = Rows(encoded=encoded, labels=job.labels, task=job.task)
    model = build_classifier(backbone.model, backbone=backbone, task=job.task, features="last", frozen_blocks=0)
    prefix = freeze(model, backbone.blocks, frozen_blocks=0)
    positions = np.arange(len(encoded))
    logits = forward(model, backbone=backbone, rows=rows, positions=positions, prefix=prefix)
    targets = rows.targets(positions, backbone=backbone)
    right = torch.from_numpy(job.logits(targets.clamp(min=0).numpy(), 9.0))
    assert 0 <= float(job.task.loss(right, targets)) < float(job.task.loss(logits, targets).detach())
    (gradient,) = torch.autograd.grad(job.task.loss(logits, targets), [logits])
    assert bool(gradient.isfinite().all())
    weights = torch.full((job.task.n_outputs,), 2.0)
    torch.testing.assert_close(job.task.loss(logits, targets, weights), 2 * job.task.loss(logits, targets))


def test_a_linear_head_is_chosen_and_fitted(job, encoded):
    labels, rng = job.labels, np.random.default_rng(0)
    tried, fitted = job.task.probed(encoded, rng)
    assert encoded.seen[tried].all()
    assert encoded.seen[fitted].all()
    features = [logits_of(job) + rng.normal(0, 0.1, size=(len(labels), job.task.n_outputs)).astype(np.float32)]
    folds = np.arange(len(labels)) % 3
    chosen = job.task.cross_validate(features, labels, folds=folds)
    assert_alike(job, chosen.predictions, labels, within=0.5)
    weights = job.task.class_weights(labels)
    assert weights.shape == (job.task.n_outputs,)
    head = job.task.fit_head(features, labels, l2=chosen.l2, class_weights=weights)
    assert_alike(job, job.task.decode(head.logits(features)), labels, within=0.5)
    assert job.task.probe_note(len(labels)) is None


def test_the_decision_is_folded_into_the_last_layer(job):
    task = job.task
    temperature = task.fit_temperature(logits_of(job), job.labels)
    none = task.uncalibrated("no rows")
    assert (temperature is None) == (none is None)
    for metric in task.metrics:
        assert isinstance(task.weighs(metric), bool)
        if task.moves(metric):
            truth = task.truth(job.labels, metric=metric, n_words=job.n_words)
            offsets = task.choose_offsets(logits_of(job), truth, trained_on=job.labels, seed=0)
            assert len(offsets.values) == task.n_outputs
    layer = torch.nn.Linear(3, task.n_outputs)
    value, offsets = task.folding(temperature=2.0, offsets=None)
    before = layer(torch.ones(1, 3)).detach().numpy()
    fold(layer, temperature=value, offsets=offsets)
    after = layer(torch.ones(1, 3)).detach().numpy()
    assert_alike(job, task.as_saved.decode(after), task.decode(before))


def test_a_configuration_tells_the_task(job):
    config = TransferConfig(pooling=job.task.pooling("mean"), **job.task.config())
    assert task_of_config(config) == job.task.as_saved
    again = TransferConfig.from_dict(json.loads(config.to_json_string()))
    assert task_of_config(again) == job.task.as_saved


def test_metrics_are_those_of_the_task(job):
    assert check_metric(None, task=job.task) == job.metric
    for metric in job.task.metrics:
        assert check_metric(metric, task=job.task) == metric
        assert job.task.published(metric)


def test_a_native_head_is_of_the_kind_that_the_task_says(job, backbone):
    head = job.task.head(backbone.inputs.head)
    model = native_classifier(backbone, task=job.task, seed=0)
    assert not isinstance(model, str)
    assert type(model) is head.class_for(backbone.model.config)
    assert model.config.num_labels == job.task.n_outputs
    assert job.task.described(head)


# --- both


def test_a_model_is_trained_from_its_cache_saved_and_read_back(job, backbone, encoded, tmp_path):
    cache = PrefixCache(tmp_path / "cache", backbone=backbone, encoded=encoded)
    features = cache.compute([DEPTH])
    for ours, theirs in zip(features, backbone.block_features(encoded), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    model = build_classifier(backbone.model, backbone=backbone, task=job.task, features="last", frozen_blocks=DEPTH)
    prefix = freeze(model, backbone.blocks, frozen_blocks=DEPTH)
    rows = Rows(encoded=encoded, labels=job.labels, task=job.task, cached=cache.get(DEPTH))
    assert check_replay(model, backbone=backbone, rows=rows, prefix=prefix) is None
    recipe = Recipe(learning_rate=1e-3, head_ratio=2.0, steps=4, batch_size=4, seed=0)
    outcome = train(model, backbone=backbone, prefix=prefix, recipe=recipe, train_rows=rows, validation_rows=rows)
    assert outcome.predictions.shape == job.labels.shape
    assert len(rows.first()) == 1
    logits, states = classify(model.eval(), backbone=backbone, encoded=encoded)
    np.testing.assert_allclose(
        predict(model, backbone=backbone, rows=rows, prefix=prefix), logits, atol=0.02, rtol=0.02
    )
    value, offsets = job.task.folding(temperature=1.0, offsets=None)
    fold(model.head.linear, temperature=value, offsets=offsets)
    reader = backbone.inputs.saved_reader()
    TransferModel(classifier=model, reader=reader, support=measure_support(states), card="# card").save_pretrained(
        tmp_path / "model"
    )
    again = TransferModel.from_pretrained(tmp_path / "model", device="cpu")
    given = job.rows if job.given is None else job.given
    assert again.task == job.task.as_saved
    told = job.task.told(job.task.decode(logits, seen=encoded.seen), job.rows)
    assert again.predict(given) == (pytest.approx(told, abs=1e-4 * job.scale) if job.scale else told)
    np.testing.assert_allclose(again.predict_proba(given), job.task.probabilities(logits), atol=1e-4)


def test_a_whole_mixture_is_the_row_itself(job, backbone, encoded):
    if misfit("mixup", backbone=backbone, task=job.task) is not None:
        return
    rows = Rows(encoded=encoded, labels=job.labels, task=job.task)
    positions = np.array([0, 1])
    model = build_classifier(backbone.model, backbone=backbone, task=job.task, features="last", frozen_blocks=0).eval()
    for depth in (0, DEPTH):
        prefix = freeze(model, backbone.blocks, frozen_blocks=depth)
        both = {"backbone": backbone, "rows": rows, "positions": positions, "prefix": prefix}
        whole = Mixture(other=torch.tensor([1, 0]), share=1.0)
        with torch.no_grad():
            plain, mixed = forward(model, **both), forward(model, **both, mixture=whole)
        torch.testing.assert_close(plain, mixed, atol=1e-5, rtol=1e-4)
        targets = rows.targets(positions, backbone=backbone)
        torch.testing.assert_close(whole.loss(job.task.loss, plain, targets), job.task.loss(plain, targets))


# --- a task of one's own


class Squared:
    """A linear head whose one output is the number itself."""

    def targets(self, labels):
        return torch.from_numpy(np.asarray(labels, dtype=np.float32))

    def losses(self, logits, targets):
        return (logits.squeeze(-1) - targets[:, None]).square()

    def outputs(self, logits):
        return logits

    def losses_of_outputs(self, outputs, labels):
        return (outputs[:, 0] - labels) ** 2

    def row_weights(self, class_weights, labels):
        return np.ones(len(labels))

    def decode(self, outputs):
        return outputs[:, 0].copy()


@dataclass(frozen=True, kw_only=True)
class Number(OfRows):
    """Only what training asks of a task."""

    n_outputs: ClassVar[int] = 1

    def loss(self, logits, targets, weights=None):
        return (logits.squeeze(-1) - targets).square().mean()

    def decode(self, logits, *, seen=None):
        return logits[:, 0]

    def config(self):
        return {"id2label": {0: "number"}, "label2id": {"number": 0}, "problem_type": "regression"}


@pytest.mark.parametrize("name", ["texts", "images"])
def test_another_task_needs_no_change_of_what_trains_it(name, tmp_path):
    job, task = JOBS[name], Number()
    backbone = load_backbone(job.model(), device="cpu")
    encoded, labels = backbone.encode(job.rows), job.labels.astype(np.float32)
    cache = PrefixCache(tmp_path, backbone=backbone, encoded=encoded)
    features = cache.compute([DEPTH])[-1:]
    chosen = cross_validate(features, labels, n_classes=1, folds=np.arange(len(labels)) % 3, link=Squared())
    assert chosen.predictions.shape == labels.shape
    head = fit_head(features, labels, n_classes=1, l2=0.01, link=Squared())
    assert np.mean((head.logits(features)[:, 0] - labels) ** 2) < 0.1
    model = build_classifier(backbone.model, backbone=backbone, task=task, features="last", frozen_blocks=DEPTH)
    model.head.load_linear(head)
    prefix = freeze(model, backbone.blocks, frozen_blocks=DEPTH)
    rows = Rows(encoded=encoded, labels=labels, task=task, cached=cache.get(DEPTH))
    assert check_replay(model, backbone=backbone, rows=rows, prefix=prefix) is None
    recipe = Recipe(learning_rate=1e-4, head_ratio=1.0, steps=6, batch_size=4, seed=0, mixing="mixup")
    outcome = train(model, backbone=backbone, prefix=prefix, recipe=recipe, train_rows=rows, validation_rows=rows)
    assert np.mean((outcome.predictions - labels) ** 2) < 0.2


# --- nothing else asks which they are

QUESTIONS = {"is_text", "reads_text", "tags_words", "is_tagged", "tagged"}
KINDS = {"Tokens", "Sentences", "Pixels", "Views", "Pictures", "TextInputs", "ImageInputs", "Classes", "Tags"}
TUNER = Path(tuner.__file__).parent


def questions_in(tree: ast.AST) -> list[str]:
    """Where code asks which input or task it has: by a flag, or by a class."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in QUESTIONS:
            found.append(node.attr)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            found += [part.id for part in ast.walk(node.args[1]) if isinstance(part, ast.Name) and part.id in KINDS]
    return found


def test_nothing_else_in_tuner_asks_which_kind_it_has():
    found = {}
    for path in TUNER.rglob("*.py"):
        name = path.relative_to(TUNER).as_posix()
        if not name.startswith(("inputs/", "tasks/")) and (asked := questions_in(ast.parse(path.read_text()))):
            found[name] = len(asked)
    assert found == {}
    assert questions_in(ast.parse("a.is_text or isinstance(b, (Tokens, int))")) == ["is_text", "Tokens"]
