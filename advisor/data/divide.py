"""Rows of classes become training, validation and test rows: copies together, groups together, leaks left out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from advisor.data.rows import Rows, listed_names, rows_left_out, shortened
from advisor.data.splits import (
    FEWEST_TRAINING_ROWS,
    SPLITS,
    carve_missing,
    ids_per_class,
    labels_per_text,
    leakage_note,
    leaks,
    number_texts,
    repeats_note,
    shared_groups,
    with_article,
    without_leaks,
)
from advisor.data.target import TargetData
from tuner.errors import DataError

_SPLIT_ATTEMPTS = 20  # groups that hold several classes may leave one of them without training rows


# --- splits


def divide_rows(rows: Rows, *, drop_rare: bool, seed: int) -> TargetData:
    """Take rows that leak out of training, refuse or drop classes that are too small, and carve what is not given."""
    to_carve = tuple(split for split in ("test", "validation") if split not in rows.given_splits)
    text_ids = content_ids(rows, folded=True)
    rows = replace(rows, split=np.where(rows.split < 0, 0, rows.split).astype(np.int8))
    said = {"place": rows.place, "noun": rows.noun}
    split, n_leaked = without_leaks(rows.split, text_ids, **said)
    n_near = n_leaked - int(leaks(rows.split, content_ids(rows)).sum())
    small = _too_small(rows, split, text_ids, to_carve=to_carve)
    if small.any():
        if not drop_rare:
            _refuse_small(rows, split, text_ids, small, to_carve=to_carve)
        rows, split, text_ids = _without_classes(rows, split, text_ids, small)
    for attempt in range(_SPLIT_ATTEMPTS):
        units = text_ids if rows.groups is None else rows.groups
        carved = carve_missing(split, units, rows.labels, to_carve=to_carve, seed=(seed, attempt))
        if rows.groups is None or not _untrained(rows, carved).any():
            break
    split = carved
    if rows.groups is not None:
        split, leaked_by_text = without_leaks(split, text_ids, **said)
        n_leaked += leaked_by_text
    absent = [rows.class_names[number] for number in np.flatnonzero(_untrained(rows, split))]
    check_divided(rows, split, absent=absent)
    return finished(rows, split, text_ids, n_leaked=n_leaked, n_near=n_near)


def content_ids(rows: Rows, *, folded: bool = False) -> NDArray[np.int32]:
    """A number for each distinct text or image content, in order of first appearance; `folded`: see `fold_text`."""
    import pandas as pd

    if rows.contents is None:
        return number_texts(rows.texts, folded=folded)
    return np.asarray(pd.factorize(rows.contents)[0], np.int32)


def _untrained(rows: Rows, split: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Which classes have no training row."""
    return np.equal(np.bincount(rows.labels[split == 0], minlength=len(rows.class_names)), 0)


def _needed(to_carve: Sequence[str]) -> int:
    return FEWEST_TRAINING_ROWS + len(to_carve)


def _too_small(
    rows: Rows, split: NDArray[np.int8], text_ids: NDArray[np.int32], *, to_carve: Sequence[str]
) -> NDArray[np.bool_]:
    """Classes with too few distinct training texts, or too few groups, to be in every split."""
    train, n_classes = split == 0, len(rows.class_names)
    small = ids_per_class(text_ids[train], rows.labels[train], n_classes) < _needed(to_carve)
    if rows.groups is not None:
        small |= ids_per_class(rows.groups[train], rows.labels[train], n_classes) < 1 + len(to_carve)
    return small


