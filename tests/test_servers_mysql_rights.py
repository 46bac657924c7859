"""What a sampler sees of MySQL and MariaDB by its rights, and what it says of the rest."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from exporter.demo.databases import mariadb
from exporter.records import ServerView
from exporter.sampler import Sampler
from proxies import proxied
from samplers import sampled, sampling
from sites import Site, counts, sessions_of
from waiting import eventually

pytestmark = pytest.mark.servers

THREADS_GRANT = "GRANT SELECT ON performance_schema.threads TO {}"
PROCESS_GRANT = "GRANT PROCESS ON *.* TO {}"
SCHEMA_SITES = pytest.mark.parametrize("fixture", ["mariadb_schema_site", "mysql_site"])

SOURCES = {
    "mariadb_site": "information_schema.processlist",
    "mariadb_newest_site": "information_schema.processlist",
    "mariadb_schema_site": "performance_schema.threads",
    "mysql_site": "performance_schema.threads",
}


def named(request: pytest.FixtureRequest, fixture: str) -> Site:
    """Return the site of a fixture."""
    site = request.getfixturevalue(fixture)
    assert isinstance(site, Site)
    return site


def failed(sampler: Sampler) -> ServerView:
    """Sample once, badly."""
    sampler.sample()
    view = sampler.view()
    assert not view.up
    return view


def _is_up(sampler: Sampler) -> bool:
    sampler.sample()
    return sampler.view().up


def test_source_follows_performance_schema(any_mysql: Site) -> None:
    """The threads are asked where performance_schema is on, else the process list; then nothing is hidden."""
    with sampling(any_mysql.server()) as sampler:
        snapshot = sampled(sampler)
    assert snapshot.source == SOURCES[any_mysql.name]
    assert (snapshot.hidden, snapshot.advice) == (0, None)


@SCHEMA_SITES
def test_threads_without_process(fixture: str, request: pytest.FixtureRequest) -> None:
    """The right to read threads alone shows everyone, but not who holds a transaction, and that is said."""
    site = named(request, fixture)
    account, looker = site.new_account(), site.new_account(THREADS_GRANT)
    site.run(f"CREATE TABLE orders.{account} (id INT) ENGINE=InnoDB")
    with site.pool(account, 2) as (engine, _), engine.connect() as connection:
        connection.exec_driver_sql(f"INSERT INTO orders.{account} VALUES (1)")
        with sampling(site.server(looker)) as sampler:
            snapshot = sampled(sampler)
            [kept] = sessions_of(site, looker)
            sampled(sampler)
            assert sessions_of(site, looker) == [kept]
    assert snapshot.source == "performance_schema.threads"
    assert counts(snapshot, account) == {("orders", "127.0.0.1", "sleeping"): 2}
    assert (snapshot.hidden, snapshot.transactions) == (0, ())
    assert snapshot.advice == (
        f"may not see which sessions hold a transaction open; GRANT PROCESS ON *.* TO '{looker}'@'%'"
    )


@pytest.mark.parametrize(
    ("fixture", "source"),
    [
        ("mariadb_schema_site", "information_schema.processlist"),
        ("mysql_site", "performance_schema.processlist"),
    ],
)
def test_process_without_threads(fixture: str, source: str, request: pytest.FixtureRequest) -> None:
    """PROCESS alone shows everyone, transactions too, in the list that costs least of those that it may read."""
    site = named(request, fixture)
    account = site.new_account()
    with site.pool(account, 2), sampling(site.server(site.new_account(PROCESS_GRANT))) as sampler:
        snapshot = sampled(sampler)
    assert snapshot.source == source
    assert (snapshot.hidden, snapshot.advice) == (0, None)
    assert counts(snapshot, account) == {("orders", "127.0.0.1", "sleeping"): 2}


def test_shares_the_applications_account(any_mysql: Site) -> None:
    """Without rights, its account's sessions are a good sample; the others are counted, and no id is called gone."""
    account, other = any_mysql.new_account(), any_mysql.new_account()
    with contextlib.ExitStack() as stack:
        _, ids = stack.enter_context(any_mysql.pool(account, 2))
        _, hidden = stack.enter_context(any_mysql.pool(other, 3))
        claimed = frozenset({*ids, *hidden, 4_000_000})
        sampler = stack.enter_context(sampling(any_mysql.server(account), ids=lambda: claimed))
        snapshot = sampled(sampler)
    assert counts(snapshot, account) == {("orders", "127.0.0.1", "sleeping"): 2}
    assert counts(snapshot, other) == {}
    assert (snapshot.hidden or 0) >= 3
    assert snapshot.connections == 3 + (snapshot.hidden or 0)
    assert snapshot.asked == snapshot.sessions.keys() == set(ids)
    assert f"GRANT PROCESS ON *.* TO '{account}'@'%'" in (snapshot.advice or "")
    assert ("performance_schema.threads" in (snapshot.advice or "")) == (
        any_mysql.name in {"mysql_site", "mariadb_schema_site"}
    )


