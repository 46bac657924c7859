"""The seam: the one place where a pool is made to tell what no event of SQLAlchemy tells, and cheaper than events do.

A pool's class is swapped for a subclass of itself, of the same name, with a few methods overridden. That survives
``dispose()``, costs a tenth of two listeners, can be put on and taken off while other threads use the pool, and an
exception in ``_do_return_conn`` cannot lose the slot, as one in a checkin listener would.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Dialect, Engine
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import Pool

from exporter.contained import contain
from exporter.listeners import Ear


def install(pool: Pool, ear: Ear) -> None:
    """Let ``ear`` hear ``pool`` and every pool that dispose() will put in its place."""
    watched: Any = pool
    watched._pool_exporter_ref = weakref.ref(pool)
    watched._pool_exporter_ear = ear
    if _base(pool) is None:
        _swap_class(watched, _watched_class(type(watched)))
    _watch_queue(getattr(pool, "_pool", None), ear)
    _watch_ping(watched._dialect, ear)
    _listen(pool, ear)


def remove(pool: Pool) -> None:
    """Give a pool its own class back. What runs in it right now ends as it began."""
    base = _base(pool)
    if base is not None:
        watched: Any = pool
        _swap_class(watched, base)
        _leave_queue(getattr(pool, "_pool", None))
        _leave_ping(watched._dialect)


def ear_of(pool: Pool) -> Ear | None:
    """Return the ear that hears this pool, if any does."""
    ear: Ear | None = getattr(pool, "_pool_exporter_ear", None) if _base(pool) is not None else None
    return ear


def _base(pool: Pool) -> type[Pool] | None:
    """Return the class that a watched pool had; None for a pool that is not watched."""
    base: type[Pool] | None = getattr(type(pool), "_pool_exporter_base", None)
    return base


def _swap_class(pool: Any, other: type[Pool]) -> None:
    pool.__class__ = other
    # The interpreter now keeps the pool's attributes in a table shared with those of its old class, where it finds none
    # of them the fast way any more: half a microsecond a cycle, in SQLAlchemy's own code. popitem() gives it a table of
    # its own, in place and at once; what it takes out is what was put in last.
    attributes = vars(pool)
    attributes["_pool_exporter_swapped"] = True
    last, value = attributes.popitem()
    if last != "_pool_exporter_swapped":  # another thread came between
        attributes[last] = value


def _deaf_ear() -> Ear:
    ear = Ear("", leak_after=float("inf"), call_sites=False, asynchronous=False)
    ear.stop()
    return ear


_DEAF = _deaf_ear()
"""What a pool has that somebody makes from a watched pool's class: it works, and nobody hears it."""


def _subclass(base: Any, body: Callable[[], dict[str, Any]]) -> Any:
    """Return the subclass that watches, one for each class. Same name and module: messages stay what they were."""
    for known in base.__subclasses__():  # which holds them weakly: a class of a reloaded module can go
        if vars(known).get("_pool_exporter_base") is base:
            return known
    ours = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    return type(base)(base.__name__, (base,), {**ours, "_pool_exporter_base": base, **body()})


def _watched_class(base: Any) -> Any:
    return _subclass(base, lambda: _overrides(base))


def _overrides(base: type[Pool]) -> dict[str, Any]:
    return {
        "__new__": _watched_new(base.__new__),
        "connect": _watched_connect(base.connect),
        "_do_return_conn": _watched_give_back(base._do_return_conn),
        "dispose": _watched_dispose(base.dispose),
        "recreate": _watched_recreate(base.recreate),
        "_invoke_creator": _WatchedCreator(),
    }


def _watched_new(new: Any) -> Any:
    def watched_new(cls: Any, *args: Any, **options: Any) -> Any:
        pool = new(cls) if new is object.__new__ else new(cls, *args, **options)
        # Not as attributes of the class: one that an instance has as well is found the slow way.
        pool._pool_exporter_ref, pool._pool_exporter_ear = weakref.ref(pool), _DEAF
        return pool

    return watched_new


