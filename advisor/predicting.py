"""A saved model and new rows -> predictions, and how far these rows lie from what it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from advisor import runs
from advisor.kinds.base import NewRows
from advisor.kinds.table import kind_of_model
from advisor.predicted_rows import Predicted
from tuner.export import ADVICE_FILE, TransferModel
from tuner.records import Progress


def predict(
    model: str | Path,
    data: Any,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    image: str | None = None,
    images_root: str | Path | None = None,
    header: bool | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Predicted:
    """Labels and probabilities of new texts or images, or tags of the words of new sentences, by a saved model.

    Args:
        model: a run folder, or its ``model`` folder.
        data: as in `advisor.recommend`, without need of labels.
        text: the column of texts, or of words.
        text_pair: the column of second texts, by default the one that the model was tuned with.
        image: the column of images.
        images_root: the folder where images may lie that a table names outside its own.
        header: whether the first line of a file names its columns; by default it does where it holds names of columns
            that the model was tuned with, or looks so.
        device: where the model runs.
        progress: told how many rows have been read.

    Returns:
        `advisor.predicted_rows.Predictions`, or `advisor.predicted_rows.TaggedPredictions` of sentences.
    """
    folder = Path(model)
    if (folder / "model").is_dir():
        folder = folder / "model"
    transfer_model = TransferModel.from_pretrained(folder, device=device)
    new = NewRows(
        data=data,
        text=text,
        text_pair=text_pair,
        image=image,
        images_root=images_root,
        header=header,
        trained_on=runs.read_columns(folder) if (folder / ADVICE_FILE).exists() else {},
    )
    return kind_of_model(transfer_model).predict(transfer_model, new, progress=progress)
