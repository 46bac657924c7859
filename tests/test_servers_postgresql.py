"""What is particular to PostgreSQL: failed transactions, names of clients, reserved connections, newer versions."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from exporter.demo.databases import postgresql
from exporter.sampler import Sampler
from exporter.servers.postgresql import reason
from samplers import sampled, sampling
from sites import Site, counts, sessions_of
from waiting import eventually

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def newest_site(servers_folder: Path) -> Iterator[Site]:
    """The PostgreSQL of the wheel, newer than Debian's, which ends idle sessions after a second."""
    settings = {"idle_session_timeout": "1s", "reserved_connections": "2", "max_connections": "20"}
    with postgresql(servers_folder / "newest", settings=settings) as database:
        site = Site("newest_site", "postgresql", database)
        site.run("CREATE DATABASE orders")
        yield site


@contextlib.contextmanager
def lone_engine(site: Site, account: str, **query: str) -> Iterator[Engine]:
    """Hold an engine without a pool."""
    engine = create_engine(site.url(account, **query), poolclass=NullPool)
    yield engine
    engine.dispose()


def test_failed_transaction(postgresql_site: Site) -> None:
    """A session that sleeps in a transaction that has failed is told from one whose transaction is well."""
    account = postgresql_site.new_account()
    with lone_engine(postgresql_site, account) as engine, engine.connect() as connection:
        with pytest.raises(DBAPIError):
            connection.exec_driver_sql("SELECT 1 / 0")
        with sampling(postgresql_site.server()) as sampler:
            snapshot = sampled(sampler)
    assert counts(snapshot, account) == {("orders", "127.0.0.1", "sleeping_in_failed_transaction"): 1}
    assert [sum(row.sleep_seconds.counts) for row in snapshot.sleepers if row.user == account] == [1]


def test_client_on_a_socket(postgresql_site: Site) -> None:
    """A nameless client on the Unix socket is localhost, and a sampler can look from there."""
    account, folder = postgresql_site.new_account(), str(postgresql_site.database.folder)
    port = str(postgresql_site.database.url.port)
    place = {"host": folder, "port": port}
    url = postgresql_site.url(postgresql_site.sampler_account(), **place).set(host=None, port=None)
    engine = create_engine(postgresql_site.url(account, **place).set(host=None, port=None), poolclass=NullPool)
    with engine.connect(), sampling(postgresql_site.server(url=url)) as sampler:
        seen = counts(sampled(sampler), account)
    assert list(seen) == [("orders", "localhost", "sleeping")]


def test_untracked_session(postgresql_site: Site) -> None:
    """A session whose activity is not tracked is in another state, and is no sleeper."""
    account = postgresql_site.new_account("ALTER ROLE {} SET track_activities = off")
    with postgresql_site.pool(account, 1), sampling(postgresql_site.server()) as sampler:
        snapshot = sampled(sampler)
    assert counts(snapshot, account) == {("orders", "shop", "other"): 1}
    assert not [row for row in snapshot.sleepers if row.user == account]


def test_limits_and_timeouts(postgresql_site: Site) -> None:
    """The limit is less what is kept for superusers, and timeouts that are off are absent."""
    with sampling(postgresql_site.server()) as sampler:
        snapshot = sampled(sampler)
    assert snapshot.connections_max == 97
    assert snapshot.idle_timeouts == {}
    assert (snapshot.dialect, snapshot.source) == ("postgresql", "pg_stat_activity")


def test_only_clients(postgresql_site: Site) -> None:
    """Neither the server's own processes nor a socket that has not logged in count as connections."""
    with sampling(postgresql_site.server()) as sampler:
        before = eventually(lambda: _settled(sampler))
        with socket.create_connection(("127.0.0.1", postgresql_site.database.url.port or 0)):
            after = sampled(sampler)
    assert after.connections == before
    assert "" not in {group.user for group in after.groups}


def _settled(sampler: Sampler) -> int:
    """Return the number of connections once the clients of earlier tests have left."""
    first, second = sampled(sampler).connections, sampled(sampler).connections
    return second if first == second == 1 else 0


def test_too_many_connections(postgresql_site: Site) -> None:
    """A role that has all the connections it may have is a failure to connect, not a refused password."""
    account = postgresql_site.new_account("GRANT pg_monitor TO {}", "ALTER ROLE {} CONNECTION LIMIT 1")
    with postgresql_site.pool(account, 1), sampling(postgresql_site.server(account)) as sampler:
        sampler.sample()
        assert sampler.view().reason == "connect"


def test_no_such_role(postgresql_site: Site) -> None:
    """A role that is not there is a login that cannot succeed."""
    with sampling(postgresql_site.server("nobody_at_all")) as sampler:
        sampler.sample()
        assert sampler.view().reason == "auth"


def test_unknown_host(postgresql_site: Site) -> None:
    """A host that no name server knows is a failure to connect."""
    server = postgresql_site.server("nobody")
    with sampling(postgresql_site.server(url=server.url.set(host="nowhere.invalid"))) as sampler:
        sampler.sample()
        assert sampler.view().reason == "connect"


def test_polite(postgresql_site: Site) -> None:
    """The session has a name that a DBA can read, and is idle outside any transaction between samples."""
    account = postgresql_site.sampler_account()
    with sampling(postgresql_site.server(account)) as sampler:
        sampled(sampler)
        told = postgresql_site.run(
            f"SELECT application_name, state, xact_start FROM pg_stat_activity WHERE usename = '{account}'"
        )
    assert [tuple(row) for row in told] == [("pool_exporter", "idle", None)]


def test_newest_version(newest_site: Site) -> None:
    """On the newest version, too: sessions, its further reserve, and a timeout that is meant for others."""
    account, looker = newest_site.new_account(), newest_site.sampler_account()
    with sampling(newest_site.server(looker)) as sampler, newest_site.pool(account, 3) as (_, ids):
        snapshot = sampled(sampler)
        assert counts(snapshot, account) == {("orders", "shop", "sleeping"): 3}
        assert snapshot.connections_max == 20 - 3 - 2
        assert snapshot.idle_timeouts == {"idle_session_timeout": 1.0}
        kept = sessions_of(newest_site, looker)
        eventually(lambda: not sessions_of(newest_site, account), every=0.2)
        assert sessions_of(newest_site, looker) == kept
    with sampling(newest_site.server(), ids=lambda: frozenset(ids)) as sampler:
        assert sampled(sampler).sessions == {}


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SET statement_timeout = 20; SELECT pg_sleep(10)", "timeout"),
        ("SELECT * FROM pg_authid", "privilege"),
        ("SELECT nonsense", "query"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", "connect"),
    ],
)
def test_reasons(postgresql_site: Site, statement: str, expected: str) -> None:
    """What the server says by its codes is put into our words."""
    with lone_engine(postgresql_site, postgresql_site.new_account()) as engine, engine.connect() as connection:
        with pytest.raises(DBAPIError) as refused:
            connection.exec_driver_sql(statement)
        assert reason(refused.value) == expected
