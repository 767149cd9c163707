"""Confirmations: what would win, and the leading candidates, once more with further seeds."""

from __future__ import annotations

from tuner.search.bench import Bench
from tuner.search.choice import choose_winner
from tuner.search.clock import Clock
from tuner.search.plan import MOST_SEEDS
from tuner.search.run_name import RunName
from tuner.search.store import Run
from tuner.search.telling import Telling
from tuner.training.train import Stopped

FINALISTS = 3
CONFIRMATION_SEEDS = 2


def confirm(bench: Bench, *, clock: Clock, telling: Telling) -> bool:
    """Repeat what would win, and the leading candidates, with further seeds, as far as the budget reaches.

    Args:
        bench: of the search.
        clock: its time.
        telling: told what is being confirmed.

    Returns:
        False where Ctrl-C cut it short.
    """

    def leaders() -> list[Run]:
        found = [c.run for c in sorted(choose_winner(bench.scored)[1], key=lambda c: -c.expected)]
        return [run for run in found if not run.candidate.is_linear][:FINALISTS]

    def step(done: int) -> None:
        if done % 10 == 0 and clock.left() < 0:
            raise Stopped

    if not bench.runs:  # there was time for a single fit, or nothing came to a score
        return True
    confirmed: set[RunName] = set()
    first = next(iter(leaders()), None)
    wanted = [(run, offset) for run in leaders() for offset in range(1, CONFIRMATION_SEEDS + 1)]
    while wanted:
        run, offset = wanted.pop(0)
        name = run.name.with_seed(bench.seed + offset)
        confirmed.add(run.name)
        final_s = clock.usual_final_s(run.candidate) if bench.refits and run.candidate.trains_blocks else 0.0
        # What would win is confirmed first; the others' confirmations leave time to average its seeds.
        final_s *= 1 if run is first else MOST_SEEDS
        # Seeds come in pairs: one alone says nothing of how they vary, nor whether their average pays.
        needed = (CONFIRMATION_SEEDS + 1 - offset) * run.seconds + final_s
        try:
            if name not in bench.runs and clock.left() > needed:
                label = run.candidate.label(bench.backbone.n_blocks)
                telling(f"confirming {label}: seed {bench.seed + offset}")
                bench.run_again(run, seed=bench.seed + offset, on_step=step)
            winner, _ = choose_winner(bench.scored)
        except KeyboardInterrupt:
            return False
        if not wanted and winner.name not in confirmed and not winner.candidate.is_linear:
            wanted = [(winner, extra) for extra in range(1, CONFIRMATION_SEEDS + 1)]
    return True
