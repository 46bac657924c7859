"""What one number of sessions is measured with: a server, its sessions, a pool that publishes; and if it is seen."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sampling_clocks import ServerClock
from sampling_exporters import Exporter, Launch, ours
from sampling_servers import Server
from sampling_sessions import USERS, Sessions

from exporter import Instrumentation
from exporter.demo.client import ask
from exporter.demo.page import Page, parse
from exporter.publish import Publisher
from exporter.records import ProcessSnapshot

PATIENCE = 30.0
"""Seconds until the page must show what there is."""


@dataclass(frozen=True)
class Stage:
    """A server with ``size`` sessions, those of ``pool`` among them."""

    server: Server
    sessions: Sessions
    pool: Instrumentation
    folder: Path
    size: int

    def ours(self, interval: float) -> Launch:
        """Tell how our sidecar is started for it."""
        self._processes.mkdir(parents=True, exist_ok=True)
        return ours(self.server, processes=self._processes, interval=interval)

    def clock(self) -> ServerClock:
        """Return the clock of the server."""
        ids = self.sessions.ids if self.server.is_postgresql else frozenset()
        return ServerClock(self.server.pid, has_children=self.server.is_postgresql, asleep=ids)

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """Publish the pool while the body runs, as an instrumented process does."""
        publisher = Publisher(self._processes, self._look)
        publisher.start()
        try:
            while not any(self._processes.glob("*.json")):
                time.sleep(0.005)
            yield
        finally:
            publisher.stop()

    def check(self, sidecar: Exporter) -> str:
        """Return the table that the sidecar asks, once its page shows every session and the whole pool.

        What is not right is not worth measuring, so then this raises RuntimeError.
        """
        deadline = time.monotonic() + PATIENCE
        while (wrong := self._wrong(page := parse(ask(sidecar.page).body))) and time.monotonic() < deadline:
            time.sleep(0.2)
        if wrong:
            raise RuntimeError(f"{self.server.kind.name}: {wrong}")
        return page.select("sqlalchemy_server_info")[0].labels["source"]

    def _wrong(self, page: Page) -> str | None:
        seen = sum(page.total("sqlalchemy_server_sessions", user=user) or 0 for user in USERS)
        pooled = len(self.pool.snapshot().connections)
        matched = page.total("sqlalchemy_pool_matched_connections", state="idle", session="sleeping")
        if seen != self.size:
            return f"the page shows {seen:g} sessions of {self.size}"
        return None if matched == pooled else f"the page matches {matched or 0:g} connections of {pooled}"

    def _look(self) -> ProcessSnapshot:
        return ProcessSnapshot(pid=os.getpid(), taken=time.time(), pools=(self.pool.snapshot(),))

    @property
    def _processes(self) -> Path:
        return self.folder / "processes"
