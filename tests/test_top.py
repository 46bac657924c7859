"""The command `top`: what it prints once, live in a real terminal, and where it cannot read anything."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from click.testing import CliRunner, Result

from exporter.cli import cli
from exporter.conclusions import Overview, Unowned
from exporter.records import ProcessSnapshot
from exporter.top import asking
from overviews import DOWN, FINDING, FULL, LEAK, LOCK, SHOP, UNSERVED, UP, Showing, publish, silent_server
from terminals import COMMAND, terminal
from test_web import serving
from waiting import eventually

BAD = dataclasses.replace(
    FULL,
    servers=(UP,),
    holders=(UNSERVED, LOCK, LEAK),
    findings=(FINDING,),
    unowned=(Unowned("orders", "shop", "shop", "10.0.0.7", 4),),
)
GOOD = dataclasses.replace(
    FULL, servers=(UP,), matches=(), pools=(dataclasses.replace(SHOP, overdue=0, used_longest_seconds=1.0),)
)
PASSWORD = "correct horse"
SECRET = "battery"


class Changing(Showing):
    """A sidecar that knows something else from time to time."""

    def show(self, seen: Overview) -> None:
        """Know this from now on."""
        self._seen = seen


def run(*arguments: str | Path, **env: str) -> Result:
    """Run the command in this process, its output into a pipe."""
    return CliRunner().invoke(cli, ["top", *map(str, arguments)], env=env)


def run_apart(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own."""
    command = [*COMMAND, *arguments]
    given = {**os.environ, **env}
    return subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=100)


@contextlib.contextmanager
def answering(
    status: int, body: bytes = b"", *, headers: dict[str, str] | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[tuple[int, list[str | None]]]:
    """Answer everything in one way; give the port, and what came as authorization."""
    seen: list[str | None] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization"))
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  its caller's name
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port, seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_once_prints_everything_the_worst_first() -> None:
    """The verdict, the pools, who holds what, the match, the servers, the unowned and the findings; and 1."""
    with serving(Showing(BAD)) as client:
        done = run("--url", str(client.base_url), "--once")
    assert (done.exit_code, done.stderr) == (1, "")
    parts = [
        "LEAK",
        "STALE",
        "POOL ",
        "asleep 1m14s",
        "MATCH",
        "stale: the next user",
        "SERVER",
        "UNOWNED ON",
        "SETTING OF",
    ]
    places = [done.stdout.index(part) for part in parts]
    assert places == sorted(places), dict(zip(parts, places, strict=True))
    assert [line.split()[0] for line in done.stdout.split("POOL ")[1].splitlines()[1:4]] == ["shop", "endless", "files"]
    assert "\x1b" not in done.stdout


def test_once_of_health_is_0() -> None:
    """Where nothing is wrong the exit code is 0, and that is said."""
    with serving(Showing(GOOD)) as client:
        done = run("--url", str(client.base_url), "--once")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "ALL IS WELL" in done.stdout


@pytest.mark.parametrize(("seen", "code"), [(BAD, 1), (GOOD, 0)])
def test_json_has_both_documents(seen: Overview, code: int) -> None:
    """With --json everything is one document, with the exit code in it."""
    with serving(Showing(seen)) as client:
        done = run("--url", str(client.base_url), "--json")
        pools, holders = (client.get(f"/api/v1/{name}").json() for name in ("pools", "holders"))
    assert json.loads(done.stdout) == {**holders, **pools, "exit_code": code, "source": str(client.base_url)}
    assert done.exit_code == code


@pytest.mark.parametrize("width", ["80", "60", "132"])
def test_any_width_is_kept(width: str) -> None:
    """No line is longer than the room that there is, and what matters is there in each."""
    with serving(Showing(BAD)) as client:
        done = run("--url", str(client.base_url), "--once", COLUMNS=width)
    assert max(map(len, done.stdout.splitlines())) <= int(width)
    assert all(word in done.stdout for word in ("LEAK", "shop", "1m15s", "leak"))


def test_without_unicode_there_are_letters() -> None:
    """Where blocks cannot be written, the bars are of plain signs."""
    with serving(Showing(BAD)) as client:
        done = run_apart("--url", str(client.base_url), "--once", PYTHONIOENCODING="ascii", COLUMNS="80")
    assert done.returncode == 1
    assert "##===..." in done.stdout
    assert done.stdout.isascii()


def test_hostile_names_act_on_no_terminal() -> None:
    """Escape codes and rich's own markup in names are shown, and do nothing."""
    evil = "\x1b]0;owned\x07\x1b[2J[red]x[/red]\r\n"
    odd = dataclasses.replace(LEAK, pool=evil, server=evil, process=evil, site=evil, holder=evil)
    pool = dataclasses.replace(SHOP, identity=dataclasses.replace(SHOP.identity, name=evil))
    seen = dataclasses.replace(
        FULL,
        pools=(pool,),
        servers=(dataclasses.replace(DOWN, name=evil, message=evil),),
        holders=(odd,),
        unowned=(Unowned(evil, evil, evil, evil, 3),),
        findings=(dataclasses.replace(FINDING, pool=evil, change=evil),),
    )
    with serving(Showing(seen)) as client:
        done = run("--url", str(client.base_url), "--once", COLUMNS="200", FORCE_COLOR="1")
    assert not set(done.stdout) & {"\x1b", "\x07", "\r"}
    assert "?]0;owned??[2J[red]x[/red]??" in done.stdout


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, b"", "asks for a user and a password (401): --user NAME, with POOL_EXPORTER_PASSWORD or --password-file"),
        (404, b"", "is no sidecar of pool-exporter: it has no /api/v1/holders (404)"),
        (503, b"", "it answers 503 Service Unavailable"),
        (200, b"<html>", "is no sidecar of pool-exporter: it sends no JSON object"),
        (200, b"[1]", "is no sidecar of pool-exporter: it sends no JSON object"),
        (200, b"{}", "is no sidecar of this version: now: Field required"),
        (200, b'{"now": 1, "pools": [{"name": 7}]}', "is no sidecar of this version"),
    ],
)
def test_whoever_else_answers_is_told_apart(status: int, body: bytes, said: str) -> None:
    """What is no sidecar, or wants a password, is an error that says so, with 2."""
    with answering(status, body) as (port, _):
        for way in ((), ("--once",), ("--json",)):
            done = run("--url", f"http://127.0.0.1:{port}", *way)
            assert (done.exit_code, done.stdout) == (2, "")
            assert said in done.stderr
            assert "Traceback" not in done.stderr


