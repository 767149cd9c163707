"""Rows with several labels each -> `TargetData`: labels named, splits made that have a share of each, leaks counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from advisor.data.divide import check_divided, content_ids, finished
from advisor.data.rows import Rows, listed_names, shortened
from advisor.data.splits import (
    FEWEST_TRAINING_ROWS,
    MOST_TEST_ROWS,
    MOST_VALIDATION_ROWS,
    SPLITS,
    TEST_SHARE,
    VALIDATION_SHARE,
    leaks,
    without_leaks,
)
from advisor.data.stratify import rarest_of, stratify
from advisor.data.target import TargetData
from tuner.errors import DataError

TASK = "multi_label_classification"
Marks = NDArray[np.int8]


def divide_several(rows: Rows, *, drop_rare: bool, seed: int) -> TargetData:
    """Name the labels that the rows list, and divide the rows; a label that is too rare raises, or is left out.

    Rows that list nothing have no label, which is an answer, too. What is not given of test and validation is carved by
    `advisor.data.stratify.stratify`; copies of a text and rows of a group stay together.
    """
    names, marks = _marks_of(rows)
    to_carve = tuple(split for split in ("test", "validation") if split not in rows.given_splits)
    text_ids = content_ids(rows, folded=True)
    rows = replace(rows, split=np.where(rows.split < 0, 0, rows.split).astype(np.int8))
    split, n_leaked = without_leaks(rows.split, text_ids, place=rows.place, noun=rows.noun)
    n_near = n_leaked - int(leaks(rows.split, content_ids(rows)).sum())
    rows, names, marks = _without_rare(rows, names, marks, split, text_ids, n_carved=len(to_carve), drop=drop_rare)
    units = text_ids if rows.groups is None else rows.groups
    split = _carved(split, units, marks, carved=to_carve, seed=seed)
    if rows.groups is not None:
        split, by_text = without_leaks(split, text_ids, place=rows.place, noun=rows.noun)
        n_leaked += by_text
    combinations, number = np.unique(marks, axis=0, return_inverse=True)
    shown = [", ".join(names[place] for place in np.flatnonzero(row)) or "no label" for row in combinations]
    rows = replace(rows, labels=number.ravel().astype(np.int32), class_names=tuple(shown))
    check_divided(rows, split, absent=[name for name, n in zip(names, marks[split == 0].sum(0), strict=True) if n == 0])
    target = finished(rows, split, text_ids, n_leaked=n_leaked, n_near=n_near)
    return replace(target, task=TASK, labels=rarest_of(marks), marks=marks, class_names=names)


def _marks_of(rows: Rows) -> tuple[tuple[str, ...], Marks]:
    """The names of all labels, sorted, and (n, L) zeros and ones: which row has which."""
    import pyarrow.compute as pc

    lists = rows.labels.combine_chunks()
    encoded = pc.dictionary_encode(lists.flatten())
    found = encoded.dictionary.to_pylist()
    whole = all(name.isascii() and name.isdigit() for name in found)
    order = sorted(range(len(found)), key=lambda at: (int(found[at]), found[at]) if whole else (0, found[at]))
    names = tuple(found[at] for at in order)
    n, column = len(lists), rows.columns.label
    if len(names) < 2:
        held = f"one label only, '{shortened(names[0])}'" if names else "no label in any row"
        raise DataError(
            f"{rows.place}: column '{column}' holds {held}",
            why="several labels a row are told apart",
            fix="pass rows of at least two labels, or name another column with --label",
        )
    if len(names) > 10 and len(names) > n / 2:
        raise DataError(
            f"{rows.place}: column '{column}' looks like free text: {len(names):,} different labels in {n:,} rows",
            why="a label needs several rows; these are nearly all distinct",
            fix="name the column that holds the labels with --label",
        )
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    marks = np.zeros((n, len(names)), dtype=np.int8)
    marks[pc.list_parent_indices(lists).to_numpy(), rank[encoded.indices.to_numpy()]] = 1
    return names, marks


def _without_rare(
    rows: Rows,
    names: tuple[str, ...],
    marks: Marks,
    split: NDArray[np.int8],
    text_ids: NDArray[np.int32],
    *,
    n_carved: int,
    drop: bool,
) -> tuple[Rows, tuple[str, ...], Marks]:
    """The labels that have enough different training rows to be in every split; raises for others, or drops them."""
    train, needed = split == 0, FEWEST_TRAINING_ROWS + n_carved
    units = text_ids if rows.groups is None else rows.groups
    counts = np.array([len(np.unique(text_ids[train & (column > 0)])) for column in marks.T])
    apart = np.array([len(np.unique(units[train & (column > 0)])) for column in marks.T])
    small = (counts < needed) | (apart < 1 + n_carved)
    if not small.any():
        return rows, names, marks
    worst = sorted(np.flatnonzero(small).tolist(), key=lambda number: counts[number])
    later = marks[split > 0].sum(0)
    where = " or ".join(name for name in rows.given_splits if name not in ("train", "all"))
    shown = [
        f"'{shortened(names[at])}' has {counts[at]}"
        + (f" ({later[at]:,} in {where} only)" if later[at] and not counts[at] else "")
        for at in worst
    ]
    if not drop:
        raise DataError(
            f"{rows.place}: {len(worst):,} {'label is' if len(worst) == 1 else 'labels are'} too rare to divide: "
            f"{listed_names(shown, longest=90)}",
            why=f"each label needs {needed} different training {rows.noun}s: {FEWEST_TRAINING_ROWS} to learn from"
            + "".join(f", 1 for {name}" for name in ("test", "validation")[:n_carved]),
            fix="add rows, or pass --drop-rare to leave these labels out; the rows stay",
        )
    kept = np.flatnonzero(~small)
    if len(kept) < 2:
        raise DataError(
            f"{rows.place}: without the labels that are too rare, {len(kept)} of {len(names)} remain",
            why=f"at least two labels are needed, each with enough different {rows.noun}s",
            fix="add rows, or name another column with --label",
        )
    rows = rows.warn(f"rare labels were left out of all rows: {listed_names([names[at] for at in worst])}")
    return rows, tuple(names[at] for at in kept), marks[:, kept]


def _carved(
    split: NDArray[np.int8], units: NDArray[np.int32], marks: Marks, *, carved: tuple[str, ...], seed: int
) -> NDArray[np.int8]:
    """The splits that were not given, out of the training rows."""
    pool = np.flatnonzero(split == 0)
    if not carved or not len(pool):
        return split
    n, sizes = len(pool), dict.fromkeys(("validation", "test"), 0)
    if "test" in carved:
        sizes["test"] = min(round(TEST_SHARE * n), MOST_TEST_ROWS)
    if "validation" in carved:
        sizes["validation"] = min(round(VALIDATION_SHARE * (n - sizes["test"])), MOST_VALIDATION_ROWS)
    of = (n - sum(sizes.values()), sizes["validation"], sizes["test"])
    assert SPLITS == ("train", "validation", "test")
    split = split.copy()
    split[pool] = stratify(marks[pool], units[pool], shares=[size / n for size in of], seed=(seed,)).astype(np.int8)
    return split
