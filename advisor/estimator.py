"""The whole job as a scikit-learn classifier: `fit` advises and tunes, `predict` labels new texts or images."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from advisor.pipeline import tune
from tuner.errors import DataError
from tuner.inputs.given import plain_list


class TransferClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Measure the labelled rows, choose a transfer-learning strategy, tune how much is frozen, and keep the best model.

    It is `advisor.tune` in scikit-learn's form, so that it can stand in a pipeline, in `cross_val_score`, or beside any
    other classifier. Every fit takes the whole budget.

    Args:
        budget: wall time of a fit, as seconds or a text such as ``"2m"``.
        model: a Hugging Face id, a folder, or (model, tokenizer or image processor); by default the built-in model of
            texts, or of images.
        metric: what candidates are compared by: ``"accuracy"``, ``"macro_f1"`` or ``"balanced_accuracy"``.
        strategy: search this strategy only (``"head_only"``, ``"freeze_part"``...); by default what the advice says.
        prefer: ``"score"``, or ``"speed"`` for the cheapest strategy within a point of the best.
        max_length: tokens that texts are cut to.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``...
        seed: of splits, training and sampling.
        out: folder that keeps the run with its report and model; by default nothing is kept but this object.

    Attributes:
        classes_: (C,) the labels, sorted.
        model_: the tuned `tuner.export.TransferModel`.
        result_: the `TuningResult`, with all that was measured. A fifth of the rows was held out to score the model
            once, which ``result_.winner["test"]`` holds.

    >>> from advisor import TransferClassifier
    >>> TransferClassifier(budget="2m")
    TransferClassifier()
    >>> TransferClassifier(budget="10m").get_params()["budget"]
    '10m'
    """

    def __init__(
        self,
        *,
        budget: str | float = "2m",
        model: Any = None,
        metric: str | None = None,
        strategy: str | None = None,
        prefer: str = "score",
        max_length: int | None = None,
        device: str = "auto",
        seed: int = 0,
        out: str | Path | None = None,
    ) -> None:
        self.budget = budget
        self.model = model
        self.metric = metric
        self.strategy = strategy
        self.prefer = prefer
        self.max_length = max_length
        self.device = device
        self.seed = seed
        self.out = out

    # scikit-learn's own names of the arguments, which its tools pass by name.
    def fit(self, X: Any, y: Any) -> TransferClassifier:
        """Advise on n labelled rows, search, and load the winner.

        Args:
            X: n texts, pairs of texts, or images: a list, array, Series or one-column frame.
            y: (n,) labels: numbers, texts or truth values.

        Returns:
            This object.

        Raises:
            DataError: where X and y differ in length, or are no rows and labels.
            TransferError: for whatever else `advisor.tune` refuses, with what to do about it.
        """
        rows, labels = _rows(X), np.asarray(plain_list(y))
        if len(rows) != len(labels):
            raise DataError(
                f"X has {len(rows):,} rows and y {len(labels):,} labels",
                why="the n-th label belongs to the n-th row",
                fix="pass as many labels as rows",
            )
        check_classification_targets(labels)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        # Labels travel as texts; a number that is a text too, such as 1 and "1", cannot be in one array.
        names = [str(label) for label in self.classes_.tolist()]
        with tempfile.TemporaryDirectory(prefix="transfer-classifier-") as scratch:
            self.result_ = tune(
                (rows, [names[number] for number in numbers]),
                model=self.model,
                budget=self.budget,
                metric=self.metric,
                strategy=self.strategy,
                prefer=self.prefer,
                max_length=self.max_length,
                device=self.device,
                seed=self.seed,
                out=self.out if self.out is not None else Path(scratch) / "run",
            )
            self.model_ = self.result_.model
        place = {name: number for number, name in enumerate(self.model_.class_names)}
        self._order = np.array([place[name] for name in names])
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The most probable label of every row.

        Args:
            X: n rows as in `fit`.

        Returns:
            (n,) labels, of the type that `fit` was given.
        """
        probabilities = self.predict_proba(X)
        return np.asarray(self.classes_[probabilities.argmax(1)])

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of every class for every row, calibrated where there was time to.

        Args:
            X: n rows as in `fit`.

        Returns:
            (n, C) probabilities in the order of `classes_`.
        """
        check_is_fitted(self)
        return self.model_.predict_proba(_rows(X))[:, self._order]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = True
        tags.non_deterministic = True  # what a budget buys depends on the machine
        return tags


def _rows(X: Any) -> Sequence[Any]:
    """The rows as a list; of an array or frame with one column, that column."""
    first = X[0] if isinstance(X, (list, tuple)) and len(X) else None
    if isinstance(first, (tuple, list)) or getattr(X, "ndim", 1) > 2:  # pairs, or a stack of images
        return list(X)
    if first is not None and not isinstance(first, str):
        return list(X)
    return plain_list(X)
