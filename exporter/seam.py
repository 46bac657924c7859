"""The seam: where a pool is made to tell what no event of SQLAlchemy tells, and cheaper than events do.

A pool's class is swapped for a subclass of itself, of the same name, with a few methods overridden. That survives
``dispose()``, costs a tenth of two listeners, can be put on and taken off while other threads use the pool, and an
exception in ``_do_return_conn`` cannot lose the slot, as one in a checkin listener would.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

from exporter.contained import contain
from exporter.ear import DEAF, Ear
from exporter.listeners import listen
from exporter.pings import leave_pings, watch_pings
from exporter.swap import base_of, subclass, swap_class
from exporter.waits import ended_without, leave_queue, watch_queue


def install(pool: Pool, ear: Ear) -> None:
    """Let ``ear`` hear ``pool`` and every pool that dispose() will put in its place; raises nothing.

    A class may refuse to be swapped: its metaclass asks for more than a name, or it is not to be inherited from. Then
    SQLAlchemy's events are all that is heard.
    """
    try:
        _enter(pool, ear)
        ear.events_only = False
    except Exception:
        contain("swap")
        with contextlib.suppress(Exception):  # said already
            _leave(pool)
        ear.events_only = True
    watch_pings(pool, ear)
    listen(pool, ear)


def remove(pool: Pool | None, ear: Ear) -> None:
    """Give a pool its own class back, and its dialect its own ping; raises nothing.

    What runs in it right now ends as it began. None is a pool that was collected before.
    """
    try:
        if pool is not None:
            _leave(pool)
        leave_pings(ear)
    except Exception:
        contain("swap")


def ear_of(pool: Pool) -> Ear | None:
    """Return the ear that hears this pool through the seam, if any does."""
    ear: Ear | None = getattr(pool, "_pool_exporter_ear", None) if base_of(pool) is not None else None
    return ear


def _enter(pool: Any, ear: Ear) -> None:
    pool._pool_exporter_ref = weakref.ref(pool)
    pool._pool_exporter_ear = ear
    if base_of(pool) is None:
        swap_class(pool, _watched_class(type(pool)))
    watch_queue(getattr(pool, "_pool", None), ear)


def _leave(pool: Any) -> None:
    base = base_of(pool)
    if base is not None:
        swap_class(pool, base)
        leave_queue(getattr(pool, "_pool", None))


def _watched_class(base: Any) -> Any:
    return subclass(base, lambda: _overrides(base))


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
        pool._pool_exporter_ref, pool._pool_exporter_ear = weakref.ref(pool), DEAF
        return pool

    return watched_new


def _watched_connect(connect: Any) -> Any:
    def watched_connect(self: Any) -> Any:
        try:
            proxy = connect(self)
        except BaseException as error:
            ended_without(self, error)
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


def _note(ear: Ear, what: str) -> None:
    try:
        if ear.active:
            ear.ledger.note(what)
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
