"""PostgreSQL 13 and newer: its sessions, through psycopg 3."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.pool import NullPool

from exporter.buckets import SLEEP_BUCKETS
from exporter.labels import SessionState
from exporter.records import HeldTransaction, ServerSnapshot, Session
from exporter.servers.family import PROGRAM_NAME, SampleError
from exporter.servers.postgresql_ends import ended_sessions, prepare_ends
from exporter.servers.postgresql_login import dial, reason
from exporter.servers.postgresql_settings import Account, Settings, instance, limit, settings, shortest
from exporter.servers.rows import Row, group, sleepers, unclaimed
from exporter.servers.sense import count, few, number
from exporter.servers.sense import text as name
from exporter.servers.tls import libpq_options
from exporter.servers.wire import Wire
from exporter.tls import Tls

__all__ = ["engine", "prepare", "reason", "sample"]

SOURCE = "pg_stat_activity"

# One reading of all backends, which is what costs. Not from the view, but from the function behind it: the view looks
# up names for each session, not for each group. A backend that has not logged in yet has no user, one that is no
# client's another type; of a session that we may not see, all of this is kept from us, its start too.
# The thresholds are the moments that lie each bound back, the oldest first: who fell asleep at or after one of them has
# slept no longer than its bound. A failed transaction has no start any more: it is older than the sleep that followed.
SESSIONS = """
WITH seen AS MATERIALIZED (
    SELECT pid, usesysid, datid, state, state_change, xact_start,
        COALESCE(NULLIF(application_name, ''), host(client_addr), 'localhost') AS client,
        client_addr, backend_start,
        width_bucket(state_change, (
            SELECT array_agg(now() - make_interval(secs => bound) ORDER BY bound DESC)
            FROM unnest(CAST(:bounds AS float8[])) AS bound)) AS newer,
        pid = pg_backend_pid() OR application_name = :program_name AS ours, backend_start IS NULL AS hidden
    FROM pg_stat_get_activity(NULL)
    WHERE usesysid > 0 AND datid > 0 AND (backend_type = 'client backend' OR backend_start IS NULL)
), found AS (
    SELECT CAST(NULL AS int) AS id, usesysid, datid, client, client_addr, state, ours, hidden, newer,
        count(*) AS number, sum(date_part('epoch', now() - state_change)) AS seconds,
        min(state_change) AS changed, min(xact_start) AS begun, CAST(NULL AS timestamptz) AS started
    FROM seen GROUP BY 2, 3, 4, 5, 6, 7, 8, 9
    UNION ALL
    SELECT pid, usesysid, datid, client, client_addr, state, ours, hidden, newer,
        1, 0, state_change, NULL, backend_start
    FROM seen JOIN unnest(CAST(:ids AS int[])) AS wanted ON wanted = pid
)
SELECT id, pg_get_userbyid(usesysid) AS who, datname AS whence, client,
    COALESCE(host(client_addr), 'localhost') AS place, state, ours, hidden, newer,
    number, seconds, date_part('epoch', now() - changed) AS longest,
    date_part('epoch', now() - COALESCE(begun, changed)) AS transaction,
    date_part('epoch', now() - started) AS age, date_part('epoch', started) AS started
FROM found JOIN pg_database ON oid = datid"""

STATES: Mapping[str | None, SessionState] = {
    "active": "active",
    "fastpath function call": "active",
    "idle": "sleeping",
    "idle in transaction": "sleeping_in_transaction",
    "idle in transaction (aborted)": "sleeping_in_failed_transaction",
}
"""What is not here is ``other``: a session whose role has track_activities off is ``disabled``."""

IN_TRANSACTION = frozenset({"sleeping_in_transaction", "sleeping_in_failed_transaction"})

_LARGEST_ID = 2**31 - 1  # pids are int4 here; a larger one is another server's


@dataclass(frozen=True)
class _Group:
    """Sessions that the server has added up, and the age of the oldest of their transactions in seconds."""

    row: Row
    hidden: bool
    transaction: float
    place: str


def engine(url: URL, *, timeout: float, wire: Wire, tls: Tls | None = None) -> Engine:
    """Make the engine of one polite connection, which puts its socket into ``wire`` as soon as it has one."""
    if not url.database and not {"dbname", "service"} & url.query.keys():
        # libpq would take a database of the account's own name. Sessions are seen from any; this one is always there.
        url = url.set(database="postgres")
    name = {} if "application_name" in url.query else {"application_name": PROGRAM_NAME}
    made = create_engine(
        url.set(drivername="postgresql+psycopg"),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        # Looking for hstore would be one question more at each connect.
        use_native_hstore=False,
        # What the URL asks for goes before what we do.
        connect_args={**name, **({} if tls is None else libpq_options(tls))},
    )

    @event.listens_for(made, "do_connect")
    def connect(_dialect: object, _record: object, _args: object, options: dict[str, Any]) -> object:
        return dial(options, timeout=timeout, wire=wire)

    return made


def prepare(connection: Connection, *, timeout: float) -> None:
    """Set the session's limits and choose what to ask, once for each new connection."""
    milliseconds = str(math.ceil(timeout * 1000))
    limits = {
        "statement_timeout": milliseconds,
        "lock_timeout": milliseconds,
        "default_transaction_read_only": "on",
        # The server's may be shorter than our interval, or than our time: they are meant for others.
        "idle_session_timeout": "0",
        "transaction_timeout": "0",
        # The rows bring the texts of the queries along, asked for or not. With thousands of sessions they would go
        # through a temporary file, at half as much again; memory that is not needed is not taken.
        "work_mem": "16MB",
        # One plan for any number of ids: for few of them, another one would read all sessions once for each.
        "plan_cache_mode": "force_generic_plan",
    }
    limit(connection, limits)
    connection.info["account"] = connection.exec_driver_sql("SELECT quote_ident(current_user)").scalar_one()
    connection.info["instance"] = instance(connection)
    prepare_ends(connection)


