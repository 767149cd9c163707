"""Images as a model reads them: cut to size once, scaled in every batch; and changed views of them."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from tuner.errors import DataError, OptionError
from tuner.inputs.base import Base, Change, NativeHead
from tuner.inputs.encoded import WholeRows
from tuner.inputs.given import IMAGES
from tuner.inputs.mixing import Mixture
from tuner.inputs.pictures import Pictures
from tuner.records import Progress

IMAGES_AT_ONCE = 64
IMAGES_PER_BATCH = 32
CLASS_TOKENS = ("cls_token", "class_token", "class_embedding")
"""Names of weights of a token that has gathered the whole image after the last block."""


@dataclass(frozen=True, kw_only=True)
class Pixels(WholeRows):
    """Images as the model's processor cuts them, (n, 3, h, w): bytes, or floats where it does more than scale them."""

    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(n,) ones: all images are of one size."""
        return np.ones(len(self.values), dtype=np.int64)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(3, h, w), the shape of one image."""
        return self.values.shape[1:]

    def take(self, rows: Sequence[int] | np.ndarray) -> Pixels:
        """Some of the rows, in the order asked for."""
        return Pixels(values=self.values[np.asarray(rows, dtype=np.int64)])

    def joined(self, other: Pixels) -> Pixels:
        """These images and others of the same size below them."""
        return Pixels(values=np.concatenate([self.values, other.values]))

    def digest(self) -> str:
        """SHA-256 of the content."""
        return hashlib.sha256(np.ascontiguousarray(self.values).data).hexdigest()

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """(b, 3, h, w) pixels of the images at these positions, a copy."""
        taken: np.ndarray = self.values[rows]
        return taken


