"""Kills of a search: nothing finished is lost or done twice, the total is right, and going on never hangs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
KILLS = ROOT / "tests" / "helpers" / "kills.py"


def kills(root, n, *, seed, most_seconds):
    """What became of so many kills aimed at writes, and a quarter as many at random moments."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run(
        [sys.executable, KILLS, root, str(n), str(seed)],
        capture_output=True, text=True, timeout=most_seconds, env=environment, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()[1:]]


def check(found):
    aimed = [kill for kill in found if kill["at"] is not None]
    assert {kill["ended"] for kill in aimed} == {"killed"}
    for kill in found:
        assert kill["resumed"] == "done", kill
        assert kill["overwritten"] == [], kill
        assert kill["finished"] == 4, kill
        assert kill["times_tested"] == 1, kill
        assert kill["left"] == ["model", "study.journal", "tuning.json"], kill
    return aimed


def test_a_killed_search_goes_on_and_loses_nothing(tmp_path):
    found = kills(tmp_path, 6, seed=0, most_seconds=600)
    assert len(check(found)) == 6
    assert len(found) == 7


@pytest.mark.slow
@pytest.mark.skipif("CI" in os.environ, reason="minutes of kills; six of them are tried in any case")
def test_sixty_kills_lose_nothing(tmp_path):
    found = kills(tmp_path, 60, seed=1, most_seconds=3600)
    assert len(check(found)) == 60
    assert {kill["when"] for kill in found} == {"before", "during", "after", "at random"}
