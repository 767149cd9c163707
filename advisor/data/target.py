"""Labelled rows that are ready to learn from: the record that everything after reading takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from advisor.data.images import Held, pictures_of
from advisor.data.splits import kept_together
from tuner.inputs.pictures import Pictures

if TYPE_CHECKING:
    import pandas as pd

Link: TypeAlias = Callable[[NDArray[np.integer[Any]], NDArray[np.integer[Any]]], NDArray[np.int32]]


@dataclass(frozen=True, kw_only=True)
class TargetData:
    """The user's labelled dataset, checked and divided.

    ``texts`` and ``labels`` hold every usable row (n of them), and texts that are equal but for capitals, white space
    and forms of characters share their ``text_ids``; ``train``,
    ``validation`` and ``test`` are positions in them. Rows of ``train`` or ``validation`` whose text also occurs in a
    later split belong to no split: they are dropped, so that scores are not flattered.

    What depends on the kind of data, which ``kind``, ``task`` and ``columns`` name as ``advice.json`` does, lies in
    `advisor.kinds`.

    Of image data (``kind`` is "image") ``texts`` holds references, each a path or a place in what is ``held`` in
    memory; images of equal content share their ``text_ids``, and `pictures_at` opens them.

    Of tagged sentences (``task`` is "token_classification") ``texts`` are the words joined by spaces, ``words`` and
    ``tags`` hold n tuples of words and (words,) positions in ``class_names``, whose first is "O", and ``labels`` (n,)
    only say what was spread over splits, and is over samples: 0 for no entity, else a number for the rarest type.

    Of rows with a number each (``task`` is "regression") ``numbers`` (n,) are these, ``class_names`` holds the name of
    their column alone, and ``labels`` are the quantiles that they lie in.

    Of rows with several labels (``task`` is "multi_label_classification") ``marks`` are (n, L) zeros and ones, whose
    columns are named by ``class_names``; ``labels`` are 0 for no label, else a number for the rarest one.
    """

    name: str
    kind: str = "text"
    task: str = "sequence_classification"
    texts: pd.Series = field(repr=False)
    held: Held = field(default_factory=dict, repr=False)
    words: tuple[tuple[str, ...], ...] = field(default=(), repr=False)
    tags: tuple[NDArray[np.int64], ...] = field(default=(), repr=False)
    scheme: str | None = None
    numbers: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0), repr=False)
    marks: NDArray[np.int8] = field(default_factory=lambda: np.zeros((0, 0), np.int8), repr=False)
    text_ids: NDArray[np.int32] = field(repr=False)
    labels: NDArray[np.int32] = field(repr=False)
    class_names: tuple[str, ...]
    groups: NDArray[np.int32] | None = field(default=None, repr=False)
    train: NDArray[np.int64] = field(repr=False)
    validation: NDArray[np.int64] = field(repr=False)
    test: NDArray[np.int64] = field(repr=False)
    columns: Mapping[str, str | None]
    given_splits: tuple[str, ...] = ()
    n_duplicates: int = 0  # rows beyond the first of each exact text
    n_conflicting: int = 0  # texts with more than one label
    n_leaked: int = 0  # rows of validation or test whose text also occurs in train
    n_dropped: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    fingerprint: str

    @property
    def n_examples(self) -> int:
        """Number of usable rows, all splits together."""
        return len(self.labels)

    @property
    def n_classes(self) -> int:
        """Number of classes; of tagged sentences of different tags."""
        return len(self.class_names)

    @property
    def learnable(self) -> NDArray[np.int64]:
        """Positions of the rows that can be learned from: all, but for a test split that the user gave as one."""
        given_test = "test" in self.given_splits
        return np.concatenate([self.train, self.validation, *(() if given_test else (self.test,))])

    def tags_at(self, positions: Sequence[int] | NDArray[np.integer[Any]]) -> list[list[str]]:
        """The tags of the sentences at these positions, by name."""
        return [[self.class_names[number] for number in self.tags[int(row)]] for row in positions]

    def kept_together(
        self, positions: NDArray[np.integer[Any]], *, link: Link = kept_together
    ) -> NDArray[np.int32] | None:
        """Numbers of the rows that folds must not part, equal texts and groups; None where each row stands alone.

        Args:
            positions: of the rows.
            link: makes such numbers out of those of texts and of groups, where there are groups.
        """
        if self.groups is not None:
            return link(self.text_ids[positions], self.groups[positions])
        units = kept_together(self.text_ids[positions], None)
        return units if len(np.unique(units)) < len(units) else None

    def texts_at(self, positions: Sequence[int] | NDArray[np.integer[Any]]) -> list[str]:
        """The texts at these positions, as a list."""
        return list(self.texts.iloc[np.asarray(positions)])

    def pictures_at(self, positions: Sequence[int] | NDArray[np.integer[Any]]) -> Pictures:
        """The images at these positions, decoded when they are asked for."""
        return pictures_of(self.texts_at(positions), held=self.held)
