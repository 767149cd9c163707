"""Rows with several labels are read in whichever form they are written, checked, and divided by all of their labels."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from advisor.data.stratify import rarest_of, stratify
from advisor.kinds.table import kind_of
from advisor.kinds.texts import TextsWithLabels
from helpers.loading import load_target
from tuner.errors import DataError, OptionError

NAMES = ("cat", "good", "red")
MARKS = (np.random.default_rng(0).random((240, 3)) < [0.4, 0.5, 0.3]).astype(int)
TEXTS = [f"a text about row number {row}" for row in range(240)]
LISTS = [[NAMES[place] for place in np.flatnonzero(row)] for row in MARKS]
COLUMNS = {name: MARKS[:, place] for place, name in enumerate(NAMES)}


def frame(**columns):
    return pd.DataFrame({"text": TEXTS, **columns})


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (frame(labels=LISTS), {}),
        (frame(what=LISTS), {"label": "what"}),
        ((TEXTS, LISTS), {}),
        (frame(label=[str(row) for row in LISTS]), {}),
        (frame(label=[" ; ".join(row) or None for row in LISTS]), {"label_separator": ";"}),
        (frame(**COLUMNS), {}),
        (frame(**{name: column.astype(bool) for name, column in COLUMNS.items()}), {}),
        (frame(**COLUMNS, label=["x", "y"] * 120), {"label": "cat, good,red"}),
        (pa.table({"text": TEXTS, "labels": pa.array(LISTS, pa.large_list(pa.string()))}).to_pandas(), {}),
    ],
    ids=["lists", "named lists", "texts and lists", "written lists", "separated", "columns", "truth", "named columns",
         "arrays"],
)  # fmt: skip
def test_every_form_of_labels_is_read(data, options):
    target = load_target(data, **options)
    assert target.task == "multi_label_classification"
    assert target.class_names == NAMES
    kept = MARKS[MARKS.any(1)] if options.get("label_separator") else MARKS
    np.testing.assert_array_equal(target.marks, kept)
    assert isinstance(kind_of(target), TextsWithLabels)


def test_numbers_in_lists_are_labels_in_the_order_of_their_values():
    numbers = [[10 * place + 1 for place in np.flatnonzero(row)] for row in MARKS]
    assert load_target(frame(labels=numbers)).class_names == ("1", "11", "21")


def test_numbers_with_names_in_lists_are_called_by_these():
    import datasets

    kind = datasets.Features(
        {"text": datasets.Value("string"), "labels": datasets.Sequence(datasets.ClassLabel(names=list(NAMES)))}
    )
    data = datasets.Dataset.from_dict({"text": TEXTS, "labels": LISTS}, features=kind)
    target = load_target(data)
    assert target.class_names == NAMES
    np.testing.assert_array_equal(target.marks, MARKS)


def test_two_columns_of_0_and_1_are_not_guessed():
    two = {name: COLUMNS[name] for name in NAMES[:2]}
    with pytest.raises(DataError, match="several columns could hold the labels: cat, good") as told:
        load_target(frame(**two))
    assert "pass --label with their names" in told.value.why
    assert load_target(frame(**two), label="cat,good").class_names == ("cat", "good")


def test_every_split_has_its_share_of_every_label():
    target = load_target(frame(labels=LISTS), seed=3)
    totals = MARKS.sum(0)
    for rows, share in ((target.train, 0.64), (target.validation, 0.16), (target.test, 0.2)):
        assert len(rows) == pytest.approx(share * 240, abs=3)
        np.testing.assert_allclose(target.marks[rows].sum(0), share * totals, atol=2)
    assert load_target(frame(labels=LISTS), seed=3).fingerprint == target.fingerprint
    assert load_target(frame(labels=LISTS), seed=4).fingerprint != target.fingerprint
    other = [row[:1] for row in LISTS]
    assert load_target(frame(labels=other), seed=3).fingerprint != target.fingerprint


def test_copies_and_groups_stay_together():
    copies = frame(labels=LISTS, author=np.arange(240) // 4)
    copies.loc[1::2, "text"] = copies["text"][::2].to_numpy()
    target = load_target(copies, group="author", label="labels")
    parts = [set(target.groups[rows]) for rows in (target.train, target.validation, target.test)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    assert target.n_duplicates == 120


def test_texts_with_different_labels_are_counted():
    twice = pd.concat([frame(labels=LISTS), pd.DataFrame({"text": TEXTS[:2], "labels": [["cat"], ["cat"]]})])
    differ = sum(row != ["cat"] for row in LISTS[:2])
    assert load_target(twice).n_conflicting == differ > 0


def test_stratification_follows_the_rarest_label_first():
    rng = np.random.default_rng(0)
    marks = (rng.random((1000, 5)) < [0.5, 0.3, 0.1, 0.03, 0.01]).astype(int)
    part = stratify(marks, np.arange(1000), shares=(0.6, 0.3, 0.1), seed=(1,))
    for number, share in enumerate((0.6, 0.3, 0.1)):
        np.testing.assert_allclose(marks[part == number].sum(0), share * marks.sum(0), atol=1.5)
        assert (part == number).sum() == pytest.approx(1000 * share, abs=6)
    units = np.arange(1000) // 5
    whole = stratify(marks, units, shares=(0.6, 0.3, 0.1), seed=(1,))
    assert all(len(np.unique(whole[units == unit])) == 1 for unit in range(200))
    empty = stratify(marks, np.arange(1000), shares=(0.8, 0.0, 0.2), seed=(1,))
    assert set(empty) == {0, 2}
    np.testing.assert_array_equal(rarest_of(np.array([[1, 0], [1, 1], [0, 0]], dtype=np.int8)), [1, 2, 0])


def refused(data, **options):
    with pytest.raises((DataError, OptionError)) as told:
        load_target(data, **options)
    return told.value


def test_labels_that_cannot_be_learned_are_refused():
    rare = [*LISTS[:-2], ["cat", "odd"], ["odd"]]
    error = refused(frame(labels=rare))
    assert "1 label is too rare to divide: 'odd' has 2" in str(error)
    assert "--drop-rare" in error.fix
    target = load_target(frame(labels=rare), drop_rare=True)
    assert target.class_names == NAMES
    assert target.n_examples == 240
    assert "rare labels were left out of all rows: odd" in target.warnings[0]
    assert "holds one label only, 'cat'" in str(refused(frame(labels=[["cat"], []] * 120)))
    assert "holds no label in any row" in str(refused(frame(labels=[[]] * 239 + [[" "]])))
    assert "looks like free text" in str(refused(frame(labels=[[f"{row}", "x"] for row in range(240)])))


def test_a_label_that_is_never_seen_in_training_is_refused(tmp_path):
    separated = frame(label=["|".join(row) or "none of them" for row in LISTS])
    separated[:200].to_csv(tmp_path / "train.csv", index=False)
    later = separated[200:].copy()
    later.loc[210, "label"] = "cat|new"
    later.to_csv(tmp_path / "test.csv", index=False)
    error = refused(tmp_path, label_separator="|")
    assert "'new' has 0 (1 in test only)" in str(error)


def test_mixed_forms_are_refused():
    mixed = ["|".join(row) if number % 2 else str(row) for number, row in enumerate(LISTS)]
    error = refused(frame(label=mixed), label_separator="|")
    assert "holds labels in two forms: lists, such as" in str(error)
    objects = [row if number % 2 else "|".join(row) for number, row in enumerate(LISTS)]
    assert "holds neither a label nor a list of labels in every row" in str(refused(frame(labels=objects)))
    wrong = frame(**COLUMNS)
    wrong.loc[5, "good"] = 2
    assert "column 'good' holds '2', where 0 or 1 is needed" in str(refused(wrong, label="cat,good,red"))


def test_a_separator_without_use_is_refused():
    error = refused(frame(label=["|".join(row) or "none" for row in LISTS]), label_separator=";")
    assert "--label-separator ';' occurs in no label of column 'label'" in str(error)
    assert "does not go with lists" in str(refused(frame(labels=LISTS), label_separator="|"))
    assert "does not go with columns of 0 and 1" in str(
        refused(frame(**COLUMNS), label="cat,good", label_separator="|")
    )
    sentences = ([["Ann", "saw", f"Oslo{row}"] for row in range(20)], [["B-person", "O", "B-place"]] * 20)
    assert "--label-separator does not go with tagged sentences" in str(refused(sentences, label_separator="|"))
