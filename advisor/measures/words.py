"""Features of the words of sentences, and what probes on words learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from advisor.measures.features import BlockFeatures
from advisor.measures.folds import assign_folds
from advisor.measures.probed import ProbedRows, take_rows
from tuner.tasks.heads import Standardised, is_weighted, select_features
from tuner.tasks.tags import OUTSIDE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuner.inputs.sentences import Sentences
    from tuner.model.backbone import Backbone, Features
    from tuner.records import Progress
    from tuner.tasks.base import Task
    from tuner.tasks.heads import LinearHead
    from tuner.tasks.metrics import Scored
    from tuner.tasks.truth import Truth

PROBED_WORDS = 12_000
"""Words that probes learn from at most, in whole sentences: a fit on a word costs as much as one on a text, and the
default sample has 50,000 of them."""
FEWEST_PROBED = 200
"""Sentences that probes learn from at least, however long they are."""
WORD_FOLDS = 3
"""Folds of sentences whose words are probed: at equal cost, three of more sentences tell more than five of fewer."""
WORD_L2_GRID = (300.0, 100.0, 30.0)
"""Penalties of probes on words: there are more rows than of texts, and the best one lay between these on real sets."""


@dataclass(frozen=True, kw_only=True)
class WordFeatures:
    """The words of the first k sampled sentences, which are as random as the sample, and their tags.

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
class SentenceFeatures(BlockFeatures):
    """Features of sentences, as texts and word by word.

    ``tagged`` holds the words of as many sentences as the probes learn from; ``features`` are of sentences as texts,
    and ``labels`` what they were sampled by.
    """

    tagged: WordFeatures

    @property
    def n_probed(self) -> int:
        """Sentences that probes and baselines learn from, the first ones."""
        return len(self.tagged.n_words)

    def truth(self, task: Task, *, metric: str) -> Truth:
        """The tags of the words of these sentences, which are scored by whole entities."""
        tagged = self.tagged
        return task.truth(tagged.tags, metric=metric, groups=self.probed_groups, n_words=tagged.n_words)

    def folds(self, *, seed: int) -> np.ndarray:
        """The fold of every sentence that probes and baselines learn from."""
        return sentence_folds(self.labels[: self.n_probed], groups=self.probed_groups, seed=seed)

    def probed(self, *, task: Task, metric: str, seed: int) -> ProbedWords:
        """What the probes learn from: words, each by its own state."""
        tagged = self.tagged
        return ProbedWords(
            # Single precision once, since every fit would convert them again.
            x=Standardised([block[tagged.seen].astype(np.float32) for block in tagged.features]),
            at=np.where(tagged.seen, np.cumsum(tagged.seen) - 1, -1),
            truth=self.truth(task, metric=metric),
            folds=self.folds(seed=seed),
            task=task,
        )


def sentence_folds(strata: np.ndarray, *, groups: np.ndarray | None, seed: int) -> np.ndarray:
    """(n,) fold numbers of sentences, equal sentences in one fold, those of a stratum spread.

    >>> folds = sentence_folds(np.array([0, 0, 0, 1, 1, 1]), groups=np.array([0, 0, 1, 2, 3, 4]), seed=0)
    >>> bool(folds[0] == folds[1]), int(folds.max()) + 1
    (True, 3)
    """
    if groups is None:
        return assign_folds(strata, n_folds=WORD_FOLDS, seed=seed)
    _, first, unit = np.unique(groups, return_index=True, return_inverse=True)
    return assign_folds(strata[first], n_folds=WORD_FOLDS, seed=seed)[unit]


