"""PostgreSQL 13 and newer: its sessions, through psycopg 3."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from exporter.buckets import SLEEP_BUCKETS
from exporter.labels import SampleErrorReason, SessionState
from exporter.records import ServerSnapshot, Session
from exporter.servers.family import PROGRAM_NAME, SampleError
from exporter.servers.rows import Row, group, sleepers
from exporter.servers.wire import Wire

SOURCE = "pg_stat_activity"

# The thresholds are the moments that lie each bound back, the oldest first: who fell asleep at or after one of them has
# slept no longer than its bound. A backend that has not logged in yet has no user.
GROUPED = """
SELECT usename, COALESCE(datname, ''), COALESCE(NULLIF(application_name, ''), host(client_addr), 'localhost'), state,
    pid = pg_backend_pid() OR application_name = :program_name,
    CASE WHEN state LIKE 'idle%' THEN width_bucket(state_change, (
        SELECT array_agg(now() - make_interval(secs => bound) ORDER BY bound DESC)
        FROM unnest(CAST(:bounds AS float8[])) AS bound)) END,
    count(*), sum(slept), max(slept), count(*) FILTER (WHERE slept > :stale_after)
FROM pg_stat_activity,
    LATERAL (SELECT greatest(CAST(extract(epoch FROM now() - state_change) AS float8), 0) AS slept) AS since
WHERE backend_type = 'client backend' AND usename IS NOT NULL
GROUP BY 1, 2, 3, 4, 5, 6"""

# Not by the view: that would read every backend to find a few.
BY_ID = """
SELECT pid, state, greatest(CAST(extract(epoch FROM now() - state_change) AS float8), 0)
FROM unnest(CAST(:ids AS int[])) AS wanted, LATERAL pg_stat_get_activity(wanted)
WHERE backend_type = 'client backend'"""

# What a new session would get, whatever our own has been set to.
SETTINGS = "SELECT name, reset_val FROM pg_settings WHERE name = ANY(:names)"
TIMEOUTS = ("idle_session_timeout", "idle_in_transaction_session_timeout")
RESERVES = ("superuser_reserved_connections", "reserved_connections")

MAY_SEE_ALL = "SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')"

# Settings that this server does not know yet are left out, and so need no version to be asked for.
LIMITS = "SELECT set_config(name, CAST(:setting AS text), false) FROM pg_settings WHERE name = :name"

STATES: Mapping[str | None, SessionState] = {
    "active": "active",
    "fastpath function call": "active",
    "idle": "sleeping",
    "idle in transaction": "sleeping_in_transaction",
    "idle in transaction (aborted)": "sleeping_in_failed_transaction",
}

REASONS: Mapping[str, SampleErrorReason] = {
    **dict.fromkeys(("28000", "28P01", "3D000"), "auth"),
    "42501": "privilege",
    **dict.fromkeys(("57014", "55P03"), "timeout"),
    **dict.fromkeys(
        ("53300", "57P01", "57P02", "57P03", "57P05", "08000", "08001", "08003", "08004", "08006"), "connect"
    ),
}

# libpq keeps the code of a refused login to itself, so these words of the server have to do, in the order of looking.
REFUSALS: tuple[tuple[str, SampleErrorReason], ...] = (
    ("timeout expired", "timeout"),
    ("closed the connection", "connect"),
    ("too many", "connect"),
    ("connection slots", "connect"),
    ("pg_hba.conf", "auth"),
    ("authentication", "auth"),
    ("does not exist", "auth"),
    ("not permitted to log in", "auth"),
    ("permission denied for database", "auth"),
)

_LARGEST_ID = 2**31 - 1  # pids are int4 here; a larger one is another server's


def engine(url: URL, *, timeout: float, wire: Wire) -> Engine:
    """Make the engine of one polite connection, which puts its socket into ``wire`` as soon as it has one."""
    # libpq knows whole seconds, and nothing below two of them.
    wanted = {"connect_timeout": max(2, int(timeout)), "application_name": PROGRAM_NAME}
    if not url.database and not {"dbname", "service"} & url.query.keys():
        # libpq would take a database of the account's own name. Sessions are seen from any; this one is always there.
        url = url.set(database="postgres")
    made = create_engine(
        url.set(drivername="postgresql+psycopg"),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        # Looking for hstore would be one question more at each connect.
        use_native_hstore=False,
        # What the URL asks for goes before what we do.
        connect_args={name: value for name, value in wanted.items() if name not in url.query},
    )

    # Before SQLAlchemy's own listener, which asks its first questions.
    @event.listens_for(made, "connect", insert=True)
    def hold(connection: Any, _record: object) -> None:
        wire.hold(connection.fileno())

    return made


def prepare(connection: Connection, *, timeout: float) -> None:
    """Set the session's limits and choose what to ask, once for each new connection."""
    milliseconds = math.ceil(timeout * 1000)
    limits = {
        "statement_timeout": milliseconds,
        "lock_timeout": milliseconds,
        "default_transaction_read_only": "on",
        # The server's may be shorter than our interval: it is meant for others.
        "idle_session_timeout": 0,
    }
    for name, setting in limits.items():
        connection.execute(text(LIMITS), {"name": name, "setting": setting})
    if not connection.exec_driver_sql(MAY_SEE_ALL).scalar_one():
        # Without it the rows of others are there, but hold no state: they would be counted wrongly, not left out.
        raise SampleError("privilege", "may not see the sessions of others; GRANT pg_monitor TO this account")


