"""Which pool belongs to which server: patterns, addresses, names that mean the same, and sockets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from sqlalchemy.engine import URL, make_url

from exporter.conclusions import Report
from exporter.owners import Map, belongs, hosts, owners, plain, reports_by_server, several, sorted_out
from exporter.records import Instance, PoolIdentity, PoolSnapshot, ProcessSnapshot


@dataclass(frozen=True)
class Server:
    """As much of a configured server as the match asks for."""

    url: URL
    name: str = "orders"
    pools: tuple[str, ...] = ()


def server(url: str, *pools: str, name: str = "orders") -> Server:
    return Server(make_url(url), name, pools)


def identity(dialect: str = "mysql", host: str = "db", port: int | None = 3306, name: str = "shop") -> PoolIdentity:
    return PoolIdentity(name, "QueuePool", dialect, "driver", host=host, port=port, database="shop")


@pytest.mark.parametrize(
    ("dialect", "host", "port", "url"),
    [
        ("mysql", "db", 3306, "mysql+pymysql://probe@db/"),
        ("mariadb", "db", 3306, "mysql+pymysql://probe@db:3306/"),
        ("mysql", "DB.example.", None, "mariadb+pymysql://probe@db.EXAMPLE/"),
        ("postgresql", "localhost", 5432, "postgresql+psycopg://probe@127.0.0.1/shop"),
        ("postgresql", "127.0.0.1", 5433, "postgresql+psycopg://probe@[::1]:5433/"),
        ("postgresql", "::1", 5432, "postgresql+psycopg://probe@localhost/"),
        ("postgresql", "localhost", 5432, "postgresql+psycopg:///shop"),
        ("postgresql", "/run/postgresql", 5432, "postgresql+psycopg:///shop?host=/run/postgresql"),
        ("postgresql", "a", 5432, "postgresql+psycopg:///shop?host=a&host=b"),
    ],
)
def test_the_same_address_in_other_words(dialect: str, host: str, port: int | None, url: str) -> None:
    """Family, host and port are equal however they are written: MariaDB is MySQL, and this machine has many names."""
    assert belongs(identity(dialect, host, port), server(url))


@pytest.mark.parametrize(
    ("dialect", "host", "port", "url"),
    [
        ("mysql", "db", 3306, "postgresql+psycopg://probe@db:3306/"),
        ("mysql", "db", 3306, "mysql+pymysql://probe@db:3307/"),
        ("mysql", "db", 3306, "mysql+pymysql://probe@db2/"),
        ("postgresql", "127.0.0.2", 5432, "postgresql+psycopg://probe@localhost/"),
        ("sqlite", "", None, "mysql+pymysql://probe@localhost/"),
        ("mysql", "", None, "mysql+pymysql://probe@localhost/"),
    ],
)
def test_another_address(dialect: str, host: str, port: int | None, url: str) -> None:
    """Another family, host or port is another server, and a pool that does not know its own is nobody's."""
    assert not belongs(identity(dialect, host, port), server(url))


@pytest.mark.parametrize(("pattern", "told"), [("shop", True), ("sh*", True), ("Shop", False), ("hop", False)])
def test_patterns_decide_alone(pattern: str, *, told: bool) -> None:
    """With patterns the whole name decides, in its own case, and the address is not looked at."""
    assert belongs(identity("postgresql", "elsewhere"), server("mysql+pymysql://db/", "stock*", pattern)) is told
    assert not belongs(identity("mysql", "db"), server("mysql+pymysql://db/", "stock*"))


def test_an_address_that_two_servers_have_tells_nothing() -> None:
    """A pool is rather nobody's than two servers'; a pattern settles it, and may name several."""
    one, two = server("mysql+pymysql://db/", name="one"), server("mariadb+pymysql://db:3306/", name="two")
    mine, ours = server("mysql+pymysql://proxy/", "shop", name="mine"), server("mysql+pymysql://db/", "s*", name="ours")
    assert owners(identity(), [one]) == (one,)
    assert owners(identity(), [one, two]) == ()
    assert owners(identity(), [one, mine]) == (mine,)
    assert owners(identity(), [one, two, mine, ours]) == (mine, ours)
    assert owners(identity(), []) == ()


def test_reports_are_sorted_by_server_and_by_pool() -> None:
    """Each process's pool goes to the server that it connects to, also where names are the same."""
    here, there = server("mysql+pymysql://a/", name="here"), server("mysql+pymysql://b/", name="there")
    first, second = PoolSnapshot(identity(host="a"), idle=1), PoolSnapshot(identity(host="b"), idle=2)
    lost = PoolSnapshot(identity(host="c", name="lost"))
    processes = [ProcessSnapshot(1, 10.0, (first, lost)), ProcessSnapshot(2, 11.0, (second, first))]
    assert reports_by_server(processes, [here, there]) == {
        "here": {"shop": [Report(10.0, first, "1", 1), Report(11.0, first, "2", 2)]},
        "there": {"shop": [Report(11.0, second, "2", 2)]},
    }
    assert sorted_out(processes, [here, there]).nobodys == [Report(10.0, lost, "1", 1)]
    assert reports_by_server([], [here]) == {"here": {}}


