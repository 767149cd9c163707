import errno
import json
import subprocess
import sys

import numpy as np
import pytest

from helpers import searches, tiny
from tuner import export
from tuner.errors import MissingFileError, ModelError
from tuner.export import TransferModel, measure_support
from tuner.model.assemble import load_backbone

TEXTS = ["good lovely film", "awful sad film", "the cat sleeps"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    backbone = load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")
    searches.run_search(backbone, path, n_trials=3)
    return path / "model"


def test_a_round_trip_gives_the_same_logits(folder, tmp_path):
    model = TransferModel.from_pretrained(folder, device="cpu")
    model.save_pretrained(tmp_path / "again")
    again = TransferModel.from_pretrained(tmp_path / "again", device="cpu")
    np.testing.assert_allclose(model.run(TEXTS)[0], again.run(TEXTS)[0], atol=1e-5)
    assert again.class_names == ("neg", "pos")
    assert again.support.radius == pytest.approx(model.support.radius)


def test_pipelines_cut_texts_where_training_did(folder):
    assert TransferModel.from_pretrained(folder, device="cpu").reader.model_max_length == 64


def test_files_are_as_readable_as_others(folder):
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


def test_probabilities_and_labels_agree(folder):
    model = TransferModel.from_pretrained(folder, device="cpu")
    probabilities = model.predict_proba(TEXTS)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert model.predict(TEXTS) == [model.class_names[i] for i in probabilities.argmax(1)]


def test_the_auto_classes_and_pipelines_load_it_in_a_new_process(folder):
    """Registered by importing tuner.export, with real label names, without remote code."""
    code = (
        "import sys, json, tuner.export\n"
        "from transformers import pipeline\n"
        "print(json.dumps(pipeline('text-classification', sys.argv[1])(['good film'])))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1])[0]["label"] in ("neg", "pos")


def test_the_card_has_complete_metadata(folder):
    import yaml

    card = (folder / "README.md").read_text()
    metadata = yaml.safe_load(card.split("---")[1])
    assert metadata["pipeline_tag"] == "text-classification"
    assert metadata["model-index"][0]["results"][0]["metrics"][0]["value"] is not None
    assert "95 % interval" in card


def test_the_support_tells_near_from_far():
    generator = np.random.default_rng(0)
    centre = np.array([1.0, 0.0, 0.0])
    support = measure_support(centre + 0.05 * generator.normal(size=(200, 3)))
    near = centre + 0.05 * generator.normal(size=(500, 3))
    assert support.unlike(near).mean() == pytest.approx(0.05, abs=0.04)
    assert support.unlike(-near).all()


def test_a_handful_of_rows_has_no_outside():
    assert not measure_support(np.eye(3)).unlike(-np.eye(3)).any()


def test_an_empty_folder_is_said(tmp_path):
    with pytest.raises(MissingFileError, match="holds no saved model"):
        TransferModel.from_pretrained(tmp_path)


def test_a_foreign_model_is_said(tmp_path):
    with pytest.raises(ModelError, match="not one saved by advisor tune"):
        TransferModel.from_pretrained(tiny.save_model(tmp_path))


@pytest.mark.parametrize("name", ["model.safetensors", "support.safetensors", "config.json"])
def test_a_damaged_folder_is_said(folder, tmp_path, name):
    import shutil

    copy = shutil.copytree(folder, tmp_path / "model")
    (copy / name).write_bytes(b"{")
    with pytest.raises(ModelError, match=f"{name} is damaged: it differs from its checksum"):
        TransferModel.from_pretrained(copy)
    (copy / "checksums.json").unlink()  # as in the folders of earlier versions
    with pytest.raises(ModelError, match="cannot be loaded"):
        TransferModel.from_pretrained(copy)


def test_support_is_measured_in_parts(monkeypatch):
    generator = np.random.default_rng(0)
    support = export.measure_support(generator.normal(1, 0.2, size=(50, 4)))
    rows = generator.normal(np.repeat([[1.0], [-1.0]], 10, axis=0), 0.1, size=(20, 4))
    whole = support.unlike(rows)
    monkeypatch.setattr(export, "ROWS_AT_ONCE", 3)
    assert support.unlike(rows).tolist() == whole.tolist()
    assert len(set(whole.tolist())) == 2


def test_a_disk_that_is_full_as_the_tokenizer_is_saved_is_the_systems_answer(folder, tmp_path, monkeypatch):
    """tokenizers raises it as an exception of no kind."""
    model = TransferModel.from_pretrained(folder, device="cpu")

    def full(*_args, **_options):
        raise Exception("No space left on device (os error 28)")

    monkeypatch.setattr(model.reader, "save_pretrained", full)
    with pytest.raises(OSError, match="No space left") as error:
        model.save_pretrained(tmp_path / "again")
    assert error.value.errno == errno.ENOSPC
