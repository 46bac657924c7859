"""Every driver that users of SQLAlchemy have: the server's ids of its connections, and what it calls a dead one."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from typing import Any, cast

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import exporter
from exporter.contained import contained_errors
from pages import Page
from sites import Site

ASK = {"mysql": text("select connection_id()"), "postgresql": text("select pg_backend_pid()")}

DRIVERS = {
    "mysql+pymysql": "pymysql",
    "mysql+mysqldb": "MySQLdb",
    "mysql+mysqlconnector": "mysql.connector",
    "mariadb+mariadbconnector": "mariadb",
    "mysql+aiomysql": "aiomysql",
    "mysql+asyncmy": "asyncmy",
    "postgresql+psycopg": "psycopg",
    "postgresql+psycopg2": "psycopg2",
    "postgresql+pg8000": "pg8000",
    "postgresql+psycopg_async": "psycopg",
    "postgresql+asyncpg": "asyncpg",
}
"""By the name in a URL, the module that must be there."""

ASYNCHRONOUS = {"mysql+aiomysql", "mysql+asyncmy", "postgresql+psycopg_async", "postgresql+asyncpg"}

CODES = {
    "mysql+pymysql": {"2006", "2013"},
    "mysql+mysqldb": {"2006", "2013"},
    "mysql+mysqlconnector": {"2013", "2055", "other"},
    "mariadb+mariadbconnector": {"2006", "2013"},
    "mysql+aiomysql": {"2006", "2013"},
    "mysql+asyncmy": {"2006", "2013"},
    "postgresql+psycopg": {"57P01"},
    "postgresql+psycopg2": {"57P01", "other"},
    "postgresql+pg8000": {"57P01", "other"},
    "postgresql+psycopg_async": {"57P01"},
    "postgresql+asyncpg": {"57P01", "08003"},
}
"""What each driver calls a session that the server has killed: not all of them say why."""

pytestmark = [
    pytest.mark.servers,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of drivers
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),  # they leave sockets of what was killed
]


# mysqlclient and mariadb are compiled against a C library that is not on every machine; they are tried where they are.
INSTALLED = [name for name, module in DRIVERS.items() if importlib.util.find_spec(module.partition(".")[0])]


@pytest.fixture(params=INSTALLED)
def driver(request: pytest.FixtureRequest) -> str:
    """Each driver in turn, by its name in a URL."""
    return cast("str", request.param)


@pytest.fixture
def site(request: pytest.FixtureRequest, driver: str) -> Site:
    """The server that the driver speaks to."""
    name = "postgresql_site" if driver.startswith("postgresql") else "mariadb_site"
    return cast("Site", request.getfixturevalue(name))


@pytest.fixture
def page() -> Page:
    """The page of the pool of this test."""
    return Page("orders")


@pytest.fixture(autouse=True)
def _nothing_of_ours_failed() -> Iterator[None]:
    before = contained_errors()
    yield
    assert contained_errors() == before


def both_ways(driver: str, site: Site, body: Any, **options: Any) -> None:
    """Run ``body`` with an instrumented engine, and what runs a function with a Connection of it."""
    url = site.url(site.new_account()).set(drivername=driver)
    if driver not in ASYNCHRONOUS:
        engine = create_engine(url, **options)
        with_engine(engine, lambda: body(engine, lambda work: in_connection(engine, work)))
        engine.dispose()
        return
    loop = asyncio.new_event_loop()
    async_engine = create_async_engine(url, **options)

    def run(work: Any) -> Any:
        return loop.run_until_complete(in_async_connection(async_engine, work))

    with_engine(async_engine.sync_engine, lambda: body(async_engine, run))
    loop.run_until_complete(async_engine.dispose())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def with_engine(engine: Engine, body: Any) -> None:
    """Take the instrumentation off again."""
    body()
    exporter.uninstrument(engine)


def in_connection(engine: Engine, work: Any) -> Any:
    """Call ``work`` with a connection."""
    with engine.connect() as connection:
        return work(connection)


async def in_async_connection(engine: AsyncEngine, work: Any) -> Any:
    """Call ``work`` with the plain connection of an asynchronous one."""
    async with engine.connect() as connection:
        return await connection.run_sync(work)


def test_the_server_s_id_of_a_connection_is_known(driver: str, site: Site, page: Page) -> None:
    """The id that we read from the driver's memory is the one that the server answers with."""

    def body(engine: Any, run: Any) -> None:
        handle = exporter.instrument(engine, name=page.pool, registry=page.registry)
        asked = run(lambda connection: connection.scalar(ASK[site.dialect]))
        assert [row.server_id for row in handle.snapshot().connections] == [asked]
        assert asked in [row[0] for row in site.run(_sessions(site))]
        assert page.values("connects_total", "checkouts_total", "checkins_total") == {
            "connects_total": 1,
            "checkouts_total": 1,
            "checkins_total": 1,
        }

    both_ways(driver, site, body)


def test_a_connection_that_was_there_before_has_its_id_too(driver: str, site: Site, page: Page) -> None:
    """An engine that is instrumented late tells the id as soon as the connection is used."""

    def body(engine: Any, run: Any) -> None:
        asked = run(lambda connection: connection.scalar(ASK[site.dialect]))
        handle = exporter.instrument(engine, name=page.pool, registry=page.registry)
        assert page.connections() == (1, 0)
        assert run(lambda connection: connection.scalar(ASK[site.dialect])) == asked
        assert [row.server_id for row in handle.snapshot().connections] == [asked]

    both_ways(driver, site, body)


def test_a_connection_that_the_server_killed_is_met_in_use(driver: str, site: Site, page: Page) -> None:
    """A user who gets the error is counted, with the driver's code where it has one."""

    def body(engine: Any, run: Any) -> None:
        exporter.instrument(engine, name=page.pool, registry=page.registry)
        site.kill(run(lambda connection: connection.scalar(ASK[site.dialect])))
        with pytest.raises(DBAPIError):
            run(lambda connection: connection.scalar(ASK[site.dialect]))
        ((met, count),) = page.by("stale_total", "found", "code").items()
        assert count == 1
        assert met.partition(" ")[0] == "use"
        assert met.partition(" ")[2] in CODES[driver]
        assert page.by("invalidations_total", "cause") == {"disconnect": 1}
        assert page.by("closes_total", "reason") == {"invalidated": 1}
        run(lambda connection: connection.scalar(ASK[site.dialect]))
        assert page.value("connects_total") == 2

    both_ways(driver, site, body)


def test_a_connection_that_the_server_killed_is_met_by_the_ping(driver: str, site: Site, page: Page) -> None:
    """With pool_pre_ping no user gets an error; what the ping met is counted."""

    def body(engine: Any, run: Any) -> None:
        exporter.instrument(engine, name=page.pool, registry=page.registry)
        site.kill(run(lambda connection: connection.scalar(ASK[site.dialect])))
        run(lambda connection: connection.scalar(ASK[site.dialect]))
        ((met, count),) = page.by("stale_total", "found", "code").items()
        assert count == 1
        assert met.partition(" ")[0] == "ping"
        assert met.partition(" ")[2] in CODES[driver]
        assert page.by("invalidations_total", "cause") == {"ping": 1}
        assert page.values("connects_total", "checkouts_total", "ping_seconds_count") == {
            "connects_total": 2,
            "checkouts_total": 2,
            "ping_seconds_count": 1,
        }

    both_ways(driver, site, body, pool_pre_ping=True)


def _sessions(site: Site) -> str:
    if site.dialect == "mysql":
        return "select id from information_schema.processlist"
    return "select pid from pg_stat_activity"
