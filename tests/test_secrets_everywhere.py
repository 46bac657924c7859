"""Passwords, of applications too: planted in every place that may hold one, and looked for in all that is emitted."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

import exporter
from config_files import PLANTED, odd_option, write
from exporter.cli import cli
from exporter.config import Config, load
from exporter.demo.client import ask
from exporter.demo.databases import free_port
from exporter.sampler import Sampler
from samplers import no_ids, unreachable
from sites import Site
from waiting import eventually

SECRET = f"{PLANTED}@/:%41 &=?#+ü'\"\\"
SPELT = {
    SECRET,
    quote(SECRET),
    quote(SECRET, safe=""),
    quote_plus(SECRET),
    repr(SECRET)[1:-1],
    json.dumps(SECRET)[1:-1],
}

APPLICATION = """
import logging, os, sys, time
import exporter
from sqlalchemy import create_engine
logging.basicConfig(level=logging.DEBUG)
logging.getLogger("exporter").setLevel(logging.DEBUG)
url = os.environ["URL"]
engine = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.2)
exporter.instrument(engine, leak_after=0.001)
held = []
for turn in range(3):
    try:
        held.append(engine.connect())
    except Exception as error:
        print(type(error).__name__)
    time.sleep(0.2)
from prometheus_client import generate_latest
print(generate_latest().decode())
print(repr(engine), exporter)
sys.stdout.flush()
sys.stdin.read()
"""


def holds(said: str) -> bool:
    """Tell whether a text holds a planted password, however it is written."""
    return PLANTED in said or any(spelt in said for spelt in SPELT)


def all_files(folder: Path) -> str:
    """Return the names and the content of all files of a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return "\n".join(f"{path} {path.read_bytes().decode(errors='replace')}" for path in files)


@contextlib.contextmanager
def running(*command: str, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program whose output goes into a file; it ends when its input does, or is told to."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            (sys.executable, *command),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
        )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=30)


def url(site: Site, password: str, *, port: int | None = None, host: str | None = None) -> str:
    """Return how an application connects, its password in the URL as applications have it."""
    there = site.database.url
    made = there.set(
        username="probe", password=password, database="orders", port=port or there.port, host=host or there.host
    )
    return made.render_as_string(hide_password=False)


@pytest.mark.servers
@pytest.mark.parametrize("fault", ["wrong password", "refused", "unknown host"])
def test_an_application_s_own_password(tmp_path: Path, site: Site, fault: str) -> None:
    """The password in an application's URL is in no page, no log at DEBUG and no published file, whatever fails."""
    box = tmp_path / "box"
    box.mkdir()
    urls = {
        "wrong password": url(site, SECRET),
        "refused": url(site, SECRET, port=free_port()),
        "unknown host": url(site, SECRET, host="no-such-host.invalid"),
    }
    log = tmp_path / "log"
    environment = {"URL": urls[fault], "POOL_EXPORTER_DIR": str(box)}
    with running("-c", APPLICATION, environment=environment, log=log) as process:
        eventually(lambda: "Engine(" in log.read_text(errors="replace"), within=60)
        eventually(lambda: list(box.glob("*.json")), within=30)
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode(errors="replace")
        config = write(tmp_path, f"processes: {{directory: {box}}}\n")
        doctor = CliRunner().invoke(cli, ["doctor", "--config", str(config), "--wait", "1ms"]).output
        machine = CliRunner().invoke(cli, ["doctor", "--json", "--config", str(config), "--wait", "1ms"]).output
        emitted = [log.read_text(errors="replace"), all_files(box), command, doctor, machine]
    assert "sqlalchemy_pool_connect_errors_total{" in emitted[0]
    assert [holds(each) for each in emitted] == [False] * len(emitted)


SERVERS = """\
web: {{listen: 127.0.0.1:0}}
servers:
  wrong: {{url: "{there}", password: !env PLANTED, interval: 1s}}
  refused: {{url: "{refused}", password: !file secret, interval: 1s}}
  unknown: {{url: "{unknown}", password: !env PLANTED, interval: 1s}}
  options: {{url: "{there}?{odd}", password: !file secret, interval: 1s}}
"""


