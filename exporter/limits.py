"""The limits: what a pool says of itself, which is how it is configured and how many places it has given out.

There is no public way to ask for most of it; what is not there is left out.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy.pool import Pool, QueuePool
from sqlalchemy.pool.base import ResetStyle

from exporter.contained import contain


class Pools(list[Pool]):
    """Some pools. One is among them when it is the very same: what an application's class calls equal is not."""

    def __contains__(self, pool: object) -> bool:
        return any(each is pool for each in self)


def limits(pools: Iterable[Pool], *, opened: int) -> dict[str, Any]:
    """Read what pools with a size say of it, together; nothing for the classes that have none."""
    queues = [pool for pool in pools if isinstance(pool, QueuePool)]
    if not queues:
        return {}
    try:
        size, most = sum(max(_whole(_size(pool)), 0) for pool in queues), [_most(pool) for pool in queues]
    except Exception:  # a pool class of the application's; it costs its own page these numbers, and others nothing
        contain("collect")
        return {}
    return {
        "size": size,
        "overflow": max(opened - size, 0) if size else 0,
        "connections_max": None if None in most else sum(each for each in most if each is not None),
    }


def _size(pool: QueuePool) -> float:
    """Return the size of a pool; a class of the application's may have it as an attribute."""
    size: Any = pool.size
    found: float = size() if callable(size) else size
    return found


def _whole(count: float) -> int:
    """Return a count as a whole number; one that is without limit, or no number, is 0."""
    return int(count) if math.isfinite(count) else 0


def _most(pool: QueuePool) -> float | None:
    overflow = getattr(pool, "_max_overflow", None)
    if overflow is None:
        return None
    most = float("inf") if overflow == -1 else max(_size(pool) + overflow, 0)
    return None if math.isnan(most) else most


def settings(pool: Pool | None) -> dict[str, Any]:
    """Read how the pool is configured, durations in seconds; one that never ends is None."""
    ping = getattr(pool, "_pre_ping", None)
    return {
        "recycle_seconds": _seconds(getattr(pool, "_recycle", None)),
        "timeout_seconds": _seconds(getattr(pool, "_timeout", None)),
        "pre_ping": bool(ping) if ping is not None else None,
        "reset_on_return": _resets(pool),
    }


def _seconds(setting: object) -> float | None:
    return float(setting) if isinstance(setting, int | float) and 0 <= setting < float("inf") else None


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
    return max(idle_in(pool) + checked_out(pool), 0) if isinstance(pool, QueuePool) else 0


def idle_in(pool: QueuePool) -> int:
    """Count the connections in the pool. A slot whose connection was invalidated has none."""
    try:
        return sum(record.dbapi_connection is not None for record in list(slots(pool)))
    except RuntimeError:  # one came or went while we copied
        return len(slots(pool))


def checked_out(pool: QueuePool) -> int:
    """Count the slots that are out of the pool."""
    # As its own checkedout() does: what a class of the application's calls its size may be another number.
    return _whole(pool._pool.maxsize - len(slots(pool)) + getattr(pool, "_overflow", 0))


def slots(pool: QueuePool) -> Collection[Any]:
    """Return the slots in the pool, which others change while it is looked at."""
    # Its own checkedin() takes the lock that checkouts take, and a fork would keep it.
    queue = pool._pool
    # An asyncio queue is made by the first to touch it, and two at once make two of them: looked at, not touched.
    slots = vars(queue).get("_queue", ()) if pool._is_asyncio else getattr(queue, "queue", ())
    found: Collection[Any] = getattr(slots, "_queue", slots)
    return found
