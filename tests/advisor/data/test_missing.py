"""Cells that stand for missing ones, test splits without labels, and copies that differ in capitals or blanks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from advisor.data.missing import is_missing_text, missing_labels
from advisor.data.new_rows import read_texts
from advisor.data.splits import fold_text, number_texts
from helpers.loading import load_target
from tuner.errors import DataError

N = 60


def frame(labels: list[Any], texts: list[Any] | None = None) -> pd.DataFrame:
    words = texts or [f"sentence number {i} about things" for i in range(len(labels))]
    return pd.DataFrame({"text": words, "label": labels})


def saved(table: pd.DataFrame, path: Path) -> Path | pd.DataFrame:
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    elif path.suffix == ".jsonl":
        table.to_json(path, orient="records", lines=True)
    elif path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        return table
    return path


# --- labels


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet", ".frame"])
@pytest.mark.parametrize(
    "marker", ["nan", "NaN", "NULL", "null", "None", "N/A", "#N/A", "<NA>", "n/a", " NaN ", "#REF!"]
)
def test_what_programs_write_for_no_value_is_no_class(tmp_path: Path, marker: str, ending: str) -> None:
    data = saved(frame(["0.0", "1.0", marker, "1.0", "0.0"] * 12), tmp_path / f"table{ending}")
    target = load_target(data)
    assert (target.n_examples, target.class_names, target.n_dropped) == (48, ("0", "1"), {"missing_label": 12})
    assert target.warnings == (
        f"12 rows were left out (20 %) for want of a label: {marker.strip()!r} in column 'label' is read as missing; a "
        "class that is called so needs another name, such as 'no answer'",
    )


@pytest.mark.parametrize(
    ("labels", "missing"),
    [
        (["joy", "anger", "none"], []),
        (["FAVOR", "AGAINST", "NONE"], []),
        (["Favor", "Against", "None"], []),
        (["favor", "against", "None"], ["None"]),
        (["0", "1", "none"], ["none"]),
        (["True", "False", "None"], ["None"]),
        (["EU", "APAC", "NA"], []),
        (["good", "bad", "NA"], ["NA"]),
        (["+", "-"], []),
        (["+", "0", "-"], []),
        (["good", "bad", "-"], ["-"]),
        (["?", "!", "."], []),
        (["yes", "no", "?"], ["?"]),
        (["yes", "no", "nat"], []),
        (["yes", "no", "NaT", r"\N"], ["NaT", r"\N"]),
        (["nano", "null island", "nan"], ["nan"]),
        (["unknown", "other", "n.a."], []),
    ],
)
def test_words_that_may_be_classes_are_judged_by_the_others(labels: list[str], missing: list[str]) -> None:
    assert sorted(missing_labels(labels)) == sorted(missing)


def test_a_class_called_none_is_kept_without_a_word() -> None:
    target = load_target(frame(["favor", "against", "none"] * 20))
    assert (target.class_names, target.warnings) == (("against", "favor", "none"), ())


def test_mostly_missing_labels_are_refused_with_what_stands_there() -> None:
    with pytest.raises(DataError, match=r"40 of 60 rows have no label in column 'label', but 'nan'"):
        load_target(frame(["a", "nan", "nan"] * 20))


def test_folders_of_classes_keep_their_names(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("nan", "flatbread"):
        (tmp_path / name).mkdir()
        for i in range(12):
            Image.new("RGB", (8, 8), (i * 9, len(name) * 9, 7)).save(tmp_path / name / f"{i}.png")
    assert load_target(tmp_path).class_names == ("flatbread", "nan")


# --- texts and groups


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet", ".frame"])
@pytest.mark.parametrize("marker", ["nan", "NULL", "None", "N/A", "#N/A", "<NA>", "-"])
def test_texts_that_stand_for_none_are_left_out_and_named(tmp_path: Path, marker: str, ending: str) -> None:
    texts = [f"sentence number {i} about things" for i in range(N)]
    texts[7] = texts[30] = marker
    target = load_target(saved(frame(["a", "b"] * 30, texts), tmp_path / f"table{ending}"))
    assert (target.n_examples, target.n_dropped) == (58, {"empty_text": 2})
    assert target.warnings == (f"2 rows were left out (3 %) for want of a text, or with nothing but {marker!r}",)


def test_texts_with_such_words_in_them_are_kept() -> None:
    texts = [f"{word} {i}" for i in range(12) for word in ("nan", "none", "null of it", "-", "N/A but")]
    assert load_target(frame(["a", "b"] * 30, texts)).n_examples == N
    assert not any(map(is_missing_text, ("none", "NA", "nothing", "?", "null pointer", "no", "...", "0")))


def test_groups_that_are_not_known_are_each_their_own() -> None:
    table = frame(["a", "b"] * 30).assign(author=["nan", "", "N/A", "x", "y", "z"] * 10)
    groups = load_target(table, group="author").groups
    assert groups is not None
    assert len(np.unique(groups)) == 33


def test_texts_to_label_that_stand_for_none_are_empty(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("text\na film\nnan\nN/A\n")
    assert read_texts(path)[0] == ["a film", "", ""]


# --- splits without labels


@pytest.mark.parametrize("mask", [-1, "-1", "?", "", "nan", "unlabelled", "TODO", None, -1.0])
def test_a_test_split_of_one_label_that_train_lacks_is_not_used(tmp_path: Path, mask: Any) -> None:
    frame([0, 1] * 30).to_csv(tmp_path / "train.csv", index=False)
    frame([mask] * 20, [f"another sentence {i}" for i in range(20)]).to_csv(tmp_path / "test.csv", index=False)
    target = load_target(tmp_path)
    assert (target.n_examples, target.class_names, target.given_splits) == (60, ("0", "1"), ("train",))
    assert len(target.warnings) == 1
    assert "the test split of" in target.warnings[0]
    assert "has no labels" in target.warnings[0]
    with pytest.raises(DataError, match="has no labels in a column 'label'"):
        load_target(tmp_path / "train.csv", test=tmp_path / "test.csv")


def test_a_class_of_the_test_split_alone_is_counted(tmp_path: Path) -> None:
    frame(["a", "b"] * 30).to_csv(tmp_path / "train.csv", index=False)
    texts = [f"another sentence {i}" for i in range(20)]
    frame(["a", "b", "c", "a"] * 5, texts).to_csv(tmp_path / "test.csv", index=False)
    with pytest.raises(DataError, match=r"'c' has 0 \(5 in test only\)"):
        load_target(tmp_path)


def test_a_test_split_of_one_class_is_said(tmp_path: Path) -> None:
    frame(["a", "b"] * 30).to_csv(tmp_path / "train.csv", index=False)
    frame(["b"] * 20, [f"another sentence {i}" for i in range(20)]).to_csv(tmp_path / "test.csv", index=False)
    assert load_target(tmp_path).warnings == (
        "all rows of the test split are of the class 'b': a score on them says nothing of the other classes",
    )


# --- near copies


def test_texts_are_folded() -> None:
    same = ["Good film", "good  FILM ", "good\u00a0film", "\uff47ood film", "good\ufeff film", "GOOD\tFILM\n"]
    assert {fold_text(text) for text in same} == {"good film"}
    assert fold_text("STRASSE") == fold_text("straße")
    assert fold_text("e\u0301te\u0301") == fold_text("ÉTÉ")
    assert fold_text("мой") != fold_text("мои")
    assert fold_text("papá") != fold_text("papa")


def test_numbers_of_folded_texts() -> None:
    import pyarrow as pa

    texts = pa.chunked_array([pa.array(["a b", "A  B", "c", "a b"])])
    assert number_texts(texts).tolist() == [0, 1, 2, 0]
    assert number_texts(texts, folded=True).tolist() == [0, 0, 1, 0]


def test_near_copies_across_given_splits_leak(tmp_path: Path) -> None:
    train = frame(["a", "b"] * 30)
    train.to_csv(tmp_path / "train.csv", index=False)
    near = [*train["text"].str.upper()[:5], *(train["text"] + " ")[5:10], *train["text"][10:12]]
    texts = near + [f"another sentence {i}" for i in range(8)]
    frame(["a", "b"] * 10, texts).to_csv(tmp_path / "test.csv", index=False)
    target = load_target(tmp_path)
    assert (target.n_leaked, target.n_duplicates, target.n_dropped) == (12, 2, {"leaked": 12})
    assert target.warnings == (
        "leakage: 12 validation or test rows have a text that also occurs in train (10 of them but for capitals, white "
        "space or forms of characters); the earlier copies (12 rows) were left out, so that scores are about new texts",
    )


def test_near_copies_stay_in_one_split() -> None:
    texts = [text for i in range(60) for text in (f"Sentence {i} of many", f"sentence {i}  OF many")]
    target = load_target(frame([label for i in range(60) for label in ("ab"[i % 2],) * 2], texts))
    split = np.full(120, -1)
    for number, rows in enumerate((target.train, target.validation, target.test)):
        split[rows] = number
    assert (split[::2] == split[1::2]).all()
    assert (target.n_leaked, target.n_duplicates, target.warnings) == (0, 0, ())


def test_near_copies_of_pairs_and_tagged_sentences(tmp_path: Path) -> None:
    pairs = pd.DataFrame(
        {"a": [f"is it {i} now" for i in range(N)], "b": ["it is so"] * N, "label": ["yes", "no"] * 30}
    )
    pairs.to_csv(tmp_path / "train.csv", index=False)
    pairs.assign(a=pairs["a"].str.title(), b="It is  so")[:20].to_csv(tmp_path / "test.csv", index=False)
    assert load_target(tmp_path, text="a", text_pair="b").n_leaked == 20
    tokens = [["Ann", "saw", "Berlin", str(i)] for i in range(N)]
    tags = [["B-PER", "O", "B-LOC", "O"]] * N
    train = pd.DataFrame({"tokens": tokens, "tags": tags})
    test = pd.DataFrame({"tokens": [[w.upper() for w in row] for row in tokens[:20]], "tags": tags[:20]})
    target = load_target({"train": train, "test": test})
    assert (target.task, target.n_leaked, target.n_duplicates) == ("token_classification", 20, 0)
    assert target.n_conflicting == 0
    assert "(20 of them but for capitals" in target.warnings[0]
