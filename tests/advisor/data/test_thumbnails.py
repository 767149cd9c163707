"""Thumbnails of the nearest and farthest images: the right ones, beside the advice, safely inside the report."""

import base64
import io
import json
from functools import partial

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from advisor import recommend, tune
from advisor.data.thumbnails import EXAMPLES, Thumbnail, make_thumbnails, read_thumbnails, write_thumbnails
from advisor.kinds.images import Images
from advisor.report import write_report
from helpers.commands import printed
from helpers.loading import load_target

NAMES = ("<script>alert(1)</script>", "plain")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Digits of the example, whose names are hostile and whose rows are known."""
    folder = tmp_path_factory.mktemp("digits")
    target = load_target("example:digits")
    rows = np.flatnonzero(np.isin(target.labels, (0, 1)))[:160]
    images = [np.asarray(picture) for picture in target.pictures_at(rows)[:]]
    labels = [NAMES[target.labels[row]] for row in rows]
    return images, labels, folder


@pytest.fixture(scope="module")
def run(data):
    images, labels, folder = data
    recommend((images, labels), out=folder / "run")
    return folder / "run"


def png_of(side, *, shade=0, **options):
    """A picture in base64."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (shade, shade, shade)).save(buffer, format="PNG", **options)
    return base64.b64encode(buffer.getvalue()).decode()


def decoded(thumbnail):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(thumbnail.png))))


def test_they_are_the_rows_that_the_advice_names(data, run):
    images, labels, _ = data
    examples = json.loads((run / "advice.json").read_text())["similarity"]["examples"]
    thumbnails = read_thumbnails(run)
    named = [(place, row) for place in ("nearest", "farthest") for row in examples[place]]
    assert len(named) == len(thumbnails) == 12
    for (place, row), thumbnail in zip(named, thumbnails, strict=True):
        assert (thumbnail.place, thumbnail.class_name) == (place, labels[row])
        np.testing.assert_array_equal(decoded(thumbnail), images[row])
    assert not set(examples["nearest"]) & set(examples["farthest"])


def test_the_advice_holds_nothing_of_the_images(run):
    text = (run / "advice.json").read_text()
    assert "thumbnails" not in text
    assert read_thumbnails(run)[0].png not in text


def test_the_page_shows_them_escaped_and_markdown_names_them(run):
    page, words = (run / "report.html").read_text(), (run / "report.md").read_text()
    assert page.count("data:image/png;base64,") == 12
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "base64" not in words
    assert "Images near and far" in words
    assert "<script" not in words


def test_the_rows_are_those_that_lie_there(tmp_path):
    """Noise is farthest, whatever is sampled, in whichever order, and left out as unreadable."""
    digits = load_target("example:digits").pictures_at(range(60))[:]
    rng = np.random.default_rng(0)
    images, labels = [], []
    for number, digit in enumerate(digits):
        images += [digit, Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))]
        labels += ["digit", "noise"]
        if number % 5 == 0:
            images[-1] = tmp_path / f"{number}.png"
            images[-1].write_bytes(f"broken {number}".encode())
    advice = recommend((images, labels), sample=80)
    assert len(advice.similarity.examples["nearest"]) == 6
    assert advice.similarity.measures["images"]["compared"] < 80
    places = [(image.place, image.class_name) for image in advice.thumbnails]
    assert places == [("nearest", "digit")] * 6 + [("farthest", "noise")] * 6


