"""The addresses of hosts' names, looked up in the background, so that nobody ever waits for a name server."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterable, Mapping

from exporter.owners import several

REFRESH_SECONDS = 30.0
"""How long an address is good: after a failover a name may mean another host."""

_MOST = 1000  # names; files that somebody forged must not fill the memory

_log = logging.getLogger(__name__)

LookUp = Callable[[str], Iterable[str]]


def look_up(host: str) -> frozenset[str]:
    """Return the addresses of a name; raise OSError when nobody knows it. May wait for long."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{host!r} cannot be the name of a host; write another into the url") from error
    return frozenset(str(address[0]) for *_, address in found)


class Names:
    """Remembers the addresses of the names that somebody has asked for, and renews them from a thread of its own.

    Before `start`, nothing is known. A name that cannot be looked up keeps the addresses that it had.
    """

    def __init__(self, names: Iterable[str] = (), *, look_up: LookUp = look_up) -> None:
        self._look_up = look_up
        self._wanted = dict.fromkeys(names)
        self._known: Mapping[str, frozenset[str]] = {}
        self._news = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def addresses(self, name: str) -> frozenset[str] | None:
        """Return what is known of a name now; None when it has not been looked up yet. Never waits."""
        found = self._known.get(name)
        if found is None and name not in self._wanted and len(self._wanted) < _MOST:
            self._wanted[name] = None
            self._news.set()
        return found

    def start(self) -> None:
        """Begin to look up."""
        self._thread = threading.Thread(target=self._run, name="pool-exporter-names", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look up nothing more; does not wait for an answer that may be under way."""
        self._stopped.set()
        self._news.set()

    def refresh(self) -> None:
        """Look all names up now. Waits as long as the name servers do."""
        for name in list(self._wanted):
            if self._stopped.is_set():
                return
            try:
                found = frozenset(self._look_up(name))
            except OSError:
                continue  # a sampler that needs it says so
            if several(found) and not several(self._known.get(name, ())):
                _log.warning(
                    "%s has %d addresses, which may be several servers: its pools are held against none of them; if it "
                    "is one server, say so by servers.NAME.pools",
                    name,
                    len(found),
                )
            self._known = {**self._known, name: found}

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._news.clear()
            self.refresh()
            self._news.wait(REFRESH_SECONDS)
