"""What docs/servers.md says of accounts, done to the letter on real servers: who has those rights sees everything."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from exporter.config import ServerConfig
from samplers import sampled, sampling
from sites import Site, counts

pytestmark = pytest.mark.servers

DOCS = (Path(__file__).parent.parent / "docs" / "servers.md").read_text()
HEADINGS = {"mysql_site": "MySQL 8.0 and newer", "mariadb": "MariaDB", "postgresql": "PostgreSQL"}
ACCOUNT, PASSWORD = "pool_exporter", "change-me"


def statements(site: Site) -> list[str]:
    """Return the statements that the documentation gives for a server."""
    heading = next(title for start, title in HEADINGS.items() if site.name.startswith(start))
    found = re.search(rf"^### {heading}\n\n```sql\n(.*?)^```", DOCS, flags=re.DOTALL | re.MULTILINE)
    assert found is not None
    return [statement.strip() for statement in found[1].split(";") if statement.strip()]


@contextlib.contextmanager
def documented(site: Site) -> Iterator[ServerConfig]:
    """Hold the account of the documentation."""
    site.run(*statements(site))
    try:
        yield replace(site.server(ACCOUNT), url=site.url(ACCOUNT, database="").set(password=PASSWORD))
    finally:
        site.run(f"DROP {'USER' if site.dialect == 'mysql' else 'ROLE'} {ACCOUNT}")


def begin(site: Site, engine: Engine) -> contextlib.ExitStack:
    """Leave a transaction open that has read something, and sleep."""
    stack = contextlib.ExitStack()
    connection = stack.enter_context(engine.connect())
    connection.execute(text("INSERT INTO ledger VALUES (1)"))
    if site.dialect == "mysql":
        connection.execute(text("SELECT count(*) FROM ledger"))
    return stack


def sees_everything(site: Site) -> None:
    """Look with the documented account at another one's pool, of which one connection is in a transaction."""
    table = "CREATE TABLE IF NOT EXISTS {} (entry int)"
    with documented(site) as config:
        owner = site.new_account()
        with site.pool(owner, 3) as (engine, ids):
            if site.dialect == "postgresql":
                site.run(f"ALTER DATABASE orders OWNER TO {owner}")
            with engine.begin() as connection:
                connection.execute(text(table.format("ledger")))
            with begin(site, engine), sampling(config, ids=lambda: frozenset(ids)) as sampler:
                # As it may be seen by two sidecars: neither is counted.
                with sampling(config) as sister:
                    sampled(sister)
                    snapshot = sampled(sampler)
                assert snapshot.hidden == 0
                assert counts(snapshot, ACCOUNT) == {}
                assert counts(snapshot, owner) == {
                    ("orders", site.client, "sleeping"): 2,
                    ("orders", site.client, "sleeping_in_transaction"): 1,
                }
                assert {held.user for held in snapshot.transactions} == {owner}
                assert sorted(session.state for session in snapshot.sessions.values()) == [
                    "sleeping",
                    "sleeping",
                    "sleeping_in_transaction",
                ]
            with engine.begin() as connection:
                connection.execute(text("DROP TABLE ledger"))
        if site.dialect == "postgresql":
            site.run("ALTER DATABASE orders OWNER TO postgres")


def test_the_documented_account(site: Site) -> None:
    """With the rights of the documentation nothing is hidden, transactions and sisters are told apart."""
    sees_everything(site)


def test_the_documented_account_on_the_newest(newest_site: Site) -> None:
    """The same holds for the newest server of each family."""
    sees_everything(newest_site)
