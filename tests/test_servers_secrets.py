"""Passwords of servers: whatever goes right or wrong, they are in nothing that anybody can read."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from click.testing import CliRunner

from certificates import make_certificates
from config_files import PLANTED, odd_option, write
from exporter.cli import cli
from exporter.config import load
from exporter.demo.client import ask
from exporter.demo.databases import free_port
from sites import Site
from waiting import eventually

SECRET = f"{PLANTED}@/:%41 &=?#+ü"
"""Every way of writing it down leaves its beginning as it is."""

SERVERS = """\
web: {{listen: 127.0.0.1:0}}
servers:
  good:
    url: {url}
    password: !file secret
    interval: 2m
    timeout: 20s
  refused:
    url: {url}
    password: !file wrong
  nobody:
    url: {nobody}
    password: !file secret
  unknown_option:
    url: {url}?{odd}
    password: !file secret
  not_encrypted:
    url: {url}
    password: !file secret
    tls: {{ca: ca.pem}}
"""


def found_in(folder: Path, text: str) -> str:
    """Return all that check-config prints."""
    result = CliRunner().invoke(cli, ["check-config", str(write(folder, text))], prog_name="pool-exporter")
    assert result.exit_code == 1
    return result.output


@pytest.mark.parametrize(
    "spelt", [SECRET, quote(SECRET), quote(SECRET, safe=""), quote_plus(SECRET), quote(quote(SECRET))]
)
@pytest.mark.parametrize("driver", ["mysql", "postgresql", "sqlite"])
@pytest.mark.parametrize(
    "url",
    [
        "{0}://probe:{1}@db/",
        "{0}://probe:{1}@db:port/",
        "{0}://probe:{1}@db:70000/",
        "{0}://:{1}@db/",
        "{0}://probe:{1}",
        "{0}://probe:{1}@db1@db2/",
        "{0}://probe@db/?password={1}",
        "{0}://probe@db/?p%61sswd={1}",
        "{0}://probe@db/?ssl_key_password={1}",
        "{0}://probe@db/?sslpassword={1}",
        "{0}://probe@db:port/?PASSWORD={1}",
    ],
)  # fmt: skip
def test_a_url_with_a_password(tmp_path: Path, url: str, driver: str, spelt: str) -> None:
    """A URL that holds a password is refused, however it is spelt and whatever else is wrong, without repeating it."""
    text = f'servers:\n  orders:\n    url: "{url.format(driver, spelt)}"\n    tls: {{verify: none}}\n'
    assert PLANTED not in found_in(tmp_path, text)


@pytest.mark.parametrize(
    "line",
    ["tls: {password: {0}}", "tls: {key_password: {0}}", "tls: {0}", "tls: [{0}]", "tls: {verify: none, ca: !env {0}}"],
)
def test_a_password_in_the_wrong_place(tmp_path: Path, line: str) -> None:
    """A password that somebody writes where the keys of TLS are is not repeated."""
    text = f"servers:\n  orders:\n    url: mysql://probe@db/\n    {line.replace('{0}', PLANTED)}\n"
    assert PLANTED not in found_in(tmp_path, text)


@pytest.mark.parametrize("name", ["ca", "cert", "key"])
def test_what_a_file_holds(tmp_path: Path, name: str) -> None:
    """The content of a file that does not fit is not shown: it may be a key, or the file of the password."""
    (tmp_path / "secret").write_text(f"-----BEGIN PRIVATE KEY-----\n{PLANTED}\n-----END PRIVATE KEY-----\n")
    make_certificates(tmp_path)
    section = "{cert: client.pem, key: secret}" if name == "key" else f"{{{name}: secret}}"
    assert PLANTED not in found_in(tmp_path, f"servers: {{orders: {{url: 'mysql://probe@db/', tls: {section}}}}}")


def url_of(site: Site, account: str, port: int | None = None) -> str:
    there = site.database.url
    return f"{there.drivername}://{account}@{there.host}:{port or there.port}/orders"


def said_by(pid: int) -> str:
    """Return what the operating system shows of a process."""
    shown = [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ", "comm")]
    return b"\n".join(shown).decode(errors="replace")


def sessions(site: Site) -> str:
    """Return what the server's list of sessions shows."""
    statement = (
        "SHOW FULL PROCESSLIST" if site.dialect == "mysql" else "SELECT pg_stat_activity::text FROM pg_stat_activity"
    )
    return str(site.run(statement))


@pytest.mark.servers
def test_a_running_sidecar(tmp_path: Path, site: Site) -> None:
    """Of servers that answer, refuse, are not there or are asked wrongly, no password is on a page or in the log."""
    account = site.sampler_account()
    by = "IDENTIFIED BY" if site.dialect == "mysql" else "PASSWORD"
    kind = "USER" if site.dialect == "mysql" else "ROLE"
    site.run(f"ALTER {kind} {account} {by} '{SECRET.replace('%', '%%')}'")
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "wrong").write_text(f"{SECRET}?")
    make_certificates(tmp_path)
    urls = {"url": url_of(site, account), "nobody": url_of(site, account, free_port())}
    config = write(tmp_path, SERVERS.format(**urls, odd=odd_option(site.dialect)))
    log = tmp_path / "log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "exporter", "serve", "--config", str(config)]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        found = eventually(lambda: re.search(r"serving on (http://127\.0\.0\.1:\d+)/", log.read_text()))
        assert found is not None
        page = found[1]
        eventually(lambda: ask(f"{page}/-/ready").status == 200, within=20)
        eventually(lambda: log.read_text().count(" is down ") == 4)
        metrics = ask(f"{page}/metrics").body
        read = [metrics, ask(f"{page}/").body, said_by(process.pid), sessions(site)]
    finally:
        process.terminate()
        process.wait(20)
    read.append(log.read_text())
    assert 'sqlalchemy_server_up{server="good"} 1.0' in metrics
    assert all(
        f"server {name} is down" in read[-1] for name in ("refused", "nobody", "unknown_option", "not_encrypted")
    )
    assert [PLANTED in each for each in read] == [False] * len(read)


def test_a_configuration_as_text(tmp_path: Path) -> None:
    """Neither str nor repr of a configuration shows the password of a server."""
    (tmp_path / "secret").write_text(SECRET)
    config = load(write(tmp_path, "servers: {orders: {url: 'mysql://probe@db/', password: !file secret}}"))
    assert config.servers[0].url.password == SECRET
    for part in (config, *config.servers, config.servers[0].url):
        assert PLANTED not in f"{part} {part!r} {part.__dict__ if hasattr(part, '__dict__') else ''}"