ADDRESSES = {
    "db": ["10.0.0.7"],
    "primary": ["10.0.0.7", "fd00::7"],
    "other": ["10.0.0.8"],
    "replicas": ["10.0.0.7", "10.0.0.8"],
    "here": ["127.0.0.1"],
    "newer": ["fd00::7", "fd00::8"],
}
NAMES = Map(ADDRESSES.get)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("db", "primary", True),
        ("db", "10.0.0.7", False),  # literal addresses are looked up too, here by nobody
        ("db", "other", False),
        ("db", "nobody-knows", False),
        ("here", "localhost", True),
        ("here", "127.0.0.1", True),
        ("replicas", "replicas", False),
        ("replicas", "db", False),
        ("newer", "primary", False),
    ],
)
def test_names_that_mean_the_same(one: str, other: str, *, same: bool) -> None:
    """Two names of one address are one server; a name of several addresses is none, not even the one of that name."""
    assert belongs(identity(host=one), server(f"mysql+pymysql://{other}/"), NAMES) is same
    assert belongs(identity(host=other), server(f"mysql+pymysql://{one}/"), NAMES) is same


def test_an_address_is_its_own() -> None:
    """A server that is configured by its address is found by a name of it, when addresses are looked up as well."""
    known = Map({**ADDRESSES, "10.0.0.7": ["10.0.0.7"]}.get)
    assert belongs(identity(host="db"), server("mysql+pymysql://10.0.0.7/"), known)
    assert not belongs(identity(host="db", port=3307), server("mysql+pymysql://10.0.0.7/"), known)


def test_two_servers_of_one_address_are_none() -> None:
    """One server that is set up twice, by two names, cannot be told from two; a pattern for one of them settles it."""
    one, two = server("mysql+pymysql://localhost/", name="one"), server("mysql+pymysql://here/", name="two")
    assert owners(identity(host="127.0.0.1"), [one, two], NAMES) == ()
    told = server("mysql+pymysql://here/", "shop", name="two")
    assert owners(identity(host="127.0.0.1"), [one, told], NAMES) == (told,)


@pytest.mark.parametrize(
    ("dialect", "host", "port", "url", "same"),
    [
        ("postgresql", "/run/postgresql", 5432, "postgresql+psycopg://probe@127.0.0.1/shop", True),
        ("postgresql", "/run/postgresql", 5433, "postgresql+psycopg://probe@127.0.0.1/shop", False),
        ("postgresql", "/run/postgresql/", 5432, "postgresql+psycopg:///shop?host=/run/postgresql", True),
        ("postgresql", "/run/a", 5432, "postgresql+psycopg:///shop?host=/run/b", False),
        ("postgresql", "/run/postgresql", 5432, "postgresql+psycopg://probe@db/shop", False),
        ("mysql", "/run/mysqld.sock", 3306, "mysql+pymysql:///?unix_socket=/run/mysqld.sock", True),
        ("mysql", "/run/mysqld.sock", 3306, "mysql+pymysql://localhost/?unix_socket=/run/mysqld.sock", True),
        ("mysql", "/run/other.sock", 3306, "mysql+pymysql://localhost/?unix_socket=/run/mysqld.sock", False),
        ("mysql", "/run/mysqld.sock", 3306, "mysql+pymysql://localhost/", False),
        ("mysql", "localhost", 3306, "mysql+pymysql:///?unix_socket=/run/mysqld.sock", False),
    ],
)
def test_sockets(dialect: str, host: str, port: int, url: str, *, same: bool) -> None:
    """PostgreSQL's socket bears the number of its port; of MySQL's, nobody knows whose it is before it was asked."""
    assert belongs(identity(dialect, host, port), server(url)) is same


@pytest.mark.parametrize(
    ("host", "port", "url", "same"),
    [
        ("/run/mysqld.sock", 3306, "mysql+pymysql://localhost:3307/", True),
        ("/run/other.sock", 3306, "mysql+pymysql://localhost:3307/", False),
        ("/run/mysqld.sock", 3306, "mysql+pymysql://db:3307/", False),
        ("localhost", 3307, "mysql+pymysql:///?unix_socket=/run/mysqld.sock", True),
        ("localhost", 3306, "mysql+pymysql:///?unix_socket=/run/mysqld.sock", False),
    ],
)
def test_a_server_says_where_its_socket_is(host: str, port: int, url: str, *, same: bool) -> None:
    """Once MySQL has been asked, its socket and its port are known to be the same server's."""
    asked = server(url)
    port_there = asked.url.port or 3307
    known = Map(instances={"orders": Instance("a", 0.0, "/run/mysqld.sock", port_there)})
    if asked.url.port is not None and host.startswith("/"):
        port = port_there
    assert belongs(identity("mysql", host, port), asked, known) is same


@pytest.mark.parametrize(
    ("host", "written"),
    [
        ("LOCALHOST.", "localhost"),
        ("[::1]", "localhost"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("::ffff:127.0.0.1", "localhost"),
        ("FD00:0::7", "fd00::7"),
        ("DB.Example.", "db.example"),
        ("/run/", "/run"),
    ],
)
def test_a_host_is_written_in_one_way(host: str, written: str) -> None:
    """Case, brackets, a dot at the end and mapped addresses make no difference."""
    assert plain(host) == written


@pytest.mark.parametrize(
    ("addresses", "told"), [([], False), (["10.0.0.7", "fd00::7"], False), (["10.0.0.7", "10.0.0.8"], True)]
)
def test_several_hosts(addresses: Iterable[str], *, told: bool) -> None:
    """A host has one address of either version; more may be more hosts."""
    assert several(list(addresses)) is told


def test_the_names_to_look_up() -> None:
    """The hosts of servers are known from the configuration; this machine and its sockets are not looked up."""
    urls = ["mysql+pymysql://DB/", "mysql+pymysql://localhost/", "postgresql+psycopg:///?host=/run/postgresql"]
    assert hosts([server(url) for url in urls]) == {"db"}
