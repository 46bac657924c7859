"""Every driver that users of SQLAlchemy have: the server's ids of its connections, and what it calls a dead one."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from asyncpg import PostgresError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

import exporter
from driven import Driven, Work, driven
from pages import Page, settled
from sites import Site, sessions_of
from waiting import eventually

ASK = {"mysql": text("select connection_id()"), "postgresql": text("select pg_backend_pid()")}

EXPIRE = {"mysql": text("set session wait_timeout = 1"), "postgresql": text("set idle_session_timeout = 500")}
"""Lets the server end this session as soon as it has been idle for a moment."""

LOST = {"2006", "2013"}  # met when writing or when reading

DRIVERS = {
    "mysql+pymysql": {"killed": LOST, "expired": LOST},
    "mysql+mysqldb": {"killed": LOST, "expired": LOST},
    "mysql+mysqlconnector": {"killed": {"2013", "2055"}, "expired": {"2013", "2055"}},
    "mariadb+mariadbconnector": {"killed": LOST, "expired": LOST},
    "mysql+aiomysql": {"killed": LOST, "expired": LOST},
    "mysql+asyncmy": {"killed": LOST, "expired": LOST},
    "postgresql+psycopg": {"killed": {"57P01"}, "expired": {"57P05"}},
    "postgresql+psycopg2": {"killed": {"other"}, "expired": {"other"}},
    "postgresql+pg8000": {"killed": {"other"}, "expired": {"other"}},
    "postgresql+psycopg_async": {"killed": {"57P01"}, "expired": {"57P05"}},
    "postgresql+asyncpg": {"killed": {"57P01"}, "expired": {"57P05"}},
}
"""By the name in a URL: what each driver calls a session that the server ended, by the reason that it had."""

COMPILED = {"mysql+mysqldb", "mariadb+mariadbconnector"}
"""These are compiled against MariaDB's C library. They have an environment of their own: scripts/test --drivers."""

Drive = Callable[..., Driven]
Lose = Callable[[Driven], None]

pytestmark = [
    pytest.mark.servers,
    pytest.mark.usefixtures("nothing_contained"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of drivers
    pytest.mark.filterwarnings("ignore::SyntaxWarning"),  # the same, when they are imported for the first time
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),  # they leave sockets of what was killed
    pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.Buffered:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.compiled] if name in COMPILED else []) for name in DRIVERS]
)
def driver(request: pytest.FixtureRequest) -> str:
    """Each driver in turn, by its name in a URL. None is left out because it is not there: its tests fail then."""
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


@pytest.fixture
def drive(driver: str, site: Site) -> Iterator[Drive]:
    """Makes an engine of the driver."""
    with contextlib.ExitStack() as stack:
        url = site.url(site.new_account()).set(drivername=driver)
        yield lambda **options: stack.enter_context(driven(url, **options))
    gc.collect()  # what a driver's leavings say is said to this test, not to the next


@pytest.fixture
def session(site: Site) -> Work:
    """Asks the server what it calls a connection."""
    return lambda connection: connection.scalar(ASK[site.dialect])


@pytest.fixture(params=["killed", "expired"])
def end(request: pytest.FixtureRequest) -> str:
    """Why the server ends a session: an administrator's word, or because it was idle for too long."""
    return cast("str", request.param)


@pytest.fixture
def codes(driver: str, end: str) -> set[str]:
    """What the driver may call it."""
    return DRIVERS[driver][end]


@pytest.fixture
def lose(site: Site, session: Work, end: str) -> Lose:
    """Lets the server end the session of an engine that has one connection, and uses that for it once."""

    def expiring(connection: Connection) -> int:
        connection.execute(EXPIRE[site.dialect])
        asked: int = session(connection)
        connection.commit()
        return asked

    def lose(shop: Driven) -> None:
        if end == "killed":
            site.kill(shop.run(session))
            return
        asked = shop.run(expiring)
        eventually(lambda: not sessions_of(site, str(shop.engine.url.username)))
        if site.dialect == "postgresql":  # its process leaves the list before it closes the socket
            eventually(lambda: not Path(f"/proc/{asked}").exists())

    return lose


def test_the_server_s_id_of_a_connection_is_known(drive: Drive, site: Site, page: Page, session: Work) -> None:
    """The id that we read from the driver's memory is the one that the server answers with."""
    shop = drive()
    handle = exporter.instrument(shop.engine, name=page.pool, registry=page.registry)
    asked = shop.run(session)
    assert [row.server_id for row in handle.snapshot().connections] == [asked]
    assert sessions_of(site, str(shop.engine.url.username)) == [asked]
    assert page.values("connects_total", "checkouts_total", "checkins_total") == {
        "connects_total": 1,
        "checkouts_total": 1,
        "checkins_total": 1,
    }


