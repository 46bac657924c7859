"""A performance: everything that a scenario needs is started, its trouble kept up, and then cured."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from exporter.demo import parts
from exporter.demo.backstage import Backstage, answers, staging
from exporter.demo.client import ask
from exporter.demo.databases import free_port
from exporter.demo.display import Display
from exporter.demo.interruption import Interruption
from exporter.demo.lab.parts import application
from exporter.demo.lab.server import Server
from exporter.demo.processes import PartError
from exporter.demo.scenarios.scenario import Scenario, Setup
from exporter.demo.traffic import Traffic

_APPLICATION = "the shop"
_SOME = 6  # requests


class Performance:
    """One scenario at work on the server ``on``. ``sidecar`` and ``application`` are where these answer."""

    def __init__(self, backstage: Backstage, scenario: Scenario, on: str) -> None:
        self._backstage = backstage
        self._scenario = scenario
        self._directory = backstage.folder / "processes"
        self._directory.mkdir(mode=0o700)
        self._port = free_port()
        self._helper: int | None = None
        self._server = Server(backstage, on, scenario.settings.get(on, {}))
        # The database ends after everything that is connected to it.
        backstage.ends.callback(backstage.processes.stop)
        self._server.let_sleep(scenario.trouble.idle_timeout)
        self.application = self._deploy(scenario.trouble)
        self.sidecar = self._watch(on)
        self.traffic = Traffic(self.application)
        backstage.ends.callback(self.traffic.stop)

    def begin(self) -> None:
        """Bring the trouble about, which stays until it is cured."""
        self.traffic.send(self._scenario.trouble.customers)
        incidents: dict[str, Callable[[], None]] = {
            "server_stops": self._stop_server,
            "worker_killed": self._kill_worker,
        }
        if self._scenario.incident is not None:
            # In the middle of the traffic, which it takes a moment to get there.
            self._backstage.processes.wait_until(lambda: self.traffic.requests >= _SOME)
            incidents[self._scenario.incident]()

    def figure(self) -> str | None:
        """Return what the application says of itself in this scenario; None when there is nothing to ask it."""
        if self._scenario.figure is None:
            return None
        what, path = self._scenario.figure
        answer = ask(f"{self.application}{path}")
        return f"{what}: {answer.body}" if answer.status == 200 else None

    def check(self) -> None:
        """Raise PartError when a part has died that should live."""
        self._backstage.processes.check()

    def cure(self) -> None:
        """End the trouble, and go on in health."""
        trouble, cured = self._scenario.trouble, self._scenario.cured
        if self._scenario.incident == "server_stops":
            self._server.start()
        if self._helper is not None:
            os.kill(self._helper, signal.SIGKILL)
        if cured.idle_timeout != trouble.idle_timeout:
            self._server.let_sleep(cured.idle_timeout)
        if cured == trouble:
            return
        self.traffic.stop()
        if self._scenario.deploys:
            self._backstage.processes.end(_APPLICATION)
            self._deploy(cured)
        self.traffic.send(cured.customers)

    def _deploy(self, setup: Setup) -> str:
        start = application(self._directory, self._server.accounts, self._port, scenario=self._scenario, setup=setup)
        # What it says of itself needs no database: that may be what is wrong.
        return self._backstage.start(
            _APPLICATION, start, done=f"{_APPLICATION} is up", ready=lambda: answers(f"{start.address}/openapi.json")
        )

    def _watch(self, on: str) -> str:
        start = parts.sidecar(
            self._backstage.folder,
            self._directory,
            {on: self._server.accounts},
            leak_after=self._scenario.leak_after,
        )
        return self._backstage.start(
            "the sidecar", start, done="the sidecar is up", ready=lambda: answers(f"{start.address}/-/ready")
        )

    def _stop_server(self) -> None:
        self._server.stop()

    def _kill_worker(self) -> None:
        """Have a worker fork a helper, which keeps the worker's connections open, and be killed."""
        answer = ask(f"{self.application}/helpers", method="POST", timeout=30.0)
        if answer.status != 200:
            raise PartError(f"{_APPLICATION} could not fork a helper: {answer.status} {answer.body}")
        self._helper = int(answer.body)


@contextlib.contextmanager
def performing(
    scenario: Scenario,
    folder: Path,
    on: str = "postgresql",
    *,
    display: Display | None = None,
    interruption: Interruption | None = None,
) -> Iterator[Performance]:
    """Play a scenario in ``folder`` while the body runs; then all that was started is gone, and the folder as well.

    Other users must be able to pass on the way to ``folder``: as root, PostgreSQL runs as one of them.
    """
    with preparing(scenario, folder, on, display=display, interruption=interruption) as performance:
        performance.begin()
        yield performance


@contextlib.contextmanager
def preparing(
    scenario: Scenario,
    folder: Path,
    on: str = "postgresql",
    *,
    display: Display | None = None,
    interruption: Interruption | None = None,
) -> Iterator[Performance]:
    """Start all that a scenario needs, as ``performing`` does; nothing happens before the body calls ``begin()``."""
    if on not in scenario.servers:
        raise ValueError(f"{scenario.name} cannot be played on {on}; it needs {' or '.join(scenario.servers)}")
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    with contextlib.ExitStack() as ends:
        if interruption is None:
            interruption = Interruption()
            ends.callback(interruption.close)
        backstage = ends.enter_context(staging(folder, display or Display(quiet=True), interruption))
        performance = Performance(backstage, scenario, on)
        yield performance
