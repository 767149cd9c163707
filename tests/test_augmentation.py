"""Augmentation: views that come out the same whenever they are made, mixtures, and what the search makes of them."""

import json

import numpy as np
import pytest
import test_image_models
import torch
from test_cli import failed, printed

from tuner.augmentation import CACHED_VIEWS, FRESH_VIEWS, Mixture, Views, check_policy, draw_mixture, mirrored
from tuner.backbone import load_backbone
from tuner.errors import OptionError
from tuner.inputs import Pixels, Tokens
from tuner.search import search
from tuner.space import SearchSpace, candidate_at
from tuner.trials import Bench, LabelledRows, TuningData

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
    assert mixture.loss(logits, labels) == pytest.approx(float(expected))


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


def test_what_does_not_fit_is_said():
    shapes = ((8, 4, 4),)
    tokens = Tokens(input_ids=(np.zeros(3, np.int32),), truncated=np.zeros(1, bool))
    with pytest.raises(OptionError, match="changes images, and the data is text"):
        check_policy("mixup", encoded=tokens, shapes=shapes)
    floats = Pixels(values=PIXELS.values.astype(np.float32))
    with pytest.raises(OptionError, match="does more than scale colours"):
        check_policy("randaugment", encoded=floats, shapes=shapes)
    for shape in ((17, 8), (4, 4, 8)):
        with pytest.raises(OptionError, match="no picture of channels"):
            check_policy("cutmix", encoded=PIXELS, shapes=(shape,))
    for policy in ("flip", "mixup", "cutmix"):
        check_policy(policy, encoded=floats, shapes=shapes)


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return load_backbone((test_image_models.resnet(), test_image_models.processor()), device="cpu")


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
        name="squares", train=images(0), validation=images(1), test=images(2), class_names=("l", "r"), fingerprint="x"
    )
    n = backbone.n_blocks
    space = SearchSpace(n_blocks=n, first=(candidate_at(2, n),), controls=(), depths=(0, n))
    made = Bench(backbone, data=data, space=space, work=tmp_path, metric="accuracy", seed=0, progress=None)
    made.prepare()
    return made


def augmented(bench, depth, policy):
    from dataclasses import replace

    return replace(candidate_at(depth, bench.backbone.n_blocks), augmentation=policy)


def test_a_few_views_are_cached_and_equal_what_the_blocks_make_of_them(bench):
    _, _, (train_rows, _) = bench.build(augmented(bench, 2, "trivialaugment"), seed=0)
    assert train_rows.views == CACHED_VIEWS
    rows, cpu = np.array([1, 50, 191]), torch.device("cpu")
    stored = train_rows.cached.batch(rows, padded=1, device=cpu)
    with torch.no_grad(), bench.backbone.autocast():
        states = bench.backbone.states(bench.backbone.collate(train_rows.encoded, rows)).states[1].float()
    assert (stored - states).norm() < 0.02 * states.norm()
    others = train_rows.cached.batch(rows % 48, padded=1, device=cpu)
    assert (stored - others).norm() > 0.1 * states.norm()  # of the images themselves


def test_what_the_views_cost_is_known_before(bench):
    bench.step_seconds[0] = 0.3
    assert bench.seconds_for_views(augmented(bench, 2, "flip")) == pytest.approx(4 * 3 * 0.1)  # 48 rows are 3 steps
    assert bench.seconds_for_views(augmented(bench, 2, "mixup")) == 0.0
    assert bench.seconds_for_views(augmented(bench, 0, "flip")) == 0.0


def test_views_that_do_not_fit_the_budget_of_bytes_are_made_anew(bench, monkeypatch):
    monkeypatch.setattr("tuner.trials.CACHE_BYTES", 0)
    _, _, (rows, _) = bench.build(augmented(bench, 2, "flip"), seed=0)
    assert (rows.views, rows.cached) == (FRESH_VIEWS, None)


def test_without_a_frozen_block_every_step_makes_views_of_its_own(bench):
    _, _, (train_rows, validation_rows) = bench.build(augmented(bench, 0, "trivialaugment"), seed=0)
    assert (train_rows.views, train_rows.cached) == (FRESH_VIEWS, None)
    assert (validation_rows.views, len(validation_rows.encoded)) == (1, 48)


@pytest.mark.parametrize("policy", ["cutmix", "flip", "mixup", "randaugment", "trivialaugment"])
@pytest.mark.parametrize("depth", [0, 2])
def test_every_policy_trains_at_every_depth(bench, policy, depth):
    recipe = {"learning_rate": 1e-3, "head_ratio": 1.0, "steps": 6.0}
    plain = bench.run_trained("0000", candidate_at(depth, bench.backbone.n_blocks), recipe=recipe, seed=0)
    weights = bench.load(plain).state_dict()
    run = bench.run_trained("0000-augmented", augmented(bench, depth, policy), recipe=recipe, seed=0)
    changed = bench.load(run).state_dict()
    assert any(not torch.equal(weights[name], changed[name]) for name in weights)


def test_mirroring_is_judged_by_what_a_probe_loses(bench, monkeypatch):
    candidate = augmented(bench, 2, "flip")
    loss = bench.mirror_loss
    head = bench.head("last")
    features = bench.backbone.block_features(mirrored(bench.validation_encoded))
    ours = (head.logits((bench.validation_features[-1],)).argmax(1) == bench.data.validation.labels).mean()
    theirs = (head.logits((features[-1],)).argmax(1) == bench.data.validation.labels).mean()
    assert loss == pytest.approx(ours - theirs)
    for lost, told in ((0.3, "a probe loses 30.0 points on mirrored validation images"), (0.0, None)):
        monkeypatch.setattr(bench, "_mirror_loss", lost)
        why = bench.why_not_augmented(candidate)
        assert why is None if told is None else told in why
        _, _, (rows, _) = bench.build(augmented(bench, 2, "trivialaugment"), seed=0)
        assert rows.encoded.flip == (told is None)
        bench._view_caches.clear()


def test_the_search_says_whether_it_helped(backbone, tmp_path):
    n = backbone.n_blocks
    for policy in (None, "mixup"):
        space = SearchSpace(
            n_blocks=n, first=(candidate_at(2, n),), controls=(), depths=(0, n), epochs=(2, 2), augmentation=policy
        )
        result = search(
            backbone,
            data=TuningData(
                name="s", train=images(0), validation=images(1), test=images(2), class_names=("l", "r"), fingerprint="x"
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


def test_small_and_dissimilar_images_are_augmented_unless_told_otherwise(capsys, tmp_path):
    """Of digits the probe knows that mirroring changes them."""
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


def test_an_unknown_augmentation_is_said(capsys):
    message = failed(capsys, "tune", "example:digits", "--augment", "mixupp", "--quiet")
    assert "Did you mean 'mixup'?" in message
