"""The training rows as augmentations change them: anew in every step, or as a few cached views of every row."""

from __future__ import annotations

from dataclasses import replace

from tuner.inputs.encoded import Encoded
from tuner.model.backbone import Backbone
from tuner.records import Progress
from tuner.search.linear import LinearHeads
from tuner.search.prefixes import Prefixes
from tuner.search.rows import EncodedRows
from tuner.search.space import Candidate
from tuner.tasks.heads import select_features
from tuner.training.augmentation import (
    CACHED_VIEWS,
    MIRROR_LOSS,
    VIEW_POLICIES,
)
from tuner.training.prefix import PrefixCache
from tuner.training.train import Rows


class TrainingViews:
    """The training rows as augmentations change them.

    Args:
        backbone: the model, with its pretrained weights whenever `mirror_loss` is asked for.
        rows: encoded rows.
        prefixes: their cached prefixes.
        heads: linear heads on the training rows, of which one says what mirroring costs.
        seed: of the changes.
        progress: told how far the caching of views is.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        rows: EncodedRows,
        prefixes: Prefixes,
        heads: LinearHeads,
        seed: int,
        progress: Progress | None = None,
    ) -> None:
        self._backbone, self._rows, self._prefixes, self._heads = backbone, rows, prefixes, heads
        self._seed, self._progress = seed, progress
        self._caches: dict[str, PrefixCache] = {}
        self.measured_mirror_loss: float | None = None
        """`mirror_loss` where it was needed."""

    def joined(self, *, rows: EncodedRows, prefixes: Prefixes, heads: LinearHeads) -> TrainingViews:
        """The views of all labelled rows as training rows."""
        whole = TrainingViews(
            self._backbone, rows=rows, prefixes=prefixes, heads=heads, seed=self._seed, progress=self._progress
        )
        whole.measured_mirror_loss = self.measured_mirror_loss
        return whole

    def of(self, rows: Rows, *, candidate: Candidate) -> Rows:
        """Replace the training rows by views of themselves, where the candidate asks for such.

        Where their prefix is cached, a few views of every row are cached too, as far as there is room; else every step
        makes its own.
        """
        policy = candidate.augmentation
        if policy not in VIEW_POLICIES:
            return rows
        if rows.cached is not None:
            depth, few = rows.cached.depth, self._views_of(rows.encoded, policy=policy, cached=True)
            cache = self._caches.setdefault(policy, self._prefixes.cache_of(f"train-{policy}", few))
            left = self._prefixes.bytes_left(beside=[cache.folder for cache in self._caches.values()])
            if cache.has(depth) or cache.bytes_at(depth) <= left:
                cache.compute([depth], progress=self._progress)
                return replace(rows, encoded=few, cached=cache.get(depth), views=CACHED_VIEWS)
        views = self._views_of(rows.encoded, policy=policy, cached=False)
        return replace(rows, encoded=views, cached=None, views=len(views) // len(rows))

    def _views_of(self, encoded: Encoded, *, policy: str, cached: bool) -> Encoded:
        inputs = self._backbone.inputs
        viewed: Encoded = inputs.views(
            encoded, policy=policy, copies=CACHED_VIEWS if cached else inputs.fresh_views, seed=self._seed,
            mirrors=lambda: self.mirror_loss < MIRROR_LOSS,
        )  # fmt: skip
        return viewed

    def why_not(self, candidate: Candidate) -> str | None:
        """Why a candidate is not worth training on changed rows; None where it is."""
        depth = candidate.frozenness(self._backbone.n_blocks)
        if (
            candidate.augmentation == "mixup"
            and self._backbone.inputs.per_token
            and depth > 1
            and depth not in self._prefixes.depths
        ):
            # Run anew, the frozen blocks would read the padding of the shorter text.
            why = self._prefixes.notes.get(depth, "not cached")
            return f"texts are mixed behind cached blocks, and these are {why}"
        if candidate.augmentation == "flip" and self.mirror_loss >= MIRROR_LOSS:
            return (
                f"a probe loses {100 * self.mirror_loss:.1f} points on mirrored validation images: mirroring does not "
                "keep their labels"
            )
        return None

    def passes(self, candidate: Candidate) -> int:
        """How often the frozen blocks run over all training rows before a candidate is trained on views of them."""
        cached = candidate.augmentation in VIEW_POLICIES and candidate.frozen_blocks in self._prefixes.depths
        return CACHED_VIEWS if cached else 0

    @property
    def mirror_loss(self) -> float:
        """By how much a probe of the last block scores less on mirrored validation images: what mirroring costs."""
        if self.measured_mirror_loss is None:
            encoded, truth = self._rows.validation, self._rows.truth
            mirrored = self._backbone.inputs.mirrored(encoded)
            assert mirrored is not None  # only augmentations of images ask
            head = self._heads.on("last", self._prefixes.train_features).head
            mirrored_features = self._backbone.block_features(mirrored)
            scores = [
                truth.score(self._rows.decode(head.logits(select_features(features, name="last"))))
                for features in (self._prefixes.validation_features, mirrored_features)
            ]
            self.measured_mirror_loss = scores[0] - scores[1]
        return self.measured_mirror_loss
