"""Where `top` reads from: the JSON of a sidecar that runs somewhere, or one of its own that has no page."""

from __future__ import annotations

import base64
import json
import math
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import urlsplit

from exporter import api, files
from exporter.conclusions import Overview
from exporter.config import Config
from exporter.doctor import glance
from exporter.readable import printable
from exporter.sidecar import Sidecar
from exporter.top.asking import Answer, ask, context_of, failure, stamp
from exporter.top.documents import UnreadableError
from exporter.version import VERSION

Document = Mapping[str, Any]

_HEADERS: Mapping[str, str] = MappingProxyType(
    {"Accept": "application/json", "User-Agent": f"pool-exporter-top/{VERSION}"}
)


class Source(Protocol):
    """Where one may read again and again."""

    name: str

    def read(self) -> Document:
        """Return both documents in one, or raise UnreadableError."""

    def close(self) -> None:
        """Let go of everything."""


def documents(seen: Overview) -> Document:
    """Return both documents of a sidecar in one."""
    return {**api.holders(seen), **api.pools(seen)}


class PasswordFile:
    """A file whose first line is a password. It is read anew when it has changed; a pipe can be read only once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_pipe = False
        self._stamp: object = None
        self._password = ""

    def read(self) -> str:
        """Return the password; raise UnreadableError."""
        try:
            now = self._stamp if self._is_pipe else stamp(self._path)
            if now != self._stamp:
                self._password = files.read(self._path).decode().partition("\n")[0].rstrip("\r")
                self._stamp, self._is_pipe = now, not self._path.is_file()
        except (OSError, ValueError) as error:
            why = "it is no text in UTF-8" if isinstance(error, UnicodeDecodeError) else "it is no file, or a huge one"
            why = (isinstance(error, OSError) and error.strerror) or why
            name = os.fsencode(self._path).decode(errors="replace")
            raise UnreadableError(
                f"--password-file {name}: {why}; name a file whose first line is the password"
            ) from None
        return self._password


@dataclass(frozen=True)
class Login:
    """Who asks, and whom to trust. The password, which ``password_file`` goes before, is in no text of this."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: PasswordFile | None = None
    ca_file: Path | None = None

    def headers(self) -> Mapping[str, str]:
        """Return what says who asks; raise UnreadableError."""
        if self.user is None:
            return {}
        password = self.password if self.password_file is None else self.password_file.read()
        # What is no UTF-8 in the environment goes as it is.
        told = base64.b64encode(f"{self.user}:{password or ''}".encode(errors="surrogateescape")).decode()
        return {"Authorization": f"Basic {told}"}


class Remote:
    """A sidecar that runs: its JSON over HTTP. Passwords and authorities are read anew, as Prometheus does."""

    def __init__(self, url: str, login: Login) -> None:
        self.name = _checked(url)
        self._page = urlsplit(self.name)
        if ":" in (login.user or ""):
            # Not repeated: as curl has it, there would be a password behind the colon.
            raise UnreadableError("--user: a name has no colon; the password comes by --password-file")
        self._login = login
        self._headers: Mapping[str, str] = {}
        self._renew()

    @property
    def is_overheard(self) -> bool:
        """Tell whether a password goes over the network in clear text."""
        return self._login.user is not None and self._page.scheme == "http"

    def read(self) -> Document:
        """Ask for both documents."""
        self._renew()
        return {**self._ask("api/v1/holders"), **self._ask("api/v1/pools")}

    def _renew(self) -> None:
        self._headers = {**_HEADERS, **self._login.headers()}
        self._context = _trust(self._login.ca_file)

    def close(self) -> None:
        """Do nothing: each question has a connection of its own."""

    def _ask(self, path: str) -> Document:
        try:
            answer = ask(self._page, path, self._headers, self._context)
        except (OSError, HTTPException, UnicodeError) as error:
            raise UnreadableError(failure(error, secure=self._page.scheme == "https")) from None
        if not 200 <= answer.status < 300:
            raise UnreadableError(self._refusal(answer, path))
        try:
            content = json.loads(answer.content, parse_float=_finite, parse_constant=_finite)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise UnreadableError(
                "what answers there is no sidecar of pool-exporter: it sends no JSON object; give the address of one"
            )
        return content

    def _refusal(self, answer: Answer, path: str) -> str:
        if answer.status == 401:
            user = self._login.user
            who = f"refuses the user {user} with this password" if user else "asks for a user and a password"
            return f"it {who} (401): --user NAME, with POOL_EXPORTER_PASSWORD or --password-file"
        if answer.status == 404:
            return (
                f"what answers there is no sidecar of pool-exporter: it has no /{path} (404); give the address of one"
            )
        if 300 <= answer.status < 400:
            return f"it redirects ({answer.status}), which is not followed; give the address that it leads to"
        return f"it answers {answer.status} {printable(answer.reason)}"


class Local:
    """A sidecar of our own: it samples by the clock and has no page."""

    def __init__(self, config: Config, name: str) -> None:
        self.name = name
        self._sidecar = Sidecar(config)
        self._sidecar.start()

    def read(self) -> Document:
        """Look at what is known now."""
        return documents(self._sidecar.overview())

    def close(self) -> None:
        """End the sampling."""
        self._sidecar.stop()


class Glance:
    """One look, as `doctor` takes it; good for one reading."""

    def __init__(self, config: Config, name: str, *, wait: float) -> None:
        self.name = name
        self._config = config
        self._wait = wait

    def read(self) -> Document:
        """Sample every server, hear every process, and put it together."""
        seen, _ = glance(self._config, wait=self._wait)
        return documents(seen)

    def close(self) -> None:
        """Do nothing: a look leaves nothing behind."""


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return context_of(ca_file)
    except (OSError, ssl.SSLError) as error:
        why = "it holds no certificate in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
        raise UnreadableError(f"--ca-file {ca_file}: {why}; name a file with the certificate of an authority") from None


def _checked(url: str) -> str:
    if "@" in url:
        # Not repeated: there may be a password in it.
        raise UnreadableError("--url: leave user and password out of the address; say --user NAME")
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise UnreadableError(f"--url {printable(url)}: is not an address; write one such as http://127.0.0.1:10306")
    return url.partition("?")[0].partition("#")[0].rstrip("/")
