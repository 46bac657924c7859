"""The ear: what is noted, in the application's own thread, when a connection is made, taken or given back."""

from __future__ import annotations

import itertools
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any

from exporter.callsite import CallSite, call_site, coroutine_frame, installed_site, taken_at
from exporter.codes import stale_code
from exporter.contained import contain
from exporter.drivers import server_id
from exporter.ledger import Ledger
from exporter.reasons import pool_of
from exporter.tally import SHORT_IDLE, SHORT_USE, Late, Tally, Usage
from exporter.who import greenlet_id, task_reference

_LATE = 1000
"""How many overdue checkouts that came back may wait to be said. All are counted; a log needs no more."""

_KEY = "pool_exporter_"
_starts = itertools.count()
"""Numbers the keys. A child process counts on where its parent was, so that each is used once."""


class Ear:
    """Hears one pool, and the pools that follow it. What is noted here is added up elsewhere, when somebody asks.

    ``took`` and ``gave_back`` run at every use of a connection: a clock, a store and a count each. No lock, no string,
    no log. Whoever calls contains their errors; the listeners contain their own.
    """

    def __init__(self, driver: str, *, leak_after: float, call_sites: bool, asynchronous: bool) -> None:
        self._driver = driver
        self.complain: Callable[[list[Usage], float], None] | None = None  # told of each timeout, and who holds what
        self.leak_after = leak_after
        self.call_sites = call_sites
        self.asynchronous = asynchronous
        # Who is asking: a thread, a greenlet under gevent (whose get_ident is patched), or SQLAlchemy's own greenlet.
        self.whoami: Callable[[], Any] = greenlet_id if asynchronous else threading.get_ident
        self.start_from_zero()
        # Whether nothing but SQLAlchemy's events is heard, which tell of no wait, failed connect or dispose().
        self.events_only = False
        self.dialect: Callable[[], Any] = _none  # the one whose pings are heard; a weak reference

    def start_from_zero(self) -> None:
        """Forget all that was heard, and listen from now on."""
        # A key of its own for each start: usages left under an older one are a parent process's or another life's.
        self.key = f"{_KEY}{next(_starts)}"
        self.ledger = Ledger()
        self.active = True
        # Connections that were open before we listened and that nothing has shown us yet.
        self.unmet = 0
        self.waiting: dict[Any, float] = {}  # who waits now, and since when
        self.waited: dict[Any, float] = {}  # who has just waited for the connection that it is being given, how long
        self.late: deque[Late] = deque(maxlen=_LATE)
        self.ping_codes: dict[Any, str] = {}  # what a ping that has just failed met, until its invalidation follows
        self.leaving: dict[int, Usage] = {}
        self.detached: dict[int, Callable[[], Usage | None]] = {}

    def stop(self) -> None:
        """Hear nothing more."""
        self.start_from_zero()
        self.active = False

    def took(self, record: Any, pool: Any) -> None:
        """Note that a connection was handed to the application; adopt one that was opened before we listened."""
        try:
            usage: Usage = record.info[self.key]
        except KeyError:
            if not self.active:
                return
            usage = self._meet(record, weakref.ref(pool), adopted=True)
        usage.fairy = record.fairy_ref
        if self.call_sites:
            usage.site = taken_at() or self._other_site(sys._getframe(1))
        usage.holder = task_reference() if self.asynchronous else threading.get_ident()
        now = time.perf_counter()
        idle = now - usage.idle_since
        if idle > SHORT_IDLE or self.waited:
            usage.begin(now, self.waited.pop(self.whoami(), None))
        else:
            tally = usage.tally
            tally.short_idles += 1
            tally.idle_sum += idle
            usage.out_since = now

    def _other_site(self, frame: FrameType) -> CallSite | None:
        """Look where the frames of an application do not lead: out of a greenlet, or into what is installed."""
        outer = coroutine_frame() if self.asynchronous else None
        return call_site(outer) or installed_site(frame) or installed_site(outer)

    def gave_back(self, record: Any, pool: Any) -> None:
        """Note that a connection comes back, as it does from a failed reconnect (none) and a detach (none either)."""
        try:
            usage: Usage = record.info[self.key]
        except KeyError:
            if self.active and record.dbapi_connection is not None:
                self._meet(record, weakref.ref(pool), adopted=True).idle_since = time.perf_counter()
            return
        if record.dbapi_connection is None:
            self._left(record, usage)
            return
        out_since, fairy = usage.out_since, usage.fairy
        if not out_since:
            return
        if fairy is not None and fairy() is None:
            usage.tally.garbage += 1
        # Let go while the fairy lives: SQLAlchemy 2.0 hangs a callback on this reference, which else would be called.
        usage.fairy = None
        now = time.perf_counter()
        held = now - out_since
        if held > SHORT_USE or held > self.leak_after:
            usage.end(now)
            if held > self.leak_after:
                self._came_late(usage, out_since, held)
        else:
            tally = usage.tally
            tally.short_uses += 1
            tally.use_sum += held
            usage.idle_since = now
            usage.out_since = 0.0

    def end_use(self, usage: Usage, now: float) -> None:
        """End a use that ends with its connection; one that was left to the collector may end so too."""
        out_since, fairy = usage.out_since, usage.fairy
        if fairy is not None and fairy() is None:
            usage.tally.garbage += 1
        usage.fairy = None
        usage.end(now)
        if out_since and now - out_since > self.leak_after:
            self._came_late(usage, out_since, now - out_since)

    def _came_late(self, usage: Usage, out_since: float, held: float) -> None:
        """Count an overdue checkout, and keep it to be said by whoever reads next."""
        # Only when it has ended: a reader that comes in between then sees one too few, and never one twice.
        usage.tally.late += 1
        self.late.append((usage.tally, out_since, held, usage.site, usage.holder))

    def _left(self, record: Any, usage: Usage) -> None:
        """Note a detach. Its event follows, in this thread, when the record may be another connection's already."""
        record.info.pop(self.key, None)  # not there when stop() has just changed the key
        now, out_since, fairy = time.perf_counter(), usage.out_since, usage.fairy
        if fairy is not None and fairy() is None:
            # Nobody detached it: SQLAlchemy takes an asynchronous connection that was left to the collector apart.
            self.end_use(usage, now)
        else:
            usage.leave()
            if out_since and now - out_since > self.leak_after:
                self._came_late(usage, out_since, now - out_since)
        self.leaving[threading.get_ident()] = usage

    def opened(self, record: Any, pool: weakref.ref[Any], connection: Any, *, seconds: float) -> None:
        """Begin a usage for a new connection, which took ``seconds`` to make."""
        if self.active:
            self._meet(record, pool, connection=connection)
            self.ledger.note("connect", seconds)

    def timed_out(self, pool: weakref.ref[Any]) -> None:
        """Note a wait that ended in the pool's TimeoutError, and let it be said who holds the connections."""
        waited = self.waited.pop(self.whoami(), 0.0)
        self.ledger.note("timeout", waited)
        if self.complain is not None and self.active:
            self.complain([usage for usage in self.ledger.peek() if usage.pool == pool], waited)

    def gave_up(self) -> None:
        """Forget a wait that ended otherwise: cancelled, or the connection could not be made."""
        if self.waited or self.ping_codes:
            me = self.whoami()
            self.waited.pop(me, None)
            self.ping_codes.pop(me, None)

    def pinged(self, seconds: float, error: BaseException | None, *, alive: bool) -> None:
        """Note what a ping cost and what error it met; whether the connection is dead is for SQLAlchemy to say."""
        self.ledger.note("ping", seconds)
        if not alive:
            self.ping_codes[self.whoami()] = stale_code(error)

    def usage_of(self, record: Any) -> Usage:
        """Return the usage of a connection; one that was opened before we listened is adopted."""
        usage: Usage | None = record.info.get(self.key)
        if usage is None:
            pool = pool_of(record)
            usage = self._meet(record, None if pool is None else weakref.ref(pool), adopted=True)
        return usage

    def _meet(
        self, record: Any, pool: weakref.ref[Any] | None, *, connection: Any = None, adopted: bool = False
    ) -> Usage:
        """Begin to keep the usage of a connection, newly made or seen for the first time."""
        usage = Usage(
            Tally(),
            opened=_opened(record) if adopted else time.perf_counter(),
            pool=pool,
            record=weakref.ref(record),
            server_id=self._server_id(record, connection),
        )
        for old in [key for key in record.info if isinstance(key, str) and key.startswith(_KEY)]:
            del record.info[old]
        record.info[self.key] = usage
        self.ledger.enter(usage)
        if adopted and self.unmet:
            self.unmet -= 1
        return usage

    def _server_id(self, record: Any, connection: Any) -> int | None:
        try:
            if connection is None:
                return server_id(self._driver, record.driver_connection)
            return server_id(self._driver, pool_of(record)._dialect.get_driver_connection(connection))
        except Exception:
            # A driver that changed under us costs the match of its connections, and nothing else.
            contain("server_id")
            return None


def _none() -> None:
    return None


def _opened(record: Any) -> float:
    """Tell when the connection was made, on the clock of the usages: SQLAlchemy notes the wall clock then."""
    return time.perf_counter() - max(time.time() - getattr(record, "starttime", float("inf")), 0.0)


def _deaf_ear() -> Ear:
    ear = Ear("", leak_after=float("inf"), call_sites=False, asynchronous=False)
    ear.stop()
    return ear


DEAF = _deaf_ear()
"""What a pool has that somebody makes from a watched pool's class: it works, and nobody hears it."""
