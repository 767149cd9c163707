"""Texts, pairs of texts and sentences of words as a model reads them: token ids, batches by length, padding."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from tuner.blocks import encoder_end
from tuner.errors import ModelError
from tuner.inputs.alignment import encode_words
from tuner.inputs.base import Base, Change, Input, NativeHead
from tuner.inputs.given import TEXTS
from tuner.inputs.mixing import Mixture
from tuner.inputs.pairs import BETWEEN
from tuner.inputs.text_base import attention_window, base_pooling, resolve_max_length, vocabulary_of
from tuner.inputs.token_views import token_views
from tuner.inputs.tokenizing import tokenizer_failures, try_tokenizer
from tuner.inputs.tokens import ENCODED_AT_ONCE, Tokens
from tuner.records import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Lengths are padded to multiples of this, since oneDNN builds a primitive for every new shape.
LENGTH_STEP = 16
TOKENS_PER_BATCH = 4096
Known = TypeVar("Known", bound=Tokens)


class TextInputs:
    """A tokenizer with the length that texts are cut to.

    Args:
        tokenizer: of a pretrained model.
        max_length: tokens that texts are cut to.
        vocabulary: tokens that the model knows; one beyond them is refused.
        model: the model's name, for messages.
        window: batches are padded to a multiple of it.
    """

    noun, nouns, reader_noun = "text", "texts", "tokenizer"
    reader_files: tuple[str, ...] = (
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
        "vocab.json",
        "spiece.model",
    )
    auto_reader = "AutoTokenizer"
    head = NativeHead(
        auto="AutoModelForSequenceClassification",
        mapping="MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
        pipeline="text-classification",
        described="A text classifier",
    )
    form = TEXTS
    needed = "one state a token is needed after every block"
    usable = "a text encoder or decoder, such as BERT, RoBERTa, GPT-2 or Llama"
    per_token = True
    policies: tuple[str, ...] = ("token_dropout", "masking", "mixup")
    preferred: tuple[str, ...] = ("mixup", "token_dropout")
    fresh_views = 20  # all of them are made at once

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

    @classmethod
    def reads(cls, reader: object) -> bool:
        """Whether a reader is a tokenizer."""
        from transformers import PreTrainedTokenizerBase

        return isinstance(reader, PreTrainedTokenizerBase)

    @classmethod
    def of(
        cls, reader: Any, *, base: torch.nn.Module, name: str, max_length: int | None, stored: Mapping[str, Any] | None
    ) -> tuple[TextInputs, str, tuple[str, ...]]:
        """As `tuner.inputs.base.Input.of`. A tokenizer without a padding token is given one."""
        if reader.pad_token_id is None and reader.eos_token is not None:
            reader.pad_token = reader.eos_token  # padded positions are masked, so any token serves
        pooling, notes = base_pooling(base, stored)
        inputs = cls(
            reader,
            max_length=resolve_max_length(max_length, base),
            vocabulary=vocabulary_of(base, reader),
            model=name,
            window=attention_window(getattr(base, "config", None)),
        )
        return inputs, pooling, notes

    @staticmethod
    def try_reader(reader: Any, name: str) -> None:
        """Raise `ModelError` for a tokenizer that fails on a sample, or takes too long."""
        try_tokenizer(reader, name)

    @property
    def settings(self) -> str:
        """What the token ids depend on beside the texts and the tokenizer of the model."""
        return str(self.max_length)

    @property
    def reader(self) -> PreTrainedTokenizerBase:
        """What is saved beside a model that is fed so."""
        return self.tokenizer

    def saved_reader(self) -> PreTrainedTokenizerBase:
        """A copy that cuts texts where the model was tuned on them.

        Pipelines cut at the tokenizer's own limit, which may lie far beyond.
        """
        reader = copy.deepcopy(self.tokenizer)
        reader.model_max_length = self.max_length
        return reader

    @property
    def padding(self) -> int:
        """The token that fills short rows up; it is masked."""
        pad = self.tokenizer.pad_token_id
        return 0 if pad is None else int(pad)

    def encode(self, texts: Sequence[str | Sequence[str]], *, progress: Progress | None = None) -> Tokens:
        """Tokenize and cut to `max_length`, of pairs (`tuner.inputs.pairs`) the longer text; remembers which were cut.

        Sentences of words (`tuner.inputs.alignment.encode_words`) remember where their words are, too. Raises
        `ModelError` for a tokenizer that fails on these texts.
        """
        with tokenizer_failures(self._model):
            return self._encode(texts, progress)

    def _encode(self, texts: Sequence[str | Sequence[str]], progress: Progress | None) -> Tokens:
        if len(texts) == 0:
            return Tokens(input_ids=(), truncated=np.zeros(0, dtype=bool))
        if not isinstance(texts[0], str):
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

    def _known(self, encoded: Known) -> Known:
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

    def readable(self, rows: Sequence[Any], *, what: str) -> tuple[None, tuple[str, ...]]:
        """No positions and no warning: any text can be read."""
        return None, ()

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

    def example(self, *, uneven: bool = False) -> Tokens:
        """Four rows of random tokens, to run a model with; `uneven` ones are shorter and shorter, so that they pad."""
        generator = np.random.default_rng(0)
        known = min(len(self.tokenizer), self.vocabulary)
        size = min(self.max_length, 32)
        rows = [generator.integers(0, known, size=size).astype(np.int32) for _ in range(4)]
        if uneven:
            rows = [ids[: max(len(ids) - 5 * row, 2)] for row, ids in enumerate(rows)]
        return Tokens(input_ids=tuple(rows), truncated=np.zeros(4, dtype=bool))

    def tokens_met(self, *parts: Tokens) -> np.ndarray:
        """The distinct token ids in some texts, padding included."""
        ids = [row for part in parts for row in part.input_ids]
        return np.unique(np.concatenate([*ids, np.array([self.padding])]))

    def placed(self, base: torch.nn.Module) -> torch.nn.Module:
        """The base as it is."""
        return base

    def configure(self, config: Any) -> None:
        """Tell a native classifier which token is padding, which some need to find the last one of a text."""
        if config.pad_token_id is None:
            config.pad_token_id = self.padding

    def misfit(self, policy: str, *, base: Base) -> tuple[str, str] | None:
        """In what an augmentation does not fit texts, the tokenizer or the base; None where it fits."""
        if policy not in self.policies:
            return "the data is text", f"it changes images; {', '.join(self.policies)} change texts"
        if policy == "masking" and self.tokenizer.mask_token_id is None:
            return f"the tokenizer of {base.id} has no mask token", "tokens are replaced by it"
        if policy == "mixup" and (base.pooling == "last" or encoder_end(base.blocks) is not None):
            return f"{base.id} is a decoder, or has one", "mixed texts have no last token in common"
        return None

    def views(self, encoded: Tokens, *, policy: str, copies: int, seed: int, mirrors: Callable[[], bool]) -> Tokens:
        """Give texts several times over (`tuner.inputs.token_views.token_views`)."""
        special, mask = self.tokenizer.all_special_ids, self.tokenizer.mask_token_id
        return token_views(encoded, policy=policy, copies=copies, seed=seed, special=special, mask=mask)

    def mirrored(self, encoded: Tokens) -> None:
        """None: texts have no sides."""
        return

    def mixed(
        self, inputs: dict[str, torch.Tensor], mixture: Mixture, *, depth: int
    ) -> tuple[dict[str, torch.Tensor], int, Change]:
        """Mix texts after their embeddings at the earliest.

        A mixed text is as long as the longer one, and the shorter one's padding counts as zero.
        """
        own = inputs["attention_mask"]
        mask = torch.maximum(own, own[mixture.other.to(own.device)])

        def mix(states: torch.Tensor) -> torch.Tensor:
            return mixture.states(states * own.unsqueeze(-1).to(states.dtype))

        return inputs | {"attention_mask": mask}, max(depth, 1), mix


def padded_length(length: int, limit: int) -> int:
    """The length a batch is padded to: the next multiple of 16, at most the model's limit.

    >>> padded_length(17, 128), padded_length(128, 128), padded_length(121, 124)
    (32, 128, 124)
    """
    return min(-(-length // LENGTH_STEP) * LENGTH_STEP, max(limit, length))


def as_text_inputs(inputs: Input[Any], *, name: str) -> TextInputs:
    """The inputs of a model, by its name, that must be texts. Raises `ModelError` for a model of anything else."""
    if not isinstance(inputs, TextInputs):
        raise ModelError(
            f"{name} reads {inputs.nouns}, not texts",
            why="texts need a model with a tokenizer",
            fix="omit --model for the built-in text model, or pass a text model",
        )
    return inputs
