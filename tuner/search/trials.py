"""The bench on which every trial of a search runs: encoded rows, cached prefixes, heads, finished runs on disk."""

from __future__ import annotations

import copy
import math
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from tuner.errors import ModelError
from tuner.freezing import FrozenPrefix, freeze, thaw
from tuner.inputs.encoded import Encoded
from tuner.inputs.given import take_rows
from tuner.interruption import uninterrupted
from tuner.model.backbone import Backbone
from tuner.model.bilstm import HIDDEN, LAYERS, MOST_EPOCHS, WordRows, fit_tagger
from tuner.model.classifier import TransferClassifier, build_classifier, classify, final_linear
from tuner.model.native import as_native, native_classifier
from tuner.model.scratch import fresh_state
from tuner.records import Progress
from tuner.sealed import read_sealed, write_sealed
from tuner.search.expectations import SCHEDULE_SHARE, Expectations, unknown
from tuner.search.plan import speeds
from tuner.search.space import AUGMENTATIONS, Candidate, SearchSpace, candidate_at
from tuner.search.store import Run, RunStore
from tuner.tasks.base import Task
from tuner.tasks.heads import Head, LinearHead, is_weighted, select_features
from tuner.tasks.known import task_of
from tuner.tasks.tags import places_of
from tuner.tasks.truth import Truth
from tuner.training.augmentation import (
    CACHED_VIEWS,
    MIRROR_LOSS,
    MIX_POLICIES,
    VIEW_POLICIES,
)
from tuner.training.prefix import JoinedCache, PrefixCache
from tuner.training.train import (
    CHECK_ROWS,
    CHECKS,
    Outcome,
    Recipe,
    Rows,
    Stopped,
    check_replay,
    predict,
    train,
    training_batches,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Fitted = TypeVar("Fitted")
CACHE_BYTES = 4 * 10**9
SMALL_BATCH, LARGE_BATCH, LARGE_DATA = 16, 32, 2_000
TIMED_STEPS = 5
STEP_IN_PASSES = 3.0
"""What a training step takes, in forward passes of its rows: one, and two backwards."""
RANDOM_HEADS = ("fresh_top", "random_head")
"""Options under which the head starts as it is drawn: a probe of blocks that are no longer there says nothing."""
CLASS_WEIGHTED = "class_weights"
LSTM = (HIDDEN, LAYERS)
EARLY_STOPPING = 0.1
"""Share of the training sentences that say when a BiLSTM stops; the validation sentences choose nothing there."""


@dataclass(frozen=True, kw_only=True)
class LabelledRows:
    """Texts or images with their class numbers, and the groups that folds keep together where there are some.

    Of sentences, ``rows`` are sequences of words, ``n_words`` (n,) their numbers and ``labels`` the (N,) numbers of the
    words' tags, sentence below sentence.
    """

    rows: Sequence[Any]
    labels: np.ndarray
    groups: np.ndarray | None = None
    n_words: np.ndarray | None = None

    def take(self, positions: np.ndarray) -> LabelledRows:
        """Some of the rows."""
        groups = None if self.groups is None else self.groups[positions]
        n_words = None if self.n_words is None else self.n_words[positions]
        return LabelledRows(
            rows=take_rows(self.rows, positions),
            labels=self.labels[places_of(self.n_words, positions)],
            groups=groups,
            n_words=n_words,
        )

    def joined(self, other: LabelledRows) -> LabelledRows:
        """The labels of these rows and of others below them; the rows themselves are numbers."""
        both = [(self.groups, other.groups), (self.n_words, other.n_words)]
        groups, n_words = (None if a is None or b is None else np.concatenate([a, b]) for a, b in both)
        return LabelledRows(
            rows=range(len(self.rows) + len(other.rows)), labels=np.concatenate([self.labels, other.labels]),
            groups=groups, n_words=n_words,
        )  # fmt: skip

    def truth(self, *, metric: str, names: tuple[str, ...]) -> Truth:
        """What predictions of these rows are scored against; `names` are those of the classes or tags."""
        task = task_of(names, tagged=self.n_words is not None)
        return task.truth(self.labels, metric=metric, groups=self.groups, n_words=self.n_words)


@dataclass(frozen=True, kw_only=True)
class TuningData:
    """The three splits; validation decides, test is scored once. Of tagged words, ``class_names`` are the tags' names,
    ``O`` first."""

    name: str
    train: LabelledRows
    validation: LabelledRows
    test: LabelledRows
    class_names: tuple[str, ...]
    fingerprint: str
    notes: tuple[str, ...] = ()
    posed: Task | None = None
    """What is predicted, where that is neither a class of every row nor a tag of every word."""

    @property
    def task(self) -> Task:
        """What is predicted."""
        return self.posed or task_of(self.class_names, tagged=self.train.n_words is not None)


def encode_rows(
    backbone: Backbone, part: LabelledRows, *, what: str, progress: Progress | None = None
) -> tuple[Encoded, LabelledRows, tuple[str, ...]]:
    """The rows as the model is fed them, those rows, and a warning where some pictures could not be read, or words are
    not seen.

    Raises `DataError` where most of them could not.
    """
    encoded = backbone.encode(part.rows, progress=progress)
    kept, notes = backbone.inputs.readable(part.rows, what=what)
    if kept is None:
        return encoded, part, encoded.notes(f"{what} sentences")
    return encoded.take(kept), part.take(kept), notes


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of the device or of the machine."""
    text = str(error).lower()
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in text or (
        "out of memory" in text
    )  # fmt: skip


def trained_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What training changed of a model: its trainable parameters, and the running statistics of batch norms."""
    trained = {key: p.detach().contiguous() for key, p in model.named_parameters() if p.requires_grad}
    stored = model.state_dict()
    return trained | {key: b.detach().contiguous() for key, b in model.named_buffers() if key in stored}


class Bench:
    """What all trials of a search share. Only `keep` writes: every finished run goes to disk at once."""

    def __init__(
        self,
        backbone: Backbone,
        *,
        data: TuningData,
        space: SearchSpace,
        work: Path,
        metric: str,
        seed: int,
        progress: Progress | None,
        expectations: Expectations | None = None,
        prefer: str = "score",
        refits: bool = True,
    ) -> None:
        self.task = data.task
        self.backbone = replace(backbone, pooling=self.task.pooling(backbone.pooling))
        self.data, self.space, self.work = data, space, work
        self.metric, self.seed, self.progress, self.prefer = metric, seed, progress, prefer
        self.store = RunStore(work)
        self.warnings: list[str] = list(data.notes)
        self.prefix_notes: dict[int, str] = {}
        self.step_seconds: dict[int, float] = {}
        self.cached_depths: list[int] = []
        self.row_seconds = 0.0
        """Of a forward pass of one row."""
        self.pass_seconds = 0.0
        """Of running the frozen blocks over all rows."""
        self.n_classes = self.task.n_outputs
        self.batch_size = SMALL_BATCH if len(data.train.rows) <= LARGE_DATA else LARGE_BATCH
        self.refits = refits
        """Whether the winner is fitted again on all labelled rows in the end."""
        # Without evidence a run is as long as the middle of what is searched.
        usual = sum(space.epochs) // 2 * len(data.train.rows) / SCHEDULE_SHARE
        self.expectations = expectations or unknown(space, rows_seen=round(usual))
        self._heads: dict[tuple[str, bool], tuple[LinearHead, float, float]] = {}
        """By features and whether classes are weighted: the head, its penalty, the seconds that fitting it took."""
        self._view_caches: dict[str, PrefixCache] = {}
        self._mirror_loss: float | None = None
        self._native_head: tuple[int, LinearHead] | None = None
        self._checked: set[tuple[int, str, str | None]] = set()
        self._initial = {name: tensor.detach().clone() for name, tensor in backbone.model.state_dict().items()}

    @property
    def runs(self) -> dict[str, Run]:
        """The finished runs by name."""
        return self.store.runs

    def prepare(self) -> None:
        """Read back finished runs, encode the training and validation rows, run the frozen blocks over them once."""
        self.store.read()
        self.train_encoded, train, train_notes = encode_rows(
            self.backbone, self.data.train, what="training", progress=self.progress
        )
        self.validation_encoded, validation, validation_notes = encode_rows(
            self.backbone, self.data.validation, what="validation", progress=self.progress
        )
        self.data = replace(self.data, train=train, validation=validation)
        self.truth = self.task.truth(
            validation.labels, metric=self.metric, groups=validation.groups, n_words=validation.n_words
        )
        self.warnings += [*train_notes, *validation_notes]
        if (note := self.task.probe_note(len(train.labels))) is not None:
            self.warnings.append(note)
        self.train_cache = self._cache("train", self.train_encoded)
        self.validation_cache = self._cache("validation", self.validation_encoded)
        wanted = [c.frozen_blocks for c in (*self.space.first, *self.space.controls) if c.frozen_blocks is not None]
        start = time.perf_counter()
        self.cache([*wanted, *range(self.space.depths[0], self.space.depths[1] + 1)])
        # A resumed search reads back what the pass gave, which costs nothing.
        stored = self.work / "pass.json"
        if not stored.exists():
            measured = {"seconds": time.perf_counter() - start, "row_seconds": self.train_cache.row_seconds}
            write_sealed(stored, measured)
        fix = "delete it: it holds what the pass over the frozen blocks took, and --resume measures that again"
        found = read_sealed(stored, expected={"seconds": (int, float)}, fix=fix, sealed=False)
        self.pass_seconds = float(found["seconds"])
        rows = len(self.train_encoded) + len(self.validation_encoded)
        self.row_seconds = float(found.get("row_seconds") or self.pass_seconds / rows)
        self.store.check_weights(run for leader in self.leaders() for run in self.repeats(leader))

    def _cache(self, name: str, encoded: Encoded) -> PrefixCache:
        return PrefixCache(self.work / name, backbone=self.backbone, encoded=encoded)

    def _cache_bytes(self, files: Iterable[int]) -> int:
        return sum(cache.bytes_at(file) for cache in (self.train_cache, self.validation_cache) for file in files)

    def cache(self, depths: Sequence[int]) -> None:
        """Cache the prefixes of these depths, the first ones first, as far as the byte budget reaches."""
        self.restore_base()
        self.work.mkdir(parents=True, exist_ok=True)
        caches = (self.train_cache, self.validation_cache)
        # What lies there counts, whichever process of this run computed it.
        stored = {depth for depth in range(1, self.backbone.n_blocks) if all(cache.has(depth) for cache in caches)}
        files = {file for depth in stored for file in self.train_cache.files_of(depth)}
        used = self._cache_bytes(files)
        budget = min(CACHE_BYTES, used + shutil.disk_usage(self.work).free // 2)
        wanted = list(self.cached_depths)
        for depth in dict.fromkeys(depths):
            if not 0 < depth < self.backbone.n_blocks or depth in wanted:
                continue
            if depth not in stored:
                more = set(self.train_cache.files_of(depth)) - files
                if used + self._cache_bytes(more) > budget:
                    self.prefix_notes[depth] = "computed anew in every step: the cache's byte budget is used up"
                    continue
                used += self._cache_bytes(more)
                files |= more
            wanted.append(depth)
        self.train_features = self.train_cache.compute(wanted, progress=self.progress)
        self.validation_features = self.validation_cache.compute(wanted, progress=self.progress)
        self.cached_depths = wanted  # not before they are: Ctrl-C may end the pass, and the winner is loaded still

    def restore_base(self) -> None:
        """Give the backbone its pretrained weights back, nothing frozen."""
        thaw(self.backbone.model)
        self.backbone.model.load_state_dict(self._initial)
        self.backbone.model.eval()

    def steps_for(self, epochs: int) -> int:
        """Optimizer steps of so many epochs."""
        return epochs * -(-len(self.train_encoded) // self.batch_size)

    @property
    def schedule(self) -> int:
        """Optimizer steps of a run at its full schedule."""
        return max(round(SCHEDULE_SHARE * self.expectations.rows_seen / self.batch_size), 1)

    @property
    def check_every(self) -> int:
        """Steps between the checks of a run: the same for runs of any length, so that they compare at equal steps."""
        return max(math.ceil(self.schedule / CHECKS), 1)

    @property
    def check_steps(self) -> float:
        """What a run's checks on the validation rows cost, in training steps: a forward pass is a third of one."""
        n = len(self.validation_encoded)
        rows = (CHECKS - 1) * min(n, CHECK_ROWS) + n
        return rows / self.batch_size / 3

    def seconds_per_step(self, depth: int, *, shallowest: int = 0, most_s: float = math.inf) -> float:
        """Seconds of a training step at a depth, between those that runs showed.

        Where none has run yet, steps at the shallowest depth that may be trained are timed, as long as that takes at
        most so many seconds; else what a row took in the pass over the frozen blocks tells: a step passes forwards, and
        twice as much backwards. Either speaks for the other depths by the blocks that they train.
        """
        n_blocks = self.backbone.n_blocks
        if not self.step_seconds:
            whole = STEP_IN_PASSES * self.row_seconds * self.batch_size
            if TIMED_STEPS * whole * (1 - shallowest / n_blocks) <= most_s:
                whole = self._time_steps(shallowest) / (1 - shallowest / n_blocks)
            self.step_seconds = {known: whole * (1 - known / n_blocks) for known in range(n_blocks)}
        return speeds(self.step_seconds, n_blocks)[min(depth, n_blocks - 1)]

    def _time_steps(self, depth: int) -> float:
        """Seconds of a step at a depth, on a few that are thrown away."""
        model, prefix, (train_rows, validation_rows) = self.build(candidate_at(depth, self.backbone.n_blocks), seed=0)
        recipe = Recipe(learning_rate=0.0, head_ratio=1.0, steps=TIMED_STEPS, batch_size=self.batch_size, seed=0)
        marks: list[float] = []
        one = validation_rows.first()
        train(
            model,
            backbone=self.backbone,
            prefix=prefix,
            recipe=recipe,
            train_rows=train_rows,
            validation_rows=one,
            on_step=lambda _step: marks.append(time.perf_counter()),
        )
        epoch = replace(recipe, steps=max(self.steps_for(1), TIMED_STEPS))
        encoded = train_rows.encoded
        tokens = np.array([len(b) * self.backbone.padded(encoded, b) for b in training_batches(train_rows, epoch)])
        # Batches hold texts of similar length, so a few steps say what a token costs, not what a step does. The median
        # is not moved by a step that builds primitives, nor by the checks between steps.
        per_token = float(np.median(np.diff(marks) / tokens[1:TIMED_STEPS]))
        return per_token * float(tokens.mean())

    def _note_speed(self, depth: int, seconds: float) -> None:
        """Seconds of a step as a run just showed them. Where other work on the machine changed them by a third, they
        changed at every depth."""
        if self.step_seconds:
            before = speeds(self.step_seconds, self.backbone.n_blocks)[depth]
            change = seconds / before if before > 0 else 1.0
            if not 3 / 4 < change < 4 / 3:
                self.step_seconds = {known: change * value for known, value in self.step_seconds.items()}
        self.step_seconds[depth] = seconds

    def head(self, features: str, *, class_weighted: bool = False) -> LinearHead:
        """The linear head on some features, its penalty cross-validated on the training rows; fitted once."""
        return self._head(features, class_weighted=class_weighted)[0]

    def _head(self, features: str, *, class_weighted: bool) -> tuple[LinearHead, float, float]:
        if (features, class_weighted) not in self._heads:
            start = time.perf_counter()
            x = select_features(self.train_features, name=features)
            head, l2 = self._fit(x, weighted=is_weighted(features), class_weighted=class_weighted)
            self._heads[features, class_weighted] = head, l2, time.perf_counter() - start
        return self._heads[features, class_weighted]

    @property
    def class_weights(self) -> np.ndarray:
        """(C,) weights of the classes in a loss that counts the training rows of all classes alike."""
        return self.task.class_weights(self.data.train.labels)

    def _fit(
        self, x: Sequence[np.ndarray], *, weighted: bool, class_weighted: bool = False
    ) -> tuple[LinearHead, float]:
        """A linear head on features of the training rows, with its cross-validated penalty."""
        labels, groups, n = self.data.train.labels, self.data.train.groups, len(self.train_encoded)
        rng = np.random.default_rng(self.seed)
        distinct, unit = np.unique(np.arange(n) if groups is None else groups, return_inverse=True)
        if len(distinct) < 2:
            distinct = unit = np.arange(n)
        folds = (rng.permutation(len(distinct)) % 5)[unit]
        folds = np.repeat(folds, self.train_encoded.per_row)
        tried, fitted = self.task.probed(self.train_encoded, rng)
        options: dict[str, Any] = {"weighted": weighted}
        if class_weighted:
            options["class_weights"] = self.class_weights
        some = [block[tried] for block in x]
        of_tried = np.unique(folds[tried], return_inverse=True)[1]
        chosen = self.task.cross_validate(some, labels[tried], folds=of_tried, **options)
        return self.task.fit_head([block[fitted] for block in x], labels[fitted], l2=chosen.l2, **options), chosen.l2

    def build(self, candidate: Candidate, *, seed: int) -> tuple[PreTrainedModel, FrozenPrefix, tuple[Rows, Rows]]:
        """A model at the candidate's depth with fresh weights, and the training and validation rows that feed it.

        The head starts from a probe, so that a random head does not tear at good features (Kumar et al. 2022); from
        scratch, it starts as random as the rest. Raises `ModelError` for a native head that the architecture lacks.
        """
        self.restore_base()
        torch.manual_seed(seed)
        if candidate.start == "scratch":
            self.backbone.model.load_state_dict(fresh_state(self.backbone.model, seed=seed))
        elif candidate.option == "fresh_top":
            fresh = fresh_state(self.backbone.model, seed=seed)
            held = self.backbone.blocks[-1]
            last = {id(tensor) for tensor in held.parameters()}
            last |= {id(buffer) for module in held.modules for buffer in module.buffers()}
            stored = self.backbone.model.state_dict(keep_vars=True).items()
            top = {name: fresh[name] for name, tensor in stored if id(tensor) in last}
            self.backbone.model.load_state_dict(top, strict=False)
        depth = candidate.frozenness(self.backbone.n_blocks)
        model = self._native(candidate, seed) if candidate.head == "native" else self._own(candidate, depth=depth)
        pretrained = candidate.start == "pretrained"
        prefix = freeze(
            model,
            self.backbone.blocks,
            frozen_blocks=depth,
            keep_statistics=pretrained,
            fresh_blocks=int(candidate.option == "fresh_top"),
        )
        train_rows = Rows(encoded=self.train_encoded, labels=self.data.train.labels, task=self.task)
        validation_rows = Rows(encoded=self.validation_encoded, labels=self.data.validation.labels, task=self.task)
        if depth not in self.cached_depths:
            return model, prefix, (self._viewed(train_rows, candidate), validation_rows)
        cached = (
            self._viewed(replace(train_rows, cached=self.train_cache.get(depth)), candidate),
            replace(validation_rows, cached=self.validation_cache.get(depth)),
        )
        if cached[0].cached is not None and (depth, candidate.head, candidate.augmentation) not in self._checked:
            self._checked.add((depth, candidate.head, candidate.augmentation))
            problem = check_replay(model, backbone=self.backbone, rows=cached[0], prefix=prefix)
            self.prefix_notes[depth] = "cached; equal to the full model in logits and gradients"
            if problem is not None:
                self.cached_depths.remove(depth)
                self.prefix_notes[depth] = f"computed anew in every step: {problem}"
                self.warnings.append(f"{depth} frozen blocks: {self.prefix_notes[depth]}")
                return model, prefix, (self._viewed(train_rows, candidate), validation_rows)
        return model, prefix, cached

    def _viewed(self, rows: Rows, candidate: Candidate) -> Rows:
        """The training rows as views of themselves, where the candidate asks for such.

        Where their prefix is cached, a few views of every image are cached too, as far as there is room; else every
        step makes its own.
        """
        policy = candidate.augmentation
        if policy not in VIEW_POLICIES:
            return rows
        if rows.cached is not None:
            depth, few = rows.cached.depth, self._views_of(rows.encoded, policy=policy, cached=True)
            cache = self._view_caches.setdefault(policy, self._cache(f"train-{policy}", few))
            folders = [cache.folder for cache in (self.train_cache, self.validation_cache, *self._view_caches.values())]
            left = CACHE_BYTES - sum(file.stat().st_size for folder in folders for file in folder.glob("*"))
            if cache.has(depth) or cache.bytes_at(depth) <= min(left, shutil.disk_usage(self.work).free // 2):
                cache.compute([depth], progress=self.progress)
                return replace(rows, encoded=few, cached=cache.get(depth), views=CACHED_VIEWS)
        views = self._views_of(rows.encoded, policy=policy, cached=False)
        return replace(rows, encoded=views, cached=None, views=len(views) // len(rows))

    def _views_of(self, encoded: Encoded, *, policy: str, cached: bool) -> Encoded:
        inputs = self.backbone.inputs
        viewed: Encoded = inputs.views(
            encoded, policy=policy, copies=CACHED_VIEWS if cached else inputs.fresh_views, seed=self.seed,
            mirrors=lambda: self.mirror_loss < MIRROR_LOSS,
        )  # fmt: skip
        return viewed

    def why_not_augmented(self, candidate: Candidate) -> str | None:
        """Why a candidate is not worth training on changed rows; None where it is."""
        self.restore_base()
        depth = candidate.frozenness(self.backbone.n_blocks)
        if (
            candidate.augmentation == "mixup"
            and self.backbone.inputs.per_token
            and depth > 1
            and depth not in self.cached_depths
        ):
            # Run anew, the frozen blocks would read the padding of the shorter text.
            return f"texts are mixed behind cached blocks, and these are {self.prefix_notes.get(depth, 'not cached')}"
        if candidate.augmentation == "flip" and self.mirror_loss >= MIRROR_LOSS:
            return (
                f"a probe loses {100 * self.mirror_loss:.1f} points on mirrored validation images: mirroring does not "
                "keep their labels"
            )
        return None

    @property
    def measured_mirror_loss(self) -> float | None:
        """`mirror_loss` where it was needed."""
        return self._mirror_loss

    def seconds_for_views(self, candidate: Candidate) -> float:
        """What it takes to run the frozen blocks over the views of every image: forward passes, a third of a step."""
        if candidate.augmentation not in VIEW_POLICIES or candidate.frozen_blocks not in self.cached_depths:
            return 0.0
        return CACHED_VIEWS * self.steps_for(1) * self.seconds_per_step(0) / 3

    @property
    def mirror_loss(self) -> float:
        """By how much a probe of the last block scores less on mirrored validation images: what mirroring costs.

        The backbone must hold its pretrained weights.
        """
        if self._mirror_loss is None:
            head, mirrored = self.head("last"), self.backbone.inputs.mirrored(self.validation_encoded)
            assert mirrored is not None  # only augmentations of images ask
            mirrored_features = self.backbone.block_features(mirrored)
            scores = [
                self.truth.score(self.task.decode(head.logits(select_features(features, name="last"))))
                for features in (self.validation_features, mirrored_features)
            ]
            self._mirror_loss = scores[0] - scores[1]
        return self._mirror_loss

    def _own(self, candidate: Candidate, *, depth: int) -> TransferClassifier:
        features = candidate.features or "last"
        model = build_classifier(
            self.backbone.model,
            backbone=self.backbone,
            task=self.task,
            features=features,
            frozen_blocks=depth,
            top=candidate.top,
            lstm=LSTM,
        )
        if candidate.start == "pretrained" and candidate.option not in RANDOM_HEADS and isinstance(model.head, Head):
            model.head.load_linear(self.head(features, class_weighted=candidate.option == CLASS_WEIGHTED))
        return model

    def _native(self, candidate: Candidate, seed: int) -> PreTrainedModel:
        model = native_classifier(self.backbone, task=self.task, seed=seed)
        if isinstance(model, str):
            raise ModelError(
                f"{self.backbone.id} has no native head to train: {model}",
                why="the candidate uses the architecture's own classifier",
                fix="search with the same model again in a new run folder",
            )
        linear = final_linear(model, self.backbone.blocks, n_classes=self.n_classes)
        assert linear is not None
        if candidate.option in RANDOM_HEADS:
            return model
        if self._native_head is None or self._native_head[0] != seed:  # layers before the last one depend on the seed
            _, features = classify(model, backbone=self.backbone, encoded=self.train_encoded)
            self._native_head = seed, self._fit((features,), weighted=False)[0]
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(self._native_head[1].weight))
            if linear.bias is not None:
                linear.bias.copy_(torch.from_numpy(self._native_head[1].bias))
        return model

    def run_head(
        self,
        name: str,
        candidate: Candidate,
        *,
        seed: int,
        on_step: Callable[[int], int | None] | None = None,
        most_seconds: float = math.inf,
    ) -> Run | None:
        """Fit what reads features that never change; None where `on_step` stopped it on the way."""
        if candidate.is_linear:
            return self.run_linear(name, candidate)
        return self.run_bilstm(name, candidate, seed=seed, on_step=on_step, most_seconds=most_seconds)

    def run_linear(self, name: str, candidate: Candidate) -> Run:
        """Fit a linear head on cached features: a convex problem, so it has no seeds."""
        features = candidate.features or "last"
        # It may have been fitted before, as the start of other candidates.
        head, l2, fitted = self._head(features, class_weighted=candidate.option == CLASS_WEIGHTED)
        start = time.perf_counter()
        x = select_features(self.validation_features, name=features)
        predictions = self.task.decode(head.logits(x), seen=self.validation_encoded.seen)
        return self.keep(
            name,
            candidate=candidate,
            recipe={"l2": l2},
            seed=self.seed,
            predictions=predictions,
            seconds=fitted + time.perf_counter() - start,
        )

    def run_bilstm(
        self,
        name: str,
        candidate: Candidate,
        *,
        seed: int,
        on_step: Callable[[int], int | None] | None = None,
        most_seconds: float = math.inf,
        most_epochs: int = MOST_EPOCHS,
    ) -> Run | None:
        """Train a BiLSTM on cached features of tagged words; None where `on_step` stopped it on the way."""
        start = time.perf_counter()
        fitted = self.fit_bilstm(
            candidate, seed=seed, on_step=on_step, most_seconds=most_seconds, most_epochs=most_epochs
        )
        if fitted is None:
            return None
        model, epochs = fitted
        logits, _ = classify(model, backbone=self.backbone, encoded=self.validation_encoded)
        return self.keep(
            name, candidate=candidate, recipe={"epochs": float(epochs)}, seed=seed, model=model,
            predictions=self.task.decode(logits), seconds=time.perf_counter() - start,
        )  # fmt: skip

    def fit_bilstm(
        self,
        candidate: Candidate,
        *,
        seed: int,
        on_step: Callable[[int], int | None] | None = None,
        most_seconds: float = math.inf,
        most_epochs: int = MOST_EPOCHS,
    ) -> tuple[TransferClassifier, int] | None:
        """A BiLSTM on cached features, stopped early by training sentences that it is not shown, and its epochs.

        `on_step` is called after every epoch with ten times its number, and may raise `Stopped`, which gives None;
        after `most_seconds` no epoch begins and the best one so far counts.
        """
        encoded, groups = self.train_encoded, self.data.train.groups
        unit = np.arange(len(encoded)) if groups is None else groups
        shuffled = np.random.default_rng(seed).permutation(np.unique(unit))
        held_out = np.isin(unit, shuffled[: max(round(EARLY_STOPPING * len(shuffled)), 1)])
        of_sentence = np.repeat(np.arange(len(encoded)), encoded.per_row)

        def words_of(sentences: np.ndarray) -> WordRows:
            places = np.flatnonzero(encoded.seen & sentences[of_sentence])
            labels, features = self.data.train.labels[places], [block[places] for block in self.train_features]
            lengths = np.bincount(of_sentence[places], minlength=len(encoded))[sentences]
            return WordRows(features=features, lengths=lengths, tags=labels)

        def epoch_ended(epoch: int, _f1: float) -> None:
            if on_step is not None:
                on_step(10 * (epoch + 1))

        try:
            tagger = fit_tagger(
                words_of(~held_out), validation=words_of(held_out), tag_names=self.data.class_names,
                features=str(candidate.features), seed=seed, hidden=LSTM[0], layers=LSTM[1],
                device=self.backbone.device, half=self.backbone.compute_dtype == torch.bfloat16,
                most_seconds=most_seconds, most_epochs=most_epochs, on_epoch=epoch_ended,
            )  # fmt: skip
        except Stopped:
            return None
        if tagger.out_of_time:
            self.warnings.append(
                f"{candidate.label(self.backbone.n_blocks)}: the time ended its training after "
                f"{len(tagger.f1_by_epoch)} of at most {most_epochs} epochs, so that its score says little of what it "
                "can do; a longer --budget shows it"
            )
        self.restore_base()
        model = self._own(candidate, depth=self.backbone.n_blocks)
        model.head.load_state_dict(tagger.classifier.state_dict())
        freeze(model, self.backbone.blocks, frozen_blocks=self.backbone.n_blocks)
        return model, len(tagger.f1_by_epoch)

    def run_again(
        self, name: str, run: Run, *, seed: int, on_step: Callable[[int], int | None] | None = None
    ) -> Run | None:
        """A finished run's candidate and recipe with another seed; None where `on_step` stopped it on the way.

        A BiLSTM is trained for no more epochs than the run was, which the time may have cut.
        """
        if run.candidate.is_linear:
            return self.run_linear(name, run.candidate)
        if not run.candidate.trains_blocks:
            epochs = int(run.recipe["epochs"])
            return self.run_bilstm(name, run.candidate, seed=seed, on_step=on_step, most_epochs=epochs)
        return self.run_trained(name, run.candidate, recipe=run.recipe, seed=seed, on_step=on_step)

    def run_trained(
        self,
        name: str,
        candidate: Candidate,
        *,
        recipe: dict[str, float],
        seed: int,
        on_check: Callable[[int, np.ndarray], None] | None = None,
        on_step: Callable[[int], int | None] | None = None,
    ) -> Run | None:
        """Train a candidate; None where a check stopped it on the way."""

        def fit(recipe: dict[str, float]) -> tuple[PreTrainedModel, FrozenPrefix, Outcome]:
            model, prefix, (train_rows, validation_rows) = self.build(candidate, seed=seed)
            outcome = train(
                model, backbone=self.backbone, prefix=prefix, recipe=self.asked(candidate, recipe, seed=seed),
                train_rows=train_rows, validation_rows=validation_rows, check_every=self.check_every,
                on_check=on_check, on_step=on_step,
            )  # fmt: skip
            return model, prefix, outcome

        (model, prefix, outcome), recipe = self.within_memory(fit, recipe)
        asked = self.asked(candidate, recipe, seed=seed)
        if candidate.augmentation is None and on_check is not None:  # without it there are no checks on the way
            checks = self.check_steps * outcome.steps / int(recipe["steps"])
            self._note_speed(prefix.frozen_blocks, outcome.seconds / max(outcome.steps + checks, 1))
        if outcome.embedding_rows is not None:
            self.prefix_notes[0] = (
                f"nothing frozen; of {self.backbone.text.vocabulary:,} embedding rows the {outcome.embedding_rows:,} "
                "that occur are trained, which is exact: the others have no gradient and no decay"
            )
        if outcome.diverged:
            self.warnings.append(
                f"{candidate.label(self.backbone.n_blocks)} at a learning rate of {recipe['learning_rate']:.2g}: its "
                f"loss was no number any more after {outcome.steps} steps, so that the run was ended"
            )
        if outcome.stopped:
            return None
        if outcome.steps != asked.steps:  # it was ended sooner, for want of time
            share, before = outcome.steps / asked.steps, recipe.get("share", 1.0)
            ended = {"steps": float(outcome.steps), "epochs": round(share * recipe["epochs"], 1)}
            recipe = recipe | ended | {"share": share * before}
        return self.keep(
            name,
            candidate=candidate,
            recipe=recipe,
            seed=seed,
            predictions=outcome.predictions,
            seconds=outcome.seconds,
            model=model,
        )

    def within_memory(
        self, fit: Callable[[dict[str, float]], Fitted], recipe: dict[str, float]
    ) -> tuple[Fitted, dict[str, float]]:
        """What `fit` makes of a recipe; where memory runs out, of half the rows a step and twice the steps, which is
        said, and holds for all further runs."""
        while True:
            try:
                return fit(recipe), recipe
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not ran_out_of_memory(error) or self.batch_size == 1:
                    raise
            self.restore_base()
            if self.backbone.device.type == "cuda":
                torch.cuda.empty_cache()
            self.batch_size //= 2
            self.step_seconds = {depth: seconds / 2 for depth, seconds in self.step_seconds.items()}
            self.warnings.append(f"memory ran out, so that training goes on with {self.batch_size} rows a step")
            recipe = recipe | {"steps": 2 * recipe["steps"]}

    def asked(self, candidate: Candidate, recipe: dict[str, float], *, seed: int) -> Recipe:
        """A stored recipe as what a training run takes."""
        return Recipe(
            learning_rate=recipe["learning_rate"],
            head_ratio=recipe["head_ratio"],
            steps=int(recipe["steps"]),
            batch_size=self.batch_size,
            seed=seed,
            mixing=candidate.augmentation if candidate.augmentation in MIX_POLICIES else None,
            class_weights=tuple(self.class_weights.tolist()) if candidate.option == CLASS_WEIGHTED else None,
        )

    def keep(
        self,
        name: str,
        *,
        candidate: Candidate,
        recipe: dict[str, float],
        seed: int,
        predictions: np.ndarray,
        seconds: float,
        model: PreTrainedModel | None = None,
    ) -> Run:
        """Store a finished run; weights stay only for every candidate's best trial and its confirmations."""
        score = self.truth.score(predictions)
        with uninterrupted():
            return self._store(
                Run(
                    name=name,
                    candidate=candidate,
                    recipe=recipe,
                    seed=seed,
                    score=score,
                    seconds=seconds,
                    predictions=predictions,
                ),
                model=model,
            )

    def _store(self, run: Run, *, model: PreTrainedModel | None) -> Run:
        if model is not None:
            from safetensors.torch import save

            run = replace(run, weights=self.store.keep_weights(run.name, save(trained_weights(model))))
        self.store.keep(run)
        leaders = {leader.name for leader in self.leaders()}
        self.store.drop_weights(other for other in self.runs if other.partition("@")[0] not in leaders)
        return run

    def on_all_rows(self) -> Bench:
        """A bench whose training rows are all labelled ones, training and validation rows together, for the final fit.

        It shares everything else with this one, what is cached of the frozen blocks included.
        """
        whole = copy.copy(self)
        train, validation = self.data.train, self.data.validation
        whole.data = replace(self.data, train=train.joined(validation))
        whole.train_encoded = self.train_encoded.joined(self.validation_encoded)
        whole.train_features = tuple(
            np.concatenate(blocks) for blocks in zip(self.train_features, self.validation_features, strict=True)
        )
        whole.train_cache = JoinedCache(self.train_cache, self.validation_cache)  # type: ignore[assignment]
        whole._heads, whole._view_caches, whole._native_head = {}, {}, None
        # What is cached was compared with the full model on the training rows.
        whole._checked = {(d, head, policy) for d in self.cached_depths for head in ("own", "native")
                          for policy in (None, *AUGMENTATIONS)}  # fmt: skip
        return whole

    def load(self, run: Run) -> PreTrainedModel:
        """The trained model of a run."""
        return self._loaded(run)[0]

    def _loaded(self, run: Run) -> tuple[PreTrainedModel, FrozenPrefix, Rows]:
        """The trained model of a run, with its frozen prefix and the validation rows that feed it."""
        model, prefix, (_, validation_rows) = self.build(replace(run.candidate, augmentation=None), seed=run.seed)
        if not run.candidate.is_linear:
            model.load_state_dict(self.store.load_weights(run), strict=False)
        model.eval()
        return model, prefix, validation_rows

    def exported(self, run: Run) -> PreTrainedModel:
        """The trained model of a run, as the architecture's own class where that is the same function."""
        return self.as_exported(self.load(run))

    def as_exported(self, model: PreTrainedModel) -> PreTrainedModel:
        """A trained model as the architecture's own class where that is the same function."""
        if not isinstance(model, TransferClassifier):
            return model
        same = as_native(model, backbone=self.backbone)
        return model if same is None else same

    def validation_logits(self, run: Run) -> np.ndarray:
        """Logits of the validation rows, or of their words, under a run's own model, which they did not train.

        The backbone is left with that model's weights.
        """
        if run.candidate.is_linear:
            features = run.candidate.features or "last"
            head = self.head(features, class_weighted=run.candidate.option == CLASS_WEIGHTED)
            return head.logits(select_features(self.validation_features, name=features))
        model, prefix, rows = self._loaded(run)
        if run.candidate.top == "bilstm":
            return classify(model, backbone=self.backbone, encoded=self.validation_encoded)[0]
        return predict(model, backbone=self.backbone, rows=rows, prefix=prefix)

    def why_no_native(self, candidate: Candidate) -> str | None:
        """Why the architecture's own head need not or cannot be trained in place of ours; None where it can."""
        self.restore_base()
        model = native_classifier(self.backbone, task=self.task, seed=self.seed)
        if isinstance(model, str):
            return model
        ours = self._own(candidate, depth=int(candidate.frozen_blocks or 0))
        if as_native(ours, backbone=self.backbone) is not None:
            return "it pools as ours does, so that they are the same head"
        if self.task.head(self.backbone.inputs.head).per_token:
            return "it has more than one layer, and those of taggers are not tried"
        return None

    def leaders(self) -> list[Run]:
        """Every candidate's best trial, best first; of equals the more frozen."""
        best: dict[Candidate, Run] = {}
        for run in self.runs.values():
            if not run.is_confirmation and (run.candidate not in best or run.score > best[run.candidate].score):
                best[run.candidate] = run
        n_blocks = self.backbone.n_blocks
        return sorted(best.values(), key=lambda run: (-run.score, -run.candidate.frozenness(n_blocks), run.name))

    def repeats(self, run: Run) -> list[Run]:
        """A trial with its confirmations."""
        return [run, *(other for other in self.runs.values() if other.name.startswith(f"{run.name}@"))]
