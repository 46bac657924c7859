"""The one connection to a server: when it is kept, and when it is dialled anew. With a family of our own, on SQLite."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet

import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from exporter.labels import SampleErrorReason
from exporter.records import ServerSnapshot
from exporter.servers.family import Outdated, SampleError
from exporter.servers.line import Line
from exporter.servers.wire import Wire
from exporter.tls import Tls

EMPTY = ServerSnapshot(
    dialect="tiny", version="1", source="nothing", began=0.0, ended=0.0, groups=(), sleepers=(), connections=0,
    connections_max=None,
)  # fmt: skip


class Tiny:
    """A family whose server tells nothing. ``happens`` is called in the middle of each sample."""

    def __init__(self, happens: Callable[[Tiny], None] = lambda _: None) -> None:
        self.dialled = 0
        self.wire = Wire()
        self._happens = happens

    def engine(self, _url: URL, *, timeout: float, wire: Wire, tls: Tls | None) -> Engine:
        assert (timeout, tls) == (5.0, None)
        self.dialled += 1
        self.wire = wire
        return create_engine("sqlite://", poolclass=NullPool)

    def prepare(self, connection: Connection, *, timeout: float) -> None:
        assert timeout > 0
        connection.exec_driver_sql("SELECT 1")

    def sample(
        self, connection: Connection, *, asked: AbstractSet[int], stale_after: float, clock: Callable[[], float]
    ) -> ServerSnapshot:
        assert (asked, stale_after, clock) == (frozenset(), 600.0, time.time)
        connection.exec_driver_sql("SELECT 1")
        self._happens(self)
        return EMPTY

    def reason(self, error: DBAPIError) -> SampleErrorReason:
        return "query" if error.orig is not None else "other"


def asked(family: Tiny, *, times: int) -> None:
    """Ask several times on one line."""
    line = Line(family, URL.create("tiny"), timeout=5.0)
    for _ in range(times):
        assert line.ask(frozenset(), stale_after=600.0, clock=time.time) == EMPTY
    line.close()


def test_a_connection_is_kept() -> None:
    """However often it is asked, it dials once."""
    family = Tiny()
    asked(family, times=3)
    assert family.dialled == 1


def test_an_answer_that_came_in_the_last_moment() -> None:
    """It is good, though the connection was cut meanwhile: the next is asked on another."""
    family = Tiny(lambda family: family.wire.cut())
    asked(family, times=2)
    assert family.dialled == 2


def test_rights_that_are_newer_than_the_connection() -> None:
    """A family that sees less than it may by now is asked again at once, on a new connection."""

    def outdated(family: Tiny) -> None:
        if family.dialled == 1:
            raise Outdated

    family = Tiny(outdated)
    asked(family, times=2)
    assert family.dialled == 2


@pytest.mark.parametrize("error", [SampleError("privilege", "GRANT EVERYTHING", hidden=3), ZeroDivisionError("0")])
def test_a_failure_hangs_up(error: Exception) -> None:
    """What a family says of itself is passed on as it is, anything else is a fault of ours; the next ask dials anew."""

    def fails(family: Tiny) -> None:
        if family.dialled == 1:
            raise error

    family = Tiny(fails)
    line = Line(family, URL.create("tiny"), timeout=5.0)
    with pytest.raises(SampleError) as raised:
        line.ask(frozenset(), stale_after=600.0, clock=time.time)
    known = isinstance(error, SampleError)
    assert (raised.value is error) == known
    assert raised.value.reason == ("privilege" if known else "other")
    assert line.ask(frozenset(), stale_after=600.0, clock=time.time) == EMPTY
    assert family.dialled == 2
    line.close()


def test_a_socket_that_comes_too_late() -> None:
    """A wire that was cut before the driver had a socket cuts that as well, and closing it ends whatever it holds."""
    wire = Wire()
    for early in (True, False):
        near, far = socket.socketpair()
        with near, far, wire.watched(60):
            if early:
                wire.cut()
            wire.hold(near.fileno())
            if not early:
                wire.close()
            assert far.recv(1) == b""
    wire.close()
