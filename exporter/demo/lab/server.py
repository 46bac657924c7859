"""The lab's database server: it can be stopped and started again, and told how long it lets sessions sleep."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from exporter.demo.accounts import Accounts, open_accounts
from exporter.demo.backstage import Backstage
from exporter.demo.databases import free_port

_IDLE_TIMEOUT = {
    "postgresql": ("ALTER SYSTEM SET idle_session_timeout = '{seconds}s'", "SELECT pg_reload_conf()"),
    "mariadb": ("SET GLOBAL wait_timeout = {seconds}",),
}
_USUAL = {"postgresql": 0, "mariadb": 28800}


class Server:
    """One server, which keeps its port and its data however often it is started."""

    def __init__(self, backstage: Backstage, kind: str, settings: Mapping[str, str]) -> None:
        self._backstage = backstage
        self._kind = kind
        self._settings = settings
        self._port = free_port()
        self._running = backstage.ends.enter_context(contextlib.ExitStack())
        self._administrator = self.start()
        self.accounts: Accounts = open_accounts(self._administrator)

    def start(self) -> URL:
        """Start it, for the first time or again, and return how its administrator connects."""
        return self._backstage.database(self._kind, self._running, settings=self._settings, port=self._port).url

    def stop(self) -> None:
        """Stop it, without waiting for clients to leave."""
        self._backstage.forget(self._kind)
        self._running.close()

    def let_sleep(self, seconds: int | None) -> None:
        """Have it end sessions that sleep for longer than this; None stands for what is usual."""
        engine = create_engine(self._administrator, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in _IDLE_TIMEOUT[self._kind]:
                connection.execute(text(statement.format(seconds=_USUAL[self._kind] if seconds is None else seconds)))
