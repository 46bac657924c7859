"""One sample: ask, swap the snapshot, remember how it went."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from exporter.config import ServerConfig
from exporter.records import SAMPLE_ERRORS, SampleErrorReason, ServerSnapshot, ServerView
from exporter.servers import FAMILIES, Line, SampleError

FRESH_INTERVALS = 3
"""For how many intervals a snapshot is shown. Then it is withheld: an old truth on a page reads like a new one."""

_SLACK = 1.0  # seconds that a sample may take beyond its timeout before it is said to hang

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _State:
    """How the last samples went; replaced as a whole."""

    up: bool = False
    reason: SampleErrorReason | None = None
    message: str = "not sampled yet"
    snapshot: ServerSnapshot | None = None
    earlier: ServerSnapshot | None = None
    sample_seconds: float | None = None
    hidden: int | None = None
    errors: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(SAMPLE_ERRORS, 0))


class Sampler:
    """Samples one server on one connection, and keeps the last good snapshot.

    ``ids`` gives the ids of the sessions that the pools claim on this server.
    """

    def __init__(
        self, server: ServerConfig, *, ids: Callable[[], frozenset[int]], clock: Callable[[], float] = time.time
    ) -> None:
        self.server = server
        self._ids = ids
        self._clock = clock
        self._line = Line(FAMILIES[server.dialect], server.url, timeout=server.timeout)
        self._one_at_a_time = threading.Lock()
        self._began: float | None = None
        self._state = _State()

    def sample(self) -> None:
        """Ask the server once; raises nothing, and does nothing while another thread is at it."""
        if not self._one_at_a_time.acquire(blocking=False):
            return
        try:
            self._began = self._clock()
            self._sample()
        finally:
            self._began = None
            self._one_at_a_time.release()

    def view(self) -> ServerView:
        """Tell what is known now; asks nobody and never waits."""
        now, state, began = self._clock(), self._state, self._began
        if began is not None and now - began > self.server.timeout + _SLACK:
            # A name server that is silent holds up even the start of a connection, and nothing can end that wait.
            state = replace(state, up=False, reason="timeout", message=f"no answer for {now - began:.0f} s")
        oldest = now - FRESH_INTERVALS * self.server.interval
        snapshot = state.snapshot
        return ServerView(
            name=self.server.name,
            up=state.up,
            reason=state.reason,
            message=state.message,
            snapshot=_since(oldest, snapshot),
            sample_seconds=state.sample_seconds,
            sampled_at=None if snapshot is None else snapshot.ended,
            errors=state.errors,
            earlier=_since(oldest, state.earlier),
            hidden=state.hidden,
            interval=self.server.interval,
        )

    def close(self) -> None:
        """Hang up, once the sample that may be under way is done."""
        with self._one_at_a_time:
            self._line.close()

    def _sample(self) -> None:
        before, began = self._state, time.perf_counter()
        try:
            # The ids first: a connection that is opened meanwhile must not be missed on the server.
            asked = self._ids()
            snapshot = self._line.ask(asked, stale_after=self.server.stale_after, clock=self._clock)
        except Exception as error:
            self._state = _failed(before, error, seconds=time.perf_counter() - began)
            self._say_down(before, error)
        else:
            seconds = time.perf_counter() - began
            self._state = _State(
                up=True,
                message="",
                snapshot=snapshot,
                earlier=before.snapshot,
                sample_seconds=seconds,
                hidden=snapshot.hidden,
                errors=before.errors,
            )
            if before.reason is not None:
                _log.info("server %s is up again", self.server.name)

    def _say_down(self, before: _State, error: Exception) -> None:
        """Log why the server is down when that has changed; one that stays down is not news."""
        now = self._state
        if now.reason == before.reason:
            return
        # What no server and no driver has said is a fault of ours, or of the URL's options.
        ours = error if now.reason == "other" else None
        _log.warning("server %s is down (%s): %s", self.server.name, now.reason, now.message, exc_info=ours)


def _since(oldest: float, snapshot: ServerSnapshot | None) -> ServerSnapshot | None:
    return snapshot if snapshot is not None and snapshot.ended >= oldest else None


def _failed(before: _State, error: Exception, *, seconds: float) -> _State:
    reason: SampleErrorReason = error.reason if isinstance(error, SampleError) else "other"
    message = str(error) if isinstance(error, SampleError) else f"{type(error).__name__}: {error}"
    errors = {**before.errors, reason: before.errors[reason] + 1}
    hidden = error.hidden if isinstance(error, SampleError) else None
    return replace(
        before, up=False, reason=reason, message=message, sample_seconds=seconds, hidden=hidden, errors=errors
    )
