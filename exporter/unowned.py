"""Sleeping sessions that look like those of the pools, and that no live pool owns: which, and for how long."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

from exporter.acquaintance import Home, Known
from exporter.buckets import SLEEP_BUCKETS
from exporter.conclusions import Report, Unowned
from exporter.folding import OTHER
from exporter.records import ServerSnapshot
from exporter.sightings import SETTLED

SHORTEST = 5.0
"""Seconds that a session must have slept to be counted. A connection that is being made sleeps too, until its pool has
it and its process has said so, which a busy machine may delay."""

CONFIRMED = 2.0
"""Seconds for which sessions must have been nobody's: a server takes a while to end one that its pool has closed."""

_APART = 0.1
"""Seconds between two samples that are remembered each by itself: a server that is sampled as fast as it can be would
else fill the memory before anything has lasted."""

_REMEMBERED = 100
"""The most samples that are remembered, should clocks jump."""

MOST_CLIENTS = 1000
"""Of how many clients of a server they are told apart."""


def unowned(
    server: str, *, reports: Sequence[Report], others: Iterable[Report], sample: ServerSnapshot | None, known: Known
) -> tuple[Unowned, ...]:
    """Count the sessions of the pools' clients that nobody owns; nothing where that cannot be told.

    ``reports`` are those of the server's pools, ``others`` those of pools that may be its own as well.
    """
    live = [*reports, *others]
    if sample is None or sample.hidden or not all(map(has_ids, live)):
        return ()
    if not all(known.of(report.pool.identity).possible for report in reports):
        return ()
    homes = {home for report in reports for home in known.of(report.pool.identity).homes}
    newest = max((_youngest(report, sample) for report in live), default=0.0)
    shown = Counter({home[:3]: 0 for home in homes})
    for row in sample.unclaimed:
        if Home(row.user, row.database, row.client, row.place) in homes:
            shown[row.user, row.database, row.client] += _asleep_for(row.counts, max(newest, SHORTEST))
    return tuple(Unowned(server, *client, count) for client, count in sorted(_few(shown).items()))


class Lasting:
    """Remembers what the samples of one server said, and tells what has lasted. Not for two threads at once."""

    def __init__(self) -> None:
        self._said: deque[tuple[float, tuple[Unowned, ...]]] = deque(maxlen=_REMEMBERED)

    def after(self, ended: float, now: Sequence[Unowned], *, newest: float) -> tuple[Unowned, ...]:
        """Add what a sample says that ended at ``ended``; return the least that was said for `CONFIRMED` seconds.

        ``newest`` is when the newest sample ended: what is remembered of later was before a clock was set back. Nothing
        is returned before there are samples of that many seconds.
        """
        said = self._said
        if said and said[-1][0] > ended == newest:
            said.clear()
        again = bool(said) and said[-1][0] == ended
        if again or (len(said) > 1 and said[-1][0] - said[-2][0] < _APART):
            now = _fewest(now, [said.pop()[1]])
        said.append((ended, tuple(now)))
        while len(said) > 2 and said[1][0] <= ended - CONFIRMED:
            said.popleft()
        confirmed = said[0][0] <= ended - CONFIRMED
        return _fewest(now, [before for _, before in said]) if confirmed else ()


def _fewest(now: Sequence[Unowned], before: Iterable[Sequence[Unowned]]) -> tuple[Unowned, ...]:
    """Return the smallest count of each client; one that was not there at some time had 0."""
    seen = [{(each.user, each.database, each.client): each.count for each in some} for some in before]
    return tuple(
        replace(each, count=min([each.count, *(some.get((each.user, each.database, each.client), 0) for some in seen)]))
        for each in now
    )


def _few(shown: Counter[tuple[str, str, str]]) -> Counter[tuple[str, str, str]]:
    """Add up the smallest where there are too many; equals are told apart by their names."""
    ranked = sorted(shown, key=lambda client: (-shown[client], client))
    few = Counter({client: shown[client] for client in ranked[:MOST_CLIENTS]})
    if len(ranked) > MOST_CLIENTS:
        few[OTHER, OTHER, OTHER] += sum(shown[client] for client in ranked[MOST_CLIENTS:])
    return few


def has_ids(report: Report) -> bool:
    """Tell whether all of a pool's connections are known by their ids: a session without one looks unowned."""
    pool = report.pool
    known = sum(connection.server_id is not None for connection in pool.connections)
    return known >= pool.idle + pool.used


def _youngest(report: Report, sample: ServerSnapshot) -> float:
    """Return how long before the sample the pool may have opened connections that nobody had asked it about, seconds.

    Those may sleep on the server, and are not unowned.
    """
    if not report.pool.connects and not report.pool.connections:
        return 0.0  # nothing has ever happened to it, and its process need not have said so again
    opened = [
        report.taken - connection.age
        for connection in report.pool.connections
        if connection.server_id not in sample.asked
    ]
    return max(sample.ended - min([report.taken, *opened]) + SETTLED, 0.0)


def _asleep_for(counts: Sequence[int], seconds: float) -> int:
    return sum(count for count, longer in zip(counts, (0.0, *SLEEP_BUCKETS), strict=True) if longer >= seconds)
