"""How far it is, on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from advisor.showing import print_error
from advisor.terminal import in_one_line

if TYPE_CHECKING:
    from tuner.records import Progress


@contextmanager
def shown_progress(quiet: bool) -> Iterator[Progress | None]:
    """A bar on a terminal; elsewhere one plain line a stage; nothing with --quiet."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    if quiet:
        yield None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("starting", total=1.0)
            yield lambda message, fraction: bar.update(task, description=in_one_line(message), completed=fraction)
    else:
        yield _plain_lines()


def _plain_lines() -> Progress:
    """One line whenever the stage (what stands before the colon) changes; trials are stages of their own."""
    start = time.perf_counter()
    last = ""

    def show(message: str, _fraction: float) -> None:
        nonlocal last
        stage = message.partition(":")[0]
        if stage != last:
            print_error(f"[{time.perf_counter() - start:6.1f} s] {in_one_line(message)}")
            sys.stderr.flush()
            last = stage

    return show
