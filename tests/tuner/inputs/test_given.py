"""What a person has in memory is read row by row, whatever holds it."""

from __future__ import annotations

import enum
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch

from advisor.data.new_rows import read_texts
from helpers.loading import load_target
from tuner.errors import DataError
from tuner.inputs.given import IMAGES, SENTENCES, Form, plain_list, plain_value, rows_to_read
from tuner.inputs.given import TEXTS as AS_TEXTS

TEXTS = [f"sentence number {i} about things" for i in range(60)]
NUMBERS = [0, 1] * 30


class Mood(enum.Enum):
    GLAD = 1
    SAD = 2


@pytest.mark.parametrize(
    ("texts", "labels", "classes"),
    [
        (iter(TEXTS), iter(NUMBERS), ("0", "1")),
        ((text for text in TEXTS), (number for number in NUMBERS), ("0", "1")),
        (TEXTS, torch.tensor(NUMBERS), ("0", "1")),
        (np.array(TEXTS), np.array(NUMBERS)[:, None], ("0", "1")),
        (pd.DataFrame({"any": TEXTS}), pd.Series(NUMBERS).map({0: "a", 1: "b"}).astype("category"), ("a", "b")),
        (pd.Series(TEXTS, dtype="string"), [np.int64(n) for n in NUMBERS], ("0", "1")),
        (TEXTS, [Mood.GLAD, Mood.SAD] * 30, ("GLAD", "SAD")),
        (TEXTS, [torch.tensor(n) for n in NUMBERS], ("0", "1")),
        (TEXTS, [bool(n) for n in NUMBERS], ("False", "True")),
        (map(str, TEXTS), range(0), None),
    ],
)
def test_texts_and_labels_in_memory(texts: Any, labels: Any, classes: tuple[str, ...] | None) -> None:
    if classes is None:
        with pytest.raises(DataError, match="60 texts but 0 labels"):
            load_target((texts, labels))
        return
    target = load_target((texts, labels))
    assert (target.n_examples, target.class_names) == (60, classes)
    assert target.texts_at([5]) == [TEXTS[5]]


@pytest.mark.parametrize("names", [{"text": 0, "label": 1}, {"text": "0", "label": "1"}, {}])
def test_columns_called_by_numbers(names: dict[str, Any]) -> None:
    assert load_target(pd.DataFrame({0: TEXTS, 1: NUMBERS}), **names).columns["text"] == "0"


def test_frames_with_enums_rows_as_dictionaries_and_columns_as_lists() -> None:
    assert load_target(pd.DataFrame({"text": TEXTS, "label": [Mood.GLAD, Mood.SAD] * 30})).class_names == (
        "GLAD",
        "SAD",
    )
    rows = [{"text": text, "label": number} for text, number in zip(TEXTS, NUMBERS, strict=True)]
    assert load_target(rows).n_examples == 60
    assert load_target({"text": TEXTS, "label": NUMBERS}).n_examples == 60


def test_what_has_no_order_or_several_columns_is_refused() -> None:
    with pytest.raises(DataError, match="a set has no order"):
        load_target((set(TEXTS), NUMBERS))
    with pytest.raises(DataError, match="a frame of 2 columns"):
        load_target((pd.DataFrame({"a": TEXTS, "b": TEXTS}), NUMBERS))


def test_plain_values() -> None:
    given = [np.str_("a"), np.float64("nan"), pd.NA, pd.NaT, None, np.bool_(True), torch.tensor(2.5), Mood.SAD, "b"]
    assert [plain_value(value) for value in given] == ["a", None, None, None, None, True, 2.5, "SAD", "b"]
    assert all(type(value) in (str, int) for value in plain_list(np.array(["a", 1], dtype=object)))


NEW = ["the pan was quiet", "the tram broke", "the gate looked new"]


@pytest.mark.parametrize(
    "rows",
    [
        NEW,
        tuple(NEW),
        pd.DataFrame({"text": NEW}),
        pd.DataFrame({0: NEW}),
        pd.DataFrame({"number": [4, 5, 6], "text": NEW}),
        pd.DataFrame({"number": [4, 5, 6], "anything": NEW}),
        pd.DataFrame({"title": ["a", "b", "c"], "text": NEW}),
        pd.Series(NEW, index=[7, 8, 9]),
        pd.Series(NEW, dtype="string"),
        np.array(NEW),
        np.array(NEW)[:, None],
        datasets.Dataset.from_dict({"text": NEW, "n": [1, 2, 3]}),
        {"text": NEW},
        (text for text in NEW),
        iter(NEW),
    ],
)
def test_rows_to_label(rows: Any) -> None:
    assert rows_to_read(rows, form=AS_TEXTS) == NEW
    assert all(type(text) is str for text in rows_to_read(NEW, form=AS_TEXTS))


def test_one_text_missing_ones_and_pairs() -> None:
    assert rows_to_read("one text", form=AS_TEXTS) == ["one text"]
    assert rows_to_read(["a", None, float("nan"), pd.NA], form=AS_TEXTS) == ["a", "", "", ""]
    pairs = pd.DataFrame({"first": ["a", "b"], "second": ["c", None], "n": [1, 2]})
    assert rows_to_read(pairs, form=AS_TEXTS, pairs=True) == [("a", "c"), ("b", "")]
    assert rows_to_read(iter([("a", "b")]), form=AS_TEXTS, pairs=True) == [("a", "b")]


def test_sentences_of_words_and_images() -> None:
    sentences = [["Ann", "saw"], ["Berlin"]]
    assert rows_to_read(pd.DataFrame({"id": [1, 2], "tokens": sentences}), form=SENTENCES) == sentences
    assert rows_to_read((words for words in sentences), form=SENTENCES) == sentences
    picture = np.zeros((8, 8, 3), np.uint8)
    assert rows_to_read(picture, form=IMAGES)[0] is picture
    assert len(rows_to_read(pd.DataFrame({"img": [picture, picture], "n": [1, 2]}), form=IMAGES)) == 2
    many = np.zeros((5, 8, 8, 3), np.uint8)
    assert rows_to_read(many, form=IMAGES) is many


@pytest.mark.parametrize(
    ("rows", "form", "message"),
    [
        (pd.DataFrame({"a": NEW, "b": NEW}), AS_TEXTS, "the columns a, b, where 1 of texts"),
        (pd.DataFrame({"n": [1, 2]}), AS_TEXTS, "the columns n"),
        (set(NEW), AS_TEXTS, "a set has no order"),
    ],
)
def test_rows_that_are_not_clear(rows: Any, form: Form, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rows_to_read(rows, form=form)


def test_texts_to_label_in_memory() -> None:
    for given in (pd.Series(NEW), np.array(NEW), iter(NEW), NEW, tuple(NEW)):
        assert read_texts(given)[0] == NEW
    assert read_texts(["a", None, float("nan")])[0] == ["a", "", ""]
    assert read_texts(pd.DataFrame({0: NEW, 1: [1, 2, 3]}), text=0) == (NEW, "0")
