"""Who is on a MySQL or MariaDB server: the one statement that adds the rows of its sessions up there."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sqlalchemy.engine import Connection

from exporter.buckets import SLEEP_BUCKETS
from exporter.labels import SessionState
from exporter.servers.family import SampleError
from exporter.servers.mysql_sources import Source
from exporter.servers.rows import Client, Row
from exporter.servers.sense import TODO, count, key, number, text

# Other commands of clients than Sleep that do no work of theirs (sessions of MySQL's X protocol have none), and those
# of the server itself and of its replicas. Events of its scheduler run as `Connect` under their definers' names.
OTHER = ("", "Debug", "Error", "Killed", "Shutdown", "Time")
UNCONNECTED = ("Connect", "Delayed insert")
NO_CLIENTS = (
    *UNCONNECTED,
    *("Daemon", "Binlog Dump", "Binlog Dump GTID", "Table Dump", "Register Slave", "Register Replica", "Connect Out"),
    *("Slave_IO", "Slave_SQL", "Slave_worker", "Group Replication Data Stream subscription"),
)
DOING = (*OTHER, *NO_CLIENTS)

SERVER_USERS = frozenset({"system user", "event_scheduler", "mysql.session"})
"""Nobody has logged in as these: they are the server's own threads."""

NOBODY: Client = ("unauthenticated user", "", "")
"""Who a socket belongs to whose login has yet to come: no client, but a connection of those that there may be."""

MOST_HOLDERS = 500
"""How many sessions with a transaction are asked for one by one, those of the oldest; the others are added up."""

# The bucket of a sleeping session, else below 0: -1 for one at work, and for others their place in DOING. Seconds are
# whole and cut off, so those up to a bound are those below the next whole number. A session that is asked for has a
# group of its own, so that one reading of the table answers both. No alias is a column's name, for ONLY_FULL_GROUP_BY.
GROUPED = """
SELECT {client} AS whose,
    IF({command} = 'Sleep', INTERVAL({seconds}, {bounds}), -1 - FIELD(COALESCE({command}, ''), {doing})) AS doing,
    IF({id} IN ({asked}), {id}, {others}) AS asked,
    COUNT(*), SUM({known} + 0e0), MAX({known}), {oldest}
FROM {table} WHERE {connected}
GROUP BY whose, doing, asked"""

# Those that hold a transaction, and the age of the oldest, where they are not asked for one by one.
HELD = "IF({id} IN ({held}), {some}, 0)"
OLDEST = "MAX(IF({id} IN ({held}), ELT(INTERVAL({id}, {held}), {ages}) + 0e0, 0e0))"

CLIENTS = """
SELECT {client} AS whose, MAX({user}), MAX({database}), MAX({host}) FROM {table}
WHERE {connected} AND {client} IN ({numbers}) GROUP BY whose"""

_SOME = 2**64 - 1  # no session has this id


@dataclass(frozen=True)
class Found:
    """Sessions that the server has added up; ``id`` is that of a session that was asked for, else nobody's.

    ``is_client`` is False for the server's own and for those of its replicas, ``connected`` only for its own.
    ``oldest`` is the age of the oldest transaction that they hold, in seconds.
    """

    row: Row
    id: int
    is_client: bool
    connected: bool
    oldest: float


@dataclass(frozen=True)
class Question:
    """What is asked of the sessions: which are looked at one by one, and since when one is stale, in seconds.

    ``transactions`` has the ids of those that hold a transaction, each with its age in seconds. For ``uptime`` seconds
    there has been a server to sleep at.
    """

    asked: AbstractSet[int]
    samplers: AbstractSet[int]
    transactions: Mapping[int, float]
    stale_after: float
    uptime: float

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
    groups = _grouped(connection, source, question)
    if any(group.doing >= 0 and group.longest > question.uptime for group in groups):
        # Nobody sleeps longer than there is a server: a session may tell its own time (`SET timestamp`).
        limits = {name: f"LEAST({source.columns[name]}, {question.uptime:.0f})" for name in ("seconds", "known")}
        source = replace(source, columns={**source.columns, **limits})
        groups = _grouped(connection, source, question)
    clients = _clients(connection, source, {group.client for group in groups if group.client is not None})
    # A client whose last session has ended since then has no name any more.
    named: dict[int | None, Client] = {None: NOBODY, **{number: clients[number] for number in clients}}
    return [_found(group, named[group.client], question, source) for group in groups if group.client in named]


