"""Every cell of the table, brought about on real servers by what applications do, and seen alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

import exporter
from driven import driven
from joints import joining, reporting
from shops import NEVER_ENDS, Shop, given_back_at_work, held, looked, quietly, wrote
from sites import Site, sessions_of
from waiting import eventually

pytestmark = pytest.mark.servers

CASES = [
    ("mariadb_site", "mysql+pymysql"),
    ("mariadb_site", "mysql+asyncmy"),
    ("mariadb_schema_site", "mysql+pymysql"),
    ("postgresql_site", "postgresql+psycopg"),
    ("postgresql_site", "postgresql+asyncpg"),
]
LEAK_AFTER = 1.0
"""Seconds; MySQL says how long a session has slept in whole ones."""


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    """Each driver on its server, with a pool of one connection that pings nobody and resets nothing behind our back."""
    name, driver = request.param
    site: Site = request.getfixturevalue(name)
    url = site.url(site.new_account()).set(drivername=driver)
    with driven(url, pool_size=1, max_overflow=0, pool_reset_on_return=None) as shop:
        monitor = exporter.instrument(shop.engine, name="shop", registry=CollectorRegistry())
        with joining(site.server(), reporting(monitor), leak_after=LEAK_AFTER) as found:
            yield Shop(site, url, shop, found)


def test_idle_and_sleeping(shop: Shop) -> None:
    """A connection that was given back sleeps on the server."""
    shop.driven.run(looked)
    assert shop.sees("idle", "sleeping")
    assert shop.joining.match().holders == ()


def test_idle_and_gone(shop: Shop) -> None:
    """A connection that the server has ended while it lay idle is stale until somebody trips over it."""
    shop.driven.run(looked)
    assert shop.sees("idle", "sleeping")
    shop.end_sessions()
    assert shop.sees("idle", "gone")
    assert shop.joining.match().stale == 1
    with pytest.raises(Exception, match=r".+"):
        shop.driven.run(looked)
    shop.driven.run(looked)
    assert shop.sees("idle", "sleeping")
    assert shop.joining.match().stale == 0


def test_idle_and_active(shop: Shop) -> None:
    """A connection that was given back while a statement still ran is at work on the server."""
    shop.driven.run(looked)
    with given_back_at_work(shop):
        assert shop.sees("idle", "active")


def test_used_and_active(shop: Shop) -> None:
    """A connection in use that runs a statement works."""
    thread = threading.Thread(
        target=quietly, args=(shop, lambda connection: connection.execute(text(NEVER_ENDS[shop.site.dialect])))
    )
    thread.start()
    try:
        assert shop.sees("used", "active")
        (holder,) = shop.joining.match().holders
        assert (holder.session, holder.suspect) == ("active", False)
    finally:
        shop.end_sessions()
        thread.join()


def test_used_and_sleeping(shop: Shop) -> None:
    """A connection that is kept while nobody needs it sleeps in use, and is suspected once it has for long enough."""
    with held(shop, looked):
        assert shop.sees("used", "sleeping")
        assert eventually(lambda: shop.joining.match().leak_suspects == 1)
        (holder,) = shop.joining.match().holders
        assert (holder.pool, holder.server, holder.session, holder.suspect) == ("shop", "orders", "sleeping", True)
        assert holder.seconds > LEAK_AFTER
        assert (holder.session_seconds or 0) >= LEAK_AFTER
        assert [holder.server_id] == sessions_of(shop.site, shop.account)
        assert "driven.py" in (holder.site or "")


def test_used_and_sleeping_in_transaction(shop: Shop) -> None:
    """A connection that is kept with a transaction open holds its locks, and says who has it."""
    with held(shop, wrote):
        assert shop.sees("used", "sleeping_in_transaction")
        (holder,) = shop.joining.match().holders
        assert holder.session == "sleeping_in_transaction"
        assert holder.site is not None


def test_used_and_gone(shop: Shop) -> None:
    """A connection whose session is ended in use is gone before its user knows."""
    with held(shop, looked):
        assert shop.sees("used", "sleeping")
        shop.end_sessions()
        assert shop.sees("used", "gone")
        assert [holder.session for holder in shop.joining.match().holders] == ["gone"]


def test_when_the_server_closes_it(shop: Shop) -> None:
    """The timeout that the account's sessions have, less what they have slept; without one there is no end to tell."""
    shop.driven.run(looked)
    assert shop.sees("idle", "sleeping")
    if shop.site.dialect == "postgresql":
        assert shop.joining.match().expiry is None
        shop.site.run(f"ALTER ROLE {shop.account} SET idle_session_timeout = '8h'", "SELECT 1")
    found = shop.joining.match().expiry
    assert found is not None
    assert 28800 - 120 < found < 28800


def test_unowned(shop: Shop) -> None:
    """A session that an engine of one request has left open is nobody's; those of the pool are not counted."""
    shop.driven.run(looked)
    assert shop.sees("idle", "sleeping")
    (before,) = eventually(lambda: shop.joining.unowned(shop.account))
    assert before.count == 0
    with driven(shop.url, pool_size=1) as forgotten:
        forgotten.run(looked)
        assert eventually(lambda: [each.count for each in shop.joining.unowned(shop.account)] == [1], within=20)
        assert shop.sees("idle", "sleeping")
    assert eventually(lambda: [each.count for each in shop.joining.unowned(shop.account)] == [0])


def test_an_orphaned_pool_s_session_is_unowned(shop: Shop) -> None:
    """A connection that was out when its pool was disposed of belongs to none any more, and shows when it sleeps."""
    shop.driven.run(looked)
    assert shop.sees("idle", "sleeping")
    engine = shop.driven.engine
    synchronous = engine.sync_engine if isinstance(engine, AsyncEngine) else engine
    pool = synchronous.pool
    with held(shop, looked):
        synchronous.dispose(close=False)  # nothing is in it
        assert eventually(lambda: [each.count for each in shop.joining.unowned(shop.account)] == [1], within=20)
    shop.driven.run(lambda _connection: pool.dispose())
