"""Ctrl-C and SIGTERM end a search once; whatever follows does not disturb the saving of its best model."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""A closed terminal hangs up; where the user said to ignore that (nohup), it stays ignored."""


class Interruption:
    """While it is entered, the first signal raises `KeyboardInterrupt` and later ones do nothing; after `hold`, none
    does anything.

    Signals reach Python's main thread only; in any other thread entering it changes nothing.
    """

    def __init__(self) -> None:
        self.asked = False
        """Whether a signal has come."""
        self._held = False
        self._before: dict[int, Any] = {}

    def hold(self) -> None:
        """From here on signals are noted only, since the winner is being saved."""
        self._held = True

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
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

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        if not again and not self._held:
            raise KeyboardInterrupt
