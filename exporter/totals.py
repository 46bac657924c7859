"""The totals: the counts of many connections, added up when somebody asks."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Any

from exporter.buckets import (
    CONNECT_BUCKETS,
    IDLE_BUCKETS,
    LIFETIME_BUCKETS,
    PING_BUCKETS,
    USE_BUCKETS,
    WAIT_BUCKETS,
)
from exporter.records import Histogram
from exporter.tally import Tally


class Totals:
    """Sums over connections. Grows only."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.closes: Counter[str] = Counter()
        self.invalidations: Counter[str] = Counter()
        self.stale: Counter[tuple[str, str]] = Counter()
        self.use = Sums(USE_BUCKETS)
        self.wait = Sums(WAIT_BUCKETS)
        self.idle = Sums(IDLE_BUCKETS)
        self.connect = Sums(CONNECT_BUCKETS)
        self.lifetime = Sums(LIFETIME_BUCKETS)
        self.ping = Sums(PING_BUCKETS)

    def add(self, tally: Tally, *, ended: bool) -> None:
        """Add one connection's counts; ``ended`` says that it will not change any more."""
        counts = self.counts
        # Each read once: whoever holds the connection counts on while we add.
        short_idles, short_uses, waits = tally.short_idles, tally.short_uses, tally.wait_counts
        at_once = tally.at_once + short_idles
        self.use.add(tally.use_counts, tally.use_sum)
        self.use.counts[0] += short_uses
        self.idle.add(tally.idle_counts, tally.idle_sum)
        self.idle.counts[0] += short_idles
        if waits is not None:
            self.wait.add(waits, tally.wait_sum)
        self.wait.counts[0] += at_once
        counts["checkouts"] += at_once + (sum(waits) if waits else 0)
        counts["checkins"] += short_uses + sum(tally.use_counts)
        counts["garbage_collected"] += tally.garbage
        counts["detaches"] += tally.detached
        counts["late"] += tally.late
        if tally.lifetime is not None:
            self.lifetime.observe(tally.lifetime)
        if tally.close_reason:
            self.closes[tally.close_reason] += 1
        elif ended:
            # Its record went without a word. Either the pool, or whoever had detached it, was itself collected; or it
            # was never taken: a listener of the application's refused it as it was made, and SQLAlchemy closed it.
            taken = tally.adopted or at_once or waits
            self.closes["garbage_collected" if taken else "other"] += 1

    def note(self, what: str, detail: Any) -> None:
        """Add what happened apart from any connection."""
        if what == "timeout":
            self.counts["timeouts"] += 1
            self.wait.observe(detail)
        elif what == "connect":
            self.counts["connects"] += 1
            self.connect.observe(detail)
        elif what == "invalidation":
            self.invalidations[detail] += 1
        elif what == "ping":
            self.ping.observe(detail)
        elif what == "stale":
            self.stale[detail] += 1
        elif what == "close":
            self.closes[detail] += 1
        else:
            self.counts[what] += 1

    def told(self) -> dict[str, Any]:
        """Return the sums as a snapshot's fields."""
        counts = self.counts
        return {
            "checkouts": counts["checkouts"],
            "checkins": counts["checkins"],
            "connects": counts["connects"],
            "connect_errors": counts["connect_errors"],
            "garbage_collected": counts["garbage_collected"],
            "detaches": counts["detaches"],
            "disposals": counts["disposals"],
            "closes": dict(self.closes),
            "invalidations": dict(self.invalidations),
            "stale_ping": {code: count for (found, code), count in self.stale.items() if found == "ping"},
            "stale_use": {code: count for (found, code), count in self.stale.items() if found == "use"},
            "use_seconds": self.use.histogram(),
            "connect_seconds": self.connect.histogram(),
            "idle_seconds": self.idle.histogram(),
            "lifetime_seconds": self.lifetime.histogram(),
            "ping_seconds": self.ping.histogram(),
        }

    def copy(self) -> Totals:
        """Return sums that can be added to without changing these."""
        copied = Totals()
        for name, value in vars(self).items():
            vars(copied)[name] = value.copy()
        return copied


class Sums:
    """A histogram that is being added up."""

    def __init__(self, buckets: tuple[float, ...]) -> None:
        self._buckets = buckets
        self.counts = [0] * (len(buckets) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(self._buckets, seconds)] += 1
        self.sum += seconds

    def add(self, counts: list[int], total: float) -> None:
        """Add counts by bucket and their sum."""
        self.sum += total
        for bucket, count in enumerate(counts):
            if count:
                self.counts[bucket] += count

    def copy(self) -> Sums:
        """Return the same sums, apart from these."""
        copied = Sums(self._buckets)
        copied.counts, copied.sum = list(self.counts), self.sum
        return copied

    def histogram(self) -> Histogram:
        """Return what was added up so far."""
        return Histogram(counts=tuple(self.counts), sum=self.sum)
