"""Samples and reports, one after another, as they teach the join who is who on a server."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from exporter.acquaintance import Known, learn
from exporter.buckets import SLEEP_BUCKETS
from exporter.conclusions import Report
from exporter.records import PooledConnection, PoolIdentity, PoolSnapshot, ServerSnapshot, Session, Unclaimed
from exporter.sightings import sightings
from overviews import SAMPLE

IDENTITY = PoolIdentity("shop", "QueuePool", "postgresql", "psycopg", host="db", port=5432, database="shop")
STRANGER = Unclaimed("app", "shop", "web", "10.0.0.7", (1,) * (len(SLEEP_BUCKETS) + 1))
SESSION = Session("sleeping", 10.0, ("app", "shop"), "web", "10.0.0.7")


def sampled(began: float, *, found: Iterable[int] = (), asked: Iterable[int] = (), **changes: object) -> ServerSnapshot:
    """Return a sample of half a second that found the sessions of these ids."""
    sessions = dict.fromkeys(found, SESSION)
    snapshot = dataclasses.replace(
        SAMPLE, dialect="postgresql", began=began, ended=began + 0.5, hidden=0, idle_timeouts={},
        asked=frozenset({*sessions, *asked}), sessions=sessions,
    )  # fmt: skip
    return dataclasses.replace(snapshot, **changes)  # type: ignore[arg-type]


def reported(taken: float, *ids: int, age: float = 500.0, idle: float = 20.0) -> Report:
    connections = tuple(PooledConnection("idle", idle, age, id_) for id_ in ids)
    pool = PoolSnapshot(IDENTITY, idle=len(connections), connects=len(connections), connections=connections)
    return Report(taken, pool, "7", 7)


def taught(known: Known, *samples: ServerSnapshot, ids: Sequence[int] = (11, 12)) -> Known:
    """Return what is known after samples, each of them followed by a report."""
    for sample in samples:
        held = reported(sample.ended + 1, *ids)
        known = learn(known, sightings([held], [sample], users=known.users), [held])
    return known


def repeated(number: int, *, first: float = 1000.0, **changes: object) -> list[ServerSnapshot]:
    return [sampled(first + 15 * at, **changes) for at in range(number)]  # type: ignore[arg-type]


def possible(known: Known) -> bool:
    return known.of(IDENTITY).possible
