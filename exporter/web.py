"""The page's server: /metrics, health, the status page and its JSON over HTTP."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from exporter import api
from exporter.config import Config, WebConfig
from exporter.contained import contain
from exporter.page import STYLE, render
from exporter.sidecar import Sidecar

GRACE_SECONDS = 3
"""How long an answer that is being given may still take after SIGTERM."""

_GZIP_LEVEL = 1  # level 9, which prometheus_client takes, needs twenty times as long
_BACKLOG = 128
_KEEP_ALIVE_SECONDS = 75  # longer than Prometheus usually waits between two scrapes, so that it need not connect anew
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_log = logging.getLogger(__name__)


def make_app(sidecar: Sidecar) -> Starlette:
    """Return the application that shows this sidecar; it starts and stops nothing."""

    # These are no coroutines, so each runs in a thread: the loop goes on answering while a page is made.
    def metrics(request: Request) -> Response:
        return _exposition(sidecar.registry, request)

    def status(_request: Request) -> Response:
        text = render(sidecar.overview(), leak_after=sidecar.config.leak_after)
        return HTMLResponse(text, headers={**_HEADERS, "Content-Security-Policy": _POLICY})

    def pools(_request: Request) -> Response:
        return _json(lambda: api.pools(sidecar.overview()))

    def holders(request: Request) -> Response:
        asked = request.query_params
        pool, server = asked.getlist("pool"), asked.getlist("server")
        return _json(lambda: api.holders(sidecar.overview(), pool=pool, server=server))

    async def healthy(_request: Request) -> Response:
        return PlainTextResponse("healthy\n", headers=_HEADERS)

    async def ready(_request: Request) -> Response:
        if sidecar.ready():
            return PlainTextResponse("ready\n", headers=_HEADERS)
        return PlainTextResponse("not ready: not every server has been tried yet\n", 503, headers=_HEADERS)

    app = Starlette(
        routes=[
            Route("/", status),
            Route("/metrics", metrics),
            Route("/api/v1/pools", pools),
            Route("/api/v1/holders", holders),
            Route("/-/healthy", healthy),
            Route("/-/ready", ready),
        ]
    )
    # A redirect to the path without its last slash would be made from the Host header, which anybody may write.
    app.router.redirect_slashes = False
    return app


def serve(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; return 0 then, and 2 when the address cannot be listened on."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        listener = _listen(config.web)
    except OSError as error:
        address = _address(config.web.host, config.web.port)
        print(  # noqa: T201  it is for whoever typed the command, and no log line
            f"pool-exporter: cannot listen on {address} (web.listen): {error.strerror}; "
            "choose another address, or stop what listens there",
            file=sys.stderr,
        )
        return 2
    with listener:
        return _serve(config, listener)


def _serve(config: Config, listener: socket.socket) -> int:
    sidecar = Sidecar(config)
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(sidecar),
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
    with _ended_by_signals(server):
        sidecar.start()
        _log.info("serving on http://%s/", _address(*listener.getsockname()[:2]))
        server.run(sockets=[listener])
        if not sidecar.stop():
            _leave()
    return 0


def _listen(web: WebConfig) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        web.host, web.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        # After a restart the port still has connections that are ending; nobody listens on it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextlib.contextmanager
def _ended_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """Let SIGTERM and SIGINT end the server, from before it runs.

    Once uvicorn has ended it raises the signal again, which would kill us before everything is put away.
    """

    def end(_number: int, _frame: Any) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    # Whoever tells it to read its configuration again does not mean to end it; reading it again is not built yet.
    before[signal.SIGHUP] = signal.signal(signal.SIGHUP, _no_reload)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _no_reload(_number: int, _frame: Any) -> None:
    _log.warning("SIGHUP: the configuration cannot be read again while running yet; restart to apply a change")


def _leave() -> None:
    """End at once and cleanly: a sample waits for a silent server, and Python would wait for its thread."""
    _log.info("a sample is still under way; leaving it")
    logging.shutdown()
    os._exit(0)


def _json(make: Callable[[], api.Document]) -> Response:
    """Answer with a document, or say as JSON, too, that it could not be made."""
    try:
        text, status = json.dumps(make(), allow_nan=False), 200
    except Exception:
        contain("api")
        text, status = json.dumps({"error": "this document could not be made; the log says why"}), 500
    return Response(text + "\n", status, headers=_HEADERS, media_type="application/json")


def _exposition(registry: CollectorRegistry, request: Request) -> Response:
    encode, content_type = _negotiated(request.headers.get("accept", ""))
    names = request.query_params.getlist("name[]")
    body = encode(registry.restricted_registry(names) if names else registry)
    headers = {**_HEADERS, "Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
    if _takes_gzip(request.headers.get("accept-encoding", "")):
        body = gzip.compress(body, compresslevel=_GZIP_LEVEL)
        headers["Content-Encoding"] = "gzip"
    return Response(body, headers=headers)


def _negotiated(accepted: str) -> tuple[Callable[[Collector], bytes], str]:
    try:
        return choose_encoder(accepted)
    except Exception:
        # "version=never" raises TypeError in prometheus_client 0.26; the text format is for everyone.
        return choose_encoder("")


def _takes_gzip(accepted: str) -> bool:
    """Tell whether an Accept-Encoding names gzip, or anything, and does not weigh it with 0."""
    for each in accepted.lower().split(","):
        coding, _, weight = (part.strip() for part in each.partition(";"))
        if coding in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
