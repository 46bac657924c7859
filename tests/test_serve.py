"""The command `serve` as its user runs it: how it starts, and how it ends."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest

from overviews import silent_server
from waiting import eventually

CONFIG = """\
web:
  listen: 127.0.0.1:{port}
processes:
  directory: {directory}
servers:
  silent:
    url: mysql+pymysql://probe@127.0.0.1:{silent}/
    timeout: 50s
    interval: 60s
"""


@dataclass(frozen=True)
class Command:
    """The command itself, as its user starts it, and the file that it writes its log to."""

    process: subprocess.Popen[bytes]
    log: Path

    def address(self) -> tuple[str, int]:
        """Wait for the line that says where the page is."""
        found = eventually(lambda: re.search(r"serving on http://(127\.0\.0\.1):(\d+)/\n", self.log.read_text()))
        assert found is not None
        return found[1], int(found[2])

    def end(self) -> tuple[int, float]:
        """Wait for its end; return the exit code and how long that took."""
        began = time.monotonic()
        code = self.process.wait(20)
        return code, time.monotonic() - began


@contextlib.contextmanager
def running(folder: Path, *, port: int = 0, silent: int = 1) -> Iterator[Command]:
    """Run `pool-exporter serve`, and see to its end."""
    path, log = folder / "config.yaml", folder / "log"
    path.write_text(CONFIG.format(port=port, directory=folder, silent=silent))
    with log.open("wb") as output:
        command = (sys.executable, "-m", "exporter", "serve", "--config", str(path))
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield Command(process, log)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """With a connection kept alive and a sample hanging on a silent server, a signal ends it at once, with 0."""
    with silent_server() as silent, running(tmp_path, silent=silent) as command:
        host, port = command.address()
        kept = HTTPConnection(host, port, timeout=5)
        kept.request("GET", "/metrics")
        answer = kept.getresponse()
        assert (answer.status, b'server_up{server="silent"} 0.0' in answer.read()) == (200, True)
        command.process.send_signal(number)
        code, took = command.end()
        kept.close()
    said = command.log.read_text()
    assert (code, took < 5.0) == (0, True)
    assert len(re.findall(r"serving on", said)) == 1
    assert "Traceback" not in said


def test_a_hangup_does_not_end_it(tmp_path: Path) -> None:
    """SIGHUP says in the log that a change needs a restart, and the page goes on."""
    with running(tmp_path) as command:
        host, port = command.address()
        command.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: "SIGHUP: the configuration cannot be read again" in command.log.read_text())
        connection = HTTPConnection(host, port, timeout=5)
        connection.request("GET", "/-/healthy")
        assert connection.getresponse().status == 200
        connection.close()


def test_a_signal_right_after_the_start_is_not_lost(tmp_path: Path) -> None:
    """SIGTERM that comes while the server is being set up ends it as well."""
    with running(tmp_path) as command:
        command.address()
        command.process.send_signal(signal.SIGTERM)
        code, took = command.end()
    assert (code, took < 5.0) == (0, True)


def test_a_port_in_use_is_said_in_one_sentence(tmp_path: Path) -> None:
    """Where somebody else listens it says so, with the address and what to do, and exits with 2."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with running(tmp_path, port=port) as command:
            code, _ = command.end()
    assert code == 2
    assert command.log.read_text() == (
        f"pool-exporter: cannot listen on 127.0.0.1:{port} (web.listen): Address already in use; "
        "choose another address, or stop what listens there\n"
    )
