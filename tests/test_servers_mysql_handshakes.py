"""Logins at MySQL and MariaDB that come to nothing: given up on, or talked to by somebody else."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from exporter.config import ServerConfig
from exporter.demo.databases import mariadb
from exporter.servers.wire import Wire
from samplers import failed, sampled, sampling, unreachable
from sites import Site, frozen


def own_address() -> str | None:
    """Return an address of this machine that is not loopback's; None without any."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # nothing is sent
        found = str(probe.getsockname()[0])
        return None if found.startswith("127.") else found
    return None


@pytest.mark.servers
def test_no_host_is_blocked(tmp_path: Path) -> None:
    """However often a frozen server is given up on, it lets this machine in again: ourselves, and the application."""
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback's, which no server blocks")
    settings = {"bind-address": "0.0.0.0", "skip-name-resolve": "0", "max-connect-errors": "2"}  # noqa: S104
    with mariadb(tmp_path / "mariadb", settings=settings) as database:
        site = Site("private", "mysql", database)
        site.run("CREATE DATABASE orders")
        url = site.url(site.sampler_account()).set(host=address)
        with sampling(site.server(url=url, timeout=0.3)) as hasty, sampling(site.server(url=url)) as sampler:
            with frozen(database):
                for _ in range(5):
                    assert failed(hasty).reason == "timeout"
            sampled(sampler)


def test_a_reset_while_it_is_wanted() -> None:
    """A connection that is closed in the middle of a login is reset; after it, it ends in good order."""
    for reset in (True, False):
        wire = Wire()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            near = socket.create_connection(listener.getsockname())
            far, _ = listener.accept()
            with far:
                wire.hold(near.fileno())
                wire.end_by(reset=True)
                wire.end_by(reset=reset)
                near.close()
                wire.close()
                # The first may be the end that went before the reset.
                with pytest.raises(ConnectionError) if reset else contextlib.nullcontext():
                    far.recv(1)
                    far.sendall(b"1")


@pytest.mark.parametrize("greeting", [bytes(80), b"\x4f\x00\x00\x00\x0a" + b"9" * 79, b"SSH-2.0-OpenSSH_9.2\r\n" * 9])
def test_somebody_else_answers(greeting: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A port where no MySQL listens is a failure to connect, that names the port and has no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            caller, _ = listener.accept()
            with caller:
                caller.sendall(greeting)
                caller.shutdown(socket.SHUT_WR)
                with contextlib.suppress(OSError):
                    caller.recv(1024)

        thread = threading.Thread(target=answer)
        thread.start()
        with sampling(_at(port)) as sampler:
            view = failed(sampler)
        thread.join()
    assert view.reason == "connect", view.message
    assert "Traceback" not in caplog.text


def _at(port: int) -> ServerConfig:
    url = URL.create("mysql+pymysql", "shop", "secret", "127.0.0.1", port, "orders")
    return unreachable(url=url, dialect="mysql", timeout=2.0)