def test_sees_nobody(any_mysql: Site) -> None:
    """Without rights and alone in its account it sees nothing of what there is: that is a failure, with the number."""
    with any_mysql.pool(any_mysql.new_account(), 3), sampling(any_mysql.server(any_mysql.new_account())) as sampler:
        view = failed(sampler)
    assert view.reason == "privilege"
    assert "GRANT PROCESS ON *.* TO" in view.message
    assert (view.hidden or 0) >= 3


def test_nothing_is_hidden_where_nobody_is(tmp_path: Path) -> None:
    """Without rights on a server that nobody else uses, there is nothing that it may not see."""
    with mariadb(tmp_path / "mariadb") as database:
        site = Site("private", "mysql", database)
        site.run("CREATE DATABASE orders")
        with sampling(site.server(site.new_account())) as sampler:
            # The administrator's connection is gone a moment after its goodbye.
            eventually(lambda: _is_up(sampler))
            snapshot = sampled(sampler)
    assert (snapshot.hidden, snapshot.groups, snapshot.connections) == (0, (), 1)


def test_a_right_that_is_granted_later(any_mysql: Site) -> None:
    """The statements of the advice, run as they stand, are felt by the next sample, without a failure in between."""
    site, account = any_mysql, any_mysql.new_account()
    with site.pool(account, 1), site.pool(site.new_account(), 2), sampling(site.server(account)) as sampler:
        before = sampled(sampler)
        _, *statements = (before.advice or "").split("; ")
        site.run(*(statement.replace("%", "%%") for statement in statements))
        after = sampled(sampler)
        assert set(sampler.view().errors.values()) == {0}
    assert (after.hidden, after.advice) == (0, None)
    assert after.source == SOURCES[site.name]
    assert len(after.groups) > len(before.groups)


def test_a_right_that_is_taken_away(mysql_site: Site) -> None:
    """A sampler that may read threads no more takes what is left to it."""
    site = mysql_site
    account = site.sampler_account()
    with site.pool(site.new_account(), 1), sampling(site.server(account)) as sampler:
        sampled(sampler)
        site.run(f"REVOKE SELECT ON performance_schema.threads FROM {account}")
        assert failed(sampler).reason == "privilege"
        assert sampled(sampler).source == "performance_schema.processlist"


def test_performance_schema_without_room(tmp_path: Path) -> None:
    """Where performance_schema had no room for all threads, it misses sessions, so the process list is asked."""
    settings = {"performance-schema": "ON", "performance-schema-max-thread-instances": "12"}
    with mariadb(tmp_path / "mariadb", settings=settings) as database:
        site = Site("private", "mysql", database)
        site.run("CREATE DATABASE orders")
        account = site.new_account()
        with site.pool(account, 20), sampling(site.server()) as sampler:
            snapshot = sampled(sampler)
    assert snapshot.source == "information_schema.processlist"
    assert counts(snapshot, account) == {("orders", "127.0.0.1", "sleeping"): 20}


