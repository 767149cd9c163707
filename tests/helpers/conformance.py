"""What every input and every task must hold: an input and a task of one's own are tried by adding a `Job`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from helpers import tiny
from tuner.inputs.given import IMAGES, SENTENCES, TEXTS, Form
from tuner.inputs.pairs import paired
from tuner.tasks.base import Task
from tuner.tasks.classes import Classes
from tuner.tasks.labels import Labels
from tuner.tasks.numbers import Numbers
from tuner.tasks.tags import Tags

SIZE = 32


def one_hot(labels: np.ndarray, n_outputs: int) -> np.ndarray:
    """(...) numbers of classes as (..., C) ones at their places, else zeros."""
    made: np.ndarray = np.eye(n_outputs, dtype=np.float32)[labels]
    return made


def signs(labels: np.ndarray, n_outputs: int) -> np.ndarray:
    """(..., L) zeros and ones as -1 and 1."""
    made: np.ndarray = (2 * labels - 1).astype(np.float32)
    return made


@dataclass(frozen=True, kw_only=True)
class Job:
    """An input with a task: a tiny model with its reader, rows as the input encodes them, and their labels.

    ``given`` are the same rows as a person passes them, ``form`` is what they are. ``right`` makes logits of labels and
    the number of outputs, which are right of each and the surer, the greater they are.
    """

    model: Callable[[], tuple[Any, Any]]
    task: Task
    rows: Sequence[Any]
    labels: np.ndarray
    form: Form
    given: Sequence[Any] | None = None
    n_words: np.ndarray | None = None
    right: Callable[[np.ndarray, int], np.ndarray] = one_hot

    @property
    def metric(self) -> str:
        """The task's usual one."""
        return self.task.metrics[0]

    @property
    def scale(self) -> float:
        """How far labels lie apart, where a prediction can be nearly right; 0 where it is right or wrong."""
        return 0.0

    def logits(self, labels: np.ndarray, sure: float) -> np.ndarray:
        """Logits that are right of these labels."""
        return sure * self.right(labels, self.task.n_outputs)


class NumberJob(Job):
    """A job whose labels are numbers: a model's outputs are these, standardised, and cannot be surer than that."""

    @property
    def scale(self) -> float:
        """Their standard deviation."""
        return float(self.labels.std())

    def logits(self, labels: np.ndarray, sure: float) -> np.ndarray:
        """(..., 1) standardised labels."""
        made: np.ndarray = ((labels - self.labels.mean()) / self.labels.std())[..., None].astype(np.float32)
        return made


def texts() -> tuple[Any, Any]:
    """A BERT of random weights, with the pooler that its own classifier reads."""
    import torch
    from transformers import BertModel

    torch.manual_seed(0)
    return BertModel(tiny.bert().config), tiny.tokenizer()


def images() -> tuple[Any, Any]:
    """A ViT of random weights."""
    import torch
    from transformers import BitImageProcessor, ViTConfig, ViTModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
    model = ViTModel(ViTConfig(image_size=SIZE, patch_size=8, **sizes), add_pooling_layer=False)
    return model, BitImageProcessor(size={"shortest_edge": 36}, crop_size=SIZE, image_std=[0.2] * 3)


def patches(n: int) -> list[np.ndarray]:
    """Images of coarse patches, half of them bright."""
    generator = np.random.default_rng(0)
    made = [generator.integers(0, 128, size=(5, 6, 3), dtype=np.uint8) + 127 * (row % 2) for row in range(n)]
    return [image.astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1) for image in made]


TEXT_ROWS = [
    f"the {a} {b} film was {c}" for a in ("red", "blue") for b in ("very", "not") for c in ("good", "bad", "sad")
]
SENTENCE_ROWS = [
    ["the", "cat", "runs"],
    ["dog"],
    ["a", "red", "dog", "is", "sad"],
    ["very", "good"],
    ["cat", "film"],
] * 3
TAG_NAMES = ("O", "B-animal")
TAG_LABELS = np.array([int(word in ("cat", "dog")) for words in SENTENCE_ROWS for word in words])
CLASSES = Classes(names=("no", "yes"))
IMAGE_ROWS = patches(12)
NUMBERS = np.array([1990.5, 2004.0, 1998.25, 2011.0, 1985.0, 2020.0, 1979.5, 2001.0, 2016.0, 1993.0, 2008.0, 1988.0])
NUMBER = Numbers.of(NUMBERS, name="year")
LABELS = Labels(names=("red", "very", "odd"))
SEVERAL = np.array([[row < 6, row // 3 % 2 == 0, row % 4 == 0] for row in range(12)]).astype(np.int64)

JOBS = {
    "texts": Job(model=texts, task=CLASSES, rows=TEXT_ROWS, labels=np.arange(12) // 6, form=TEXTS),
    "pairs": Job(
        model=texts,
        task=CLASSES,
        rows=[paired(text, "good film") for text in TEXT_ROWS],
        given=[(text, "good film") for text in TEXT_ROWS],
        labels=np.arange(12) // 6,
        form=TEXTS,
    ),
    "images": Job(model=images, task=CLASSES, rows=IMAGE_ROWS, labels=np.arange(12) % 2, form=IMAGES),
    "sentences": Job(
        model=texts,
        task=Tags(names=TAG_NAMES),
        rows=SENTENCE_ROWS,
        labels=TAG_LABELS,
        form=SENTENCES,
        n_words=np.array([len(words) for words in SENTENCE_ROWS]),
    ),
    "texts with numbers": NumberJob(model=texts, task=NUMBER, rows=TEXT_ROWS, labels=NUMBERS, form=TEXTS),
    "images with numbers": NumberJob(model=images, task=NUMBER, rows=IMAGE_ROWS, labels=NUMBERS, form=IMAGES),
    "texts with labels": Job(model=texts, task=LABELS, rows=TEXT_ROWS, labels=SEVERAL, form=TEXTS, right=signs),
    "images with labels": Job(model=images, task=LABELS, rows=IMAGE_ROWS, labels=SEVERAL, form=IMAGES, right=signs),
}
