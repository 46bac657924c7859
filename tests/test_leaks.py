"""Checkouts that are out for too long: counted once each, said once, and traced to the place that took them."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import QueuePool

import exporter
from applications import application
from pages import Page, threads_of_the_driver_ended
from wires import Line

AT_ONCE = 1e-9
"""A leak_after that every checkout passes."""


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return what was said about leaks since the last time, ages and line numbers left out."""
    caplog.set_level(logging.WARNING, logger="exporter.leaks")

    def since() -> list[str]:
        messages = [re.sub(r"\d+\.\d s|(?<=\.py):\d+", "", message) for message in caplog.messages]
        caplog.clear()
        return messages

    return since


def test_an_overdue_checkout_is_counted_once(engine: Engine, page: Page) -> None:
    """However often the page is read, a checkout becomes overdue once; it is overdue no longer when it is back."""
    exporter.instrument(engine, registry=page.registry, leak_after=AT_ONCE)
    with engine.connect():
        for _ in range(3):
            assert page.values("overdue", "overdue_checkouts_total") == {"overdue": 1, "overdue_checkouts_total": 1}
    for _ in range(3):
        assert page.values("overdue", "overdue_checkouts_total") == {"overdue": 0, "overdue_checkouts_total": 1}


@pytest.mark.parametrize("end", ["close", "invalidate", "detach", "forget"])
def test_one_that_ended_before_anyone_looked_is_counted(engine: Engine, page: Page, end: str) -> None:
    """A checkout that was overdue counts also when it ends between two scrapes, in whichever way."""
    exporter.instrument(engine, registry=page.registry, leak_after=AT_ONCE)
    for _ in range(3):
        raw = engine.raw_connection()
        if end != "forget":
            getattr(raw, end)()
            raw.close()
        del raw
        gc.collect()
    assert page.values("overdue", "overdue_checkouts_total") == {"overdue": 0, "overdue_checkouts_total": 3}


def test_thousands_that_nobody_reads_are_counted(engine: Engine, page: Page, caplog: pytest.LogCaptureFixture) -> None:
    """What is kept for the log is bounded; the count is not."""
    caplog.set_level(logging.CRITICAL, logger="exporter.leaks")
    exporter.instrument(engine, registry=page.registry, leak_after=AT_ONCE)
    for _ in range(2500):
        engine.raw_connection().close()
    assert page.value("overdue_checkouts_total") == 2500


def test_one_that_is_not_overdue_is_not_counted(engine: Engine, page: Page) -> None:
    """Below leak_after nothing is overdue."""
    exporter.instrument(engine, registry=page.registry, leak_after=3600)
    with engine.connect():
        assert page.value("overdue") == 0
    assert page.value("overdue_checkouts_total") == 0
    assert page.by("overdue_by_site", "site") == {}


def test_an_orphan_is_overdue_too(engine: Engine, page: Page) -> None:
    """A connection that is out of a pool that was disposed of is as forgotten as any."""
    exporter.instrument(engine, registry=page.registry, leak_after=AT_ONCE)
    with engine.connect():
        engine.dispose()
        assert page.values("overdue", "orphaned") == {"overdue": 1, "orphaned": 1}


def test_it_is_said_when_it_is_found_and_when_it_comes_back(
    engine: Engine, page: Page, said: Callable[[], list[str]]
) -> None:
    """One warning with pool, age, thread and place; one more when the connection comes back after all."""
    exporter.instrument(engine, registry=page.registry, leak_after=AT_ONCE)
    where = "test_leaks.py test_it_is_said_when_it_is_found_and_when_it_comes_back by thread MainThread"
    with engine.connect():
        page.counts()
        page.counts()
        assert said() == [
            f"pool sqlite:///shop.db: a connection taken at {where} has been out for , longer than leak_after=1e-09 s"
        ]
    page.counts()
    page.counts()
    assert said() == [f"pool sqlite:///shop.db: the connection taken at {where} came back after "]


def test_it_is_said_also_when_it_is_back_already(engine: Engine, page: Page, said: Callable[[], list[str]]) -> None:
    """One that came and went between two scrapes is said once, with its age."""
    exporter.instrument(engine, registry=page.registry, leak_after=AT_ONCE)
    engine.connect().close()
    page.counts()
    page.counts()
    (line,) = said()
    assert line.endswith("by thread MainThread was out for , longer than leak_after=1e-09 s, before it came back")


def test_it_is_said_how_it_ended(engine: Engine, page: Page, said: Callable[[], list[str]]) -> None:
    """One that was detached or closed while it was overdue did not come back."""
    exporter.instrument(engine, registry=page.registry, leak_after=AT_ONCE)
    for end, words in (("detach", "was detached"), ("invalidate", "was closed")):
        raw = engine.raw_connection()
        page.counts()
        getattr(raw, end)()
        page.counts()
        assert said()[1].endswith(f"by thread MainThread {words} after ")
        raw.close()


