"""Folders with one text a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from advisor.data.new_rows import read_new_texts
from advisor.data.read import read_tables
from helpers.loading import load_target
from tuner.errors import DataError


def fill(folder: Path, *names: str, encoding: str = "utf-8") -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"It was {path.parent.name} and {path.name}, at the café\n".encode(encoding))
    return folder


def test_splits_and_classes_are_folders(tmp_path: Path) -> None:
    names = [f"{split}/{kind}/{n}.txt" for split in ("train", "test") for kind in ("pos", "neg") for n in range(6)]
    fill(
        tmp_path / "aclImdb",
        *names,
        "train/unsup/1.txt",
        "train/unsup/2.txt",
        "train/urls.txt",
        "README",
        "train/pos/.x",
    )
    tables = read_tables(tmp_path)
    assert {split: part.num_rows for split, part in tables.parts.items()} == {"train": 12, "test": 12}
    assert tables.parts["train"].column("label").to_pylist() == ["neg"] * 6 + ["pos"] * 6
    assert tables.parts["test"].column("text")[0].as_py() == "It was neg and 0.txt, at the café"
    (warning,) = tables.warnings
    assert "3 text files in no class folder were not used (in train, train/unsup)" in warning


def test_classes_alone_are_divided_here(tmp_path: Path) -> None:
    fill(tmp_path, *(f"{kind}/{n}.txt" for kind in ("1", "2") for n in range(12)))
    target = load_target(tmp_path)
    assert (target.n_examples, target.class_names, target.given_splits) == (24, ("1", "2"), ())


def test_news_without_endings_in_another_encoding(tmp_path: Path) -> None:
    fill(tmp_path, *(f"news-bydate-train/sci.space/{n}" for n in range(5)), encoding="cp1252")
    fill(
        tmp_path,
        *(f"news-bydate-train/alt.b/{n}" for n in range(5)),
        *(f"news-bydate-test/alt.b/{n}" for n in range(2)),
    )
    tables = read_tables(tmp_path)
    assert {split: part.num_rows for split, part in tables.parts.items()} == {"train": 10, "test": 2}
    assert all("at the café" in text for text in tables.parts["train"].column("text").to_pylist())
    assert "5 files are not UTF-8, such as 0; they were read as Windows-1252" in tables.warnings[0]


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = fill(tmp_path / "outside", "secret.txt")
    folder = fill(tmp_path / "data", "a/1.txt", "b/1.txt")
    (folder / "a" / "2.txt").symlink_to(outside / "secret.txt")
    (folder / "c").symlink_to(outside)
    tables = read_tables(folder)
    assert tables.parts["all"].num_rows == 2
    assert "2 links were not followed" in tables.warnings[0]


def test_what_has_no_classes_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds one folder of text files, a, but no classes") as caught:
        read_tables(fill(tmp_path / "one", "a/1.txt", "b/picture.dat"))
    assert "CSV" in caught.value.fix
    folder = fill(tmp_path / "binary", "a/1.txt", "b/1.txt")
    (folder / "b" / "2.txt").write_bytes(b"a\0b")
    with pytest.raises(DataError, match=r"2\.txt is not a text file"):
        read_tables(folder)
    (folder / "b" / "2.txt").write_bytes("Příliš žluťoučký kůň úpěl ďábelské ódy".encode("cp1250"))
    with pytest.raises(DataError, match=r"2\.txt is not UTF-8, and its encoding cannot be told"):
        read_tables(folder)


def test_new_texts_need_no_classes(tmp_path: Path) -> None:
    folder = fill(tmp_path / "new", "b.txt", "a.txt")
    assert read_new_texts(folder) == (
        ["It was new and a.txt, at the café", "It was new and b.txt, at the café"],
        "text",
        (),
    )
