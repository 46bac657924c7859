"""Why MySQL and MariaDB turn a sampler away, put into our words by their codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from exporter.servers.mysql import reason
from samplers import sampling
from sites import PASSWORD, Site, session_id

pytestmark = pytest.mark.servers

MANY = "information_schema.collations"
PROCESS_GRANT = "GRANT PROCESS ON *.* TO {}"


def test_too_many_connections(any_mysql: Site) -> None:
    """A server that is full, or an account that is, is a failure to connect."""
    account = any_mysql.new_account(PROCESS_GRANT, "ALTER USER {} WITH MAX_USER_CONNECTIONS 1")
    with any_mysql.pool(account, 1), sampling(any_mysql.server(account)) as sampler:
        sampler.sample()
        assert sampler.view().reason == "connect"


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


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (f"SELECT COUNT(*) FROM {MANY} a, {MANY} b, {MANY} c, {MANY} d", "timeout"),
        ("SELECT * FROM mysql.user", "privilege"),
        ("SELECT nonsense", "query"),
    ],
)
def test_reasons(any_mysql: Site, statement: str, expected: str) -> None:
    """What the server says by its codes is put into our words."""
    limit = "max_statement_time = 0.02" if "mariadb" in any_mysql.name else "max_execution_time = 20"
    engine = create_engine(any_mysql.url(any_mysql.new_account()), poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"SET SESSION {limit}")
        with pytest.raises(DBAPIError) as refused:
            connection.exec_driver_sql(statement)
        assert reason(refused.value) == expected


def test_reason_when_killed(any_mysql: Site) -> None:
    """A session that was killed is a connection that was lost."""
    engine = create_engine(any_mysql.url(any_mysql.new_account()), poolclass=NullPool)
    with engine.connect() as connection:
        any_mysql.kill(session_id(connection.connection.dbapi_connection))
        with pytest.raises(DBAPIError) as refused:
            connection.exec_driver_sql("SELECT 1")
        assert reason(refused.value) == "connect"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("ALTER USER {} ACCOUNT LOCK", "auth"),
        ("ALTER USER {} PASSWORD EXPIRE", "auth"),
        ("ALTER USER {} IDENTIFIED BY 'another'", "auth"),
        ("DROP USER {}", "auth"),
        ("ALTER USER {} REQUIRE SUBJECT '/CN=somebody'", "auth"),
        ("ALTER USER {} WITH MAX_CONNECTIONS_PER_HOUR 1", "connect"),
    ],
)
def test_refusals(any_mysql: Site, change: str, expected: str) -> None:
    """A login that is refused for what the account is, is told from a server that takes no more."""
    account = any_mysql.new_account(PROCESS_GRANT, change)
    with sampling(any_mysql.server(account)) as used_up:
        used_up.sample()
    with sampling(any_mysql.server(account)) as sampler:
        sampler.sample()
        assert sampler.view().reason == expected


def test_no_such_database(any_mysql: Site) -> None:
    """A database of the URL that is not there, or not for us, is a failure to log in."""
    with sampling(any_mysql.server(url=any_mysql.url(any_mysql.sampler_account(), database="nowhere"))) as sampler:
        sampler.sample()
        assert sampler.view().reason == "auth"


def test_offline_mode(mysql_site: Site) -> None:
    """A MySQL that its administrator has taken offline is a failure to connect."""
    account = mysql_site.sampler_account()
    mysql_site.run("SET GLOBAL offline_mode = ON")
    try:
        with sampling(mysql_site.server(account)) as sampler:
            sampler.sample()
            assert sampler.view().reason == "connect"
    finally:
        mysql_site.run("SET GLOBAL offline_mode = OFF")


def test_secure_transport(mysql_site: Site) -> None:
    """A server that lets nobody in without TLS refuses a login, whoever it is."""
    site = mysql_site
    account = site.sampler_account()
    site.run("SET GLOBAL require_secure_transport = ON")
    try:
        with sampling(site.server(url=site.url(account, ssl_disabled="true"))) as sampler:
            sampler.sample()
            assert sampler.view().reason == "auth"
    finally:
        site.run("SET GLOBAL require_secure_transport = OFF")


def test_insecure_transport(any_mysql: Site) -> None:
    """A server that wants TLS where the URL refuses it is a failure to log in."""
    site = any_mysql
    account = site.new_account(PROCESS_GRANT, "ALTER USER {} REQUIRE SSL")
    with sampling(site.server(url=site.url(account, ssl_disabled="true"))) as sampler:
        sampler.sample()
        assert sampler.view().reason == "auth"
