"""One pool on one server, as the checks see it, and what they all need to know of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from exporter.conclusions import Finding
from exporter.records import Histogram, PoolSnapshot, ServerSnapshot

IDLE_TIMEOUTS = ("wait_timeout", "idle_session_timeout")
"""What ends a session that sleeps. Pools do not log in as interactive clients, which have a timeout of their own."""

SHORTEST_RECYCLE = 30.0
"""Seconds; below this a pool would make connections all the time, and to ping is cheaper."""

_KEEPING = frozenset({"AssertionPool", "SingletonThreadPool", "StaticPool"})


@dataclass(frozen=True)
class Timeout:
    """A timeout of the server: what it is called there, and its seconds."""

    name: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.name}={plain(self.seconds)}"


@dataclass(frozen=True)
class Case:
    """A pool as each process reports it, and the last sample of its server; None when that is not known."""

    pool: str
    server: str
    reports: Sequence[PoolSnapshot]
    sample: ServerSnapshot | None

    def shortest(self, names: Iterable[str]) -> Timeout | None:
        """Return the shortest of these timeouts of the server; None when it has none of them or is not known."""
        known = {} if self.sample is None else self.sample.idle_timeouts
        found = (Timeout(name, known[name]) for name in names if name in known)
        return min(found, key=lambda timeout: timeout.seconds, default=None)


Check = Callable[[Case], Finding | None]
"""Tells the one thing that it looks for, or None; also None where the figures do not allow to be sure."""


def keeps(report: PoolSnapshot) -> bool:
    """Tell whether a pool holds connections that nobody uses: NullPool does not, and of others we cannot be sure."""
    return report.size is not None or report.identity.pool_class in _KEEPING


def half(timeout: Timeout) -> int | None:
    """Return a good pool_recycle for a server's timeout, in seconds; None when it is too short for one."""
    return int(timeout.seconds / 2) if timeout.seconds / 2 >= SHORTEST_RECYCLE else None


def summed(histograms: Iterable[Histogram | None]) -> Histogram:
    """Add up histograms of one kind; where there is none, nothing was counted."""
    known = [each for each in histograms if each is not None]
    counts = tuple(map(sum, zip(*(each.counts for each in known), strict=True)))
    return Histogram(counts, sum(each.sum for each in known))


def plain(number: float) -> str:
    """Write a number as people do: whole ones without a point, others with three digits, endless ones as inf."""
    return str(int(number)) if math.isfinite(number) and number == int(number) else f"{number:.3g}"
