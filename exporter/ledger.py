"""The ledger: all tallies of one pool, those of living connections apart from the totals of those that ended."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import Any

from exporter.tally import Tally, Usage
from exporter.totals import Totals

_FOLD_ABOVE = 256
"""How much may wait to be added up before an application's thread does it: nobody may be scraping, and NullPool opens
a connection for every checkout."""

_PATIENCE = 1.0
"""How many seconds a reader waits for whoever is adding up."""


class _Entry(weakref.ref[Usage]):
    """A usage, held weakly, with its tally, held strongly."""

    __slots__ = ("tally",)
    tally: Tally


class Ledger:
    """All tallies of one pool. A tally is in exactly one place, the list of the living or the totals of the ended.

    Tallies are held strongly, usages weakly. A tally whose usage is gone has no writer any more; only then is it added
    to the totals, and only by whoever holds the lock. So no number is ever counted twice, and none is lost.

    The application's threads add up too, and a signal handler of theirs may raise at any line of it. So what was added
    up takes the old one's place in one step, and the lock, which tells its owner, is let go by whoever has it.
    """

    def __init__(self) -> None:
        self._arrivals: deque[_Entry] = deque()
        self._notes: deque[tuple[str, Any]] = deque()
        self._noted: list[tuple[str, Any]] = []
        self._living: list[_Entry] = []
        self._ended = Totals()
        self._lock: Any = threading.RLock()

    def enter(self, usage: Usage) -> None:
        """Take in a new connection. Called by the application's threads: appends, and never waits."""
        entry = _Entry(usage)
        entry.tally = usage.tally
        self._arrivals.append(entry)
        if len(self._arrivals) > _FOLD_ABOVE:
            self._fold_unless_busy()

    def note(self, what: str, detail: Any = None) -> None:
        """Take in something that no connection's tally counts. Never waits either."""
        self._notes.append((what, detail))
        if len(self._notes) > _FOLD_ABOVE:
            self._fold_unless_busy()

    def read(self) -> tuple[Totals, list[Usage]]:
        """Return the sums over all connections there ever were, and how those that live now stand.

        Waits for at most a second; what arrived since somebody last added up is missing then.
        """
        try:
            if self._lock.acquire(timeout=_PATIENCE):
                self._fold()
        finally:
            try:  # noqa: SIM105  what suppresses may be struck as well
                self._lock.release()
            except RuntimeError:  # it was not acquired
                pass
        ended, living = self._ended, self._living  # which fit each other, and are replaced rather than changed
        totals = ended.copy()
        for entry in living:
            totals.add(entry.tally, ended=False)
        return totals, [usage for usage in (entry() for entry in living) if usage is not None]

    def peek(self) -> list[Usage]:
        """Return how the living stand without waiting for anyone; one that arrives right now may be missing."""
        try:
            entries = [*self._living, *self._arrivals]
        except RuntimeError:  # an arrival while we copied
            entries = list(self._living)
        return [usage for usage in (entry() for entry in entries) if usage is not None]

    def _fold_unless_busy(self) -> None:
        # Never blocking: the collector may run one of our listeners inside another, in this very thread.
        if self._lock._is_owned():  # noqa: SLF001  as threading.Condition asks
            return
        try:
            if self._lock.acquire(blocking=False):
                self._fold()
        finally:
            # Not "if it was acquired": an exception may come before that is noted, and nobody would ever fold again.
            try:  # noqa: SIM105  as above
                self._lock.release()
            except RuntimeError:
                pass

    def _fold(self) -> None:
        """Move the tallies of connections that are gone to the totals."""
        # More arrive while we count: take as many as there are now, and leave later ones to the next time.
        for _ in range(len(self._notes)):
            self._noted.append(self._notes.popleft())
        for _ in range(len(self._arrivals)):
            self._living.append(self._arrivals.popleft())
        ended = self._ended.copy()
        for what, detail in self._noted:
            ended.note(what, detail)
        living = []
        for entry in self._living:
            if entry() is None:
                ended.add(entry.tally, ended=True)
            else:
                living.append(entry)
        self._ended, self._living, self._noted = ended, living, []
