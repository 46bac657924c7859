"""What a sampler sees on real servers: what it counts and what it leaves out."""

from __future__ import annotations

import contextlib
import itertools
import threading

import pytest
from sqlalchemy import create_engine

from exporter.sampler import Sampler
from samplers import no_ids, sampled, sampling
from sites import Site, counts, session_id, sessions_of
from waiting import eventually


@pytest.mark.servers
def test_idle_pool(site: Site) -> None:
    """Five idle pooled connections are sleeping sessions under their user, database and client."""
    account = site.new_account()
    with site.pool(account, 5), sampling(site.server()) as sampler:
        snapshot = sampled(sampler)
        assert counts(snapshot, account) == {("orders", site.client, "sleeping"): 5}
        [slept] = [row for row in snapshot.sleepers if row.user == account]
        assert slept.database == "orders"
        assert sum(slept.sleep_seconds.counts) == 5
        assert 0 <= slept.longest < 60
        assert slept.stale == 0
        assert snapshot.connections >= 6


@pytest.mark.servers
def test_known_states_are_zero(site: Site) -> None:
    """A client that is there has a count for every state, so that no series comes and goes with its work."""
    account = site.new_account()
    with site.pool(account, 1), sampling(site.server()) as sampler:
        states = [group.state for group in sampled(sampler).groups if group.user == account]
    assert states == ["active", "sleeping", "sleeping_in_transaction", "sleeping_in_failed_transaction", "other"]


@pytest.mark.servers
def test_killed_session_is_gone(site: Site) -> None:
    """A session that the server has ended is not among those that were asked for."""
    with site.pool(site.new_account(), 5) as (_, ids), sampling(site.server(), ids=lambda: frozenset(ids)) as sampler:
        before = sampled(sampler)
        assert before.asked == frozenset(ids)
        assert {before.sessions[id_].state for id_ in ids} == {"sleeping"}
        site.kill(ids[0])
        eventually(lambda: ids[0] not in sampled(sampler).sessions)
        after = sampled(sampler)
        assert after.asked == frozenset(ids)
        assert set(after.sessions) == set(ids[1:])


@pytest.mark.servers
def test_unknown_ids(site: Site) -> None:
    """Ids that the server never gave, however large, are asked for and not found."""
    with sampling(site.server(), ids=lambda: frozenset({2**31, 2**40})) as sampler:
        snapshot = sampled(sampler)
    assert snapshot.asked == {2**31, 2**40}
    assert snapshot.sessions == {}


@pytest.mark.servers
def test_own_session(site: Site) -> None:
    """The sampler never counts itself, but its connection is one of the server's."""
    account = site.sampler_account()
    with sampling(site.server(account)) as sampler:
        for _ in range(3):
            assert counts(sampled(sampler), account) == {}
        assert sampled(sampler).connections >= 1


@pytest.mark.servers
def test_sister_sampler(site: Site) -> None:
    """The session of another sampler is left out, whatever it asks."""
    account = site.sampler_account()
    with sampling(site.server(account)) as sister, sampling(site.server(account)) as sampler:
        sampled(sister)
        assert counts(sampled(sampler), account) == {}


@pytest.mark.servers
def test_open_transaction(site: Site) -> None:
    """A session that sleeps in a transaction is told from one that only sleeps, and counts as a sleeper too."""
    account = site.new_account()
    site.run(*_table(site, account))
    with site.pool(account, 2) as (engine, ids), sampling(site.server(), ids=lambda: frozenset(ids)) as sampler:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"INSERT INTO {_table_name(site, account)} VALUES (1)")
            expected = {("orders", site.client, "sleeping"): 1, ("orders", site.client, "sleeping_in_transaction"): 1}
            # InnoDB refreshes its list of transactions every tenth of a second.
            eventually(lambda: counts(sampled(sampler), account) == expected)
            snapshot = sampled(sampler)
            holder = session_id(connection.connection.dbapi_connection)
        assert snapshot.sessions[holder].state == "sleeping_in_transaction"
        [slept] = [row for row in snapshot.sleepers if row.user == account]
        assert sum(slept.sleep_seconds.counts) == 2


def _table_name(site: Site, account: str) -> str:
    return f"orders.{account}" if site.dialect == "mysql" else account


