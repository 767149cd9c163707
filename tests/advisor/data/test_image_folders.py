"""Which folders of an image dataset are splits, classes or neither, whatever their names; metadata beside images."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from advisor.data.new_rows import read_images
from helpers.image_files import class_folders, labelled, put
from helpers.loading import load_target
from tuner.errors import DataError

ROUND, SQUARE = "round", "square"


def classes(folder: Path, first: int, *, n: int = 12, names: tuple[str, ...] = (ROUND, SQUARE)) -> Path:
    return class_folders(folder, n=n, names=names, first=first)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("training_set", "test_set"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("training_set/training_set", "test_set/test_set"),
        ("shapes_train", "shapes_test"),
        ("01_train", "02_test"),
        ("train/images", "test/images"),
        ("Shapes/train", "Shapes/test"),
        ("archive/shapes/train", "archive/shapes/test"),
        ("data/images/Train", "data/images/Test"),
    ],
)
def test_folders_are_splits_by_any_of_their_names(train: str, test: str, tmp_path: Path) -> None:
    classes(tmp_path / train, 0)
    classes(tmp_path / test, 20, n=6)
    target = load_target(tmp_path)
    assert (target.given_splits, target.class_names) == (("train", "test"), (ROUND, SQUARE))
    assert (target.n_examples, len(target.test), target.warnings) == (18, 6, ())
    assert len(read_images(tmp_path)[1]) == 6


@pytest.mark.parametrize("validation", ["eval", "Evaluation", "dev", "val", "valid"])
def test_folders_of_validation_images(validation: str, tmp_path: Path) -> None:
    classes(tmp_path / "train", 0)
    classes(tmp_path / validation, 20)
    assert load_target(tmp_path).given_splits == ("train", "validation")


def test_splits_may_lie_inside_the_classes(tmp_path: Path) -> None:
    for i, name in enumerate((ROUND, SQUARE)):
        classes(tmp_path / name, 40 * i, names=("train", "test"))
    target = load_target(tmp_path)
    assert (target.given_splits, target.class_names) == (("train", "test"), (ROUND, SQUARE))
    assert sorted(target.labels[target.test].tolist()) == [0] * 6 + [1] * 6
    assert all("/test/" in name for name in target.texts_at(target.test))


def test_a_folder_without_classes_beside_splits_is_named(tmp_path: Path) -> None:
    classes(tmp_path / "seg_train", 0)
    classes(tmp_path / "seg_test", 20)
    put(tmp_path / "seg_pred" / "seg_pred" / "1.png", 60)
    target = load_target(tmp_path)
    assert target.given_splits == ("train", "test")
    assert target.warnings == (f"{tmp_path}: 1 image outside the class folders was ignored (in seg_pred)",)


@pytest.mark.parametrize(
    "names",
    [("steam_train", "freight_train"), ("test_tube", "beaker"), ("valid", "invalid"), ("train", "bus"), ("tr", "de")],
)
def test_classes_whose_names_hold_those_of_splits(names: tuple[str, str], tmp_path: Path) -> None:
    classes(tmp_path, 0, names=names)
    target = load_target(tmp_path)
    assert (target.class_names, target.given_splits) == (tuple(sorted(names)), ())


@pytest.mark.parametrize("above", ["fold0 fold1 fold2", "1 2 3", "art photo", "train/fold_1 train/fold_2"])
def test_folders_that_hold_the_same_folders_are_refused(above: str, tmp_path: Path) -> None:
    for i, name in enumerate(above.split()):
        classes(tmp_path / name, 20 * i)
    first = above.split()[0].rpartition("/")[2]
    with pytest.raises(DataError, match=rf"{first}.* all hold the same folders.*'round' and 'square'") as caught:
        load_target(tmp_path)
    assert "keep one folder for each (round/, square/)" in caught.value.fix


def test_folds_need_not_hold_every_class(tmp_path: Path) -> None:
    classes(tmp_path / "fold1", 0, names=(ROUND, SQUARE, "star"))
    classes(tmp_path / "fold2", 20)
    with pytest.raises(DataError, match="fold1 and fold2 all hold the same folders: 'round' and 'square'"):
        load_target(tmp_path)


def test_folds_without_classes_are_no_classes(tmp_path: Path) -> None:
    classes(tmp_path, 0, names=("fold1", "fold2"))
    with pytest.raises(DataError, match="fold1 and fold2, which are named like folds"):
        load_target(tmp_path)


def test_classes_may_have_kinds_of_their_own(tmp_path: Path) -> None:
    classes(tmp_path / "cat", 0, names=("manx", "tabby"))
    classes(tmp_path / "dog", 20, names=("pug", "tabby"))
    assert load_target(tmp_path).class_names == ("cat", "dog")


def test_a_training_split_without_classes_is_said(tmp_path: Path) -> None:
    classes(tmp_path / "test", 0)
    put(tmp_path / "train" / "1.png", 60)
    with pytest.raises(DataError, match="in its train split, holds images but no class folders"):
        load_target(tmp_path)


# --- what is not used


@pytest.mark.parametrize(
    ("ending", "name"),
    [("HEIC", "HEIC"), ("cr2", "camera RAW"), ("svg", "SVG"), ("pdf", "PDF"), ("psd", "Photoshop"), ("dcm", "DICOM"),
     ("nii.gz", "NIfTI"), ("eps", "EPS")],
)  # fmt: skip
def test_folders_of_other_formats_are_told_to_convert(ending: str, name: str, tmp_path: Path) -> None:
    for i in range(6):
        path = tmp_path / (ROUND, SQUARE)[i % 2] / f"{i}.{ending}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    for read in (load_target, read_images):
        with pytest.raises(DataError, match=f"holds 6 {name} files and no image that can be read") as caught:
            read(tmp_path)
        assert "convert the pictures to JPEG or PNG" in caught.value.fix


def test_pictures_in_other_formats_and_tables_beside_classes_are_named(tmp_path: Path) -> None:
    classes(tmp_path, 0)
    (tmp_path / ROUND / "a.heic").write_bytes(b"x")
    (tmp_path / "labels.csv").write_text("a,b\n")
    assert load_target(tmp_path).warnings == (
        f"{tmp_path}: 1 HEIC file was not read, such as {tmp_path / ROUND / 'a.heic'}: convert pictures to JPEG or PNG "
        "to have them used",
        f"{tmp_path}: 1 table beside the images was not read: labels.csv",
    )


def test_very_deep_folders_are_refused(tmp_path: Path) -> None:
    classes(tmp_path, 0)
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(120):  # longer than a path may be
            os.mkdir("x" * 40)
            os.chdir("x" * 40)
    finally:
        os.chdir(here)
    with pytest.raises(DataError, match="holds folders in folders, too many for a path") as caught:
        load_target(tmp_path)
    assert len(caught.value.what) < 400


# --- metadata


def metadata(folder: Path, first: int, *, kind: str = "csv", n: int = 12, **columns: list[str]) -> Path:
    for i in range(n):
        put(folder / f"{i:03}.png", first + i)
    frame = pd.DataFrame({"file_name": [f"{i:03}.png" for i in range(n)], **columns})
    path = folder / f"metadata.{kind}"
    if kind == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif kind == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    return path


LABELS = [ROUND, SQUARE] * 6


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_metadata_says_what_the_images_beside_it_are(kind: str, tmp_path: Path) -> None:
    metadata(tmp_path, 0, kind=kind, label=LABELS)
    target = load_target(tmp_path)
    assert labelled(target) == dict(enumerate(LABELS))
    assert (target.columns["image"], target.warnings) == ("file_name", ())


@pytest.mark.parametrize("top", ["", "data"])
def test_each_split_may_have_metadata_of_its_own(top: str, tmp_path: Path) -> None:
    metadata(tmp_path / top / "train", 0, label=LABELS)
    metadata(tmp_path / top / "test", 20, label=LABELS)
    target = load_target(tmp_path)
    assert (target.given_splits, len(target.test), target.n_examples) == (("train", "test"), 12, 24)
    assert labelled(target) == {i + 20 * s: LABELS[i] for s in (0, 1) for i in range(12)}


def test_metadata_on_top_names_images_of_splits(tmp_path: Path) -> None:
    for i in range(24):
        put(tmp_path / ("train", "test")[i // 12] / f"{i}.png", i)
    names = [f"{('train', 'test')[i // 12]}/{i}.png" for i in range(24)]
    pd.DataFrame({"file_name": names, "label": LABELS * 2}).to_csv(tmp_path / "metadata.csv", index=False)
    target = load_target(tmp_path)
    assert (target.given_splits, len(target.test)) == (("train", "test"), 12)


def test_the_label_of_metadata_may_be_named_or_be_the_class_folder(tmp_path: Path) -> None:
    metadata(tmp_path / "a", 0, breed=LABELS, sex=["m"] * 6 + ["f"] * 6)
    assert labelled(load_target(tmp_path / "a", label="breed")) == dict(enumerate(LABELS))
    with pytest.raises(DataError, match="several columns could hold the labels: breed, sex"):
        load_target(tmp_path / "a")
    classes(tmp_path / "b", 0)
    names = [f"{LABELS[i]}/{i:03}.png" for i in range(12)]
    frame = pd.DataFrame({"file_name": names, "width": range(100, 112)})
    frame.to_csv(tmp_path / "b" / "metadata.csv", index=False)
    target = load_target(tmp_path / "b")
    assert labelled(target) == dict(enumerate(LABELS))


def test_images_that_metadata_does_not_name_are_counted(tmp_path: Path) -> None:
    path = metadata(tmp_path, 0, label=LABELS)
    put(tmp_path / "extra.png", 60)
    pd.read_csv(path).to_json(tmp_path / "metadata.jsonl", orient="records", lines=True)
    target = load_target(tmp_path)
    assert target.n_examples == 12
    assert target.warnings == (
        f"{tmp_path}: 1 image is not named in the metadata and was not used, such as {tmp_path / 'extra.png'}",
        f"{tmp_path}: 1 table beside the images was not read: metadata.jsonl",
    )