def sample(
    connection: Connection, *, asked: AbstractSet[int], stale_after: float, clock: Callable[[], float]
) -> ServerSnapshot:
    """Look at all sessions once."""
    began = clock()
    names = ["server_version", "max_connections", *RESERVES, *TIMEOUTS]
    settings = {row.name: row.reset_val for row in connection.execute(text(SETTINGS), {"names": names})}
    rows = _rows(connection, stale_after)
    sessions = _by_id(connection, asked)
    clients = [row for row in rows if not row.ours]
    return ServerSnapshot(
        dialect="postgresql",
        version=settings["server_version"],
        source=SOURCE,
        began=began,
        ended=clock(),
        groups=group(clients),
        sleepers=sleepers(clients),
        connections=sum(row.count for row in rows),
        connections_max=int(settings["max_connections"]) - sum(int(settings.get(name, 0)) for name in RESERVES),
        idle_timeouts={name: int(settings[name]) / 1000 for name in TIMEOUTS if int(settings.get(name, 0)) > 0},
        asked=frozenset(asked),
        sessions=sessions,
    )


def reason(error: DBAPIError) -> SampleErrorReason:
    """Tell what kind of failure a driver's error is."""
    code = getattr(error.orig, "sqlstate", None)
    if code is not None:
        return REASONS.get(code, "query")
    said = str(error.orig)
    for words, meaning in REFUSALS:
        if words in said:
            return meaning
    # A server that speaks another language: one that had a password from us and ends the login has refused it.
    pgconn = getattr(error.orig, "pgconn", None)
    return "auth" if said.startswith("connection failed") and getattr(pgconn, "used_password", False) else "connect"


def _rows(connection: Connection, stale_after: float) -> list[Row]:
    found = connection.execute(
        text(GROUPED),
        {"bounds": list(SLEEP_BUCKETS), "stale_after": stale_after, "program_name": PROGRAM_NAME},
    )
    return [
        Row(
            client=(user, database, client),
            state=STATES.get(state, "other"),
            ours=ours,
            bucket=0 if newer is None else len(SLEEP_BUCKETS) - newer,
            count=count,
            seconds=seconds or 0.0,
            longest=longest or 0.0,
            stale=stale,
        )
        for user, database, client, state, ours, newer, count, seconds, longest, stale in found
    ]


def _by_id(connection: Connection, asked: AbstractSet[int]) -> dict[int, Session]:
    ids = sorted(id_ for id_ in asked if 0 < id_ <= _LARGEST_ID)
    if not ids:
        return {}
    found = connection.execute(text(BY_ID), {"ids": ids})
    return {id_: Session(STATES.get(state, "other"), seconds) for id_, state, seconds in found}