def _refuse_small(
    rows: Rows,
    split: NDArray[np.int8],
    text_ids: NDArray[np.int32],
    small: NDArray[np.bool_],
    *,
    to_carve: Sequence[str],
) -> NoReturn:
    train = split == 0
    counts = ids_per_class(text_ids[train], rows.labels[train], len(rows.class_names))
    worst = sorted(np.flatnonzero(small).tolist(), key=lambda number: counts[number])
    later = np.bincount(rows.labels[split > 0], minlength=len(counts))
    of_later = " or ".join(name for name in rows.given_splits if name not in ("train", "all"))
    shown = listed_names(
        [
            f"'{shortened(rows.class_names[number])}' has {counts[number]}"
            + (f" ({later[number]:,} in {of_later} only)" if later[number] and not counts[number] else "")
            for number in worst
        ],
        longest=90,
    )
    n_rows = int(np.isin(rows.labels, worst).sum())
    n_small = len(worst)
    grouped = f", in {1 + len(to_carve)} groups" if rows.groups is not None else ""
    carved = f", 1 for {' and 1 for '.join(to_carve)}" if to_carve else ""
    raise DataError(
        f"{rows.place}: {n_small:,} {'class is' if n_small == 1 else 'classes are'} too small to divide: {shown}",
        why=f"each class needs {_needed(to_carve)} different training {rows.noun}s{grouped}: {FEWEST_TRAINING_ROWS} "
        f"to learn from{carved}",
        fix=f"add rows, or pass --drop-rare to leave {'it' if n_small == 1 else 'them'} out ({n_rows:,} rows)",
    )


def _without_classes(
    rows: Rows, split: NDArray[np.int8], text_ids: NDArray[np.int32], small: NDArray[np.bool_]
) -> tuple[Rows, NDArray[np.int8], NDArray[np.int32]]:
    """Leave the classes out in all splits and number the others anew."""
    kept = np.flatnonzero(~small)
    if len(kept) < 2:
        raise DataError(
            f"{rows.place}: without the classes that are too small, {len(kept)} of {len(rows.class_names)} remain",
            why=f"at least two classes are needed, each with enough different {rows.noun}s",
            fix="add rows, or name another column with --label",
        )
    dropped = [name for name, is_small in zip(rows.class_names, small.tolist(), strict=True) if is_small]
    mask = ~small[rows.labels]
    rows = rows.keep(mask, reason="rare_class").warn(
        f"{rows_left_out(int((~mask).sum()), len(mask))} with their rare classes: {listed_names(dropped)}"
    )
    rows = replace(
        rows,
        labels=np.searchsorted(kept, rows.labels).astype(np.int32),
        class_names=tuple(rows.class_names[number] for number in kept),
    )
    return rows, split[mask], text_ids[mask]


def check_divided(rows: Rows, split: NDArray[np.int8], *, absent: Sequence[str]) -> None:
    """Raise where a split is empty, or classes are `absent` from the training rows, as groups may bring about."""
    empty = [name for number, name in enumerate(SPLITS) if not (split == number).any()]
    if empty and rows.groups is None:
        raise DataError(
            f"the {empty[0]} split of {rows.place} has no usable rows left",
            why=f"every row of it lacks {with_article(rows.noun)} or a label, or repeats one of a later split",
            fix="repair the split, or leave it out: rows of the data are then held out instead",
        )
    if absent or empty:
        raise DataError(
            f"{rows.place}: the groups in column '{rows.columns.group}' cannot be divided: "
            + (f"no training rows for {listed_names(absent)}" if absent else f"no rows for {listed_names(empty)}"),
            why="rows of one group stay together, so that no group is in two splits",
            fix="pass --group with a column of more and smaller groups",
        )


