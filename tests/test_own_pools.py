"""Pools of a class of one's own: they stay what they are, and nothing of theirs runs because they are watched."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import Pool, QueuePool

import exporter
from own_pools import (
    FinalPool,
    NumberedPool,
    RegisteredPool,
    SelfAwarePool,
    SlottedPool,
    StrictPool,
    StubbornPool,
    TalkativePool,
)
from pages import Page
from wires import Line

pytestmark = pytest.mark.usefixtures("nothing_contained")


OWN = (
    FinalPool, NumberedPool, RegisteredPool, SelfAwarePool, SlottedPool, StrictPool, StubbornPool, TalkativePool,
)  # fmt: skip


@pytest.mark.parametrize("pool_class", OWN, ids=lambda each: each.__name__)
def test_a_pool_of_ones_own_is_watched_beyond_dispose(
    engine_of: Callable[..., Engine], page: Page, pool_class: type[Pool]
) -> None:
    """A user's pool class stays what it is, by name and by what it does, and dispose() loses nothing of it."""
    engine = engine_of(pool_class, pool_size=1, max_overflow=1)
    for _ in range(2):
        assert isinstance(engine.pool, pool_class)
        assert engine.pool.__class__ is pool_class
        assert type(engine.pool) is not pool_class  # the price of it
        assert type(engine.pool).__name__ == type(engine.pool).__qualname__ == pool_class.__name__
        with engine.connect(), engine.connect():
            assert page.connections() == (0, 2)
        assert page.connections() == (1, 0)
        engine.dispose()
    assert page.value("disposals_total") == 2
    assert page.value("checkouts_total") == page.value("checkins_total") == page.value("connects_total") == 4
    assert page.by("closes_total", "reason") == {"overflow": 2, "disposed": 2}
    assert page.by("info", "pool_class") == {pool_class.__name__: 1}


def test_what_inherits_from_a_pool_of_ones_own_does_not_hear_of_us(engine_of: Callable[..., Engine]) -> None:
    """A class that keeps a list of its subclasses has none of ours on it; and to set the class still works."""
    engine = engine_of(RegisteredPool)
    engine.connect().close()
    assert RegisteredPool.registered == []
    engine.pool.__class__ = RegisteredPool  # whoever sets it has his will, and we are gone
    assert type(engine.pool) is RegisteredPool
    engine.connect().close()


def test_what_a_pool_of_ones_own_overrides_still_runs(engine_of: Callable[..., Engine]) -> None:
    """What a user's pool does at checkout and return it does as before."""
    engine = engine_of(TalkativePool)
    engine.connect().close()
    assert engine.pool.said == ["connect", "return"]  # type: ignore[attr-defined]


def test_a_pool_made_from_a_watched_class_works_unheard(
    engine_of: Callable[..., Engine], line: Line, page: Page
) -> None:
    """Whoever takes a watched pool's class for a pool of his own gets one that works, and that nobody counts."""
    engine = engine_of(QueuePool)
    other = create_engine("sqlite:///other.db", creator=line, poolclass=type(engine.pool), pool_size=1, max_overflow=0)
    for _ in range(2):
        other.connect().close()
        other.dispose()
    assert page.value("checkouts_total") == 0
    exporter.instrument(other, name=page.pool, registry=page.registry)
    other.connect().close()
    assert page.value("checkouts_total") == 1
    exporter.uninstrument(other)
    other.dispose()
