"""What a PostgreSQL allows its sessions: how many there may be, and for how long which of them may idle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from exporter.demo.databases import postgresql
from samplers import sampled, sampling
from sites import Site, counts, sessions_of
from waiting import eventually

pytestmark = pytest.mark.servers

STRICT = {
    "idle_session_timeout": "1s",
    "reserved_connections": "2",
    "max_connections": "20",
    "transaction_timeout": "60s",
}


@pytest.fixture(scope="module")
def strict_site(servers_folder: Path) -> Iterator[Site]:
    """The newest PostgreSQL, with few connections, which it ends when they idle for a second."""
    with postgresql(servers_folder / "strict", settings=STRICT) as database:
        site = Site("strict_site", "postgresql", database)
        site.run("CREATE DATABASE orders")
        yield site


def test_none(any_postgresql: Site) -> None:
    """The limit is less what is kept for superusers, and timeouts that are off are absent."""
    with sampling(any_postgresql.server()) as sampler:
        snapshot = sampled(sampler)
    assert snapshot.connections_max == 97
    assert (snapshot.idle_timeouts, snapshot.overrides) == ({}, {})
    assert (snapshot.dialect, snapshot.source) == ("postgresql", "pg_stat_activity")
    assert snapshot.version[:2].isdigit()


def test_strict(strict_site: Site) -> None:
    """The further reserve of newer versions counts, and a timeout that ends others does not end the sampler."""
    account, looker = strict_site.new_account(), strict_site.sampler_account()
    with sampling(strict_site.server(looker)) as sampler, strict_site.pool(account, 3) as (_, ids):
        snapshot = sampled(sampler)
        assert counts(snapshot, account) == {("orders", "shop", "sleeping"): 3}
        assert snapshot.connections_max == 20 - 3 - 2
        assert snapshot.idle_timeouts == {"idle_session_timeout": 1.0}
        kept = sessions_of(strict_site, looker)
        eventually(lambda: not sessions_of(strict_site, account), every=0.2)
        assert sessions_of(strict_site, looker) == kept
    with sampling(strict_site.server(), ids=lambda: frozenset(ids)) as sampler:
        assert sampled(sampler).sessions == {}


def test_turned_away(strict_site: Site) -> None:
    """When all connections that the server has for the likes of us are taken, that is said, until one is free."""
    account = strict_site.new_account("ALTER ROLE {} SET idle_session_timeout = 0")
    with sampling(strict_site.server()) as sampler:
        with strict_site.pool(account, 20 - 3 - 2):
            sampler.sample()
            view = sampler.view()
            assert (view.up, view.reason) == (False, "connect")
            assert "reserved" in view.message
        eventually(lambda: not sessions_of(strict_site, account))
        sampled(sampler)


def test_accounts_differ(any_postgresql: Site) -> None:
    """What ALTER ROLE and ALTER DATABASE set counts as the server counts it: the shortest shows, others are kept."""
    plain, roled, placed = (any_postgresql.new_account() for _ in range(3))
    any_postgresql.run(
        "ALTER DATABASE orders SET idle_session_timeout = '30min'",
        f"ALTER ROLE {roled} SET idle_session_timeout = '600s'",
        f"ALTER ROLE {placed} SET idle_session_timeout = 1000",
        f"ALTER ROLE {placed} IN DATABASE orders SET idle_session_timeout = 0",
        f"ALTER ROLE {placed} SET idle_in_transaction_session_timeout = '2min'",
        f"ALTER ROLE {placed} SET work_mem = '1MB'",
    )
    by_account = {
        (plain, "orders"): {"idle_session_timeout": 1800.0},
        (roled, "orders"): {"idle_session_timeout": 600.0},
        (placed, "orders"): {"idle_in_transaction_session_timeout": 120.0},
    }
    shortest = {"idle_session_timeout": 600.0, "idle_in_transaction_session_timeout": 120.0}
    # The sampler's own database has other settings than those of the others.
    url = any_postgresql.url(any_postgresql.sampler_account(), database="postgres")
    try:
        with any_postgresql.pool(plain, 1), any_postgresql.pool(roled, 1), any_postgresql.pool(placed, 1):
            for account, own in by_account.items():
                assert _asked_for(any_postgresql, account[0]) == own
            with sampling(any_postgresql.server(url=url)) as sampler:
                snapshot = sampled(sampler)
    finally:
        any_postgresql.run("ALTER DATABASE orders RESET idle_session_timeout")
    assert snapshot.idle_timeouts == shortest
    assert {account: snapshot.overrides[account] for account in by_account} == by_account


def test_pools_accounts_only(any_postgresql: Site) -> None:
    """Once it is known whose sessions the pools' are, the timeouts of other accounts show no longer."""
    ours = any_postgresql.new_account("ALTER ROLE {} SET idle_session_timeout = '1h'")
    theirs = any_postgresql.new_account("ALTER ROLE {} SET idle_session_timeout = '1min'")
    ids: list[int] = []
    with (
        any_postgresql.pool(ours, 1) as (_, owned),
        any_postgresql.pool(theirs, 1),
        sampling(any_postgresql.server(), ids=lambda: frozenset(ids)) as sampler,
    ):
        assert sampled(sampler).idle_timeouts == {"idle_session_timeout": 60.0}
        ids += owned
        snapshot = sampled(sampler)
    assert snapshot.idle_timeouts == {"idle_session_timeout": 3600.0}
    assert snapshot.overrides == {(theirs, "orders"): {"idle_session_timeout": 60.0}}


