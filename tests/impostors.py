"""Servers that are none: they speak as much of MySQL's or PostgreSQL's language as it takes to mean harm."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator

from sqlalchemy.engine import make_url

from exporter.config import ServerConfig
from samplers import unreachable

Answers = Callable[[bytes], Iterator[bytes]]
"""Gives what is sent for a statement, piece by piece; for MySQL these are packets without their heads."""

OK = b"\x00\x00\x00\x02\x00\x00\x00"
END = b"\xfe\x00\x00\x02\x00"

_GREETING = (
    b"\x0a8.0.30\x00\x07\x00\x00\x00abcdefgh\x00"
    + struct.pack("<HBHHB", 0xA20F, 45, 2, 0x0008, 21)
    + bytes(10)
    + b"ijklmnopqrst\x00mysql_native_password\x00"
)
_COLUMN = b"\x03def\x00\x00\x00\x01a\x01a\x0c" + struct.pack("<HIBHB", 45, 255, 253, 0, 0) + bytes(2)


def rows(*values: bytes) -> Iterator[bytes]:
    """Answer as MySQL does: one column, and these as its rows."""
    yield from (b"\x01", _COLUMN, END, *(_length(len(value)) + value for value in values), END)


def endless(value: bytes) -> Iterator[bytes]:
    """Answer with a row like this for ever."""
    yield from (b"\x01", _COLUMN, END)
    yield from itertools.repeat(_length(len(value)) + value)


def wide() -> Iterator[bytes]:
    """Answer with ever more columns."""
    yield b"\xfe" + struct.pack("<Q", 2**40)
    yield from itertools.repeat(_COLUMN)


def refusal(words: bytes) -> Iterator[bytes]:
    """Refuse with these words."""
    yield b"\xff" + struct.pack("<H", 1040) + b"#08004" + words


@contextlib.contextmanager
def mysql(answers: Answers, *, greeting: Callable[[], Iterator[bytes]] | None = None) -> Iterator[int]:
    """Let everybody in who comes as to a MySQL, unless ``greeting`` is another, and answer; gives the port."""

    def serve(line: socket.socket) -> None:
        for number, said in enumerate(greeting() if greeting else (_GREETING,)):
            _send(line, number, said)
        while asked := _heard(line):
            statement = asked[1:] if asked[:1] == b"\x03" else b""
            for number, said in enumerate(answers(statement) if statement else (OK,), start=1):
                # The login is the second packet of its exchange.
                _send(line, number if statement else 2, said)

    with _listening(serve) as port:
        yield port


@contextlib.contextmanager
def postgresql(answers: Answers, *, greeting: bytes | None = None) -> Iterator[int]:
    """Let everybody in who comes as to a PostgreSQL, unless ``greeting`` is another, and answer; gives the port."""

    def serve(line: socket.socket) -> None:
        while struct.unpack(">I", _exactly(line, int.from_bytes(_exactly(line, 4), "big") - 4)[:4])[0] != 196608:
            line.sendall(b"N")  # neither TLS nor Kerberos
        line.sendall(greeting or message(b"R", bytes(4)) + message(b"Z", b"I"))
        while head := _exactly(line, 5):
            asked = _exactly(line, int.from_bytes(head[1:], "big") - 4)
            if head[:1] in b"QS":
                for said in answers(asked) if head[:1] == b"Q" else (message(b"Z", b"I"),):
                    line.sendall(said)

    with _listening(serve) as port:
        yield port


def message(kind: bytes, content: bytes) -> bytes:
    """Write a message of PostgreSQL's protocol."""
    return kind + struct.pack(">I", len(content) + 4) + content


def at(port: int, dialect: str = "mysql", *, timeout: float = 20.0, query: str = "") -> ServerConfig:
    """Return the configuration of whoever listens there."""
    driver = {"mysql": "mysql+pymysql", "postgresql": "postgresql+psycopg"}[dialect]
    url = make_url(f"{driver}://shop:s3cret@127.0.0.1:{port}/?{query}")
    return unreachable(url=url, dialect=dialect, timeout=timeout)


@contextlib.contextmanager
def _listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    lines: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def talk(line: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), line:
            serve(line)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                lines.append(listener.accept()[0])
                threads.append(threading.Thread(target=talk, args=(lines[-1],)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for line in lines:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def _heard(line: socket.socket) -> bytes:
    head = _exactly(line, 4)
    return _exactly(line, int.from_bytes(head[:3], "little"))


def _exactly(line: socket.socket, number: int) -> bytes:
    said = b""
    while len(said) < number:
        more = line.recv(number - len(said))
        if not more:
            raise EOFError
        said += more
    return said


def _send(line: socket.socket, number: int, said: bytes) -> None:
    while True:
        part, said = said[:0xFFFFFF], said[0xFFFFFF:]
        line.sendall(len(part).to_bytes(3, "little") + bytes([number % 256]) + part)
        if len(part) < 0xFFFFFF:
            return
        number += 1


def _length(number: int) -> bytes:
    return bytes([number]) if number < 251 else b"\xfe" + struct.pack("<Q", number)
