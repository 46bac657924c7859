"""Who is on a MySQL or MariaDB server: the tables that tell, and the one statement that adds their rows up there."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy.engine import Connection

from exporter.buckets import SLEEP_BUCKETS
from exporter.labels import SessionState
from exporter.servers.rows import Client, Row

# Other commands of clients than Sleep that do no work of theirs, and those of the server itself and of its replicas.
OTHER = ("Connect", "Debug", "Delayed insert", "Error", "Killed", "Shutdown", "Time")
NO_CLIENTS = (
    *("Daemon", "Binlog Dump", "Binlog Dump GTID", "Table Dump", "Register Slave", "Register Replica", "Connect Out"),
    *("Slave_IO", "Slave_SQL", "Slave_worker", "Group Replication Data Stream subscription"),
)
DOING = (*OTHER, *NO_CLIENTS)

SERVER_USERS = frozenset({"system user", "event_scheduler", "unauthenticated user", "mysql.session"})
"""Nobody has logged in as these: the server's own threads, and sockets whose login has yet to come."""

MOST_HOLDERS = 500
"""How many sessions with a transaction are asked for one by one, those of the oldest; the others are only counted."""

# Which client a session belongs to, as a number: the server groups by numbers in half the time that it takes for names,
# and tells `Shop` from `shop`, which the columns' collations do not. Two clients of one number are as likely as two
# equal keys of 64 bits.
CLIENT = "(CRC32({user}) << 32) ^ (CRC32({database}) << 16) ^ CRC32({place})"

# The bucket of a sleeping session, else below 0: -1 for one at work, and for others their place in DOING. Seconds are
# whole and cut off, so those up to a bound are those below the next whole number. A session that is asked for has a
# group of its own, so that one reading of the table answers both. No alias is a column's name, for ONLY_FULL_GROUP_BY.
GROUPED = """
SELECT {client} AS whose,
    IF({command} = 'Sleep', INTERVAL({seconds}, {bounds}), -1 - FIELD({command}, {doing})) AS doing,
    IF({id} IN ({asked}), {id}, IF({id} IN ({held}), {some}, 0)) AS asked,
    COUNT(*), SUM({seconds} + 0e0), MAX({seconds})
FROM {table} WHERE {connected}
GROUP BY whose, doing, asked"""

CLIENTS = """
SELECT {client} AS whose, MAX({user}), MAX({database}), MAX({host}) FROM {table}
WHERE {connected} AND {client} IN ({numbers}) GROUP BY whose"""

_SOME = 2**64 - 1  # no session has this id


@dataclass(frozen=True)
class Source:
    """A table that has a row for each session; ``columns`` are what the statements call them by.

    ``place`` is the host without the client's port.
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
        "connected": "TRUE",
    }
    return Source(table, columns, with_port=True)


# Reading it takes no lock that new connections wait for. A thread without a connection may bear the name of whoever has
# started it, as MariaDB's event scheduler does.
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
        "connected": "connection_type IS NOT NULL",
    },
    with_port=False,
)
# MySQL 5.7.39 and 8.0.22 brought this one; it needs no lock either, and the older one warns there that it will go.
SCHEMA_LIST = _process_list("performance_schema.processlist")
PROCESS_LIST = _process_list("information_schema.processlist")


@dataclass(frozen=True)
class Found:
    """Sessions that the server has added up; ``id`` is that of a session that was asked for, else nobody's.

    ``is_client`` is False for the server's own and for those of its replicas, ``logged_in`` only for its own.
    """

    row: Row
    id: int
    is_client: bool
    logged_in: bool


@dataclass(frozen=True)
class Question:
    """What is asked of the sessions: which are looked at one by one, and since when one is stale, in seconds.

    ``transactions`` has the ids of those that hold a transaction, each with its age in seconds.
    """

    asked: AbstractSet[int]
    samplers: AbstractSet[int]
    transactions: Mapping[int, float]
    stale_after: float

    @cached_property
    def one_by_one(self) -> AbstractSet[int]:
        """Return the ids of those that get a group of their own."""
        oldest = sorted(self.transactions, key=lambda id_: -self.transactions[id_])[:MOST_HOLDERS]
        return self.asked | self.samplers | set(oldest)

    @cached_property
    def bounds(self) -> list[int]:
        """Return the seconds from which a session counts for the next bucket, and for stale."""
        return sorted({*(int(bound) + 1 for bound in SLEEP_BUCKETS), int(self.stale_after) + 1})


def sessions(connection: Connection, source: Source, question: Question) -> list[Found]:
    """Read all sessions once."""
    one_by_one = question.one_by_one
    statement = source.statement(
        GROUPED,
        bounds=_listed(question.bounds),
        doing=", ".join(f"'{command}'" for command in DOING),
        asked=_listed(one_by_one),
        held=_listed(question.transactions.keys() - one_by_one),
        some=str(_SOME),
    )
    groups = [_Group(*row) for row in connection.exec_driver_sql(statement)]
    clients = _clients(connection, source, {found.client for found in groups})
    # A client whose last session has ended since then has no name any more.
    return [_found(group, clients[group.client], question) for group in groups if group.client in clients]


@dataclass(frozen=True)
class _Group:
    """A row of GROUPED; ``client`` is the number of one."""

    client: int
    doing: int
    asked: int
    count: int
    seconds: float
    longest: int


def _found(group: _Group, client: Client, question: Question) -> Found:
    doing = "Sleep" if group.doing >= 0 else ("Query", *DOING)[-1 - group.doing]
    # A second more than the largest bound that they have slept longer than.
    reached = question.bounds[group.doing - 1] if group.doing > 0 else 0
    logged_in = client[0] not in SERVER_USERS
    row = Row(
        client=client,
        state=_state(doing, in_transaction=group.asked in question.transactions or group.asked == _SOME),
        ours=group.asked in question.samplers,
        bucket=bisect_left(SLEEP_BUCKETS, reached),
        count=group.count,
        # A clock that was set back makes them negative.
        seconds=max(float(group.seconds), 0.0),
        longest=max(float(group.longest), 0.0),
        stale=group.count if reached > question.stale_after else 0,
    )
    return Found(row, group.asked, is_client=logged_in and doing not in NO_CLIENTS, logged_in=logged_in)


def _state(doing: str, *, in_transaction: bool) -> SessionState:
    if doing == "Sleep":
        return "sleeping_in_transaction" if in_transaction else "sleeping"
    return "other" if doing in OTHER else "active"


def _clients(connection: Connection, source: Source, numbers: set[int]) -> Mapping[int, Client]:
    """Return who the clients of these numbers are; only those that were not there before are asked for."""
    known: Mapping[int, Client] = connection.info.get("clients", {})
    unknown = numbers - known.keys()
    if unknown:
        statement = source.statement(CLIENTS, numbers=_listed(unknown))
        known = {**known, **dict(_named(source, connection.exec_driver_sql(statement)))}
    connection.info["clients"] = known = {number: known[number] for number in numbers & known.keys()}
    return known


def _named(source: Source, rows: Iterable[tuple[int, str, str, str]]) -> Iterator[tuple[int, Client]]:
    for number, user, database, host in rows:
        yield number, (user, database, place(host) if source.with_port else host)


def place(host: str) -> str:
    """Return a process list's host without the client's port."""
    return host.rpartition(":")[0] or host


def _listed(numbers: Iterable[int]) -> str:
    # A list must not be empty in SQL; no session has the id 0, and no client the number of three empty names.
    return ", ".join(map(str, sorted(numbers))) or "0"
