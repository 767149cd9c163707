"""Is a model folder safe to load? Asked before anything of it is opened by a library.

A folder is somebody else's. Only safetensors inside it are weights, nothing it names is fetched or read from elsewhere,
and its numbers must be ones that a model can have: building a million layers takes hours, and an integer too large a
crash. What is loaded afterwards is a view of the folder that holds the checked files alone.
"""

from __future__ import annotations

import json
import math
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from torch import nn

from tuner.errors import ModelError

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
SHARD = ".safetensors"
READ_SUFFIXES = (".json", ".txt", ".model", ".jinja", SHARD)
"""Endings of the files that loading reads."""
READ_FOLDERS = ("1_Pooling", "additional_chat_templates")
"""Folders within that it reads, too."""

MEGABYTE = 1 << 20
LARGEST = {"tokenizer.json": 512 * MEGABYTE, INDEX: 64 * MEGABYTE, "tokenizer_config.json": 64 * MEGABYTE,
           "special_tokens_map.json": 64 * MEGABYTE, "added_tokens.json": 64 * MEGABYTE,
           **dict.fromkeys((CONFIG, "preprocessor_config.json", "processor_config.json"), 16 * MEGABYTE)}  # fmt: skip
"""The largest published ones are a tenth of that: tokenizers of 35 MB, configurations that name 20,000 labels."""
LARGEST_VOCABULARY = 512 * MEGABYTE
NESTING = 64
LARGEST_NUMBER = 1 << 31
MANY = {"layers": 1_000, "heads": 100_000, "labels": 1_000_000}
"""The deepest published networks have some hundred layers."""

LAYERS = re.compile(r"(^|_)(layers|blocks|depths?|stages|n_layer|layers_per_\w+|repeats?|attention_types|coefficient)$")
HEADS = re.compile(r"(^|_)(heads?|experts|groups)$")
NEEDED_HEADS = re.compile(r"(^n_heads?|^num_heads|(^|_)attention_heads)$")
LABELS = re.compile(r"^_?num_labels$|^n_classes$")
SIZES = re.compile(r"(^|_)(hidden_sizes?|embedding_size|intermediate_sizes?|vocab_size|ffn_dim|embed_dim|hidden_dim)$"
                   r"|^(d_model|d_ff|n_embd|n_inner|dim|embed_dims|widths)$|_channels$")  # fmt: skip
TIMES_STORED, UNSTORED = 3, 1_000_000
"""Poolers and tables that are tied or computed are not stored; what lacks more is refused after loading anyway."""
NAMES_OF_LABELS = ("id2label", "label2id", "task_specific_params")
LARGEST_SIDE = 4_096
"""Pixels of an image's side, as a model reads it; four images of that size take 200 MB as bytes."""

RESOLVED_FILES = ("vocab_file", "tokenizer_file", "tokenizer_config_file", "special_tokens_map_file",
                  "added_tokens_file", "chat_template_file")  # fmt: skip
"""Of these transformers reads the folder's own, whatever path an old tokenizer_config.json remembers."""

FROM_ITS_MAKER = "pass a folder that save_pretrained wrote, whole, or fetch the model again"


def check_folder(path: Path, name: str) -> None:
    """Raise `ModelError` for a folder that must not be loaded: its files, then what its JSON files say."""
    check_files(path, name)
    config = read_json(path / CONFIG, path, name) if (path / CONFIG).exists() else None
    if config is not None:
        _check_config(config, name)
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        if (path / file).exists():
            _check_tokenizer_config(read_json(path / file, path, name), path / file, name)


def check_built(empty: nn.Module, *, stored: int, free: int | None, name: str) -> None:
    """Raise `ModelError` where a configuration asks for far more than the weights hold, or than memory has room for.

    Args:
        empty: the model that the configuration describes, on torch's meta device, where nothing takes memory.
        stored: numbers in the files of its weights.
        free: bytes of memory; None where that is not known.
        name: of the model, for the message.
    """
    asked = sum(parameter.numel() for parameter in empty.parameters())
    needed = 4 * asked + sum(buffer.numel() * buffer.element_size() for buffer in empty.buffers())
    if asked > TIMES_STORED * stored + UNSTORED:
        raise ModelError(
            f"{CONFIG} of {name} describes a model of {asked:,} weights, and its files hold {stored:,}",
            why="missing weights would be random numbers, and a random block must never be frozen",
            fix="pass a folder whose config.json and weights belong together",
        )
    if free is not None and needed > free:
        raise ModelError(
            f"{name} is larger than the memory: as its {CONFIG} describes it, it needs {needed / 1e9:,.1f} GB, and "
            f"{free / 1e9:.1f} GB are free",
            why="all of it is built at once",
            fix="use a smaller model, end other programs, or use a machine with more memory",
        )


