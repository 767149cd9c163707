"""Which kind some data is, or a saved model was tuned on: the one place where that is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.kinds.images import Images
from advisor.kinds.sentences import Sentences
from advisor.kinds.texts import Pairs, Texts
from advisor.kinds.words import Key, key_of
from tuner.tasks.metrics import check_metric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from advisor.data.target import TargetData
    from advisor.kinds.base import Kind
    from tuner.export import TransferModel

_TEXTS: Key = ("text", "sequence_classification", False)
_SENTENCES: Key = ("text", "token_classification", False)
_IMAGES: Key = ("image", "image_classification", False)

KINDS: Mapping[Key, Kind] = {
    _TEXTS: Texts(),
    ("text", "sequence_classification", True): Pairs(),
    _SENTENCES: Sentences(),
    _IMAGES: Images(),
}


def kind_of(target: TargetData) -> Kind:
    """The kind of some labelled data."""
    return KINDS[key_of(kind=target.kind, task=target.task, columns=target.columns)]


def kind_of_model(model: TransferModel) -> Kind:
    """The kind of data that a saved model was tuned on; one of pairs reads texts too."""
    key = {(True, False): _TEXTS, (True, True): _SENTENCES}.get((model.reads_text, model.tags_words), _IMAGES)
    return KINDS[key]


def check_known(metric: str | None) -> None:
    """Raise `OptionError` for a metric of no kind of data, before the data is read."""
    if metric is not None and not any(metric in kind.metrics for kind in KINDS.values()):
        check_metric(metric)
