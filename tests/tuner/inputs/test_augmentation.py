"""Augmentation: views that come out the same whenever they are made, mixtures, and what the search makes of them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers import image_models, searches, tiny
from helpers.commands import failed, printed
from tuner.errors import OptionError
from tuner.freezing import freeze
from tuner.inputs.images import ImageInputs, Pixels, Views, mirrored
from tuner.inputs.mixing import Mixture, draw_mixture
from tuner.inputs.token_views import token_views
from tuner.inputs.tokens import Tokens
from tuner.model.assemble import load_backbone
from tuner.model.classifier import build_classifier
from tuner.search.bench import open_bench
from tuner.search.data import LabelledRows, TuningData
from tuner.search.run_name import RunName
from tuner.search.search import search
from tuner.search.space import SearchSpace, candidate_at
from tuner.tasks.classes import Classes
from tuner.tasks.one_of import cross_entropy
from tuner.training.augmentation import CACHED_VIEWS, check_policy
from tuner.training.train import Rows, forward

AUGMENTED = RunName(trial=0, variants=("augmented",))

PIXELS = Pixels(values=np.random.default_rng(0).integers(0, 256, size=(6, 3, 16, 16), dtype=np.uint8))


def views(policy="trivialaugment", **options):
    return Views(**{"original": PIXELS, "policy": policy, "copies": 4, "flip": True, "seed": 0} | options)


def test_the_first_view_is_the_image_itself():
    np.testing.assert_array_equal(views().pixels(np.arange(6)), PIXELS.values)


@pytest.mark.parametrize("policy", ["flip", "randaugment", "trivialaugment"])
def test_a_view_is_the_same_whenever_and_beside_whatever_it_is_made(policy):
    all_at_once = views(policy).pixels(np.arange(24))
    torch.manual_seed(5)
    alone = np.concatenate([views(policy).pixels(np.array([row])) for row in (23, 7, 12)])
    np.testing.assert_array_equal(alone, all_at_once[[23, 7, 12]])
    assert not np.array_equal(all_at_once[6:], np.tile(PIXELS.values, (3, 1, 1, 1)))
    assert all_at_once.dtype == np.uint8
    np.testing.assert_array_equal(views(policy).take([7]).values, all_at_once[7:8])


def test_making_views_leaves_the_generator_as_it_was():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    views().pixels(np.arange(24))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_mirroring_changes_half_of_the_views_and_nothing_else():
    made = views("flip", copies=50).pixels(np.arange(6, 300)).reshape(49, 6, 3, 16, 16)
    same = (made == PIXELS.values).all((2, 3, 4))
    other = (made == mirrored(PIXELS).values).all((2, 3, 4))
    assert (same ^ other).all()
    assert 0.4 < other.mean() < 0.6
    assert not (views("trivialaugment", flip=False).pixels(np.arange(24)) == views().pixels(np.arange(24))).all()


def test_views_are_told_apart_by_what_they_are_made_from():
    digests = {views(**options).digest() for options in ({}, {"seed": 1}, {"copies": 5}, {"flip": False})}
    assert len(digests | {views("flip").digest()}) == 5


def test_mixup_mixes_states_and_labels_by_the_same_share():
    mixture = Mixture(other=torch.tensor([1, 0]), share=0.75)
    assert mixture.states(torch.tensor([[0.0], [4.0]])).tolist() == [[1.0], [3.0]]
    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
    entropy = torch.nn.functional.cross_entropy
    expected = 0.75 * entropy(logits, labels) + 0.25 * entropy(logits, torch.tensor([1, 0]))
    assert mixture.loss(cross_entropy, logits, labels) == pytest.approx(float(expected))


def test_cutmix_shares_are_those_of_what_is_really_cut():
    rng = np.random.default_rng(0)
    states = torch.arange(3).view(3, 1, 1, 1).expand(3, 2, 4, 4).float()
    seen = set()
    for _ in range(40):
        mixture = draw_mixture("cutmix", 3, shape=(2, 4, 4), rng=rng)
        mixed = mixture.states(states)
        for row, other in enumerate(mixture.other.tolist()):
            own = 1.0 if other == row else float((mixed[row] == row).float().mean())
            assert other == row or own == pytest.approx(mixture.share)
            assert set(mixed[row].unique().tolist()) <= {row, other}
        seen.add(round(mixture.share, 3))
    assert len(seen) > 5
    assert all(0 <= share <= 1 for share in seen)


def test_shares_of_mixup_come_from_its_distribution():
    rng = np.random.default_rng(0)
    shares = [draw_mixture("mixup", 4, shape=(), rng=rng).share for _ in range(2000)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.var(shares) == pytest.approx(0.25 / 1.4, abs=0.01)  # of Beta(0.2, 0.2)


def test_what_does_not_fit_is_said(text_backbone):
    images = {
        name: load_backbone((image_models.MODELS[name](), image_models.processor()), device="cpu")
        for name in ("resnet", "vit")
    }
    for policy in ("flip", "trivialaugment", "cutmix"):
        with pytest.raises(OptionError, match="the data is text"):
            check_policy(policy, backbone=text_backbone)
    for policy in ("masking", "token_dropout"):
        with pytest.raises(OptionError, match="the data is images"):
            check_policy(policy, backbone=images["resnet"])
    with pytest.raises(OptionError, match="no picture of channels"):
        check_policy("cutmix", backbone=images["vit"])
    for policy in ("flip", "mixup", "randaugment", "trivialaugment"):
        check_policy(policy, backbone=images["vit"])
    check_policy("cutmix", backbone=images["resnet"])


def test_colours_are_changed_as_bytes(monkeypatch):
    backbone = load_backbone((image_models.resnet(), image_models.processor()), device="cpu")
    floats = Pixels(values=PIXELS.values.astype(np.float32))
    monkeypatch.setattr(backbone.inputs, "example", lambda: floats)
    with pytest.raises(OptionError, match="does more than scale colours"):
        check_policy("randaugment", backbone=backbone)
    check_policy("flip", backbone=backbone)


def test_texts_that_cannot_be_mixed_or_masked_are_said(text_backbone):
    for policy in ("token_dropout", "masking", "mixup"):
        check_policy(policy, backbone=text_backbone)
    with pytest.raises(OptionError, match="is a decoder, or has one"):
        check_policy("mixup", backbone=replace(text_backbone, pooling="last"))
    with pytest.raises(OptionError, match="has no mask token"):
        check_policy("masking", backbone=load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu"))


# -- texts


@pytest.fixture(scope="module")
def text_backbone():
    torch.manual_seed(0)
    reader = tiny.tokenizer()
    reader.mask_token = reader.unk_token
    return load_backbone((tiny.bert(), reader), device="cpu")


def tokens(*rows):
    return Tokens(input_ids=tuple(np.array(row, np.int32) for row in rows), truncated=np.zeros(len(rows), bool))


def test_token_views_keep_special_tokens_and_at_least_one_other():
    given = tokens([1, 10, 11, 12, 13, 14, 15, 16, 17, 18, 2], [1, 20, 2], [1, 2])
    dropped = token_views(given, policy="token_dropout", copies=200, seed=0, special=(1, 2))
    assert len(dropped) == 600
    assert dropped.input_ids[:3] == given.input_ids
    long, short, empty = (dropped.input_ids[row::3] for row in range(3))
    assert all(row[0] == 1 and row[-1] == 2 for row in (*long, *short, *empty))
    assert {row.tolist()[1] for row in short} == {20}
    assert {len(row) for row in long[1:]} == {10, 11}  # a tenth of nine is one, or none
    assert np.mean([11 - len(row) for row in long[1:]]) == pytest.approx(0.9, abs=0.06)
    masked = token_views(given, policy="masking", copies=200, seed=0, special=(1, 2), mask=4)
    assert all(len(row) == 11 for row in masked.input_ids[::3])
    assert np.mean([(row == 4).sum() for row in masked.input_ids[3::3]]) == pytest.approx(1.35, abs=0.1)
    again = token_views(given, policy="masking", copies=200, seed=0, special=(1, 2), mask=4)
    assert again.digest() == masked.digest()


def test_a_mixed_text_is_as_long_as_the_longer_and_padding_is_zero(text_backbone):
    model = build_classifier(
        text_backbone.model, backbone=text_backbone, task=Classes(names=("a", "b")), features="last", frozen_blocks=0
    ).eval()
    encoded = tokens([2, 7, 8, 3], [2, 9, 10, 11, 12, 13, 14, 3])
    rows = Rows(encoded=encoded, labels=np.array([0, 1]), task=Classes(names=("a", "b")))
    prefix = freeze(model, text_backbone.blocks, frozen_blocks=2)
    seen = {}
    text_backbone.blocks[2].entrance.register_forward_pre_hook(
        lambda _m, args, kwargs: seen.update(state=args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    both = {"model": model, "backbone": text_backbone, "rows": rows, "positions": np.array([0, 1]), "prefix": prefix}
    with torch.no_grad():
        forward(**both)
        own = seen["state"].clone()
        forward(**both, mixture=Mixture(other=torch.tensor([1, 0]), share=0.75))
        mixed = seen["state"]
    own[0, 4:] = 0
    expected = 0.75 * own + 0.25 * own[[1, 0]]
    assert torch.allclose(mixed[0, :8], expected[0, :8], atol=0.02)
    assert torch.allclose(mixed[1, :8], expected[1, :8], atol=0.02)


@pytest.mark.parametrize("policy", ["token_dropout", "masking", "mixup"])
@pytest.mark.parametrize("depth", [0, 2])
def test_texts_are_trained_with_every_policy_at_every_depth(text_backbone, tmp_path, policy, depth):
    data = searches.DATA
    n = text_backbone.n_blocks
    space = SearchSpace(n_blocks=n, first=(candidate_at(2, n),), controls=(), depths=(0, n))
    bench = open_bench(text_backbone, data=data, space=space, work=tmp_path, metric="accuracy", seed=0)
    recipe = {"learning_rate": 1e-3, "head_ratio": 1.0, "steps": 6.0}
    plain = bench.run_trained(RunName(trial=0), candidate_at(depth, n), recipe=recipe, seed=0)
    weights = weights_of(bench, plain)
    run = bench.run_trained(AUGMENTED, augmented(bench, depth, policy), recipe=recipe, seed=0)
    assert any(not torch.equal(weights[name], tensor) for name, tensor in weights_of(bench, run).items())


# -- images in the search


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return load_backbone((image_models.resnet(), image_models.processor()), device="cpu")


def images(seed, n=48):
    """Squares of a shade that says the class, left (0) or right (1) of the middle: mirrored they are the other's."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    made = rng.integers(0, 60, size=(n, 32, 32, 3), dtype=np.uint8)
    for image, label in zip(made, labels, strict=True):
        top, left = rng.integers(0, 20), rng.integers(0, 4) + (18 if label else 0)
        image[top : top + 10, left : left + 10] += 150
    return LabelledRows(rows=list(made), labels=labels)


