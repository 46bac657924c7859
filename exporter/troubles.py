"""What is wrong already: what a pool and its match say that somebody suffers from, or will at the next use."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.conclusions import Match, Trouble
from exporter.labels import TROUBLES
from exporter.records import PoolSnapshot


def troubles(pool: PoolSnapshot, server: str, *, matches: tuple[Match, ...]) -> tuple[Trouble, ...]:
    """Return the troubles of a pool, the worst first. ``server`` is empty, and so are ``matches``, when none is its."""
    mine = [match for match in matches if (match.pool, match.server) == (pool.identity.name, server)]
    found = (*_counted(pool, server), *(trouble for match in mine for trouble in _matched(pool, match)))
    return tuple(sorted(found, key=lambda trouble: TROUBLES.index(trouble.trouble)))


def _matched(pool: PoolSnapshot, match: Match) -> Iterator[Trouble]:
    stale = min(match.pairs.get(("idle", "gone"), 0), _handed_out_as_they_are(pool))
    if stale:
        what = f"{_are(stale, 'idle connection')} gone on the server: the next user gets an error"
        yield Trouble(match.pool, match.server, "stale_connections", stale, what)
    ended = match.pairs.get(("used", "gone"), 0)
    if ended:
        what = f"{_are(ended, 'connection')} gone on the server while in use"
        yield Trouble(match.pool, match.server, "ended_in_use", ended, what)


def _counted(pool: PoolSnapshot, server: str) -> Iterator[Trouble]:
    name, met = pool.identity.name, sum(pool.stale_use.values())
    if met:
        what = f"{_many(met, 'use')} met a connection that the server had ended, and got an error"
        yield Trouble(name, server, "stale_errors", met, what)
    if pool.overdue:
        longest = f"the longest for {pool.used_longest_seconds:.0f} s"
        what = f"{_are(pool.overdue, 'connection')} out of the pool for longer than leak_after, {longest}"
        yield Trouble(name, server, "overdue_checkouts", pool.overdue, what, pool.overdue_by_site)
    if pool.timeouts:
        what = f"{_many(pool.timeouts, 'wait')} for a connection ended in a pool timeout"
        yield Trouble(name, server, "timeouts", pool.timeouts, what)


def _handed_out_as_they_are(pool: PoolSnapshot) -> int:
    """Count the idle connections that nothing looks at before their next use: no ping, and too young to recycle."""
    if pool.pre_ping:
        return 0
    recycle = float("inf") if pool.recycle_seconds is None else pool.recycle_seconds
    return sum(each.state == "idle" and each.age <= recycle for each in pool.connections)


def _many(count: int, thing: str) -> str:
    return f"1 {thing}" if count == 1 else f"{count} {thing}s"


def _are(count: int, thing: str) -> str:
    return f"{_many(count, thing)} {'is' if count == 1 else 'are'}"
