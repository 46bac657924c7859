"""How a sidecar ends whatever it is doing, and what it says when another one is there already."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from players import Role, sidecar
from sites import Site, frozen, sessions_of
from stages import DRIVERS, Stage, agree, staged
from waiting import eventually

pytestmark = [pytest.mark.servers, pytest.mark.timeout(400)]

ENDS_WITHIN = 5.0  # seconds


@contextlib.contextmanager
def scrapes(stage: Stage) -> Iterator[None]:
    """Be in the midst of scrapes: one that is still asked for, one that nobody reads, and one that keeps its line."""
    _, port = stage.sidecar.address()
    asked = b"GET /metrics HTTP/1.1\r\nHost: test\r\n"
    with contextlib.ExitStack() as stack:
        for said in (asked, asked + b"\r\n", asked + b"\r\n" + asked):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            line.sendall(said)
        yield


@pytest.mark.parametrize("server", ["healthy", "frozen", "trickling"])
@pytest.mark.parametrize("driver", ["pymysql", "psycopg"])
def test_sigterm_in_the_midst_of_everything(
    driver: str, server: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """With scrapes and a sample under way it ends within 5 s, with 0, says nothing of it, and leaves no session."""
    site: Site = request.getfixturevalue(DRIVERS[driver].site)
    with staged(site, DRIVERS[driver], tmp_path) as stage, scrapes(stage):
        lost = server != "healthy"
        with frozen(site.database) if server == "frozen" else contextlib.nullcontext():
            if server == "trickling":
                stage.proxy.rate = 100.0
            if lost:
                agree(stage.up, expected=False)
            stage.sidecar.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            code = stage.sidecar.process.wait(30)
            assert (code, time.monotonic() - began < ENDS_WITHIN) == (0, True)
        stage.proxy.reset()
        agree(lambda: len(sessions_of(site, stage.sidecar.account)), 0)
    said = stage.sidecar.log.read_text()
    assert "Traceback" not in said
    assert "ERROR" not in said


def test_two_sidecars_on_one_directory(postgresql_site: Site, tmp_path: Path) -> None:
    """The second says that another one tidies up; both show the same, and it takes over when the first is killed."""
    with staged(postgresql_site, DRIVERS["psycopg"], tmp_path) as stage:
        url = postgresql_site.url(stage.sidecar.account)
        with sidecar(Role(stage.sidecar.account, url, tmp_path / "second.log"), box=stage.box) as second:
            page = second.page()
            agree(lambda: page.find("checkouts_total"), stage.truth()["checkouts"])
            told = f"another sidecar keeps the counts of ended processes in {stage.box}"
            eventually(lambda: told in second.log.read_text())
            assert told not in stage.sidecar.log.read_text()
            stage.sidecar.process.kill()
            stage.sidecar.process.wait()
            stage.shop.process.kill()
            stage.shop.process.wait()
            agree(lambda: {path.name for path in stage.box.iterdir()}, {".ended.json", ".sidecar.lock"})
            assert page.find("checkouts_total") == stage.truth()["checkouts"]
            assert "takes its place" in second.log.read_text()


def test_two_sidecars_on_one_port(postgresql_site: Site, tmp_path: Path) -> None:
    """The second names the address, says what to do, and exits with 2; the first goes on."""
    with staged(postgresql_site, DRIVERS["psycopg"], tmp_path) as stage:
        host, port = stage.sidecar.address()
        url = postgresql_site.url(stage.sidecar.account)
        listen = f"{host}:{port}"
        with sidecar(Role(stage.sidecar.account, url, tmp_path / "second.log"), box=stage.box, listen=listen) as second:
            assert second.process.wait(60) == 2
        said = second.log.read_text()
        assert said.startswith(f"pool-exporter: cannot listen on {listen} (web.listen): Address already in use; ")
        assert len(said.splitlines()) == 1
        stage.check()
