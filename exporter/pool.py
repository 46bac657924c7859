"""The monitor of one pool: hears it, and tells what it heard as a snapshot."""

from __future__ import annotations

import dataclasses
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool, Pool, QueuePool

from exporter.ear import Ear
from exporter.folding import few_sites
from exporter.identity import identify
from exporter.leaks import Leaks, TimeoutLog, place
from exporter.limits import Pools, checked_out, idle_in, limits, open_slots, settings
from exporter.merge import add_up, since
from exporter.pings import follow_pings
from exporter.records import PooledConnection, PoolSnapshot
from exporter.seam import ear_of, hears, install, remove
from exporter.selfcheck import SelfCheck
from exporter.tally import Usage
from exporter.totals import Totals
from exporter.who import named, thread_names

_UNHEARD: dict[str, Any] = {"connect_errors": None, "disposals": None}
"""What no event tells, besides waits and timeouts: without the seam there is no number for it, not 0."""

_NEVER_IDLE: dict[str, Any] = {"idle_seconds": None, "ping_seconds": None}
"""What there is no number for in a pool that keeps no connection: none lies idle, and only what did so is pinged."""


class PoolMonitor:
    """Watches the pool of one engine, or one pool without an engine, and lets both die when they will.

    ``leak_after`` is in seconds; a checkout that is out for longer is overdue.
    """

    def __init__(self, target: Engine | Pool, *, name: str | None, leak_after: float, call_sites: bool) -> None:
        self._target = weakref.ref(target)
        pool = target.pool if isinstance(target, Engine) else target
        self._last_pool = weakref.ref(pool)
        self._named = name is not None
        self.identity = identify(target, name=name)
        self._reading = threading.Lock()
        self._reader: int | None = None
        self._last: PoolSnapshot | None = None
        self._elsewhere: PoolSnapshot | None = None
        self.moves = 0
        self._leaks = Leaks(self.identity.name)
        self._check = SelfCheck()
        self._ear = Ear(
            self.identity.driver,
            leak_after=leak_after,
            call_sites=call_sites,
            asynchronous=bool(pool._is_asyncio),
        )
        self._timeouts = TimeoutLog(self.identity.name)
        self._ear.complain = self._timeouts.note
        self._hear(pool)

    def configure(self, *, name: str | None, leak_after: float | None, call_sites: bool | None) -> None:
        """Change what was given; None changes nothing."""
        if name is not None:
            self._named = True
            self.identity = dataclasses.replace(self.identity, name=name)
            self._leaks.name = self._timeouts.name = name
        if leak_after is not None:
            self._ear.set_leak_after(leak_after)
        if call_sites is not None:
            self._ear.call_sites = call_sites
            for usage in () if call_sites else self._ear.ledger.peek():
                usage.site = None  # each keeps its last one, which no checkout will replace
        self._follow(self.pool())

    def count_from(self, before: PoolSnapshot) -> None:
        """Leave out, from now on, what was counted under another name or on another page, where it stays."""
        here = self._elsewhere
        self._elsewhere = before if here is None else add_up((here, _renamed(before, here.identity.name)))[0]
        self._last = None
        self.moves += 1

    def told(self) -> tuple[Engine | Pool | None, dict[str, Any]]:
        """Return what is watched, None when it was collected, and what was told of it, as ``configure`` takes it."""
        ear = self._ear
        return self._target(), {
            "name": self.identity.name,
            "leak_after": ear.leak_after,
            "call_sites": ear.call_sites,
        }

    def ring(self, bell: Callable[[], None], *, always: bool) -> None:
        """Ring ``bell``, in the application's thread, whenever a connection is made or met for the first time.

        With ``always`` also when one is taken that has lain idle.
        """
        self._ear.bell, self._ear.calling = bell, always

    def stop(self) -> None:
        """Hear nothing more, and keep nothing of what was heard."""
        pools = self._pools(self.pool())
        self._ear.stop()
        for pool in pools or (None,):
            remove(pool, self._ear)

    def after_fork(self) -> None:
        """Forget all that the parent counted. A connection inherited from it is adopted when the child uses it."""
        self._reading = threading.Lock()
        self._reader = self._last = self._elsewhere = None
        self._leaks = Leaks(self.identity.name)
        self._check = SelfCheck()
        self._timeouts = TimeoutLog(self.identity.name)
        self._ear.complain = self._timeouts.note
        if self._ear.active:
            self._ear.start_from_zero()

    def pool(self) -> Pool | None:
        """Return the pool as it is now (dispose() replaces it); None when it was collected."""
        target = self._target()
        # A pool that was given without its engine may have an heir, which the engine's dispose() put in its place; so
        # may one whose engine is gone while another engine, or a connection that is out, holds it.
        known = (self._ear.heir(), target, self._last_pool()) if not isinstance(target, Engine) else (target.pool,)
        pool = next((each for each in known if each is not None), None)
        if pool is not None and self._last_pool() is not pool:
            self._last_pool = weakref.ref(pool)
        return pool

    def gone(self) -> bool:
        """Tell whether nothing can be heard any more: the pool was collected, and the last of its connections too."""
        return self.pool() is None and not self._ear.ledger.read()[1]

    def snapshot(self) -> PoolSnapshot:
        """Add up what was heard, and read the pool's own limits. Takes no lock that the application waits for.

        A thread that is in the midst of it and comes again gets what was read last: the garbage collector may end
        something of the application's then, which uses a connection, and that may have to publish.
        """
        me = threading.get_ident()
        if self._reader == me:
            return self.last() or PoolSnapshot(identity=self.identity, idle=0, used=0)
        with self._reading:
            self._reader = me
            try:
                seen, before = self._snapshot(), self._elsewhere
                self._last = seen if before is None else since((seen,), {seen.identity.name: before})[0]
            finally:
                self._reader = None
            return self._last

    def last(self) -> PoolSnapshot | None:
        """Return what was read last, but for the single connections, which may be others by now; None before that."""
        if self._last is None:
            return None
        return dataclasses.replace(self._last, identity=self.identity, connections=())

    def speak(self) -> None:
        """Log what the last snapshots found. To be called without any lock held."""
        self._leaks.speak()
        self._timeouts.speak()

    def _snapshot(self) -> PoolSnapshot:
        ear = self._ear
        self._leaks.returned([ear.late.popleft() for _ in range(len(ear.late))], leak_after=ear.leak_after)
        totals, usages = ear.ledger.read()
        pool = self.pool()
        self._follow(pool)
        now = time.perf_counter()
        usages = [usage for usage in usages if _open(usage)]
        pooled = [usage for usage in usages if not usage.tally.detached]
        pools = self._pools(pool)
        mine = [usage for usage in pooled if pools and (usage.pool is None or usage.pool() in pools)]
        threads = thread_names()
        rows = tuple(_row(usage, now, threads) for usage in mine)
        used = sum(row.state == "used" for row in rows)
        idle = len(rows) - used
        if pool is not None and ear.unmet:
            idle, used = self._with_unmet(pool, idle=idle, used=used)
        outs = [out for out in (usage.out_since for usage in pooled) if out]
        sites = self._leaks.look(pooled, now=now, leak_after=ear.leak_after)
        overdue = sum(usage.out_since == usage.tally.overdue_out > 0.0 for usage in pooled)  # now, or once
        return PoolSnapshot(
            identity=self.identity,
            idle=idle,
            used=used,
            detached=len(usages) - len(pooled),
            orphaned=len(pooled) - len(mine),
            used_longest_seconds=_longest(outs, now),
            overdue=sum(sites.values()),
            overdue_by_site=few_sites(sites),
            overdue_checkouts=self._leaks.count(ended=totals.counts["late"], now=overdue),
            connections=rows,
            drift=None if ear.unmet or not ear.active else self._check.look(pools, mine, life=ear.life, now=now),
            **limits(pools, opened=idle + used),
            **settings(pool),
            **(_waits(pool, ear, totals, now) if self._can_wait and not ear.events_only else {}),
            **{
                **totals.told(),
                **(_UNHEARD if ear.events_only else {}),
                **(_NEVER_IDLE if self._never_idle else {}),
            },
        )

    def _pools(self, pool: Pool | None) -> Pools:
        """Return the pool, and those of engines that shared it until they disposed of it."""
        pools = Pools([] if pool is None else [pool])
        for engine, heir in self._ear.heirs:
            other = getattr(engine(), "pool", None)
            if other is not None and other is heir() and other not in pools and ear_of(other) is self._ear:
                pools.append(other)
        return pools

    def follow(self, target: Engine | Pool) -> None:
        """Take the engine of a pool that was given without one, or whose engine is gone: it tells of the next pool."""
        if isinstance(target, Engine) and not isinstance(self._target(), Engine):
            self._target = weakref.ref(target)
            self.identity = identify(target, name=self.identity.name if self._named else None)
            self._leaks.name = self._timeouts.name = self.identity.name

    def _follow(self, pool: Pool | None) -> None:
        """Hear a pool that was put in by hand, and the pings of an engine that was made with it after us."""
        ear = self._ear
        if pool is None or not ear.active:
            return
        if not hears(pool, ear):
            self._hear(pool)
        follow_pings(pool, ear)

    def _hear(self, pool: Pool) -> None:
        """Begin to hear a pool, and count what is open by its own word: the first page is to be true."""
        self._can_wait, self._never_idle = isinstance(pool, QueuePool), isinstance(pool, NullPool)
        self.identity = dataclasses.replace(self.identity, pool_class=type(pool).__name__)
        self._unmet_pool = weakref.ref(pool)
        self._ear.unmet = open_slots(pool)
        install(pool, self._ear)
        if not self._ear.active:  # stopped by another thread meanwhile
            remove(pool, self._ear)

    def _with_unmet(self, pool: Pool, *, idle: int, used: int) -> tuple[int, int]:
        """Add the connections that were open before we came and have not been met: the pool itself counts those."""
        if not isinstance(pool, QueuePool) or self._unmet_pool() is not pool:
            self._ear.unmet = 0
            return idle, used
        more_used = min(max(checked_out(pool) - used, 0), self._ear.unmet)
        more_idle = min(max(idle_in(pool) - idle, 0), self._ear.unmet - more_used)
        return idle + more_idle, used + more_used