@pytest.fixture
def bench(backbone, tmp_path):
    data = TuningData(
        name="squares",
        train=images(0),
        validation=images(1),
        test=images(2),
        task=Classes(names=("l", "r")),
        fingerprint="x",
    )
    n = backbone.n_blocks
    space = SearchSpace(n_blocks=n, first=(candidate_at(2, n),), controls=(), depths=(0, n))
    return open_bench(backbone, data=data, space=space, work=tmp_path, metric="accuracy", seed=0)


def weights_of(bench, run):
    with bench.loaded(run) as model:
        return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def fed(bench, candidate):
    """The training and validation rows that feed a candidate."""
    with bench.trainer.built(candidate, seed=0) as built:
        return built.train_rows, built.validation_rows


def augmented(bench, depth, policy):
    return replace(candidate_at(depth, bench.backbone.n_blocks), augmentation=policy)


def test_a_few_views_are_cached_and_equal_what_the_blocks_make_of_them(bench):
    train_rows, _ = fed(bench, augmented(bench, 2, "trivialaugment"))
    assert train_rows.views == CACHED_VIEWS
    rows, cpu = np.array([1, 50, 191]), torch.device("cpu")
    stored = train_rows.cached.batch(rows, padded=1, device=cpu)
    with torch.no_grad(), bench.backbone.autocast():
        states = bench.backbone.states(bench.backbone.collate(train_rows.encoded, rows)).states[1].float()
    assert (stored - states).norm() < 0.02 * states.norm()
    others = train_rows.cached.batch(rows % 48, padded=1, device=cpu)
    assert (stored - others).norm() > 0.1 * states.norm()  # of the images themselves


