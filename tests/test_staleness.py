"""Connections that died behind the pool's back, on real servers: how each was met, and what it was called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

import exporter
from pages import Page
from sites import Site, session_id, sessions_of
from waiting import eventually

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # drivers leave sockets of what was killed

SELECT = text("select 1")
KILLED = {"mysql": ("2006", "2013"), "postgresql": ("57P01",)}


@pytest.fixture(params=["mariadb_site", "postgresql_site"])
def site(request: pytest.FixtureRequest) -> Site:
    """Each kind of server in turn."""
    site: Site = request.getfixturevalue(request.param)
    return site


@pytest.fixture
def page() -> Page:
    """The page of the pool of this test."""
    return Page("orders")


class Shop:
    """An instrumented engine, with an account of its own on the server."""

    def __init__(self, site: Site, page: Page, **options: Any) -> None:
        self.account = site.new_account()
        self.engine = create_engine(site.url(self.account), pool_size=3, max_overflow=0, **options)
        exporter.instrument(self.engine, name=page.pool, registry=page.registry)
        self._site = site

    def fill(self, count: int) -> list[int]:
        """Open connections and leave them idle; return the server's ids, in the order in which they will be taken."""
        held = [self.engine.connect() for _ in range(count)]
        ids = [session_id(each.connection.dbapi_connection) for each in held]
        for each in held:
            each.close()
        return ids

    def use(self) -> None:
        """Take a connection, ask something, give it back."""
        with self.engine.connect() as connection:
            connection.execute(SELECT)


@pytest.fixture
def shops(site: Site, page: Page) -> Iterator[Any]:
    """Make shops, and close them."""
    made: list[Shop] = []

    def make(**options: Any) -> Shop:
        made.append(Shop(site, page, **options))
        return made[-1]

    yield make
    for shop in made:
        exporter.uninstrument(shop.engine)
        shop.engine.dispose()


def stale(page: Page, found: str, codes: tuple[str, ...]) -> float:
    """Return how many dead connections were found so, all of which must have one of the codes."""
    met = page.by("stale_total", "found", "code")
    assert set(met) <= {f"{found} {code}" for code in codes}
    return sum(met.values())


@pytest.mark.servers
def test_a_dead_connection_met_in_use_replaces_the_whole_pool(site: Site, page: Page, shops: Any) -> None:
    """The user gets one error; the others are replaced one by one when they are taken, alive as they are."""
    shop = shops()
    ids = shop.fill(3)
    site.kill(ids[0])
    with pytest.raises(OperationalError):
        shop.use()
    assert stale(page, "use", KILLED[site.dialect]) == 1
    assert page.by("invalidations_total", "cause") == {"disconnect": 1}
    for _ in range(3):
        shop.use()
    assert page.by("closes_total", "reason") == {"invalidated": 1, "pool_invalidated": 2}
    assert page.values("connects_total", "checkouts_total", "checkins_total") == {
        "connects_total": 6,
        "checkouts_total": 7,
        "checkins_total": 7,
    }
    assert page.value("lifetime_seconds_count") == 3
    assert page.connections() == (3, 0)


@pytest.mark.servers
def test_a_dead_connection_met_by_the_ping_harms_nobody(site: Site, page: Page, shops: Any) -> None:
    """pool_pre_ping finds the dead one before the user does; the rest of the pool is replaced as well."""
    shop = shops(pool_pre_ping=True)
    ids = shop.fill(3)
    site.kill(ids[0])
    for _ in range(3):
        shop.use()
    assert stale(page, "ping", KILLED[site.dialect]) == 1
    assert page.by("invalidations_total", "cause") == {"ping": 1}
    assert page.by("closes_total", "reason") == {"invalidated": 1, "pool_invalidated": 2}
    assert page.value("ping_seconds_count") == 1
    for _ in range(3):
        shop.use()
    assert page.value("ping_seconds_count") == 4
    assert page.value("ping_seconds_sum") > 0


