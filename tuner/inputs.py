"""What a model is fed: texts become token ids, images become pixels, and both become batches of tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from tuner.errors import DataError, ModelError
from tuner.pairs import BETWEEN
from tuner.pictures import Pictures
from tuner.records import Progress
from tuner.tokenizing import tokenizer_failures

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tuner.augmentation import Views

# Lengths are padded to multiples of this, since oneDNN builds a primitive for every new shape.
LENGTH_STEP = 16
ENCODED_AT_ONCE = 8192
IMAGES_AT_ONCE = 64
TOKENS_PER_BATCH = 4096
IMAGES_PER_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Token ids of some texts, special tokens included, cut to the model's length.

    ``types`` of a pair's tokens are 0 in the first text and 1 in the second; None where all texts stand alone. Of
    sentences of words, ``first`` holds for every one a (words,) array: the position in its token ids of each word's
    first subword, -1 for a word without a token (`tuner.alignment`).
    """

    input_ids: tuple[np.ndarray, ...]
    truncated: np.ndarray
    types: tuple[np.ndarray, ...] | None = None
    first: tuple[np.ndarray, ...] | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens a row, special tokens included."""
        return np.fromiter((len(ids) for ids in self.input_ids), dtype=np.int64, count=len(self.input_ids))

    def take(self, rows: Sequence[int] | np.ndarray) -> Tokens:
        """Some of the rows, in the order asked for."""
        return Tokens(
            input_ids=tuple(self.input_ids[int(row)] for row in rows),
            truncated=self.truncated[np.asarray(rows, dtype=np.int64)],
            types=None if self.types is None else tuple(self.types[int(row)] for row in rows),
            first=None if self.first is None else tuple(self.first[int(row)] for row in rows),
        )

    def joined(self, other: Tokens) -> Tokens:
        """These rows and others of the same kind below them."""
        return Tokens(
            input_ids=self.input_ids + other.input_ids,
            truncated=np.concatenate([self.truncated, other.truncated]),
            types=None if self.types is None or other.types is None else self.types + other.types,
            first=None if self.first is None or other.first is None else self.first + other.first,
        )

    def digest(self) -> str:
        """SHA-256 of the content."""
        digest = hashlib.sha256(self.lengths.tobytes())
        for ids in (*self.input_ids, *(self.types or ()), *(self.first or ())):
            digest.update(ids.tobytes())
        return digest.hexdigest()

    @cached_property
    def n_words(self) -> np.ndarray:
        """(n,) words a sentence; of texts that are no sentences of words 1 each, since they are labelled as a whole."""
        if self.first is None:
            return np.ones(len(self), dtype=np.int64)
        return np.fromiter((len(words) for words in self.first), dtype=np.int64, count=len(self.first))

    @cached_property
    def word_begins(self) -> np.ndarray:
        """(n,) place of every sentence's first word among the words of all sentences."""
        begins: np.ndarray = np.cumsum(self.n_words) - self.n_words
        return begins

    @cached_property
    def seen(self) -> np.ndarray:
        """(N,) whether the model sees a word, for the words of all sentences below each other."""
        if self.first is None:
            return np.ones(len(self), dtype=bool)
        return np.concatenate([np.zeros(0, dtype=bool), *(words >= 0 for words in self.first)])

    def words_in(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the words that the model sees in some sentences: place among all words, which of `rows`, and its token."""
        assert self.first is not None
        places, sentences, tokens = [], [], []
        for position, row in enumerate(rows):
            seen = np.flatnonzero(self.first[int(row)] >= 0)
            places.append(self.word_begins[int(row)] + seen)
            sentences.append(np.full(len(seen), position))
            tokens.append(self.first[int(row)][seen])
        return tuple(np.concatenate(part).astype(np.int64) for part in (places, sentences, tokens))  # type: ignore[return-value]


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Images as the model's processor cuts them, (n, 3, h, w): bytes, or floats where it does more than scale them."""

    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def lengths(self) -> np.ndarray:
        """One a row: all images are of one size."""
        return np.ones(len(self.values), dtype=np.int64)

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
        """(b, 3, h, w) of some rows, a copy."""
        taken: np.ndarray = self.values[rows]
        return taken


Encoded: TypeAlias = "Tokens | Pixels | Views"


class TextInputs:
    """A tokenizer with the length that texts are cut to."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int,
        vocabulary: int,
        model: str,
        window: int = 1,
    ) -> None:
        self.tokenizer, self.max_length, self.vocabulary = tokenizer, max_length, vocabulary
        self.window = window
        """Batches are padded to a multiple of it: models with windows of attention would else do so inside."""
        self._model = model

    @property
    def settings(self) -> str:
        """What the token ids depend on beside the texts and the tokenizer of the model."""
        return str(self.max_length)

    @property
    def reader(self) -> PreTrainedTokenizerBase:
        """What is saved beside a model that is fed so."""
        return self.tokenizer

    @property
    def padding(self) -> int:
        """The token that fills short rows up; it is masked."""
        pad = self.tokenizer.pad_token_id
        return 0 if pad is None else int(pad)

    def encode(self, texts: Sequence[str | Sequence[str]], *, progress: Progress | None = None) -> Tokens:
        """Tokenize and cut to `max_length`, of pairs (`tuner.pairs`) the longer text; remembers which were cut.

        Sentences of words (`tuner.alignment.encode_words`) remember where their words are, too. Raises `ModelError` for
        a tokenizer that fails on these texts.
        """
        with tokenizer_failures(self._model):
            return self._encode(texts, progress)

    def _encode(self, texts: Sequence[str | Sequence[str]], progress: Progress | None) -> Tokens:
        if len(texts) == 0:
            return Tokens(input_ids=(), truncated=np.zeros(0, dtype=bool))
        if not isinstance(texts[0], str):
            from tuner.alignment import encode_words

            return self._known(encode_words(self.tokenizer, texts, max_length=self.max_length))
        pairs = any(BETWEEN in text for text in texts)
        rows: list[np.ndarray] = []
        types: list[np.ndarray] = []
        truncated: list[bool] = []
        for start in range(0, len(texts), ENCODED_AT_ONCE):
            if progress is not None and len(texts) > ENCODED_AT_ONCE:
                progress(f"tokenizing: {start:,} of {len(texts):,}", start / len(texts))
            # In parts, since a tokenizer's own record of a text is a hundred times it.
            parts = [str(text).partition(BETWEEN) for text in texts[start : start + ENCODED_AT_ONCE]]
            batch = self.tokenizer(
                [first for first, _, _ in parts],
                [second for _, _, second in parts] if pairs else None,
                truncation=True,
                max_length=self.max_length,
                return_attention_mask=False,
                return_token_type_ids=pairs and self._has_types,
            )
            if "token_type_ids" in batch:
                types += [np.asarray(row, dtype=np.int32) for row in batch["token_type_ids"]]
            # An id beyond 32 bits becomes a negative one, which no model knows.
            part = [np.asarray(ids, dtype=np.int64).astype(np.int32) for ids in batch["input_ids"]]
            if batch.encodings is not None:
                truncated += [bool(encoding.overflowing) for encoding in batch.encodings]
            else:  # a slow tokenizer does not say what it cut; a row of exactly the limit counts as cut
                truncated += [len(row) >= self.max_length for row in part]
            rows += part
        # An empty text has no token at all where the tokenizer adds none of its own; a padding token stands for it.
        filler = np.array([self.padding], dtype=np.int32)
        rows = [row if len(row) else filler for row in rows]
        types = [row if len(row) else np.zeros(1, dtype=np.int32) for row in types]
        return self._known(
            Tokens(
                input_ids=tuple(rows),
                truncated=np.asarray(truncated, dtype=bool),
                types=tuple(types) if types else None,
            )
        )

    def _known(self, encoded: Tokens) -> Tokens:
        """The tokens, all of which the model must have an embedding of. Raises `ModelError` where it does not."""
        if any(int(row.max()) >= self.vocabulary or int(row.min()) < 0 for row in encoded.input_ids):
            raise ModelError(
                f"the tokenizer of {self._model} gives tokens that the model does not know (it has "
                f"{self.vocabulary:,})",
                why="tokenizer and weights are not of the same model",
                fix="save the tokenizer that the model was trained with into its folder",
            )
        return encoded

    @property
    def _has_types(self) -> bool:
        """Whether the model tells the two texts of a pair apart by types of tokens."""
        return "token_type_ids" in self.tokenizer.model_input_names

    def batches(self, encoded: Tokens) -> Iterator[np.ndarray]:
        """Row positions by length, so that a batch pads little; long ones first, so that memory peaks at once."""
        order = np.argsort(-encoded.lengths, kind="stable")
        start = 0
        while start < len(order):
            size = max(1, TOKENS_PER_BATCH // self.padded(encoded, order[start : start + 1]))
            yield order[start : start + size]
            start += size

    def padded(self, encoded: Tokens, rows: np.ndarray) -> int:
        """The length that a batch of these rows is padded to."""
        length = padded_length(int(encoded.lengths[rows].max()), self.max_length)
        return -(-length // self.window) * self.window

    def collate(self, encoded: Tokens, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """Padded ``input_ids`` and ``attention_mask``, of pairs ``token_type_ids``, all (b, t) of 64-bit integers."""
        width = self.padded(encoded, rows)
        ids = np.full((len(rows), width), self.padding, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for position, row in enumerate(rows):
            length = int(encoded.lengths[row])
            ids[position, :length] = encoded.input_ids[int(row)]
            mask[position, :length] = 1
        inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        if encoded.types is not None:
            kinds = np.zeros((len(rows), width), dtype=np.int64)
            for position, row in enumerate(rows):
                kinds[position, : int(encoded.lengths[row])] = encoded.types[int(row)]
            inputs["token_type_ids"] = torch.from_numpy(kinds)
        return inputs

    def example(self) -> Tokens:
        """Four rows of random tokens, to run a model with."""
        generator = np.random.default_rng(0)
        known = min(len(self.tokenizer), self.vocabulary)
        size = min(self.max_length, 32)
        rows = tuple(generator.integers(0, known, size=size).astype(np.int32) for _ in range(4))
        return Tokens(input_ids=rows, truncated=np.zeros(4, dtype=bool))


class ImageInputs:
    """A transformers image processor, in two steps: cut to size once, as bytes; scaled in every batch.

    Bytes take a quarter of the memory. Where the processor does more than scale by a factor, a mean and a deviation
    (seen on an example), its own output is kept as floats.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self._scale = self._affine()

    @property
    def settings(self) -> str:
        """What the pixels depend on beside the images."""
        return str(self.processor.to_json_string())

    @property
    def reader(self) -> Any:
        """What is saved beside a model that is fed so."""
        return self.processor

    def encode(self, images: Sequence[Any], *, progress: Progress | None = None) -> Pixels:
        """Cut images, in any form that `tuner.pictures.open_picture` reads, to the processor's size.

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

    def batches(self, encoded: Pixels | Views) -> Iterator[np.ndarray]:
        """Row positions in order."""
        for start in range(0, len(encoded), IMAGES_PER_BATCH):
            yield np.arange(start, min(start + IMAGES_PER_BATCH, len(encoded)))

    def padded(self, encoded: Pixels | Views, rows: np.ndarray) -> int:
        """One: an image is one piece."""
        return 1

    def collate(self, encoded: Pixels | Views, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """``pixel_values``, (b, 3, h, w) of float32."""
        values = torch.from_numpy(encoded.pixels(rows)).float()
        if self._scale is not None:
            factor, shift = self._scale
            values = values * factor + shift
        # Convolutions on the CPU run up to seven times as fast with the channels last.
        return {"pixel_values": values.contiguous(memory_format=torch.channels_last)}

    def example(self) -> Pixels:
        """Four images of noise, to run a model with."""
        return Pixels(values=self._cut(_noise()))

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


def padded_length(length: int, limit: int) -> int:
    """The length a batch is padded to: the next multiple of 16, at most the model's limit.

    >>> padded_length(17, 128), padded_length(128, 128), padded_length(121, 124)
    (32, 128, 124)
    """
    return min(-(-length // LENGTH_STEP) * LENGTH_STEP, max(limit, length))


def has_channels_last(shape: Sequence[int]) -> bool:
    """Whether a state of one (square) image is (h, w, c), as torchvision's Swin has it, rather than (c, h, w).

    >>> has_channels_last((7, 7, 96)), has_channels_last((96, 7, 7))
    (True, False)
    """
    return shape[0] == shape[1] != shape[2]
