"""Clients that are too slow, too many or too large: a scrape is answered beside them, and they go."""

from __future__ import annotations

import base64
import contextlib
import functools
import itertools
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bcrypt
import pytest

from certificates import Certificates, make_certificates
from doors import HASH, PASSWORD, Door, door, trusting
from exporter import web_connection, web_listener
from exporter.web_file import Rate
from exporter.web_guard import Bucket, network
from waiting import eventually

CROWD = 200
MOST_KNOCKS = 20_000
PATIENCE = 20.0  # seconds
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@contextlib.contextmanager
def crowd(page: Door, count: int = CROWD, *, says: bytes = b"") -> Iterator[list[socket.socket]]:
    """Hold connections open that say something, and then nothing more, and that read nothing."""
    with contextlib.ExitStack() as stack:
        lines = []
        for _ in range(count):
            line = stack.enter_context(socket.socket())
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.settimeout(20)
            line.connect(("127.0.0.1", page.port))
            line.sendall(says)
            lines.append(line)
        yield lines


def is_over(line: socket.socket) -> bool:
    """Tell whether the other side has ended a connection, whatever it said before."""
    line.settimeout(0.05)
    try:
        while line.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


def takes_nothing(line: socket.socket) -> bool:
    """Tell whether the other side has ended a connection of which nobody reads what is left of it."""
    try:
        line.sendall(REQUEST)
    except ConnectionError:
        return True
    return False


@pytest.mark.parametrize("says", [b"", b"\x16\x03\x01\x02\x00\x01\x00"], ids=["silent", "half a greeting"])
def test_a_scrape_beside_silent_tls_clients(tmp_path: Path, made: Certificates, says: bytes) -> None:
    """Two hundred clients that never finish their handshake keep nobody from a scrape."""
    text = f"tls_server_config: {{cert_file: {made.server_cert}, key_file: {made.server_key}}}"
    with door(tmp_path, text, context=trusting(made.ca)) as page, crowd(page, says=says):
        assert [page.ask().status for _ in range(3)] == [200] * 3


