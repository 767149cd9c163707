"""Train one candidate: fed from the prefix cache where blocks are frozen, for a number of steps, stoppable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from tuner.blocks import Block, head_parameters
from tuner.freezing import FrozenPrefix, audit
from tuner.inputs.encoded import Encoded
from tuner.inputs.mixing import Mixture, draw_mixture
from tuner.model.backbone import Backbone
from tuner.model.classifier import empty_logits, read_logits
from tuner.model.hidden import changed, replay, rounded
from tuner.records import Record
from tuner.tasks.base import Task
from tuner.training.dropout import cheap_dropout
from tuner.training.prefix import CachedDepth, JoinedDepth
from tuner.training.vocabulary import CompactEmbedding, compact_vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WEIGHT_DECAY = 0.01
WARM_UP = 0.1
CLIP_NORM = 1.0
# Relative differences allowed between a run from the cache and the full model: of 16-bit storage, and of bf16 products
# that round otherwise in another batch.
OUTPUT_TOLERANCE = 0.02
GRADIENT_TOLERANCE = 0.05
CHECKS = 4
"""How often a run is scored, the last time at its end."""
FINITE_EVERY = 10
"""Steps between two looks at whether the loss is still a number: each waits for the device."""
CHECK_ROWS = 512
"""Validation rows that the checks on the way look at; the end looks at all."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Record):
    """How a run is trained. ``learning_rate`` is the base's; the head's is ``head_ratio`` times as high.

    ``mixing`` names how the rows of a batch are mixed at the freeze boundary
    (`tuner.inputs.mixing.draw_mixture`). ``class_weights`` are factors of the rows' losses by class
    (`tuner.tasks.imbalance.class_weights`).
    """

    learning_rate: float
    head_ratio: float
    steps: int
    batch_size: int
    seed: int
    mixing: str | None = None
    class_weights: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a run: predictions on the validation rows at its end, seconds and steps.

    ``embedding_rows`` says to how many rows the embedding table was cut while it was trained; None where it was not.
    A run that ``diverged`` was stopped, since its loss was no number any more.
    """

    predictions: np.ndarray
    seconds: float
    steps: int
    stopped: bool
    embedding_rows: int | None = None
    diverged: bool = False


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Encoded rows with their labels, and the cached prefix of the depth that is trained, where there is one.

    Labels are one a row, or of sentences of words one a word, sentence below sentence. With several ``views``
    (`tuner.inputs.images.Views`), the encoded rows are that many times as many as the labelled ones.
    """

    encoded: Encoded
    labels: np.ndarray
    task: Task
    cached: CachedDepth | JoinedDepth | None = None
    views: int = 1

    def __len__(self) -> int:
        """Rows that are labelled, whatever the views of them."""
        return len(self.encoded) // self.views

    def first(self) -> Rows:
        """The first row alone, without a cache."""
        labels = self.labels[self.encoded.places(np.array([0]))]
        return replace(self, encoded=self.encoded.take([0]), labels=labels, cached=None, views=1)

    def targets(self, positions: np.ndarray, *, backbone: Backbone) -> torch.Tensor:
        """Labels of some encoded rows as the task's loss is computed against them, on the device."""
        width = backbone.padded(self.encoded, positions)
        targets = self.encoded.targets(self.labels, positions, width=width)
        return torch.from_numpy(targets).to(backbone.device)


class Stopped(Exception):  # noqa: N818  # a signal, not an error
    """Raised by a check to end a run early."""