def _table(site: Site, account: str) -> tuple[str, ...]:
    if site.dialect == "mysql":
        return (f"CREATE TABLE orders.{account} (id INT) ENGINE=InnoDB",)
    engine = create_engine(site.database.url.set(database="orders"))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE {account} (id int)")
    engine.dispose()
    return ("SELECT 1",)


@pytest.mark.servers
def test_active(site: Site) -> None:
    """A session that works is active, in the groups as well as when it is asked for."""
    account = site.new_account()
    nap = "SELECT SLEEP(30)" if site.dialect == "mysql" else "SELECT pg_sleep(30)"
    with site.pool(account, 1) as (engine, ids), sampling(site.server(), ids=lambda: frozenset(ids)) as sampler:
        worker = threading.Thread(target=_run, args=(engine, nap))
        worker.start()
        try:
            eventually(lambda: counts(sampled(sampler), account) == {("orders", site.client, "active"): 1})
            assert sampled(sampler).sessions[ids[0]].state == "active"
        finally:
            site.kill(ids[0])
            worker.join()


def _run(engine: object, statement: str) -> None:
    with contextlib.suppress(Exception), engine.connect() as connection:  # type: ignore[attr-defined]
        connection.exec_driver_sql(statement)


@pytest.mark.servers
def test_stale(site: Site) -> None:
    """Sessions asleep for longer than stale_after are counted as stale, exactly and not by bucket."""
    account = site.new_account()
    with site.pool(account, 3), sampling(site.server(stale_after=0.5)) as sampler:
        eventually(lambda: sum(row.stale for row in sampled(sampler).sleepers if row.user == account) == 3)


@pytest.mark.servers
def test_label_set_vanishes(site: Site) -> None:
    """A client that has left is no longer in the snapshot, not even with zeros."""
    account = site.new_account()
    with sampling(site.server()) as sampler:
        with site.pool(account, 2):
            assert counts(sampled(sampler), account)
        eventually(lambda: not any(group.user == account for group in sampled(sampler).groups))
        assert not any(row.user == account for row in sampled(sampler).sleepers)


@pytest.mark.servers
def test_one_connection_is_kept(site: Site) -> None:
    """Samples do not connect anew, and a connection that was killed in between is replaced without a word."""
    account = site.sampler_account()
    with sampling(site.server(account)) as sampler, sampling(site.server(), ids=no_ids) as other:
        sampled(sampler)
        first = sessions_of(site, account)
        sampled(sampler)
        assert sessions_of(site, account) == first
        assert len(first) == 1
        site.kill(first[0])
        eventually(lambda: not sessions_of(site, account))
        sampled(sampler)
        assert len(sessions_of(site, account)) == 1
        assert sampler.view().errors["connect"] == 0
        sampled(other)


@pytest.mark.servers
def test_url_options(site: Site) -> None:
    """What a URL asks of the driver is still done."""
    account = site.sampler_account()
    options = {"connect_timeout": "7"} | (
        {"init_command": "SET @x=1", "read_timeout": "9"} if site.dialect == "mysql" else {"application_name": "looker"}
    )
    with sampling(site.server(url=site.url(account, **options))) as sampler:
        sampled(sampler)
        if site.dialect == "postgresql":
            named = site.run(f"SELECT application_name FROM pg_stat_activity WHERE usename = '{account}'")
            assert [row[0] for row in named] == ["looker"]
        assert counts(sampled(sampler), account) == {}


@pytest.mark.servers
def test_samples_that_follow_one_another_fast_are_not_all_kept(postgresql_site: Site) -> None:
    """Reports are a second apart, so the samples kept for them are as well, and none that no report can need."""
    now = [1000.0]
    config = postgresql_site.server(interval=10.0)
    sampler = Sampler(config, ids=no_ids, clock=lambda: now[0], steadily=lambda: now[0])
    with contextlib.closing(sampler):
        for _ in range(60):
            sampler.sample()
            now[0] += 0.4
        ended = [snapshot.ended for snapshot in sampler.view().earlier]
    assert len(ended) < 12
    assert all(one - other >= 1.0 for one, other in itertools.pairwise(ended))
    assert now[0] - ended[0] < 2.0
    assert now[0] - ended[-1] > 10.0
