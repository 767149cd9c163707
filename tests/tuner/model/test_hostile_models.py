"""Model folders that somebody else made: refused with what, why and fix, quickly, before anything is opened."""

import contextlib
import json
import os
import shutil
import socket
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import tiny
from tuner.errors import DataError, ModelError
from tuner.export import TransferModel
from tuner.hub import no_network
from tuner.model import checkpoint, loading
from tuner.model.assemble import load_backbone
from tuner.model.loading import load_model
from tuner.tasks.classes import Classes


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory):
    from transformers import BitImageProcessor, ResNetConfig, ResNetModel

    folder = tmp_path_factory.mktemp("image")
    ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])).save_pretrained(folder)
    BitImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    return folder


@pytest.fixture
def text(text_folder, tmp_path):
    return shutil.copytree(text_folder, tmp_path / "model")


@pytest.fixture
def image(image_folder, tmp_path):
    return shutil.copytree(image_folder, tmp_path / "model")


@pytest.fixture
def asked(monkeypatch):
    """The hub's clients are online, and whatever they would connect to is noted."""
    from huggingface_hub import constants

    hosts = []

    def refuse(host, *_args, **_options):
        hosts.append(host)
        raise OSError("no network in a test")

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", lambda _self, address: refuse(address))
    return hosts


def edit(folder, file="config.json", **changes):
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(content | changes))


def refused(folder, match):
    start = time.perf_counter()
    with pytest.raises(ModelError, match=match) as caught:
        load_backbone(folder, device="cpu")
    assert caught.value.why
    assert caught.value.fix
    assert time.perf_counter() - start < 30
    return str(caught.value)


def shard(folder, name):
    """Replace the weights by an index that says they are all in `name`."""
    keys = list(load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(keys, name)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


# --- which files


@pytest.mark.parametrize(
    "name",
    ["weights.bin", "../elsewhere.safetensors", "sub/../../elsewhere.safetensors", "/absolute.safetensors",
     "..\\elsewhere.safetensors", "a\0.safetensors", "weights.safetensors.pt"],
)  # fmt: skip
def test_an_index_names_safetensors_inside_the_folder_only(text, name, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *_a, **_o: pytest.fail("a pickle was read"))
    shard(text, name)
    torch.save({}, text / "weights.bin")
    assert "names " + repr(name) in refused(text, r"index\.json .* as a file of weights")


@pytest.mark.parametrize("content", [{}, {"weight_map": {}}, {"weight_map": {"a": 3}}, {"weight_map": ["a"]}])
def test_an_index_without_names_of_files_is_said(text, content):
    shard(text, "x.safetensors")
    (text / "model.safetensors.index.json").write_text(json.dumps(content))
    refused(text, r"index\.json cannot be read")


def test_shards_are_read_and_a_missing_one_is_named(text):
    shard(text, "part/model-1.safetensors")
    refused(text, r"lacks part/model-1\.safetensors")
    (text / "part").mkdir()
    shutil.copy(text.parent / "elsewhere.safetensors", text / "part" / "model-1.safetensors")
    assert load_backbone(text, device="cpu").n_blocks == 4


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_link_out_of_the_folder_is_refused(text, file):
    outside = text.parent / "outside"
    (text / file).rename(outside)
    (text / file).symlink_to(outside)
    refused(text, f"{file} of .* is a link that leads out of the folder")


def test_a_link_to_a_folder_outside_holds_no_shards(text):
    shard(text, "sub/elsewhere.safetensors")
    (text / "sub").symlink_to(text.parent)
    refused(text, "is a link that leads out of the folder")


def test_links_inside_the_folder_and_into_the_hubs_cache_are_followed(text, tmp_path):
    (text / "model.safetensors").rename(text / "first.safetensors")
    (text / "model.safetensors").symlink_to("first.safetensors")
    assert load_backbone(text, device="cpu").n_blocks == 4
    repository = tmp_path / "models--owner--name"
    snapshot, blobs = repository / "snapshots" / "abc", repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(text.iterdir())):
        shutil.copy(file, blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    backbone = load_backbone(snapshot, device="cpu")
    assert (backbone.n_blocks, backbone.revision) == (4, "abc")
    assert backbone.model.config._name_or_path == str(snapshot)


@pytest.mark.parametrize(
    "file",
    ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "adapter_config.json",
     "special_tokens_map.json", "1_Pooling/config.json", "additional_chat_templates/tool.jinja"],
)  # fmt: skip
def test_a_pipe_is_never_waited_for(text, file):
    (text / file).parent.mkdir(exist_ok=True)
    (text / file).unlink(missing_ok=True)
    os.mkfifo(text / file)
    refused(text, "is a pipe, not a file")


