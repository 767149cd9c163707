"""What is said of data that is read and learned from all the same: joined labels, rare classes, unknown tokens."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAJORITY = 0.8
RARE, FEW_CLASSES = 1 / 20, 20
"""A rarest class of less than this share of the largest one, among no more than so many classes."""
UNKNOWN = 0.05

_JOINTS = (";", "|", ",", "#", "/", "+", "&", " ")
_STRICT = frozenset("#/+& ")  # which names of single classes hold, too: each part must then be a class of its own
_NEVER_IN_NAMES = frozenset(";|")  # then it is enough that one part comes again
_MULTILINGUAL = "intfloat/multilingual-e5-small"


def joined_labels(names: Sequence[str]) -> tuple[str, str] | None:
    """Find the sign that joins several labels in one cell, and an example; None where every cell is one class.

    Parts must come again: as a class of their own or, but for signs that names hold too, in another joined label; so
    "Arts, Leisure" beside "Sports" is one class. At least two cells are joined, or one of two classes.

    >>> joined_labels(["neg,funny", "neg,long", "pos,funny", "pos,long"])
    (',', 'neg,funny')
    >>> joined_labels(["good", "very good", "bad", "very bad"]), joined_labels(["Arts, Leisure", "Sports"])
    (None, None)
    """
    whole = {name.strip() for name in names}
    for joint in _JOINTS:
        parts_of = {
            name: tuple(part.strip() for part in re.split(r"\s+" if joint == " " else re.escape(joint), name.strip()))
            for name in names
            if joint in name.strip()
        }
        if not parts_of:
            continue
        times = Counter(part for parts in parts_of.values() for part in set(parts))
        alone = {part for part in times if part in whole - parts_of.keys()}
        again = alone if joint in _STRICT else alone | {part for part, n in times.items() if n > 1}
        joined = [
            name
            for name, parts in parts_of.items()
            if len(set(parts)) > 1
            and (again.intersection(parts) if joint in _NEVER_IN_NAMES else again.issuperset(parts))
        ]
        # Of labels that a sign parts, nearly all have to be made of parts that come again.
        if joined and "" not in again and len(joined) >= 0.8 * len(parts_of) and (len(joined) > 1 or alone):
            return joint, joined[0]
    return None


def joined_labels_note(names: Sequence[str], *, column: str | None) -> list[str]:
    """A warning where classes look like several labels in one cell."""
    found = joined_labels(names)
    if found is None:
        return []
    joint, shown = found
    sign = "a blank" if joint == " " else f"'{joint}'"
    return [
        f"labels in column '{column}' look like several labels in one cell, joined by {sign}, such as '{shown[:60]}' "
        "(multi-label): each combination was taken as a class of its own; where that is wrong pass --label-separator "
        f"'{joint}'"
    ]


def imbalance_note(counts: Mapping[str, int], *, metric: str) -> list[str]:
    """A warning where accuracy says little of the rare classes, since one class is most rows or another very few.

    >>> imbalance_note({"fine": 60, "broken": 40}, metric="accuracy")
    []
    """
    if metric != "accuracy" or len(counts) < 2:
        return []
    largest, rarest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    share = counts[largest] / sum(counts.values())
    of_rarest = f"'{rarest[:40]}' has {counts[rarest]:,} of {sum(counts.values()):,} rows"
    advice = "accuracy hardly shows whether it is found; --metric macro_f1 counts all classes alike"
    if share >= MAJORITY:
        return [
            f"{share:.0%} of the rows are of the class '{largest[:40]}': always answering so has that accuracy, and "
            f"{of_rarest}; --metric macro_f1 counts all classes alike"
        ]
    if len(counts) <= FEW_CLASSES and counts[rarest] < RARE * counts[largest]:
        return [f"{of_rarest}, '{largest[:40]}' {counts[largest]:,}: {advice}"]
    return []


def share_unknown(input_ids: Sequence[np.ndarray], tokenizer: PreTrainedTokenizerBase) -> float:
    """The share of tokens, special ones aside, that are the unknown token; 0 where the vocabulary lacks nothing."""
    unknown = tokenizer.unk_token_id
    special = {number for number in tokenizer.all_special_ids if number != unknown}
    others = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.mask_token_id)
    if unknown is None or unknown in others or not len(input_ids):
        return 0.0
    ids = np.concatenate(input_ids)
    counted = ids[~np.isin(ids, sorted(special))]
    return float((counted == unknown).mean()) if len(counted) else 0.0


def unknown_note(share: float, *, model: str) -> list[str]:
    """A warning where many tokens are unknown to the model.

    >>> unknown_note(0.02, model="m")
    []
    """
    if share <= UNKNOWN:
        return []
    return [
        f"{share:.0%} of the tokens are unknown to {model} ([UNK]): this model cannot read this text; pass --model "
        f"with one that can, such as {_MULTILINGUAL}, which reads about a hundred languages"
    ]
