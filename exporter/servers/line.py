"""One persistent connection to one server: dialled when needed, bounded in time, its failures put into our words."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from urllib.parse import quote, quote_plus

from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DBAPIError

from exporter.records import ServerSnapshot
from exporter.servers.family import Family, Outdated, SampleError
from exporter.servers.tls import named
from exporter.servers.wire import Wire
from exporter.tls import Tls


class Line:
    """Asks one server of one family, on one connection that is kept from sample to sample.

    Not for two threads at once. Nothing is opened before the first question.
    """

    def __init__(self, family: Family, url: URL, *, timeout: float, tls: Tls | None = None) -> None:
        self._family = family
        self._url = url
        self._timeout = timeout
        self._tls = tls
        self._wire = Wire()
        self._connection: Connection | None = None
        self.answer_seconds = 0.0
        """How long the last good answer took; dialling is not in it."""

    def ask(self, asked: AbstractSet[int], *, stale_after: float, clock: Callable[[], float]) -> ServerSnapshot:
        """Look at the server's sessions; raise SampleError when that fails or takes longer than the timeout."""
        with self._bounded():
            kept = self._connection is not None
            try:
                return self._answer(asked, stale_after, clock)
            except Outdated:
                pass
            except DBAPIError as error:
                if not (kept and error.connection_invalidated) or self._wire.was_cut:
                    raise
            # Ended since the last sample, by a restart or a kill, or opened before the account got its rights: that
            # tells nothing of the server as it is now.
            self._drop()
            return self._answer(asked, stale_after, clock)

    def close(self) -> None:
        """Hang up; a later question dials again."""
        self._drop()

    def concealed(self, said: str) -> str:
        """Return a text of a driver or of Python with the password crossed out, however it is written there."""
        secret = str(self._url.password or "")
        escaped = (quote(secret, safe=safe) for safe in ("", "/", " +"))  # the last is SQLAlchemy's
        for form in sorted({secret, repr(secret)[1:-1], quote_plus(secret), *escaped} - {""}, key=len, reverse=True):
            said = said.replace(form, "***")
        return said

    def _answer(self, asked: AbstractSet[int], stale_after: float, clock: Callable[[], float]) -> ServerSnapshot:
        connection = self._dialled()
        began = time.monotonic()
        snapshot = self._family.sample(connection, asked=asked, stale_after=stale_after, clock=clock)
        self.answer_seconds = time.monotonic() - began
        return snapshot

    @contextlib.contextmanager
    def _bounded(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            with self._wire.watched(self._timeout):
                yield
        except Exception as error:
            self._drop()
            if time.monotonic() - began >= self._timeout:
                raise SampleError("timeout", f"no answer within {self._timeout:g} s") from error
            raise self._told(error) from error
        if self._wire.was_cut:
            # Cut in the moment of the last answer: the answer is good, the connection is not.
            self._drop()

    def _dialled(self) -> Connection:
        if self._connection is None:
            # A new engine each time: SQLAlchemy asks for the version once an engine, and an upgrade changes it.
            engine = self._family.engine(self._url, timeout=self._timeout, wire=self._wire, tls=self._tls)
            self._connection = engine.connect()
            self._family.prepare(self._connection, timeout=self._timeout)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            # Not only closed: that would send a ROLLBACK and wait for a server that may be frozen.
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
        self._wire.close()

    def _told(self, error: Exception) -> SampleError:
        if isinstance(error, SampleError):
            return error
        if isinstance(error, DBAPIError):
            said = self._line(str(error.orig))
            return SampleError(self._family.reason(error), said if self._tls is None else named(said))
        return SampleError("other", self._line(f"{type(error).__name__}: {error}"))

    def _line(self, said: str) -> str:
        return " ".join(self.concealed(said).split())
