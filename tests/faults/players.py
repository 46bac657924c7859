"""The programs of a fault's stage: applications that count for themselves, and the sidecar as its user starts it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from sqlalchemy.engine import URL

from pages import Page, Sample
from sites import PASSWORD
from waiting import eventually

PROGRAM = Path(__file__).parent / "loaded.py"
CONFIG = """\
web:
  listen: {listen}
processes:
  directory: {directory}
servers:
  orders:
    url: {url}
    password: !env PASSWORD
    interval: 3s
    timeout: 2s
"""
OPENMETRICS = "application/openmetrics-text; version=1.0.0"  # it tells a histogram of gauges from one of counters


@dataclass(frozen=True)
class Footprint:
    """What a process holds of the machine."""

    threads: int
    files: int
    children: int


@dataclass
class Player:
    """A program of ours: its process, and the file that it writes its log to."""

    process: subprocess.Popen[str]
    log: Path

    @property
    def pid(self) -> int:
        """Return its process."""
        return self.process.pid

    def footprint(self, *, connections: int = 0) -> Footprint:
        """Return what it holds besides so many connections."""
        process = Path(f"/proc/{self.pid}")
        return Footprint(
            threads=len(list((process / "task").iterdir())),
            files=len(list((process / "fd").iterdir())) - connections,
            children=sum(len(path.read_text().split()) for path in process.glob("task/*/children")),
        )

    def lines(self) -> list[str]:
        """Return the lines of its log in which the exporter, or its web server, says something."""
        return [
            line for line in self.log.read_text().splitlines() if re.search(r"\b(exporter|uvicorn|asyncio)\b", line)
        ]

    @contextlib.contextmanager
    def limited(self, limit: int, value: int) -> Iterator[None]:
        """Let it have no more than ``value`` of something of the machine while the body runs."""
        before = resource.prlimit(self.pid, limit)
        resource.prlimit(self.pid, limit, (value, before[1]))
        try:
            yield
        finally:
            resource.prlimit(self.pid, limit, before)


@dataclass
class Application(Player):
    """An application under load; ``account`` is who it is on the server."""

    account: str
    told: dict[str, Any] = field(default_factory=dict)

    def tell(self, command: str) -> dict[str, Any]:
        """Give it a command; return all that it has counted so far."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, self.log.read_text()
        self.told = json.loads(answer)
        return self.told

    def outcomes(self, phase: str) -> Counter[str]:
        """Return how its uses ended in a phase."""
        return Counter(self.tell("told")["outcomes"].get(phase, {}))

    def enter(self, phase: str) -> None:
        """Begin a phase: what ends from now on is counted there."""
        self.tell(f"phase {phase}")


class PoolPage(Page):
    """A page whose counts of pools alone must never vanish: what is known of a server is withheld when it is old."""

    def counts(self) -> dict[Sample, float]:
        """Return every sample of a pool that may only grow."""
        return {sample: value for sample, value in super().counts().items() if sample[0].startswith("sqlalchemy_pool_")}


class _Remote:
    """Collects what a page over HTTP shows."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    def describe(self) -> list[Metric]:
        """Tell nothing before it is asked."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Scrape; whoever answers too late does not answer."""
        connection = HTTPConnection(*self._address, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics", headers={"Connection": "close", "Accept": OPENMETRICS})
            answer = connection.getresponse()
            assert answer.status == 200
            text = answer.read().decode()
        yield from text_string_to_metric_families(text)  # type: ignore[no-untyped-call]


@dataclass
class Exporter(Player):
    """The sidecar; ``account`` is who it is on the server."""

    account: str

    def address(self) -> tuple[str, int]:
        """Wait until it serves its page, and return where."""
        found = eventually(lambda: re.search(r"serving on http://([0-9.]+):(\d+)/\n", self.log.read_text()), within=200)
        assert found is not None
        return found[1], int(found[2])

    def page(self) -> Page:
        """Return its page, which is asked for anew at every look."""
        page, registry = PoolPage("orders"), CollectorRegistry()
        registry.register(_Remote(self.address()))
        page.registry = registry
        return page


@dataclass(frozen=True)
class Role:
    """Who a program is on the server, how it gets there, its log, and what its command begins with."""

    account: str
    url: URL
    log: Path
    begin: Sequence[str] = ()


@contextlib.contextmanager
def application(role: Role, *, options: Mapping[str, Any], box: Path | None) -> Iterator[Application]:
    """Run an application, instrumented if it has a ``box`` to publish into; it stands still at first."""
    environment = {
        **os.environ,
        "APPLICATION_URL": role.url.render_as_string(hide_password=False),
        "ENGINE_OPTIONS": json.dumps(options),
        **({} if box is None else {"INSTRUMENTED": "yes", "POOL_EXPORTER_DIR": str(box)}),
    }
    with _started([*role.begin, sys.executable, str(PROGRAM)], role.log, environment) as process:
        yield Application(process, role.log, role.account)


@contextlib.contextmanager
def sidecar(role: Role, *, box: Path, listen: str = "127.0.0.1:0") -> Iterator[Exporter]:
    """Run the sidecar."""
    path, url = role.log.with_suffix(".yaml"), role.url._replace(password=None)
    path.write_text(CONFIG.format(listen=listen, directory=box, url=url.render_as_string()))
    command = [*role.begin, sys.executable, "-m", "exporter", "serve", "--config", str(path)]
    with _started(command, role.log, {**os.environ, "PASSWORD": PASSWORD}) as process:
        yield Exporter(process, role.log, role.account)


@contextlib.contextmanager
def _started(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=log.parent, stdin=pipe, stdout=pipe, stderr=output, env=environment, text=True
        )
    with process:
        try:
            yield process
        finally:
            process.kill()  # it may be stopped, or waiting for what a test took away
