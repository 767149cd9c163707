"""A saved model and new rows -> predictions, and how far these rows lie from what it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from advisor import runs
from advisor.data.image_paths import refuse_root
from advisor.data.new_rows import notes_on_texts, read_images, read_new_texts
from advisor.data.sentences import read_sentences
from advisor.data.tagged_target import refuse_options
from tuner.export import ADVICE_FILE, TransferModel
from tuner.inputs.pairs import in_words
from tuner.inputs.pictures import Pictures
from tuner.inputs.tokens import Tokens
from tuner.records import Progress, Record

if TYPE_CHECKING:
    import datasets
    import pandas as pd

    Data: TypeAlias = str | Path | pd.DataFrame | datasets.Dataset | datasets.DatasetDict | tuple[Any, Any]
    Model: TypeAlias = str | Path | tuple[Any, Any] | None


@dataclass(frozen=True, kw_only=True)
class Predictions(Record):
    """Labels and probabilities for new rows, with the share of rows unlike the training data.

    ``unreadable`` are positions of images that could not be read, with the reason: they have no label (None).
    """

    rows: tuple[str, ...]
    labels: tuple[str | None, ...]
    probabilities: np.ndarray
    class_names: tuple[str, ...]
    unlike: np.ndarray
    unreadable: Mapping[int, str] = field(default_factory=dict)
    kind: str = "text"
    warnings: tuple[str, ...] = ()

    @property
    def share_unlike(self) -> float:
        """Share of rows farther from the training features than 95 % of the training rows are from each other."""
        counted = np.delete(self.unlike, list(self.unreadable))
        return float(counted.mean()) if len(counted) else 0.0


@dataclass(frozen=True, kw_only=True)
class TaggedPredictions(Record):
    """Tags for the words of n new sentences, with the share of sentences unlike the training data.

    ``probabilities`` hold for every sentence a (words,) array: how probable each word's tag is, not a number (NaN) for
    words that the model does not see.
    """

    tokens: tuple[tuple[str, ...], ...]
    tags: tuple[tuple[str, ...], ...]
    probabilities: tuple[np.ndarray, ...]
    unlike: np.ndarray
    warnings: tuple[str, ...] = ()

    @property
    def share_unlike(self) -> float:
        """Share of the sentences that are unlike the training data."""
        return float(self.unlike.mean()) if len(self.unlike) else 0.0


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
) -> Predictions | TaggedPredictions:
    """Labels and probabilities of new texts or images, or tags of the words of new sentences, by a saved model (a run
    folder or its ``model`` folder).

    A model of text pairs takes its second texts from `text_pair`, by default the column that it was tuned with.
    `images_root` is as in `recommend`, and so is `header`; a first line with the names of the columns that the model
    was tuned with is one.
    """
    folder = Path(model)
    if (folder / "model").is_dir():
        folder = folder / "model"
    transfer_model = TransferModel.from_pretrained(folder, device=device)
    warnings: tuple[str, ...] = ()
    if transfer_model.tags_words:
        refuse_options(
            {"text-pair": text_pair, "image": image, "images-root": images_root, "no-header": header is False}
        )
        return predict_tags(transfer_model, data, text=text, progress=progress)
    if transfer_model.reads_text:
        refuse_root(images_root)
        trained_on = runs.read_columns(folder) if (folder / ADVICE_FILE).exists() else {}
        known = [name for name in trained_on.values() if isinstance(name, str)]
        if (pair := text_pair or trained_on.get("text_pair")) is not None and text is None:
            text = trained_on.get("text")
        new_texts, _, warnings = read_new_texts(data, text=text, text_pair=pair, header=header, names=known)
        rows: Sequence[Any] = new_texts
        named: Sequence[str] = [in_words(text) for text in new_texts]
        warnings = (*warnings, *notes_on_texts(new_texts))
    else:
        rows, named, warnings = read_images(data, image=image, images_root=images_root, header=header)
    probabilities, unlike = transfer_model.predict_with_support(rows, progress=progress)
    names = transfer_model.class_names
    unreadable = {}
    if isinstance(rows, Pictures):
        rows.readable(why="where most are damaged, something is wrong with all of them")
        unreadable = dict(rows.unreadable)
    return Predictions(
        rows=tuple(named),
        labels=tuple(None if row in unreadable else names[index] for row, index in enumerate(probabilities.argmax(1))),
        probabilities=probabilities,
        class_names=tuple(names),
        unlike=unlike,
        unreadable=unreadable,
        kind="text" if transfer_model.reads_text else "image",
        warnings=warnings,
    )


def predict_tags(model: TransferModel, data: Any, *, text: str | None, progress: Progress | None) -> TaggedPredictions:
    """Tags of the words of sentences, with each one's probability."""
    sentences, warnings = read_sentences(data, text=text)
    encoded = model.encode(sentences, progress=progress)
    assert isinstance(encoded, Tokens)
    probabilities, unlike = model.predict_encoded(encoded, progress=progress)
    names, ends = model.class_names, np.cumsum([len(words) for words in sentences])[:-1]
    if sentences:
        warnings = (*warnings, *encoded.notes("sentences"))
    most_probable = np.where(encoded.seen, probabilities.max(1), np.nan)
    return TaggedPredictions(
        tokens=tuple(map(tuple, sentences)),
        tags=tuple(tuple(names[tag] for tag in part) for part in np.split(probabilities.argmax(1), ends)),
        probabilities=tuple(np.split(most_probable, ends)),
        unlike=unlike,
        warnings=warnings,
    )
