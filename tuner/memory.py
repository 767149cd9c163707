"""How much memory is free, and whether what a file holds fits into it: asked before anything of it is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from tuner.errors import ModelError


def check_memory(files: Sequence[Path], name: str) -> int | None:
    """Count the numbers that the weights hold; None where the files are damaged, which loading says.

    Raises `ModelError` where they are, in full precision, more than the memory that is free.
    """
    from safetensors import SafetensorError, safe_open

    elements = 0
    try:
        for file in files:
            with safe_open(file, framework="np") as tensors:
                shapes = (tensors.get_slice(key).get_shape() for key in tensors.keys())  # noqa: SIM118  # no mapping
                elements += sum(math.prod(shape) for shape in shapes)
    except (OSError, SafetensorError):
        return None
    needed, free = 4 * elements, free_memory()
    if free is not None and needed > free:
        raise ModelError(
            f"{name} is larger than the memory: its {elements:,} weights need {needed / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB are free",
            why="weights are computed with in full precision, four bytes each",
            fix="use a smaller model, end other programs, or use a machine with more memory",
        )
    return elements


def free_memory() -> int | None:
    """Bytes that a process may still take: what the system has available, within the container's limit."""
    found = []
    try:
        meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
        found.append(1024 * int(meminfo.partition("MemAvailable:")[2].split()[0]))
    except (OSError, IndexError, ValueError):
        pass  # not Linux: unknown
    try:
        limit, used = (Path("/sys/fs/cgroup", f"memory.{what}").read_text() for what in ("max", "current"))
        found.append(int(limit) - int(used))
    except (OSError, ValueError):
        pass  # no container, or one without a limit ("max")
    return min(found, default=None)
