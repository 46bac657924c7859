"""The stage: starts every part in its order, and tells what is where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from exporter.demo import parts
from exporter.demo.accounts import Accounts, open_accounts
from exporter.demo.backstage import Backstage, answers
from exporter.demo.databases import mariadb_available


@dataclass(frozen=True)
class Addresses:
    """Where the parts answer; Prometheus is not on every machine."""

    databases: dict[str, str]
    shop: str
    sidecar: str
    prometheus: str | None


class Stage:
    """Sets up the whole product on every server that this machine has."""

    def __init__(self, backstage: Backstage) -> None:
        self.processes = backstage.processes
        self._backstage = backstage
        self._folder = backstage.folder
        self._display = backstage.display

    def set_up(self) -> Addresses:
        """Start everything, the databases first."""
        accounts = {"postgresql": self._accounts("postgresql")}
        if mariadb_available():
            accounts["mariadb"] = self._accounts("mariadb")
        else:
            self._display.say(
                "MariaDB is not on this machine (no mariadbd on the PATH): going on with PostgreSQL alone"
            )
        # The databases end after everything that is connected to them.
        self._backstage.ends.callback(self.processes.stop)
        directory = self._folder / "processes"
        directory.mkdir(mode=0o700)
        shop = self._shop(directory, accounts)
        sidecar = self._sidecar(directory, accounts)
        databases = {name: f"{each.shop.host}:{each.shop.port}" for name, each in accounts.items()}
        return Addresses(databases, shop, sidecar, self._prometheus(sidecar))

    def _accounts(self, kind: str) -> Accounts:
        return open_accounts(self._backstage.database(kind, self._backstage.ends).url)

    def _shop(self, directory: Path, accounts: dict[str, Accounts]) -> str:
        start = parts.shop(directory, accounts["postgresql"], accounts.get("mariadb", accounts["postgresql"]))

        def ready() -> bool:
            # Each worker publishes a file of its own.
            return len(list(directory.glob("*.json"))) == parts.WORKERS and answers(f"{start.address}/products")

        done = f"the shop is up, in {parts.WORKERS} worker processes"
        return self._backstage.start("shop", start, done=done, ready=ready)

    def _sidecar(self, directory: Path, accounts: dict[str, Accounts]) -> str:
        start = parts.sidecar(self._folder, directory, accounts)
        return self._start("sidecar", "the sidecar is up", start)

    def _prometheus(self, sidecar: str) -> str | None:
        start = parts.prometheus(self._folder, sidecar)
        if start is None:
            self._display.say("Prometheus is not on this machine: going on without it")
            return None
        # The rules are a file of the repository, and of no installed package.
        rules = "with our alert rules" if parts.RULES.exists() else f"without alert rules: there is no {parts.RULES}"
        return self._start("Prometheus", f"Prometheus is up, {rules}", start)

    def _start(self, name: str, done: str, start: parts.Start) -> str:
        return self._backstage.start(name, start, done=done, ready=lambda: answers(f"{start.address}/-/ready"))
