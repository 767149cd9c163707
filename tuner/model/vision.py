"""torchvision's models with their own weights: a published file whose hash is checked, or the user's safetensors."""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tuner import memory
from tuner.errors import MissingFileError, ModelError, OptionError, did_you_mean
from tuner.hub import is_offline
from tuner.model.checkpoint import check_file

PREFIX = "torchvision:"
DOWNLOAD_SECONDS = 8.0
"""How long a download may take to begin; what has begun may take as long as it needs."""


def load_torchvision(name: str, *, weights: str | Path | None = None) -> tuple[nn.Module, str]:
    """A torchvision classifier by its name, and the SHA-256 of its weights' file.

    `weights` is a safetensors file whose tensors are exactly those of the model, but for the number of classes. Without
    one, torchvision's own file is taken from torch's cache, or fetched into it, and its hash compared with the one in
    its name; it is read as tensors only. Never random weights. Raises `ModelError` and `OptionError`.
    """
    try:
        from torchvision import models
    except ImportError as error:
        raise ModelError(
            f"{PREFIX}{name} needs torchvision, which is not installed",
            why="the architecture is taken from it",
            fix="pip install torchvision",
        ) from error
    known = models.list_models(module=models)
    if name not in known:
        raise OptionError(
            f"torchvision has no classification model {name!r}.{did_you_mean(name, known)}",
            why="the architecture is taken from it",
            fix=f"use one of {', '.join(known[:6])}, ...",
        )
    if weights is not None:
        return _with_safetensors(name, Path(weights).expanduser())
    published = models.get_model_weights(name).DEFAULT
    path = _published_file(published.url, name)
    state = torch.load(path, map_location="cpu", weights_only=True)
    model = published_model(name, n_classes=len(published.meta["categories"]), state=state)
    _load_state(model, state, name=f"{PREFIX}{name}")
    return model, hashlib.sha256(path.read_bytes()).hexdigest()


def published_model(name: str, *, n_classes: int, state: dict[str, torch.Tensor]) -> nn.Module:
    """The architecture without weights; GoogLeNet and Inception have auxiliary heads where the weights do."""
    aux = None
    if name in ("googlenet", "inception_v3"):
        aux = any(key.lower().startswith("aux") for key in state)
    return torchvision_model(name=name, n_classes=n_classes, aux=aux)


def torchvision_model(*, name: str, n_classes: int, aux: bool | None = None) -> nn.Module:
    """A torchvision architecture as its weights need it; it remembers what it was built from."""
    from torchvision import models

    options: dict[str, Any] = {} if aux is None else {"init_weights": False, "aux_logits": aux}
    model: nn.Module = models.get_model(name, weights=None, num_classes=n_classes, **options)
    model.torchvision_architecture = {  # type: ignore[assignment]  # a plain attribute
        "model_type": "torchvision", "name": name, "n_classes": n_classes, "aux": aux,
    }  # fmt: skip
    return model.eval()


def torchvision_processor(name: str) -> Any:
    """transformers' image processor that cuts and scales as torchvision's own transforms of a model do."""
    from torchvision import models
    from transformers import BitImageProcessor

    preset = models.get_model_weights(name).DEFAULT.transforms()
    if preset.__class__.__name__ != "ImageClassification":
        raise ModelError(
            f"the transforms of {PREFIX}{name} are not those of an image classifier",
            why="images are cut and scaled as the model was trained",
            fix="pass another torchvision model",
        )
    return BitImageProcessor(
        size={"shortest_edge": preset.resize_size[0]},
        crop_size=preset.crop_size[0],
        resample={"nearest": 0, "bilinear": 2, "bicubic": 3}[preset.interpolation.value],
        image_mean=list(preset.mean),
        image_std=list(preset.std),
        do_convert_rgb=True,
    )