def test_what_the_views_cost_is_known_before(bench):
    """Four views of 48 rows, which are three steps."""
    bench.pace.step_seconds[0] = 0.3
    assert bench.trainer.seconds_for_views(augmented(bench, 2, "flip")) == pytest.approx(
        4 * 3 * 0.1
    )  # 48 rows are 3 steps
    assert bench.trainer.seconds_for_views(augmented(bench, 2, "mixup")) == 0.0
    assert bench.trainer.seconds_for_views(augmented(bench, 0, "flip")) == 0.0


def test_views_that_do_not_fit_the_budget_of_bytes_are_made_anew(bench, monkeypatch):
    monkeypatch.setattr("tuner.search.prefixes.CACHE_BYTES", 0)
    rows, _ = fed(bench, augmented(bench, 2, "flip"))
    assert (rows.views, rows.cached) == (ImageInputs.fresh_views, None)


def test_without_a_frozen_block_every_step_makes_views_of_its_own(bench):
    train_rows, validation_rows = fed(bench, augmented(bench, 0, "trivialaugment"))
    assert (train_rows.views, train_rows.cached) == (ImageInputs.fresh_views, None)
    assert (validation_rows.views, len(validation_rows.encoded)) == (1, 48)


@pytest.mark.parametrize("policy", ["cutmix", "flip", "mixup", "randaugment", "trivialaugment"])
@pytest.mark.parametrize("depth", [0, 2])
def test_every_policy_trains_at_every_depth(bench, policy, depth):
    recipe = {"learning_rate": 1e-3, "head_ratio": 1.0, "steps": 6.0}
    plain = bench.run_trained(RunName(trial=0), candidate_at(depth, bench.backbone.n_blocks), recipe=recipe, seed=0)
    weights = weights_of(bench, plain)
    run = bench.run_trained(AUGMENTED, augmented(bench, depth, policy), recipe=recipe, seed=0)
    changed = weights_of(bench, run)
    assert any(not torch.equal(weights[name], changed[name]) for name in weights)


