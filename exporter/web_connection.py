"""One client's connection to the page: uvicorn's own, which ends when it is too slow."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from exporter.web_guard import HEADERS, LET_IN, LINE, WELCOME

REQUEST_SECONDS = 10.0
"""How long a request may take to arrive, counted from its first byte, and the first one from the connection."""

READ_SECONDS = 20.0
"""How long a client may read nothing of what it is sent, once that has filled the buffers."""

ANSWER_SECONDS = 120.0
"""How long it may take to read an answer that fills the buffers, however steadily."""

CLOSE_SECONDS = 5.0
"""How long a connection that is to end may take to do so, counted from when its client has last read something."""

_BUFFERED = 64 * 1024  # bytes; TLS would take eight times that
_NO_HTTP_HEADERS = {**HEADERS, "Content-Type": "text/plain; charset=utf-8", "Connection": "close"}
_ENDING = (h11.CLOSED, h11.MUST_CLOSE, h11.ERROR)


class Connection(H11Protocol):
    """A connection that somebody looks at once in a while, by `sweep`.

    ``admits`` is asked once it is there, after its handshake; ``on_end`` is told when it is gone; ``headers`` gives
    those that the web configuration sets.
    """

    def __init__(
        self,
        config: Config,
        state: ServerState,
        *,
        admits: Callable[[asyncio.BaseTransport], bool],
        on_end: Callable[[], None],
        headers: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        super().__init__(config, state, {LINE: self}, asyncio.get_running_loop())
        self._admits = admits
        self._on_end = on_end
        self._headers = headers
        self._arriving: float | None = self.loop.time()
        self._unread: float | None = None
        self._ending: float | None = None
        self._sending: float | None = None
        self._left = 0
        self._is_half_closed = False
        self._is_admitted = False
        self.welcome = False

    @property
    def is_answering(self) -> bool:
        """Tell whether a request is being answered just now."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    @property
    def is_let_in(self) -> bool:
        """Tell whether the request that is being answered has passed the lock."""
        return self.is_answering and bool(_state(self.scope).get(LET_IN))

    @property
    def is_unread(self) -> bool:
        """Tell whether the client leaves unread what it is sent."""
        return self._unread is not None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, unless the client shows no certificate that is let in."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=_BUFFERED)
        with contextlib.suppress(Exception):  # whatever a stranger's certificate holds: it lets nobody in
            self._is_admitted = self._admits(transport)
        if not self._is_admitted:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that it is gone."""
        super().connection_lost(exc)
        self._on_end()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request; what came with the end of the handshake comes even after an abort."""
        if not self._is_admitted:
            return
        super().data_received(data)
        self._look()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Go on answering a client that says no more, but listens; with TLS there is no such thing."""
        self._is_half_closed = self.is_answering and self.scheme == "http"
        return self._is_half_closed

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, with the headers of every answer; what is being answered already breaks off."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers = [(name.lower(), value) for name, value in {**_NO_HTTP_HEADERS, **self._headers()}.items()]
            answer = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
            # An answer to HEAD has no body, and h11 would raise.
            text = b"" if self.is_answering and self.scope["method"] == "HEAD" else msg.encode()
            for event in (answer, h11.Data(data=text), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None:
            self.cycle.disconnected = True  # whatever is still made for it goes nowhere
        self.transport.close()

    def on_response_complete(self) -> None:
        """Go on to the next request."""
        self.welcome = self.welcome or bool(_state(self.scope).get(WELCOME))
        self._sending = None if self._unread is None else self.loop.time()
        super().on_response_complete()
        self._look()
        if self._is_half_closed and not self.is_answering:
            self.transport.close()

    def pause_writing(self) -> None:
        """Remember since when nothing more fits into the buffers."""
        super().pause_writing()
        self._unread = self.loop.time()
        self._left = self.transport.get_write_buffer_size()
        if self._sending is None:
            self._sending = self._unread

    def resume_writing(self) -> None:
        """Forget it: the client has read."""
        super().resume_writing()
        self._unread = None
        if not self.is_answering:
            self._sending = None

    def sweep(self) -> None:
        """End it when it is too slow."""
        now = self.loop.time()
        has_read = self._has_read()
        if self.conn.our_state in _ENDING and (self._ending is None or has_read):
            self._ending = now
        if self._unread is not None and has_read:
            self._unread = now
        slow = (
            (self._arriving, REQUEST_SECONDS),
            (self._unread, READ_SECONDS),
            (self._sending, ANSWER_SECONDS),
            (self._ending, CLOSE_SECONDS),
        )
        if any(since is not None and now - since > seconds for since, seconds in slow):
            self.end()

    def end(self) -> None:
        """End it at once, whatever is still to be sent."""
        if self.transport is not None:
            self.transport.abort()

    def break_off(self) -> None:
        """End it at once, and say nothing of an answer that is not complete."""
        if self.cycle is not None:
            self.cycle.disconnected = True
        self.end()

    def _has_read(self) -> bool:
        """Tell whether the buffers have become emptier since this was asked last."""
        before, self._left = self._left, self.transport.get_write_buffer_size()
        return self._left < before

    def _look(self) -> None:
        theirs = self.conn.their_state
        arriving = theirs is h11.SEND_BODY or (theirs is h11.IDLE and bool(self.conn.trailing_data[0]))
        if not arriving:
            self._arriving = None
        elif self._arriving is None:
            self._arriving = self.loop.time()


def _state(scope: Any) -> dict[str, Any]:
    found: dict[str, Any] = scope.get("state", {})
    return found
