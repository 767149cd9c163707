"""The image model that the package carries: small, pinned, offline, as good as its card says, and of use on digits."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import torch

from advisor.data.examples import load_example
from advisor.kinds.images import Images
from advisor.similarity.image_profile import ImageProfile
from advisor.similarity.library import find_profile
from advisor.tuning import tuning_data
from helpers.loading import load_target
from tuner.errors import ModelError
from tuner.model import loading
from tuner.model.assemble import load_backbone
from tuner.model.backbone import Backbone
from tuner.model.loading import DEFAULT_IMAGE_MODEL, load_model, model_folder
from tuner.search.bench import open_bench
from tuner.search.run_name import RunName
from tuner.search.space import Candidate, candidate_at, default_space

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tuner" / "model" / "shipped" / "cifar-resnet"
RECORD = json.loads((ROOT / "benchmarks" / "results" / "cifar-resnet.json").read_text())


@pytest.fixture(scope="module")
def small() -> Backbone:
    return load_backbone("cifar-resnet", device="cpu")


def test_it_is_small_and_pinned() -> None:
    weights = FOLDER / "model.safetensors"
    assert weights.stat().st_size <= 1_500_000
    assert weights.stat().st_size == RECORD["bytes"]
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert found == loading.IMAGE_MODEL_SHA256
    assert found == RECORD["sha256"]  # what the script wrote is what is shipped
    processor = (FOLDER / "preprocessor_config.json").read_bytes()
    assert hashlib.sha256(processor).hexdigest() == loading.IMAGE_PROCESSOR_SHA256


def test_every_file_of_it_is_packaged() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["tuner"]
    files = sorted(path.relative_to(ROOT / "tuner").as_posix() for path in FOLDER.rglob("*") if path.is_file())
    assert [file.rpartition("/")[2] for file in files] == [
        "README.md", "config.json", "model.safetensors", "preprocessor_config.json",
    ]  # fmt: skip
    assert [file for file in files if not any(fnmatch(file, pattern) for pattern in patterns)] == []


def test_the_card_states_what_the_script_recorded() -> None:
    card = (FOLDER / "README.md").read_text()
    low, high = RECORD["interval"]
    assert f"{RECORD['test_accuracy']:.3f}, 95 % interval {low:.3f} to {high:.3f}" in card
    assert f"on {RECORD['n_test']:,} other CIFAR-10 images" in card
    assert f"{RECORD['n_train']:,} images of CIFAR-10" in card
    assert f"{RECORD['parameters']:,} weights" in card
    assert low < RECORD["test_accuracy"] < high
    stated = (ROOT / "benchmarks" / "README.md").read_text()
    assert f"{RECORD['test_accuracy']:.3f} [{low:.3f}, {high:.3f}]" in stated


def test_its_name_loads_it_in_full_precision_and_with_every_block(small: Backbone) -> None:
    assert DEFAULT_IMAGE_MODEL == "cifar-resnet"
    assert small.id == "cifar-resnet"
    assert small.sha256 == loading.IMAGE_MODEL_SHA256
    assert model_folder("cifar-resnet") == FOLDER
    assert {tensor.dtype for tensor in small.model.parameters()} == {torch.float32}
    units = [f"encoder.stages.{stage}.layers.{layer}" for stage in range(3) for layer in range(2)]
    assert [block.name for block in small.blocks] == ["embedder", *units]
    outside = sum(parameter.numel() for parameter in small.model.parameters()) - small.parameters
    assert outside == 0
    model, sha256, _ = load_model("cifar-resnet")
    assert sha256 == small.sha256
    assert type(model).__name__ == "ResNetModel"


def test_stored_numbers_come_back_as_they_are(small: Backbone) -> None:
    from safetensors.torch import load_file

    stored = load_file(FOLDER / "model.safetensors")
    assert {tensor.dtype for name, tensor in stored.items() if "num_batches" not in name} == {torch.float16}
    loaded = small.model.state_dict()
    assert len(loaded) == len(stored) - 2  # all but the classifier's weight and bias
    for name, tensor in loaded.items():
        assert torch.equal(tensor.float(), stored[f"resnet.{name}"].float()), name


def test_changed_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(FOLDER, tmp_path / "cifar-resnet")
    monkeypatch.setattr(loading, "MODELS", tmp_path)
    assert load_backbone("cifar-resnet", device="cpu").path == tmp_path / "cifar-resnet"
    for file in ("model.safetensors", "preprocessor_config.json"):
        path = tmp_path / "cifar-resnet" / file
        original = path.read_bytes()
        path.write_bytes(original[:-2] + b" }" if file.endswith("json") else original[:-1] + b"\x01")
        for load in (load_backbone, load_model):
            with pytest.raises(ModelError, match="the installed cifar-resnet is not the published one") as caught:
                load("cifar-resnet")
            assert caught.value.fix == "reinstall it: pip install --force-reinstall transfer-advisor"
        path.write_bytes(original)
    shutil.rmtree(tmp_path / "cifar-resnet")
    with pytest.raises(ModelError, match="is not the published one"):
        load_backbone("cifar-resnet")


def test_a_head_on_its_frozen_features_reads_digits(small: Backbone) -> None:
    """300 digits, two thirds to learn from. Chance is 0.10."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    frame = load_example("digits")
    chosen = np.random.default_rng(0).permutation(len(frame))[:300]
    images, labels = [frame["image"][row] for row in chosen], frame["label"].to_numpy()[chosen]
    features = small.block_features(small.encode(images))
    assert [block.shape for block in features] == [(300, width) for width in small.widths]
    last = StandardScaler().fit(features[-1][:200]).transform(features[-1])
    head = LogisticRegression(max_iter=1000).fit(last[:200], labels[:200])
    assert head.score(last[200:], labels[200:]) >= 0.6  # 0.84 was measured


