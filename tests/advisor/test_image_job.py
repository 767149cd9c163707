"""The main job on images: recommend, tune, predict and their errors, on a tiny network and pictures made here."""

import json

import numpy as np
import pytest
from PIL import Image

from advisor import recommend, tune
from advisor.measures.baselines import small_pixels
from advisor.predicting import predict
from helpers import image_models
from helpers.commands import failed, printed

SIDE = 24


def picture(label, seed):
    """Reddish stripes that lie or bluish ones that stand, of random shades and widths, under noise."""
    generator = np.random.default_rng(seed)
    colours = generator.integers(40, 140, size=(2, 3))
    colours[:, 0 if label == "lying" else 2] += 100
    stripes = (np.arange(SIDE) // generator.integers(2, 5)) % 2
    lines = colours[stripes]
    image = np.repeat(lines[:, None] if label == "lying" else lines[None], SIDE, axis=1 if label == "lying" else 0)
    return np.clip(image + generator.normal(0, 12, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return image_models.saved_resnet(tmp_path_factory.mktemp("resnet"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of pictures by class, two of which are damaged."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(120):
        label = ("lying", "standing")[number % 2]
        (folder / label).mkdir(exist_ok=True)
        Image.fromarray(picture(label, number)).save(folder / label / f"p {number}.png")
    for number in (4, 7):
        path = folder / ("lying", "standing")[number % 2] / f"p {number}.png"
        path.write_bytes(path.read_bytes()[:200])
    return folder


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, model, data):
    out = tmp_path_factory.mktemp("runs") / "run"
    tune(data, model=model, trials=3, strategy="freeze_part", out=out)
    return out


def test_recommend_measures_pictures(capsys, tmp_path, model, data):
    out = tmp_path / "run"
    text = printed(capsys, "recommend", data, "--model", model, "--out", out, "--quiet")
    advice = json.loads((out / "advice.json").read_text())
    assert (advice["data"]["kind"], advice["data"]["task"]) == ("image", "image_classification")
    assert advice["data"]["class_counts"] == {"lying": 60, "standing": 60}
    assert advice["similarity"]["verdict"] == "unmeasured"
    assert advice["model"]["max_length"] is None
    assert 0 <= advice["baselines"]["pixel_linear"]["score"] <= 1
    assert "tfidf_linear" not in advice["baselines"]
    assert "pixels + logistic regression" in text
    assert "TF-IDF" not in text + (out / "report.md").read_text()
    assert "text" not in advice["similarity"]["why"]
    assert "--source IMAGES" in advice["similarity"]["why"]
    assert f"measure similarity: advisor source build IMAGES --model {model}" in advice["next_steps"]
    assert "the images' shorter side is 24 pixels (median); they are enlarged to the 32 the model reads" in text
    assert "the images are grey" not in text


def test_grey_images_are_adapted_and_said(model):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, size=(40, 48), dtype=np.uint8) for _ in range(40)]
    warnings = recommend((images, ["a", "b"] * 20), model=model).warnings
    assert "the images are grey; the model reads them as three equal colour channels" in warnings
    assert not any("enlarged" in warning for warning in warnings)


def test_recommend_compares_pictures_with_a_source(capsys, tmp_path, model, data):
    out = tmp_path / "run"
    text = printed(capsys, "recommend", data, "--model", model, "--source", data, "--out", out, "--quiet")
    advice = json.loads((out / "advice.json").read_text())
    assert advice["similarity"]["source"] == data.name
    assert 0 <= advice["similarity"]["interval"][0] <= advice["similarity"]["score"] <= 1
    assert advice["situation"]["probabilities"] is not None
    assert "not measured" not in text.partition("tuning")[0].partition("reasons")[0]


def test_what_cannot_be_read_is_left_out_and_said(tuned):
    warnings = [*json.loads((tuned / "advice.json").read_text())["warnings"]]
    tuning = json.loads((tuned / "tuning.json").read_text())
    said = " ".join([*warnings, *tuning["warnings"]])
    assert "cannot be read and" in said
    assert sum(tuning["split_sizes"].values()) in (118, 119)  # of the test split only what is left is counted


def test_tune_saves_a_model_of_pictures(tuned):
    names = {path.name for path in (tuned / "model").iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "advice.json"} <= names
    config = json.loads((tuned / "model" / "config.json").read_text())
    assert config["architectures"] == ["ResNetForImageClassification"]  # it pools as ours does
    assert "image-classification" in (tuned / "model" / "README.md").read_text()
    assert json.loads((tuned / "tuning.json").read_text())["winner"]["test"]["score"] > 0.6


def test_predict_labels_pictures(capsys, tmp_path, tuned, data):
    for number in range(6):
        Image.fromarray(picture("lying", 900 + number)).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"nothing")
    stored = json.loads(printed(capsys, "predict", tuned, tmp_path, "--json", "--quiet"))
    assert stored["n"] == 6
    labels = [row["label"] for row in stored["predictions"]]
    assert labels[3] is None
    assert "no picture" in stored["predictions"][3]["unreadable"]
    assert set(labels) - {None} <= {"lying", "standing"}
    assert [row["image"].rpartition("/")[2] for row in stored["predictions"]] == [f"{n}.png" for n in range(6)]
    lines = printed(capsys, "predict", tuned, tmp_path, "--quiet").splitlines()
    columns = "image,label,probability,unlike_training,probability of lying,probability of standing"
    assert lines[0] == f"{columns},unreadable"
    assert lines[1].endswith(",")
    assert lines[4].endswith("3.png,,,,,,it is no picture in a format that is known")
    (tmp_path / "3.png").unlink()
    assert printed(capsys, "predict", tuned, tmp_path, "--quiet").splitlines()[0] == columns
    direct = predict(tuned, [picture("lying", 900), picture("lying", 901)])
    assert list(direct.labels) == labels[:2]


def test_predicting_where_most_images_are_broken_is_said(capsys, tmp_path, tuned):
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(b"nothing")
    assert "6 of 6 images cannot be read" in failed(capsys, "predict", tuned, tmp_path, "--quiet")


def test_an_augmentation_that_does_not_fit_is_said_before_anything_is_measured(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("advisor.pipeline.advise", None)
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"line {n} of text,{'ab'[n % 2]}\n" for n in range(40)))
    message = failed(capsys, "tune", tmp_path / "a.csv", "--augment", "cutmix", "--out", tmp_path / "run", "--quiet")
    assert "the data is text" in message
    assert not (tmp_path / "run").exists()


