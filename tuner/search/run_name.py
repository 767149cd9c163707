"""What a run of a search is called: the trial that it is, or that it is a variant or a repetition of."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tuner.parsing import AsText

_WRITTEN = re.compile(r"(?P<trial>\d+)(?P<variants>(?:-[a-z_]+)*)(?:@(?P<repeat>-?\d+))?")


@dataclass(frozen=True, kw_only=True)
class RunName(AsText):
    """What tells a run from all others of its search.

    ``trial`` is the number of the trial. ``variants`` name what was changed of it, one after the other: "augmented",
    "native", or an option of training blocks. ``repeat`` is the seed that a run was repeated with to confirm it, None
    of the run itself. Files are called by its text.

    >>> str(RunName(trial=3, variants=("augmented",), repeat=2))
    '0003-augmented@2'
    """

    trial: int
    variants: tuple[str, ...] = ()
    repeat: int | None = None

    @classmethod
    def parse(cls, text: str) -> RunName:
        """The name that a file is called by. Raises `ValueError` for a text that is none.

        >>> RunName.parse("0003-augmented@2")
        RunName(trial=3, variants=('augmented',), repeat=2)
        """
        found = _WRITTEN.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is not the name of a run")
        repeat = None if found["repeat"] is None else int(found["repeat"])
        return cls(trial=int(found["trial"]), variants=tuple(found["variants"].split("-")[1:]), repeat=repeat)

    def __str__(self) -> str:
        repeat = "" if self.repeat is None else f"@{self.repeat}"
        return "-".join((f"{self.trial:04d}", *self.variants)) + repeat

    @property
    def variant(self) -> str | None:
        """The change that was made last; None where the run is a trial as it was sampled or planned."""
        return self.variants[-1] if self.variants else None

    @property
    def original(self) -> RunName:
        """The run that a repetition repeats; of any other run its own name."""
        return replace(self, repeat=None)

    @property
    def plain(self) -> RunName:
        """The run that a variant is compared with: the one without its last change."""
        return replace(self, variants=self.variants[:-1])

    def with_variant(self, kind: str) -> RunName:
        """The name of a variant of this run."""
        return replace(self, variants=(*self.variants, kind))

    def with_seed(self, seed: int) -> RunName:
        """The name of this run's repetition with another seed."""
        return replace(self, repeat=seed)
