"""Ctrl-C and its relatives, remembered instead of raised: a start that is cut in half leaves processes behind."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CutShortError(Exception):
    """Somebody asked the demonstration to end while it was still setting up."""


class Interruption:
    """Tells whether one of the signals came; everything that waits, waits here.

    Through a pipe: a handler runs between any two steps of the very thread that waits, and the lock of an Event that
    this thread holds at that moment would never be free again.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def remember(self, number: int, _frame: FrameType | None = None) -> None:
        """Take note of a signal."""
        self.signal = self.signal or number
        with contextlib.suppress(BlockingIOError):  # so many came before that the pipe is full
            os.write(self._writer, b"!")

    def wait(self, seconds: float) -> bool:
        """Sleep, unless a signal comes or came; tell whether one did."""
        # What was written is never read: once a signal has come, it has come.
        return bool(select.select([self._reader], [], [], seconds)[0])

    def turns(self, every: float, *, until: float) -> Iterator[None]:
        """Give a turn now, then one every so many seconds, the last at ``until`` (monotonic); none after a signal."""
        yield
        while not self.wait(max(min(every, until - time.monotonic()), 0.0)):
            yield
            if time.monotonic() >= until:
                return

    def check(self) -> None:
        """Raise when a signal came."""
        if self.signal is not None:
            raise CutShortError

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._reader)
        os.close(self._writer)


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
        interruption.close()
