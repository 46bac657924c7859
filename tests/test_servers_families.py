"""Families of servers that other distributions bring along: found, loaded when asked for, refused when unfit."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from config_files import SERVER, write
from distributions import build, install
from exporter import servers
from exporter.cli import cli
from exporter.config import load
from exporter.demo.client import ask
from exporter.records import PooledConnection, PoolIdentity, PoolSnapshot, ProcessSnapshot
from exporter.servers import FamilyError, family
from exporter.values import DIALECTS
from overviews import publish
from waiting import eventually

DOCS = (Path(__file__).parent.parent / "docs" / "servers.md").read_text()
WHOLE = "def engine(): ...\ndef prepare(): ...\ndef sample(): ...\ndef reason(): ...\n"
CANNOT, MEND = "cannot be loaded:", "mend or uninstall it"
WHAT = "docs/servers.md says what a family has"
BUILT_IN = "mysql+pymysql, mariadb+pymysql, postgresql+psycopg"


def block(language: str) -> str:
    """Return the only block of a language in the documentation."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", DOCS, flags=re.DOTALL | re.MULTILINE)
    return str(found)


@pytest.fixture
def site_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is searched for distributions."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def checked(folder: Path, url: str) -> Result:
    path = write(folder, f"servers:\n  orders:\n    url: {url}")
    return CliRunner().invoke(cli, ["check-config", str(path)], prog_name="pool-exporter")


