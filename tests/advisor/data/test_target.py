"""Rows checked and counted, classes named, splits without leaks; every refusal with its words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from advisor.data.new_rows import read_texts
from advisor.data.splits import carve
from advisor.data.target import TargetData
from helpers.loading import load_target
from tuner.errors import DataError, MissingFileError, OptionError


def frame(n: int = 60, classes: int = 2, **columns: object) -> pd.DataFrame:
    texts = [f"sentence number {i} about things" for i in range(n)]
    return pd.DataFrame({"text": texts, "label": [f"class {i % classes}" for i in range(n)], **columns})


def split_texts(target: TargetData) -> list[set[str]]:
    return [set(target.texts_at(rows)) for rows in (target.train, target.validation, target.test)]


def save(folder: Path, **parts: pd.DataFrame) -> Path:
    folder.mkdir(exist_ok=True)
    for name, part in parts.items():
        part.to_csv(folder / f"{name}.csv", index=False)
    return folder


# --- the plain case


def test_rows_classes_and_splits_of_a_plain_table() -> None:
    target = load_target(frame(200, 4))
    assert target.class_names == ("class 0", "class 1", "class 2", "class 3")
    assert np.bincount(target.labels).tolist() == [50] * 4
    assert (target.n_examples, target.n_classes, target.labels.dtype) == (200, 4, np.int32)
    assert (len(target.train), len(target.validation), len(target.test)) == (128, 32, 40)
    assert np.bincount(target.labels[target.test]).tolist() == [10] * 4
    assert np.bincount(target.labels[target.validation]).tolist() == [8] * 4
    assert sorted(np.concatenate([target.train, target.validation, target.test])) == list(range(200))
    assert target.texts_at([3, 0]) == ["sentence number 3 about things", "sentence number 0 about things"]
    assert str(target.texts.dtype) == "str"
    assert target.columns == {"text": "text", "label": "label", "group": None}
    assert (target.warnings, target.n_dropped, target.given_splits) == ((), {}, ())


def test_the_seed_decides_the_splits_and_the_fingerprint_tells_data_apart() -> None:
    first, again, other = (load_target(frame(), seed=seed) for seed in (0, 0, 1))
    assert first.test.tolist() == again.test.tolist() != other.test.tolist()
    assert first.fingerprint == again.fingerprint != other.fingerprint
    changed = frame()
    changed.loc[7, "text"] += "."
    assert load_target(changed).fingerprint != first.fingerprint
    moved, kept = frame(), frame()  # the same letters, divided elsewhere
    moved.loc[7:8, "text"] = ["one two", "three"]
    kept.loc[7:8, "text"] = ["one ", "twothree"]
    assert load_target(moved).fingerprint != load_target(kept).fingerprint
    relabelled = frame().replace({"label": {"class 1": "class 2"}})
    assert load_target(relabelled).fingerprint != first.fingerprint


def test_splits_and_fingerprint_are_the_same_in_another_process_and_format(tmp_path: Path) -> None:
    data = pd.concat([frame(60), frame(7)])  # with copies, whose numbers come from Python's randomised hash
    data.to_csv(tmp_path / "a.csv", index=False)
    data.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    data.to_parquet(tmp_path / "a.parquet")
    expected = load_target(data).fingerprint
    assert {load_target(tmp_path / f"a.{ending}").fingerprint for ending in ("csv", "jsonl", "parquet")} == {expected}
    code = f"from advisor.data.load import load_target; print(load_target({str(tmp_path / 'a.csv')!r}).fingerprint)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert printed.stdout.strip() == expected


def test_numpy_lists_and_data_frames_are_alike() -> None:
    data = frame()
    from_lists = load_target((data["text"].tolist(), data["label"].to_numpy()))
    assert from_lists.fingerprint == load_target(data).fingerprint


# --- classes


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["b", "a", "C"], ("C", "a", "b")),
        ([10, 9, 2], ("2", "9", "10")),
        (["10", "9", "2"], ("2", "9", "10")),
        (["10", "9", "002"], ("002", "10", "9")),
        ([1.0, 0.0, None], ("0", "1")),
        ([True, False, None], ("False", "True")),
        (["true", " false ", ""], ("false", "true")),
        ([0.5, 1.0, 0.0], ("0", "0.5", "1")),
        (["0.5", "1.0", "-3"], ("-3", "0.5", "1")),
        ([5, "b", None], ("5", "b")),
        (["9" * 30, "8" * 30, "x"], ("8" * 30, "9" * 30, "x")),
    ],
)
def test_class_names_are_sorted_in_a_stable_way(labels: list[object], names: tuple[str, ...]) -> None:
    data = pd.DataFrame({"text": [f"text {i}" for i in range(60)], "label": pd.Series(labels * 20, dtype=object)})
    target = load_target(data)
    assert target.class_names == names
    assert np.bincount(target.labels).tolist() == [20] * len(names)
    shuffled = load_target(data.iloc[::-1])
    assert shuffled.class_names == names
    assert shuffled.labels.tolist() == target.labels.tolist()[::-1]


def test_class_labels_keep_their_names_and_order() -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["zebra", "unused", "ant"])}
    )
    rows = {"text": [f"text {i}" for i in range(31)], "label": [0, 2] * 15 + [-1]}
    target = load_target(datasets.Dataset.from_dict(rows, features=features))
    assert target.class_names == ("zebra", "ant")
    assert target.labels.tolist() == [0, 1] * 15
    assert target.n_dropped == {"missing_label": 1}
    assert "classes without a row were left out: unused" in target.warnings


def test_class_numbers_without_a_name_are_refused() -> None:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])})
    table = pa.table({"text": ["x"] * 10, "label": pa.array([0, 2] * 5)})
    broken = datasets.Dataset(datasets.table.InMemoryTable(table.cast(features.arrow_schema)))
    with pytest.raises(DataError, match="label 2 in column 'label' has no name"):
        load_target(broken)


def test_names_that_differ_in_capitals_only_are_reported() -> None:
    target = load_target(frame().replace({"label": {"class 1": "Class 0"}}))
    assert target.class_names == ("Class 0", "class 0")
    assert target.warnings == ("class names that differ in capitals only are kept apart: Class 0 / class 0",)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            [i / 7 for i in range(60)],
            "looks like a quantity to predict: 60 different numbers from 0 to 8.42857 in 60 rows",
        ),
        ([f"{i / 7:.3f}" for i in range(60)], "looks like a quantity to predict: 60 different numbers"),
        ([i * 13 % 40 * 100 for i in range(60)], "looks like a quantity to predict: 40 different integers"),
        ([f"answer {i}" for i in range(60)], "looks like free text: 60 different values in 60 rows"),
        (
            [f"a much longer answer that somebody typed, {i % 15}" for i in range(60)],
            "looks like free text: 15 different",
        ),
        (["only"] * 60, "holds one class only, 'only'"),
        (["only"] * 30 + [None] * 30, "holds one class only, 'only'"),
        (["a", "b"] * 10 + [None] * 40, "40 of 60 rows have no label in column 'label'"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels: list[object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_target(frame().assign(label=labels), label="label", task="classification")


@pytest.mark.parametrize("labels", [["['a', 'b']", "['b']", "[]"], ['["a"]', ' ["a", "b"]'], ["[0, 1]", "[true]"]])
def test_lists_written_as_labels_are_several_labels(labels: list[str]) -> None:
    target = load_target(frame().assign(label=[labels[i % len(labels)] for i in range(60)]), label="label")
    assert target.task == "multi_label_classification"
    assert len(target.class_names) == 2 + (labels[-1] == "[true]")


def test_names_in_brackets_are_names() -> None:
    names = ("[a]", "[b", "['c']")
    target = load_target(frame().assign(label=[names[i % 3] for i in range(60)]), label="label")
    assert target.class_names == ("['c']", "[a]", "[b")
    assert target.warnings == ()


def test_fractions_as_class_names_are_said() -> None:
    target = load_target(frame(180).assign(label=[i % 9 / 2 for i in range(180)]), label="label")
    assert target.class_names == ("0", "0.5", "1", "1.5", "2", "2.5", "3", "3.5", "4")
    assert target.warnings == (
        "column 'label' holds fractional numbers, which were taken as names of 9 classes: their order is not learned; "
        "--task regression predicts the number",
    )
    assert load_target(frame(180).assign(label=[float(i % 9) for i in range(180)]), label="label").warnings == ()


def test_many_class_numbers_are_classes() -> None:
    assert load_target(frame(3_000, 1).assign(label=[i % 150 for i in range(3_000)])).n_classes == 150


# --- texts and rows


def test_rows_without_text_or_label_are_dropped_and_counted() -> None:
    data = frame(100)
    data.loc[[3, 4, 5], "text"] = [" \t", "\u00a0\u200b", None]
    data.loc[[10, 11], "label"] = ["", None]
    data.loc[5, "label"] = None
    target = load_target(data)
    assert target.n_dropped == {"missing_label": 3, "empty_text": 2}
    assert target.n_examples == 95
    assert target.warnings == (
        "3 rows were left out (3 %) for want of a label",
        "2 rows were left out (2 %) for want of a text",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "all texts in column 'text' are empty"), ("same", "all texts in column 'text' are identical")],
)
def test_texts_that_say_nothing_are_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_target(frame().assign(text=text), text="text")


def test_copies_and_conflicting_labels_are_counted() -> None:
    data = pd.concat([frame(60), frame(9), frame(3).assign(label="class 0")], ignore_index=True)
    target = load_target(data)
    assert (target.n_examples, target.n_duplicates, target.n_conflicting) == (72, 12, 1)
    assert target.warnings == (
        "12 rows (17 %) repeat a text exactly; no text stands in two splits",
        "1 text occurs with more than one label; it was kept as it is",
    )
    train, validation, test = split_texts(target)
    assert not train & validation
    assert not train & test
    assert not validation & test


# --- given splits


def test_given_splits_are_used_and_missing_ones_carved_out_of_train(tmp_path: Path) -> None:
    data = frame(100)
    target = load_target(save(tmp_path / "a", train=data[:80], test=data[80:]))
    assert target.given_splits == ("train", "test")
    assert (len(target.train), len(target.validation), target.test.tolist()) == (64, 16, list(range(80, 100)))
    target = load_target(save(tmp_path / "b", train=data[:70], dev=data[70:80], test=data[80:]))
    assert (target.train.tolist(), target.validation.tolist()) == (list(range(70)), list(range(70, 80)))
    assert load_target(tmp_path / "b", split="train").n_examples == 70


def test_a_test_file_can_be_named(tmp_path: Path) -> None:
    data = frame(100)
    folder = save(tmp_path / "a", train=data[:70], test=data[70:80], held_out=data[80:], unnamed=data[["text"]])
    target = load_target(folder / "train.csv", test=folder / "held_out.csv")
    assert set(target.texts_at(target.test)) == set(data["text"][80:])
    target = load_target(folder, test=str(folder / "held_out.csv"))
    assert set(target.texts_at(target.test)) == set(data["text"][80:])
    assert f"the test split of {folder} was replaced by held_out.csv" in target.warnings
    with pytest.raises(MissingFileError, match=r"Did you mean 'held_out\.csv'"):
        load_target(folder, test=folder / "held_outt.csv")
    with pytest.raises(OptionError, match="is a folder"):
        load_target(folder / "train.csv", test=folder)


def test_leaked_training_rows_are_left_out_and_reported(tmp_path: Path) -> None:
    data = frame(100)
    train = pd.concat([data[:60], data[60:63], data[80:82]])
    validation = pd.concat([data[60:70], data[82:83]])
    target = load_target(save(tmp_path / "a", train=train, validation=validation, test=data[80:]))
    assert target.n_leaked == 5
    assert target.n_dropped == {"leaked": 6}
    assert (len(target.train), len(target.validation), len(target.test)) == (60, 10, 20)
    assert "leakage: 5 validation or test rows" in target.warnings[0]
    assert "(6 rows) were left out" in target.warnings[0]
    train_texts, validation_texts, test_texts = split_texts(target)
    assert not train_texts & (validation_texts | test_texts)
    assert not validation_texts & test_texts


def test_a_test_split_that_repeats_the_training_split_is_refused(tmp_path: Path) -> None:
    data = frame(100)
    with pytest.raises(DataError, match="60 of 100 train texts occur again in validation or test"):
        load_target(save(tmp_path / "a", train=data, test=data[40:]))
    with pytest.raises(DataError, match="20 of 30 validation texts occur again in test"):
        load_target(save(tmp_path / "b", train=data[:50], validation=data[50:80], test=data[60:]))


def test_splits_without_labels_are_not_used(tmp_path: Path) -> None:
    data = frame(100)
    target = load_target(save(tmp_path / "a", train=data[:80], test=data[80:][["text"]]))
    assert target.n_examples == 80
    assert f"the test split of {tmp_path / 'a'} has no labels: it was not used" in target.warnings
    masked = data[80:].assign(label=None)
    assert load_target({"train": data[:80], "test": masked}).n_examples == 80
    with pytest.raises(DataError, match=r"the test split of .* has no column 'text'"):
        load_target(save(tmp_path / "b", train=data[:80], test=data[80:].rename(columns={"text": "texts"})))


def test_classes_unseen_in_training_are_too_small(tmp_path: Path) -> None:
    data = frame(100)
    test = data[80:].assign(label=["new", *data["label"][81:].tolist()])
    with pytest.raises(DataError, match="1 class is too small to divide: 'new' has 0") as caught:
        load_target(save(tmp_path / "a", train=data[:80], test=test))
    assert "--drop-rare" in caught.value.fix
    target = load_target(tmp_path / "a", drop_rare=True)
    assert target.class_names == ("class 0", "class 1")
    assert target.n_dropped == {"rare_class": 1}


# --- small classes


def test_small_classes_are_refused_with_what_they_need_and_dropped_on_demand() -> None:
    data = frame(60)
    data.loc[:3, "label"] = "rare"  # four rows: one fewer than 3 to learn from and 1 for each split
    data.loc[4:5, "label"] = "rarer"
    with pytest.raises(DataError, match="2 classes are too small to divide: 'rarer' has 2, 'rare' has 4") as caught:
        load_target(data)
    assert (
        caught.value.why
        == "each class needs 5 different training texts: 3 to learn from, 1 for test and 1 for validation"
    )
    assert caught.value.fix == "add rows, or pass --drop-rare to leave them out (6 rows)"
    target = load_target(data, drop_rare=True)
    assert target.class_names == ("class 0", "class 1")
    assert target.n_dropped == {"rare_class": 6}
    assert target.warnings == ("6 rows were left out (10 %) with their rare classes: rare, rarer",)
    assert set(target.labels.tolist()) == {0, 1}
    data.loc[4, "label"] = "rare"
    data.loc[5, "label"] = "class 1"
    target = load_target(data)
    assert [int((target.labels[rows] == 2).sum()) for rows in (target.train, target.validation, target.test)] == [
        3,
        1,
        1,
    ]


def test_copies_of_one_text_do_not_make_a_class_large_enough() -> None:
    data = frame(60)
    data.loc[:9, ["text", "label"]] = ["always the same", "copied"]
    with pytest.raises(DataError, match="'copied' has 1"):
        load_target(data)


def test_dropping_rare_classes_must_leave_two() -> None:
    data = frame(20).assign(label=["a"] * 18 + ["b", "c"])
    with pytest.raises(DataError, match="without the classes that are too small, 1 of 3 remain"):
        load_target(data, drop_rare=True)


# --- groups and carving


def test_groups_are_never_divided() -> None:
    rng = np.random.default_rng(0)
    data = frame(400, 3, author=[f"author {i}" for i in rng.integers(0, 40, 400)])
    target = load_target(data, group="author")
    assert target.groups is not None
    sides = [set(target.groups[rows].tolist()) for rows in (target.train, target.validation, target.test)]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert 50 <= len(target.test) <= 110
    assert target.columns["group"] == "author"


def test_rows_without_a_group_are_groups_of_their_own() -> None:
    target = load_target(frame(100, author=["x"] * 10 + [None] * 90), group="author")
    assert target.groups is not None
    assert len(set(target.groups.tolist())) == 91


def test_copies_across_groups_leave_the_training_side() -> None:
    data = pd.concat([frame(100), frame(20)], ignore_index=True).assign(author=[f"a{i // 4}" for i in range(120)])
    target = load_target(data, group="author")
    train, validation, test = split_texts(target)
    assert not train & (validation | test)
    assert not validation & test
    assert target.n_dropped["leaked"] == 120 - sum(len(rows) for rows in (target.train, target.validation, target.test))


def test_shared_groups_of_given_splits_are_reported(tmp_path: Path) -> None:
    data = frame(100, author=[f"a{i % 10}" for i in range(100)])
    target = load_target(save(tmp_path / "a", train=data[:60], validation=data[60:80], test=data[80:]), group="author")
    assert target.warnings == (
        "leakage: 40 validation or test rows are of a group that train has too; given splits were kept",
    )


def test_groups_that_cannot_be_divided_are_refused() -> None:
    with pytest.raises(DataError, match="2 classes are too small to divide") as caught:
        load_target(frame(60, author=["x"] * 30 + ["y"] * 30), group="author")
    assert "in 3 groups" in caught.value.why
    labels = ["a"] * 30 + ["b"] * 30
    groups = ["g1", "g2", "g3"] * 20  # every group holds both classes and no fourth one is left for training
    target = load_target(frame(60).assign(label=labels, author=groups), group="author")
    assert len(target.train) == len(target.validation) == len(target.test) == 20


def grouped(sizes: dict[str, str]) -> pd.DataFrame:
    rows = [(f"words {i} of {name}", label, name) for name, labels in sizes.items() for i, label in enumerate(labels)]
    return pd.DataFrame(rows, columns=["text", "label", "author"])


def test_groups_are_shuffled_until_every_class_has_training_rows() -> None:
    # b stands beside the rarer a in two groups and beside the rarer c in one: all may end outside training
    data = grouped(
        {"g0": "aaabbbbbbb", "g1": "aaabbbbbbb", "g2": "aaaddddddd"}
        | {"g3": "cccbbbbbbb", "g4": "cccddddddd", "g5": "cccddddddd"}
    )
    tests = set()
    for seed in range(10):
        target = load_target(data, group="author", seed=seed)
        assert set(target.labels[target.train].tolist()) == {0, 1, 2, 3}
        tests.add(tuple(target.test))
    assert len(tests) > 1


def test_groups_that_leave_a_class_without_training_rows_are_refused() -> None:
    # the groups with d are too large to be tested on, so that those with b always are
    train = grouped({"g0": "aaabbbbb", "g1": "aaa" + "d" * 20, "g2": "cccbbbbb", "g3": "ccc" + "d" * 20})
    validation = grouped({"g4": "abcd"})
    with pytest.raises(DataError) as caught:
        load_target({"train": train, "validation": validation}, group="author")
    assert caught.value.what == (
        "the data frames: the groups in column 'author' cannot be divided: no training rows for b"
    )


def test_carving_takes_its_share_of_every_class_and_a_cap() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(3), [900, 90, 10]).astype(np.int32)
    chosen = carve(np.arange(1000), labels, share=0.2, most=10_000, rng=rng)
    assert np.bincount(labels[chosen]).tolist() == [180, 18, 2]
    chosen = carve(np.arange(1000), labels, share=0.2, most=50, rng=rng)
    assert chosen.sum() == 50
    assert np.bincount(labels[chosen]).min() >= 1
    chosen = carve(np.array([0, 1, 1, 2, 3]), np.array([0, 1, 1, 0, 0], np.int32), share=0.9, most=9, rng=rng)
    assert (chosen[[0, 3, 4]].sum(), chosen[1]) == (2, False)  # a class keeps its last unit, and its only one


def test_carving_leaves_a_huge_group_where_it_is() -> None:
    units = np.array([0] * 80 + list(range(1, 21)))
    for seed in range(20):
        chosen = carve(units, np.zeros(100, np.int32), share=0.2, most=100, rng=np.random.default_rng(seed))
        assert not chosen[:80].any()
        assert 15 <= chosen.sum() <= 20


# --- options and reading without labels


def test_text_pairs_need_two_columns_of_their_own() -> None:
    with pytest.raises(DataError, match="no column 'other'"):
        load_target(frame(), text_pair="other")
    with pytest.raises(OptionError, match="--text-pair text and --text text contradict each other"):
        load_target(frame(), text="text", text_pair="text")


def test_a_pair_is_both_texts_and_wants_both() -> None:
    data = frame(40)
    data["other"] = [f"answer {row} \ufdd0 here" for row in range(40)]
    data.loc[3, "other"] = "  "
    target = load_target(data, text="text", text_pair="other")
    assert target.columns["text_pair"] == "other"
    assert target.n_dropped == {"empty_text": 1}
    first, between, second = target.texts_at([5])[0].partition("\ufdd0")
    assert between
    assert first in set(data["text"])
    assert second.startswith("answer ")
    assert "\ufdd0" not in second
    same = data.assign(text="the same text")
    assert load_target(same, text="text", text_pair="other").n_duplicates == 0


def test_texts_are_read_without_labels_in_order_and_complete(tmp_path: Path) -> None:
    data = frame(30)
    data.loc[4, "text"] = None
    expected = data["text"].fillna("").tolist()
    data.to_csv(tmp_path / "a.csv", index=False)
    data[["text"]].rename(columns={"text": "anything"}).to_csv(tmp_path / "b.csv", index=False)
    (tmp_path / "c.txt").write_text("first line\n\nthird\n")
    assert read_texts(tmp_path / "a.csv") == (expected, "text")
    assert read_texts(data[["text"]]) == (expected, "text")
    assert read_texts(data.rename(columns={"label": "title2", "text": "body"}), text="title2")[1] == "title2"
    assert read_texts(tmp_path / "b.csv")[1] == "anything"
    assert read_texts(tmp_path / "c.txt") == (["first line", "", "third"], "line")
    (tmp_path / "f.txt").write_bytes("one\u2028text\r\ntwo\x0c\x85\n\n".encode())
    assert read_texts(tmp_path / "f.txt")[0] == ["one\u2028text", "two\x0c\x85", ""]
    assert read_texts(["one", "two"]) == (["one", "two"], "text")
    assert read_texts(save(tmp_path / "d", train=data, test=data[:3]))[0] == expected[:3]
    with pytest.raises(MissingFileError, match=r"Did you mean 'c\.txt'"):
        read_texts(tmp_path / "cc.txt")
    (tmp_path / "e.txt").write_text("\n \n")
    with pytest.raises(DataError, match=r"e\.txt is empty"):
        read_texts(tmp_path / "e.txt")
    (tmp_path / "f.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match=r"f\.txt is not UTF-8 text"):
        read_texts(tmp_path / "f.txt")


# --- size and real data

_LOAD = """
import resource, sys, time
import numpy, pandas, pyarrow.csv, pyarrow.json, pyarrow.compute
from advisor.data.load import load_target
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
target = load_target(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.process_time() - start, target.n_examples)
"""


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_million_rows_need_seconds_and_400_megabytes(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    words = "a few short words of ordinary length about one thing or another"
    with path.open("w") as file:
        if ending == "csv":
            file.write("text,label\n")
            file.writelines(f"{words} {i},class {i % 10}\n" for i in range(1_000_000))
        else:
            file.writelines(f'{{"text": "{words} {i}", "label": "class {i % 10}"}}\n' for i in range(1_000_000))
    printed = subprocess.run([sys.executable, "-c", _LOAD, str(path)], capture_output=True, text=True, check=True)
    kilobytes, seconds, n_rows = printed.stdout.split()
    assert int(n_rows) == 1_000_000
    assert int(kilobytes) < 400 * 1024
    assert float(seconds) < 15  # processor seconds; 2 to 3 on an idle machine


@pytest.mark.parametrize(
    ("name", "rows", "classes", "duplicates", "conflicting", "leaked"),
    [
        ("trec6", 5952, 6, 81, 0, 11),
        ("banking77", 13083, 77, 11, 0, 7),
        ("arsarcasm_arabic", 10547, 3, 405, 118, 130),
        ("ag_news", 7600, 4, 0, 0, 0),
        ("medical_abstracts", 2888, 5, 118, 113, 0),
        ("clinc150", 23700, 151, 5, 4, 5),
        ("smiles_hiv", 5948, 2, 47, 6, 0),
    ],
)
def test_real_sets_have_the_counts_their_descriptions_give(
    shared_data: Path, name: str, rows: int, classes: int, duplicates: int, conflicting: int, leaked: int
) -> None:
    target = load_target(shared_data / "text" / name)
    assert (target.n_examples, target.n_classes, target.n_duplicates) == (rows, classes, duplicates)
    assert (target.n_conflicting, target.n_leaked) == (conflicting, leaked)


@pytest.mark.parametrize("content", ["text\nhello there\n", "text,label\nhello there,\nmore text,\n"])
def test_a_test_file_that_is_named_needs_labels(tmp_path: Path, content: str) -> None:
    rows = "".join(f"text number {i},{'ab'[i % 2]}\n" for i in range(60))
    (tmp_path / "data.csv").write_text("text,label\n" + rows)
    (tmp_path / "test.csv").write_text(content)
    with pytest.raises(DataError, match="has no labels in a column 'label'"):
        load_target(tmp_path / "data.csv", test=tmp_path / "test.csv")


def test_a_given_split_without_usable_rows_is_said(tmp_path: Path) -> None:
    rows = "".join(f"text number {i},{'ab'[i % 2]}\n" for i in range(60))
    (tmp_path / "train.csv").write_text("text,label\n" + rows)
    (tmp_path / "test.csv").write_text("text,label\n,a\n,b\n")
    with pytest.raises(DataError, match=r"the test split of .* has no usable rows left"):
        load_target(tmp_path)


def test_copies_of_a_text_leave_three_to_learn_from(tmp_path: Path) -> None:
    """The large unit stays in training; the single ones must not all go elsewhere."""
    spam = [{"text": f"offer number {i}", "label": "spam"} for i in range(600)]
    for singles in (50, 8):
        thanks = ["thanks"] * 100 + [f"thank you {i}" for i in range(singles)]
        data = pd.DataFrame([*spam, *({"text": text, "label": "thanks"} for text in thanks)])
        for seed in range(5):
            target = load_target(data, seed=seed)
            rows = target.train[target.labels[target.train] == list(target.class_names).index("thanks")]
            assert len(set(target.texts_at(rows))) >= 3


@pytest.mark.parametrize("kind", ["categories", "intervals", "float16"])
def test_unusual_label_columns_are_read(kind: str) -> None:
    numbers = np.arange(120) % 3
    labels = {
        "categories": pd.Series(pd.cut(numbers, 3)),
        "intervals": pd.Series(pd.cut(numbers, 3)).astype(pd.cut(numbers, 3).categories.dtype),
        "float16": pd.Series(numbers.astype(np.float16)),
    }[kind]
    target = load_target(pd.DataFrame({"text": [f"text {i}" for i in range(120)], "label": labels}))
    assert len(target.class_names) == 3
    assert np.bincount(target.labels).tolist() == [40, 40, 40]


@pytest.mark.parametrize("column", ["premise", "hypothesis"])
def test_the_group_of_pairs_may_be_either_text(column: str) -> None:
    shared, own = [f"shared {i // 4}" for i in range(120)], [f"own {i}" for i in range(120)]
    texts = {"premise": shared, "hypothesis": own} if column == "premise" else {"premise": own, "hypothesis": shared}
    data = pd.DataFrame({**texts, "label": ["a", "b"] * 60})
    target = load_target(data, text="premise", text_pair="hypothesis", group=column)
    assert target.groups is not None
    assert target.groups.tolist() == [i // 4 for i in range(120)]
    sides = [set(target.groups[rows].tolist()) for rows in (target.train, target.validation, target.test)]
    assert [len(side) for side in sides] == [19, 5, 6]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 30
    assert target.columns == {"text": "premise", "text_pair": "hypothesis", "label": "label", "group": column}
    with pytest.raises(OptionError, match="--group and --label both name"):
        load_target(data, text="premise", text_pair="hypothesis", label="label", group="label")


@pytest.mark.parametrize("column", ["text", "label"])
def test_a_group_is_neither_text_nor_label(column: str) -> None:
    data = pd.DataFrame({"text": [f"text {i}" for i in range(60)], "label": ["a", "b"] * 30})
    with pytest.raises(OptionError, match=f"--group and --{column} both name"):
        load_target(data, text="text", label="label", group=column)
