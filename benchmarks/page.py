"""What bad clients cost a scraper: silent ones, slow readers, slow writers and wrong passwords, beside a good one.

A sidecar with a page of fifty pools is served over TLS with basic auth. A scraper asks for /metrics over and over, on
one connection that it keeps and with one that it opens anew each time, first alone and then beside each crowd. What is
printed is how long it waits; the exit code is 1 when a crowd delays it by more than the bound.

    scripts/bench page
    scripts/bench page --crowd 200 --scrapes 30
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import resource
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.client import HTTPSConnection
from pathlib import Path

import bcrypt
from fleet import Pools

from exporter.publish import Publisher
from exporter.records import ProcessSnapshot

BOUND = 0.1
"""Seconds by which no crowd may delay a scrape, in the median."""

POOLS = 50
USER, PASSWORD = "prometheus", "only for this benchmark"
LOGIN = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
REQUEST = f"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {LOGIN}\r\n".encode()

CONFIG = "web: {{listen: 127.0.0.1:{port}, config_file: web.yml}}\nprocesses: {{directory: {folder}}}\n"
WEB = "tls_server_config: {{cert_file: page.pem, key_file: page.key}}\nbasic_auth_users: {{{user}: '{hashed}'}}\n"


@dataclass(frozen=True)
class Page:
    """Where the page is, and how to trust it."""

    port: int
    context: ssl.SSLContext

    def scrape(self, connection: HTTPSConnection) -> float:
        """Scrape once; return how long that took."""
        began = time.perf_counter()
        connection.request("GET", "/metrics", headers={"Authorization": f"Basic {LOGIN}", "Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"a scrape was answered with {answer.status}")
        return time.perf_counter() - began

    def connect(self) -> HTTPSConnection:
        """Return a connection that is opened by its first request."""
        return HTTPSConnection("localhost", self.port, context=self.context, timeout=30)

    def dial(self) -> socket.socket:
        """Return a bare connection, whose buffer is soon full."""
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.settimeout(30)
        line.connect(("127.0.0.1", self.port))
        return line


def main() -> int:
    """Measure, print a table, and return 1 when a crowd delays a scrape too much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crowd", type=int, default=200, help="bad clients at a time (default: 200)")
    parser.add_argument(
        "--scrapes", type=int, default=30, help="scrapes beside each crowd, of either kind (default: 30)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    _allow_files(4 * options.crowd)
    with tempfile.TemporaryDirectory() as name, _served(Path(name)) as page:
        rows = {"nobody": _measured(page, options.scrapes)}
        for crowd, come in CROWDS.items():
            print(f"beside {options.crowd} {crowd} ...", file=sys.stderr)
            with come(page, options.crowd):
                rows[crowd] = _measured(page, options.scrapes)
    calm = rows["nobody"]
    delays = {crowd: max(row[kind] - calm[kind] for kind in ("kept", "anew")) for crowd, row in rows.items()}
    print(json.dumps({"rows": rows, "delays": delays}, indent=2) if options.json else _table(rows, delays))
    return int(max(delays.values()) > BOUND)


def _measured(page: Page, scrapes: int) -> dict[str, float]:
    old, new = [], []
    with contextlib.closing(page.connect()) as kept:
        page.scrape(kept)
        for _ in range(scrapes):
            old.append(page.scrape(kept))
            with contextlib.closing(page.connect()) as connection:
                new.append(page.scrape(connection))
    return {
        "kept": statistics.median(old), "kept_longest": max(old),
        "anew": statistics.median(new), "anew_longest": max(new),
    }  # fmt: skip


@contextlib.contextmanager
def _silent(page: Page, count: int) -> Iterator[None]:
    """Connect, and say nothing: no handshake ever ends."""
    with _lines(page, count):
        yield


@contextlib.contextmanager
def _slow_writers(page: Page, count: int) -> Iterator[None]:
    """Begin a request, and go on by a byte a second."""
    begun = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: "
    with _talking(page, count, begun) as lines, _meanwhile(lambda: _dribble(lines), every=1.0):
        yield


@contextlib.contextmanager
def _slow_readers(page: Page, count: int) -> Iterator[None]:
    """Ask for one page after the other, and read none."""
    with _talking(page, count, (REQUEST + b"\r\n") * 20):
        yield


@contextlib.contextmanager
def _wrong_passwords(page: Page, count: int) -> Iterator[None]:
    """Try passwords as fast as answers come, on some connections at a time."""
    numbers = iter(range(10**9))

    def guess() -> None:
        with contextlib.suppress(OSError), contextlib.closing(page.connect()) as connection:
            for _ in range(20):
                wrong = base64.b64encode(f"{USER}:{next(numbers)}".encode()).decode()
                connection.request("GET", "/metrics", headers={"Authorization": f"Basic {wrong}"})
                connection.getresponse().read()

    with contextlib.ExitStack() as stack:
        for _ in range(max(1, count // 50)):
            stack.enter_context(_meanwhile(guess, every=0.05))
        yield


CROWDS = {
    "silent TLS clients": _silent,
    "slow writers": _slow_writers,
    "slow readers": _slow_readers,
    "wrong passwords": _wrong_passwords,
}


@contextlib.contextmanager
def _lines(page: Page, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(page.dial()) for _ in range(count)]


@contextlib.contextmanager
def _talking(page: Page, count: int, says: bytes) -> Iterator[list[ssl.SSLSocket]]:
    """Hold connections whose handshake is done, and which have said this."""
    with contextlib.ExitStack() as stack:
        lines = []
        for _ in range(count):
            line = page.context.wrap_socket(page.dial(), server_hostname="localhost")
            stack.enter_context(line)
            line.sendall(says)
            lines.append(line)
        yield lines


def _dribble(lines: list[ssl.SSLSocket]) -> None:
    for line in lines:
        with contextlib.suppress(OSError):  # those that were shown out
            line.sendall(b"x")


@contextlib.contextmanager
def _meanwhile(work: Callable[[], object], *, every: float) -> Iterator[None]:
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            work()
            done.wait(every)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(30)


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[Page]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    subprocess.run(
        (
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "page.key", "-out", "page.pem",
            "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
        ),
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    (folder / "web.yml").write_text(WEB.format(user=USER, hashed=hashed))
    (folder / "config.yaml").write_text(CONFIG.format(port=port, folder=folder))
    command = (sys.executable, "-m", "exporter", "serve", "--config", str(folder / "config.yaml"))
    context = ssl.create_default_context(cafile=str(folder / "page.pem"))
    with _published(folder), subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            _await(port)
            yield Page(port, context)
        finally:
            process.terminate()


def _await(port: int) -> None:
    deadline = time.monotonic() + 60
    with socket.socket() as line:
        while line.connect_ex(("127.0.0.1", port)):
            if time.monotonic() > deadline:
                raise SystemExit("the sidecar did not come up")
            time.sleep(0.05)


@contextlib.contextmanager
def _published(folder: Path) -> Iterator[None]:
    """Publish fifty pools of fifteen connections once a second, as an application does."""
    seen = Pools().snapshots()
    copies = (
        replace(pool, identity=replace(pool.identity, name=f"{pool.identity.name}-{number}"))
        for number in range(POOLS // len(seen))
        for pool in seen
    )
    pools = tuple(copies)
    publisher = Publisher(folder, lambda: ProcessSnapshot(pid=os.getpid(), taken=time.time(), pools=pools))
    publisher.publish()
    try:
        with _meanwhile(publisher.publish, every=1.0):
            yield
    finally:
        publisher.stop()


def _allow_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def _table(rows: dict[str, dict[str, float]], delays: dict[str, float]) -> str:
    head = f"{'beside':<20} {'kept, ms':>9} {'longest':>9} {'anew, ms':>9} {'longest':>9} {'delay':>7}"
    lines = [
        f"{crowd:<20} {row['kept'] * 1e3:9.1f} {row['kept_longest'] * 1e3:9.1f} {row['anew'] * 1e3:9.1f} "
        f"{row['anew_longest'] * 1e3:9.1f} {delays[crowd] * 1e3:7.1f}"
        for crowd, row in rows.items()
    ]
    return "\n".join((head, *lines))


if __name__ == "__main__":
    sys.exit(main())
