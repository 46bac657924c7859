"""One persistent connection to one server: dialled when needed, bounded in time, its failures put into our words."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any
from urllib.parse import quote, quote_plus

from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import ArgumentError, DBAPIError

from exporter.folding import sentence
from exporter.records import ServerSnapshot
from exporter.servers.family import Family, Outdated, SampleError
from exporter.servers.sense import changing, too_much, understanding
from exporter.servers.tls import named
from exporter.servers.whereabouts import Whereabouts
from exporter.servers.wire import Wire
from exporter.tls import Tls

LONGEST_KEPT = 300.0
"""For how many seconds a connection is kept: one through a proxy may end at a server that nobody else gets any more."""

# Of the timeout, for one statement: so that a server can say that it was too slow, before we hang up.
_SERVERS_SHARE = 0.9


class Line:
    """Asks one server of one family, on one connection that is kept from sample to sample.

    Not for two threads at once. Nothing is opened before the first question. ``steadily`` tells how much time passed.
    """

    def __init__(
        self,
        family: Family,
        url: URL,
        *,
        timeout: float,
        tls: Tls | None = None,
        steadily: Callable[[], float] = time.monotonic,
    ) -> None:
        self._family = family
        self._url = url
        self._timeout = timeout
        self._tls = tls
        self._steadily = steadily
        self._whereabouts = Whereabouts(url, timeout=timeout, steadily=steadily)
        self._memory: dict[str, Any] = {}
        self._wire = Wire()
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._dialled_at = 0.0
        self._dialled_now = False
        self._asked_at: float | None = None
        self.answer_seconds = 0.0
        """How long the last good answer took; dialling is not in it."""

    def ask(self, asked: AbstractSet[int], *, stale_after: float, clock: Callable[[], float]) -> ServerSnapshot:
        """Look at the server's sessions; raise SampleError when that fails or takes longer than the timeout."""
        with self._bounded():
            if self._whereabouts.moved(self._wire.peer):
                self._drop()
            kept = self._connection is not None
            if kept and self._steadily() - self._dialled_at >= LONGEST_KEPT:
                renewed = self._renewed(asked, stale_after, clock)
                if renewed is not None:
                    return renewed
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
        # A password from the environment may be no UTF-8: Python then has half characters in it.
        odd = "surrogateescape"
        escaped = {quote(secret, safe=safe, errors=odd) for safe in ("", "/", " +")}  # the last is SQLAlchemy's
        forms = {secret, repr(secret)[1:-1], quote_plus(secret, errors=odd), *escaped} - {""}
        for form in sorted(forms, key=len, reverse=True):
            said = said.replace(form, "***")
        return said

    def _renewed(
        self, asked: AbstractSet[int], stale_after: float, clock: Callable[[], float]
    ) -> ServerSnapshot | None:
        """Ask on a new connection; return None where that fails: a server that is full is still seen on the old one."""
        wire, connection = self._wire, self._connection
        self._wire, self._connection, self._dialled_at = Wire(), None, self._steadily()
        try:
            with self._wire.watched(self._timeout / 2):
                answer = self._answer(asked, stale_after, clock)
        except Exception:  # the old one tells what is wrong, if it is more than that
            self._drop()
            self._wire, self._connection = wire, connection
            return None
        _hang_up(connection, wire)
        return answer

    def _answer(self, asked: AbstractSet[int], stale_after: float, clock: Callable[[], float]) -> ServerSnapshot:
        connection = self._dialled()
        self._asked_at = began = time.monotonic()
        with understanding():
            snapshot = self._family.sample(connection, asked=asked, stale_after=stale_after, clock=clock)
        self.answer_seconds = time.monotonic() - began
        return snapshot

    @contextlib.contextmanager
    def _bounded(self) -> Iterator[None]:
        began, self._asked_at, self._dialled_now = math.inf, None, False
        try:
            if self._connection is None:
                # At the first time that loads the driver, which takes longer than a short timeout: no server's fault.
                self._engine = self._new_engine()
            began = time.monotonic()
            with self._wire.watched(self._timeout):
                yield
        except Exception as error:
            ended = time.monotonic()
            self._drop()
            told = self._told(error, ended=ended, late=ended - began >= self._timeout)
            if told is error:
                raise  # with itself as its cause, it would keep alive what the server has sent
            raise told from error
        if self._wire.was_cut:
            # Cut in the moment of the last answer: the answer is good, the connection is not.
            self._drop()

    def _dialled(self) -> Connection:
        if self._connection is None:
            engine, self._engine = self._engine or self._new_engine(), None
            with understanding():
                self._connection = engine.connect()
                self._connection.info["memory"] = self._memory
                self._asked_at = time.monotonic()
                self._family.prepare(self._connection, timeout=round(self._timeout * _SERVERS_SHARE, 6))
            self._dialled_at, self._dialled_now = self._steadily(), True
        return self._connection

    def _new_engine(self) -> Engine:
        # A new one each time: SQLAlchemy asks for the version once an engine, and an upgrade changes it.
        try:
            return self._family.engine(self._url, timeout=self._timeout, wire=self._wire, tls=self._tls)
        except (ValueError, ArgumentError) as error:
            raise SampleError("other", f"the url makes no engine ({error}); mend its options, behind the ?") from error

    def _drop(self) -> None:
        _hang_up(self._connection, self._wire)
        self._connection = None

    def _told(self, error: Exception, *, ended: float, late: bool) -> SampleError:
        busy = 0.0 if self._asked_at is None else ended - self._asked_at
        if self._wire.was_flooded:
            return too_much()
        if late:
            # On a kept connection the server may be frozen; one that has just answered to a login is at work.
            late_words = f"no answer within {self._timeout:g} s"
            return SampleError("timeout", late_words, busy=busy if self._dialled_now else 0.0)
        if isinstance(error, SampleError):
            return error
        if isinstance(error, Outdated):
            return changing()
        if isinstance(error, DBAPIError):
            said, reason = self._line(str(error.orig)), self._family.reason(error)
            said = said if self._tls is None else named(said)
            return SampleError(reason, said, busy=busy if reason == "timeout" else 0.0)
        return SampleError.wrapping(error, self._line(f"{type(error).__name__}: {error}"))

    def _line(self, said: str) -> str:
        return sentence(self.concealed(said))


def _hang_up(connection: Connection | None, wire: Wire) -> None:
    if connection is not None:
        # Not only closed: that would send a ROLLBACK and wait for a server that may be frozen.
        connection.invalidate()
        connection.close()
    wire.close()
