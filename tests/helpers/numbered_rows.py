"""Texts and pictures with a number each."""

import numpy as np

from helpers import tiny
from tuner.search.data import LabelledRows

HAPPY, SAD = tiny.WORDS[:6], tiny.WORDS[6:12]


def moods(n, seed):
    """Texts of twelve words, and 2,000 plus ten times how many more of them are happy than sad."""
    rng = np.random.default_rng(seed)
    rows, labels = [], []
    for _ in range(n):
        words = rng.choice(np.array([*HAPPY, *SAD, "the", "film", "was", "very"]), size=12)
        rows.append(" ".join(words))
        labels.append(2000.0 + 10 * sum((word in HAPPY) - (word in SAD) for word in words.tolist()))
    return LabelledRows(rows=rows, labels=np.array(labels))


def brightness(n, seed):
    """Pictures of noise, and how bright they are on average, in hundredths."""
    rng = np.random.default_rng(seed)
    level = rng.integers(20, 180, size=n)
    pictures = [(rng.integers(0, 60, size=(32, 32, 3)) + value).astype(np.uint8) for value in level]
    return LabelledRows(rows=pictures, labels=np.array([picture.mean() / 255 for picture in pictures]))
