"""What is soaked: servers that can be restarted, applications with and without us, and the sidecar."""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampling_exporters import OURS, Exporter, Launch, running_exporter
from sqlalchemy import create_engine
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from exporter.demo.databases import Database, debian_postgresql_binaries, free_port, mariadb, postgresql
from exporter.demo.programs import Program, running, tail

HERE = Path(__file__).resolve().parent
WATCHED, BARE = "watched", "bare"
SAMPLER = "pool_exporter"
GRANTS = {"mysql": f"GRANT PROCESS ON *.* TO {SAMPLER}", "postgresql": f"GRANT pg_monitor TO {SAMPLER}"}
CREATE = {
    "mysql": ("CREATE USER {user} IDENTIFIED BY '{password}'", "CREATE DATABASE shop", "GRANT ALL ON shop.* TO shop"),
    "postgresql": ("CREATE ROLE {user} LOGIN PASSWORD '{password}'", "CREATE DATABASE shop OWNER shop"),
}


class Server:
    """A private server that can be restarted where it is, and whose accounts stay."""

    def __init__(self, start: Callable[..., AbstractContextManager[Database]], folder: Path) -> None:
        self._start = start
        self._folder = folder
        self._port = free_port()
        self._ends = contextlib.ExitStack()
        administrator = self.start()
        self.application, self.sampler = _accounts(administrator)

    def start(self) -> URL:
        """Start it, and return how its administrator logs in."""
        return self._ends.enter_context(self._start(self._folder, port=self._port)).url

    def stop(self) -> None:
        """End it, whoever is connected."""
        self._ends.close()

    def restart(self) -> None:
        """End it and start it again."""
        self.stop()
        self.start()


def start_mariadb(folder: Path, *, port: int) -> AbstractContextManager[Database]:
    """Start a MariaDB with room for all applications."""
    return mariadb(folder, settings={"max-connections": "300"}, port=port)


def start_postgresql(folder: Path, *, port: int) -> AbstractContextManager[Database]:
    """Start Debian's PostgreSQL with room for all applications."""
    settings = {"max_connections": "300"}
    return postgresql(folder, binaries=debian_postgresql_binaries(), settings=settings, port=port)


@dataclass(frozen=True)
class Plan:
    """What a worker of an application is: its kind and number of threads or tasks, and whether it is watched."""

    kind: str
    tasks: int
    mode: str

    @property
    def pool(self) -> str:
        """Name its pool."""
        return f"soak-{self.kind}"


class Worker:
    """A place for a worker: whoever is recycled leaves it to the next. Knows what all of them have done."""

    def __init__(self, plan: Plan, url: URL, folder: Path, directory: Path) -> None:
        self.plan = plan
        self._folder = folder
        self._directory = directory
        self._lives = 0
        self._ends = contextlib.ExitStack()
        folder.mkdir()
        (folder / "url").touch(mode=0o600)
        (folder / "url").write_text(url.render_as_string(hide_password=False))
        self.start()

    def start(self) -> None:
        """Begin a life."""
        self._lives += 1
        plan, stats = self.plan, self._folder / f"{self._lives}.json"
        command = [sys.executable, str(HERE / "soak_worker.py"), plan.kind, str(plan.tasks), plan.pool, str(stats)]
        command.append(str(self._folder / "url"))
        # Each thread gets memory of its own from glibc until there are eight times as many as processors: what that
        # takes comes to rest after many minutes only, and says nothing of anybody.
        environment = [f"PYTHONPATH={HERE.parent}", "MALLOC_ARENA_MAX=2"]
        if plan.mode == WATCHED:
            command.append("watched")
            environment.append(f"POOL_EXPORTER_DIR={self._directory}")
        program = Program(["env", *environment, *command], self._folder, signal.SIGTERM, signal.SIGKILL)
        self._process = self._ends.enter_context(running(program))

    def stop(self) -> None:
        """End a life, in peace."""
        self._ends.close()

    def recycle(self) -> None:
        """End a life and begin the next."""
        self.stop()
        self.start()

    @property
    def pid(self) -> int:
        """Tell the number of its process."""
        return self._process.pid

    def check(self) -> None:
        """Raise when its process has ended by itself, with the end of its log."""
        if self._process.poll() is not None:
            raise RuntimeError(f"{self._folder.name} ended by itself\n{tail(self._folder / 'server.log')}")

    def done(self) -> dict[str, Any]:
        """Return what was done in all lives."""
        total: Counter[str] = Counter()
        errors: Counter[str] = Counter()
        ours: list[str] = []
        for path in self._folder.glob("*.json"):
            life = json.loads(path.read_text())
            total.update({"requests": life["requests"], "checkouts": life["checkouts"]})
            errors.update(life["errors"])
            ours += life["ours"]
        return {**total, "errors": errors, "ours": ours}


@contextlib.contextmanager
def sidecar(folder: Path, directory: Path, servers: dict[str, Server]) -> Iterator[Exporter]:
    """Run the sidecar on all servers while the body runs."""
    asked = {
        name: {"url": server.sampler._replace(password=None).render_as_string(), "interval": "2s", "timeout": "1s"}
        for name, server in servers.items()
    }
    settings = {
        "web": {"listen": "{address}"},
        "processes": {"directory": str(directory)},
        "servers": {name: {**each, "password": f"!env {name.upper()}"} for name, each in asked.items()},
    }
    config = json.dumps(settings)
    secrets_ = {name.upper(): str(server.sampler.password) for name, server in servers.items()}
    for name in secrets_:  # JSON is YAML; only a tag is something that it cannot say
        config = config.replace(f'"!env {name}"', f"!env {name}")
    command = [sys.executable, "-m", "exporter", "serve", "--config", "config.yaml"]
    launch = Launch(OURS, command, {"PYTHONPATH": str(HERE.parent), **secrets_}, config, ready="/-/ready")
    with running_exporter(launch, folder) as exporter:
        yield exporter


def _accounts(administrator: URL) -> tuple[URL, URL]:
    """Make the application's account and the sampler's, and return how they log in."""
    family, passwords = (
        administrator.get_backend_name(),
        {"shop": secrets.token_hex(16), SAMPLER: secrets.token_hex(16)},
    )
    create, *rest = CREATE[family]
    statements = [create.format(user=user, password=password) for user, password in passwords.items()]
    engine = create_engine(administrator, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in (*statements, *rest, GRANTS[family]):
            connection.exec_driver_sql(statement)
    application = administrator.set(username="shop", password=passwords["shop"], database="shop")
    return application, administrator.set(username=SAMPLER, password=passwords[SAMPLER])
