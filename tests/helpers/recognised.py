"""Whether data is recognised as sentences of tagged words, as `advisor.data.load.load_target` asks."""

from __future__ import annotations

from advisor.data.read import read_data
from advisor.data.sentences import holds_sentences
from tuner.errors import TransferError


def is_tagged(data: object, **columns: str) -> bool:
    """What cannot be read is not tagged."""
    try:
        return holds_sentences(read_data(data), **columns)
    except TransferError:
        return False