def test_lists_frames_and_folders_give_the_same_advice(model, data):
    images = [picture(("lying", "standing")[number % 2], number) for number in range(60)]
    labels = [("lying", "standing")[number % 2] for number in range(60)]
    import pandas as pd

    first = recommend((images, labels), model=model)
    second = recommend(pd.DataFrame({"image": images, "label": labels}), model=model)
    assert first.probes == second.probes
    assert first.baselines == second.baselines


def test_a_text_model_on_pictures_is_said(capsys, data):
    message = failed(capsys, "recommend", data, "--model", "all-MiniLM-L6-v2", "--quiet")
    assert "reads texts, but" in message
    assert "holds images" in message


def test_an_image_model_on_texts_is_said(capsys, tmp_path, model):
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"line {n} of text,{'ab'[n % 2]}\n" for n in range(40)))
    message = failed(capsys, "recommend", tmp_path / "a.csv", "--model", model, "--quiet")
    assert "reads images, but" in message


def test_max_length_is_no_option_of_pictures(capsys, data, model):
    assert "reads images" in failed(capsys, "recommend", data, "--model", model, "--max-length", 64, "--quiet")


def test_reading_images_shows_its_progress(model):
    from tuner.model.assemble import load_backbone

    said = []
    backbone = load_backbone(model, device="cpu")
    backbone.encode(
        [picture("lying", n) for n in range(130)], progress=lambda message, part: said.append((message, part))
    )
    assert said == [(f"reading images: {done} of 130", done / 130) for done in (0, 64, 128)]


def test_small_pixels_are_means_of_patches():
    image = np.zeros((1, 3, 32, 32), np.uint8)
    image[0, 1, :2, :2] = 200
    rows = small_pixels(image).reshape(3, 16, 16)
    assert rows[1, 0, 0] == 200
    assert rows.sum() == 200
