"""A TCP proxy before a real server, which harms what passes when it is told to."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

from exporter.demo.databases import free_port

_AT_ONCE = struct.pack("ii", 1, 0)  # linger for 0 seconds: closing sends a reset
_SLICE = 0.05  # seconds between two pieces of what passes slowly


class Proxy:
    """Passes bytes on to ``upstream``, which may be changed: whoever comes then meets another server.

    ``silent`` lets it swallow what passes. ``fatal`` are bytes of a request whose answer breaks off after the start.
    ``delay`` are seconds that all that passes is late by, ``rate`` is how many bytes pass in a second.
    """

    def __init__(self, upstream: tuple[str, int], *, host: str = "127.0.0.1", port: int | None = None) -> None:
        self.upstream = upstream
        self.silent = False
        self.fatal: bytes | None = None
        self.delay = 0.0
        self.rate: float | None = None
        self.host, self.port = host, port or free_port()
        self.accepted = 0
        self._links: set[_Link] = set()
        self._linking = threading.Lock()  # a link passes bytes before it is among the others
        self._accepting: threading.Thread | None = None
        self.mend()

    def mend(self) -> None:
        """Pass everything on again."""
        self.silent, self.fatal, self.delay, self.rate = False, None, 0.0, None
        if self._accepting is None:
            self._listener = socket.create_server((self.host, self.port))
            self._accepting = threading.Thread(target=self._accept, name="proxy")
            self._accepting.start()

    def refuse(self) -> None:
        """Reset all connections, and refuse new ones."""
        if self._accepting is not None:
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone would not wake the thread that accepts
            self._accepting.join()
            self._accepting = None
            self._listener.close()
        self.reset()

    def reset(self) -> None:
        """Reset all connections there are."""
        with self._linking:
            links, self._links = self._links, set()
        for link in links:
            link.end()
        for link in links:
            link.join()

    def forsake(self) -> None:
        """Hang up on the server's side alone: a client finds out when it says something."""
        with self._linking:
            for link in self._links:
                link.forsake()

    def pass_on(self, said: bytes, to: socket.socket) -> None:
        """Send what was said, as late and as slowly as it is to pass."""
        time.sleep(self.delay)
        while said:
            rate = self.rate
            at_once = len(said) if rate is None else max(int(rate * _SLICE), 1)
            to.sendall(said[:at_once])
            said = said[at_once:]
            if rate is not None:
                time.sleep(at_once / rate)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                with self._linking:
                    self._links.add(_Link(self, client))
            except OSError:  # the server is down, and so are we
                client.close()


class _Link:
    """One connection from end to end, with a thread for each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = socket.create_connection(proxy.upstream)
        self._doomed = self._forsaken = False
        self._threads = [threading.Thread(target=target, name="proxy") for target in (self._ask, self._answer)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Reset the client's side and hang up on the server's."""
        for side in (self._client, self._server):
            with contextlib.suppress(OSError):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                side.shutdown(socket.SHUT_RDWR)

    def forsake(self) -> None:
        """Hang up on the server's side alone."""
        self._forsaken = True
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)

    def join(self) -> None:
        """Wait until nothing passes any more."""
        for thread in self._threads:
            thread.join()
        for side in (self._client, self._server):
            side.close()

    def _ask(self) -> None:
        with contextlib.suppress(OSError):
            while said := self._client.recv(65536):
                self._doomed = self._proxy.fatal is not None and self._proxy.fatal in said
                if not self._proxy.silent:
                    self._proxy.pass_on(said, self._server)
        self.end()

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            while said := self._server.recv(65536):
                if self._doomed:
                    self._client.sendall(said[: len(said) // 2])
                    break
                if not self._proxy.silent:
                    self._proxy.pass_on(said, self._client)
        if not self._forsaken:
            self.end()


@contextlib.contextmanager
def proxied(upstream: tuple[str, int], *, host: str = "127.0.0.1", port: int | None = None) -> Iterator[Proxy]:
    """Run a proxy while the body does."""
    proxy = Proxy(upstream, host=host, port=port)
    try:
        yield proxy
    finally:
        proxy.refuse()