def test_mirroring_is_judged_by_what_a_probe_loses(bench, monkeypatch):
    candidate = augmented(bench, 2, "flip")
    views = bench.trainer.views
    loss = views.mirror_loss
    head = bench.trainer.head("last")
    features = bench.backbone.block_features(mirrored(bench.rows.validation))
    ours = (head.logits((bench.prefixes.validation_features[-1],)).argmax(1) == bench.rows.truth.labels).mean()
    theirs = (head.logits((features[-1],)).argmax(1) == bench.rows.truth.labels).mean()
    assert loss == pytest.approx(ours - theirs)
    for lost, told in ((0.3, "a probe loses 30.0 points on mirrored validation images"), (0.0, None)):
        monkeypatch.setattr(views, "measured_mirror_loss", lost)
        why = views.why_not(candidate)
        assert why is None if told is None else told in why
        rows, _ = fed(bench, augmented(bench, 2, "trivialaugment"))
        assert rows.encoded.flip == (told is None)
        views._caches.clear()


def test_the_search_says_whether_it_helped(backbone, tmp_path):
    n = backbone.n_blocks
    for policy in (None, "mixup"):
        space = SearchSpace(
            n_blocks=n, first=(candidate_at(2, n),), controls=(), depths=(0, n), epochs=(2, 2), augmentation=policy
        )
        result = search(
            backbone,
            data=TuningData(
                name="s",
                train=images(0),
                validation=images(1),
                test=images(2),
                task=Classes(names=("l", "r")),
                fingerprint="x",
            ),
            space=space,
            recommended=candidate_at(2, n),
            folder=tmp_path / str(policy),
            budget_s=None,
            n_trials=1,
        )
        if policy is None:
            assert result.augmentation is None
            continue
        scored = {row["augmentation"]: row for row in result.candidates if row["head"] == "own"}
        assert set(scored) == {None, "mixup"}
        assert scored[None]["recipe"] == scored["mixup"]["recipe"]
        found = result.augmentation
        assert found["difference"] == pytest.approx(scored["mixup"]["mean"] - scored[None]["mean"])
        assert found["interval"][0] <= found["difference"] <= found["interval"][1]
        assert found["why"] in ("it helped", "it harmed", "no difference is shown")


def test_small_and_dissimilar_images_are_augmented_unless_told_otherwise(capsys, tmp_path, monkeypatch):
    """Of digits the probe knows that mirroring changes them. Long training would take minutes and say nothing more."""
    monkeypatch.setattr("tuner.search.confirmations.FINALISTS", 0)
    monkeypatch.setattr("tuner.search.pace.Pace.schedule", 16)
    options = ("example:digits", "--strategy", "freeze_part", "--trials", "1", "--quiet", "--sample", "200")
    text = printed(capsys, "tune", *options, "--out", tmp_path / "a")
    advice = json.loads((tmp_path / "a" / "advice.json").read_text())
    assert (advice["situation"]["number"], advice["space"]["augmentation"]) == (3, "trivialaugment")
    found = json.loads((tmp_path / "a" / "tuning.json").read_text())["augmentation"]
    assert found["mirror_loss"] > 0.02
    assert "augmentation    TrivialAugment: " in text
    assert "Augmentation: TrivialAugment: " in (tmp_path / "a" / "report.md").read_text()
    text = printed(capsys, "tune", *options, "--augment", "flip", "--out", tmp_path / "b")
    assert "augmentation    mirroring was not tried: a probe loses" in text
    text = printed(capsys, "tune", *options, "--augment", "none", "--out", tmp_path / "c")
    assert "augmentation" not in text.partition("\ntuning")[2]


@pytest.mark.parametrize("strategy", ["head_only", "concat_last_four", "scratch", "bilstm", "block_1"])
def test_augmentation_of_what_trains_no_pretrained_blocks_is_refused(capsys, strategy):
    message = failed(capsys, "tune", "example:docstrings", "--augment", "masking", "--strategy", strategy, "--quiet")
    assert f"--augment masking does not go with --strategy {strategy}" in message
    assert "fresh_top or random_head" in message


def test_an_unknown_augmentation_is_said(capsys):
    message = failed(capsys, "tune", "example:digits", "--augment", "mixupp", "--quiet")
    assert "Did you mean 'mixup'?" in message