def finished(
    rows: Rows, split: NDArray[np.int8], text_ids: NDArray[np.int32], *, n_leaked: int, n_near: int
) -> TargetData:
    """Build the target data from rows that are divided, with warnings of copies, leaks and conflicting labels.

    Args:
        rows: n rows, read and checked.
        split: (n,) positions in `SPLITS`, -1 for rows that are left out as leaks.
        text_ids: (n,) numbers of the distinct texts or images (`content_ids`, folded).
        n_leaked: validation and test rows whose text or image train had held.
        n_near: how many of these are not exact copies (`advisor.data.splits.fold_text`).
    """
    import pandas as pd

    n = len(rows.labels)
    exact_ids = content_ids(rows)
    n_duplicates = n - int((np.bincount(exact_ids) > 0).sum())
    conflicting = labels_per_text(exact_ids, rows.labels)
    n_conflicting = int((conflicting > 1).sum())
    n_left_out = int((split < 0).sum())
    noun = rows.noun
    warnings = list(rows.warnings)
    if n_leaked or n_left_out:
        warnings.append(leakage_note(n_leaked, n_left_out, noun=noun, n_near=n_near))
    if n_duplicates > 0.05 * n:
        warnings.append(repeats_note(n_duplicates, n, noun=noun))
    if n_conflicting:
        kept = f"{noun} occurs with more than one label; it was kept as it is"
        if n_conflicting > 1:
            kept = f"{noun}s occur with more than one label; they were kept as they are"
        warnings.append(f"{n_conflicting:,} {kept}")
    warnings.extend(shared_groups(rows.groups, split))
    warnings.extend(_splits_of_one_class(rows, split))
    columns = {noun: rows.columns.content, "label": rows.columns.label, "group": rows.columns.group}
    if rows.columns.text_pair is not None:
        columns["text_pair"] = rows.columns.text_pair
    positions = [np.flatnonzero(split == number) for number in range(3)]
    return TargetData(
        name=rows.name,
        kind=noun,
        task="sequence_classification" if noun == "text" else "image_classification",
        held=rows.held,
        texts=pd.Series(rows.texts.to_pandas(), name=noun),  # the same bytes, as pandas' own text type
        text_ids=text_ids,
        labels=rows.labels,
        class_names=rows.class_names,
        groups=rows.groups,
        train=positions[0],
        validation=positions[1],
        test=positions[2],
        columns=columns,
        given_splits=rows.given_splits,
        n_duplicates=n_duplicates,
        n_conflicting=n_conflicting,
        n_leaked=n_leaked,
        n_dropped={**rows.n_dropped, **({"leaked": n_left_out} if n_left_out else {})},
        warnings=tuple(warnings),
        fingerprint=_fingerprint(rows, split),
    )


def _splits_of_one_class(rows: Rows, split: NDArray[np.int8]) -> list[str]:
    """A warning for given splits whose rows are all of one class, as those are whose labels are made up."""
    said = []
    for name in ("validation", "test"):
        held = np.unique(rows.labels[split == SPLITS.index(name)])
        if name in rows.given_splits and len(held) == 1:
            said.append(
                f"all rows of the {name} split are of the class '{shortened(rows.class_names[int(held[0])])}': a score "
                "on them says nothing of the other classes"
            )
    return said


def _fingerprint(rows: Rows, split: NDArray[np.int8]) -> str:
    """SHA-256 over texts or images, labels, class names and splits, whatever the chunks or the folder they lie in."""
    digest = hashlib.sha256()
    lengths = hashlib.sha256()
    if rows.contents is not None:
        # Sizes tell most files apart; names, without the dataset's own folder, do the rest.
        digest.update(rows.contents.tobytes())
        start = os.path.join(rows.folder, "") if rows.folder else ""
        for reference in rows.texts.to_pylist():
            name = "" if reference.rpartition("/")[0] in rows.held else reference.removeprefix(start)
            digest.update(name.encode() + b"\0")
    for chunk in rows.texts.chunks if rows.contents is None else ():
        if not len(chunk):
            continue
        _, offsets_buffer, bytes_buffer = chunk.buffers()
        offsets = np.frombuffer(offsets_buffer, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
        lengths.update(np.diff(offsets).tobytes())
        digest.update(memoryview(bytes_buffer)[int(offsets[0]) : int(offsets[-1])])
    digest.update(lengths.digest())
    digest.update(rows.labels.astype(np.int32).tobytes())
    digest.update("\0".join(rows.class_names).encode())
    digest.update(split.astype(np.int8).tobytes())
    return digest.hexdigest()
