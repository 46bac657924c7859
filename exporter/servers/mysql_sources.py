"""The tables of MySQL and MariaDB that have a row for each session, and what their columns are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Which client a session belongs to, as a number: the server groups by numbers in half the time that it takes for names,
# and tells `Shop` from `shop`, which the columns' collations do not. Two clients of one number are as likely as two
# equal keys of 64 bits.
CLIENT = "(CRC32({user}) << 32) ^ (CRC32({database}) << 16) ^ CRC32({place})"


@dataclass(frozen=True)
class Source:
    """A table that has a row for each session; ``columns`` are what the statements call them by.

    ``place`` is the host without the client's port; ``known`` is NULL where the time is not known, ``seconds`` 0.
    """

    table: str
    columns: Mapping[str, str]
    with_port: bool

    def statement(self, text: str, **values: str) -> str:
        """Return a statement for this table."""
        columns = {**self.columns, "table": self.table}
        return text.format(client=CLIENT.format(**columns), **columns, **values)


def _process_list(table: str) -> Source:
    # The client's port stands behind the last colon of its host, also for IPv6 addresses, which are not in brackets.
    # Bytes are searched and compared in half the time that characters take.
    columns = {
        "id": "id",
        "user": "user",
        "database": "COALESCE(db, '')",
        "host": "host",
        "place": "LEFT({0}, LENGTH(host) - LOCATE(':', REVERSE({0})))".format("CONVERT(host USING BINARY)"),
        "command": "CONVERT(command USING BINARY)",
        "seconds": "COALESCE(time, 0)",
        "known": "time",
        "connected": "TRUE",
    }
    return Source(table, columns, with_port=True)


# Reading it takes no lock that new connections wait for. A thread without a connection may bear the name of whoever has
# started it, as MariaDB's event scheduler does; one whose login has yet to come has no name, and its kind is not known.
THREADS = Source(
    "performance_schema.threads",
    {
        "id": "processlist_id",
        "user": "processlist_user",
        "database": "COALESCE(processlist_db, '')",
        "host": "COALESCE(processlist_host, '')",
        "place": "COALESCE(processlist_host, '')",
        "command": "processlist_command",
        "seconds": "COALESCE(processlist_time, 0)",
        "known": "processlist_time",
        "connected": "(connection_type IS NOT NULL OR processlist_user IS NULL AND processlist_command = 'Sleep')",
    },
    with_port=False,
)
# MySQL 5.7.39 and 8.0.22 brought this one; it needs no lock either, and the older one warns there that it will go.
SCHEMA_LIST = _process_list("performance_schema.processlist")
PROCESS_LIST = _process_list("information_schema.processlist")
