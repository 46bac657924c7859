"""MySQL 5.7 and newer, MariaDB 10.6 and newer: their sessions, through PyMySQL."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import pymysql
from sqlalchemy import bindparam, create_engine, event, text
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from exporter.buckets import SLEEP_BUCKETS
from exporter.labels import SampleErrorReason, SessionState
from exporter.records import ServerSnapshot, Session
from exporter.servers.family import PROGRAM_NAME, SampleError
from exporter.servers.rows import Client, Row, group, sleepers
from exporter.servers.wire import Wire, dial

THREADS = "performance_schema.threads"
PROCESSLIST = "information_schema.processlist"

# Reading threads takes no lock that new connections wait for, so it comes first. The process list has the client's port
# behind the last colon of its host, also for IPv6 addresses, which are not in brackets.
SESSIONS = {
    THREADS: """
        SELECT processlist_id AS id, processlist_user AS who, COALESCE(processlist_db, '') AS whence,
            COALESCE(processlist_host, '') AS place, processlist_command AS doing,
            COALESCE(processlist_time, 0) AS seconds
        FROM performance_schema.threads WHERE type = 'FOREGROUND' AND processlist_user IS NOT NULL""",
    PROCESSLIST: """
        SELECT id, user AS who, COALESCE(db, '') AS whence,
            LEFT(host, CHAR_LENGTH(host) - IF(LOCATE(':', host), CHAR_LENGTH(SUBSTRING_INDEX(host, ':', -1)) + 1, 0))
            AS place, command AS doing, COALESCE(time, 0) AS seconds
        FROM information_schema.processlist""",
}

# Not clients: the server's own threads, its replicas, and sockets that have not logged in yet.
CLIENTS = """
    who NOT IN ('system user', 'event_scheduler', 'unauthenticated user') AND doing NOT IN (
        'Daemon', 'Binlog Dump', 'Binlog Dump GTID', 'Table Dump', 'Register Slave', 'Connect Out',
        'Slave_IO', 'Slave_SQL', 'Slave_worker')"""

# Seconds are whole and cut off, so those up to a bound are those below the next whole number. The aliases are the names
# of no column, for ONLY_FULL_GROUP_BY.
GROUPED = """
SELECT who, whence, place, doing, id IN :samplers AS ours,
    IF(doing = 'Sleep', INTERVAL(seconds, {bounds}), 0) AS bucket,
    COUNT(*), SUM(seconds), MAX(seconds), SUM(seconds > :stale_after)
FROM ({sessions}) AS client WHERE {clients}
GROUP BY who, whence, place, doing, ours, bucket"""

BY_ID = """
SELECT id, who, whence, place, doing, seconds FROM ({sessions}) AS client WHERE {clients} AND id IN :ids"""

SAMPLERS = """
SELECT processlist_id FROM performance_schema.session_account_connect_attrs
WHERE attr_name = 'program_name' AND attr_value = :program_name"""

THREADS_PROBE = "SELECT 1 FROM performance_schema.threads LIMIT 1"
SAMPLERS_PROBE = "SELECT 1 FROM performance_schema.session_account_connect_attrs LIMIT 1"

TRANSACTIONS = "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx"

TIMEOUTS = ("wait_timeout", "interactive_timeout")
MARIADB_TIMEOUTS = ("idle_transaction_timeout", "idle_write_transaction_timeout", "idle_readonly_transaction_timeout")

# Whatever else a session does that does not sleep, a client has asked for.
OTHER = frozenset({"Connect", "Debug", "Delayed insert", "Error", "Killed", "Shutdown", "Time"})

REASONS: Mapping[int, SampleErrorReason] = {
    **dict.fromkeys((1044, 1045, 1049, 1130, 1251, 1275, 1524, 1698, 1820, 1862, 2059, 2061, 3118, 3955, 4151), "auth"),
    **dict.fromkeys((1142, 1143, 1227, 1370), "privilege"),
    **dict.fromkeys((1205, 1969, 3024), "timeout"),
    **dict.fromkeys((1040, 1053, 1129, 1152, 1184, 1203, 1226, 1927, 4031), "connect"),
}

_DAY = 86400


def engine(url: URL, *, timeout: float, wire: Wire) -> Engine:
    """Make the engine of one polite connection, which puts its socket into ``wire`` as soon as it has one."""
    # connect_timeout alone does not end the wait for a server that accepts and then stays silent.
    limits = {"connect_timeout": timeout, "read_timeout": timeout, "write_timeout": timeout}
    wanted = {**limits, "program_name": PROGRAM_NAME}
    made = create_engine(
        url.set(drivername=f"{url.get_backend_name()}+pymysql"),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        # What the URL asks for goes before what we do.
        connect_args={name: value for name, value in wanted.items() if name not in url.query},
    )

    @event.listens_for(made, "do_connect")
    def connect(_dialect: object, _record: object, _args: object, options: dict[str, Any]) -> object:
        return _connect(options, wire)

    return made


def prepare(connection: Connection, *, timeout: float) -> None:
    """Set the session's limits and choose what to ask, once for each new connection."""
    mariadb = _is_mariadb(connection)
    longest = f"max_statement_time = {timeout}" if mariadb else f"max_execution_time = {math.ceil(timeout * 1000)}"
    connection.exec_driver_sql("SET SESSION TRANSACTION READ ONLY")
    # The server's wait_timeout may be shorter than our interval: it is meant for others.
    connection.exec_driver_sql(
        f"SET SESSION {longest}, lock_wait_timeout = {math.ceil(timeout)}, wait_timeout = {_DAY}"
    )
    schema = bool(connection.exec_driver_sql("SELECT @@performance_schema").scalar_one())
    by_threads = schema and _may(connection, THREADS_PROBE)
    transactions = _may(connection, TRANSACTIONS)
    if not by_threads and not transactions:
        # The transactions need PROCESS, as the process list does: but that one would show us our own sessions only,
        # without a word.
        raise SampleError("privilege", "may not see the sessions of others; GRANT PROCESS ON *.* TO this account")
    connection.info.update(
        source=THREADS if by_threads else PROCESSLIST,
        transactions=transactions,
        samplers=schema and _may(connection, SAMPLERS_PROBE),
    )


