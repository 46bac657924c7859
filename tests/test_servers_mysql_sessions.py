"""How MySQL and MariaDB add up their sessions for us: buckets, clients, transactions, and rows of versions not here."""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import Connection
from sqlalchemy.pool import NullPool

from exporter.buckets import SLEEP_BUCKETS
from exporter.servers import mysql_sessions
from exporter.servers.mysql_sessions import NO_CLIENTS, OTHER, Found, Question, sessions
from exporter.servers.mysql_sources import PROCESS_LIST, SCHEMA_LIST, THREADS, Source
from sites import Site

pytestmark = pytest.mark.servers

NOTHING = Question(asked=frozenset(), samplers=frozenset(), transactions={}, stale_after=600.0, uptime=1e6)

Fed = tuple[object, ...]

# What the manuals and the servers show. Columns: id, user, host, db, command, time, and how threads are connected.
THREADS_ROWS: Sequence[Fed] = (
    (None, None, None, None, None, None, None),  # a background thread
    (3, "system user", None, None, "Connect", 4711, None),
    (4, "event_scheduler", "localhost", None, "Daemon", 120, None),
    (2, "root", "localhost", None, "Sleep", None, None),  # the same of MariaDB, after root has started it
    (5, None, "10.0.0.9", None, "Sleep", None, None),  # has not logged in yet
    (6, "replica", "10.0.0.8", None, "Binlog Dump GTID", 4711, "SSL/TLS"),
    (8, "shop", "10.0.0.7", "orders", "Sleep", 77, "TCP/IP"),
    (9, "shop", "10.0.0.7", "orders", "Query", 0, "TCP/IP"),
    (10, "shop", "10.0.0.7", "orders", "Killed", 3, "SSL/TLS"),
    (11, "shop", "::1", None, "Sleep", 601, "TCP/IP"),
    (12, "shop", "localhost", "orders", "Execute", 2, "Socket"),
    (13, "shop", "10.0.0.7", "orders", None, 5, "SSL/TLS"),  # by MySQL's X protocol
)
# Process lists of MySQL 5.7, 8.0 and newer, and of MariaDB: the port belongs to the host.
LIST_ROWS: Sequence[Fed] = (
    (3, "system user", "", None, "Connect", 4711),
    (2, "system user", "connecting host", None, "Query", 4711),
    (1, "system user", "", None, "Slave_worker", 4711),
    (4, "event_scheduler", "localhost", None, "Daemon", 120),
    (5, "unauthenticated user", "10.0.0.9:3345", None, "Connect", None),
    (6, "replica", "10.0.0.8:40112", None, "Binlog Dump", 4711),
    (7, "mysql.session", "localhost", None, "Sleep", 4711),
    (8, "shop", "10.0.0.7:49152", "orders", "Sleep", 77),
    (9, "shop", "10.0.0.7:49153", "orders", "Query", 0),
    (10, "shop", "10.0.0.7:49154", "orders", "Killed", 3),
    (11, "shop", "::1:49155", None, "Sleep", 601),
    (12, "shop", "localhost", "orders", "Execute", 2),
    (13, "shop", "10.0.0.7:49156", "orders", None, 5),  # by MySQL's X protocol
    (14, "shop", "localhost", "orders", "Connect", 5),  # an event of the server's scheduler
    (15, "delayed", "localhost", "orders", "Delayed insert", 5),
)


