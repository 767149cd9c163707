from dataclasses import replace

import numpy as np
import pytest
import torch

import tuner.training.train
from helpers import tiny
from tuner.freezing import freeze
from tuner.inputs.texts import padded_length
from tuner.inputs.tokens import Tokens
from tuner.model.assemble import load_backbone
from tuner.model.classifier import build_classifier
from tuner.tasks.classes import Classes
from tuner.training.prefix import PrefixCache
from tuner.training.train import Rows, check_replay, forward

TEXTS = ["good film", "the very very bad plot was sad and dark", "a cat sleeps", "red dog", "not happy", "fine"]


@pytest.fixture
def backbone(monkeypatch):
    monkeypatch.setenv("TRANSFER_ADVISOR_FP32", "1")
    return load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")


@pytest.fixture
def cache(backbone, tmp_path):
    return PrefixCache(tmp_path / "cache", backbone=backbone, encoded=backbone.encode(TEXTS))


def classifier(backbone, depth):
    model = build_classifier(
        backbone.model, backbone=backbone, task=Classes(names=("a", "b")), features="last", frozen_blocks=depth
    )
    return model, freeze(model, backbone.blocks, frozen_blocks=depth)


def t5():
    from transformers import T5Config, T5Model

    sizes = {"d_model": 32, "d_ff": 64, "d_kv": 16, "num_layers": 3, "num_decoder_layers": 3, "num_heads": 2}
    return T5Model(T5Config(vocab_size=40, decoder_start_token_id=0, pad_token_id=0, **sizes))


def bart():
    from transformers import BartConfig, BartModel

    sizes = {f"{part}_{name}": value for part in ("encoder", "decoder") for name, value in BART_SIZES.items()}
    return BartModel(
        BartConfig(vocab_size=40, d_model=32, max_position_embeddings=64, pad_token_id=0, init_std=0.3, **sizes)
    )


BART_SIZES = {"layers": 3, "ffn_dim": 64, "attention_heads": 2}


def longformer():
    from transformers import LongformerConfig, LongformerModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
    config = LongformerConfig(vocab_size=40, max_position_embeddings=66, attention_window=32, pad_token_id=0, **sizes)
    return LongformerModel(config)


@pytest.mark.parametrize("make", [t5, bart, longformer], ids=lambda make: make.__name__)
def test_every_depth_is_replayed(make, tmp_path, monkeypatch):
    """Position biases made by the first layer, a decoder that reads the encoder's end, texts padded to windows."""
    monkeypatch.setenv("TRANSFER_ADVISOR_FP32", "1")
    torch.manual_seed(0)
    backbone = load_backbone((make(), tiny.tokenizer()), device="cpu")
    initial = {key: tensor.clone() for key, tensor in backbone.model.state_dict().items()}
    cache = PrefixCache(tmp_path, backbone=backbone, encoded=backbone.encode(TEXTS))
    cache.compute([backbone.n_blocks - 1])
    again = PrefixCache(tmp_path, backbone=backbone, encoded=backbone.encode(TEXTS))
    assert again.has(backbone.n_blocks - 1)
    again.compute(range(1, backbone.n_blocks))
    for depth in range(1, backbone.n_blocks):
        backbone.model.load_state_dict(initial)
        model, prefix = classifier(backbone, depth)
        rows = Rows(
            encoded=cache.encoded,
            labels=np.array([0, 1, 0, 1, 0, 1]),
            cached=again.get(depth),
            task=Classes(names=("a", "b")),
        )
        assert check_replay(model, backbone=backbone, rows=rows, prefix=prefix) is None, depth


def test_a_decoder_without_the_encoders_end_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFER_ADVISOR_FP32", "1")
    torch.manual_seed(0)
    backbone = load_backbone((bart(), tiny.tokenizer()), device="cpu")
    cache = PrefixCache(tmp_path, backbone=backbone, encoded=backbone.encode(TEXTS))
    cache.compute([5])
    model, prefix = classifier(backbone, 5)
    alone = replace(cache.get(5), memory=None)
    rows = Rows(
        encoded=cache.encoded, labels=np.array([0, 1, 0, 1, 0, 1]), cached=alone, task=Classes(names=("a", "b"))
    )
    assert "differ" in check_replay(model, backbone=backbone, rows=rows, prefix=prefix)


