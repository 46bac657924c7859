"""The socket under a connection, which can be cut from outside when a server keeps it waiting."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator


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

    def hold(self, fileno: int) -> None:
        """Take a handle of our own on the socket ``fileno``; the driver may wrap its own in TLS."""
        with self._lock:
            self._release()
            self._socket = socket.socket(fileno=os.dup(fileno))
            if self._cut:
                self._shut()

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
        """Give the handle back."""
        with self._lock:
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
    """Connect to the path of a Unix socket, or to a host and port; raise OSError when nobody answers."""
    if isinstance(place, tuple):
        line = socket.create_connection(place, timeout)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return line
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.settimeout(timeout)
        line.connect(place)
    except OSError:
        line.close()
        raise
    return line