def sample(
    connection: Connection, *, asked: AbstractSet[int], stale_after: float, clock: Callable[[], float]
) -> ServerSnapshot:
    """Look at all sessions once."""
    began = clock()
    source: str = connection.info["source"]
    timeouts = (*TIMEOUTS, *(MARIADB_TIMEOUTS if _is_mariadb(connection) else ()))
    globals_ = ", ".join(f"@@GLOBAL.{name}" for name in ("version", "max_connections", *timeouts))
    own, version, limit, *seconds = connection.exec_driver_sql(f"SELECT CONNECTION_ID(), {globals_}").one()
    rows = _rows(connection, _samplers(connection) | {own}, stale_after)
    transactions = _transactions(connection)
    named = _by_id(connection, asked | transactions)
    holding = [client for id_, (client, doing, _) in named.items() if id_ in transactions and doing == "Sleep"]
    clients = [row for row in rows if not row.ours]
    return ServerSnapshot(
        dialect="mariadb" if _is_mariadb(connection) else "mysql",
        version=version,
        source=source,
        began=began,
        ended=clock(),
        groups=group(clients, in_transaction=holding),
        sleepers=sleepers(clients),
        connections=sum(row.count for row in rows),
        connections_max=limit,
        idle_timeouts={name: float(value) for name, value in zip(timeouts, seconds, strict=True) if value > 0},
        asked=frozenset(asked),
        sessions={
            id_: Session(_state(doing, in_transaction=id_ in transactions), slept)
            for id_, (_, doing, slept) in named.items()
            if id_ in asked
        },
    )


def reason(error: DBAPIError) -> SampleErrorReason:
    """Tell what kind of failure a driver's error is."""
    code = _code(error)
    if code in REASONS:
        return REASONS[code]
    # The server's own begin at 1000; those of a client that has lost it are 0 in PyMySQL, else 2000 and above.
    return "connect" if code < 1000 or 2000 <= code < 3000 else "query"


def _connect(options: dict[str, Any], wire: Wire) -> object:
    """Connect on a socket of our own making, so that the wire has it before the server has said its first word."""
    connection = pymysql.connect(**options, defer_connect=True)
    path = str(connection.unix_socket or "")
    try:
        line = dial(path or (connection.host, connection.port), options["connect_timeout"])
    except OSError as error:
        place = path or f"{connection.host}:{connection.port}"
        raise pymysql.err.OperationalError(2003, f"cannot connect to {place} ({error})") from error
    wire.hold(line.fileno())
    connection.connect(line)
    return connection


def _is_mariadb(connection: Connection) -> bool:
    return bool(getattr(connection.dialect, "is_mariadb", False))


def _may(connection: Connection, statement: str) -> bool:
    try:
        connection.exec_driver_sql(statement).close()
    except DBAPIError as error:
        if reason(error) != "privilege":
            raise
        return False
    return True


def _samplers(connection: Connection) -> set[int]:
    """Return the ids of the samplers that log in with our account, this one included, as far as the server can tell."""
    if not connection.info["samplers"]:
        return set()
    return set(connection.scalars(text(SAMPLERS), {"program_name": PROGRAM_NAME}))


def _rows(connection: Connection, samplers: set[int], stale_after: float) -> list[Row]:
    bounds = ", ".join(str(int(bound) + 1) for bound in SLEEP_BUCKETS)
    statement = GROUPED.format(bounds=bounds, sessions=SESSIONS[connection.info["source"]], clients=CLIENTS)
    found = connection.execute(
        text(statement).bindparams(bindparam("samplers", expanding=True)),
        {"samplers": sorted(samplers), "stale_after": stale_after},
    )
    return [
        Row((who, whence, place), _state(doing), bool(ours), bucket, count, float(seconds), float(longest), int(stale))
        for who, whence, place, doing, ours, bucket, count, seconds, longest, stale in found
    ]


def _transactions(connection: Connection) -> frozenset[int]:
    if not connection.info["transactions"]:
        return frozenset()
    return frozenset(connection.exec_driver_sql(TRANSACTIONS).scalars())


def _by_id(connection: Connection, ids: AbstractSet[int]) -> dict[int, tuple[Client, str, float]]:
    if not ids:
        return {}
    statement = BY_ID.format(sessions=SESSIONS[connection.info["source"]], clients=CLIENTS)
    found = connection.execute(text(statement).bindparams(bindparam("ids", expanding=True)), {"ids": sorted(ids)})
    return {id_: ((who, whence, place), doing, float(seconds)) for id_, who, whence, place, doing, seconds in found}


def _state(doing: str, *, in_transaction: bool = False) -> SessionState:
    if doing == "Sleep":
        return "sleeping_in_transaction" if in_transaction else "sleeping"
    return "other" if doing in OTHER else "active"


def _code(error: DBAPIError) -> int:
    arguments = getattr(error.orig, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else 0
