"""What may be tuned: candidates, and the space that the search samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tuner.errors import OptionError, did_you_mean
from tuner.names import AUGMENTATIONS, OPTIONS, candidate_name
from tuner.records import Record
from tuner.tasks.heads import FEATURES, feature_blocks, fits

STRATEGIES = ("train_all", "freeze_part", "head_only", "feature_based", "bilstm", "scratch")
"""Train every block; freeze the first k; freeze all, linear head on the last block; linear head (of tagged words also a
BiLSTM, which is a strategy of its own too) on other blocks; every block from fresh weights, as a control. The name of
features (`tuner.tasks.heads.FEATURES`, ``block_K``) is one of its own, so is an option of training blocks
(`tuner.names.OPTIONS`)."""


RATES, EPOCHS = (2e-5, 5e-4), (2, 12)
SCRATCH_RATES, SCRATCH_EPOCHS = (1e-4, 2e-3), (10, 40)
"""Learning rates and epochs of training from fresh weights, which takes larger steps and longer."""
ENOUGH_FOR_SCRATCH = 10_000
RATES_WITH_BATCH_NORM = (2e-4, 4e-3)
"""Learning rates that are searched. Convolutional networks with batch norms take ten times the steps of transformers:
MobileNetV1 and a small ResNet were still far from their best at 1e-4, and fell apart at 5e-3."""


@dataclass(frozen=True, kw_only=True)
class Candidate(Record):
    """One thing that can be trained and compared with others; learning rate and steps are tuned within it.

    ``head`` is ``own``, a linear layer on the pooled states, or ``native``, what the architecture itself classifies
    with. ``option`` is one of `tuner.names.OPTIONS` or `tuner.names.LOSSES`. ``top`` is what reads features that never
    change: ``linear``, or of tagged words ``bilstm`` (`tuner.model.bilstm`).
    """

    exact = True

    strategy: str
    start: str = "pretrained"
    frozen_blocks: int | None
    features: str | None = None
    augmentation: str | None = None
    head: str = "own"
    option: str | None = None
    top: str = "linear"

    def label(self, n_blocks: int) -> str:
        """The candidate's name as users see it.

        >>> Candidate(strategy="freeze_part", frozen_blocks=5).label(7)
        '5 of 7 blocks frozen'
        >>> Candidate(strategy="feature_based", frozen_blocks=None, features="concat_last_four").label(7)
        'feature-based, concat last four'
        """
        return candidate_name(
            self.strategy, n_blocks=n_blocks, frozen_blocks=self.frozen_blocks, start=self.start,
            features=self.features, augmentation=self.augmentation, head=self.head, option=self.option, top=self.top,
        )  # fmt: skip

    def frozenness(self, n_blocks: int) -> int:
        """Number of blocks that stay as they are."""
        return self.frozen_blocks or 0 if self.trains_blocks else n_blocks

    @property
    def trains_blocks(self) -> bool:
        """Whether blocks are trained; else something is fitted on features that never change."""
        return self.strategy not in ("head_only", "feature_based")

    @property
    def is_linear(self) -> bool:
        """Whether only a linear head is fitted: a convex problem, which no seed changes."""
        return not self.trains_blocks and self.top == "linear"


@dataclass(frozen=True, kw_only=True)
class SearchSpace(Record):
    """Where the search looks: candidates tried first, controls that always enter, and the sampled ranges.

    ``start`` is what sampled candidates start from, ``option`` how their blocks are trained. ``options`` and
    ``augmentation`` are what the best trained candidate is trained with once more. ``depths`` is inclusive; learning
    rates are the base's, the head's is ``head_ratio`` times as high; both are sampled on a log scale, epochs are
    integers.
    """

    n_blocks: int
    first: tuple[Candidate, ...]
    controls: tuple[Candidate, ...]
    depths: tuple[int, int]
    learning_rate: tuple[float, float] = RATES
    head_ratio: tuple[float, float] = (1.0, 30.0)
    epochs: tuple[int, int] = EPOCHS
    start: str = "pretrained"
    option: str | None = None
    options: tuple[str, ...] = ()
    augmentation: str | None = None


def check_augmentation(name: str, *, strategy: str | None = None) -> None:
    """Raise `OptionError` unless an augmentation is known, ``none``, or ``auto`` for what the advice says.

    One that is asked for needs a strategy that trains pretrained blocks, if the search is limited to one.
    """
    known = (*AUGMENTATIONS, "auto", "none")
    trained = ("train_all", "freeze_part", *OPTIONS)
    if name not in known:
        raise OptionError(
            f"unknown augmentation {name!r}.{did_you_mean(name, known)}",
            why="the best trained candidate is trained once more with it",
            fix=f"use one of {', '.join(known)}",
        )
    if name in AUGMENTATIONS and strategy is not None and strategy not in trained:
        raise OptionError(
            f"--augment {name} does not go with --strategy {strategy}",
            why="what trains pretrained blocks best is trained once more with it, and that strategy trains none",
            fix=f"omit one of the two, or use --strategy {', '.join(trained[:-1])} or {trained[-1]}",
        )


def candidate_at(depth: int, n_blocks: int) -> Candidate:
    """The candidate at a freeze depth.

    >>> candidate_at(7, 7).strategy, candidate_at(0, 7).strategy, candidate_at(3, 7).strategy
    ('head_only', 'train_all', 'freeze_part')
    """
    if not 0 <= depth <= n_blocks:
        raise OptionError(
            f"{depth} frozen blocks of {n_blocks}",
            why="the model has no more blocks than that",
            fix=f"use 0 to {n_blocks}",
        )
    strategy = "head_only" if depth == n_blocks else "train_all" if depth == 0 else "freeze_part"
    return Candidate(strategy=strategy, frozen_blocks=depth)


def default_space(n_blocks: int) -> SearchSpace:
    """The space of all depths, with no, three quarters and all blocks frozen as controls."""
    controls = tuple(candidate_at(depth, n_blocks) for depth in (0, max(1, round(0.75 * n_blocks)), n_blocks))
    return SearchSpace(n_blocks=n_blocks, first=controls[1:2], controls=controls, depths=(0, n_blocks))


def restrict(
    space: SearchSpace, *, strategy: str, widths: Sequence[int], tops: Sequence[str] = ("linear",)
) -> SearchSpace:
    """The part of a space that one strategy covers, without the other strategies' controls.

    Args:
        space: what was advised.
        strategy: of `STRATEGIES`, the name of features, or an option.
        widths: of the blocks' pooled states (`tuner.tasks.heads.fits`).
        tops: what may read features that never change, a linear head first (`tuner.tasks.base.Task.tops`).

    Raises:
        OptionError: for a strategy that is unknown or does not fit.
    """
    check_strategy(strategy, widths=widths, tops=tops)
    n = space.n_blocks
    if strategy == "scratch":
        scratch = Candidate(strategy="train_all", start="scratch", frozen_blocks=0)
        return replace(
            space, first=(scratch,), controls=(), depths=(0, 0), start="scratch", learning_rate=SCRATCH_RATES,
            head_ratio=(1.0, 1.0), epochs=SCRATCH_EPOCHS, options=(), augmentation=None,
        )  # fmt: skip
    if strategy in OPTIONS:
        # An option changes how blocks are trained, so only depths that train blocks are tried: three quarters first.
        tried = dict.fromkeys((round(0.75 * n), round(n / 2), 0))
        trained = tuple(replace(candidate_at(depth, n), option=strategy) for depth in tried if depth < n)
        return replace(space, first=trained, controls=(), depths=(0, n - 1), option=strategy, options=())
    if strategy not in STRATEGIES:
        only = Candidate(strategy="feature_based", frozen_blocks=None, features=strategy)
        read = tuple(replace(only, top=top) for top in tops)
        return replace(space, first=read, controls=(), depths=(n, n), options=(), augmentation=None)
    variants = [
        Candidate(strategy="feature_based", frozen_blocks=None, features=name)
        for name in FEATURES
        if fits(name, widths=widths)
    ]
    with_bilstm = tuple(replace(candidate, top=top) for top in tops[1:] for candidate in variants)
    if strategy == "bilstm":  # that on the best probe first
        advised = (candidate for candidate in space.first if candidate.top == "bilstm")
        with_bilstm = tuple(dict.fromkeys((*advised, *with_bilstm)))
        return replace(space, first=with_bilstm, controls=(), depths=(n, n), options=(), augmentation=None)
    depths = {"train_all": (0, 0), "freeze_part": (1, n - 1), "head_only": (n, n), "feature_based": (n, n)}[strategy]
    own = tuple(c for c in (*space.first, *space.controls) if c.strategy == strategy and c.start == "pretrained")
    if strategy == "feature_based":
        named = {feature_blocks(name, n_blocks=n) for name in FEATURES}  # block_0 is embeddings
        own = tuple(
            c for c in own if c.features in FEATURES or feature_blocks(str(c.features), n_blocks=n) not in named
        )
        own += tuple(candidate_at(n, n) if candidate.features == "last" else candidate for candidate in variants)
        own += with_bilstm
    elif not own:
        own = (candidate_at(max(depths[0], min(round(0.75 * n), depths[1])), n),)
    restricted = replace(space, first=tuple(dict.fromkeys(own)), controls=(), depths=depths)
    # What trains no block cannot be trained otherwise.
    return replace(restricted, options=(), augmentation=None) if depths == (n, n) else restricted


def check_strategy(name: str, *, widths: Sequence[int] | None = None, tops: Sequence[str] | None = None) -> None:
    """Raise `OptionError` unless a strategy is known, or names features that a model whose blocks are so wide has.

    One that reads features by what is not among the `tops` of the data's task is refused, where these are known.
    """
    n_blocks = None if widths is None else len(widths)
    if name == "bilstm" and tops is not None and name not in tops:
        raise OptionError(
            "--strategy bilstm is for tagged words",
            why="a BiLSTM reads a sentence word by word and tags each; here whole rows are labelled",
            fix="use --strategy feature_based, which fits a linear head on the same features",
        )
    if name in (*STRATEGIES, *OPTIONS):
        return
    block = name.removeprefix("block_")
    is_block = name.startswith("block_") and block.isdecimal() and (n_blocks is None or int(block) < n_blocks)
    if name not in FEATURES and not is_block:
        last = "K" if n_blocks is None else n_blocks - 1
        raise OptionError(
            f"unknown strategy {name!r}.{did_you_mean(name, (*STRATEGIES, *FEATURES, *OPTIONS))}",
            why="the search is limited to it",
            fix=f"use one of {', '.join((*STRATEGIES, *FEATURES, *OPTIONS))}, or block_0 to block_{last}",
        )
    if widths is not None and not fits(name, widths=widths):
        raise OptionError(
            f"{name} does not fit this model: its blocks are {', '.join(map(str, dict.fromkeys(widths)))} wide",
            why="a weighted sum adds states of one width",
            fix="use concat_last_four, or a single block such as block_0",
        )


def space_notes(space: SearchSpace) -> tuple[str, ...]:
    """Warnings about what a space tries first, which a user should know before it is followed.

    >>> only = Candidate(strategy="feature_based", frozen_blocks=None, features="concat_last_four")
    >>> space_notes(SearchSpace(n_blocks=3, first=(only,), controls=(), depths=(3, 3)))
    ('concat_last_four reads all 3 blocks: the model has no more',)
    """
    asked = (*space.first, *space.controls)
    read = dict.fromkeys(str(candidate.features) for candidate in asked)
    return tuple(
        f"{name} reads all {space.n_blocks} blocks: the model has no more"
        for name in read
        if name.endswith("_last_four") and space.n_blocks < 4
    )
