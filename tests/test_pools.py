"""Every class of pool there is: what is told of each, and what is not said because it has no meaning there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AssertionPool, NullPool, Pool, QueuePool, SingletonThreadPool, StaticPool

import exporter
from pages import Page
from wires import Line

OF_QUEUES = (
    "size",
    "overflow",
    "connections_max",
    "waiting",
    "timeouts_total",
    "wait_seconds_count",
    "timeout_seconds",
)
OF_ALL = (
    "checkouts_total",
    "checkins_total",
    "connects_total",
    "use_seconds_count",
    "used_longest_seconds",
    "pre_ping",
)


pytestmark = pytest.mark.usefixtures("nothing_contained")


def test_nothing_lies_idle_in_a_null_pool(engine_of: Callable[..., Engine], page: Page) -> None:
    """How long connections lay idle, and what pings of them cost, has no number where none is kept."""
    engine = engine_of(NullPool, pool_pre_ping=True)
    engine.connect().close()
    assert (page.find("idle_seconds_count"), page.find("ping_seconds_count")) == (None, None)
    assert page.value("use_seconds_count") == 1


@pytest.mark.parametrize("pool_class", [NullPool, StaticPool, SingletonThreadPool, AssertionPool])
def test_a_pool_without_a_queue_has_no_queue_on_its_page(
    engine_of: Callable[..., Engine], page: Page, pool_class: type[Pool]
) -> None:
    """Where nobody can wait and nothing has a size, those metrics are absent, before and after use."""
    engine = engine_of(pool_class)
    for _ in range(2):
        with engine.connect():
            assert page.connections() == (0, 1)
    counts = page.values("checkouts_total", "checkins_total", "use_seconds_count")
    assert counts == {"checkouts_total": 2, "checkins_total": 2, "use_seconds_count": 2}
    assert page.value("connects_total") == (2 if pool_class is NullPool else 1)
    assert page.connections() == (0 if pool_class is NullPool else 1, 0)
    assert page.by("closes_total", "reason") == ({"overflow": 2} if pool_class is NullPool else {})
    assert {name for name in OF_QUEUES if page.find(name) is not None} == set()
    assert {name for name in OF_ALL if page.find(name) is None} == set()


@pytest.mark.parametrize("pool_class", [StaticPool, SingletonThreadPool, AssertionPool])
def test_these_pools_close_what_they_have_when_disposed_of(
    engine_of: Callable[..., Engine], page: Page, pool_class: type[Pool]
) -> None:
    """dispose() is counted once, with the connection that it closes; the next pool counts on."""
    engine = engine_of(pool_class)
    engine.connect().close()
    engine.dispose()
    engine.connect().close()
    assert page.value("disposals_total") == 1
    assert page.by("closes_total", "reason") == {"disposed": 1}
    assert page.values("connects_total", "checkouts_total") == {"connects_total": 2, "checkouts_total": 2}


def test_a_thread_that_asks_again_has_one_connection(engine_of: Callable[..., Engine], page: Page) -> None:
    """SingletonThreadPool gives a thread what it has already: one checkout, which ends with the last close()."""
    engine = engine_of(SingletonThreadPool)
    with engine.connect():
        with engine.connect(), engine.connect():
            assert page.connections() == (0, 1)
        assert page.values("checkouts_total", "checkins_total") == {"checkouts_total": 1, "checkins_total": 0}
    assert page.value("checkins_total") == 1


def test_threads_beyond_the_size_of_a_singleton_pool_close_others(
    engine_of: Callable[..., Engine], page: Page, line: Line
) -> None:
    """SingletonThreadPool makes room for one thread by closing another's connection, which counts as overflow."""
    engine = engine_of(SingletonThreadPool, pool_size=2)
    for _ in range(5):
        thread = threading.Thread(target=lambda: engine.connect().close())
        thread.start()
        thread.join()
    closes = page.by("closes_total", "reason")
    assert closes.keys() <= {"overflow", "garbage_collected"}
    assert sum(closes.values()) == len(line.closed) > 0
    assert page.value("connects_total") == page.value("checkouts_total") == page.value("checkins_total") == 5
    assert page.connections() == (line.open, 0)


