"""Servers that are full, that come back, and that are found elsewhere: real ones, on a real network."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy.engine import URL

from exporter.demo.databases import free_port
from exporter.demo.programs import process_tree
from exporter.sampler import Sampler
from samplers import failed, no_ids, sampled, sampling, unreachable
from scenes import Private, deaf, names, on_stage
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
