"""How the samplers of one MySQL or MariaDB server know each other: each takes a lock that has a name."""

from __future__ import annotations

from typing import Any

import pymysql

from exporter.servers.family import PROGRAM_NAME

SISTERS = 16
"""How many samplers of one server know of each other. More are counted as the clients that they look like."""


def announce(connection: Any) -> None:
    """Say on a driver's connection that it is a sampler's; the server frees the lock when the connection has gone.

    Attributes of connections would say so too, but only where performance_schema is on, and to the same account.
    """
    with connection.cursor() as cursor:
        try:
            for number in range(SISTERS):
                cursor.execute(f"SELECT GET_LOCK('{_lock(number)}', 0)")
                if cursor.fetchone()[0]:
                    break
        except pymysql.MySQLError:
            # A cluster may forbid such locks. That is not what has happened when the connection was lost.
            if not connection.open:
                raise


def everyone(*, known: bool) -> str:
    """Return what to select for the ids of all samplers on the server; of this one alone when none is ``known``."""
    locks = [f"IS_USED_LOCK('{_lock(number)}')" for number in range(SISTERS)] if known else []
    return ", ".join(["CONNECTION_ID()", *locks])


def _lock(number: int) -> str:
    return f"{PROGRAM_NAME} {number}"
