import pytest
import tiny
import torch
from torch import nn

from tuner.backbone import load_backbone
from tuner.blocks import Block, find_blocks
from tuner.classifier import build_classifier
from tuner.errors import OptionError
from tuner.freezing import FreezingError, audit, count_trainable, freeze, thaw


@pytest.fixture
def model():
    backbone = load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")
    return build_classifier(backbone.model, backbone=backbone, class_names=("a", "b"), features="last", frozen_blocks=0)


def one_step(model, optimizer):
    model.train()
    ids = torch.randint(4, 20, (4, 8))
    model(input_ids=ids, labels=torch.tensor([0, 1, 0, 1])).loss.backward()
    optimizer.step()


def trained_only(model):
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)


@pytest.mark.parametrize("depth", range(5))
def test_every_depth_trains_exactly_the_rest(model, depth):
    blocks = find_blocks(model.base)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    prefix = freeze(model, blocks, frozen_blocks=depth)
    optimizer = trained_only(model)
    one_step(model, optimizer)
    audit(prefix, model=model, optimizer=optimizer)
    frozen = {id(p) for block in blocks[:depth] for p in block.parameters()}
    moved = {id(p) for name, p in model.named_parameters() if not torch.equal(before[name], p)}
    assert not moved & frozen
    trained = sum(p.numel() for block in blocks[depth:] for p in block.parameters())
    assert count_trainable(model) == trained + sum(p.numel() for p in model.head.parameters())


def test_train_mode_does_not_switch_dropout_on_in_the_prefix(model):
    blocks = find_blocks(model.base)
    freeze(model, blocks, frozen_blocks=2)
    model.train()
    dropouts = [[m.training for part in b.modules for m in part.modules() if isinstance(m, nn.Dropout)] for b in blocks]
    assert [any(block) for block in dropouts] == [False, False, True, True]
    thaw(model)
    model.train()
    assert all(m.training for m in model.modules())


def test_batch_statistics_in_a_frozen_block_stay():
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    blocks = tuple(
        Block(index=i, name=str(i), unit=m, modules=(m,), tensors=tuple(m.parameters())) for i, m in enumerate(net)
    )
    prefix = freeze(net, blocks, frozen_blocks=1)
    net.train()
    net(torch.randn(8, 2) + 5)
    audit(prefix, model=net)
    assert torch.equal(net[0].running_mean, torch.zeros(2))


def test_audit_sees_a_weight_that_moved(model):
    blocks = find_blocks(model.base)
    prefix = freeze(model, blocks, frozen_blocks=2)
    with torch.no_grad():
        next(blocks[1].parameters()).view(-1)[0] += 1e-7
    with pytest.raises(FreezingError, match=r"frozen block 1 .* changed"):
        audit(prefix, model=model)


def test_audit_sees_a_buffer_that_moved():
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    blocks = tuple(
        Block(index=i, name=str(i), unit=m, modules=(m,), tensors=tuple(m.parameters())) for i, m in enumerate(net)
    )
    prefix = freeze(net, blocks, frozen_blocks=1)
    net[0].running_mean += 1
    with pytest.raises(FreezingError, match="changed"):
        audit(prefix, model=net)


def test_audit_sees_dropout_switched_on(model):
    prefix = freeze(model, find_blocks(model.base), frozen_blocks=2)
    next(m for m in prefix.blocks[1].modules[0].modules() if isinstance(m, nn.Dropout)).training = True
    with pytest.raises(FreezingError, match="dropout is on"):
        audit(prefix, model=model)


def test_audit_sees_a_frozen_weight_that_learns(model):
    prefix = freeze(model, find_blocks(model.base), frozen_blocks=2)
    next(prefix.blocks[0].parameters()).requires_grad_(True)
    with pytest.raises(FreezingError, match="has gradients"):
        audit(prefix, model=model)


def test_audit_sees_a_trained_weight_that_does_not_learn(model):
    prefix = freeze(model, find_blocks(model.base), frozen_blocks=2)
    next(prefix.blocks[3].parameters()).requires_grad_(False)
    with pytest.raises(FreezingError, match="parameters are trainable"):
        audit(prefix, model=model)


def test_audit_sees_a_wrong_optimizer(model):
    prefix = freeze(model, find_blocks(model.base), frozen_blocks=2)
    with pytest.raises(FreezingError, match="the optimizer holds"):
        audit(prefix, model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))


@pytest.mark.parametrize("depth", [-1, 5])
def test_impossible_depths_are_said(model, depth):
    with pytest.raises(OptionError, match="frozen blocks of 4"):
        freeze(model, find_blocks(model.base), frozen_blocks=depth)
