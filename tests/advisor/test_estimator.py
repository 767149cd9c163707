"""The scikit-learn face of the job."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.utils import estimator_checks

from advisor import TransferClassifier
from helpers import tiny
from helpers.commands import reviews
from tuner.errors import DataError, OptionError


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny.save_model(tmp_path_factory.mktemp("model"), layers=2))


@pytest.fixture(scope="module")
def rows():
    frame = pd.DataFrame(reviews(160))
    return frame.text, frame.label


@pytest.fixture(scope="module")
def fitted(model, rows):
    texts, labels = rows
    return TransferClassifier(budget=6, model=model, strategy="head_only").fit(list(texts), labels == "pos")


def test_labels_come_back_as_they_were_given(fitted, rows):
    texts, labels = rows
    assert fitted.classes_.tolist() == [False, True]
    found = fitted.predict(texts)
    assert found.dtype == bool
    assert np.mean(found == (labels == "pos")) > 0.9
    assert fitted.score(texts, labels == "pos") == np.mean(found == (labels == "pos"))


def test_probabilities_stand_in_the_order_of_the_classes(fitted, rows):
    probabilities = fitted.predict_proba(rows[0].to_frame())
    assert probabilities.shape == (160, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert (fitted.classes_[probabilities.argmax(1)] == fitted.predict(np.array(rows[0]))).all()


def test_what_was_measured_is_kept_with_it(fitted):
    assert 0 < fitted.result_.winner["test"]["score"] <= 1
    assert fitted.model_.class_names == ("False", "True")


def test_it_can_be_pickled_and_cloned(fitted, rows):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_allclose(again.predict_proba(rows[0][:3]), fitted.predict_proba(rows[0][:3]))
    fresh = clone(fitted)
    assert fresh.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        fresh.predict(rows[0])


def test_a_run_is_kept_where_a_folder_is_named(model, rows, tmp_path):
    TransferClassifier(budget=6, model=model, strategy="head_only", out=tmp_path / "run").fit(*rows)
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.slow
def test_it_is_cross_validated(model, rows):
    found = cross_val_score(TransferClassifier(budget=6, model=model, strategy="head_only"), *rows, cv=2)
    assert found.mean() > 0.8


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_estimator_tags_renamed,
        estimator_checks.check_valid_tag_types,
        estimator_checks.check_mixin_order,
        estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
    ],
    ids=lambda check: check.__name__,
)
def test_scikit_learns_own_checks_that_need_no_table_of_numbers(check):
    check("TransferClassifier", TransferClassifier())


def test_bad_input_is_refused(model, rows):
    with pytest.raises(DataError, match="X has 2 rows and y 1 labels"):
        TransferClassifier(model=model).fit(["a", "b"], ["x"])
    with pytest.raises(ValueError, match="continuous"):
        TransferClassifier(model=model).fit(["a", "b"], [0.5, 1.7])
    with pytest.raises(OptionError, match="--budget"):
        TransferClassifier(model=model, budget="soon").fit(*rows)
