"""Folders and dictionaries whose splits have other names than usual, and tables beside them that are not read."""

from __future__ import annotations

from pathlib import Path

import datasets
import pandas as pd
import pytest

from advisor.data.read import read_tables
from helpers.loading import load_target
from tuner.errors import DataError


def rows(n: int = 40, first: int = 0) -> pd.DataFrame:
    return pd.DataFrame(
        {"text": [f"sentence number {first + i} of many" for i in range(n)], "label": ["a", "b"] * (n // 2)}
    )


def folder_of(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        table = rows(first=100 * number)
        if name.endswith(".jsonl"):
            table.to_json(path, orient="records", lines=True)
        elif name.endswith(".parquet"):
            table.to_parquet(path)
        else:
            table.to_csv(path, index=False)
    return folder


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["training.csv", "testing.csv"], ["train", "test"]),
        (["reviews_train.csv", "reviews_test.csv", "reviews_dev.csv"], ["train", "validation", "test"]),
        (["train.csv", "eval.jsonl"], ["train", "validation"]),
        (["Train.csv", "Holdout.csv"], ["train", "test"]),
        (["train_set.csv", "test-set.csv"], ["train", "test"]),
        (["train_reviews.csv", "test_reviews.csv"], ["train", "test"]),
        (["trn.csv", "tst.csv"], ["train", "test"]),
        (["tr.csv", "te.csv"], ["train", "test"]),
        (["imdb-train-00000-of-00002.parquet", "imdb-train-00001-of-00002.parquet", "imdb-test-00000-of-00001.parquet"],
         ["train", "test"]),
        (["data/train-00000-of-00001-a09b74b3ef9c3b56.parquet", "data/test-00000-of-00001-b09b74b3ef9c3b56.parquet"],
         ["train", "test"]),
        (["train.csv", "development.csv", "evaluation.csv"], None),
    ],
)  # fmt: skip
def test_files_that_are_named_after_splits(tmp_path: Path, names: list[str], splits: list[str] | None) -> None:
    folder = folder_of(tmp_path, *names)
    if splits is None:
        with pytest.raises(DataError, match=r"more than one validation file: development.csv, evaluation.csv"):
            read_tables(folder)
        return
    tables = read_tables(folder)
    assert list(tables.parts) == splits
    assert sum(part.num_rows for part in tables.parts.values()) == 40 * len(names)
    assert tables.warnings == ()


@pytest.mark.parametrize(
    ("names", "unread"),
    [
        (["train.csv", "test.csv", "extra.csv"], "extra.csv was not read"),
        (["train.csv", "test.csv", "test_small.csv", "more.parquet"], "more.parquet, test_small.csv were not read"),
        (["train.csv", "test.csv", "test_1.csv"], "test_1.csv was not read"),
        (["train.csv", "old_train.csv"], "old_train.csv was not read"),
    ],
)
def test_tables_that_are_not_read_are_named(tmp_path: Path, names: list[str], unread: str) -> None:
    tables = read_tables(folder_of(tmp_path, *names))
    assert len(tables.warnings) == 1
    assert unread in tables.warnings[0]


def test_a_spreadsheet_or_packed_file_beside_the_splits_is_named_and_a_readme_is_not(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "train.csv")
    for name in ("test.xlsx", "test.csv.gz", "README.txt", "labels.json", "notes.zip", "meta.csv"):
        (folder / name).write_bytes(b"some bytes")
    assert read_tables(folder).warnings == (
        f"{folder}: test.csv.gz, test.xlsx were not read; the splits are train.csv",
    )


@pytest.mark.parametrize("names", [["training.csv", "reviews_train.csv"], ["X_train.csv", "y_train.csv"]])
def test_two_files_for_one_split_are_refused_and_named(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(DataError, match="more than one train file") as caught:
        read_tables(folder_of(tmp_path, *names))
    assert all(name in caught.value.what for name in names)


def test_languages_are_no_splits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file named train"):
        read_tables(folder_of(tmp_path, "reviews_tr.csv", "reviews_en.csv"))


def test_dictionaries_may_name_splits_otherwise() -> None:
    frames = {"training": rows(), "testing": rows(first=100)}
    assert list(read_tables(frames).parts) == ["train", "test"]
    with pytest.raises(DataError, match="two of the keys training, train name one split"):
        read_tables({"training": rows(), "train": rows()})
    given = {"Training": datasets.Dataset.from_pandas(rows()), "eval": datasets.Dataset.from_pandas(rows(first=100))}
    given["extra"] = datasets.Dataset.from_pandas(rows(first=200))
    tables = read_tables(datasets.DatasetDict(given))
    assert list(tables.parts) == ["train", "validation"]
    assert tables.warnings == ("the dataset has splits that were ignored: extra",)


def test_the_split_option_takes_other_names(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "training.csv", "testing.csv")
    assert load_target(folder, split="testing").n_examples == 40
    assert load_target(folder, split="test").n_examples == 40
