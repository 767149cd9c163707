"""What a person passes, checked before anything is read: budgets, metrics, samples; and the command that repeats it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from advisor.measures.features import DEFAULT_SAMPLE
from tuner.errors import OptionError

DEFAULT_BUDGET = "10m"


def how_to_measure(command: str, *, corpus: str, at_hand: bool) -> str:
    """The command, or the call in Python, that measures similarity with a source of the user's own."""
    if not at_hand:
        return f'recommend(..., source="{corpus}")'
    return f"{command.replace('advisor tune', 'advisor recommend')} --source {corpus}"


def parse_budget(budget: str | float | None) -> float | None:
    """Seconds of a budget: a number of seconds, or a text such as 90s, 10m, 1.5h, 1h30m.

    >>> parse_budget("10m"), parse_budget("1h30m"), parse_budget(45)
    (600.0, 5400.0, 45.0)
    """
    if budget is None:
        return None
    units = {"s": 1, "m": 60, "h": 3600}
    text = str(budget).strip().lower()
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(?:(h|m|s)[a-z]*)", text)
    if re.fullmatch(r"\d+(?:\.\d+)?", text):
        seconds = float(text)
    elif parts and re.fullmatch(r"(?:\s*\d+(?:\.\d+)?\s*(?:h|hours?|m|mins?|minutes?|s|secs?|seconds?))+", text):
        seconds = sum(float(number) * units[unit] for number, unit in parts)
    else:
        raise OptionError(
            f"--budget {budget!r} cannot be read",
            why="it bounds how long the search may take",
            fix="write a time such as 90s, 10m or 1h30m",
        )
    if seconds <= 0:
        raise OptionError(
            f"--budget {budget!r} is no time at all",
            why="it bounds how long the search may take",
            fix="write a time such as 90s, 10m or 1h30m",
        )
    return seconds


def check_sample(sample: int, seed: int) -> None:
    """Raise `OptionError` for a sample too small to cross-validate anything, or a seed that cannot be one."""
    if not 0 <= seed < 2**32:
        raise OptionError(
            f"--seed {seed} is not between 0 and 4294967295",
            why="the random generators take no other",
            fix="pass a smaller number that is not negative",
        )
    if sample < 20:
        raise OptionError(
            f"--sample {sample} is less than 20",
            why="probes are cross-validated on the sampled rows",
            fix="pass 20 or more, or omit it for 2,000",
        )


def command_of(data: Any, *, model: Any, sample: int, device: str, **options: Any) -> str:
    """The `advisor tune` line that continues from a recommendation; defaults are omitted.

    What is in memory has no line: then it is the call in Python.
    """
    if not isinstance(data, (str, Path)) or not (model is None or isinstance(model, (str, Path))):
        return f"tune(data, {'' if model is None else 'model=model, '}advice=advice)"
    options |= {
        "model": model,
        "sample": None if sample == DEFAULT_SAMPLE else sample,
        "device": None if device == "auto" else device,
    }
    words = ["advisor", "tune", str(data)]
    for name, value in options.items():
        if value is True:
            words.append(f"--{name.replace('_', '-')}")
        elif value:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)
