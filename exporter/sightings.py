"""Each pooled connection held against the sample that fits its report: is its session there? Pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal, NamedTuple

from exporter.conclusions import Report
from exporter.records import PooledConnection, PoolIdentity, ServerSnapshot, Session

Standing = Literal["found", "ended", "missing", "foreign", "unknown"]
"""What a sample says of a connection. ``found``: its session is there. ``missing``: no session has its id. ``ended``: a
younger session has its id by now. ``foreign``: the session with its id is in another database. ``unknown``: the sample
can say nothing of it."""

SETTLED = 0.2
"""Seconds for which a connection must have been as it is before a sample began, to be sure that the server was asked
about it in this state. A report is dated before it is written, and MariaDB shows transactions of 0.1 s ago."""

SLACK = 2.0
"""Seconds by which ages on two sides may differ: MySQL knows whole seconds only, and a login takes its time."""


Started = Callable[[str, int, float], float | None]
"""Tells, by process, id and when a connection was opened, when its session began by the server's own clock; None where
it was never found, or the server does not say."""


class Sighting(NamedTuple):
    """One connection of a report, and what one sample says of it; ``opened`` is in seconds since 1970.

    ``session`` is there when it was ``found``; ``sample`` is None when none fits the report.
    """

    report: Report
    connection: PooledConnection
    sample: ServerSnapshot | None
    opened: float
    standing: Standing
    session: Session | None = None


def sightings(
    reports: Iterable[Report],
    samples: Sequence[ServerSnapshot],
    *,
    since: float = -math.inf,
    users: Callable[[PoolIdentity], AbstractSet[str]] = lambda _identity: frozenset(),
    started: Started = lambda _process, _id, _opened: None,
) -> list[Sighting]:
    """Hold every connection against a sample, of which the newest come first.

    ``since`` is when this server took the place of another, in seconds since 1970: of what was opened before, nothing
    is said. ``users`` tells as whom a pool is known to log in, ``started`` when sessions that were found once began.
    """
    found = [
        each
        for report in reports
        for each in _of_report(report, _fitting(report, samples), since, users(report.pool.identity), started)
    ]
    # A session belongs to one connection. Who of two is right, when both claim it, cannot be told.
    claims = Counter(each.connection.server_id for each in found if each.standing == "found")
    if len(claims) == claims.total():
        return found
    return [
        each._replace(standing="unknown", session=None)
        if each.standing == "found" and claims[each.connection.server_id] > 1
        else each
        for each in found
    ]


def _fitting(report: Report, samples: Sequence[ServerSnapshot]) -> ServerSnapshot | None:
    """Return the newest sample that ended before a report was taken.

    Of a newer one, a report cannot tell whether the server ended a connection or the pool has closed it meanwhile.
    """
    return next((sample for sample in samples if sample.ended < report.taken), None)


def _of_report(
    report: Report, sample: ServerSnapshot | None, since: float, users: AbstractSet[str], started: Started
) -> Iterator[Sighting]:
    taken, identity = report.taken, report.pool.identity
    for connection in report.pool.connections:
        opened = taken - connection.age
        if sample is None or opened + SETTLED >= sample.began or opened < since:
            yield Sighting(report, connection, sample, opened, "unknown")
            continue
        id_ = connection.server_id
        if id_ is None or id_ not in sample.asked:
            yield Sighting(report, connection, sample, opened, "unknown")
            continue
        session = sample.sessions.get(id_)
        if session is None:
            yield Sighting(report, connection, sample, opened, "missing")
            continue
        standing = _standing(session, sample, opened, started(report.process, id_, opened))
        if standing == "found":
            standing = _whose(session, identity, sample, users)
        yield Sighting(report, connection, sample, opened, standing, session if standing == "found" else None)


def _standing(session: Session, sample: ServerSnapshot, opened: float, started: float | None) -> Standing:
    instance, age = sample.instance, sample.began - opened
    if started is not None and session.started is not None:
        if session.started != started:
            return "ended"  # another session than the one that was found
        # Ages would say the same, but for a server whose clock was set back: then all its sessions look younger.
    elif instance is not None and opened + SLACK < instance.started:
        return "ended"  # ids begin anew with the server
    elif session.age is not None and session.age + SLACK < age:
        return "ended"  # the server gives an id again
    if session.state.startswith("sleeping") and (session.seconds or 0.0) > age + SLACK:
        return "unknown"  # it slept before this connection was there, or a clock was set
    return "found"


def _whose(session: Session, identity: PoolIdentity, sample: ServerSnapshot, users: AbstractSet[str]) -> Standing:
    if not identity.database or session.account is None:
        return "found"
    user, database = session.account
    if database.casefold() == identity.database.casefold():
        return "found"
    if sample.dialect == "postgresql":
        return "foreign"  # a session stays in the database that it has logged in to
    return "found" if user in users else "unknown"