@contextlib.contextmanager
def administrator(site: Site) -> Iterator[Connection]:
    """Hold a connection that may do everything."""
    engine = create_engine(site.database.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection


def fed(source: Source, rows: Sequence[Fed]) -> Source:
    """Return the source with rows of ours instead of its table's."""
    types = {"id": "UNSIGNED", "user": "CHAR", "host": "CHAR", "db": "CHAR", "command": "CHAR", "time": "SIGNED"}
    if source is THREADS:
        types = {f"processlist_{name}": type_ for name, type_ in types.items()} | {"connection_type": "CHAR"}
    selects = [
        ", ".join(
            f"CAST({_literal(value)} AS {type_}) AS {name}"
            for value, (name, type_) in zip(row, types.items(), strict=True)
        )
        for row in rows
    ]
    return replace(source, table=f"({' UNION ALL '.join(f'SELECT {select}' for select in selects)}) AS fed")


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    return f"'{value}'" if isinstance(value, str) else str(value)


def clients(found: Sequence[Found]) -> dict[tuple[str, str, str, str], int]:
    """Count client sessions by user, database, client and state."""
    seen: dict[tuple[str, str, str, str], int] = {}
    for some in found:
        if some.is_client:
            key = (*some.row.client, some.row.state)
            seen[key] = seen.get(key, 0) + some.row.count
    return seen


@pytest.mark.parametrize("source", [THREADS, SCHEMA_LIST, PROCESS_LIST], ids=lambda source: source.table)
def test_documented_rows(any_mysql: Site, source: Source) -> None:
    """Of the rows that the manuals of MySQL 5.7 to 9 and MariaDB show, those of clients are counted, by their state."""
    rows = THREADS_ROWS if source is THREADS else LIST_ROWS
    with administrator(any_mysql) as connection:
        found = sessions(
            connection, fed(source, rows), replace(NOTHING, asked=frozenset({8, 404}), transactions={8: 60.0})
        )
    assert clients(found) == {
        ("shop", "orders", "10.0.0.7", "sleeping_in_transaction"): 1,
        ("shop", "orders", "10.0.0.7", "active"): 1,
        ("shop", "orders", "10.0.0.7", "other"): 2,
        ("shop", "", "::1", "sleeping"): 1,
        ("shop", "orders", "localhost", "active"): 1,
    }
    assert [some.row.longest for some in found if some.id == 8] == [77.0]
    assert not [some for some in found if some.id == 404]
    # The replica and the one that has not logged in take a connection all the same.
    assert sum(some.row.count for some in found if some.connected) == 8
    assert [some.row.stale for some in found if some.row.client[2] == "::1"] == [1]


def test_every_command(mariadb_site: Site) -> None:
    """Each command that is not a client's work is told from the others, and an unknown one is work."""
    commands = (*OTHER, *NO_CLIENTS, "Query", "Reset Connection", "something new")
    rows = [(10 + number, f"user{number}", "h:1", None, command, 1) for number, command in enumerate(commands)]
    with administrator(mariadb_site) as connection:
        found = sessions(connection, fed(PROCESS_LIST, rows), NOTHING)
    told = {commands[int(some.row.client[0].removeprefix("user"))]: some for some in found}
    assert {command for command, some in told.items() if not some.is_client} == set(NO_CLIENTS)
    assert {command for command, some in told.items() if some.is_client and some.row.state == "other"} == set(OTHER)
    assert {command for command, some in told.items() if some.row.state == "active"} == set(commands[-3:]) | set(
        NO_CLIENTS
    )


@pytest.mark.parametrize("stale_after", [0.5, 1.0, 2.0, 600.0, 601.5, 100000.0])
def test_buckets(mariadb_site: Site, stale_after: float) -> None:
    """Every sleep is in the bucket of the smallest bound that it does not exceed, and stale beyond stale_after."""
    slept = sorted(
        {0, 1, 2, 3, 601, 602, 99999, 100001, *(int(bound) + more for bound in SLEEP_BUCKETS for more in (0, 1))}
    )
    rows = [(10 + number, f"user{number}", "h:1", None, "Sleep", seconds) for number, seconds in enumerate(slept)]
    with administrator(mariadb_site) as connection:
        found = sessions(connection, fed(PROCESS_LIST, rows), replace(NOTHING, stale_after=stale_after))
    assert len(found) == len(slept)
    for some in found:
        seconds = slept[int(some.row.client[0].removeprefix("user"))]
        assert (some.row.seconds, some.row.longest) == (seconds, seconds)
        assert some.row.bucket == bisect_left(SLEEP_BUCKETS, seconds)
        assert some.row.stale == int(seconds > stale_after)


def test_clock_set_back(mariadb_site: Site) -> None:
    """A sleep that began in the future has lasted no time."""
    with administrator(mariadb_site) as connection:
        [some] = sessions(connection, fed(PROCESS_LIST, [(10, "shop", "h:1", None, "Sleep", -3600)]), NOTHING)
    assert (some.row.bucket, some.row.seconds, some.row.longest) == (0, 0.0, 0.0)


def test_more_sleep_than_uptime(any_mysql: Site) -> None:
    """A session that has set its own clock has slept no longer than there is a server."""
    rows = [(10, "shop", "h:1", "a", "Sleep", 1795341332), (11, "shop", "h:1", "a", "Sleep", 5)]
    with administrator(any_mysql) as connection:
        found = sessions(connection, fed(PROCESS_LIST, rows), replace(NOTHING, uptime=3000.0))
    assert sorted((some.row.longest, some.row.seconds, some.row.stale) for some in found) == [
        (5.0, 5.0, 0),
        (3000.0, 3000.0, 1),
    ]


def test_names_that_look_alike(any_mysql: Site) -> None:
    """Users and databases that differ in case only are different ones, whatever the columns' collations think."""
    rows = [
        (10, "shop", "h:1", "a", "Sleep", 1),
        (11, "Shop", "h:1", "a", "Sleep", 1),
        (12, "shop", "h:1", "A", "Sleep", 1),
    ]
    with administrator(any_mysql) as connection:
        found = sessions(connection, fed(PROCESS_LIST, rows), NOTHING)
    assert set(clients(found)) == {
        ("shop", "a", "h", "sleeping"),
        ("Shop", "a", "h", "sleeping"),
        ("shop", "A", "h", "sleeping"),
    }


def test_names_are_asked_for_once(mariadb_site: Site) -> None:
    """Who a client is, is asked for when it is new, and forgotten when it has gone."""
    rows = [(10, "shop", "h:1", "a", "Sleep", 1), (11, "mill", "h:1", "a", "Sleep", 1)]
    with administrator(mariadb_site) as connection:
        sessions(connection, fed(PROCESS_LIST, rows[:1]), NOTHING)
        first = connection.info["clients"]
        assert set(clients(sessions(connection, fed(PROCESS_LIST, rows), NOTHING))) == {
            ("shop", "a", "h", "sleeping"),
            ("mill", "a", "h", "sleeping"),
        }
        sessions(connection, fed(PROCESS_LIST, rows[:1]), NOTHING)
        assert connection.info["clients"] == first


def test_more_transactions_than_are_asked_for(any_mysql: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """With very many transactions all are told apart from plain sleep; only the oldest are looked at one by one."""
    monkeypatch.setattr(mysql_sessions, "MOST_HOLDERS", 2)
    rows = [(id_, "shop", "h:1", "a", "Sleep", 5) for id_ in range(10, 16)]
    question = replace(NOTHING, asked=frozenset({15}), transactions={id_: float(id_) for id_ in range(11, 15)})
    with administrator(any_mysql) as connection:
        found = sessions(connection, fed(PROCESS_LIST, rows), question)
    assert clients(found) == {("shop", "a", "h", "sleeping"): 2, ("shop", "a", "h", "sleeping_in_transaction"): 4}
    assert {some.id for some in found if some.row.count == 1 and some.id in range(10, 16)} == {13, 14, 15}
    assert sorted(some.oldest for some in found) == [0.0, 0.0, 12.0, 13.0, 14.0]


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("127.0.0.1:49596", "127.0.0.1"),
        ("::1:49596", "::1"),
        ("fe80::1%eth0:49596", "fe80::1%eth0"),
        ("localhost", "localhost"),
        ("db.example:1", "db.example"),
    ],
)
def test_port_is_cut_off(mariadb_site: Site, host: str, client: str) -> None:
    """A process list's host loses its port, and an IPv6 address keeps its colons; ports make no difference."""
    rows = [(10, "shop", host, None, "Sleep", 1), (11, "shop", host, None, "Sleep", 1)]
    with administrator(mariadb_site) as connection:
        source = fed(PROCESS_LIST, rows)
        source = replace(source, table=source.table.replace("%", "%%"))
        assert clients(sessions(connection, source, NOTHING)) == {("shop", "", client, "sleeping"): 2}
