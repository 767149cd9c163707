"""Pairs of texts: how a model is fed them, and the main job from two columns to predictions."""

import json

import numpy as np
import pytest
import torch

from advisor.cli import run
from advisor.predicting import predict
from helpers import tiny
from helpers.commands import failed, printed
from tuner.errors import DataError
from tuner.export import TransferModel
from tuner.inputs.pairs import paired
from tuner.inputs.token_views import token_views
from tuner.model.assemble import load_backbone
from tuner.training.prefix import PrefixCache

PAIRS = [("the film was good", "a cat runs"), ("the plot", "a red dog sleeps and runs"), ("not bad", "very bad")]


@pytest.fixture(scope="module")
def backbone():
    return load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")


@pytest.fixture(scope="module")
def encoded(backbone):
    return backbone.encode([paired(*pair) for pair in PAIRS])


def test_a_pair_is_tokenized_as_its_tokenizer_does(backbone, encoded):
    for row, (first, second) in enumerate(PAIRS):
        expected = backbone.tokenizer(first, second)
        assert encoded.input_ids[row].tolist() == expected["input_ids"]
        assert encoded.types[row].tolist() == expected["token_type_ids"]
    batch = backbone.collate(encoded, np.array([2, 0]))
    assert batch["token_type_ids"][0].tolist()[:8] == [0, 0, 0, 0, 1, 1, 1, 0]
    assert batch["token_type_ids"].shape == batch["input_ids"].shape


def test_what_a_model_sees_depends_on_the_types(backbone, encoded):
    alone = backbone.encode([f"{first} [SEP] {second}" for first, second in PAIRS])
    assert alone.types is None
    assert [row.tolist() for row in alone.input_ids] == [row.tolist() for row in encoded.input_ids]
    assert alone.digest() != encoded.digest()
    assert not np.allclose(backbone.block_features(alone)[0], backbone.block_features(encoded)[0], atol=1e-3)


def test_types_follow_their_tokens(backbone, encoded):
    taken = encoded.take([1])
    assert taken.types[0].tolist() == encoded.types[1].tolist()
    ordinary = list(backbone.tokenizer.all_special_ids)
    views = token_views(encoded, policy="token_dropout", copies=4, seed=0, special=ordinary)
    assert any(len(row) < len(encoded.input_ids[1]) for row in views.input_ids[1::3])
    for ids, types in zip(views.input_ids, views.types, strict=True):
        end_of_first = int(np.flatnonzero(ids == backbone.tokenizer.sep_token_id)[0])
        assert types.tolist() == [0] * (end_of_first + 1) + [1] * (len(ids) - end_of_first - 1)


def test_the_cache_of_the_frozen_blocks_knows_them(backbone, encoded, tmp_path):
    cache = PrefixCache(tmp_path, backbone=backbone, encoded=encoded)
    for ours, full in zip(cache.compute([1, 2]), backbone.block_features(encoded), strict=True):
        np.testing.assert_allclose(ours, full, atol=1e-5)
    alone = backbone.encode([f"{first} [SEP] {second}" for first, second in PAIRS])
    assert cache.key != PrefixCache(tmp_path, backbone=backbone, encoded=alone).key


def test_a_base_without_types_is_fed_without_them():
    from transformers import DistilBertConfig, DistilBertModel

    config = DistilBertConfig(vocab_size=len(tiny.WORDS) + 4, dim=32, n_layers=2, n_heads=2, hidden_dim=64)
    backbone = load_backbone((DistilBertModel(config), tiny.tokenizer()), device="cpu")
    batch = backbone.collate(backbone.encode([paired(*PAIRS[0])]), np.array([0]))
    assert set(batch) == {"input_ids", "attention_mask"}


def test_from_two_columns_to_predictions(tmp_path, capsys):
    rng = np.random.default_rng(0)
    rows = []
    for number in range(120):
        first, second = (" ".join(rng.choice(tiny.WORDS, size=5)) for _ in range(2))
        rows.append({"premise": first, "claim": f"{second} {number}", "label": ("no", "yes")["good" in second.split()]})
        if number % 2:
            rows[-1] |= {"claim": f"good {rows[-1]['claim']}", "label": "yes"}
    data, model, out = tmp_path / "pairs.jsonl", tiny.save_model(tmp_path / "tiny"), tmp_path / "run"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = ["--text", "premise", "--text-pair", "claim"]
    options = ["--model", str(model), "--trials", "2", "--out", str(out), "--quiet"]
    assert run(["tune", str(data), *columns, *options]) == 0
    assert "--text-pair claim" in json.loads((out / "advice.json").read_text())["next_command"]
    capsys.readouterr()
    assert run(["predict", str(out), str(data), "--json", "--quiet"]) == 0  # the columns are those it was tuned with
    told = json.loads(capsys.readouterr().out)["predictions"]
    tuned = TransferModel.from_pretrained(out / "model", device="cpu")
    pairs = [(row["premise"], row["claim"]) for row in rows]
    ours = tuned.predict_proba(pairs)
    np.testing.assert_allclose([row["probabilities"]["yes"] for row in told], ours[:, 1], atol=1e-5)
    assert not np.allclose(ours, tuned.predict_proba([(second, first) for first, second in pairs]), atol=0.05)
    encoded = tuned.reader(*map(list, zip(*pairs[:5], strict=True)), padding=True, return_tensors="pt")
    with torch.inference_mode():
        plain = tuned.classifier(**encoded).logits.softmax(-1).numpy()
    np.testing.assert_allclose(plain, ours[:5], atol=0.02)  # ours ran in half precision
    gaps = [{**row} for row in rows[:4]]
    gaps[1]["claim"], gaps[2]["premise"] = None, " "
    (tmp_path / "gaps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in gaps))
    told = json.loads(printed(capsys, "predict", out, tmp_path / "gaps.jsonl", "--json"))
    assert told["n"] == 4
    assert told["warnings"] == ["2 of 4 pairs lack a text: they are labelled all the same, and their labels say little"]
    assert predict(out, [("the film", None), ("the plot", "a cat")]).warnings == (
        "1 of 2 pairs lacks a text: it is labelled all the same, and its label says little",
    )
    (tmp_path / "lines.txt").write_text("the film was good\n")
    message = failed(capsys, "predict", out, tmp_path / "lines.txt")
    assert "holds a text a line, and a pair needs two columns" in message
    assert "a column 'claim'" in message
    (tmp_path / "table.txt").write_text("premise\tclaim\nthe film\twas good\nthe plot\twas bad\n")
    assert len(predict(out, tmp_path / "table.txt").labels) == 2
    for given in (["one text"], "one text", [pairs[0], "one text"]):
        with pytest.raises(
            DataError, match=f"row {len(given) if given[0] == pairs[0] else 1} is one text, but"
        ) as told:
            tuned.predict(given)
        assert told.value.why == "it was tuned on two texts a row"
    with pytest.raises(DataError, match="row 1 is one text, but this model reads pairs"):
        predict(out, ["one text"])
    for given in (("a", "b", "c"), ("a",), ("a", 3), 7):
        with pytest.raises(DataError, match="row 2 is neither a text nor a pair of texts: "):
            tuned.predict([pairs[0], given])
