"""The last minutes: what has happened to each pool lately, told from counts that only ever grow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from exporter.conclusions import Recent
from exporter.records import PoolSnapshot

LATELY = 300.0
"""Seconds that are remembered: whoever is called out of bed wants to know of these."""

_APART = 5.0  # seconds between two looks that are kept; the page is looked at more often


class _Counts(NamedTuple):
    timeouts: int
    stale_errors: int


class _Look(NamedTuple):
    moment: float
    counts: Mapping[str, _Counts]


class Lately:
    """Remembers the counts of the last minutes. May be asked from any thread: what it knows is replaced as a whole."""

    def __init__(self) -> None:
        self._looks: tuple[_Look, ...] = ()

    def look(self, pools: Iterable[PoolSnapshot], *, now: float) -> tuple[Recent, ...]:
        """Return what has happened to each pool since the oldest look that is remembered, and remember this one."""
        counts = {pool.identity.name: _counts(pool) for pool in pools}
        looks = tuple(look for look in self._looks if now - LATELY <= look.moment <= now)
        if not looks or now - looks[-1].moment >= _APART:
            looks = (*looks, _Look(now, counts))
        self._looks = looks
        return tuple(_recent(name, each, looks, now) for name, each in counts.items())


def _counts(pool: PoolSnapshot) -> _Counts:
    return _Counts(pool.timeouts or 0, sum(pool.stale_use.values()))


def _recent(pool: str, now_has: _Counts, looks: Iterable[_Look], now: float) -> Recent:
    """Hold a pool's counts against the oldest that are known: what it had counted before is nobody's news."""
    moment, before = next(((look.moment, look.counts[pool]) for look in looks if pool in look.counts), (now, now_has))
    timeouts, stale_errors = (max(had - have, 0) for had, have in zip(now_has, before, strict=True))
    return Recent(pool, now - moment, timeouts, stale_errors)
