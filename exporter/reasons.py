"""Why a connection is invalidated or closed, which no event says: told by which of SQLAlchemy's functions does it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from sqlalchemy import exc

_CLOSERS = {"dispose": "disposed", "_do_return_conn": "overflow", "_cleanup": "overflow"}
"""The pool's functions that close a connection, and the reason. NullPool has no room for any that returns, and
SingletonThreadPool makes room for the connections of more threads than it has."""

_INVALIDATORS = {"_handle_dbapi_exception": "disconnect", "_finalize_fairy": "error", "_checkin_failed": "error"}
"""SQLAlchemy's functions that invalidate a connection for an error: one that the user is about to see; one that came up
at the return; one of a listener at checkout."""


def cause_of(exception: BaseException | None) -> str:
    """Tell why a connection is being invalidated: the label ``cause``. To be called from the event's listener."""
    if exception is None:
        return "application"
    if isinstance(exception, exc.DisconnectionError):  # what pool_pre_ping raises, and listeners that ping themselves
        return "ping"
    if not isinstance(exception, Exception):  # a cancelled task, a killed greenlet, Ctrl-C
        return "cancelled"
    for name in _callers("invalidate"):
        if name not in ("invalidate", "_invalidate"):
            return _INVALIDATORS.get(name, "application")
    return "error"


def reason_of(record: Any) -> str:
    """Tell why the pool is closing a connection: the label ``reason``. To be called from the event's listener."""
    callers = _callers("__close")
    how = next(callers, "")
    if how == "get_connection":
        return _replaced(record)
    return "invalidated" if how == "invalidate" else _CLOSERS.get(next(callers, ""), "other")


def _callers(name: str) -> Iterator[str]:
    """Name the functions through which SQLAlchemy's pool came to call its function ``name``, the innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == name and frame.f_globals.get("__name__") == "sqlalchemy.pool.base":
            break
        frame = frame.f_back
    while frame is not None and (frame := frame.f_back) is not None:
        yield frame.f_code.co_name


def detaching() -> Any:
    """Return the connection's proxy when its return to the pool is a detach; None when it is a checkin."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") != "sqlalchemy.pool.base":
        frame = frame.f_back
    return None if frame is None or frame.f_code.co_name != "detach" else frame.f_locals.get("self")


def is_own_timeout(error: BaseException, pool: Any) -> bool:
    """Tell whether this is a pool's own timeout, still to be noted. To be called from what stands before connect().

    A creator or a listener may have met that of another pool, and a pool may call its own connect() again.
    """
    frame: FrameType | None = None
    trace = error.__traceback__
    before = None if trace is None else trace.tb_frame
    while isinstance(error, exc.TimeoutError) and trace is not None:
        frame, trace = trace.tb_frame, trace.tb_next
        if before is not None and frame is not before and frame.f_code is before.f_code and _is_of(frame, pool):
            return False  # what stands there has noted it
    return frame is not None and _is_of(frame, pool)


def _is_of(frame: FrameType, pool: Any) -> bool:
    return frame.f_locals.get("self") is pool


def _replaced(record: Any) -> str:
    """Tell why a connection is replaced at checkout, asking in SQLAlchemy's own order."""
    pool = pool_of(record)
    started, recycle = getattr(record, "starttime", 0.0), getattr(pool, "_recycle", -1)
    if recycle > -1 and time.time() - started > recycle:
        return "recycle"
    if getattr(pool, "_invalidate_time", 0.0) > started:
        return "pool_invalidated"
    return "soft_invalidated"


def pool_of(record: Any) -> Any:
    """Return the pool that a connection's record belongs to; None when there is no telling."""
    # Private, but the same in SQLAlchemy 2.0 and 2.1, and no event says which pool it comes from.
    return getattr(record, "_ConnectionRecord__pool", None)
