"""Paths of images in tables: read as people write them, and never followed out of the table's folder unasked."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from advisor import pipeline
from advisor.data.new_rows import read_images
from helpers.image_files import encoded, labelled, put
from helpers.loading import load_target
from tuner.errors import DataError, MissingFileError, OptionError

N = 12
LABELS = dict(enumerate(["cat", "dog"] * (N // 2)))


def written(
    folder: Path, cell: str, *, file: str = "images/{:03}.png", column: str = "image", suffix: str = ""
) -> Path:
    """A table whose cells are `cell` with the image's number in it; the images are called as `file` says."""
    for i in range(N):
        put(folder / file.format(i), i)
    path = folder / f"labels{suffix or '.csv'}"
    path.parent.mkdir(exist_ok=True, parents=True)
    pd.DataFrame({column: [cell.format(i) for i in range(N)], "label": list(LABELS.values())}).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("cell", "file"),
    [
        (r"images\{:03}.png", "images/{:03}.png"),
        (r".\images\{:03}.png", "images/{:03}.png"),
        ("./images/{:03}.png", "images/{:03}.png"),
        ("images/{:03}.PNG", "images/{:03}.png"),
        ("images/{:03}.jpg", "images/{:03}.JPG"),
        ("Images/{:03}.png", "images/{:03}.png"),
        ("my%20images/{:03}.png", "my images/{:03}.png"),
        ("100%25/{:03}.png", "100%25/{:03}.png"),
        ("caf\u00e9/{:03}.png", "cafe\u0301/{:03}.png"),
        ("{:03}.png", "images/{:03}.png"),
        ("{:03}.png", "train/pictures/{:03}.png"),
    ],
)
def test_paths_are_found_however_they_are_written(cell: str, file: str, tmp_path: Path) -> None:
    target = load_target(written(tmp_path, cell, file=file))
    assert labelled(target) == LABELS
    assert target.warnings == ()
    names = [str(tmp_path / file.format(i)) for i in range(N)]
    assert read_images(tmp_path / "labels.csv")[1] == names


@pytest.mark.parametrize("file", ["{:03}.png", "images/{:03}.jpg", "images/{:03}.JPEG"])
@pytest.mark.parametrize("column", ["id", "image_id", "name"])
def test_names_without_an_ending_are_those_of_images_at_hand(file: str, column: str, tmp_path: Path) -> None:
    target = load_target(written(tmp_path, "{:03}", file=file, column=column))
    assert (target.columns["image"], labelled(target)) == (column, LABELS)


def test_a_table_of_texts_beside_numbered_images_stays_one_of_texts(tmp_path: Path) -> None:
    for i in range(N):
        put(tmp_path / f"{i}.png", i)
    texts = [f"a long review of the film number {i}" for i in range(N)]
    frame = pd.DataFrame({"id": range(N), "comment": texts, "label": list(LABELS.values())})
    frame.to_csv(tmp_path / "a.csv", index=False)
    assert load_target(tmp_path / "a.csv").kind == "text"


def test_names_that_could_be_of_two_images_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a", "{:03}.png", file="masks/{:03}.png")
    written(tmp_path / "a", "{:03}.png")
    with pytest.raises(DataError, match=r"'000\.png' could be .*images/000\.png or .*masks/000\.png"):
        load_target(path)
    path = written(tmp_path / "b", "images/{:03}", column="path")
    written(tmp_path / "b", "images/{:03}", column="path", file="images/{:03}.jpg")
    with pytest.raises(DataError, match=r"'images/000' could be .*000\.jpg or 000\.png"):
        load_target(path, image="path")


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (r"C:\Users\me\{:03}.png", "12 of 12 paths in column 'image' are absolute paths of a Windows computer"),
        ("D:/data/{:03}.png", "absolute paths of a Windows computer"),
        (r"\\server\share\{:03}.png", "absolute paths of a Windows computer"),
        (
            "https://example.org/{:03}.png",
            "12 of 12 cells in column 'image' are addresses, such as https://example.org/0",
        ),
        ("s3://bucket/{:03}.png", "are addresses"),
        ("file:///tmp/{:03}.png", "are addresses"),
    ],
)
def test_paths_of_elsewhere_are_refused(cell: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        load_target(written(tmp_path, cell))


# --- out of the table's folder


def outside(tmp_path: Path, kind: str) -> tuple[Path, Path]:
    """A table in a folder of its own, and the folder with the images that it leads to."""
    store, own = tmp_path / "my store", tmp_path / "table"
    own.mkdir()
    cell = {"absolute": f"{store}/{{:03}}.png", "upwards": "../my store/{:03}.png", "folder": "images/{:03}.png"}
    path = written(own, cell.get(kind, "{:03}.png"), file="../my store/{:03}.png")
    if kind == "folder":
        (own / "images").symlink_to(store)
    elif kind == "files":
        for i in range(N):
            (own / f"{i:03}.png").symlink_to(store / f"{i:03}.png")
    return path, store


@pytest.mark.parametrize("kind", ["absolute", "upwards", "folder", "files"])
def test_paths_out_of_the_table_s_folder_need_the_user_s_word(kind: str, tmp_path: Path) -> None:
    path, store = outside(tmp_path, kind)
    for read in (load_target, read_images):
        with pytest.raises(
            DataError, match=f"12 of 12 image paths in column 'image' lead outside {path.parent}"
        ) as caught:
            read(path)
        assert f"--images-root {shlex.quote(str(store))}" in caught.value.fix
        assert "000.png" in caught.value.what
    assert labelled(load_target(path, images_root=store)) == LABELS
    assert labelled(load_target(path, images_root=tmp_path)) == LABELS
    assert len(read_images(path, images_root=str(store))[0][:]) == N
    with pytest.raises(DataError, match="lead outside"):
        load_target(path, images_root=path.parent)


def test_one_path_outside_is_enough(tmp_path: Path) -> None:
    path = written(tmp_path / "table", "images/{:03}.png")
    put(tmp_path / "secret.png", 50)
    path.write_text(path.read_text().replace("images/003.png", "images/../../secret.png"))
    with pytest.raises(DataError, match=r"1 of 12 image paths in column 'image' lead outside .*secret\.png"):
        load_target(path)


def test_a_folder_whose_name_begins_alike_is_outside(tmp_path: Path) -> None:
    path = written(tmp_path / "table", "../table2/{:03}.png", file="../table2/{:03}.png")
    with pytest.raises(DataError, match="lead outside"):
        load_target(path)


def test_paths_of_another_machine_are_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"lead outside .*, to no file on this machine, such as /kaggle/input/000"
    ) as caught:
        load_target(written(tmp_path, "/kaggle/input/{:03}.png"))
    assert "--images-root" not in caught.value.fix


