"""What an application may do with a pool and its connections that nobody expects: all stays exact."""

from __future__ import annotations

import gc
import json
import threading
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

import exporter
from exporter.pool import PoolMonitor
from pages import Page
from wires import Line, NewEngine

pytestmark = pytest.mark.usefixtures("nothing_contained")


def sums(page: Page) -> tuple[float, float, float]:
    """Return checkouts less what came of them, connects less what became of those, and all that is open."""
    counts = page.values(
        "checkouts_total", "checkins_total", "detaches_total", "connects_total", "detached", "orphaned"
    )
    idle, used = page.connections()
    assert idle is not None
    assert used is not None
    opened = idle + used + counts["detached"] + counts["orphaned"]
    out = counts["checkouts_total"] - counts["checkins_total"] - counts["detaches_total"]
    return out - used, counts["connects_total"] - sum(page.by("closes_total", "reason").values()) - opened, opened


# The dictionaries that SQLAlchemy gives an application to write into.


def test_the_application_s_info_is_its_own(engine: Engine, page: Page) -> None:
    """It may be cleared, copied to another connection and printed as JSON; nothing of ours is in it."""
    exporter.instrument(engine, registry=page.registry)
    event.listen(engine, "checkin", lambda _connection, record: record.info.clear())
    first, second = engine.connect(), engine.connect()
    first.info["tenant"] = 7
    second.info.update(first.info)
    assert json.dumps(second.info) == '{"tenant": 7}'
    first.info.clear()
    assert page.connections() == (0, 2)
    for each in (first, second):
        each.close()
    assert page.connections() == (2, 0)
    assert page.value("checkins_total") == 2
    assert page.by("closes_total", "reason") == {}


# Listeners that refuse or take a connection before anybody has it.


def refuse(engine: Engine, what: str, error: Exception) -> list[Exception]:
    """Let a listener raise once each time that something is put into the list that is returned."""
    pending = [error]

    def raise_it(*_args: Any) -> None:
        if pending:
            raise pending.pop()

    event.listen(engine, what, raise_it)
    return pending


@pytest.mark.parametrize("first", [ValueError, DisconnectionError])
def test_a_connection_that_is_refused_as_it_is_made_is_closed(
    engine: Engine, page: Page, first: type[Exception]
) -> None:
    """A failing connect listener, on a new place or one whose connection was invalidated, is no detach."""
    exporter.instrument(engine, registry=page.registry)
    pending = refuse(engine, "connect", first())
    for turn in range(3):
        with pytest.raises(first):
            engine.connect()
        pending.clear()
        engine.connect().invalidate()
        pending.extend([first()] if turn < 2 else [])
    gc.collect()
    assert page.by("closes_total", "reason") == {"invalidated": 3, "other": 3}
    assert page.values("detached", "detaches_total") == {"detached": 0, "detaches_total": 0}
    assert sums(page) == (0, 0, 0)


def test_a_reconnect_that_is_refused_after_a_ping_is_closed(engine: Engine, page: Page) -> None:
    """A connection that a checkout listener gives up and whose successor a connect listener refuses ends twice."""
    exporter.instrument(engine, registry=page.registry)
    engine.connect().close()
    refuse(engine, "checkout", DisconnectionError())
    refuse(engine, "connect", ValueError("no such setting"))
    with pytest.raises(ValueError, match="no such setting"):
        engine.connect()
    assert page.by("closes_total", "reason") == {"invalidated": 1, "other": 1}
    assert sums(page) == (0, 0, 0)


def test_a_listener_may_detach_what_is_being_taken(engine: Engine, page: Page) -> None:
    """A connection that a checkout listener detaches was taken and detached, and ends once."""
    exporter.instrument(engine, registry=page.registry)
    event.listen(engine, "checkout", lambda _connection, _record, fairy: fairy.detach())
    connection = engine.connect()
    assert page.values("checkouts_total", "detaches_total", "detached") == {
        "checkouts_total": 1,
        "detaches_total": 1,
        "detached": 1,
    }
    assert sums(page) == (0, 0, 1)
    connection.close()
    assert page.by("closes_total", "reason") == {"detached": 1}
    assert sums(page) == (0, 0, 0)


def test_the_timeout_of_another_pool_is_not_this_one_s(new_engine: NewEngine, page: Page, line: Line) -> None:
    """A creator that waits in vain for a connection of another pool has failed to connect; nobody waited here."""
    inner = QueuePool(line, pool_size=1, max_overflow=0, timeout=0)
    held = inner.connect()
    engine = new_engine(creator=inner.connect)
    exporter.instrument(engine, registry=page.registry)
    with pytest.raises(PoolTimeoutError):
        engine.connect()
    assert page.values("timeouts_total", "wait_seconds_count", "connect_errors_total") == {
        "timeouts_total": 0,
        "wait_seconds_count": 0,
        "connect_errors_total": 1,
    }
    held.close()
    inner.dispose()


# What was there before anybody listened.


def test_a_place_without_a_connection_is_none(engine: Engine, page: Page) -> None:
    """A place whose connection was invalidated before instrument() is not idle, neither then nor later."""
    connection = engine.connect()
    connection.invalidate()
    connection.close()
    exporter.instrument(engine, registry=page.registry)
    assert page.connections() == (0, 0)
    with engine.connect() as connection:
        assert page.connections() == (0, 1)
        connection.invalidate()
    assert page.connections() == (0, 0)


def test_what_was_out_before_may_be_detached(engine: Engine, page: Page) -> None:
    """One that was out at instrument() and is detached leaves no idle connection behind."""
    connection = engine.connect()
    exporter.instrument(engine, registry=page.registry)
    connection.detach()
    assert page.connections() == (0, 0)
    assert page.value("detached") == 1
    connection.close()
    assert page.connections() == (0, 0)
    assert page.by("closes_total", "reason") == {"detached": 1}


def test_what_was_out_before_is_used_until_it_is_back(engine: Engine, page: Page) -> None:
    """A soft invalidation of one that was out already counts, and does not make it idle."""
    raw = engine.raw_connection()
    exporter.instrument(engine, registry=page.registry)
    raw.invalidate(soft=True)
    assert page.connections() == (0, 1)
    assert page.by("invalidations_total", "cause") == {"soft": 1}
    raw.close()
    assert page.connections() == (1, 0)


def test_a_snapshot_asks_for_the_threads_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many connections are out, the list of threads is made once for all of them."""
    monitor = PoolMonitor(engine, name=None, leak_after=60.0, call_sites=True)
    out = [engine.connect() for _ in range(5)]
    calls: list[None] = []
    threads = threading.enumerate()

    def enumerate_() -> list[threading.Thread]:
        calls.append(None)
        return threads

    monkeypatch.setattr(threading, "enumerate", enumerate_)
    assert {row.holder for row in monitor.snapshot().connections} == {"thread MainThread"}
    assert len(calls) == 1
    for each in out:
        each.close()
    monitor.stop()
