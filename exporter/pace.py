"""The pace: how long a server is left alone before it is sampled again. Pure rules, and the clock that they go by."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from exporter.labels import SampleErrorReason

BUSY_SHARE = 10
"""A sample may keep the server busy for this part of the interval; one that takes longer doubles the interval."""

LONGEST_INTERVAL = 300.0
"""Beyond this many seconds no interval is doubled: rules of Prometheus look back over five minutes."""

_CALM_SHARE = 4 * BUSY_SHARE  # half of what the halved interval allows: else the next sample would double it again
_CALM_SAMPLES = 3  # in a row, before the interval is halved
_RETRY = 1.0  # seconds: the first pause after a lost server, and where the interval is shorter, the longest
_JITTER = 0.25  # of a pause, so that sidecars that lost a server together do not come back together
_GOLDEN = (5**0.5 - 1) / 2  # no multiples of it come close to each other on a circle


def steady() -> float:
    """Return seconds on a clock that nobody sets, and that goes on while the machine sleeps where there is such."""
    clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def spread(number: int, interval: float) -> float:
    """Return how far into its interval the server of this number is sampled, in seconds: evenly, however many come."""
    return number * _GOLDEN % 1 * interval


@dataclass(frozen=True)
class Pace:
    """How often one server is sampled now. ``configured`` and ``interval``, the one kept now, are in seconds.

    ``calm`` counts the fast samples in a row, ``failures`` the failed ones; ``reason`` is that of the last.
    """

    configured: float
    interval: float
    calm: int = 0
    failures: int = 0
    reason: SampleErrorReason | None = None

    def succeeded(self, seconds: float) -> Pace:
        """Return the pace after a sample for which the server was busy for so many seconds."""
        calm = self.calm + 1 if seconds <= self.interval / _CALM_SHARE else 0
        interval = self._bearable(seconds)
        if interval == self.interval and calm >= _CALM_SAMPLES:
            interval = max(self.interval / 2, self.configured)
        return Pace(self.configured, interval, calm=calm if interval == self.interval else 0)

    def failed(self, reason: SampleErrorReason, *, busy: float = 0.0) -> Pace:
        """Return the pace after a sample that failed, and that kept the server busy for so many seconds.

        Mostly that is 0: a server that is lost is none that works, and is to be seen soon when it is back.
        """
        return replace(self, interval=self._bearable(busy), calm=0, failures=self.failures + 1, reason=reason)

    def wait(self, *, origin: float, began: float, now: float, chance: float) -> float:
        """Return how many seconds to wait from ``now`` after the sample that ``began``; ``chance`` is in 0 to 1.

        Good samples keep to the beat that goes through ``origin``. A server that was lost is tried again soon, then
        after pauses that double up to the interval, so that one that is back is seen an interval later at the latest.
        """
        beat = self._next_beat(origin, began, now) - now
        if not self.failures:
            return beat
        longest = max(self.interval, _RETRY)
        # What needs somebody to mend it, and what keeps a server busy until the timeout, is not tried again sooner.
        first = min(self.interval, _RETRY) if self.reason == "connect" else self.interval
        pause = first * 2.0 ** min(self.failures - 1, 64)
        if pause >= self.interval >= _RETRY:
            return min(self.interval, beat)
        return min(pause, longest) * (1 - _JITTER * chance)

    def _bearable(self, seconds: float) -> float:
        if seconds > self.interval / BUSY_SHARE:
            return min(2 * self.interval, max(self.configured, LONGEST_INTERVAL))
        return self.interval

    def _next_beat(self, origin: float, began: float, now: float) -> float:
        # Never the beat that the last sample was for: it may have begun a little before it.
        earliest = max(now, began + self.interval / 2)
        return origin + math.ceil((earliest - origin) / self.interval) * self.interval
