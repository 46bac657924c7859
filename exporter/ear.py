"""The ear: what is noted, in the application's own thread, when a connection is made, taken or given back."""

from __future__ import annotations

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
from exporter.entry import forget, opened_at, server_id_of
from exporter.ledger import Ledger
from exporter.reasons import detaching, pool_of
from exporter.tally import SHORT_IDLE, SHORT_USE, Late, Tally, Usage
from exporter.who import greenlet_id, task_reference

_LATE = 1000
"""How many overdue checkouts that came back may wait to be said. All are counted; a log needs no more."""


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
        self.quick = SHORT_USE  # no use that ended within so many seconds can have been overdue
        self.set_leak_after(leak_after)
        self.call_sites = call_sites
        self.asynchronous = asynchronous
        # Who is asking: a thread, a greenlet under gevent (whose get_ident is patched), or SQLAlchemy's own greenlet.
        self.whoami: Callable[[], Any] = greenlet_id if asynchronous else threading.get_ident
        self.start_from_zero()
        # Whether nothing but SQLAlchemy's events is heard, which tell of no wait, failed connect or dispose().
        self.events_only = False
        self.dialect: Callable[[], Any] = lambda: None  # the one whose pings are heard; a weak reference
        self.heir: Callable[[], Any] = lambda: None  # the pool that a dispose() put in the last one's place; likewise
        self.heirs: list[tuple[Callable[[], Any], Callable[[], Any]]] = []  # engines, and the last such pool of each

    def succeeded(self, pool: Any, engine: Any) -> None:
        """Note the pool that an engine's dispose() put in the last one's place."""
        others = [(other, heir) for other, heir in self.heirs if other() is not None and other() is not engine]
        self.heir = weakref.ref(pool)
        self.heirs = [*others, (weakref.ref(engine), self.heir)]  # another list: somebody may go through this one

    def set_leak_after(self, seconds: float) -> None:
        """Change how long a checkout may be out before it is overdue; one that was overdue once stays so."""
        self.leak_after = seconds
        self.quick = min(self.quick, seconds)

    def start_from_zero(self) -> None:
        """Forget all that was heard, and listen from now on."""
        self.life = object()  # usages of another are a parent process's, another ear's or from before a stop
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

    def ring(self) -> None:
        """Tell that something happens, to whoever may be at rest."""
        if self.bell is not None:
            self.bell()

    def took(self, record: Any, pool: Any, proxy: Any) -> None:
        """Note that a connection was handed to the application; adopt one that was opened before we listened."""
        try:
            usage: Usage | None = record.pool_exporter_usage
        except AttributeError:
            usage = None
        if usage is None or usage.life is not self.life:
            if record is None or not self.active:  # without a record: a listener at checkout has just detached it
                return
            usage = self._meet(record, weakref.ref(pool), adopted=True)
        fairy = record.fairy_ref
        # The pool's connect() may have called itself, to retry: then it is noted.
        if fairy is usage.fairy and fairy is not None and fairy() is proxy:
            return
        usage.fairy = fairy
        if self.call_sites:
            usage.site = taken_at() or self._other_site(sys._getframe(1))
        usage.holder = task_reference() if self.asynchronous else threading.get_ident()
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

    def _other_site(self, frame: FrameType) -> CallSite | None:
        """Look where the frames of an application do not lead: out of a greenlet, or into what is installed."""
        outer = coroutine_frame() if self.asynchronous else None
        return call_site(outer, of_task=True) or installed_site(frame) or installed_site(outer, of_task=True)

    def gave_back(self, record: Any, pool: Any) -> None:
        """Note that a connection comes back, as it does from a failed reconnect (none) and a detach (none either)."""
        try:
            usage: Usage | None = record.pool_exporter_usage
        except AttributeError:
            usage = None
        if usage is None or usage.life is not self.life:
            if self.active:
                self._unmet_gave_back(record, weakref.ref(pool))
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
        if held > self.quick:
            usage.end(now)
            self._note_if_late(usage, out_since, held, "came back")
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
        self._note_if_late(usage, out_since, now - out_since, "was closed")

    def _note_if_late(self, usage: Usage, out_since: float, held: float, how: str) -> None:
        """Count a checkout that was overdue, and keep it to be said by whoever reads next."""
        tally = usage.tally
        # Only when it has ended: a reader that comes in between then sees one too few, and never one twice.
        if out_since and (held > self.leak_after or tally.overdue_out == out_since):
            tally.late += 1
            self.late.append((tally, out_since, held, usage.site, usage.holder, how))

    def _unmet_gave_back(self, record: Any, pool: weakref.ref[Any]) -> None:
        """Adopt a connection that was out when we came; one that is being detached counts as taken for that."""
        if record.dbapi_connection is not None:
            self._meet(record, pool, adopted=True).idle_since = time.perf_counter()
        elif (fairy := detaching()) is not None:
            self._left(record, self._meet(record, pool, connection=fairy.dbapi_connection, adopted=True))

    def _left(self, record: Any, usage: Usage) -> None:
        """Note a detach. Its event follows, in this thread, when the record may be another connection's already."""
        forget(record)
        now = time.perf_counter()
        if not usage.out_since and not self._taken_to_leave(usage, now):
            # A listener of the application's refused it as it was made; SQLAlchemy has closed it without an event.
            usage.closed(now, "other")
            return
        out_since, fairy = usage.out_since, usage.fairy
        if fairy is not None and fairy() is None:
            # Nobody detached it: SQLAlchemy takes an asynchronous connection that was left to the collector apart.
            self.end_use(usage, now)
        else:
            usage.leave()
            self._note_if_late(usage, out_since, now - out_since, "was detached")
        self.leaving[threading.get_ident()] = usage

    def _taken_to_leave(self, usage: Usage, now: float) -> bool:
        """Begin the use of a connection that is detached before we heard that it was taken; False when it is not."""
        fairy = detaching()
        if fairy is not None:
            usage.fairy = weakref.ref(fairy)
            usage.begin(now, self.waited.pop(self.whoami(), None))
        return fairy is not None

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
        usage: Usage | None = getattr(record, "pool_exporter_usage", None)
        if usage is None or usage.life is not self.life:
            pool = pool_of(record)
            usage = self._meet(record, None if pool is None else weakref.ref(pool), adopted=True)
        return usage

    def _meet(
        self, record: Any, pool: weakref.ref[Any] | None, *, connection: Any = None, adopted: bool = False
    ) -> Usage:
        """Begin to keep the usage of a connection, newly made or seen for the first time."""
        usage = Usage(
            Tally(adopted=adopted),
            opened=opened_at(record) if adopted else time.perf_counter(),
            pool=pool,
            record=weakref.ref(record),
            server_id=server_id_of(record, connection, driver=self._driver),
        )
        usage.life = self.life
        record.pool_exporter_usage = usage
        self.ledger.enter(usage)
        if adopted and self.unmet:
            self.unmet -= 1
        self.ring()  # now that it can be seen
        return usage


def _deaf_ear() -> Ear:
    ear = Ear("", leak_after=float("inf"), call_sites=False, asynchronous=False)
    ear.stop()
    return ear


DEAF = _deaf_ear()
"""What a pool has that somebody makes from a watched pool's class: it works, and nobody hears it."""
