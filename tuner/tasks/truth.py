"""What is true of some rows, whatever is predicted of them."""

from __future__ import annotations

from typing import Any, Protocol, Self

import numpy as np


class Truth(Protocol):
    """What is true of some rows, with the metric that predictions of them are scored by.

    ``labels`` are those of all N labelled units (rows, or words). Rows of equal ``groups`` (n,) are drawn together by
    the bootstrap.
    """

    @property
    def labels(self) -> np.ndarray: ...
    @property
    def metric(self) -> str: ...
    @property
    def groups(self) -> np.ndarray | None: ...

    @property
    def n_units(self) -> int:
        """Number of rows that the bootstrap draws from, or of groups where there are some."""

    def score(self, predictions: np.ndarray) -> float:
        """Score of predictions, shaped as the labels: 1 is perfect, 0 or less is worth nothing."""

    def draws(self, predictions: np.ndarray, *, seed: int) -> np.ndarray:
        """(r,) scores of rows drawn with replacement; equal seeds draw equal rows, so that differences are paired."""

    def interval(self, predictions: np.ndarray, *, seed: int) -> tuple[float, float]:
        """95 % confidence interval of the score over rows, or groups."""

    def take(self, rows: np.ndarray) -> Self:
        """The truth of a subset of the rows, in the order of `rows`."""

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Places of the labels of some rows among all N."""

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Repeat values of the rows, (n,), for each of their labelled units, (N,)."""

    def assess(
        self, logits: np.ndarray, *, temperature: float | None, seen: np.ndarray | None = None, seed: int = 0
    ) -> dict[str, Any]:
        """Everything that is said of a model's outputs on rows that it was not trained on, as JSON values.

        Args:
            logits: (N, C), with the temperature in them already.
            temperature: what they were divided by; None where the task has no probabilities.
            seen: (N,) whether the model sees a unit; others have no probabilities, and are not in the calibration.
            seed: of the bootstrap.

        Returns:
            ``metrics`` by name, what else the task says in parts, and ``calibration`` where it has probabilities.
        """
