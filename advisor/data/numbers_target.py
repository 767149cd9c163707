"""Rows with a number each -> `TargetData`: numbers read and refused where they are none, splits made by quantiles."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from advisor.data.divide import check_divided, content_ids, finished
from advisor.data.options import REGRESSION
from advisor.data.quantiles import quantiles_of
from advisor.data.rows import Rows, is_text_type, listed_names, shortened
from advisor.data.splits import carve_missing, leaks, without_leaks
from advisor.data.target import TargetData
from tuner.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

FEWEST_NUMBERS = 10
"""Different training rows below which a number cannot be learned and tested."""
SURE_FRACTIONS = 10
"""Labels of more different fractions than this are numbers; fewer may be names of classes, such as 1.5 stars."""


def are_fractions(labels: pa.ChunkedArray) -> bool:
    """Whether all labels are numbers and many of them have places after the point."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if is_text_type(labels.type):
        # Codes such as 1.10 and 007 are none: a number is written without zeros that say nothing before it.
        written = pc.match_substring_regex(labels, r"^[-+]?(0|[1-9][0-9]*)?\.?[0-9]+([eE][-+]?[0-9]+)?$")
        if not pc.all(written).as_py() or pc.any(pc.match_substring_regex(labels, r"^0[0-9]")).as_py():
            return False
        labels = labels.cast(pa.float64())
    if not (pa.types.is_floating(labels.type) or pa.types.is_decimal(labels.type)):
        return False
    different = pc.unique(labels.cast(pa.float64())).drop_null()
    fractional = pc.any(pc.not_equal(pc.floor(different), different)).as_py()
    return bool(fractional) and len(different) > SURE_FRACTIONS


def divide_numbers(rows: Rows, *, seed: int) -> TargetData:
    """Read the labels as numbers and divide the rows, with a share of low and of high ones in each split that is made.

    Copies of a text and rows of a group stay together. Raises `DataError` for labels that are no numbers, and for rows
    that are too few or cannot be divided.
    """
    numbers, column = _numbers_of(rows), str(rows.columns.label)
    to_carve = tuple(split for split in ("test", "validation") if split not in rows.given_splits)
    text_ids = content_ids(rows, folded=True)
    different, rank = np.unique(numbers, return_inverse=True)
    rows = replace(
        rows,
        split=np.where(rows.split < 0, 0, rows.split).astype(np.int8),
        labels=rank.astype(np.int32),
        class_names=tuple(map(repr, different.tolist())),
    )
    split, n_leaked = without_leaks(rows.split, text_ids, place=rows.place, noun=rows.noun)
    n_near = n_leaked - int(leaks(rows.split, content_ids(rows)).sum())
    n_training = len(np.unique(text_ids[split == 0]))
    if n_training < FEWEST_NUMBERS:
        raise DataError(
            f"{rows.place} holds {n_training:,} different training {rows.noun}s with a number",
            why=f"at least {FEWEST_NUMBERS} are needed to learn a number and to test what was learned",
            fix="add rows",
        )
    units = text_ids if rows.groups is None else rows.groups
    quantiles = quantiles_of(numbers)
    split = carve_missing(split, units, quantiles, to_carve=to_carve, seed=(seed, 0))
    if rows.groups is not None:
        split, by_text = without_leaks(split, text_ids, place=rows.place, noun=rows.noun)
        n_leaked += by_text
    check_divided(rows, split, absent=())
    target = finished(rows, split, text_ids, n_leaked=n_leaked, n_near=n_near)
    return replace(target, task=REGRESSION, labels=quantiles, numbers=numbers, class_names=(column,))


def _numbers_of(rows: Rows) -> NDArray[np.float64]:
    """The labels as (n,) finite numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    labels, column = rows.labels, rows.columns.label
    if rows.class_names or rows.labels_are_names or pa.types.is_boolean(labels.type):
        raise DataError(
            f"{rows.place}: column '{column}' holds names of classes, not numbers",
            why="--task regression predicts a number",
            fix="omit --task, or name a column of numbers with --label",
        )
    if is_text_type(labels.type):
        written = pc.match_substring_regex(
            labels, r"(?i)^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$|^[-+]?(inf|infinity)$"
        )
        if not pc.all(written).as_py():
            others = labels.filter(pc.invert(written))
            shown = listed_names([f"'{shortened(text)}'" for text in pc.unique(others).to_pylist()[:3]])
            rows_are = "row holds" if len(others) == 1 else "rows hold"
            raise DataError(
                f"{rows.place}: column '{column}' holds texts that are no numbers: {len(others):,} {rows_are} {shown}",
                why="a number is predicted of every row"
                + (
                    "; the point is the only sign before fractions"
                    if any("," in text for text in pc.unique(others).to_pylist()[:3])
                    else ""
                ),
                fix="write these labels as plain numbers, such as 1234.5, or remove the rows; or omit --task, which "
                "takes labels for names of classes",
            )
    try:
        numbers: NDArray[np.float64] = np.asarray(labels.cast(pa.float64()), dtype=np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"{rows.place}: column '{column}' holds {labels.type}, not numbers",
            why="--task regression predicts a number",
            fix="name a column of numbers with --label",
        ) from error
    infinite = ~np.isfinite(numbers)
    if infinite.any():
        n = int(infinite.sum())
        raise DataError(
            f"{rows.place}: column '{column}' holds infinite numbers in {n:,} {'row' if n == 1 else 'rows'}",
            why="a mean and squared errors are taken of them",
            fix="remove these rows, or put the largest number in that is meant",
        )
    if np.ptp(numbers) == 0:
        raise DataError(
            f"{rows.place}: all labels in column '{column}' are the same number, {numbers[0]:g}",
            why="there is nothing to learn from them, and every model would be perfect",
            fix="name a column of numbers that differ with --label",
        )
    return numbers