def test_performance_schema_runs_out_of_room(tmp_path: Path) -> None:
    """When performance_schema runs out of room later, all are seen in the list, or counted and said what to raise."""
    settings = {"performance-schema": "ON", "performance-schema-max-thread-instances": "40"}
    with mariadb(tmp_path / "mariadb", settings=settings) as database:
        site = Site("private", "mysql", database)
        site.run("CREATE DATABASE orders")
        account = site.new_account()
        with (
            site.pool(account, 2),
            sampling(site.server()) as sampler,
            sampling(site.server(site.new_account(THREADS_GRANT))) as limited,
        ):
            before = sampled(sampler)
            assert sampled(limited).hidden == 0
            with site.pool(account, 40):
                after, partly = sampled(sampler), sampled(limited)
    assert (before.source, before.hidden) == ("performance_schema.threads", 0)
    assert (after.source, after.hidden, after.advice) == ("information_schema.processlist", 0, None)
    assert sum(counts(after, account).values()) == 42
    assert (partly.source, partly.connections) == ("performance_schema.threads", 44)
    assert (partly.hidden or 0) > 0
    assert "performance_schema_max_thread_instances" in (partly.advice or "")


def test_sisters(any_mysql: Site) -> None:
    """Other samplers are left out, also those of other accounts and where performance_schema is off."""
    accounts = [any_mysql.sampler_account() for _ in range(2)]
    servers = [any_mysql.server(account) for account in (*accounts, accounts[0])]
    with contextlib.ExitStack() as stack:
        samplers = [stack.enter_context(sampling(server)) for server in servers]
        for sampler in samplers:
            sampled(sampler)
        for sampler in samplers:
            snapshot = sampled(sampler)
            assert not set(accounts) & {group.user for group in snapshot.groups}
            assert snapshot.connections >= 3
    with sampling(servers[0]) as sampler, any_mysql.pool(accounts[0], 1):
        # A client of the sampler's own account is a client.
        eventually(lambda: counts(sampled(sampler), accounts[0]) == {("orders", "127.0.0.1", "sleeping"): 1})


def test_no_locks(any_mysql: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where named locks are forbidden, as a cluster may do, sisters are counted, and the sample is good."""
    monkeypatch.setattr("exporter.servers.mysql_sisters.PROGRAM_NAME", "x" * 300)  # a name that no lock may have
    account = any_mysql.sampler_account()
    with sampling(any_mysql.server(account)) as sampler, sampling(any_mysql.server(account)) as sister:
        sampled(sister)
        assert counts(sampled(sampler), account) == {("orders", "127.0.0.1", "sleeping"): 1}


def test_more_sisters_than_know_each_other(any_mysql: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sampler too many sees the others, which count it as the client that it looks like."""
    monkeypatch.setattr("exporter.servers.mysql_sisters.SISTERS", 1)
    first, second = any_mysql.sampler_account(), any_mysql.sampler_account()
    with sampling(any_mysql.server(first)) as known, sampling(any_mysql.server(second)) as unknown:
        sampled(known)
        assert counts(sampled(unknown), first) == {}
        assert counts(sampled(known), second) == {("orders", "127.0.0.1", "sleeping"): 1}


@pytest.mark.parametrize("question", [b"GET_LOCK", b"innodb_trx"])
def test_lost_while_it_finds_out(mariadb_site: Site, question: bytes) -> None:
    """A connection that is lost while its rights are looked into is not taken for one without them."""
    account = mariadb_site.sampler_account()
    with proxied(("127.0.0.1", mariadb_site.database.url.port or 0)) as proxy:
        proxy.fatal = question
        url = mariadb_site.url(account).set(port=proxy.port)
        with sampling(mariadb_site.server(url=url)) as sampler:
            assert failed(sampler).reason == "connect"
            proxy.mend()
            assert sampled(sampler).advice is None
