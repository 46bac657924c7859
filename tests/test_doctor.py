"""The doctor: what one look finds on real servers, what it says of it, and which exit code that is."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from advised import CALM, HEALTHY, pool
from config_files import write
from demos import Demo
from exporter.cli import cli
from exporter.conclusions import Finding, Match, Trouble
from exporter.config import Config
from exporter.doctor import Diagnosis, Unseen, for_machines, for_people, look
from exporter.labels import REJECTED
from exporter.records import PooledConnection, ProcessSnapshot, ServerView
from exporter.troubles import troubles
from overviews import config, publish, server, silent_server
from samplers import unreachable
from sites import Site, sessions_of
from waiting import eventually

UP = ServerView("orders", True, None, "", CALM, 0.1, 0.1, {})  # noqa: FBT003  the field is named `up`
DOWN = dataclasses.replace(UP, name="stock", up=False, reason="connect", message="refused", snapshot=None)
FINDING = Finding("shop", "orders", "no_stale_protection", "pool_recycle=-1", "wait_timeout=9", "it hurts", "mend()")
TROUBLE = Trouble("shop", "orders", "overdue_checkouts", 3, "3 connections are out", {"app.py:1 f": 2, "b.py:2 g": 1})


def gone(idle: int, used: int = 0, server: str = "orders") -> tuple[Match, ...]:
    return (Match("shop", server, {("idle", "gone"): idle, ("used", "gone"): used, ("idle", "sleeping"): 9}),)


def idle(*ages: float) -> tuple[PooledConnection, ...]:
    return tuple(PooledConnection("idle", 1.0, age) for age in ages)


def told(*found: Trouble) -> list[str]:
    return [f"{each.trouble}: {each.what}" for each in found]


def test_a_pool_without_troubles_has_none() -> None:
    """Neither a busy pool nor one that met dead connections by its ping is in trouble."""
    assert troubles(pool(idle=3, used=2, timeouts=0, stale_ping={"2006": 5}), "orders", matches=gone(0)) == ()
    assert troubles(HEALTHY, "", matches=()) == ()


def test_each_trouble_is_said_with_its_number() -> None:
    """The worst comes first; call sites stand with the overdue checkouts; another server's match is not ours."""
    ill = pool(
        connections=idle(1.0, 2.0),
        recycle_seconds=None,
        stale_use={"2006": 1, "other": 1},
        overdue=1,
        overdue_by_site={"app.py:1 f": 1},
        used_longest_seconds=75.4,
        timeouts=1,
    )
    found = troubles(ill, "orders", matches=(*gone(1, used=2), *gone(7, server="stock")))
    assert told(*found) == [
        "stale_connections: 1 idle connection is gone on the server: the next user gets an error",
        "ended_in_use: 2 connections are gone on the server while in use",
        "stale_errors: 2 uses met a connection that the server had ended, and got an error",
        "overdue_checkouts: 1 connection is out of the pool for longer than leak_after, the longest for 75 s",
        "timeouts: 1 wait for a connection ended in a pool timeout",
    ]
    assert [each.count for each in found] == [1, 2, 2, 1, 1]
    assert found[3].sites == {"app.py:1 f": 1}


def test_a_dead_connection_that_the_pool_will_replace_is_no_trouble() -> None:
    """A ping finds it, and a recycle that is due does: only what is handed out as it is makes an error."""
    dead = pool(connections=(*idle(10.0, 2000.0, 3000.0), PooledConnection("used", 1.0, 10.0)))
    assert told(*troubles(dataclasses.replace(dead, pre_ping=True), "orders", matches=gone(3))) == []
    assert [each.count for each in troubles(dead, "orders", matches=gone(3))] == [1]
    assert troubles(dataclasses.replace(dead, connections=idle(2000.0)), "orders", matches=gone(1)) == ()


