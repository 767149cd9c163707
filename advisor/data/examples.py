"""Built-in examples: real texts and images that are already on the machine, so that a first run needs no network."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.errors import DataError, OptionError, RunFolderError, did_you_mean
from tuner.records import user_cache_dir, write_text_atomically

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES = ("docstrings", "digits")

LIBRARIES = {
    "numpy": "numpy",
    "scipy": "scipy",
    "pandas": "pandas",
    "scikit-learn": "sklearn",
    "torch": "torch",
    "transformers": "transformers",
    "optuna": "optuna",
    "matplotlib": "matplotlib",
}
"""Distribution name, which is the label, and the package that is read."""

ROWS_PER_LIBRARY = 500

_RECIPE = 2  # raise it when the rows change for the same library versions
_SURPLUS = 1.2  # collected beyond what is kept, since libraries share docstrings
_MOST_PER_MODULE = 25  # no module may make up a library
_FEWEST_WORDS = 5
_NAMES = (
    "numpy", "np", "numpydoc", "ndarray", "scipy", "pandas", "pd", "scikit-learn", "scikit learn", "scikits", "scikit",
    "sklearn", "pytorch", "torch", "nn", "hugging face", "huggingface", "hf", "transformers", "optuna", "matplotlib",
    "pyplot", "plt", "mpl", "mplot3d",
)  # fmt: skip
# An underscore ends a name here (torch_dtype), unlike in the regular expression \b.
_ANY_NAME = "|".join(re.escape(name) for name in sorted(_NAMES, key=len, reverse=True))
_INSIDE = "numpy|scipy|pandas|sklearn|torch|optuna|matplotlib"  # telling inside longer words too: TorchScript
_MASK = re.compile(
    rf"(?<![A-Za-z0-9])(?:{_ANY_NAME}|[A-Za-z0-9]*(?:{_INSIDE})[A-Za-z0-9]*)(?![A-Za-z0-9])", re.IGNORECASE
)
_PARAMETERS = re.compile(r"^[*`]*\w+[*`]* ?[(:]")  # "n_group (`int`, *optional*): ...": no sentence about the library
_SKIPPED_FOLDERS = frozenset({"tests", "test", "testing", "_testing", "vendor", "_vendor", "externals"})


def load_example(name: str) -> pd.DataFrame:
    """The example's rows as a data frame with the columns ``text`` or ``image``, and ``label``.

    ``docstrings`` are first paragraphs of public docstrings, to be told apart by the library they are from, whose
    names are masked. They are kept in the user's cache folder for the installed versions. ``digits`` are scikit-learn's
    1,797 handwritten digits (Alpaydin and Kaynak 1998), each an array (8, 8) of grey bytes. Raises `OptionError` for
    an unknown name, `DataError` where fewer than two of the libraries are installed.

    >>> load_example("digits")["label"].tolist()[:4]
    ['0', '1', '2', '3']
    """
    if name not in EXAMPLES:
        raise OptionError(
            f"example:{name}: there is no such example.{did_you_mean(name, EXAMPLES)}",
            why="built-in examples have fixed names",
            fix=f"choose one of: {', '.join(f'example:{known}' for known in EXAMPLES)}",
        )
    return _digits() if name == "digits" else _docstrings()


def _digits() -> pd.DataFrame:
    """Pictures of the digits, as they come with scikit-learn: dark paper, light ink."""
    import pandas as pd
    from sklearn.datasets import load_digits

    bundled = load_digits()
    # Ink is counted from 0 to 16 there; what reads pictures expects bytes.
    grey = (bundled.images * (255 / 16)).round().astype("uint8")
    images = pd.Series(list(grey), dtype="object")
    return pd.DataFrame({"image": images, "label": pd.Series(bundled.target).astype("str")})


def _docstrings() -> pd.DataFrame:
    import pandas as pd

    versions = _installed_versions()
    if len(versions) < 2:
        raise DataError(
            "example:docstrings needs at least two of its libraries",
            why=f"its texts are their docstrings; found: {', '.join(versions) or 'none'}",
            fix="install the package with its dependencies",
        )
    key = hashlib.sha256(repr((_RECIPE, sorted(versions.items()))).encode()).hexdigest()[:16]
    cached = user_cache_dir() / "examples" / f"docstrings-{key}.jsonl"
    kept = _read_cache(cached, labels=set(versions))
    if kept is not None:
        return kept
    rows = _docstring_rows(tuple(versions))
    frame = pd.DataFrame(rows, columns=["text", "label"]).astype({"text": "str", "label": "str"})
    try:
        write_text_atomically(cached, frame.to_json(orient="records", lines=True, force_ascii=False))
    except RunFolderError:
        return frame  # a cache folder that cannot be written costs seconds next time, nothing more
    return frame


def _read_cache(path: Path, *, labels: set[str]) -> pd.DataFrame | None:
    """The rows kept by an earlier run, or None where there are none or the file was damaged since."""
    import pandas as pd

    if not path.is_file():
        return None
    try:
        frame = pd.read_json(io.StringIO(path.read_text(encoding="utf-8")), lines=True, dtype=False)
        frame = frame[["text", "label"]].astype("str")
    except (ValueError, KeyError, OSError):
        return None
    return frame if set(frame["label"]) == labels and not frame.isna().any(axis=None) else None


def _installed_versions() -> dict[str, str]:
    versions = {}
    for distribution in LIBRARIES:
        try:
            versions[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue  # an example of seven libraries is an example too
    return versions


def _docstring_rows(distributions: tuple[str, ...]) -> list[tuple[str, str]]:
    """(text, label) rows: each library's in order, none twice, none that two libraries share."""
    collected = {name: _paragraphs(LIBRARIES[name], most=int(_SURPLUS * ROWS_PER_LIBRARY)) for name in distributions}
    owners: dict[str, set[str]] = {}
    for name, texts in collected.items():
        for text in texts:
            owners.setdefault(text.casefold(), set()).add(name)
    rows: list[tuple[str, str]] = []
    for name, texts in collected.items():
        own = [text for text in texts if len(owners[text.casefold()]) == 1]
        rows.extend((text, name) for text in own[:ROWS_PER_LIBRARY])
    return rows


