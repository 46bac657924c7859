"""Engines as applications have them: views, shared pools, several of one name, late, twice, after dispose()."""

from __future__ import annotations

import asyncio
import gc
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker
from sqlalchemy.pool import NullPool, QueuePool

import exporter
from attaching import SHOP, checkouts, cleared_away, use, value
from exporter.letterbox import Letterbox
from exporter.watch import Watch
from exporter.wish import Wish

MakeEngine = Callable[..., Engine]


@pytest.fixture
def make_engine(tmp_path: Path) -> Iterator[MakeEngine]:
    with cleared_away() as keep:
        yield lambda **options: keep(create_engine(f"sqlite:///{tmp_path}/shop.db", **options))


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_a_view_of_an_engine_is_the_engine(make_engine: MakeEngine, registry: CollectorRegistry) -> None:
    """Instrumenting a view of a view watches the engine's own pool, also when the views are gone."""
    engine = make_engine()
    view = engine.execution_options(isolation_level="AUTOCOMMIT").execution_options(logging_token="orders")
    handle = exporter.instrument(view, registry=registry)
    use(view)
    view.dispose()
    del view
    gc.collect()
    use(engine)
    assert handle.name == SHOP
    assert checkouts(registry) == {SHOP: 2}
    assert value(registry, "connections", state="idle") == 1
    exporter.uninstrument(engine.execution_options(isolation_level="AUTOCOMMIT"))
    assert checkouts(registry) == {}


def test_engines_that_share_a_pool(make_engine: MakeEngine, registry: CollectorRegistry) -> None:
    """Two engines over one pool are one instrumentation, and the first name stays."""
    first = make_engine(pool_size=2)
    second = create_engine(first.url, pool=first.pool)
    for engine in (first, second):
        exporter.instrument(engine, registry=registry)
    use(first)
    use(second)
    assert checkouts(registry) == {SHOP: 2}
    assert (value(registry, "size"), value(registry, "connections", state="idle")) == (2, 1)


def test_a_shared_pool_outlives_one_of_its_engines(make_engine: MakeEngine, registry: CollectorRegistry) -> None:
    """The dispose() of one engine leaves the other its pool; with both on the page, nothing counts twice."""
    first = make_engine()
    second = create_engine(first.url, pool=first.pool)
    exporter.instrument(first, registry=registry)
    use(second)
    first.dispose()
    exporter.instrument(second, registry=registry)
    use(first)
    use(second)
    assert checkouts(registry) == {SHOP: 3}
    assert value(registry, "connections", state="idle") == 2
    exporter.uninstrument(second)
    second.dispose()


def test_several_engines_of_one_name(make_engine: MakeEngine, registry: CollectorRegistry) -> None:
    """Engines of one name add up, and taking one off leaves the others, and their sum what it was."""
    engines = [make_engine(poolclass=pool_class) for pool_class in (QueuePool, NullPool, QueuePool)]
    for engine in engines:
        exporter.instrument(engine, name="orders", registry=registry)
        use(engine)
    assert checkouts(registry) == {"orders": 3}
    exporter.uninstrument(engines[0])
    assert checkouts(registry) == {"orders": 3}
    use(engines[2])
    assert checkouts(registry) == {"orders": 4}
    assert value(registry, "connections", pool="orders", state="idle") == 1
    for engine in engines[1:]:
        exporter.uninstrument(engine)
    assert checkouts(registry) == {}


def test_after_dispose(make_engine: MakeEngine, registry: CollectorRegistry) -> None:
    """An engine that was disposed of is instrumented like any other, and again after the next dispose()."""
    engine = make_engine()
    use(engine)
    engine.dispose()
    exporter.instrument(engine, registry=registry)
    use(engine)
    engine.dispose()
    exporter.instrument(engine, registry=registry)
    use(engine)
    assert checkouts(registry) == {SHOP: 2}
    assert (value(registry, "connects_total"), value(registry, "disposals_total")) == (2, 1)


def test_late_with_connections_out(make_engine: MakeEngine, registry: CollectorRegistry) -> None:
    """Connections that are out when an engine is instrumented count as used, and as idle when they come back."""
    engine = make_engine(pool_size=3)
    out, other = engine.connect(), engine.connect()
    other.close()
    exporter.instrument(engine, registry=registry)
    exporter.instrument(engine, registry=registry)
    assert [value(registry, "connections", state=state) for state in ("idle", "used")] == [1, 1]
    out.close()
    use(engine)
    assert [value(registry, "connections", state=state) for state in ("idle", "used")] == [2, 0]
    assert checkouts(registry) == {SHOP: 1}


def test_a_rename_keeps_the_counts(make_engine: MakeEngine, registry: CollectorRegistry) -> None:
    """A name given later is the pool's name from then on; what was counted goes with it."""
    engine, watch = make_engine(), Watch()  # that of this process may be publishing already
    watch.add(engine, Wish(registry=registry))
    use(engine)
    watch.add(engine, Wish(name="orders"))
    assert checkouts(registry) == {"orders": 1}
    watch.remove(engine)


def test_a_rename_takes_no_counts_from_other_processes(
    make_engine: MakeEngine, registry: CollectorRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is published under the old name, others may be adding to that: there the counts stay, for good."""
    monkeypatch.setenv("POOL_EXPORTER_DIR", str(tmp_path))
    engine, watch = make_engine(), Watch()
    watch.add(engine, Wish(registry=registry))
    use(engine)
    watch.add(engine, Wish(name="orders"))
    use(engine)
    watch.stop()
    mail = Letterbox(tmp_path).read()
    assert {pool.identity.name: pool.checkouts for pool in mail.ended} == {SHOP: 1, "orders": 1}
    assert checkouts(registry) == {"orders": 1}
    watch.remove(engine)


def test_sessions_of_a_sessionmaker(make_engine: MakeEngine, registry: CollectorRegistry) -> None:
    """Sessions take their connections from the engine that is watched; a sessionmaker itself is no engine."""
    engine = make_engine()
    exporter.instrument(engine, registry=registry)
    make = sessionmaker(engine)
    with make.begin() as session:
        session.execute(text("select 1"))
        assert value(registry, "connections", state="used") == 1
    scoped = scoped_session(make)
    scoped.execute(text("select 1"))
    scoped.remove()
    assert checkouts(registry) == {SHOP: 2}
    assert value(registry, "connections", state="used") == 0
    with pytest.raises(TypeError, match="not sessionmaker; a sessionmaker"):
        exporter.instrument(make)


def test_an_asynchronous_engine(tmp_path: Path, registry: CollectorRegistry) -> None:
    """An asynchronous engine, a view of it, its sessions and its inner engine are one pool."""
    pytest.importorskip("aiosqlite")
    asynchronous = importlib.import_module("sqlalchemy.ext.asyncio")

    async def main() -> None:
        engine = asynchronous.create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db")
        try:
            for target in (engine, engine.execution_options(isolation_level="AUTOCOMMIT"), engine.sync_engine):
                assert exporter.instrument(target, registry=registry).name == SHOP
            async with asynchronous.AsyncSession(engine) as session:
                await session.execute(text("select 1"))
                assert value(registry, "connections", state="used") == 1
            await engine.dispose()
            async with engine.connect():
                pass
            assert checkouts(registry) == {SHOP: 2}
        finally:
            exporter.uninstrument(engine)
            await engine.dispose()

    asyncio.run(main())