def test_a_device_a_socket_and_a_folder_are_no_files(text, tmp_path):
    (text / "config.json").unlink()
    (text / "config.json").symlink_to("/dev/zero")
    refused(text, r"config\.json of .* is a device, not a file")
    (text / "config.json").unlink()
    with contextlib.chdir(text), socket.socket(socket.AF_UNIX) as unix:
        unix.bind("config.json")
    refused(text, r"config\.json of .* is a socket, not a file")
    (text / "config.json").unlink()
    (text / "config.json").mkdir()
    refused(text, r"config\.json of .* is a folder, not a file")


def test_weights_of_torchvision_are_a_file(tmp_path):
    os.mkfifo(tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="is a pipe, not a file"):
        load_model("torchvision:resnet18", weights=tmp_path / "w.safetensors")


def test_an_empty_tensor_says_nothing_about_the_number_of_classes(tmp_path):
    save_file({"fc.weight": torch.zeros(10**12, 0), "fc.bias": torch.zeros(5)}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="lacks bn1"):
        load_model("torchvision:resnet18", weights=tmp_path / "w.safetensors")


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_file_too_large_to_be_read_is_refused(text, file):
    os.truncate(text / file, 10**10)  # a hole, which takes no room
    refused(text, f"{file} of .* has 9,537 MB")


def test_an_adapter_is_not_loaded_beside_a_whole_model(text, monkeypatch):
    """peft is installed, and transformers would load the adapter by itself."""
    import peft

    expected = load_backbone(text, device="cpu")
    model = peft.get_peft_model(tiny.bert(), peft.LoraConfig(r=2, target_modules=["query"], init_lora_weights=False))
    model.save_pretrained(text)
    backbone = load_backbone(text, device="cpu")
    assert "the folder holds an adapter too, which is not used" in backbone.warnings[0]
    assert not [name for name, _ in backbone.model.named_parameters() if "lora" in name]
    assert backbone.sha256 == expected.sha256
    assert torch.equal(backbone.model.encoder.layer[0].attention.self.query.weight,
                       expected.model.encoder.layer[0].attention.self.query.weight)  # fmt: skip


# --- what is fetched


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model_type": "dpt", "backbone": "some/repo", "use_pretrained_backbone": True}, "another model as its"),
        ({"model_type": "dpt", "backbone": "resnet18", "use_pretrained_backbone": True}, "weights that are not in it"),
        ({"model_type": "clip", "vision_config": {"backbone": "some/repo"}}, "another model as its backbone"),
        ({"backbone_config": {"model_type": "timm_backbone", "backbone": "hf-hub:some/repo"}}, "as its backbone"),
        ({"model_type": "timm_wrapper", "architecture": "hf-hub:some/repo"}, "another model as its architecture"),
        ({"model_type": "timm_wrapper", "architecture": "resnet18", "model_args": {"checkpoint_path": "x"}}, "weights"),
        ({"model_type": "timm_wrapper", "architecture": "resnet18", "model_args": {"pretrained": True}}, "weights"),
        ({"_attn_implementation": "kernels-community/flash-attn"}, "code that is fetched for its attention"),
        ({"attn_implementation": "some/kernel@main:name"}, "code that is fetched for its attention"),
        ({"transformers_weights": "../elsewhere.safetensors"}, "other weights than its own"),
        ({"quantization_config": {"quant_method": "fp8"}}, "holds quantised weights"),
    ],
)  # fmt: skip
def test_nothing_is_fetched_or_read_from_elsewhere(text, asked, changes, match):
    edit(text, **changes)
    refused(text, match)
    assert asked == []


