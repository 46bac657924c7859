"""Scenes for samplers: a real server behind a proxy, one that is started for a test alone, and names that move."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from exporter.config import ServerConfig
from proxies import Proxy, proxied
from sites import PASSWORD, Launch, Site, frozen, sessions_of
from waiting import eventually

PATIENCE = 1.0  # seconds


@dataclass(frozen=True)
class Scene:
    """A server, the account that samples it, and the proxy in between."""

    site: Site
    account: str
    proxy: Proxy

    def server(self, **changes: Any) -> ServerConfig:
        """Return the configuration of the sampler."""
        # The newest MySQL offers TLS, and the proxy has to read what passes.
        plain = {"ssl_disabled": "true"} if self.site.dialect == "mysql" else {}
        url = self.site.url(self.account, **plain).set(port=self.proxy.port)
        return self.site.server(self.account, url=url, timeout=PATIENCE, **changes)

    def run(self, *, mysql: str, postgresql: str) -> None:
        """Change the account, and end its sessions, which would not see the change."""
        self.site.run((mysql if self.site.dialect == "mysql" else postgresql).format(self.account))
        for session in sessions_of(self.site, self.account):
            self.site.kill(session)
        eventually(lambda: not sessions_of(self.site, self.account))


@dataclass(frozen=True)
class Private:
    """How to start a server that nobody else needs."""

    dialect: str
    launch: Launch
    folder: Path

    @contextlib.contextmanager
    def started(self, **options: Any) -> Iterator[Site]:
        """Run it; what it held when it ran before is still there."""
        fresh = not self.folder.exists()
        with self.launch(self.folder, **options) as database:
            site = Site("private", self.dialect, database)
            if fresh:
                site.run("CREATE DATABASE orders")
            yield site


@contextlib.contextmanager
def on_stage(site: Site) -> Iterator[Scene]:
    """Set a scene up."""
    with proxied(("127.0.0.1", cast("int", site.database.url.port))) as proxy:
        yield Scene(site, site.sampler_account(), proxy)


@contextlib.contextmanager
def refused(scene: Scene) -> Iterator[None]:
    """Let nobody listen."""
    scene.proxy.refuse()
    yield
    scene.proxy.mend()


@contextlib.contextmanager
def silent(scene: Scene) -> Iterator[None]:
    """Accept, and swallow everything."""
    scene.proxy.silent = True
    yield
    scene.proxy.mend()


@contextlib.contextmanager
def stopped(scene: Scene) -> Iterator[None]:
    """Freeze the server itself."""
    with frozen(scene.site.database):
        yield


@contextlib.contextmanager
def cut_off(scene: Scene) -> Iterator[None]:
    """End every connection in the middle of the answer that matters."""
    scene.proxy.fatal = b"GROUP BY"
    scene.proxy.reset()
    yield
    scene.proxy.mend()


@contextlib.contextmanager
def other_password(scene: Scene) -> Iterator[None]:
    """Change the account's password."""
    words = {"mysql": "ALTER USER {{}} IDENTIFIED BY '{}'", "postgresql": "ALTER ROLE {{}} PASSWORD '{}'"}
    scene.run(**{dialect: said.format("other-s3cret") for dialect, said in words.items()})
    yield
    scene.run(**{dialect: said.format(PASSWORD) for dialect, said in words.items()})


@contextlib.contextmanager
def turned_away(scene: Scene) -> Iterator[None]:
    """Let the account have one connection only, or none, and somebody else take it."""
    scene.run(mysql="ALTER USER {} WITH MAX_USER_CONNECTIONS 1", postgresql="ALTER ROLE {} CONNECTION LIMIT 0")
    with scene.site.pool(scene.account, 1) if scene.site.dialect == "mysql" else contextlib.nullcontext():
        yield
    scene.run(mysql="ALTER USER {} WITH MAX_USER_CONNECTIONS 0", postgresql="ALTER ROLE {} CONNECTION LIMIT -1")


@contextlib.contextmanager
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[str]]]:
    """Answer for a name server: the addresses of names that nobody else knows."""
    addresses: dict[str, list[str]] = {}
    looked_up = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **options: Any) -> list[Any]:
        return [each for known in addresses.get(host, [host]) for each in looked_up(known, port, *args, **options)]

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", look_up)
        yield addresses


@contextlib.contextmanager
def deaf(host: str, port: int) -> Iterator[None]:
    """Listen on an address whose queue is full, so that whoever calls gets no answer at all."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(2):
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)  # noqa: FBT003  its only argument
            caller.connect_ex((host, port))
        yield
