"""What is counted, and where: one tally and one usage for every connection, added up when somebody asks."""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_left
from collections import Counter, deque
from typing import Any

from exporter.callsite import CallSite
from exporter.records import (
    CONNECT_BUCKETS,
    IDLE_BUCKETS,
    LIFETIME_BUCKETS,
    PING_BUCKETS,
    USE_BUCKETS,
    WAIT_BUCKETS,
    Histogram,
)

_FOLD_ABOVE = 256
"""How much may wait to be added up before an application's thread does it: nobody may be scraping, and NullPool opens
a connection for every checkout."""

SHORT_IDLE = IDLE_BUCKETS[0]
SHORT_USE = USE_BUCKETS[0]
"""Where the lowest buckets end, in seconds. Between an application's own work the interpreter meets our code cold, and
each step takes several times as long as in a loop: a call and a search among the buckets more than all the rest. What
lies in the lowest bucket is therefore counted in a slot, without either."""


class Tally:
    """The counts of one connection's life. Whoever holds the connection writes them; nobody else does, so no lock."""

    __slots__ = (
        "at_once", "close_reason", "detached", "garbage", "idle_counts", "idle_sum", "late", "lifetime", "overdue_out",
        "short_idles", "short_uses", "soft", "use_counts", "use_sum", "wait_counts", "wait_sum",
    )  # fmt: skip

    def __init__(self) -> None:
        # Each checkout is counted once: in wait_counts when it waited; in short_idles when it did not, and its
        # connection had lain idle for so short; else in at_once.
        self.at_once = 0
        self.short_idles = 0
        self.wait_counts: list[int] | None = None
        self.wait_sum = 0.0
        self.short_uses = 0
        self.use_counts = [0] * (len(USE_BUCKETS) + 1)
        self.use_sum = 0.0
        self.idle_counts = [0] * (len(IDLE_BUCKETS) + 1)
        self.idle_sum = 0.0
        self.garbage = 0
        self.late = 0  # checkouts that were overdue when they ended
        self.soft = 0
        self.detached = False
        self.close_reason: str | None = None
        self.lifetime: float | None = None
        self.overdue_out = 0.0  # the reader's: the checkout, by its time, that it last said to be overdue

    def waited(self, seconds: float) -> None:
        """Count a checkout that had to wait."""
        if self.wait_counts is None:
            self.wait_counts = [0] * (len(WAIT_BUCKETS) + 1)
        self.wait_counts[bisect_left(WAIT_BUCKETS, seconds)] += 1
        self.wait_sum += seconds


class Usage:
    """How one open connection stands now. It lies in the connection's own ``info`` and dies with it.

    Clocks are those of ``time.perf_counter``. ``out_since`` is 0.0 while the connection is idle, ``idle_since`` 0.0
    until it was given back for the first time.
    """

    __slots__ = (
        "__weakref__", "fairy", "holder", "idle_since", "opened", "out_since", "pool", "record", "server_id", "site",
        "tally",
    )  # fmt: skip

    def __init__(
        self,
        tally: Tally,
        *,
        opened: float,
        pool: weakref.ref[Any] | None,
        record: weakref.ref[Any],
        server_id: int | None,
    ) -> None:
        self.tally = tally
        self.pool = pool
        self.record = record
        self.server_id = server_id
        self.opened = opened
        self.idle_since = 0.0
        self.out_since = 0.0
        self.fairy: weakref.ref[Any] | None = None
        self.site: CallSite | None = None
        self.holder: Any = None

    def begin(self, now: float, waited: float | None) -> None:
        """Count a checkout, which waited or did not (None), and how long the connection had lain idle."""
        tally = self.tally
        if waited is None:
            tally.at_once += 1
        else:
            tally.waited(waited)
        if self.idle_since:
            idle = now - self.idle_since
            tally.idle_counts[bisect_left(IDLE_BUCKETS, idle)] += 1
            tally.idle_sum += idle
        self.out_since = now

    def end(self, now: float) -> float:
        """Count the use that ends now and return how long it was; none ends when the connection was not out."""
        out_since = self.out_since
        if not out_since:
            return 0.0
        held = now - out_since
        tally = self.tally
        tally.use_counts[bisect_left(USE_BUCKETS, held)] += 1
        tally.use_sum += held
        self.idle_since = now
        self.out_since = 0.0
        return held

    def leave(self) -> None:
        """Stop being a pooled connection's: whoever detached it keeps it, and no checkin will follow."""
        self.out_since = 0.0
        self.tally.detached = True

    def closes_when_collected(self) -> bool:
        """Tell whether SQLAlchemy ends an asynchronous connection that was left to the collector, or just drops it."""
        pool = None if self.pool is None else self.pool()
        return bool(pool is not None and pool._dialect.has_terminate)


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
        if tally.soft:
            self.invalidations["soft"] += tally.soft
        if tally.lifetime is not None:
            self.lifetime.observe(tally.lifetime)
        if tally.close_reason:
            self.closes[tally.close_reason] += 1
        elif ended:
            # Its record went without a word: the pool, or whoever had detached it, was itself collected.
            self.closes["garbage_collected"] += 1

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


