"""Grouped rows, as every family fetches them, added up into the records of a snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from exporter.buckets import SLEEP_BUCKETS
from exporter.labels import SESSION_STATES, SessionState
from exporter.records import Histogram, SessionGroup, Sleepers, Unclaimed

Client = tuple[str, str, str]
"""User, database and client: what a group of sessions is known by."""


@dataclass(frozen=True)
class Row:
    """Sessions that share client, state and bucket of the histogram, added up by the server.

    ``ours`` are those of samplers. ``bucket``, ``seconds``, ``longest`` and ``stale`` are of meaning for sleepers only.
    """

    client: Client
    state: SessionState
    ours: bool
    bucket: int
    count: int
    seconds: float
    longest: float
    stale: int


def group(rows: Iterable[Row]) -> tuple[SessionGroup, ...]:
    """Count sessions by client and state, with 0 for the states that a known client has none in."""
    counts: Counter[tuple[Client, SessionState]] = Counter()
    for row in rows:
        counts[row.client, row.state] += row.count
    clients = sorted({client for client, _ in counts})
    return tuple(SessionGroup(*client, state, counts[client, state]) for client in clients for state in SESSION_STATES)


def sleepers(rows: Iterable[Row]) -> tuple[Sleepers, ...]:
    """Add up how long the sessions of each user and database have slept, in a transaction or not."""
    asleep: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.state.startswith("sleeping"):
            asleep.setdefault(row.client[:2], []).append(row)
    return tuple(_slept(*owner, found) for owner, found in sorted(asleep.items()))


def unclaimed(rows: Iterable[tuple[Row, str]], claimed: Iterable[tuple[Row, str]] = ()) -> tuple[Unclaimed, ...]:
    """Add up the sleeping sessions of each client and place that are in ``rows`` and not ``claimed``."""
    asleep: dict[tuple[Client, str], list[int]] = {}
    for sign, some in ((1, rows), (-1, claimed)):
        for row, place in some:
            if row.state.startswith("sleeping"):
                counts = asleep.setdefault((row.client, place), [0] * (len(SLEEP_BUCKETS) + 1))
                counts[row.bucket] += sign * row.count
    return tuple(
        Unclaimed(*client, place, tuple(max(count, 0) for count in counts))
        for (client, place), counts in sorted(asleep.items())
        if any(counts)
    )


def _slept(user: str, database: str, rows: list[Row]) -> Sleepers:
    counts = [0] * (len(SLEEP_BUCKETS) + 1)
    for row in rows:
        counts[row.bucket] += row.count
    return Sleepers(
        user=user,
        database=database,
        sleep_seconds=Histogram(counts=tuple(counts), sum=sum(row.seconds for row in rows)),
        longest=max(row.longest for row in rows),
        stale=sum(row.stale for row in rows),
    )
