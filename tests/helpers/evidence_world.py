"""Made-up evidence whose true gains are known."""

import numpy as np

from advisor.evidence.table import (
    Task,
    fit_evidence,
    trained,
)
from advisor.measures.probe import Probe
from tuner.search.gaussian import score_at

MINILM = "all-MiniLM-L6-v2"


KNOTS = tuple(share / 7 for share in range(7))


def probe(features, score):
    return Probe(features=features, block=None, score=score, interval=(score - 0.03, score + 0.03), l2=1.0)


PROBES = (probe("last", 0.70), probe("concat_last_four", 0.75), probe("weighted_all", 0.73), probe("block_3", 0.6))


TRUE_GAINS = {"last": -0.3, "concat_last_four": 0.1, trained(0.0, "low"): 0.5, trained(0.5, "low"): 0.4}


def world(n_sets, *, seed=0, spread=0.2, noise=0.05, slope=0.0, sizes=(100, 300, 1000)):
    rng = np.random.default_rng(seed)
    tasks = []
    for number in range(n_sets):
        own = rng.normal(0, spread, len(TRUE_GAINS))
        for n in sizes:
            level = rng.normal(1.0, 0.5)
            gains = np.array([*TRUE_GAINS.values()]) + own + slope * (np.log10(n) - 2.5)
            scores = score_at(level + gains + rng.normal(0, noise, len(gains)))
            tasks.append(
                Task(
                    model="m", dataset=f"set {number}", n=n, probe=float(score_at(np.array(level))),
                    scores=dict(zip(TRUE_GAINS, scores.tolist(), strict=True)), n_test=10_000,
                )
            )  # fmt: skip
    return tasks


def fitted(tasks):
    return fit_evidence(
        tasks, kind="text", probe="concat_last_four", rates={"low": 1e-4}, seeds={100: 0.04, 1000: 0.01}
    )
