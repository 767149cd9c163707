"""A tagger on frozen word features: the BERT paper's BiLSTM, stopped early by entity F1."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tuner.errors import DataError, OptionError
from tuner.inputs.encoded import IGNORED
from tuner.tasks.entities import entity_counts, f1_of
from tuner.tasks.heads import (
    FEATURES,
    feature_blocks,
    fits,
    is_weighted,
    mixture,
    select_features,
)
from tuner.tasks.one_of import cross_entropy
from tuner.tasks.tags import by_sentence

HIDDEN, LAYERS = 384, 2
"""Units in each direction, and layers: together the two directions are the 768 dimensions of Devlin et al. 2019,
section 5.3."""
DROPOUT = 0.3
LEARNING_RATE = 1e-3
BATCH_SIZE = 32
MOST_EPOCHS, PATIENCE = 40, 4
CLIP_NORM = 5.0

_WORDS_AT_ONCE = 8192
_BATCHES_OF_ALIKE = 16  # sentences of so many batches are sorted by length together, so that a batch pads little


@dataclass(frozen=True, kw_only=True)
class WordRows:
    """Tagged words of n sentences, sentence below sentence, N in all: what a model made of them and what they are.

    ``features`` are n_blocks arrays (N, width) of floats, ``lengths`` (n,) words a sentence, ``tags`` (N,) numbers.
    """

    features: Sequence[np.ndarray]
    lengths: np.ndarray
    tags: np.ndarray


class BiLSTMTagger(nn.Module):
    """Features of m blocks, standardised, mixed or concatenated; a BiLSTM; dropout; one linear layer to the tags.

    Args:
        widths: (m,) features of every block that is read.
        n_tags: C, how many tags there are.
        weighted: whether the blocks are mixed by learned weights, rather than concatenated.
        hidden: units of the BiLSTM in each direction.
        layers: of the BiLSTM.
        dropout: share that is dropped before the BiLSTM, between its layers and after it.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(
        self, *, widths: Sequence[int], n_tags: int, weighted: bool, hidden: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.register_buffer("mean", torch.zeros(sum(widths)))
        self.register_buffer("deviation", torch.ones(sum(widths)))
        self.scalars = nn.Parameter(torch.zeros(len(self.widths))) if weighted and len(self.widths) > 1 else None
        width = sum(self.widths) if self.scalars is None else self.widths[0]
        self.lstm = nn.LSTM(
            width,
            hidden,
            num_layers=layers,
            batch_first=True,
            bidirectional=True,
            dropout=dropout if layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(2 * hidden, n_tags)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Turn (b, t, sum of widths) features, padded at the right, with (b,) lengths, into logits (b, t, C)."""
        logits: torch.Tensor = self.linear(self.dropout(self._states(features, lengths)))
        return logits

    def tag_tokens(self, features: torch.Tensor, word_starts: torch.Tensor) -> torch.Tensor:
        """Turn (b, t, sum of widths) features of tokens into logits (b, t, C).

        The logits count where `word_starts` (b, t) is true. The BiLSTM runs over those tokens alone, as it was trained.
        """
        counts = word_starts.sum(1)
        lengths = counts.clamp(min=1)  # of a row without a word nothing is read
        inside = torch.arange(int(lengths.max()), device=features.device) < counts[:, None]
        words = features.new_zeros((*inside.shape, features.shape[-1]))
        words[inside] = features[word_starts]
        states = self._states(words, lengths)
        placed = states.new_zeros((*word_starts.shape, states.shape[-1]))
        placed[word_starts] = states[inside]
        logits: torch.Tensor = self.linear(self.dropout(placed))
        return logits

    def _states(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(b, t, sum of widths) to what leaves the BiLSTM, (b, t, 2 * hidden)."""
        x = (features - self.mean) / self.deviation
        if self.scalars is not None:
            x = torch.einsum("m,btmd->btd", mixture(self.scalars), x.view(*x.shape[:2], len(self.widths), -1))
        packed = pack_padded_sequence(self.dropout(x), lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=features.shape[1])
        return states


@dataclass(frozen=True, kw_only=True)
class Tagger:
    """A fitted tagger on a feature variant of a model's blocks.

    ``f1_by_epoch`` are entity F1 on the validation sentences after every epoch of training, of which the best one's
    weights are kept. ``out_of_time`` says that the time ended training, and not the validation sentences
    or the last epoch.
    """

    classifier: BiLSTMTagger
    features: str
    tag_names: tuple[str, ...]
    f1_by_epoch: tuple[float, ...]
    seconds: float
    out_of_time: bool = False

    @property
    def mix(self) -> np.ndarray | None:
        """(m,) softmaxed weights of a weighted variant's blocks; else None."""
        scalars = self.classifier.scalars
        return None if scalars is None else scalars.detach().softmax(0).cpu().numpy()

    def predict(self, features: Sequence[np.ndarray], *, lengths: np.ndarray) -> np.ndarray:
        """Predict (N,) tag numbers of the words of sentences, from n_blocks arrays (N, width) and (n,) lengths."""
        x = select_features(features, name=self.features)
        _check_lengths(x, lengths)
        return _predict(self.classifier, x, lengths)[0]


def fit_tagger(
    train: WordRows,
    *,
    validation: WordRows,
    tag_names: Sequence[str],
    features: str = "last",
    seed: int = 0,
    hidden: int = HIDDEN,
    layers: int = LAYERS,
    dropout: float = DROPOUT,
    learning_rate: float = LEARNING_RATE,
    batch_size: int = BATCH_SIZE,
    most_epochs: int = MOST_EPOCHS,
    patience: int = PATIENCE,
    device: str | torch.device = "cpu",
    half: bool = False,
    most_seconds: float = math.inf,
    on_epoch: Callable[[int, float], None] | None = None,
) -> Tagger:
    """Train a randomly initialised BiLSTM on frozen features (Devlin et al. 2019, section 5.3) by Adam.

    Equal seeds give equal taggers on the same machine, and torch's global random state is left alone. The weights of
    the best epoch are kept.

    Args:
        train: the words to learn from.
        validation: the words whose entity F1 ends training and chooses the epoch.
        tag_names: the tags, in the order of their numbers.
        features: which blocks are read (`tuner.tasks.heads.FEATURES` or ``block_K``); a weighted variant learns its
            scalar mix along.
        seed: of the weights at the start, of dropout, and of the order of sentences.
        hidden: units in each direction. The paper does not say whether its 768 dimensions are those of one direction or
            of both together; here of both.
        layers: of the BiLSTM.
        dropout: share that is dropped before the BiLSTM, between its layers and after it.
        learning_rate: of Adam.
        batch_size: sentences in a batch.
        most_epochs: epochs at most.
        patience: epochs after which training ends when F1 has not risen (of equal F1, the smaller loss counts).
        device: where it is trained.
        half: whether matrix products run in bf16.
        most_seconds: no epoch begins after them; the tagger says if that ended training.
        on_epoch: called with every epoch, from 0, and its F1.

    Raises:
        OptionError: for features that cannot be read.
        DataError: where features, lengths and tags do not match.

    >>> x = np.array([[1.0], [0.0], [0.0], [1.0], [0.0]], np.float32)
    >>> words = WordRows(features=(x,), lengths=np.array([3, 2]), tags=np.array([1, 2, 0, 1, 2]))
    >>> names = ("O", "B-a", "I-a")
    >>> tagger = fit_tagger(words, validation=words, tag_names=names, hidden=8, learning_rate=0.05, dropout=0.0)
    >>> tagger.predict((x,), lengths=np.array([3, 2])).tolist(), max(tagger.f1_by_epoch)
    ([1, 2, 0, 1, 2], 1.0)
    """
    start = time.perf_counter()
    names, where = tuple(tag_names), torch.device(device)
    x, held = _read(train, features, n_tags=len(names)), _read(validation, features, n_tags=len(names))
    gold = _sentences(validation.tags, validation.lengths, names)
    widths = [block.shape[1] for block in x]
    f1s: list[float] = []
    best: tuple[float, float] | None = None
    best_epoch, kept, out_of_time = 0, {}, False
    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        torch.manual_seed(seed)
        model = BiLSTMTagger(
            widths=widths,
            n_tags=len(names),
            weighted=is_weighted(features),
            hidden=hidden,
            layers=layers,
            dropout=dropout,
        )
        _standardise(model, x)
        model.to(where)
        optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
        generator = np.random.default_rng(seed)
        precision = torch.autocast(where.type, dtype=torch.bfloat16, enabled=half)
        for epoch in range(most_epochs):
            model.train()
            for rows in _shuffled(train.lengths, batch_size, generator):
                _step(model, optimizer, x, train, rows, precision=precision)
            with precision:
                predictions, loss = _predict(model, held, validation.lengths, validation.tags)
            counts = entity_counts(gold, _sentences(predictions, validation.lengths, names))
            f1s.append(float(f1_of(counts.sum(0))))
            if best is None or (f1s[-1], -loss) > best:
                best, best_epoch = (f1s[-1], -loss), epoch
                kept = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
            if on_epoch is not None:
                on_epoch(epoch, f1s[-1])
            if epoch - best_epoch >= patience or epoch + 1 == most_epochs:
                break
            if out_of_time := time.perf_counter() - start > most_seconds:
                break
    model.load_state_dict(kept)
    model.eval()
    return Tagger(
        classifier=model,
        features=features,
        tag_names=names,
        f1_by_epoch=tuple(f1s),
        seconds=time.perf_counter() - start,
        out_of_time=out_of_time,
    )


# --- rows and batches


def _read(rows: WordRows, features: str, *, n_tags: int) -> Sequence[np.ndarray]:
    """The features that a variant reads, checked."""
    widths = [block.shape[1] for block in rows.features]
    if not fits(features, widths=widths):
        blocks = feature_blocks(features, n_blocks=len(widths))
        raise OptionError(
            f"{features} cannot mix blocks of different widths ({', '.join(str(widths[block]) for block in blocks)})",
            why="a weighted sum adds their states",
            fix=f"use one of {', '.join(name for name in FEATURES if not is_weighted(name))}",
        )
    x = select_features(rows.features, name=features)
    _check_lengths(x, rows.lengths)
    n = int(rows.lengths.sum())
    if len(rows.tags) != n or n == 0:
        raise DataError(
            f"{len(rows.tags):,} tags for {n:,} words",
            why="the n-th tag is of the n-th word" if n else "there is nothing to learn from",
            fix="pass one tag for every word of the sentences, and at least one word",
        )
    if rows.tags.min() < 0 or rows.tags.max() >= n_tags:
        raise DataError(
            f"tag numbers from {rows.tags.min()} to {rows.tags.max()}, but there are {n_tags} tags",
            why="tags are positions in the list of their names",
            fix="number the tags of all splits by one list of names",
        )
    return x


def _check_lengths(x: Sequence[np.ndarray], lengths: np.ndarray) -> None:
    n = int(lengths.sum())
    wrong = [len(block) for block in x if len(block) != n]
    if wrong:
        raise DataError(
            f"features of {wrong[0]:,} words for sentences of {n:,}",
            why="the rows of the features are the words of the sentences, one below the other",
            fix="pass lengths that add up to the rows",
        )


def _sentences(tags: np.ndarray, lengths: np.ndarray, names: Sequence[str]) -> list[list[str]]:
    return by_sentence([names[tag] for tag in tags.tolist()], lengths)


def _standardise(model: BiLSTMTagger, x: Sequence[np.ndarray]) -> None:
    """Give the model the mean and deviation of every feature; a constant one says nothing and is left as it is."""
    means, deviations = [], []
    for block in x:
        total = squares = np.zeros(block.shape[1])
        shift = block[0].astype(np.float64)  # near the mean, so that squares of large features lose no digits
        for start in range(0, len(block), _WORDS_AT_ONCE):
            part = block[start : start + _WORDS_AT_ONCE].astype(np.float64) - shift
            total, squares = total + part.sum(0), squares + (part**2).sum(0)
        mean = total / len(block)
        deviation = np.sqrt(np.maximum(squares / len(block) - mean**2, 0.0))
        means.append(shift + mean)
        deviations.append(np.where(deviation > 1e-6, deviation, 1.0))
    model.mean.copy_(torch.from_numpy(np.concatenate(means)))
    model.deviation.copy_(torch.from_numpy(np.concatenate(deviations)))


def _shuffled(lengths: np.ndarray, batch_size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Batches of sentences with words, in random order, those of a batch of like length."""
    order = generator.permutation(np.flatnonzero(lengths))
    for start in range(0, len(order), _BATCHES_OF_ALIKE * batch_size):
        some = order[start : start + _BATCHES_OF_ALIKE * batch_size]
        some = some[np.argsort(lengths[some], kind="stable")]
        batches = [some[i : i + batch_size] for i in range(0, len(some), batch_size)]
        for position in generator.permutation(len(batches)):
            yield batches[position]


def _by_length(lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Batches of all sentences with words, those of like length together."""
    order = np.argsort(-lengths, kind="stable")[: int((lengths > 0).sum())]
    start = 0
    while start < len(order):
        size = max(1, _WORDS_AT_ONCE // int(lengths[order[start]]))
        yield order[start : start + size]
        start += size


def _collate(
    x: Sequence[np.ndarray], lengths: np.ndarray, rows: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray, np.ndarray]:
    """(b, t, sum of widths) features padded at the right, (b,) lengths, (b, t) what is a word, and the words' rows."""
    sizes = lengths[rows]
    begins = (np.cumsum(lengths) - lengths)[rows]
    inside = np.arange(int(sizes.max())) < sizes[:, None]
    words = (begins[:, None] + np.arange(int(sizes.max())))[inside]
    padded = np.zeros((*inside.shape, sum(block.shape[1] for block in x)), dtype=np.float32)
    padded[inside] = np.concatenate([block[words] for block in x], axis=1)
    return torch.from_numpy(padded), torch.from_numpy(sizes.astype(np.int64)), inside, words


def _logits(
    model: BiLSTMTagger, x: Sequence[np.ndarray], lengths: np.ndarray, rows: np.ndarray
) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """(b, t, C) logits of a batch, (b, t) what is a word, and the words' rows."""
    features, sizes, inside, words = _collate(x, lengths, rows)
    return model(features.to(model.mean.device), sizes), inside, words


def _loss(logits: torch.Tensor, tags: np.ndarray, inside: np.ndarray, words: np.ndarray) -> torch.Tensor:
    """The words' mean cross-entropy."""
    labels = np.full(inside.shape, IGNORED, dtype=np.int64)
    labels[inside] = tags[words]
    targets = torch.from_numpy(labels).to(logits.device)
    return cross_entropy(logits, targets)


def _step(
    model: BiLSTMTagger,
    optimizer: torch.optim.Optimizer,
    x: Sequence[np.ndarray],
    train: WordRows,
    rows: np.ndarray,
    *,
    precision: torch.autocast,
) -> None:
    with precision:
        logits, inside, words = _logits(model, x, train.lengths, rows)
    optimizer.zero_grad(set_to_none=True)
    _loss(logits.float(), train.tags, inside, words).backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
    optimizer.step()


def _predict(
    model: BiLSTMTagger, x: Sequence[np.ndarray], lengths: np.ndarray, tags: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """(N,) predictions, and the words' mean loss where their tags are given, else 0."""
    model.eval()
    predictions = np.zeros(int(lengths.sum()), dtype=np.int64)
    total = 0.0
    with torch.inference_mode():
        for batch in _by_length(lengths):
            logits, inside, words = _logits(model, x, lengths, batch)
            predictions[words] = logits.argmax(-1).cpu().numpy()[inside]
            if tags is not None:
                total += float(_loss(logits.float(), tags, inside, words)) * len(words)
    return predictions, total / max(len(predictions), 1)
