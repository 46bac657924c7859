"""Waiting for a connection, which no event tells: who waits, for how long, and what is left when they stop."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

import exporter
from exporter.leaks import TimeoutLog
from exporter.sound import is_sound
from pages import Page
from waiters import NOBODY, nothing_is_left
from waiting import eventually
from wires import Line, NewEngine


@pytest.fixture
def one_place(new_engine: NewEngine, page: Page) -> Iterator[NewEngine]:
    """Make an instrumented engine with one connection for all; what waits leaves no trace in the ear."""
    engines: list[Engine] = []

    def make(**options: Any) -> Engine:
        engine = new_engine(**{"pool_size": 1, "max_overflow": 0, "pool_timeout": 30, **options})
        engines.append(engine)
        exporter.instrument(engine, registry=page.registry)
        return engine

    yield make
    for engine in engines:
        nothing_is_left(engine)


def waiter(engine: Engine) -> threading.Thread:
    """Start a thread that takes a connection and gives it back."""
    thread = threading.Thread(target=lambda: engine.connect().close(), name="waiter")
    thread.start()
    return thread


def test_a_thread_that_waits_is_seen_and_then_counted(one_place: NewEngine, page: Page) -> None:
    """While a thread waits it shows, with its age; afterwards its wait is in the histogram, once."""
    engine = one_place()
    assert page.values(*NOBODY) == NOBODY
    with engine.connect():
        threads = [waiter(engine) for _ in range(3)]
        eventually(lambda: page.value("waiting") == 3)
        assert page.value("waiting_longest_seconds") > 0
        longest = page.value("waiting_longest_seconds")
        assert page.value("waiting_longest_seconds") > longest
    for thread in threads:
        thread.join()
    assert page.values(*NOBODY) == NOBODY
    assert page.value("wait_seconds_count") == page.value("checkouts_total") == 4
    assert page.value("wait_seconds_sum") > longest
    assert page.value("timeouts_total") == 0


def test_waiting_is_seen_right_after_dispose(one_place: NewEngine, page: Page) -> None:
    """dispose() makes another pool with another queue: who waits there is seen as before."""
    engine = one_place()
    for close in (True, False):
        engine.dispose(close=close)
        with engine.connect():
            thread = waiter(engine)
            eventually(lambda: page.value("waiting") == 1)
        thread.join()
        assert page.values(*NOBODY) == NOBODY


def test_who_waits_in_a_pool_that_is_disposed_of_waits_on(one_place: NewEngine, page: Page) -> None:
    """A thread that was waiting when the pool was disposed of is told until it gets the connection it waits for."""
    engine = one_place()
    connection = engine.connect()
    thread = waiter(engine)
    eventually(lambda: page.value("waiting") == 1)
    engine.dispose()
    assert page.value("waiting") == 1
    connection.close()
    thread.join()
    assert page.values(*NOBODY) == NOBODY
    assert page.value("wait_seconds_count") == page.value("checkouts_total") == 2


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_a_timeout_is_a_wait_that_ended_so(one_place: NewEngine, page: Page, timeout: float) -> None:
    """A wait in vain counts as timeout and in the histogram, and is no checkout."""
    engine = one_place(pool_timeout=timeout)
    with engine.connect():
        for _ in range(3):
            with pytest.raises(PoolTimeoutError):
                engine.connect()
    assert page.value("timeouts_total") == 3
    assert page.value("checkouts_total") == page.value("checkins_total") == 1
    assert page.value("wait_seconds_count") == 4
    assert page.value("wait_seconds_sum") >= 3 * timeout


def test_making_and_pinging_is_no_waiting(one_place: NewEngine, tmp_path: Path, page: Page) -> None:
    """However long a connection takes to be made or pinged, nobody waited for the pool."""
    slow, line = threading.Event(), Line(tmp_path / "slow.db")

    def creator() -> Any:
        slow.wait(0.06)
        return line()

    engine = one_place(creator=creator, pool_pre_ping=True)
    ping = engine.dialect.do_ping
    engine.dialect.do_ping = lambda dbapi_connection: slow.wait(0.06) or ping(dbapi_connection)  # type: ignore[method-assign]
    engine.connect().close()
    engine.connect().close()
    assert page.value("wait_seconds_count") == page.value("checkouts_total") == 2
    assert page.value("wait_seconds_bucket", le="0.001") == 2
    assert page.value("wait_seconds_sum") == 0
    assert page.value("connect_seconds_sum") >= 0.05
    assert page.value("ping_seconds_count") == 1


def test_who_waits_for_a_connection_that_cannot_be_made_leaves_nothing(
    one_place: NewEngine, line: Line, page: Page
) -> None:
    """A wait that ends with an error of the database is neither a checkout nor a timeout."""
    engine = one_place()
    connection = engine.connect()
    with ThreadPoolExecutor(1) as executor:
        asking = executor.submit(engine.connect)
        eventually(lambda: page.value("waiting") == 1)
        line.failing = 1.0
        connection.invalidate()
        connection.close()
    with pytest.raises(OperationalError):
        asking.result()
    assert page.value("connect_errors_total") == 1
    assert page.value("wait_seconds_count") == page.value("checkouts_total") == 1


def test_a_timeout_says_who_holds_the_connections(
    one_place: NewEngine, page: Page, caplog: pytest.LogCaptureFixture
) -> None:
    """At the next look a line in the log names place, thread and age of every holder; another timeout is too soon."""
    engine = one_place(pool_timeout=0.01)
    with engine.connect(), caplog.at_level(logging.WARNING, logger="exporter.leaks"):
        for _ in range(2):
            with pytest.raises(PoolTimeoutError):
                engine.connect()
        assert caplog.messages == []
        assert page.value("timeouts_total") == 2
    (line,) = caplog.messages
    assert line.startswith("pool sqlite:///shop.db: a wait of 0.0 s for a connection ended in a timeout; 1 out: ")
    assert "test_waiting.py:" in line
    assert "test_a_timeout_says_who_holds_the_connections by thread MainThread for 0.0 s" in line


class Refusing(logging.Handler):
    """A log handler that fails in a class of its own, as one does whose broker is gone."""

    def emit(self, _record: logging.LogRecord) -> None:
        raise BrokerGoneError


class BrokerGoneError(Exception):
    """An error of no class that we know."""


def test_a_log_handler_that_raises_takes_no_timeout_away(one_place: NewEngine, page: Page) -> None:
    """Whatever handles our lines, who has waited in vain gets SQLAlchemy's error, and the page its numbers."""
    engine = one_place(pool_timeout=0.01)
    log, handler = logging.getLogger("exporter.leaks"), Refusing()
    log.addHandler(handler)
    try:
        with engine.connect(), pytest.raises(PoolTimeoutError):
            engine.connect()
        assert page.value("timeouts_total") == 1
    finally:
        log.removeHandler(handler)