@pytest.mark.servers
def test_a_sidecar_at_debug(tmp_path: Path, site: Site) -> None:
    """With every logger at DEBUG no password of !env or !file is in the log, on a page, in JSON or in the command."""
    (tmp_path / "secret").write_text(SECRET)
    driver, there = site.database.url.drivername, site.database.url
    at = [f"{driver}://probe@{host}:{port}/orders" for host, port in (
        (there.host, there.port), (there.host, free_port()), ("no-such-host.invalid", there.port),
    )]  # fmt: skip
    odd = odd_option(driver)
    config = write(tmp_path, SERVERS.format(there=at[0], refused=at[1], unknown=at[2], odd=odd))
    code = "import logging, sys; logging.basicConfig(level=logging.DEBUG); from exporter.__main__ import main; main()"
    log = tmp_path / "log"
    with running("-c", code, "serve", "--config", str(config), environment={"PLANTED": SECRET}, log=log) as process:
        found = eventually(
            lambda: re.search(r"serving on (http://127\.0\.0\.1:\d+)/", log.read_text(errors="replace")), within=60
        )
        assert found is not None
        eventually(lambda: log.read_text(errors="replace").count(" is down ") == 4, within=60)
        paths = ("/metrics", "/", "/api/v1/pools", "/api/v1/holders", "/-/ready", "/nothing")
        emitted = [ask(f"{found[1]}{path}").body for path in paths]
        emitted.append(Path(f"/proc/{process.pid}/cmdline").read_bytes().decode(errors="replace"))
    emitted.append(log.read_text(errors="replace"))
    assert [holds(each) for each in emitted] == [False] * len(emitted)


def _loaded(folder: Path) -> Config:
    (folder / "secret").write_text(SECRET)
    return load(write(folder, "servers: {orders: {url: 'mysql://probe@db/', password: !file secret}}"))


def test_what_is_made_of_a_configuration(tmp_path: Path) -> None:
    """Whatever prints a configuration, or a sampler of it, prints no password; only pickle carries it, as it must."""
    config = _loaded(tmp_path)
    sampler = Sampler(config.servers[0], ids=no_ids)
    shown = [str(config), repr(config), f"{config.servers}", repr(vars(config)), repr(sampler), repr(sampler.view())]
    assert [holds(each) for each in shown] == [False] * len(shown)
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301  our own
    assert not holds(repr(pickle.loads(pickle.dumps(config))))  # noqa: S301


@pytest.mark.parametrize("dialect", ["mysql", "postgresql"])
def test_a_failure_on_the_way(dialect: str, caplog: pytest.LogCaptureFixture) -> None:
    """A host that nobody knows, and a port that nobody has, show no password in message, log or traceback."""
    caplog.set_level(logging.DEBUG)
    driver = {"mysql": "mysql+pymysql", "postgresql": "postgresql+psycopg"}[dialect]
    for host in ("127.0.0.1", "x" * 300, "no-such-host.invalid"):
        there = unreachable().url.set(drivername=driver, password=SECRET, host=host)
        sampler = Sampler(unreachable(url=there, dialect=dialect), ids=no_ids)
        sampler.sample()
        assert not sampler.view().up
        assert not holds(sampler.view().message)
        sampler.close()
    assert not holds(caplog.text)


def test_an_engine_s_identity_has_no_password() -> None:
    """The name that a pool gets of its URL holds neither user nor password nor query string, in any spelling."""
    with contextlib.suppress(SQLAlchemyError):
        engine = create_engine(
            f"postgresql+psycopg://u{PLANTED}:{quote_plus(SECRET)}@db/shop?application_name={PLANTED}"
        )
        handle = exporter.instrument(engine)
        try:
            assert not holds(f"{handle!r} {handle}")
        finally:
            exporter.uninstrument(engine)
