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


NAMES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES}


def edges(path):
    """The modules of this project that a file imports anywhere in it, within functions and for types alone too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in NAMES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("advisor", "tuner"):
            found = {f"{node.module}.{alias.name}" for alias in node.names} & NAMES
            yield from found or {node.module}


def circle(graph):
    """What is left of a graph after all that imports nothing of it is taken away, again and again."""
    left = {name: set(to) - {name} for name, to in graph.items()}
    while free := [name for name, to in left.items() if not to & left.keys()]:
        for name in free:
            del left[name]
    return left


def test_no_module_imports_itself_by_way_of_others():
    graph = {}
    for path in FILES:
        if path.name not in ("__init__.py", "__main__.py"):  # which import what they offer when it is asked for
            graph[".".join(path.relative_to(ROOT).with_suffix("").parts)] = set(edges(path))
    assert circle(graph) == {}
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}).keys() == {"a", "b", "c"}


def test_rooms_import_one_way():
    """A room is a folder; what lies beside the rooms is one of its own."""

    def room(name):
        parts = name.split(".")
        return ".".join(parts[:2]) if len(parts) > 1 else name

    graph = {}
    for path in FILES:
        if path.name not in ("__init__.py", "__main__.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            graph.setdefault(room(name), set()).update(room(to) for to in edges(path))
    assert circle(graph) == {}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_can_be_read_at_once(path):
    assert len(path.read_text().splitlines()) <= 500


@pytest.mark.parametrize(
    "name", ["model.backbone", "model.assemble", "blocks", "freezing", "training.prefix", "training.train"]
)
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
    if path.name in (
        "cli.py",
        "showing.py",
        "streams.py",
    ):  # which says what becomes of the streams of the command line
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
    assert "sys.stdout" not in path.read_text()


def is_there(name):
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part) and part not in getattr(found, "__dataclass_fields__", ()):
                return False
            found = getattr(found, part, None)
        return True
    return False


def test_what_texts_name_is_there():
    """Modules, functions and records that docs, docstrings and comments name between backticks."""
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.*"), *FILES]
    named = re.compile(r"`((?:advisor|tuner)(?:\.\w+)+)`")
    names = {match for path in texts if path.suffix in (".md", ".py") for match in named.findall(path.read_text())}
    assert [name for name in sorted(names) if not is_there(name)] == []
    assert is_there("tuner.search.space.Candidate.trains_blocks")
    assert not is_there("tuner.search.space.Candidates")


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
    modules = "tuner.model.backbone, tuner.blocks, tuner.freezing, tuner.training.prefix, tuner.training.train"
    code = f"import sys, {modules}; print([name for name in {heavy!r} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "[]"
