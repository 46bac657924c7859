"""How `top` asks a page: one connection for each question, past every proxy, and an end to it whoever answers."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import SplitResult

from exporter.readable import printable

TIMEOUT = 5.0
"""Seconds that a sidecar may take for an answer; it reads memory and files."""

LARGEST = 64 * 2**20
"""Bytes; whatever sends more is no sidecar."""

_NO_CERTIFICATE = "it hangs up over https://; it may want a client's certificate, and top has none to show"
_FAILURES: tuple[tuple[type[Exception], str], ...] = (
    (ssl.SSLError, "TLS fails; where the page is without TLS, the address begins with http://"),
    (ConnectionRefusedError, "connection refused: nobody listens there; is the sidecar running?"),
    (TimeoutError, f"no answer within {TIMEOUT:g} s; is it overloaded, or a firewall between?"),
    (socket.gaierror, "the name of the host is not known; write another into --url"),
    (UnicodeError, "the name of the host is not known; write another into --url"),
    (ConnectionError, "it hangs up; where the page has TLS, the address begins with https://"),
    (HTTPException, "it speaks no HTTP; where the page has TLS, the address begins with https://"),
)
"""What most failures come from; the first that fits."""

_WANTS_CERTIFICATE = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE")


@dataclass(frozen=True)
class Answer:
    """What came back; ``reason`` may be anybody's words."""

    status: int
    reason: str
    content: bytes


def ask(page: SplitResult, path: str, headers: Mapping[str, str], context: ssl.SSLContext) -> Answer:
    """Ask for a path below a page; redirects are not followed, and no proxy is asked: a password is for the page.

    Raises:
        OSError: nobody can be asked, or all of it takes longer than TIMEOUT.
        HTTPException: what answers speaks no HTTP.
        UnicodeError: the host cannot be the name of one.
    """
    deadline = time.monotonic() + TIMEOUT
    secure = page.scheme == "https"
    host = page.hostname or ""
    connection = HTTPSConnection(host, page.port, context=context) if secure else HTTPConnection(host, page.port)
    with socket.create_connection((host, connection.port), TIMEOUT) as line, _ended_at(deadline, line):
        connection.sock = context.wrap_socket(line, server_hostname=host) if secure else line
        with contextlib.closing(connection):
            connection.request("GET", f"{page.path}/{path}", headers={**headers, "Connection": "close"})
            answer = connection.getresponse()
            return Answer(answer.status, answer.reason, answer.read(LARGEST))


def failure(error: Exception, *, secure: bool) -> str:
    """Say why nobody could be asked, and what that mostly comes from."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}): --ca-file FILE names whose word to take"
    if secure and _may_want_certificate(error):
        return _NO_CERTIFICATE
    for kind, words in _FAILURES:
        if isinstance(error, kind):
            return words
    return printable(f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}")


def context_of(ca_file: Path | None) -> ssl.SSLContext:
    """Return whom to trust, as the file now says; raise OSError or ssl.SSLError."""
    return _context(ca_file, None if ca_file is None else stamp(ca_file))


def stamp(path: Path) -> tuple[int, ...]:
    """Return what is another when a file has changed; raise OSError."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


@contextlib.contextmanager
def _ended_at(deadline: float, line: socket.socket) -> Iterator[None]:
    """Hang up at that time: who sends a byte now and then would keep us waiting for good."""
    # TLS takes the socket over; another number for the same connection stays ours.
    with socket.socket(fileno=os.dup(line.fileno())) as ours:
        timer = threading.Timer(max(0.0, deadline - time.monotonic()), _hang_up, (ours,))
        timer.daemon = True
        timer.start()
        try:
            yield
        except (OSError, HTTPException):
            if time.monotonic() >= deadline:
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()
            timer.join()
        if time.monotonic() >= deadline:
            raise TimeoutError  # what ended then may have been cut


def _hang_up(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


def _may_want_certificate(error: Exception) -> bool:
    if isinstance(error, ssl.SSLError):
        return any(words in (error.reason or "") for words in _WANTS_CERTIFICATE)
    return isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError)


@functools.lru_cache(maxsize=1)
def _context(ca_file: Path | None, _stamp: object) -> ssl.SSLContext:
    """Make the context, which takes a while, anew only when the file has changed."""
    return ssl.create_default_context(cafile=ca_file)
