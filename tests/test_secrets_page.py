"""The page's own secrets: hashes and the key of its web configuration, and what somebody types as a password."""

from __future__ import annotations

import base64
import contextlib
import re
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from click.testing import CliRunner

from certificates import make_certificates
from config_files import PLANTED
from doors import HASH, PASSWORD, trusting
from exporter.cli import cli
from waiting import eventually

TYPED = "typ3d-Wr0ngly"
"""What somebody types into a request, and what must not be seen again."""

CODE = "import logging; logging.basicConfig(level=logging.DEBUG); from exporter.__main__ import main; main()"
PATHS = ("/", "/metrics", "/api/v1/pools", "/api/v1/holders", "/-/ready", "/nothing")


class Secrets:
    """A folder with a web configuration that has its key written out, and all that must not be seen of it."""

    def __init__(self, folder: Path) -> None:
        made = make_certificates(folder)
        self.folder = folder
        self.key = made.server_key.read_text().strip()
        self.cert = made.server_cert.read_text().strip()
        self.ca = made.ca
        self.config = folder / "config.yaml"
        (folder / "box").mkdir(mode=0o700)
        self.config.write_text(
            "web: {listen: 127.0.0.1:0, config_file: web.yml, reload: true}\nprocesses: {directory: box}\n"
        )
        self.write(self.good())

    def good(self, *, users: str = f"{{prometheus: '{HASH}'}}", key: str = "key") -> str:
        """Return a web configuration, with its certificate and key written out."""
        indent = "\n    "
        cert, secret = (each.replace("\n", indent) for each in (self.cert, self.key))
        return f"tls_server_config:\n  cert: |{indent}{cert}\n  {key}: |{indent}{secret}\nbasic_auth_users: {users}\n"

    def write(self, text: str) -> None:
        """Exchange the web configuration at once."""
        new = self.folder / "web.new"
        new.write_text(text)
        new.replace(self.folder / "web.yml")

    def faulty(self) -> list[str]:
        """Return web configurations as people get them wrong: a secret where none belongs, or a fault beside it."""
        indent = "\n    "
        return [
            self.good(users=f"{{prometheus: {PLANTED}}}"),
            self.good(users=f"{{prometheus:{HASH}}}"),
            self.good(users=f"{{'prometheus:{PLANTED}': }}"),
            self.good(users=f"prometheus:{HASH}"),
            self.good(users=f"\n- prometheus: '{HASH}'"),
            self.good(users=f"{{prometheus: !{PLANTED} '{HASH}'}}"),
            self.good(users=f"{{prometheus: ['{HASH}', {PLANTED}]}}"),
            self.good(users=f"{{prometheus: '{HASH.replace('$04$', '$31$')}'}}"),
            self.good(users=f"{{prometheus: '{HASH}{PLANTED}'}}"),
            self.good(users=f'{{prometheus: "{HASH}\n'),
            self.good(users=f"{{prometheus: *{PLANTED}}}"),
            self.good(key="key_file"),
            self.good(key="keys"),
            self.good().replace("key: |", "key: >"),
            self.good().replace("PRIVATE KEY", "PRIVATE"),
            self.good().replace(f"  key: |{indent}", "  key:\n"),
            f"tls_server_config:\n  key: {self.key.splitlines()[1]}\n  cert_file: server.pem\n",
            f"tls_server_config:\n  key_file: '{self.key.splitlines()[1]}\n    {self.key.splitlines()[2]}'\n",
        ]

    def seen(self, said: str) -> list[str]:
        """Return which secrets a text holds."""
        lines = [line for line in self.key.splitlines() if not line.startswith("-----")]
        encoded = base64.b64encode(f"prometheus:{TYPED}".encode()).decode()
        return [each for each in (PLANTED, HASH, HASH[7:], TYPED, encoded, *lines) if each in said]


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    """A folder full of secrets."""
    return Secrets(tmp_path)


def test_check_config_repeats_no_secret(secrets: Secrets) -> None:
    """However a web configuration is wrong, check-config, serve and top name the place, and no hash and no key."""
    for text in secrets.faulty():
        secrets.write(text)
        done = CliRunner().invoke(cli, ["check-config", str(secrets.config)])
        assert done.exit_code != 0, text
        assert "web.yml" in done.output
        served = CliRunner().invoke(cli, ["serve", "--config", str(secrets.config)])
        top = CliRunner().invoke(cli, ["top", "--once", "--config", str(secrets.config)])
        assert (served.exit_code, top.exit_code) == (2, 2)
        for said in (done, served, top):
            assert "Traceback" not in said.output
            assert secrets.seen(said.output + repr(said.exception)) == [], said.output


@contextlib.contextmanager
def serving(secrets: Secrets, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run the sidecar with every logger at DEBUG."""
    with log.open("wb") as output:
        command = (sys.executable, "-X", "dev", "-c", CODE, "serve", "--config", str(secrets.config))
        process = subprocess.Popen(command, stdout=output, stderr=output)
    with process:
        try:
            found = eventually(lambda: re.search(r"serving on https://127\.0\.0\.1:(\d+)/", log.read_text()), within=60)
            assert found is not None
            yield process, int(found[1])
        finally:
            process.terminate()
            process.wait(30)


def ask(port: int, context: ssl.SSLContext, path: str, *, authorization: str, method: str = "GET") -> tuple[int, str]:
    """Ask once; return the status and everything that came."""
    with contextlib.closing(HTTPSConnection("localhost", port, context=context, timeout=30)) as connection:
        connection.request(method, path, headers={"Authorization": authorization})
        answer = connection.getresponse()
        return answer.status, f"{answer.headers}{answer.read().decode()}"


def basic(password: str) -> str:
    return f"Basic {base64.b64encode(f'prometheus:{password}'.encode()).decode()}"


def test_a_locked_sidecar_at_debug(secrets: Secrets, tmp_path: Path) -> None:
    """Wrong logins, faulty web configurations and reloads leave no secret in log, answers or the command line."""
    log, context = tmp_path / "log", trusting(secrets.ca)
    typed = (basic(TYPED), f"Basic {TYPED}", f"Bearer {TYPED}", TYPED, f"{basic(TYPED)}!", basic(TYPED)[:-1])
    emitted = []
    with serving(secrets, log) as (process, port):
        for authorization in typed:
            for path in PATHS:
                status, said = ask(port, context, path, authorization=authorization)
                assert (status, path) in ((401, path), (200, "/-/ready"))
                emitted.append(said)
        emitted += [ask(port, context, path, authorization=basic(PASSWORD))[1].replace(PASSWORD, "") for path in PATHS]
        for text in secrets.faulty():
            secrets.write(text)
            status, said = ask(port, context, "/-/reload", authorization=basic(PASSWORD), method="POST")
            assert (status, "web.yml" in said) == (500, True), (text, said)
            emitted.append(said)
        eventually(lambda: "cannot be used; the version before still counts" in log.read_text(), within=30)
        process.send_signal(signal.SIGHUP)
        shutil.copy(tmp_path / "web.yml", tmp_path / "kept.yml")
        secrets.write(secrets.good())
        assert ask(port, context, "/-/reload", authorization=basic(PASSWORD), method="POST")[0] == 200
        emitted.append(Path(f"/proc/{process.pid}/cmdline").read_bytes().decode())
    emitted.append(log.read_text())
    assert [secrets.seen(each) for each in emitted] == [[]] * len(emitted)
    assert "Traceback" not in emitted[-1]
