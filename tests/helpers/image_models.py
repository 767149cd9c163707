"""Tiny image models of several architectures."""

import numpy as np
import torch

SIZE = 32


RNG = np.random.default_rng(0)


# Patches of different colours: fine noise looks all alike to a network, and gradients of two classes then cancel.
IMAGES = [RNG.integers(0, 256, size=(5, 6, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1) for _ in range(12)]


LABELS = np.arange(12) % 2


def processor(**options):
    from transformers import BitImageProcessor

    settings = {"size": {"shortest_edge": 36}, "crop_size": SIZE, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2] * 3}
    return BitImageProcessor(**settings | options)


def resnet():
    from transformers import ResNetConfig, ResNetModel

    return ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 24], depths=[2, 1, 2], layer_type="basic"))


def vit():
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
    return ViTModel(ViTConfig(image_size=SIZE, patch_size=8, **sizes), add_pooling_layer=False)


def swin():
    from transformers import SwinConfig, SwinModel

    config = SwinConfig(image_size=SIZE, patch_size=2, embed_dim=8, depths=[1, 2], num_heads=[1, 2], window_size=4)
    return SwinModel(config, add_pooling_layer=False)


def mobilenet():
    from transformers import MobileNetV1Config, MobileNetV1Model

    return MobileNetV1Model(MobileNetV1Config(image_size=SIZE, depth_multiplier=0.25, min_depth=4))


def plain():
    from torchvision.models import resnet18

    return resnet18(weights=None, num_classes=5)


def saved_resnet(folder):
    """A folder with a tiny ResNet whose statistics are those of pictures."""
    torch.manual_seed(0)
    base = resnet()
    with torch.no_grad():
        for _ in range(20):
            base.train()(torch.randn(16, 3, 32, 32))
    base.save_pretrained(folder)
    processor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    return folder


MODELS = {"resnet": resnet, "vit": vit, "swin": swin, "mobilenet": mobilenet, "torchvision": plain}