def _published_file(url: str, name: str) -> Path:
    """torchvision's weight file in torch's cache, fetched where it is missing; its name ends with its hash."""
    file_name = url.rpartition("/")[2]
    path = Path(torch.hub.get_dir()) / "checkpoints" / file_name
    if not path.exists() and not (not is_offline() and _fetched(url, path)):
        raise ModelError(
            f"the weights of {PREFIX}{name} are not here and cannot be fetched",
            why="random weights are never used in their place",
            fix=f"where there is a network fetch {url} and put it into {path.parent}, or pass --weights with a "
            "safetensors file",
        )
    expected = re.search(r"-([0-9a-f]{8,})\.pth$", file_name)
    if expected is None or not hashlib.sha256(path.read_bytes()).hexdigest().startswith(expected[1]):
        raise ModelError(
            f"{path} is not the file that torchvision published",
            why="its SHA-256 differs from the one in its name",
            fix="remove it, so that it is fetched again",
        )
    return path


def _fetched(url: str, path: Path) -> bool:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=DOWNLOAD_SECONDS):  # the whole download retries nothing by itself
            pass
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=False)
    except (urllib.error.URLError, OSError):
        return False
    return True


def _with_safetensors(name: str, path: Path) -> tuple[nn.Module, str]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_file(path, option="--weights")
    if not path.is_file():
        raise MissingFileError(
            f"--weights: there is no file {path}", why="the model's weights are read from it", fix="check the path"
        )
    memory.check_memory([path], str(path))
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{path} is not a safetensors file ({str(error).splitlines()[0]})",
            why="weights are read from safetensors only; a pickle can run any code when it is loaded",
            fix="save them with safetensors.torch.save_file(model.state_dict(), FILE)",
        ) from error
    model = published_model(name, n_classes=_n_classes(name, state), state=state)
    _load_state(model, state, name=str(path))
    return model, hashlib.sha256(path.read_bytes()).hexdigest()


def _n_classes(name: str, state: dict[str, torch.Tensor]) -> int:
    """The number of classes that weights are for: the size that changes with it, in a tensor that changes with it."""
    shapes = []
    for n_classes in (1000, 1001):
        model = published_model(name, n_classes=n_classes, state=state)
        shapes.append({key: tuple(tensor.shape) for key, tensor in model.state_dict().items()})
    for key, shape in shapes[0].items():
        changed = [i for i, (a, b) in enumerate(zip(shape, shapes[1][key], strict=True)) if a != b]
        if changed and key in state and state[key].ndim == len(shape):
            given = tuple(state[key].shape)
            wanted = tuple(given[i] if i in changed else size for i, size in enumerate(shape))
            # Of an empty tensor a size may be anything, and no model can be built from that.
            return int(given[changed[0]]) if given == wanted and state[key].numel() else 1000
    return 1000


def _load_state(model: nn.Module, state: dict[str, torch.Tensor], *, name: str) -> None:
    """Load every tensor of the model, or raise `ModelError` that names what is missing or too much."""
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items() if "num_batches" not in key}
    given = {key: tuple(tensor.shape) for key, tensor in state.items() if "num_batches" not in key}
    wrong = [f"lacks {key}" for key in sorted(wanted.keys() - given.keys())]
    wrong += [f"has {key} too much" for key in sorted(given.keys() - wanted.keys())]
    wrong += [
        f"has {key} of shape {given[key]}, not {wanted[key]}"
        for key in sorted(wanted.keys() & given.keys())
        if wanted[key] != given[key]
    ]
    if wrong:
        raise ModelError(
            f"{name} {wrong[0]}" + (f", and {len(wrong) - 1} more tensors do not fit" if len(wrong) > 1 else ""),
            why="missing weights would be random numbers, and a random block must never be frozen",
            fix="pass the weights of this architecture, all of them",
        )
    versioned = OrderedDict(state)
    versioned._metadata = model.state_dict()._metadata  # type: ignore[attr-defined]  # MnasNet asks which version it is
    model.load_state_dict(versioned, strict=False)
