"""Stands before the page's application: bounds what a request may bring, asks who comes, and heads every answer."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Protocol
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.web_file import Rate, WebFile
from exporter.web_keeper import Keeper
from exporter.web_lock import BusyError, Lock

HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
)
"""What every answer has, where it says nothing else and the web configuration sets nothing else."""

OPEN_PATHS = frozenset({"/-/healthy", "/-/ready"})
"""What is answered to everybody."""

WELCOME = "welcome"
"""Set in a request's state when it was answered as it wished: whoever looks at connections keeps those."""

LET_IN = "let in"
"""Set in a request's state once the lock has let it through: until then its client is a stranger."""

LINE = "line"
"""Where a request's state holds the `Line` that it came on."""

LARGEST_HEAD = 16 * 1024
"""Bytes, of all that comes before a request's body."""

_ABSOLUTE = re.compile(rb"https?://[^/]*", re.IGNORECASE)
_MOST_HEADERS = 100
_PART = 64 * 1024  # bytes of an answer that are given to the connection at once
_LARGEST_BODY = 1024  # bytes; nothing here reads one, and some clients send a few with a POST


class Line(Protocol):
    """The connection of a request, as far as it matters here."""

    @property
    def is_unread(self) -> bool:
        """Tell whether the client leaves unread what it is sent."""

    def break_off(self) -> None:
        """End it, and say no more."""


class Guard:
    """Lets requests through to ``app``, or answers them itself."""

    def __init__(self, app: ASGIApp, keeper: Keeper) -> None:
        self._app = app
        self._keeper = keeper
        self._lock = Lock()
        self._bucket = Bucket()
        self._strangers = Bucket()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        file = self._keeper.now.file
        line: Line | None = scope.setdefault("state", {}).get(LINE)
        is_begun = False
        # As a proxy asks, with the host in it; RFC 9112 has every server take that (section 3.2.2).
        target = scope["raw_path"]
        if (found := _ABSOLUTE.match(target)) is not None:
            scope["path"] = unquote(target[found.end() :].decode("ascii")) or "/"

        async def headed(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            if message["type"] == "http.response.start":
                _head(message, file.headers)
                scope["state"][WELCOME] = message["status"] < 400
            for part in _parts(message):
                await send(part)

        try:
            answer = await self._refused(scope, file)
            scope["state"][LET_IN] = answer is None
            await (answer or self._app)(scope, receive, headed)
        except asyncio.CancelledError:  # at the end; uvicorn would log a traceback for each
            if is_begun or line is None or line.is_unread:
                if line is not None:
                    line.break_off()
                return
            answer = _refusal(503, "the sidecar ends; come again later", {"Connection": "close"})
            await answer(scope, receive, headed)

    def close(self) -> None:
        """Check no more passwords."""
        self._lock.close()

    async def _refused(self, scope: Scope, file: WebFile) -> Response | None:
        answer = _oversized(scope)
        if answer is not None or scope["path"] in OPEN_PATHS:
            return answer
        return self._throttled(scope, file) or await self._locked(scope, file.users)

    def _throttled(self, scope: Scope, file: WebFile) -> Response | None:
        if file.rate is None:
            return None
        # Strangers must not use up what is for those who have come in before.
        known = not file.users or self._lock.knows(Headers(scope=scope).get("authorization"), file.users)
        if (self._bucket if known else self._strangers).takes(file.rate):
            return None
        return _refusal(
            429, "too many requests (rate_limit of the web configuration); come again later", {"Retry-After": "1"}
        )

    async def _locked(self, scope: Scope, users: Mapping[str, bytes]) -> Response | None:
        if not users:
            return None
        try:
            authorization = Headers(scope=scope).get("authorization")
            if await self._lock.admits(authorization, users, address=network(scope["client"])):
                return None
        except BusyError:
            return _refusal(429, "too many logins at once; come again later", {"Retry-After": "1"})
        # At Basic a browser would ask its person, and again at each refresh, while the page's script waits in vain.
        scheme = "x-Basic" if "x-requested-with" in Headers(scope=scope) else "Basic"
        return _refusal(401, "Unauthorized", {"WWW-Authenticate": f'{scheme} realm="pool-exporter", charset="UTF-8"'})


class Bucket:
    """Counts requests against a rate, however often that changes. ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rate: Rate | None = None
        self._tokens = 0.0
        self._filled = 0.0

    def takes(self, rate: Rate) -> bool:
        """Tell whether one more request is within the rate, and count it if so."""
        now = self._clock()
        if rate != self._rate:
            self._rate, self._tokens = rate, float(rate.burst)
        else:
            self._tokens = min(float(rate.burst), self._tokens + (now - self._filled) / rate.interval)
        self._filled = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def network(client: tuple[str, int] | None) -> str:
    """Return who comes, as far as an address tells: of IPv6 the network of 64 bits, which is one customer's."""
    host = "" if client is None else client[0].partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host


def _oversized(scope: Scope) -> Response | None:
    headers = Headers(scope=scope)
    length = headers.get("content-length", "0")
    size = len(scope["path"]) + len(scope["query_string"]) + sum(len(name) + len(value) for name, value in headers.raw)
    if scope["http_version"] not in ("1.0", "1.1"):
        return _refusal(505, "HTTP/1.1 is spoken here; ask in that", {"Connection": "close"})
    if len(headers.raw) > _MOST_HEADERS or size > LARGEST_HEAD:
        return _refusal(
            431, f"more than {_MOST_HEADERS} headers or {LARGEST_HEAD} bytes; send less", {"Connection": "close"}
        )
    if "transfer-encoding" in headers or len(length) > 9 or int(length) > _LARGEST_BODY:
        return _refusal(413, "nothing here takes a body; send none", {"Connection": "close"})
    return None


def _refusal(status: int, text: str, headers: Mapping[str, str]) -> Response:
    return PlainTextResponse(f"{text}\n", status, headers=dict(headers))


def _parts(message: Message) -> Iterator[Message]:
    """Cut a body up: what a client leaves unread then stays the one that all share, and is not copied for each."""
    body = memoryview(message.get("body", b""))
    if len(body) <= _PART:
        yield message
        return
    for start in range(0, len(body), _PART):
        more = message.get("more_body", False) or start + _PART < len(body)
        yield {**message, "body": body[start : start + _PART], "more_body": more}


def _head(message: Message, chosen: Mapping[str, str]) -> None:
    headers = MutableHeaders(raw=message.setdefault("headers", []))
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    for name, value in chosen.items():
        headers[name] = value
