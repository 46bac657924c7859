"""What is particular to MySQL and MariaDB: two sources, their grants, and who is no client there."""

from __future__ import annotations

import contextlib
import re
import socket
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from exporter.sampler import Sampler
from exporter.servers.mysql import SESSIONS, reason
from samplers import no_ids, sampled, sampling
from sites import PASSWORD, Site, counts, sessions_of
from waiting import eventually

pytestmark = pytest.mark.servers

MANY = "information_schema.collations"
THREADS_GRANT = "GRANT SELECT ON performance_schema.threads TO {}"
PROCESS_GRANT = "GRANT PROCESS ON *.* TO {}"


def test_source_follows_performance_schema(mariadb_site: Site, mariadb_schema_site: Site) -> None:
    """The threads are asked where performance_schema is on, else the process list."""
    with sampling(mariadb_site.server()) as without, sampling(mariadb_schema_site.server()) as with_schema:
        assert sampled(without).source == "information_schema.processlist"
        assert sampled(with_schema).source == "performance_schema.threads"


def test_what_the_server_is(mariadb_site: Site) -> None:
    """MariaDB is told from MySQL, in the version's own words."""
    with sampling(mariadb_site.server()) as sampler:
        snapshot = sampled(sampler)
    assert snapshot.dialect == "mariadb"
    assert re.match(r"\d+\.\d+\.\d+-MariaDB", snapshot.version)


@pytest.mark.parametrize(
    ("grant", "source"),
    [(THREADS_GRANT, "performance_schema.threads"), (PROCESS_GRANT, "information_schema.processlist")],
)
def test_either_grant_is_enough(mariadb_schema_site: Site, grant: str, source: str) -> None:
    """With performance_schema, the right to read threads alone shows everyone, and so does PROCESS alone."""
    account = mariadb_schema_site.new_account()
    sampler_account = mariadb_schema_site.new_account(grant)
    with mariadb_schema_site.pool(account, 2), sampling(mariadb_schema_site.server(sampler_account)) as sampler:
        snapshot = sampled(sampler)
    assert snapshot.source == source
    assert counts(snapshot, account) == {("orders", "127.0.0.1", "sleeping"): 2}


def test_transactions_need_process(mariadb_schema_site: Site) -> None:
    """Without PROCESS a session in a transaction is plainly sleeping: the server does not tell."""
    site = mariadb_schema_site
    account = site.new_account()
    site.run(f"CREATE TABLE orders.{account} (id INT) ENGINE=InnoDB")
    with site.pool(account, 1) as (engine, _), engine.connect() as connection:
        connection.exec_driver_sql(f"INSERT INTO orders.{account} VALUES (1)")
        with sampling(site.server()) as sighted:
            held = {("orders", "127.0.0.1", "sleeping_in_transaction"): 1}
            eventually(lambda: counts(sampled(sighted), account) == held)
        with sampling(site.server(site.new_account(THREADS_GRANT))) as sampler:
            assert counts(sampled(sampler), account) == {("orders", "127.0.0.1", "sleeping"): 1}


@pytest.mark.parametrize("fixture", ["mariadb_site", "mariadb_schema_site"])
def test_not_logged_in(fixture: str, request: pytest.FixtureRequest) -> None:
    """A socket that has not logged in is no client session."""
    site: Site = request.getfixturevalue(fixture)
    with sampling(site.server()) as sampler:
        before = eventually(lambda: _settled(sampler))
        with socket.create_connection(("127.0.0.1", site.database.url.port or 0)) as silent:
            silent.recv(1)
            after = sampled(sampler)
    assert after.connections == before
    assert not {"", "unauthenticated user", "event_scheduler", "system user"} & {group.user for group in after.groups}


def _settled(sampler: Sampler) -> int:
    """Return the number of connections once the clients of earlier tests have left."""
    first, second = sampled(sampler).connections, sampled(sampler).connections
    return second if first == second == 1 else 0


@pytest.mark.parametrize("fixture", ["mariadb_site", "mariadb_schema_site"])
def test_client_on_a_socket(fixture: str, request: pytest.FixtureRequest) -> None:
    """A client on the Unix socket is localhost, and a sampler can look from there."""
    site: Site = request.getfixturevalue(fixture)
    account = site.new_account()
    path = str(site.database.folder / "mariadb.sock")
    engine = create_engine(site.url(account, unix_socket=path), poolclass=NullPool)
    with engine.connect(), sampling(site.server(url=site.url(site.sampler_account(), unix_socket=path))) as sampler:
        assert counts(sampled(sampler), account) == {("orders", "localhost", "sleeping"): 1}


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("127.0.0.1:49596", "127.0.0.1"),
        ("::1:49596", "::1"),
        ("localhost", "localhost"),
        ("db.example:1", "db.example"),
    ],
)
def test_port_is_cut_off(mariadb_site: Site, host: str, client: str) -> None:
    """The process list's host loses its port, and an IPv6 address keeps its colons."""
    source = f"(SELECT 1 AS id, 'u' AS user, 'd' AS db, '{host}' AS host, 'Sleep' AS command, 0 AS time) AS one"
    statement = SESSIONS["information_schema.processlist"].replace("information_schema.processlist", source)
    [row] = mariadb_site.run(statement)
    assert row.place == client


