"""Pairs of texts, handed on as one string with a mark between them, so that whatever reads texts reads pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BETWEEN = "\ufdd0"
"""Stands between the two texts of a pair: a code point that Unicode keeps for programs' own use."""


def paired(first: str, second: str) -> str:
    """Join the two texts of a pair into one string.

    >>> in_words(paired("Is it warm?", "It is."))
    'Is it warm? It is.'
    """
    return first.replace(BETWEEN, " ") + BETWEEN + second.replace(BETWEEN, " ")


def in_words(text: str) -> str:
    """A text, or both of a pair, for those who know nothing of pairs."""
    return text.replace(BETWEEN, " ")


def are_pairs(columns: Mapping[str, Any]) -> bool:
    """Whether rows are pairs, by the columns that they were read from, as ``advice.json`` names them."""
    return columns.get("text_pair") is not None