@dataclass(frozen=True, kw_only=True)
class ProbedWords(ProbedRows):
    """Sentences whose words are classified by a probe, each by its own state, and scored by whole entities.

    ``x`` are the features of the words that the model sees, of every block; ``at`` (N,) is where in them a word
    stands, -1 for one that the model does not see, which is predicted to be outside of entities. ``folds`` are of
    sentences.
    """

    unit: ClassVar[str] = "sentence"

    at: np.ndarray

    def penalties(self, *, single: bool, best: float | None) -> Sequence[float]:
        """The L2 penalties to choose from; mixes take that of the best single block: others would cost minutes."""
        return WORD_L2_GRID if single or best is None else (best,)

    def cross_validated(self, name: str, *, l2: Sequence[float]) -> tuple[np.ndarray, float]:
        """Out-of-fold predictions for every word by the probe of a feature variant, and its penalty."""
        seen = np.flatnonzero(self.at >= 0)
        fitted = self.task.cross_validate(
            select_features(self.x, name=name),
            self.truth.labels[seen],
            folds=self.truth.spread(self.folds)[seen],
            l2=l2,
            weighted=is_weighted(name),
        )
        return _everywhere(fitted.predictions, seen, n=len(self.at)), fitted.l2

    def fit(self, name: str, rows: np.ndarray, *, l2: float) -> LinearHead | None:
        """Train a probe on the words of some sentences; None where they have one tag only."""
        places = self.truth.places(rows)
        places = places[self.at[places] >= 0]
        labels = self.truth.labels[places]
        if len(np.unique(labels)) < 2:
            return None
        x = take_rows(select_features(self.x, name=name), self.at[places])
        return self.task.fit_head(x, labels, l2=l2)

    def predict(self, head: LinearHead, name: str, rows: np.ndarray) -> np.ndarray:
        """Predict the tags of the words of some sentences, in their order."""
        at = self.at[self.truth.places(rows)]
        seen = np.flatnonzero(at >= 0)
        x = take_rows(select_features(self.x, name=name), at[seen])
        return _everywhere(self.task.decode(head.logits(x)), seen, n=len(at))

    def by_metric(self, predictions: np.ndarray, *, seed: int) -> Mapping[str, Scored]:
        """Empty, since entity F1 is the only metric of tags."""
        return {}


def _everywhere(predictions: np.ndarray, seen: np.ndarray, *, n: int) -> np.ndarray:
    """Predictions for n words, of which those that are not seen are outside of entities."""
    whole = np.full(n, OUTSIDE, dtype=np.int64)
    whole[seen] = predictions
    return whole


def embed_words(
    encoded: Sentences,
    *,
    words: Sequence[tuple[str, ...]],
    tags: Sequence[np.ndarray],
    names: tuple[str, ...],
    scheme: str | None,
    backbone: Backbone,
    progress: Progress | None,
) -> tuple[Features, WordFeatures]:
    """Features of all sentences as texts, and of the words of the first ones, out of the same forward pass.

    Args:
        encoded: n sentences, of whose words it is known where they stand.
        words: of every sentence.
        tags: of every sentence the (words,) positions of its tags in `names`.
        names: the tags.
        scheme: of the tags, as it is stored.
        backbone: the model.
        progress: told how many sentences have been embedded.
    """
    import torch

    n, k = len(words), _probed_sentences(encoded.per_row)
    nothing = np.zeros(0, dtype=encoded.first[0].dtype)
    of_words = replace(encoded, first=(*encoded.first[:k], *[nothing] * (n - k)))
    of_texts = encoded.as_texts()
    text_features, word_features = backbone.empty_features(of_texts), backbone.empty_features(of_words)
    done = 0
    for batch in backbone.batches(encoded):
        inputs = backbone.collate(encoded, batch)
        with torch.inference_mode(), backbone.autocast():
            states = backbone.states(inputs).states
        mask = inputs.get("attention_mask")
        for features, kind in ((text_features, of_texts), (word_features, of_words)):
            backbone.pool_into(features, states=states, encoded=kind, rows=batch, mask=mask)
        done += len(batch)
        if progress is not None:
            progress(f"embedding: {done:,} of {n:,} rows", done / n)
    return text_features, WordFeatures(
        features=word_features,
        words=tuple(words[:k]),
        tags=np.concatenate(list(tags[:k])),
        n_words=encoded.per_row[:k],
        seen=of_words.seen,
        names=names,
        scheme=scheme,
    )


def _probed_sentences(n_words: np.ndarray) -> int:
    """How many of the first sentences hold `PROBED_WORDS` together, or nearly; but enough to be cross-validated."""
    within = int(np.searchsorted(np.cumsum(n_words), PROBED_WORDS, side="right"))
    return min(max(within, FEWEST_PROBED), len(n_words))


def unseen_note(tagged: WordFeatures, *, longest: int) -> tuple[str, ...]:
    """A warning where words with a tag are not seen by the model, which reads `longest` tokens."""
    lost = int((~tagged.seen & (tagged.tags > 0)).sum())
    if not lost:
        return ()
    return (
        f"{lost:,} of {int((tagged.tags > 0).sum()):,} sampled words of entities are not seen by the model (they stand "
        f"beyond its {longest} tokens, or have no token): they are predicted O; --max-length may raise the limit",
    )
