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


ASKS_FOR_THE_KIND = re.compile(
    r"""(?x)
    \.tagged\b (?:\s+is\b | \s+else\b | \s+and\b | \s*[:)] (?!.*=) )     # if target.tagged:
    | \b (?: if | and | or | not ) \s+ [\w.]*\b (?: tagged | is_tagged | is_text | reads_text | tags_words ) \b
    | \b (?: is_text | reads_text | tags_words ) \b
    | \btagged = [\w.]+ \. (?: tagged | is_tagged )                             # check(tagged=target.tagged)
    | \b (?: pixels | tagged | n_words | encoded\.first ) \s+ is \s+ (?: not \s+ )? None\b
    | \b (?: kind | task ) \s* [!=]= \s* ["'\w]
    | ["'] (?: kind | task ) ["'] \s* [\])]+ \s* [!=]=
    | ["'] \w* (?: _linear | n_entities | entity_lookup ) ["'] \s+ (?: not \s+ )? in \b
    | \.endswith \( \s* ["'] _linear
    | \bisinstance \( [^()]* \b (Pictures|Tokens|Pixels|TaggedPredictions|TextInputs|ImageInputs) \b [^()]* \)
      (?! \s else \s \1 \( )                                             # which converts what it is given
    | \b _kind_of_task \b
    | \b metric \s+ (?: [!=]= | in ) \s .* \b ENTITY_F1 \b
    | \b pooling \s* [!=]= \s* ["'] tokens
    | ["']text_pair["'] .* \b (?: is \s (?: not \s )? None | else )
    """
)
"""Spellings of the question what kind some data is of."""
MAY_ASK = {"advisor": ("kinds", "data"), "tuner": ("inputs", "tasks")}
"""Rooms whose business it is: inputs and tasks are what kinds are made of; these are told apart in
`advisor.kinds.table` and `advisor.kinds.words`, and while data is read (`advisor.data`) it has none yet."""


def questions(path):
    """Lines of a file's code, without texts and comments that explain, that ask what kind some data is of."""
    source = path.read_text()
    tree = ast.parse(source)
    said = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            said.update(range(node.lineno, node.end_lineno + 1))
    lines = enumerate(source.splitlines(), 1)
    code = [(number, line.partition("  #")[0].strip()) for number, line in lines if number not in said]
    return [
        f"{path.relative_to(ROOT)}:{number}: {line}"
        for number, line in code
        if ASKS_FOR_THE_KIND.search(line) and not line.startswith(("assert ", "#"))
    ]


@pytest.mark.parametrize("package", MAY_ASK)
def test_no_code_asks_what_kind_its_data_is_of(package):
    """What depends on the kind of data is a method of an object, which the rooms in `MAY_ASK` choose."""
    asked = [
        question
        for path in FILES
        if path.relative_to(ROOT).parts[0] == package and path.relative_to(ROOT).parts[1] not in MAY_ASK[package]
        for question in questions(path)
    ]
    assert asked == []


@pytest.mark.parametrize(
    "line",
    [
        "    if target.tagged:",
        "    metric = check_fitting(metric, tagged=target.tagged)",
        "    classes = tags(target) if target.tagged else classes(target)",
        "    if features.tagged is not None:",
        "        return 1 if self.tagged is None else 2",
        "    if features.pixels is None:",
        '    if target.kind == "text":',
        '    if self.kind != "image" and wanted:',
        "    return backbone.max_length if backbone.is_text else None",
        "    if transfer_model.tags_words:",
        '    kind="text" if transfer_model.reads_text else "image",',
        '    if "token_linear" in baselines:',
        '    if "n_entities" not in data:',
        '    linear = next(found for name, found in baselines.items() if name.endswith("_linear"))',
        "    noun = 'sentences' if run.tagged else 'rows'",
        "    if isinstance(given, Pictures) and given.unreadable:",
        "    pixels=encoded if isinstance(encoded, Pixels) else None,",
        "    if isinstance(predictions, TaggedPredictions):",
        "    kind = _kind_of_task(target)",
        '    "metric": None if metric in (METRICS[0], ENTITY_F1) else metric,',
        "    if self.metric == ENTITY_F1:",
        "    folds = self.folds if self.truth.n_words is None else other",
        "    if encoded.first is not None:",
        '    if pooling == "tokens":',
        '    return "text_pair" if target.columns.get("text_pair") is not None else target.kind',
    ],
)
def test_the_questions_that_were_asked_would_be_found(line):
    assert ASKS_FOR_THE_KIND.search(line)


