"""Applications on real servers, as tests of the match need them: with one pool, and a sampler beside it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only

from driven import Driven
from joints import Joining
from sites import Site, sessions_of
from waiting import eventually

NEVER_ENDS = {"mysql": "SELECT SLEEP(600)", "postgresql": "SELECT pg_sleep(600)"}


@dataclass(frozen=True)
class Shop:
    """An application of one pool, with a sampler beside it."""

    site: Site
    url: URL
    driven: Driven
    joining: Joining

    @property
    def account(self) -> str:
        """Name who connects."""
        return str(self.url.username)

    def sees(self, state: str, session: str) -> bool:
        """Tell whether the only connection is in this cell, and nothing in any other."""
        return self.joining.sees({(state, session): 1})

    def end_sessions(self) -> None:
        """End the application's sessions from the server's side."""
        for session in sessions_of(self.site, self.account):
            self.site.kill(session)
        eventually(lambda: not sessions_of(self.site, self.account))


@contextlib.contextmanager
def held(shop: Shop, work: Callable[[Connection], Any]) -> Iterator[None]:
    """Keep a connection after some work with it, as a client does that thinks or has forgotten it."""
    working, done = threading.Event(), threading.Event()

    def think(connection: Connection) -> None:
        work(connection)
        working.set()
        done.wait(60)

    thread = threading.Thread(target=quietly, args=(shop, think))
    thread.start()
    try:
        assert working.wait(30)
        yield
    finally:
        done.set()
        thread.join()


def quietly(shop: Shop, work: Callable[[Connection], Any]) -> None:
    """Do some work, which may fail."""
    with contextlib.suppress(Exception):  # its session may have been ended
        shop.driven.run(work)


def looked(connection: Connection) -> None:
    """Read something, and end the transaction."""
    connection.execute(text("SELECT 1"))
    connection.commit()


def wrote(connection: Connection) -> None:
    """Lock something."""
    kind = "TEMPORARY TABLE basket (id INT PRIMARY KEY)"
    connection.execute(text(f"CREATE {kind}"))
    connection.commit()
    connection.execute(text("INSERT INTO basket VALUES (1)"))


@contextlib.contextmanager
def given_back_at_work(shop: Shop) -> Iterator[None]:
    """Give a connection back whose statement goes on in another thread or task."""
    statement = NEVER_ENDS[shop.site.dialect]
    tasks: list[asyncio.Task[None]] = []
    threads: list[threading.Thread] = []

    def work(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        if isinstance(shop.driven.engine, AsyncEngine):
            tasks.append(asyncio.get_running_loop().create_task(_awaited(driver, statement)))
            await_only(asyncio.sleep(0.05))  # lets it be sent
        else:
            threads.append(threading.Thread(target=_executed, args=(driver, statement)))
            threads[0].start()
        eventually(lambda: at_work(shop))

    shop.driven.run(work)
    try:
        yield
    finally:
        shop.end_sessions()
        quietly(shop, looked)  # gives the task its turn
        for thread in threads:
            thread.join()


def at_work(shop: Shop) -> bool:
    """Tell whether the application's session runs a statement, as the administrator sees it."""
    if shop.site.dialect == "mysql":
        asked = f"SELECT 1 FROM information_schema.processlist WHERE user = '{shop.account}' AND command = 'Query'"
    else:
        asked = f"SELECT 1 FROM pg_stat_activity WHERE usename = '{shop.account}' AND state = 'active'"
    return bool(shop.site.run(asked))


def _executed(driver: Any, statement: str) -> None:
    with contextlib.suppress(Exception):
        (driver.query if hasattr(driver, "query") else driver.execute)(statement)


async def _awaited(driver: Any, statement: str) -> None:
    with contextlib.suppress(Exception):
        await (driver.query if hasattr(driver, "query") else driver.execute)(statement)
