"""Anything a person may name -> tables per split, columns guessed or refused."""

from __future__ import annotations

import time
from pathlib import Path
from unittest.mock import Mock

import datasets
import numpy as np
import pandas as pd
import pytest

import tuner.hub
from advisor.data import read as read_module
from advisor.data.columns import choose_columns
from advisor.data.read import read_tables
from advisor.data.tables import concatenate
from tuner.errors import DataError, MissingFileError, OptionError

FRAME = pd.DataFrame({"text": [f"some words here {i}" for i in range(12)], "label": ["a", "b"] * 6})


def sizes(data: object, **options: str) -> dict[str, int]:
    return {name: table.num_rows for name, table in read_tables(data, **options).parts.items()}


def save(folder: Path, **rows: int) -> Path:
    folder.mkdir(exist_ok=True)
    for name, n_rows in rows.items():
        FRAME.head(n_rows).to_csv(folder / f"{name}.csv", index=False)
    return folder


def test_split_folders_know_the_usual_names_and_ignore_other_files(tmp_path: Path) -> None:
    folder = save(tmp_path / "d", train=8, dev=3, test=2)
    (folder / "README.md").write_text("about")
    (folder / "meta.json").write_text("{}")
    assert sizes(folder) == {"train": 8, "validation": 3, "test": 2}
    assert sizes(save(tmp_path / "v", Train=5, val=4)) == {"train": 5, "validation": 4}
    assert sizes(save(tmp_path / "a", all=6)) == {"all": 6}
    assert read_tables(folder).name == "d"


def test_shards_of_a_downloaded_repository_are_joined(tmp_path: Path) -> None:
    data = tmp_path / "repo" / "data"
    data.mkdir(parents=True)
    FRAME.head(5).to_parquet(data / "train-00000-of-00002.parquet")
    FRAME.tail(4).to_parquet(data / "train-00001-of-00002.parquet")
    FRAME.head(2).to_parquet(data / "test-00000-of-00001.parquet")
    assert sizes(tmp_path / "repo") == {"train": 9, "test": 2}


def test_without_a_training_split_the_rest_is_used_and_said(tmp_path: Path) -> None:
    both = read_tables(save(tmp_path / "both", validation=5, test=3))
    assert {name: table.num_rows for name, table in both.parts.items()} == {"train": 5, "test": 3}
    assert "its validation split is trained on" in both.warnings[0]
    alone = read_tables(save(tmp_path / "alone", test=6))
    assert set(alone.parts) == {"all"}
    assert "has a test split only" in alone.warnings[0]


def test_all_beside_splits(tmp_path: Path) -> None:
    tables = read_tables(save(tmp_path / "x", all=7, train=4))
    assert {name: table.num_rows for name, table in tables.parts.items()} == {"train": 4}
    assert "all.* was ignored" in tables.warnings[0]
    assert sizes(save(tmp_path / "y", all=7, test=4)) == {"train": 7, "test": 4}


def test_one_split_can_be_chosen(tmp_path: Path) -> None:
    folder = save(tmp_path / "d", train=8, dev=3)
    assert sizes(folder, split="val") == {"all": 3}
    with pytest.raises(OptionError, match=r"has no such split\. Did you mean 'train'") as caught:
        read_tables(folder, split="trian")
    assert caught.value.fix == "choose one of: train, validation"
    with pytest.raises(OptionError, match="has no splits"):
        read_tables(FRAME, split="train")


def test_two_files_for_one_split_are_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "d", train=8)
    FRAME.to_parquet(folder / "train.parquet")
    with pytest.raises(DataError, match=r"more than one train file: train\.csv, train\.parquet"):
        read_tables(folder)


def test_folders_without_split_files_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="empty is empty"):
        read_tables(empty)
    with pytest.raises(DataError, match=r"no file named train\.\*") as caught:
        read_tables(save(tmp_path / "d", reviews=4))
    assert "it holds reviews.csv" in caught.value.why
    assert caught.value.fix.endswith("reviews.csv")
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.md").write_text("x")
    with pytest.raises(DataError) as caught:
        read_tables(other)
    assert "name the files train.csv" in caught.value.fix


def test_image_folders_are_tables_of_paths_and_class_names(tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "1.png").write_bytes(b"\x89PNG")
    tables = read_tables(tmp_path / "images")
    assert tables.parts["all"].to_pylist() == [
        {"image": {"image": str(tmp_path / "images" / name / "1.png")}, "label": name} for name in ("cats", "dogs")
    ]