def test_holders_are_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Timeouts are said at most once in 60 seconds of the clock that is handed in."""
    now = [1000.0]
    log = TimeoutLog("orders", clock=lambda: now[0])
    for moment in (1000.0, 1001.0, 1059.9, 1060.0, 1061.0):
        now[0] = moment
        log.note([], 30.0)
        log.speak()
    assert len(caplog.messages) == 2
    assert "a wait of 30.0 s" in caplog.messages[0]
    assert "no connection is known to be out" in caplog.messages[0]


GEVENT = """
from gevent import monkey; monkey.patch_all()
import gevent
from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool
import exporter
from exporter.seam import ear_of

engine = create_engine("sqlite:///shop.db", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=30)
registry = CollectorRegistry()
handle = exporter.instrument(engine, registry=registry)
value = lambda name: registry.get_sample_value(f"sqlalchemy_pool_{name}", {"pool": "sqlite:///shop.db"})
connection = engine.connect()
greenlets = [gevent.spawn(lambda: engine.connect().close()) for _ in range(3)]
gevent.sleep(0)
print(value("waiting"), value("waiting_longest_seconds") > 0)
greenlets.pop().kill()
print(value("waiting"))
connection.close()
gevent.joinall(greenlets)
print(value("waiting"), value("wait_seconds_count"), value("checkouts_total"), ear_of(engine.pool).waited)
engine.pool._timeout = 0.01
with engine.connect():
    try:
        engine.connect()
    except PoolTimeoutError:
        print(value("timeouts_total"), value("wait_seconds_count"))
held = []
gevent.spawn(lambda: held.append(engine.connect())).join()
print(handle.snapshot().connections[0].holder.partition(" ")[0])
"""


@pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed")
def test_a_greenlet_of_gevent_that_waits_is_seen(tmp_path: Path) -> None:
    """Under gevent's monkey patching, greenlets wait, are killed, and time out as threads do."""
    ran = subprocess.run(
        [sys.executable, "-c", GEVENT], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
        env={"PYTHONPATH": str(Path(exporter.__file__).parent.parent)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["3 True", "2", "0 3.0 3 {}", "1 5.0", "greenlet"]


def test_what_begins_while_we_look_has_lasted_for_nothing(
    one_place: NewEngine, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout and a wait that begin after the clock was read: no age below 0, which no reader would take."""
    engine = one_place()
    handle = exporter.instrument(engine)
    with ThreadPoolExecutor() as threads, engine.connect():
        waiter = threads.submit(lambda: engine.connect().close())
        eventually(lambda: page.value("waiting") == 1)
        with monkeypatch.context() as early:
            early.setattr("exporter.pool.time", Early)
            seen = handle.snapshot()
        assert (seen.used, seen.used_longest_seconds, seen.waiting, seen.waiting_longest_seconds) == (1, 0.0, 1, 0.0)
        assert is_sound(seen)
    waiter.result()


class Early:
    """A clock that was read long ago."""

    @staticmethod
    def perf_counter() -> float:
        return 0.0