def _paragraphs(package: str, *, most: int) -> list[str]:
    """Up to `most` different masked first paragraphs of a package.

    Modules come in the order of their path's hash: fixed, and spread over the library, so that a few dozen of its
    hundreds or thousands of modules need to be parsed.
    """
    spec = importlib.util.find_spec(package)  # finds a top-level package without running it
    if spec is None or not spec.submodule_search_locations:
        return []
    root = Path(next(iter(spec.submodule_search_locations)))
    modules = sorted(_modules(root), key=lambda module: hashlib.sha256(module.encode()).digest())
    found: dict[str, str] = {}
    for module in modules:
        if len(found) >= most:
            break
        of_module = 0
        for docstring in _public_docstrings(root / module):
            text = masked_paragraph(docstring)
            if len(text.split()) < _FEWEST_WORDS or _PARAMETERS.match(text):
                continue
            if text.casefold() not in found:
                found[text.casefold()] = text
                of_module += 1
                if of_module >= _MOST_PER_MODULE:
                    break
    return list(found.values())[:most]


def _modules(root: Path) -> Iterator[str]:
    """Paths below `root` of all modules but tests and bundled foreign code.

    Underscored modules are among them: many libraries keep there what they export.
    """
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name.lower() not in _SKIPPED_FOLDERS]
        for name in files:
            if name.endswith(".py") and not name.startswith(("test_", "conftest", "__main__", "_version")):
                yield (Path(folder) / name).relative_to(root).as_posix()


def _public_docstrings(path: Path) -> Iterator[str]:
    """Docstrings of a module's functions, classes and their methods whose names do not begin with an underscore.

    An underscored module counts by what it exports: the names in its ``__all__``, or all public ones without it.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return  # templates and files for other Python versions lie among the modules
    exported = _exported(tree) if path.stem.startswith("_") else None
    for node in tree.body:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if node.name.startswith("_") or (exported is not None and node.name not in exported):
            continue
        if docstring := ast.get_docstring(node):
            yield docstring
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, (ast.FunctionDef, ast.AsyncFunctionDef)) and not member.name.startswith("_"):
                    docstring = ast.get_docstring(member)
                    if docstring:
                        yield docstring


def _exported(tree: ast.Module) -> set[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
        ):
            try:
                return set(ast.literal_eval(node.value))
            except (ValueError, TypeError):
                return None  # computed: then every public name counts
    return None


def masked_paragraph(docstring: str) -> str:
    """The first paragraph on one line, the names of the libraries replaced by "the library".

    >>> masked_paragraph("Convert a NumPy array\\n    to torch_dtype.\\n\\nParameters")
    'Convert a the library array to the library_dtype.'
    >>> masked_paragraph("Compiles with TorchScript or ExecuTorch, by torch2trt.")
    'Compiles with the library or the library, by the library.'
    """
    paragraph = re.split(r"\n\s*\n", docstring.strip(), maxsplit=1)[0]
    return _MASK.sub("the library", " ".join(paragraph.split()))