def test_one_pass_serves_all_depths_and_gives_the_features(backbone, cache):
    features = cache.compute([1, 2, 3])
    np.testing.assert_allclose(features, backbone.block_features(cache.encoded), atol=1e-5)
    assert [cache.has(depth) for depth in (1, 2, 3, 4)] == [True, True, True, False]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_stored_states_are_the_hidden_states(backbone, cache, depth):
    cache.compute([depth])
    inputs = backbone.collate(cache.encoded, [1, 0])
    with torch.no_grad():
        states = backbone.model(**inputs, output_hidden_states=True).hidden_states
    width = padded_length(int(cache.encoded.lengths[1]), 64)
    stored = cache.get(depth).batch([1, 0], padded=width, device=torch.device("cpu"))
    expected = states[depth - 1] * inputs["attention_mask"].unsqueeze(-1)
    torch.testing.assert_close(stored, expected, rtol=1 / 128, atol=1e-3)  # bf16 keeps 8 bits


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_replay_equals_the_full_model_in_logits_and_gradients(backbone, cache, depth):
    cache.compute([depth])
    model, prefix = classifier(backbone, depth)
    rows = Rows(
        encoded=cache.encoded,
        labels=np.array([0, 1, 0, 1, 0, 1]),
        cached=cache.get(depth),
        task=Classes(names=("a", "b")),
    )
    assert check_replay(model, backbone=backbone, rows=rows, prefix=prefix) is None


def test_replay_leaves_the_model_as_it_was(backbone, cache):
    cache.compute([2])
    model, prefix = classifier(backbone, 2)
    model.eval()
    rows = Rows(encoded=cache.encoded, labels=np.zeros(6, int), task=Classes(names=("a", "b")))
    plain = forward(model, backbone=backbone, rows=rows, positions=np.arange(6), prefix=prefix)
    cached = Rows(encoded=cache.encoded, labels=np.zeros(6, int), cached=cache.get(2), task=Classes(names=("a", "b")))
    forward(model, backbone=backbone, rows=cached, positions=np.arange(6), prefix=prefix)
    again = forward(model, backbone=backbone, rows=rows, positions=np.arange(6), prefix=prefix)
    assert torch.equal(plain, again)


def test_wrong_states_are_noticed(backbone, cache):
    cache.compute([2])
    path = cache.get(2).path
    path.write_bytes(np.roll(np.fromfile(path, dtype=np.uint16), 999).tobytes())
    model, prefix = classifier(backbone, 2)
    rows = Rows(
        encoded=cache.encoded, labels=np.array([0, 1, 0, 1, 0, 1]), cached=cache.get(2), task=Classes(names=("a", "b"))
    )
    assert "differ by" in check_replay(model, backbone=backbone, rows=rows, prefix=prefix)


def test_a_model_that_cannot_replay_is_noticed(backbone, cache, monkeypatch):
    cache.compute([2])
    model, prefix = classifier(backbone, 2)

    def broken(*_args, **_kwargs):
        raise TypeError("unexpected argument")

    monkeypatch.setattr(tuner.training.train, "replay", broken)
    rows = Rows(encoded=cache.encoded, labels=np.zeros(6, int), cached=cache.get(2), task=Classes(names=("a", "b")))
    assert "does not run from the cache" in check_replay(model, backbone=backbone, rows=rows, prefix=prefix)


def reopened(cache):
    return PrefixCache(cache.folder, backbone=cache.backbone, encoded=cache.encoded)


