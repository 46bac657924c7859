"""What tests share: an engine on a SQLite file and its page; real servers, started once, the newest ones too."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import Pool, QueuePool

import exporter
from exporter.contained import contained_errors
from exporter.demo.databases import Database, debian_postgresql_binaries, mariadb, mariadb_available, postgresql
from newest import MARIADB, MYSQL, Newest, newest
from pages import Page
from sites import Launch, Site
from wires import Line, NewEngine
from workers import Shop, open_shop

pytest.register_assert_rewrite("plays", "stages")  # what they assert is to be told in full

SITES = ("mariadb_site", "mariadb_schema_site", "mysql_site", "postgresql_site")
MYSQL_SITES = ("mariadb_site", "mariadb_schema_site", "mariadb_newest_site", "mysql_site")
NEWEST_SITES = ("mysql_site", "mariadb_newest_site", "postgresql_newest_site")

NOT_RUN = "NOT RUN:"
"""How the reason of a test begins that is skipped because this machine has none of the newest servers."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer to leave out what a machine without servers cannot run, and to run what needs an environment of its own."""
    parser.addoption(
        "--without-servers",
        action="store_true",
        help="skip the tests that talk to real servers; without this, a server that is missing is a failure",
    )
    parser.addoption(
        "--all-drivers",
        action="store_true",
        help="run the tests of compiled drivers too; in the environment of `scripts/test --drivers`",
    )
    parser.addoption(
        "--lab",
        action="store_true",
        help="run the troubles of the lab from end to end too; they take minutes",
    )
    parser.addoption(
        "--long",
        action="store_true",
        help="let what is only begun in an ordinary run take its time: a server that restarts does so for two minutes",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, with a reason that is printed, what --without-servers leaves out, and drop what other options bring in."""
    for option, marker in (("--all-drivers", "compiled"), ("--lab", "lab"), ("--long", "long")):
        if not config.getoption(option):
            elsewhere = [item for item in items if item.get_closest_marker(marker) is not None]
            items[:] = [item for item in items if item.get_closest_marker(marker) is None]
            config.hook.pytest_deselected(items=elsewhere)
    if not config.getoption("--without-servers"):
        return
    skip = pytest.mark.skip(reason="needs real servers, and --without-servers was given")
    for item in items:
        if item.get_closest_marker("servers") is not None:
            item.add_marker(skip)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was not run for want of a server: one among hundreds of dots would be overlooked."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[-1]) for report in skipped if NOT_RUN in str(report.longrepr))
    if reasons:
        terminalreporter.section("NOT RUN", sep="!", red=True, bold=True)
    for reason, count in sorted(reasons.items()):
        terminalreporter.line(f"{count} tests {reason.partition(NOT_RUN)[2].strip()}", red=True, bold=True)


@pytest.fixture
def line(tmp_path: Path) -> Line:
    """A file to connect to."""
    return Line(tmp_path / "shop.db")


@pytest.fixture
def page() -> Page:
    """The page of the pool of this test."""
    return Page("sqlite:///shop.db")


@pytest.fixture
def new_engine(line: Line) -> Iterator[NewEngine]:
    """Makes engines of that file; at the end none of them is watched or open."""
    engines: list[Engine] = []

    def make(**options: Any) -> Engine:
        engine = create_engine("sqlite:///shop.db", **{"creator": line, "poolclass": QueuePool, **options})
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        exporter.uninstrument(engine)
        engine.dispose()


@pytest.fixture
def engine(new_engine: NewEngine) -> Engine:
    """An engine that nobody has instrumented yet."""
    return new_engine()


@pytest.fixture
def engine_of(new_engine: NewEngine, page: Page) -> Callable[..., Engine]:
    """Make an instrumented engine with a pool of the class that is asked for."""

    def make(pool_class: type[Pool], **options: Any) -> Engine:
        engine = new_engine(poolclass=pool_class, **options)
        exporter.instrument(engine, registry=page.registry)
        return engine

    return make


@pytest.fixture
def watched(new_engine: NewEngine, page: Page) -> Engine:
    """An instrumented engine of two places, that pings; every checkout of it is overdue."""
    engine = new_engine(pool_size=1, max_overflow=1, pool_timeout=5, pool_pre_ping=True)
    exporter.instrument(engine, registry=page.registry, leak_after=1e-9)
    return engine


@pytest.fixture
def nothing_contained() -> Iterator[None]:
    """Let a test fail in which our own code did, though the application saw nothing of it."""
    before = contained_errors()
    yield
    assert contained_errors() == before


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


@pytest.fixture(scope="session")
def mysql_site() -> Iterator[Site]:
    """The newest MySQL."""
    with _newest(MYSQL) as database:
        yield _site("mysql_site", "mysql", database)


@pytest.fixture(scope="session")
def mariadb_newest_site() -> Iterator[Site]:
    """The newest MariaDB, without performance_schema."""
    with _newest(MARIADB) as database:
        yield _site("mariadb_newest_site", "mysql", database)


@pytest.fixture(scope="session")
def postgresql_newest_site(servers_folder: Path) -> Iterator[Site]:
    """The newest PostgreSQL, from the wheel that the demonstration uses."""
    with postgresql(servers_folder / "postgresql-newest", settings={"listen_addresses": "127.0.0.1,::1"}) as database:
        yield _site("postgresql_newest_site", "postgresql", database)


@pytest.fixture(params=MYSQL_SITES)
def any_mysql(request: pytest.FixtureRequest) -> Site:
    """Each MariaDB and MySQL in turn."""
    return cast("Site", request.getfixturevalue(request.param))


@pytest.fixture(params=("postgresql_site", "postgresql_newest_site"))
def any_postgresql(request: pytest.FixtureRequest) -> Site:
    """Debian's PostgreSQL and the newest in turn."""
    return cast("Site", request.getfixturevalue(request.param))


def _newest(kind: Newest) -> contextlib.AbstractContextManager[Database]:
    missing = kind.missing()
    if missing is not None:
        pytest.skip(f"{NOT_RUN} for want of the newest {kind.name}: {missing}")
    return newest(kind)


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


@pytest.fixture(params=NEWEST_SITES)
def newest_site(request: pytest.FixtureRequest) -> Site:
    """The newest server of each family in turn."""
    return cast("Site", request.getfixturevalue(request.param))
