"""Shared by all tests: no user folders touched, no network, and the built-in model loaded once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

DATA = Path(os.environ.get("TRANSFER_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches go to a folder of the test session, never to the user's."""
    home = tmp_path_factory.getbasetemp() / "home"
    home.mkdir(exist_ok=True)
    monkeypatch.setenv("TRANSFER_ADVISOR_HOME", str(home))


@pytest.fixture(scope="session")
def minilm():
    """The built-in model."""
    from tuner.model.assemble import load_backbone

    return load_backbone(device="cpu")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real sets outside the project; tests that need them are skipped where they are not."""
    if not DATA.is_dir():
        pytest.skip(f"needs the data folder {DATA} (set TRANSFER_DATA)")
    return DATA
