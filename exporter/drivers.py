"""Where each driver keeps the server's id of a connection: read from its memory, without a query or a round trip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _backend_pid(connection: Any) -> int:
    return int(connection.info.backend_pid)


def _thread_id(connection: Any) -> int:
    return int(connection.thread_id())


def _connection_id(connection: Any) -> int:
    return int(connection.connection_id)


def _mariadb_id(connection: Any) -> int | None:
    # Told to reconnect, MariaDB's connector does so unheard, and the id is another from then on: better none than that.
    return None if getattr(connection, "auto_reconnect", False) else int(connection.connection_id)


def _pg8000_pid(connection: Any) -> int:
    # pg8000 keeps the answer to its start-up message: the backend's pid in the first four bytes, then the cancel key.
    return int.from_bytes(connection._backend_key_data[:4], "big")


_READERS: dict[str, Callable[[Any], int | None]] = {
    "aiomysql": _thread_id,
    "asyncmy": _thread_id,
    "asyncpg": lambda connection: int(connection.get_server_pid()),
    "mariadbconnector": _mariadb_id,
    "mysqlconnector": _connection_id,
    "mysqldb": _thread_id,
    "pg8000": _pg8000_pid,
    "psycopg": _backend_pid,
    "psycopg2": _backend_pid,
    "psycopg_async": _backend_pid,
    "pymysql": _thread_id,
}
"""By the name that SQLAlchemy's dialect gives its driver. A driver that is not here has ids that nobody can read."""


def server_id(driver: str, connection: Any) -> int | None:
    """Return what the server calls this driver connection; None when the driver cannot say, or not for long.

    The id is PostgreSQL's backend pid or MySQL's connection id, as each driver learnt it when it connected.
    """
    reader = _READERS.get(driver)
    return None if reader is None or connection is None else reader(connection)
