"""Which sessions of a MySQL or MariaDB server hold a transaction, read no more often than the server bears well."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy.engine import Connection

# Ages by the server's clock; with the id 0 are those that no session holds any more.
TRANSACTIONS = """
SELECT trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, trx_started, NOW()) FROM information_schema.innodb_trx
WHERE trx_mysql_thread_id > 0"""

SLOW = 0.05
"""Seconds. InnoDB stops all transactions while it is read, and on MariaDB each that waits for a row makes it longer."""

CALM_SHARE = 100
"""A slow reading may take this part of the time; until then what was read last is told again."""


@dataclass(frozen=True)
class _Read:
    """What was read last, when by a steady clock, how long that took, and how long it and the one before at least."""

    ages: dict[int, float]
    at: float
    took: float
    twice: float


def transactions(connection: Connection) -> dict[int, float]:
    """Return the ids of the sessions with a transaction, and its age in seconds."""
    last: _Read | None = connection.info.get("transactions")
    now = time.monotonic()
    if last is not None and last.twice > SLOW and now - last.at < last.twice * CALM_SHARE:
        return {id_: age + now - last.at for id_, age in last.ages.items()}
    ages: dict[int, float] = {}
    for id_, seconds in connection.exec_driver_sql(TRANSACTIONS):
        ages[id_] = max(float(seconds), ages.get(id_, 0.0))
    took = time.monotonic() - now
    # Slow once may be by chance.
    twice = min(took, last.took) if last is not None else 0.0
    connection.info["transactions"] = _Read(ages, now, took, twice)
    return ages