def _watched_connect(connect: Any) -> Any:
    def watched_connect(self: Any) -> Any:
        try:
            proxy = connect(self)
        except BaseException as error:
            _failed(self, error)
            raise
        try:
            # SingletonThreadPool gives a thread that asks again what it has: that is no second checkout.
            if proxy._counter == 1:
                self._pool_exporter_ear.took(proxy._connection_record, self)
        except Exception:
            contain("checkout")
        return proxy

    return watched_connect


def _watched_give_back(give_back: Any) -> Any:
    def watched_give_back(self: Any, record: Any) -> None:
        try:
            self._pool_exporter_ear.gave_back(record, self)
        except Exception:
            contain("checkin")
        finally:
            give_back(self, record)

    return watched_give_back


def _watched_dispose(dispose: Any) -> Any:
    def watched_dispose(self: Any) -> None:
        _note(self._pool_exporter_ear, "disposals")
        dispose(self)

    return watched_dispose


def _watched_recreate(recreate: Any) -> Any:
    def watched_recreate(self: Any) -> Pool:
        pool: Pool = recreate(self)
        try:
            if _disposed_without_closing(sys._getframe(1)):
                _note(self._pool_exporter_ear, "disposals")
            install(pool, self._pool_exporter_ear)
        except Exception:
            contain("recreate")
        return pool

    return watched_recreate


def _disposed_without_closing(frame: FrameType) -> bool:
    """Tell whether it is engine.dispose(close=False) that recreates a pool: then the pool's dispose() is not called."""
    return frame.f_code is Engine.dispose.__code__ and not frame.f_locals.get("close", True)


def _failed(pool: Any, error: BaseException) -> None:
    try:
        if isinstance(error, PoolTimeoutError):
            pool._pool_exporter_ear.timed_out(pool._pool_exporter_ref)
        else:
            pool._pool_exporter_ear.gave_up()
    except Exception:
        contain("timeout")


def _note(ear: Ear, what: str) -> None:
    try:
        if ear.active:
            ear.ledger.note(what)
            ear.ring()
    except Exception:
        contain(what)


class _WatchedCreator:
    """Stands before the function that a pool makes connections with, which lies in the pool's own attributes."""

    def __get__(self, pool: Any, owner: type) -> Any:
        if pool is None:
            return self
        return functools.partial(_create, pool, vars(pool)["_invoke_creator"])

    def __set__(self, pool: Any, creator: Any) -> None:
        vars(pool)["_invoke_creator"] = creator

    def __delete__(self, pool: Any) -> None:
        vars(pool).pop("_invoke_creator", None)


def _create(pool: Any, creator: Callable[[Any], Any], record: Any) -> Any:
    """Make a connection as the pool would, and note how long that took, or that it failed."""
    ear: Ear = pool._pool_exporter_ear
    began = time.perf_counter()
    try:
        connection = creator(record)
    except Exception:  # not a cancelled task: its connection was not refused
        _note(ear, "connect_errors")
        raise
    try:
        ear.opened(record, pool._pool_exporter_ref, connection, seconds=time.perf_counter() - began)
    except Exception:
        contain("connect")
    return connection


# Waiting: only where a thread or task really waits, so that a checkout that need not pays nothing.


class _WatchedWait:
    """Stands before the wait() of the condition that threads and gevent's greenlets wait on for a connection.

    An attribute of that condition: with its class swapped, every other use of it, at each checkout, would be slower.
    """

    def __init__(self, condition: threading.Condition, ear: Ear) -> None:
        self.ear = ear
        # Not held: that would be a cycle, and every engine would have to wait for the collector.
        self._condition = weakref.ref(condition)

    def __call__(self, timeout: float | None = None) -> bool:
        condition: Any = self._condition()
        return bool(_timed(self.ear, functools.partial(type(condition).wait, condition), timeout))


def _watch_queue(queue: Any, ear: Ear) -> None:
    if queue is None:
        return
    condition = getattr(queue, "not_empty", None)
    if isinstance(condition, threading.Condition):
        condition.wait = _WatchedWait(condition, ear)  # type: ignore[method-assign]
    elif hasattr(queue, "get"):
        queue.pool_exporter_ear = ear
        if getattr(type(queue), "_pool_exporter_base", None) is None:
            queue.__class__ = _watched_queue_class(type(queue))


