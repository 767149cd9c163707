"""Freezing inside a real `transformers.Trainer`."""

import pytest
import tiny
import torch
from transformers import BertForSequenceClassification, Trainer, TrainingArguments

from tuner.callback import FreezingAudit
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