def test_nobody_there() -> None:
    """A refused connection, a silent server, an unknown host and a wrong address are told apart."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    with silent_server() as silent:
        cases = {
            f"http://127.0.0.1:{free}": "connection refused: nobody listens there",
            f"http://127.0.0.1:{silent}": "no answer within 5 s",
            "http://no.such.host.invalid": "the name of the host is not known",
            "127.0.0.1:10306": "is not an address; write one such as http://127.0.0.1:10306",
            "http://127.0.0.1:99999": "is not an address; write one such as",
            "file:///etc/passwd": "is not an address; write one such as",
            "http://a..b": "the name of the host is not known",
        }
        for url, said in cases.items():
            done = run("--url", url, "--once")
            assert (done.exit_code, done.stdout) == (2, ""), url
            assert said in done.stderr, url


def test_a_password_is_never_on_the_line() -> None:
    """One in the address is refused and not repeated; it comes from the environment or a file."""
    for url in (f"http://ops:{SECRET}@127.0.0.1:1", f"http://ops:x/{SECRET}@127.0.0.1", f"ops:{SECRET}@127.0.0.1"):
        done = run("--url", url, "--once")
        assert done.exit_code == 2
        assert "leave user and password out of the address" in done.stderr
        assert SECRET not in done.stderr


def test_a_password_goes_to_the_sidecar_alone(tmp_path: Path) -> None:
    """User and password are sent as they are, from a file or the environment, and follow no redirect."""
    (tmp_path / "password").write_text(f"{PASSWORD}\nsecond line\n")
    with answering(401) as (port, seen):
        ways = (("--password-file", str(tmp_path / "password")), ())
        for way in ways:
            done = run(
                "--url", f"http://127.0.0.1:{port}", "--once", "--user", "ops", *way, POOL_EXPORTER_PASSWORD=PASSWORD
            )
            assert (done.exit_code, PASSWORD in done.stderr) == (2, False)
            assert "refuses the user ops with this password (401)" in done.stderr
        assert seen == ["Basic b3BzOmNvcnJlY3QgaG9yc2U="] * 2
        with answering(302, headers={"Location": f"http://127.0.0.1:{port}/api/v1/holders"}) as (other, _):
            done = run("--url", f"http://127.0.0.1:{other}", "--once", "--user", "ops", POOL_EXPORTER_PASSWORD=PASSWORD)
        assert "it redirects (302)" in done.stderr
        assert len(seen) == 2


def test_a_password_file_that_is_not_there(tmp_path: Path) -> None:
    """A file that cannot be read is named, and so is an option that lacks another."""
    done = run("--url", "http://127.0.0.1:1", "--user", "ops", "--password-file", tmp_path / "none")
    assert done.exit_code == 2
    assert f"--password-file {tmp_path / 'none'}: No such file or directory" in done.stderr
    assert "--password-file needs --user" in run("--url", "http://127.0.0.1:1", "--password-file", "x").stderr
    for arguments in ((), ("--url", "http://127.0.0.1:1", "--config", "x")):
        done = run(*arguments)
        assert (done.exit_code, "give either --config FILE or --url URL" in done.stderr) == (2, True)


def test_a_password_comes_through_a_pipe() -> None:
    """What the shell hands over can be read only once, and is kept for all questions."""
    reader, writer = os.pipe()
    os.write(writer, f"{PASSWORD}\n".encode())
    os.close(writer)
    with answering(401) as (port, seen):
        done = run(
            "--url", f"http://127.0.0.1:{port}", "--once", "--user", "ops", "--password-file", f"/dev/fd/{reader}"
        )
    os.close(reader)
    assert (done.exit_code, seen) == (2, ["Basic b3BzOmNvcnJlY3QgaG9yc2U="])


def test_a_password_file_that_is_none(tmp_path: Path) -> None:
    """A pipe that nobody writes into is refused at once, and what is no UTF-8 too."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes(b"p\xe4ssword")
    for name, said in (("pipe", "it is no file, or a huge one"), ("latin", "it is no text in UTF-8")):
        done = run("--url", "http://127.0.0.1:1", "--user", "ops", "--password-file", tmp_path / name)
        assert (done.exit_code, said in done.stderr) == (2, True)


