"""An application of the page behind a real uvicorn, and a client for it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import httpx
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send


@contextlib.contextmanager
def served(app: ASGIApp, *, port: int = 0) -> Iterator[httpx.Client]:
    """Serve with uvicorn, on a free port unless told which, and give a client for it."""
    listener = socket.create_server(("127.0.0.1", port))
    options = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(options)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def noting(app: ASGIApp, arrived: list[str]) -> ASGIApp:
    """Return the application, which notes the path of each request before it does anything."""

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        arrived.append(scope["path"])
        await app(scope, receive, send)

    return note
