"""The command `top` before a real sidecar that is locked: TLS and a password, also while both are exchanged."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest

from certificates import make_certificates
from terminals import COMMAND, terminal
from test_top import answering, run
from waiting import eventually

PASSWORD, NEXT = "Tr0ub4dor", "s3cond-0ne"
WEB = "tls_server_config: {{cert_file: server.pem, key_file: server.key}}\nbasic_auth_users: {{ops: '{hashed}'}}\n"
WITHIN = 60.0


@dataclass
class Locked:
    """A folder with everything in it, and the sidecar's process and address."""

    folder: Path
    process: subprocess.Popen[bytes]
    url: str

    def arguments(self, *more: str, password: str = PASSWORD) -> tuple[str, ...]:
        """Return how `top` gets in."""
        file, ca = self.folder / "password", self.folder / "ca.pem"
        file.write_text(f"{password}\n")
        return ("--url", self.url, "--user", "ops", "--password-file", str(file), "--ca-file", str(ca), *more)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `top` as a program of its own."""
        return subprocess.run((*COMMAND, *arguments), capture_output=True, text=True, check=False, timeout=100)

    def lock(self, password: str, *, certificates: Path | None = None) -> None:
        """Exchange the password, and the certificate when there is another."""
        if certificates is not None:
            for name in ("server.key", "server.pem"):
                shutil.copy(certificates / name, self.folder / f"{name}.new")
                (self.folder / f"{name}.new").replace(self.folder / name)
        hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
        (self.folder / "web.yml").write_text(WEB.format(hashed=hashed))


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Locked]:
    """A sidecar as its user starts it, with a lock and without servers."""
    make_certificates(tmp_path)
    log, config = tmp_path / "log", tmp_path / "config.yaml"
    config.write_text(f"web: {{listen: 127.0.0.1:0, config_file: web.yml}}\nprocesses: {{directory: {tmp_path}/box}}\n")
    (tmp_path / "box").mkdir(mode=0o700)
    made = Locked(tmp_path, None, "")  # type: ignore[arg-type]
    made.lock(PASSWORD)
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("wb"))
        command = (sys.executable, "-m", "exporter", "serve", "--config", str(config))
        made.process = stack.enter_context(subprocess.Popen(command, stdout=output, stderr=output))
        stack.callback(made.process.kill)
        found = eventually(lambda: re.search(r"serving on https://127\.0\.0\.1:(\d+)/", log.read_text()), within=WITHIN)
        assert found is not None
        made.url = f"https://localhost:{found[1]}"
        yield made
        made.process.send_signal(signal.SIGTERM)
        assert made.process.wait(30) == 0
        assert "Traceback" not in log.read_text()


def test_who_has_the_password_sees_it(locked: Locked) -> None:
    """With user, password file and authority it prints what there is, and says nothing besides."""
    done = locked.run(*locked.arguments("--once"))
    assert (done.returncode in (0, 1), done.stderr) == (True, "")
    assert "No pool is published." in done.stdout


def test_a_wrong_password_is_told(locked: Locked) -> None:
    """A wrong password, and none, end it with 2 and one sentence that says what to do, without the password."""
    for way in (("--once",), ("--json",), ()):
        done = locked.run(*locked.arguments(*way, password="wr0ng-one"))
        assert (done.returncode, done.stdout) == (2, "")
        assert "it refuses the user ops with this password (401): --user NAME, with" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert "wr0ng-one" not in done.stderr
    done = locked.run("--url", locked.url, "--ca-file", str(locked.folder / "ca.pem"), "--once")
    assert (done.returncode, "asks for a user and a password (401)" in done.stderr) == (2, True)
    done = locked.run("--url", locked.url, "--once")
    assert (done.returncode, "its certificate is not trusted" in done.stderr) == (2, True)


def test_a_page_that_wants_a_certificate(locked: Locked) -> None:
    """With mutual TLS it is said what the page may want, and not to write https:// where it stands."""
    given = locked.arguments("--once")
    assert locked.run(*given).stderr == ""
    mutual = "server.key, client_ca_file: ca.pem, client_auth_type: RequireAndVerifyClientCert}"
    web = locked.folder / "web.yml"
    web.write_text(web.read_text().replace("server.key}", mutual))
    said = "it may want a client's certificate, and top has none to show"
    eventually(lambda: said in locked.run(*given).stderr, within=WITHIN)


def test_a_password_behind_the_user_is_refused(locked: Locked) -> None:
    """As curl has it, a password behind the user's name would be in the list of processes: no, and not repeated."""
    done = locked.run("--url", locked.url, "--user", f"ops:{PASSWORD}", "--once")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--user: a name has no colon; the password comes by --password-file" in done.stderr
    assert PASSWORD not in done.stderr


@pytest.mark.servers
def test_it_lives_through_an_exchange_of_the_lock(locked: Locked, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With another password and certificate at the sidecar it says so, and goes on once its own files have them."""
    other = tmp_path_factory.mktemp("other")
    make_certificates(other)
    with terminal(*locked.arguments()) as screen:
        eventually(lambda: "No pool is published." in screen.screen(), within=WITHIN)
        assert "NOT REACHABLE" not in screen.screen()
        locked.lock(NEXT)
        eventually(lambda: "refuses the user ops with this password (401)" in one_line(screen.screen()), within=WITHIN)
        (locked.folder / "password").write_text(f"{NEXT}\n")
        eventually(lambda: "NOT REACHABLE" not in screen.screen(), within=WITHIN)
        locked.lock(NEXT, certificates=other)
        eventually(lambda: "its certificate is not trusted" in one_line(screen.screen()), within=WITHIN)
        shutil.copy(other / "ca.pem", locked.folder / "ca.pem")
        eventually(lambda: "NOT REACHABLE" not in screen.screen(), within=WITHIN)
        (locked.folder / "password").unlink()
        eventually(lambda: "--password-file" in one_line(screen.screen()), within=WITHIN)
        (locked.folder / "password").write_text(f"{NEXT}\n")
        eventually(lambda: "NOT REACHABLE" not in screen.screen(), within=WITHIN)
        assert NEXT not in screen.screen()
        assert NEXT.encode() not in Path(f"/proc/{screen.pid()}/cmdline").read_bytes()
        screen.press("q")
        assert eventually(screen.ended, within=WITHIN) == "0"


def test_a_password_in_clear_is_warned_of(tmp_path: Path) -> None:
    """Over plain http:// it is said that anybody on the way can read the password; without one nothing is."""
    (tmp_path / "password").write_text(PASSWORD)
    environment = {**os.environ, "COLUMNS": "200"}
    given = ("--user", "ops", "--password-file", str(tmp_path / "password"))
    for more, warned in ((given, True), ((), False)):
        command = (*COMMAND, "--url", "http://127.0.0.1:1", "--once", *more)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)
        assert done.returncode == 2
        assert "connection refused" in done.stderr
        assert ("warning: over http:// anybody on the way can read the password" in done.stderr) is warned
        assert PASSWORD not in done.stderr


@pytest.mark.parametrize("body", [b'{"now": NaN}', b'{"now": 1e999}', b'{"now": ' + b"[" * 200_000])
def test_what_is_no_json_is_told(body: bytes) -> None:
    """Numbers that JSON does not have, and endless nesting, are an error that says so, and no traceback."""
    with answering(200, body) as (port, _):
        done = run("--url", f"http://127.0.0.1:{port}", "--json")
    assert (done.exit_code, "it sends no JSON object" in done.stderr) == (2, True)


def one_line(screen: str) -> str:
    """Return what stands on a screen without its line ends: a long sentence is folded."""
    return " ".join(screen.split())