def test_no_proxy_is_asked() -> None:
    """A proxy that the environment names sees neither question nor password."""
    with answering(401) as (port, seen), answering(502) as (proxy, strangers):
        url, user = f"http://127.0.0.1:{port}", ("--user", "ops")
        done = run(
            "--url", url, "--once", *user, http_proxy=f"http://127.0.0.1:{proxy}", POOL_EXPORTER_PASSWORD=PASSWORD
        )
    assert (done.exit_code, len(seen), strangers) == (2, 1, [])


def test_a_page_that_drips_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends a byte now and then, in head or body, keeps nobody waiting beyond the time for an answer."""
    monkeypatch.setattr(asking, "TIMEOUT", 0.5)
    for head in (b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"):
        left = threading.Event()

        def drip(connection: socket.socket, head: bytes = head, left: threading.Event = left) -> None:
            connection.sendall(head)
            with connection, contextlib.suppress(OSError):
                for _ in range(600):
                    connection.sendall(b" ")
                    time.sleep(0.05)
                return
            left.set()

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=lambda on=listener, drip=drip: drip(on.accept()[0]))
            thread.start()
            done = run("--url", f"http://127.0.0.1:{listener.getsockname()[1]}", "--once")
            thread.join()
        assert (done.exit_code, "no answer within 5 s" in done.stderr) == (2, True), done.stderr
        assert left.is_set()


def test_a_hostile_page_acts_on_no_terminal() -> None:
    """What a page says of itself is shown, and does nothing: the reason of its status, and the names of its keys."""
    evil = "\x1b]0;owned\x07"
    for reason, body in (
        (evil, {}),
        ("OK", {"now": 1, "servers": [{"name": "a", "sample": {"sessions": {evil: []}}}]}),
    ):
        status = 200 if body else 500
        head = f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\n\r\n".encode()
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def answer(on: socket.socket = listener, said: bytes = head + json.dumps(body).encode()) -> None:
                for _ in range(2 if b"200" in said else 1):
                    with on.accept()[0] as connection:
                        connection.recv(65536)
                        connection.sendall(said)

            thread = threading.Thread(target=answer)
            thread.start()
            done = run("--url", f"http://127.0.0.1:{listener.getsockname()[1]}", "--once")
            thread.join()
        assert done.exit_code == 2
        assert not set(done.stderr) & {"\x1b", "\x07"}


def test_tls_is_verified(tmp_path: Path) -> None:
    """A certificate is believed by --ca-file only; TLS and plain HTTP are told apart in words."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "empty.pem").write_text("")
    with serving(Showing(BAD)) as client:
        body = json.dumps({**client.get("/api/v1/holders").json(), **client.get("/api/v1/pools").json()}).encode()
        plain = client.base_url.port
    with answering(200, body, tls=context) as (port, _):
        url = f"https://127.0.0.1:{port}"
        assert run("--url", url, "--once", "--ca-file", tmp_path / "ca.pem").exit_code == 1
        assert "its certificate is not trusted" in run("--url", url, "--once").stderr
        assert "begins with https://" in run("--url", f"http://127.0.0.1:{port}", "--once").stderr
    with serving(Showing(BAD)) as client:
        plain = client.base_url.port
        assert "begins with http://" in run("--url", f"https://127.0.0.1:{plain}", "--once").stderr
    for name, said in (("empty.pem", "it holds no certificate"), ("none.pem", "No such file")):
        done = run("--url", url, "--once", "--ca-file", tmp_path / name)
        assert (done.exit_code, said in done.stderr) == (2, True), done.stderr