@pytest.mark.servers
def test_one_that_dies_while_it_is_out_is_thrown_away_at_the_return(site: Site, page: Page, shops: Any) -> None:
    """The rollback at the return fails: an invalidation by error, which no user sees, hence nothing stale in use."""
    shop = shops()
    raw = shop.engine.raw_connection()
    raw.cursor().execute("select 1")  # begins a transaction, so that there is something to roll back
    site.kill(session_id(raw.dbapi_connection))
    raw.close()
    assert page.by("invalidations_total", "cause") == {"error": 1}
    assert page.by("closes_total", "reason") == {"invalidated": 1}
    assert page.by("stale_total", "found", "code") == {}
    shop.use()
    assert page.values("connects_total", "checkins_total") == {"connects_total": 2, "checkins_total": 2}


@pytest.mark.servers
def test_many_that_were_out_when_the_server_killed_them(site: Site, page: Page, shops: Any) -> None:
    """Each user who gets an error is counted, whoever was first; who only rolls back at the return is not."""
    shop = shops()
    held, raw = [shop.engine.connect() for _ in range(2)], shop.engine.raw_connection()
    raw.cursor().execute("select 1")
    for connection in [each.connection.dbapi_connection for each in held] + [raw.dbapi_connection]:
        site.kill(session_id(connection))
    for each in held:
        with pytest.raises(DBAPIError):
            each.execute(SELECT)
        each.close()
    raw.close()
    assert stale(page, "use", KILLED[site.dialect]) == 2
    assert page.by("invalidations_total", "cause") == {"disconnect": 2, "error": 1}
    assert page.by("closes_total", "reason") == {"invalidated": 3}
    assert page.value("checkins_total") == 3


@pytest.mark.servers
@pytest.mark.parametrize("ping", [False, True], ids=["use", "ping"])
def test_one_that_the_server_ended_for_idleness(site: Site, page: Page, shops: Any, *, ping: bool) -> None:
    """The server's own idle timeout is met with its own code, and how long the connection had lain idle is told."""
    shop = shops(pool_pre_ping=ping)
    limit = "set session wait_timeout = 1" if site.dialect == "mysql" else "set idle_session_timeout = '100ms'"
    with shop.engine.connect() as connection:
        connection.execute(text(limit))
        connection.commit()
    eventually(lambda: not sessions_of(site, shop.account))
    if ping:
        shop.use()
    else:
        with pytest.raises(DBAPIError):
            shop.use()
    codes = ("2006", "2013", "4031") if site.dialect == "mysql" else ("57P05",)
    assert stale(page, "ping" if ping else "use", codes) == 1
    # Taken again it was only where no ping came between.
    assert page.value("idle_seconds_count") == (0 if ping else 1)
    assert page.value("lifetime_seconds_count") == 1


@pytest.mark.servers
def test_idle_times_and_ages_are_told(page: Page, shops: Any) -> None:
    """Each take of a connection that lay idle counts once, each close with its age."""
    shop = shops()
    for _ in range(4):
        shop.use()
    assert page.values("idle_seconds_count", "lifetime_seconds_count", "connect_seconds_count") == {
        "idle_seconds_count": 3,
        "lifetime_seconds_count": 0,
        "connect_seconds_count": 1,
    }
    shop.engine.dispose()
    assert page.value("lifetime_seconds_count") == 1
    assert page.value("lifetime_seconds_sum") > page.value("idle_seconds_sum") > 0
    assert page.by("closes_total", "reason") == {"disposed": 1}


@pytest.mark.servers
def test_a_server_that_lets_nobody_in_is_counted(site: Site, page: Page) -> None:
    """Connections that cannot be made are errors, and neither checkouts nor connects."""
    engine = create_engine(site.url("nobody"), poolclass=NullPool)
    exporter.instrument(engine, name=page.pool, registry=page.registry)
    for _ in range(2):
        with pytest.raises(OperationalError):
            engine.connect()
    assert page.values("connect_errors_total", "connects_total", "checkouts_total", "connect_seconds_count") == {
        "connect_errors_total": 2,
        "connects_total": 0,
        "checkouts_total": 0,
        "connect_seconds_count": 0,
    }
    exporter.uninstrument(engine)