def test_what_people_read() -> None:
    """By server and pool, calm and short: what is well takes one line, and what was not seen is said."""
    diagnosis = Diagnosis(
        servers=(
            UP,
            DOWN,
            dataclasses.replace(UP, name="empty", snapshot=dataclasses.replace(CALM, connections_max=None)),
        ),
        pools={"orders": ["carts", "shop"], "stock": ["stock"], "": ["files"]},
        findings=[FINDING],
        troubles=[TROUBLE, dataclasses.replace(TROUBLE, pool="files", server="", sites={})],
        unseen=[Unseen("server", "stock", "refused (connect)")],
    )
    assert for_people(diagnosis) == (
        "orders: mysql 8.4.0, 10 of 150 connections\n"
        "  carts: healthy\n"
        "  shop:\n"
        "    now: 3 connections are out (overdue_checkouts)\n"
        "      2 taken at app.py:1 f\n"
        "      1 taken at b.py:2 g\n"
        "    warning: pool_recycle=-1; wait_timeout=9 (no_stale_protection)\n"
        "      it hurts\n"
        "      change: mend()\n"
        "stock: not seen\n"
        "  stock\n"
        "empty: mysql 8.4.0, 10 connections\n"
        "  no pool of this server is published\n"
        "of no server that is set up:\n"
        "  files:\n"
        "    now: 3 connections are out (overdue_checkouts)\n"
        "could not look at server stock: refused (connect)\n"
        "2 troubles and 1 finding; not everything could be looked at"
    )
    assert (
        for_people(Diagnosis(servers=[UP], pools={"orders": ["carts"]})).splitlines()[-1] == "nothing wrong was found"
    )


def test_names_cannot_act_on_a_terminal() -> None:
    """Whoever writes into the directory may call a pool anything; it stays one line of plain text."""
    said = for_people(Diagnosis(servers=[UP], pools={"orders": ["\x1b[2Jevil\r\nhealthy"]}))
    assert "  ?[2Jevil??healthy: healthy" in said.splitlines()


def test_what_machines_read() -> None:
    """The keys are promised, and everything is there."""
    diagnosis = Diagnosis(
        [UP, DOWN], {"orders": ["shop"], "": ["files"]}, [FINDING], [TROUBLE], [Unseen("a", "b", "c")]
    )
    assert json.loads(for_machines(diagnosis)) == {
        "exit_code": 2,
        "findings": [
            {
                "pool": "shop",
                "server": "orders",
                "finding": "no_stale_protection",
                "severity": "warning",
                "pool_says": "pool_recycle=-1",
                "held_against": "wait_timeout=9",
                "why": "it hurts",
                "change": "mend()",
            }
        ],
        "troubles": [
            {
                "pool": "shop",
                "server": "orders",
                "trouble": "overdue_checkouts",
                "count": 3,
                "what": "3 connections are out",
                "sites": {"app.py:1 f": 2, "b.py:2 g": 1},
            }
        ],
        "unseen": [{"kind": "a", "name": "b", "why": "c"}],
        "servers": [
            {"server": "orders", "up": True, "dialect": "mysql", "version": "8.4.0", "pools": ["shop"]},
            {"server": "stock", "up": False, "dialect": None, "version": None, "pools": []},
        ],
        "pools_of_no_server": ["files"],
    }


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 0),
        ({"findings": [FINDING]}, 1),
        ({"troubles": [TROUBLE]}, 1),
        ({"findings": [FINDING], "unseen": [Unseen("server", "stock", "refused")]}, 2),
    ],
)
def test_exit_codes(changes: dict[str, Any], code: int) -> None:
    """Healthy is 0 and wrong is 1; 2 says that the rest is not known, whatever was found."""
    assert Diagnosis(servers=[UP], **changes).exit_code == code


def unseen(configured: Config) -> list[str]:
    return [str(each) for each in look(configured, wait=0.0).unseen]


def test_what_cannot_be_looked_at_is_named(tmp_path: Path) -> None:
    """No directory, none there, none that can be read, nobody in it, garbage in it, no server, one that is down."""
    there, file = config(tmp_path), tmp_path / "file"
    file.touch()
    nobody = f"directory {tmp_path}: no process that lives publishes there; start the applications with "
    nobody += "POOL_EXPORTER_DIR set to it"
    empty = "setting servers: is empty; name each database server there"
    unset = "is not set, so no pool can be seen; set it to the POOL_EXPORTER_DIR of the applications"
    make = "make it, readable to this process and writable for the applications"
    assert unseen(config()) == [f"setting processes.directory: {unset}", empty]
    assert unseen(config(tmp_path / "no")) == [f"directory {tmp_path / 'no'}: No such file or directory; {make}", empty]
    assert unseen(config(file)) == [f"directory {file}: Not a directory; {make}", empty]
    assert unseen(there) == [nobody, empty]
    (tmp_path / "bad.json").write_text("{")
    assert unseen(there) == [
        nobody,
        f"directory {tmp_path}: a file in it could not be read: {REJECTED['malformed']}",
        empty,
    ]
    down = unseen(dataclasses.replace(there, servers=(unreachable(),)))
    assert re.fullmatch(r"server orders: .*refused.* \(connect\)", down[-1], flags=re.DOTALL), down


