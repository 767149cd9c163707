"""Freezing inside a real `transformers.Trainer`."""

import copy
from types import SimpleNamespace

import pytest
import torch
from transformers import BertForSequenceClassification, Trainer, TrainingArguments

from helpers import tiny
from tuner.callback import FreezingAudit
from tuner.errors import OptionError
from tuner.freezing import FreezingError, freeze

pytestmark = pytest.mark.slow


class Texts(torch.utils.data.Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        ids = torch.randint(4, 20, (8,), generator=generator)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": index % 2}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return BertForSequenceClassification(tiny.bert().config)


def trained(model, folder, *, callbacks, **options):
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=3, per_device_train_batch_size=4, use_cpu=True, report_to="none",
        save_steps=2, weight_decay=0.1, learning_rate=1e-2, disable_tqdm=True, **options,
    )  # fmt: skip
    Trainer(model=model, args=arguments, train_dataset=Texts(), callbacks=callbacks).train()


@pytest.mark.parametrize("depth", range(5))
def test_a_trainer_trains_exactly_the_rest(model, tmp_path, depth):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    prefix = freeze(model, frozen_blocks=depth)
    trained(model, tmp_path, callbacks=[FreezingAudit(prefix)])
    frozen = {id(p) for block in prefix.blocks[:depth] for p in block.parameters()}
    moved = {id(p) for name, p in model.named_parameters() if not torch.equal(before[name], p)}
    assert moved
    assert not moved & frozen
    assert len(list(tmp_path.glob("checkpoint-*"))) == 2


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_keeps_the_prefix_frozen(model, tmp_path, reentrant):
    prefix = freeze(model, frozen_blocks=2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    options = {"activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": reentrant}}
    trained(model, tmp_path, callbacks=[FreezingAudit(prefix)], **options)
    moved = {name for name, p in model.named_parameters() if not torch.equal(before[name], p)}
    assert {name for name in moved if "encoder.layer.1" in name}
    assert not {name for name in moved if "encoder.layer.0" in name or "embeddings" in name}


def test_lost_gradients_are_said(model):
    prefix = freeze(model, frozen_blocks=2)
    with pytest.raises(FreezingError, match="no gradient reaches block 2"):
        FreezingAudit(prefix).on_pre_optimizer_step(None, None, None)


def test_a_trainer_that_undoes_the_freezing_is_noticed(model, tmp_path):
    prefix = freeze(model, frozen_blocks=2)

    class Undo(FreezingAudit):
        def on_pre_optimizer_step(self, *_args, **_kwargs):
            with torch.no_grad():
                next(iter(prefix.blocks[1].parameters())).add_(1)

    with pytest.raises(FreezingError, match=r"frozen block 1 .* changed during training"):
        trained(model, tmp_path, callbacks=[Undo(prefix)])


def test_an_optimizer_made_before_freezing_is_noticed(model, tmp_path):
    everything = torch.optim.AdamW(model.parameters())
    prefix = freeze(model, frozen_blocks=2)
    with pytest.raises(FreezingError, match="the optimizer holds"):
        FreezingAudit(prefix).on_train_begin(None, None, None, model=model, optimizer=everything)


def test_a_first_block_without_weights_raises_no_alarm():
    net = torch.nn.Module()
    net.stem = torch.nn.BatchNorm2d(3, affine=False)
    net.layers = torch.nn.ModuleList([torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1)) for _ in range(2)])
    net.fc = torch.nn.Linear(3, 2)
    prefix = freeze(net, frozen_blocks=0)
    assert not list(prefix.blocks[0].parameters())
    FreezingAudit(prefix).on_pre_optimizer_step(None, None, None)


def tiny_classifier(*_):
    torch.manual_seed(0)
    return BertForSequenceClassification(tiny.bert().config)


def arguments(folder, **options):
    return TrainingArguments(
        output_dir=str(folder), max_steps=2, per_device_train_batch_size=4, use_cpu=True, report_to="none",
        save_steps=1, learning_rate=1e-2, weight_decay=0.1, disable_tqdm=True, **options,
    )  # fmt: skip


def moved_by(model):
    before = dict(tiny_classifier().named_parameters())
    return {name for name, parameter in model.named_parameters() if not torch.equal(before[name], parameter)}


FROZEN = ("bert.embeddings.", "bert.encoder.layer.0.")


@pytest.mark.parametrize("depth", [0, 3, 4])
def test_the_prefix_of_another_model_is_refused(model, tmp_path, depth):
    """Even one with the same weights: nothing is frozen in the model that is trained."""
    prefix = freeze(tiny_classifier(), frozen_blocks=depth)
    with pytest.raises(FreezingError, match="is of another model than the one that is trained") as caught:
        trained(model, tmp_path, callbacks=[FreezingAudit(prefix)])
    assert f"with model_init, which makes a new one for every training, pass FreezingAudit(frozen_blocks={depth})" in (
        str(caught.value)
    )
    assert not moved_by(model)


