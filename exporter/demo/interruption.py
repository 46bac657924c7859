"""Ctrl-C and its relatives, remembered instead of raised: a start that is cut in half leaves processes behind."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CutShortError(Exception):
    """Somebody asked the demonstration to end while it was still setting up."""


class Interruption:
    """Tells whether one of the signals came; everything that waits, waits here."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._came = threading.Event()

    def remember(self, number: int, _frame: FrameType | None = None) -> None:
        """Take note of a signal."""
        self.signal = self.signal or number
        self._came.set()

    def wait(self, seconds: float) -> bool:
        """Sleep, unless a signal comes or came; tell whether one did."""
        return self._came.wait(seconds)

    def check(self) -> None:
        """Raise when a signal came."""
        if self._came.is_set():
            raise CutShortError


@contextlib.contextmanager
def remembering() -> Iterator[Interruption]:
    """Have the signals remembered while the body runs; to be entered in the main thread."""
    interruption = Interruption()
    before = {number: signal.signal(number, interruption.remember) for number in SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