def test_limits_and_timeouts(mariadb_site: Site) -> None:
    """The limit and the timeouts are those that a new session gets; those that are off are absent."""
    with sampling(mariadb_site.server()) as sampler:
        before = sampled(sampler)
        assert before.connections_max == 151
        assert before.idle_timeouts == {"wait_timeout": 28800.0, "interactive_timeout": 28800.0}
        mariadb_site.run("SET GLOBAL idle_transaction_timeout = 3600", "SET GLOBAL max_connections = 99")
        try:
            after = sampled(sampler)
        finally:
            mariadb_site.run("SET GLOBAL idle_transaction_timeout = 0", "SET GLOBAL max_connections = 151")
    assert after.connections_max == 99
    assert after.idle_timeouts["idle_transaction_timeout"] == 3600.0


def test_outlives_the_servers_wait_timeout(mariadb_site: Site) -> None:
    """A wait_timeout shorter than the interval ends idle clients, but not the sampler's own connection."""
    account, looker = mariadb_site.new_account(), mariadb_site.sampler_account()
    mariadb_site.run("SET GLOBAL wait_timeout = 1")
    try:
        with sampling(mariadb_site.server(looker)) as sampler, mariadb_site.pool(account, 1):
            assert sampled(sampler).idle_timeouts["wait_timeout"] == 1.0
            kept = sessions_of(mariadb_site, looker)
            eventually(lambda: not sessions_of(mariadb_site, account), every=0.2)
            assert sessions_of(mariadb_site, looker) == kept
    finally:
        mariadb_site.run("SET GLOBAL wait_timeout = 28800")


def test_too_many_connections(mariadb_site: Site) -> None:
    """A server that is full, or an account that is, is a failure to connect."""
    account = mariadb_site.new_account(PROCESS_GRANT, "ALTER USER {} WITH MAX_USER_CONNECTIONS 1")
    with mariadb_site.pool(account, 1), sampling(mariadb_site.server(account)) as sampler:
        sampler.sample()
        assert sampler.view().reason == "connect"


def test_polite(mariadb_schema_site: Site) -> None:
    """The session has a name that a DBA can read, writes nothing, and cannot ask for long."""
    account = mariadb_schema_site.sampler_account()
    with sampling(mariadb_schema_site.server(account)) as sampler:
        sampled(sampler)
        [id_] = sessions_of(mariadb_schema_site, account)
        attributes = "performance_schema.session_connect_attrs"
        [(name,)] = mariadb_schema_site.run(
            f"SELECT attr_value FROM {attributes} WHERE processlist_id = {id_} AND attr_name = 'program_name'"
        )
    assert name == "pool_exporter"


def test_no_such_socket(mariadb_site: Site, tmp_path: Path) -> None:
    """A Unix socket that is not there is a failure to connect, named by its path."""
    path = str(tmp_path / "nobody.sock")
    with sampling(mariadb_site.server(url=mariadb_site.url("nobody", unix_socket=path))) as sampler:
        sampler.sample()
        view = sampler.view()
    assert view.reason == "connect"
    assert path in view.message


def test_unknown_option(mariadb_site: Site) -> None:
    """A URL with an option that the driver does not know is a failure of its own kind, named in the message."""
    with sampling(mariadb_site.server(url=mariadb_site.url("nobody", colour="blue"))) as sampler:
        sampler.sample()
        view = sampler.view()
    assert view.reason == "other"
    assert "colour" in view.message
    assert PASSWORD not in view.message


def test_sampler_under_another_name(mariadb_site: Site) -> None:
    """A URL that begins with mariadb is asked by the same family."""
    server = mariadb_site.server()
    with contextlib.closing(
        Sampler(mariadb_site.server(url=server.url.set(drivername="mariadb+pymysql")), ids=no_ids)
    ) as sampler:
        assert sampled(sampler).dialect == "mariadb"


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            f"SET STATEMENT max_statement_time = 0.02 FOR SELECT COUNT(*) FROM {MANY} a, {MANY} b, {MANY} c, {MANY} d",
            "timeout",
        ),
        ("SELECT * FROM mysql.user", "privilege"),
        ("SELECT nonsense", "query"),
        ("KILL CONNECTION_ID()", "connect"),
    ],
)
def test_reasons(mariadb_site: Site, statement: str, expected: str) -> None:
    """What the server says by its codes is put into our words."""
    engine = create_engine(mariadb_site.url(mariadb_site.new_account()), poolclass=NullPool)
    with engine.connect() as connection:
        with pytest.raises(DBAPIError) as refused:
            connection.exec_driver_sql(statement)
        assert reason(refused.value) == expected