@pytest.mark.parametrize(
    "says", [REQUEST, b"GET /met", b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n"]
)
def test_a_scrape_beside_slow_writers(tmp_path: Path, says: bytes) -> None:
    """Two hundred clients that never finish their request keep nobody from a scrape."""
    with door(tmp_path) as page, crowd(page, says=says):
        assert [page.ask().status for _ in range(3)] == [200] * 3


def test_a_scrape_beside_slow_readers(tmp_path: Path) -> None:
    """Two hundred clients that ask for pages and read none keep nobody from a scrape."""
    with door(tmp_path) as page, crowd(page, says=(REQUEST + b"\r\n") * 10):
        assert [page.ask().status for _ in range(3)] == [200] * 3


def test_slow_ones_are_shown_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not finish a request, or leaves unread what fills the buffers, is disconnected after a while."""
    monkeypatch.setattr(web_connection, "REQUEST_SECONDS", 0.3)
    monkeypatch.setattr(web_connection, "READ_SECONDS", 0.3)
    with contextlib.ExitStack() as stack:
        page = stack.enter_context(door(tmp_path))
        silent = stack.enter_context(crowd(page, 3))
        writers = stack.enter_context(crowd(page, 3, says=REQUEST))
        readers = stack.enter_context(crowd(page, 2, says=(REQUEST + b"\r\n") * 1000))
        kept = stack.enter_context(contextlib.closing(page.connect()))
        assert page.on(kept, "/-/healthy").status == 200
        for line in (*silent, *writers):
            eventually(functools.partial(is_over, line))
        for line in readers:
            eventually(functools.partial(takes_nothing, line))
        assert page.on(kept, "/-/healthy").status == 200


def test_silent_handshakes_end(tmp_path: Path, made: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handshake that takes too long is ended."""
    monkeypatch.setattr(web_listener, "HANDSHAKE_SECONDS", 0.3)
    text = f"tls_server_config: {{cert_file: {made.server_cert}, key_file: {made.server_key}}}"
    with door(tmp_path, text, context=trusting(made.ca)) as page, crowd(page, 3) as lines:
        for line in lines:
            eventually(functools.partial(is_over, line))


def test_a_flood_of_knocks_stops_nobody(tmp_path: Path) -> None:
    """While others connect and hang up without end, whoever is in is answered."""
    with door(tmp_path) as page, contextlib.closing(page.connect()) as kept, ThreadPoolExecutor(2) as strangers:
        assert page.on(kept, "/-/healthy").status == 200
        knocks, answered = itertools.count(), threading.Event()

        def knock() -> None:
            while not answered.is_set() and next(knocks) < MOST_KNOCKS:
                socket.create_connection(("127.0.0.1", page.port), timeout=PATIENCE).close()

        flood = [strangers.submit(knock) for _ in range(2)]
        try:
            eventually(lambda: next(knocks) > CROWD)
            assert [page.on(kept, "/-/healthy").status for _ in range(5)] == [200] * 5
            assert not any(each.done() for each in flood), "the flood was over before the answers"
        finally:
            answered.set()
        for each in flood:
            each.result()


def test_a_door_stays_open_after_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no memory is left for a newcomer he is lost and it is said, and the next one is let in."""
    with door(tmp_path) as page:
        with monkeypatch.context() as fault, contextlib.closing(page.connect()) as lost:
            fault.setattr(web_listener, "network", lambda _address: bytearray(-1))
            lost.connect()
            eventually(lambda: "could not take in a connection; if that goes on, restart" in caplog.text)
        assert page.ask("/-/healthy").status == 200


def test_strangers_do_not_outrank_a_scraper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those whose password is still being checked make room before a scraper that rests between two scrapes."""
    monkeypatch.setattr(web_listener, "MOST_CONNECTIONS", 5)
    dear = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(12)).decode()
    with door(tmp_path, f"basic_auth_users: {{prometheus: '{dear}'}}") as page:
        kept = page.connect()
        assert page.on(kept, "/metrics", login=f"prometheus:{PASSWORD}").status == 200
        wrong = base64.b64encode(b"prometheus:wrong")
        with crowd(page, 12, says=REQUEST + b"Authorization: Basic " + wrong + b"\r\n\r\n") as lines:
            eventually(lambda: sum(map(is_over, lines)) >= 8)
            assert page.on(kept, "/metrics", login=f"prometheus:{PASSWORD}").status == 200
        kept.close()


def test_who_is_worth_least_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the house is full, a newcomer takes the place of one without an answer, never of one that has scraped."""
    monkeypatch.setattr(web_listener, "MOST_OF_ONE_ADDRESS", 5)
    with door(tmp_path) as page:
        kept = page.connect()
        assert page.on(kept, "/metrics").status == 200
        with crowd(page, 20) as lines:
            eventually(lambda: sum(map(is_over, lines)) == 16)
            assert page.ask().status == 200
            assert page.on(kept, "/metrics").status == 200
        kept.close()


def test_a_crowd_with_wrong_passwords_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was refused counts as one without an answer, and goes before a scraper that has come in."""
    monkeypatch.setattr(web_listener, "MOST_CONNECTIONS", 5)
    with door(tmp_path, f"basic_auth_users: {{prometheus: '{HASH}'}}") as page:
        kept = page.connect()
        assert page.on(kept, "/metrics", login=f"prometheus:{PASSWORD}").status == 200
        with crowd(page, 12, says=REQUEST + b"\r\n") as lines:
            eventually(lambda: sum(map(is_over, lines)) == 8)
            assert page.on(kept, "/metrics", login=f"prometheus:{PASSWORD}").status == 200
        kept.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"431"),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\na: " + b"b" * 40_000 + b"\r\n\r\n", b"431"),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"431"),
        (b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n", b"413"),
        (b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n", b"413"),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"413"),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/9.9\r\nHost: x\r\n\r\n", b"505"),
        (b"\x16\x03\x01\x00\x00\x00\x00\r\n\r\n", b"400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505"),
    ],
)
def test_what_is_too_large_or_no_request(tmp_path: Path, request_: bytes, status: bytes) -> None:
    """A request beyond the bounds is refused, the connection ends, and the next client is served."""
    with door(tmp_path) as page:
        with page.dial() as line:
            line.sendall(request_)
            answer = b""
            with contextlib.suppress(ConnectionError):
                answer = b"".join(iter(lambda: line.recv(65536), b""))
        assert answer.split(b" ")[1] == status
        assert page.ask().status == 200


