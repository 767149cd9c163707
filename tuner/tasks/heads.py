"""Classifier heads: which blocks a head reads, linear heads fitted by L-BFGS, and the same head as a torch module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from tuner.errors import OptionError, did_you_mean

FEATURES = (
    "embeddings",
    "second_to_last",
    "last",
    "weighted_last_four",
    "concat_last_four",
    "weighted_all",
)
"""The feature-based variants of Devlin et al. 2019 (BERT), Table 7; ``block_K`` names any single block beside them."""

L2_GRID = (300.0, 30.0, 3.0, 0.3)
"""Penalties tried by cross-validation, strong to weak: inverse prior variances of weights on standardised features."""

# Predictions stop changing long before the loss does: against 60 iterations and 1e-5, out-of-fold log losses on real
# sets moved by at most 0.006 and scores by at most 0.002, at half the time.
MAX_ITERATIONS = 40
TOLERANCE = 3e-4


def feature_blocks(name: str, *, n_blocks: int) -> tuple[int, ...]:
    """The blocks that a feature variant reads, in order.

    >>> feature_blocks("concat_last_four", n_blocks=7)
    (3, 4, 5, 6)
    >>> feature_blocks("block_2", n_blocks=7)
    (2,)

    Raises `OptionError` for an unknown name or a block the model does not have.
    """
    known = {
        "embeddings": (0,),
        "second_to_last": (n_blocks - 2,),
        "last": (n_blocks - 1,),
        "weighted_last_four": tuple(range(max(n_blocks - 4, 0), n_blocks)),
        "concat_last_four": tuple(range(max(n_blocks - 4, 0), n_blocks)),
        "weighted_all": tuple(range(n_blocks)),
    }
    if name in known:
        return known[name]
    prefix, _, number = name.partition("_")
    if prefix == "block" and number.isdigit() and int(number) < n_blocks:
        return (int(number),)
    raise OptionError(
        f"unknown features {name!r}.{did_you_mean(name, FEATURES)}",
        why="they say which blocks the classifier reads",
        fix=f"use one of {', '.join(FEATURES)}, or block_0 to block_{n_blocks - 1}",
    )


def fits(name: str, *, widths: Sequence[int]) -> bool:
    """Whether a feature variant can be read from blocks of these widths: a weighted mix needs equal ones.

    >>> fits("weighted_all", widths=(8, 8)), fits("weighted_all", widths=(8, 16))
    (True, False)
    >>> fits("concat_last_four", widths=(8, 16))
    True
    """
    blocks = feature_blocks(name, n_blocks=len(widths))
    return not is_weighted(name) or len({widths[block] for block in blocks}) == 1


def is_weighted(name: str) -> bool:
    """Whether a variant mixes its blocks by learned weights (ELMo's scalar mix) rather than concatenating them."""
    return name.startswith("weighted_")


class Standardised(Sequence[np.ndarray]):
    """Features of several blocks on the same rows, of which each is standardised once, however many heads read it.

    A slice is of the same kind and shares what was made; an item is the (n, d) features of a block as they were given.

    >>> blocks = Standardised([np.array([[1.0], [3.0]]), np.array([[5.0], [5.0]])])
    >>> [part.tolist() for part in blocks.of(0)]
    [[[2.0]], [[1.0]], [[-1.0], [1.0]]]
    >>> blocks[1:].of(0)[2].tolist(), len(blocks[1:])
    ([[0.0], [0.0]], 1)
    """

    def __init__(self, blocks: Sequence[np.ndarray], *, shared: Standardised | None = None, first: int = 0) -> None:
        self._blocks, self._first = tuple(blocks), first
        self._made: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {} if shared is None else shared._made

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, place: Any) -> Any:
        if not isinstance(place, slice):
            return self._blocks[place]
        begin, _, step = place.indices(len(self))
        if step != 1:
            raise IndexError("only neighbouring blocks can be taken")
        return Standardised(self._blocks[place], shared=self, first=self._first + begin)

    def of(self, block: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Mean and deviation (1, d), and the standardised features (n, d), of a block, in single precision."""
        place = self._first + block
        if place not in self._made:
            x = torch.from_numpy(np.ascontiguousarray(self._blocks[block], dtype=np.float32))
            mean, deviation = x.mean(0, keepdim=True), x.std(0, keepdim=True, correction=0)
            # A constant feature says nothing; dividing by its zero deviation would say NaN.
            deviation = torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))
            self._made[place] = mean, deviation, (x - mean) / deviation
        return self._made[place]


def select_features(features: Sequence[np.ndarray], *, name: str) -> Sequence[np.ndarray]:
    """The features that a variant reads, out of the (n, d) features of every block."""
    blocks = feature_blocks(name, n_blocks=len(features))
    return features[blocks[0] : blocks[-1] + 1]  # every variant reads neighbouring blocks


class Link(Protocol):
    """How the C logits of a linear head become predictions, and what loss it is fitted by.

    F heads that are fitted at once have logits (n, F, C).
    """

    def targets(self, labels: np.ndarray) -> torch.Tensor:
        """Turn (n, ...) labels into what `losses` compares logits with."""

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Losses (n, F) of (n, F, C) logits."""

    def outputs(self, logits: torch.Tensor) -> torch.Tensor:
        """Turn (..., C) logits into (..., C) probabilities, or other values."""

    def losses_of_outputs(self, outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Losses (n,) of (n, C) outputs."""

    def row_weights(self, class_weights: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Factors of the rows' losses, (n,), out of (C,) factors of the classes."""

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Turn (n, C) outputs into predictions, shaped as the labels."""


class Softmax:
    """One of C classes for every row, by a softmax: labels are (n,) class numbers."""

    def targets(self, labels: np.ndarray) -> torch.Tensor:
        """The labels as (n,) 64-bit integers."""
        return torch.from_numpy(np.asarray(labels, dtype=np.int64))

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Negative log-likelihoods."""
        places = targets.view(-1, 1, 1).expand(-1, logits.shape[1], 1)
        return -logits.log_softmax(-1).gather(2, places).squeeze(2)

    def outputs(self, logits: torch.Tensor) -> torch.Tensor:
        """Probabilities that sum to 1."""
        return logits.softmax(-1)

    def losses_of_outputs(self, outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Negative log-likelihoods, of a probability of 1e-12 at least."""
        losses: np.ndarray = -np.log(np.clip(outputs[np.arange(len(labels)), labels], 1e-12, None))
        return losses

    def row_weights(self, class_weights: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The weight of every row's class."""
        weights: np.ndarray = class_weights[labels]
        return weights

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """(n,) numbers of the most probable classes."""
        predictions: np.ndarray = outputs.argmax(1)
        return predictions


SOFTMAX = Softmax()


@dataclass(frozen=True, kw_only=True)
class LinearHead:
    """A fitted linear classifier on the raw features of m blocks: standardisation and mix are folded in.

    ``weight`` is (C, m * d), ``bias`` (C,); ``mix`` holds the m softmaxed weights of a weighted variant, else None.
    """

    weight: np.ndarray
    bias: np.ndarray
    mix: np.ndarray | None = None

    def logits(self, features: Sequence[np.ndarray]) -> np.ndarray:
        """Logits (n, C) of m arrays (n, d) of features."""
        scores: np.ndarray = _concatenate(features) @ self.weight.T + self.bias
        return scores


@dataclass(frozen=True, kw_only=True)
class CrossValidated:
    """Out-of-fold predictions of a probe, with the penalty whose out-of-fold log loss was least."""

    l2: float
    log_loss_by_l2: tuple[tuple[float, float], ...]
    predictions: np.ndarray
    probabilities: np.ndarray


def fit_head(
    features: Sequence[np.ndarray],
    labels: np.ndarray,
    *,
    n_classes: int,
    l2: float = 30.0,
    weighted: bool = False,
    class_weights: np.ndarray | None = None,
    link: Link = SOFTMAX,
) -> LinearHead:
    """Fit a linear head by L-BFGS: by default multinomial logistic regression, else the model of another link.

    Minimises the mean loss, by default cross-entropy, plus ``l2 / (2 n) * |W|^2`` on standardised features. By default
    that is scikit-learn's ``LogisticRegression(C=1 / l2)`` after a ``StandardScaler``.

    Args:
        features: m arrays (n, d), one for each block that is read.
        labels: (n,) class numbers; another link's in its own shape.
        n_classes: number of logits, C.
        l2: the penalty.
        weighted: whether the m blocks are mixed by softmaxed scalars that are learned along (Peters et al. 2018,
            equation 1; its scale is part of W here). By default they are concatenated.
        class_weights: (C,) factors of the rows' losses by class (`tuner.tasks.imbalance.class_weights`); by default
            every row counts once.
        link: loss and outputs of the head, which is the generalised linear model of that loss.

    >>> x = np.array([[[-1.0], [-2.0], [1.0], [2.0]]], dtype=np.float32)
    >>> head = fit_head(x, np.array([0, 0, 1, 1]), n_classes=2, l2=1.0)
    >>> head.logits(x).argmax(1).tolist()
    [0, 0, 1, 1]
    """
    problem = _Problem(
        features, labels, n_classes=n_classes, weighted=weighted, folds=None, class_weights=class_weights, link=link
    )
    return problem.head(problem.solve(l2, start=None))


def cross_validate(
    features: Sequence[np.ndarray],
    labels: np.ndarray,
    *,
    n_classes: int,
    folds: np.ndarray,
    l2: Sequence[float] = L2_GRID,
    weighted: bool = False,
    class_weights: np.ndarray | None = None,
    link: Link = SOFTMAX,
) -> CrossValidated:
    """Fit one head a fold on the other folds' rows, all folds at once, for weaker and weaker penalties.

    The penalty is chosen by log loss, not by the score that is reported, to keep that one honest.

    Args:
        features: m arrays (n, d), one for each block that is read.
        labels: (n,) class numbers; another link's in its own shape.
        n_classes: number of logits, C.
        folds: (n,) with values 0 to F - 1; a row with fold -1 is trained on everywhere and never predicted (its
            prediction is -1).
        l2: penalties to try; once the log loss rises, weaker ones are not tried.
        weighted: whether the m blocks are mixed by learned weights (`fit_head`).
        class_weights: (C,) factors of the rows' losses by class; they weigh the log loss as they weigh the loss that
            is fitted.
        link: loss and outputs of the heads.

    Raises:
        ValueError: where `l2` is empty.
    """
    problem = _Problem(
        features, labels, n_classes=n_classes, weighted=weighted, folds=folds, class_weights=class_weights, link=link
    )
    held_out = folds >= 0
    weights = None if class_weights is None else link.row_weights(class_weights, labels[held_out])
    losses: list[tuple[float, float]] = []
    best: tuple[float, float, np.ndarray] | None = None
    parameters: np.ndarray | None = None
    for penalty in sorted(l2, reverse=True):  # from strong to weak, each started from the last: a short path
        parameters = problem.solve(penalty, start=parameters)
        probabilities = problem.out_of_fold(parameters)
        held_losses = link.losses_of_outputs(probabilities[held_out], labels[held_out])
        loss = float(np.average(held_losses, weights=weights))
        losses.append((penalty, loss))
        if best is not None and loss >= best[0]:
            break  # along the path the loss falls, then rises
        best = (loss, penalty, probabilities)
    if best is None:
        raise ValueError("no penalty to try")
    predictions = link.decode(best[2])
    predictions[~held_out] = -1
    return CrossValidated(l2=best[1], log_loss_by_l2=tuple(losses), predictions=predictions, probabilities=best[2])


class Head(nn.Module):
    """The head that is trained and saved: pooled features of m blocks, dropout, one linear layer."""

    def __init__(self, *, width: int, n_classes: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, n_classes)

    def forward(self, pooled: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits (b, C) of m tensors (b, d)."""
        logits: torch.Tensor = self.linear(self.dropout(torch.cat(tuple(pooled), dim=-1)))
        return logits

    def load_linear(self, head: LinearHead) -> None:
        """Start from a fitted probe (linear probing, then fine-tuning: Kumar et al. 2022)."""
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(head.weight))
            self.linear.bias.copy_(torch.from_numpy(head.bias))


def _concatenate(features: Sequence[np.ndarray]) -> np.ndarray:
    return features[0] if len(features) == 1 else np.concatenate(features, axis=1)


def _side_by_side(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """m tensors (n, d) as one (1, n, m * d)."""
    return torch.cat(tuple(parts), dim=1)[None]


def mixture(scalars: torch.Tensor) -> torch.Tensor:
    """Softmaxed scalars (..., m), scaled to unit length.

    Averaging blocks shrinks their variance, which a penalty on W would punish: without the scale the mix collapses
    onto one block. ELMo learns that scale freely; here it is fixed, since W can absorb the rest.
    """
    weights = scalars.softmax(-1)
    return weights / weights.square().sum(-1, keepdim=True).sqrt()


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it, products and the optimizer's vectors are worked on by one thread.

    A step of such a problem takes milliseconds; threads that wait for each other at every one of thousands of small
    products cost more than they gain, and on a busy machine many times as much.
    """
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    with threadpool_limits(limits=1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


class _Problem:
    """All folds of one logistic regression as a single convex problem, so that every step is one large product."""

    def __init__(
        self,
        features: Sequence[np.ndarray],
        labels: np.ndarray,
        *,
        n_classes: int,
        weighted: bool,
        folds: np.ndarray | None,
        class_weights: np.ndarray | None = None,
        link: Link,
    ) -> None:
        self.link = link
        self.n_classes = n_classes
        self.weighted = weighted and len(features) > 1
        blocks = features if isinstance(features, Standardised) else Standardised(features)
        made = [blocks.of(block) for block in range(len(blocks))]
        join = torch.stack if self.weighted else _side_by_side
        self.mean, self.deviation, self.x = (join(parts) for parts in zip(*made, strict=True))
        self.m, self.n, self.d = self.x.shape
        self.targets = link.targets(labels)
        self.folds = torch.zeros(self.n, dtype=torch.long) - 1 if folds is None else torch.from_numpy(folds).long()
        self.n_folds = 1 if folds is None else int(folds.max()) + 1
        train = torch.stack([self.folds != fold for fold in range(self.n_folds)], dim=1).float()
        self.rows_per_fold = train.sum(0)
        self.row_weights = train / self.rows_per_fold
        if class_weights is not None:
            self.row_weights *= torch.from_numpy(link.row_weights(class_weights, labels)).float().unsqueeze(1)

    def _shape(self, parameters: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        f, c, d = self.n_folds, self.n_classes, self.d
        flat = torch.from_numpy(parameters.astype(np.float32))
        weight, bias, mix = flat[: f * c * d], flat[f * c * d : f * c * (d + 1)], flat[f * c * (d + 1) :]
        return weight.view(d, f * c), bias.view(f, c), mix.view(f, -1)

    def _logits(self, weight: torch.Tensor, bias: torch.Tensor, mix: torch.Tensor) -> torch.Tensor:
        """(n, F, C)."""
        if not self.weighted:
            product = self.x[0] @ weight
            return product.view(self.n, self.n_folds, self.n_classes) + bias
        mixed = torch.einsum("fm,mnd->fnd", mixture(mix), self.x)
        weights = weight.view(self.d, self.n_folds, self.n_classes).permute(1, 0, 2)
        return torch.bmm(mixed, weights).permute(1, 0, 2) + bias

    def solve(self, l2: float, *, start: np.ndarray | None) -> np.ndarray:
        from scipy.optimize import minimize

        size = self.n_folds * self.n_classes * (self.d + 1) + (self.n_folds * self.m if self.weighted else 0)
        penalty = (l2 / self.rows_per_fold).view(1, self.n_folds, 1)

        def loss_and_gradient(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            weight, bias, mix = (part.requires_grad_() for part in self._shape(parameters))
            losses = self.link.losses(self._logits(weight, bias, mix), self.targets)
            shaped = weight.view(self.d, self.n_folds, self.n_classes)
            loss = (losses * self.row_weights).sum() + 0.5 * (shaped.square() * penalty).sum()
            inputs = (weight, bias, mix) if self.weighted else (weight, bias)
            gradients = torch.autograd.grad(loss, inputs)
            return loss.item(), torch.cat([gradient.reshape(-1) for gradient in gradients]).double().numpy()

        with one_thread():
            result = minimize(
                loss_and_gradient,
                np.zeros(size) if start is None else start,
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": MAX_ITERATIONS, "ftol": TOLERANCE, "gtol": 1e-5, "maxcor": 10},
            )
        return np.asarray(result.x)

    def out_of_fold(self, parameters: np.ndarray) -> np.ndarray:
        """(n, C): every row's outputs under the head that has not seen it."""
        with torch.no_grad():
            outputs = self.link.outputs(self._logits(*self._shape(parameters)))
            own = self.folds.clamp(min=0).view(-1, 1, 1).expand(-1, 1, self.n_classes)
            return outputs.gather(1, own).squeeze(1).numpy()

    def head(self, parameters: np.ndarray) -> LinearHead:
        """The first fold's head on raw features: ``W ((x - mean) / sd) + b`` is ``(W / sd) x + (b - W mean / sd)``."""
        weight, bias, mix = self._shape(parameters)
        weight = weight.view(self.d, self.n_folds, self.n_classes)[:, 0].T
        scalars = mixture(mix[0]) if self.weighted else torch.ones(self.m)
        raw = scalars.view(-1, 1, 1) * weight.unsqueeze(0) / self.deviation  # (m, C, d)
        shift = (raw * self.mean).sum((0, 2))
        return LinearHead(
            weight=raw.permute(1, 0, 2).reshape(self.n_classes, -1).contiguous().numpy(),
            bias=(bias[0] - shift).numpy(),
            mix=mix[0].softmax(-1).numpy() if self.weighted else None,
        )
