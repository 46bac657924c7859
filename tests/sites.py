"""Real servers as tests see them: accounts to log in with, engines to be seen, and ways to harm a server."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.engine import URL, Engine
from sqlalchemy.pool import NullPool

from exporter.config import ServerConfig
from exporter.demo.databases import Database
from exporter.demo.programs import process_tree
from exporter.records import ServerSnapshot
from waiting import eventually

Launch = Callable[..., contextlib.AbstractContextManager[Database]]
"""Starts a server, as those of `exporter.demo.databases` do."""

PASSWORD = "s3cret-of-a-test"

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Site:
    """A running server of the tests; ``name`` is that of its fixture, ``dialect`` as in a configuration."""

    name: str
    dialect: str
    database: Database

    def run(self, *statements: str) -> list[Any]:
        """Run statements as the administrator, each for itself; return the rows of the last."""
        engine = create_engine(self.database.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        rows: list[Any] = []
        with engine.connect() as connection:
            for statement in statements:
                result = connection.exec_driver_sql(statement)
                rows = list(result) if result.returns_rows else []
        return rows

    def new_account(self, *grants: str) -> str:
        """Make an account that no other test knows; every ``{}`` in ``grants`` becomes its name."""
        name = f"shop_{next(_numbers)}"
        if self.dialect == "mysql":
            self.run(f"CREATE USER {name} IDENTIFIED BY '{PASSWORD}'", f"GRANT ALL ON orders.* TO {name}")
        else:
            self.run(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'", f"GRANT pg_write_all_data TO {name}")
        self.run(*(grant.format(name) for grant in grants), "SELECT 1")
        return name

    def url(self, account: str, *, database: str = "orders", **query: str) -> URL:
        """Return how ``account`` connects."""
        return self.database.url.set(username=account, password=PASSWORD, database=database, query=query)

    def sampler_account(self) -> str:
        """Make an account that may see all sessions, by the grant that our documentation asks for."""
        if self.dialect == "mysql":
            return self.new_account("GRANT PROCESS ON *.* TO {}", "GRANT SELECT ON performance_schema.threads TO {}")
        return self.new_account("GRANT pg_monitor TO {}")

    def server(self, account: str | None = None, **changes: Any) -> ServerConfig:
        """Return the configuration of a sampler for this server."""
        config = ServerConfig(
            name="orders",
            url=self.url(account or self.sampler_account()),
            dialect=self.dialect,
            interval=15.0,
            timeout=5.0,
            stale_after=600.0,
            pools=(),
        )
        return replace(config, **changes)

    @contextlib.contextmanager
    def pool(self, account: str, size: int = 5) -> Iterator[tuple[Engine, list[int]]]:
        """Hold an engine whose pool has ``size`` idle connections; gives their ids on the server too."""
        named = {} if self.dialect == "mysql" else {"application_name": "shop"}
        engine = create_engine(self.url(account, **named), pool_size=size, max_overflow=0)
        try:
            with contextlib.ExitStack() as stack:
                connections = [stack.enter_context(engine.connect()) for _ in range(size)]
                ids = [session_id(connection.connection.dbapi_connection) for connection in connections]
            yield engine, ids
        finally:
            engine.dispose()

    @property
    def client(self) -> str:
        """Name what the engines of `pool` are known by on the server."""
        return "127.0.0.1" if self.dialect == "mysql" else "shop"

    @property
    def patience(self) -> float:
        """Return a short timeout that all of the drivers keep, in seconds."""
        return 1.0

    def kill(self, session: int) -> None:
        """End a session from the server's side."""
        self.run(f"KILL {session}" if self.dialect == "mysql" else f"SELECT pg_terminate_backend({session}, 5000)")


def sessions_of(site: Site, account: str) -> list[int]:
    """Return the sessions of an account, as the administrator sees them."""
    if site.dialect == "mysql":
        rows = site.run(f"SELECT id FROM information_schema.processlist WHERE user = '{account}'")
    else:
        rows = site.run(f"SELECT pid FROM pg_stat_activity WHERE usename = '{account}'")
    return [row[0] for row in rows]


def session_id(connection: Any) -> int:
    """Return what the server calls a driver's connection."""
    return int(connection.thread_id() if hasattr(connection, "thread_id") else connection.info.backend_pid)


def counts(snapshot: ServerSnapshot | None, user: str) -> dict[tuple[str, str, str], int]:
    """Return how many sessions of ``user`` a snapshot holds, by database, client and state; zeros are left out."""
    assert snapshot is not None
    return {
        (found.database, found.client, found.state): found.count
        for found in snapshot.groups
        if found.user == user and found.count
    }


@contextlib.contextmanager
def frozen(database: Database) -> Iterator[None]:
    """Stop all processes of a server while the body runs: its kernel still accepts, and nobody ever answers."""
    pids = process_tree(database.pid)
    try:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        # A busy machine takes a moment to stop every thread, and one that still runs may still answer.
        eventually(lambda: all(map(_is_stopped, pids)))
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _is_stopped(pid: int) -> bool:
    """Tell whether no thread of a process runs: all are stopped, or it has ended."""
    states = set()
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # it ended while we looked
            states.add(path.read_text().rpartition(")")[2].split()[0])
    return states <= {"T", "Z", "X"}
