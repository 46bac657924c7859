"""The listeners: what is done, in the application's own thread, when its pool says that something happened."""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Callable
from typing import Any

from sqlalchemy import exc

from exporter.contained import contain
from exporter.drivers import server_id
from exporter.tally import Ledger, Tally, Usage

_CLOSERS = {"invalidate": "invalidated", "dispose": "disposed", "_do_return_conn": "overflow"}
"""SQLAlchemy's functions that close a connection, and the reason. NullPool has no room for any that returns."""


class Ear:
    """Hears one pool. Each listener contains its own errors: SQLAlchemy would hand them to the application."""

    def __init__(self, driver: str) -> None:
        self._driver = driver
        self.start_from_zero()

    def start_from_zero(self) -> None:
        """Forget all that was heard, and listen from now on."""
        # A key of its own for each start: usages left under an older one are a parent process's or another life's.
        self.key = object()
        self.ledger = Ledger()
        self.active = True
        # Connections that were open before we listened and that no event has shown us yet.
        self.unmet = 0

    def stop(self) -> None:
        """Hear nothing more. The listeners stay: SQLAlchemy cannot take one away safely while others use the pool."""
        self.start_from_zero()
        self.active = False

    def listeners(self) -> dict[str, Callable[..., None]]:
        """Return the listeners by the event that each is for."""
        rare = (self.connect, self.invalidate, self.soft_invalidate, self.close, self.detach, self.close_detached)
        return {
            "checkout": self.checkout,
            "checkin": self.checkin,
            **{listener.__name__: _contained(listener) for listener in rare},
        }

    # The two that run at every use of a connection: a clock, a store and a count each. No lock, no string, no log.

    def checkout(self, dbapi_connection: Any, record: Any, proxy: Any) -> None:  # noqa: ARG002  SQLAlchemy's signature
        """Stamp the connection's usage; adopt a connection that was opened before we listened."""
        try:
            usage = record.info.get(self.key)
            if usage is None:
                if not self.active:
                    return
                usage = self._meet(record, adopted=True)
            usage.tally.checkouts += 1
            usage.out_since = time.perf_counter()
        except Exception:
            contain("checkout")

    def checkin(self, dbapi_connection: Any, record: Any) -> None:
        """Count the use that ends. After a failed reconnect and after an invalidation there is none."""
        try:
            usage = record.info.get(self.key)
            if usage is not None:
                usage.end(time.perf_counter())
            elif dbapi_connection is not None and self.active:
                self._meet(record, adopted=True)
        except Exception:
            contain("checkin")

    # Those that run once in a connection's life.

    def connect(self, _dbapi_connection: Any, record: Any) -> None:
        """Begin a usage for a new connection."""
        if self.active:
            self._meet(record, adopted=False)

    def invalidate(self, _dbapi_connection: Any, record: Any, exception: BaseException | None) -> None:
        """Note why the connection is declared unusable; its close follows."""
        if self.active:
            self._usage(record).tally.invalidation = _cause(record, exception)

    def soft_invalidate(self, _dbapi_connection: Any, record: Any, _exception: BaseException | None) -> None:
        """Count a connection that is to be replaced at its next checkout."""
        if self.active:
            self._usage(record).tally.soft += 1

    def close(self, _dbapi_connection: Any, record: Any) -> None:
        """End the usage with its connection, and note why."""
        if self.active:
            usage = self._usage(record)
            usage.end(time.perf_counter())
            usage.tally.close_reason = _reason(record)
            # From here on the connection is nobody's: the checkin that follows an invalidation finds nothing to end.
            del record.info[self.key]

    def detach(self, _dbapi_connection: Any, record: Any) -> None:
        """Let go of a connection that leaves the pool while it is used; no checkin follows."""
        # The record is back in the pool already: if it has been connected anew, its usage is another connection's.
        usage = record.info.get(self.key)
        if usage is not None and record.dbapi_connection is None:
            usage.leave()
            del record.info[self.key]

    def close_detached(self, _dbapi_connection: Any) -> None:
        """Count the end of a connection that had left the pool; it has no record, hence no usage."""
        if self.active:
            tally = Tally(adopted=True)
            tally.close_reason = "detached"
            self.ledger.enter_ended(tally)

    def _usage(self, record: Any) -> Usage:
        usage: Usage | None = record.info.get(self.key)
        return self._meet(record, adopted=True) if usage is None else usage

    def _meet(self, record: Any, *, adopted: bool) -> Usage:
        """Begin to keep the usage of a connection, newly made or seen for the first time."""
        pool = _pool(record)
        usage = Usage(
            Tally(adopted=adopted),
            opened=_opened(record),
            pool=None if pool is None else weakref.ref(pool),
            server_id=self._server_id(record),
        )
        record.info[self.key] = usage
        self.ledger.enter(usage)
        if adopted and self.unmet:
            self.unmet -= 1
        return usage

    def _server_id(self, record: Any) -> int | None:
        try:
            return server_id(self._driver, record.driver_connection)
        except Exception:
            # A driver that changed under us costs the match of its connections, and nothing else.
            contain("server_id")
            return None


def _contained(listener: Callable[..., None]) -> Callable[..., None]:
    where = listener.__name__

    def contained(*args: Any) -> None:
        try:
            listener(*args)
        except Exception:
            contain(where)

    return contained


def _pool(record: Any) -> Any:
    # Private, but the same in SQLAlchemy 2.0 and 2.1, and no event says which pool it comes from.
    return getattr(record, "_ConnectionRecord__pool", None)


def _opened(record: Any) -> float:
    """Tell when the connection was made, on the clock of the usages: SQLAlchemy notes the wall clock then."""
    return time.perf_counter() - max(time.time() - getattr(record, "starttime", float("inf")), 0.0)


def _cause(record: Any, exception: BaseException | None) -> str:
    """Tell why a connection was invalidated, from what SQLAlchemy 2.0 and 2.1 hand to the event."""
    if exception is None:
        return "application"
    if isinstance(exception, exc.InvalidatePoolError):
        return "ping"
    if type(exception).__name__ == "CancelledError":  # by name: asyncio is not loaded for programs that do without
        return "cancelled"
    # An error that reached the user has already moved the pool to its next generation; one on the way back has not.
    pool = _pool(record)
    if getattr(pool, "_invalidate_time", 0.0) > getattr(record, "starttime", float("inf")):
        return "disconnect"
    return "error"


def _reason(record: Any) -> str:
    """Tell why the pool closes a connection, by which of its own functions is doing it."""
    frame = sys._getframe(1)  # noqa: SLF001  closing is rare, and no argument of the event tells
    for _ in range(12):
        if frame.f_back is None:
            break
        frame = frame.f_back
        name = frame.f_code.co_name
        if name == "get_connection":
            return _replaced(record)
        if name in _CLOSERS:
            return _CLOSERS[name]
    return "other"


def _replaced(record: Any) -> str:
    """Tell why a connection is replaced at checkout, asking in SQLAlchemy's own order."""
    pool = _pool(record)
    started, recycle = getattr(record, "starttime", 0.0), getattr(pool, "_recycle", -1)
    if recycle > -1 and time.time() - started > recycle:
        return "recycle"
    if getattr(pool, "_invalidate_time", 0.0) > started:
        return "pool_invalidated"
    return "soft_invalidated"
