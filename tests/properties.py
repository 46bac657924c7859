"""What must hold whatever comes from outside: each property once, for hypothesis in the tests and for scripts/fuzz."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import logging
import re
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
import yaml
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from certificates import make_certificates
from config_files import write
from exporter import api
from exporter.config import Config, ConfigError, load
from exporter.contained import contained_errors
from exporter.ended import FILE_NAME
from exporter.envelope import is_given_up
from exporter.letterbox import Letterbox
from exporter.page import render
from exporter.records import Histogram, ServerSnapshot, ServerView
from exporter.servers import SampleError
from exporter.servers.bounds import bounded
from exporter.servers.sense import checked
from exporter.serving import make_server
from exporter.sidecar import Sidecar
from exporter.web import make_app
from exporter.web_file import WebFile, WebFileError
from exporter.web_file import read as read_web
from exporter.web_keeper import Keeper
from hostile import (
    CONFIGURATION,
    HASH,
    LETTERS,
    LOGINS,
    REQUESTS,
    SNAPSHOTS,
    WEB,
    changed,
    mysql_rows,
    postgresql_rows,
)
from overviews import FULL, NO_ERRORS, NOW, SAMPLE, Showing, config

FUZZ = settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)


@functools.cache
def folder() -> Path:
    """Return a folder of this process, which is removed at its end."""
    made = tempfile.TemporaryDirectory(prefix="pool-exporter-fuzz-")
    atexit.register(made.cleanup)
    return Path(made.name)


@contextlib.contextmanager
def nothing_contained() -> Iterator[None]:
    """Let the body fail where an error of ours was only contained."""
    before = contained_errors()
    yield
    assert contained_errors() == before


def is_a_page(sidecar: Sidecar) -> None:
    """Make everything that a sidecar serves, and let it be read as a Prometheus would."""
    with nothing_contained():
        list(parse_text(generate_latest(sidecar.registry).decode()))
        list(parse_openmetrics(generate_openmetrics(sidecar.registry).decode()))  # type: ignore[no-untyped-call]
        seen = sidecar.overview()
        render(seen, leak_after=60.0).encode()
        for document in (api.pools(seen), api.holders(seen)):
            json.dumps(document, allow_nan=False).encode()


@FUZZ
@given(tree=changed(CONFIGURATION), style=st.sampled_from([True, False, None]))
def configuration(tree: object, style: bool | None) -> None:  # noqa: FBT001  hypothesis gives it
    """A configuration with anything in it is a Config, or one ConfigError whose faults have their place."""
    text = yaml.safe_dump(tree, allow_unicode=True, default_flow_style=style)
    _is_config_or_faults(text.encode("utf-8", "surrogatepass"))


@FUZZ
@given(content=st.binary(max_size=400))
def configuration_bytes(content: bytes) -> None:
    """Any bytes are a Config, or one ConfigError whose faults have their place."""
    _is_config_or_faults(content)


def _is_config_or_faults(content: bytes) -> None:
    path = write(folder(), content)
    try:
        loaded = load(path)
    except ConfigError as error:
        event("faults")
        _is_told(error)
    else:
        event("a Config")
        assert isinstance(loaded, Config)
        repr(loaded).encode("utf-8", "surrogatepass")


def _is_told(error: ConfigError) -> None:
    assert error.faults
    assert all(fault.line >= 1 and fault.message for fault in error.faults)
    str(error).encode()  # a terminal gets it


@FUZZ
@given(tree=changed(WEB), style=st.sampled_from([True, False, None]))
def web_configuration(tree: object, style: bool | None) -> None:  # noqa: FBT001  hypothesis gives it
    """A web configuration with anything in it can be served, or is one WebFileError whose faults have their place."""
    text = yaml.safe_dump(tree, allow_unicode=True, default_flow_style=style)
    _is_web_or_faults(text.encode("utf-8", "surrogatepass"))


@FUZZ
@given(content=st.binary(max_size=400))
def web_bytes(content: bytes) -> None:
    """Any bytes are a web configuration, or one WebFileError whose faults have their place."""
    _is_web_or_faults(content)


@functools.cache
def _web_folder() -> Path:
    made = folder() / "web"
    made.mkdir()
    make_certificates(made)
    return made


def _is_web_or_faults(content: bytes) -> None:
    path = _web_folder() / "web.yml"
    path.write_bytes(content)
    try:
        found = read_web(path)
        Keeper(path)  # what is taken can be served
    except WebFileError as error:
        event("faults")
        said = _is_placed(error)
        assert _told_of(path)
    else:
        event("a WebFile")
        assert isinstance(found, WebFile)
        said = repr(found)
    said.encode()  # a terminal gets it


def _is_placed(error: WebFileError) -> str:
    assert error.faults
    assert all(fault.line >= 1 and fault.message and fault.file for fault in error.faults)
    return str(error)


def _told_of(path: Path) -> list[str]:
    """Return what the configuration that leads to a faulty web configuration is refused for."""
    main = path.with_name("config.yaml")
    main.write_text("web: {listen: '127.0.0.1:0', config_file: web.yml}\nprocesses: {directory: box}\n")
    try:
        load(main)
    except ConfigError as error:
        return [str(fault) for fault in error.faults]
    return []


@FUZZ
@given(content=LETTERS)
def snapshot_file(content: bytes) -> None:
    """Any file in POOL_EXPORTER_DIR is read or rejected, and the page beside it can be read."""
    box = folder() / "box"
    box.mkdir(exist_ok=True)
    for name in ("7.0011223344556677.json", FILE_NAME):
        (box / name).write_bytes(content)
        sidecar = Sidecar(config(box), clock=lambda: NOW)
        is_a_page(sidecar)
        sidecar.stop()
        is_given_up(box, "7.0011223344556677")
        for left in box.iterdir():
            left.unlink()


@FUZZ
@given(content=st.binary(max_size=600))
def snapshot_bytes(content: bytes) -> None:
    """Any bytes in POOL_EXPORTER_DIR are read or rejected, and never invent more than one process."""
    box = folder() / "bytes"
    box.mkdir(exist_ok=True)
    (box / "7.0011223344556677.json").write_bytes(content)
    (box / FILE_NAME).write_bytes(content)
    letterbox = Letterbox(box, clock=lambda: NOW)
    mail = letterbox.read()
    letterbox.close()
    is_given_up(box, "7.0011223344556677")
    assert len(mail.snapshots) + sum(mail.rejected.values()) <= 2


@FUZZ
@given(snapshot=SNAPSHOTS)
@example(snapshot=replace(SAMPLE, sleepers=(replace(SAMPLE.sleepers[0], sleep_seconds=Histogram((), 0.0)),)))
def server_snapshot(snapshot: ServerSnapshot) -> None:
    """Whatever a family of servers says is a page that can be read, or one SampleError of one line."""
    _is_shown_or_told(lambda: snapshot)


@FUZZ
@given(answer=mysql_rows())
def rows_of_mysql(answer: Callable[[], ServerSnapshot]) -> None:
    """Whatever rows a MySQL gives are a page that can be read, or one SampleError of one line."""
    _is_shown_or_told(answer)


@FUZZ
@given(answer=postgresql_rows())
def rows_of_postgresql(answer: Callable[[], ServerSnapshot]) -> None:
    """Whatever rows a PostgreSQL gives are a page that can be read, or one SampleError of one line."""
    _is_shown_or_told(answer)


def _is_shown_or_told(answer: Callable[[], ServerSnapshot]) -> None:
    try:
        snapshot = bounded(checked(answer()))
    except SampleError as error:
        event("told")
        _is_one_line(str(error))
        return
    event("shown")
    view = ServerView("orders", True, None, "", snapshot, 0.5, NOW - 4.0, NO_ERRORS)  # noqa: FBT003  the field `up`
    is_a_page(Showing(replace(FULL, servers=(view,))))


def page_of(content: bytes, snapshot: ServerSnapshot) -> bytes:
    """Return the page of a sidecar that found this file and got this answer, if it is one."""
    box = folder() / "promtool"
    box.mkdir(exist_ok=True)
    (box / "7.0011223344556677.json").write_bytes(content)
    seen = Sidecar(config(box), clock=lambda: NOW).overview()
    try:
        answer = bounded(checked(snapshot))
    except SampleError:
        answer = None
    view = ServerView("orders", True, None, "", answer, 0.5, NOW - 4.0, NO_ERRORS)  # noqa: FBT003  the field `up`
    return generate_latest(Showing(replace(seen, servers=(view,))).registry)


def _is_one_line(said: str) -> None:
    assert said
    assert "\n" not in said
    assert len(said) < 1000


@functools.cache
def served() -> int:
    """Serve a sidecar that knows of everything for as long as this process lives; return its port."""
    logging.getLogger("uvicorn.error").addHandler(_COMPLAINTS)
    listener = socket.create_server(("127.0.0.1", 0))
    options = uvicorn.Config(make_app(Showing()), log_config=None, log_level="warning", lifespan="off", ws="none")
    threading.Thread(target=uvicorn.Server(options).run, kwargs={"sockets": [listener]}, daemon=True).start()
    return int(listener.getsockname()[1])


class _Complaints(logging.Handler):
    """Keeps what uvicorn says of an application that has raised."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(self.format(record))


