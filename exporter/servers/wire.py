"""The socket under a connection, which can be cut from outside when a server keeps it waiting."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

_AT_ONCE = struct.pack("ii", 1, 0)  # linger for 0 seconds: closing sends a reset
_IN_ORDER = struct.pack("ii", 0, 0)

_SHORTEST = 0.001  # seconds; 0 would mean not to wait at all


class Wire:
    """Holds a second handle on the socket of one connection, so that a watch can end what waits on the first.

    libpq has no timeout for reading, PyMySQL's counts anew for each read, and a process that is stopped still has its
    packets acknowledged by its kernel, so no option of TCP notices. Shutting the socket down wakes whoever reads it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cut = False

    @property
    def was_cut(self) -> bool:
        """Tell whether the last watch has cut this wire."""
        return self._cut

    @property
    def peer(self) -> str | None:
        """Return the address at the other end; None on a Unix socket, and while nothing is held."""
        with self._lock, contextlib.suppress(OSError):
            if self._socket is not None and self._socket.family != socket.AF_UNIX:
                return str(self._socket.getpeername()[0])
        return None

    def hold(self, fileno: int) -> None:
        """Take a handle of our own on the socket ``fileno``; the driver may wrap its own in TLS."""
        with self._lock:
            self._release()
            self._socket = socket.socket(fileno=os.dup(fileno))
            if self._cut:
                self._shut()

    def end_by(self, *, reset: bool) -> None:
        """Choose how the connection is to end from now on: by a reset, as if it had never been, or in good order."""
        with self._lock, contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE if reset else _IN_ORDER)

    @contextlib.contextmanager
    def watched(self, seconds: float) -> Iterator[None]:
        """Cut the wire when the body takes longer than ``seconds``; leaves no thread behind."""
        self._cut = False
        watch = threading.Timer(seconds, self.cut)
        watch.daemon = True
        watch.start()
        try:
            yield
        finally:
            watch.cancel()
            watch.join()

    def cut(self) -> None:
        """End all reading and writing on the socket, and on any that is held later."""
        with self._lock:
            self._cut = True
            self._shut()

    def close(self) -> None:
        """End the connection, also when a driver that failed half-way has not closed its own, and forget it."""
        with self._lock:
            self._shut()
            self._release()

    def _shut(self) -> None:
        if self._socket is not None:
            # Already closed by the other side: that is what we wanted.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _release(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def dial(place: str | tuple[str, int], timeout: float) -> socket.socket:
    """Connect to the path of a Unix socket, or to a host and port; raise OSError when nobody answers in time (s).

    A name is looked up each time: after a failover it may mean another host.
    """
    if isinstance(place, str):
        return _dialled(socket.AF_UNIX, place, timeout)
    found, deadline = _addresses(*place), time.monotonic() + timeout
    for left in range(len(found), 1, -1):
        # Each has its share of the time: behind the first may be a host that is gone without a word.
        share = (deadline - time.monotonic()) / left
        with contextlib.suppress(OSError):
            return _dialled(*found[-left], max(share, _SHORTEST))
    return _dialled(*found[-1], max(deadline - time.monotonic(), _SHORTEST))


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, Any]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{host!r} cannot be the name of a host") from error
    return [(family, address) for family, _, _, _, address in found]


def _dialled(family: socket.AddressFamily, address: Any, timeout: float) -> socket.socket:
    line = socket.socket(family, socket.SOCK_STREAM)
    try:
        line.settimeout(timeout)
        if family != socket.AF_UNIX:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        line.connect(address)
    except OSError:
        line.close()
        raise
    return line
