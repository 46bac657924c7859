"""The join: a pool's connections with what a server says of them, counted. A pure function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from exporter.acquaintance import Known
from exporter.conclusions import Holder, Match, Report
from exporter.expiry import expiry
from exporter.labels import SessionState, UseState
from exporter.records import PooledConnection
from exporter.sightings import SETTLED, Sighting

USE_STATES: tuple[UseState, ...] = ("idle", "used")
MATCHED_SESSIONS = ("active", "sleeping", "sleeping_in_transaction", "gone")
"""What a server says of a pooled connection; the values of the label ``session``."""

_SAID: Mapping[SessionState, str] = {
    "active": "active",
    "sleeping": "sleeping",
    "sleeping_in_transaction": "sleeping_in_transaction",
    "sleeping_in_failed_transaction": "sleeping_in_transaction",  # it sleeps, and what it has locked stays locked
    "other": "active",  # neither asleep nor gone: it does something that has no name here
}
_DONE_BY: Mapping[str, UseState] = {"active": "used", "sleeping": "idle", "sleeping_in_transaction": "used"}


def match(names: tuple[str, str], *, seen: Sequence[Sighting], known: Known, now: float, leak_after: float) -> Match:
    """Count the connections of one pool by what it and the server say of them.

    ``names`` are the pool's and the server's; ``now`` is in seconds since 1970. A connection whose session cannot be
    known is in no pair.
    """
    pool, server = names
    identities = {id(each.report): each.report.pool.identity for each in seen}.values()
    if not all(known.of(identity).possible for identity in identities):
        # What ids that mean nothing say of their sessions is noise; who holds what, the pool knows alone.
        blind = tuple(holder(each.report, each.connection, server) for each in seen if each.connection.state == "used")
        return Match(pool, server, {}, possible=False, holders=blind)
    pairs = Counter({(state, session): 0 for state in USE_STATES for session in MATCHED_SESSIONS})
    holders, stale = [], 0
    for each in seen:
        session = _session(each, known)
        if session is not None:
            pair = _pair(each, session)
            pairs[pair] += 1
            stale += pair == ("idle", "gone") and not _is_too_old(each)
        if each.connection.state == "used":
            holders.append(_holder(each, server, session, leak_after))
    return Match(
        pool,
        server,
        dict(pairs),
        leak_suspects=sum(holder.suspect for holder in holders),
        stale=stale,
        expiry=expiry(seen, now),
        holders=tuple(holders),
    )


def holder(report: Report, connection: PooledConnection, server: str | None) -> Holder:
    """Say who has a connection, as its process alone knows."""
    return Holder(
        pool=report.pool.identity.name,
        server=server,
        process=report.process,
        pid=report.pid,
        site=connection.site,
        holder=connection.holder,
        seconds=connection.seconds,
        server_id=connection.server_id,
    )


def holders(reports: Iterable[Report]) -> tuple[Holder, ...]:
    """Say who has the connections of pools that belong to no server."""
    return tuple(
        holder(report, connection, None)
        for report in reports
        for connection in report.pool.connections
        if connection.state == "used"
    )


def _session(seen: Sighting, known: Known) -> str | None:
    if seen.session is not None:
        return _SAID[seen.session.state]
    return "gone" if known.is_gone(seen) else None


def _is_too_old(seen: Sighting) -> bool:
    """Tell whether the pool replaces a connection at its next checkout for its age, gone or not."""
    recycle = seen.report.pool.recycle_seconds
    return recycle is not None and seen.connection.age > recycle


def _moved(seen: Sighting) -> bool:
    """Tell whether a connection has come back or gone out since the server was asked, or just before."""
    began = 0.0 if seen.sample is None else seen.sample.began
    return seen.report.taken - seen.connection.seconds > began - SETTLED


def _pair(seen: Sighting, session: str) -> tuple[UseState, str]:
    # The pool is seen now and the server a while ago. What came back or went out in between did so in good health, and
    # was then what its session says; else every busy pool would show idle connections at work.
    if session != "gone" and _moved(seen):
        return _DONE_BY[session], session
    return seen.connection.state, session


def _holder(seen: Sighting, server: str, session: str | None, leak_after: float) -> Holder:
    connection, found = seen.connection, seen.session
    return Holder(
        pool=seen.report.pool.identity.name,
        server=server,
        process=seen.report.process,
        pid=seen.report.pid,
        site=connection.site,
        holder=connection.holder,
        seconds=connection.seconds,
        session=session,
        session_seconds=None if found is None else found.seconds,
        server_id=connection.server_id,
        suspect=_is_suspect(seen, leak_after),
    )


def _is_suspect(seen: Sighting, leak_after: float) -> bool:
    session = seen.session
    if session is None or not session.state.startswith("sleeping") or _moved(seen):
        return False
    return seen.connection.seconds > leak_after and (session.seconds or 0.0) >= leak_after