def _watched_queue_class(base: Any) -> Any:
    """Make the subclass for a queue class of asyncio engines."""

    def get(self: Any, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002  the base's
        if not block or not self.empty():
            return base.get(self, block, timeout)
        return _timed(self.pool_exporter_ear, functools.partial(base.get, self), block, timeout)

    return _subclass(base, lambda: {"get": get, "pool_exporter_ear": _DEAF})


def _leave_queue(queue: Any) -> None:
    condition: Any = getattr(queue, "not_empty", None)
    if isinstance(getattr(condition, "wait", None), _WatchedWait):
        del condition.wait
    base = getattr(type(queue), "_pool_exporter_base", None)
    if base is not None:
        queue.__class__ = base


def _timed(ear: Ear, wait: Callable[..., Any], *args: Any) -> Any:
    """Wait, and note who does and for how long; whoever is cancelled leaves nothing behind."""
    began, me, waiting = 0.0, None, ear.waiting  # a fork or a new start gives the ear another
    try:
        began, me = time.perf_counter(), ear.whoami()
        waiting[me] = began - ear.waited.get(me, 0.0)
    except Exception:
        contain("wait")
    try:
        return wait(*args)
    finally:
        try:
            if waiting.pop(me, None) is not None and ear.active:
                ear.waited[me] = ear.waited.get(me, 0.0) + time.perf_counter() - began
        except Exception:
            contain("wait")


class _WatchedPing:
    """Stands before a dialect's do_ping, which pool_pre_ping calls, and notes what it cost and what it met."""

    def __init__(self, ping: Callable[[Any], Any], ear: Ear) -> None:
        self.ear = ear
        self.ping = ping

    def __call__(self, dbapi_connection: Any) -> Any:
        began = time.perf_counter()
        try:
            alive = self.ping(dbapi_connection)
        except Exception as error:
            self._note(began, error, alive=False)
            raise
        self._note(began, None, alive=bool(alive))
        return alive

    def _note(self, began: float, error: BaseException | None, *, alive: bool) -> None:
        try:
            self.ear.pinged(time.perf_counter() - began, error, alive=alive)
        except Exception:
            contain("ping")


def _watch_ping(dialect: Any, ear: Ear) -> None:
    """Watch the pings of one engine's dialect, which outlives its pools. A pool without an engine cannot ping."""
    if not isinstance(dialect, Dialect):
        return
    current = vars(dialect).get("do_ping")
    if isinstance(current, _WatchedPing):
        current.ear = ear
    elif current is not None:  # somebody else stands there already
        dialect.do_ping = _WatchedPing(current, ear)  # type: ignore[method-assign]
    else:
        # Not bound to the dialect: that would be a cycle, and every engine would have to wait for the collector.
        dialect.do_ping = _WatchedPing(functools.partial(_ping, weakref.ref(dialect)), ear)  # type: ignore[method-assign]


def _leave_ping(dialect: Any) -> None:
    watched = vars(dialect).get("do_ping")
    if not isinstance(watched, _WatchedPing):  # somebody stands before us: then we hear on, and nobody listens
        return
    del dialect.do_ping
    if not isinstance(watched.ping, functools.partial) or watched.ping.func is not _ping:
        dialect.do_ping = watched.ping


def _ping(dialect: weakref.ref[Any], dbapi_connection: Any) -> Any:
    pinging: Any = dialect()
    return type(pinging).do_ping(pinging, dbapi_connection)


# The events of a connection's life.


def _listen(pool: Pool, ear: Ear) -> None:
    """Listen to the events that the seam does not replace.

    ``event.listen`` changes a deque in place, and a thread that goes through it at that moment gets a RuntimeError in
    the application's own call. So each collection gets a new deque; whoever goes through the old one ends in peace.
    A pool made by recreate() has its predecessor's listeners already.
    """
    for name, listener in ear.listeners().items():
        _listen_to(pool, name, listener)


def _listen_to(pool: Pool, name: str, listener: Callable[..., None]) -> None:
    try:
        collection = getattr(pool.dispatch, name).for_modify(pool.dispatch)
        others = [one for one in list(collection.listeners) if not getattr(one, "pool_exporter", False)]
        collection.listeners = deque([listener, *others])
    except (AttributeError, TypeError):  # another SQLAlchemy than those that we know
        contain("listen")
        event.listen(pool, name, listener)
