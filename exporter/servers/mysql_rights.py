"""What an account may see on a MySQL or MariaDB server, and what the server counts."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from exporter.servers.mysql_login import code, is_mariadb, reason
from exporter.servers.mysql_sisters import everyone
from exporter.servers.mysql_sources import PROCESS_LIST, SCHEMA_LIST, THREADS, Source
from exporter.servers.mysql_transactions import TRANSACTIONS

LOST = "Performance_schema_thread_instances_lost"
CONNECTED = "Threads_connected"
UPTIME = "Uptime"
ABORTED: Mapping[str, str] = {"client": "Aborted_clients", "connect": "Aborted_connects"}

STATUS_SECONDS = 60.0
"""How long an answer to a question for the status is good, in seconds: MySQL adds up all of its threads for each."""

_NO_TABLE = 1146


@dataclass(frozen=True)
class Rights:
    """What a connection asks, and may see: everyone's sessions, and their transactions.

    ``grants`` are the account's as they were when it logged in; ``sisters`` tells whether samplers know each other,
    and ``crowded`` whether performance_schema may run out of room for threads.
    """

    source: Source
    sighted: bool
    transactions: bool
    schema: bool
    crowded: bool
    sisters: bool
    account: str
    grants: tuple[str, ...]

    @property
    def advice(self) -> str | None:
        """Return what is kept from us and the statements that change it; None when all can be seen."""
        if self.sighted and self.transactions:
            return None
        wanted = [f"GRANT PROCESS ON *.* TO {self.account}"]
        if self.sighted:
            return f"may not see which sessions hold a transaction open; {wanted[0]}"
        if self.schema:
            wanted.append(f"GRANT SELECT ON performance_schema.threads TO {self.account}")
        return f"may not see the sessions of others; {'; '.join(wanted)}"


def rights(connection: Connection) -> Rights:
    """Find out what a new connection may see, and choose what it asks."""
    schema, room, account = connection.exec_driver_sql(
        "SELECT @@performance_schema, @@performance_schema_max_thread_instances, CURRENT_USER()"
    ).one()
    user, _, host = account.replace("'", "''").rpartition("@")
    by_threads = bool(schema) and _may(connection, "SELECT 1 FROM performance_schema.threads LIMIT 1")
    by_list = bool(schema) and _may(connection, "SELECT 1 FROM performance_schema.processlist LIMIT 1")
    # Where it had no room for a thread, a session is missing there, in its own process list too.
    lost = bool(schema and status(connection, LOST).get(LOST))
    # The transactions need PROCESS, as the lists do: but those would show us our own sessions only, without a word.
    transactions = _may(connection, TRANSACTIONS)
    return Rights(
        source=_source(
            by_threads=by_threads and not (lost and transactions),
            by_list=by_list and not lost,
        ),
        sighted=by_threads or transactions,
        transactions=transactions,
        schema=bool(schema),
        # MySQL makes room as it needs it, unless it is told not to.
        crowded=bool(schema) and (room >= 0 or is_mariadb(connection)),
        sisters=_knows_sisters(connection),
        account=f"'{user}'@'{host}'",
        grants=grants(connection),
    )


def grants(connection: Connection) -> tuple[str, ...]:
    """Return what the account is granted by now. Until it logs in again, its connection has what it had at login."""
    return tuple(connection.exec_driver_sql("SHOW GRANTS").scalars())


def status(connection: Connection, *names: str) -> dict[str, int]:
    """Return what the server counts, all clients together."""
    if is_mariadb(connection):
        # One by one: asked for some of several, it adds up all of its threads first.
        asked = [f"LIKE '{name}'" for name in names]
    else:
        listed = ", ".join(f"'{name}'" for name in names)
        asked = [f"WHERE Variable_name IN ({listed})"]
    found: dict[str, int] = {}
    for which in asked:
        found.update((name, int(value)) for name, value in connection.exec_driver_sql(f"SHOW GLOBAL STATUS {which}"))
    return found


def counted(connection: Connection) -> dict[str, int]:
    """Return the seconds of uptime, and how many threads were lost and, as of the last minute, connections aborted."""
    allowed: Rights = connection.info["rights"]
    taken, found = connection.info.get("counted", (0.0, {}))
    now = time.monotonic()
    if not found or now - taken >= STATUS_SECONDS:
        # Each is a statement of its own on MariaDB, and without performance_schema none of its threads can be lost.
        lost = (LOST,) if allowed.schema else ()
        taken, found = connection.info["counted"] = now, status(connection, UPTIME, *ABORTED.values(), *lost)
    elif allowed.crowded:
        found = found | status(connection, LOST)
    return {**found, UPTIME: found[UPTIME] + math.ceil(now - taken)}


def _source(*, by_threads: bool, by_list: bool) -> Source:
    return THREADS if by_threads else SCHEMA_LIST if by_list else PROCESS_LIST


def _knows_sisters(connection: Connection) -> bool:
    """Tell whether the server says who has a lock; a cluster may forbid them."""
    try:
        connection.exec_driver_sql(f"SELECT {everyone(known=True)}").close()
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        return False
    return True


def _may(connection: Connection, statement: str) -> bool:
    try:
        connection.exec_driver_sql(statement).close()
    except DBAPIError as error:
        if reason(error) == "privilege" or code(error) == _NO_TABLE:
            return False
        raise
    return True