class _Entry(weakref.ref[Usage]):
    """A usage, held weakly, with its tally, held strongly."""

    __slots__ = ("tally",)
    tally: Tally


class Ledger:
    """All tallies of one pool. A tally is in exactly one place, the list of the living or the totals of the ended.

    Tallies are held strongly, usages weakly. A tally whose usage is gone has no writer any more; only then is it added
    to the totals, and only by whoever holds the lock. So no number is ever counted twice, and none is lost.
    """

    def __init__(self) -> None:
        self._arrivals: deque[_Entry] = deque()
        self._notes: deque[tuple[str, Any]] = deque()
        self._living: list[_Entry] = []
        self._ended = Totals()
        self._lock = threading.Lock()

    def enter(self, usage: Usage) -> None:
        """Take in a new connection. Called by the application's threads: appends, and never waits."""
        entry = _Entry(usage)
        entry.tally = usage.tally
        self._arrivals.append(entry)
        if len(self._arrivals) > _FOLD_ABOVE:
            self._fold_unless_busy()

    def note(self, what: str, detail: Any = None) -> None:
        """Take in something that no connection's tally counts. Never waits either."""
        self._notes.append((what, detail))
        if len(self._notes) > _FOLD_ABOVE:
            self._fold_unless_busy()

    def read(self) -> tuple[Totals, list[Usage]]:
        """Return the sums over all connections there ever were, and how those that live now stand."""
        with self._lock:
            usages = self._fold()
            totals = self._ended.copy()
            for entry in self._living:
                totals.add(entry.tally, ended=False)
            return totals, usages

    def peek(self) -> list[Usage]:
        """Return how the living stand without waiting for anyone; one that arrives right now may be missing."""
        try:
            entries = [*self._living, *self._arrivals]
        except RuntimeError:  # an arrival while we copied
            entries = list(self._living)
        return [usage for usage in (entry() for entry in entries) if usage is not None]

    def _fold_unless_busy(self) -> None:
        # Never blocking: the collector may run one of our listeners inside another, in this very thread.
        if self._lock.acquire(blocking=False):
            try:
                self._fold()
            finally:
                self._lock.release()

    def _fold(self) -> list[Usage]:
        """Move the tallies of connections that are gone to the totals; return the usages of the others."""
        # More arrive while we count: take as many as there are now, and leave later ones to the next time.
        for _ in range(len(self._notes)):
            self._ended.note(*self._notes.popleft())
        for _ in range(len(self._arrivals)):
            self._living.append(self._arrivals.popleft())
        living, usages = [], []
        for entry in self._living:
            usage = entry()
            if usage is None:
                self._ended.add(entry.tally, ended=True)
            else:
                living.append(entry)
                usages.append(usage)
        self._living = living
        return usages
