"""Which kind some data is, or a saved model was tuned on: the one place where that is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.kinds.images import Images, ImagesWithLabels, ImagesWithNumbers
from advisor.kinds.sentences import Sentences
from advisor.kinds.texts import Pairs, PairsWithLabels, PairsWithNumbers, Texts, TextsWithLabels, TextsWithNumbers
from advisor.kinds.words import Key, key_of
from tuner.tasks.metrics import check_metric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from advisor.data.target import TargetData
    from advisor.kinds.base import Kind
    from tuner.export import TransferModel

KINDS: Mapping[Key, Kind] = {
    ("text", "sequence_classification", False): Texts(),
    ("text", "sequence_classification", True): Pairs(),
    ("text", "token_classification", False): Sentences(),
    ("image", "image_classification", False): Images(),
    ("text", "regression", False): TextsWithNumbers(),
    ("text", "regression", True): PairsWithNumbers(),
    ("image", "regression", False): ImagesWithNumbers(),
    ("text", "multi_label_classification", False): TextsWithLabels(),
    ("text", "multi_label_classification", True): PairsWithLabels(),
    ("image", "multi_label_classification", False): ImagesWithLabels(),
}


def kind_of(target: TargetData) -> Kind:
    """The kind of some labelled data."""
    return KINDS[key_of(kind=target.kind, task=target.task, columns=target.columns)]


def kind_of_model(model: TransferModel) -> Kind:
    """The kind of data that a saved model was tuned on; one of pairs reads texts too."""
    return next(
        kind for kind in KINDS.values() if issubclass(model.input, kind.input) and isinstance(model.task, kind.predicts)
    )


def check_known(metric: str | None) -> None:
    """Raise `OptionError` for a metric of no kind of data, before the data is read."""
    if metric is not None and not any(metric in kind.predicts.metrics for kind in KINDS.values()):
        check_metric(metric)
