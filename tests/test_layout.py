"""The house rules that a reader relies on."""

import ast
import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import advisor
import tuner

ROOT = Path(advisor.__file__).parents[1]
FILES = sorted([*(ROOT / "advisor").rglob("*.py"), *(ROOT / "tuner").rglob("*.py")])
MODULES = sorted(
    info.name
    for package in (advisor, tuner)
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    if not info.name.endswith("__main__")
)


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("path", [file for file in FILES if "tuner" in file.parts], ids=lambda path: path.name)
def test_imports_run_one_way(path):
    assert not [name for name in imports(path) if name.split(".")[0] == "advisor"]


@pytest.mark.parametrize("name", ["backbone", "blocks", "freezing", "prefix", "training"])
def test_training_needs_neither_optuna_nor_datasets(name):
    seen, queue = set(), [f"tuner.{name}"]
    while queue:
        module = queue.pop()
        if module in seen:
            continue
        seen.add(module)
        path = ROOT / (module.replace(".", "/") + ".py")
        names = list(imports(path)) if path.exists() else []
        assert not [n for n in names if n.split(".")[0] in ("optuna", "datasets")], module
        queue += [n for n in names if n.startswith("tuner.")]


def test_what_is_imported_is_installed_without_extras():
    """The tests run with every extra; a newcomer installs none."""
    import tomllib
    from importlib.metadata import packages_distributions

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[<>=\[]", line)[0].strip().lower().replace("_", "-") for line in declared}
    made_by = packages_distributions()
    used = {name.split(".")[0] for path in FILES for name in imports(path)} - set(sys.stdlib_module_names)
    missing = {
        name
        for name in used - {"advisor", "tuner"}
        if not names & {made.lower().replace("_", "-") for made in made_by.get(name, ())}
    }
    assert not missing


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_command_line_prints(path):
    if path.name in ("cli.py", "streams.py"):  # which says what becomes of the streams of the command line
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
    assert "sys.stdout" not in path.read_text()


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name):
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS, verbose=False)
    assert failed == 0


def test_help_loads_nothing_heavy():
    """What `advisor --help` imports is what its time is; benchmarks/README.md holds the measured one."""
    heavy = ("torch", "transformers", "optuna", "matplotlib", "pandas", "sklearn", "datasets", "pyarrow")
    code = "import sys, advisor, tuner, advisor.cli; advisor.cli.run(['--help'])"
    code += f"; print([name for name in {heavy!r} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "recommend" in printed
    assert printed.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_models_and_training_need_neither_optuna_nor_datasets():
    """benchmarks/gpu_check.py runs where only torch, transformers, numpy and safetensors are."""
    heavy = ("optuna", "datasets", "sklearn", "pandas", "pyarrow", "typer", "matplotlib")
    modules = "tuner.backbone, tuner.blocks, tuner.freezing, tuner.prefix, tuner.training"
    code = f"import sys, {modules}; print([name for name in {heavy!r} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "[]"
