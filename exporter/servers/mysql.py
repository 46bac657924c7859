"""MySQL 5.7 and newer, MariaDB 10.6 and newer: their sessions, through PyMySQL."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet

from sqlalchemy.engine import Connection

from exporter.records import HeldTransaction, ServerSnapshot, Session
from exporter.servers.family import Outdated, SampleError
from exporter.servers.instances import Born, born
from exporter.servers.mysql_login import engine, is_mariadb, reason
from exporter.servers.mysql_rights import ABORTED, CONNECTED, LOST, UPTIME, Rights, counted, grants, rights, status
from exporter.servers.mysql_sessions import Found, Question, sessions
from exporter.servers.mysql_settings import AtLogin, at_login, settings
from exporter.servers.mysql_sources import PROCESS_LIST
from exporter.servers.mysql_transactions import transactions
from exporter.servers.rows import group, sleepers, unclaimed

__all__ = ["engine", "prepare", "reason", "sample"]

NO_ROOM = "performance_schema has no room for all threads; raise performance_schema_max_thread_instances"

_DAY = 86400


def prepare(connection: Connection, *, timeout: float) -> None:
    """Set the session's limits and choose what to ask, once for each new connection."""
    longest = (
        # Our statements use no index: a log of slow ones that has all of those is not to fill up with them.
        f"max_statement_time = {timeout}, slow_query_log = 0"
        if is_mariadb(connection)
        else f"max_execution_time = {math.ceil(timeout * 1000)}"
    )
    connection.info["at login"] = at_login(connection)
    connection.exec_driver_sql("SET SESSION TRANSACTION READ ONLY")
    # The server's wait_timeout may be shorter than our interval: it is meant for others. In UTC no hour comes twice.
    connection.exec_driver_sql(
        f"SET SESSION {longest}, lock_wait_timeout = {math.ceil(timeout)}, wait_timeout = {_DAY}, time_zone = '+00:00'"
    )
    connection.info["rights"] = rights(connection)
    connection.info["instance"] = instance(connection)


def sample(
    connection: Connection, *, asked: AbstractSet[int], stale_after: float, clock: Callable[[], float]
) -> ServerSnapshot:
    """Look at all sessions once."""
    began = clock()
    allowed: Rights = connection.info["rights"]
    if allowed.advice is not None and grants(connection) != allowed.grants:
        raise Outdated
    known: AtLogin = connection.info["at login"]
    set_to = settings(connection, known=known, sisters=allowed.sisters)
    held = transactions(connection) if allowed.transactions else {}
    counts = counted(connection)
    question = Question(asked, set_to.samplers, held, stale_after, uptime=counts[UPTIME])
    found = sessions(connection, allowed.source, question)
    visible = sum(some.row.count for some in found if some.connected)
    hidden, advice = _hidden(connection, allowed, visible, lost=bool(counts.get(LOST)))
    clients = [some for some in found if some.is_client and not some.row.ours]
    if hidden and not clients:
        raise SampleError("privilege", advice or "", hidden=hidden)
    rows = [some.row for some in clients]
    named = {some.id: some for some in clients if some.id in asked}
    return ServerSnapshot(
        dialect="mariadb" if is_mariadb(connection) else "mysql",
        version=set_to.version,
        source=allowed.source.table,
        began=began,
        ended=clock(),
        groups=group(rows),
        sleepers=sleepers(rows),
        connections=visible + hidden,
        connections_max=set_to.connections_max,
        idle_timeouts=set_to.idle_timeouts,
        asked=frozenset(named.keys() if hidden else asked),
        sessions={id_: _session(some) for id_, some in named.items()},
        transactions=_held(clients),
        aborted={kind: counts[name] for kind, name in ABORTED.items() if name in counts},
        hidden=hidden,
        advice=advice,
        unclaimed=unclaimed((some.row, some.row.client[2]) for some in clients if some.id not in asked),
        instance=connection.info["instance"].now(clock()),
    )


def instance(connection: Connection) -> Born:
    """Ask a new connection which server it has reached, and since when that runs."""
    # MariaDB has no uuid of its own. A copy of a machine has the same one under another name.
    uuid = "@@datadir" if is_mariadb(connection) else "@@server_uuid"
    about = f"SELECT CONCAT_WS(' ', @@hostname, @@server_id, @@port, {uuid}), @@socket, @@port"
    identity, socket, port = connection.exec_driver_sql(about).one()
    return born(identity, status(connection, UPTIME)[UPTIME], socket=socket or "", port=port)


def _session(found: Found) -> Session:
    user, database, client = found.row.client
    return Session(found.row.state, found.row.longest, (user, database), client, client)


def _hidden(connection: Connection, allowed: Rights, visible: int, *, lost: bool) -> tuple[int, str | None]:
    """Return how many of the server's connections are not among the visible, and what to do about it."""
    missing = lost and allowed.source is not PROCESS_LIST
    if missing and allowed.transactions:
        # The process list has them all, and a new connection will ask it.
        raise Outdated
    if allowed.sighted and not missing:
        return 0, allowed.advice
    # Not free everywhere, but all may ask it.
    hidden = max(status(connection, CONNECTED)[CONNECTED] - visible, 0)
    return hidden, f"{NO_ROOM}; {allowed.advice}" if missing else allowed.advice


def _held(clients: Iterable[Found]) -> tuple[HeldTransaction, ...]:
    """Return the oldest transaction of the sleeping sessions of each user and database."""
    longest: dict[tuple[str, str], float] = {}
    for some in clients:
        if some.row.state == "sleeping_in_transaction":
            account = some.row.client[:2]
            longest[account] = max(some.oldest, longest.get(account, 0.0))
    return tuple(HeldTransaction(*account, seconds) for account, seconds in sorted(longest.items()))
