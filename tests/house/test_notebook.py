"""The notebooks run from top to bottom, and are stored without outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_outputs_are_stored(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert cells
    assert not [cell for cell in cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)]


def executed(name: str, folder: Path) -> tuple[str, str]:
    """What the cells of a notebook print, and the HTML that they show."""
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    NotebookClient(notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = "".join(output["data"].get("text/html", "") for output in outputs if "data" in output)
    return "".join(output["text"] for output in outputs if "text" in output), shown


@pytest.mark.slow
@pytest.mark.enable_socket  # the kernel is talked to over sockets of this machine
def test_which_strategy_runs_and_predicts(tmp_path: Path) -> None:
    printed, _ = executed("01_which_strategy.ipynb", tmp_path)
    assert "- decided by evidence" in printed
    assert "3 of 7 blocks frozen" in printed
    assert "test accuracy: 0." in printed
    assert "numpy" in printed
    assert "matplotlib      Draw a line between two points in the given axes." in printed
    assert "['advice.json', 'model', 'report.html', 'report.md'" in printed


@pytest.mark.slow
@pytest.mark.enable_socket
def test_images_run_and_are_predicted(tmp_path: Path) -> None:
    printed, shown = executed("02_images.ipynb", tmp_path)
    assert "similarity  dissimilar - score 0." in printed
    assert "! the images are grey" in printed
    assert shown.count("data:image/png;base64,") == 12
    assert "trivialaugment  " in printed
    assert float(printed.partition("test accuracy: ")[2].split()[0]) > 0.8  # a perfect score is no failure
    answers = (printed.partition(name)[2].partition("]")[0] for name in ("predicted [", "labels    ["))
    predicted, labels = (answer.split() for answer in answers)
    assert sum(one == other for one, other in zip(predicted, labels, strict=True)) >= 6
    assert "'examples.json'" in printed
