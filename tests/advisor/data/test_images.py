"""Images from folders, arrays, tables and Python objects: the same rows, checks, splits and warnings as texts have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from advisor.data import images
from advisor.data.images import as_pixels, contents_of
from advisor.data.new_rows import read_images, read_texts
from advisor.kinds.table import kind_of
from helpers.image_files import N, class_folders, encoded, labelled, numbers_of, pixels, put, table
from helpers.loading import load_target
from tuner.errors import DataError, MissingFileError, OptionError
from tuner.inputs.pictures import Pictures

CATS_AND_DOGS = {i: ("cat", "dog")[i % 2] for i in range(N)}


# --- folders


def test_a_folder_of_classes_is_checked_and_divided_as_texts_are(tmp_path: Path) -> None:
    target = load_target(class_folders(tmp_path / "pets"))
    assert (target.name, target.kind, target.task) == ("pets", "image", "image_classification")
    assert target.class_names == ("cat", "dog")
    assert labelled(target) == CATS_AND_DOGS
    assert target.columns == {"image": "image", "label": "label", "group": None}
    assert (target.warnings, target.n_dropped, target.given_splits, target.n_duplicates) == ((), {}, (), 0)
    assert [len(target.train), len(target.validation), len(target.test)] == [15, 4, 5]
    assert sorted(np.concatenate([target.train, target.validation, target.test])) == list(range(N))
    assert target.texts_at([0]) == [str(tmp_path / "pets" / "cat" / "000.png")]
    rows = kind_of(target).rows_at(target, [3, 0])
    assert isinstance(rows, Pictures)
    np.testing.assert_array_equal(np.asarray(rows[0]), pixels(6))
    assert load_target(str(tmp_path / "pets")).fingerprint == target.fingerprint


def test_nothing_is_decoded_at_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = class_folders(tmp_path / "pets")
    (folder / "cat" / "000.png").write_bytes(b"not a picture")
    (folder / "dog" / "001.png").write_bytes(encoded(1)[:60])
    monkeypatch.setattr(Image, "open", None)
    target = load_target(folder)
    monkeypatch.undo()
    found = target.pictures_at(np.arange(N))
    assert len(found[:]) == N
    assert sorted(found.unreadable) == [0, 12]
    assert str(folder / "cat" / "000.png") in found.note("training images")


@pytest.mark.parametrize("inside", ["", "images", "data"])
def test_folders_named_after_splits_are_splits(inside: str, tmp_path: Path) -> None:
    class_folders(tmp_path / inside / "train", n=24)
    class_folders(tmp_path / inside / "val", n=6, first=24)
    class_folders(tmp_path / inside / "Test", n=8, first=30)
    target = load_target(tmp_path)
    assert target.given_splits == ("train", "validation", "test")
    assert sorted(numbers_of(target, target.train)) == list(range(24))
    assert sorted(numbers_of(target, target.validation)) == list(range(24, 30))
    assert sorted(numbers_of(target, target.test)) == list(range(30, 38))
    assert load_target(tmp_path, split="train").n_examples == 24


def test_a_test_split_without_classes_is_left_out(tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    put(tmp_path / "test" / "1.png", 50)
    target = load_target(tmp_path)
    assert target.warnings == (f"the test split of {tmp_path} has no labels: it was not used",)
    assert (target.n_examples, len(target.test)) == (24, 5)


def test_a_class_is_a_folder_with_everything_below_it(tmp_path: Path) -> None:
    for i in range(N):
        put(tmp_path / ("cat", "dog")[i % 2] / "deep" / str(i % 3) / f"{i}.PNG", i)
    target = load_target(tmp_path)
    assert target.class_names == ("cat", "dog")
    assert labelled(target) == CATS_AND_DOGS


def test_a_class_may_be_called_like_a_split(tmp_path: Path) -> None:
    class_folders(tmp_path, n=30, names=("bus", "car", "train"))
    target = load_target(tmp_path)
    assert (target.class_names, target.given_splits) == (("bus", "car", "train"), ())
    put(tmp_path / "train" / "steam" / "1.png", 60)
    with pytest.raises(DataError, match="it is not clear whether 'train' is a split or a class, beside 'bus'"):
        load_target(tmp_path)


def test_folders_beside_splits_are_ignored_and_counted(tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    class_folders(tmp_path / "test", n=6, first=40)
    put(tmp_path / "unlabelled" / "1.png", 90)
    put(tmp_path / "loose.png", 91)
    target = load_target(tmp_path)
    assert target.n_examples == 30
    assert target.warnings == (
        f"{tmp_path}: 2 images outside the class folders were ignored (in unlabelled, the folder itself)",
    )


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    for name in ("train", "val", "valid"):
        class_folders(tmp_path / name, n=8)
    with pytest.raises(DataError, match="more than one validation folder: val, valid"):
        load_target(tmp_path)


def test_folders_called_by_numbers_are_names_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    names = tuple(str(10_000 + 977 * i) if i else "9" for i in range(40))
    class_folders(tmp_path, n=200, names=names)
    target = load_target(tmp_path)  # as numbers of a table they would be a quantity
    assert target.class_names == ("9", *sorted(names[1:]))


@pytest.mark.parametrize("name", ["ä ö", "'quoted\"", "new\nline", "100 %", "猫", "a,b;c", "-x", "#?*[]", "e\u0301"])
def test_names_hold_any_characters(name: str, tmp_path: Path) -> None:
    class_folders(tmp_path, names=(name, "dog"))
    put(tmp_path / "dog" / f"{name}.png", 50)
    target = load_target(tmp_path)
    assert set(target.class_names) == {name, "dog"}
    assert labelled(target) == {i: (name, "dog")[i % 2] for i in range(N)} | {50: "dog"}


def test_names_need_not_be_utf8(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    for i in range(N):
        path = os.fsdecode(os.path.join(folder, (b"caf\xe9", b"dog")[i % 2], b"\xff%d.png" % i))
        put(path, i)
    target = load_target(tmp_path)
    assert target.class_names == ("caf\\xe9", "dog")
    assert labelled(target) == {i: ("caf\\xe9", "dog")[i % 2] for i in range(N)}
    assert numbers_of(load_target((list(tmp_path.glob("*/*.png")), [0, 1] * 12))) != []
    assert len(read_images(tmp_path)[1]) == N


def test_other_and_hidden_files_are_counted(tmp_path: Path) -> None:
    class_folders(tmp_path)
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "cat" / "notes.txt").write_text("x")
    put(tmp_path / "cat" / "._000.png", 70)
    put(tmp_path / ".cache" / "1.png", 71)
    (tmp_path / "cat" / "folder.png").mkdir()
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    (tmp_path / "bird").mkdir()
    target = load_target(tmp_path)
    assert target.n_examples == N
    assert len(target.warnings) == 2
    assert target.warnings[0] == f"{tmp_path}: folders without images were ignored: bird"
    assert target.warnings[1].startswith(f"{tmp_path}: 5 files that are no images were ignored, such as {tmp_path}")


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside" / "cat" / "secret.png", 80)
    folder = class_folders(tmp_path / "pets")
    (folder / "cat" / "out.png").symlink_to(outside)
    (folder / "bird").symlink_to(outside.parent)
    (folder / "cat" / "nowhere.png").symlink_to(tmp_path / "nothing.png")
    (folder / "cat" / "up").symlink_to(folder)  # without end
    (folder / "cat" / "self.png").symlink_to("self.png")
    (folder / "dog" / "inside.png").symlink_to(folder / "dog" / "001.png")
    target = load_target(folder)
    assert sorted(numbers_of(target)) == sorted([*range(N), 1])
    assert target.n_duplicates == 1
    assert len(target.warnings) == 1
    assert target.warnings[0].startswith(f"{folder}: 5 links were not followed, such as")
    link = tmp_path / "link"
    link.symlink_to(folder)  # the folder that is named may be a link itself
    assert load_target(link).n_examples == N + 1
    assert sorted(Path(name).name for name in read_images(folder)[1])[-2:] == ["023.png", "inside.png"]


def test_a_folder_of_links_only_says_so(tmp_path: Path) -> None:
    class_folders(tmp_path / "store")
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "cat").symlink_to(tmp_path / "store" / "cat")
    with pytest.raises(DataError, match=r"holds no images, only links that are not followed \(1\)"):
        load_target(tmp_path / "pets")


def test_folders_without_classes_are_refused_with_an_arrangement(tmp_path: Path) -> None:
    loose, alone, split = tmp_path / "loose", tmp_path / "alone", tmp_path / "split"
    for i in range(6):
        put(loose / f"{i}.png", i)
        put(alone / "cat" / f"{i}.png", i)
        put(split / "train" / f"{i}.png", i)
    (alone / "dog").mkdir()
    for folder, message in (
        (loose, "holds images but no class folders"),
        (split, "holds images but no class folders"),
        (alone, "has images in one class folder only, 'cat'"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            load_target(folder)
        assert "cats/1.png" in caught.value.fix
    (loose / "classes.csv").write_text("file,label\n")
    with pytest.raises(DataError, match=r"classes\.csv is empty") as caught:
        load_target(loose)
    assert caught.value.why == "it has column names but no rows"


def test_folders_without_images_are_refused_as_before(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match=r"has no file named train\.\*"):
        load_target(tmp_path)
    with pytest.raises(DataError, match="holds no images"):
        read_images(tmp_path)


def test_what_is_one_image_or_an_array_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1\.png is one image, not a table") as caught:
        load_target(put(tmp_path / "1.png", 1))
    assert "cats/1.png" in caught.value.fix
    np.save(tmp_path / "x.npy", np.zeros((4, 8, 8), np.uint8))
    with pytest.raises(DataError, match=r"x\.npy holds arrays, not a table") as caught:
        load_target(tmp_path / "x.npy")
    assert "np.savez('data.npz', images=images, labels=labels)" in caught.value.fix
    with pytest.raises(MissingFileError):
        load_target(tmp_path / "missing.npz")


# --- content: duplicates, leaks, groups, rare classes


def test_equal_content_is_found_whatever_the_names(tmp_path: Path) -> None:
    class_folders(tmp_path)
    put(tmp_path / "cat" / "copy.png", 0)
    put(tmp_path / "dog" / "conflict.png", 2)
    target = load_target(tmp_path)
    assert (target.n_examples, target.n_duplicates, target.n_conflicting) == (N + 2, 2, 1)
    numbers = numbers_of(target)
    ids = dict(zip(numbers, target.text_ids.tolist(), strict=True))
    assert [ids[number] for number in numbers] == target.text_ids.tolist()  # copies share their number
    assert len(set(ids.values())) == N
    split_of = {int(row): name for name in ("train", "validation", "test") for row in getattr(target, name)}
    for number in (0, 2):
        rows = [row for row, n in enumerate(numbers) if n == number]
        assert len({split_of[row] for row in rows}) == 1
    assert "2 rows (8 %) repeat an image exactly; no image stands in two splits" in target.warnings
    assert "1 image occurs with more than one label; it was kept as it is" in target.warnings


def test_images_of_a_later_split_leave_the_training_rows(tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    class_folders(tmp_path / "test", n=6, first=22)  # 22 and 23 are in train
    target = load_target(tmp_path)
    assert target.n_leaked == 2
    assert target.n_dropped == {"leaked": 2}
    assert not set(numbers_of(target, target.train)) & set(numbers_of(target, target.test))
    assert target.warnings == (
        "leakage: 2 validation or test rows have an image that also occurs in train; the earlier copies (2 rows) were "
        "left out, so that scores are about new images",
        "2 rows (7 %) repeat an image exactly; no image stands in two splits",
    )
    class_folders(tmp_path / "test", n=N)
    with pytest.raises(DataError, match="24 of 24 train images occur again in validation or test") as caught:
        load_target(tmp_path)
    assert caught.value.why == "a score on images that were seen in training says nothing about new ones"


def test_files_are_read_only_where_their_sizes_are_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = bytes(range(256)) * 256
    contents = {
        "unique": b"u" * 10,
        "a": b"a" * 20,
        "b": b"b" * 20,
        "a again": b"a" * 20,
        "long": head + b"1",
        "long again": head + b"1",
        "long other": head + b"2",
        "empty": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    opened = []
    digest = images._digest
    monkeypatch.setattr(images, "_digest", lambda name, **more: opened.append(Path(name).name) or digest(name, **more))
    keys = contents_of([str(tmp_path / name) for name in contents] + [str(tmp_path / "gone"), None], held={})
    assert pd.factorize(keys)[0].tolist() == [0, 1, 2, 1, 3, 3, 4, 5, 5, 5]
    assert keys[-3:].tolist() == [0, 0, 0]  # empty, gone, none
    assert "unique" not in opened
    assert opened.count("a") == 1
    assert opened.count("long") == 2  # its beginning, then all of it


def test_equal_images_in_memory_are_found(tmp_path: Path) -> None:
    palette = Image.fromarray(pixels(0)).quantize(4)
    other = palette.copy()
    other.putpalette([200, 0, 0] * 4)
    given = [pixels(0), pixels(0), pixels(0).transpose(1, 0, 2), pixels(0).reshape(4, 16, 3)]
    given += [palette, palette.copy(), other, encoded(1), encoded(1), None]
    keys = contents_of([f"m/{i}" for i in range(len(given))], held={"m": given})
    assert pd.factorize(keys)[0].tolist() == [0, 0, 1, 2, 3, 3, 4, 5, 5, 6]
    assert keys[-1] == 0
    path = put(tmp_path / "1.png", 1)
    same = contents_of([str(path), "m/7"], held={"m": given})
    assert same[0] == same[1]  # a file and its bytes


def test_all_images_alike_are_refused(tmp_path: Path) -> None:
    for i in range(12):
        put(tmp_path / ("cat", "dog")[i % 2] / f"{i}.png", 0)
    with pytest.raises(DataError, match="all images in column 'image' are identical") as caught:
        load_target(tmp_path)
    assert caught.value.why == "identical images cannot be told apart, whatever their labels"


def test_rare_classes_are_refused_or_dropped(tmp_path: Path) -> None:
    class_folders(tmp_path)
    put(tmp_path / "bird" / "1.png", 60)
    for i in range(6):
        put(tmp_path / "fish" / f"{i}.png", 61)  # six copies are one image
    with pytest.raises(DataError, match="2 classes are too small to divide: 'bird' has 1, 'fish' has 1") as caught:
        load_target(tmp_path)
    assert caught.value.why.startswith("each class needs 5 different training images: 3 to learn from")
    target = load_target(tmp_path, drop_rare=True)
    assert labelled(target) == CATS_AND_DOGS
    assert target.n_dropped == {"rare_class": 7}
    assert len(target.text_ids) == N


def test_groups_stay_together(tmp_path: Path) -> None:
    frame = table(tmp_path, n=60, patient=[f"p{i // 6}" for i in range(60)])
    frame.to_csv(tmp_path / "all.csv", index=False)
    target = load_target(tmp_path, group="patient")
    assert target.columns == {"image": "image", "label": "label", "group": "patient"}
    groups = [set(target.groups[rows].tolist()) for rows in (target.train, target.validation, target.test)]
    assert all(groups)
    assert len(groups[0] | groups[1] | groups[2]) == sum(map(len, groups)) == 10


def test_the_fingerprint_is_of_the_content_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_target(class_folders(tmp_path / "a" / "pets"))
    moved = load_target(class_folders(tmp_path / "b" / "pets"))
    assert first.fingerprint == moved.fingerprint
    monkeypatch.chdir(tmp_path / "b")
    assert load_target("pets").fingerprint == first.fingerprint
    (tmp_path / "b" / "pets" / "cat" / "000.png").rename(tmp_path / "b" / "pets" / "dog" / "000.png")
    assert load_target("pets").fingerprint != first.fingerprint
    put(tmp_path / "a" / "pets" / "cat" / "000.png", 99)
    assert load_target(tmp_path / "a" / "pets").fingerprint != first.fingerprint
    arrays = np.stack([pixels(i) for i in range(N)])
    labels = [0, 1] * (N // 2)
    changed = arrays.copy()
    changed[5, 0, 0, 0] ^= 1
    same = load_target((arrays, labels)).fingerprint
    assert load_target((arrays.copy(), labels)).fingerprint == same
    assert load_target((changed, labels)).fingerprint != same


# --- array files


SPLITS = {"train": range(24), "val": range(24, 30), "test": range(30, 36)}


def stacked(numbers: range) -> np.ndarray:
    return np.stack([pixels(i) for i in numbers])


@pytest.mark.parametrize("names", ["X_{}/y_{}", "x_{}/labels_{}", "{}_images/{}_labels"])
def test_array_files_hold_pairs_for_each_split(names: str, tmp_path: Path) -> None:
    x, y = names.split("/")
    arrays = {}
    for split, numbers in SPLITS.items():
        arrays[x.replace("{}", split)] = stacked(numbers)
        arrays[y.replace("{}", split)] = np.array([i % 2 for i in numbers])[:, None]
    np.savez(tmp_path / "pets.npz", **arrays, extra=np.zeros(3))
    target = load_target(tmp_path / "pets.npz")
    assert (target.name, target.kind, target.class_names) == ("pets", "image", ("0", "1"))
    assert target.given_splits == ("train", "validation", "test")
    assert sorted(numbers_of(target, target.test)) == list(range(30, 36))
    assert labelled(target) == {i: str(i % 2) for i in range(36)}


@pytest.mark.parametrize("names", [("X_all", "y_all"), ("images", "labels"), ("data", "target"), ("x", "y")])
def test_array_files_hold_one_pair(names: tuple[str, str], tmp_path: Path) -> None:
    arrays = {names[0]: stacked(range(N)), names[1]: np.arange(N) % 2}
    np.savez_compressed(tmp_path / "a.npz", **arrays, class_names=np.array(["dog", "cat"]))
    target = load_target(tmp_path / "a.npz")
    assert target.class_names == ("dog", "cat")
    assert labelled(target) == {i: ("dog", "cat")[i % 2] for i in range(N)}
    assert target.texts_at([3]) == [f"{tmp_path / 'a.npz'}:{names[0]}/3"]


@pytest.mark.parametrize("labels", [np.array(["cat", "dog"] * 12), np.array([b"cat", b"dog"] * 12)])
def test_labels_of_array_files_may_be_words(labels: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=stacked(range(N)), labels=labels)
    assert labelled(load_target(tmp_path / "a.npz")) == CATS_AND_DOGS


def test_a_test_array_without_labels_is_left_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=stacked(range(N)), y_train=np.arange(N) % 2, x_test=stacked(range(30, 36)))
    target = load_target(tmp_path / "a.npz")
    assert target.n_examples == N
    assert target.warnings == (f"the test split of {tmp_path / 'a.npz'} has no labels: it was not used",)
    assert len(read_images(tmp_path / "a.npz")[0]) == 6


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 8, 6), (5, 8, 6)),
        ((5, 8, 6, 1), (5, 8, 6, 1)),
        ((5, 8, 6, 3), (5, 8, 6, 3)),
        ((5, 8, 6, 4), (5, 8, 6, 4)),
        ((5, 3, 8, 6), (5, 8, 6, 3)),
        ((5, 1, 8, 6), (5, 8, 6, 1)),
    ],
)
def test_shapes_of_arrays(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, size=shape, dtype=np.uint8)
    found = as_pixels(array, place="x")
    assert found.shape == expected
    assert np.shares_memory(found, array)  # bytes are not copied
    assert found.astype(int).sum() == array.astype(int).sum()
    if shape[1] == 3:
        np.testing.assert_array_equal(found[2, :, :, 1], array[2, 1])


def test_scales_of_arrays() -> None:
    grey = np.arange(2 * 4 * 32).reshape(2, 4, 32)  # 0..255
    for given in (grey, grey / 255, grey.astype(np.float32), grey.astype(np.int16)):
        found = as_pixels(given, place="x")
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, grey)
    np.testing.assert_array_equal(as_pixels(grey > 100, place="x"), (grey > 100) * 255)
    deep = as_pixels(grey * 257, place="x")
    assert deep.dtype == np.uint16
    np.testing.assert_array_equal(deep, grey * 257)
    dark = np.stack([np.ones((4, 4)), np.full((4, 4), 200.0)])
    np.testing.assert_array_equal(as_pixels(dark, place="x"), dark)  # not 255: the scale is that of all images
    many = np.linspace(0, 1, 2100 * 16).reshape(2100, 4, 4)
    np.testing.assert_array_equal(as_pixels(many, place="x"), np.rint(many * 255))


def test_arrays_that_are_no_images_are_refused() -> None:
    for shape in ((5,), (5, 784), (5, 8, 8, 2), (5, 2, 8, 8), (5, 8, 8, 8, 3)):
        with pytest.raises(DataError, match="these are no images"):
            as_pixels(np.zeros(shape, np.uint8), place="x")
    with pytest.raises(DataError, match="these are no images"):
        as_pixels(np.zeros((5, 8, 8), "U3"), place="x")
    for low, high, shown in ((-1, 1, "-1 to 1"), (0, 300.5, "0 to 300.5"), (0, np.nan, "nan")):
        with pytest.raises(DataError, match=f"x holds values from .*{shown}"):
            as_pixels(np.array([low, high, 0, 0], float).reshape(1, 2, 2), place="x")


def save_arrays(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def test_array_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    x, y = stacked(range(N)), np.arange(N) % 2
    path = tmp_path / "a.npz"
    save_arrays(path, images=x, labels=y[:-1])
    with pytest.raises(DataError, match="24 images in 'images' but 23 labels in 'labels'"):
        load_target(path)
    save_arrays(path, foo=x, bar=y)
    with pytest.raises(DataError, match="not clear which arrays hold the images") as caught:
        load_target(path)
    assert caught.value.why == "they are told by their names; it holds: foo, bar"
    save_arrays(path, images=x, x=x, y=y)
    with pytest.raises(DataError, match="'images' and 'x' could both be meant"):
        load_target(path)
    save_arrays(path, images=x, labels=np.eye(N, dtype=int))
    with pytest.raises(DataError, match=r"array 'labels' has the shape \(24, 24\)") as caught:
        load_target(path)
    assert "argmax" in caught.value.fix
    save_arrays(path, images=x.reshape(N, -1), labels=y)
    with pytest.raises(DataError, match=r"array 'images' has the shape \(24, 192\)"):
        load_target(path)
    save_arrays(path, images=x, labels=y, class_names=np.array(["only"]))
    with pytest.raises(DataError, match="label 1 in column 'label' has no name"):
        load_target(path)
    save_arrays(path, images=x[:0], labels=y[:0])
    with pytest.raises(DataError, match=r"a\.npz is empty"):
        load_target(path)
    save_arrays(path, images=x)
    with pytest.raises(DataError, match="holds images but no labels"):
        load_target(path)


def test_pickled_arrays_are_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    trap = np.array([Trap()] * N, dtype=object)
    save_arrays(tmp_path / "a.npz", images=stacked(range(N)), labels=trap)
    with pytest.raises(DataError, match="array 'labels' holds Python objects"):
        load_target(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(b"\x80\x04\x95 a pickle with another name")
    with pytest.raises(DataError, match="holds Python objects"):
        load_target(tmp_path / "b.npz")
    assert not (tmp_path / "sprung").exists()


def test_damaged_array_files_are_refused(tmp_path: Path) -> None:
    whole = save_arrays(tmp_path / "a.npz", images=stacked(range(N)), labels=np.arange(N) % 2).read_bytes()
    damaged = bytearray(whole)
    damaged[2000] ^= 255
    for content in (whole[: len(whole) // 2], bytes(damaged), b"PK\x03\x04"):
        (tmp_path / "b.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"b\.npz cannot be read as an array file"):
            load_target(tmp_path / "b.npz")


# --- tables


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("column", ["image", "path", "file_name", "anything"])
def test_tables_name_images_by_paths_relative_to_them(suffix: str, column: str, tmp_path: Path) -> None:
    frame = table(tmp_path / "pets", column=column)
    path = tmp_path / "pets" / f"rows.{suffix}"
    if suffix == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif suffix == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
    target = load_target(path)
    assert (target.kind, target.columns["image"]) == ("image", column)
    assert labelled(target) == CATS_AND_DOGS
    assert target.fingerprint == load_target(path, image=column).fingerprint


def test_a_folder_with_a_table_and_images_is_the_table(tmp_path: Path) -> None:
    class_folders(tmp_path)
    frame = pd.DataFrame({"path": [f"{n}/{i:03}.png" for i, n in CATS_AND_DOGS.items()], "kind": ["x", "y"] * 12})
    frame.to_csv(tmp_path / "train.csv", index=False)
    target = load_target(tmp_path, label="kind")
    assert labelled(target) == {i: ("x", "y")[i % 2] for i in range(N)}


def test_absolute_paths_and_paths_upwards_are_followed_where_the_user_says_so(tmp_path: Path) -> None:
    frame = table(tmp_path)
    frame["image"] = [str(tmp_path / name) if i % 3 else f"../{name}" for i, name in enumerate(frame["image"])]
    (tmp_path / "deep").mkdir()
    frame.to_csv(tmp_path / "deep" / "a.csv", index=False)
    with pytest.raises(DataError, match="24 of 24 image paths in column 'image' lead outside"):
        load_target(tmp_path / "deep" / "a.csv")
    assert labelled(load_target(tmp_path / "deep" / "a.csv", images_root=tmp_path / "files")) == CATS_AND_DOGS


def test_data_frames_name_paths_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = table(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert labelled(load_target(frame)) == CATS_AND_DOGS
    frame["image"] = [tmp_path / name for name in frame["image"]]
    assert labelled(load_target(frame)) == CATS_AND_DOGS
    assert labelled(load_target({"train": frame[:20], "test": frame[20:]})) == CATS_AND_DOGS


def test_missing_images_are_left_out_and_counted(tmp_path: Path) -> None:
    frame = table(tmp_path, n=30)
    (tmp_path / "files" / "003.png").unlink()
    (tmp_path / "files" / "004.png").write_bytes(b"")
    frame.loc[5, "image"] = " "
    frame.loc[6, "label"] = ""
    frame.loc[7, "image"] = "files"  # a folder
    frame.to_csv(tmp_path / "a.csv", index=False)
    target = load_target(tmp_path / "a.csv")
    assert sorted(numbers_of(target)) == [0, 1, 2, *range(8, 30)]
    assert target.n_dropped == {"missing_label": 1, "missing_image": 4}
    assert target.warnings == (
        "1 row was left out (3 %) for want of a label",
        f"4 rows were left out (13 %) for want of an image, such as {tmp_path / 'files' / '003.png'}",
    )


def test_most_images_missing_is_an_error(tmp_path: Path) -> None:
    frame = table(tmp_path / "pets")
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match="24 of 24 images in column 'image' are missing or empty, such as") as caught:
        load_target(tmp_path / "a.csv")
    assert caught.value.why == f"paths are taken relative to {tmp_path}"
    with pytest.raises(DataError) as caught:
        load_target(frame.assign(image="https://example.org/1.png"))
    assert caught.value.why.endswith("the current folder; addresses on the web are not downloaded")


IN_MEMORY = {
    "PIL": lambda i: Image.fromarray(pixels(i)),
    "array": pixels,
    "bytes": encoded,
    "datasets": lambda i: {"bytes": encoded(i), "path": None},
}


@pytest.mark.parametrize("kind", IN_MEMORY)
def test_data_frames_hold_images(kind: str) -> None:
    values: list[Any] = [IN_MEMORY[kind](i) for i in range(N)]
    frame = pd.DataFrame({"photo": pd.Series(values, dtype=object), "label": ["cat", "dog"] * 12})
    assert labelled(load_target(frame)) == CATS_AND_DOGS
    frame.loc[4, "photo"] = None
    target = load_target(pd.concat([frame, frame[:1]]))
    assert labelled(target) == {i: name for i, name in CATS_AND_DOGS.items() if i != 4}
    assert (target.n_dropped, target.n_duplicates) == ({"missing_image": 1}, 1)


@pytest.mark.parametrize("kind", IN_MEMORY)
def test_lists_of_images_and_labels(kind: str) -> None:
    values = [IN_MEMORY[kind](i) for i in range(N)]
    target = load_target((values, list(CATS_AND_DOGS.values())))
    assert labelled(target) == CATS_AND_DOGS
    assert len(read_images(values)[0][:]) == N
    with pytest.raises(DataError, match="24 images but 23 labels"):
        load_target((values, [0] * 23))
    with pytest.raises(DataError, match="what stands at position 3 is of type int, not an image"):
        load_target(([*values[:3], 7], [0, 1, 0, 1]))


def test_lists_of_paths_and_one_array(tmp_path: Path) -> None:
    paths = [put(tmp_path / f"{i}.png", i) for i in range(N)]
    labels = list(CATS_AND_DOGS.values())
    for given in (paths, list(map(str, paths)), stacked(range(N)), stacked(range(N)).transpose(0, 3, 1, 2) / 255):
        target = load_target((given, labels))
        assert target.kind == "image"
        assert labelled(target) == CATS_AND_DOGS


IMAGE_FEATURES = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})


def image_dataset(n: int = N, first: int = 0) -> datasets.Dataset:
    rows = [{"bytes": encoded(first + i), "path": f"{i}.png"} for i in range(n)]
    return datasets.Dataset.from_dict({"image": rows, "label": [i % 2 for i in range(n)]}, features=IMAGE_FEATURES)


def test_datasets_with_an_image_feature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = image_dataset()
    both = datasets.DatasetDict(train=dataset, test=image_dataset(6, first=40))
    both.save_to_disk(str(tmp_path / "saved"))
    monkeypatch.setattr(datasets.Image, "decode_example", None)  # nothing is decoded
    assert labelled(load_target(dataset)) == CATS_AND_DOGS
    assert labelled(load_target(dataset.shuffle(seed=1))) == CATS_AND_DOGS
    assert labelled(load_target(dataset.select(range(4, N)))) == {i: CATS_AND_DOGS[i] for i in range(4, N)}
    for given in (both, tmp_path / "saved"):
        target = load_target(given)
        assert sorted(numbers_of(target, target.test)) == list(range(40, 46))
        assert (target.n_examples, target.n_duplicates) == (30, 0)


def test_datasets_may_name_files_instead(tmp_path: Path) -> None:
    paths = [str(put(tmp_path / f"{i}.png", i)) for i in range(N)] + [None]
    columns = {"image": paths, "label": [*[i % 2 for i in range(N)], 0]}
    target = load_target(datasets.Dataset.from_dict(columns, features=IMAGE_FEATURES))
    assert labelled(target) == CATS_AND_DOGS
    assert target.n_dropped == {"missing_image": 1}


def test_parquet_files_with_images(tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    image_dataset(12).to_parquet(str(tmp_path / "pets" / "train-00000-of-00002.parquet"))
    image_dataset(12, first=12).to_parquet(str(tmp_path / "pets" / "train-00001-of-00002.parquet"))
    target = load_target(tmp_path / "pets")
    assert labelled(target) == CATS_AND_DOGS
    frame = pd.DataFrame({"picture": [encoded(i) for i in range(N)], "label": list(CATS_AND_DOGS.values())})
    frame.loc[3, "picture"] = None
    frame.to_parquet(tmp_path / "bytes.parquet")
    target = load_target(tmp_path / "bytes.parquet")
    assert labelled(target) == {i: name for i, name in CATS_AND_DOGS.items() if i != 3}


def test_images_in_a_text_table_are_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = datasets.Features({"text": datasets.Value("string"), **IMAGE_FEATURES})
    rows = {"text": [f"a caption with the number {i}" for i in range(N)], "label": [i % 2 for i in range(N)]}
    dataset = datasets.Dataset.from_dict(rows | {"image": [encoded(i) for i in range(N)]}, features=features)
    dataset.to_parquet(str(tmp_path / "a.parquet"))
    assert load_target(dataset, image="image").kind == "image"
    monkeypatch.setattr(images.EncodedColumn, "sizes", None)
    for given in (dataset, tmp_path / "a.parquet"):
        target = load_target(given)
        assert (target.kind, target.columns) == ("text", {"text": "text", "label": "label", "group": None})
        assert target.held == {}
        assert isinstance(kind_of(target).rows_at(target, [0]), list)


def test_a_sound_is_no_image() -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    assert images.holds_encoded_images(kind)
    assert not images.holds_encoded_images(kind, feature="Audio")


def test_the_column_of_images_is_guessed_only_where_no_column_holds_texts(tmp_path: Path) -> None:
    frame = table(tmp_path)
    frame["image"] = [str(tmp_path / name) for name in frame["image"]]
    texts = [f"a sentence with several words, number {i}" for i in range(N)]
    ids = [f"{i:08x}-aaaa-bbbb-cccc" for i in range(N)]
    assert load_target(frame.assign(uuid=ids)).kind == "image"
    assert load_target(frame.assign(review=texts)).columns["text"] == "review"
    with pytest.raises(DataError, match="several columns could hold the texts: image, words"):
        load_target(frame.assign(words=texts))
    assert load_target(frame.assign(words=texts), image="image").columns["image"] == "image"
    assert load_target(frame.assign(mask=frame["image"])).columns["image"] == "image"
    with pytest.raises(DataError, match="several columns could hold the images: left, right") as caught:
        load_target(frame.rename(columns={"image": "left"}).assign(right=frame["image"]))
    assert caught.value.fix == "pass --image with one of: left, label, right"


def test_options_are_checked(tmp_path: Path) -> None:
    frame = table(tmp_path, text=[f"text {i}" for i in range(N)], count=list(range(N)), tags=[["a"]] * N)
    with pytest.raises(DataError, match=r"has no column 'imag'\. Did you mean 'image'"):
        load_target(frame, image="imag")
    for column, kind in (("count", "int64"), ("tags", "list")):
        with pytest.raises(DataError, match=f"column '{column}' holds values of type {kind}.*, no images"):
            load_target(frame, image=column)
    with pytest.raises(OptionError, match="--image image and --text text contradict each other"):
        load_target(frame, image="image", text="text")
    for option in ("label", "group"):
        with pytest.raises(OptionError, match=f"--image and --{option} both name the column 'image'"):
            load_target(frame, image="image", **{option: "image"})


def test_a_test_file_has_a_folder_of_its_own(tmp_path: Path) -> None:
    table(tmp_path / "a").to_csv(tmp_path / "a" / "train.csv", index=False)
    other = table(tmp_path / "b", n=6)
    for i in range(6):
        put(tmp_path / "b" / "files" / f"{i:03}.png", 60 + i)
    other.to_csv(tmp_path / "b" / "test.csv", index=False)
    target = load_target(tmp_path / "a", test=tmp_path / "b" / "test.csv")
    assert sorted(numbers_of(target, target.test)) == list(range(60, 66))
    save_arrays(tmp_path / "c.npz", images=stacked(range(70, 76)), labels=np.array(["cat", "dog"] * 3))
    with pytest.raises(DataError, match=r"the test split of .* has no column 'image'|no labels"):
        load_target((tmp_path / "a"), test=save_arrays(tmp_path / "d.npz", images=stacked(range(70, 76))))
    target = load_target(tmp_path / "a", test=tmp_path / "c.npz")
    assert sorted(numbers_of(target, target.test)) == list(range(70, 76))
    class_folders(tmp_path / "e", n=6, first=80)
    target = load_target(tmp_path / "a", test=tmp_path / "e")
    assert sorted(numbers_of(target, target.test)) == list(range(80, 86))
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionError, match="is a folder"):
        load_target(tmp_path / "a", test=tmp_path / "empty")


# --- images without labels


def test_images_to_predict_come_in_order_with_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "new"
    paths = [put(folder / name, i) for i, name in enumerate(["a.png", "b.jpg", "deep/c.png"])]
    (folder / "notes.txt").write_text("x")
    array = stacked(range(3))
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"file": ["new/a.png", "new/b.jpg", "new/deep/c.png"]})
    frame.assign(file=["a.png", "b.jpg", "deep/c.png"]).to_csv(folder / "rows.csv", index=False)
    named = [str(path) for path in paths]
    for given, names in (
        (folder, named),
        (paths, named),
        (named, named),
        (folder / "rows.csv", named),
        (frame, list(frame["file"])),
        (array, [f"the images/{i}" for i in range(3)]),
        (list(array), [f"the images/{i}" for i in range(3)]),
    ):
        pictures, found, _ = read_images(given)
        assert found == names
        np.testing.assert_array_equal(np.stack([np.asarray(picture) for picture in pictures[:]]), array)
    assert read_images(paths[1])[1] == [str(paths[1])]
    assert len(read_images(Image.fromarray(array[0]))[0]) == 1
    assert read_images(frame, image="file")[1] == list(frame["file"])


def test_images_that_are_missing_stay_in_the_order(tmp_path: Path) -> None:
    path = put(tmp_path / "a.png", 1)
    pictures, names, _ = read_images([path, None, tmp_path / "gone.png", path])
    assert names == [str(path), "", str(tmp_path / "gone.png"), str(path)]
    assert len(pictures[:]) == 4
    assert sorted(pictures.unreadable) == [1, 2]


def test_of_several_splits_the_test_split_is_predicted(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", n=6)
    put(tmp_path / "test" / "1.png", 50)
    assert read_images(tmp_path)[1] == [str(tmp_path / "test" / "1.png")]


def test_data_without_images_is_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": [f"a text with several words {i}" for i in range(5)]})
    with pytest.raises(DataError, match="the data frame holds no images"):
        read_images(frame)
    with pytest.raises(DataError, match="there are no images"):
        read_images([])
    with pytest.raises(MissingFileError):
        read_images(tmp_path / "gone")
    class_folders(tmp_path)
    with pytest.raises(DataError, match="holds images, where texts are needed"):
        read_texts(tmp_path)


def test_one_image_is_not_taken_for_many() -> None:
    array = np.zeros((40, 30, 3), np.uint8)
    assert len(read_images(array)[0]) == 1
    assert len(read_images(np.zeros((5, 40, 30), np.uint8))[0]) == 5


def test_what_predictions_pass_over_is_said_and_odd_names_are_shown(tmp_path: Path) -> None:
    write_picture = Image.new("RGB", (8, 8)).save
    write_picture(tmp_path / "a.png")
    odd = os.path.join(os.fsencode(tmp_path), b"b\xff.png")
    with open(odd, "wb") as file:
        write_picture(file, "PNG")
    (tmp_path / "notes.txt").write_text("x")
    pictures, names, warnings = read_images(tmp_path)
    assert [Path(name).name for name in names] == ["a.png", r"b\xff.png"]
    assert len(pictures[:]) == 2
    assert not pictures.unreadable
    assert len(warnings) == 1
    assert "1 file that is no image was ignored" in warnings[0]


def test_arrays_without_labels_are_named_so(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((30, 8, 8), np.uint8))
    with pytest.raises(DataError, match="holds images but no labels"):
        load_target(tmp_path / "a.npz")
