"""The main job: an application, a real database, the sidecar and a real Prometheus, each a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.demo.client import Answer, ask
from exporter.demo.databases import Database, free_port
from sites import PASSWORD, Launch, Site, sessions_of
from waiting import eventually

pytestmark = pytest.mark.servers

INTERVAL = 1.0
CONFIG = """\
web:
  listen: 127.0.0.1:{port}
processes:
  directory: {box}
servers:
  orders:
    url: {url}
    password: !env SAMPLER_PASSWORD
    interval: {interval:g}s
    timeout: 500ms
    stale_after: 1s
"""


@dataclass(frozen=True)
class World:
    """An application and the sidecar beside it, on one server."""

    site: Site
    account: str
    application: subprocess.Popen[str]
    sidecar: str
    folder: Path

    def tell(self, order: str) -> str:
        """Have the application do something to its pool; return what it answers."""
        assert self.application.stdin is not None
        assert self.application.stdout is not None
        self.application.stdin.write(f"{order}\n")
        self.application.stdin.flush()
        return self.application.stdout.readline().strip()

    def page(self) -> Answer:
        return ask(f"{self.sidecar}/metrics")

    def value(self, name: str, **labels: str) -> float | None:
        """Return the sum of the samples of this name with these labels; None when there is none."""
        families = text_string_to_metric_families(self.page().body)
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        found = [sample.value for sample in samples if labels.items() <= sample.labels.items()]
        return sum(found) if found else None

    def matched(self, state: str, session: str) -> float | None:
        return self.value("sqlalchemy_pool_matched_connections", pool="orders", state=state, session=session)

    def sleeping(self, **labels: str) -> float | None:
        return self.value("sqlalchemy_server_sessions", user=self.account, state="sleeping", **labels)


@contextlib.contextmanager
def program(*command: str | Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program with a line in each direction; end it, and wait for its end."""
    process = subprocess.Popen(
        list(map(str, command)),
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()


@contextlib.contextmanager
def world_on(site: Site, folder: Path) -> Iterator[World]:
    account, port, box = site.new_account(), free_port(), folder / "box"
    box.mkdir()
    named = {} if site.dialect == "mysql" else {"application_name": "shop"}
    application = site.url(account, **named).render_as_string(hide_password=False)
    there = site.database.url
    sampler = f"{there.drivername}://{site.sampler_account()}@{there.host}:{there.port}/"
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(port=port, box=box, url=sampler, interval=INTERVAL))
    with (
        program(
            sys.executable,
            Path(__file__).with_name("application.py"),
            "0.5",
            APPLICATION_URL=application,
            POOL_EXPORTER_DIR=str(box),
        ) as shop,
        program(sys.executable, "-m", "exporter", "serve", "--config", config, SAMPLER_PASSWORD=PASSWORD),
    ):
        sidecar = f"http://127.0.0.1:{port}"
        eventually(lambda: ask(f"{sidecar}/-/ready").status == 200, within=20)
        yield World(site, account, shop, sidecar, folder)


@pytest.fixture
def world(site: Site, tmp_path: Path) -> Iterator[World]:
    with world_on(site, tmp_path) as made:
        yield made


def test_idle_connections_sleep_on_the_server(world: World) -> None:
    """Five idle connections are five sleeping sessions of the right user, database and client, and all are matched."""
    assert world.tell("fill") == "filled"
    assert eventually(lambda: world.sleeping(database="orders", client=world.site.client) == 5)
    assert world.sleeping() == 5
    assert eventually(lambda: world.matched("idle", "sleeping") == 5)
    assert world.matched("idle", "gone") == 0
    assert world.value("sqlalchemy_pool_connections", pool="orders", state="idle") == 5
    assert eventually(lambda: world.value("sqlalchemy_server_stale_sessions", user=world.account) == 5)


def test_a_killed_connection_is_idle_and_gone(world: World) -> None:
    """A pooled connection that the server ended shows within two intervals; its next user gets the error, once."""
    world.tell("fill")
    assert eventually(lambda: world.matched("idle", "sleeping") == 5)
    for session in sessions_of(world.site, world.account):
        world.site.kill(session)
    killed = time.monotonic()
    # One interval may just have begun, and the process says a second later that it holds the connection still.
    assert eventually(lambda: world.matched("idle", "gone") == 5, within=2 * INTERVAL + 2)
    assert time.monotonic() - killed < 2 * INTERVAL + 2
    assert world.tell("use") != "used"
    assert world.tell("use") == "used"
    assert eventually(lambda: world.value("sqlalchemy_pool_invalidations_total", pool="orders", cause="disconnect"))
    assert eventually(lambda: world.matched("idle", "sleeping") == 1)


