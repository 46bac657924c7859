"""Pools that come without a word: given without their engine, put into it by hand, or made for somebody else's."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import QueuePool

import exporter
from pages import Page
from wires import Line

pytestmark = pytest.mark.usefixtures("nothing_contained")


def test_a_pool_alone_is_watched_beyond_dispose(engine: Engine, page: Page) -> None:
    """A pool that was given without its engine leads to the one that the engine's dispose() puts in its place."""
    exporter.instrument(engine.pool, name=page.pool, registry=page.registry)
    for close in (True, False):
        engine.connect().close()
        engine.dispose(close=close)
        with engine.connect():
            assert page.connections() == (0, 1)
        assert page.connections() == (1, 0)
    assert page.value("size") == 5


def test_the_engine_of_a_pool_that_is_watched_takes_its_place(engine: Engine, page: Page) -> None:
    """instrument(pool), then instrument(engine): it is one pool, of the engine's name from then on."""
    exporter.instrument(engine.pool, registry=page.registry)
    handle = exporter.instrument(engine, registry=page.registry)
    assert handle.name == page.pool
    engine.dispose()
    with engine.connect():
        assert page.connections() == (0, 1)


def test_a_pool_that_is_put_in_by_hand_is_heard_from_the_next_look_on(engine: Engine, page: Page, line: Line) -> None:
    """An engine that is given another pool shows that one, and what is open in it already, by a look or anew."""
    exporter.instrument(engine, registry=page.registry)
    for look in (lambda: page.value("size"), lambda: exporter.instrument(engine, registry=page.registry)):
        engine.pool = QueuePool(line, pool_size=7, dialect=engine.dialect)
        out = engine.connect()
        look()
        assert page.connections() == (0, 1)
        assert page.value("size") == 7
        out.close()
        before = page.value("checkouts_total")
        with engine.connect():
            assert page.connections() == (0, 1)
        assert page.value("checkouts_total") == before + 1
    engine.pool.dispose()


def test_an_engine_may_be_instrumented_in_the_midst_of_its_dispose(engine: Engine, page: Page) -> None:
    """Between recreate() and the assignment the engine has its old pool still; the new one is heard all the same."""
    own: Any = engine.pool.recreate

    def recreate() -> Any:
        pool = own()
        exporter.instrument(engine, registry=page.registry)
        return pool

    engine.pool.recreate = recreate  # type: ignore[method-assign]
    engine.dispose()
    with engine.connect():
        assert page.connections() == (0, 1)
    assert page.connections() == (1, 0)


def test_a_pool_that_another_engine_takes_is_none_of_ours(engine: Engine, page: Page) -> None:
    """Whoever calls recreate() for an engine of his own has a pool that nobody watches."""
    exporter.instrument(engine, registry=page.registry)
    other = create_engine("sqlite:///other.db", pool=engine.pool.recreate())
    raw = other.raw_connection()
    raw.invalidate(soft=True)
    raw.detach()
    raw.close()
    other.connect().close()
    other.dispose()
    assert page.by("closes_total", "reason") == page.by("invalidations_total", "cause") == {}
    assert page.values("orphaned", "connects_total", "detaches_total") == {
        "orphaned": 0,
        "connects_total": 0,
        "detaches_total": 0,
    }
