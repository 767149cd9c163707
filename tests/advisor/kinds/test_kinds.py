"""Every kind of data answers what is asked of one, and is found by what data and stored runs say of themselves."""

import numpy as np
import pandas as pd
import pytest

from advisor.kinds.base import Kind
from advisor.kinds.images import Images, ImagesWithLabels, ImagesWithNumbers
from advisor.kinds.sentences import Sentences
from advisor.kinds.table import KINDS, check_known, kind_of
from advisor.kinds.texts import Pairs, PairsWithLabels, PairsWithNumbers, Texts, TextsWithLabels, TextsWithNumbers
from advisor.kinds.words import TEXTS, WORDS, is_known, words_of
from helpers.loading import load_target
from tuner.errors import OptionError
from tuner.names import BASELINES

ASKED = sorted(name for name in {*vars(Kind), *Kind.__annotations__} if not name.startswith("_"))
LABELS = ["a", "b"] * 10
SEVERAL = [["a", "b"], ["b"], [], ["a"]] * 5
NUMBERS = [row / 7 for row in range(20)]


@pytest.mark.parametrize("key", KINDS, ids=str)
@pytest.mark.parametrize("name", ASKED)
def test_every_kind_answers(key, name):
    assert hasattr(KINDS[key], name)


def test_every_kind_has_its_words():
    assert KINDS.keys() == WORDS.keys()
    assert all(kind.words is WORDS[key] for key, kind in KINDS.items())


@pytest.mark.parametrize("words", WORDS.values(), ids=lambda words: words.kept_as or words.nouns)
def test_words_agree_with_each_other(words):
    assert words.linear in words.baselines
    assert {*words.baselines} <= BASELINES.keys()
    assert words.own_names.keys() <= {*words.baselines}
    assert (words.kept_as is None) == bool(words.unlike_evidence)


def given(kind):
    texts = [f"text number {row}" for row in range(20)]
    return {
        Texts: (texts, LABELS),
        Pairs: pd.DataFrame({"text": texts, "other": texts[::-1], "label": LABELS}),
        Sentences: ([["Ann", "saw", f"Oslo{row}"] for row in range(20)], [["B-person", "O", "B-place"]] * 20),
        Images: ([np.full((8, 8, 3), row, dtype=np.uint8) for row in range(20)], LABELS),
        TextsWithLabels: (texts, SEVERAL),
        PairsWithLabels: pd.DataFrame({"text": texts, "other": texts[::-1], "label": SEVERAL}),
        ImagesWithLabels: ([np.full((8, 8, 3), row, dtype=np.uint8) for row in range(20)], SEVERAL),
        TextsWithNumbers: (texts, NUMBERS),
        PairsWithNumbers: pd.DataFrame({"text": texts, "other": texts[::-1], "label": NUMBERS}),
        ImagesWithNumbers: ([np.full((8, 8, 3), row, dtype=np.uint8) for row in range(20)], NUMBERS),
    }[kind]


@pytest.mark.parametrize("kind", [type(kind) for kind in KINDS.values()])
def test_data_and_what_is_stored_of_it_are_of_one_kind(kind):
    pairs = issubclass(kind, Pairs | PairsWithLabels | PairsWithNumbers)
    target = load_target(given(kind), **({"text": "text", "text_pair": "other"} if pairs else {}))
    assert type(kind_of(target)) is kind
    stored = {"data": {"kind": target.kind, "task": target.task, "columns": target.columns}}
    assert words_of(stored) is kind.words
    assert is_known(stored)
    rows = kind_of(target).labelled_rows(target, np.array([3, 0]))
    assert len(rows.rows) == 2
    assert len(rows.labels) == (2 if rows.n_words is None else 6)


@pytest.mark.parametrize("stored", [{}, {"data": None}, {"data": {"kind": ["text"], "task": 3, "columns": "x"}}])
def test_what_does_not_say_its_kind_is_spoken_of_as_texts(stored):
    assert words_of(stored) is TEXTS
    assert not is_known(stored)


def test_a_metric_of_any_kind_is_known_before_data_is_read():
    for metric in (None, "accuracy", "macro_f1", "entity_f1", "subset_accuracy"):
        check_known(metric)
    with pytest.raises(OptionError, match="unknown metric"):
        check_known("f1")
