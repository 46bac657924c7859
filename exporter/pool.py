"""The monitor of one pool: hears it, and tells what it heard as a snapshot."""

from __future__ import annotations

import dataclasses
import threading
import time
import weakref
from collections import Counter
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool, QueuePool

from exporter.ear import Ear
from exporter.identity import identify
from exporter.leaks import Leaks, TimeoutLog, place
from exporter.limits import checked_out, limits, open_slots, queued, settings
from exporter.pings import follow_pings
from exporter.records import PooledConnection, PoolSnapshot
from exporter.seam import install, remove
from exporter.tally import Usage
from exporter.totals import Totals
from exporter.who import named

_SITES = 20
"""Call sites shown apart for a pool; the rest are summed as ``other``. Code invents sites, so they are bounded."""

_UNHEARD: dict[str, Any] = {"connect_errors": None, "disposals": None}
"""What no event tells, besides waits and timeouts: without the seam there is no number for it, not 0."""


class PoolMonitor:
    """Watches the pool of one engine, or one pool without an engine, and lets both die when they will.

    ``leak_after`` is in seconds; a checkout that is out for longer is overdue.
    """

    def __init__(self, target: Engine | Pool, *, name: str | None, leak_after: float, call_sites: bool) -> None:
        self._target = weakref.ref(target)
        pool = target.pool if isinstance(target, Engine) else target
        self._last_pool = weakref.ref(pool)
        self._can_wait = isinstance(pool, QueuePool)
        self.identity = identify(target, name=name)
        self._reading = threading.Lock()
        self._leaks = Leaks(self.identity.name)
        self._ear = Ear(
            self.identity.driver,
            leak_after=leak_after,
            call_sites=call_sites,
            asynchronous=bool(pool._is_asyncio),
        )
        self._timeouts = TimeoutLog(self.identity.name)
        self._ear.complain = self._timeouts.say
        # The first page is to be true, so what is open already is counted by the pool's own word.
        self._unmet_pool = self._last_pool
        self._ear.unmet = open_slots(pool)
        install(pool, self._ear)

    def configure(self, *, name: str | None, leak_after: float | None, call_sites: bool | None) -> None:
        """Change what was given; None changes nothing."""
        if name is not None:
            self.identity = dataclasses.replace(self.identity, name=name)
            self._leaks.name = self._timeouts.name = name
        if leak_after is not None:
            self._ear.leak_after = leak_after
        if call_sites is not None:
            self._ear.call_sites = call_sites
            for usage in () if call_sites else self._ear.ledger.peek():
                usage.site = None  # each keeps its last one, which no checkout will replace
        self._follow(self.pool())

    def stop(self) -> None:
        """Hear nothing more, and keep nothing of what was heard."""
        self._ear.stop()
        remove(self.pool(), self._ear)

    def after_fork(self) -> None:
        """Forget all that the parent counted. A connection inherited from it is adopted when the child uses it."""
        self._reading = threading.Lock()
        self._leaks = Leaks(self.identity.name)
        self._timeouts = TimeoutLog(self.identity.name)
        self._ear.complain = self._timeouts.say
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
        with self._reading:
            return self._snapshot()

    def speak(self) -> None:
        """Log what the last snapshots found. To be called without any lock held."""
        self._leaks.speak()

    def _snapshot(self) -> PoolSnapshot:
        ear = self._ear
        self._leaks.returned([ear.late.popleft() for _ in range(len(ear.late))], leak_after=ear.leak_after)
        totals, usages = ear.ledger.read()
        pool = self.pool()
        self._follow(pool)
        now = time.perf_counter()
        usages = [usage for usage in usages if _open(usage)]
        pooled = [usage for usage in usages if not usage.tally.detached]
        mine = [usage for usage in pooled if pool is not None and (usage.pool is None or usage.pool() is pool)]
        rows = tuple(_row(usage, now) for usage in mine)
        used = sum(row.state == "used" for row in rows)
        idle = len(rows) - used
        if pool is not None and ear.unmet:
            idle, used = self._with_unmet(pool, idle=idle, used=used)
        outs = [out for out in (usage.out_since for usage in pooled) if out]
        sites = self._leaks.look(pooled, now=now, leak_after=ear.leak_after)
        return PoolSnapshot(
            identity=self.identity,
            idle=idle,
            used=used,
            detached=len(usages) - len(pooled),
            orphaned=len(pooled) - len(mine),
            used_longest_seconds=max((now - out for out in outs), default=0.0),
            overdue=sum(sites.values()),
            overdue_by_site=_bounded(sites),
            overdue_checkouts=self._leaks.count(ended=totals.counts["late"], now=sum(sites.values())),
            connections=rows,
            **limits(pool, opened=idle + used),
            **settings(pool),
            **(_waits(pool, ear, totals, now) if self._can_wait and not ear.events_only else {}),
            **{**_sums(totals), **(_UNHEARD if ear.events_only else {})},
        )

    def _follow(self, pool: Pool | None) -> None:
        """Hear the pings of an engine that was made with this pool, ``create_engine(pool=...)``, after us."""
        if pool is not None and self._ear.active:
            follow_pings(pool, self._ear)

    def _with_unmet(self, pool: Pool, *, idle: int, used: int) -> tuple[int, int]:
        """Add the connections that were open before we came and have not been met: the pool itself counts those."""
        if not isinstance(pool, QueuePool) or self._unmet_pool() is not pool:
            self._ear.unmet = 0
            return idle, used
        more_used = min(max(checked_out(pool) - used, 0), self._ear.unmet)
        more_idle = min(max(queued(pool) - idle, 0), self._ear.unmet - more_used)
        return idle + more_idle, used + more_used


