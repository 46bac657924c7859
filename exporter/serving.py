"""The server of the page: listens, answers, reads its configuration again when told, and ends when told."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import uvicorn

from exporter.config import Config, WebConfig
from exporter.reload import Reloader
from exporter.sidecar import Sidecar
from exporter.web import make_app
from exporter.web_guard import LARGEST_HEAD, Guard
from exporter.web_keeper import Keeper
from exporter.web_listener import Listener

GRACE_SECONDS = 2
"""How long an answer that is being given may still take after SIGTERM."""

_BACKLOG = 512
_KEEP_ALIVE_SECONDS = 75  # longer than Prometheus usually waits between two scrapes, so that it need not connect anew
_TICKS = 10  # a second
_LAST_SECONDS = 0.5  # for threads to end whose work is done

_log = logging.getLogger(__name__)


def serve(config: Config, *, file: Path, again: Callable[[], Config]) -> int:
    """Serve until SIGTERM or SIGINT; return 0 then, and 2 when it cannot.

    ``again`` loads the configuration anew from ``file``.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        keeper = Keeper(config.web.config_file)
        listener = _listen(config.web)
    except ValueError as error:
        return _cannot(f"{config.web.config_file}: {error}")
    except OSError as error:
        address = _address(config.web.host, config.web.port)
        return _cannot(
            f"cannot listen on {address} (web.listen): {error.strerror}; "
            "choose another address, or stop what listens there"
        )
    with listener:
        return _serve(config, listener, keeper, file=file, again=again)


class Server(uvicorn.Server):
    """uvicorn's server, which accepts by our rules, and does once a second what is to be done."""

    hung_up = False
    """Set by SIGHUP; the next tick sees to it, for a signal may come in the midst of anything."""

    def __init__(self, config: uvicorn.Config, listening: socket.socket, keeper: Keeper, reloader: Reloader) -> None:
        super().__init__(config)
        config.load()
        self._listener = Listener(listening, keeper, config=config, state=self.server_state)
        self._reloader = reloader

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002  it has its own
        """Begin to accept."""
        self._listener.start()
        self.servers = [cast("Any", self._listener)]
        self.started = True

    async def on_tick(self, counter: int) -> bool:
        """Do what is to be done; return True to end."""
        if self.hung_up:
            self.hung_up = False
            self._reloader.ask()
        if counter % _TICKS == 0:
            self._listener.sweep()
            self._reloader.look()
        return await super().on_tick(counter)


def make_server(
    sidecar: Sidecar, listening: socket.socket, keeper: Keeper, *, file: Path, again: Callable[[], Config]
) -> tuple[Server, Callable[[], None]]:
    """Return a server that is to be run, and what puts it away afterwards."""
    reloader = Reloader(sidecar, keeper, file=file, again=again)
    app = make_app(sidecar, reloader)
    guard = Guard(app, keeper)
    config = uvicorn.Config(
        guard,
        log_config=None,
        # What strangers send that is no HTTP must not fill the log.
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=LARGEST_HEAD,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )

    def close() -> None:
        reloader.close()
        guard.close()
        app.state.close()

    return Server(config, listening, keeper, reloader), close


def _serve(config: Config, listener: socket.socket, keeper: Keeper, *, file: Path, again: Callable[[], Config]) -> int:
    sidecar = Sidecar(config)
    server, close = make_server(sidecar, listener, keeper, file=file, again=again)
    with _ended_by_signals(server):
        sidecar.start()
        scheme = "http" if keeper.now.context is None else "https"
        _log.info("serving on %s://%s/", scheme, _address(*listener.getsockname()[:2]))
        server.run()
        close()
        if not sidecar.stop() or _is_busy():
            _leave()
    return 0


def _cannot(why: str) -> int:
    print(f"pool-exporter: {why}", file=sys.stderr)  # noqa: T201  it is for whoever typed the command, and no log line
    return 2


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
def _ended_by_signals(server: Server) -> Iterator[None]:
    """Let SIGTERM and SIGINT end the server, from before it runs, and SIGHUP reload.

    Once uvicorn has ended it raises the signal again, which would kill us before everything is put away.
    """

    def end(_number: int, _frame: Any) -> None:
        server.should_exit = True

    def reload(_number: int, _frame: Any) -> None:
        server.hung_up = True

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    before[signal.SIGHUP] = signal.signal(signal.SIGHUP, reload)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_busy() -> bool:
    """Tell whether a thread is still at work that Python would wait for: a page that is being made, say."""
    waited_for = [each for each in threading.enumerate() if not each.daemon and each is not threading.main_thread()]
    deadline = time.monotonic() + _LAST_SECONDS
    for thread in waited_for:
        thread.join(max(0.0, deadline - time.monotonic()))
    return any(thread.is_alive() for thread in waited_for)


def _leave() -> None:
    """End at once and cleanly: something waits for a silent server, and Python would wait for its thread."""
    _log.info("a sample or a page is still under way; leaving it")
    logging.shutdown()
    os._exit(0)