def optimizer_for(model: PreTrainedModel, blocks: Sequence[Block], recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over exactly the trainable parameters, with a rate of its own for the head.

    No decay on biases and norms, nor on embeddings: it would pull at the rows of words that never occur.
    """
    embedded = {id(m.weight) for m in model.modules() if isinstance(m, (torch.nn.Embedding, CompactEmbedding))}
    # A cut embedding table stands for block 0's, which the blocks do not know of.
    head = {id(parameter) for parameter in head_parameters(model, blocks)} - embedded
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and id(parameter) not in embedded
            groups.setdefault((id(parameter) in head, decays), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": recipe.learning_rate * (recipe.head_ratio if is_head else 1.0),
                "weight_decay": WEIGHT_DECAY if decays else 0.0,
            }
            for (is_head, decays), parameters in groups.items()
        ],
        fused=True,
    )


def train(
    model: PreTrainedModel,
    *,
    backbone: Backbone,
    prefix: FrozenPrefix,
    recipe: Recipe,
    train_rows: Rows,
    validation_rows: Rows,
    check_every: int | None = None,
    on_check: Callable[[int, np.ndarray], None] | None = None,
    on_step: Callable[[int], int | None] | None = None,
) -> Outcome:
    """Train in place for ``recipe.steps`` steps, and audit the frozen prefix afterwards.

    The last weights count, not the best on the way, so that validation rows choose nothing here.

    Args:
        model: from `freeze`.
        backbone: its base.
        prefix: what is frozen of it.
        recipe: rates, steps, rows a step and seed.
        train_rows: what is trained on.
        validation_rows: what is predicted at the end.
        check_every: steps between two checks; by default `CHECKS` of them share the run.
        on_check: called with the number of steps done and predictions, on the way of the `rows_on_the_way` of the
            validation rows, at the end of all; may raise `Stopped`.
        on_step: called with the number of steps done; may raise `Stopped`, or return after how many steps to end,
            fewer than asked for: the learning rate then falls to zero until there.
    """
    tokens = backbone.inputs.tokens_met(train_rows.encoded, validation_rows.encoded)
    with (
        nullcontext(None)
        if tokens is None or prefix.frozen_blocks
        else compact_vocabulary(backbone.model, tokens=tokens) as embedding_rows
    ):
        return _train(
            model,
            backbone=backbone,
            prefix=prefix,
            recipe=recipe,
            train_rows=train_rows,
            validation_rows=validation_rows,
            check_every=check_every or math.ceil(recipe.steps / CHECKS),
            on_check=on_check,
            on_step=on_step,
            embedding_rows=embedding_rows,
        )


def _train(
    model: PreTrainedModel,
    *,
    backbone: Backbone,
    prefix: FrozenPrefix,
    recipe: Recipe,
    train_rows: Rows,
    validation_rows: Rows,
    check_every: int,
    on_check: Callable[[int, np.ndarray], None] | None,
    on_step: Callable[[int], int | None] | None,
    embedding_rows: int | None,
) -> Outcome:
    task = train_rows.task
    torch.manual_seed(recipe.seed)
    optimizer = optimizer_for(model, backbone.blocks, recipe)
    course = Course(recipe.steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, course.rate)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    start = time.perf_counter()
    stopped, diverged, done = False, False, 0
    predictions = np.zeros(0, dtype=np.int64)
    model.train()
    dropout = cheap_dropout(backbone.device, seed=recipe.seed)
    rng = np.random.default_rng((recipe.seed, 1))
    shape = backbone.shapes[prefix.frozen_blocks - 1] if prefix.frozen_blocks else train_rows.encoded.input_shape
    weights = None
    if recipe.class_weights is not None:
        weights = torch.tensor(recipe.class_weights, device=backbone.device)
    for step, rows in enumerate(training_batches(train_rows, recipe)):
        positions = rows + rng.integers(train_rows.views, size=len(rows)) * len(train_rows)
        mixture = None if recipe.mixing is None else draw_mixture(recipe.mixing, len(rows), shape=shape, rng=rng)
        with backbone.autocast(), dropout:
            logits = forward(
                model,
                backbone=backbone,
                rows=train_rows,
                positions=positions,
                prefix=prefix,
                mixture=mixture,
            )
        targets = train_rows.targets(positions, backbone=backbone)
        loss_of = task.loss if mixture is None else partial(mixture.loss, task.loss)
        loss = loss_of(logits.float(), targets, weights)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(trainable, CLIP_NORM)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        done = step + 1
        if done % FINITE_EVERY == 0 and not bool(loss.detach().isfinite()):
            stopped = diverged = True
            break
        try:
            if on_step is not None and (sooner := on_step(done)) is not None:
                course.end_after(sooner, now=done)
            at_end = done >= course.steps
            if at_end or (done % check_every == 0 and on_check is not None):
                looked_at = None if at_end else rows_on_the_way(len(validation_rows))
                logits_now = predict(model, backbone=backbone, rows=validation_rows, prefix=prefix, positions=looked_at)
                predictions = task.decode(logits_now)
                model.train()
                if on_check is not None:
                    on_check(done, predictions)
            if at_end:
                break
        except Stopped:
            stopped = True
            break
    audit(prefix, model=model, optimizer=optimizer, compact=embedding_rows is not None)
    return Outcome(
        predictions=predictions,
        seconds=time.perf_counter() - start,
        steps=done,
        stopped=stopped,
        embedding_rows=embedding_rows,
        diverged=diverged,
    )


class Course:
    """The learning rate over the steps of a run: linear warm-up, then linear decay to zero. The end may be moved to an
    earlier step on the way, so that a run on a machine that became slower still ends its decay in time.

    >>> course = Course(100)
    >>> [course.rate(step) for step in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.011111111111111112]
    >>> course.end_after(65, now=55)
    >>> [course.rate(step) for step in (55, 60, 65)], course.steps
    ([0.5, 0.25, 0.0], 65)
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._warm_up = max(1, round(WARM_UP * steps))
        self._from, self._height = self._warm_up, 1.0

    def rate(self, step: int) -> float:
        """The learning rate of a step, as a share of the highest one."""
        if step < self._warm_up:
            return (step + 1) / self._warm_up
        return self._height * (self.steps - step) / max(1, self.steps - self._from)

    def end_after(self, steps: int, *, now: int) -> None:
        """Fall to zero until a step, from where the rate is `now`; never before this step."""
        if now >= self._warm_up:
            self._height, self._from = self.rate(now), now
        self.steps = min(max(steps, now), self.steps)


def rows_on_the_way(n: int) -> np.ndarray:
    """The validation rows that checks before the end look at: a fixed random choice, in order."""
    chosen: np.ndarray = np.sort(np.random.default_rng(0).permutation(n)[:CHECK_ROWS])
    return chosen


def training_batches(rows: Rows, recipe: Recipe) -> Iterator[np.ndarray]:
    """Batches of similar lengths in random order, epoch after epoch, `steps` in all.

    Rows are shuffled, sorted by length within stretches of 16 batches, cut, and the batches shuffled: little padding,
    and no two epochs alike.
    """
    generator = np.random.default_rng(recipe.seed)
    lengths = rows.encoded.lengths[: len(rows)]
    stretch = 16 * recipe.batch_size
    made = 0
    while made < recipe.steps:
        order = generator.permutation(len(lengths))
        batches: list[np.ndarray] = []
        for begin in range(0, len(order), stretch):
            part = order[begin : begin + stretch]
            part = part[np.argsort(lengths[part], kind="stable")]
            batches += [part[i : i + recipe.batch_size] for i in range(0, len(part), recipe.batch_size)]
        for index in generator.permutation(len(batches)):
            if made == recipe.steps:
                return
            made += 1
            yield batches[index]


def forward(
    model: PreTrainedModel,
    *,
    backbone: Backbone,
    rows: Rows,
    positions: np.ndarray,
    prefix: FrozenPrefix,
    mixture: Mixture | None = None,
) -> torch.Tensor:
    """Compute the logits of some rows, from the cached prefix where the rows have one.

    Args:
        model: from `tuner.freezing.freeze`.
        backbone: its base.
        rows: encoded rows, with their cached prefix or without.
        positions: (b,) places of the rows among the encoded ones.
        prefix: what is frozen of the model.
        mixture: how the rows of the batch are mixed, where the prefix ends; by default they are not.

    Returns:
        (b, C) logits; of models that classify every token (b, t, C).
    """
    inputs = backbone.collate(rows.encoded, positions)
    with ExitStack() as around:
        if rows.cached is not None:
            around.enter_context(_from_cache(backbone, rows, positions, prefix))
        if mixture is not None:
            inputs, depth, mix = backbone.inputs.mixed(inputs, mixture, depth=prefix.frozen_blocks)
            if mix is not None:
                around.enter_context(changed(backbone.blocks, depth=depth, change=mix))
        logits: torch.Tensor = model(**inputs).logits
    return logits


def _from_cache(
    backbone: Backbone, rows: Rows, positions: np.ndarray, prefix: FrozenPrefix
) -> AbstractContextManager[None]:
    """The model's frozen prefix returns what is cached for these rows."""
    stored = rows.cached
    assert stored is not None
    padded = backbone.padded(rows.encoded, positions)
    hidden = stored.batch(positions, padded=padded, device=backbone.device)
    memory = None if stored.memory is None else stored.memory.batch(positions, padded=padded, device=backbone.device)
    return replay(backbone.blocks, depth=prefix.frozen_blocks, hidden=hidden, memory=memory, layouts=stored.layouts)


def check_replay(
    model: PreTrainedModel, *, backbone: Backbone, rows: Rows, prefix: FrozenPrefix, size: int = 8
) -> str | None:
    """Compare the model fed from the cache with the full one on a batch, in logits and in the suffix's gradients.

    All run without dropout. Gradients of networks with ReLU jump where a state is rounded to 16 bits, so they are
    compared with those of the full model whose state is rounded in the same place; logits are compared with those of
    the full model as it is.

    Args:
        model: from `tuner.freezing.freeze`.
        backbone: its base.
        rows: encoded rows with their cached prefix, of which the first are compared.
        prefix: what is frozen of the model.
        size: number of rows that are compared, at most.

    Returns:
        None where the two are equal, within what 16 bits allow; else what differs.
    """
    assert rows.cached is not None
    positions = np.arange(min(size, len(rows.encoded)))
    targets = rows.targets(positions, backbone=backbone)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    plain = replace(rows, cached=None)

    def run(part: Rows) -> torch.Tensor:
        with backbone.autocast():
            return forward(model, backbone=backbone, rows=part, positions=positions, prefix=prefix).float()

    def gradient(logits: torch.Tensor) -> torch.Tensor:
        loss = rows.task.loss(logits, targets)
        parts = torch.autograd.grad(loss, trainable, allow_unused=True)
        return torch.cat([part.float().reshape(-1) for part in parts if part is not None])

    def read(logits: torch.Tensor) -> torch.Tensor:
        picked: torch.Tensor = rows.encoded.pick(logits, positions)[1]
        return picked

    model.eval()
    with torch.no_grad():
        full_logits = run(plain)
    with ExitStack() as both:
        for stored in (rows.cached, rows.cached.memory):
            if stored is not None:
                both.enter_context(rounded(backbone.blocks, depth=stored.depth, dtype=stored.dtype))
        full_gradient = gradient(run(plain))
    try:
        logits = run(rows)
        cached_gradient = gradient(logits)
    except (RuntimeError, TypeError, ValueError, AttributeError, LookupError) as error:
        return f"the model does not run from the cache ({type(error).__name__}: {error})"
    if full_gradient.shape != cached_gradient.shape:
        return "different weights get gradients"
    for what, full, ours, tolerance in (
        # What a tagger says of padding and of word ends is never read, and differs: padding is cached as zeros.
        ("logits", read(full_logits), read(logits.detach()), OUTPUT_TOLERANCE),
        ("gradients", full_gradient, cached_gradient, GRADIENT_TOLERANCE),
    ):
        difference = float((full - ours).norm() / full.norm().clamp(min=1e-12))
        if not difference <= tolerance:
            return f"{what} differ by {difference:.3g} of their size"
    return None


def predict(
    model: PreTrainedModel,
    *,
    backbone: Backbone,
    rows: Rows,
    prefix: FrozenPrefix,
    positions: np.ndarray | None = None,
) -> np.ndarray:
    """Compute logits in evaluation mode.

    Args:
        model: from `tuner.freezing.freeze`.
        backbone: its base.
        rows: encoded rows, with their cached prefix or without.
        prefix: what is frozen of the model.
        positions: places of the rows that are predicted among the encoded ones; by default all are.

    Returns:
        (n, C) logits; of sentences their words'.
    """
    model.eval()
    chosen = np.arange(len(rows.encoded)) if positions is None else positions
    encoded = rows.encoded if positions is None else rows.encoded.take(chosen)
    logits = empty_logits(encoded, n_outputs=rows.task.n_outputs)
    with torch.inference_mode(), backbone.autocast():
        for batch in backbone.batches(encoded):
            part = forward(model, backbone=backbone, rows=rows, positions=chosen[batch], prefix=prefix)
            read_logits(logits, part, encoded=encoded, rows=batch)
    return logits
