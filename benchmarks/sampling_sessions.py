"""The sessions of `scripts/bench sampling`: real ones, asleep, of several users, databases, addresses and programs."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import pymysql
from sqlalchemy.engine import URL

USERS = tuple(f"app_{number}" for number in range(1, 6))
DATABASES = ("orders", "billing")
ADDRESSES = tuple(f"127.0.0.{number}" for number in range(2, 12))
TABLE = "article"
READ = "SELECT * FROM article"
"""Opens a transaction: MySQL's begins with the first read of InnoDB."""

_ONE_IN = 49  # every how many sessions one is in a transaction; no multiple of 5, so that all users have some
_NAMELESS = 2  # clients of PostgreSQL that tell no application_name, and are known by their address


class Session(Protocol):
    """One connection to a server, and the id that the server knows it by."""

    id: int

    def run(self, statement: str) -> None:
        """Run one statement and throw its rows away."""
        ...

    def close(self) -> None:
        """Hang up."""
        ...


@dataclass(frozen=True)
class Client:
    """Who a session is on the server."""

    user: str
    database: str
    address: str
    program: str


def clients() -> Iterator[Client]:
    """Name whose sessions they are, without end: 100 kinds in turn."""
    number = 0
    while True:
        place, spread = (number // 10) % len(ADDRESSES), number // 5
        program = f"shop-{place}" if place >= _NAMELESS else ""
        yield Client(USERS[number % 5], DATABASES[spread % 2], ADDRESSES[place], program)
        number += 1


class Sessions:
    """Holds sessions open: asleep, one in 49 of them in a transaction. ``url`` tells the server and the password."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._clients = clients()
        self._open = _Mysql if url.get_backend_name() == "mysql" else _Postgresql
        self._plain: list[Session] = []
        self._in_transaction: list[Session] = []
        self._touched = 0

    @property
    def ids(self) -> frozenset[int]:
        """Name all of them as the server does."""
        return frozenset(session.id for session in (*self._plain, *self._in_transaction))

    def grow(self, count: int) -> None:
        """Open more, until there are ``count``."""
        for number in range(len(self._plain) + len(self._in_transaction), count):
            session = self._open(self._url, next(self._clients))
            if number % _ONE_IN == 0:
                session.run("BEGIN")
                session.run(READ)
                self._in_transaction.append(session)
            else:
                self._plain.append(session)

    def touch(self, count: int) -> None:
        """Wake so many of those without a transaction, in turn: so the sessions have slept for different times."""
        for _ in range(count):
            self._plain[self._touched % len(self._plain)].run("SELECT 1")
            self._touched += 1

    def close(self) -> None:
        """Hang up on all of them."""
        for session in (*self._plain, *self._in_transaction):
            session.close()
        self._plain, self._in_transaction = [], []


class _Mysql:
    def __init__(self, url: URL, client: Client) -> None:
        self._connection = pymysql.connect(
            host=url.host,
            port=url.port or 0,
            user=client.user,
            password=str(url.password),
            database=client.database,
            bind_address=client.address,
            ssl_disabled=True,
            autocommit=True,
        )
        self.id = int(self._connection.thread_id())  # type: ignore[no-untyped-call]

    def run(self, statement: str) -> None:
        self._connection.query(statement)

    def close(self) -> None:
        self._connection.close()


class _Postgresql:
    """Speaks the protocol itself: libpq lets nobody choose the address that a connection comes from."""

    def __init__(self, url: URL, client: Client) -> None:
        self.id = 0
        self._socket = socket.create_connection((url.host or "", url.port or 0), source_address=(client.address, 0))
        told = {"user": client.user, "database": client.database, "application_name": client.program}
        body = b"".join(f"{name}\0{value}\0".encode() for name, value in told.items()) + b"\0"
        self._socket.sendall(struct.pack("!ii", len(body) + 8, 3 << 16) + body)
        self._listen()

    def run(self, statement: str) -> None:
        body = statement.encode() + b"\0"
        self._socket.sendall(struct.pack("!ci", b"Q", len(body) + 4) + body)
        self._listen()

    def close(self) -> None:
        with suppress(OSError):
            self._socket.sendall(struct.pack("!ci", b"X", 4))
        self._socket.close()

    def _listen(self) -> None:
        """Read until the server is ready for the next statement."""
        kind = b""
        while kind != b"Z":
            kind, size = struct.unpack("!ci", self._read(5))
            body = self._read(size - 4)
            if kind == b"E":
                raise ConnectionError(body.replace(b"\0", b" ").decode())
            if kind == b"K":
                self.id = struct.unpack("!ii", body)[0]

    def _read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            part = self._socket.recv(size - len(found))
            if not part:
                raise ConnectionError("the server has hung up")
            found += part
        return found