def sample(
    connection: Connection, *, asked: AbstractSet[int], stale_after: float, clock: Callable[[], float]
) -> ServerSnapshot:
    """Look at all sessions once."""
    began = clock()
    allowed = settings(connection)
    bounds = sorted({*SLEEP_BUCKETS, stale_after})
    found = _found(connection, bounds, asked)
    groups = [_group(row, bounds, stale_after) for row in found if row.id is None]
    claimed = [row for row in found if row.id is not None]
    named = [_group(row, bounds, stale_after) for row in claimed if not row.ours and not row.hidden]
    sessions = {row.id: _session(row) for row in claimed if not row.hidden}
    hidden = sum(one.row.count for one in groups if one.hidden and not one.row.ours)
    advice = _advice(groups, hidden, account=connection.info["account"])
    clients = [one for one in groups if not one.row.ours and not one.hidden]
    rows = [one.row for one in clients]
    usual, overrides, unknown = _idle_timeouts(allowed, groups, sessions.values())
    return ServerSnapshot(
        dialect="postgresql",
        version=allowed.version,
        source=SOURCE,
        began=began,
        ended=clock(),
        groups=group(rows),
        sleepers=sleepers(rows),
        connections=sum(one.row.count for one in groups),
        connections_max=allowed.connections_max,
        idle_timeouts=usual,
        overrides=overrides,
        asked=frozenset(asked) - {row.id for row in claimed if row.hidden},
        sessions=sessions,
        transactions=_transactions(clients),
        aborted=ended_sessions(connection),
        hidden=hidden,
        advice=advice or unknown,
        unclaimed=unclaimed(((one.row, one.place) for one in clients), ((one.row, one.place) for one in named)),
        instance=connection.info["instance"].now(clock()),
    )


def _found(connection: Connection, bounds: list[float], asked: AbstractSet[int]) -> Sequence[Any]:
    ids = sorted(id_ for id_ in asked if 0 < id_ <= _LARGEST_ID)
    values = {"bounds": bounds, "ids": ids, "program_name": PROGRAM_NAME}
    return list(few(connection.execute(text(SESSIONS), values)))


def _group(row: Any, bounds: list[float], stale_after: float) -> _Group:
    # The place among the bounds that they have slept longer than; a clock that was set back makes that none.
    place = len(bounds) - min(count(row.newer or 0, "a bucket"), len(bounds))
    sessions = count(row.number, "a number of sessions")
    added_up = Row(
        client=(name(row.who, "a user"), name(row.whence, "a database"), name(row.client, "a client")),
        state=_state(row),
        ours=bool(row.ours),
        bucket=bisect_left(SLEEP_BUCKETS, bounds[place]) if place < len(bounds) else len(SLEEP_BUCKETS),
        count=sessions,
        seconds=float(number(row.seconds or 0.0, "a sum of seconds")),
        longest=float(number(row.longest or 0.0, "a session's time")),
        stale=sessions if place > bounds.index(stale_after) else 0,
    )
    oldest = float(number(row.transaction or 0.0, "a transaction's age"))
    return _Group(added_up, bool(row.hidden), oldest, name(row.place, "a place"))


def _session(row: Any) -> Session:
    slept = None if row.longest is None else float(number(row.longest, "a session's time"))
    age = None if row.age is None else float(number(row.age, "a session's age"))
    account = name(row.who, "a user"), name(row.whence, "a database")
    started = None if row.started is None else float(number(row.started, "a session's start"))
    return Session(_state(row), slept, account, name(row.client, "a client"), name(row.place, "a place"), age, started)


def _state(row: Any) -> SessionState:
    return STATES.get(name(row.state, "a state"), "other")


def _advice(groups: Iterable[_Group], hidden: int, *, account: str) -> str | None:
    """Return what to grant so that nothing is hidden; raise SampleError when nothing of what there is can be seen."""
    if not hidden:
        return None
    advice = f"may not see all sessions of others; GRANT pg_monitor TO {account}"
    if all(found.hidden or found.row.ours for found in groups):
        # The rows of others are there, but hold no state: what they do cannot be told.
        raise SampleError("privilege", advice, hidden=hidden)
    return advice


def _idle_timeouts(
    allowed: Settings, groups: Iterable[_Group], sessions: Iterable[Session]
) -> tuple[Mapping[str, float], Mapping[Account, Mapping[str, float]], str | None]:
    """Return the shortest that the pools' sessions get, what accounts with others get, and what to do to know more.

    While no pool has any session, those of all clients are taken, and without any what a new account would get.
    """
    seen = {found.row.client[:2] for found in groups if not found.row.ours}
    owned = {session.account for session in sessions if session.account is not None}
    by_account = {account: allowed.idle_timeouts(account) for account in seen | owned}
    meant = owned or seen or {("", "")}
    usual = shortest(allowed.idle_timeouts(account) for account in meant)
    overrides = {account: timeouts for account, timeouts in by_account.items() if timeouts != usual}
    return usual, overrides, allowed.unknown(meant)


def _transactions(groups: Iterable[_Group]) -> tuple[HeldTransaction, ...]:
    longest: dict[Account, float] = {}
    for found in groups:
        if found.row.state in IN_TRANSACTION:
            account = found.row.client[:2]
            longest[account] = max(found.transaction, longest.get(account, 0.0))
    return tuple(HeldTransaction(*account, seconds) for account, seconds in sorted(longest.items()))