def test_a_width_that_is_none() -> None:
    """COLUMNS that is no number, or none that fits, is as good as none."""
    with serving(Showing(BAD)) as client:
        for width in ("abc", "-5", "\u00b2", ""):
            done = run("--url", str(client.base_url), "--once", COLUMNS=width)
            assert (done.exit_code, done.stderr) == (1, "")


def test_piped_it_goes_on_without_escape_codes() -> None:
    """Into a pipe the whole is written again and again, until nobody reads it."""
    with serving(Showing(BAD)) as client:
        command = [*COMMAND, "--url", str(client.base_url)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stderr is not None
        lines: list[str] = []
        while sum(line.startswith("pool-exporter top") for line in lines) < 2:
            lines.append(process.stdout.readline())
        process.stdout.close()
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
        process.stderr.close()
    assert "\x1b" not in "".join(lines)


def test_a_configuration_with_faults(tmp_path: Path) -> None:
    """Each fault is listed, nothing is started, and the exit code is 2."""
    (tmp_path / "web.yml").write_text("colour: red\n")
    (tmp_path / "config.yaml").write_text("web: {listen: nowhere, config_file: web.yml}\nsurprise: 1\n")
    done = run("--config", tmp_path / "config.yaml", "--once")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "nothing was started" in done.stderr
    assert all(name in done.stderr for name in ("web.listen", "surprise"))
    assert f"\n{tmp_path}/web.yml:1:1: colour: " in done.stderr
    assert "No such file" in run("--config", tmp_path / "none.yaml").stderr


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    """A configuration with a process that publishes, and with a server that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    (tmp_path / "processes").mkdir(mode=0o700)
    publish(tmp_path / "processes", ProcessSnapshot(os.getpid(), time.time(), (SHOP,)))
    config = tmp_path / "config.yaml"
    config.write_text(
        f"processes: {{directory: {json.dumps(str(tmp_path / 'processes'))}}}\n"
        f"servers: {{orders: {{url: 'mysql+pymysql://probe@127.0.0.1:{free}/', interval: 1s, timeout: 500ms}}}}\n"
    )
    return config


def test_with_a_configuration_it_looks_by_itself(configured: Path) -> None:
    """Without a sidecar it hears the processes and samples the servers itself, once."""
    done = run("--config", configured, "--json")
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert (done.exit_code, found["exit_code"], found["source"]) == (1, 1, str(configured))
    assert [(each["name"], each["used"]) for each in found["pools"]] == [("shop", 2)]
    assert [(each["name"], each["reason"]) for each in found["servers"]] == [("orders", "connect")]
    assert found["verdicts"][0]["verdict"] == "server_down"


@pytest.mark.servers
class TestInATerminal:
    """Live, in a real tmux."""

    def test_with_a_configuration_it_samples_by_itself(self, configured: Path) -> None:
        """Without a sidecar it samples by its own clock, and shows what changes."""
        with terminal("--config", str(configured)) as screen:
            eventually(lambda: "SERVER DOWN" in screen.screen() and "shop" in screen.screen(), within=60)
            more = dataclasses.replace(SHOP, used=9)
            publish(configured.parent / "processes", ProcessSnapshot(os.getpid(), time.time(), (more,)))
            eventually(lambda: " 9 " in screen.screen(), within=30)
            screen.press("q")
            assert eventually(screen.ended, within=30) == "0"

    def test_it_changes_while_it_is_watched(self) -> None:
        """What changes at the sidecar changes on the screen; q ends it with 0."""
        sidecar = Changing(BAD)
        with serving(sidecar) as client, terminal("--url", str(client.base_url)) as screen:
            eventually(lambda: "leak suspect" in screen.screen(), within=30)
            assert screen.screen().index("LEAK") < screen.screen().index("POOL") < screen.screen().index("asleep 1m14s")
            assert "q quits" in screen.screen()
            sidecar.show(GOOD)
            eventually(lambda: "ALL IS WELL" in screen.screen(), within=30)
            assert "leak suspect" not in screen.screen()
            assert screen.ended() == ""
            screen.press("q")
            assert eventually(screen.ended, within=20) == "0"

    def test_every_size_is_filled_and_none_overflows(self) -> None:
        """A narrow window shows less, a small one says that there is more, a large one shows it all."""
        many = tuple(dataclasses.replace(LEAK, seconds=100.0 + number, server_id=number) for number in range(30))
        with (
            serving(Showing(dataclasses.replace(BAD, holders=many))) as client,
            terminal("--url", str(client.base_url), size=(80, 24)) as screen,
        ):
            eventually(lambda: "more lines: make the window taller" in screen.screen(), within=30)
            assert "LEAK" in screen.screen()
            screen.resize(140, 70)
            eventually(lambda: "SETTING OF" in screen.screen() and "process" in screen.screen(), within=20)
            assert screen.screen().count("leak suspect") == 30
            screen.resize(100, 45)
            eventually(lambda: "more, held for less long" in screen.screen(), within=20)
            assert "SETTING OF" in screen.screen()

    def test_a_restart_is_lived_through(self) -> None:
        """While the sidecar is gone that is said, with the age of what is shown; when it is back all goes on."""
        with serving(Showing(BAD)) as client:
            port = client.base_url.port or 0
            context = terminal("--url", str(client.base_url))
            screen = context.__enter__()
            eventually(lambda: "leak suspect" in screen.screen(), within=30)
        try:
            eventually(lambda: "NOT REACHABLE: connection refused" in screen.screen(), within=30)
            eventually(lambda: "What stands below is 3." in screen.screen(), within=30)
            assert "leak suspect" in screen.screen()
            with serving(Showing(GOOD), port=port):
                eventually(lambda: "ALL IS WELL" in screen.screen(), within=30)
                assert "NOT REACHABLE" not in screen.screen()
        finally:
            context.__exit__(None, None, None)

    @pytest.mark.parametrize(("key", "code"), [("C-c", "0"), ("Q", "0")])
    def test_the_terminal_is_as_it_was(self, key: str, code: str) -> None:
        """Ctrl-C ends it as q does; what stood on the screen before stands there again."""
        with serving(Showing(BAD)) as client, terminal("--url", str(client.base_url)) as screen:
            eventually(lambda: "leak suspect" in screen.screen(), within=30)
            screen.press(key)
            assert eventually(screen.ended, within=20) == code
            assert "leak suspect" not in screen.screen()
            assert "Traceback" not in screen.screen()

    def test_sigterm_leaves_the_terminal_in_order(self) -> None:
        """Ended by SIGTERM it gives the screen back before it goes."""
        with serving(Showing(BAD)) as client, terminal("--url", str(client.base_url)) as screen:
            eventually(lambda: "leak suspect" in screen.screen(), within=30)
            os.kill(screen.pid(), signal.SIGTERM)
            assert eventually(screen.ended, within=20) == str(128 + signal.SIGTERM)
            assert "leak suspect" not in screen.screen()
