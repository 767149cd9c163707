"""Texts and pictures with several labels each."""

import numpy as np

from tuner.search.data import LabelledRows

NAMES = ("good", "cat", "red")


def films(n, seed):
    """Texts that are good or bad, of cats or dogs, red or blue, in words that say so."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 3)) < [0.5, 0.4, 0.3]).astype(np.int64)
    words = (("bad", "good"), ("dog", "cat"), ("blue", "red"))
    found = [[pair[value] for pair, value in zip(words, row, strict=True)] for row in labels]
    return LabelledRows(rows=[f"the {c} {b} was very {a}" for a, b, c in found], labels=labels)


def pictures(n, seed):
    """Images whose upper half, lower half and left side are bright or dark."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 2)) < 0.5).astype(np.int64)
    made = rng.integers(0, 100, size=(n, 32, 32, 3))
    made[:, :16] += 150 * labels[:, 0, None, None, None]
    made[:, 16:] += 150 * labels[:, 1, None, None, None]
    return LabelledRows(rows=list(made.astype(np.uint8)), labels=labels)
