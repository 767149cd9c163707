"""Train a candidate: from a candidate, a recipe and a seed to what came out, and the model is as it was before."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from safetensors.torch import save

from tuner.errors import ModelError
from tuner.freezing import FrozenPrefix, freeze
from tuner.model.backbone import Backbone
from tuner.model.bilstm import MOST_EPOCHS
from tuner.model.classifier import TransferClassifier, build_classifier, classify, final_linear
from tuner.model.native import as_native, native_classifier
from tuner.model.scratch import fresh_state
from tuner.search import bilstm
from tuner.search.borrowed import Borrowed
from tuner.search.linear import LinearHeads
from tuner.search.pace import TIMED_STEPS, Pace
from tuner.search.prefixes import Prefixes
from tuner.search.rows import EncodedRows
from tuner.search.space import Candidate, candidate_at
from tuner.search.views import TrainingViews
from tuner.tasks.heads import Head, LinearHead, select_features
from tuner.training.augmentation import MIX_POLICIES
from tuner.training.train import Outcome, Recipe, Rows, predict, train, training_batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Fitted = TypeVar("Fitted")
RANDOM_HEADS = ("fresh_top", "random_head")
"""Options under which the head starts as it is drawn: a probe of blocks that are no longer there says nothing."""
CLASS_WEIGHTED = "class_weights"


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The outcome of one training of a candidate.

    It holds predictions of the validation rows, the recipe as it was followed, the seconds it took, and the trained
    weights as the content of a safetensors file, None of a linear head.
    """

    candidate: Candidate
    recipe: dict[str, float]
    seed: int
    predictions: np.ndarray
    seconds: float
    weights: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Built:
    """A candidate's model as it starts, what of it is frozen, and the rows that feed it."""

    model: PreTrainedModel
    prefix: FrozenPrefix
    train_rows: Rows
    validation_rows: Rows


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of the device or of the machine."""
    text = str(error).lower()
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in text or (
        "out of memory" in text
    )  # fmt: skip


def trained_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of a model that training changes: trainable parameters, and the running statistics of batch norms."""
    trained = {key: p.detach().contiguous() for key, p in model.named_parameters() if p.requires_grad}
    stored = model.state_dict()
    return trained | {key: b.detach().contiguous() for key, b in model.named_buffers() if key in stored}


def as_exported(model: PreTrainedModel, *, backbone: Backbone) -> PreTrainedModel:
    """Turn a trained model into the architecture's own class, where that is the same function."""
    if not isinstance(model, TransferClassifier):
        return model
    same = as_native(model, backbone=backbone)
    return model if same is None else same


