"""The seam: where a pool is made to tell what no event of SQLAlchemy tells, and cheaper than events do.

A pool's class is swapped for a subclass of itself, of the same name, with a few methods overridden. That survives
``dispose()``, costs a tenth of two listeners, can be put on and taken off while other threads use the pool, and an
exception in ``_do_return_conn`` cannot lose the slot, as one in a checkin listener would.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

from exporter.contained import contain, contain_ours
from exporter.ear import DEAF, Ear
from exporter.entry import idle_again
from exporter.listeners import listen, listens
from exporter.pings import leave_pings, watch_pings
from exporter.swap import base_of, subclass, swap_class
from exporter.waits import ended_without, leave_queue, watch_queue

_USES = {"connect", "_do_return_conn"}
"""The methods of a pool that every use goes through."""


def install(pool: Pool, ear: Ear) -> None:
    """Let ``ear`` hear ``pool`` and every pool that dispose() will put in its place; raises nothing.

    Where the class cannot be swapped, or the pool has methods that no class can stand before, SQLAlchemy's events are
    all that is heard.
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


def hears(pool: Pool, ear: Ear) -> bool:
    """Tell whether a pool is heard: by ``ear``, or by another, of whose pools it is one then."""
    other = ear_of(pool)
    return other is ear or (other is not None and other.active) or (ear.events_only and listens(pool, ear))


def _enter(pool: Any, ear: Ear) -> None:
    own = vars(pool)  # not past a __setattr__ of the application's
    if replaced := sorted(_USES & own.keys()):
        raise TypeError(
            f"{', '.join(replaced)} of this pool was replaced on the pool itself, before which no class stands; "
            "put it into a class of pools"
        )
    own["_pool_exporter_ref"], own["_pool_exporter_ear"] = weakref.ref(pool), ear
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
    # What the base does is looked up at each call: another tool, or a test, may stand before it by then.
    return {
        "__new__": _watched_new(base.__new__),
        "connect": (_watched_connect if _takes(base.connect, 1) else _passing_connect)(base),
        "_do_return_conn": (_watched_give_back if _takes(base._do_return_conn, 2) else _passing_give_back)(base),
        "dispose": _watched_dispose(base),
        "recreate": _watched_recreate(base),
        "_invoke_creator": _WatchedCreator(),
    }


def _takes(method: Callable[..., Any], count: int) -> bool:
    """Tell whether a method takes so many arguments, as SQLAlchemy's own do, and no more: to pass on costs time."""
    with contextlib.suppress(TypeError, ValueError):
        return len(inspect.signature(method, follow_wrapped=False).parameters) == count
    return False


def _watched_new(new: Any) -> Any:
    def watched_new(cls: Any, *args: Any, **options: Any) -> Any:
        pool = new(cls) if new is object.__new__ else new(cls, *args, **options)
        # Not as attributes of the class: one that an instance has as well is found the slow way.
        vars(pool).update(_pool_exporter_ref=weakref.ref(pool), _pool_exporter_ear=DEAF)
        return pool

    return watched_new


def _watched_connect(base: Any) -> Any:
    def watched_connect(self: Any) -> Any:
        try:
            proxy = base.connect(self)
        except BaseException as error:
            ended_without(self, error)
            raise
        try:
            # SingletonThreadPool gives a thread that asks again what it has: that is no second checkout.
            if proxy._counter == 1:
                self._pool_exporter_ear.took(proxy._connection_record, self, proxy)
        except Exception as error:
            _contain_checkout(proxy, error)
        except BaseException as error:  # a signal's, raised in the midst of it: the wait is no later checkout's
            ended_without(self, error)
            raise
        return proxy

    return watched_connect


