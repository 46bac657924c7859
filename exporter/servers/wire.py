"""The socket under a connection, which can be cut from outside when a server keeps it waiting."""

from __future__ import annotations

import _thread
import contextlib
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

_AT_ONCE = struct.pack("ii", 1, 0)  # linger for 0 seconds: closing sends a reset
_IN_ORDER = struct.pack("ii", 0, 0)

_SHORTEST = 0.001  # seconds; 0 would mean not to wait at all

MOST_BYTES = 32 * 2**20
"""How much a server may send for one sample. All that we ask for is added up there: 100 000 sessions take half."""

_LOOK = 0.05  # seconds between two looks at how much has come
_RECEIVED = struct.Struct("128xQ")  # Linux's tcp_info, from 4.1 on: tcpi_bytes_received


class Wire:
    """Holds a second handle on the socket of one connection, so that a watch can end what waits on the first.

    libpq has no timeout for reading, PyMySQL's counts anew for each read, and a process that is stopped still has its
    packets acknowledged by its kernel, so no option of TCP notices. Shutting the socket down wakes whoever reads it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cut = False
        self._flooded = False
        self._before = 0

    @property
    def was_flooded(self) -> bool:
        """Tell whether the last watch has cut this wire because too much came over it."""
        return self._flooded

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
            self._before = 0
            if self._cut:
                self._shut()

    def end_by(self, *, reset: bool) -> None:
        """Choose how the connection is to end from now on: by a reset, as if it had never been, or in good order."""
        with self._lock, contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE if reset else _IN_ORDER)

    @contextlib.contextmanager
    def watched(self, seconds: float) -> Iterator[None]:
        """Cut the wire when the body takes longer than ``seconds``, and not after it; leaves no thread behind.

        It is cut too when more than MOST_BYTES come over TCP: libpq keeps whatever a server sends.
        """
        self._cut = self._flooded = False
        over, ends = threading.Event(), time.monotonic() + seconds
        with self._lock:
            self._before = self._received()

        def watch() -> None:
            while not over.wait(max(min(ends - time.monotonic(), _LOOK), 0.0)):
                if time.monotonic() >= ends or self._is_flooded():
                    self._cut_unless(over)
                    return

        # Not threading's: its start() waits until the new thread says that it runs. One that dies of a want of memory
        # before that never does, and whoever started it waits for ever (seen on CPython 3.11).
        _thread.start_new_thread(watch, ())
        try:
            yield
        finally:
            with self._lock:
                over.set()

    def cut(self) -> None:
        """End all reading and writing on the socket, and on any that is held later."""
        with self._lock:
            self._cut_off()

    def close(self) -> None:
        """End the connection, also when a driver that failed half-way has not closed its own, and forget it."""
        with self._lock:
            self._shut()
            self._release()

    def _cut_unless(self, over: threading.Event) -> None:
        with self._lock:
            if not over.is_set():
                self._cut_off()

    def _is_flooded(self) -> bool:
        with self._lock:
            self._flooded = self._received() - self._before > MOST_BYTES
            return self._flooded

    def _received(self) -> int:
        """Return how many bytes have come in; 0 where the kernel does not say: on Unix sockets, outside Linux."""
        if self._socket is None or self._socket.family == socket.AF_UNIX or sys.platform != "linux":
            return 0
        try:
            told = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED.size)
        except OSError:
            return 0
        return int(_RECEIVED.unpack(told)[0]) if len(told) == _RECEIVED.size else 0

    def _cut_off(self) -> None:
        self._cut = True
        self._shut()

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
        raise OSError(f"{host!r} cannot be the name of a host; write another into the url") from error
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
