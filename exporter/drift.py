"""The sidecar's self-check: does the match place each connection that a server must know, and none twice?"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence

from exporter.conclusions import Drift, Match
from exporter.records import PooledConnection, PoolIdentity, ProcessReport, ServerView

SAMPLES = 3
"""In how many samples of a server in a row a difference must be seen."""

INTERVALS = 3
SLACK = 2.0
"""What was open for so many intervals and seconds before a sample, the sample before was asked about as well: it is
published within a second, and read a moment later."""


class DriftCheck:
    """Remembers what did not add up in the last samples. May be called by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], deque[tuple[float, int]]] = {}

    def look(
        self, matches: Sequence[Match], views: Iterable[ServerView], processes: Sequence[ProcessReport]
    ) -> tuple[Drift, ...]:
        """Return a drift for each pool of which it can be told; it stays 0 until several samples have said the same."""
        by_name = {view.name: view for view in views}
        with self._lock:
            found = {}
            for key, ended, count in _told(matches, by_name, processes):
                found[key] = _after(self._seen.get(key, deque(maxlen=SAMPLES)), ended, count)
            self._seen = found
            return tuple(Drift(pool, "pool_server", _lasting(counts)) for (pool, _), counts in found.items())


def _after(counts: deque[tuple[float, int]], ended: float, count: int) -> deque[tuple[float, int]]:
    """Add what a sample says; of one that was looked at before, the smallest difference counts."""
    if counts and counts[-1][0] == ended:
        count = min(count, counts.pop()[1])
    counts.append((ended, count))
    return counts


def _lasting(counts: deque[tuple[float, int]]) -> int:
    return min(count for _, count in counts) if len(counts) == SAMPLES else 0


def _told(
    matches: Sequence[Match], views: dict[str, ServerView], processes: Sequence[ProcessReport]
) -> Iterator[tuple[tuple[str, str], float, int]]:
    """Go through the pools, with their servers, of which it can be told: how many connections a sample places wrong."""
    times = Counter(match.pool for match in matches)
    for match in matches:
        claims = list(_claims(match.pool, processes))
        # A name that stands for several places, or for several servers, says of no connection where it must be known.
        if match.possible and times[match.pool] == 1 and len({_place(identity) for identity, _, _ in claims}) == 1:
            view = views[match.server]
            if view.snapshot is not None and view.interval is not None and not view.hidden:
                known_since = view.snapshot.began - INTERVALS * view.interval - SLACK
                yield (match.pool, match.server), view.snapshot.ended, _difference(match, claims, known_since)


_Claim = tuple[PoolIdentity, ProcessReport, tuple[PooledConnection, ...]]


def _claims(pool: str, processes: Iterable[ProcessReport]) -> Iterator[_Claim]:
    for report in processes:
        for each in report.snapshot.pools:
            if each.identity.name == pool:
                yield each.identity, report, each.connections


def _place(identity: PoolIdentity) -> tuple[str, str, int | None]:
    return identity.dialect, identity.host, identity.port


def _difference(match: Match, claims: Iterable[_Claim], known_since: float) -> int:
    most = least = 0
    for _, report, connections in claims:
        taken, current = report.snapshot.taken, report.state == "live" and not report.snapshot.resting
        with_ids = [each for each in connections if each.server_id is not None]
        most += len(with_ids)
        least += sum(current and taken - each.age < known_since for each in with_ids)
    placed = sum(match.pairs.values())
    return max(least - placed, placed - most, 0)
