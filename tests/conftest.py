"""The servers that tests share, started once: Debian's MariaDB, with and without performance_schema, and PostgreSQL."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from exporter.demo.databases import Database, debian_postgresql_binaries, mariadb, mariadb_available, postgresql
from sites import Launch, Site
from workers import Shop, open_shop

SITES = ("mariadb_site", "mariadb_schema_site", "postgresql_site")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer to leave out what a machine without servers cannot run."""
    parser.addoption(
        "--without-servers",
        action="store_true",
        help="skip the tests that talk to real servers; without this, a server that is missing is a failure",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, with a reason that is printed, what --without-servers leaves out."""
    if not config.getoption("--without-servers"):
        return
    skip = pytest.mark.skip(reason="needs real servers, and --without-servers was given")
    for item in items:
        if item.get_closest_marker("servers") is not None:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """A short folder for the servers' data, which PostgreSQL's own user can pass when we are root."""
    with tempfile.TemporaryDirectory(prefix="pool-exporter-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@pytest.fixture(scope="session")
def start_mariadb() -> Launch:
    """How a MariaDB is started; fails where there is none."""
    if not mariadb_available():
        pytest.fail("no MariaDB server on this machine: install Debian's mariadb-server, or pass --without-servers")
    return mariadb


@pytest.fixture(scope="session")
def start_postgresql() -> Launch:
    """How Debian's PostgreSQL is started; fails where there is none."""
    binaries = debian_postgresql_binaries()
    if binaries is None:
        pytest.fail("no PostgreSQL server on this machine: install Debian's postgresql, or pass --without-servers")
    return functools.partial(postgresql, binaries=binaries)


@pytest.fixture(scope="session")
def mariadb_site(servers_folder: Path, start_mariadb: Launch) -> Iterator[Site]:
    """A MariaDB as it is by default, without performance_schema."""
    with start_mariadb(servers_folder / "mariadb") as database:
        yield _site("mariadb_site", "mysql", database)


@pytest.fixture(scope="session")
def mariadb_schema_site(servers_folder: Path, start_mariadb: Launch) -> Iterator[Site]:
    """A MariaDB with performance_schema, which MySQL has by default."""
    with start_mariadb(servers_folder / "mariadb-schema", settings={"performance-schema": "ON"}) as database:
        yield _site("mariadb_schema_site", "mysql", database)


@pytest.fixture(scope="session")
def postgresql_site(servers_folder: Path, start_postgresql: Launch) -> Iterator[Site]:
    """Debian's PostgreSQL."""
    with start_postgresql(servers_folder / "postgresql") as database:
        yield _site("postgresql_site", "postgresql", database)


def _site(name: str, dialect: str, database: Database) -> Site:
    site = Site(name, dialect, database)
    site.run("CREATE DATABASE orders")
    return site


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest) -> Site:
    """Each of the servers in turn."""
    return cast("Site", request.getfixturevalue(request.param))


@pytest.fixture
def shop(site: Site, tmp_path: Path) -> Iterator[Shop]:
    """An application of many processes on each of the servers in turn, and its sidecar, scraped all the time."""
    with open_shop(site, tmp_path) as opened:
        yield opened