def test_one_that_was_overdue_stays_so(engine: Engine, page: Page, said: Callable[[], list[str]]) -> None:
    """What was found overdue is counted and said to its end, also when leak_after is raised meanwhile, and lowered."""
    exporter.instrument(engine, registry=page.registry, leak_after=AT_ONCE)
    both = engine.connect(), engine.connect()
    assert page.value("overdue_checkouts_total") == 2
    exporter.instrument(engine, registry=page.registry, leak_after=100)
    assert page.values("overdue", "overdue_checkouts_total") == {"overdue": 0, "overdue_checkouts_total": 2}
    said()
    for each in both:
        each.close()
    assert page.value("overdue_checkouts_total") == 2
    assert ["came back after" in line for line in said()] == [True, True]
    exporter.instrument(engine, registry=page.registry, leak_after=AT_ONCE)
    with engine.connect():
        assert page.values("overdue", "overdue_checkouts_total") == {"overdue": 1, "overdue_checkouts_total": 3}
    assert page.value("overdue_checkouts_total") == 3


def test_the_thread_that_took_it_is_named(engine: Engine) -> None:
    """The holder is the thread's name while it lives, and that it has ended when it has."""
    handle = exporter.instrument(engine, leak_after=AT_ONCE)
    held: list[Any] = []
    go, done = threading.Event(), threading.Event()

    def work() -> None:
        held.append(engine.connect())
        go.set()
        done.wait()

    thread = threading.Thread(target=work, name="import of orders")
    thread.start()
    go.wait()
    (row,) = handle.snapshot().connections
    assert row.holder == "thread import of orders"
    done.set()
    thread.join()
    (row,) = handle.snapshot().connections
    assert row.holder == f"thread {thread.ident} (ended)"
    held.pop().close()
    (row,) = handle.snapshot().connections
    assert (row.state, row.site, row.holder) == ("idle", None, None)


def test_sites_are_bounded(tmp_path: Path, page: Page) -> None:
    """Twenty call sites are shown, the rest is summed as other: code invents sites, and labels must not."""
    engine = create_engine("sqlite:///shop.db", creator=Line(tmp_path / "shop.db"), pool_size=0, poolclass=QueuePool)
    exporter.instrument(engine, registry=page.registry, leak_after=AT_ONCE)
    held = []
    for number in range(25):
        module = application(tmp_path, f"site_{number}", "def take(engine):\n    return engine.connect()\n")
        held.append(module.take(engine))
    sites = page.by("overdue_by_site", "site")
    assert len(sites) == 21
    assert sites["other"] == 5
    for connection in held:
        connection.close()
    exporter.uninstrument(engine)
    engine.dispose()


def test_without_call_sites_none_is_taken(engine: Engine, page: Page) -> None:
    """call_sites=False takes none; what is overdue is then at a place unknown."""
    handle = exporter.instrument(engine, registry=page.registry, leak_after=AT_ONCE, call_sites=False)
    with engine.connect():
        (row,) = handle.snapshot().connections
        assert row.site == "unknown"
        assert page.by("overdue_by_site", "site") == {"unknown": 1}


def test_call_sites_can_be_turned_off_later(engine: Engine) -> None:
    """Once call sites are off, a connection's former site is not shown for its next checkout."""
    handle = exporter.instrument(engine)
    engine.connect().close()
    exporter.instrument(engine, call_sites=False)
    with engine.connect():
        (row,) = handle.snapshot().connections
        assert row.site == "unknown"


# What nobody gives back.


def test_what_is_left_to_the_collector_is_counted(engine: Engine, page: Page) -> None:
    """A connection that is dropped comes back by way of the collector, and is counted as such once."""
    exporter.instrument(engine, registry=page.registry)
    for _ in range(2):
        raw = engine.raw_connection()
        circle: list[Any] = [raw]
        circle.append(circle)
        del raw, circle
        gc.collect()
    assert page.value("garbage_collected_total") == 2
    assert page.value("checkouts_total") == page.value("checkins_total") == page.value("use_seconds_count") == 2
    assert page.connections() == (1, 0)
    assert page.value("connects_total") == 1


@pytest.mark.filterwarnings("ignore:The garbage collector is trying to clean up")
@pytest.mark.filterwarnings("ignore:.* was deleted before being closed")
def test_what_a_task_leaves_to_the_collector_is_counted(tmp_path: Path, page: Page) -> None:
    """An asynchronous connection that is dropped is ended by SQLAlchemy: a return, and a close for that reason."""
    pytest.importorskip("aiosqlite")

    async def live() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db")
        exporter.instrument(engine, registry=page.registry)
        for _ in range(2):
            connection = await engine.connect()
            del connection
            gc.collect()
        await asyncio.sleep(0)
        assert page.value("garbage_collected_total") == 2
        assert page.value("checkouts_total") == page.value("checkins_total") == page.value("connects_total") == 2
        assert page.by("closes_total", "reason") == {"garbage_collected": 2}
        assert page.values("detaches_total", "detached") == {"detaches_total": 0, "detached": 0}
        assert page.connections() == (0, 0)
        exporter.uninstrument(engine)
        await engine.dispose()
        await threads_of_the_driver_ended()

    asyncio.run(live())