def test_saved_datasets_and_dataset_dicts_are_read(tmp_path: Path) -> None:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    dataset = datasets.Dataset.from_dict(
        {"text": [f"t {i}" for i in range(10)], "label": [0, 1] * 5}, features=features
    )
    splits = datasets.DatasetDict(train=dataset, test=dataset.select(range(4)), unsupervised=dataset)
    dataset.shuffle(seed=1).save_to_disk(tmp_path / "one")
    splits.save_to_disk(tmp_path / "many")
    one = read_tables(tmp_path / "one")
    assert one.class_names == {"label": ("no", "yes")}
    assert sorted(one.parts["all"].column("text").to_pylist()) == sorted(dataset["text"][:])
    for many in (read_tables(tmp_path / "many"), read_tables(splits)):
        assert {name: table.num_rows for name, table in many.parts.items()} == {"train": 10, "test": 4}
        assert "ignored: unsupervised" in many.warnings[0]
    assert sizes(dataset.filter(lambda row: row["label"] == 1)) == {"all": 5}
    next((tmp_path / "one").glob("*.arrow")).unlink()
    with pytest.raises(DataError, match="cannot be loaded as a saved dataset"):
        read_tables(tmp_path / "one")


def test_datasets_without_usable_splits_and_streams_are_refused() -> None:
    dataset = datasets.Dataset.from_dict({"text": ["x"], "label": [0]})
    with pytest.raises(DataError, match="no split named train, validation or test"):
        read_tables(datasets.DatasetDict(left=dataset, right=dataset))
    with pytest.raises(DataError, match="stream of unknown length"):
        read_tables(dataset.to_iterable_dataset())


def test_data_in_memory_is_read() -> None:
    assert sizes(FRAME) == {"all": 12}
    assert sizes({"train": FRAME, "dev": FRAME.head(2)}) == {"train": 12, "validation": 2}
    table = read_tables((["a", None], np.array([True, False]))).parts["all"]
    assert table.to_pydict() == {"text": ["a", None], "label": [True, False]}
    odd = pd.DataFrame({0: ["a", "b"], "m": [1, "x"], "n": [[1], [2]], "c": pd.Categorical(["u", "v"])})
    table = read_tables(odd).parts["all"]
    assert table.column_names == ["0", "m", "n", "c"]
    assert table.column("m").to_pylist() == ["1", "x"]
    assert table.column("c").to_pylist() == ["u", "v"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((["a", "b"], [1]), "2 texts but 1 labels"),
        ((["a", 3], [1, 2]), "the text at position 1 is of type int, not str"),
        (([], []), "the lists is empty"),
        (FRAME.head(0), "the data frame is empty"),
        (pd.DataFrame([["a", "b"]], columns=["text", "text"]), "column names occur more than once: text"),
        ({"left": FRAME}, "a dictionary with the keys left cannot be read"),
        (42, "data of type int cannot be read"),
    ],
)
def test_data_in_memory_that_cannot_be_read(data: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_tables(data)


def test_missing_files_name_the_closest_one(tmp_path: Path) -> None:
    folder = save(tmp_path / "d", Reviews=4)
    with pytest.raises(MissingFileError, match=r"Did you mean 'Reviews\.csv'\?"):
        read_tables(folder / "reviews.csv")
    with pytest.raises(MissingFileError, match="there is no folder"):
        read_tables(folder / "sub" / "train.csv")
    with pytest.raises(MissingFileError, match="no dataset was named"):
        read_tables(" ")


def test_names_that_look_like_paths_are_missing_files_and_not_hub_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(save(tmp_path / "d", trec=4))
    (tmp_path / "d" / "sets").mkdir()
    for name in (
        "./reviews",
        "/no/such",
        "reviews.csv",
        "sets/reviews",
        "trec.cvs",
        "a.conll",
        "my/a.BIO",
        "~/nowhere/x",
    ):
        with pytest.raises(MissingFileError, match="does not exist"):
            read_tables(name)


def test_hub_ids_without_a_network_are_answered_soon_and_say_what_to_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    start = time.process_time()
    with pytest.raises(MissingFileError, match="HF_HUB_OFFLINE is set and it is not in the local cache") as caught:
        read_tables("someone/reviews")
    assert time.process_time() - start < 10
    assert "hf download someone/reviews --repo-type dataset --local-dir reviews" in caught.value.fix
    monkeypatch.delenv("HF_HUB_OFFLINE")
    tuner.hub.ask_hub.cache_clear()
    start = time.process_time()
    with pytest.raises(MissingFileError, match="the hub cannot be reached from here"):
        read_tables("someone/reviews")
    assert time.process_time() - start < 10


def test_hub_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(read_module, "ask_hub", lambda name, kind: "missing")
    with pytest.raises(MissingFileError, match="nor a dataset on the hub that may be read") as caught:
        read_tables("someone/private")
    assert "hf auth login" in caught.value.fix
    monkeypatch.setattr(read_module, "ask_hub", lambda name, kind: "found")
    loaded = datasets.DatasetDict(train=datasets.Dataset.from_pandas(FRAME))
    monkeypatch.setattr(datasets, "load_dataset", lambda name: loaded)
    tables = read_tables("someone/reviews")
    assert (tables.name, {name: part.num_rows for name, part in tables.parts.items()}) == ("reviews", {"train": 12})

    def fails(_name: str) -> None:
        raise ConnectionError("half-way through\nand more")

    monkeypatch.setattr(datasets, "load_dataset", fails)
    with pytest.raises(MissingFileError, match=r"cannot be fetched as a hub dataset: half-way through\n"):
        read_tables("someone/reviews")

    def needs_configuration(name: str) -> None:
        raise ValueError("Config name is missing.\nPlease pick one")

    monkeypatch.setattr(datasets, "load_dataset", needs_configuration)
    with pytest.raises(DataError, match=r"cannot be loaded from the hub \(Config name is missing\.\)"):
        read_tables("someone/reviews")


def test_a_hub_that_never_answers_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def hangs(*_args: object, **_kwargs: object) -> None:
        time.sleep(30)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", hangs)
    monkeypatch.setattr(tuner.hub, "HUB_SECONDS", 0.2)
    tuner.hub.ask_hub.cache_clear()
    start = time.process_time()
    assert tuner.hub.ask_hub("someone/reviews", "dataset") == "unreachable"
    assert time.process_time() - start < 5
    tuner.hub.ask_hub.cache_clear()


@pytest.mark.parametrize(
    ("status", "answer"), [(404, "missing"), (401, "missing"), (403, "unreachable"), (503, "unreachable")]
)
def test_what_the_hub_answers(monkeypatch: pytest.MonkeyPatch, status: int, answer: str) -> None:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    def refuses(*_args: object, **_kwargs: object) -> None:
        raise HfHubHTTPError("no", response=Mock(status_code=status, headers={}))

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuses)
    tuner.hub.ask_hub.cache_clear()
    assert tuner.hub.ask_hub("someone/model", "model") == answer
    tuner.hub.ask_hub.cache_clear()


