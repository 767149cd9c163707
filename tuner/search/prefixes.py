"""What the frozen blocks give for the rows of a search: computed once by depth, as far as there is room on disk."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from tuner.freezing import FrozenPrefix
from tuner.inputs.encoded import Encoded
from tuner.model.backbone import Backbone, Features
from tuner.names import AUGMENTATIONS
from tuner.records import Progress
from tuner.sealed import read_sealed, write_sealed
from tuner.search.rows import EncodedRows
from tuner.search.space import Candidate
from tuner.search.stored import PassTime
from tuner.training.prefix import JoinedCache, PrefixCache
from tuner.training.train import Rows, check_replay

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CACHE_BYTES = 4 * 10**9
HEADS = ("own", "native")


class Prefixes:
    """The outputs of frozen blocks for the training and validation rows, and the pooled features of every block.

    The depths that are cached change by `cache` alone, and by a depth that turns out not to be replayed exactly.

    Args:
        backbone: the model, with its pretrained weights.
        rows: encoded training and validation rows.
        work: the folder that the outputs are kept in.
        say: told of a depth that is not replayed exactly.
        progress: told how far it is.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        rows: EncodedRows,
        work: Path,
        say: Callable[[str], None],
        progress: Progress | None = None,
    ) -> None:
        self._backbone, self._rows, self._work, self._say, self._progress = backbone, rows, work, say, progress
        self._depths: list[int] = []
        self._notes: dict[int, str] = {}
        self._checked: set[tuple[int, str, str | None]] = set()
        self._train: PrefixCache | JoinedCache = self.cache_of("train", rows.train)
        self._validation = self.cache_of("validation", rows.validation)
        self._features: tuple[Features, Features] = ((), ())
        self._measured: tuple[float, float] = (0.0, 0.0)

    def cache_of(self, name: str, encoded: Encoded) -> PrefixCache:
        """A cache for some rows in a folder of this name."""
        return PrefixCache(self._work / name, backbone=self._backbone, encoded=encoded)

    @property
    def depths(self) -> tuple[int, ...]:
        """Numbers of frozen blocks whose output is cached."""
        return tuple(self._depths)

    @property
    def notes(self) -> Mapping[int, str]:
        """Notes in words, by depth: what is known of its cache."""
        return MappingProxyType(self._notes)

    @property
    def train_features(self) -> Features:
        """(n, width) pooled states of the training rows after every block; of words one state a word."""
        return self._features[0]

    @property
    def validation_features(self) -> Features:
        """(n, width) pooled states of the validation rows after every block; of words one state a word."""
        return self._features[1]

    @property
    def pass_seconds(self) -> float:
        """Seconds of running the frozen blocks over all rows."""
        return self._measured[0]

    @property
    def row_seconds(self) -> float:
        """Seconds of a forward pass of one row."""
        return self._measured[1]

    def bytes_left(self, *, beside: Iterable[Path]) -> int:
        """Bytes that further outputs may take on disk, those that lie in other folders counted too."""
        folders = (self._train.folder, self._validation.folder, *beside)
        left = CACHE_BYTES - sum(file.stat().st_size for folder in folders for file in folder.glob("*"))
        return min(left, shutil.disk_usage(self._work).free // 2)

    def note(self, depth: int, text: str) -> None:
        """Note in words how a depth is trained."""
        self._notes[depth] = text

    def prepare(self, depths: Sequence[int]) -> None:
        """Cache these depths, the first ones first, and measure how long that takes.

        What an earlier process of this search measured is read back, since the outputs that lie there cost nothing.
        """
        start = time.perf_counter()
        self.cache(depths)
        stored = self._work / "pass.json"
        if not stored.exists():
            assert isinstance(self._train, PrefixCache)
            taken = PassTime(seconds=time.perf_counter() - start, row_seconds=self._train.row_seconds)
            write_sealed(stored, taken.to_json())
        fix = "delete it: it holds what the pass over the frozen blocks took, and --resume measures that again"
        found = PassTime.from_json(read_sealed(stored, fix=fix, sealed=False), path=stored, fix=fix)
        n = len(self._rows.train) + len(self._rows.validation)
        self._measured = found.seconds, found.row_seconds or found.seconds / n

    def cache(self, depths: Sequence[int]) -> None:
        """Cache the prefixes of these depths, the first ones first, as far as the byte budget reaches."""
        assert isinstance(self._train, PrefixCache)
        self._work.mkdir(parents=True, exist_ok=True)
        caches = (self._train, self._validation)
        # What lies there counts, whichever process of this run computed it.
        stored = {depth for depth in range(1, self._backbone.n_blocks) if all(cache.has(depth) for cache in caches)}
        files = {file for depth in stored for file in self._train.files_of(depth)}
        used = _bytes_of(caches, files)
        budget = min(CACHE_BYTES, used + shutil.disk_usage(self._work).free // 2)
        wanted = list(self._depths)
        for depth in dict.fromkeys(depths):
            if not 0 < depth < self._backbone.n_blocks or depth in wanted:
                continue
            if depth not in stored:
                more = set(self._train.files_of(depth)) - files
                if used + _bytes_of(caches, more) > budget:
                    self._notes[depth] = "computed anew in every step: the cache's byte budget is used up"
                    continue
                used += _bytes_of(caches, more)
                files |= more
            wanted.append(depth)
        train, validation = (cache.compute(wanted, progress=self._progress) for cache in caches)
        self._features = train, validation
        self._depths = wanted  # not before they are: Ctrl-C may end the pass, and the winner is loaded still

    def feed(self, rows: tuple[Rows, Rows], depth: int) -> tuple[Rows, Rows]:
        """Training and validation rows with their cached prefix, where there is one at this depth."""
        if depth not in self._depths:
            return rows
        train, validation = rows
        return (
            replace(train, cached=self._train.get(depth)),
            replace(validation, cached=self._validation.get(depth)),
        )

    def replays(self, model: PreTrainedModel, *, candidate: Candidate, prefix: FrozenPrefix, rows: Rows) -> bool:
        """Whether a model gives the same logits and gradients from the cached prefix as in full.

        It is compared once for every depth, head and augmentation, and taken for granted after that. A depth that
        differs is no longer cached, which is said.

        Args:
            model: the candidate's, frozen at its depth.
            candidate: what is trained.
            prefix: what of the model is frozen.
            rows: training rows, with the cached prefix that is checked; without one there is nothing to compare.
        """
        depth = candidate.frozenness(self._backbone.n_blocks)
        kind = (depth, candidate.head, candidate.augmentation)
        if rows.cached is None or kind in self._checked:
            return True
        self._checked.add(kind)
        problem = check_replay(model, backbone=self._backbone, rows=rows, prefix=prefix)
        self._notes[depth] = "cached; equal to the full model in logits and gradients"
        if problem is None:
            return True
        self._depths.remove(depth)
        self._notes[depth] = f"computed anew in every step: {problem}"
        self._say(f"{depth} frozen blocks: {self._notes[depth]}")
        return False

    def joined(self, rows: EncodedRows) -> Prefixes:
        """The prefixes of all labelled rows as training rows (`EncodedRows.joined`): nothing is computed anew."""
        assert isinstance(self._train, PrefixCache)
        whole = copy.copy(self)
        whole._rows = rows
        whole._features = (
            tuple(np.concatenate(blocks) for blocks in zip(*self._features, strict=True)),
            self.validation_features,
        )
        whole._train = JoinedCache(self._train, self._validation)
        # What is cached was compared with the full model on the training rows.
        policies = (None, *AUGMENTATIONS)
        whole._checked = {(depth, head, policy) for depth in self._depths for head in HEADS for policy in policies}
        return whole


def _bytes_of(caches: Iterable[PrefixCache], files: Iterable[int]) -> int:
    return sum(cache.bytes_at(file) for cache in caches for file in files)
