"""What is counted, and where: one tally and one usage for every connection, added up when somebody asks."""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable

from exporter.records import USE_BUCKETS, Histogram

_FOLD_ABOVE = 256
"""Tallies waiting to be added up before an application's thread does it: nobody may be scraping, and NullPool opens a
connection for every checkout."""


class Tally:
    """The counts of one connection's life. Whoever holds the connection writes them; nobody else does, so no lock."""

    __slots__ = ("adopted", "checkouts", "close_reason", "detached", "invalidation", "soft", "use_counts", "use_sum")

    def __init__(self, *, adopted: bool = False) -> None:
        self.adopted = adopted  # opened before we listened: its connect was not seen
        self.checkouts = 0
        self.use_counts = [0] * (len(USE_BUCKETS) + 1)
        self.use_sum = 0.0
        self.soft = 0
        self.detached = False
        self.invalidation: str | None = None
        self.close_reason: str | None = None


class Usage:
    """How one open connection stands now. It lies in the connection's own ``info`` and dies with it.

    Clocks are those of ``time.perf_counter``. ``out_since`` is 0.0 while the connection is idle.
    """

    __slots__ = ("__weakref__", "idle_since", "opened", "out_since", "pool", "server_id", "tally")

    def __init__(self, tally: Tally, *, opened: float, pool: weakref.ref[object] | None, server_id: int | None) -> None:
        self.tally = tally
        self.pool = pool
        self.server_id = server_id
        self.opened = opened
        self.idle_since = opened
        self.out_since = 0.0

    def end(self, now: float) -> None:
        """Count the use that ends now; none does when the connection was not out."""
        if self.out_since:
            held = now - self.out_since
            self.out_since = 0.0
            self.idle_since = now
            tally = self.tally
            tally.use_counts[bisect_left(USE_BUCKETS, held)] += 1
            tally.use_sum += held

    def leave(self) -> None:
        """Stop being a pooled connection's: whoever detached it keeps it, and no checkin will follow."""
        self.out_since = 0.0
        self.tally.detached = True


class Totals:
    """Sums over connections. Grows only."""

    def __init__(self) -> None:
        self.checkouts = 0
        self.checkins = 0
        self.connects = 0
        self.use_sum = 0.0
        self.use_counts = [0] * (len(USE_BUCKETS) + 1)
        self.closes: Counter[str] = Counter()
        self.invalidations: Counter[str] = Counter()

    def add(self, tally: Tally, *, ended: bool) -> None:
        """Add one connection's counts; ``ended`` says that it will not change any more."""
        self.checkouts += tally.checkouts
        self.checkins += sum(tally.use_counts)
        self.connects += not tally.adopted
        self.use_sum += tally.use_sum
        for bucket, count in enumerate(tally.use_counts):
            self.use_counts[bucket] += count
        if tally.soft:
            self.invalidations["soft"] += tally.soft
        if tally.invalidation:
            self.invalidations[tally.invalidation] += 1
        if tally.close_reason:
            self.closes[tally.close_reason] += 1
        elif ended and not tally.detached:
            # Its record went without a word: the pool that owned it was itself collected.
            self.closes["garbage_collected"] += 1

    def copy(self) -> Totals:
        """Return sums that can be added to without changing these."""
        copied = Totals()
        copied.__dict__.update(self.__dict__)
        copied.use_counts = list(self.use_counts)
        copied.closes = Counter(self.closes)
        copied.invalidations = Counter(self.invalidations)
        return copied

    def use_seconds(self) -> Histogram:
        """Return the histogram of uses."""
        return Histogram(counts=tuple(self.use_counts), sum=self.use_sum)


_Entry = tuple[Callable[[], Usage | None], Tally]


def _gone() -> None:
    """Stand in for the weak reference to a usage that is gone already."""


class Ledger:
    """All tallies of one pool. A tally is in exactly one place, the list of the living or the totals of the ended.

    Tallies are held strongly, usages weakly. A tally whose usage is gone has no writer any more; only then is it added
    to the totals, and only by whoever holds the lock. So no number is ever counted twice, and none is lost.
    """

    def __init__(self) -> None:
        self._arrivals: deque[_Entry] = deque()
        self._living: list[_Entry] = []
        self._ended = Totals()
        self._lock = threading.Lock()

    def enter(self, usage: Usage) -> None:
        """Take in a new connection. Called by the application's threads: appends, and never waits."""
        self._arrivals.append((weakref.ref(usage), usage.tally))
        if len(self._arrivals) > _FOLD_ABOVE and self._lock.acquire(blocking=False):
            try:
                self._fold()
            finally:
                self._lock.release()

    def enter_ended(self, tally: Tally) -> None:
        """Take in the counts of a connection that has no usage any more."""
        self._arrivals.append((_gone, tally))

    def read(self) -> tuple[Totals, list[Usage]]:
        """Return the sums over all connections there ever were, and how those that live now stand."""
        with self._lock:
            usages = self._fold()
            totals = self._ended.copy()
            for _, tally in self._living:
                totals.add(tally, ended=False)
            return totals, usages

    def _fold(self) -> list[Usage]:
        """Move the tallies of connections that are gone to the totals; return the usages of the others."""
        # Arrivals come while we count: take as many as there are now, and leave later ones to the next time.
        for _ in range(len(self._arrivals)):
            self._living.append(self._arrivals.popleft())
        living, usages = [], []
        for entry in self._living:
            usage = entry[0]()
            if usage is None:
                self._ended.add(entry[1], ended=True)
            else:
                living.append(entry)
                usages.append(usage)
        self._living = living
        return usages
