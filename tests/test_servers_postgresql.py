"""The sessions of a PostgreSQL: which of them are clients', what they sleep in, and what is hidden."""

from __future__ import annotations

import contextlib
import socket
import threading
from bisect import bisect_left
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from exporter.buckets import SLEEP_BUCKETS
from exporter.records import ServerSnapshot, Sleepers
from exporter.sampler import Sampler
from samplers import sampled, sampling
from sites import PASSWORD, Site, counts, sessions_of
from waiting import eventually

pytestmark = pytest.mark.servers


@contextlib.contextmanager
def lone_engine(site: Site, account: str, **query: str) -> Iterator[Engine]:
    """Hold an engine without a pool."""
    engine = create_engine(site.url(account, **query), poolclass=NullPool)
    yield engine
    engine.dispose()


def longest_transactions(snapshot: ServerSnapshot, user: str) -> list[float]:
    """Return the ages of the oldest transactions of a user, one for each database."""
    return [found.longest for found in snapshot.transactions if found.user == user]


def longest_sleeps(snapshot: ServerSnapshot, user: str) -> list[float]:
    """Return how long a user's sessions have slept at the most, one for each database."""
    return [found.longest for found in snapshot.sleepers if found.user == user]


def test_failed_transaction(any_postgresql: Site) -> None:
    """A failed transaction is told from a sound one, and is at least as old as the sleep that followed."""
    account = any_postgresql.new_account()
    with lone_engine(any_postgresql, account) as engine, engine.connect() as connection:
        with pytest.raises(DBAPIError):
            connection.exec_driver_sql("SELECT 1 / 0")
        with sampling(any_postgresql.server()) as sampler:
            snapshot = sampled(sampler)
    assert counts(snapshot, account) == {("orders", "127.0.0.1", "sleeping_in_failed_transaction"): 1}
    assert longest_transactions(snapshot, account) == longest_sleeps(snapshot, account) != []


def test_oldest_transaction(any_postgresql: Site) -> None:
    """Of all the transactions that a user's sleeping sessions hold open, the oldest is shown, not one at work."""
    account = any_postgresql.new_account()
    with lone_engine(any_postgresql, account) as engine, sampling(any_postgresql.server()) as sampler:
        with engine.connect() as old, engine.connect() as young:
            old.exec_driver_sql("SELECT 1")
            begun = old.exec_driver_sql("SELECT extract(epoch FROM now())").scalar_one()
            young.exec_driver_sql("SELECT 1")
            snapshot = sampled(sampler)
            now = any_postgresql.run("SELECT extract(epoch FROM now())")[0][0]
            assert counts(snapshot, account) == {("orders", "127.0.0.1", "sleeping_in_transaction"): 2}
            (longest,) = longest_transactions(snapshot, account)
            # Asleep since its second statement, in a transaction since its first.
            assert longest_sleeps(snapshot, account)[0] < longest <= float(now - begun)
        with engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("SELECT 1")
            assert longest_transactions(sampled(sampler), account) == []


def test_untracked_session(any_postgresql: Site) -> None:
    """A session whose activity is not tracked is in another state, and is no sleeper."""
    account = any_postgresql.new_account("ALTER ROLE {} SET track_activities = off")
    with any_postgresql.pool(account, 1) as (_, ids), sampling(any_postgresql.server(), ids=lambda: wanted) as sampler:
        wanted = frozenset(ids)
        snapshot = sampled(sampler)
    assert counts(snapshot, account) == {("orders", "shop", "other"): 1}
    assert longest_sleeps(snapshot, account) == []
    session = snapshot.sessions[ids[0]]
    assert (session.state, session.seconds, session.account) == ("other", None, (account, "orders"))


def test_only_clients(any_postgresql: Site) -> None:
    """Neither the server's own processes, nor those that copy it, nor a socket that has not logged in are clients."""
    account = any_postgresql.new_account("ALTER ROLE {} REPLICATION")
    port = any_postgresql.database.url.port or 0
    place = f"host=127.0.0.1 port={port} user={account} password={PASSWORD} dbname=orders"
    with sampling(any_postgresql.server()) as sampler:
        eventually(lambda: sampled(sampler).connections == 1)  # the clients of earlier tests have left
        with contextlib.ExitStack() as stack:
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for kind in ("true", "database"):
                stack.enter_context(contextlib.closing(psycopg.connect(f"{place} replication={kind}")))
            snapshot = sampled(sampler)
    assert (snapshot.connections, snapshot.groups) == (1, ())


def test_helpers_of_a_query(any_postgresql: Site) -> None:
    """The processes that work on a query together with its session are no sessions."""
    account = any_postgresql.new_account()
    names = "'force_parallel_mode', 'debug_parallel_query'"  # from 16 on by the second name
    [[forced]] = any_postgresql.run(f"SELECT name FROM pg_settings WHERE name IN ({names})")
    with any_postgresql.pool(account, 1) as (engine, ids), engine.connect() as connection:
        connection.exec_driver_sql(f"SET {forced} = on")
        query = threading.Thread(target=_interrupted, args=(connection, "SELECT pg_sleep(60)"))
        query.start()
        try:
            eventually(lambda: len(sessions_of(any_postgresql, account)) == 2)
            with sampling(any_postgresql.server()) as sampler:
                seen = counts(sampled(sampler), account)
        finally:
            any_postgresql.run(f"SELECT pg_cancel_backend({ids[0]})")
            query.join()
    assert seen == {("orders", "shop", "active"): 1}