_COMPLAINTS = _Complaints()


@functools.cache
def locked() -> int:
    """Serve the same behind a lock, and as `serve` does it; return its port."""
    logging.getLogger("uvicorn.error").addHandler(_COMPLAINTS)
    logging.getLogger("asyncio").addHandler(_COMPLAINTS)
    path = folder() / "locked.yml"
    path.write_text(json.dumps({"basic_auth_users": {"prometheus": HASH}}))
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    server, _ = make_server(Showing(), listener, Keeper(path), file=path, again=config)
    threading.Thread(target=server.run, daemon=True).start()
    return int(listener.getsockname()[1])


def answer_to(sent: bytes, port: int | None = None) -> bytes:
    """Send bytes on a connection of their own, and return all that comes back until it is closed."""
    with socket.create_connection(("127.0.0.1", served() if port is None else port), timeout=30) as line:
        got = bytearray()
        # One that is told no hangs up before it has heard all.
        with contextlib.suppress(OSError):  # ENOTCONN, where it has reset already, is no ConnectionError
            line.sendall(sent)
            line.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while piece := line.recv(65536):
                got += piece
        return bytes(got)


@FUZZ
@given(sent=REQUESTS)
def request(sent: bytes) -> None:
    """Any bytes on the page's port get a page, a refusal or a closed connection; never a 500, and the page lives on."""
    got = answer_to(sent)
    statuses = set(re.findall(rb"^HTTP/1\.\d (\d+) ", got, re.MULTILINE))
    event(f"answers {sorted(statuses)}")
    assert all(status[:1] in b"24" for status in statuses), got[:500]
    assert b"Traceback" not in got
    assert _COMPLAINTS.said == []
    assert answer_to(b"GET /-/healthy HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")


