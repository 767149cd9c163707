"""A call that must end soon: somebody else's files may ask for more work than anyone will wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_time(call: Callable[[], T], *, seconds: float) -> T:
    """Call a function and return what it does, or raise `TimeoutError` where it has not ended in time.

    It runs in a thread of its own, which nothing can stop: it ends with the program, which is about to end. What the
    function raises is raised here.
    """
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001  # raised in the caller's thread
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failures:
        raise failures[0]
    if not results:
        raise TimeoutError(f"it has not ended after {seconds:.0f} seconds")
    return results[0]
