"""What a pool is called and where it connects to: as the driver is told, or not at all, and never with a secret."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import QueuePool

import exporter
from exporter.identity import identify
from exporter.records import PoolIdentity

PSYCOPG, PYMYSQL = "postgresql+psycopg://", "mysql+pymysql://"
SECRET = "hidden"  # what may never show
ENVIRONMENT = ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGPORT")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What libpq finds in the environment is for the tests to say."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


def told(url: str, **options: Any) -> PoolIdentity:
    """Return what an engine's pool is."""
    return identify(create_engine(url, **options), name=None)


@pytest.mark.parametrize(
    ("url", "name", "host", "port"),
    [
        (f"{PSYCOPG}u:{SECRET}@db1/shop", "postgresql://db1:5432/shop", "db1", 5432),
        (f"{PSYCOPG}/shop?port=6543&host=db1", "postgresql://db1:6543/shop", "db1", 6543),
        (f"{PSYCOPG}/shop?host=db1:6543", "postgresql://db1:6543/shop", "db1", 6543),
        (f"{PSYCOPG}/shop?host=db1:6543&host=db2", "postgresql://db1:6543,db2:5432/shop", "db1,db2", None),
        (
            "postgresql+asyncpg:///shop?host=db1:6543&host=db2:5433",
            "postgresql://db1:6543,db2:5433/shop",
            "db1,db2",
            None,
        ),
        (PSYCOPG, "postgresql://localhost:5432/", "localhost", 5432),
        (f"{PYMYSQL}u:{SECRET}@/shop", "mysql://localhost:3306/shop", "localhost", 3306),
        (f"{PYMYSQL}u@[::1]:33/shop", "mysql://::1:33/shop", "::1", 33),
        (f"{PYMYSQL}/shop?unix_socket=/run/my.sock", "mysql:///run/my.sock:3306/shop", "/run/my.sock", 3306),
    ],
)
def test_where_the_url_says(url: str, name: str, host: str, port: int | None) -> None:
    """Host and port stand in the URL or in its query, and several hosts are no one's."""
    identity = told(url)
    assert (identity.name, identity.host, identity.port) == (name, host, port)


def test_where_connect_args_say() -> None:
    """What create_engine is given for the driver counts more than the URL."""
    identity = told(f"{PYMYSQL}u@elsewhere/other", connect_args={"host": "db1", "port": 33, "database": "shop"})
    assert (identity.name, identity.host, identity.port) == ("mysql://db1:33/shop", "db1", 33)
    several = told(PSYCOPG, connect_args={"host": "db1,db2", "port": 6543, "dbname": "shop"})
    assert (several.name, several.host, several.port) == ("postgresql://db1:6543,db2:6543/shop", "db1,db2", None)
    asynchronous = create_async_engine("mysql+aiomysql://", connect_args={"host": "db1", "db": "shop"}).sync_engine
    assert identify(asynchronous, name=None).name == "mysql://db1:3306/shop"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        (PSYCOPG, {"creator": lambda: None}),
        (f"{PSYCOPG}/?service=shop", {}),
        (PSYCOPG, {"connect_args": {"conninfo": f"host=db1 password={SECRET}"}}),
        ("postgresql+psycopg2://", {"connect_args": {"dsn": f"host=db1 password={SECRET}"}}),
        (f"{PSYCOPG}/postgresql://u:{SECRET}@db1/shop", {}),
        (f"{PSYCOPG}/host=db1 password={SECRET}", {}),
        (PYMYSQL, {"connect_args": {"read_default_file": "/etc/my.cnf"}}),
    ],
)
def test_where_nobody_says(url: str, options: dict[str, Any]) -> None:
    """Without an address that can be read there is none: neither this host, nor a text with a password in it."""
    identity = told(url, **options)
    assert (identity.host, identity.port, identity.database) == ("", None, "")
    assert identity.name in ("postgresql:///", "mysql:///")


@pytest.mark.parametrize("variable", ENVIRONMENT[:3])
def test_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """A driver that takes its host from the environment is not taken for one of this host."""
    monkeypatch.setenv(variable, "elsewhere")
    assert told(PSYCOPG).host == ""
    assert told(f"{PSYCOPG}db1").host == "db1"
    assert told("postgresql+pg8000://").host == told(PYMYSQL).host == "localhost"


def test_which_port_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port is what the environment says, where the URL says none and libpq is asked."""
    monkeypatch.setenv("PGPORT", "6543")
    assert told(f"{PSYCOPG}db1").port == 6543
    assert told(f"{PSYCOPG}db1:5432").port == told("postgresql+pg8000://db1").port == 5432


def test_a_creator_is_named_by_the_url() -> None:
    """With a creator the URL is no address, but its words stay in the name, which tells engines apart."""
    identity = told(f"{PSYCOPG}u:{SECRET}@orders-db:6543/shop", creator=lambda: None)
    assert (identity.name, identity.host, identity.port) == ("postgresql://orders-db:6543/shop", "", None)


def test_a_pool_that_is_handed_over_keeps_its_address() -> None:
    """An engine over another's pool connects to where that one does."""
    first = create_engine(f"{PSYCOPG}db1/shop")
    assert told(PSYCOPG, pool=first.pool).name == "postgresql://db1:5432/shop"
    assert told(PSYCOPG, pool=QueuePool(lambda: None)).host == ""  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite://", ":memory:"),
        ("sqlite:////srv/shop.db", "shop.db"),
        ("sqlite:///C:\\Users\\me\\shop.db", "shop.db"),
        ("sqlite:///file:/srv/shop.db?mode=ro&uri=true", "shop.db"),
        ("sqlite:///file:shop?mode=memory&uri=true", "shop"),
        ("sqlite:////srv/shop/", "shop"),
    ],
)
def test_a_file_is_named_without_its_folders(url: str, file: str) -> None:
    """Folders say too much, whatever separates them."""
    identity = told(url, poolclass=QueuePool)
    assert (identity.name, identity.database) == (f"sqlite:///{file}", file)


@pytest.mark.parametrize("options", [{}, {"name": "shop\udcff"}], ids=["by its file", "by its name"])
def test_a_name_that_no_page_can_show(options: dict[str, str]) -> None:
    """A character that UTF-8 has not is shown as a question mark, and the page is whole."""
    engine = create_engine("sqlite:///shop\udcff")
    registry = CollectorRegistry()
    try:
        name = exporter.instrument(engine, registry=registry, **options).name  # type: ignore[arg-type]
        assert name.rpartition("/")[2] == "shop?"
        assert f'pool="{name}"' in generate_latest(registry).decode()
        exporter.instrument(engine, name="later\udcff")
        assert 'pool="later?"' in generate_latest(registry).decode()
    finally:
        exporter.uninstrument(engine)
