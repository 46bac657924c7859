"""Which server has answered, since when it runs, where its socket is; and which of its sleepers nobody has claimed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from exporter.records import Instance
from samplers import sampled, sampling
from scenes import Private
from sites import Launch, Site, sessions_of
from waiting import eventually

pytestmark = pytest.mark.servers


def instance(site: Site) -> Instance:
    """Return what a new sampler is told."""
    with sampling(site.server()) as sampler:
        found = sampled(sampler).instance
    assert found is not None
    return found


def test_a_server_is_known_again(site: Site) -> None:
    """Every sampler is told the same, and a start that lies in the past."""
    one, other = instance(site), instance(site)
    assert one.identity == other.identity
    assert abs(one.started - other.started) <= 1.5  # MySQL tells whole seconds
    assert time.time() - 86400 < one.started < time.time()


def test_servers_are_told_apart(mariadb_site: Site, mariadb_schema_site: Site, postgresql_site: Site) -> None:
    """Two servers of one machine are two."""
    assert len({instance(site).identity for site in (mariadb_site, mariadb_schema_site, postgresql_site)}) == 3


def test_mysql_says_where_it_listens(mariadb_site: Site) -> None:
    """Its socket and its port are its own word."""
    found = instance(mariadb_site)
    assert found.port == mariadb_site.database.url.port
    assert found.socket.startswith("/")


def test_an_account_without_rights_is_told_too(postgresql_site: Site) -> None:
    """Who may not read settings, or ask for the identifier, still tells one server from another by its address."""
    site = postgresql_site
    account = site.new_account()
    site.run("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    try:
        with sampling(site.server(account)) as sampler:
            sampler.sample()
            found = sampler.view()
    finally:
        site.run("GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC")
    assert found.reason in (None, "privilege"), found.message
    if found.snapshot is not None:
        assert found.snapshot.instance is not None
        assert str(site.database.url.port) in found.snapshot.instance.identity


@pytest.mark.parametrize("dialect", ["mysql", "postgresql"])
def test_a_restart_is_seen(request: pytest.FixtureRequest, servers_folder: Path, dialect: str) -> None:
    """After a restart it is the same server, with a later start."""
    launch: Launch = request.getfixturevalue("start_mariadb" if dialect == "mysql" else "start_postgresql")
    private = Private(dialect, launch, servers_folder / f"restarted-{dialect}")
    with private.started() as site:
        before, port = instance(site), site.database.url.port
        # MySQL tells its age in whole seconds only.
        eventually(lambda: time.time() > before.started + 2.5)
    with private.started(port=port) as site:
        after = instance(site)
    assert after.identity == before.identity
    assert after.started > before.started


def test_sleepers_that_nobody_has_claimed(site: Site) -> None:
    """Of the sleeping sessions, those whose ids were asked for are left out, each in the bucket of its sleep."""
    account = site.new_account()
    with site.pool(account, 3) as (_, ids):
        eventually(lambda: len(sessions_of(site, account)) == 3)
        with sampling(site.server(), ids=lambda: frozenset(ids[:1])) as sampler:
            (row,) = [row for row in sampled(sampler).unclaimed if row.user == account]
        assert (row.database, row.client, sum(row.counts)) == ("orders", site.client, 2)
        assert row.place == "127.0.0.1"
        with sampling(site.server(), ids=lambda: frozenset(ids)) as sampler:
            assert [row for row in sampled(sampler).unclaimed if row.user == account] == []
            (session,) = {(each.client, each.place) for each in sampled(sampler).sessions.values()}
        assert session == (site.client, "127.0.0.1")
