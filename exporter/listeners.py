"""The ear: what is noted, in the application's own thread, when something happens to its pool."""

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
from exporter.reasons import cause_of, pool_of, reason_of
from exporter.tally import SHORT_IDLE, SHORT_USE, Ledger, Tally, Usage

_LATE = 1000
"""How many overdue checkouts that came back may wait to be said. All are counted; a log needs no more."""

Late = tuple[Tally, float, float, CallSite | None, Any]
"""A checkout that came back overdue: its connection's tally, when it was taken, how long it was out, where, by whom."""


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
        # Rung when a connection is met or cannot be made; with `calling`, when one is taken that lay idle as well.
        self.bell: Callable[[], None] | None = None
        self.calling = False
        self.leak_after = leak_after
        self.call_sites = call_sites
        self.asynchronous = asynchronous
        # Who is asking: a thread, a greenlet under gevent (whose get_ident is patched), or SQLAlchemy's own greenlet.
        self.whoami: Callable[[], Any] = _greenlet if asynchronous else threading.get_ident
        self.start_from_zero()

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
        self._ping_codes: dict[Any, str] = {}  # what a ping that has just failed met, until its invalidation follows
        self._leaving: dict[int, Usage] = {}
        self._detached: dict[int, Callable[[], Usage | None]] = {}

    def stop(self) -> None:
        """Hear nothing more."""
        self.start_from_zero()
        self.active = False

    def listeners(self) -> dict[str, Callable[..., None]]:
        """Return the listeners by the event that each is for: those that run once in a connection's life."""
        listeners = (self.invalidate, self.soft_invalidate, self.close, self.detach, self.close_detached)
        return {listener.__name__: _contained(listener) for listener in listeners}

    def ring(self) -> None:
        """Tell that something happens, to whoever may be at rest."""
        if self.bell is not None:
            self.bell()

    # What the seam tells.

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
        if self.asynchronous:
            self._took_in_task(usage)
        else:
            usage.holder = threading.get_ident()
        now = time.perf_counter()
        idle = now - usage.idle_since
        if idle > SHORT_IDLE or self.waited:
            if self.calling:
                self.ring()
            usage.begin(now, self.waited.pop(self.whoami(), None))
        else:
            tally = usage.tally
            tally.short_idles += 1
            tally.idle_sum += idle
            usage.out_since = now

    def _took_in_task(self, usage: Usage) -> None:
        task = _task()
        usage.holder = None if task is None else weakref.ref(task)

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

    def _end(self, usage: Usage, now: float) -> None:
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
            self._end(usage, now)
        else:
            usage.leave()
            if out_since and now - out_since > self.leak_after:
                self._came_late(usage, out_since, now - out_since)
        self._leaving[threading.get_ident()] = usage

    def opened(self, record: Any, pool: weakref.ref[Any], connection: Any, *, seconds: float) -> None:
        """Begin a usage for a new connection, which took ``seconds`` to make."""
        if self.active:
            # First, since meeting it wakes whoever is to see it.
            self.ledger.note("connect", seconds)
            self._meet(record, pool, connection=connection)

    def timed_out(self, pool: weakref.ref[Any]) -> None:
        """Note a wait that ended in the pool's TimeoutError, and let it be said who holds the connections."""
        waited = self.waited.pop(self.whoami(), 0.0)
        self.ledger.note("timeout", waited)
        if self.complain is not None and self.active:
            self.complain([usage for usage in self.ledger.peek() if usage.pool == pool], waited)

    def gave_up(self) -> None:
        """Forget a wait that ended otherwise: cancelled, or the connection could not be made."""
        if self.waited or self._ping_codes:
            me = self.whoami()
            self.waited.pop(me, None)
            self._ping_codes.pop(me, None)

    def pinged(self, seconds: float, error: BaseException | None, *, alive: bool) -> None:
        """Note what a ping cost and what error it met; whether the connection is dead is for SQLAlchemy to say."""
        self.ledger.note("ping", seconds)
        if not alive:
            self._ping_codes[self.whoami()] = stale_code(error)

    # What SQLAlchemy's events tell.

    def invalidate(self, _dbapi_connection: Any, _record: Any, exception: BaseException | None) -> None:
        """Note why the connection is declared unusable; its close follows."""
        if self.active:
            cause = cause_of(exception)
            self.ledger.note("invalidation", cause)
            if cause == "disconnect":
                self.ledger.note("stale", ("use", stale_code(exception)))
            elif cause == "ping":
                self.ledger.note("stale", ("ping", self._ping_codes.pop(self.whoami(), "other")))

    def soft_invalidate(self, _dbapi_connection: Any, record: Any, _exception: BaseException | None) -> None:
        """Count a connection that is to be replaced at its next checkout."""
        if self.active:
            self._usage(record).tally.soft += 1

    def close(self, _dbapi_connection: Any, record: Any) -> None:
        """End the usage with its connection, and note why."""
        if self.active:
            usage = self._usage(record)
            now = time.perf_counter()
            self._end(usage, now)
            usage.tally.lifetime = now - usage.opened
            usage.tally.close_reason = reason_of(record)
            # From here on the connection is nobody's: the return that follows an invalidation finds nothing to end.
            record.info.pop(self.key, None)  # not there when stop() has just changed the key

    def detach(self, dbapi_connection: Any, _record: Any) -> None:
        """Let the usage go with its connection, to whoever detached it: when that is closed, no record will tell."""
        usage = self._leaving.pop(threading.get_ident(), None)
        if usage is None:
            return
        fairy = None if usage.fairy is None else usage.fairy()
        if fairy is not None:
            fairy.info[self.key] = usage
            self._detached[id(dbapi_connection)] = weakref.ref(usage)
        elif usage.closes_when_collected():
            self._detached[id(dbapi_connection)] = lambda: usage  # close_detached follows at once
        if len(self._detached) > 1000:  # those whose holder was collected without a word
            self._detached = {key: find for key, find in list(self._detached.items()) if find() is not None}

    def close_detached(self, dbapi_connection: Any) -> None:
        """End a connection that had left the pool."""
        if not self.active:
            return
        find = self._detached.pop(id(dbapi_connection), None)
        usage = None if find is None else find()
        if usage is None:
            self.ledger.note("close", "detached")
        else:
            usage.tally.lifetime = time.perf_counter() - usage.opened
            usage.tally.close_reason = "detached" if usage.tally.detached else "garbage_collected"

    def _usage(self, record: Any) -> Usage:
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
        self.ring()  # now that it can be seen
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


def _greenlet() -> int:
    # Its id alone: held itself, one that waits for a loop that is gone would wait for ever.
    return id(sys.modules["greenlet"].getcurrent())


def _task() -> Any:
    asyncio = sys.modules.get("asyncio")
    try:
        return None if asyncio is None else asyncio.current_task()
    except RuntimeError:  # no loop runs here, as when SQLAlchemy itself drives an asynchronous driver
        return None


def _contained(listener: Callable[..., None]) -> Callable[..., None]:
    where = listener.__name__

    def contained(*args: Any) -> None:
        try:
            listener(*args)
        except Exception:
            contain(where)

    vars(contained)["pool_exporter"] = True  # so that a second attach finds the first
    return contained


def _opened(record: Any) -> float:
    """Tell when the connection was made, on the clock of the usages: SQLAlchemy notes the wall clock then."""
    return time.perf_counter() - max(time.time() - getattr(record, "starttime", float("inf")), 0.0)