def test_a_forgotten_session_is_used_and_asleep(world: World) -> None:
    """A Session that is never closed is used and overdue for the pool, and asleep for the server."""
    assert world.tell("forget") == "forgotten"
    session = "sleeping" if world.site.dialect == "mysql" else "sleeping_in_transaction"
    assert eventually(lambda: world.matched("used", session) == 1)
    assert eventually(lambda: world.value("sqlalchemy_pool_overdue", pool="orders") == 1)
    assert (world.value("sqlalchemy_pool_used_longest_seconds", pool="orders") or 0) > 0.5


def test_the_sampler_is_not_counted(world: World) -> None:
    """The sidecar's own session is no client's session, however often it asks."""
    assert eventually(lambda: world.value("sqlalchemy_server_up") == 1)
    page = world.page().body
    users = {
        sample.labels["user"]
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "sqlalchemy_server_sessions" and sample.value
    }
    assert not users & {name for name in users if sessions_of(world.site, name) == []}
    assert f'user="{sampler_of(world)}"' not in page


def sampler_of(world: World) -> str:
    url = (world.folder / "config.yaml").read_text().partition("url: ")[2].partition("\n")[0]
    return urllib.parse.urlsplit(url).username or ""


@pytest.mark.parametrize("site", ["postgresql_site"], indirect=True)
def test_prometheus_reads_it(world: World, tmp_path: Path) -> None:
    """A real Prometheus scrapes the sidecar, and its own API gives the values back."""
    binary = shutil.which("prometheus")
    assert binary is not None, "no Prometheus on this machine: install Debian's prometheus, or pass --without-servers"
    port, config = free_port(), tmp_path / "prometheus.yml"
    target = world.sidecar.removeprefix("http://")
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: sidecar, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    world.tell("fill")
    world.tell("forget")
    with program(
        binary,
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ):

        def asked(query: str) -> list[dict[str, Any]]:
            answer = ask(f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(query)}")
            return json.loads(answer.body)["data"]["result"] if answer.status == 200 else []

        def value(query: str) -> float | None:
            found = asked(query)
            return float(found[0]["value"][1]) if found else None

        assert eventually(lambda: value('sqlalchemy_pool_connections{pool="orders",state="idle"}') == 4, within=30)
        assert eventually(lambda: value('sqlalchemy_pool_connections{pool="orders",state="used"}') == 1)
        assert eventually(lambda: value('sqlalchemy_pool_matched_connections{state="idle",session="sleeping"}') == 4)
        assert value("sqlalchemy_server_up") == 1
        assert value('sum(sqlalchemy_pool_checkouts_total{pool="orders"})') == 6
        # Five sessions of the pool, in the histogram too: one of them may be in a transaction, and sleeps as well.
        asleep = f'sqlalchemy_server_sleep_seconds_bucket{{user="{world.account}",le="+Inf"}}'
        assert eventually(lambda: value(asleep) == 5)


def test_a_server_that_stops_leaves_the_page(
    request: pytest.FixtureRequest, servers_folder: Path, tmp_path: Path
) -> None:
    """With the server stopped the page says up 0 and why, in well under a second, and forgets what it cannot know."""
    start: Launch = request.getfixturevalue("start_mariadb")
    with contextlib.ExitStack() as server:
        database: Database = server.enter_context(start(servers_folder / "stopping"))
        site = Site("stopping", "mysql", database)
        site.run("CREATE DATABASE orders")
        with world_on(site, tmp_path) as world:
            world.tell("fill")
            assert eventually(lambda: world.matched("idle", "sleeping") == 5)
            server.close()
            assert eventually(lambda: world.value("sqlalchemy_server_up") == 0)
            assert eventually(lambda: world.value("sqlalchemy_server_sample_errors_total", reason="connect"))
            assert ask(f"{world.sidecar}/metrics", timeout=1.0).status == 200
            assert world.value("sqlalchemy_pool_connections", pool="orders", state="idle") == 5
            assert eventually(lambda: world.value("sqlalchemy_server_connections") is None, within=20)
            assert eventually(lambda: world.matched("idle", "sleeping") is None)
