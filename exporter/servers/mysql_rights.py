"""What an account may see on a MySQL or MariaDB server, who samples there too, and what the server counts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from exporter.servers.family import PROGRAM_NAME
from exporter.servers.mysql_login import code, is_mariadb, reason
from exporter.servers.mysql_sessions import PROCESS_LIST, SCHEMA_LIST, THREADS, Source

# Ages by the server's clock; with the id 0 are those that no session holds any more.
TRANSACTIONS = """
SELECT trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, trx_started, NOW()) FROM information_schema.innodb_trx
WHERE trx_mysql_thread_id > 0"""

SISTERS = 16
"""How many samplers of one server know of each other. More are counted as the clients that they look like."""

LOST = "Performance_schema_thread_instances_lost"
CONNECTED = "Threads_connected"
UPTIME = "Uptime"
ABORTED: Mapping[str, str] = {"client": "Aborted_clients", "connect": "Aborted_connects"}

STATUS_SECONDS = 60.0
"""How long an answer of MySQL to a question for its status is good: it adds up all threads for each."""

_NO_TABLE = 1146


@dataclass(frozen=True)
class Rights:
    """What a connection asks, and may see: everyone's sessions, and their transactions.

    ``grants`` are the account's as they were when it logged in; ``sisters`` tells whether samplers know each other.
    """

    source: Source
    sighted: bool
    transactions: bool
    schema: bool
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
    schema, account = connection.exec_driver_sql("SELECT @@performance_schema, CURRENT_USER()").one()
    user, _, host = account.replace("'", "''").rpartition("@")
    # Where it had no room for a thread, a session is missing there.
    by_threads = bool(schema) and _may(connection, "SELECT 1 FROM performance_schema.threads LIMIT 1")
    by_threads = by_threads and not status(connection, LOST).get(LOST)
    by_list = bool(schema) and _may(connection, "SELECT 1 FROM performance_schema.processlist LIMIT 1")
    # The transactions need PROCESS, as the lists do: but those would show us our own sessions only, without a word.
    transactions = _may(connection, TRANSACTIONS)
    return Rights(
        source=THREADS if by_threads else SCHEMA_LIST if by_list else PROCESS_LIST,
        sighted=by_threads or transactions,
        transactions=transactions,
        schema=bool(schema),
        sisters=_known_to_sisters(connection),
        account=f"'{user}'@'{host}'",
        grants=grants(connection),
    )


def grants(connection: Connection) -> tuple[str, ...]:
    """Return what the account is granted by now. Until it logs in again, its connection has what it had at login."""
    return tuple(connection.exec_driver_sql("SHOW GRANTS").scalars())


def samplers(connection: Connection, *, known: bool) -> frozenset[int]:
    """Return the ids of all samplers' sessions on the server, this one included; of this one when none is known."""
    locks = "".join(f", IS_USED_LOCK('{_lock(number)}')" for number in range(SISTERS)) if known else ""
    found = connection.exec_driver_sql(f"SELECT CONNECTION_ID(){locks}").one()
    return frozenset(id_ for id_ in found if id_ is not None)


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
    """Return how many connections were aborted and threads lost; on MySQL as of the last minute."""
    taken, found = connection.info.get("counted", (0.0, {}))
    now = time.monotonic()
    if not found or is_mariadb(connection) or now - taken >= STATUS_SECONDS:
        # Each is a statement of its own on MariaDB, and without performance_schema none of its threads can be lost.
        lost = (LOST,) if connection.info["rights"].schema else ()
        found = status(connection, *lost, *ABORTED.values())
        connection.info["counted"] = now, found
    return dict(found)


def _known_to_sisters(connection: Connection) -> bool:
    """Take a lock that says that we are a sampler; the server frees it when we are gone, and anyone may ask who has it.

    Attributes of connections would say so too, but only where performance_schema is on, and to the same account.
    """
    try:
        for number in range(SISTERS):
            if connection.exec_driver_sql(f"SELECT GET_LOCK('{_lock(number)}', 0)").scalar_one():
                break
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        return False  # a cluster may forbid such locks
    return True


def _lock(number: int) -> str:
    return f"{PROGRAM_NAME} {number}"


def _may(connection: Connection, statement: str) -> bool:
    try:
        connection.exec_driver_sql(statement).close()
    except DBAPIError as error:
        if reason(error) == "privilege" or code(error) == _NO_TABLE:
            return False
        raise
    return True
