"""Fresh weights of any architecture: reproducible, complete, and never those that were learned."""

import pytest
import torch
from torch import nn

from helpers import image_models, tiny
from tuner.errors import ModelError
from tuner.model.scratch import fresh_state


@pytest.mark.parametrize("model", [tiny.bert, image_models.resnet, image_models.plain], ids=lambda m: m.__name__)
def test_every_learned_weight_is_drawn_anew(model):
    net = model()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    fresh = fresh_state(net, seed=0)
    assert set(fresh) == set(before)
    assert not [name for name, _ in net.named_parameters() if torch.equal(fresh[name], before[name])]
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in before.items())


def test_seeds_say_which_weights():
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    one, same, other = (fresh_state(net, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["0.weight"], other["0.weight"])


def test_a_layer_that_nobody_can_draw_is_said():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

    with pytest.raises(ModelError, match=r"cannot be trained from scratch: 1 has no reset_parameters"):
        fresh_state(nn.Sequential(nn.Linear(3, 3), Own()), seed=0)
