"""One reader for every kind of data: a file is opened once, and lists in cells stay lists."""

from __future__ import annotations

import ctypes
import json
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from advisor.data.cells import column_from_values, keeps_lists, names_of_items
from advisor.data.columns import choose_columns
from advisor.data.files import read_file
from advisor.data.new_rows import read_new_texts
from advisor.data.read import read_data, read_tables
from advisor.data.sentences import holds_sentences, read_sentences, read_tagged
from helpers.loading import load_target
from tuner.errors import DataError

WORDS = [["Ann", "met", f"Bo{i}"] for i in range(40)]
TAGS = [["B-person", "O", "B-person"] for _ in range(40)]
TEXTS = [f"a film about the number {i}, and a plot" for i in range(40)]
LABELS = ["good", "bad"] * 20


def tagged() -> pd.DataFrame:
    return pd.DataFrame({"tokens": WORDS, "tags": TAGS})


def rated() -> pd.DataFrame:
    return pd.DataFrame({"text": TEXTS, "label": LABELS, "ids": [[i, i + 1] for i in range(40)]})


def conll(path: Path) -> None:
    rows = ("".join(f"{word} {tag}\n" for word, tag in zip(*row, strict=True)) for row in zip(WORDS, TAGS, strict=True))
    path.write_text("\n".join(rows))


def fasttext(path: Path) -> None:
    path.write_text("".join(f"__label__{label} {text}\n" for text, label in zip(TEXTS, LABELS, strict=True)))


def latin(path: Path) -> None:
    texts = [f"café années élève {text}" for text in TEXTS]
    pd.DataFrame({"text": texts, "label": LABELS}).to_csv(path, index=False, encoding="cp1252")


def mixed(path: Path) -> None:
    tagged().assign(tokens=[["a", 1, None]] * 40).to_json(path, orient="records", lines=True)


