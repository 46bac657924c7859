"""What is particular to MySQL and MariaDB: who is a client there, their limits, and manners."""

from __future__ import annotations

import contextlib
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from exporter.demo.databases import mariadb
from exporter.sampler import Sampler
from samplers import no_ids, sampled, sampling
from sites import Site, counts, sessions_of
from waiting import eventually

pytestmark = pytest.mark.servers

PROCESS_GRANT = "GRANT PROCESS ON *.* TO {}"
THREADS_GRANT = "GRANT SELECT ON performance_schema.threads TO {}"


def test_what_the_server_is(any_mysql: Site) -> None:
    """MariaDB is told from MySQL, in the version's own words."""
    with sampling(any_mysql.server()) as sampler:
        snapshot = sampled(sampler)
    assert re.match(r"\d+\.\d+\.\d+", snapshot.version)
    assert ("MariaDB" in snapshot.version) == (snapshot.dialect == "mariadb") == ("mariadb" in any_mysql.name)


def test_not_logged_in(any_mysql: Site) -> None:
    """A socket that has not logged in takes a connection but is no client, and the server's scheduler is neither."""
    site = any_mysql
    with sampling(site.server()) as sampler:
        before = eventually(lambda: _settled(sampler))
        site.run("SET GLOBAL event_scheduler = ON")
        try:
            with socket.create_connection(("127.0.0.1", site.database.url.port or 0)) as silent:
                silent.recv(1)
                after = sampled(sampler)
        finally:
            site.run("SET GLOBAL event_scheduler = OFF")
    assert after.connections == before + 1
    assert not {"", "unauthenticated user", "event_scheduler", "system user"} & {group.user for group in after.groups}


def _settled(sampler: Sampler) -> int:
    """Return the number of connections once the clients of earlier tests have left."""
    first, second = sampled(sampler).connections, sampled(sampler).connections
    return second if first == second == 1 else 0


def test_client_on_a_socket(any_mysql: Site) -> None:
    """A client on the Unix socket is localhost, and a sampler can look from there."""
    site = any_mysql
    account = site.new_account()
    path = str(site.database.folder / "mariadb.sock")
    engine = create_engine(site.url(account, unix_socket=path), poolclass=NullPool)
    with engine.connect(), sampling(site.server(url=site.url(site.sampler_account(), unix_socket=path))) as sampler:
        assert counts(sampled(sampler), account) == {("orders", "localhost", "sleeping"): 1}


def test_limits_and_timeouts(any_mysql: Site) -> None:
    """The limit and the timeouts are those that a new session gets, not our own; those that are off are absent."""
    site = any_mysql
    with sampling(site.server()) as sampler:
        before = sampled(sampler)
        assert before.connections_max == 151
        assert before.idle_timeouts == {"wait_timeout": 28800.0, "interactive_timeout": 28800.0}
        site.run("SET GLOBAL wait_timeout = 3600", "SET GLOBAL max_connections = 99")
        try:
            after = sampled(sampler)
        finally:
            site.run("SET GLOBAL wait_timeout = 28800", "SET GLOBAL max_connections = 151")
    assert after.connections_max == 99
    assert after.idle_timeouts["wait_timeout"] == 3600.0


def test_lower_limit_of_each_user(mysql_site: Site) -> None:
    """Where each user may have fewer connections than the server, that is the limit."""
    with sampling(mysql_site.server()) as sampler:
        mysql_site.run("SET GLOBAL max_user_connections = 77")
        try:
            assert sampled(sampler).connections_max == 77
            mysql_site.run("SET GLOBAL max_user_connections = 777")
            assert sampled(sampler).connections_max == 151
        finally:
            mysql_site.run("SET GLOBAL max_user_connections = 0")


def test_lower_limit_of_each_user_of_mariadb(tmp_path: Path) -> None:
    """The same on MariaDB, which has such a limit from its start or never."""
    with mariadb(tmp_path / "mariadb", settings={"max-user-connections": "77"}) as database:
        site = Site("private", "mysql", database)
        site.run("CREATE DATABASE orders")
        with sampling(site.server(url=database.url)) as sampler:
            assert sampled(sampler).connections_max == 77
            # Only administrators are let in, of whom no limit is asked.
            site.run("SET GLOBAL max_user_connections = -1")
            assert sampled(sampler).connections_max == 151


