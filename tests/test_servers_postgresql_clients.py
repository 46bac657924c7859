"""What the clients of a PostgreSQL are called, wherever they come from and however their names are written."""

from __future__ import annotations

import contextlib
import socket

import pytest
from psycopg import pq
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from samplers import sampled, sampling
from sites import Site, counts

pytestmark = pytest.mark.servers


def has_ipv6() -> bool:
    """Tell whether this machine's loopback interface has an address of IPv6."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


def test_client_on_a_socket(postgresql_site: Site) -> None:
    """A nameless client on the Unix socket is localhost, and a sampler can look from there."""
    account, folder = postgresql_site.new_account(), str(postgresql_site.database.folder)
    place = {"host": folder, "port": str(postgresql_site.database.url.port)}
    url = postgresql_site.url(postgresql_site.sampler_account(), **place).set(host=None, port=None)
    engine = create_engine(postgresql_site.url(account, **place).set(host=None, port=None), poolclass=NullPool)
    with engine.connect(), sampling(postgresql_site.server(url=url)) as sampler:
        seen = counts(sampled(sampler), account)
    assert list(seen) == [("orders", "localhost", "sleeping")]


def test_client_of_ipv6(postgresql_newest_site: Site) -> None:
    """A nameless client that comes by IPv6 is its address, without brackets or a port; a sampler comes that way too."""
    site = postgresql_newest_site
    account, looker = site.new_account(), site.sampler_account()
    if not has_ipv6():
        pytest.skip("this machine has no ::1")
    url = site.url(looker).set(host="::1")
    engine = create_engine(site.url(account).set(host="::1"), poolclass=NullPool)
    with engine.connect(), sampling(site.server(url=url)) as sampler:
        assert list(counts(sampled(sampler), account)) == [("orders", "::1", "sleeping")]


def test_foreign_names(any_postgresql: Site) -> None:
    """A name is shown in any encoding that the sampler's database has, its bytes where that does not know them."""
    for encoding in ("SQL_ASCII", "LATIN1"):
        any_postgresql.run(f"CREATE DATABASE in_{encoding} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    url = any_postgresql.database.url
    place = f"host=127.0.0.1 port={url.port} dbname=in_sql_ascii password={url.password} user="
    maker = pq.PGconn.connect(f"{place}postgres".encode())
    maker.exec_(f"CREATE ROLE \"jos\xe9\" LOGIN PASSWORD '{url.password}'".encode("latin-1"))
    maker.finish()
    jose = pq.PGconn.connect(f"{place}jos\xe9".encode("latin-1"))
    looker = any_postgresql.sampler_account()
    for database, name in (("orders", r"jos\xe9"), ("in_sql_ascii", r"jos\xe9"), ("in_latin1", "jos\xe9")):
        with sampling(any_postgresql.server(url=any_postgresql.url(looker, database=database))) as sampler:
            assert list(counts(sampled(sampler), name)) == [("in_sql_ascii", "127.0.0.1", "sleeping")]
    jose.finish()