def test_an_assertion_pool_refuses_a_second_checkout(engine_of: Callable[..., Engine], page: Page) -> None:
    """What AssertionPool refuses is no checkout, and the first goes on."""
    engine = engine_of(AssertionPool)
    with engine.connect():
        with pytest.raises(AssertionError, match="already checked out"):
            engine.connect()
        assert page.connections() == (0, 1)
    assert page.values("checkouts_total", "checkins_total") == {"checkouts_total": 1, "checkins_total": 1}


def test_a_static_pool_that_is_shared_counts_checkouts_only(engine_of: Callable[..., Engine], page: Page) -> None:
    """StaticPool hands its one connection to several at once: SQLAlchemy sees one return, the last, and so do we."""
    engine = engine_of(StaticPool)
    with engine.connect(), engine.connect():
        assert page.connections() == (0, 1)
    assert page.value("checkouts_total") == 2
    assert page.value("checkins_total") == page.value("use_seconds_count") == 1
    assert page.connections() == (1, 0)


@pytest.mark.parametrize(
    ("options", "most", "overflow"),
    [
        ({"pool_size": 0}, float("inf"), 0),
        ({"pool_size": 1, "max_overflow": -1}, float("inf"), 2),
        ({"pool_size": 2, "max_overflow": 1}, 3, 1),
        ({"pool_size": 3, "max_overflow": 0, "pool_use_lifo": True}, 3, 0),
        ({"pool_size": 3, "max_overflow": 0, "pool_reset_on_return": None}, 3, 0),
    ],
    ids=str,
)
def test_limits_and_ways_of_a_queue(
    engine_of: Callable[..., Engine], page: Page, options: dict[str, Any], most: float, overflow: int
) -> None:
    """However a QueuePool is set up, its limits are told, and three connections are counted."""
    engine = engine_of(QueuePool, **options)
    assert page.values("size", "connections_max") == {"size": options["pool_size"], "connections_max": most}
    held = [engine.connect() for _ in range(3)]
    assert page.connections() == (0, 3)
    assert page.value("overflow") == overflow
    for each in held:
        each.close()
    assert tuple(page.values("checkouts_total", "checkins_total", "overflow").values()) == (3, 3, 0)
    assert page.connections() == (3 - overflow, 0)


def test_settings_are_told(engine_of: Callable[..., Engine], page: Page, line: Line) -> None:
    """Recycling, timeout and ping stand on the page as they were configured; recycling only when it is on."""
    engine_of(QueuePool, pool_recycle=1800, pool_timeout=7.5, pool_pre_ping=True)
    assert tuple(page.values("recycle_seconds", "timeout_seconds", "pre_ping").values()) == (1800, 7.5, 1)
    other = Page("other")
    alone = QueuePool(line)
    exporter.instrument(alone, name=other.pool, registry=other.registry)
    assert other.find("recycle_seconds") is None
    assert other.values("timeout_seconds", "pre_ping") == {"timeout_seconds": 30, "pre_ping": 0}
    exporter.uninstrument(alone)


@pytest.mark.parametrize("options", [{}, {"poolclass": NullPool}, {"poolclass": StaticPool}], ids=str)
def test_pools_of_asynchronous_engines(tmp_path: Path, page: Page, options: dict[str, Any]) -> None:
    """An asynchronous engine is watched whatever its pool is: its own queue, none, or one connection for all."""
    pytest.importorskip("aiosqlite")

    async def live() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db", **options)
        exporter.instrument(engine, registry=page.registry)
        for _ in range(2):
            async with engine.connect():
                assert page.connections() == (0, 1)
        assert page.values("checkouts_total", "checkins_total") == {"checkouts_total": 2, "checkins_total": 2}
        assert (page.find("waiting") is None) == bool(options)
        exporter.uninstrument(engine)
        await engine.dispose()

    asyncio.run(live())
