"""The pings: what pool_pre_ping costs and what it meets, heard at the dialect that a pool pings with."""

from __future__ import annotations

import functools
import time
import weakref
from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Dialect

from exporter.contained import contain, contain_ours
from exporter.ear import Ear


def watch_pings(pool: Any, ear: Ear) -> None:
    """Hear the pings of the dialect that a pool has now, which outlives the engine's pools; raises nothing.

    A pool without an engine cannot ping. The dialect that was heard before is left: ``create_engine(pool=...)`` gives a
    pool that of the new engine, which pings from then on.
    """
    try:
        before, dialect = ear.dialect(), pool._dialect
        if before is not None and before is not dialect:
            _leave(before, ear)
        if isinstance(dialect, Dialect):
            ear.dialect = weakref.ref(dialect)
            _watch(dialect, ear)
    except Exception:
        contain("ping")


def follow_pings(pool: Any, ear: Ear) -> None:
    """Hear the pings of the dialect that a pool was given meanwhile, unless another ear does; raises nothing."""
    try:
        dialect = pool._dialect
        if isinstance(dialect, Dialect) and dialect is not ear.dialect() and not _is_heard(dialect):
            watch_pings(pool, ear)
    except Exception:
        contain("ping")


def leave_pings(ear: Ear) -> None:
    """Give the dialect that ``ear`` hears its own do_ping back."""
    dialect = ear.dialect()
    if dialect is not None:
        _leave(dialect, ear)


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
        except Exception as failure:
            contain_ours("ping", failure)


def _is_heard(dialect: Dialect) -> bool:
    current = vars(dialect).get("do_ping")
    return isinstance(current, _WatchedPing) and current.ear.active


def _watch(dialect: Any, ear: Ear) -> None:
    current = vars(dialect).get("do_ping")
    if isinstance(current, _WatchedPing):
        current.ear = ear
    elif current is not None:  # somebody else stands there already
        dialect.do_ping = _WatchedPing(current, ear)
    else:
        # Not bound to the dialect: that would be a cycle, and every engine would have to wait for the collector.
        dialect.do_ping = _WatchedPing(functools.partial(_ping, weakref.ref(dialect)), ear)


def _leave(dialect: Any, ear: Ear) -> None:
    watched = vars(dialect).get("do_ping")
    # When somebody stands before us we hear on, and nobody listens; another ear may hear it by now.
    if not isinstance(watched, _WatchedPing) or watched.ear is not ear:
        return
    del dialect.do_ping
    if not isinstance(watched.ping, functools.partial) or watched.ping.func is not _ping:
        dialect.do_ping = watched.ping


def _ping(dialect: weakref.ref[Any], dbapi_connection: Any) -> Any:
    pinging: Any = dialect()
    return type(pinging).do_ping(pinging, dbapi_connection)