@pytest.mark.parametrize("damage", ["half", "a bit", "no mark", "half a mark", "another type"])
def test_what_is_not_whole_is_computed_again(cache, damage):
    cache.compute([1])
    path = cache.get(1).path
    good, mark = path.read_bytes(), path.with_suffix(".json")
    assert reopened(cache).has(1)
    if damage == "half":
        path.write_bytes(good[: len(good) // 2])
    elif damage == "a bit":
        path.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    elif damage == "no mark":
        mark.unlink()
    elif damage == "another type":
        mark.write_text(mark.read_text().replace("float16", "bfloat16"))
    else:
        mark.write_text(mark.read_text()[:20])
    again = reopened(cache)
    assert not again.has(1)
    again.compute([1])
    assert again.get(1).path.read_bytes() == good
    assert reopened(cache).has(1)


def test_an_interrupted_pass_leaves_no_file_that_looks_whole(cache, monkeypatch):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(cache.backbone), "collate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.compute([1, 2])
    assert not list(cache.folder.glob("*.bits"))
    assert not list(cache.folder.glob("*.npz"))
    assert not list(cache.folder.glob("*.part"))


@pytest.mark.parametrize("damage", [b"", b"PK half of it", None])
def test_damaged_features_are_computed_again(cache, damage):
    first = cache.compute([1])
    (path,) = cache.folder.glob("*.npz")
    good = path.read_bytes()
    path.write_bytes(bytes([*good[:300], good[300] ^ 1, *good[301:]]) if damage is None else damage)
    np.testing.assert_array_equal(reopened(cache).compute([1]), first)
    assert path.read_bytes() == good


def test_other_texts_and_other_weights_have_other_files(backbone, cache, tmp_path):
    other_texts = PrefixCache(tmp_path / "cache", backbone=backbone, encoded=backbone.encode(TEXTS[:-1]))
    other_model = load_backbone((tiny.bert(seed=1), tiny.tokenizer()), device="cpu")
    other_weights = PrefixCache(tmp_path / "cache", backbone=other_model, encoded=cache.encoded)
    same_weights = tiny.bert()
    same_weights.config.hidden_act = "relu"
    other_config = load_backbone((same_weights, tiny.tokenizer()), device="cpu")
    assert other_config.fingerprint == backbone.fingerprint
    computed_otherwise = PrefixCache(tmp_path / "cache", backbone=other_config, encoded=cache.encoded)
    assert len({cache.key, other_texts.key, other_weights.key, computed_otherwise.key}) == 4


def test_a_complete_cache_is_not_computed_again(cache, monkeypatch):
    first = cache.compute([1, 2])
    monkeypatch.setattr(type(cache.backbone), "batches", lambda *_a, **_k: pytest.fail("a forward pass was made"))
    np.testing.assert_array_equal(cache.compute([2]), first)


def test_states_beyond_float16_are_kept_as_bf16(backbone, tmp_path, monkeypatch):
    """Rounding of 16 bits is an eighth as large in float16, whose range ends at 65,504."""
    monkeypatch.setenv("TRANSFER_ADVISOR_FP32", "1")
    backbone = load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")
    cache = PrefixCache(tmp_path, backbone=backbone, encoded=backbone.encode(TEXTS))
    backbone.blocks[1].unit.register_forward_hook(lambda _module, _args, output: 1e6 * output)
    features = cache.compute([1, 2])
    assert (cache.get(1).dtype, cache.get(2).dtype) == (torch.float16, torch.bfloat16)
    assert not list(tmp_path.glob("*.part"))
    state = cache.get(2).batch([0], padded=int(cache.encoded.lengths[0]), device=torch.device("cpu"))
    np.testing.assert_allclose(state[0].mean(0), features[1][0], rtol=0.02, atol=1e4)


def test_rows_that_are_cut_elsewhere_are_other_data():
    def of(*rows):
        ids = tuple(np.array(row, dtype=np.int32) for row in rows)
        return Tokens(input_ids=ids, truncated=np.zeros(len(rows), dtype=bool))

    assert of([1, 2], [3]).digest() != of([1], [2, 3]).digest()


def test_layers_that_are_called_by_name_are_computed_anew_and_said(tmp_path):
    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(16, 16)
            self.norm = torch.nn.LayerNorm(16)

        def forward(self, x):
            return x + self.norm(self.linear(x))

    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embeddings = torch.nn.Embedding(60, 16)
            self.layers = torch.nn.ModuleList([Layer() for _ in range(3)])

        def forward(self, input_ids, attention_mask=None):
            states = self.layers[0](self.embeddings(input_ids))
            for layer in self.layers[1:]:
                states = layer(x=states)
            return states

    backbone = load_backbone((Own(), tiny.tokenizer()), device="cpu")
    encoded = backbone.encode(["good film", "bad plot"] * 8)
    cache = PrefixCache(tmp_path, backbone=backbone, encoded=encoded)
    cache.compute([3])
    model = build_classifier(
        backbone.model, backbone=backbone, task=Classes(names=("a", "b")), features="last", frozen_blocks=3
    )
    prefix = freeze(model, backbone.blocks, frozen_blocks=3)
    rows = Rows(encoded=encoded, labels=np.arange(16) % 2, cached=cache.get(3), task=Classes(names=("a", "b")))
    assert "KeyError" in check_replay(model, backbone=backbone, rows=rows, prefix=prefix)
