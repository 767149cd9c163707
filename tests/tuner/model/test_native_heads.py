"""The architecture's own head is compared with ours, and what is saved with it loads without this project."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

from helpers import image_models, searches, tiny
from helpers.text_models import (
    TEXT_MODELS,
    bench_of,
    bert,
    gpt2,
    text_backbone,
)
from tuner.export import TransferModel, measure_support
from tuner.freezing import freeze
from tuner.model.assemble import load_backbone
from tuner.model.classifier import build_classifier, classify
from tuner.model.native import as_native, native_classifier
from tuner.search.bench import Bench, open_bench
from tuner.search.data import LabelledRows, TuningData
from tuner.search.run_name import RunName
from tuner.search.space import Candidate, candidate_at
from tuner.tasks.classes import Classes
from tuner.training.train import Rows, check_replay

TEXTS = searches.DATA.test.rows


@pytest.fixture(scope="module", params=list(TEXT_MODELS))
def backbone(request):
    return text_backbone(TEXT_MODELS[request.param])


def test_the_head_is_transformers_own_on_the_same_base(backbone):
    model = native_classifier(backbone, task=Classes(names=("neg", "pos")), seed=3)
    assert model.base_model is backbone.model
    assert type(model).__name__ == f"{type(backbone.model).__name__.removesuffix('Model')}ForSequenceClassification"
    other = native_classifier(backbone, task=Classes(names=("neg", "pos")), seed=3)
    states, again = model.state_dict(), other.state_dict()
    assert all(torch.equal(states[name], again[name]) for name in states)


def test_it_trains_from_the_cache_and_no_block_holds_any_of_the_head(backbone, tmp_path):
    bench = bench_of(backbone, tmp_path)
    native = replace(candidate_at(2, 4), head="native")
    with bench.trainer.built(native, seed=0) as built:
        model, rows = built.model, built.train_rows
        assert rows.cached is not None
        assert check_replay(model, backbone=backbone, rows=rows, prefix=built.prefix) is None
        for name, parameter in model.named_parameters():
            if "classifier" in name or "pooler" in name:
                assert parameter.requires_grad, name
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
    recipe = {"learning_rate": 1e-3, "head_ratio": 2.0, "steps": 12.0}
    run = bench.run_trained(RunName(trial=0), native, recipe=recipe, seed=0)
    with bench.loaded(run) as loaded:
        moved = {name for name, p in loaded.named_parameters() if not torch.equal(p, before[name])}
        assert any("classifier" in name for name in moved)
        logits, _ = classify(loaded, backbone=backbone, encoded=bench.rows.validation)
        np.testing.assert_array_equal(logits.argmax(1), run.predictions)
        frozen = {id(p) for block in backbone.blocks[:2] for p in block.parameters()}
        assert not any(id(p) in frozen for name, p in loaded.named_parameters() if name in moved)


def test_it_is_saved_as_the_architectures_own_class(backbone, tmp_path):
    model = native_classifier(backbone, task=Classes(names=("neg", "pos")), seed=0)
    logits, features = classify(model, backbone=backbone, encoded=backbone.encode(TEXTS))
    reader = tiny.tokenizer()
    reader.model_max_length = backbone.max_length
    saved = TransferModel(classifier=model, reader=reader, support=measure_support(features), card="# card")
    saved.save_pretrained(tmp_path)
    again = TransferModel.from_pretrained(tmp_path, device="cpu")
    again._backbone = replace(backbone, model=again.classifier.base_model)
    np.testing.assert_allclose(again.run(TEXTS)[0], logits, atol=1e-5)
    loaded, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert type(loaded) is type(model)
    inputs = tiny.tokenizer()(list(TEXTS), padding=True, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        np.testing.assert_allclose(loaded.eval()(**inputs).logits, logits, atol=1e-4)


def test_a_head_that_reads_every_token_is_none():
    assert native_classifier(text_backbone(gpt2), task=Classes(names=("a", "b")), seed=0) == (
        "its head reads every token, not the text"
    )


def test_of_several_heads_the_first_is_taken():
    from helpers import architectures

    model = architectures.tiny_model("deit", "DeiTForImageClassification")
    backbone = load_backbone((model, image_models.processor()), device="cpu")
    assert (
        type(native_classifier(backbone, task=Classes(names=("a", "b")), seed=0)).__name__
        == "DeiTForImageClassification"
    )


def test_a_base_without_a_part_that_the_head_needs_is_none():
    assert "does not run" in native_classifier(text_backbone(tiny.bert), task=Classes(names=("a", "b")), seed=0)


def search_of(make, folder, **options):
    backbone = text_backbone(make)
    return searches.run_search(backbone, folder, **options)


def test_the_search_measures_both_heads_at_the_same_depth(tmp_path):
    result = search_of(bert, tmp_path, n_trials=4)
    native = [entry for entry in result.candidates if entry["head"] == "native"]
    assert len(native) == 1
    trained = [c for c in result.candidates if c["strategy"] in ("train_all", "freeze_part") and c["head"] == "own"]
    (same,) = [entry for entry in trained if entry["frozen_blocks"] == native[0]["frozen_blocks"]]
    assert same["recipe"] == native[0]["recipe"]
    assert len({entry["frozen_blocks"] for entry in result.by_depth}) == len(result.by_depth)
    assert sum(result.trials.values()) == 4


def test_a_native_winner_runs_in_a_pipeline_without_this_project(tmp_path, monkeypatch):
    import tuner.search.ship as shipping

    original = shipping.choose_winner

    def native_first(scored):
        compared = original(scored)[1]
        native = [entry.run for entry in compared if entry.run.candidate.head == "native"]
        return (native[0] if native else compared[0].run), compared

    monkeypatch.setattr(shipping, "choose_winner", native_first)
    result = search_of(bert, tmp_path, n_trials=2)
    assert result.winner["candidate"]["head"] == "native"
    assert "import tuner" not in (tmp_path / "model" / "README.md").read_text()
    code = (
        "import sys, json\n"
        "from transformers import pipeline\n"
        "found = pipeline('text-classification', sys.argv[1])(json.loads(sys.argv[2]))\n"
        "assert 'tuner' not in sys.modules and 'advisor' not in sys.modules\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model"), json.dumps(list(TEXTS))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    model = result.model
    chosen = [model.class_names.index(entry["label"]) for entry in found]
    probabilities = model.predict_proba(TEXTS)[np.arange(len(TEXTS)), chosen]
    # Ours may compute in 16 bits, the pipeline does not.
    np.testing.assert_allclose([entry["score"] for entry in found], probabilities, atol=0.05)


def test_a_search_says_why_there_is_no_native_head(tmp_path):
    result = search_of(gpt2, tmp_path, n_trials=2)
    (entry,) = [entry for entry in result.unscored if entry["head"] == "native"]
    assert entry["why"] == "its head reads every token, not the text"


def test_a_resumed_search_repeats_no_native_head(tmp_path, monkeypatch):
    import tuner.search.search as searching

    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(searching, "finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            search_of(bert, tmp_path, n_trials=2)
    began = []
    original = Bench.run_trained

    def counted(self, name, *args, **options):
        began.append(name)
        return original(self, name, *args, **options)

    monkeypatch.setattr(Bench, "run_trained", counted)
    search_of(bert, tmp_path, n_trials=2, resume=True)
    assert not [name for name in began if "native" in name.variants]


@pytest.mark.parametrize("name", ["resnet", "mobilenet"])
def test_what_pools_as_the_architecture_does_is_saved_as_the_architecture(name, tmp_path):
    torch.manual_seed(0)
    processor = image_models.processor()
    backbone = load_backbone((image_models.MODELS[name](), processor), device="cpu")
    ours = build_classifier(
        backbone.model, backbone=backbone, task=Classes(names=("a", "b")), features="last", frozen_blocks=2
    ).eval()
    freeze(ours, backbone.blocks, frozen_blocks=2)
    same = as_native(ours, backbone=backbone)
    images = image_models.IMAGES
    logits, features = classify(ours, backbone=backbone, encoded=backbone.encode(images))
    TransferModel(
        classifier=same, reader=processor, support=measure_support(features), card="# card"
    ).save_pretrained(tmp_path)  # fmt: skip
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    assert type(loaded).__name__.endswith("ForImageClassification")
    np.testing.assert_allclose(TransferModel.from_pretrained(tmp_path, device="cpu").run(images)[0], logits, atol=1e-5)


def test_another_pooling_is_not_taken_for_the_same(tmp_path):
    backbone = text_backbone(bert)
    ours = build_classifier(
        backbone.model, backbone=backbone, task=Classes(names=("neg", "pos")), features="last", frozen_blocks=2
    )
    assert as_native(ours, backbone=backbone) is None


SCRATCH = Candidate(strategy="train_all", start="scratch", frozen_blocks=0)


def test_statistics_that_moved_come_back_with_the_weights(tmp_path):
    """From scratch batch norms learn their statistics, which belong to what was trained."""
    torch.manual_seed(0)
    backbone = load_backbone((image_models.resnet(), image_models.processor()), device="cpu")
    images, labels = image_models.IMAGES, image_models.LABELS
    part = LabelledRows(rows=images, labels=labels)
    data = TuningData(
        name="images", train=part, validation=part, test=part, task=Classes(names=("a", "b")), fingerprint="x"
    )
    space = searches.default_space(backbone.n_blocks)
    bench = open_bench(backbone, data=data, space=space, work=tmp_path, metric="accuracy", seed=0)
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    recipe = {"learning_rate": 1e-3, "head_ratio": 2.0, "steps": 6.0}
    run = bench.run_trained(RunName(trial=0), SCRATCH, recipe=recipe, seed=0)
    stored = Rows(encoded=bench.rows.validation, labels=labels, task=Classes(names=("a", "b")))
    with bench.loaded(run) as loaded:
        now = {name: tensor for name, tensor in loaded.named_buffers() if "running_mean" in name}
        assert any(not torch.equal(tensor, before[name.removeprefix("base.")]) for name, tensor in now.items())
        logits, _ = classify(loaded, backbone=backbone, encoded=stored.encoded)
    np.testing.assert_array_equal(logits.argmax(1), run.predictions)


def test_a_head_that_averages_over_padding_is_not_ours():
    from transformers import XLMConfig, XLMModel

    torch.manual_seed(0)
    base = XLMModel(
        XLMConfig(
            vocab_size=60, emb_dim=32, n_layers=2, n_heads=2, max_position_embeddings=64, summary_type="mean",
            summary_first_dropout=0.0, pad_index=0, pad_token_id=0, use_lang_emb=False, n_langs=1,
        )
    )  # fmt: skip
    backbone = replace(load_backbone((base, tiny.tokenizer()), device="cpu"), pooling="mean")
    ours = build_classifier(
        backbone.model, backbone=backbone, task=Classes(names=("a", "b")), features="last", frozen_blocks=0
    ).eval()
    native = native_classifier(backbone, task=Classes(names=("a", "b")), seed=0)
    assert not isinstance(native, str)
    assert as_native(ours, backbone=backbone) is None