def test_timeouts_of_transactions(mariadb_site: Site) -> None:
    """MariaDB ends idle transactions too, where it is told to."""
    with sampling(mariadb_site.server()) as sampler:
        mariadb_site.run("SET GLOBAL idle_transaction_timeout = 3600")
        try:
            assert sampled(sampler).idle_timeouts["idle_transaction_timeout"] == 3600.0
        finally:
            mariadb_site.run("SET GLOBAL idle_transaction_timeout = 0")


def test_aborted(any_mysql: Site) -> None:
    """Logins that fail and clients that leave without a word are counted, each for itself."""
    site, account = any_mysql, any_mysql.new_account()
    # Each is asked once a minute on one connection.
    with sampling(site.server()) as sampler:
        before = sampled(sampler).aborted
    engine = create_engine(site.url(account), poolclass=NullPool)
    with engine.connect() as connection:
        driver = connection.connection.dbapi_connection
        driver._force_close()  # type: ignore[union-attr]  # noqa: SLF001  without a goodbye
        connection.invalidate()
    with pytest.raises(DBAPIError):
        create_engine(site.url(account).set(password="wrong"), poolclass=NullPool).connect()

    def after() -> bool:
        with sampling(site.server()) as sampler:
            found = sampled(sampler).aborted
        return found["client"] > before["client"] and found["connect"] > before["connect"]

    eventually(after)


def test_aborted_is_kept_for_a_minute(any_mysql: Site) -> None:
    """MySQL adds up all its threads to tell its status, so one connection asks once a minute; on MariaDB too."""
    with sampling(any_mysql.server()) as sampler:
        before = sampled(sampler).aborted
        with pytest.raises(DBAPIError):
            create_engine(any_mysql.url("nobody"), poolclass=NullPool).connect()
        assert sampled(sampler).aborted == before


def test_outlives_the_servers_wait_timeout(any_mysql: Site) -> None:
    """A wait_timeout shorter than the interval ends idle clients, but not the sampler's own connection."""
    account, looker = any_mysql.new_account(), any_mysql.sampler_account()
    any_mysql.run("SET GLOBAL wait_timeout = 1")
    try:
        with sampling(any_mysql.server(looker)) as sampler, any_mysql.pool(account, 1):
            assert sampled(sampler).idle_timeouts["wait_timeout"] == 1.0
            kept = sessions_of(any_mysql, looker)
            eventually(lambda: not sessions_of(any_mysql, account), every=0.2)
            assert sessions_of(any_mysql, looker) == kept
    finally:
        any_mysql.run("SET GLOBAL wait_timeout = 28800")


@pytest.mark.parametrize("fixture", ["mariadb_schema_site", "mysql_site"])
def test_polite(fixture: str, request: pytest.FixtureRequest) -> None:
    """The session has a name that a DBA can read, writes nothing, and cannot ask for long."""
    site: Site = request.getfixturevalue(fixture)
    account = site.sampler_account()
    with sampling(site.server(account)) as sampler:
        sampled(sampler)
        [id_] = sessions_of(site, account)
        attributes = "performance_schema.session_connect_attrs"
        [(name,)] = site.run(
            f"SELECT attr_value FROM {attributes} WHERE processlist_id = {id_} AND attr_name = 'program_name'"
        )
    assert name == "pool_exporter"


@pytest.mark.parametrize("grants", [(PROCESS_GRANT, THREADS_GRANT), (PROCESS_GRANT,), (THREADS_GRANT,), ()])
def test_no_warnings(any_mysql: Site, grants: tuple[str, ...]) -> None:
    """Nothing that is asked is deprecated, cut off or converted, whatever the account may see: no log fills up."""
    warned: list[str] = []

    def note(_connection: object, cursor: Any, statement: str, *_more: object) -> None:
        if cursor.warning_count:
            warned.append(statement)

    account = any_mysql.new_account(*grants)
    event.listen(Engine, "after_cursor_execute", note)
    try:
        with any_mysql.pool(account, 1), sampling(any_mysql.server(account)) as sampler:
            sampled(sampler)
    finally:
        event.remove(Engine, "after_cursor_execute", note)
    assert warned == []


def test_sampler_under_another_name(mariadb_site: Site) -> None:
    """A URL that begins with mariadb is asked by the same family."""
    server = mariadb_site.server()
    with contextlib.closing(
        Sampler(mariadb_site.server(url=server.url.set(drivername="mariadb+pymysql")), ids=no_ids)
    ) as sampler:
        assert sampled(sampler).dialect == "mariadb"
