"""The tally: what is counted of one connection, by whoever holds it, and how it stands now."""

from __future__ import annotations

import weakref
from bisect import bisect_left
from typing import Any

from exporter.buckets import IDLE_BUCKETS, USE_BUCKETS, WAIT_BUCKETS
from exporter.callsite import CallSite

SHORT_IDLE = IDLE_BUCKETS[0]
SHORT_USE = USE_BUCKETS[0]
"""Where the lowest buckets end, in seconds. Between an application's own work the interpreter meets our code cold, and
each step takes several times as long as in a loop: a call and a search among the buckets more than all the rest. What
lies in the lowest bucket is therefore counted in a slot, without either."""


class Tally:
    """The counts of one connection's life. Whoever holds the connection writes them; nobody else does, so no lock."""

    __slots__ = (
        "adopted", "at_once", "close_reason", "detached", "garbage", "idle_counts", "idle_sum", "late", "lifetime",
        "overdue_out", "short_idles", "short_uses", "use_counts", "use_sum", "wait_counts", "wait_sum",
    )  # fmt: skip

    def __init__(self, *, adopted: bool = False) -> None:
        self.adopted = adopted  # whether the connection was open before anybody listened
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
    """How one open connection stands now. It is an attribute of the connection's record and dies with it.

    Clocks are those of ``time.perf_counter``. ``out_since`` is 0.0 while the connection is idle, ``idle_since`` 0.0
    until it was given back for the first time.
    """

    __slots__ = (
        "__weakref__", "fairy", "holder", "idle_since", "life", "opened", "out_since", "pool", "record", "server_id",
        "site", "tally",
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
        self.life: object = None  # the ear's that hears it; what is of another life is no concern of an ear
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

    def closed(self, now: float, reason: str) -> None:
        """Note when and why the connection was closed."""
        self.tally.lifetime = now - self.opened
        self.tally.close_reason = reason

    def leave(self) -> None:
        """Stop being a pooled connection's: whoever detached it keeps it, and no checkin will follow."""
        self.out_since = 0.0
        self.tally.detached = True

    def closes_when_collected(self) -> bool:
        """Tell whether SQLAlchemy ends an asynchronous connection that was left to the collector, or just drops it."""
        pool = None if self.pool is None else self.pool()
        return bool(pool is not None and pool._dialect.has_terminate)


Late = tuple[Tally, float, float, CallSite | None, Any, str]
"""A checkout that ended overdue: its connection's tally, when it was taken, how long it was out, where, by whom, and in
words how it ended."""