class Trainer:
    """Trains candidates on the rows of a search. All of them share one base, which is lent to each and given back.

    Args:
        backbone: the pretrained model.
        rows: encoded training and validation rows.
        prefixes: their cached prefixes and features.
        heads: linear heads on the training rows.
        views: the training rows as augmentations change them.
        pace: rows a step, and what steps took.
        seed: of heads; every training has a seed of its own.
        say: told what a user should know of a training.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        rows: EncodedRows,
        prefixes: Prefixes,
        heads: LinearHeads,
        views: TrainingViews,
        pace: Pace,
        seed: int,
        say: Callable[[str], None],
    ) -> None:
        self.backbone, self.rows, self.prefixes, self.heads, self.views = backbone, rows, prefixes, heads, views
        self.pace, self.seed, self.say = pace, seed, say
        self._base = Borrowed(backbone.model)
        self._native_head: tuple[int, LinearHead] | None = None

    def on_all_rows(self) -> Trainer:
        """A trainer whose training rows are all labelled ones, for the final fit. Nothing is encoded or cached anew."""
        rows = self.rows.joined()
        whole = copy.copy(self)
        whole.rows, whole.prefixes, whole._native_head = rows, self.prefixes.joined(rows), None
        whole.heads = LinearHeads(rows, seed=self.seed)
        whole.views = self.views.joined(rows=rows, prefixes=whole.prefixes, heads=whole.heads)
        return whole

    # -- models

    @contextmanager
    def built(self, candidate: Candidate, *, seed: int) -> Iterator[Built]:
        """Build a candidate's model as it starts, and the rows that feed it, which hold while the context is entered.

        The head starts from a probe, so that a random head does not tear at good features (Kumar et al. 2022); from
        scratch, it starts as random as the rest. Raises `ModelError` for a native head that the architecture lacks.
        """
        with self._base.lent():
            self._start(candidate, seed=seed)
            depth = candidate.frozenness(self.backbone.n_blocks)
            model = self._native(candidate, seed) if candidate.head == "native" else self._own(candidate, depth=depth)
            prefix = freeze(
                model,
                self.backbone.blocks,
                frozen_blocks=depth,
                keep_statistics=candidate.start == "pretrained",
                fresh_blocks=int(candidate.option == "fresh_top"),
            )
            data = self.rows.data
            plain = (
                Rows(encoded=self.rows.train, labels=data.train.labels, task=self.rows.task),
                Rows(encoded=self.rows.validation, labels=data.validation.labels, task=self.rows.task),
            )
            train_rows, validation_rows = self.prefixes.feed(plain, depth)
            train_rows = self.views.of(train_rows, candidate=candidate)
            if not self.prefixes.replays(model, candidate=candidate, prefix=prefix, rows=train_rows):
                train_rows, validation_rows = self.views.of(plain[0], candidate=candidate), plain[1]
            yield Built(model=model, prefix=prefix, train_rows=train_rows, validation_rows=validation_rows)

    def _start(self, candidate: Candidate, *, seed: int) -> None:
        """The base's weights as a candidate starts from them: pretrained, fresh, or with a fresh last block."""
        base = self.backbone.model
        torch.manual_seed(seed)
        if candidate.start == "scratch":
            base.load_state_dict(fresh_state(base, seed=seed))
        elif candidate.option == "fresh_top":
            fresh = fresh_state(base, seed=seed)
            held = self.backbone.blocks[-1]
            last = {id(tensor) for tensor in held.parameters()}
            last |= {id(buffer) for module in held.modules for buffer in module.buffers()}
            stored = base.state_dict(keep_vars=True).items()
            base.load_state_dict({name: fresh[name] for name, tensor in stored if id(tensor) in last}, strict=False)

    def _own(self, candidate: Candidate, *, depth: int) -> TransferClassifier:
        features = candidate.features or "last"
        model = build_classifier(
            self.backbone.model,
            backbone=self.backbone,
            task=self.rows.task,
            features=features,
            frozen_blocks=depth,
            top=candidate.top,
            lstm=bilstm.LSTM,
        )
        if candidate.start == "pretrained" and candidate.option not in RANDOM_HEADS and isinstance(model.head, Head):
            model.head.load_linear(self.head(features, class_weighted=candidate.option == CLASS_WEIGHTED))
        return model

    def head(self, features: str, *, class_weighted: bool = False) -> LinearHead:
        """The linear head on some features, its penalty cross-validated on the training rows; fitted once."""
        return self.heads.on(features, self.prefixes.train_features, class_weighted=class_weighted).head

    def _native(self, candidate: Candidate, seed: int) -> PreTrainedModel:
        model = native_classifier(self.backbone, task=self.rows.task, seed=seed)
        if isinstance(model, str):
            raise ModelError(
                f"{self.backbone.id} has no native head to train: {model}",
                why="the candidate uses the architecture's own classifier",
                fix="search with the same model again in a new run folder",
            )
        linear = final_linear(model, self.backbone.blocks, n_classes=self.rows.task.n_outputs)
        assert linear is not None
        if candidate.option in RANDOM_HEADS:
            return model
        if self._native_head is None or self._native_head[0] != seed:  # layers before the last one depend on the seed
            _, features = classify(model, backbone=self.backbone, encoded=self.rows.train)
            self._native_head = seed, self.heads.fit((features,), weighted=False)[0]
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(self._native_head[1].weight))
            if linear.bias is not None:
                linear.bias.copy_(torch.from_numpy(self._native_head[1].bias))
        return model

    def why_no_native(self, candidate: Candidate) -> str | None:
        """Why the architecture's own head need not or cannot be trained in place of ours; None where it can."""
        with self._base.lent():
            model = native_classifier(self.backbone, task=self.rows.task, seed=self.seed)
            if isinstance(model, str):
                return model
            ours = self._own(candidate, depth=int(candidate.frozen_blocks or 0))
            if as_native(ours, backbone=self.backbone) is not None:
                return "it pools as ours does, so that they are the same head"
        if self.rows.task.head(self.backbone.inputs.head).per_token:
            return "it has more than one layer, and those of taggers are not tried"
        return None

    @contextmanager
    def loaded(self, candidate: Candidate, *, seed: int, weights: Mapping[str, torch.Tensor] | None) -> Iterator[Built]:
        """Lend a candidate's model with trained weights (None of a linear head) while the context is entered."""
        with self.built(replace(candidate, augmentation=None), seed=seed) as built:
            if weights is not None:
                built.model.load_state_dict(weights, strict=False)
            built.model.eval()
            yield built

    def validation_logits(
        self, candidate: Candidate, *, seed: int, weights: Mapping[str, torch.Tensor] | None
    ) -> np.ndarray:
        """Logits of the validation rows, or of their words, under a trained model."""
        if candidate.is_linear:
            features = candidate.features or "last"
            head = self.head(features, class_weighted=candidate.option == CLASS_WEIGHTED)
            return head.logits(select_features(self.prefixes.validation_features, name=features))
        with self.loaded(candidate, seed=seed, weights=weights) as built:
            if candidate.top == "bilstm":
                return classify(built.model, backbone=self.backbone, encoded=self.rows.validation)[0]
            return predict(built.model, backbone=self.backbone, rows=built.validation_rows, prefix=built.prefix)

    # -- what trains blocks

    def train(
        self,
        candidate: Candidate,
        *,
        recipe: dict[str, float],
        seed: int,
        on_check: Callable[[int, np.ndarray], None] | None = None,
        on_step: Callable[[int], int | None] | None = None,
    ) -> Finished | None:
        """Train a candidate; None where a check or a step stopped it, or its loss was no number any more.

        Args:
            candidate: what is trained.
            recipe: learning rate, its ratio for the head, steps.
            seed: of the batches, dropout and whatever starts random.
            on_check: as `tuner.training.train.train` has it; without it there are no checks on the way.
            on_step: as `tuner.training.train.train` has it.
        """

        def fit(recipe: dict[str, float]) -> tuple[Outcome, int, bytes | None]:
            with self.built(candidate, seed=seed) as built:
                outcome = train(
                    built.model, backbone=self.backbone, prefix=built.prefix,
                    recipe=self.asked(candidate, recipe, seed=seed), train_rows=built.train_rows,
                    validation_rows=built.validation_rows, check_every=self.pace.check_every, on_check=on_check,
                    on_step=on_step,
                )  # fmt: skip
                weights = None if outcome.stopped else save(trained_weights(built.model))
                return outcome, built.prefix.frozen_blocks, weights

        (outcome, depth, weights), recipe = self.within_memory(fit, recipe)
        asked = self.asked(candidate, recipe, seed=seed)
        if candidate.augmentation is None and on_check is not None:
            checks = self.pace.check_steps * outcome.steps / int(recipe["steps"])
            self.pace.note(depth, outcome.seconds / max(outcome.steps + checks, 1))
        if outcome.embedding_rows is not None:
            self.prefixes.note(
                0,
                f"nothing frozen; of {self.backbone.text.vocabulary:,} embedding rows the "
                f"{outcome.embedding_rows:,} that occur are trained, which is exact: the others have no gradient and "
                "no decay",
            )
        if outcome.diverged:
            self.say(
                f"{candidate.label(self.backbone.n_blocks)} at a learning rate of {recipe['learning_rate']:.2g}: its "
                f"loss was no number any more after {outcome.steps} steps, so that the run was ended"
            )
        if outcome.stopped:
            return None
        if outcome.steps != asked.steps:  # it was ended sooner, for want of time
            share, before = outcome.steps / asked.steps, recipe.get("share", 1.0)
            ended = {"steps": float(outcome.steps), "epochs": round(share * recipe["epochs"], 1)}
            recipe = recipe | ended | {"share": share * before}
        return Finished(
            candidate=candidate, recipe=recipe, seed=seed, predictions=outcome.predictions, seconds=outcome.seconds,
            weights=weights,
        )  # fmt: skip

    def within_memory(
        self, fit: Callable[[dict[str, float]], Fitted], recipe: dict[str, float]
    ) -> tuple[Fitted, dict[str, float]]:
        """Call `fit` with a recipe; where memory runs out, again with half the rows a step and twice the steps.

        That is said, and holds for all further runs.
        """
        while True:
            try:
                return fit(recipe), recipe
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not ran_out_of_memory(error) or self.pace.batch_size == 1:
                    raise
            if self.backbone.device.type == "cuda":
                torch.cuda.empty_cache()
            self.pace.halve()
            self.say(f"memory ran out, so that training goes on with {self.pace.batch_size} rows a step")
            recipe = recipe | {"steps": 2 * recipe["steps"]}

    def asked(self, candidate: Candidate, recipe: Mapping[str, float], *, seed: int) -> Recipe:
        """Turn a stored recipe into what a training run takes."""
        weights = self.rows.class_weights.tolist() if candidate.option == CLASS_WEIGHTED else None
        return Recipe(
            learning_rate=recipe["learning_rate"],
            head_ratio=recipe["head_ratio"],
            steps=int(recipe["steps"]),
            batch_size=self.pace.batch_size,
            seed=seed,
            mixing=candidate.augmentation if candidate.augmentation in MIX_POLICIES else None,
            class_weights=None if weights is None else tuple(weights),
        )

    # -- what reads features that never change

    def fit_head(
        self,
        candidate: Candidate,
        *,
        seed: int,
        on_step: Callable[[int], int | None] | None = None,
        most_seconds: float = math.inf,
        most_epochs: int = MOST_EPOCHS,
    ) -> Finished | None:
        """Fit a linear head, which is a convex problem and has no seeds, or a BiLSTM; None where `on_step` stopped it.

        Args:
            candidate: what is fitted.
            seed: of a BiLSTM.
            on_step: called after every epoch of a BiLSTM with ten times its number; may raise `Stopped`.
            most_seconds: after which no epoch begins, and the best one so far counts.
            most_epochs: after which a BiLSTM ends in any case.
        """
        if candidate.is_linear:
            return self._fit_linear(candidate)
        start = time.perf_counter()
        with self.with_bilstm(
            candidate, seed=seed, on_step=on_step, most_seconds=most_seconds, most_epochs=most_epochs
        ) as fitted:
            if fitted is None:
                return None
            model, epochs = fitted
            logits, _ = classify(model, backbone=self.backbone, encoded=self.rows.validation)
            return Finished(
                candidate=candidate, recipe={"epochs": float(epochs)}, seed=seed,
                predictions=self.rows.task.decode(logits), seconds=time.perf_counter() - start,
                weights=save(trained_weights(model)),
            )  # fmt: skip

    def _fit_linear(self, candidate: Candidate) -> Finished:
        features = candidate.features or "last"
        # It may have been fitted before, as the start of other candidates.
        fitted = self.heads.on(
            features, self.prefixes.train_features, class_weighted=candidate.option == CLASS_WEIGHTED
        )
        start = time.perf_counter()
        x = select_features(self.prefixes.validation_features, name=features)
        predictions = self.rows.decode(fitted.head.logits(x))
        seconds = fitted.seconds + time.perf_counter() - start
        return Finished(
            candidate=candidate, recipe={"l2": fitted.l2}, seed=self.seed, predictions=predictions, seconds=seconds
        )

    @contextmanager
    def with_bilstm(
        self,
        candidate: Candidate,
        *,
        seed: int,
        on_step: Callable[[int], int | None] | None = None,
        most_seconds: float = math.inf,
        most_epochs: int = MOST_EPOCHS,
    ) -> Iterator[tuple[PreTrainedModel, int] | None]:
        """Fit a BiLSTM and lend its model, which holds only while the context is entered.

        Args:
            candidate: what is fitted.
            seed: of the BiLSTM.
            on_step: called after every epoch with ten times its number; may raise `Stopped`.
            most_seconds: after which no epoch begins, and the best one so far counts.
            most_epochs: after which it ends in any case.

        Returns:
            the model and its epochs; None where `on_step` stopped it.
        """
        tagger = bilstm.fit_bilstm(
            str(candidate.features), self.prefixes.train_features, rows=self.rows, backbone=self.backbone, seed=seed,
            on_step=on_step, most_seconds=most_seconds, most_epochs=most_epochs,
        )  # fmt: skip
        if tagger is None:
            yield None
            return
        epochs = len(tagger.f1_by_epoch)
        if tagger.out_of_time:
            self.say(
                f"{candidate.label(self.backbone.n_blocks)}: the time ended its training after {epochs} of at most "
                f"{most_epochs} epochs, so that its score says little of what it can do; a longer --budget shows it"
            )
        with self.built(candidate, seed=seed) as built:
            head = built.model.head
            assert isinstance(head, torch.nn.Module)
            head.load_state_dict(tagger.classifier.state_dict())
            yield built.model, epochs

    # -- how long it takes

    def seconds_per_step(self, depth: int, *, shallowest: int = 0, most_s: float = math.inf) -> float:
        """Seconds of a training step at a depth (`Pace.seconds_per_step`), with steps that are timed here."""
        return self.pace.seconds_per_step(depth, timed=self.time_steps, shallowest=shallowest, most_s=most_s)

    def seconds_for_views(self, candidate: Candidate) -> float:
        """Seconds of running the frozen blocks over the views of every row."""
        passes = self.views.passes(candidate)
        return passes * self.pace.steps_for(1) * self.seconds_per_step(0) / 3 if passes else 0.0

    def time_steps(self, depth: int) -> float:
        """Seconds of a step at a depth, measured on a few that are thrown away."""
        size = self.pace.batch_size
        recipe = Recipe(learning_rate=0.0, head_ratio=1.0, steps=TIMED_STEPS, batch_size=size, seed=0)
        marks: list[float] = []
        with self.built(candidate_at(depth, self.backbone.n_blocks), seed=0) as built:
            train(
                built.model,
                backbone=self.backbone,
                prefix=built.prefix,
                recipe=recipe,
                train_rows=built.train_rows,
                validation_rows=self.first_validation_row(),
                on_step=lambda _step: marks.append(time.perf_counter()),
            )
            epoch = replace(recipe, steps=max(self.pace.steps_for(1), TIMED_STEPS))
            encoded = built.train_rows.encoded
            batches = training_batches(built.train_rows, epoch)
            tokens = np.array([len(batch) * self.backbone.padded(encoded, batch) for batch in batches])
        # Batches hold texts of similar length, so a few steps say what a token costs, not what a step does. The first
        # steps of a process build primitives for every new shape, which a whole run hardly feels: on a real set their
        # median promised .69 s a step where .5 s came, so the lower quartile is taken.
        per_token = float(np.quantile(np.diff(marks) / tokens[1:TIMED_STEPS], 0.25))
        return per_token * float(tokens.mean())

    def first_validation_row(self) -> Rows:
        """The first validation row alone, for trainings whose predictions nobody asks for."""
        rows = self.rows
        return Rows(encoded=rows.validation, labels=rows.data.validation.labels, task=rows.task).first()
