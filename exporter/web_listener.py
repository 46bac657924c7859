"""The door: takes in connections, no more than fit, and shows out who is worth least when somebody new comes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import math
import socket
import ssl
from collections import Counter
from collections.abc import Callable

from uvicorn.config import Config
from uvicorn.server import ServerState

from exporter.web_connection import Connection
from exporter.web_guard import network
from exporter.web_keeper import Keeper, Kept
from exporter.web_tls import admits

MOST_CONNECTIONS = 512
MOST_OF_ONE_ADDRESS = 256
HANDSHAKE_SECONDS = 10.0

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_SEND_BUFFER = 128 * 1024  # bytes, which Linux doubles
_QUIET = 300.0  # seconds in which a want of file descriptors is said once: it comes and goes many times a second
_PAUSE = 0.1  # seconds, where nothing can be accepted

_log = logging.getLogger(__name__)


class Guest:
    """A connection from the moment that it was accepted in; ``connection`` speaks HTTP once the handshake is done."""

    def __init__(self, accepted: socket.socket, address: str, since: float, kept: Kept) -> None:
        self.kept = kept
        self.accepted = accepted
        self.address = address
        self.since = since
        self.connection: Connection | None = None
        self.handshake: asyncio.Task[None] | None = None

    def worth(self) -> int:
        """Rank it: 0 has got no answer yet, 1 does not read its answer, 2 rests between two, 3 is being answered."""
        if self.connection is None:
            return 0
        if self.connection.is_unread:
            return 1
        if self.connection.is_let_in:
            return 3
        return 2 if self.connection.welcome else 0

    def show_out(self) -> None:
        """End it."""
        if self.connection is not None:
            self.connection.end()
        # In a handshake nobody else holds it; the loop then reads its end.
        with contextlib.suppress(OSError):
            self.accepted.shutdown(socket.SHUT_RDWR)


class Listener:
    """Accepts on a socket for uvicorn, which ends it like a server of asyncio's."""

    def __init__(self, listening: socket.socket, keeper: Keeper, *, config: Config, state: ServerState) -> None:
        self._listening = listening
        self._keeper = keeper
        self._make: Callable[..., Connection] = functools.partial(Connection, config, state)
        self._guests: set[Guest] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._complained = -math.inf

    def start(self) -> None:
        """Begin to accept, in the running loop."""
        self._listening.settimeout(0)
        self._go_on()

    def close(self) -> None:
        """Accept nothing more, and end the handshakes that are under way."""
        asyncio.get_running_loop().remove_reader(self._listening)
        if self._pause is not None:
            self._pause.cancel()
        for guest in self._guests:
            if guest.handshake is not None:
                guest.handshake.cancel()

    async def wait_closed(self) -> None:
        """Return: after `close` nothing is accepted any more."""

    def sweep(self) -> None:
        """End the connections that are too slow."""
        now = _lets_in(self._keeper.now)
        for guest in tuple(self._guests):
            if guest.connection is None:
                continue
            if _lets_in(guest.kept) != now and not guest.connection.is_answering:
                guest.connection.end()  # let in by what counts no more: another authority, other names, no TLS
            guest.connection.sweep()

    # Not a task that waits in sock_accept(): when that is cancelled, whoever is just being taken in is lost with an
    # error in the log. And it does not yield where somebody waits already: a flood would hold the loop for ever.
    def _accept(self) -> None:
        """Take in one of those who wait, in each turn of the loop."""
        try:
            accepted, address = self._listening.accept()
        except (BlockingIOError, InterruptedError):
            return  # gone before we came
        except OSError as error:
            self._endure(error)
            return
        try:
            accepted.settimeout(0)
            self._take_in(accepted, address)
        except Exception:  # no memory for a moment: one connection is lost, the door stays open
            accepted.close()
            _log.exception("could not take in a connection; if that goes on, restart the sidecar")
            self._rest()

    def _endure(self, error: OSError) -> None:
        """Make room where the machine has none left; a client that is gone already (ECONNABORTED) is nothing."""
        if error.errno in _EXHAUSTED:
            now = asyncio.get_running_loop().time()
            if now - self._complained > _QUIET:
                self._complained = now
                _log.warning(
                    "cannot accept connections: %s; those that ask wait. Raise the limit of this process (ulimit -n), "
                    "or stop who asks so often",
                    error.strerror,
                )
            self._make_room(self._guests)
        self._rest()

    def _rest(self) -> None:
        """Accept nothing for a moment."""
        loop = asyncio.get_running_loop()
        self._pause = loop.call_later(_PAUSE, self._go_on)  # first, lest it rest for ever should there be no memory
        loop.remove_reader(self._listening)

    def _go_on(self) -> None:
        asyncio.get_running_loop().add_reader(self._listening, self._accept)

    def _take_in(self, accepted: socket.socket, address: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        guest = Guest(accepted, network(address[:2]), loop.time(), self._keeper.now)
        counts = Counter(each.address for each in self._guests)
        room = True
        if counts[guest.address] >= MOST_OF_ONE_ADDRESS:
            room = self._make_room({each for each in self._guests if each.address == guest.address})
        elif len(self._guests) >= MOST_CONNECTIONS:
            room = self._make_room(self._guests)
        if not room:
            accepted.close()
            return
        # Else the kernel keeps megabytes for each client that asks for pages and reads none.
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        guest.handshake = loop.create_task(self._welcome(guest))
        self._guests.add(guest)

    def _make_room(self, among: set[Guest]) -> bool:
        """Show out who is worth least: of the address that has most, the one that came first. Nobody being answered."""
        counts = Counter(each.address for each in among)
        victim = min(among, key=lambda each: (each.worth(), -counts[each.address], each.since), default=None)
        if victim is None or victim.worth() == 3:
            return False
        self._guests.discard(victim)
        victim.show_out()
        return True

    async def _welcome(self, guest: Guest) -> None:
        kept = guest.kept

        def connected() -> Connection:
            return self._make(
                admits=functools.partial(_admit, kept),
                on_end=lambda: self._guests.discard(guest),
                headers=lambda: self._keeper.now.file.headers,
            )

        try:
            _, connection = await asyncio.get_running_loop().connect_accepted_socket(
                connected,
                guest.accepted,
                ssl=kept.context,
                ssl_handshake_timeout=None if kept.context is None else HANDSHAKE_SECONDS,
            )
        except Exception:  # no TLS, no certificate, gone: whatever a stranger's handshake comes to
            self._guests.discard(guest)
            return
        except asyncio.CancelledError:
            self._guests.discard(guest)
            raise
        guest.handshake = None
        guest.connection = connection


def _lets_in(kept: Kept) -> tuple[object, ...] | None:
    return None if kept.file.tls is None else kept.file.tls.lets_in


def _admit(kept: Kept, transport: asyncio.BaseTransport) -> bool:
    spoken: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    if kept.file.tls is None or spoken is None:
        return True
    return admits(kept.file.tls, spoken.getpeercert())