@pytest.mark.parametrize("backbone", ["some-name", "resnet18"])
def test_a_configuration_that_asks_the_hub_by_itself_is_kept_offline(text, asked, backbone):
    """transformers asks the hub whether there is a model of that name, `local_files_only` or not."""
    edit(text, model_type="dpt", backbone=backbone)
    refused(text, "names something that is not in its folder, and would be fetched from the hub")
    assert asked == []


def test_an_ordinary_folder_asks_nothing_either(text, asked):
    edit(text, _name_or_path="some/repo")
    edit(text, "tokenizer_config.json", name_or_path="some/repo", special_tokens_map_file="/root/.cache/x.json")
    assert load_backbone(text, device="cpu").n_blocks == 4
    assert asked == []


def test_the_network_is_back_after_loading(text, asked):
    from huggingface_hub import constants

    load_backbone(text, device="cpu")
    assert constants.HF_HUB_OFFLINE is False
    with no_network():
        assert constants.HF_HUB_OFFLINE is True
    assert constants.HF_HUB_OFFLINE is False


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("special_tokens_map.json", {"vocab_file": "/etc/passwd"}),
        ("tokenizer_config.json", {"merges_file": "/etc/passwd"}),
        ("tokenizer_config.json", {"fast_tokenizer_files": ["../tokenizer.4.0.0.json"]}),
    ],
)
def test_a_tokenizer_reads_its_own_folder_only(text, file, content):
    if not (text / file).exists():
        (text / file).write_text("{}")
    edit(text, file, **content)
    refused(text, f"{file} of .* names '")


# --- what is built


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"num_hidden_layers": 1_000_000}, "num_hidden_layers: 1,000,000, and 0 to 1,000 can be"),
        ({"num_hidden_layers": -1_000}, "num_hidden_layers: -1,000"),
        ({"num_attention_heads": 0}, "num_attention_heads: 0, and attention needs at least one"),
        ({"num_attention_heads": -2}, "num_attention_heads: -2"),
        ({"hidden_size": -32}, "hidden_size: -32"),
        ({"hidden_size": 10**12}, "hidden_size: 1,000,000,000,000"),
        ({"hidden_size": 10**400}, "hidden_size: 10,000,000,000,000,000,0"),
        ({"hidden_size": 100_000, "num_attention_heads": 2}, "describes a model of [0-9,]+ weights, and its"),
        ({"vocab_size": 10**9}, "describes a model of [0-9,]+ weights"),
        ({"vocab_size": -5}, "vocab_size: -5"),
        ({"max_position_embeddings": 10**8}, "describes a model of [0-9,]+ weights"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps: nan, which is no number"),
        ({"num_labels": 10**9}, "num_labels: 1,000,000,000"),
        ({"hidden_size": "32"}, "Validation error for field 'hidden_size': TypeError: .*got str .value: '32'"),
        ({"num_hidden_layers": 999}, "describes a model of [0-9,]+ weights"),
        ({"hidden_size": 0}, "cannot be loaded as a model"),
        ({"model_type": "gpt_neo", "attention_types": [[["global"], 10**9]]}, "attention_types: 1,000,000,000"),
        ({"model_type": "resnet", "depths": [1, 10**7], "hidden_sizes": [8, 8]}, "depths: 10,000,000"),
        ({"model_type": "efficientnet", "depth_coefficient": 1e6}, "depth_coefficient: 1,000,000"),
        ({"text_config": {"num_hidden_layers": 10**6}}, "num_hidden_layers: 1,000,000"),
    ],
)  # fmt: skip
def test_numbers_that_no_model_has_are_refused_before_it_is_built(text, monkeypatch, changes, match):
    from transformers import PreTrainedModel

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", lambda *_a, **_o: pytest.fail("it was built"))
    edit(text, **changes)
    refused(text, match)


