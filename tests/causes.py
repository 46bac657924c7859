"""What brings messages about: a configuration, a command, a call, or the test that does it."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from certificates import make_certificates
from config_files import PLANTED, SERVER, write
from exporter.cli import cli
from exporter.config import ConfigError, load

TESTS = Path(__file__).parent


@dataclass(frozen=True)
class Stage:
    """What a cause may use: a folder, and what was logged since it began."""

    folder: Path
    logged: list[str]


Cause = Callable[[Stage], list[str]]
"""Brings a message about; returns everything that was said."""


def text(content: str | bytes) -> Cause:
    """Read a configuration."""

    def faults(stage: Stage) -> list[str]:
        try:
            load(write(stage.folder, content))
        except ConfigError as error:
            return [fault.message for fault in error.faults]
        return []

    return faults


def server(line: str) -> Cause:
    """Read a configuration with one more line for its server."""
    return text(SERVER + line)


def web(content: str) -> Cause:
    """Read a web configuration, beside certificates of all kinds."""

    def faults(stage: Stage) -> list[str]:
        make_certificates(stage.folder)
        _make_weak(stage.folder)
        (stage.folder / "web.yml").write_text(content)
        return text(f"web: {{config_file: web.yml}}\n{SERVER}")(stage)

    return faults


def tls_of_page(more: str) -> Cause:
    """Read a web configuration that has TLS and something more."""
    return web(f"tls_server_config: {{cert_file: server.pem, key_file: server.key, {more}}}")


def url(value: str) -> Cause:
    """Read a configuration with this URL."""
    return text(f"servers: {{orders: {{url: '{value}'}}}}")


def tls(section: str, *, at: str = "mysql://probe@db/") -> Cause:
    """Read a configuration with this section of tls, beside certificates of all kinds."""

    def faults(stage: Stage) -> list[str]:
        make_certificates(stage.folder)
        (stage.folder / "large").write_bytes(b"x" * 5_000_000)
        (stage.folder / "der").write_bytes(b"\xff")
        (stage.folder / "encrypted.key").write_bytes(_ENCRYPTED)
        (stage.folder / "open.key").write_bytes((stage.folder / "client.key").read_bytes())
        (stage.folder / "open.key").chmod(0o644)
        return text(f"servers:\n  orders:\n    url: {at}\n    tls: {section}\n")(stage)

    return faults


def call(function: Callable[[], object]) -> Cause:
    """Call something that raises, or logs."""

    def said(stage: Stage) -> list[str]:
        try:
            function()
        except Exception as error:
            return [str(error)]
        return stage.logged

    return said


def command(*arguments: str, content: str = "") -> Cause:
    """Run the command line; {} is the path of the configuration."""

    def printed(stage: Stage) -> list[str]:
        path = str(write(stage.folder, content)) if content else str(stage.folder / "absent.yaml")
        return [CliRunner().invoke(cli, [part.format(path) for part in arguments]).output]

    return printed


def seen(test: str, words: str) -> Cause:
    """Point to the test that brings a message about and reads its words."""

    def read(_stage: Stage) -> list[str]:
        assert words in (TESTS / test).read_text(encoding="utf-8"), f"{test} does not read {words!r}"
        return [words]

    return read


def _told(record: logging.LogRecord) -> str:
    return f"{record.getMessage()} {record.exc_info[1] if record.exc_info else ''}"


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Listen to our loggers while the body runs."""
    logged: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(_told(record))  # type: ignore[method-assign]
    logger = logging.getLogger("exporter")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield Stage(folder, logged)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def _encrypted() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    encryption = serialization.BestAvailableEncryption(PLANTED.encode())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


_ENCRYPTED = _encrypted()


def _make_weak(folder: Path) -> None:
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505  what is to be refused
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "weak")])
    now = dt.datetime.now(dt.timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + dt.timedelta(days=1))
    (folder / "weak.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    (folder / "weak.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
