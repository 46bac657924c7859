"""Which sessions of MySQL and MariaDB hold a transaction, and how often the server is asked for them."""

from __future__ import annotations

import pytest

from exporter.sampler import Sampler
from exporter.servers import mysql_transactions
from samplers import sampled, sampling
from sites import Site, counts
from waiting import eventually

pytestmark = pytest.mark.servers


def test_transactions(any_mysql: Site) -> None:
    """Asleep in a transaction is told from plain sleep and dated by user and database; ended, nothing is left of it."""
    site, account = any_mysql, any_mysql.new_account()
    site.run(f"CREATE TABLE orders.{account} (id INT) ENGINE=InnoDB")
    with sampling(site.server()) as sampler:
        with site.pool(account, 3) as (engine, _):
            with engine.connect() as connection:
                connection.exec_driver_sql(f"INSERT INTO orders.{account} VALUES (1)")
                held = {("orders", "127.0.0.1", "sleeping"): 2, ("orders", "127.0.0.1", "sleeping_in_transaction"): 1}
                # The server looks anew at its transactions only when nobody has asked for 0.1 s.
                eventually(lambda: counts(sampled(sampler), account) == held, every=0.2)
                eventually(lambda: _oldest(sampler, account) >= 1.0, every=0.2)
            plain = {("orders", "127.0.0.1", "sleeping"): 3}
            eventually(lambda: counts(sampled(sampler), account) == plain, every=0.2)
            assert _oldest(sampler, account) < 0
        eventually(lambda: account not in {group.user for group in sampled(sampler).groups})


def _oldest(sampler: Sampler, account: str) -> float:
    """Return the age of the oldest transaction that an account's sleepers hold; -1 without any."""
    ages = {(held.user, held.database): held.longest for held in sampled(sampler).transactions}
    return ages.get((account, "orders"), -1.0)


def test_slow_to_read(mariadb_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where transactions take long to read, they are not read each time: those that were read last go on ageing."""
    site, account = mariadb_site, mariadb_site.new_account()
    site.run(f"CREATE TABLE orders.{account} (id INT) ENGINE=InnoDB")
    held = {("orders", "127.0.0.1", "sleeping_in_transaction"): 1}
    with sampling(site.server()) as sampler, site.pool(account, 1) as (engine, _):
        with engine.connect() as connection:
            connection.exec_driver_sql(f"INSERT INTO orders.{account} VALUES (1)")
            eventually(lambda: counts(sampled(sampler), account) == held, every=0.2)
            monkeypatch.setattr(mysql_transactions, "SLOW", 0.0)
            monkeypatch.setattr(mysql_transactions, "CALM_SHARE", 1e9)
            before = _oldest(sampler, account)
        assert _oldest(sampler, account) > before
        monkeypatch.undo()
        eventually(lambda: counts(sampled(sampler), account) == {("orders", "127.0.0.1", "sleeping"): 1}, every=0.2)
