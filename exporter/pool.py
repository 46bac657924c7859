"""The monitor of one pool: hears it, and tells what it heard as a snapshot."""

from __future__ import annotations

import time
import weakref
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool, QueuePool

from exporter.identity import identify
from exporter.listeners import Ear
from exporter.records import PooledConnection, PoolSnapshot
from exporter.tally import Usage


class PoolMonitor:
    """Watches the pool of one engine, or one pool without an engine, and lets both die when they will.

    ``leak_after`` is in seconds; a checkout that is out for longer is overdue. Both may be changed at any time.
    """

    def __init__(self, target: Engine | Pool, *, name: str | None, leak_after: float) -> None:
        self._target = weakref.ref(target)
        self.leak_after = leak_after
        self.identity = identify(target, name=name)
        self._ear = Ear(self.identity.driver)
        self._listened = False
        self._last_pool = weakref.ref(target.pool if isinstance(target, Engine) else target)
        self.start(target)

    def start(self, target: Engine | Pool) -> None:
        """Listen, from zero. The first page is to be true, so what is open already is counted by the pool's word."""
        self._ear.start_from_zero()
        pool = self.pool()
        self._ear.unmet = _open_slots(pool)
        self._unmet_pool = None if pool is None else weakref.ref(pool)
        if not self._listened:
            for name, listener in self._ear.listeners().items():
                event.listen(target, name, listener)
            self._listened = True

    def stop(self) -> None:
        """Hear nothing more, and keep nothing of what was heard."""
        self._ear.stop()

    def after_fork(self) -> None:
        """Forget all that the parent counted. A connection inherited from it is adopted when the child uses it."""
        if self._ear.active:
            self._ear.start_from_zero()

    def pool(self) -> Pool | None:
        """Return the pool as it is now (dispose() replaces it); None when it was collected."""
        target = self._target()
        if target is None:
            # The engine is gone; its pool lives on while another engine or a connection that is out holds it.
            return self._last_pool()
        pool = target.pool if isinstance(target, Engine) else target
        if self._last_pool() is not pool:
            self._last_pool = weakref.ref(pool)
        return pool

    def gone(self) -> bool:
        """Tell whether nothing can be heard any more: the pool was collected, and the last of its connections too."""
        return self.pool() is None and not self._ear.ledger.read()[1]

    def snapshot(self) -> PoolSnapshot:
        """Add up what was heard, and read the pool's own limits. Takes no lock that the application waits for."""
        totals, usages = self._ear.ledger.read()
        pool = self.pool()
        now = time.perf_counter()
        # A detached connection's usage lives on in what the application holds, but the pool has let go of it.
        usages = [usage for usage in usages if not usage.tally.detached]
        mine = [usage for usage in usages if pool is not None and _belongs(usage, pool)]
        outs = [out for out in (usage.out_since for usage in usages) if out]
        rows = tuple(_row(usage, now) for usage in mine)
        used = sum(row.state == "used" for row in rows)
        idle = len(rows) - used
        if pool is not None and self._ear.unmet:
            idle, used = self._with_unmet(pool, idle=idle, used=used)
        return PoolSnapshot(
            identity=self.identity,
            idle=idle,
            used=used,
            **_limits(pool, opened=idle + used),
            used_longest_seconds=max((now - out for out in outs), default=0.0),
            overdue=sum(now - out > self.leak_after for out in outs),
            checkouts=totals.checkouts,
            checkins=totals.checkins,
            connects=totals.connects,
            closes=dict(totals.closes),
            invalidations=dict(totals.invalidations),
            use_seconds=totals.use_seconds(),
            connections=rows,
        )

    def _with_unmet(self, pool: Pool, *, idle: int, used: int) -> tuple[int, int]:
        """Add the connections that were open before we came and have not been met: the pool itself counts those."""
        if not isinstance(pool, QueuePool) or self._unmet_pool is None or self._unmet_pool() is not pool:
            self._ear.unmet = 0
            return idle, used
        more_used = min(max(_checked_out(pool) - used, 0), self._ear.unmet)
        more_idle = min(max(_queued(pool) - idle, 0), self._ear.unmet - more_used)
        return idle + more_idle, used + more_used


def _open_slots(pool: Pool | None) -> int:
    return _queued(pool) + _checked_out(pool) if isinstance(pool, QueuePool) else 0


def _queued(pool: QueuePool) -> int:
    """Count the slots in the pool. Its own checkedin() takes the lock that checkouts take, and a fork would keep it."""
    queue = pool._pool  # noqa: SLF001
    # An asyncio queue is made by the first to touch it, and two at once make two of them: looked at, not touched.
    slots = vars(queue).get("_queue", ()) if pool._is_asyncio else getattr(queue, "queue", ())  # noqa: SLF001
    return slots.qsize() if hasattr(slots, "qsize") else len(slots)


def _checked_out(pool: QueuePool) -> int:
    return pool.size() - _queued(pool) + int(getattr(pool, "_overflow", 0))


def _belongs(usage: Usage, pool: Pool) -> bool:
    return usage.pool is None or usage.pool() is pool


def _row(usage: Usage, now: float) -> PooledConnection:
    out = usage.out_since  # read once: the connection may come back while we look
    return PooledConnection(
        state="used" if out else "idle",
        seconds=max(now - (out or usage.idle_since), 0.0),
        age=max(now - usage.opened, 0.0),
        server_id=usage.server_id,
    )


def _limits(pool: Pool | None, *, opened: int) -> dict[str, Any]:
    """Read what a pool with a size says of it; nothing for the classes that have none."""
    if not isinstance(pool, QueuePool):
        return {}
    size, most = pool.size(), getattr(pool, "_max_overflow", None)
    return {
        "size": size,
        "overflow": max(opened - size, 0) if size else 0,
        "connections_max": None if most is None else float("inf") if most == -1 else size + most,
    }
