"""The listeners: what SQLAlchemy's events tell the ear, and how they are put in while others go through them.

Beside the seam they hear what happens once in a connection's life. Where there can be no seam they hear its use too.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import event
from sqlalchemy.pool import Pool

from exporter.codes import stale_code
from exporter.contained import contain, contain_ours
from exporter.ear import Ear
from exporter.entry import forget
from exporter.reasons import cause_of, pool_of, reason_of

_MOST_DETACHED = 1000
_CLOSING = ("checkin", "close")
"""Events out of which nothing may be raised, not even what is the application's: it would cost the pool a place."""


def listen(pool: Pool, ear: Ear) -> None:
    """Listen to the events that ``ear`` needs; raises nothing.

    ``event.listen`` changes a deque in place, and a thread that goes through it at that moment gets a RuntimeError in
    the application's own call. So each collection gets a new deque; whoever goes through the old one ends in peace.
    A pool made by recreate() has its predecessor's listeners already.
    """
    try:
        replaced = [_listen_to(pool, name, listener) for name, listener in Listeners(ear).by_event().items()]
        if any(replaced):
            time.sleep(0)  # let go on who was about to put a listener of the application's into an old one
        for each in replaced:
            _catch_up(*each)
    except Exception:
        contain("listen")


class Listeners:
    """Tell an ear what the events tell them. Each contains its own errors."""

    def __init__(self, ear: Ear) -> None:
        self._ear = ear

    def by_event(self) -> dict[str, Callable[..., None]]:
        """Return the listeners by the event that each is for."""
        of_life = (self.invalidate, self.soft_invalidate, self.close, self.detach, self.close_detached)
        of_use = (self.connect, self.checkout, self.checkin) if self._ear.events_only else ()
        return {listener.__name__: _contained(listener, self._ear) for listener in (*of_life, *of_use)}

    def _hears(self, record: Any) -> bool:
        """Tell whether the pool is one of ours: listeners go along to whatever the application calls recreate() for."""
        ear = self._ear
        return ear.active and (ear.events_only or getattr(pool_of(record), "_pool_exporter_ear", None) is ear)

    def invalidate(self, _dbapi_connection: Any, record: Any, exception: BaseException | None) -> None:
        """Note why the connection is declared unusable; its close follows."""
        ear = self._ear
        if self._hears(record):
            cause = cause_of(exception)
            ear.ledger.note("invalidation", cause)
            if cause == "disconnect":
                ear.ledger.note("stale", ("use", stale_code(exception)))
            elif cause == "ping":
                ear.ledger.note("stale", ("ping", ear.ping_codes.pop(ear.whoami(), "other")))

    def soft_invalidate(self, _dbapi_connection: Any, record: Any, _exception: BaseException | None) -> None:
        """Count a connection that is to be replaced at its next checkout."""
        if self._hears(record):
            self._ear.ledger.note("invalidation", "soft")

    def close(self, _dbapi_connection: Any, record: Any) -> None:
        """End the usage with its connection, and note why."""
        ear = self._ear
        if self._hears(record):
            usage = ear.usage_of(record)
            now = time.perf_counter()
            ear.end_use(usage, now)
            usage.closed(now, reason_of(record))
            # From here on the connection is nobody's: the return that follows an invalidation finds nothing to end.
            forget(record)

    def detach(self, dbapi_connection: Any, record: Any) -> None:
        """Let the usage go with its connection, to whoever detached it: when that is closed, no record will tell."""
        ear = self._ear
        if ear.events_only and record.dbapi_connection is None:  # else the record is another's by now
            ear.gave_back(record, pool_of(record))
        usage = ear.leaving.pop(threading.get_ident(), None)
        if usage is None:
            return
        fairy = None if usage.fairy is None else usage.fairy()
        if fairy is not None:
            fairy.pool_exporter_usage = usage
            ear.detached[id(dbapi_connection)] = weakref.ref(usage)
        elif usage.closes_when_collected():
            ear.detached[id(dbapi_connection)] = lambda: usage  # close_detached follows at once
        if len(ear.detached) > _MOST_DETACHED:  # those whose holder was collected without a word
            ear.detached = {key: find for key, find in list(ear.detached.items()) if find() is not None}

    def close_detached(self, dbapi_connection: Any) -> None:
        """End a connection that had left the pool."""
        ear = self._ear
        if not ear.active:
            return
        find = ear.detached.pop(id(dbapi_connection), None)
        usage = None if find is None else find()
        if usage is not None:  # else it was detached before we listened, or from a pool that is none of ours
            usage.closed(time.perf_counter(), "detached" if usage.tally.detached else "garbage_collected")

    # What the seam tells otherwise, exactly and cheaper.

    def connect(self, dbapi_connection: Any, record: Any) -> None:
        """Begin the usage of a new connection. How long it took to make, SQLAlchemy's own wall clock must tell."""
        pool, now = pool_of(record), time.time()
        seconds = max(now - getattr(record, "starttime", now), 0.0)
        self._ear.opened(record, weakref.ref(pool), dbapi_connection, seconds=seconds)

    def checkout(self, _dbapi_connection: Any, record: Any, proxy: Any) -> None:
        """Note that a connection is handed to the application."""
        self._ear.took(record, pool_of(record), proxy)

    def checkin(self, _dbapi_connection: Any, record: Any) -> None:
        """Note that a connection comes back."""
        self._ear.gave_back(record, pool_of(record))


def listens(pool: Pool, ear: Ear) -> bool:
    """Tell whether ``ear`` hears the events of a pool."""
    try:
        return any(getattr(listener, "pool_exporter", None) is ear for listener in pool.dispatch.close)
    except RuntimeError:  # the application adds a listener of its own at this moment; the next look will tell
        return True


def _contained(listener: Callable[..., None], ear: Ear) -> Callable[..., None]:
    where = listener.__name__

    def contained(*args: Any) -> None:
        try:
            listener(*args)
        except Exception as error:
            if where in _CLOSING:
                contain(where)
            else:
                contain_ours(where, error)

    vars(contained)["pool_exporter"] = ear  # so that a second attach finds the first
    return contained


def _listen_to(pool: Pool, name: str, listener: Any) -> tuple[Any, ...]:
    """Put a listener before the others; return the collection, its old deque and whom we found there, if it is new."""
    try:
        collection = getattr(pool.dispatch, name).for_modify(pool.dispatch)
        before = collection.listeners
        if before and getattr(before[0], "pool_exporter", None) is listener.pool_exporter:
            return ()
        others = _others(before)
        collection.listeners = deque([listener, *others])
    except (AttributeError, TypeError):  # another SQLAlchemy than those that we know
        contain("listen")
        event.listen(pool, name, listener)
        return ()
    return collection, before, others


def _catch_up(collection: Any = None, before: Iterable[Any] = (), others: Iterable[Any] = ()) -> None:
    """Take over whom the application has put into an old deque meanwhile; what it has taken out stays out."""
    copied = {id(one) for one in others}
    missed = [one for one in _others(before) if id(one) not in copied]
    if missed:
        collection.listeners = deque([*collection.listeners, *missed])


def _others(listeners: Iterable[Any]) -> list[Any]:
    return [one for one in list(listeners) if not getattr(one, "pool_exporter", False)]
