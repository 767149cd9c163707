"""Tagged sentences that a tiny model can learn."""

from __future__ import annotations

import numpy as np

from tuner.search.data import LabelledRows, TuningData
from tuner.tasks.tags import Tags

NAMES = ("O", "B-animal", "I-animal", "B-mood")


MOODS = ("good", "great", "bad", "awful", "sad")


def sentences(n: int, *, seed: int) -> LabelledRows:
    """A cat or dog is an animal, with the word behind it where that is red or blue; a mood is one after `very`."""
    generator = np.random.default_rng(seed)
    rows, tags = [], []
    for _ in range(n):
        words, numbers = [], []
        for _ in range(int(generator.integers(1, 4))):
            kind = generator.integers(4)
            if kind == 0:
                words += [str(generator.choice(["cat", "dog"])), str(generator.choice(["red", "runs"]))]
                numbers += [1, 2 if words[-1] == "red" else 0]
            elif kind == 1:
                words += ["very", str(generator.choice(MOODS))]
                numbers += [0, 3]
            else:
                words += [str(generator.choice(["the", "film", "was", *MOODS, "red"]))]
                numbers += [0]
        rows.append(tuple(words))
        tags += numbers
    return LabelledRows(rows=rows, labels=np.array(tags), n_words=np.array([len(row) for row in rows]))


DATA = TuningData(
    name="animals", train=sentences(160, seed=0), validation=sentences(60, seed=1), test=sentences(50, seed=2),
    task=Tags(names=NAMES), fingerprint="x",
)  # fmt: skip