def weight_files(path: Path, name: str) -> list[Path]:
    """The weights that will be loaded: one file, or the shards that an index names.

    Raises `ModelError` as `check_files` does, and where the index cannot be read or names other files.
    """
    check_files(path, name)
    if (path / WEIGHTS).exists():  # transformers prefers it
        return [path / WEIGHTS]
    if not (path / INDEX).exists():
        return []
    index = read_json(path / INDEX, path, name)
    shards = index.get("weight_map")
    if not isinstance(shards, Mapping) or not shards or not all(isinstance(shard, str) for shard in shards.values()):
        raise ModelError(
            f"{INDEX} cannot be read (it has no weight_map with the names of files)",
            why="it says which file holds which weight",
            fix="fetch the model again",
        )
    files = []
    for shard in sorted(set(shards.values())):
        parts = PurePosixPath(shard.replace("\\", "/")).parts
        if not shard.endswith(SHARD) or Path(shard).is_absolute() or ".." in parts or "\\" in shard or "\0" in shard:
            raise ModelError(
                f"{INDEX} of {name} names {shard!r} as a file of weights",
                why="weights are read from safetensors inside the folder only; a pickle can run any code when it is "
                "loaded, and a path out of the folder can name any file",
                fix="save the model again as safetensors: model.save_pretrained(folder)",
            )
        file = path / shard
        _check_file(file, path, name)
        if not file.is_file():
            raise ModelError(
                f"{name} lacks {shard}, which {INDEX} names",
                why="a part of the weights is in it",
                fix="fetch the model again",
            )
        files.append(file)
    return files


@contextmanager
def view_of(path: Path, name: str) -> Iterator[Path]:
    """While entered, a folder that holds links to the configuration and the weights of `path`, and nothing else.

    So an adapter beside them, a pickle, or a file that comes later is never seen by the library that loads them.
    """
    with tempfile.TemporaryDirectory(prefix="transfer-advisor-") as folder:
        files = [path / CONFIG, *weight_files(path, name)]
        if not (path / WEIGHTS).exists() and (path / INDEX).exists():
            files.append(path / INDEX)
        for file in files:
            link = Path(folder) / file.relative_to(path)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.absolute())
        yield Path(folder)


def read_json(file: Path, folder: Path, name: str) -> dict[str, Any]:
    """The object in a JSON file of a model. Raises `ModelError` where there is none, or one too large or too deep."""
    _check_file(file, folder, name)
    shown = file.relative_to(folder)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        reason = None if isinstance(content, dict) else "it holds no JSON object"
        if reason is None and _depth(content) > NESTING:
            reason = f"it is nested more than {NESTING} levels deep"
    except RecursionError:
        reason = "it is nested too deeply"
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
    if reason is not None:
        raise ModelError(
            f"{name} cannot be loaded as a model: {shown} cannot be read ({reason})",
            why="it says what the model consists of",
            fix=FROM_ITS_MAKER,
        )
    return dict(content)


def check_file(file: Path, *, option: str) -> None:
    """Raise `ModelError` where a file of weights that the user names is no ordinary file."""
    if file.exists() and not file.is_file():
        raise ModelError(
            f"{option}: {file} is {_kind(file)}, not a file",
            why="the model's weights are read from it",
            fix="pass a safetensors file",
        )


# --- files


def check_files(path: Path, name: str) -> None:
    """Raise `ModelError` where a file that loading reads is none, leads out of the folder, or is far too large."""
    for folder in (path, *(path / inner for inner in READ_FOLDERS)):
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            _check_file(file, path, name)


