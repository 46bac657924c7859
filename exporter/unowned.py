"""Sleeping sessions that look like those of the pools, and that no live pool owns. A pure function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from exporter.acquaintance import Home, Known
from exporter.buckets import SLEEP_BUCKETS
from exporter.conclusions import Report, Unowned
from exporter.folding import OTHER
from exporter.records import ServerSnapshot
from exporter.sightings import SETTLED

SHORTEST = 5.0
"""Seconds that a session must have slept to be counted. A connection that is being made sleeps too, until its pool has
it and its process has said so, which a busy machine may delay."""

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
