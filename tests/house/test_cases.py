"""Layouts seen in public data, each with a script that says whether what the command line makes of it is right."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(os.environ.get("TRANSFER_CASES", Path(__file__).parents[3] / "shared" / "cases"))
SCRIPTS = sorted(CASES.glob("*/run.sh"))
LACKS_A_PACKAGE = 3

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not SCRIPTS, reason=f"needs the cases in {CASES} (set TRANSFER_CASES)")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.parent.name)
def test_a_layout_is_read_rightly_or_refused(tmp_path, script):
    advisor = tmp_path / "advisor"
    advisor.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m advisor "$@"\n')
    advisor.chmod(0o755)
    root = Path(__file__).parents[2]
    environment = os.environ | {"ADVISOR": str(advisor), "PYTHON": sys.executable, "PYTHONPATH": str(root)}
    done = subprocess.run(["bash", script], capture_output=True, text=True, env=environment, check=False)
    if done.returncode == LACKS_A_PACKAGE:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
