"""Servers that are full, that come back, and that are found elsewhere: real ones, on a real network."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy.engine import URL

from exporter.demo.databases import free_port
from exporter.demo.programs import process_tree
from exporter.sampler import Sampler
from exporter.servers.line import LONGEST_KEPT
from exporter.servers.whereabouts import LOOK_SECONDS
from proxies import proxied
from samplers import failed, no_ids, sampled, sampling, unreachable
from scenes import Private, Scene, deaf, names, on_stage
from sites import PASSWORD, Launch, Site, frozen, sessions_of
from waiting import eventually

ACCOUNT = {
    "mysql": "CREATE USER {0} IDENTIFIED BY '{1}';GRANT PROCESS ON *.* TO {0};GRANT SELECT ON orders.* TO {0}",
    "postgresql": "CREATE ROLE {0} LOGIN PASSWORD '{1}';GRANT pg_monitor TO {0}",
}


@pytest.fixture(params=["mysql", "postgresql"])
def private(request: pytest.FixtureRequest, servers_folder: Path) -> Private:
    """How to start a server that nobody else needs."""
    launch: Launch = request.getfixturevalue("start_mariadb" if request.param == "mysql" else "start_postgresql")
    return Private(request.param, launch, servers_folder / f"private-{request.node.originalname}-{request.param}")


@pytest.mark.servers
def test_the_server_is_full(private: Private) -> None:
    """When applications have taken every connection, the sampler is turned away, and comes in when one leaves."""
    settings = {"max-connections": "10"} if private.dialect == "mysql" else {"max_connections": "13"}
    with private.started(settings=settings) as site:
        shop = site.new_account()
        with sampling(site.server()) as sampler:
            with site.pool(shop, 10):
                view = failed(sampler)
                assert view.reason == "connect"
                assert "too many" in view.message.lower() or "slots" in view.message
            eventually(lambda: not sessions_of(site, shop))
            assert sampled(sampler).connections_max == 10


@pytest.mark.servers
def test_killed_and_started_again(private: Private) -> None:
    """A server that is killed while its answer is awaited is down, and up with the first sample after its return."""
    asking, port = threading.Event(), free_port()

    def ids() -> frozenset[int]:
        asking.set()
        return frozenset()

    with contextlib.ExitStack() as stack:
        with private.started(port=port) as site:
            server = site.server("nobody", url=site.database.url)
            sampler = stack.enter_context(sampling(server, ids=ids))
            sampled(sampler)
            asking.clear()
            worker = threading.Thread(target=sampler.sample)
            with frozen(site.database):
                worker.start()
                assert asking.wait(10)
                for pid in process_tree(site.database.pid):
                    os.kill(pid, signal.SIGKILL)
            worker.join()
            assert (sampler.view().up, sampler.view().reason) == (False, "connect")
        assert failed(sampler).reason == "connect"
        with private.started(port=port):
            sampled(sampler)


@pytest.mark.servers
def test_failover(private: Private, request: pytest.FixtureRequest) -> None:
    """When another server has taken a failed one's place, the next sample is of that one."""
    old: Site = request.getfixturevalue("mariadb_site" if private.dialect == "mysql" else "postgresql_site")
    settings = {"max-connections": "33"} if private.dialect == "mysql" else {"max_connections": "36"}
    with private.started(settings=settings) as new, on_stage(old) as scene, sampling(scene.server()) as sampler:
        new.run(*ACCOUNT[private.dialect].format(scene.account, PASSWORD).split(";"))
        assert sampled(sampler).connections_max != 33
        scene.proxy.upstream = ("127.0.0.1", cast("int", new.database.url.port))
        scene.proxy.reset()
        assert sampled(sampler).connections_max == 33
        assert sampler.view().errors["connect"] == 0
        assert sessions_of(old, scene.account) == []


