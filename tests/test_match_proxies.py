"""What stands between a pool and its server: a haproxy that passes ids on, and a pgbouncer that makes its own up."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, Engine

import exporter
from exporter.conclusions import Match
from joints import Joining, joining, reporting
from middlemen import haproxy, pgbouncer
from sites import Site, sessions_of
from waiting import eventually

pytestmark = pytest.mark.servers

SIZE = 4


@pytest.fixture
def engines() -> Iterator[list[Engine]]:
    """Engines that are closed at the end."""
    made: list[Engine] = []
    yield made
    for engine in made:
        exporter.uninstrument(engine)
        engine.dispose()


def filled(url: URL, engines: list[Engine]) -> exporter.Instrumentation:
    """Watch an engine whose pool is full."""
    engine = create_engine(url, pool_size=SIZE, max_overflow=0)
    engines.append(engine)
    monitor = exporter.instrument(engine, name="shop", registry=CollectorRegistry())
    use(engine)
    return monitor


def use(engine: Engine) -> None:
    """Take all connections at once, use them, and give them back."""
    connections = [engine.connect() for _ in range(SIZE)]
    for connection in connections:
        connection.execute(text("SELECT 1"))
        connection.close()


@pytest.mark.parametrize("site", ["mariadb_site", "postgresql_site"], indirect=True)
def test_through_haproxy_the_ids_meet(site: Site, tmp_path: Path, engines: list[Engine]) -> None:
    """A proxy of connections changes no id: with a pattern, for it is another address, all are matched."""
    account = site.new_account()
    with haproxy(tmp_path, site) as port:
        monitor = filled(site.url(account).set(port=port), engines)
        with joining(site.server(), reporting(monitor)) as found:
            assert found.look().matches == ()
        with joining(site.server(pools=("shop",)), reporting(monitor)) as found:
            assert found.sees({("idle", "sleeping"): SIZE})
            for session in sessions_of(site, account):
                site.kill(session)
            assert found.sees({("idle", "gone"): SIZE})
            assert all(found.match().possible for _ in range(5))


def test_of_two_servers_behind_one_haproxy_only_what_is_found_is_matched(
    mariadb_site: Site, mariadb_schema_site: Site, tmp_path: Path, engines: list[Engine]
) -> None:
    """Connections to the server that is not sampled are in no pair: they are neither gone nor anybody's."""
    account = mariadb_site.new_account()
    words = f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY 's3cret-of-a-test'"
    mariadb_schema_site.run(words, f"GRANT ALL ON orders.* TO {account}")
    with haproxy(tmp_path, mariadb_site, mariadb_schema_site) as port:
        monitor = filled(mariadb_site.url(account).set(port=port), engines)
        here = len(sessions_of(mariadb_site, account))
        assert here == SIZE / 2
        with joining(mariadb_site.server(pools=("shop",)), reporting(monitor)) as found:
            assert eventually(lambda: found.pairs().get(("idle", "sleeping"), 0) >= 1, every=0.1)
            for _ in range(5):
                seen = found.match()
                assert seen.possible
                assert seen.stale == 0
                assert sum(seen.pairs.values()) <= here


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_through_pgbouncer_no_id_means_anything(
    postgresql_site: Site, tmp_path: Path, engines: list[Engine], mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A pooler's ids are no sessions: after a few samples this is said, once, and nothing else."""
    site, account = postgresql_site, postgresql_site.new_account()
    with pgbouncer(tmp_path, site, account, mode=mode) as port:
        monitor = filled(site.url(account).set(port=port), engines)
        with joining(site.server(pools=("shop",)), reporting(monitor)) as found:
            with caplog.at_level(logging.WARNING):
                seen = eventually(lambda: _impossible(found), every=0.1)
                assert seen is not None
                assert all(_impossible(found) for _ in range(5))
            assert (seen.pairs, seen.stale, seen.leak_suspects, seen.expiry) == ({}, 0, 0, None)
            assert found.unowned(account) == []
            said = [record.message for record in caplog.records if "cannot be matched" in record.message]
            assert len(said) == 1
            assert said[0].startswith(
                "pool shop: the ids of its connections are not those of sessions on server orders"
            )


@pytest.mark.parametrize("site", ["mariadb_site", "postgresql_site"], indirect=True)
def test_a_pool_whose_sessions_were_all_ended_is_behind_no_proxy(
    site: Site, engines: list[Engine], caplog: pytest.LogCaptureFixture
) -> None:
    """Sessions that were met once are gone, all of them, also while others of the same database sleep."""
    account = site.new_account()
    monitor = filled(site.url(account), engines)
    with joining(site.server(), reporting(monitor)) as found, site.pool(site.new_account(), 1):
        assert found.sees({("idle", "sleeping"): SIZE})
        for session in sessions_of(site, account):
            site.kill(session)
        assert found.sees({("idle", "gone"): SIZE})
        assert all(found.match().stale == SIZE for _ in range(5))
        assert "cannot be matched" not in caplog.text


def _impossible(found: Joining) -> Match | None:
    seen = found.match()
    return None if seen.possible else seen
