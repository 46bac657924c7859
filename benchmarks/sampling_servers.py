"""The servers of `scripts/bench sampling`: private ones with room for thousands of sessions, and who may log in."""

from __future__ import annotations

import contextlib
import functools
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from sampling_sessions import DATABASES, TABLE, USERS
from sqlalchemy import create_engine
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from exporter.demo.databases import Database, debian_postgresql_binaries, mariadb, mariadb_available, postgresql
from newest import MYSQL, newest

SAMPLER = "pool_exporter"
SPARE = 300
"""Connections for whoever comes beside the sessions: samplers, peers, an application that connects."""

# As docs/servers.md has it; the peers need no more.
MYSQL_GRANTS = (
    "GRANT PROCESS ON *.* TO {sampler}",
    "GRANT SELECT ON performance_schema.threads TO {sampler}",
)
POSTGRESQL_GRANTS = ("GRANT pg_monitor TO {sampler}",)


@dataclass(frozen=True)
class Kind:
    """A server that is measured; ``start`` gets an empty folder and the most connections. ``missing`` says why not."""

    name: str
    start: Callable[[Path, int], AbstractContextManager[Database]]
    missing: str | None = None
    schema: bool = False


@dataclass(frozen=True)
class Server:
    """A running one: as an application's users and as samplers log in, and its first process."""

    kind: Kind
    applications: URL
    sampler: URL
    pid: int
    version: str

    @property
    def is_postgresql(self) -> bool:
        """Tell whether it is a PostgreSQL, whose sessions are processes."""
        return self.sampler.get_backend_name() == "postgresql"


def kinds() -> dict[str, Kind]:
    """Return all that are measured, by a short name."""
    no_mariadb = None if mariadb_available() else "there is no mariadbd; install Debian's mariadb-server"
    no_postgresql = None if debian_postgresql_binaries() else "there is none; install Debian's postgresql"
    return {
        "mariadb": Kind("MariaDB", _mariadb, no_mariadb),
        "mariadb-schema": Kind(
            "MariaDB, performance_schema", functools.partial(_mariadb, schema=True), no_mariadb, schema=True
        ),
        "postgresql": Kind("PostgreSQL", _postgresql, no_postgresql),
        "mysql": Kind("MySQL", _mysql, MYSQL.missing(), schema=True),
    }


@contextlib.contextmanager
def serving(kind: Kind, folder: Path, most: int) -> Iterator[Server]:
    """Run a server with accounts and databases while the body runs."""
    with kind.start(folder, most + SPARE) as database:
        # Not in the environment or on a command line of a peer for long, but long enough to be read.
        password = secrets.token_hex(16)
        if database.url.get_backend_name() == "postgresql":
            version = _set_up_postgresql(database, password)
        else:
            version = _set_up_mysql(database, password)
        yield Server(
            kind=kind,
            applications=database.url.set(username=USERS[0], password=password, database=DATABASES[0]),
            sampler=database.url.set(username=SAMPLER, password=password),
            pid=database.pid,
            version=version,
        )


@contextlib.contextmanager
def _mariadb(folder: Path, most: int, *, schema: bool = False) -> Iterator[Database]:
    # Without the last one, it would count a descriptor for every table of every connection, and lower max_connections.
    settings = {"max-connections": str(most), "back-log": "1000", "table-open-cache": "400"}
    with mariadb(folder, settings={**settings, **({"performance-schema": "ON"} if schema else {})}) as database:
        yield database


@contextlib.contextmanager
def _mysql(_folder: Path, most: int) -> Iterator[Database]:
    settings = {"max-connections": str(most), "back-log": "1000", "table-open-cache": "400"}
    with newest(MYSQL, settings=settings) as database:
        yield database


@contextlib.contextmanager
def _postgresql(folder: Path, most: int) -> Iterator[Database]:
    settings = {"max_connections": str(most), "shared_buffers": "64MB"}
    with postgresql(folder, binaries=debian_postgresql_binaries(), settings=settings) as database:
        yield database


def _set_up_mysql(database: Database, password: str) -> str:
    statements = [f"CREATE USER {SAMPLER} IDENTIFIED BY '{password}'"]
    statements += [grant.format(sampler=SAMPLER) for grant in MYSQL_GRANTS]
    statements += [f"CREATE USER {user} IDENTIFIED BY '{password}'" for user in USERS]
    for name in DATABASES:
        statements += [f"CREATE DATABASE {name}", f"CREATE TABLE {name}.{TABLE} (id INT PRIMARY KEY)"]
        statements += [f"GRANT ALL ON {name}.* TO {user}" for user in USERS]
    return _run(database.url, *statements, "SELECT VERSION()")


def _set_up_postgresql(database: Database, password: str) -> str:
    # The sessions come from many addresses and cannot answer a question for a password.
    rules = database.folder / "data" / "pg_hba.conf"
    rules.write_text(f"host all {','.join(USERS)} 127.0.0.0/8 trust\n{rules.read_text()}")
    statements = ["SELECT pg_reload_conf()", f"CREATE ROLE {SAMPLER} LOGIN PASSWORD '{password}'"]
    statements += [grant.format(sampler=SAMPLER) for grant in POSTGRESQL_GRANTS]
    statements += [f"CREATE ROLE {user} LOGIN PASSWORD '{password}'" for user in USERS]
    version = _run(database.url, *statements, *(f"CREATE DATABASE {name}" for name in DATABASES), "SHOW server_version")
    for name in DATABASES:
        table = f"CREATE TABLE {TABLE} (id int PRIMARY KEY)"
        _run(database.url.set(database=name), table, f"GRANT ALL ON {TABLE} TO PUBLIC", "SELECT ''")
    return version


def _run(url: URL, *statements: str) -> str:
    """Run statements as the administrator; return the one value of the last."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements[:-1]:
            connection.exec_driver_sql(statement)
        return str(connection.exec_driver_sql(statements[-1]).scalar_one()).partition(" ")[0]
