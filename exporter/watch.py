"""The watch: which pools of this process are watched, where they are shown, and what becomes of those that are gone."""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from prometheus_client import REGISTRY
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

from exporter.collectors import Content
from exporter.contained import contain, contained_errors, start_from_zero
from exporter.farewell import Farewell
from exporter.metrics.contained import CONTAINED
from exporter.metrics.drift import DRIFT, drifts
from exporter.metrics.pool import POOL
from exporter.pool import PoolMonitor
from exporter.publish import Publisher
from exporter.records import PoolSnapshot, ProcessSnapshot
from exporter.roll import Page, Roll
from exporter.wish import Wish, default_leak_after

DIRECTORY_VARIABLE = "POOL_EXPORTER_DIR"
_MARK = "pool_exporter_watch"
_FEW = 10  # pools that are read within a fork, which waits for that: a millisecond for each on a busy machine

_log = logging.getLogger(__name__)


class Watch:
    """All that this process watches. Every call may come from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._pages = Roll(self._look)
        self._by_engine: weakref.WeakKeyDictionary[Engine, PoolMonitor] = weakref.WeakKeyDictionary()
        self._heir: Watch | None = None
        self._publisher: Publisher | None = None
        self._calling = False
        self._pid = os.getpid()
        self._farewell = Farewell(self.stop, self.publish_now)

    def add(self, target: Engine | Pool, wish: Wish) -> PoolMonitor:
        """Watch the pool of ``target``; a pool that is watched already stays as it is, but for what is given anew.

        Raises ValueError when the registry has somebody else's metrics of our names, if the pool is asked for by name.
        """
        with self._lock:
            heir = self._heir  # looked at with the lock: it may come while we wait for that
            if heir is None:
                return self._added(target, wish)
        return heir.add(target, wish)

    def _added(self, target: Engine | Pool, wish: Wish) -> PoolMonitor:
        self._pages.forget_registries()
        monitor = self.find(target)
        if monitor is None:
            page = self._pages.page(wish)
            limit = default_leak_after() if wish.leak_after is None else wish.leak_after
            monitor = PoolMonitor(target, name=wish.name, leak_after=limit, call_sites=wish.call_sites is not False)
            page.enter(monitor)
        else:
            self._pages.change(monitor, wish, functools.partial(_configure, monitor, target, wish))
        if isinstance(target, Engine):
            self._by_engine[target] = monitor
        self._publish()
        monitor.ring(self._ring, always=self._calling)
        return monitor

    def remove(self, target: Engine | Pool) -> None:
        """Stop watching the pool of ``target``; nothing happens when it is not watched."""
        with self._lock:
            heir, monitor = self._heir, self.find(target)
            if monitor is not None:
                self._pages.leave(monitor)
                monitor.stop()
        if heir is not None:
            heir.remove(target)

    def find(self, target: Engine | Pool) -> PoolMonitor | None:
        """Return the monitor of the pool of ``target``: two engines may share one, or have one of an older engine."""
        pool = target.pool if isinstance(target, Engine) else target
        monitor = self._by_engine.get(target) if isinstance(target, Engine) else None
        # Another engine of the same pool may have ended the monitor that this one was given.
        if monitor is not None and self._pages.shows(monitor) and monitor.pool() is pool:
            return monitor
        if not _heard(pool):
            return None  # without a look at each of what may be thousands
        return next((monitor for monitor in self._monitors() if monitor.pool() is pool), None)

    def succeed(self) -> None:
        """Take over from the watch of a package that was imported before and then forgotten, as test suites do."""
        marks = vars(REGISTRY)
        before, marks[_MARK] = marks.get(_MARK), self
        if before is not None:
            try:
                before.hand_over(self)
            except Exception:
                contain("listen")

    def hand_over(self, heir: Watch) -> None:
        """Let another watch all that is watched here; what was counted so far is forgotten."""
        with self._lock:
            self._heir, wishes = heir, self._pages.withdraw()
            self._by_engine.clear()
        if self._publisher is not None:
            self.stop()
            self._publisher = None
        for target, wish in wishes:
            heir.inherit(target, wish)

    def inherit(self, target: Engine | Pool, wish: Wish) -> None:
        """Watch what another watched. One that is refused keeps the others from nothing."""
        try:
            self.add(target, wish)
        except Exception:
            contain("listen")

    def snapshot(self) -> ProcessSnapshot:
        """Return what this process publishes: pools of one name are added up."""
        # Before the pools are read: whatever is in them then was still there at this moment or came later.
        taken = time.time()
        pools, left = self._pages.read(self._lock)
        self._farewell.prepare()
        contained = contained_errors()
        return ProcessSnapshot(os.getpid(), taken, pools, host=_host(), contained=contained, left=left)

    def speak(self) -> None:
        """Log what the last snapshot found; to be called once that is where it is to be."""
        with self._lock:
            monitors = self._monitors()
        _speak(monitors)

    def _hand_in(self, left: tuple[PoolSnapshot, ...]) -> None:
        with self._lock:
            self._pages.forget_left(left)

    def before_fork(self) -> None:
        """Make ready for a fork: end our thread, which Python would warn of."""
        self._farewell.prepare()
        if self._publisher is not None and self._pid == os.getpid():
            self._publisher.pause()

    def after_fork_in_parent(self) -> None:
        """Go on with what was ended for a fork."""
        if self._publisher is not None and self._pid == os.getpid():
            self._awake(self._publisher.resume)

    def after_fork(self) -> None:
        """Begin anew in a child: other locks, no counts of the parent's, a publisher of its own."""
        self._lock, self._pid = threading.RLock(), os.getpid()
        start_from_zero()
        self._pages.forget_counts()
        monitors = self._monitors()
        for monitor in monitors:
            monitor.after_fork()
        if self._publisher is not None:
            self._awake(functools.partial(self._publisher.start_in_child, say=len(monitors) <= _FEW))

    def stop(self) -> None:
        """Publish for the last time, at the end of the process. May be called again."""
        try:
            if self._publisher is not None and self._pid == os.getpid():
                self._publisher.stop()
                self._calling = True  # whoever takes a connection after this has to publish it
                self._hang_bells()
        except Exception:
            contain("publish")

    def publish_now(self, *, patience: float = 1.0) -> None:
        """Publish what is counted so far; the process may end without another word. Waits ``patience`` seconds."""
        try:
            if self._publisher is not None and self._pid == os.getpid():
                self._publisher.publish_here(patience=patience)
        except Exception:
            contain("publish")

    def _monitors(self) -> list[PoolMonitor]:
        return self._pages.monitors()

    def _look(self, page: Page) -> Content:
        snapshots, _left = self._pages.read(self._lock, page)
        with self._lock:
            monitors = list(page.monitors)
        _speak(monitors)
        return ((POOL, snapshots), (DRIFT, drifts(snapshots)), (CONTAINED, (contained_errors(),)))

    def _publish(self) -> None:
        directory = os.environ.get(DIRECTORY_VARIABLE)
        if directory and self._publisher is None:
            try:
                publisher = Publisher(Path(directory), self.snapshot, handed_in=self._hand_in, speak=self.speak)
            except OSError:  # a relative one, and the working directory is removed
                contain("publish")
                return
            self._pages.bequeath()
            self._publisher = publisher
            self._awake(self._publisher.start)
        elif self._publisher is not None:
            self._awake(self._publisher.wake)

    def _ring(self) -> None:
        """Hear from a pool that something happens there: publish on, should that have come to rest."""
        if self._pid != os.getpid():  # a fork that Python was not told of
            self.after_fork()
        publisher = self._publisher
        # One that is about to rest must hear it too, or it would.
        if publisher is not None and publisher.ended:
            self.publish_now(patience=0.0)
        elif publisher is not None and (publisher.awake or publisher.due or not self._calling):
            self._awake(publisher.wake)

    def _awake(self, begin: Callable[[], None]) -> None:
        before = self._calling
        try:
            begin()
            self._calling = False
        except RuntimeError:
            # The process may have no thread left. The pools are watched all the same; whoever takes a connection
            # publishes, once a second, and tries again.
            if threading.main_thread().is_alive():  # at its end Python starts none any more
                contain("publish")
            self._calling = True
            self.publish_now(patience=0.0)
        if self._calling != before:
            self._hang_bells()

    def _hang_bells(self) -> None:
        for monitor in self._monitors():
            monitor.ring(self._ring, always=self._calling)


def _heard(pool: Pool) -> bool:
    """Tell whether somebody may be listening to this pool for us, or did so once."""
    try:
        return any(getattr(listener, "pool_exporter", False) for listener in pool.dispatch.close)
    except RuntimeError:  # the application adds a listener of its own at this moment
        return True


def _configure(monitor: PoolMonitor, target: Engine | Pool, wish: Wish) -> None:
    monitor.follow(target)
    monitor.configure(name=wish.name, leak_after=wish.leak_after, call_sites=wish.call_sites)


def _speak(monitors: list[PoolMonitor]) -> None:
    """Log what was found, with no lock held; a handler that raises costs the page nothing."""
    try:
        for monitor in monitors:
            monitor.speak()
    except Exception:
        contain("log")


def _host() -> str:
    return os.uname().nodename if hasattr(os, "uname") else ""
