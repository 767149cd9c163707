"""Warnings on data that is learned from all the same, and what of it may reach terminals and spreadsheets."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from advisor import cli, predicted_rows
from advisor.data.cautions import imbalance_note, joined_labels, share_unknown, unknown_note
from advisor.terminal import as_cell, class_lines, in_one_line, printable, printable_json
from helpers.loading import load_target


@pytest.mark.parametrize(
    ("names", "joint"),
    [
        (["neg,funny", "neg,long", "pos,funny", "pos,long"], ","),
        (["a", "b", "c", "a|b", "b|c"], "|"),
        (["a", "b", "a; b"], ";"),
        (["toxic", "insult", "toxic insult"], " "),
        (["Action", "Comedy", "Drama", "Action/Comedy", "Comedy/Drama"], "/"),
        (["joy", "love", "joy+love"], "+"),
        (["good", "bad", "very good", "very bad"], None),
        (["Arts, Leisure", "Sports", "Food, Drink"], None),
        (["Sci/Tech", "Business", "Sports", "World"], None),
        (["comp.graphics", "rec.autos", "card arrival", "card lost"], None),
        (["sport/football", "sport/tennis", "news/world"], None),
        (["yes", "no", "yes and no"], None),
        (["C", "C++", "C#"], None),
        (["A,B"], None),
        (["1,5", "2,5"], None),
    ],
)
def test_labels_joined_in_one_cell(names: list[str], joint: str | None) -> None:
    found = joined_labels(names)
    assert (found and found[0]) == joint


def test_joined_labels_are_said_and_read() -> None:
    texts = [f"sentence {i} about things" for i in range(60)]
    target = load_target(pd.DataFrame({"text": texts, "tags": ["neg,long", "pos,long", "neg,odd", "pos,odd"] * 15}))
    assert len(target.warnings) == 1
    assert "look like several labels in one cell, joined by ','" in target.warnings[0]


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"fine": 388, "broken": 12}, "97% of the rows are of the class 'fine'"),
        ({"a": 80, "b": 20}, "80% of the rows"),
        ({"a": 500, "b": 400, "c": 20}, "'c' has 20 of 920 rows, 'a' 500"),
        ({"a": 70, "b": 30}, None),
        ({"a": 1250, "b": 1162, "c": 95}, None),
        ({str(i): 100 for i in range(150)} | {"other": 2500}, None),
        ({}, None),
    ],
)
def test_imbalance_under_accuracy(counts: dict[str, int], said: str | None) -> None:
    notes = imbalance_note(counts, metric="accuracy")
    assert len(notes) == (said is not None)
    if said:
        assert said in notes[0]
        assert "--metric macro_f1" in notes[0]
    assert imbalance_note(counts, metric="macro_f1") == []


class Vocabulary:
    unk_token_id, bos_token_id, eos_token_id, pad_token_id, mask_token_id = 1, None, None, 0, 4
    all_special_ids = (0, 1, 2, 3, 4)


class Bytes(Vocabulary):
    unk_token_id = eos_token_id = 7


def test_share_of_unknown_tokens() -> None:
    ids = [np.array([2, 1, 1, 9, 3]), np.array([2, 9, 3])]
    assert share_unknown(ids, Vocabulary()) == 0.5
    assert share_unknown([np.array([7, 7])], Bytes()) == 0.0  # the end of a text, not an unknown token
    assert unknown_note(0.05, model="m") == []
    (note,) = unknown_note(0.5, model="m")
    assert note.startswith("50% of the tokens are unknown to m")
    assert "intfloat/multilingual-e5-small" in note


# --- terminals and spreadsheets


def test_control_characters_are_written_out() -> None:
    hostile = "a\x1b]0;owned\x07b\x9bm\u202ec\rd\u2066e\x00"
    assert printable(hostile) == r"a\x1b]0;owned\x07b\x9bm\u202ec\rd\u2066e\x00"
    assert printable("grüße, 猫 👩\u200d💻\n\tשלום") == "grüße, 猫 👩\u200d💻\n\tשלום"
    assert in_one_line("a\nb\tc") == r"a\nb\tc"
    written = json.dumps({"name": hostile}, ensure_ascii=False)
    assert json.loads(printable_json(written)) == {"name": hostile}
    assert not set(printable_json(written)) & set("\x1b\x07\x9b\u202e\u2066")


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+SUM(A1)", "'+SUM(A1)"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("＝1", "'＝1"),
        ("-1", "-1"),
        ("+1.5e3", "+1.5e3"),
        ("fine", "fine"),
        ("a=b", "a=b"),
        (-0.25, -0.25),
        (None, None),
        (True, True),
    ],
)
def test_cells_are_no_formulas(value: object, cell: object) -> None:
    assert as_cell(value) == cell


def test_predictions_as_csv_hold_no_formulas_unless_raw() -> None:
    row = {"image": "=x.png", "label": "=cmd()", "probability": 0.9, "unlike_training": False}
    rows = [row | {"probabilities": {"=cmd()": 0.9, "-1": 0.1}}]
    safe = predicted_rows.csv_of(predicted_rows.as_rows(rows), raw=False).splitlines()
    assert safe[0] == "image,label,probability,unlike_training,probability of =cmd(),probability of -1"
    assert safe[1] == "'=x.png,'=cmd(),0.9,False,0.9,0.1"
    assert (
        predicted_rows.csv_of(predicted_rows.as_rows(rows), raw=True).splitlines()[1]
        == "=x.png,=cmd(),0.9,False,0.9,0.1"
    )
    words = [{"tokens": ["=A1", "x"], "tags": ["O", "-"], "probabilities": [0.5, None], "unlike_training": True}]
    assert predicted_rows.csv_of(predicted_rows.words_as_rows(words), raw=False).splitlines()[1:] == [
        "1,'=A1,O,0.5,True",
        "1,x,'-,,True",
    ]


def test_classes_fill_a_few_lines() -> None:
    assert class_lines({"b": 2, "a": 1200}, indent=16) == "a 1,200, b 2"
    many = class_lines({f"intent number {i}": 200 - i for i in range(150)}, indent=16)
    assert len(many.splitlines()) <= 6
    assert many.startswith("intent number 0 200, intent number 1 199")
    assert many.endswith("more, down to intent number 149 51")
    assert "\x1b" not in class_lines({"\x1b[31m\nred": 1, "b": 2}, indent=0)


def test_printing_goes_through_one_door(capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    path = tmp_path / "evil.csv"
    path.write_text("te\x1b[31mxt,other\n" + "some words here,1.5\n" * 20)
    assert cli.run(["recommend", str(path)]) == 2
    assert cli.run(["recommend", "\x1b[2Jmissing.csv"]) == 2
    assert cli.run(["recommend", "x", "--\x1b[2J"]) == 2
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    assert r"\x1b[31m" in printed.err