def _passing_connect(base: Any) -> Any:
    """Do the same for a pool of the application's whose connect() takes more than SQLAlchemy's."""

    def passing_connect(self: Any, *args: Any, **options: Any) -> Any:
        try:
            proxy = base.connect(self, *args, **options)
        except BaseException as error:
            ended_without(self, error)
            raise
        try:
            if proxy._counter == 1:
                self._pool_exporter_ear.took(proxy._connection_record, self, proxy)
        except Exception as error:
            _contain_checkout(proxy, error)
        except BaseException as error:  # a signal's, raised in the midst of it: the wait is no later checkout's
            ended_without(self, error)
            raise
        return proxy

    return passing_connect


def _contain_checkout(proxy: Any, error: Exception) -> None:
    """Give the connection back when the error is the application's: with its traceback it would keep it."""
    try:
        contain_ours("checkout", error)
    except Exception:
        proxy.close()
        raise


def _watched_give_back(base: Any) -> Any:
    def watched_give_back(self: Any, record: Any) -> None:
        try:
            self._pool_exporter_ear.gave_back(record, self)
        except BaseException as error:
            _contain_return(record, error)
        finally:
            base._do_return_conn(self, record)

    return watched_give_back


def _passing_give_back(base: Any) -> Any:
    def passing_give_back(self: Any, record: Any, *args: Any, **options: Any) -> None:
        try:
            self._pool_exporter_ear.gave_back(record, self)
        except BaseException as error:
            _contain_return(record, error)
        finally:
            base._do_return_conn(self, record, *args, **options)

    return passing_give_back


def _contain_return(record: Any, error: BaseException) -> None:
    """Contain what came up in our part of a return, and raise what is the application's. The connection is back."""
    idle_again(record)
    if not isinstance(error, Exception):
        raise error
    contain_ours("checkin", error)


def _watched_dispose(base: Any) -> Any:
    def watched_dispose(self: Any, *args: Any, **options: Any) -> Any:
        _note(self._pool_exporter_ear, "disposals")
        return base.dispose(self, *args, **options)

    return watched_dispose


def _watched_recreate(base: Any) -> Any:
    def watched_recreate(self: Any, *args: Any, **options: Any) -> Pool:
        pool: Pool = base.recreate(self, *args, **options)
        try:
            frame, ear = sys._getframe(1), self._pool_exporter_ear
            # Somebody else may want it for an engine of his own; one that takes it as its pool shows that by itself.
            if _is_engines_dispose(frame):
                if not frame.f_locals.get("close", True):  # then the pool's dispose() is not called
                    _note(ear, "disposals")
                ear.succeeded(pool, frame.f_locals["self"])
                install(pool, ear)
        except Exception as error:
            contain_ours("recreate", error)
        return pool

    return watched_recreate


def _is_engines_dispose(frame: FrameType) -> bool:
    """Tell whether this is SQLAlchemy's own ``Engine.dispose``: by name, since others may stand before it."""
    return frame.f_code.co_name == "dispose" and frame.f_globals.get("__name__") == Engine.__module__


def _note(ear: Ear, what: str) -> None:
    try:
        if ear.active:
            ear.ledger.note(what)
            ear.ring()
    except Exception as error:
        contain_ours(what, error)


class _WatchedCreator:
    """Stands before the function that a pool makes connections with, which lies in the pool's own attributes."""

    def __get__(self, pool: Any, owner: type) -> Any:
        if pool is None:
            return self
        creator = vars(pool)["_invoke_creator"]
        try:
            return functools.partial(_create, pool, creator)
        except MemoryError:
            return _hearing(pool, creator)

    def __set__(self, pool: Any, creator: Any) -> None:
        vars(pool)["_invoke_creator"] = creator

    def __delete__(self, pool: Any) -> None:
        vars(pool).pop("_invoke_creator", None)


def _hearing(pool: Any, creator: Any) -> Any:
    """Try once more where memory was short; else the connection is made all the same, and met when it is taken."""
    try:
        return functools.partial(_create, pool, creator)
    except MemoryError:
        contain("connect")
        return creator


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
    except Exception as error:
        contain_ours("connect", error)
    return connection
