"""The configuration: what a good one becomes, and that its passwords are never seen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from config_files import PLANTED, SERVER, faults, write
from exporter.config import Config, ProcessesConfig, ServerConfig, WebConfig, load
from exporter.shape import SECTIONS

EXAMPLE = Path(__file__).parent.parent / "config.example.yaml"


def server(folder: Path, *lines: str) -> ServerConfig:
    (only,) = load(write(folder, SERVER + "\n    ".join(lines))).servers
    return only


def test_everything_that_can_be_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key arrives in the Config, durations as seconds and paths from the folder of the file."""
    monkeypatch.setenv("DB_PASSWORD", PLANTED)
    text = """\
web: {listen: '[::1]:9104'}
processes: {directory: run}
leak_after: 1.5m
servers:
  no:
    url: mariadb://probe@db:3307/shop?charset=utf8mb4
    password: !env DB_PASSWORD
    interval: 500ms
    timeout: 250ms
    stale_after: 1h
    pools: [orders*, "*"]
"""
    config = load(write(tmp_path, text))
    url = config.servers[0].url
    assert url.render_as_string(hide_password=False) == (
        f"mariadb+pymysql://probe:{PLANTED}@db:3307/shop?charset=utf8mb4"
    )
    assert config == Config(
        web=WebConfig(host="::1", port=9104),
        processes=ProcessesConfig(directory=tmp_path / "run"),
        leak_after=90.0,
        servers=(ServerConfig("no", url, "mysql", 0.5, 0.25, 3600.0, ("orders*", "*")),),
    )


def test_defaults(tmp_path: Path) -> None:
    """A url is all that a server needs."""
    config = load(write(tmp_path, "web:\nprocesses:\nservers: {orders: {url: 'postgresql://probe@db'}}"))
    assert config.web == WebConfig("127.0.0.1", 10306)
    assert config.processes == ProcessesConfig(None)
    assert config.leak_after == 60.0
    (only,) = config.servers
    assert (only.dialect, only.interval, only.timeout, only.stale_after, only.pools) == ("postgresql", 15, 5, 600, ())
    assert only.url.drivername == "postgresql+psycopg"


def test_processes_alone_are_enough(tmp_path: Path) -> None:
    """Without a server, the sidecar still adds up what the processes publish."""
    config = load(write(tmp_path, "processes: {directory: /run/pool-exporter}"))
    assert (config.processes.directory, config.servers) == (Path("/run/pool-exporter"), ())


@pytest.mark.parametrize(("interval", "timeout"), [("10s", 5.0), ("4s", 2.0), ("1h", 5.0)])
def test_default_timeout_fits_the_interval(tmp_path: Path, interval: str, timeout: float) -> None:
    """Who asks for a short interval only does not have to think of the timeout."""
    assert server(tmp_path, f"interval: {interval}").timeout == timeout


@pytest.mark.parametrize("content", [PLANTED, f"{PLANTED}\n", f"{PLANTED}\r\n"])
def test_password_from_a_file(tmp_path: Path, content: str) -> None:
    """A relative path begins at the folder of the configuration, and the end of the line is no part of a password."""
    (tmp_path / "password").write_bytes(content.encode())
    assert server(tmp_path, "password: !file password").url.password == PLANTED


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    """Being unable to read the configuration is no fault of what stands in it."""
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent.yaml")


def test_byte_order_mark(tmp_path: Path) -> None:
    """What a Windows editor puts first does no harm, and moves no column."""
    assert load(write(tmp_path, b"\xef\xbb\xbf" + SERVER.encode())).servers
    assert faults(tmp_path, b"\xef\xbb\xbfx: y\n" + SERVER.encode())[0].startswith("1:1: x: unknown key")


def test_passwords_are_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither str nor repr of a Config, nor of any part of it, holds the password."""
    monkeypatch.setenv("DB_PASSWORD", PLANTED)
    config = load(write(tmp_path, SERVER + "password: !env DB_PASSWORD"))
    assert config.servers[0].url.password == PLANTED
    assert "probe:***@db" in repr(config)
    for part in (config, *config.servers, config.servers[0].url):
        assert PLANTED not in f"{part} {part!r}"


def test_example_loads_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example needs nothing of its surroundings, and its comments tell the truth about the defaults."""
    for name in re.findall(r"!env (\w+)", EXAMPLE.read_text(encoding="utf-8")):
        monkeypatch.delenv(name, raising=False)
    config = load(EXAMPLE)
    orders, billing = config.servers
    assert config.web == WebConfig("127.0.0.1", 10306)
    assert config.processes == ProcessesConfig(Path("/run/pool-exporter"))
    assert (orders.name, orders.dialect, billing.name, billing.dialect) == ("orders", "mysql", "billing", "postgresql")
    assert (billing.interval, billing.timeout, billing.stale_after) == (
        orders.interval,
        orders.timeout,
        orders.stale_after,
    )


def test_example_shows_every_key() -> None:
    """With its settings uncommented, the example holds each key that there is, and no other."""
    text = re.sub(r"^( *)#(?=\w+:)", r"\1", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    shown = {re.sub(r"^servers\.\w+", "servers.NAME", path) for path in _paths(yaml.compose(text, yaml.SafeLoader))}
    known = {f"{section}.{key}".lstrip(".") for section, shape in SECTIONS.items() for key in shape.model_fields}
    assert shown == known | {"servers.NAME"}


def _paths(node: yaml.Node | None, prefix: str = "") -> list[str]:
    if not isinstance(node, yaml.MappingNode):
        return []
    found = []
    for key, value in node.value:
        found += [prefix + key.value, *_paths(value, f"{prefix}{key.value}.")]
    return found
