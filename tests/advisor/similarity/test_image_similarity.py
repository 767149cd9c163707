"""Images against a source profile: fields with the spectrum of photographs, seen by a small random network."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from advisor.similarity import image_build, image_profile, image_sources, library
from advisor.similarity.distance import knn_distances, texture_counts, texture_distance
from advisor.similarity.image_build import build_image_profile, read_source_pictures
from advisor.similarity.image_profile import image_rows
from advisor.similarity.image_similarity import measure_image_similarity, resolution_band
from advisor.similarity.library import (
    build_from_files,
    describe_profile,
    find_profile,
    list_profiles,
    load_profile,
    save_profile,
)
from advisor.similarity.similarity import measure_similarity
from helpers import tiny
from tuner.errors import DataError, MissingFileError, ModelError, OptionError
from tuner.model.assemble import load_backbone

SIDE = 48


def fields(n, *, seed, side=SIDE, slope=1.2):
    """Coloured noise whose amplitude falls with frequency as that of photographs does, (n, side, side, 3) bytes."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    frequency[0, 0] = 1 / side
    noise = np.fft.fft2(rng.normal(size=(n, 4, side, side)))
    waves = np.fft.ifft2(noise / frequency**slope).real
    waves /= waves.std((2, 3), keepdims=True)
    colours = waves[:, 3:] + 0.5 * waves[:, :3]  # channels of a photograph go together
    contrast, light = rng.uniform(20, 60, size=(2, n, 1, 1, 1))
    return (colours * contrast + light + 70).clip(0, 255).round().astype(np.uint8).transpose(0, 2, 3, 1)


def stored(images, side, *, how=Image.Resampling.LANCZOS):
    return [np.asarray(Image.fromarray(image).resize((side, side), how)) for image in images]