def test_a_connection_that_was_there_before_has_its_id_too(drive: Drive, page: Page, session: Work) -> None:
    """An engine that is instrumented late tells the id as soon as the connection is used."""
    shop = drive()
    asked = shop.run(session)
    handle = exporter.instrument(shop.engine, name=page.pool, registry=page.registry)
    assert page.connections() == (1, 0)
    assert shop.run(session) == asked
    assert [row.server_id for row in handle.snapshot().connections] == [asked]


def test_whoever_takes_a_connection_is_known(drive: Drive, page: Page, session: Work) -> None:
    """The call site is the application's, whatever the driver puts in between."""
    shop = drive()
    handle = exporter.instrument(shop.engine, name=page.pool, registry=page.registry)
    assert shop.run(session) is not None
    (site,) = shop.run(lambda _connection: [row.site for row in handle.snapshot().connections])
    assert site.startswith("driven.py:")
    assert site.partition(" ")[2] in ("_run", "_run_async")


@pytest.mark.filterwarnings("ignore:The garbage collector is trying to clean up")
@pytest.mark.filterwarnings("ignore:.* was deleted:ResourceWarning")
def test_a_connection_that_nobody_gave_back_is_met(drive: Drive, page: Page, session: Work) -> None:
    """What the garbage collector takes back is counted; a synchronous driver's goes on, an asynchronous one's ends."""
    shop = drive()
    exporter.instrument(shop.engine, name=page.pool, registry=page.registry)
    assert shop.forget(session) is not None
    assert settled(page.connections) == ((0, 0) if shop.engine.dialect.is_async else (1, 0))
    assert page.values("garbage_collected_total", "checkouts_total", "checkins_total") == {
        "garbage_collected_total": 1,
        "checkouts_total": 1,
        "checkins_total": 1,
    }


def test_a_connection_that_is_refused_is_counted(drive: Drive, site: Site, page: Page, session: Work) -> None:
    """A connection that could not be made is an error of connecting, and no checkout."""
    shop = drive()
    exporter.instrument(shop.engine, name=page.pool, registry=page.registry)
    site.run(f"DROP {'USER' if site.dialect == 'mysql' else 'ROLE'} {shop.engine.url.username}", "SELECT 1")
    with pytest.raises((DBAPIError, PostgresError)):  # SQLAlchemy 2.0 lets asyncpg's own through
        shop.run(session)
    assert page.values("connect_errors_total", "connects_total", "checkouts_total") == {
        "connect_errors_total": 1,
        "connects_total": 0,
        "checkouts_total": 0,
    }


def test_a_dead_connection_is_met_in_use(drive: Drive, page: Page, session: Work, lose: Lose, codes: set[str]) -> None:
    """A user who gets the error is counted, with the driver's code where it has one."""
    shop = drive()
    exporter.instrument(shop.engine, name=page.pool, registry=page.registry)
    lose(shop)
    with pytest.raises(DBAPIError):
        shop.run(session)
    assert page.by("stale_total", "found") == {"use": 1}
    assert set(page.by("stale_total", "code")) <= codes
    assert page.by("invalidations_total", "cause") == {"disconnect": 1}
    assert page.by("closes_total", "reason") == {"invalidated": 1}
    shop.run(session)
    assert page.value("connects_total") == 2


def test_a_dead_connection_is_met_by_the_ping(
    drive: Drive, page: Page, session: Work, lose: Lose, codes: set[str]
) -> None:
    """With pool_pre_ping no user gets an error; what the ping met is counted."""
    shop = drive(pool_pre_ping=True)
    exporter.instrument(shop.engine, name=page.pool, registry=page.registry)
    lose(shop)
    shop.run(session)
    assert page.by("stale_total", "found") == {"ping": 1}
    assert set(page.by("stale_total", "code")) <= codes
    assert page.by("invalidations_total", "cause") == {"ping": 1}
    assert page.values("connects_total", "checkouts_total", "ping_seconds_count") == {
        "connects_total": 2,
        "checkouts_total": 2,
        "ping_seconds_count": 1,
    }


@pytest.mark.compiled
@pytest.mark.parametrize("driver", ["mariadb+mariadbconnector"])
def test_a_driver_that_reconnects_unheard_has_no_id(drive: Drive, page: Page, session: Work, lose: Lose) -> None:
    """An id that may be another's by now is not told; nothing else is lost by it."""
    shop = drive(connect_args={"reconnect": True}, pool_pre_ping=True)
    handle = exporter.instrument(shop.engine, name=page.pool, registry=page.registry)
    lose(shop)
    shop.run(session)
    assert [row.server_id for row in handle.snapshot().connections] == [None]
    assert page.values("connects_total", "checkouts_total", "checkins_total") == {
        "connects_total": 1,
        "checkouts_total": 2,
        "checkins_total": 2,
    }