def test_sampler_is_an_exception(any_postgresql: Site) -> None:
    """What only the sampler's own account gets is not taken for what all get, nor what its URL asks for."""
    account, looker = any_postgresql.new_account(), any_postgresql.sampler_account()
    any_postgresql.run(f"ALTER ROLE {looker} SET idle_session_timeout = '7s'")
    asking = any_postgresql.url(looker, options="-c idle_in_transaction_session_timeout=8s")
    with any_postgresql.pool(account, 1), sampling(any_postgresql.server(url=asking)) as sampler:
        assert sampled(sampler).idle_timeouts == {}


@pytest.mark.parametrize(
    ("setting", "todo"),
    [
        ("ALTER ROLE {} SET", "run ALTER ROLE for this account with RESET idle_session_timeout"),
        ("ALTER ROLE {} IN DATABASE orders SET", "run ALTER ROLE for this account IN DATABASE, with RESET "),
    ],
)
def test_a_default_that_cannot_be_told(
    postgresql_site: Site, setting: str, todo: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A sampler that has a timeout of its own says once that it cannot see everyone's, unless it need not know."""
    looker = postgresql_site.new_account("GRANT pg_monitor TO {}", f"{setting} idle_session_timeout = 0")
    known = postgresql_site.new_account("ALTER ROLE {} SET idle_session_timeout = '1h'")
    ids: list[int] = []
    with (
        postgresql_site.pool(known, 1) as (_, owned),
        postgresql_site.pool(postgresql_site.new_account(), 1),
        sampling(postgresql_site.server(looker), ids=lambda: frozenset(ids)) as sampler,
    ):
        ids += owned
        assert sampled(sampler).advice is None
        ids.clear()
        for _ in range(2):
            advice = sampled(sampler).advice
            assert advice is not None
            assert advice.startswith("cannot tell which idle_session_timeout others get")
            assert todo in advice
    assert caplog.text.count("cannot tell") == 1


def test_reload(any_postgresql: Site) -> None:
    """A setting that is changed while the server runs shows with the next sample, on the same connection."""
    looker = any_postgresql.sampler_account()
    with sampling(any_postgresql.server(looker)) as sampler:
        assert sampled(sampler).idle_timeouts == {}
        kept = sessions_of(any_postgresql, looker)
        try:
            any_postgresql.run("ALTER SYSTEM SET idle_session_timeout = '5min'", "SELECT pg_reload_conf()")
            eventually(lambda: sampled(sampler).idle_timeouts == {"idle_session_timeout": 300.0})
        finally:
            any_postgresql.run("ALTER SYSTEM RESET idle_session_timeout", "SELECT pg_reload_conf()")
        eventually(lambda: not sampled(sampler).idle_timeouts)
        assert sessions_of(any_postgresql, looker) == kept


@pytest.mark.parametrize(
    "setting", ["250", "'1500ms'", "'90s'", "' 2 min'", "'1.5h'", "'1d'", "'1500000us'", "'.5min'"]
)
def test_durations(postgresql_site: Site, setting: str) -> None:
    """Every way to write a duration is read as the server reads it."""
    account = postgresql_site.new_account(f"ALTER ROLE {{}} SET idle_in_transaction_session_timeout = {setting}")
    with postgresql_site.pool(account, 1), sampling(postgresql_site.server()) as sampler:
        assert sampled(sampler).idle_timeouts == _asked_for(postgresql_site, account)


def _asked_for(site: Site, account: str) -> dict[str, float]:
    """Return the timeouts that a new session of an account says that it got, in seconds."""
    names = ["idle_session_timeout", "idle_in_transaction_session_timeout"]
    engine = create_engine(site.url(account))
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT name, setting FROM pg_settings WHERE name = ANY(:names) AND setting <> '0'"), {"names": names}
        )
        found = {row.name: int(row.setting) / 1000 for row in rows}
    engine.dispose()
    return found