@pytest.mark.servers
def test_new_answer_of_the_name_server(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that means another address by now is looked up anew."""
    with on_stage(site) as scene, names(monkeypatch) as addresses:
        server = scene.server()
        addresses["orders.test"] = ["127.0.0.2"]
        with sampling(replace(server, url=server.url.set(host="orders.test"))) as sampler:
            assert failed(sampler).reason == "connect"
            addresses["orders.test"] = ["127.0.0.1"]
            sampled(sampler)


def moving(scene: Scene, now: list[float]) -> Sampler:
    """Return the sampler of a server that is known by a name, with a clock of its own."""
    server = scene.server()
    server = replace(server, url=server.url.set(host="orders.test"))
    return Sampler(server, ids=no_ids, steadily=lambda: now[0])


@pytest.mark.servers
def test_a_name_moves_while_the_old_host_lives(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to a host that the name no longer means is left, though it would still answer."""
    now = [1000.0]
    with on_stage(site) as scene, names(monkeypatch) as addresses, contextlib.closing(moving(scene, now)) as sampler:
        addresses["orders.test"] = ["127.0.0.1"]
        with proxied(scene.proxy.upstream, host="127.0.0.2", port=scene.proxy.port) as other:
            sampled(sampler)
            now[0] += LOOK_SECONDS
            sampled(sampler)
            addresses["orders.test"] = ["127.0.0.2"]
            sampled(sampler)
            assert other.accepted == 0
            now[0] += LOOK_SECONDS
            eventually(lambda: sampled(sampler).connections and other.accepted)
            sampled(sampler)
            assert (scene.proxy.accepted, other.accepted) == (1, 1)
            assert len(eventually(lambda: sessions_of(site, scene.account))) == 1


@pytest.mark.servers
def test_a_silent_name_server(postgresql_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody says what the name means, the kept connection is asked on, and the question is put once."""
    now, silent, looked_up = [1000.0], threading.Event(), []

    def look_up(*asked: object, **_: object) -> list[object]:
        looked_up.append(asked)
        silent.wait(30)
        return []

    with (
        on_stage(postgresql_site) as scene,
        names(monkeypatch) as addresses,
        contextlib.closing(moving(scene, now)) as sampler,
    ):
        addresses["orders.test"] = ["127.0.0.1"]
        sampled(sampler)
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        for _ in range(3):
            now[0] += LOOK_SECONDS
            sampled(sampler)
        assert len(looked_up) == 1
        silent.set()
        eventually(lambda: "pool-exporter-whereabouts" not in {thread.name for thread in threading.enumerate()})
        sampled(sampler)
        assert scene.proxy.accepted == 1


@pytest.mark.servers
def test_a_full_server_is_still_seen(postgresql_site: Site) -> None:
    """A connection that is old by now is not given up while nobody else is let in, and is replaced when it can be."""
    now = [1000.0]
    account = postgresql_site.sampler_account()
    server = postgresql_site.server(account)
    with contextlib.closing(Sampler(server, ids=no_ids, steadily=lambda: now[0])) as sampler:
        sampled(sampler)
        first = sessions_of(postgresql_site, account)
        for limit in (1, -1):
            postgresql_site.run(f"ALTER ROLE {account} CONNECTION LIMIT {limit}")
            now[0] += LONGEST_KEPT
            sampled(sampler)
            kept = limit == 1
            eventually(lambda: len(sessions_of(postgresql_site, account)) == 1)
            assert (sessions_of(postgresql_site, account) == first) == kept
        assert set(sampler.view().errors.values()) == {0}


@pytest.mark.servers
def test_one_address_of_two_is_silent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the first address of a name is a host that is gone without a word: the second still has its time."""
    with on_stage(site) as scene, names(monkeypatch) as addresses, deaf("127.0.0.2", scene.proxy.port):
        server = scene.server()
        addresses["orders.test"] = ["127.0.0.2", "127.0.0.1"]
        with sampling(replace(server, url=server.url.set(host="orders.test"))) as sampler:
            sampled(sampler)


@pytest.mark.parametrize("driver", ["mysql+pymysql", "postgresql+psycopg"])
@pytest.mark.parametrize("host", ["nowhere.invalid", ".", "x" * 64])
def test_unknown_host(driver: str, host: str) -> None:
    """A name that leads nowhere, or is none, is a failure to connect that names it."""
    url = URL.create(driver, "shop", PASSWORD, host, 1, "orders")
    sampler = Sampler(unreachable(url=url, dialect=driver.partition("+")[0]), ids=no_ids)
    view = failed(sampler)
    assert view.reason == "connect"
    assert host in view.message
