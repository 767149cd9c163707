"""The notebooks run from top to bottom, and are stored without outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_outputs_are_stored(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert cells
    assert not [cell for cell in cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)]


@pytest.mark.slow
@pytest.mark.enable_socket  # the kernel is talked to over sockets of this machine
def test_which_strategy_runs_and_predicts(tmp_path: Path) -> None:
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOKS / "01_which_strategy.ipynb", as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()) if "text" in output
    )
    assert "strategy    freeze_part" in printed
    assert "test accuracy: 0." in printed
    assert "numpy" in printed
    assert "matplotlib      Draw a line between two points in the given axes." in printed
    assert "['advice.json', 'model', 'report.html', 'report.md'" in printed
