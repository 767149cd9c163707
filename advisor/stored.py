"""The parts of ``advice.json`` that are plain mappings: what of them is read again."""

from __future__ import annotations

from dataclasses import dataclass, field

from tuner.records import Record


@dataclass(frozen=True, kw_only=True)
class ModelSection(Record):
    """The model that an advice is for; ``sha256`` or ``revision`` tells one of the same name from another."""

    id: str
    sha256: str | None = None
    revision: str | None = None
    n_blocks: int
    max_length: int | None

    @property
    def fingerprint(self) -> str:
        """What tells the model from all others."""
        return self.sha256 or self.revision or self.id


@dataclass(frozen=True, kw_only=True)
class Splits(Record):
    """How many rows the splits that models learn from have."""

    train: int
    validation: int


@dataclass(frozen=True, kw_only=True)
class DataSection(Record):
    """The data that an advice is for."""

    name: str
    kind: str
    task: str | None = None
    n_examples: int
    n_classes: int | None = None
    class_counts: dict[str, int] = field(default_factory=dict)
    columns: dict[str, str | None]
    splits: Splits
    fingerprint: str
