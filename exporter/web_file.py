"""The web configuration, in the format of Prometheus' exporter-toolkit: TLS, passwords, headers and a rate.

What `promtool check web-config` rejects is rejected here, and what it takes is taken or refused in so many words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from exporter import files
from exporter.web_reader import Reader, Section, WebFileError
from exporter.web_tls import NOT_HERE, WebTls
from exporter.web_tls_section import read_tls
from exporter.web_values import HEADERS, password_hash, rate_interval, whole_number
from exporter.yaml_nodes import Fault, parse

__all__ = ["Rate", "WebFile", "WebFileError", "read"]

_SECTIONS = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
_LONGEST_NAME = 255


@dataclass(frozen=True)
class Rate:
    """One request each ``interval`` seconds in the long run, and ``burst`` of them at once."""

    interval: float
    burst: int


@dataclass(frozen=True)
class WebFile:
    """What the file says; ``users`` are bcrypt hashes by name, and ``files`` what it was read from."""

    tls: WebTls | None = None
    users: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    rate: Rate | None = None
    files: tuple[Path, ...] = ()


def read(path: Path) -> WebFile:
    """Read and check a web configuration with the certificates that it names; raise OSError or WebFileError."""
    try:
        content = files.read(path)
    except files.UnfitError as error:
        raise WebFileError([Fault(1, "", str(error), file=str(path))]) from None
    reader = Reader(parse(content, lines=True), path)
    # promtool takes an empty file, and so does whoever has everything commented out.
    root = reader.root(_SECTIONS)
    found = WebFile(
        tls=read_tls(reader, root.section("tls_server_config")),
        users=_users(root.section("basic_auth_users")),
        headers=_headers(root.section("http_server_config")),
        rate=_rate(root.section("rate_limit")),
        files=(path, *reader.files),
    )
    reader.done()
    return found


def _users(users: Section) -> Mapping[str, bytes]:
    found: dict[str, bytes] = {}
    for name in users.names():
        if ":" in name or not 0 < len(name) <= _LONGEST_NAME:
            # Without a blank after its colon, the password's hash is a part of the name.
            users.fault_untold(
                name, f"a user's name has 1 to {_LONGEST_NAME} characters and no colon; others are {NOT_HERE}"
            )
            continue
        hashed = users.read(name, password_hash, b"", empty=True)
        if hashed:
            found[name] = hashed
    return MappingProxyType(found)


def _headers(http: Section) -> Mapping[str, str]:
    http.known(("http2", "headers"))
    if http.switch("http2", default=False):
        http.fault("http2", f"HTTP/2 is {NOT_HERE}; write false, or remove the key: Prometheus takes HTTP/1.1 as well")
    headers = http.section("headers")
    headers.known(HEADERS)
    found = {name: headers.read(name, HEADERS[name], "", empty=True) for name in headers.names() if name in HEADERS}
    return MappingProxyType({name: value for name, value in found.items() if value})


def _rate(rate: Section) -> Rate | None:
    rate.known(("interval", "burst"))
    interval = rate.read("interval", rate_interval, 0.0)
    burst = rate.read("burst", whole_number, 0)
    if not interval:
        return None
    if burst < 1:
        rate.fault("burst", f"lets nobody in at all, which is {NOT_HERE}; write at least 1")
    return Rate(interval, burst)
