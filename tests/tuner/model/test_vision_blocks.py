"""Blocks and exact freezing of torchvision's and timm's models, BatchNorm statistics included."""

import pytest
import torch
import torchvision
from torch import nn
from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

from tuner.blocks import find_blocks, head_parameters
from tuner.errors import ModelError
from tuner.freezing import audit, freeze

pytestmark = pytest.mark.slow

TORCHVISION = {"resnet18": (9, {"fc"}), "resnet50": (17, {"fc"}), "googlenet": (10, {"aux1", "aux2", "fc"}),
               "mobilenet_v2": (19, {"classifier"}), "efficientnet_b0": (18, {"classifier"}),
               "vgg11_bn": (8, {"classifier"}), "densenet121": (8, {"classifier"}),
               "alexnet": (5, {"classifier"})}  # fmt: skip
TIMM = {"resnet18": 9, "mobilenetv3_small_050": 13, "vit_tiny_patch16_224": 13, "regnety_002": 14, "convnext_atto": 13}


def built(library, name):
    torch.manual_seed(0)
    if library == "torchvision":
        options = {"init_weights": False} if name == "googlenet" else {}
        return torchvision.models.get_model(name, weights=None, num_classes=3, **options)
    config = TimmWrapperConfig(architecture=name, num_labels=3)
    return TimmWrapperForImageClassification(config)


def logits(model, images):
    output = model(images)
    return output if torch.is_tensor(output) else output.logits


CASES = [("torchvision", name) for name in TORCHVISION] + [("timm", name) for name in TIMM]


@pytest.mark.parametrize(("library", "name"), CASES)
def test_blocks_cover_the_model_in_order_and_freeze_exactly(library, name):
    model = built(library, name)
    blocks = find_blocks(model)
    head = {id(p) for p in head_parameters(model, blocks)}
    if library == "torchvision":
        number, parts = TORCHVISION[name]
        assert {key.split(".")[0] for key, p in model.named_parameters() if id(p) in head} == parts
    else:
        number = TIMM[name]
    assert len(blocks) == number
    held = [id(p) for block in blocks for p in block.parameters()]
    assert len(held) == len(set(held))
    assert set(held) | head == {id(p) for p in model.parameters()}

    size = 224 if name.startswith("vit") else 64
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    order = []
    handles = [b.unit.register_forward_hook(lambda *_, index=b.index: order.append(index)) for b in blocks[1:]]
    model.eval()
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    assert order == list(range(1, len(blocks)))

    for depth in (0, len(blocks) // 2, len(blocks)):
        prefix = freeze(model, blocks, frozen_blocks=depth)
        model.train()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.1)
        logits(model, images).square().sum().backward()
        optimizer.step()
        audit(prefix, model=model, optimizer=optimizer)


@pytest.mark.parametrize(
    "name", ["twins_svt_small", "hrnet_w18_small", "xcit_nano_12_p16_224", "efficientvim_m1", "crossvit_tiny_240"]
)
def test_models_that_run_in_another_order_than_they_are_held_in_are_refused(name):
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        model = timm.create_model(name)
    for given in (model, nn.Sequential(model)):
        with pytest.raises(ModelError, match="run in another order than it holds them in"):
            find_blocks(given)
