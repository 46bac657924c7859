"""How many sessions of a PostgreSQL have ended otherwise than by their clients' goodbye: a count that only grows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection

from exporter.servers.sense import few

# PostgreSQL 13 does not count how its sessions end.
COUNTED = "SELECT to_regproc('pg_stat_get_db_sessions_abandoned') IS NOT NULL, pg_postmaster_start_time()"
ENDED = "SELECT datid, sessions_abandoned + sessions_fatal + sessions_killed FROM pg_stat_database"


@dataclass(frozen=True)
class _Ends:
    """What a server that was ``started`` then has counted: in all, and in each database that it has now."""

    started: object
    total: int = 0
    by_database: Mapping[int, int] = field(default_factory=dict)

    def then(self, found: Mapping[int, int]) -> _Ends:
        """Add what is new. A database that was dropped takes its count along; one that counts anew was reset."""
        before = {id_: self.by_database.get(id_, 0) for id_ in found}
        new = sum(count - before[id_] if count >= before[id_] else count for id_, count in found.items())
        return _Ends(self.started, self.total + new, found)


def prepare_ends(connection: Connection) -> None:
    """Find out whether this server counts them."""
    counts, started = connection.exec_driver_sql(COUNTED).one()
    connection.info.update(counts_ends=counts, started=started)


def ended_sessions(connection: Connection) -> dict[str, int]:
    """Return how many there are, by kind; failed logins are not counted. Remembered from connection to connection."""
    if not connection.info["counts_ends"]:
        return {}
    memory: dict[str, Any] = connection.info["memory"]
    started, before = connection.info["started"], memory.get("ends")
    if before is None or before.started != started:
        before = _Ends(started)
    memory["ends"] = now = before.then({id_: int(count) for id_, count in few(connection.exec_driver_sql(ENDED))})
    return {"client": now.total}
