"""Pools whose class cannot be swapped, or whose methods were: heard by SQLAlchemy's events alone, never harmed."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

import exporter
from exporter.contained import contained_errors
from own_pools import FinalSlottedPool, NumberedSlottedPool
from pages import Page
from wires import Line, NewEngine

REFUSING = (FinalSlottedPool, NumberedSlottedPool)
ABSENT = (
    "waiting", "waiting_longest_seconds", "wait_seconds_count", "timeouts_total", "connect_errors_total",
    "disposals_total",
)  # fmt: skip
MakeEngine = Callable[..., Engine]


@pytest.fixture
def make_engine(line: Line, page: Page) -> Iterator[MakeEngine]:
    """Make an instrumented engine; but for its class that cannot be swapped, nothing of ours may have failed."""
    engines: list[Engine] = []
    before = contained_errors()

    def make(pool_class: type[QueuePool], **options: Any) -> Engine:
        engine = create_engine("sqlite:///shop.db", creator=line, poolclass=pool_class, **options)
        engines.append(engine)
        exporter.instrument(engine, registry=page.registry)
        return engine

    yield make
    for engine in engines:
        exporter.uninstrument(engine)
        engine.dispose()
    assert {**contained_errors(), "swap": 0} == {**before, "swap": 0}
    assert contained_errors()["swap"] >= before.get("swap", 0) + len(engines)


@pytest.mark.parametrize("pool_class", REFUSING, ids=lambda each: each.__name__)
def test_a_class_that_refuses_is_heard_by_its_events(
    make_engine: MakeEngine, page: Page, pool_class: type[QueuePool]
) -> None:
    """instrument() raises nothing, the pool stays of its class, its use is counted beyond dispose()."""
    engine = make_engine(pool_class, pool_size=1, max_overflow=1)
    for round_ in (1, 2):
        assert type(engine.pool) is pool_class
        with engine.connect(), engine.connect():
            assert page.connections() == (0, 2)
        assert page.connections() == (1, 0)
        assert page.values("checkouts_total", "checkins_total", "connects_total", "connect_seconds_count") == {
            "checkouts_total": 2 * round_,
            "checkins_total": 2 * round_,
            "connects_total": 2 * round_,
            "connect_seconds_count": 2 * round_,
        }
        engine.dispose()
    assert page.by("closes_total", "reason") == {"overflow": 2, "disposed": 2}
    assert page.by("info", "pool_class") == {pool_class.__name__: 1}


def test_what_no_event_tells_is_absent(make_engine: MakeEngine, page: Page) -> None:
    """Waits, timeouts, failed connects and disposals have no number there, not 0; what a pool says of itself has."""
    engine = make_engine(FinalSlottedPool, pool_size=1, max_overflow=0, pool_timeout=0.01)
    with engine.connect(), pytest.raises(PoolTimeoutError):
        engine.connect()
    engine.dispose()
    assert {name for name in ABSENT if page.find(name) is not None} == set()
    assert page.values("size", "connections_max", "timeout_seconds") == {
        "size": 1,
        "connections_max": 1,
        "timeout_seconds": 0.01,
    }


def test_a_whole_life_is_told(make_engine: MakeEngine, page: Page, line: Line) -> None:
    """Invalidated, detached, forgotten, found dead by a ping, not to be made: all adds up, and no place is lost."""
    engine = make_engine(FinalSlottedPool, pool_size=2, max_overflow=0, pool_timeout=5, pool_pre_ping=True)
    for soft in (False, True):
        raw = engine.raw_connection()
        raw.invalidate(soft=soft)
        raw.close()
    detached = engine.raw_connection()
    detached.detach()
    assert page.values("detached", "detaches_total") == {"detached": 1, "detaches_total": 1}
    detached.close()
    del raw
    forgotten = [engine.raw_connection()]
    forgotten.append(forgotten)  # type: ignore[arg-type]
    del forgotten
    gc.collect()
    for record in engine.pool._pool.queue:  # type: ignore[attr-defined]  # noqa: SLF001
        if record.driver_connection is not None:
            record.driver_connection.close()
    engine.connect().close()
    engine.dispose()
    line.failing = 1.0
    for _ in range(3):  # more than there are places
        with pytest.raises(DBAPIError):
            engine.connect()
    line.failing = 0.0
    with engine.connect(), engine.connect():
        assert page.connections() == (0, 2)
    assert page.values("checkouts_total", "checkins_total", "garbage_collected_total") == {
        "checkouts_total": 7,
        "checkins_total": 6,
        "garbage_collected_total": 1,
    }
    assert page.by("invalidations_total", "cause") == {"application": 1, "soft": 1, "ping": 1}
    closes = {"invalidated": 2, "soft_invalidated": 1, "detached": 1, "disposed": 1}
    assert page.by("closes_total", "reason") == closes
    assert page.value("ping_seconds_count") > 0
    assert page.value("connects_total") == len(line.made) == sum(closes.values()) + 2


def test_a_call_site_is_found_through_the_events(make_engine: MakeEngine, page: Page) -> None:
    """The place that took a connection is the application's here too, and so is the thread."""
    engine = make_engine(FinalSlottedPool)
    handle = exporter.instrument(engine, registry=page.registry)
    with engine.connect():
        (row,) = handle.snapshot().connections
        assert row.site is not None
        assert row.site.endswith("test_a_call_site_is_found_through_the_events")
        assert row.holder == f"thread {threading.current_thread().name}"


def test_threads_are_counted_to_the_unit(make_engine: MakeEngine, page: Page) -> None:
    """Many threads that share such a pool are counted exactly, as long as none detaches."""
    engine = make_engine(FinalSlottedPool, pool_size=3, max_overflow=2)

    def work() -> None:
        for turn in range(200):
            raw = engine.raw_connection()
            if turn % 10 == 0:
                raw.invalidate()
            raw.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert page.values("checkouts_total", "checkins_total", "use_seconds_count") == {
        "checkouts_total": 1600,
        "checkins_total": 1600,
        "use_seconds_count": 1600,
    }
    assert page.by("invalidations_total", "cause") == {"application": 160}


def test_letting_go_and_coming_back_counts_once(make_engine: MakeEngine, page: Page) -> None:
    """Uninstrumented, such a pool is as it was, its ping too; instrumented again, nothing counts twice."""
    engine = make_engine(FinalSlottedPool)
    exporter.uninstrument(engine)
    assert "do_ping" not in vars(engine.dialect)
    engine.connect().close()
    before = contained_errors()["swap"]
    exporter.instrument(engine, registry=page.registry)
    engine.connect().close()
    assert page.values("checkouts_total", "checkins_total") == {"checkouts_total": 1, "checkins_total": 1}
    exporter.uninstrument(engine)
    assert contained_errors()["swap"] == before + 1


def test_a_pool_whose_connect_was_replaced_is_heard_by_its_events(new_engine: NewEngine, page: Page) -> None:
    """Somebody who put a function before a pool's own connect(), before us, has it called; its uses count."""
    engine = new_engine()
    calls: list[None] = []
    own: Any = engine.pool.connect

    def connect() -> Any:
        calls.append(None)
        return own()

    engine.pool.connect = connect  # type: ignore[method-assign]
    exporter.instrument(engine, registry=page.registry)
    with engine.connect():
        assert page.connections() == (0, 1)
    assert page.values("checkouts_total", "checkins_total") == {"checkouts_total": 1, "checkins_total": 1}
    assert len(calls) == 1
