"""Where the parts of a search come together: the rows, the trainer, the runs, and what is asked of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from tuner.interruption import uninterrupted
from tuner.model.backbone import Backbone
from tuner.model.bilstm import MOST_EPOCHS
from tuner.records import Progress
from tuner.search.choice import Scored
from tuner.search.data import TuningData
from tuner.search.expectations import SCHEDULE_SHARE, Expectations, unknown
from tuner.search.linear import LinearHeads
from tuner.search.pace import Pace, usual_batch
from tuner.search.prefixes import Prefixes
from tuner.search.rows import EncodedRows, encode_data
from tuner.search.run_name import RunName
from tuner.search.space import Candidate, SearchSpace
from tuner.search.store import Run, RunStore
from tuner.search.trainer import Finished, Trainer
from tuner.search.views import TrainingViews

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Everything that the trials of a search share, made by `open_bench`.

    ``rows`` are encoded and ``prefixes`` cached once. ``trainer`` turns a candidate into what came out of its training,
    ``store`` keeps that. ``space`` is what may be tried, ``expectations`` what is expected of it beforehand. ``refits``
    says whether the winner is fitted again on all labelled rows in the end, ``prefer`` whether it is the best
    (``score``) or the fastest one (``speed``). ``warnings`` are what a user should know, in the order it happened.
    """

    backbone: Backbone
    rows: EncodedRows
    prefixes: Prefixes
    pace: Pace
    trainer: Trainer
    store: RunStore
    space: SearchSpace
    expectations: Expectations
    seed: int
    refits: bool
    prefer: str
    progress: Progress | None
    warnings: list[str]

    @property
    def runs(self) -> dict[RunName, Run]:
        """The finished runs by name."""
        return self.store.runs

    @property
    def scored(self) -> Scored:
        """The runs that are finished by now, with what says how good they are."""
        return Scored(
            runs=tuple(self.runs.values()), truth=self.rows.truth, expectations=self.expectations,
            n_blocks=self.backbone.n_blocks, seed=self.seed, refits=self.refits, prefer=self.prefer,
        )  # fmt: skip

    def leaders(self) -> list[Run]:
        """Every candidate's best trial, best first."""
        return self.scored.leaders()

    # -- a training whose result is kept

    def run_trained(
        self,
        name: RunName,
        candidate: Candidate,
        *,
        recipe: dict[str, float],
        seed: int,
        on_check: Callable[[int, np.ndarray], None] | None = None,
        on_step: Callable[[int], int | None] | None = None,
    ) -> Run | None:
        """Train a candidate that trains blocks (`Trainer.train`) and keep the run.

        Args:
            name: of the run.
            candidate: what is trained.
            recipe: learning rate, its ratio for the head, steps.
            seed: of the batches, dropout and whatever starts random.
            on_check: as `tuner.training.train.train` has it; without it there are no checks on the way.
            on_step: as `tuner.training.train.train` has it.

        Returns:
            the run; None where it was stopped or diverged, which is not kept.
        """
        return self._kept(
            name, self.trainer.train(candidate, recipe=recipe, seed=seed, on_check=on_check, on_step=on_step)
        )

    def run_head(
        self,
        name: RunName,
        candidate: Candidate,
        *,
        seed: int,
        on_step: Callable[[int], int | None] | None = None,
        most_seconds: float = math.inf,
        most_epochs: int = MOST_EPOCHS,
    ) -> Run | None:
        """Fit a linear head or a BiLSTM on features that never change (`Trainer.fit_head`) and keep the run.

        Args:
            name: of the run.
            candidate: what is fitted.
            seed: of a BiLSTM.
            on_step: called after every epoch of a BiLSTM with ten times its number; may raise `Stopped`.
            most_seconds: after which no epoch begins, and the best one so far counts.
            most_epochs: after which a BiLSTM ends in any case.

        Returns:
            the run; None where `on_step` stopped it, which is not kept.
        """
        finished = self.trainer.fit_head(
            candidate, seed=seed, on_step=on_step, most_seconds=most_seconds, most_epochs=most_epochs
        )
        return self._kept(name, finished)

    def run_again(self, run: Run, *, seed: int, on_step: Callable[[int], int | None] | None = None) -> Run | None:
        """Repeat a finished run with another seed and keep that; None where `on_step` stopped it on the way.

        A BiLSTM is trained for no more epochs than the run was, which the time may have cut.
        """
        name = run.name.with_seed(seed)
        if run.candidate.trains_blocks:
            return self.run_trained(name, run.candidate, recipe=run.recipe, seed=seed, on_step=on_step)
        epochs = int(run.recipe.get("epochs", MOST_EPOCHS))
        return self.run_head(name, run.candidate, seed=seed, on_step=on_step, most_epochs=epochs)

    def _kept(self, name: RunName, finished: Finished | None) -> Run | None:
        return None if finished is None else self.keep(name, finished)

    def keep(self, name: RunName, finished: Finished) -> Run:
        """Store what a training gave; weights stay only for every candidate's best trial and its confirmations."""
        run = Run(
            name=name, candidate=finished.candidate, recipe=finished.recipe, seed=finished.seed,
            score=self.rows.truth.score(finished.predictions), seconds=finished.seconds,
            predictions=finished.predictions,
        )  # fmt: skip
        with uninterrupted():
            if finished.weights is not None:
                run = replace(run, weights=self.store.keep_weights(name, finished.weights))
            self.store.keep(run)
            leaders = {leader.name for leader in self.leaders()}
            self.store.drop_weights(other for other in self.runs if other.original not in leaders)
            return run

    # -- what was kept

    def _weights(self, run: Run) -> dict[str, torch.Tensor] | None:
        return None if run.candidate.is_linear else self.store.load_weights(run)

    @contextmanager
    def loaded(self, run: Run) -> Iterator[PreTrainedModel]:
        """Lend the trained model of a run; it holds only while the context is entered."""
        with self.trainer.loaded(run.candidate, seed=run.seed, weights=self._weights(run)) as built:
            yield built.model

    def validation_logits(self, run: Run) -> np.ndarray:
        """Logits of the validation rows, or of their words, under a run's own model, which they did not train."""
        return self.trainer.validation_logits(run.candidate, seed=run.seed, weights=self._weights(run))