@pytest.mark.slow
def test_the_stated_accuracy_is_found_again(shared_data: Path) -> None:
    """Half precision and the order of sums move a few of 3,000 predictions at most."""
    path = ROOT / "benchmarks" / "train_cifar_resnet.py"
    spec = importlib.util.spec_from_file_location("train_cifar_resnet", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with np.load(shared_data / "source" / "cifar10_images" / "data.npz") as stored:
        images, labels = stored["X_test"], stored["y_test"]
    accuracy = float(np.mean(script.predict(FOLDER, images) == labels))
    assert accuracy == pytest.approx(RECORD["test_accuracy"], abs=0.002)


def test_its_true_source_profile_is_shipped() -> None:
    backbone = load_backbone("cifar-resnet", device="cpu")
    profile = find_profile(None, backbone=backbone)
    assert isinstance(profile, ImageProfile)
    assert profile.name == "cifar10"
    assert (profile.native, [band.resolution for band in profile.bands]) == (32, [8, 16, 28, 32])


def test_training_at_a_rate_of_zero_changes_no_prediction(small: Backbone, tmp_path: Path) -> None:
    """Batch norms that followed small batches of digits undid what the head was fitted on (0.94 became 0.23)."""
    data = tuning_data(load_target("example:digits"), kind=Images(), seed=0)
    bench = open_bench(small, data=data, space=default_space(7), work=tmp_path, metric="accuracy", seed=0)
    head_only = bench.run_head(RunName(trial=0), candidate_at(7, 7), seed=0)
    recipe = {"learning_rate": 0.0, "head_ratio": 1.0, "steps": 20.0}
    still = bench.run_trained(RunName(trial=1), candidate_at(5, 7), recipe=recipe, seed=0)
    assert still is not None
    assert (still.predictions == head_only.predictions).mean() > 0.99  # but for roundings to 16 bits


def test_a_fresh_last_block_learns_its_statistics_and_the_others_keep_theirs(small: Backbone, tmp_path: Path) -> None:
    data = tuning_data(load_target("example:digits"), kind=Images(), seed=0)
    bench = open_bench(small, data=data, space=default_space(7), work=tmp_path, metric="accuracy", seed=0)
    candidate = Candidate(**candidate_at(4, 7).to_json() | {"option": "fresh_top"})
    pretrained = {name: buffer.clone() for name, buffer in small.model.named_buffers()}
    recipe = {"learning_rate": 1e-3, "head_ratio": 1.0, "steps": 20.0}
    norms = [module for part in small.blocks[6].modules for module in part.modules() if hasattr(module, "running_mean")]
    assert norms
    with bench.trainer.built(candidate, seed=0) as built:
        model = built.model
        assert not any(norm.running_mean.any() for norm in norms)
    assert bench.run_trained(RunName(trial=0), candidate, recipe=recipe, seed=0) is not None
    with bench.loaded(bench.runs[RunName(trial=0)]) as loaded:
        moved = {name for name, buffer in small.model.named_buffers() if not torch.equal(buffer, pretrained[name])}
        inside = {id(buffer) for norm in norms for buffer in norm.buffers()}
        assert loaded is not model
        assert all(norm.running_mean.all() for norm in norms)  # and learnt, where they began at nothing
    assert moved == {name for name, buffer in small.model.named_buffers() if id(buffer) in inside}


def test_from_scratch_the_statistics_are_learnt(small: Backbone, tmp_path: Path) -> None:
    data = tuning_data(load_target("example:digits"), kind=Images(), seed=0)
    bench = open_bench(small, data=data, space=default_space(7), work=tmp_path, metric="accuracy", seed=0)
    scratch = Candidate(strategy="train_all", start="scratch", frozen_blocks=0)
    with bench.trainer.built(scratch, seed=0) as built:
        model = built.model
        assert built.prefix.statistics is None
        model.train()
        norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        assert norms
        assert all(norm.training for norm in norms)
