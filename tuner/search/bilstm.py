"""A BiLSTM on cached features of tagged words, stopped early by training sentences that it is not shown."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from tuner.model.backbone import Backbone, Features
from tuner.model.bilstm import HIDDEN, LAYERS, MOST_EPOCHS, Tagger, WordRows, fit_tagger
from tuner.search.rows import EncodedRows
from tuner.training.train import Stopped

LSTM = (HIDDEN, LAYERS)
EARLY_STOPPING = 0.1
"""Share of the training sentences that say when a BiLSTM stops; the validation sentences choose nothing there."""


def fit_bilstm(
    features: str,
    of: Features,
    *,
    rows: EncodedRows,
    backbone: Backbone,
    seed: int,
    on_step: Callable[[int], int | None] | None = None,
    most_seconds: float = math.inf,
    most_epochs: int = MOST_EPOCHS,
) -> Tagger | None:
    """Fit a BiLSTM on the words of the training sentences; None where `on_step` stopped it.

    Args:
        features: name of what it reads (`tuner.tasks.heads.select_features`).
        of: the features of the training words after every block.
        rows: encoded rows of tagged words.
        backbone: says where and how exactly it is computed.
        seed: of its weights, its batches and the sentences that stop it.
        on_step: called after every epoch with ten times its number; may raise `Stopped`.
        most_seconds: after which no epoch begins, and the best one so far counts.
        most_epochs: after which it ends in any case.
    """
    encoded, data = rows.train, rows.data.train
    unit = np.arange(len(encoded)) if data.groups is None else data.groups
    shuffled = np.random.default_rng(seed).permutation(np.unique(unit))
    held_out = np.isin(unit, shuffled[: max(round(EARLY_STOPPING * len(shuffled)), 1)])
    of_sentence = np.repeat(np.arange(len(encoded)), encoded.per_row)

    def words_of(sentences: np.ndarray) -> WordRows:
        places = np.flatnonzero(encoded.seen & sentences[of_sentence])
        lengths = np.bincount(of_sentence[places], minlength=len(encoded))[sentences]
        return WordRows(features=[block[places] for block in of], lengths=lengths, tags=data.labels[places])

    def epoch_ended(epoch: int, _f1: float) -> None:
        if on_step is not None:
            on_step(10 * (epoch + 1))

    try:
        return fit_tagger(
            words_of(~held_out), validation=words_of(held_out), tag_names=rows.task.names, features=features,
            seed=seed, hidden=LSTM[0], layers=LSTM[1], device=backbone.device,
            half=backbone.compute_dtype == torch.bfloat16, most_seconds=most_seconds, most_epochs=most_epochs,
            on_epoch=epoch_ended,
        )  # fmt: skip
    except Stopped:
        return None