def _open(usage: Usage) -> bool:
    """Tell whether there still is a connection: a listener of the application that raised in connect left none."""
    if usage.tally.close_reason:
        return False
    record = usage.record()
    return usage.tally.detached or record is None or record.dbapi_connection is not None


def _row(usage: Usage, now: float) -> PooledConnection:
    out = usage.out_since  # read once: the connection may come back while we look
    return PooledConnection(
        state="used" if out else "idle",
        seconds=max(now - (out or usage.idle_since or usage.opened), 0.0),
        age=max(now - usage.opened, 0.0),
        server_id=usage.server_id,
        site=place(usage.site) if out else None,
        holder=named(usage.holder) if out else None,
    )


def _bounded(sites: Counter[str]) -> dict[str, int]:
    shown = dict(sites.most_common(_SITES))
    rest = sum(sites.values()) - sum(shown.values())
    return {**shown, "other": rest} if rest else shown


def _waits(pool: Pool | None, ear: Ear, totals: Totals, now: float) -> dict[str, Any]:
    """Tell of waiting, which is counted for good and goes on only while there is a pool."""
    began = list(ear.waiting.values())
    counts = {"timeouts": totals.counts["timeouts"], "wait_seconds": totals.wait.histogram()}
    if pool is None:
        return counts
    return {
        **counts,
        "waiting": len(began),
        "waiting_longest_seconds": max((now - each for each in began), default=0.0),
    }


def _sums(totals: Totals) -> dict[str, Any]:
    counts = totals.counts
    return {
        "checkouts": counts["checkouts"],
        "checkins": counts["checkins"],
        "connects": counts["connects"],
        "connect_errors": counts["connect_errors"],
        "garbage_collected": counts["garbage_collected"],
        "detaches": counts["detaches"],
        "disposals": counts["disposals"],
        "closes": dict(totals.closes),
        "invalidations": dict(totals.invalidations),
        "stale_ping": {code: count for (found, code), count in totals.stale.items() if found == "ping"},
        "stale_use": {code: count for (found, code), count in totals.stale.items() if found == "use"},
        "use_seconds": totals.use.histogram(),
        "connect_seconds": totals.connect.histogram(),
        "idle_seconds": totals.idle.histogram(),
        "lifetime_seconds": totals.lifetime.histogram(),
        "ping_seconds": totals.ping.histogram(),
    }