@contextmanager
def counted_opens(path: Path) -> Iterator[Callable[[], int]]:
    """How often a file was opened, by whatever library, as the kernel counts it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "inotify_init1"):
        pytest.skip("needs inotify")
    watching = libc.inotify_init1(os.O_NONBLOCK)
    accessed, opened = 0x1, 0x20
    # Events that follow an equal one are joined, so that readings between them have to be told too.
    if watching < 0 or libc.inotify_add_watch(watching, os.fsencode(path), accessed | opened) < 0:
        pytest.skip("needs inotify")

    def count() -> int:
        events = os.read(watching, 1 << 20)
        n, at = 0, 0
        while at < len(events):
            _, mask, _, length = struct.unpack_from("iIII", events, at)
            n += bool(mask & opened)
            at += struct.calcsize("iIII") + length
        return n

    try:
        yield count
    finally:
        os.close(watching)


WRITERS: dict[str, Callable[[Path], None]] = {
    "a.csv": lambda path: rated().drop(columns="ids").to_csv(path, index=False),
    "latin.csv": latin,
    "a.jsonl": lambda path: rated().to_json(path, orient="records", lines=True),
    "a.json": lambda path: rated().to_json(path, orient="records"),
    "a.parquet": lambda path: rated().to_parquet(path),
    "fast.txt": fasttext,
    "t.csv": lambda path: tagged().map(json.dumps).to_csv(path, index=False),
    "t.jsonl": lambda path: tagged().to_json(path, orient="records", lines=True),
    "mixed.jsonl": mixed,
    "t.json": lambda path: tagged().to_json(path, orient="records"),
    "t.parquet": lambda path: tagged().to_parquet(path),
    "t.conll": conll,
    "t.txt": conll,
    "t.tsv": conll,
}  # fmt: skip


def test_the_kernel_counts_every_opening(tmp_path: Path) -> None:
    conll(tmp_path / "a.conll")
    with counted_opens(tmp_path / "a.conll") as count:
        for _ in range(3):
            (tmp_path / "a.conll").read_bytes()
        pa.OSFile(str(tmp_path / "a.conll")).read()
        assert count() == 4


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_is_opened_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    with counted_opens(path) as count:
        data = read_data(path)
        assert count() == 1
    assert data.parts["all"].num_rows == 40
    tagged_words = name not in ("a.csv", "latin.csv", "a.jsonl", "a.json", "a.parquet", "fast.txt")
    assert holds_sentences(data) == tagged_words
    if name == "mixed.jsonl":
        return
    with counted_opens(path) as count:
        assert (load_target(path).task == "token_classification") == tagged_words
        assert count() == 1
    with counted_opens(path) as count:
        found = read_sentences(path)[0] if tagged_words else read_new_texts(path)[0]
        assert count() == 1
    assert [words[-1] for words in found] == [(WORDS[i] if tagged_words else TEXTS[i])[-1] for i in range(40)]


def test_a_conll_file_of_a_folder_is_opened_once(tmp_path: Path) -> None:
    conll(tmp_path / "train.txt")
    (tmp_path / "test.txt").write_text("no sentences are here\n")
    with counted_opens(tmp_path / "train.txt") as count:
        data = read_data(tmp_path)
        assert count() == 1
    assert data.conll == {"train": str(tmp_path / "train.txt")}
    assert data.parts["train"].to_pylist()[3] == {"tokens": WORDS[3], "tags": TAGS[3]}


def test_lists_stay_lists_wherever_they_come_from(tmp_path: Path) -> None:
    frame = rated()
    for name in ("a.jsonl", "a.json", "a.parquet"):
        WRITERS[name](tmp_path / name)
    rows = [{"n": 1}, {"n": "b"}, *frame.to_dict("records")]  # of two kinds, which Arrow does not read
    (tmp_path / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    saved = datasets.Dataset.from_pandas(frame)
    saved.save_to_disk(tmp_path / "saved")
    sources = ("a.jsonl", "a.json", "a.parquet", "saved")
    for data in (*(tmp_path / name for name in sources), frame, frame.to_dict("records"), frame.to_dict("list"), saved):
        table = read_tables(data).parts["all"]
        assert table.column("ids").to_pylist() == frame["ids"].tolist()
        assert keeps_lists(table.schema.field("ids").type)
        assert choose_columns(table, place="here").label == "label"
    assert read_tables(tmp_path / "odd.jsonl").parts["all"].column("ids").to_pylist() == [None, None, *frame["ids"]]


def test_columns_of_lists_are_named_where_a_column_has_to_be_chosen() -> None:
    frame = pd.DataFrame({"text": TEXTS, "spans": [["a", "b"]] * 40})
    assert not holds_sentences(read_data(frame))
    table = read_tables(frame).parts["all"]
    assert table.column("spans").to_pylist() == [["a", "b"]] * 40
    with pytest.raises(DataError, match="not clear which column holds the labels") as caught:
        choose_columns(table, place="here")
    assert "lists, objects and bytes, as in spans, cannot be used" in caught.value.why
    with pytest.raises(DataError, match=r"no column 'lable'") as caught:
        load_target(frame.assign(label=LABELS), label="lable")
    assert caught.value.fix == "pass --label with one of: text, spans, label"


def test_labels_in_lists_of_one_are_labels_in_every_format(tmp_path: Path) -> None:
    frame = rated().assign(label=[[name] for name in LABELS])
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_json(tmp_path / "a.json", orient="records")
    expected = load_target(rated()).fingerprint
    for data in (frame, tmp_path / "a.parquet", tmp_path / "a.json", datasets.Dataset.from_pandas(frame)):
        assert load_target(data).fingerprint == expected
    one_word = pd.DataFrame({"words": [words[-1:] for words in WORDS], "labels": [tags[-1:] for tags in TAGS]})
    one_word.to_parquet(tmp_path / "t.parquet")
    one_word.to_json(tmp_path / "t.json", orient="records")
    for data in (one_word, tmp_path / "t.parquet", tmp_path / "t.json"):
        assert load_target(data).task == "token_classification"


def test_values_in_cells_are_kept_with_their_kinds() -> None:
    for values in (
        [["a"], None, [], ["b", None]], [[1, 2], [3]], [["a", "b"], "c", None], [[["a"]], [["b"], []]],
        [["a", ["b"]], ["c"]], [(1.5,), (2.0, float("inf"))], [[True], None],
    ):  # fmt: skip
        kept = column_from_values(values).to_pylist()
        shown = [list(value) if isinstance(value, tuple) else value for value in values]
        assert kept == [["a", []], ["c"]] if values[0] == ["a", ["b"]] else shown
    assert column_from_values([["in", 1996, None, 1.5], ["x"]]).to_pylist() == [["in", "1996", None, "1.5"], ["x"]]
    assert column_from_values([np.array([1, 2]), np.array([3])]).to_pylist() == [[1, 2], [3]]
    assert column_from_values([["a", {"b": 1}]]).to_pylist() == [["a", {}]]
    assert column_from_values([["half \ud800"]]).to_pylist() == [["half ?"]]
    assert column_from_values([[1], float("nan")]).to_pylist() == [[1], None]


def test_numbers_in_lists_are_named_as_far_as_they_have_names() -> None:
    numbers = pa.chunked_array([[[0, 1], None], [[], [1]]], pa.list_(pa.int64()))
    assert names_of_items(numbers, ["O", "B-a"]).to_pylist() == [["O", "B-a"], None, [], ["B-a"]]
    assert names_of_items(numbers.slice(1, 3), ["O", "B-a"]).to_pylist() == [None, [], ["B-a"]]
    assert names_of_items(numbers, ["O"]) is numbers


def test_lists_that_fill_the_memory_are_only_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(2_000, 64))
    table = pa.table({"text": [f"text {i}" for i in range(2_000)], "vectors": vectors.tolist(), "few": [["a"]] * 2_000})
    pq.write_table(table, tmp_path / "a.parquet")
    assert read_file(tmp_path / "a.parquet").table.column("vectors")[0].as_py() == vectors[0].tolist()
    monkeypatch.setattr("tuner.memory.free_memory", lambda: 2_000_000)
    read = read_file(tmp_path / "a.parquet").table
    assert read.column("vectors").null_count == 2_000
    assert read.column("few").to_pylist() == [["a"]] * 2_000
    assert read_data(datasets.Dataset(table)).parts["all"].column("vectors").null_count == 2_000


def test_words_that_a_dictionary_repeats_are_counted_before_they_are_written_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = pa.array([["w" * 1_000] * 10] * 2_000)
    pq.write_table(pa.table({"tokens": words, "tags": [["O"] * 10] * 2_000}), tmp_path / "a.parquet")
    monkeypatch.setattr("tuner.memory.free_memory", lambda: 100_000_000)
    assert read_file(tmp_path / "a.parquet").table.column("tokens")[0].as_py() == ["w" * 1_000] * 10
    monkeypatch.setattr("tuner.memory.free_memory", lambda: 10_000_000)
    with pytest.raises(DataError, match="larger than the memory once it is unpacked"):
        read_file(tmp_path / "a.parquet")


def test_a_file_of_several_splits_may_hold_sentences(tmp_path: Path) -> None:
    rows = tagged().to_dict("records")
    (tmp_path / "a.json").write_text(json.dumps({"train": rows[:30], "test": rows[30:]}))
    parts = read_tagged(tmp_path / "a.json").parts
    assert {name: len(part) for name, part in parts.items()} == {"train": 30, "test": 10}


def test_broken_cells_among_lists_are_said_with_their_row(tmp_path: Path) -> None:
    rows = tagged().to_dict("records")[:6]
    rows[4]["tags"] = "O O O"
    (tmp_path / "a.json").write_text(json.dumps(rows))
    assert holds_sentences(read_data(tmp_path / "a.json"))
    with pytest.raises(DataError, match="row 5: the cell holds no list"):
        load_target(tmp_path / "a.json")