def test_the_root_is_also_where_relative_paths_are_looked_for(tmp_path: Path) -> None:
    path = written(tmp_path / "table", "photos/{:03}.png", file="../store/photos/{:03}.png")
    assert labelled(load_target(path, images_root=tmp_path / "store")) == LABELS


def test_a_root_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "images/{:03}.png")
    with pytest.raises(MissingFileError, match="--images-root nowhere: there is no such folder"):
        load_target(path, images_root="nowhere")
    texts = pd.DataFrame({"text": [f"a review of film {i}" for i in range(N)], "label": list(LABELS.values())})
    for data in (texts, tmp_path / "folders"):
        if data is not texts:
            for i in range(N):
                put(tmp_path / "folders" / LABELS[i] / f"{i}.png", i)
        with pytest.raises(OptionError, match=r"--images-root .* does not go with this data"):
            load_target(data, images_root=tmp_path)


@pytest.mark.parametrize("job", [pipeline.recommend, pipeline.tune])
def test_the_next_command_says_it_too(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class WrittenError(Exception):
        pass

    def written_command(*args: Any, **options: Any) -> str:
        raise WrittenError(command(*args, **options))

    command = pipeline.command_of
    target = SimpleNamespace(name="", kind="image", task="image_classification", columns={}, class_names=("a", "b"))
    monkeypatch.setattr(pipeline, "load_target", lambda *_, **__: target)
    monkeypatch.setattr(pipeline, "load_fitting", lambda *_, **__: None)
    monkeypatch.setattr(pipeline, "command_of", written_command)
    with pytest.raises(WrittenError, match=r"^advisor tune labels\.csv --images-root '/data/my store'$"):
        job("labels.csv", images_root="/data/my store")


def test_what_python_names_may_lie_anywhere(tmp_path: Path) -> None:
    path, _ = outside(tmp_path, "absolute")
    assert labelled(load_target(pd.read_csv(path))) == LABELS


def test_paths_inside_parquet_images_stay_inside_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "secret.png", 50)
    put(tmp_path / "table" / "images" / "000.png", 0)
    rows = [{"bytes": encoded(i), "path": None} for i in range(N)]
    for named, inside in (("images/000.png", True), ("../secret.png", False), (str(tmp_path / "secret.png"), False)):
        rows[0] = {"bytes": None, "path": named}
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        columns = {"image": pa.array(rows, kind), "label": list(LABELS.values())}
        pa.parquet.write_table(pa.table(columns), tmp_path / "table" / "a.parquet")
        monkeypatch.chdir(tmp_path)
        if inside:
            assert labelled(load_target(tmp_path / "table" / "a.parquet")) == LABELS
            continue
        with pytest.raises(DataError, match=r"lead.* outside .*secret\.png"):
            load_target(tmp_path / "table" / "a.parquet")


def test_pipes_are_not_opened(tmp_path: Path) -> None:
    path = written(tmp_path, "images/{:03}.png")
    (tmp_path / "images" / "003.png").unlink()
    os.mkfifo(tmp_path / "images" / "003.png")
    assert load_target(path).n_examples == N - 1
    pictures, _, _ = read_images(path)
    assert len(pictures[:]) == N
    assert pictures.unreadable == {3: "it is a named pipe, not a file"}
    for name in ("data.csv", "data.npz", "data.parquet", "data.jsonl"):
        os.mkfifo(tmp_path / name)
        for read in (load_target, read_images):
            with pytest.raises(DataError, match="is a named pipe, not a file"):
                read(tmp_path / name)
