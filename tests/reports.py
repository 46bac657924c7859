"""Reports of processes and samples of a server, as the join holds them against each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from itertools import product

from exporter.acquaintance import Known, learn
from exporter.conclusions import Match, Report
from exporter.labels import SessionState, UseState
from exporter.match import MATCHED_SESSIONS, USE_STATES, match
from exporter.records import PooledConnection, PoolIdentity, PoolSnapshot, ServerSnapshot, Session
from exporter.sightings import sightings

BEGAN, ENDED = 1000.0, 1000.5
LATER = 1010.0  # when the process reported, if the test does not say otherwise: well after the sample


IDENTITY = PoolIdentity("shop", "QueuePool", "mysql", "pymysql", host="db", port=3306, database="shop")


def sample(sessions: Mapping[int, SessionState | Session], *asked: int) -> ServerSnapshot:
    return ServerSnapshot(
        dialect="mysql",
        version="8.4.0",
        source="performance_schema.threads",
        began=BEGAN,
        ended=ENDED,
        groups=(),
        sleepers=(),
        connections=0,
        connections_max=None,
        asked=frozenset({*sessions, *asked}),
        sessions={id_: said if isinstance(said, Session) else Session(said) for id_, said in sessions.items()},
    )


def report(*connections: PooledConnection, taken: float = LATER, process: str = "7") -> Report:
    return Report(taken, PoolSnapshot(IDENTITY, connections=connections), process, int(process))


def known_to(*reports: Report) -> Known:
    """Return what is known once all sessions of these were found."""
    ids = {each.server_id: Session("sleeping") for some in reports for each in some.pool.connections if each.server_id}
    before = dataclasses.replace(sample({}), began=BEGAN + 1, ended=BEGAN + 1.1, asked=frozenset(ids), sessions=ids)
    return learn(Known(), sightings(reports, [before]), reports)


def matched(*reports: Report, seen: ServerSnapshot, known: Known | None = None, now: float = LATER) -> Match:
    held = sightings(reports, [seen])
    there = known_to(*reports) if known is None else known
    return match(("shop", "orders"), seen=held, known=there, now=now, leak_after=60.0)


def pairs(
    *connections: PooledConnection, seen: ServerSnapshot, taken: float = LATER, known: Known | None = None
) -> dict[tuple[UseState, str], int]:
    """Return the pairs that are not 0."""
    found = matched(report(*connections, taken=taken), seen=seen, known=known)
    assert (found.pool, found.server) == ("shop", "orders")
    assert set(found.pairs) == set(product(USE_STATES, MATCHED_SESSIONS))
    return {pair: count for pair, count in found.pairs.items() if count}


def connection(state: UseState, server_id: int | None = 11, *, seconds: float = 60.0) -> PooledConnection:
    return PooledConnection(state, seconds=seconds, age=3600.0, server_id=server_id)
