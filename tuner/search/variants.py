"""The best candidate once more with every variant of it: augmented rows, options of training, the native head."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from tuner.search.bench import Bench
from tuner.search.clock import Clock
from tuner.search.space import Candidate
from tuner.search.store import Run
from tuner.search.telling import Telling
from tuner.search.trainer import CLASS_WEIGHTED
from tuner.training.train import Stopped

AUGMENTED, NATIVE = "augmented", "native"
"""Kinds of variants, beside the options of training."""


class Variants:
    """Compares the best candidate with its variants.

    Args:
        bench: of the search.
        clock: its time.
        telling: told what is being trained.
    """

    def __init__(self, bench: Bench, *, clock: Clock, telling: Telling) -> None:
        self._bench, self._clock, self._telling = bench, clock, telling
        self.not_repeated: dict[Candidate, str] = {}
        """Variants that were not trained, and why."""

    def compare(self) -> bool:
        """Train the best trained candidate once more with every variant of it, same recipe and seed: with augmented
        rows, with the options of training blocks, with the architecture's own head.

        What is not worth training has a note why. False where Ctrl-C cut it short.
        """
        leader = self._augmentation_due()
        if leader is not None:
            candidate = dataclasses.replace(leader.candidate, augmentation=self._bench.space.augmentation)
            why = self._bench.trainer.views.why_not(candidate)
            if not self._repeat_with(leader, candidate, kind=AUGMENTED, why=why):
                return False
        for option in self._bench.space.options:
            leader = self._option_due(option)
            if leader is not None:
                candidate = dataclasses.replace(leader.candidate, option=option)
                native = self._native_due()
                spare = 0.0 if native is None else native.seconds
                if not self._repeat_with(leader, candidate, kind=option, why=None, spare=spare):
                    return False
        leader = self._native_due()
        if leader is None:
            return True
        candidate = dataclasses.replace(leader.candidate, head="native")
        return self._repeat_with(
            leader, candidate, kind=NATIVE, why=self._bench.trainer.why_no_native(leader.candidate)
        )

    def _repeat_with(
        self, leader: Run, candidate: Candidate, *, kind: str, why: str | None, spare: float = 0.0
    ) -> bool:
        """A run of a leader's recipe with a variant of its candidate, or a note `why` there is none.

        `spare` are seconds that it has to leave for what comes after it.
        """
        needed = leader.seconds + self._bench.trainer.seconds_for_views(candidate) + spare
        reserve_s = self._clock.reserve_s() if self._clock.by_time else 0.0
        left = self._clock.left() - reserve_s
        if why is None and left < needed:
            why = f"it takes about {needed:.0f} s with what comes after it, and {max(left, 0):.0f} s were left"
        if why is not None:
            self.not_repeated[candidate] = why
            return True
        steps = int(leader.recipe.get("steps", 0))  # a linear head has none
        label = candidate.label(self._bench.backbone.n_blocks)

        def step(done: int) -> None:
            if done % 10 == 0:
                self._telling(label, steps_done=done, steps=steps)
                if self._clock.left() < reserve_s:
                    raise Stopped

        try:
            name = leader.name.with_variant(kind)
            if candidate.is_linear:
                run = self._bench.run_head(name, candidate, seed=leader.seed)
            else:
                run = self._bench.run_trained(name, candidate, recipe=leader.recipe, seed=leader.seed, on_step=step)
        except KeyboardInterrupt:
            return False
        if run is None:
            self.not_repeated[candidate] = "the time was up before its trial came to an end"
        return True

    def _option_due(self, option: str) -> Run | None:
        """The best candidate that was trained in the plain way, as long as none was with the option.

        Classes are weighted in whatever is best, linear heads included.
        """
        if any(run.candidate.option == option for run in self._bench.runs.values()):
            return None
        leaders = (run for run in self._bench.leaders() if run.candidate.option is None)
        if option == CLASS_WEIGHTED:
            return next(leaders, None)
        return self._best_trained(leaders)

    def _augmentation_due(self) -> Run | None:
        """The best trained candidate, where it is to be augmented and was not."""
        policy = self._bench.space.augmentation
        if policy is None or any(run.candidate.augmentation == policy for run in self._bench.runs.values()):
            return None
        return self._best_trained(self._bench.leaders())

    def _native_due(self) -> Run | None:
        """The best trained candidate, as long as no native head was trained."""
        if any(run.candidate.head == "native" for run in self._bench.runs.values()):
            return None
        return self._best_trained(self._bench.leaders())

    def _best_trained(self, leaders: Iterable[Run]) -> Run | None:
        trained = (run for run in leaders if run.candidate.trains_blocks)
        return next((run for run in trained if run.candidate.start == "pretrained"), None)

    def due_s(self) -> float:
        """Seconds of the variants that are compared after the trials."""
        due = [self._option_due(option) for option in self._bench.space.options]
        due.append(self._native_due())
        seconds = sum(leader.seconds for leader in due if leader is not None)
        if (leader := self._augmentation_due()) is not None:
            candidate = dataclasses.replace(leader.candidate, augmentation=self._bench.space.augmentation)
            seconds += leader.seconds + self._bench.trainer.seconds_for_views(candidate)
        return seconds
