"""A stratified sample of the target data, embedded once: pooled features of every block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from advisor.data.cautions import share_unknown
from advisor.data.images import is_grey
from tuner.inputs.images import Pixels
from tuner.inputs.pairs import in_words
from tuner.inputs.pictures import Pictures
from tuner.inputs.sentences import Sentences
from tuner.inputs.tokens import Tokens
from tuner.tasks.classes import ClassTruth
from tuner.tasks.tags import TagTruth
from tuner.tasks.truth import Truth

if TYPE_CHECKING:
    from advisor.data.target import TargetData
    from tuner.inputs.encoded import Encoded
    from tuner.model.backbone import Backbone, Features
    from tuner.records import Progress

DEFAULT_SAMPLE = 2000
LOOKED_AT = 100
"""Images whose size and colour stand for all."""
MOSTLY = 0.9
PROBED_WORDS = 12_000
"""Words that probes learn from at most, in whole sentences: a fit on a word costs as much as one on a text, and the
default sample has 50,000 of them."""
FEWEST_PROBED = 200
"""Sentences that probes learn from at least, however long they are."""


@dataclass(frozen=True, kw_only=True)
class WordFeatures:
    """The words of the first k sampled sentences, which are as random as the sample (`sample_rows`), and their tags.

    ``features`` are (N, width) float16 of every block, the state of each word's first subword, sentence below sentence;
    ``tags`` (N,) are positions in ``names``, whose first is "O", and ``n_words`` (k,). Words that the model does not
    see (``seen`` (N,) is False), beyond its length or without a token, have no features and can only be predicted "O".
    """

    features: Features
    words: tuple[tuple[str, ...], ...]
    tags: np.ndarray
    n_words: np.ndarray
    seen: np.ndarray
    names: tuple[str, ...]
    scheme: str | None = None


@dataclass(frozen=True, kw_only=True)
class BlockFeatures:
    """Features of the sampled training rows.

    ``features`` are (n, width) float32 of every block, ``labels`` and ``lengths`` (tokens, special ones included; 1 an
    image) are (n,), ``rows`` are the positions in the target data; rows of equal ``groups`` (n,) stay in one fold.
    ``texts`` are empty for images and ``pixels`` None for texts. ``truncated`` is the share of texts cut to the model's
    length, ``unknown`` that of tokens which the vocabulary lacks; ``warnings`` say which images could not be read
    and are no rows here, and how the others were adapted.

    Of tagged sentences ``tagged`` holds the words of as many as the probes learn from; ``features`` are of sentences
    as texts, and ``labels`` what they were sampled by (`TargetData`).
    """

    rows: np.ndarray
    texts: tuple[str, ...] = ()
    pixels: Pixels | None = None
    features: Features
    labels: np.ndarray
    groups: np.ndarray | None
    lengths: np.ndarray
    truncated: float
    unknown: float = 0.0
    warnings: tuple[str, ...] = ()
    tagged: WordFeatures | None = None

    @property
    def n_probed(self) -> int:
        """Rows that probes and baselines learn from, the first ones."""
        return len(self.labels) if self.tagged is None else len(self.tagged.n_words)

    @property
    def probed_groups(self) -> np.ndarray | None:
        """Groups of these rows."""
        return None if self.groups is None else self.groups[: self.n_probed]

    def truth(self, metric: str) -> Truth:
        """What predictions of these rows are scored against: classes, or tags of words."""
        if self.tagged is None:
            return ClassTruth(labels=self.labels, metric=metric, groups=self.groups)
        tagged = self.tagged
        return TagTruth(
            labels=tagged.tags, metric=metric, groups=self.probed_groups, n_words=tagged.n_words, names=tagged.names
        )


def sample_rows(labels: np.ndarray, *, size: int, seed: int) -> np.ndarray:
    """Positions of a stratified sample, in random order: every class by its share, but two rows where it has them.

    >>> sorted(sample_rows(np.array([0] * 8 + [1, 1]), size=5, seed=0).tolist())[-2:]
    [8, 9]
    """
    generator = np.random.default_rng(seed)
    if size >= len(labels):
        return generator.permutation(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * size / len(labels)
    take = np.maximum(np.floor(exact).astype(int), np.minimum(counts, 2))
    for index in np.argsort(-(exact - np.floor(exact)), kind="stable"):
        if take.sum() >= size:
            break
        take[index] = min(take[index] + 1, counts[index])
    while take.sum() > size and (take > 2).any():  # the guaranteed rows of rare classes come out of the common ones
        take[np.argmax(np.where(take > 2, take - exact, -np.inf))] -= 1
    parts = [
        generator.choice(np.flatnonzero(labels == label), size=wanted, replace=False)
        for label, wanted in zip(classes, take, strict=True)
    ]
    return generator.permutation(np.concatenate(parts))


def take_rows(features: Sequence[np.ndarray], rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """The features of some rows, of every block."""
    return tuple(block[rows] for block in features)


def embed(
    target: TargetData,
    *,
    backbone: Backbone,
    sample: int = DEFAULT_SAMPLE,
    seed: int = 0,
    progress: Progress | None = None,
) -> BlockFeatures:
    """One forward pass over a sample of the training rows; validation and test rows stay unseen."""
    rows = target.train[sample_rows(target.labels[target.train], size=sample, seed=seed)]
    given = target.rows_at(rows)
    encoded = backbone.encode(given, progress=progress)
    warnings: tuple[str, ...] = ()
    if isinstance(given, Pictures):
        warnings = _adapted(given, encoded)
    if isinstance(given, Pictures) and given.unreadable:
        kept = given.readable()
        note = given.note("sampled images")
        if len(given) < target.n_examples:  # images are opened where they are used, not counted one by one
            note += "; the number of examples counts such images among those that were not sampled"
        encoded, rows, warnings = encoded.take(kept), rows[kept], (note, *warnings)
    tagged = None
    if target.tagged:
        assert isinstance(encoded, Sentences)
        features, tagged = _with_words(target, rows, encoded, backbone=backbone, progress=progress)
        warnings = (*warnings, *_unseen(tagged, longest=backbone.max_length))
    else:
        features = backbone.block_features(encoded, progress=progress)
    return BlockFeatures(
        rows=rows,
        texts=() if isinstance(given, Pictures) else tuple(in_words(text) for text in target.texts_at(rows)),
        pixels=encoded if isinstance(encoded, Pixels) else None,
        features=features,
        labels=target.labels[rows],
        groups=target.kept_together(rows),
        lengths=encoded.lengths,
        truncated=float(encoded.truncated.mean()) if isinstance(encoded, Tokens) else 0.0,
        unknown=share_unknown(encoded.input_ids, backbone.tokenizer) if isinstance(encoded, Tokens) else 0.0,
        warnings=warnings,
        tagged=tagged,
    )


def _with_words(
    target: TargetData, rows: np.ndarray, encoded: Sentences, *, backbone: Backbone, progress: Progress | None
) -> tuple[Features, WordFeatures]:
    """Features of all sentences as texts, and of the words of the first ones, out of the same forward pass."""
    import torch

    k = _probed_sentences(encoded.per_row)
    nothing = np.zeros(0, dtype=encoded.first[0].dtype)
    words = replace(encoded, first=(*encoded.first[:k], *[nothing] * (len(rows) - k)))
    texts = encoded.as_texts()
    of_texts, of_words = backbone.empty_features(texts), backbone.empty_features(words)
    done = 0
    for batch in backbone.batches(encoded):
        inputs = backbone.collate(encoded, batch)
        with torch.inference_mode(), backbone.autocast():
            states = backbone.states(inputs).states
        mask = inputs.get("attention_mask")
        for features, kind in ((of_texts, texts), (of_words, words)):
            backbone.pool_into(features, states=states, encoded=kind, rows=batch, mask=mask)
        done += len(batch)
        if progress is not None:
            progress(f"embedding: {done:,} of {len(rows):,} rows", done / len(rows))
    return of_texts, WordFeatures(
        features=of_words,
        words=tuple(target.words[row] for row in rows[:k]),
        tags=np.concatenate([target.tags[row] for row in rows[:k]]),
        n_words=encoded.per_row[:k],
        seen=words.seen,
        names=target.class_names,
        scheme=target.scheme,
    )


def _probed_sentences(n_words: np.ndarray) -> int:
    """How many of the first sentences hold `PROBED_WORDS` together, or nearly; but enough to be cross-validated."""
    within = int(np.searchsorted(np.cumsum(n_words), PROBED_WORDS, side="right"))
    return min(max(within, FEWEST_PROBED), len(n_words))


def _unseen(tagged: WordFeatures, *, longest: int) -> tuple[str, ...]:
    """A warning where words with a tag are not seen by the model."""
    lost = int((~tagged.seen & (tagged.tags > 0)).sum())
    if not lost:
        return ()
    return (
        f"{lost:,} of {int((tagged.tags > 0).sum()):,} sampled words of entities are not seen by the model (they stand "
        f"beyond its {longest} tokens, or have no token): they are predicted O; --max-length may raise the limit",
    )


def _adapted(pictures: Pictures, encoded: Encoded) -> tuple[str, ...]:
    """What was done to small or grey images, so that the model can read them."""
    readable = [row for row in range(min(len(pictures), LOOKED_AT)) if row not in pictures.unreadable]
    shown = [pictures[row] for row in readable]
    if not shown or not isinstance(encoded, Pixels):
        return ()
    said = []
    side, read = int(np.median([min(picture.size) for picture in shown])), min(encoded.values.shape[-2:])
    if side < read:
        said.append(
            f"the images' shorter side is {side} pixels (median); they are enlarged to the {read} the model reads"
        )
    grey = float(np.mean([is_grey(picture) for picture in shown]))
    if grey > MOSTLY:
        said.append("the images are grey; the model reads them as three equal colour channels")
    return tuple(said)
