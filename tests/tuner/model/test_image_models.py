"""Image models are loaded, pooled, cached, frozen and trained as text models are."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.image_models import (
    IMAGES,
    LABELS,
    MODELS,
    SIZE,
    plain,
    processor,
    resnet,
)
from tuner.errors import ModelError, OptionError
from tuner.freezing import freeze
from tuner.inputs.images import ImageInputs
from tuner.model.assemble import load_backbone
from tuner.model.backbone import pool
from tuner.model.classifier import TransferClassifier, build_classifier, classify
from tuner.tasks.classes import Classes
from tuner.training.prefix import PrefixCache
from tuner.training.train import Recipe, Rows, check_replay, predict, train


@pytest.fixture(scope="module", params=list(MODELS))
def backbone(request):
    torch.manual_seed(0)
    model = MODELS[request.param]()
    with torch.no_grad():  # statistics as after training; fresh ones let a deep signal die away
        for _ in range(20):
            model.train()(torch.randn(16, 3, SIZE, SIZE))
    # Random networks magnify rounding; what is tested is the way of the states, so it is full precision here.
    return replace(load_backbone((model, processor()), device="cpu"), compute_dtype=torch.float32)


def depths(backbone):
    return sorted({1, backbone.n_blocks // 2, backbone.n_blocks - 1})


def test_bytes_and_scale_give_what_the_processor_gives():
    inputs = ImageInputs(processor())
    encoded = inputs.encode(IMAGES)
    assert encoded.values.dtype == np.uint8
    expected = processor()(IMAGES, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(inputs.collate(encoded, np.arange(12))["pixel_values"], expected, atol=1e-4, rtol=0)


def test_arrays_and_pictures_are_cut_alike():
    inputs = ImageInputs(processor())
    pictures = [Image.fromarray(image) for image in IMAGES]
    np.testing.assert_array_equal(inputs.encode(IMAGES).values, inputs.encode(pictures).values)


def test_an_image_of_three_rows_is_not_taken_for_channels_first():
    image = np.zeros((3, 90, 3), dtype=np.uint8)
    image[..., 0] = 255
    pixels = ImageInputs(processor()).encode([image]).values[0]
    assert pixels[0].min() == 255
    assert pixels[1:].max() == 0


def test_a_processor_that_does_more_than_scale_keeps_its_floats(monkeypatch):
    own = processor()
    kind = type(own)

    class Flipped(kind):
        def _preprocess(self, *args, **kwargs):
            cut = super()._preprocess(*args, **kwargs)
            if kwargs.get("do_normalize"):
                cut["pixel_values"] = cut["pixel_values"][:, [2, 1, 0]]
            return cut

    flipped = Flipped(**{key: getattr(own, key) for key in ("size", "crop_size", "image_mean", "image_std")})
    inputs = ImageInputs(flipped)
    encoded = inputs.encode(IMAGES)
    expected = flipped(IMAGES, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(inputs.collate(encoded, np.arange(12))["pixel_values"], expected)


def test_features_are_the_pooled_states_of_every_block(backbone):
    encoded = backbone.encode(IMAGES)
    features = backbone.block_features(encoded)
    assert [block.shape for block in features] == [(12, width) for width in backbone.widths]
    inputs = backbone.collate(encoded, np.arange(12))
    with torch.no_grad():
        output = backbone.model(inputs["pixel_values"])
    if hasattr(output, "last_hidden_state"):
        expected = pool(output.last_hidden_state, pooling=backbone.pooling).numpy()
    else:
        with torch.no_grad():
            expected = (features[-1] @ backbone.model.fc.weight.T.numpy()) + backbone.model.fc.bias.numpy()
            features = (*features[:-1], output.numpy())
    np.testing.assert_allclose(features[-1], expected, atol=1e-4)


def test_training_from_the_cache_equals_the_full_model(backbone, tmp_path):
    encoded = backbone.encode(IMAGES)
    cache = PrefixCache(tmp_path, backbone=backbone, encoded=encoded)
    cache.compute(depths(backbone))
    initial = {key: tensor.clone() for key, tensor in backbone.model.state_dict().items()}
    for depth in depths(backbone):
        backbone.model.load_state_dict(initial)
        model = build_classifier(
            backbone.model, backbone=backbone, task=Classes(names=("a", "b")), features="last", frozen_blocks=depth
        )
        prefix = freeze(model, backbone.blocks, frozen_blocks=depth)
        rows = Rows(encoded=encoded, labels=LABELS, cached=cache.get(depth), task=Classes(names=("a", "b")))
        assert check_replay(model, backbone=backbone, rows=rows, prefix=prefix) is None
        before = predict(model, backbone=backbone, rows=rows, prefix=prefix)
        recipe = Recipe(learning_rate=1e-3, head_ratio=1.0, steps=4, batch_size=4, seed=0)
        outcome = train(model, backbone=backbone, prefix=prefix, recipe=recipe, train_rows=rows, validation_rows=rows)
        assert outcome.steps == 4  # and the audit inside has seen nothing frozen move, statistics included
        assert not np.allclose(before, predict(model, backbone=backbone, rows=rows, prefix=prefix))
    backbone.model.load_state_dict(initial)


def test_a_wrong_state_in_the_cache_is_noticed(backbone, tmp_path):
    encoded = backbone.encode(IMAGES)
    cache = PrefixCache(tmp_path, backbone=backbone, encoded=encoded)
    depth = backbone.n_blocks // 2
    cache.compute([depth])
    stored = np.memmap(cache.get(depth).path, dtype=np.uint16, mode="r+")
    stored[:] = torch.full((len(stored),), 0.5, dtype=torch.bfloat16).view(torch.uint16).numpy()
    model = build_classifier(
        backbone.model, backbone=backbone, task=Classes(names=("a", "b")), features="last", frozen_blocks=depth
    )
    prefix = freeze(model, backbone.blocks, frozen_blocks=depth)
    rows = Rows(encoded=encoded, labels=LABELS, cached=cache.get(depth), task=Classes(names=("a", "b")))
    assert "differ" in check_replay(model, backbone=backbone, rows=rows, prefix=prefix)


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_a_folder_with_an_image_processor_is_an_image_model(name, tmp_path):
    MODELS[name]().save_pretrained(tmp_path)
    processor().save_pretrained(tmp_path)
    backbone = load_backbone(tmp_path, device="cpu")
    assert isinstance(backbone.inputs, ImageInputs)
    assert backbone.sha256 is not None
    assert backbone.pooling == {"resnet": "mean", "vit": "cls"}[name]
    with pytest.raises(ModelError, match="reads images, not texts"):
        backbone.tokenizer  # noqa: B018  # the property raises
    with pytest.raises(OptionError, match="reads images"):
        load_backbone(tmp_path, device="cpu", max_length=64)


@pytest.mark.parametrize("name", ["resnet", "swin", "torchvision"])
def test_the_classifier_is_rebuilt_from_its_configuration(name, tmp_path):
    from tuner.model.vision import torchvision_model

    model = torchvision_model(name="resnet18", n_classes=3) if name == "torchvision" else MODELS[name]()
    backbone = load_backbone((model, processor()), device="cpu")
    ours = build_classifier(
        backbone.model, backbone=backbone, task=Classes(names=("a", "b")), features="concat_last_four", frozen_blocks=1
    ).eval()
    ours.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["id2label"] == {"0": "a", "1": "b"}
    again = TransferClassifier.from_pretrained(tmp_path, use_safetensors=True).eval()
    inputs = backbone.collate(backbone.encode(IMAGES), np.arange(12))
    with torch.no_grad():
        torch.testing.assert_close(again(**inputs).logits, ours(**inputs).logits, atol=1e-5, rtol=0)


def test_places_are_averaged_where_channels_come_last():
    from torchvision.models import swin_t

    backbone = load_backbone((swin_t(weights=None, num_classes=2), processor(crop_size=64, size=72)), device="cpu")
    assert backbone.widths[-1] == 768
    assert backbone.widths[0] == 96


def test_a_module_of_ones_own_is_saved_and_filled_again(tmp_path):
    from tuner.export import TransferModel, measure_support

    torch.manual_seed(0)
    backbone = load_backbone((plain(), processor()), device="cpu")
    ours = build_classifier(
        backbone.model, backbone=backbone, task=Classes(names=("a", "b")), features="last", frozen_blocks=2
    ).eval()
    logits, features = classify(ours, backbone=backbone, encoded=backbone.encode(IMAGES))
    TransferModel(
        classifier=ours, reader=processor(), support=measure_support(features), card="# card"
    ).save_pretrained(tmp_path)  # fmt: skip
    with pytest.raises(ModelError, match=r"own, torchvision\.models\.resnet\.ResNet"):
        TransferModel.from_pretrained(tmp_path, device="cpu")
    again = TransferModel.from_pretrained(tmp_path, device="cpu", module=plain())
    np.testing.assert_allclose(again.run(IMAGES)[0], logits, atol=1e-5)


@pytest.mark.parametrize("model_type", ["clip", "siglip"])
def test_the_vision_model_of_a_joint_one_is_read_and_saved(model_type, tmp_path):
    from helpers import architectures

    name = {"clip": "CLIPForImageClassification", "siglip": "SiglipForImageClassification"}[model_type]
    architectures.tiny_model(model_type, name).save_pretrained(tmp_path / "model")
    processor(size=32, crop_size=32).save_pretrained(tmp_path / "model")
    backbone = load_backbone(tmp_path / "model", device="cpu")
    ours = build_classifier(
        backbone.model, backbone=backbone, task=Classes(names=("a", "b")), features="last", frozen_blocks=1
    ).eval()
    ours.save_pretrained(tmp_path / "saved")
    again = TransferClassifier.from_pretrained(tmp_path / "saved", use_safetensors=True).eval()
    inputs = backbone.collate(backbone.encode(IMAGES), np.arange(12))
    with torch.no_grad():
        torch.testing.assert_close(again(**inputs).logits, ours(**inputs).logits, atol=1e-5, rtol=0)


def test_torchvision_weights_bring_their_own_transforms(monkeypatch, tmp_path):
    from safetensors.torch import save_file
    from torchvision.models import get_model_weights, resnet18

    torch.manual_seed(0)
    save_file(resnet18(weights=None, num_classes=7).state_dict(), tmp_path / "own.safetensors")
    backbone = load_backbone("torchvision:resnet18", weights=tmp_path / "own.safetensors", device="cpu")
    image = Image.fromarray(IMAGES[0]).resize((500, 375))
    expected = get_model_weights("resnet18").DEFAULT.transforms()(image)
    cut = backbone.collate(backbone.encode([image]), np.array([0]))["pixel_values"][0]
    assert (cut - expected).abs().mean() < 1e-3
    assert (cut - expected).abs().max() < 0.02  # one step of a byte, over the deviation


def test_an_image_classifier_is_saved_and_loads_through_the_auto_classes(tmp_path):
    from transformers import AutoModelForImageClassification, pipeline

    from tuner.export import TransferModel, measure_support

    torch.manual_seed(0)
    backbone = load_backbone((resnet(), processor()), device="cpu")
    ours = build_classifier(
        backbone.model, backbone=backbone, task=Classes(names=("a", "b")), features="last", frozen_blocks=2
    ).eval()
    logits, features = classify(ours, backbone=backbone, encoded=backbone.encode(IMAGES))
    model = TransferModel(classifier=ours, reader=processor(), support=measure_support(features), card="# card")
    model.save_pretrained(tmp_path)
    again = TransferModel.from_pretrained(tmp_path, device="cpu")
    np.testing.assert_allclose(again.run(IMAGES)[0], logits, atol=1e-5)
    assert set(again.predict(IMAGES)) <= {"a", "b"}
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    inputs = processor()(IMAGES, return_tensors="pt")
    with torch.no_grad():
        np.testing.assert_allclose(loaded(**inputs).logits, ours(**inputs).logits, atol=1e-5)
        probabilities = loaded(**inputs).logits.softmax(-1)[0]
    found = pipeline("image-classification", str(tmp_path))(Image.fromarray(IMAGES[0]))
    assert found[0]["label"] == ("a", "b")[int(probabilities.argmax())]
    assert found[0]["score"] == pytest.approx(float(probabilities.max()), abs=0.01)
