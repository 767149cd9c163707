"""What the names of files and folders say of splits, alone and beside each other."""

from __future__ import annotations

import pytest

from advisor.data.splits import split_of_name, splits_of_siblings

NAMES = {
    "train": ["train", "Training", "TRAIN", "trn", "tr", "seg_train", "train_set", "trainset", "TrainSet", "X_train",
              "reviews.train", "my data train", "train-00000-of-00003", "train-00000-of-00001-a09b74b3ef9c3b56",
              "ag_news-train", "ag_news-train-00001-of-00002", "train2017", "train_1", "train-v2", "data_train_split",
              "trainData", "1_train"],
    "validation": ["validation", "valid", "val", "VAL", "dev", "eval", "Evaluation", "development", "imdb-dev",
                   "dev.set", "evalset", "val2017", "reviews_eval", "validation_data", "devset"],
    "test": ["test", "testing", "Testing", "tst", "my_data_test", "test-set", "test data", "testset", "hold_out",
             "holdout", "held-out", "reviews.test", "test.00000-of-00002", "Test File 2"],
    "all": ["all", "ALL"],
    None: ["test_tube", "training_shoes", "trainer", "contest", "latest", "attest", "train_test", "trainval",
           "train_val_split", "dev-test", "restrain", "asset", "dataset", "offset", "contestdata",
           "invalid", "value", "devices", "DevOps", "testimony", "testament",
           "train_station", "evaluate", "reviews", "", "2017", "_", "data", "all_seasons", "small", "test_small",
           "validation_matched", "travel"],
}  # fmt: skip


@pytest.mark.parametrize(("split", "name"), [(split, name) for split, names in NAMES.items() for name in names])
def test_the_split_a_name_stands_for(split: str | None, name: str) -> None:
    assert split_of_name(name) == split


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train", "test"], {"train": ("train",), "test": ("test",)}),
        (["Testing", "Training"], {"test": ("Testing",), "train": ("Training",)}),
        (["seg_pred", "seg_test", "seg_train"], {"test": ("seg_test",), "train": ("seg_train",)}),
        (["train", "unlabelled"], {"train": ("train",)}),
        (["train", "test", "dev"], {"train": ("train",), "test": ("test",), "validation": ("dev",)}),
        (["train_images", "test_images"], {"train": ("train_images",), "test": ("test_images",)}),
        (["imdb_train_clean", "imdb_test_clean"], {"train": ("imdb_train_clean",), "test": ("imdb_test_clean",)}),
        (["train", "my_test"], {"train": ("train",), "test": ("my_test",)}),
        (["train_1", "train_2", "test"], {"train": ("train_1", "train_2"), "test": ("test",)}),
        (["tr", "te"], {"train": ("tr",), "test": ("te",)}),
        (["train"], {"train": ("train",)}),
    ],
)
def test_names_beside_each_other_that_are_splits(names: list[str], splits: dict[str, tuple[str, ...]]) -> None:
    assert splits_of_siblings(names) == splits


@pytest.mark.parametrize(
    "names",
    [
        ["test_tube", "beaker"],
        ["training_shoes", "running_shoes"],
        ["train", "car", "bus"],  # ways to travel
        ["steam_train", "freight_train"],
        ["steam_train", "blood_test"],
        ["web_dev", "mobile_dev"],
        ["valid", "invalid"],
        ["en", "tr", "de"],
        ["tr"],
        ["steam_train"],
        ["train_test", "validation"],
        ["pred", "unlabelled"],
        [],
    ],
)
def test_names_beside_each_other_that_are_classes(names: list[str]) -> None:
    assert splits_of_siblings(names) is None
