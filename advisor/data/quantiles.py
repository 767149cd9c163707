"""Numbers by the quantile that they lie in, so that low and high ones are spread over splits, samples and folds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST_QUANTILES, ROWS_OF_ONE = 10, 10


def quantiles_of(numbers: NDArray[np.floating]) -> NDArray[np.int32]:
    """Assign each of (n,) numbers to its quantile, counted from 0.

    There are ten of them, fewer for less than a hundred rows, at least two where the numbers differ. Equal numbers
    share one.

    >>> quantiles_of(np.array([5.0, 1.0, 2.0, 9.0])).tolist()
    [1, 0, 0, 1]
    >>> quantiles_of(np.array([1.0, 1.0, 1.0, 2.0])).tolist()
    [0, 0, 0, 1]
    """
    wanted = min(max(len(numbers) // ROWS_OF_ONE, 2), MOST_QUANTILES)
    edges = np.quantile(numbers, np.linspace(0, 1, wanted + 1)[1:-1])
    places = np.searchsorted(edges, numbers, side="left")
    if (places == places[0]).all():  # most numbers are the lowest or the highest one
        places = (numbers > numbers.min()).astype(np.int64)
    return np.unique(places, return_inverse=True)[1].astype(np.int32)