def test_sisters(any_postgresql: Site) -> None:
    """Samplers leave each other out, whatever their accounts and whoever looks."""
    with contextlib.ExitStack() as stack:
        samplers = [stack.enter_context(sampling(any_postgresql.server())) for _ in range(3)]
        for sampler in samplers:
            sampled(sampler)
        snapshot = sampled(samplers[0])
    assert snapshot.connections >= 3
    assert "pool_exporter" not in {found.client for found in snapshot.groups}
    assert snapshot.hidden == 0


@pytest.mark.parametrize(("stale_after", "stale"), [(0.05, 2), (3600.0, 0), (7200.0, 0)])
def test_buckets(any_postgresql: Site, stale_after: float, stale: int) -> None:
    """Sleepers fall into the histogram's buckets, and are stale beyond any bound, be it one of these or not."""
    account = any_postgresql.new_account()
    with any_postgresql.pool(account, 2), sampling(any_postgresql.server(stale_after=stale_after)) as sampler:
        (row,) = eventually(lambda: [row for row in _sleepers(sampler, account) if row.stale == stale])
    assert sum(row.sleep_seconds.counts) == 2
    filled = [place for place, count in enumerate(row.sleep_seconds.counts) if count]
    assert max(filled) == bisect_left(SLEEP_BUCKETS, row.longest)
    assert row.longest <= row.sleep_seconds.sum <= 2 * row.longest


def test_sessions_of_the_pools(any_postgresql: Site) -> None:
    """The pools' own ids are answered with state and account; one that is gone, or no client's, is not there."""
    account = any_postgresql.new_account()
    with any_postgresql.pool(account, 2) as (_, ids), sampling(any_postgresql.server(), ids=lambda: wanted) as sampler:
        server = any_postgresql.run("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")[0][0]
        wanted = frozenset({*ids, server, 2**40})
        any_postgresql.kill(ids[1])
        snapshot = sampled(sampler)
    assert snapshot.asked == wanted
    assert [(id_, found.state, found.account) for id_, found in snapshot.sessions.items()] == [
        (ids[0], "sleeping", (account, "orders"))
    ]


def test_abnormal_ends(any_postgresql: Site) -> None:
    """Sessions that end without their client's goodbye are counted, refused logins are not."""
    account = any_postgresql.new_account()
    with sampling(any_postgresql.server()) as sampler:
        before = sampled(sampler).aborted
        with any_postgresql.pool(account, 3) as (_, ids):
            any_postgresql.kill(ids[0])
        with pytest.raises(DBAPIError), lone_engine(any_postgresql, "nobody_at_all") as engine:
            engine.connect()
        assert list(before) == ["client"]
        eventually(lambda: sampled(sampler).aborted["client"] == before["client"] + 1)


def test_partly_hidden(any_postgresql: Site) -> None:
    """An account that shares an application's role sees its sessions, and tells how many it does not see."""
    seen, unseen = any_postgresql.new_account(), any_postgresql.new_account()
    looker = any_postgresql.new_account(f"GRANT {seen} TO {{}}")
    with any_postgresql.pool(seen, 2) as (_, ids), any_postgresql.pool(unseen, 3) as (_, others):
        gone = others[2]
        any_postgresql.kill(gone)
        with sampling(any_postgresql.server(looker), ids=lambda: frozenset({*ids, *others})) as sampler:
            eventually(lambda: sampled(sampler).hidden == 2)
            snapshot = sampled(sampler)
            assert sampler.view().hidden == 2
    assert counts(snapshot, seen) == {("orders", "shop", "sleeping"): 2}
    assert counts(snapshot, unseen) == {}
    # Of those that cannot be seen nothing is said; that one is gone can be told all the same.
    assert snapshot.asked == {*ids, gone}
    assert set(snapshot.sessions) == set(ids)
    assert snapshot.connections == 2 + 2 + 1
    assert snapshot.advice == f"may not see all sessions of others; GRANT pg_monitor TO {looker}"


def test_all_hidden_until_granted(any_postgresql: Site) -> None:
    """An account that sees nothing of what there is fails and says what to grant, and sees it as soon as it may."""
    account = any_postgresql.new_account()
    looker = f"odd {account}"
    any_postgresql.run(f"CREATE ROLE \"{looker}\" LOGIN PASSWORD '{PASSWORD}'")
    with any_postgresql.pool(account, 2), sampling(any_postgresql.server(looker)) as sampler:
        sampler.sample()
        view = sampler.view()
        assert (view.up, view.reason, view.snapshot) == (False, "privilege", None)
        assert view.hidden is not None
        assert view.hidden >= 2
        grant = f'GRANT pg_monitor TO "{looker}"'
        assert view.message.endswith(grant)
        any_postgresql.run(grant)
        snapshot = sampled(sampler)
    assert (snapshot.hidden, snapshot.advice) == (0, None)
    assert counts(snapshot, account) == {("orders", "shop", "sleeping"): 2}


def test_polite(any_postgresql: Site) -> None:
    """The session has a name that a DBA can read, and is idle outside any transaction between samples."""
    account = any_postgresql.sampler_account()
    with sampling(any_postgresql.server(account)) as sampler:
        sampled(sampler)
        told = any_postgresql.run(
            f"SELECT application_name, state, xact_start FROM pg_stat_activity WHERE usename = '{account}'"
        )
    assert [tuple(row) for row in told] == [("pool_exporter", "idle", None)]
    eventually(lambda: not sessions_of(any_postgresql, account))


def _sleepers(sampler: Sampler, user: str) -> list[Sleepers]:
    return [row for row in sampled(sampler).sleepers if row.user == user]


def _interrupted(connection: Connection, statement: str) -> None:
    with pytest.raises(DBAPIError):
        connection.exec_driver_sql(statement)
