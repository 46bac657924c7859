"""The command `serve` as its user runs it: how it starts, and how it ends."""

from __future__ import annotations

import contextlib
import os
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

from certificates import make_certificates
from overviews import silent_server
from waiting import eventually

CONFIG = """\
web:
  listen: 127.0.0.1:{port}
  {web}
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
        found = eventually(
            lambda: re.search(r"serving on http://(127\.0\.0\.1):(\d+)/\n", self.log.read_text()), within=60
        )
        assert found is not None
        return found[1], int(found[2])

    def end(self) -> tuple[int, float]:
        """Wait for its end; return the exit code and how long that took."""
        began = time.monotonic()
        code = self.process.wait(60)
        return code, time.monotonic() - began


@contextlib.contextmanager
def running(folder: Path, *, port: int = 0, silent: int = 1, web: str = "") -> Iterator[Command]:
    """Run `pool-exporter serve`, and see to its end."""
    path, log = folder / "config.yaml", folder / "log"
    path.write_text(CONFIG.format(port=port, directory=folder, silent=silent, web=web))
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


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_signals_while_it_loads(tmp_path: Path, number: str) -> None:
    """While its libraries load, a reload is no end, and an end is clean: 0 and no traceback."""
    (tmp_path / "click.py").write_text(
        "import os, signal, sys, time\n"
        "os.kill(os.getpid(), signal.SIGHUP)\n"
        "print('lives', flush=True)\n"
        f"os.kill(os.getpid(), signal.{number})\n"
        "time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = (sys.executable, "-m", "exporter", "serve", "--config", "none.yaml")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (0, "lives\n", "")


def test_a_hangup_reloads(tmp_path: Path) -> None:
    """SIGHUP reads the configuration again: a good one counts, a bad one is said in the log, and the page goes on."""
    with running(tmp_path) as command:
        host, port = command.address()
        config = tmp_path / "config.yaml"
        good = config.read_text()
        config.write_text(good.replace("servers:\n  silent:", "servers:\n  renamed:"))
        command.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: b'server_up{server="renamed"}' in get(host, port, "/metrics"), within=30)
        config.write_text(good.replace("servers:", "server:"))
        command.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: "unknown key; did you mean servers?" in command.log.read_text(), within=30)
        assert b"pool_exporter_config_last_reload_successful 0.0" in get(host, port, "/metrics")
        assert b'server_up{server="renamed"}' in get(host, port, "/metrics")
        for _ in range(50):
            command.process.send_signal(signal.SIGHUP)
        config.write_text(good)
        command.process.send_signal(signal.SIGHUP)
        assert eventually(
            lambda: b"pool_exporter_config_last_reload_successful 1.0" in get(host, port, "/metrics"), within=30
        )
        command.process.send_signal(signal.SIGTERM)
        assert command.end()[0] == 0
    assert "Traceback" not in command.log.read_text()


def get(host: str, port: int, path: str) -> bytes:
    connection = HTTPConnection(host, port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read()


STUCK = """\
import sys, threading, time
from pathlib import Path
from exporter.config import load
from exporter.serving import serve
from exporter.sidecar import Sidecar

def overview(_sidecar):
    print("asked", flush=True)
    time.sleep(600)

Sidecar.overview = overview
path = Path(sys.argv[1])
sys.exit(serve(load(path), file=path, again=lambda: load(path)))
"""


def test_a_signal_during_a_scrape(tmp_path: Path) -> None:
    """With pages under way that would take ten minutes, a signal ends it at once, and with 0 all the same."""
    path, log = tmp_path / "config.yaml", tmp_path / "log"
    path.write_text(CONFIG.format(port=0, directory=tmp_path, silent=1, web=""))
    with log.open("wb") as output:
        process = subprocess.Popen((sys.executable, "-c", STUCK, str(path)), stdout=output, stderr=output)
    command = Command(process, log)
    try:
        address = command.address()
        with socket.create_connection(address) as scrape, socket.create_connection(address) as other:
            for line in (scrape, other):
                line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            eventually(lambda: "asked" in log.read_text())
            process.send_signal(signal.SIGTERM)
            assert command.end()[0] == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_over_tls_the_log_says_so(tmp_path: Path) -> None:
    """The line that says where the page is says https, and a file that breaks in between is said and nothing starts."""
    made = make_certificates(tmp_path)
    (tmp_path / "web.yml").write_text(
        f"tls_server_config: {{cert_file: {made.server_cert}, key_file: {made.server_key}}}"
    )
    with running(tmp_path, web="config_file: web.yml") as command:
        assert eventually(lambda: "serving on https://127.0.0.1:" in command.log.read_text(), within=60)
        command.process.send_signal(signal.SIGTERM)
        assert command.end()[0] == 0
    (tmp_path / "web.yml").write_text("colour: red")
    with running(tmp_path, web="config_file: web.yml") as command:
        assert command.end()[0] == 2
        assert f"{tmp_path}/web.yml:1:1: colour: unknown key" in command.log.read_text()


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