def _check_file(file: Path, path: Path, name: str) -> None:
    shown = file.relative_to(path)
    if not file.exists():
        return
    if not file.is_file() and (not file.is_dir() or file.name.endswith((".json", SHARD))):
        raise ModelError(
            f"{shown} of {name} is {_kind(file)}, not a file",
            why="it is opened and read as one, and a pipe or a device could be read forever",
            fix=FROM_ITS_MAKER,
        )
    if not file.name.endswith(READ_SUFFIXES) or file.is_dir():
        return
    if not _is_inside(file.resolve(), path.resolve()):
        raise ModelError(
            f"{shown} of {name} is a link that leads out of the folder, to {file.resolve()}",
            why="a folder from somewhere else could make the program read any file",
            fix="put a copy of the file into the folder: cp --remove-destination LINKED-FILE FOLDER",
        )
    limit = LARGEST.get(file.name, LARGEST_VOCABULARY if file.suffix == ".model" else math.inf)
    if file.stat().st_size > limit:
        raise ModelError(
            f"{shown} of {name} has {file.stat().st_size / MEGABYTE:,.0f} MB",
            why=f"no model's has more than {limit / MEGABYTE:,.0f} MB, and reading takes many times that in memory",
            fix=FROM_ITS_MAKER,
        )


def _is_inside(file: Path, folder: Path) -> bool:
    """Whether a file lies in a folder; of a snapshot in the hub's cache also among the blobs of the same model."""
    repository = folder.parent.parent
    is_snapshot = folder.parent.name == "snapshots" and repository.name.startswith("models--")
    homes = [folder, *([(repository / "blobs").resolve()] if is_snapshot else [])]
    return any(file.is_relative_to(home) for home in homes)