def test_pipelining_head_and_keep_alive(tmp_path: Path) -> None:
    """Requests sent in one go are answered in their order, on a connection that stays; HEAD has no body."""
    with door(tmp_path) as page, page.dial() as line:
        line.sendall(
            b"HEAD /-/healthy HTTP/1.1\r\nHost: x\r\n\r\nGET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"
            b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\nGET /-/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        answers = b"".join(iter(lambda: line.recv(65536), b""))
    heads = [part.split(b"\r\n")[0] for part in answers.split(b"HTTP/1.1 ")[1:]]
    assert heads == [b"200 OK", b"200 OK", b"404 Not Found", b"200 OK"]
    assert answers.count(b"healthy\n") == 1


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://sidecar.example/metrics", b"200"),
        ("HTTPS://sidecar.example:9187/metrics?name[]=x", b"200"),
        ("http://sidecar.example/-/healthy", b"200"),
        ("http://sidecar.example", b"200"),
        ("http://sidecar.example/nothing", b"404"),
        ("ftp://sidecar.example/metrics", b"404"),
    ],
)
def test_a_target_with_the_host_in_it(tmp_path: Path, target: str, status: bytes) -> None:
    """A request as proxies write it is answered like any other."""
    with door(tmp_path) as page, page.dial() as line:
        line.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert b"".join(iter(lambda: line.recv(65536), b"")).split(b" ")[1] == status


def test_a_body_that_nobody_reads(tmp_path: Path) -> None:
    """A small body, as some clients send with a POST, is let be; the next request on the connection is answered."""
    with door(tmp_path) as page, page.dial() as line:
        line.sendall(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde")
        assert line.recv(65536).startswith(b"HTTP/1.1 405")
        line.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"healthy\n" in b"".join(iter(lambda: line.recv(65536), b""))


def test_garbage_fills_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture, made: Certificates) -> None:
    """What strangers send that is no HTTP, no TLS or no request for a web socket leaves no line in the log."""
    with door(tmp_path) as page:
        for garbage in (b"\0" * 100, b"GET\r\n\r\n", REQUEST + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"):
            with crowd(page, 1, says=garbage):
                assert page.ask().status == 200
    text = f"tls_server_config: {{cert_file: {made.server_cert}, key_file: {made.server_key}}}"
    with door(tmp_path, text, context=trusting(made.ca)) as page, crowd(page, 3, says=REQUEST + b"\r\n"):
        with pytest.raises(ssl.SSLError), contextlib.closing(page.connect(trusting(made.stranger))) as connection:
            page.on(connection, "/")
        assert page.ask().status == 200
    assert [record.getMessage() for record in caplog.records if record.levelname != "INFO"] == []


def test_a_bucket_fills_with_time() -> None:
    """A bucket gives its burst, then one for each interval, and starts full when the rate changes."""
    now = [0.0]
    bucket = Bucket(lambda: now[0])
    rate = Rate(interval=2.0, burst=2)
    assert [bucket.takes(rate) for _ in range(3)] == [True, True, False]
    now[0] = 2.0
    assert [bucket.takes(rate) for _ in range(2)] == [True, False]
    now[0] = 100.0
    assert [bucket.takes(rate) for _ in range(3)] == [True, True, False]
    assert bucket.takes(Rate(interval=2.0, burst=1))


def test_one_customer_is_one_client() -> None:
    """An IPv6 network of 64 bits counts as one, and an IPv4 address is the same in either notation."""
    assert network(("2001:db8::1", 1)) == network(("2001:db8::ffff", 2)) != network(("2001:db8:0:1::1", 1))
    assert network(("::ffff:10.0.0.7", 1)) == network(("10.0.0.7", 2)) == "10.0.0.7"
    assert network(("fe80::1%eth0", 1)) == "fe80::/64"
    assert network(None) == ""
