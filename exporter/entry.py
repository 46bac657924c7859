"""The entry: what SQLAlchemy's record of a connection, its place in the pool, tells of it, and what of ours lies on it.

The usage is an attribute of the record. In ``record.info`` it would be the application's to clear, copy or print.
"""

from __future__ import annotations

import time
from typing import Any

from exporter.contained import contain_unless_signalled
from exporter.drivers import server_id
from exporter.reasons import pool_of


def forget(record: Any) -> None:
    """Take the usage from a connection's record, whose connection it is no more; nothing happens without one."""
    vars(record).pop("pool_exporter_usage", None)


def idle_again(record: Any) -> None:
    """Let the usage of a connection that goes back into its pool be idle, whatever interrupted us as we noted that."""
    usage = vars(record).get("pool_exporter_usage")
    if usage is not None and usage.out_since and record.dbapi_connection is not None:
        usage.fairy = None
        usage.idle_since = time.perf_counter()
        usage.out_since = 0.0


def opened_at(record: Any) -> float:
    """Tell when the connection was made, on the clock of the usages: SQLAlchemy notes the wall clock then."""
    return time.perf_counter() - max(time.time() - getattr(record, "starttime", float("inf")), 0.0)


def server_id_of(record: Any, connection: Any, *, driver: str) -> int | None:
    """Return the server's id of a connection, which is not on its record yet, or no more, unless it is None."""
    try:
        if connection is None:
            return server_id(driver, record.driver_connection)
        return server_id(driver, pool_of(record)._dialect.get_driver_connection(connection))
    except Exception as error:
        # A driver that changed under us costs the match of its connections, and nothing else.
        contain_unless_signalled("server_id", error)
        return None
