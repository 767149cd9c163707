"""What every input is: the way from rows, as people have them, to what a model is fed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import numpy as np
import torch

from tuner.records import Progress

if TYPE_CHECKING:
    from tuner.blocks import Block
    from tuner.inputs.given import Form
    from tuner.inputs.mixing import Mixture

POOLINGS = ("mean", "cls", "last")
"""How the states of a row become one vector (`tuner.model.backbone.pool`)."""

Rows = TypeVar("Rows")
"""Encoded rows (`tuner.inputs.encoded.Encoded`) of one input."""
Change = Callable[[torch.Tensor], torch.Tensor]


class Base(Protocol):
    """What an input asks of a pretrained base (`tuner.model.backbone.Backbone`)."""

    @property
    def id(self) -> str:
        """The base's name."""

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The base's blocks, in the order in which data flows."""

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """What leaves every block for one row."""

    @property
    def pooling(self) -> str:
        """How the states of a row become one vector."""


@dataclass(frozen=True, kw_only=True)
class NativeHead:
    """transformers' own classifiers of one kind, by the names that transformers exports.

    ``auto`` is the Auto class that loads one, ``mapping`` the table of all of them by configuration, ``pipeline`` the
    task of the pipeline that runs one, ``described`` what such a model is called at the start of a sentence.
    ``per_token`` says that every token is classified.
    """

    auto: str
    mapping: str
    pipeline: str
    described: str
    per_token: bool = False

    @property
    def auto_class(self) -> Any:
        """The Auto class itself, out of transformers."""
        import transformers

        return getattr(transformers, self.auto)

    def class_for(self, config: object) -> type[Any] | None:
        """The classifier of an architecture; None where it has none."""
        import transformers

        known = getattr(transformers, self.mapping)
        if type(config) not in known:
            return None
        listed = known[type(config)]
        found: type[Any] = listed[0] if isinstance(listed, tuple) else listed
        return found


class Input(Protocol[Rows]):
    """One way of reading rows, with the reader (tokenizer, image processor) that a model was trained with.

    What follows it asks these, and never which kind it is. `tuner.inputs.known` lists all there are.
    """

    noun: str
    """One row, in messages."""
    nouns: str
    """Several of them."""
    reader_noun: str
    reader_files: tuple[str, ...]
    """Any of these lies in the folder of a model that is fed so."""
    auto_reader: str
    """transformers' Auto class that loads the reader."""
    head: NativeHead
    """transformers' own classifiers of whole rows."""
    form: Form
    """Rows as a person passes them."""
    needed: str
    """What a base must give to be read block by block, as a clause."""
    usable: str
    """Bases that do, by example."""
    per_token: bool
    """Whether what leaves a block is one state a token, (b, t, width); else one a row, (b, ...)."""
    policies: tuple[str, ...]
    """Augmentations that change such rows (`tuner.training.augmentation`)."""
    preferred: tuple[str, ...]
    """Those that are tried where none is asked for: the first one that fits."""
    fresh_views: int
    """Views of a row that are drawn from where nothing is cached."""

    @classmethod
    def reads(cls, reader: object) -> bool:
        """Whether a reader is of this kind."""

    @classmethod
    def of(
        cls, reader: Any, *, base: torch.nn.Module, name: str, max_length: int | None, stored: Mapping[str, Any] | None
    ) -> tuple[Self, str, tuple[str, ...]]:
        """The input of a base, how the base pools its states by itself, and warnings.

        Args:
            reader: of this kind.
            base: the model without its head.
            name: of the model, for messages.
            max_length: what the user asks for, None for the usual.
            stored: what sentence-transformers stored of the pooling, None where it did not.

        Raises:
            OptionError: for a length that cannot be.
        """

    @staticmethod
    def try_reader(reader: Any, name: str) -> None:
        """Raise `ModelError` for a reader out of a folder that does not work on a sample."""

    @property
    def reader(self) -> Any:
        """What is saved beside a model that is fed so."""

    def saved_reader(self) -> Any:
        """A copy of it, as it is saved beside a tuned model."""

    @property
    def settings(self) -> str:
        """What the encoded rows depend on beside the rows and the model."""

    @property
    def max_length(self) -> int | None:
        """Tokens that rows are cut to; None where they have none."""

    def encode(self, rows: Sequence[Any], /, *, progress: Progress | None = None) -> Rows:
        """The rows as the model is fed them."""

    def readable(self, rows: Sequence[Any], *, what: str) -> tuple[np.ndarray | None, tuple[str, ...]]:
        """Positions of the rows that could be read when they were encoded, and a warning that counts the others.

        None and no warning where all could, which is said of `what`, such as "training". Raises `DataError` where most
        could not.
        """

    def batches(self, encoded: Rows) -> Iterator[np.ndarray]:
        """Positions of the rows that run together, all rows in turn."""

    def padded(self, encoded: Rows, rows: np.ndarray) -> int:
        """Pieces that every row of a batch is padded to."""

    def collate(self, encoded: Rows, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """The model's inputs for a batch of these rows, by their names."""

    def example(self, *, uneven: bool = False) -> Rows:
        """Four rows of random content, to try a model with; `uneven` ones differ in length where rows can."""

    def tokens_met(self, *parts: Rows) -> np.ndarray | None:
        """The distinct token ids in these rows, padding included; None where rows are not looked up in a table."""

    def placed(self, base: torch.nn.Module) -> torch.nn.Module:
        """Lay the base out in memory as it runs fastest on such rows."""

    def configure(self, config: Any) -> None:
        """Tell the configuration of a native classifier what it must know of the reader, in place."""

    def misfit(self, policy: str, *, base: Base) -> tuple[str, str] | None:
        """Say in what an augmentation does not fit, and why that matters; None where it fits."""

    def views(self, encoded: Rows, *, policy: str, copies: int, seed: int, mirrors: Callable[[], bool]) -> Rows:
        """Give rows several times over: row ``view * n + i`` is a view of row ``i``, view 0 the row itself.

        Args:
            encoded: the n rows.
            policy: the augmentation, one of `policies`.
            copies: how many views of each row there are, the row itself among them.
            seed: of what is drawn.
            mirrors: asked where a row could be mirrored: whether that keeps its label.
        """

    def mirrored(self, encoded: Rows) -> Rows | None:
        """The rows, left and right exchanged; None where they have no sides."""

    def mixed(
        self, inputs: dict[str, torch.Tensor], mixture: Mixture, *, depth: int
    ) -> tuple[dict[str, torch.Tensor], int, Change | None]:
        """A batch whose rows are mixed where `depth` blocks end.

        Returns:
            The inputs, the depth at which states are changed, and the change; None where the inputs are mixed already.
        """
