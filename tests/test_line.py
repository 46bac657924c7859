"""The one connection to a server: when it is kept, and when it is dialled anew. With a family of our own, on SQLite."""

from __future__ import annotations

import socket
import threading
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
from exporter.servers.line import LONGEST_KEPT, Line
from exporter.servers.wire import Wire
from exporter.tls import Tls

EMPTY = ServerSnapshot(
    dialect="tiny", version="1", source="nothing", began=0.0, ended=0.0, groups=(), sleepers=(), connections=0,
    connections_max=None,
)  # fmt: skip


class Tiny:
    """A family whose server tells nothing. ``happens`` is called in the middle of each sample."""

    def __init__(self, happens: Callable[[Tiny], None] = lambda _: None, *, timeout: float = 5.0) -> None:
        self.dialled = 0
        self.timeout = timeout
        self.asked = 0
        self.refuses = True
        self.loads = threading.Event()
        self.loads.set()
        self.wire = Wire()
        self._happens = happens

    def engine(self, _url: URL, *, timeout: float, wire: Wire, tls: Tls | None) -> Engine:
        assert (timeout, tls) == (self.timeout, None)
        self.loads.wait(10 * timeout)
        self.dialled += 1
        self.wire = wire
        return create_engine("sqlite://", poolclass=NullPool)

    def prepare(self, connection: Connection, *, timeout: float) -> None:
        assert 0 < timeout < self.timeout
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


def test_rights_that_are_newer_each_time() -> None:
    """A server that says so at each login is asked no third time, and it is said to make no sense."""

    def outdated(_family: Tiny) -> None:
        raise Outdated

    family = Tiny(outdated)
    with pytest.raises(SampleError, match="it tells of other rights or settings at each login"):
        asked(family, times=1)
    assert family.dialled == 2


def test_a_connection_is_renewed() -> None:
    """After some minutes another one takes its place, unless that fails: then it is kept for as long again."""

    def fails(family: Tiny) -> None:
        if family.dialled == 2 and family.refuses:
            family.refuses = False
            raise ZeroDivisionError

    now, family = [0.0], Tiny(fails)
    line = Line(family, URL.create("tiny"), timeout=5.0, steadily=lambda: now[0])
    for passed, dialled in (
        (0.0, 1),
        (LONGEST_KEPT / 2, 1),
        (LONGEST_KEPT / 2, 2),
        (1.0, 2),
        (LONGEST_KEPT, 3),
        (1.0, 3),
    ):
        now[0] += passed
        assert line.ask(frozenset(), stale_after=600.0, clock=time.time) == EMPTY
        assert family.dialled == dialled
    assert not family.refuses
    line.close()


def test_loading_a_driver_takes_no_time() -> None:
    """What passes until a family is ready to dial is not the server's time."""
    family = Tiny(timeout=0.2)
    family.loads.clear()
    line = Line(family, URL.create("tiny"), timeout=0.2)
    assert line.ask(frozenset(), stale_after=600.0, clock=time.time) == EMPTY
    line.close()


@pytest.mark.parametrize("kept", [False, True])
def test_a_slow_server_is_told_from_a_frozen_one(*, kept: bool) -> None:
    """It was busy for as long as we waited if it has just let us in; one that we knew from before may be frozen."""
    never = threading.Event()

    def slow(family: Tiny) -> None:
        family.asked += 1
        if family.asked > int(kept):
            never.wait(family.timeout * 1.1)
            raise ZeroDivisionError

    line = Line(Tiny(slow, timeout=0.2), URL.create("tiny"), timeout=0.2)
    if kept:
        line.ask(frozenset(), stale_after=600.0, clock=time.time)
    with pytest.raises(SampleError) as raised:
        line.ask(frozenset(), stale_after=600.0, clock=time.time)
    assert raised.value.reason == "timeout"
    assert (raised.value.busy > 0) == (not kept)


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
