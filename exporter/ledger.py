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


class _Entry(weakref.ref[Usage]):
    """A usage, held weakly, with its tally, held strongly."""

    __slots__ = ("tally",)
    tally: Tally


class Ledger:
    """All tallies of one pool. A tally is in exactly one place, the list of the living or the totals of the ended.

    Tallies are held strongly, usages weakly. A tally whose usage is gone has no writer any more; only then is it added
    to the totals, and only by whoever holds the lock. So no number is ever counted twice, and none is lost.
    """

    def __init__(self) -> None:
        self._arrivals: deque[_Entry] = deque()
        self._notes: deque[tuple[str, Any]] = deque()
        self._living: list[_Entry] = []
        self._ended = Totals()
        self._lock = threading.Lock()

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
        """Return the sums over all connections there ever were, and how those that live now stand."""
        with self._lock:
            usages = self._fold()
            totals = self._ended.copy()
            for entry in self._living:
                totals.add(entry.tally, ended=False)
            return totals, usages

    def peek(self) -> list[Usage]:
        """Return how the living stand without waiting for anyone; one that arrives right now may be missing."""
        try:
            entries = [*self._living, *self._arrivals]
        except RuntimeError:  # an arrival while we copied
            entries = list(self._living)
        return [usage for usage in (entry() for entry in entries) if usage is not None]

    def _fold_unless_busy(self) -> None:
        # Never blocking: the collector may run one of our listeners inside another, in this very thread.
        if self._lock.acquire(blocking=False):
            try:
                self._fold()
            finally:
                self._lock.release()

    def _fold(self) -> list[Usage]:
        """Move the tallies of connections that are gone to the totals; return the usages of the others."""
        # More arrive while we count: take as many as there are now, and leave later ones to the next time.
        for _ in range(len(self._notes)):
            self._ended.note(*self._notes.popleft())
        for _ in range(len(self._arrivals)):
            self._living.append(self._arrivals.popleft())
        living, usages = [], []
        for entry in self._living:
            usage = entry()
            if usage is None:
                self._ended.add(entry.tally, ended=True)
            else:
                living.append(entry)
                usages.append(usage)
        self._living = living
        return usages