def smooth(n, *, side):
    """Grey pictures with no detail finer than a quarter of their side."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(60, 200, size=(n, 4, 4), dtype=np.uint8)
    return [np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)) for image in coarse]


def network(seed=0):
    from transformers import ResNetConfig, ResNetModel

    torch.manual_seed(seed)
    config = ResNetConfig(embedding_size=16, hidden_sizes=[16, 24, 32], depths=[2, 2, 2], layer_type="basic")
    model = ResNetModel(config)
    with torch.no_grad():  # statistics as after training
        for number in range(20):
            batch = fields(16, seed=900 + number, side=32).transpose(0, 3, 1, 2) / 127.5 - 1
            model.train()(torch.from_numpy(batch).float())
    return model


def loaded(*, seed=0, side=32):
    from transformers import BitImageProcessor

    processor = BitImageProcessor(
        size={"shortest_edge": side}, crop_size=side, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return load_backbone((network(seed), processor), device="cpu")


@pytest.fixture(scope="module")
def backbone():
    return loaded()


@pytest.fixture(scope="module")
def photographs():
    return list(fields(300, seed=0))


@pytest.fixture(scope="module")
def profile(backbone, photographs):
    return build_image_profile(photographs, backbone=backbone, name="fields", description="fields of noise")


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFER_ADVISOR_HOME", str(tmp_path / "home"))


def measure(pictures, *, backbone, profile, **options):
    return measure_image_similarity(
        pictures, backbone=backbone, profile=profile, how_to_measure="advisor recommend x --source IMAGES", **options
    )


# --- verdicts


def test_more_of_the_source_is_similar_and_what_shows_nothing_is_not(backbone, profile):
    unseen = measure(list(fields(150, seed=1)), backbone=backbone, profile=profile)
    assert unseen.verdict == "similar"
    assert unseen.score > 0.9
    noise = list(np.random.default_rng(0).integers(0, 256, size=(100, 32, 32, 3), dtype=np.uint8))
    colours = np.random.default_rng(1).integers(0, 256, size=(100, 1, 1, 3), dtype=np.uint8)
    flat = list(np.broadcast_to(colours, (100, SIDE, SIDE, 3)))
    for anchor in (noise, flat):
        far = measure(anchor, backbone=backbone, profile=profile)
        assert far.verdict == "dissimilar"
        assert far.score < 0.25
        assert far.p_similar == 0.0
    assert unseen.interval[0] <= unseen.score <= unseen.interval[1]
    assert unseen.cuts == (0.5, 0.75)
    json.dumps(unseen.to_json())


def test_the_size_that_images_are_stored_at_does_not_matter(backbone, profile):
    images = fields(150, seed=1)
    found = {side: measure(stored(images, side), backbone=backbone, profile=profile) for side in (8, 16, 28, 64, 160)}
    assert min(measured.score for measured in found.values()) > 0.9
    assert {measured.verdict for measured in found.values()} == {"similar"}
    raw = {side: measured.measures["excess_knn_surprisal"]["value"] for side, measured in found.items()}
    assert max(map(abs, raw.values())) < 0.15
    # the trap: a network sees resolution before content, so eight pixels are no part of what it knows at thirty-two
    band = profile.bands[-1]
    rows = image_rows(backbone, [Image.fromarray(image) for image in stored(images, 8)], profile.blocks)
    assert abs(np.log(profile.distances(rows, band)).mean() - np.log(band.held_out).mean()) > 0.4


def test_images_are_compared_at_the_largest_resolution_that_is_not_above_theirs(backbone, profile):
    assert [band.resolution for band in profile.bands] == [8, 16, 28, 32]  # the model reads 32 pixels
    assert resolution_band(np.array([4, 8, 15, 16, 31, 32, 500]), profile).tolist() == [0, 0, 0, 1, 2, 3, 3]
    mixed = [*fields(30, seed=1), *stored(fields(10, seed=2), 20)]
    measures = measure(mixed, backbone=backbone, profile=profile).measures
    bands = measures["excess_knn_surprisal"]["by_band"]
    assert {name: band["rows"] for name, band in bands.items()} == {"16 pixels": 10, "32 pixels": 30}
    assert measures["native_resolution"] == {"target": SIDE, "source": SIDE, "unit": "pixels"}


def test_smooth_pictures_are_not_called_similar_on_the_features_word_alone(backbone, profile):
    near = measure(list(fields(60, seed=1)), backbone=backbone, profile=profile).measures["texture_distance"]
    assert near["beyond_sampling"] < near["near_below"]
    # a network that takes everything for its source
    blind = tuple(dataclasses.replace(band, held_out=np.maximum(band.held_out, 0.5)) for band in profile.bands)
    blind = tuple(dataclasses.replace(b, **dict.fromkeys(image_profile.ANCHORS, b.held_out * 3)) for b in blind)
    fooled = dataclasses.replace(profile, bands=blind)
    measured = measure(smooth(100, side=28), backbone=backbone, profile=fooled)
    assert measured.score > 0.9
    assert measured.verdict == "uncertain"
    assert measured.p_similar == 0.5
    assert "features alone say similar, but the images' local textures are far from the source's" in measured.why
    textures = measured.measures["texture_distance"]
    assert textures["beyond_sampling"] > textures["far_above"]


def test_textures_decide_where_the_features_do_not_and_they_are_as_far_as_an_anchor(backbone, profile):
    def seen_with(held_out, *, anchors):
        bands = [dataclasses.replace(band, held_out=np.full((3, 80), held_out)) for band in profile.bands]
        ends = dict.fromkeys(image_profile.ANCHORS, np.full((3, 80), held_out * np.exp(anchors)))
        bands = tuple(dataclasses.replace(band, **ends) for band in bands)
        return measure(strokes, backbone=backbone, profile=dataclasses.replace(profile, bands=bands))

    strokes = smooth(100, side=28)
    excess = seen_with(0.02, anchors=1.0).measures["excess_knn_surprisal"]["value"]
    # a network to which they lie four tenths of the way to the anchors
    measured = seen_with(0.02 * np.exp(excess - 1.0), anchors=2.5)
    assert measured.score == pytest.approx(0.6, abs=0.01)
    textures = measured.measures["texture_distance"]
    assert textures["far_end"] == min(textures["anchors"].values())
    assert textures["beyond_sampling"] > textures["far_end"]
    assert (measured.verdict, measured.p_similar) == ("dissimilar", 0.0)
    assert "features alone leave it uncertain" in measured.why


def test_pictures_with_the_sources_textures_are_not_called_dissimilar(backbone, profile):
    # a network that finds its source's own images far
    strict = tuple(dataclasses.replace(band, held_out=np.full((3, 80), 0.0015)) for band in profile.bands)
    strict = tuple(dataclasses.replace(b, **dict.fromkeys(image_profile.ANCHORS, b.held_out * 15)) for b in strict)
    measured = measure(list(fields(60, seed=1)), backbone=backbone, profile=dataclasses.replace(profile, bands=strict))
    assert measured.score < 0.5
    assert measured.verdict == "uncertain"
    assert measured.p_similar == 0.5
    assert "features alone say dissimilar, but the images' local textures are like the source's" in measured.why


def test_grey_against_colour_is_said(backbone, profile):
    grey = [np.asarray(Image.fromarray(image).convert("L")) for image in fields(60, seed=1)]
    measured = measure(grey, backbone=backbone, profile=profile)
    assert measured.measures["grey_share"] == {"target": 1.0, "source": 0.0}
    assert "100% of the images are grey, of the source's 0%" in measured.why
    assert measured.warnings[0].startswith("100% of the images are grey")
    colour = measure(list(fields(60, seed=1)), backbone=backbone, profile=profile)
    assert colour.warnings == ()
    assert "grey" not in colour.why


def test_few_and_tiny_images_are_warned_of(backbone, profile):
    small = measure(stored(fields(10, seed=1), 5), backbone=backbone, profile=profile).warnings
    assert "100% of the images have fewer than 8 pixels" in small[0]
    assert "similarity rests on 10 images only" in small[1]


def test_images_that_cannot_be_read_are_left_out(backbone, profile, tmp_path):
    images = [*fields(59, seed=1), b"no picture"]
    measured = measure(images, backbone=backbone, profile=profile)
    assert measured.measures["images"] == {"compared": 59, "unreadable": 1}
    with pytest.raises(DataError, match="2 of 3 images cannot be read"):
        measure([b"no", b"none", fields(1, seed=1)[0]], backbone=backbone, profile=profile)
    with pytest.raises(ValueError, match="no images"):
        measure([], backbone=backbone, profile=profile)


def test_many_images_are_sampled_and_the_same_seed_gives_the_same_record(backbone, profile):
    images = list(fields(520, seed=1, side=16))
    first = measure(images, backbone=backbone, profile=profile)
    assert first.measures["images"]["compared"] == 500
    assert first == measure(images, backbone=backbone, profile=profile)


def test_without_a_scale_nothing_is_measured(backbone, profile):
    bands = tuple(dataclasses.replace(band, flat=band.held_out) for band in profile.bands)
    measured = measure(list(fields(20, seed=1)), backbone=backbone, profile=dataclasses.replace(profile, bands=bands))
    assert (measured.verdict, measured.score, measured.p_similar) == ("unmeasured", None, None)
    assert "do not tell flat colour from its source" in measured.why


def test_without_a_profile_nothing_is_measured_and_the_command_is_said(backbone):
    measured = measure(list(fields(3, seed=1)), backbone=backbone, profile=None)
    assert measured.verdict == "unmeasured"
    assert measured.why.endswith("advisor recommend x --source IMAGES")


def test_examples_are_the_ends_of_the_order_among_those_given(backbone, profile, photographs):
    noise = [np.random.default_rng(row).integers(0, 256, (32, 32, 3), dtype=np.uint8) for row in range(8)]
    given = [b"broken", *noise, *photographs[:20]]
    examples = measure(given, backbone=backbone, profile=profile).examples
    assert {place: len(rows) for place, rows in examples.items()} == {"nearest": 6, "farthest": 6}
    assert set(examples["farthest"]) <= set(range(1, 9))
    assert set(examples["nearest"]) <= set(range(9, 29))


# --- the profile


def test_channels_that_are_always_zero_do_not_count_the_common_direction_twice():
    """Their directions are arbitrary, and one of them may hold the common one: every distance was zero then."""
    rng = np.random.default_rng(0)
    rows = np.zeros((300, 24))
    rows[:, 4:16] = rng.random((300, 12)) + 1
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    turned = rows @ np.linalg.qr(rng.normal(size=(24, 24)))[0]  # zero along twelve directions, whichever
    for given in (rows, turned):
        projection, centres = image_build._projection([[given]])
        coordinates = image_profile.coordinates([given], projection, centres)[0]
        products = (given @ projection[0]) @ coordinates.T
        np.testing.assert_allclose(products, given @ given.T, atol=2e-4)


def test_stored_distances_are_those_of_the_full_features(backbone, profile, photographs):
    """Neighbours among images lie within a hundredth, where plain 8-bit rows would see little."""
    kept = photographs_in_order(photographs)
    reference = [Image.fromarray(image) for row, image in enumerate(kept) if row % 3 != 2]
    targets = [Image.fromarray(image) for image in fields(60, seed=1)]
    band = profile.bands[-1]
    brought = [[image_profile.bring_to(image, 32) for image in images] for images in (targets, reference)]
    rows, near = (image_rows(backbone, images, profile.blocks) for images in brought)
    stored_ones = profile.distances(rows, band)
    for row, block in enumerate(profile.blocks):
        exact = knn_distances(rows[block], near[block], k=5)
        np.testing.assert_allclose(stored_ones[row], exact, atol=2e-4, rtol=0.03)
        assert np.median(exact) < 0.05


def photographs_in_order(photographs):
    return [photographs[row] for row in np.random.default_rng(0).permutation(len(photographs))]


def test_a_saved_profile_is_the_same_when_loaded(profile, backbone, photographs, tmp_path):
    path = tmp_path / "p.safetensors"
    save_profile(profile, path)
    assert path.stat().st_size < 3_000_000
    found = load_profile(path)
    for field in dataclasses.fields(profile):
        mine, theirs = getattr(profile, field.name), getattr(found, field.name)
        if field.name == "bands":
            for first, second in zip(mine, theirs, strict=True):
                for part in dataclasses.fields(first):
                    np.testing.assert_array_equal(getattr(first, part.name), getattr(second, part.name))
        elif field.name == "projection":
            for first, second in zip(mine, theirs, strict=True):
                np.testing.assert_array_equal(first, second)
        else:
            np.testing.assert_array_equal(mine, theirs)
    again = build_image_profile(photographs, backbone=backbone, name="fields", description="fields of noise")
    save_profile(again, tmp_path / "q.safetensors")
    assert path.read_bytes() == (tmp_path / "q.safetensors").read_bytes()


def test_blocks_of_different_widths_are_kept(profile, backbone):
    assert profile.blocks == (2, 3, 4)
    assert [backbone.widths[block] for block in profile.blocks] == [16, 24, 24]
    assert [matrix.shape for matrix in profile.projection] == [(16, 64), (24, 64), (24, 64)]


def test_copies_count_once_and_too_few_images_are_said(backbone):
    with pytest.raises(DataError, match="too few source images: 100 different ones") as error:
        build_image_profile(list(fields(100, seed=0)) * 3, backbone=backbone, name="x")
    assert "at least 125 different images" in error.value.fix
    with pytest.raises(DataError, match="too few source images: 0"):
        build_image_profile([], backbone=backbone, name="x")


def test_small_images_make_no_bands_above_their_own_resolution(backbone):
    small = build_image_profile(stored(fields(150, seed=0), 20), backbone=backbone, name="x")
    assert [band.resolution for band in small.bands] == [8, 16]
    assert small.native == 20


# --- kinds and models


def test_profiles_of_texts_and_of_images_are_not_mixed_up(backbone, profile, tmp_path):
    text_profile = load_profile(next(library.SHIPPED.glob("*.safetensors")))
    with pytest.raises(ModelError, match="describes texts, and images are compared with it"):
        measure(list(fields(3, seed=1)), backbone=backbone, profile=text_profile)
    with pytest.raises(ModelError, match="describes images, and texts are compared with it"):
        measure_similarity([], lengths=np.zeros(1), texts=["a"], profile=profile, how_to_measure="")
    with pytest.raises(ModelError, match=r"'wikipedia-books' describes texts, and .* reads images"):
        find_profile("wikipedia-books", backbone=backbone)
    save_profile(profile, tmp_path / "p.safetensors")
    reader = load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")
    with pytest.raises(ModelError, match=r"'fields' describes images, and .* reads texts"):
        find_profile(tmp_path / "p.safetensors", backbone=reader)


def test_a_profile_of_another_model_or_processor_is_refused(profile, tmp_path):
    save_profile(profile, tmp_path / "p.safetensors")
    with pytest.raises(ModelError, match="belongs to another model") as error:
        find_profile(tmp_path / "p.safetensors", backbone=loaded(seed=1))
    assert "advisor source build IMAGES..." in error.value.fix
    with pytest.raises(ModelError, match="built with another image processor"):
        find_profile(tmp_path / "p.safetensors", backbone=loaded(side=24))


# --- read and find


def test_arrays_are_chosen_by_name(tmp_path):
    train, test = fields(3, seed=0), fields(2, seed=1)
    path = tmp_path / "a.npz"
    np.savez(path, X_test=test, X_train=train, y_train=np.arange(3), class_names=np.array(["a"]))
    assert len(read_source_pictures([path])) == 3
    np.savez(path, photos=test[..., 0], labels=np.arange(2))
    assert len(read_source_pictures([path, path])) == 4
    np.savez(path, X_test=test, X_valid=test)
    with pytest.raises(DataError, match=r"several arrays that may be images: it holds X_test \(2, 48, 48, 3\)"):
        read_source_pictures([path])
    np.savez(path, rows=np.zeros((3, 4)))
    with pytest.raises(DataError, match="no array that may be images"):
        read_source_pictures([path])
    path.write_bytes(b"nonsense")
    with pytest.raises(DataError, match="cannot be read as an array file"):
        read_source_pictures([path])


def test_folders_without_images_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(DataError, match="holds no images"):
        read_source_pictures([tmp_path])
    with pytest.raises(MissingFileError, match="there is no file or folder"):
        read_source_pictures([tmp_path / "nowhere"])


def test_a_built_profile_is_found_by_name_file_and_model(backbone, photographs, tmp_path):
    np.savez(tmp_path / "photos.npz", images=np.stack(photographs))
    path = build_from_files([tmp_path / "photos.npz"], backbone=backbone)
    for given in (None, "photos", path):
        assert find_profile(given, backbone=backbone).name == "photos"
    assert {summary.name: summary.kind for summary in list_profiles()} == {
        "wikipedia-books": "text",
        "cifar10": "image",
        "photos": "image",
    }
    described = describe_profile("photos")
    json.dumps(described)
    assert described["kind"] == "image"
    ladder = described["bands"][-1]["ladder"]
    assert described["bands"][-1]["pixels"] == 32
    assert min(ladder[anchor] for anchor in image_profile.ANCHORS) > ladder["halves"] > 0
    np.savez(tmp_path / "photos.npz", images=fields(150, seed=5))
    with pytest.raises(OptionError, match="built from other data"):
        build_from_files([tmp_path / "photos.npz"], backbone=backbone)


def test_a_folder_of_images_is_embedded_once_and_kept_by_content(backbone, photographs, tmp_path, monkeypatch):
    folder = tmp_path / "images" / "class"
    folder.mkdir(parents=True)
    for row, image in enumerate(photographs[:150]):
        Image.fromarray(image).save(folder / f"{row}.png")
    calls = []
    build = image_sources.build_image_profile
    monkeypatch.setattr(image_sources, "build_image_profile", lambda *a, **k: calls.append(1) or build(*a, **k))
    first = find_profile(str(tmp_path / "images"), backbone=backbone)
    assert first.name == "images"
    assert find_profile(tmp_path / "images", backbone=backbone).content_sha256 == first.content_sha256
    assert calls == [1]
    Image.fromarray(photographs[200]).save(folder / "0.png")
    find_profile(tmp_path / "images", backbone=backbone)
    assert calls == [1, 1]
    with pytest.raises(OptionError, match="there is no profile, file or folder 'nobody/images'") as error:
        find_profile("nobody/images", backbone=backbone)
    assert "an image folder or an .npz file" in error.value.fix


# --- textures


def test_textures_count_contrast_and_pattern_whatever_the_direction():
    image = fields(1, seed=0)[0]
    counts = texture_counts(image)
    assert counts.shape == (80,)
    assert counts.sum() == (SIDE - 2) ** 2
    np.testing.assert_array_equal(texture_counts(np.rot90(image)), counts)
    np.testing.assert_array_equal(texture_counts(image[:, ::-1]), counts)
    flat = texture_counts(np.full((10, 10, 3), 7, dtype=np.uint8))
    assert flat[0] == flat.sum() == 64  # no contrast, no neighbour brighter
    with pytest.raises(ValueError, match="2 × 9 pixels"):
        texture_counts(np.zeros((9, 2, 3), dtype=np.uint8))


def test_texture_distance_by_hand():
    assert texture_distance(np.array([1, 0]), np.array([1, 1])) == pytest.approx(0.3113, abs=1e-4)
    with pytest.raises(ValueError, match="no textures"):
        texture_distance(np.zeros(2), np.ones(2))


def test_a_source_is_read_by_the_rules_of_the_data(tmp_path):
    outside, source = tmp_path / "outside.png", tmp_path / "source"
    Image.fromarray(fields(1, seed=0)[0]).save(outside)
    (source / "train" / "cat").mkdir(parents=True)
    (source / "test" / "cat").mkdir(parents=True)
    for name in ("train/cat/1.ppm", "train/cat/2.png", "test/cat/3.png"):
        Image.fromarray(fields(1, seed=1)[0]).save(source / name)
    (source / "train" / "cat" / "link.png").symlink_to(outside)
    names = [Path(given).name for given in read_source_pictures([source]).given]
    assert names == ["1.ppm", "2.png"]  # of the part that models are trained on, and nothing from outside
    np.savez(tmp_path / "first.npz", images=np.full((4, 3, 8, 8), 0.5))
    assert read_source_pictures([tmp_path / "first.npz"])[0].getpixel((0, 0)) == (128, 128, 128)