@dataclass(frozen=True)
class _Group:
    """A row of GROUPED; ``client`` is the number of one, None before a login."""

    client: int | None
    doing: int
    asked: int
    count: int
    seconds: float
    longest: int
    oldest: float


def _grouped(connection: Connection, source: Source, question: Question) -> list[_Group]:
    one_by_one = question.one_by_one
    held = sorted(question.transactions.keys() - one_by_one)
    ages = ", ".join(f"{question.transactions[id_]:.0f}" for id_ in held)
    statement = source.statement(
        GROUPED,
        bounds=_listed(question.bounds),
        doing=", ".join(f"'{command}'" for command in DOING),
        asked=_listed(one_by_one),
        others=HELD.format(**source.columns, held=_listed(held), some=_SOME) if held else "0",
        oldest=OLDEST.format(**source.columns, held=_listed(held), ages=ages) if held else "0e0",
    )
    return [_read(*row) for row in connection.exec_driver_sql(statement)]


def _read(*row: object) -> _Group:
    client, doing, asked, sessions, seconds, longest, oldest = row
    return _Group(
        client=None if client is None else key(client, "a client's number"),
        doing=_doing(doing),
        asked=key(asked, "a session's id"),
        count=count(sessions, "a number of sessions"),
        seconds=number(0 if seconds is None else seconds, "a sum of seconds"),
        longest=count(0 if longest is None else longest, "a session's time"),
        oldest=number(oldest, "a transaction's age"),
    )


def _doing(said: object) -> int:
    """Return what the sessions do: a bucket, or a place in DOING as a number below 0."""
    known = key(said, "what sessions do")
    if not -1 - len(DOING) <= known <= len(SLEEP_BUCKETS) + 1:
        raise SampleError("query", f"the server's answer makes no sense: {known} is nothing that sessions do; {TODO}")
    return known


def _found(group: _Group, client: Client, question: Question, source: Source) -> Found:
    doing = "Sleep" if group.doing >= 0 else ("Query", *DOING)[-1 - group.doing]
    # A second more than the largest bound that they have slept longer than.
    reached = question.bounds[group.doing - 1] if group.doing > 0 else 0
    anonymous, own = client[0] == NOBODY[0], client[0] in SERVER_USERS
    # Where only connections are listed, these are some.
    unconnected = own or (source.with_port and doing in UNCONNECTED and not anonymous)
    row = Row(
        client=client,
        state=_state(doing, in_transaction=group.asked in question.transactions or group.asked == _SOME),
        ours=group.asked in question.samplers,
        bucket=bisect_left(SLEEP_BUCKETS, reached),
        count=group.count,
        seconds=float(group.seconds),
        longest=float(group.longest),
        stale=group.count if reached > question.stale_after else 0,
    )
    return Found(
        row,
        group.asked,
        is_client=not (own or anonymous or doing in NO_CLIENTS),
        connected=not unconnected,
        oldest=max(group.oldest, question.transactions.get(group.asked, 0.0)),
    )


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


def _named(source: Source, rows: Iterable[Any]) -> Iterator[tuple[int, Client]]:
    for client, user, database, host in rows:
        where = text(host, "a client's host")
        named = text(user, "a user"), text(database, "a database"), place(where) if source.with_port else where
        yield key(client, "a client's number"), named


def place(host: str) -> str:
    """Return a process list's host without the client's port."""
    return host.rpartition(":")[0] or host


def _listed(numbers: Iterable[int]) -> str:
    # A list must not be empty in SQL; no session has the id 0, and no client the number of three empty names.
    return ", ".join(map(str, sorted(numbers))) or "0"