def test_tables_that_are_computed_count_too():
    with torch.device("meta"):
        net = torch.nn.Linear(2, 2)
        net.register_buffer("mask", torch.ones(10**6, 10**6, dtype=torch.bool))
    checkpoint.check_built(net, stored=6, free=None, name="m")
    with pytest.raises(ModelError, match=r"m is larger than the memory: .* it needs 1,000\.0 GB, and 8\.0 GB are free"):
        checkpoint.check_built(net, stored=6, free=8 * 10**9, name="m")


def test_a_model_that_is_never_built_is_given_up(text, monkeypatch):
    monkeypatch.setattr(loading, "BUILD_SECONDS", 0.5)
    from transformers import BertModel

    monkeypatch.setattr(BertModel, "__init__", lambda *_: time.sleep(5))
    refused(text, "cannot be loaded as a model")


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "1_Pooling/config.json"])
@pytest.mark.parametrize("levels", [100, 100_000])
def test_deep_nesting_is_refused(text, file, levels):
    (text / file).parent.mkdir(exist_ok=True)
    (text / file).write_text('{"model_type": "bert", "a": ' + "[" * levels + "]" * levels + "}")
    refused(text, f"{file} cannot be read .it is nested")


def test_numbers_of_published_configurations_pass():
    """Fractions, -1 for all, positions from the end, infinities, and labels that look like counts."""
    known = {
        "num_experts": 16_384, "vision_feature_layer": -2, "num_hidden_layers": 1_000, "type_vocab_size": 0,
        "max_position_embeddings": -1, "time_step_limit": [0.0, float("inf")], "model_max_length": 10**30,
        "id2label": {"0": 10**9}, "depths": [3, 3, 27, 3], "width_coefficient": 1.1, "pad_token_id": -1,
        "attention_types": [[["global", "local"], 12]], "vision_config": {"num_heads": [3, 6, 12, 24]},
        "backbone": "resnet50", "quantization_config": None,
    }  # fmt: skip
    checkpoint._check_config(known, "known")


# --- tokenizers and image processors


def tokenizer_with(folder, **changes):
    edit(folder, "tokenizer.json", **changes)


def split(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"pre_tokenizer": split("(a+)+$")}, "retry-limit"),
        ({"pre_tokenizer": split("(")}, "unmatched parenthesis"),
        ({"pre_tokenizer": {"type": "FixedLength", "length": 0}}, "chunk size must be non-zero"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "precompiled_charsmap"),
        ({"model": {"type": "WordLevel", "vocab": {"a": 1}, "unk_token": "[UNK]"}, "added_tokens": []}, "UNK"),
    ],
)
def test_a_tokenizer_that_panics_or_fails_is_said(text, changes, match):
    tokenizer_with(text, **changes)
    refused(text, f"the tokenizer of .* does not work: .*{match}")


def test_a_tokenizer_that_does_not_end_is_given_up(text, monkeypatch):
    from tuner.inputs import tokenizing

    monkeypatch.setattr(tokenizing, "TRIAL_SECONDS", 1.0)
    doubles = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    tokenizer_with(text, normalizer={"type": "Sequence", "normalizers": [doubles] * 18})
    refused(text, r"is too much for it .it has not ended after 1 seconds")


def test_a_panic_on_the_users_own_text_is_said(text):
    tokenizer_with(text, pre_tokenizer=split("(q+)+$"))
    backbone = load_backbone(text, device="cpu")
    with pytest.raises(ModelError, match=r"does not work: .*retry-limit"):
        backbone.encode(["good", "q" * 60 + "!"])


def test_a_token_beyond_32_bits_is_not_known_to_the_model(text):
    vocabulary = {"[UNK]": 1, "good": 2**32 - 1}
    tokenizer_with(text, model={"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"})
    with pytest.raises(ModelError, match="gives tokens that the model does not know"):
        load_backbone(text, device="cpu").encode(["good"])