def _renamed(snapshot: PoolSnapshot, name: str) -> PoolSnapshot:
    return dataclasses.replace(snapshot, identity=dataclasses.replace(snapshot.identity, name=name))


def _open(usage: Usage) -> bool:
    """Tell whether there still is a connection: a listener of the application that raised in connect left none."""
    if usage.tally.close_reason:
        return False
    record = usage.record()
    return usage.tally.detached or record is None or record.dbapi_connection is not None


def _row(usage: Usage, now: float, threads: Mapping[int | None, str]) -> PooledConnection:
    out = usage.out_since  # read once: the connection may come back while we look
    return PooledConnection(
        state="used" if out else "idle",
        seconds=max(now - (out or usage.idle_since or usage.opened), 0.0),
        age=max(now - usage.opened, 0.0),
        server_id=usage.server_id,
        site=place(usage.site) if out else None,
        holder=named(usage.holder, threads) if out else None,
    )


def _longest(began: Sequence[float], now: float) -> float:
    """Return for how long the first of some has lasted; all may have begun after ``now``, while we were looking."""
    return max(now - min(began), 0.0) if began else 0.0


def _waits(pool: Pool | None, ear: Ear, totals: Totals, now: float) -> dict[str, Any]:
    """Tell of waiting, which is counted for good and goes on only while there is a pool."""
    began = list(ear.waiting.values())
    counts = {"timeouts": totals.counts["timeouts"], "wait_seconds": totals.wait.histogram()}
    if pool is None:
        return counts
    return {
        **counts,
        "waiting": len(began),
        "waiting_longest_seconds": _longest(began, now),
    }