def test_what_could_be_seen_is_said_without_the_server(tmp_path: Path) -> None:
    """With its server silent a pool is still judged by what needs none, and the look ends in time."""
    with silent_server() as port:
        here = dataclasses.replace(HEALTHY.identity, host="127.0.0.1", port=port)
        ill = pool(identity=here, reset_on_return=False, recycle_seconds=None, overdue=1)
        publish(tmp_path, ProcessSnapshot(7, time.time(), (ill, pool())))
        diagnosis = look(config(tmp_path, server(port, timeout=0.5)), wait=0.0)
    assert [each.finding for each in diagnosis.findings] == ["reset_on_return_off"]
    assert [(each.server, each.trouble) for each in diagnosis.troubles] == [("orders", "overdue_checkouts")]
    assert diagnosis.exit_code == 2
    assert diagnosis.unseen[0].name == "orders"


def test_pools_of_one_name_on_two_servers(tmp_path: Path) -> None:
    """A name that two applications gave shows under both servers, each with what is found about its own."""
    here = [dataclasses.replace(HEALTHY.identity, host="127.0.0.1", port=port) for port in (1, 2)]
    shops = (pool(identity=here[0]), pool(identity=here[1], reset_on_return=False))
    publish(tmp_path, ProcessSnapshot(7, time.time(), shops))
    diagnosis = look(config(tmp_path, server(1), server(2, name="stock")), wait=0.0)
    assert diagnosis.pools == {"orders": ["shop"], "stock": ["shop"]}
    assert [(each.server, each.finding) for each in diagnosis.findings] == [("stock", "reset_on_return_off")]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["doctor", "--config", *map(str, arguments)], prog_name="pool-exporter")


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_a_configuration_that_cannot_be_used(tmp_path: Path, option: tuple[str, ...]) -> None:
    """Every fault is listed, for machines too, and nothing was looked at: exit code 2."""
    path = write(tmp_path, "leak_after: 60\nserver: {}")
    missing = run(tmp_path / "no.yaml", *option)
    faulty = run(path, *option)
    assert (missing.exit_code, faulty.exit_code) == (2, 2)
    assert "No such file or directory" in missing.stdout
    if option:
        kinds = [(each["kind"], each["name"]) for each in json.loads(faulty.stdout)["unseen"]]
        assert set(kinds) == {("configuration", str(path))}
        assert len(kinds) > 1
    else:
        assert "could not look at configuration" in faulty.stdout
        assert "leak_after: '60' is no duration" in faulty.stdout


def test_a_wait_that_is_no_duration() -> None:
    """What is used wrongly is refused before anything is looked at."""
    result = run("config.yaml", "--wait", "3")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'3' is no duration" in result.stderr


@dataclasses.dataclass(frozen=True)
class Practice:
    """An application on a server, and how the doctor looks at both."""

    site: Site
    account: str
    application: subprocess.Popen[str]
    config: Config

    def tell(self, order: str) -> str:
        assert self.application.stdin is not None
        assert self.application.stdout is not None
        self.application.stdin.write(f"{order}\n")
        self.application.stdin.flush()
        return self.application.stdout.readline().strip()

    def look(self) -> Diagnosis:
        return look(self.config, wait=10.0)


