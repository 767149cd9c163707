"""What a person says of a dataset beside where it is: columns, splits, how many rows are looked at, and the seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tuner.errors import OptionError, did_you_mean
from tuner.records import Record

DEFAULT_SAMPLE = 2000
FEWEST_SAMPLED = 20
REGRESSION, CLASSIFICATION = TASKS = ("regression", "classification")
"""What labels are that are written as numbers: amounts, or names of classes."""


@dataclass(frozen=True, kw_only=True)
class DataOptions(Record):
    """How a dataset is read, divided and sampled; what is None is found out from the data.

    ``text``, ``text_pair``, ``image`` and ``label`` name columns, ``group`` one whose equal values stay in one split.
    ``task`` says what labels are that are written as numbers (`TASKS`). Where a row has several labels,
    ``label_separator`` stands between them in one text, or ``label`` names columns of 0 and 1, with commas between.
    ``split`` is the only split to be used, ``test`` a file with the test rows, ``images_root`` a folder that paths of
    images may lead to, ``header`` whether the first line of a file names its columns. ``drop_rare`` leaves out classes
    that are too small to be divided. ``max_length`` is in tokens, ``sample`` the rows that are embedded and probed.
    """

    text: str | None = None
    text_pair: str | None = None
    image: str | None = None
    label: str | None = None
    task: str | None = None
    label_separator: str | None = None
    group: str | None = None
    split: str | None = None
    test: str | Path | None = None
    images_root: str | Path | None = None
    sample: int = DEFAULT_SAMPLE
    max_length: int | None = None
    seed: int = 0
    drop_rare: bool = False
    header: bool | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that are named."""
        named = [name for name in (self.text, self.text_pair, self.image, self.label, self.group) if name is not None]
        several = [] if self.label is None else [part.strip() for part in self.label.split(",")]
        return tuple(dict.fromkeys((*named, *several)))

    def check(self) -> None:
        """Raise `OptionError` for values that cannot be used.

        These are a sample too small to cross-validate anything, a seed that cannot be one, and an unknown task.
        """
        if self.task not in (None, *TASKS):
            raise OptionError(
                f"unknown task {self.task!r}.{did_you_mean(str(self.task), TASKS)}",
                why="it says what labels are that are written as numbers",
                fix=f"use one of {', '.join(TASKS)}, or omit --task: fractions are then predicted as numbers",
            )
        if not 0 <= self.seed < 2**32:
            raise OptionError(
                f"--seed {self.seed} is not between 0 and 4294967295",
                why="the random generators take no other",
                fix="pass a smaller number that is not negative",
            )
        if self.sample < FEWEST_SAMPLED:
            raise OptionError(
                f"--sample {self.sample} is less than {FEWEST_SAMPLED}",
                why="probes are cross-validated on the sampled rows",
                fix=f"pass {FEWEST_SAMPLED} or more, or omit it for {DEFAULT_SAMPLE:,}",
            )

    def given(self) -> Mapping[str, Any]:
        """The options of the command line that stand for this record, by name, those at their defaults omitted.

        >>> dict(DataOptions(label="topic", header=False).given())
        {'label': 'topic', 'no-header': True}
        """
        found = {
            field.name.replace("_", "-"): getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }
        if found.get("header") is False:
            found["no-header"] = not found.pop("header")
        return found
