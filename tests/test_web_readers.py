"""How an answer reaches its client: in pieces of one page that all share, as slowly as it reads, and to its end."""

from __future__ import annotations

import contextlib
import functools
import gzip
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from certificates import make_certificates
from doors import Door, door, sweeping, trusting
from exporter import web, web_connection
from exporter.rendering import Asked
from exporter.web_connection import Connection
from test_web_bounds import REQUEST, crowd, takes_nothing
from waiting import eventually

PAGE = os.urandom(1_500_000).hex().encode()
"""Three megabytes."""

BUFFERED = 192 * 1024
"""Bytes that may wait in our memory for one client, at the most."""


@pytest.fixture(autouse=True)
def long_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have /metrics be PAGE."""

    def rendered(_registry: object, wanted: Asked) -> bytes:
        return gzip.compress(PAGE, compresslevel=1) if wanted.zipped else PAGE

    monkeypatch.setattr(web, "rendered", rendered)


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Connection]:
    """Give the server's ends of all connections, as they come."""
    found: list[Connection] = []
    made = Connection.connection_made

    def noted(connection: Connection, transport: object) -> None:
        found.append(connection)
        made(connection, transport)  # type: ignore[arg-type]

    monkeypatch.setattr(Connection, "connection_made", noted)
    return found


def body_of(line: socket.socket) -> bytes:
    return b"".join(iter(lambda: line.recv(65536), b"")).partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_what_nobody_reads_is_not_copied(tmp_path: Path, connections: list[Connection], coding: str) -> None:
    """Of a page that many ask for and none reads each connection holds a small part; who reads it then has it whole."""
    request = REQUEST + f"Accept-Encoding: {coding}\r\nConnection: close\r\n\r\n".encode()
    with door(tmp_path) as page, crowd(page, 20, says=request) as lines:
        eventually(lambda: len(connections) == 20 and all(each.is_unread for each in connections))
        assert max(each.transport.get_write_buffer_size() for each in connections) <= BUFFERED
        for line in lines[:3]:
            body = body_of(line)
            assert (gzip.decompress(body) if coding == "gzip" else body) == PAGE


def test_a_long_page_arrives_whole(tmp_path: Path) -> None:
    """In clear and over TLS, with its length; HEAD has that, too, and no body."""
    made = make_certificates(tmp_path)
    text = f"tls_server_config: {{cert_file: {made.server_cert}, key_file: {made.server_key}}}"
    for page in (door(tmp_path), door(tmp_path, text, context=trusting(made.ca))):
        with page as opened, contextlib.closing(opened.connect()) as kept:
            answers = [opened.on(kept, "/metrics", method=method) for method in ("GET", "HEAD", "GET")]
            assert [each.headers["content-length"] for each in answers] == [str(len(PAGE))] * 3
            assert [each.text.encode() == PAGE for each in answers] == [True, False, True]
            assert answers[1].text == ""


def read_slowly(page: Door, request: bytes, swept: Callable[[], None]) -> bytes:
    """Read a part of an answer at a time, each after the server has looked at its connections anew."""
    parts = []
    with socket.socket() as line, contextlib.suppress(ConnectionError):
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        line.settimeout(20)
        line.connect(("127.0.0.1", page.port))
        line.sendall(request)
        while part := line.recv(128 * 1024, socket.MSG_WAITALL):
            parts.append(part)
            swept()
    return b"".join(parts).partition(b"\r\n\r\n")[2]


def test_who_reads_slowly_gets_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that reads all the time, however long that takes, is not cut off, also where it is to end then."""
    monkeypatch.setattr(web_connection, "READ_SECONDS", 3.0)
    monkeypatch.setattr(web_connection, "CLOSE_SECONDS", 3.0)
    with sweeping() as swept, door(tmp_path) as page:
        assert read_slowly(page, REQUEST + b"Connection: close\r\n\r\n", swept) == PAGE


def test_nobody_reads_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes too long for one answer is disconnected though it reads."""
    monkeypatch.setattr(web_connection, "ANSWER_SECONDS", 0.3)
    with sweeping() as swept, door(tmp_path) as page:
        assert len(read_slowly(page, REQUEST + b"\r\n", swept)) < len(PAGE)


def test_who_reads_nothing_goes_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connections: list[Connection]
) -> None:
    """A connection that is to end, and whose client has stopped reading, ends."""
    monkeypatch.setattr(web_connection, "CLOSE_SECONDS", 0.3)
    monkeypatch.setattr(web_connection, "READ_SECONDS", 0.3)
    with sweeping(), door(tmp_path) as page, crowd(page, 3, says=REQUEST + b"Connection: close\r\n\r\n") as lines:
        eventually(lambda: len(connections) == 3 and all(each.transport.is_closing() for each in connections))
        for line in lines:
            eventually(functools.partial(takes_nothing, line))


def test_the_end_beside_slow_readers_is_quiet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, connections: list[Connection]
) -> None:
    """Clients that have asked for much and read nothing are cut off at the end, without a line for each."""
    with contextlib.ExitStack() as stack:
        with door(tmp_path) as page:
            stack.enter_context(crowd(page, 10, says=(REQUEST + b"\r\n") * 10))
            eventually(lambda: len(connections) == 10 and all(each.is_unread for each in connections))
        assert len([record for record in caplog.records if record.levelname == "ERROR"]) <= 1
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("path", ["/-/healthy", "/metrics", "/"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_who_only_listens_is_answered(tmp_path: Path, path: str, version: str) -> None:
    """A client that closes its side after its requests gets all answers, and then the end."""
    with door(tmp_path) as page:
        answers = []
        for count in (1, 3) if version == "1.1" else (1,):
            with page.dial() as line:
                line.sendall(f"GET {path} HTTP/{version}\r\nHost: x\r\n\r\n".encode() * count)
                line.shutdown(socket.SHUT_WR)
                answers.append(b"".join(iter(lambda: line.recv(65536), b"")).count(b"HTTP/1.1 200 OK\r\n"))
        assert answers == ([1, 3] if version == "1.1" else [1])
        with page.dial() as line:
            line.sendall(REQUEST)
            line.shutdown(socket.SHUT_WR)
            assert line.recv(1) == b""
