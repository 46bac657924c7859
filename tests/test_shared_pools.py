"""A pool of two engines: the second brings a dialect of its own, with which the pool pings from then on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import QueuePool

import exporter
from pages import Page
from wires import Line


@pytest.fixture
def engine(tmp_path: Path, page: Page) -> Iterator[Engine]:
    """An instrumented engine that pings."""
    line = Line(tmp_path / "shop.db")
    engine = create_engine("sqlite:///shop.db", creator=line, poolclass=QueuePool, pool_pre_ping=True)
    exporter.instrument(engine, registry=page.registry)
    engine.connect().close()  # what is fresh is not pinged
    yield engine
    exporter.uninstrument(engine)
    engine.dispose()


def pings(page: Page, *engines: Engine) -> float:
    """Take a connection from each engine, and return how many pings the page has then."""
    for engine in engines:
        engine.connect().close()
    return page.value("ping_seconds_count")


def test_the_second_engine_s_pings_are_heard_once_it_is_instrumented(engine: Engine, page: Page) -> None:
    """Whoever instruments the second engine too hears every ping of the pool, each once."""
    second = create_engine("sqlite:///shop.db", pool=engine.pool)
    exporter.instrument(second, registry=page.registry)
    assert pings(page, engine, second, engine) == 3


def test_the_second_engine_s_pings_are_heard_from_the_next_look_on(engine: Engine, page: Page) -> None:
    """Where nobody instruments it, the next look at the page notices that the pool has another dialect."""
    second = create_engine("sqlite:///shop.db", pool=engine.pool)
    before = page.value("ping_seconds_count")
    assert pings(page, engine, second) == before + 2
    assert pings(page, second, engine) == before + 4


def test_after_dispose_both_engines_pings_are_heard(engine: Engine, page: Page) -> None:
    """The pool that dispose() makes has the second engine's dialect; each ping counts once."""
    second = create_engine("sqlite:///shop.db", pool=engine.pool)
    exporter.instrument(second, registry=page.registry)
    engine.dispose()
    engine.connect().close()
    before = page.value("ping_seconds_count")
    assert pings(page, engine, engine) == before + 2


def test_a_ping_that_somebody_wrapped_meanwhile_counts_once(engine: Engine, page: Page) -> None:
    """Somebody who puts himself before our ears is no other dialect."""
    ours = engine.dialect.do_ping
    engine.dialect.do_ping = lambda dbapi_connection: bool(ours(dbapi_connection))  # type: ignore[method-assign]
    assert page.value("ping_seconds_count") == 0
    assert pings(page, engine, engine) == 2
    engine.dialect.do_ping = ours  # type: ignore[method-assign]


def test_uninstrumenting_leaves_both_dialects_as_they_were(engine: Engine, page: Page) -> None:
    """Neither the first engine's dialect nor the second's keeps anything of ours."""
    second = create_engine("sqlite:///shop.db", pool=engine.pool)
    pings(page, engine)
    assert "do_ping" in vars(second.dialect)
    exporter.uninstrument(engine)
    assert "do_ping" not in vars(engine.dialect)
    assert "do_ping" not in vars(second.dialect)


def test_each_has_a_pool_of_its_own_once_one_disposes_of_it(engine: Engine, page: Page) -> None:
    """What the engine that disposed of the pool opens is used, not orphaned; what the other opens counts as before."""
    second = create_engine("sqlite:///shop.db", pool=engine.pool)
    exporter.instrument(second, registry=page.registry)
    second.dispose()
    with second.connect():
        assert page.connections() == (0, 1)
        with engine.connect():
            assert page.connections() == (0, 2)
    assert page.connections() == (2, 0)
    assert page.values("size", "orphaned") == {"size": 10, "orphaned": 0}
    engine.dispose()
    assert page.connections() == (1, 0)
    second.dispose()
    assert page.connections() == (0, 0)
    exporter.uninstrument(engine)
    assert type(engine.pool) is type(second.pool) is QueuePool
