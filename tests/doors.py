"""The page's own server on a free port of this machine, with whatever lock a test gives it."""

from __future__ import annotations

import base64
import contextlib
import itertools
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from unittest import mock

from exporter.config import Config
from exporter.serving import make_server
from exporter.sidecar import Sidecar
from exporter.web_keeper import Keeper
from exporter.web_listener import Listener
from overviews import Showing
from waiting import eventually

PASSWORD = "Tr0ub4dor"
HASH = "$2y$04$YoQP3jdJODizXkY7mBtE6OpW4UayHPuFtmkG.xw4Kjvr7BqH6FcNW"
"""A cheap one, of PASSWORD."""


@dataclass(frozen=True)
class Said:
    """What was answered."""

    status: int
    text: str
    headers: dict[str, str]


@dataclass
class Door:
    """A page that is being served, and how to knock."""

    port: int
    web: Path
    context: ssl.SSLContext | None = None

    def ask(self, path: str = "/metrics", *, method: str = "GET", login: str | None = None, **headers: str) -> Said:
        """Ask once, on a connection of its own. ``login`` is NAME:PASSWORD."""
        with contextlib.closing(self.connect()) as connection:
            return self.on(connection, path, method=method, login=login, **headers)

    def on(
        self, connection: HTTPConnection, path: str, *, method: str = "GET", login: str | None = None, **headers: str
    ) -> Said:
        """Ask on a connection that is there already."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        if login is not None:
            told["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        connection.request(method, path, headers=told)
        answer = connection.getresponse()
        text = answer.read().decode()
        return Said(answer.status, text, {name.lower(): value for name, value in answer.getheaders()})

    def connect(self, context: ssl.SSLContext | None = None) -> HTTPConnection:
        """Return a connection that is opened by its first request."""
        context = context or self.context
        if context is None:
            return HTTPConnection("127.0.0.1", self.port, timeout=20)
        return HTTPSConnection("localhost", self.port, context=context, timeout=20)

    def dial(self) -> socket.socket:
        """Return a bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


def _nothing() -> Config:
    raise AssertionError("nobody reloads here")


@contextlib.contextmanager
def door(
    folder: Path,
    web: str | None = None,
    *,
    sidecar: Sidecar | None = None,
    context: ssl.SSLContext | None = None,
    again: Callable[[], Config] = _nothing,
) -> Iterator[Door]:
    """Serve a sidecar, one that knows of everything unless told otherwise, behind a web configuration."""
    path = folder / "web.yml"
    if web is not None:
        path.write_text(web)
    shown = Showing() if sidecar is None else sidecar
    keeper = Keeper(None if web is None else path)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        server, close = make_server(shown, listening, keeper, file=folder / "config.yaml", again=again)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield Door(listening.getsockname()[1], path, context)
        finally:
            server.should_exit = True
            thread.join(15)
            close()
    assert not thread.is_alive()


@contextlib.contextmanager
def sweeping() -> Iterator[Callable[[], None]]:
    """Have a server look at its connections ten times a second; give what waits until it has done so once more."""
    sweep, count = Listener.sweep, itertools.count()
    seen = [0]

    def counted(listener: Listener) -> None:
        sweep(listener)
        seen[0] = next(count)

    def wait() -> None:
        before = seen[0]
        eventually(lambda: seen[0] > before + 1)  # the first may be under way

    with mock.patch("exporter.serving._TICKS", 1), mock.patch.object(Listener, "sweep", counted):
        yield wait


def trusting(ca: Path, *, cert: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """Make the context of a client that trusts an authority, and may show a certificate."""
    made = ssl.create_default_context(cafile=str(ca))
    if cert is not None:
        made.load_cert_chain(cert, key)
    return made