def fault(folder: Path, url: str) -> str:
    """Return the one fault of a URL."""
    result = checked(folder, url)
    assert result.exit_code == 1
    (line,) = result.stdout.splitlines()
    place = f"{folder / 'config.yaml'}:3:10: servers.orders.url: "
    assert line.startswith(place)
    return line.removeprefix(place)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The family of the documentation, built and installed."""
    folder = tmp_path_factory.mktemp("ledger")
    return build(folder, pyproject=block("toml"), module="pool_exporter_ledger", source=block("python"))


@pytest.fixture
def sessions(tmp_path: Path) -> Path:
    """A server of that family: three sessions that sleep and one that works."""
    path = tmp_path / "ledger.db"
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE sessions (id, user, client, asleep, seconds)")
        rows = [
            (7, "shop", "web", 1, 30),
            (8, "shop", "web", 1, 40),
            (9, "shop", "web", 0, 0),
            (99, "shop", "cron", 1, 5),
        ]
        connection.executemany("INSERT INTO sessions VALUES (?, ?, ?, ?, ?)", rows)
    connection.close()
    return path


def pool(now: float, opened: float) -> ProcessSnapshot:
    """A process with two pooled connections of one moment: the one is a session of the server, the other is gone."""
    age = now - opened
    held = (PooledConnection("used", 30.0, age, 7), PooledConnection("idle", 30.0, age, 99))
    identity = PoolIdentity("shop", "QueuePool", "ledger", "none")
    return ProcessSnapshot(os.getpid(), now, (PoolSnapshot(identity, used=1, idle=1, connections=held),))


def test_a_family_of_its_own(tmp_path: Path, ledger: Path, sessions: Path) -> None:
    """What the documentation shows, built and installed, is served like the built-in ones: sessions, match and all."""
    box = tmp_path / "box"
    box.mkdir()
    config = tmp_path / "config.yaml"
    config.write_text(
        f"web: {{listen: 127.0.0.1:0}}\nprocesses: {{directory: {box}}}\nservers:\n  books:\n"
        f"    url: ledger:///{sessions}\n    interval: 200ms\n    pools: [shop]\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ledger)}
    command = [sys.executable, "-m", "exporter"]
    said = subprocess.run(
        [*command, "check-config", config], env=environment, check=True, capture_output=True, text=True
    )
    assert said.stdout.endswith("servers: books (ledger)\n")
    wanted = {
        'sqlalchemy_server_up{server="books"} 1.0',
        'sqlalchemy_server_info{dialect="ledger",server="books",source="sessions",version="1"} 1.0',
        'sqlalchemy_server_sessions{client="web",database="",server="books",state="sleeping",user="shop"} 2.0',
        'sqlalchemy_server_connections{server="books"} 3.0',
        'sqlalchemy_pool_matched_connections{pool="shop",server="books",session="sleeping",state="used"} 1.0',
        'sqlalchemy_pool_matched_connections{pool="shop",server="books",session="gone",state="idle"} 1.0',
    }
    log, opened = tmp_path / "log", time.time() - 60.0
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "serve", "--config", config], env=environment, stdout=output, stderr=output
        )
    try:
        found = eventually(lambda: re.search(r"serving on (http://127\.0\.0\.1:\d+)/", log.read_text()))
        assert found is not None
        page = found[1]

        def lines() -> set[str]:
            publish(box, pool(time.time(), opened))
            return {_sorted(line) for line in ask(f"{page}/metrics").body.splitlines()}

        met = 'sqlalchemy_pool_matched_connections{pool="shop",server="books",session="sleeping",state="idle"} 1.0'
        eventually(lambda: met in lines())
        with contextlib.closing(sqlite3.connect(sessions)) as connection, connection:
            connection.execute("DELETE FROM sessions WHERE id = 99")
        eventually(lambda: wanted <= lines())
    finally:
        process.terminate()
        process.wait(20)
    assert "Traceback" not in log.read_text()


def _sorted(line: str) -> str:
    """Write a sample with its labels in the order of the alphabet."""
    name, _, rest = line.partition("{")
    labels, _, value = rest.partition("} ")
    return f"{name}{{{','.join(sorted(labels.split(',')))}}} {value}"


def test_it_is_not_there_without_its_distribution(tmp_path: Path) -> None:
    """A dialect that nobody brings along is refused, with all that are supported."""
    assert fault(tmp_path, "ledger:///x") == f"'ledger' is not supported; supported are {BUILT_IN}"
    with pytest.raises(FamilyError, match="nobody brings the family of servers 'ledger' along"):
        family("ledger")


def test_it_is_named_among_the_supported(tmp_path: Path, site_packages: Path) -> None:
    """What is installed is offered to whoever mistypes it, too."""
    install(site_packages, "ledgers", entry="ledger = nowhere")
    assert fault(tmp_path, "legder:///x") == (
        f"'legder' is not supported; did you mean ledger? Supported are {BUILT_IN}, ledger"
    )


def test_it_is_loaded_when_a_url_asks_for_it(tmp_path: Path, site_packages: Path) -> None:
    """A distribution that is broken harms nobody who does not ask for it."""
    install(site_packages, "ledgers", entry="ledger = broken_ledger", source="raise RuntimeError\n")
    assert checked(tmp_path, "mysql://probe@db/").exit_code == 0
    assert "broken_ledger" not in sys.modules


@pytest.mark.parametrize(
    ("entry", "source", "said"),
    [
        ("absent_ledger", None, f"{CANNOT} ModuleNotFoundError: No module named 'absent_ledger'; {MEND}"),
        ("whole_ledger:no", WHOLE, f"{CANNOT} AttributeError: module 'whole_ledger' has no attribute 'no'; {MEND}"),
        ("raising_ledger", "raise RuntimeError('two\\nlines')", f"{CANNOT} RuntimeError: two lines; {MEND}"),
        ("exiting_ledger", "raise SystemExit(3)", f"{CANNOT} SystemExit: 3; {MEND}"),
        ("empty_ledger", "", f"has no function engine, prepare, sample, reason; {WHAT}"),
        ("part_ledger", WHOLE + "sample = 5", f"has no function sample; {WHAT}"),
    ],
)
def test_one_that_does_not_fit(tmp_path: Path, site_packages: Path, entry: str, source: str | None, said: str) -> None:
    """A family that cannot be used is a fault of the URL that asks for it, with the distribution and the cause."""
    install(site_packages, "ledgers", entry=f"ledger = {entry}", source=source)
    assert fault(tmp_path, "ledger:///x") == f"the family of servers 'ledger' of ledgers 1.0 ({entry}) {said}"


def test_an_object_instead_of_a_module(tmp_path: Path, site_packages: Path) -> None:
    """Any object with the four functions will do, and its URL is its own affair."""
    source = "class Family:\n    engine = prepare = sample = reason = staticmethod(print)\nours = Family()\n"
    install(site_packages, "ledgers", entry="ledger = object_ledger:ours", source=source)
    path = write(tmp_path, "servers: {books: {url: 'ledger+fast:///x?a=b'}}")
    (server,) = load(path, offers=servers.offers()).servers
    assert (server.dialect, server.url.drivername, server.url.query) == ("ledger", "ledger+fast", {"a": "b"})
    assert type(family("ledger")).__name__ == "Family"


def test_a_password_in_its_url_is_refused(tmp_path: Path, site_packages: Path) -> None:
    """What holds for all URLs holds for those of other families."""
    install(site_packages, "ledgers", entry="ledger = nowhere")
    assert fault(tmp_path, "ledger://a:Tr0ub4dor@b/").startswith("holds a password; take it out")


def test_two_of_one_name(tmp_path: Path, site_packages: Path) -> None:
    """Which of two is meant cannot be told, so neither is taken."""
    for name in ("ledgers", "books"):
        install(site_packages, name, entry="ledger = nowhere")
    assert fault(tmp_path, "ledger:///x") == (
        "the family of servers 'ledger' comes with books 1.0 and ledgers 1.0; uninstall one"
    )


def test_a_built_in_one_cannot_be_replaced(
    tmp_path: Path, site_packages: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A distribution that would take the place of a built-in family is passed over, and that is said."""
    install(site_packages, "ledgers", entry="mysql = other_mysql", source="raise RuntimeError\n")
    with caplog.at_level(logging.WARNING):
        assert checked(tmp_path, "mysql://probe@db/").exit_code == 0
    assert caplog.messages == [
        "the family of servers 'mysql' of ledgers 1.0 is not used: a built-in one cannot be replaced"
    ]
    assert family("mysql").engine.__module__.startswith("exporter.servers.mysql")


def test_built_in_families_need_no_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration that is read without offers knows the built-in families."""
    monkeypatch.setattr("exporter.servers.entry_points.entry_points", lambda **_: [])
    assert servers.offers() == {}
    assert servers.FAMILIES.keys() == DIALECTS.keys()
    assert load(write(tmp_path, SERVER)).servers[0].dialect == "mysql"