def test_files_with_different_kinds_of_values_are_joined_as_text() -> None:
    left, right = (read_tables(pd.DataFrame({"label": values})).parts["all"] for values in ([1, 2], ["x", "y"]))
    assert concatenate([left, right], place="here").column("label").to_pylist() == ["1", "2", "x", "y"]
    nested = read_tables(pd.DataFrame({"label": [[1, 2], [2]]})).parts["all"]
    with pytest.raises(DataError, match="the columns label hold different kinds of values"):
        concatenate([right, nested], place="here")


# --- which column is which


def chosen(frame: pd.DataFrame, **options: object) -> tuple[str, str | None]:
    columns = choose_columns(read_tables(frame).parts["all"], place="data", **options)
    return columns.content, columns.label


LONG = [f"a sentence with several words, number {i}" for i in range(40)]


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ({"Text": LONG, "LABEL": [0, 1] * 20}, ("Text", "LABEL")),
        ({"title": LONG, "text": LONG, "sentiment": ["p", "n"] * 20}, ("text", "sentiment")),
        ({"review": LONG, "label": ["p", "n"] * 20, "label_id": [7, 3] * 20}, ("review", "label")),
        ({"text": LONG, "label": ["A", "B"] * 20, "label_fine": ["A1", "B1", "A2", "B2"] * 10}, ("text", "label")),
        ({"text": LONG, "target": [0, 1] * 20, "category": ["p", "n"] * 20}, ("text", "category")),
        ({"text": LONG, "label_id": [0, 1] * 20}, ("text", "label_id")),
        ({"id": range(40), "words spoken": LONG, "answer": ["p", "n"] * 20}, ("words spoken", "answer")),
        ({"0": LONG, "kind": ["p", "n"] * 20, "price": [i / 7 for i in range(40)]}, ("0", "kind")),
    ],
)
def test_columns_are_guessed(frame: dict[str, list[object]], expected: tuple[str, str]) -> None:
    assert chosen(pd.DataFrame(frame)) == expected


