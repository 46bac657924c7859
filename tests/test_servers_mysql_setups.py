"""MySQL and MariaDB as some administrators set them up: for all of their clients, and we are one of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, event

from newest import MYSQL, newest
from samplers import sampled, sampling
from sites import Site, counts
from waiting import eventually

pytestmark = pytest.mark.servers

EVENT = "SELECT id FROM information_schema.processlist WHERE info LIKE 'DO SLEEP%%' OR info LIKE 'SELECT SLEEP%%'"
SESSIONS = {("orders", "127.0.0.1", "sleeping"): 15}


@contextlib.contextmanager
def globally(site: Site, **values: str) -> Iterator[None]:
    """Set a server's variables for all new sessions while the body runs."""
    before = site.run("SELECT " + ", ".join(f"@@GLOBAL.{name}" for name in values))[0]
    site.run(*(f"SET GLOBAL {name} = {value}" for name, value in values.items()))
    try:
        yield
    finally:
        quoted = (f"'{value}'" if isinstance(value, str) else value for value in before)
        site.run(*(f"SET GLOBAL {name} = {value}" for name, value in zip(values, quoted, strict=True)))


@pytest.mark.parametrize("limits", [{"sql_select_limit": "10"}, {"max_join_size": "1"}])
def test_limits_on_rows(any_mysql: Site, limits: dict[str, str]) -> None:
    """A limit that is meant for people who forget theirs does not cut off what we see."""
    site, account = any_mysql, any_mysql.new_account()
    with (
        site.pool(account, 15) as (_, ids),
        globally(site, **limits),
        sampling(site.server(), ids=lambda: frozenset(ids)) as sampler,
    ):
        snapshot = sampled(sampler)
    assert snapshot.sessions.keys() == set(ids)
    assert counts(snapshot, account) == SESSIONS


def test_empty_strings_are_null(mariadb_site: Site) -> None:
    """A mode of Oracle's, in which an empty string is none, makes no difference."""
    site, account = mariadb_site, mariadb_site.new_account()
    with globally(site, sql_mode="'EMPTY_STRING_IS_NULL'"), site.pool(account, 15), sampling(site.server()) as sampler:
        assert counts(sampled(sampler), account) == SESSIONS


def test_timeouts_by_init_connect(any_mysql: Site) -> None:
    """What the server does to each new session is what new sessions get; a change is noticed by the next sample."""
    site = any_mysql
    usual = {"wait_timeout": 28800.0, "interactive_timeout": 28800.0}
    with sampling(site.server()) as sampler:
        assert sampled(sampler).idle_timeouts == usual
        with globally(site, init_connect="'SET wait_timeout = 60'"):
            assert sampled(sampler).idle_timeouts == {**usual, "wait_timeout": 60.0}
            url = site.url(site.sampler_account(), init_command="SET wait_timeout = 5")
            with sampling(site.server(url=url)) as another:
                assert sampled(another).idle_timeouts == usual
        assert sampled(sampler).idle_timeouts == usual


def test_events(mariadb_site: Site) -> None:
    """An event of the server's own scheduler is neither a client nor a connection, though it has its definer's name."""
    site, definer = mariadb_site, str(mariadb_site.database.url.username)
    with globally(site, event_scheduler="1"), sampling(site.server()) as sampler:
        site.run("CREATE EVENT orders.nap ON SCHEDULE AT NOW() DO DO SLEEP(60)")
        [(id_,)] = eventually(lambda: site.run(EVENT))
        try:
            eventually(lambda: counts(sampled(sampler), definer) == {} and sampled(sampler).connections == 1)
        finally:
            site.run(f"KILL {id_}")


@pytest.mark.parametrize("fixture", ["mariadb_site", "mariadb_schema_site"])
def test_log_of_slow_queries(fixture: str, request: pytest.FixtureRequest) -> None:
    """A log of all that uses no index does not fill up with ours, on MariaDB."""
    site: Site = request.getfixturevalue(fixture)
    account = site.sampler_account()
    wanted = {"log_output": "'TABLE'", "slow_query_log": "1", "log_queries_not_using_indexes": "1"}
    with globally(site, **wanted), sampling(site.server(account)) as sampler:
        sampled(sampler)
        assert site.run(f"SELECT * FROM mysql.slow_log WHERE user_host LIKE '{account}[%%'") == []


def test_known_from_the_first_statement(any_mysql: Site) -> None:
    """A sampler that has just logged in is known to its sisters before it asks anything."""
    account, looked = any_mysql.sampler_account(), threading.Event()

    def look(*_: object) -> None:
        if not looked.is_set():
            looked.set()
            assert counts(sampled(sampler), account) == {}

    with sampling(any_mysql.server()) as sampler, sampling(any_mysql.server(account)) as sister:
        sampled(sampler)
        event.listen(Engine, "before_cursor_execute", look)
        try:
            sampled(sister)
        finally:
            event.remove(Engine, "before_cursor_execute", look)
    assert looked.is_set()


@pytest.mark.usefixtures("mysql_site")  # skipped where there is none
def test_performance_schema_without_room_on_mysql() -> None:
    """Its own process list misses sessions too where it has no room: the other one is asked, at once and from login."""
    with newest(MYSQL, settings={"performance-schema-max-thread-instances": "60"}) as database:
        site = Site("private", "mysql", database)
        site.run("CREATE DATABASE orders")
        server, account = site.server(site.new_account("GRANT PROCESS ON *.* TO {}")), site.new_account()
        with sampling(server) as sampler, sampling(server) as later:
            assert sampled(sampler).source == "performance_schema.processlist"
            with site.pool(account, 40):
                for each in (sampler, later):
                    snapshot = sampled(each)
                    assert (snapshot.source, snapshot.hidden) == ("information_schema.processlist", 0)
                    assert sum(counts(snapshot, account).values()) == 40
