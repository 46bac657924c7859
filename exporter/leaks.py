"""Overdue checkouts: each counted once, said once when it is found and once more when it comes back after all."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any

from exporter.callsite import CallSite, described
from exporter.tally import Late, Usage
from exporter.who import UNKNOWN, named, thread_names

_log = logging.getLogger("exporter.leaks")
_HOLDERS = 20
_SILENCE = 60.0


class TimeoutLog:
    """Notes who holds a pool's connections when somebody waited for one in vain: at most once a minute a pool."""

    def __init__(self, name: str, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.name = name
        self._clock = clock
        self._next = float("-inf")
        self._noting = threading.Lock()
        self._notes: deque[tuple[float, str]] = deque(maxlen=100)

    def note(self, usages: Iterable[Usage], waited: float) -> None:
        """Keep one line to be said, unless one was noted lately or is being noted. Waits for nobody.

        Called by the thread that has waited in vain: who holds the connections is known only then.
        """
        now = self._clock()
        if now < self._next or not self._noting.acquire(blocking=False):
            return
        try:
            self._next = now + _SILENCE
            self._notes.append((waited, holders(usages, now)))
        finally:
            self._noting.release()

    def speak(self) -> None:
        """Log what was noted. To be called by whoever reads the pool, without any lock held, as ``Leaks.speak``."""
        while self._notes:
            try:
                waited, out = self._notes.popleft()
            except IndexError:  # another thread was faster
                return
            _log.warning(
                "pool %s: a wait of %.1f s for a connection ended in a timeout; %s. Whoever holds them for long keeps "
                "the others waiting; this is said at most once a minute",
                self.name, waited, out or "no connection is known to be out",
            )  # fmt: skip


class Leaks:
    """What is overdue in one pool. Looked after by whoever reads the pool, never by the application's threads."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._most = 0
        self._notes: deque[tuple[str, tuple[Any, ...]]] = deque(maxlen=1000)

    def speak(self) -> None:
        """Log what was found. To be called without any lock held.

        A log handler is the application's: it may wait for a lock whose holder is waiting for ours.
        """
        while self._notes:
            try:
                text, values = self._notes.popleft()
            except IndexError:  # another thread was faster
                return
            _log.warning(text, *values)

    def _note(self, text: str, *values: Any) -> None:
        self._notes.append((text, values))

    def count(self, *, ended: int, now: int) -> int:
        """Return how many checkouts ever became overdue: those that ended so, and those that are so now.

        One that ends while they are read is in neither; it was counted before.
        """
        self._most = max(self._most, ended + now)
        return self._most

    def returned(self, late: Iterable[Late], *, leak_after: float) -> None:
        """Say which overdue checkouts ended since the last look, and how. To be called before ``look``."""
        late = list(late)
        threads = thread_names() if late else {}
        for tally, out_since, held, site, holder, how in late:
            if tally.overdue_out == out_since:
                self._note(
                    "pool %s: the connection taken at %s by %s %s after %.1f s",
                    self.name, place(site), named(holder, threads), how, held,
                )  # fmt: skip
            else:
                self._note(
                    "pool %s: a connection taken at %s by %s was out for %.1f s, longer than leak_after=%g s, "
                    "before it %s",
                    self.name, place(site), named(holder, threads), held, leak_after, how,
                )  # fmt: skip

    def look(self, usages: Iterable[Usage], *, now: float, leak_after: float) -> Counter[str]:
        """Find what is overdue now; return how many by call site."""
        sites: Counter[str] = Counter()
        for usage in usages:
            out_since = usage.out_since
            if not out_since or now - out_since <= leak_after:
                continue
            site = place(usage.site)
            sites[site] += 1
            if usage.tally.overdue_out != out_since:
                usage.tally.overdue_out = out_since
                self._note(
                    "pool %s: a connection taken at %s by %s has been out for %.1f s, longer than leak_after=%g s",
                    self.name, site, named(usage.holder), now - out_since, leak_after,
                )  # fmt: skip
        return sites


def place(site: CallSite | None) -> str:
    """Return where a connection was taken, in words."""
    return UNKNOWN if site is None else described(site)


def holders(usages: Iterable[Usage], now: float) -> str:
    """Return who holds connections, the longest first and at most 20 of them, in one line for a log."""
    outs = [(now - out, usage) for usage, out in ((usage, usage.out_since) for usage in usages) if out]
    outs.sort(key=lambda pair: pair[0], reverse=True)
    threads = thread_names()
    words = [f"{place(usage.site)} by {named(usage.holder, threads)} for {age:.1f} s" for age, usage in outs[:_HOLDERS]]
    rest = len(outs) - len(words)
    return f"{len(outs)} out: {'; '.join(words)}{f'; and {rest} more' if rest else ''}" if outs else ""
