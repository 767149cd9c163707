"""What a search says on the way: what is done now, the best score so far, what is left."""

from __future__ import annotations

from collections.abc import Callable

from tuner.search.bench import Bench
from tuner.search.clock import Deadline
from tuner.search.space import Candidate


class Telling:
    """Tells a search's progress.

    Args:
        bench: of the search.
        deadline: of the whole command.
        n_trials: how many there may be; None without a bound.
    """

    def __init__(self, bench: Bench, *, deadline: Deadline, n_trials: int | None) -> None:
        self._bench, self._deadline, self._n_trials = bench, deadline, n_trials

    def __call__(self, message: str, *, steps_done: int = 0, steps: int = 0) -> None:
        """Tell what is done, after so many of its steps."""
        if self._bench.progress is None:
            return
        best = self._bench.leaders()[0].score if self._bench.runs else None
        parts = [f"step {steps_done} of {steps}"] if steps else []
        if best is not None:
            parts.append(f"best {self._bench.rows.truth.metric} {best:.3f}")
        left, fraction = self._deadline.left(), 0.0
        if self._deadline.budget_s is not None:
            parts.append(f"{max(left, 0):.0f} s left")
            fraction = min(self._deadline.used / self._deadline.budget_s, 1.0)
        elif self._n_trials is not None:
            within = steps_done / steps if steps else 0.0
            fraction = min((len(self._bench.store.trials) + within) / self._n_trials, 1.0)
        self._bench.progress(f"{message}: {', '.join(parts)}", fraction)

    def of_final_fit(self, candidate: Candidate) -> Callable[[int, int, int], None]:
        """A function that tells how far a final fit is, from the seed's place, the steps done and those asked for."""
        label = f"final fit of {candidate.label(self._bench.backbone.n_blocks)} on all labelled rows"

        def told(place: int, done: int, of: int) -> None:
            if done % 10 == 0:
                self(f"{label}, seed {place + 1}", steps_done=done, steps=of)

        return told