def test_images_of_several_sizes_need_a_processor_that_resizes(image):
    edit(image, "preprocessor_config.json", do_resize=False, do_center_crop=False)
    backbone = load_backbone(image, device="cpu")
    same, other = np.zeros((32, 32, 3), dtype=np.uint8), np.zeros((40, 32, 3), dtype=np.uint8)
    assert len(backbone.encode([same, same])) == 2
    for images in ([same, other], [same] * 64 + [other]):
        with pytest.raises(DataError, match="the images have different sizes"):
            backbone.encode(images)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"size": {"shortest_edge": 10**6}}, r"size: .*1000000.*sides are 1 to 4,096 pixels"),
        ({"crop_size": {"height": -1, "width": 8}}, "crop_size: .*-1"),
        ({"size": "large"}, 'size: "large"'),
        ({"image_std": [0, 0, 0]}, r"image_std: \[0, 0, 0\], and pixels are divided by it"),
        ({"image_mean": [float("nan")] * 3}, "image_mean: .NaN"),
        ({"image_mean": [0.1, 0.2]}, "the image processor of .* does not work on an example"),
        ({"image_std": None}, "the image processor of .* does not work on an example"),
        ({"rescale_factor": 0}, "rescale_factor: 0"),
        ({"resample": 99}, "does not work on an example"),
        ({"size": {"weird": 5}}, "cannot be loaded as a model|does not work on an example"),
    ],
)
def test_an_image_processor_that_no_image_survives_is_said(image, changes, match):
    edit(image, "preprocessor_config.json", **changes)
    refused(image, match)


# --- models of our own


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    from dataclasses import replace

    from tuner.export import measure_support
    from tuner.model.classifier import build_classifier

    folder = tmp_path_factory.mktemp("saved")
    backbone = load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")
    backbone = replace(backbone, pooling="mean")
    classifier = build_classifier(
        backbone.model, backbone=backbone, task=Classes(names=("a", "b")), features="last", frozen_blocks=0
    )
    support = measure_support(np.random.default_rng(0).normal(size=(20, 32)))
    reader = tiny.tokenizer()
    reader.model_max_length = 64
    TransferModel(classifier=classifier, reader=reader, support=support, card="card").save_pretrained(folder)
    return folder


def pickled(folder):
    shard(folder, "weights.bin")


def piped(folder):
    (folder / "support.safetensors").unlink()
    os.mkfifo(folder / "support.safetensors")


def deep_base(folder):
    base = json.loads((folder / "config.json").read_text())["base"]
    edit(folder, base=base | {"num_hidden_layers": 10**6})


def fetched_base(folder):
    edit(folder, base={"model_type": "dpt", "backbone": "some/repo"})


def flat_support(folder):
    save_file({"features": torch.zeros(3), "radius": torch.zeros(1)}, folder / "support.safetensors")


def other_advice(folder):
    (folder / "advice.json").write_text('{"data": []}')


def panicking(folder):
    tokenizer_with(folder, pre_tokenizer=split("(a+)+$"))


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (pickled, "as a file of weights"),
        (piped, "is a pipe, not a file"),
        (deep_base, "num_hidden_layers: 1,000,000"),
        (fetched_base, "another model as its backbone"),
        (flat_support, "cannot be loaded"),
        (other_advice, "cannot be loaded"),
        (panicking, "does not work: .*retry-limit"),
    ],
)
def test_a_saved_model_is_checked_in_the_same_way(saved, tmp_path, asked, spoil, match):
    folder = shutil.copytree(saved, tmp_path / "model")
    assert TransferModel.from_pretrained(folder, device="cpu").predict(["good film"])[0] in ("a", "b")
    (folder / "checksums.json").unlink()  # whoever changes a file can change its checksum, too
    spoil(folder)
    with pytest.raises(ModelError, match=match):
        TransferModel.from_pretrained(folder, device="cpu")
    assert asked == []