def test_where_nothing_was_measured_there_are_none(data, tmp_path, monkeypatch):
    monkeypatch.setattr("advisor.advising.find_profile", lambda *args, **options: None)
    images, labels, _ = data
    recommend((images, labels), out=tmp_path / "run")
    assert not (tmp_path / "run" / EXAMPLES).exists()
    assert "Images near and far" not in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    "damage",
    [
        lambda stored: "[",
        lambda stored: json.dumps(stored | {"schema": 99}),
        lambda stored: json.dumps({"schema": 1, "images": [stored["images"][0] | {"png": 'x" onerror="alert(1)'}]}),
        lambda stored: json.dumps({"schema": 1, "images": [stored["images"][0] | {"png": "PHN2Zz48L3N2Zz4="}]}),
        lambda stored: json.dumps({"schema": 1, "images": [{"place": "nearest"}]}),
        lambda stored: json.dumps({"schema": 1, "images": [stored["images"][0] | {"png": None}]}),
        lambda stored: json.dumps(
            {"schema": 1, "images": [stored["images"][0] | {"png": stored["images"][0]["png"][:60]}]}
        ),
        lambda stored: json.dumps({"schema": 1, "images": [stored["images"][0] | {"png": png_of(65)}]}),
        lambda stored: json.dumps({"schema": 1, "images": []}),
    ],
)
def test_a_damaged_file_is_left_out_and_said(run, damage):
    path = run / EXAMPLES
    whole = path.read_text()
    try:
        path.write_text(damage(json.loads(whole)))
        write_report(run)
        assert "data:image/png" not in (run / "report.html").read_text()
        for name in ("report.html", "report.md"):
            assert "The thumbnails in examples.json are damaged and left out" in (run / name).read_text()
    finally:
        path.write_text(whole)
        write_report(run)


def test_without_examples_nothing_of_the_data_is_written(capsys, tmp_path):
    printed(capsys, "recommend", "example:digits", "--no-examples", "--out", tmp_path / "run", "--quiet")
    assert not (tmp_path / "run" / EXAMPLES).exists()
    assert "data:image/png" not in (tmp_path / "run" / "report.html").read_text()


def test_a_resumed_run_keeps_them_until_it_is_told_not_to(data, tmp_path):
    images, labels, _ = data
    options = {"strategy": "head_only", "out": tmp_path / "run"}
    tune((images, labels), trials=1, **options)
    for examples, shown in ((True, 12), (False, 0), (True, 0)):
        tune((images, labels), trials=1, resume=True, examples=examples, **options)
        assert (tmp_path / "run" / EXAMPLES).exists() == (shown > 0)
        assert (tmp_path / "run" / "report.html").read_text().count("data:image/png;base64,") == shown


def test_they_go_along_with_the_advice(data, tmp_path):
    images, labels, _ = data
    advice = recommend((images, labels))
    options = {"advice": advice, "trials": 1, "strategy": "head_only"}
    tune((images, labels), out=tmp_path / "with", **options)
    assert read_thumbnails(tmp_path / "with") == advice.thumbnails
    assert advice.thumbnails[0].png not in repr(advice)
    tune((images, labels), out=tmp_path / "without", examples=False, **options)
    assert read_thumbnails(tmp_path / "without") == ()


def test_large_images_are_made_small_and_keep_their_shape(tmp_path):
    images = [np.full((40 + 10 * row, 200, 3), 20 * row, dtype=np.uint8) for row in range(12)]
    target = load_target((images, ["a", "b"] * 6))
    thumbnails = make_thumbnails(
        target, {"nearest": (3,), "farthest": (11,)}, label_of=partial(Images().label_of, target)
    )
    assert [decoded(thumbnail).shape for thumbnail in thumbnails] == [(22, 64, 3), (48, 64, 3)]
    write_thumbnails(thumbnails, tmp_path)
    assert read_thumbnails(tmp_path) == thumbnails
    assert all(isinstance(thumbnail, Thumbnail) for thumbnail in thumbnails)


def test_only_pixels_are_kept():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Author", "somebody")
    stored = [png_of(80, shade=shade, icc_profile=profile, pnginfo=notes) for shade in range(12)]
    given = [Image.open(io.BytesIO(base64.b64decode(png))) for png in stored]
    assert given[0].info.keys() == {"icc_profile", "Author"}
    target = load_target((given, ["a", "b"] * 6))
    (thumbnail,) = make_thumbnails(target, {"nearest": (0,)}, label_of=partial(Images().label_of, target))
    assert Image.open(io.BytesIO(base64.b64decode(thumbnail.png))).info == {}