def test_a_table_sorted_by_label_is_sampled_from_everywhere() -> None:
    frame = pd.DataFrame(
        {"words": [f"{t} {i}" for i, t in enumerate(LONG * 750)], "kind": np.repeat(["a", "b"], 15_000)}
    )
    assert chosen(frame) == ("words", "kind")


@pytest.mark.parametrize(
    ("frame", "message", "fix"),
    [
        ({"text": LONG, "intent": ["p", "n"] * 20, "topic": ["a", "a", "b", "b"] * 10},
         "several columns could hold the labels: intent, topic", "pass --label with one of: text, intent, topic"),
        ({"question": LONG, "sentence": LONG, "label": [0, 1] * 20},
         "several columns could hold the texts: question, sentence",
         "pass --text with one of: question, sentence, label; for pairs of texts pass --text-pair with the other"),
        ({"one": LONG, "two": LONG, "label": [0, 1] * 20},
         "several columns could hold the texts: one, two",
         "pass --text with one of: one, two, label; for pairs of texts pass --text-pair with the other"),
        ({"text": LONG, "x": ["p", "n"] * 20, "z": ["a", "a", "b", "b"] * 10},
         "several columns could hold the labels: x, z", "pass --label with one of: text, x, z"),
        ({"text": LONG, "id": range(40)}, "not clear which column holds the labels",
         "pass --label with one of the columns: text, id"),
        ({"label": [0, 1] * 20, "id": range(40)}, "not clear which column holds the texts",
         "pass --text with one of the columns: label, id"),
        ({"3": ["p", "n"] * 20, LONG[0]: ["x"] * 40, "a": ["p", "n"] * 20}, "not clear which column holds the texts",
         "the first line looks like data: add a header line such as text,label (or pass --text and --label)"),
        ({"text": [[1]] * 40, "label": [0, 1] * 20}, "not clear which column holds the texts",
         "pass --text with one of the columns: text, label"),
    ],
)  # fmt: skip
def test_ambiguous_columns_are_listed_with_the_option(frame: dict[str, list[object]], message: str, fix: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        chosen(pd.DataFrame(frame))
    assert caught.value.fix == fix


@pytest.mark.parametrize("labels", [
    {"toxic": [0, 1] * 20, "insult": [0, 0, 1, 1] * 10},
    {"toxic": [0, 1] * 20, "insult": [0, 0, 1, 1] * 10, "threat": [True, False, False, False] * 10},
])  # fmt: skip
def test_columns_of_yes_and_no_are_told_to_be_named(labels: dict[str, list[object]]) -> None:
    with pytest.raises(DataError) as caught:
        chosen(pd.DataFrame({"text": LONG} | labels))
    assert "each may be the label of a row, or all of them are several labels: then pass --label" in caught.value.why


def test_lists_are_labels_where_rows_have_several() -> None:
    frame = pd.DataFrame({"text": LONG, "label": [["a"], ["a", "b"]] * 20})
    with pytest.raises(DataError, match="column 'label' holds neither a label nor a list of labels in every row"):
        chosen(frame)
    assert chosen(frame, label="label", several=True) == ("text", "label")


def test_named_columns_are_checked() -> None:
    frame = pd.DataFrame({"text": LONG, "label": [0, 1] * 20, "tags": [["a"]] * 40, "n": range(40)})
    with pytest.raises(DataError, match=r"has no column 'lable'\. Did you mean 'label'") as caught:
        chosen(frame, label="lable")
    assert caught.value.fix == "pass --label with one of: text, label, tags, n"
    with pytest.raises(DataError, match="column 'tags' holds neither a label nor a list of labels"):
        chosen(frame, label="tags")
    with pytest.raises(DataError, match="column 'n' holds values of type int64, not text"):
        chosen(frame, text="n")
    with pytest.raises(OptionError, match="--text and --label both name the column 'text'"):
        chosen(frame, text="text", label="text")
    images = frame.assign(image=[b"\x89PNG"] * 40).drop(columns=["text", "tags"])
    with pytest.raises(DataError, match="data holds images, where texts are needed"):
        chosen(images)
    assert chosen(images, images=True) == ("image", "label")
