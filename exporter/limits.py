"""The limits: what a pool says of itself, which is how it is configured and how many places it has given out.

There is no public way to ask for most of it; what is not there is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy.pool import Pool, QueuePool
from sqlalchemy.pool.base import ResetStyle


class Pools(list[Pool]):
    """Some pools. One is among them when it is the very same: what an application's class calls equal is not."""

    def __contains__(self, pool: object) -> bool:
        return any(each is pool for each in self)


def limits(pools: Iterable[Pool], *, opened: int) -> dict[str, Any]:
    """Read what pools with a size say of it, together; nothing for the classes that have none."""
    queues = [pool for pool in pools if isinstance(pool, QueuePool)]
    if not queues:
        return {}
    size, most = sum(pool.size() for pool in queues), [_most(pool) for pool in queues]
    return {
        "size": size,
        "overflow": max(opened - size, 0) if size else 0,
        "connections_max": None if None in most else sum(each for each in most if each is not None),
    }


def _most(pool: QueuePool) -> float | None:
    overflow = getattr(pool, "_max_overflow", None)
    return None if overflow is None else float("inf") if overflow == -1 else pool.size() + overflow


def settings(pool: Pool | None) -> dict[str, Any]:
    """Read how the pool is configured, durations in seconds."""
    recycle, timeout, ping = (getattr(pool, name, None) for name in ("_recycle", "_timeout", "_pre_ping"))
    return {
        "recycle_seconds": float(recycle) if isinstance(recycle, int | float) and recycle > -1 else None,
        "timeout_seconds": float(timeout) if isinstance(timeout, int | float) else None,
        "pre_ping": bool(ping) if ping is not None else None,
        "reset_on_return": _resets(pool),
    }


def _resets(pool: Pool | None) -> bool | None:
    """Tell whether a connection that comes back has its transaction ended; None when that cannot be told."""
    style = getattr(pool, "_reset_on_return", None)
    if pool is None or not isinstance(style, ResetStyle):
        return None
    if style is not ResetStyle.reset_none:
        return True
    # An engine in AUTOCOMMIT leaves nothing to end, and an application may end it in a listener of its own.
    isolation = getattr(getattr(pool, "_dialect", None), "_on_connect_isolation_level", None)
    return None if isolation == "AUTOCOMMIT" or getattr(pool.dispatch, "reset", ()) else False


def open_slots(pool: Pool | None) -> int:
    """Count the connections that a pool with a queue has open; 0 for the classes that do not count theirs."""
    return idle_in(pool) + checked_out(pool) if isinstance(pool, QueuePool) else 0


def idle_in(pool: QueuePool) -> int:
    """Count the connections in the pool. A slot whose connection was invalidated has none."""
    try:
        return sum(record.dbapi_connection is not None for record in list(slots(pool)))
    except RuntimeError:  # one came or went while we copied
        return len(slots(pool))


def checked_out(pool: QueuePool) -> int:
    """Count the slots that are out of the pool."""
    return pool.size() - len(slots(pool)) + int(getattr(pool, "_overflow", 0))


def slots(pool: QueuePool) -> Collection[Any]:
    """Return the slots in the pool, which others change while it is looked at."""
    # Its own checkedin() takes the lock that checkouts take, and a fork would keep it.
    queue = pool._pool
    # An asyncio queue is made by the first to touch it, and two at once make two of them: looked at, not touched.
    slots = vars(queue).get("_queue", ()) if pool._is_asyncio else getattr(queue, "queue", ())
    found: Collection[Any] = getattr(slots, "_queue", slots)
    return found