def open_bench(
    backbone: Backbone,
    *,
    data: TuningData,
    space: SearchSpace,
    work: Path,
    metric: str,
    seed: int,
    progress: Progress | None = None,
    expectations: Expectations | None = None,
    prefer: str = "score",
    refits: bool = True,
    store: RunStore | None = None,
    notes: tuple[str, ...] = (),
) -> Bench:
    """Read back finished runs, encode the training and validation rows, run the frozen blocks over them once.

    Args:
        backbone: the pretrained model, which every training gives back as it is.
        data: training, validation and test rows.
        space: what may be tried.
        work: the folder that caches and runs are kept in.
        metric: that predictions are scored by.
        seed: of everything that is drawn.
        progress: told what is being done.
        expectations: of the candidates; without any, a run is as long as the middle of what is searched.
        prefer: ``score`` or ``speed``.
        refits: whether the winner is fitted again on all labelled rows in the end.
        store: of the runs in that folder, where it is open already.
        notes: warnings that come first.

    Raises:
        DataError: where most rows cannot be read, or a stored run is damaged.
    """
    backbone = replace(backbone, pooling=data.task.pooling(backbone.pooling))
    n_given = len(data.train.rows)
    usual = sum(space.epochs) // 2 * n_given / SCHEDULE_SHARE
    expectations = expectations or unknown(space, rows_seen=round(usual))
    store = store or RunStore(work)
    warnings = [*data.notes, *notes]
    store.read()
    rows = encode_data(backbone, data, metric=metric, say=warnings.append, progress=progress)
    heads = LinearHeads(rows, seed=seed)
    warnings += [] if heads.note is None else [heads.note]
    prefixes = Prefixes(backbone, rows=rows, work=work, say=warnings.append, progress=progress)
    wanted = [c.frozen_blocks for c in (*space.first, *space.controls) if c.frozen_blocks is not None]
    prefixes.prepare([*wanted, *range(space.depths[0], space.depths[1] + 1)])
    pace = Pace(
        n_train=len(rows.train), n_validation=len(rows.validation), n_blocks=backbone.n_blocks,
        batch_size=usual_batch(n_given), rows_seen=expectations.rows_seen, row_seconds=prefixes.row_seconds,
    )  # fmt: skip
    views = TrainingViews(backbone, rows=rows, prefixes=prefixes, heads=heads, seed=seed, progress=progress)
    trainer = Trainer(
        backbone, rows=rows, prefixes=prefixes, heads=heads, views=views, pace=pace, seed=seed, say=warnings.append
    )
    bench = Bench(
        backbone=backbone, rows=rows, prefixes=prefixes, pace=pace, trainer=trainer, store=store, space=space,
        expectations=expectations, seed=seed, refits=refits, prefer=prefer, progress=progress, warnings=warnings,
    )  # fmt: skip
    scored = bench.scored
    store.check_weights(run for leader in scored.leaders() for run in scored.repeats(leader))
    return bench