@pytest.fixture
def practice(site: Site, tmp_path: Path) -> Iterator[Practice]:
    account, box = site.new_account(), tmp_path / "box"
    box.mkdir()
    url = site.url(account).render_as_string(hide_password=False)
    command = (sys.executable, str(Path(__file__).with_name("application.py")), "0.2")
    environment = {**os.environ, "APPLICATION_URL": url, "POOL_EXPORTER_DIR": str(box)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as application:
        try:
            yield Practice(site, account, application, config(box, site.server()))
        finally:
            application.terminate()


@pytest.mark.servers
@pytest.mark.parametrize("site", ["postgresql_site"], indirect=True)
def test_a_healthy_application(practice: Practice) -> None:
    """Nothing is found. A session that was ended before we came may as well live on a replica: nobody is accused."""
    assert practice.tell("fill") == "filled"
    diagnosis = practice.look()
    assert (diagnosis.exit_code, diagnosis.unseen) == (0, []), for_people(diagnosis)
    assert "  orders: healthy" in for_people(diagnosis)
    practice.site.kill(sessions_of(practice.site, practice.account)[0])
    assert list(practice.look().troubles) == []


@pytest.mark.servers
@pytest.mark.parametrize("site", ["postgresql_site"], indirect=True)
def test_a_wait_may_be_longer_than_a_sample_is_shown(site: Site, tmp_path: Path) -> None:
    """A process that does not report again is waited for in vain; what the server said meanwhile still holds."""
    publish(tmp_path, ProcessSnapshot(7, time.time(), (HEALTHY,)))
    diagnosis = look(config(tmp_path, site.server(interval=0.1)), wait=1.0)
    assert (diagnosis.exit_code, diagnosis.pools) == (0, {"orders": [], "": ["shop"]}), for_people(diagnosis)


@pytest.mark.servers
@pytest.mark.parametrize("site", ["mariadb_site"], indirect=True)
def test_a_forgotten_session_and_no_protection(practice: Practice) -> None:
    """A pool as SQLAlchemy makes it by default has no protection on MariaDB; a Session that was forgotten is named."""
    assert practice.tell("forget") == "forgotten"
    assert eventually(lambda: [each.trouble for each in practice.look().troubles]) == ["overdue_checkouts"]
    diagnosis = practice.look()
    assert [each.finding for each in diagnosis.findings] == ["no_stale_protection"]
    assert diagnosis.exit_code == 1
    assert "application.py" in for_people(diagnosis)


PLANTED = {
    ("shop", "postgresql", "overdue_checkouts"),
    ("reports", "mariadb", "no_stale_protection"),
    ("reports", "mariadb", "stale_connections"),
}
FOLLOWING = {("shop", "postgresql", "timeouts"), ("reports", "mariadb", "stale_errors")}
"""What the leak and the stale connections lead to, sooner or later."""


@pytest.fixture
def demo() -> Iterator[Demo]:
    with tempfile.TemporaryDirectory(prefix="doctor-test-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        running = Demo(folder)
        try:
            running.wait_for("after 0 s")
            yield running
        finally:
            running.process.terminate()
            running.process.wait(timeout=20)
            eventually(running.is_gone)


def passwords(sidecar: int) -> dict[str, str]:
    """Return the secrets that the demonstration's sidecar was given, for another one to look with."""
    given = Path(f"/proc/{sidecar}/environ").read_text().split("\0")
    return dict(entry.split("=", 1) for entry in given if "_PASSWORD=" in entry)


@pytest.mark.servers
def test_the_demo_has_what_was_planted_and_nothing_else(demo: Demo) -> None:
    """A running demonstration is told its leak and its stale pool, by command and exit code, and no more."""
    (path,) = demo.temporary.glob("*/config.yaml")
    environment = {**os.environ, **passwords(demo.pid_of("serve"))}

    def named() -> set[tuple[str, str, str]]:
        command = (sys.executable, "-m", "exporter", "doctor", "--config", str(path), "--json")
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        said = json.loads(done.stdout)
        if said["unseen"]:  # the demonstration's own time-outs are short, for a busy machine
            assert done.returncode == 2
            assert {each["why"].rpartition("(")[2] for each in said["unseen"]} == {"timeout)"}, done
            return set()
        assert done.returncode == 1, done
        found = {(each["pool"], each["server"], each["finding"]) for each in said["findings"]}
        found |= {(each["pool"], each["server"], each["trouble"]) for each in said["troubles"]}
        assert found <= PLANTED | FOLLOWING
        sites = [site for each in said["troubles"] if each["trouble"] == "overdue_checkouts" for site in each["sites"]]
        assert all("exporter/demo/shop.py" in site and "open_cart" in site for site in sites), sites
        return found

    eventually(lambda: named() >= PLANTED, within=60.0)