def test_weights_that_were_replaced_after_freezing_are_noticed(model):
    prefix = freeze(model, frozen_blocks=2)
    model.bert.encoder.layer[1] = copy.deepcopy(model.bert.encoder.layer[1])
    with pytest.raises(FreezingError, match=r"block 2 \(encoder\.layer\.1\) is not the one that was frozen"):
        FreezingAudit(prefix).on_train_begin(None, None, None, model=model, optimizer=None)


@pytest.mark.parametrize("wrap", [torch.nn.DataParallel, torch.compile])
def test_a_wrapped_model_is_the_one_that_was_frozen(model, wrap):
    wrapped = wrap(model)
    FreezingAudit(freeze(model, frozen_blocks=2)).on_train_begin(None, None, None, model=wrapped, optimizer=None)
    own = FreezingAudit(frozen_blocks=3)
    own.on_init_end(None, None, None, model=wrapped)
    own.on_train_begin(None, None, None, model=wrapped, optimizer=None)
    assert own.prefix.blocks[2].name == "encoder.layer.1"
    assert not any(parameter.requires_grad for parameter in model.bert.encoder.layer[1].parameters())


def test_the_callback_freezes_a_given_model_before_its_optimizer_is_made(model, tmp_path):
    callback = FreezingAudit(frozen_blocks=2)
    trainer = Trainer(model=model, args=arguments(tmp_path), train_dataset=Texts(), callbacks=[callback])
    trainer.train()
    held = sum(len(group["params"]) for group in trainer.optimizer.param_groups)
    assert held == sum(parameter.requires_grad for parameter in model.parameters())
    moved = moved_by(model)
    assert {name for name in moved if name.startswith("bert.encoder.layer.1.")}
    assert not {name for name in moved if name.startswith(FROZEN)}


def test_every_model_of_model_init_is_frozen_and_audited(tmp_path):
    made = []

    def model_init(_trial=None):
        made.append(tiny_classifier())
        return made[-1]

    callback = FreezingAudit(frozen_blocks=2)
    trainer = Trainer(model_init=model_init, args=arguments(tmp_path), train_dataset=Texts(), callbacks=[callback])
    trainer.train()
    assert not {name for name in moved_by(trainer.model) if name.startswith(FROZEN)}
    first = trainer.model
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert trainer.model is made[-1]
    assert trainer.model is not first
    moved = moved_by(trainer.model)
    assert {name for name in moved if name.startswith("bert.encoder.layer.1.")}
    assert not {name for name in moved if name.startswith(FROZEN)}


def test_a_frozen_weight_of_a_model_from_model_init_that_moves_is_noticed(tmp_path):
    class Undo(FreezingAudit):
        def on_pre_optimizer_step(self, *_args, **_kwargs):
            with torch.no_grad():
                next(iter(self.prefix.blocks[1].parameters())).add_(1)

    trainer = Trainer(
        model_init=tiny_classifier, args=arguments(tmp_path), train_dataset=Texts(), callbacks=[Undo(frozen_blocks=2)]
    )
    with pytest.raises(FreezingError, match=r"frozen block 1 .* changed during training"):
        trainer.train()


def test_a_hyperparameter_search_freezes_every_model(tmp_path):
    audited = []

    class Seen(FreezingAudit):
        def on_train_end(self, *args, model, **kwargs):
            super().on_train_end(*args, model=model, **kwargs)
            audited.append({name for name in moved_by(model) if name.startswith(FROZEN)})

    trainer = Trainer(
        model_init=tiny_classifier, args=arguments(tmp_path), train_dataset=Texts(), eval_dataset=Texts(),
        callbacks=[Seen(frozen_blocks=2)],
    )  # fmt: skip
    trainer.hyperparameter_search(
        hp_space=lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-3, 1e-2)},
        n_trials=2, backend="optuna", direction="minimize",
    )  # fmt: skip
    assert audited == [set(), set()]


def test_several_processes_need_the_freezing_inside_model_init(model):
    several = SimpleNamespace(world_size=2)
    with pytest.raises(OptionError, match="frozen before it is distributed"):
        FreezingAudit(frozen_blocks=2).on_train_begin(several, None, None, model=model, optimizer=None)
    freeze(model, frozen_blocks=2)
    FreezingAudit(frozen_blocks=2).on_train_begin(several, None, None, model=model, optimizer=None)


def test_the_callback_wants_a_prefix_or_a_depth(model):
    with pytest.raises(OptionError, match="neither a prefix nor frozen_blocks"):
        FreezingAudit()
    with pytest.raises(OptionError, match="a prefix and frozen_blocks"):
        FreezingAudit(freeze(model, frozen_blocks=1), frozen_blocks=1)