@FUZZ
@given(sent=LOGINS | REQUESTS)
def login(sent: bytes) -> None:
    """Without the password whatever is sent gets a refusal, or a word of health, and the next one is answered."""
    got = answer_to(sent, locked())
    statuses = set(re.findall(rb"^HTTP/1\.\d (\d+) ", got, re.MULTILINE))
    event(f"answers {sorted(statuses)}")
    # 505: what is asked for in another version of HTTP.
    assert all(status[:1] == b"4" or status in (b"200", b"505") for status in statuses), got[:500]
    assert b"sqlalchemy_" not in got
    assert b"Traceback" not in got
    assert _COMPLAINTS.said == []
    if b"200" in statuses:
        assert b"/-/ready" in sent or b"/-/healthy" in sent
    assert answer_to(b"GET /-/healthy HTTP/1.0\r\n\r\n", locked()).startswith(b"HTTP/1.1 200")


PROPERTIES: Mapping[str, Any] = {
    "config": configuration,
    "config-bytes": configuration_bytes,
    "web": web_configuration,
    "web-bytes": web_bytes,
    "snapshots": snapshot_file,
    "snapshot-bytes": snapshot_bytes,
    "rows": server_snapshot,
    "rows-mysql": rows_of_mysql,
    "rows-postgresql": rows_of_postgresql,
    "http": request,
    "login": login,
}
"""Every property by the name that scripts/fuzz knows it by."""
