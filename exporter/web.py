"""The page's paths: /metrics, health, the status page and its JSON, and the one that reloads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from exporter import api
from exporter.contained import contain
from exporter.page import POLICY, render
from exporter.reload import Reloader
from exporter.rendering import MOST_WAITING, Asked, Renderings, asked, rendered
from exporter.sidecar import Sidecar

_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


def make_app(sidecar: Sidecar, reloader: Reloader | None = None) -> Starlette:
    """Return the application that shows this sidecar to everybody; it starts and stops nothing.

    When it is not needed any more, call its `state.close`.
    """

    # These are no coroutines, so each runs in a thread: the loop goes on answering while a page is made.
    def status(_request: Request) -> Response:
        text = render(sidecar.overview(), leak_after=sidecar.config.leak_after)
        return HTMLResponse(text, headers={**_HEADERS, "Content-Security-Policy": POLICY})

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
        return PlainTextResponse("not ready: not every server has been tried yet; ask again\n", 503, headers=_HEADERS)

    async def reload(request: Request) -> Response:
        refusal = "nothing is there to be read again\n" if reloader is None else _may_reload(sidecar, request)
        if reloader is None or refusal is not None:
            return PlainTextResponse(refusal, 403, headers=_HEADERS)
        faults = await asyncio.wrap_future(reloader.ask())
        text = "\n".join(faults) if faults else "reloaded"
        return PlainTextResponse(f"{text}\n", 500 if faults else 200, headers=_HEADERS)

    pages: Renderings[Asked, bytes] = Renderings(lambda wanted: rendered(sidecar.registry, wanted))
    app = Starlette(
        routes=[
            Route("/", status),
            Route("/metrics", _metrics(pages)),
            Route("/api/v1/pools", pools),
            Route("/api/v1/holders", holders),
            Route("/-/healthy", healthy),
            Route("/-/ready", ready),
            Route("/-/reload", reload, methods=["POST"]),
        ]
    )
    # A redirect to the path without its last slash would be made from the Host header, which anybody may write.
    app.router.redirect_slashes = False
    app.state.close = pages.close
    return app


def _metrics(pages: Renderings[Asked, bytes]) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers /metrics, with pages that all who wait share."""

    async def metrics(request: Request) -> Response:
        wanted = asked(request.headers, names=request.query_params.getlist("name[]"))
        # Everybody's page must not wait behind thousands of others, whose clients may be gone long since.
        if wanted.is_own and pages.waiting(lambda each: each.is_own) >= MOST_WAITING:
            text = "too many different pages are asked for at once; come again later\n"
            return PlainTextResponse(text, 429, headers={**_HEADERS, "Retry-After": "1"})
        return Response(await pages.get(wanted), headers={**_HEADERS, **wanted.headers})

    return metrics


def _may_reload(sidecar: Sidecar, request: Request) -> str | None:
    """Return why this request may not have the configuration read again; None when it may."""
    if not sidecar.config.web.reload:
        return "reloading by HTTP is off; set web.reload: true in the configuration, or send SIGHUP to the process\n"
    # A browser says where a request comes from; another site must not use the login that it remembers.
    if "origin" in request.headers or request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return "not from a page in a browser; use curl -X POST\n"
    return None


def _json(make: Callable[[], api.Document]) -> Response:
    """Answer with a document, or say as JSON, too, that it could not be made."""
    try:
        text, status = json.dumps(make(), allow_nan=False), 200
    except Exception:
        contain("api")
        text, status = json.dumps({"error": "this document could not be made; the log says why"}), 500
    return Response(text + "\n", status, headers=_HEADERS, media_type="application/json")