@dataclass(frozen=True, kw_only=True)
class Views(WholeRows):
    """Images several times over, made as they are asked for: row ``view * n + i`` is a view of image ``i``.

    View 0 is the image itself. Every view is drawn from its own seed, so that it comes out the same whenever and in
    whatever batch it is made. `flip` mirrors half of the views.
    """

    original: Pixels
    policy: str
    copies: int
    flip: bool
    seed: int

    def __len__(self) -> int:
        return self.copies * len(self.original)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(n,) ones, as of `Pixels`."""
        return np.ones(len(self), dtype=np.int64)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(3, h, w), the shape of one view."""
        return self.original.input_shape

    def joined(self, other: Views) -> Pixels:
        """These views and others below them, all of them made."""
        return Pixels(values=np.concatenate([part.pixels(np.arange(len(part))) for part in (self, other)]))

    def digest(self) -> str:
        """SHA-256 of what the views are made from."""
        made_from = (self.original.digest(), self.policy, self.copies, self.flip, self.seed)
        return hashlib.sha256(repr(made_from).encode()).hexdigest()

    def take(self, rows: Sequence[int] | np.ndarray) -> Pixels:
        """The views at these positions, in the order asked for."""
        return Pixels(values=self.pixels(np.asarray(rows, dtype=np.int64)))

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """(b, 3, h, w) pixels of the views at these positions."""
        view, image = np.divmod(rows, len(self.original))
        values = self.original.values[image]
        with torch.random.fork_rng(devices=[]):  # the policies draw from torch's global generator
            for position in np.flatnonzero(view):
                values[position] = self._changed(values[position], view=int(view[position]), image=int(image[position]))
        return values

    def _changed(self, pixels: np.ndarray, *, view: int, image: int) -> np.ndarray:
        state = np.random.SeedSequence((self.seed, view, image)).generate_state(2)
        torch.manual_seed(int(state[0]))
        changed = torch.from_numpy(pixels)
        if self._policy is not None:
            changed = self._policy(changed)
        if self.flip and state[1] % 2:
            changed = changed.flip(-1)
        made: np.ndarray = changed.numpy()
        return made

    @cached_property
    def _policy(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """torchvision's, of the whole image; None for mirroring alone."""
        from torchvision.transforms import InterpolationMode, v2

        if self.policy == "flip":
            return None
        kind = {"randaugment": v2.RandAugment, "trivialaugment": v2.TrivialAugmentWide}[self.policy]
        made: Callable[[torch.Tensor], torch.Tensor] = kind(interpolation=InterpolationMode.BILINEAR)
        return made


class ImageInputs:
    """A transformers image processor, in two steps: cut to size once, as bytes; scaled in every batch.

    Bytes take a quarter of the memory. Where the processor does more than scale by a factor, a mean and a deviation
    (seen on an example), its own output is kept as floats.
    """

    noun, nouns, reader_noun = "image", "images", "image processor"
    reader_files: tuple[str, ...] = ("preprocessor_config.json", "processor_config.json")
    auto_reader = "AutoImageProcessor"
    head = NativeHead(
        auto="AutoModelForImageClassification",
        mapping="MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING",
        pipeline="image-classification",
        described="An image classifier",
    )
    form = IMAGES
    needed = "one state an image is needed"
    usable = "an image classifier, such as ResNet, ViT or MobileNet"
    per_token = False
    policies: tuple[str, ...] = ("flip", "randaugment", "trivialaugment", "cutmix", "mixup")
    preferred: tuple[str, ...] = ("trivialaugment", "mixup")
    fresh_views = 1000  # hardly any is met twice

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self._scale = self._affine()

    @classmethod
    def reads(cls, reader: object) -> bool:
        """Whether a reader is an image processor."""
        from transformers import BaseImageProcessor

        return isinstance(reader, BaseImageProcessor)

    @classmethod
    def of(
        cls, reader: Any, *, base: torch.nn.Module, name: str, max_length: int | None, stored: Mapping[str, Any] | None
    ) -> tuple[ImageInputs, str, tuple[str, ...]]:
        """As `tuner.inputs.base.Input.of`. Where there is no class token, all places count the same."""
        if max_length is not None:
            raise OptionError(
                f"--max-length {max_length} does not go with {name}, which reads images",
                why="it is the number of tokens that a text is cut to",
                fix="omit --max-length",
            )
        has_class_token = any(key.rpartition(".")[2] in CLASS_TOKENS for key, _ in base.named_parameters())
        return cls(reader), "cls" if has_class_token else "mean", ()

    @staticmethod
    def try_reader(reader: Any, name: str) -> None:
        """Does nothing: making an `ImageInputs` of the reader tries it."""

    @property
    def max_length(self) -> None:
        """None: images have no tokens."""
        return None

    @property
    def settings(self) -> str:
        """What the pixels depend on beside the images."""
        return str(self.processor.to_json_string())

    @property
    def reader(self) -> Any:
        """What is saved beside a model that is fed so."""
        return self.processor

    def saved_reader(self) -> Any:
        """A copy of the image processor."""
        return copy.deepcopy(self.processor)

    def encode(self, images: Sequence[Any], *, progress: Progress | None = None) -> Pixels:
        """Cut images, in any form that `tuner.inputs.pictures.open_picture` reads, to the processor's size.

        Raises `DataError` for one that cannot be read; of `Pictures`, that one is grey and they remember it.
        """
        pictures = images if isinstance(images, Pictures) else Pictures(images)
        values = self._cut_all(pictures, progress)
        if pictures is not images and pictures.unreadable:
            row, why = next(iter(sorted(pictures.unreadable.items())))
            raise DataError(
                f"the image at position {row} cannot be read ({why})",
                why="the model needs its pixels",
                fix="pass paths, PIL images, or arrays (height, width, 3) of bytes; leave damaged ones out",
            )
        return Pixels(values=values)

    def _cut_all(self, images: Pictures, progress: Progress | None) -> np.ndarray:
        parts = []
        for start in range(0, len(images), IMAGES_AT_ONCE):
            if progress is not None:
                progress(f"reading images: {start:,} of {len(images):,}", start / len(images))
            parts.append(self._cut_to_one_size(images[start : start + IMAGES_AT_ONCE]))
        if len({part.shape[1:] for part in parts}) > 1:
            raise _several_sizes()
        return np.concatenate(parts) if parts else self.example().values[:0]

    def _cut_to_one_size(self, images: Sequence[Any]) -> np.ndarray:
        """What the processor cuts images to; one without sizes of its own leaves them as they are."""
        try:
            return self._cut(images)
        except ValueError as error:
            if getattr(self.processor, "do_resize", True):
                raise
            raise _several_sizes() from error

    def readable(self, rows: Sequence[Any], *, what: str) -> tuple[np.ndarray | None, tuple[str, ...]]:
        """Positions of the images that could be read, as `Pictures` remember. Raises `DataError` for too few."""
        if not isinstance(rows, Pictures) or not rows.unreadable:
            return None, ()
        note = rows.note(f"{what} images")
        return rows.readable(), (note,)

    def batches(self, encoded: Pixels | Views) -> Iterator[np.ndarray]:
        """Row positions in order."""
        for start in range(0, len(encoded), IMAGES_PER_BATCH):
            yield np.arange(start, min(start + IMAGES_PER_BATCH, len(encoded)))

    def padded(self, encoded: Pixels | Views, rows: np.ndarray) -> int:
        """Always 1: an image is one piece."""
        return 1

    def collate(self, encoded: Pixels | Views, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """The images as ``pixel_values``, (b, 3, h, w) of float32."""
        values = torch.from_numpy(encoded.pixels(rows)).float()
        if self._scale is not None:
            factor, shift = self._scale
            values = values * factor + shift
        # Convolutions on the CPU run up to seven times as fast with the channels last.
        return {"pixel_values": values.contiguous(memory_format=torch.channels_last)}

    def example(self, *, uneven: bool = False) -> Pixels:
        """Four images of noise, to run a model with; all are of one size."""
        return Pixels(values=self._cut(_noise()))

    def tokens_met(self, *parts: Pixels | Views) -> None:
        """None: images have no tokens."""
        return

    def placed(self, base: torch.nn.Module) -> torch.nn.Module:
        """The base with the channels last, as convolutions run fastest."""
        return base.to(memory_format=torch.channels_last)

    def configure(self, config: Any) -> None:
        """Does nothing: a native classifier needs to know nothing of the image processor."""

    def misfit(self, policy: str, *, base: Base) -> tuple[str, str] | None:
        """In what an augmentation does not fit images, the image processor or the base; None where it fits."""
        if policy not in self.policies:
            return "the data is images", f"it changes texts; {', '.join(self.policies)} change images"
        if policy in ("randaugment", "trivialaugment") and self.example().values.dtype != np.uint8:
            return "the model's image processor does more than scale colours", "the policy changes colours as bytes"
        if policy == "cutmix" and any(len(shape) != 3 or has_channels_last(shape) for shape in base.shapes):
            return (
                "what leaves the model's blocks is no picture of channels",
                "a part of one state is put into another, at the freeze boundary",
            )
        return None

    def views(self, encoded: Pixels, *, policy: str, copies: int, seed: int, mirrors: Callable[[], bool]) -> Views:
        """Give images several times over; half of the views are mirrored where that is the policy, or keeps labels."""
        flip = policy == "flip" or mirrors()
        return Views(original=encoded, policy=policy, copies=copies, flip=flip, seed=seed)

    def mirrored(self, encoded: Pixels) -> Pixels:
        """The images, left and right exchanged."""
        return mirrored(encoded)

    def mixed(
        self, inputs: dict[str, torch.Tensor], mixture: Mixture, *, depth: int
    ) -> tuple[dict[str, torch.Tensor], int, Change | None]:
        """Images are mixed where the frozen blocks end; with none frozen, their pixels are."""
        if depth == 0:
            return inputs | {"pixel_values": mixture.states(inputs["pixel_values"])}, depth, None
        return inputs, depth, mixture.states

    def _cut(self, images: Sequence[Any]) -> np.ndarray:
        # Arrays of few rows may be taken for channels first.
        options: dict[str, Any] = {}
        if len(images) and isinstance(images[0], np.ndarray):
            options["input_data_format"] = "channels_last"
        if self._scale is not None:
            options |= {"do_rescale": False, "do_normalize": False}
        values: np.ndarray = self.processor(list(images), return_tensors="np", **options)["pixel_values"]
        return values

    def _affine(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Factor and shift, (3, 1, 1), that make the processor's output of its bytes; None where they do not."""
        self._scale = None
        whole = self._cut(_noise())
        mean, deviation = np.zeros(3), np.ones(3)
        if getattr(self.processor, "do_normalize", False):
            mean, deviation = np.asarray(self.processor.image_mean), np.asarray(self.processor.image_std)
        factor = float(self.processor.rescale_factor) if getattr(self.processor, "do_rescale", False) else 1.0
        scale, shift = (np.float32(part).reshape(-1, 1, 1) for part in (factor / deviation, -mean / deviation))
        self._scale = torch.from_numpy(scale), torch.from_numpy(shift)
        bytes_ = self._cut(_noise())
        same = bytes_.dtype == np.uint8 and np.allclose(bytes_ * scale + shift, whole, atol=1e-4)
        return self._scale if same else None


def _several_sizes() -> DataError:
    return DataError(
        "the images have different sizes, and this model's image processor does not bring them to one",
        why="images of a batch lie in one array",
        fix="resize the images, or set do_resize and size in the model's preprocessor_config.json",
    )


def _noise() -> list[np.ndarray]:
    """Two images of fine noise and two of coarse patches: either alone may hide what half precision loses."""
    generator = np.random.default_rng(0)
    fine = [generator.integers(0, 256, size=(48, 64, 3), dtype=np.uint8) for _ in range(2)]
    coarse = [generator.integers(0, 256, size=(3, 4, 3), dtype=np.uint8) for _ in range(2)]
    return [*fine, *(patches.repeat(16, axis=0).repeat(16, axis=1) for patches in coarse)]


def has_channels_last(shape: Sequence[int]) -> bool:
    """Whether a state of one (square) image is (h, w, c), as torchvision's Swin has it, rather than (c, h, w).

    >>> has_channels_last((7, 7, 96)), has_channels_last((96, 7, 7))
    (True, False)
    """
    return shape[0] == shape[1] != shape[2]


def mirrored(encoded: Pixels) -> Pixels:
    """The images, left and right exchanged."""
    return Pixels(values=np.ascontiguousarray(encoded.values[..., ::-1]))