@pytest.mark.parametrize(
    "line",
    [
        "    given = pictures if isinstance(pictures, Pictures) else Pictures(pictures)",
        "    tagged = self.tagged",
        "    return len(self.tagged.n_words)",
        "    kind.check_metric(metric)",
        '    "n_entities": "entities",',
    ],
)
def test_what_asks_nothing_is_not_found(line):
    assert not ASKS_FOR_THE_KIND.search(line)


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


TESTS = sorted((ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_no_test_module_imports_another(path):
    """What several need lies in tests/helpers."""
    assert not [name for name in imports(path) if name.split(".")[0].startswith("test_")]


def test_tests_mirror_the_packages():
    """A test lies in the room that it tests; what holds for the whole house is in tests/house."""
    rooms = {path.parent.relative_to(ROOT).as_posix() for path in FILES} | {"house"}
    found = {path.parent.relative_to(ROOT / "tests").as_posix() for path in TESTS if path.name.startswith("test_")}
    assert found <= rooms
    assert {room for room in rooms if "/" in room} - found == set()


def parameters(function):
    """The names of a function's parameters, but for the object itself."""
    listed = function.args
    named = [*listed.posonlyargs, *listed.args, *listed.kwonlyargs, listed.vararg, listed.kwarg]
    return [argument.arg for argument in named if argument is not None and argument.arg not in ("self", "cls")]


def is_documented(doc, names):
    return "Args:" in doc and all(re.search(rf"^ +[*]*{name}:", doc, re.MULTILINE) for name in names)


def long_functions(tree):
    """Public functions and methods with more than three parameters: owner, name, and whether each is documented."""
    owners = [(None, tree), *((node, node) for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
    for owner, inside in owners:
        if owner is not None and owner.name.startswith("_"):
            continue
        for node in inside.body:
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            names, doc = parameters(node), ast.get_docstring(node) or ""
            if node.name == "__init__":
                doc = ast.get_docstring(owner) or ""
            elif node.name.startswith("_"):
                continue
            if len(names) > 3:
                yield owner, node, is_documented(doc, names)


COMMANDS = {"advisor/cli.py", "advisor/collections_cli.py"}
"""Whose docstrings are the help that a user reads, and whose parameters have their own."""
OF_OTHERS = {"on_init_end", "on_train_begin", "on_pre_optimizer_step", "on_save", "on_train_end"}
"""Methods of transformers' callbacks, which documents them."""


OF_A_PROTOCOL = {"advisor/similarity/text_sources.py", "advisor/similarity/image_sources.py"}
"""Modules that stand for an object (`advisor.similarity.library.Sources`)."""


def test_parameters_of_long_functions_are_documented():
    """Methods of a protocol, or of what is built on, are documented there."""
    found = {}
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        if name not in COMMANDS:
            found[name] = list(long_functions(ast.parse(path.read_text())))
    told = {node.name for functions in found.values() for owner, node, documented in functions if owner and documented}
    missing = [
        f"{name}: {node.name}"
        for name, functions in found.items()
        for owner, node, documented in functions
        if not documented and not ((owner or name in OF_A_PROTOCOL) and node.name in told | OF_OTHERS)
    ]
    assert missing == []


def test_an_undocumented_parameter_is_seen():
    said = "".join(f"        {name}: one.\n    " for name in "abc")
    code = f'def f(a, b, *, c, d=1):\n    """Add.\n\n    Args:\n    {said}"""'
    assert [documented for _, _, documented in long_functions(ast.parse(code))] == [False]
    whole = code.replace("        c: one", "        c: one\n            d: two")
    assert [documented for _, _, documented in long_functions(ast.parse(whole))] == [True]
