"""A server that dies under load, once or every few seconds: PostgreSQL and MariaDB, killed and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.demo.databases import free_port
from exporter.demo.programs import process_tree
from plays import Fault, play
from scenes import Private
from sites import Launch, Site
from stages import DRIVERS, Stage, staged

pytestmark = [pytest.mark.servers, pytest.mark.timeout(400)]

SHORT, LONG = 20.0, 120.0  # seconds that a server is restarted for


class Mortal:
    """A server that is ended and begun again, at the same port and with the same data."""

    def __init__(self, private: Private) -> None:
        self._private = private
        self._port = free_port()
        self._life = contextlib.ExitStack()

    def begin(self) -> Site:
        """Start it."""
        self.site = self._life.enter_context(self._private.started(port=self._port))
        return self.site

    def end(self, *, kill: bool) -> None:
        """End it, in good order or by SIGKILL."""
        for pid in process_tree(self.site.database.pid) if kill else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._life.close()


@pytest.fixture(params=list(DRIVERS))
def driver(request: pytest.FixtureRequest) -> str:
    """Each way to connect in turn."""
    return str(request.param)


@pytest.fixture
def mortal(driver: str, request: pytest.FixtureRequest, servers_folder: Path) -> Iterator[Mortal]:
    """A server that nobody else needs, running."""
    dialect = "mysql" if DRIVERS[driver].site == "mariadb_site" else "postgresql"
    launch: Launch = request.getfixturevalue("start_mariadb" if dialect == "mysql" else "start_postgresql")
    mortal = Mortal(Private(dialect, launch, servers_folder / f"{request.node.originalname[-10:]}-{driver}"))
    mortal.begin()
    yield mortal
    mortal.end(kill=False)


def test_a_server_that_is_killed(mortal: Mortal, driver: str, tmp_path: Path) -> None:
    """The page says that it is down, and up again when it is back; then every count is right and nothing is left."""

    @contextlib.contextmanager
    def killed(_stage: Stage) -> Iterator[None]:
        mortal.end(kill=True)
        yield
        mortal.begin()

    with staged(mortal.site, DRIVERS[driver], tmp_path) as stage:
        play(stage, Fault(killed, up=False))


@pytest.mark.timeout(600)
def test_a_server_that_restarts_every_few_seconds(
    mortal: Mortal, driver: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """For 20 s, or two minutes with --long, it is killed or stopped again and again under load; all is as before."""
    seconds = LONG if request.config.getoption("--long") else SHORT

    @contextlib.contextmanager
    def restarting(stage: Stage) -> Iterator[None]:
        ends, turn = time.monotonic() + seconds, 0
        while time.monotonic() < ends:
            mortal.end(kill=turn % 2 == 0)
            mortal.begin()
            turn += 1
            stage.wait_for("during", good=20 * turn)
        yield

    with staged(mortal.site, DRIVERS[driver], tmp_path) as stage:
        # What is lost again before ten good samples is said once.
        play(stage, Fault(restarting, up=None))
