"""One JSON value in the layouts that people and pandas write."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from advisor.data.files import read_file
from advisor.data.read import read_tables
from advisor.data.sentences import read_tagged
from helpers.recognised import is_tagged
from tuner.errors import DataError

TEXTS = [f"text number {number} of some" for number in range(6)]
LABELS = [number % 2 for number in range(6)]
ROWS = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]
FRAME = pd.DataFrame(ROWS)


def read(
    tmp_path: Path, content: object, *, indent: int | None = None, name: str = "a.json"
) -> list[dict[str, object]]:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=indent))
    rows: list[dict[str, object]] = read_file(path).table.to_pylist()
    return rows


@pytest.mark.parametrize(
    "value",
    [
        {"text": TEXTS, "label": LABELS},
        {"name": "reviews", "text": TEXTS, "label": LABELS},
        *(json.loads(FRAME.to_json(orient=orient)) for orient in ("columns", "index", "split", "table", "records")),
        {f"doc{number}": row for number, row in enumerate(ROWS)},
        {"version": "1.0", "data": ROWS},
        {"meta": {"by": "hand"}, "result": {"items": ROWS}},
        {"data": {"text": TEXTS, "label": LABELS}},
    ],
    ids=["columns", "named", "pandas", "index", "split", "table", "rows", "ids", "key", "two keys", "key of columns"],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_layouts_give_the_same_rows(tmp_path: Path, value: object, indent: int | None) -> None:
    rows = read(tmp_path, value, indent=indent)
    assert [{"text": row["text"], "label": row["label"]} for row in rows] == ROWS


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"train": ROWS, "test": ROWS[:2]}, {"train": 6, "test": 2}),
        ({"name": "x", "data": {"train": ROWS, "dev": ROWS[:3]}}, {"train": 6, "validation": 3}),
        ({"train": {"text": TEXTS, "label": LABELS}, "test": {"text": ["a"], "label": [1]}}, {"train": 6, "test": 1}),
        (
            {"val": [["a b", "c"]] * 9, "oos_val": [["a", "c"]], "train": [["d e", "c"]] * 9},
            {"train": 9, "validation": 9},
        ),
    ],
)
def test_splits_in_one_file_are_splits(tmp_path: Path, value: object, expected: dict[str, int]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(value))
    tables = read_tables(tmp_path / "a.json")
    assert {split: part.num_rows for split, part in tables.parts.items()} == expected
    assert any("'oos_val' was not used" in warning for warning in tables.warnings) == ("oos_val" in value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"version": "2", "data": [{"title": "t", "paragraphs": [{"context": "c", "qas": [{"question": "q"}]}]}]},
            "its JSON is nested: 'paragraphs' holds lists of objects within each row, as in SQuAD",
        ),
        ({"text": ["a", "b"], "label": [1]}, r"lists of different lengths: text \(2\), label \(1\)"),
        (
            {"images": [{"id": 1}], "annotations": [{"id": 1}]},
            "with the keys 'images', 'annotations', and it is not clear",
        ),
    ],
)
def test_layouts_without_rows_are_named(tmp_path: Path, value: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, value)
    assert "JSONL" in caught.value.fix


def test_one_object_with_a_text_is_a_row(tmp_path: Path) -> None:
    assert read(tmp_path, ROWS[0], name="a.jsonl") == ROWS[:1]
    assert read(tmp_path, {"text": "a", "tags": ["x", "y"]})[0]["text"] == "a"


def test_a_sentence_of_words_is_no_table_of_columns(tmp_path: Path) -> None:
    sentence = {"tokens": ["EU", "rejects"], "tags": ["B-org", "O"]}
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(sentence) + "\n")
    assert is_tagged(path)
    assert read_tagged(path).parts["all"].tokens == (("EU", "rejects"),)
    (tmp_path / "b.json").write_text(json.dumps({"data": [sentence] * 3}))
    assert is_tagged(tmp_path / "b.json")
    assert len(read_tagged(tmp_path / "b.json").parts["all"]) == 3
    (tmp_path / "c.json").write_text(json.dumps({"text": TEXTS, "label": LABELS}))
    assert not is_tagged(tmp_path / "c.json", text="text", label="label")