def _kind(file: Path) -> str:
    mode = file.stat().st_mode
    kinds = {stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device"}
    return next((named for asks, named in kinds.items() if asks(mode)), "a folder")


# --- what the configuration says


def _depth(value: Any) -> int:
    """Levels of lists and objects within each other, counted up to one more than is allowed."""
    level, depth = [value], 0
    while level and depth <= NESTING:
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        depth += 1
    return depth


def _check_config(config: Mapping[str, Any], name: str) -> None:
    _check_sources(config, name)
    for key, value in config.items():
        if key not in NAMES_OF_LABELS:
            _check_value(key, value, name)


def _check_value(key: str, value: Any, name: str) -> None:
    if isinstance(value, Mapping):
        _check_config(value, name)
    elif isinstance(value, list):
        for item in value:
            _check_value(key, item, name)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        _check_number(key, value, name)


def _check_sources(config: Mapping[str, Any], name: str) -> None:
    """What would be fetched, or read from another place, while the model is built."""
    model_args = config.get("model_args")
    reads = [key for key in model_args if key.startswith(("checkpoint", "pretrained", "cache"))] if isinstance(
        model_args, Mapping) else []  # fmt: skip
    elsewhere = {
        "backbone": "another model as its backbone",
        "architecture": "another model as its architecture",
        "_attn_implementation": "code that is fetched for its attention",
        "attn_implementation": "code that is fetched for its attention",
        "experts_implementation": "code that is fetched for its experts",
        "_experts_implementation": "code that is fetched for its experts",
    }
    for key, what in elsewhere.items():
        value = config.get(key)
        if isinstance(value, str) and re.search(r"[/\\:]", value):
            raise _reaches_out(name, f"{key}: {value!r}", what)
    if isinstance(config.get("backbone"), str) and config.get("use_pretrained_backbone") is True:
        raise _reaches_out(name, f"backbone: {config['backbone']!r}", "pretrained weights that are not in it")
    if reads:
        raise _reaches_out(name, f"model_args: {', '.join(reads)}", "weights that are not in it")
    if config.get("transformers_weights") is not None:
        raise _reaches_out(
            name, f"transformers_weights: {config['transformers_weights']!r}", "other weights than its own"
        )
    if config.get("quantization_config"):
        raise ModelError(
            f"{name} holds quantised weights (quantization_config in {CONFIG})",
            why="training needs weights in full precision",
            fix="pass the model that was quantised, as it was before",
        )


def _reaches_out(name: str, where: str, what: str) -> ModelError:
    return ModelError(
        f"{CONFIG} of {name} names {what} ({where})",
        why="a model is loaded from its own folder only, without a network",
        fix="load it once where you trust it, and save it whole with save_pretrained; pass that folder",
    )


def _check_number(key: str, value: float, name: str) -> None:
    """Raise `ModelError` for a number that no model has in this place."""
    problem = None
    if isinstance(value, float) and math.isnan(value):
        problem = "which is no number"
    elif LABELS.search(key):
        problem = _outside(value, 0, MANY["labels"])
    elif NEEDED_HEADS.search(key) and value == 0:
        problem = "and attention needs at least one"
    elif HEADS.search(key) and not _is_switch(value):
        problem = _outside(value, 0, MANY["heads"])
    elif LAYERS.search(key) and not _is_switch(value):
        problem = _outside(value, 0, MANY["layers"])
    elif SIZES.search(key):
        problem = _outside(value, 0, LARGEST_NUMBER)
    elif "max_position" in key or key in ("n_positions", "n_ctx", "max_seq_len"):
        problem = _outside(value, -1, LARGEST_NUMBER)  # XLNet says -1 for no limit
    if problem is not None:
        digits = f"{value:,}"
        shown = digits if len(digits) < 30 else f"{digits[:24]}..."
        raise ModelError(
            f"{CONFIG} of {name} has {key}: {shown}, {problem}",
            why="the model is built as it says, and cannot be",
            fix=FROM_ITS_MAKER,
        )


def _is_switch(value: float) -> bool:
    """Numbers that are fractions or say 'all' or 'none' in some configurations."""
    return value == -1 or (isinstance(value, float) and not value.is_integer() and abs(value) < 1e6)


def _outside(value: float, low: int, high: int) -> str | None:
    return None if low <= value <= high else f"and {low:,} to {high:,} can be"


def _check_tokenizer_config(config: Mapping[str, Any], file: Path, name: str) -> None:
    """A tokenizer reads its vocabulary from the folder that it lies in."""
    versions = config.get("fast_tokenizer_files")
    outside = [item for item in versions if isinstance(item, str) and re.search(r"[/\\]", item)] if isinstance(
        versions, list) else []  # fmt: skip
    for key, value in config.items():
        resolved = key in RESOLVED_FILES and file.name == "tokenizer_config.json"
        if key.endswith("_file") and not resolved and isinstance(value, str) and Path(value).exists():
            outside.append(value)
    if outside:
        raise ModelError(
            f"{file.name} of {name} names {outside[0]!r}",
            why="a tokenizer is read from the model's own folder only",
            fix="save the tokenizer into the folder again: tokenizer.save_pretrained(folder)",
        )


def check_processor(path: Path, name: str, *, files: Sequence[str]) -> None:
    """Raise `ModelError` for an image processor whose sizes, means or deviations no image can be cut or scaled with.

    Of `files`, those that hold one are read.
    """
    for file in ("preprocessor_config.json", "processor_config.json"):
        if file in files and (path / file).exists():
            config = read_json(path / file, path, name)
            nested = config.get("image_processor")
            for part in (config, *([nested] if isinstance(nested, Mapping) else [])):
                problem = _processor_problem(part)
                if problem is not None:
                    raise ModelError(
                        f"{file} of {name} has {problem}",
                        why="every image is cut and scaled as it says",
                        fix="save the image processor into the folder again: processor.save_pretrained(folder)",
                    )


def _processor_problem(config: Mapping[str, Any]) -> str | None:
    for key in ("size", "crop_size", "pad_size"):
        given = config.get(key)
        sides = given.values() if isinstance(given, Mapping) else given if isinstance(given, list) else [given]
        for side in sides:
            if side is not None and not (_is_number(side) and 1 <= side <= LARGEST_SIDE):
                return f"{key}: {json.dumps(given)[:80]}, and sides are 1 to {LARGEST_SIDE:,} pixels"
    for key in ("image_mean", "image_std"):
        given = config.get(key)
        values = given if isinstance(given, list) else [given]
        if any(value is not None and not (_is_number(value) and abs(value) < 1e6) for value in values):
            return f"{key}: {json.dumps(given)[:80]}, which are no numbers that pixels can have"
        if key == "image_std" and any(value is not None and value <= 0 for value in values):
            return f"image_std: {json.dumps(given)[:80]}, and pixels are divided by it"
    factor = config.get("rescale_factor")
    if factor is not None and not (_is_number(factor) and 0 < abs(factor) < 1e6):
        return f"rescale_factor: {json.dumps(factor)[:80]}, by which pixels are multiplied"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf
