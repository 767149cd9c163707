"""Ctrl-C and SIGTERM end a search once; whatever follows does not disturb the saving of its best model."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""A closed terminal hangs up; where the user said to ignore that (nohup), it stays ignored."""
SOON_S = 0.02
"""After which it is looked again whether an import has come to its end."""

_entered: list[Interruption] = []


class Interruption:
    """Make the first signal raise `KeyboardInterrupt` and later ones do nothing, while the context is entered.

    After `hold`, none does anything. A search goes on to save its best model, so the signal waits where it would leave
    something in halves: until an `uninterrupted` block has ended, and until a module is imported, since one that was
    cut off may fail to import a second time. Signals reach Python's main thread only; in any other thread entering it
    changes nothing.
    """

    def __init__(self) -> None:
        self.asked = False
        """Whether a signal has come."""
        self._due = False
        self._held = False
        self._blocks = 0
        self._before: dict[int, Any] = {}
        self._within: FrameType | None = None

    def hold(self) -> None:
        """From here on signals are noted only, since the winner is being saved."""
        self._held = True

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._within = sys._getframe(1)
            _entered.append(self)
            for number in (getattr(signal, name) for name in SIGNALS if hasattr(signal, name)):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
        self._within = None
        if self in _entered:
            _entered.remove(self)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        self._due = self._due or not again
        if self._due and not self._held and self._imports(frame):
            threading.Timer(SOON_S, self._remind, (number,)).start()
        else:
            self._interrupt()

    def _remind(self, number: int) -> None:
        if self._before:
            _thread.interrupt_main(signal.Signals(number))

    def _interrupt(self) -> None:
        if self._due and not self._held and not self._blocks:
            self._due = False
            raise KeyboardInterrupt

    def _imports(self, frame: FrameType | None) -> bool:
        """Whether a module is being imported, other than the one that the whole program may be run by."""
        while frame is not None and frame is not self._within:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                return True
            frame = frame.f_back
        return False


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let what belongs together come to its end: a signal that comes meanwhile interrupts after it."""
    interruption = _entered[-1] if _entered and threading.current_thread() is threading.main_thread() else None
    if interruption is None:
        yield
        return
    interruption._blocks += 1
    try:
        yield
    finally:
        interruption._blocks -= 1
    interruption._interrupt()
