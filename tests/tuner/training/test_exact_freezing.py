import copy

import pytest
import torch
from torch import nn

from helpers import tiny
from tuner.blocks import Block, find_blocks
from tuner.errors import OptionError
from tuner.freezing import FreezingError, audit, count_trainable, freeze, thaw
from tuner.model.assemble import load_backbone
from tuner.model.classifier import build_classifier
from tuner.tasks.classes import Classes


@pytest.fixture
def model():
    backbone = load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")
    return build_classifier(
        backbone.model, backbone=backbone, task=Classes(names=("a", "b")), features="last", frozen_blocks=0
    )


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


def normed():
    net = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    blocks = tuple(
        Block(index=i, name=str(i), unit=m, modules=(m,), tensors=tuple(m.parameters())) for i, m in enumerate(net[:2])
    )
    return net, blocks


def test_trained_batch_norms_follow_the_batches_or_keep_their_statistics():
    for keep in (False, True):
        net, blocks = normed()
        prefix = freeze(net, blocks, frozen_blocks=1, keep_statistics=keep)
        net.train()
        net(torch.randn(8, 2) + 5).sum().backward()
        assert net[1].weight.grad is not None  # its weights are trained either way
        assert torch.equal(net[1].running_mean, torch.zeros(2)) == keep
        audit(prefix, model=net)
        thaw(net)
        assert net.train()[1].training


def test_audit_sees_kept_statistics_that_moved():
    net, blocks = normed()
    prefix = freeze(net, blocks, frozen_blocks=1, keep_statistics=True)
    net[1].running_var += 1
    with pytest.raises(FreezingError, match="batch statistics of the trained blocks changed"):
        audit(prefix, model=net)


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


class Net(nn.Module):
    """A norm without weights and dropout in the stem, dropout between the layers."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4, affine=False)
        self.drop = nn.Dropout(0.5)
        self.layers = nn.ModuleList([nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()) for _ in range(3)])
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.drop(self.norm(self.conv(x)))
        for layer in self.layers:
            x = self.drop(layer(x))
        return self.fc(x.mean((2, 3)))


def test_statistics_without_weights_are_frozen_too():
    model = Net()
    freeze(model, frozen_blocks=1)
    before = model.norm.running_mean.clone()
    model.train()(torch.randn(4, 3, 8, 8))
    assert torch.equal(model.norm.running_mean, before)
    thaw(model)
    model.train()(torch.randn(4, 3, 8, 8))
    assert not torch.equal(model.norm.running_mean, before)


def test_dropout_without_a_block_is_off_in_the_prefix_and_on_behind_it():
    model = Net()
    freeze(model, frozen_blocks=2)
    images = torch.randn(4, 3, 8, 8)
    entered = []
    for layer in model.layers:
        layer.register_forward_pre_hook(lambda _m, args: entered.append(args[0].detach().clone()))
    model.train()
    for _ in range(2):
        model(images)
    first, second = entered[:3], entered[3:]
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[2], second[2])  # behind the first trained layer dropout is on
    model.eval()
    assert torch.equal(model(images), model(images))
    thaw(model)
    assert not torch.equal(model.train()(images), model(images))


def test_a_frozen_model_can_be_stored_and_copied(tmp_path):
    model = Net()
    freeze(model, frozen_blocks=2)
    torch.save(model, tmp_path / "model.pt")
    for other in (copy.deepcopy(model), torch.load(tmp_path / "model.pt", weights_only=False)):
        other.train()
        assert not other.conv.training
        assert other.layers[1].training
        assert other.layers[1][0].weight.requires_grad
        assert not other.layers[0][0].weight.requires_grad
        thaw(other)
        assert all(p.requires_grad for p in other.parameters())
        assert other.train().conv.training
    assert not model.conv.weight.requires_grad


def test_what_the_model_keeps_fixed_is_never_trained():
    from transformers import MarianConfig, MarianModel

    sizes = {f"{part}_{name}": value for part in ("encoder", "decoder") for name, value in MARIAN.items()}
    model = MarianModel(
        MarianConfig(
            vocab_size=40, d_model=16, max_position_embeddings=32, pad_token_id=0, decoder_start_token_id=0, **sizes
        )
    )
    fixed = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert fixed
    for depth in (0, 2, 1):
        prefix = freeze(model, frozen_blocks=depth)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
        audit(prefix, model=model, optimizer=optimizer)
        assert not [name for name, p in model.named_parameters() if name in fixed and p.requires_grad]
    thaw(model)
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == fixed


MARIAN = {"layers": 2, "ffn_dim": 16, "attention_heads": 2}


def test_what_was_frozen_by_hand_is_trained_where_the_depth_says_so():
    model = Net()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    prefix = freeze(model, frozen_blocks=1)
    assert prefix.trainable == sum(p.numel() for p in (*model.layers.parameters(), *model.fc.parameters()))
