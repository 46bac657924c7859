"""The application's side: real engines over SQLite files, real events, and what the registry then says."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Gauge
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool, QueuePool, StaticPool

import exporter
from pages import Page
from wires import NewEngine

# What is dropped unclosed, as these tests do on purpose, Python 3.13 complains about.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")

POOL = "sqlite:///shop.db"


def test_a_new_engine_has_an_empty_pool(new_engine: NewEngine, page: Page) -> None:
    """An engine is lazy: instrumenting it opens nothing, and every known label value is there with 0."""
    handle = exporter.instrument(new_engine(pool_size=3, max_overflow=2), registry=page.registry)
    assert handle.name == POOL
    assert page.connections() == (0, 0)
    assert (page.value("size"), page.value("overflow"), page.value("connections_max")) == (3, 0, 5)
    assert page.value("closes_total", reason="recycle") == 0
    assert page.value("invalidations_total", cause="ping") == 0
    assert page.value("used_longest_seconds") == 0
    info = {"pool_class": "QueuePool", "dialect": "sqlite", "driver": "pysqlite", "host": "", "database": "shop.db"}
    assert page.value("info", **info) == 1


def test_connections_are_used_then_idle(new_engine: NewEngine, page: Page) -> None:
    """A checkout counts as used, a return as idle, and what goes beyond the size is closed as overflow."""
    engine = new_engine(pool_size=1, max_overflow=2)
    exporter.instrument(engine, registry=page.registry)
    first, second, third = engine.connect(), engine.connect(), engine.connect()
    assert page.connections() == (0, 3)
    assert page.value("overflow") == 2
    for connection in (first, second, third):
        connection.close()
    assert page.connections() == (1, 0)
    assert page.value("overflow") == 0
    assert (page.value("checkouts_total"), page.value("checkins_total"), page.value("connects_total")) == (3, 3, 3)
    assert page.value("use_seconds_count") == 3
    assert page.by("closes_total", "reason") == {"overflow": 2}


def test_a_session_that_is_never_closed_is_seen(new_engine: NewEngine, page: Page) -> None:
    """A forgotten Session shows as used, with an age, and is overdue beyond leak_after."""
    engine = new_engine()
    exporter.instrument(engine, leak_after=1e-9, registry=page.registry)
    session = Session(engine)
    session.execute(text("select 1"))
    assert page.connections() == (0, 1)
    assert (page.value("used_longest_seconds") or 0) > 0
    assert page.value("overdue") == 1
    session.close()
    assert page.value("overdue") == 0


def test_commit_returns_the_connection_while_the_session_lives(new_engine: NewEngine, page: Page) -> None:
    """After a commit the connection is idle although the Session is open; new work takes it again."""
    engine = new_engine()
    exporter.instrument(engine, registry=page.registry)
    with Session(engine) as session:
        session.execute(text("select 1"))
        session.commit()
        assert page.connections() == (1, 0)
        session.execute(text("select 1"))
        assert page.connections() == (0, 1)
    assert page.connections() == (1, 0)
    assert page.value("checkouts_total") == 2


def test_invalidation_ends_the_use_and_the_connection(new_engine: NewEngine, page: Page) -> None:
    """An invalidated connection is counted once as invalidated and once as closed, and its use ends."""
    engine = new_engine()
    exporter.instrument(engine, registry=page.registry)
    with engine.connect() as connection:
        connection.invalidate()
        assert page.connections() == (0, 0)
    assert page.by("invalidations_total", "cause") == {"application": 1}
    assert page.by("closes_total", "reason") == {"invalidated": 1}
    assert page.value("checkouts_total") == page.value("checkins_total") == 1


def test_soft_invalidation_replaces_at_the_next_checkout(new_engine: NewEngine, page: Page) -> None:
    """A softly invalidated connection goes back to the pool and is replaced when it is taken again."""
    engine = new_engine()
    exporter.instrument(engine, registry=page.registry)
    raw = engine.raw_connection()
    raw.invalidate(soft=True)
    raw.close()
    assert page.connections() == (1, 0)
    engine.connect().close()
    assert page.by("invalidations_total", "cause") == {"soft": 1}
    assert page.by("closes_total", "reason") == {"soft_invalidated": 1}
    assert page.value("connects_total") == 2


def test_recycled_connections_say_so(new_engine: NewEngine, page: Page) -> None:
    """A connection older than pool_recycle is closed with that reason when it is taken again."""
    engine = new_engine(pool_recycle=0)  # even a brand-new connection is older than this when it is handed out
    exporter.instrument(engine, registry=page.registry)
    engine.connect().close()
    engine.connect().close()
    assert page.by("closes_total", "reason") == {"recycle": 2}
    assert page.value("connects_total") == 3


def test_a_disconnect_replaces_the_whole_pool(new_engine: NewEngine, page: Page) -> None:
    """One connection found dead in use makes the pool replace the others, and each says why."""
    engine = new_engine()
    exporter.instrument(engine, registry=page.registry)
    other, broken = engine.connect(), engine.connect()
    other.close()

    @event.listens_for(engine, "handle_error")
    def disconnect(context: object) -> None:
        context.is_disconnect = True  # type: ignore[attr-defined]

    with pytest.raises(OperationalError):
        broken.execute(text("select nonsense"))
    broken.close()
    engine.connect().close()
    assert page.by("invalidations_total", "cause") == {"disconnect": 1}
    assert page.by("closes_total", "reason") == {"invalidated": 1, "pool_invalidated": 1}


def test_a_failed_ping_is_told_apart(new_engine: NewEngine, page: Page) -> None:
    """A connection that pool_pre_ping found dead is counted with that cause: no user saw an error."""
    engine = new_engine(pool_pre_ping=True)
    exporter.instrument(engine, registry=page.registry)
    raw = engine.raw_connection()
    raw.invalidate(InvalidatePoolError())
    raw.close()
    assert page.by("invalidations_total", "cause") == {"ping": 1}


def test_a_detached_connection_leaves_the_pool(new_engine: NewEngine, page: Page) -> None:
    """A detached connection is neither idle nor used; its end is counted when it is closed."""
    engine = new_engine()
    exporter.instrument(engine, registry=page.registry)
    connection = engine.connect()
    connection.detach()
    assert page.connections() == (0, 0)
    assert page.by("closes_total", "reason") == {}
    connection.close()
    assert page.by("closes_total", "reason") == {"detached": 1}
    assert page.connections() == (0, 0)


def test_dispose_closes_the_idle_and_keeps_the_counts(new_engine: NewEngine, page: Page) -> None:
    """dispose() makes a new pool; the counters go on, and a connection still out does not count in the new one."""
    engine = new_engine()
    exporter.instrument(engine, registry=page.registry)
    out, idle = engine.connect(), engine.connect()
    idle.close()
    engine.dispose()
    assert page.by("closes_total", "reason") == {"disposed": 1}
    assert page.connections() == (0, 0)
    assert (page.value("used_longest_seconds") or 0) > 0
    out.close()
    del out
    gc.collect()
    engine.connect().close()
    assert page.connections() == (1, 0)
    assert page.value("connects_total") == 3
    assert page.by("closes_total", "reason") == {"disposed": 1, "garbage_collected": 1}


def test_a_late_start_counts_what_is_there(new_engine: NewEngine, page: Page) -> None:
    """An engine instrumented with connections out and idle has a true first page, and nothing counts twice later."""
    engine = new_engine(pool_size=2)
    out, other = engine.connect(), engine.connect()
    other.close()
    exporter.instrument(engine, registry=page.registry)
    assert page.connections() == (1, 1)
    out.close()
    assert page.connections() == (2, 0)
    both = engine.connect(), engine.connect()
    assert page.connections() == (0, 2)
    for connection in both:
        connection.close()
    assert page.connections() == (2, 0)
    assert page.value("connects_total") == 0
    assert page.value("checkouts_total") == 2


def test_twice_is_once(new_engine: NewEngine, page: Page) -> None:
    """Instrumenting an engine again, or through execution_options(), counts nothing twice."""
    engine = new_engine()
    exporter.instrument(engine, registry=page.registry)
    exporter.instrument(engine, registry=page.registry, leak_after=1e-9)
    exporter.instrument(engine.execution_options(isolation_level="AUTOCOMMIT"), registry=page.registry)
    with engine.connect():
        assert page.value("overdue") == 1
    assert page.value("checkouts_total") == 1


def test_uninstrument_takes_the_pool_off_the_page(new_engine: NewEngine, page: Page) -> None:
    """An uninstrumented pool is gone from the page; instrumented again, it starts from zero."""
    engine = new_engine()
    exporter.instrument(engine, registry=page.registry)
    engine.connect().close()
    exporter.uninstrument(engine)
    exporter.uninstrument(engine)
    assert page.find("checkouts_total") is None
    engine.connect().close()
    exporter.instrument(engine, registry=page.registry)
    assert page.value("checkouts_total") == 0
    assert page.connections() == (1, 0)
    engine.connect().close()
    assert page.value("checkouts_total") == 1
    assert page.connections() == (1, 0)


def test_pools_of_one_name_add_up(new_engine: NewEngine, page: Page) -> None:
    """Two engines of one name are one line on the page; what a collected engine had counted stays."""
    engine, other = new_engine(pool_size=3), new_engine(pool_size=4)
    for each in (engine, other):
        exporter.instrument(each, registry=page.registry)
        each.connect().close()
    assert page.value("size") == 7
    assert page.value("checkouts_total") == 2


def test_an_engine_that_is_gone_leaves_its_counts(page: Page, tmp_path: Path) -> None:
    """Short-lived engines leave their counts behind, and nothing open."""
    for _ in range(3):
        engine = create_engine(f"sqlite:///{tmp_path}/shop.db", poolclass=QueuePool)
        exporter.instrument(engine, registry=page.registry)
        engine.connect().close()
        engine.dispose()
        del engine
        gc.collect()
    assert page.value("checkouts_total") == 3
    assert page.connections() == (0, 0)
    assert page.find("size") is None


def test_a_connection_left_to_the_collector_comes_back(new_engine: NewEngine, page: Page) -> None:
    """A connection that is dropped without close() is returned by the collector, and counts as returned."""
    engine = new_engine()
    exporter.instrument(engine, registry=page.registry)
    raw = engine.raw_connection()
    assert page.connections() == (0, 1)
    del raw
    gc.collect()
    assert page.connections() == (1, 0)
    assert page.value("checkins_total") == 1


def test_unlimited_pools_have_no_limit(new_engine: NewEngine, page: Page) -> None:
    """max_overflow=-1 and pool_size=0 show +Inf."""
    exporter.instrument(new_engine(max_overflow=-1), registry=page.registry)
    assert page.value("connections_max") == float("inf")
    other = Page(POOL)
    exporter.instrument(new_engine(pool_size=0), registry=other.registry)
    assert other.value("connections_max") == float("inf")
    assert other.value("overflow") == 0


@pytest.mark.parametrize("pool_class", [NullPool, StaticPool])
def test_pools_without_a_size_say_nothing_of_it(new_engine: NewEngine, page: Page, pool_class: type) -> None:
    """A pool class that has no size has no such metric: absent, not 0."""
    engine = new_engine(poolclass=pool_class)
    exporter.instrument(engine, registry=page.registry)
    with engine.connect():
        assert page.connections() == (0, 1)
    assert (page.find("size"), page.find("overflow"), page.find("connections_max")) == (None, None, None)
    assert page.value("checkouts_total") == 1


def test_a_pool_alone_can_be_watched(tmp_path: Path, page: Page) -> None:
    """A pool without an engine is watched as well, under the name it is given."""
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db", poolclass=QueuePool)
    exporter.instrument(engine.pool, name=POOL, registry=page.registry)
    engine.connect().close()
    assert page.value("checkouts_total") == 1
    exporter.uninstrument(engine)
    engine.dispose()


def test_all_threads_are_counted(new_engine: NewEngine, page: Page) -> None:
    """Sixteen threads over a small pool are counted to the unit while the page is read."""
    engine = new_engine(pool_size=2, max_overflow=3)
    exporter.instrument(engine, registry=page.registry)

    def work() -> None:
        for _ in range(200):
            engine.raw_connection().close()

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    seen = []
    while any(thread.is_alive() for thread in threads):
        seen.append(page.value("checkouts_total") or 0)
    for thread in threads:
        thread.join()
    assert seen == sorted(seen)
    assert page.value("checkouts_total") == page.value("checkins_total") == page.value("use_seconds_count") == 3200
    idle = engine.pool.checkedin()  # type: ignore[attr-defined]
    assert page.connections() == (idle, 0)
    assert (page.value("connects_total") or 0) - sum(page.by("closes_total", "reason").values()) == idle


def test_a_pool_timeout_leaves_no_trace(new_engine: NewEngine, page: Page) -> None:
    """A caller who waits in vain has used nothing."""
    engine = new_engine(pool_size=1, max_overflow=0, pool_timeout=0.01)
    exporter.instrument(engine, registry=page.registry)
    with engine.connect(), pytest.raises(PoolTimeoutError):
        engine.connect()
    assert page.value("checkouts_total") == page.value("checkins_total") == 1


@pytest.mark.parametrize("target", [None, "postgresql://localhost/shop", object()])
def test_what_is_no_engine_is_refused(target: object) -> None:
    """A wrong argument is a TypeError that says what is wanted."""
    with pytest.raises(TypeError, match="needs an Engine, an AsyncEngine or a Pool, not"):
        exporter.instrument(target)


@pytest.mark.parametrize("leak_after", ["60", True])
def test_leak_after_must_be_a_number(new_engine: NewEngine, leak_after: Any) -> None:
    """A leak_after that is no number is refused by name."""
    with pytest.raises(TypeError, match="leak_after must be a number of seconds, not"):
        exporter.instrument(new_engine(), leak_after=leak_after)


def test_a_socket_is_no_host(page: Page) -> None:
    """A pool that goes through a socket is not taken for the server on the port of this host."""
    engine = create_engine("mysql+pymysql://shop@/orders?unix_socket=/run/mysqld/mysqld.sock")
    assert "/run/mysqld/mysqld.sock" in exporter.instrument(engine, registry=page.registry).name
    exporter.uninstrument(engine)


def test_leak_after_must_be_positive(new_engine: NewEngine) -> None:
    """A leak_after that could never be passed is refused."""
    with pytest.raises(ValueError, match="above 0, not 0"):
        exporter.instrument(new_engine(), leak_after=0)


def test_a_name_must_be_a_text(new_engine: NewEngine, page: Page) -> None:
    """A name that is no text is refused, and the other pools stay on the page."""
    exporter.instrument(new_engine(), registry=page.registry)
    with pytest.raises(TypeError, match="name must be a text, not 7"):
        exporter.instrument(new_engine(), name=7, registry=page.registry)  # type: ignore[arg-type]
    assert page.value("size") == 5


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"call_sites": "no"}, "call_sites must be True or False, not 'no'"),
        ({"registry": "mine"}, "registry must be a CollectorRegistry of prometheus_client, not 'mine'"),
    ],
)
def test_an_argument_of_a_wrong_type_is_refused(new_engine: NewEngine, wrong: dict[str, Any], said: str) -> None:
    """What cannot be meant is refused by name, for one engine and for all."""
    with pytest.raises(TypeError, match=said):
        exporter.instrument(new_engine(), **wrong)
    with pytest.raises(TypeError, match=said):
        exporter.instrument_all(**wrong)


def test_a_registry_that_is_taken_refuses_every_time(new_engine: NewEngine, page: Page) -> None:
    """Somebody else's metrics of our names are an error at each call, never a pool that silently is not shown."""
    Gauge("sqlalchemy_pool_size", "Of somebody else.", registry=page.registry)
    for _ in range(2):
        with pytest.raises(ValueError, match="sqlalchemy_pool_size"):
            exporter.instrument(new_engine(), registry=page.registry)
