"""The model that all candidates share is lent: nothing of a training stays in it, whatever happens meanwhile."""

import pytest
import torch

import advisor
import tuner.search.bench
import tuner.search.trainer
from helpers import image_models, tiny
from helpers.searches import DATA
from tuner.model.assemble import load_backbone
from tuner.search.bench import open_bench
from tuner.search.borrowed import Borrowed
from tuner.search.run_name import RunName
from tuner.search.space import Candidate, candidate_at, default_space
from tuner.training.train import Stopped

RECIPE = {"learning_rate": 1e-3, "head_ratio": 2.0, "steps": 6.0, "epochs": 1.0}
CANDIDATES = {
    "all": candidate_at(0, 4),
    "part": candidate_at(2, 4),
    "fresh top": Candidate(**candidate_at(2, 4).to_json() | {"option": "fresh_top"}),
    "scratch": Candidate(strategy="train_all", start="scratch", frozen_blocks=0),
}


def state(model):
    """All that training could change of a model: weights, statistics, what carries gradients, modes, attributes."""
    return {
        "weights": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "requires_grad": {name: p.requires_grad for name, p in model.named_parameters()},
        "gradients": {name: p.grad is None for name, p in model.named_parameters()},
        "modes": {name: module.training for name, module in model.named_modules()},
        "attributes": {name: sorted(module.__dict__) for name, module in model.named_modules()},
        "hooks": {name: len(m._forward_hooks) + len(m._forward_pre_hooks) for name, m in model.named_modules()},
    }


def same(before, after):
    weights = before.pop("weights"), after.pop("weights")
    assert before == after
    assert weights[0].keys() == weights[1].keys()
    return all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


@pytest.fixture
def backbone():
    return load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")


@pytest.fixture
def bench(backbone, tmp_path):
    return open_bench(backbone, data=DATA, space=default_space(4), work=tmp_path, metric="accuracy", seed=0)


@pytest.mark.parametrize("name", CANDIDATES)
def test_a_training_leaves_nothing_behind(bench, name):
    before = state(bench.backbone.model)
    run = bench.run_trained(RunName(trial=0), CANDIDATES[name], recipe=RECIPE, seed=0)
    assert same(dict(before), state(bench.backbone.model))
    with bench.loaded(run) as model:
        loaded = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        assert any(not torch.equal(loaded[f"base.{name}"], old) for name, old in before["weights"].items())
    assert same(before, state(bench.backbone.model))


@pytest.mark.parametrize("error", [Stopped, KeyboardInterrupt, RuntimeError])
def test_an_exception_amid_a_training_leaves_nothing_behind(bench, error):
    before = state(bench.backbone.model)

    def broken(done):
        if done == 3:
            raise error

    def train():
        return bench.trainer.train(CANDIDATES["part"], recipe=RECIPE, seed=0, on_step=broken)

    if error is Stopped:
        assert train() is None
    else:
        with pytest.raises(error):
            train()
    assert same(before, state(bench.backbone.model))


def test_statistics_of_images_are_put_back(tmp_path):
    model = image_models.resnet()
    backbone = load_backbone((model, image_models.processor()), device="cpu")
    loan, before = Borrowed(backbone.model), state(backbone.model)
    with loan.lent():
        backbone.model.train()
        backbone.model(torch.rand(2, 3, 32, 32))
        assert not same(state(backbone.model) | {key: before[key] for key in before if key != "weights"}, dict(before))
    assert same(before, state(backbone.model))


# -- what a user passes --------------------------------------------------------------------------------------------


def settings(tokenizer):
    return {
        "init": tokenizer.init_kwargs, "length": tokenizer.model_max_length, "pad": tokenizer.pad_token,
        "side": tokenizer.padding_side, "special": tokenizer.special_tokens_map, "size": len(tokenizer),
    }  # fmt: skip


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_a_users_own_model_and_tokenizer_are_never_changed(tmp_path, monkeypatch, ends):
    model, tokenizer = tiny.bert(), tiny.tokenizer()
    model.train()
    model.embeddings.word_embeddings.weight.requires_grad_(False)
    tokenizer.pad_token, tokenizer.eos_token = None, "[SEP]"
    before, config, reading = state(model), model.config.to_dict(), settings(tokenizer)
    texts = [f"a {'good' if label else 'bad'} film {row}" for row, label in enumerate([0, 1] * 40)]
    if ends == "badly":
        original = tuner.search.trainer.train

        def broken(*given, **options):
            original(*given, **options)
            raise RuntimeError("the machine dies here")

        monkeypatch.setattr(tuner.search.trainer, "train", broken)

    def tune():
        return advisor.tune(
            (texts, ["neg", "pos"] * 40), model=(model, tokenizer), trials=1, strategy="freeze_part", device="cpu",
            out=tmp_path / "run",
        )  # fmt: skip

    if ends == "badly":
        with pytest.raises(RuntimeError, match="dies here"):
            tune()
    else:
        assert tune().model.predict(["good film"])[0] in ("neg", "pos")
    assert same(before, state(model))
    assert model.config.to_dict() == config
    assert settings(tokenizer) == reading
