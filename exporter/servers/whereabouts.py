"""Whether the name of a server's host still means the address that a connection goes to."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable

from sqlalchemy.engine import URL

LOOK_SECONDS = 30.0
"""How long a name is taken to mean what it meant."""

# Seconds, and a part of the sample's timeout: a name server that takes longer is heard at a later sample.
_PATIENCE, _SHARE = 0.25, 0.25


class Whereabouts:
    """Looks the hosts of a URL up now and then. Not for two threads at once; ``steadily`` tells how much time passed.

    Nothing can end the look-up of a name: so it has a thread of its own, never two, which is waited for only a moment.
    """

    def __init__(self, url: URL, *, timeout: float, steadily: Callable[[], float]) -> None:
        self._names = _names(url)
        self._patience = min(_PATIENCE, timeout * _SHARE)
        self._steadily = steadily
        self._due = steadily() + LOOK_SECONDS
        self._look: threading.Thread | None = None
        self._found: frozenset[str] = frozenset()

    def moved(self, peer: str | None) -> bool:
        """Tell whether the names mean other addresses than ``peer`` by now, as far as that is known."""
        now = self._steadily()
        if peer is None or not self._names or (self._look is None and now < self._due):
            return False
        if self._look is None:
            self._due = now + LOOK_SECONDS
            self._look = threading.Thread(target=self._look_up, name="pool-exporter-whereabouts", daemon=True)
            self._look.start()
        self._look.join(self._patience)
        if self._look.is_alive():
            return False
        self._look = None
        # That a name server is lost says nothing of the server.
        return bool(self._found) and peer not in self._found

    def _look_up(self) -> None:
        found: set[str] = set()
        try:
            for name in self._names:
                found.update(str(address[0]) for *_, address in socket.getaddrinfo(name, None))
        except (OSError, UnicodeError):
            found.clear()
        self._found = frozenset(found)


def _names(url: URL) -> tuple[str, ...]:
    """Return the hosts of a URL, libpq's list of them too; none where no name is among them."""
    asked = url.host or url.query.get("host", ())
    listed = ",".join([asked] if isinstance(asked, str) else asked).split(",")
    hosts = tuple(_without_port(host) for host in listed if host and not host.startswith("/"))
    return () if "hostaddr" in url.query or all(map(_is_address, hosts)) else hosts


def _without_port(host: str) -> str:
    return host.partition(":")[0] if host.count(":") == 1 else host


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
