"""One sample: ask, swap the snapshot, remember how it went."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from exporter.config import ServerConfig
from exporter.folding import sentence
from exporter.labels import SAMPLE_ERRORS, SampleErrorReason
from exporter.news import Advised, News
from exporter.pace import BUSY_SHARE, Pace, steady
from exporter.readable import printable
from exporter.records import ServerSnapshot, ServerView
from exporter.servers import Line, SampleError, family
from exporter.servers.bounds import CROWDED, bounded
from exporter.servers.sense import checked

FRESH_INTERVALS = 3
"""For how many intervals a snapshot is shown. Then it is withheld: an old truth on a page reads like a new one."""

_REPORTED_WITHIN = 12.0  # seconds; what is older than a sample before the last is no report of a live process
_APART = 1.0  # seconds; samples that follow one another faster are not all kept, however short the interval

_SLACK = 1.0  # seconds that a sample may take beyond its timeout before it is said to hang

_LONGEST_PIECE = 2000  # characters of a traceback's frame, or of an error in it

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Kept:
    """A good snapshot, and when it was taken by a clock that nobody sets."""

    snapshot: ServerSnapshot
    taken: float


@dataclass(frozen=True)
class _State:
    """How the last samples went; replaced as a whole."""

    pace: Pace
    up: bool = False
    reason: SampleErrorReason | None = None
    message: str = "not sampled yet"
    kept: _Kept | None = None
    earlier: tuple[_Kept, ...] = ()
    sample_seconds: float | None = None
    hidden: int | None = None
    advised: Advised = field(default_factory=Advised)
    crowded: bool = False
    errors: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(SAMPLE_ERRORS, 0))
    news: News = field(default_factory=News)


class Sampler:
    """Samples one server on one connection, and keeps the last good snapshot.

    ``ids`` gives the ids of the sessions that the pools claim on this server. ``clock`` tells the time of day, which
    may be set at any moment, and dates the snapshots; ``steadily`` tells how much time has passed. ``errors`` are those
    of one before it, so that no count falls.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        ids: Callable[[], frozenset[int]],
        clock: Callable[[], float] = time.time,
        steadily: Callable[[], float] = steady,
        errors: Mapping[str, int] | None = None,
    ) -> None:
        self.server = server
        self._ids = ids
        self._clock = clock
        self._steadily = steadily
        self._line = Line(family(server.dialect), server.url, timeout=server.timeout, tls=server.tls, steadily=steadily)
        self._one_at_a_time = threading.Lock()
        self._began: float | None = None
        self._closed = False
        self._state = _State(Pace(server.interval, server.interval))
        if errors is not None:
            self._state = replace(self._state, errors=errors)

    @property
    def pace(self) -> Pace:
        """Return how often this server is to be sampled, after what the last sample has shown."""
        return self._state.pace

    def sample(self) -> None:
        """Ask the server once; raises nothing, and does nothing while another thread is at it, or once it is closed."""
        if not self._one_at_a_time.acquire(blocking=False):
            return
        try:
            if self._closed:
                return
            self._began = self._steadily()
            self._sample()
        finally:
            self._began = None
            self._one_at_a_time.release()

    def view(self) -> ServerView:
        """Tell what is known now; asks nobody and never waits."""
        now, state, began = self._steadily(), self._state, self._began
        if began is not None and now - began > self.server.timeout + _SLACK:
            # A name server that is silent holds up even the start of a connection, and nothing can end that wait.
            state = replace(state, up=False, reason="timeout", message=f"no answer for {now - began:.0f} s")
        oldest = now - FRESH_INTERVALS * state.pace.interval
        return ServerView(
            name=self.server.name,
            up=state.up,
            reason=state.reason,
            message=state.message,
            snapshot=_since(oldest, state.kept),
            sample_seconds=state.sample_seconds,
            sampled_at=None if state.kept is None else state.kept.snapshot.ended,
            errors=state.errors,
            earlier=tuple(kept.snapshot for kept in state.earlier if kept.taken >= oldest),
            hidden=state.hidden,
            interval=state.pace.interval,
        )

    def close(self) -> None:
        """Hang up for good, once the sample that may be under way is done."""
        with self._one_at_a_time:
            self._closed = True
            self._line.close()

    def _sample(self) -> None:
        began = self._steadily()
        try:
            # The ids first: a connection that is opened meanwhile must not be missed on the server.
            asked = self._ids()
            answer = self._line.ask(asked, stale_after=self.server.stale_after, clock=self._clock)
            snapshot = bounded(checked(answer))
            self._note(snapshot, self._steadily() - began)
        except Exception as error:
            self._note_error(error, self._steadily() - began)

    def _note(self, snapshot: ServerSnapshot, seconds: float) -> None:
        before, now = self._state, self._steadily()
        news, words = before.news.up()
        advised = before.advised.then(snapshot.advice, now)
        self._state = _State(
            pace=before.pace.succeeded(self._line.answer_seconds),
            up=True,
            message="",
            kept=_Kept(snapshot, now),
            earlier=_earlier(before),
            sample_seconds=seconds,
            hidden=snapshot.hidden,
            advised=advised or before.advised,
            crowded=snapshot.crowded or before.crowded,
            errors=before.errors,
            news=news,
        )
        if words is not None:
            _log.info("server %s %s", self.server.name, words)
        if advised is not None:
            _log.warning("server %s: %s", self.server.name, snapshot.advice)
        if self._state.crowded and not before.crowded:
            _log.warning("server %s %s", self.server.name, CROWDED)
        self._say_pace(before.pace.interval, took=self._line.answer_seconds)

    def _note_error(self, error: Exception, seconds: float) -> None:
        try:
            told = _told(error)
            said, trail = self._line.concealed(str(told)), self._trail(error) if told.unforeseen else ""
            self._note_failure(told, sentence(said), trail, seconds)
        except Exception as worse:
            kinds = f"{type(error).__name__}, {type(worse).__name__}"
            told = SampleError("other", f"it failed, and so did telling why ({kinds}); please report it")
            self._note_failure(told, sentence(str(told)), "", seconds)

    def _note_failure(self, told: SampleError, said: str, trail: str, seconds: float) -> None:
        before = self._state
        news, words = before.news.down(told.reason)
        self._state = replace(
            before,
            pace=before.pace.failed(told.reason, busy=told.busy),
            up=False,
            reason=told.reason,
            message=said,
            sample_seconds=seconds,
            hidden=told.hidden,
            errors={**before.errors, told.reason: before.errors[told.reason] + 1},
            news=news,
        )
        if words is not None:
            _log.warning("server %s %s (%s): %s", self.server.name, words, told.reason, said + trail)
        self._say_pace(before.pace.interval, took=told.busy)

    def _trail(self, error: Exception) -> str:
        """Return the traceback of what is a fault of ours, with no more of anybody's words than a log can take."""
        pieces = (self._line.concealed(piece)[:_LONGEST_PIECE] for piece in traceback.format_exception(error))
        return "".join(f"\n{printable(line)}" for piece in pieces for line in piece.splitlines())

    def _say_pace(self, before: float, *, took: float) -> None:
        name, now = self.server.name, self._state.pace.interval
        if now > before:
            slow = f"took {took:.3g} s, more than a {BUSY_SHARE}th of the {before:g} s between samples"
            _log.warning("server %s: a sample %s; sampling every %g s now", name, slow, now)
        elif now < before:
            _log.info("server %s: samples are fast again; sampling every %g s now", name, now)


def _earlier(state: _State) -> tuple[_Kept, ...]:
    """Return the samples to keep besides a new one, the newest first: at least one, and any that a report may need."""
    if state.kept is None:
        return ()
    if state.earlier and state.kept.taken - state.earlier[0].taken < _APART:
        return state.earlier
    last = state.kept.taken
    return (state.kept, *(kept for kept in state.earlier if last - kept.taken <= _REPORTED_WITHIN))


def _since(oldest: float, kept: _Kept | None) -> ServerSnapshot | None:
    return kept.snapshot if kept is not None and kept.taken >= oldest else None


def _told(error: Exception) -> SampleError:
    return error if isinstance(error, SampleError) else SampleError.wrapping(error, f"{type(error).__name__}: {error}")
