"""Every kind of picture file becomes an RGB image, or says why it does not; one bad file spoils nothing else."""

import io

import numpy as np
import pytest
from PIL import Image

from helpers import image_models
from tuner.errors import DataError
from tuner.inputs import pictures
from tuner.inputs.pictures import LARGE_SIDE, PictureError, Pictures, open_picture
from tuner.model.assemble import load_backbone
from tuner.search.data import LabelledRows, encode_rows

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, size=(12, 16, 3), dtype=np.uint8)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(given):
    picture = open_picture(given)
    assert picture.mode == "RGB"
    return np.asarray(picture)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_files_bytes_and_arrays_are_the_same_picture(kind, tmp_path):
    data = encoded(Image.fromarray(COLOURS), kind)
    (tmp_path / "ä ö.bin").write_bytes(data)  # the content says what it is, not the name
    for given in (data, tmp_path / "ä ö.bin", str(tmp_path / "ä ö.bin"), COLOURS, Image.fromarray(COLOURS)):
        np.testing.assert_array_equal(pixels(given), COLOURS)


def test_grey_pictures_have_three_equal_channels():
    grey = COLOURS[:, :, 0]
    for given in (grey, grey[:, :, None], encoded(Image.fromarray(grey)), grey / 255, grey.astype(np.int64)):
        np.testing.assert_array_equal(pixels(given), np.repeat(grey[:, :, None], 3, axis=2))


def test_sixteen_bits_keep_their_shades():
    deep = (COLOURS[:, :, 0].astype(np.uint16) * 257).astype(np.uint16)
    for given in (deep, encoded(Image.fromarray(deep))):
        np.testing.assert_array_equal(pixels(given)[:, :, 1], COLOURS[:, :, 0])


def test_cmyk_and_palette_are_converted():
    image = Image.fromarray(COLOURS)
    assert pixels(encoded(image.convert("CMYK"), "TIFF")).shape == (12, 16, 3)
    palette = image.quantize(256)
    np.testing.assert_array_equal(pixels(encoded(palette)), np.asarray(palette.convert("RGB")))


def test_what_is_transparent_is_white():
    clear = np.concatenate([COLOURS, np.zeros((12, 16, 1), np.uint8)], axis=2)
    for given in (clear, encoded(Image.fromarray(clear))):
        assert pixels(given).min() == 255
    palette = Image.fromarray(COLOURS).quantize(16)
    assert pixels(encoded(palette, transparency=0)).shape == (12, 16, 3)


def test_an_animation_is_its_first_frame():
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (10, 200)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixels(data).max() == 10


def test_a_photograph_stands_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    assert pixels(encoded(Image.fromarray(COLOURS), "JPEG", exif=exif)).shape == (16, 12, 3)


def test_a_large_photograph_is_decoded_smaller():
    assert max(open_picture(encoded(Image.new("RGB", (6000, 4000)), "JPEG")).size) < 3100


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (b"", "no picture"),
        (b"not a picture at all", "no picture"),
        (encoded(Image.fromarray(COLOURS))[:60], "truncated|broken"),
        (encoded(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)), "JPEG")[:900], "truncated"),
        (encoded(Image.new("RGB", (1, 1))), "1 × 1 pixels"),
        (np.zeros((1, 9, 3), np.uint8), "9 × 1 pixels"),
        (np.zeros((4, 4, 7), np.uint8), "shape"),
        (np.full((4, 4), np.nan), "not finite"),
        (np.full((4, 4), -3), "between"),
        (np.full((4, 4), "a"), "type"),
        ("/nowhere/a.png", "No such file"),
        (7, "int"),
    ],
)
def test_what_is_no_picture_says_why(given, why):
    with pytest.raises(PictureError, match=why):
        open_picture(given)


def test_a_bomb_is_not_decoded(monkeypatch):
    data = encoded(Image.new("1", (4000, 4000)))
    monkeypatch.setattr(pictures, "MOST_PIXELS", 10**6)
    with pytest.raises(PictureError, match="too many"):
        open_picture(data)


@pytest.fixture(scope="module")
def backbone():
    return load_backbone((image_models.resnet(), image_models.processor()), device="cpu")


def test_unreadable_ones_are_left_out_with_their_labels(backbone):
    given = [encoded(Image.fromarray(image)) for image in image_models.IMAGES]
    given[3] = given[3][:50]
    given[7] = b"nothing"
    part = LabelledRows(rows=Pictures(given), labels=np.arange(12), groups=np.arange(12) // 2)
    values, kept, (note,) = encode_rows(backbone, part, what="training")
    assert kept.labels.tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10, 11]
    assert kept.groups.tolist() == [0, 0, 1, 2, 2, 3, 4, 4, 5, 5]
    assert len(values) == len(kept.rows) == 10
    assert note.startswith("2 of 12 training images cannot be read and they were left out, such as number 4 (")
    again, _, notes = encode_rows(backbone, kept, what="training")
    np.testing.assert_array_equal(again.values, values.values)
    assert notes == ()


def test_most_unreadable_is_an_error(backbone):
    part = LabelledRows(rows=Pictures([b"x"] * 4 + [COLOURS] * 3), labels=np.zeros(7))
    with pytest.raises(DataError, match="4 of 7 images cannot be read"):
        encode_rows(backbone, part, what="training")


def test_a_bad_picture_in_a_list_is_named(backbone):
    with pytest.raises(DataError, match="image at position 1 cannot be read"):
        backbone.encode([COLOURS, b"x"])


def test_large_pictures_are_shrunk_upright_and_the_given_object_stays(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    large = Image.new("RGB", (4000, 2000))
    large.paste((250, 0, 0), (0, 0, 2000, 2000))
    for ending, options in (("png", {"exif": exif}), ("jpg", {"exif": exif}), ("tiff", {"exif": exif})):
        path = tmp_path / f"large.{ending}"
        large.save(path, **options)
        for given in (path, Image.open(path)):
            opened = open_picture(given)
            width, height = opened.size
            assert width * height <= 1.01 * LARGE_SIDE**2
            assert height == pytest.approx(2 * width, abs=2)
            assert opened.getpixel((width // 2, height // 4))[0] > 240
            assert opened.getpixel((width // 2, 3 * height // 4))[0] < 10
        assert sorted(given.size) == [2000, 4000]  # Pillow turns a TIFF itself when it is loaded
    assert open_picture(np.zeros((3000, 3000), np.uint8)).size == (LARGE_SIDE, LARGE_SIDE)
    palette = Image.new("P", (3000, 1500))
    palette.putpalette([0, 0, 0, 0, 200, 0])
    palette.paste(1, (0, 0, 3000, 1500))
    assert open_picture(palette).getpixel((5, 5)) == (0, 200, 0)


def test_an_animation_that_is_given_stays_at_its_frame(tmp_path):
    frames = [Image.new("L", (8, 8), value) for value in (0, 100, 200)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    moving = Image.open(tmp_path / "moving.gif")
    moving.seek(2)
    assert open_picture(moving).getpixel((0, 0)) == (0, 0, 0)
    assert moving.tell() == 2


@pytest.mark.parametrize("shape", [(2, 101), (500, 2)])
def test_strips_are_refused_before_a_model_enlarges_them(shape):
    for given in (np.zeros(shape, np.uint8), Image.new("L", shape[::-1])):
        with pytest.raises(PictureError, match="more than 50 times the other"):
            open_picture(given)
    assert open_picture(np.zeros((2, 100), np.uint8)).size == (100, 2)
