"""The watch: which pools of this process are watched, where they are shown, and what becomes of those that are gone."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

from exporter.collectors import Content, TableCollector
from exporter.contained import contain, contained_errors, start_from_zero
from exporter.merge import add_up
from exporter.metrics.contained import CONTAINED
from exporter.metrics.pool import POOL
from exporter.pool import PoolMonitor
from exporter.publish import Publisher
from exporter.records import PoolSnapshot, ProcessSnapshot

DIRECTORY_VARIABLE = "POOL_EXPORTER_DIR"
LEAK_AFTER_VARIABLE = "POOL_EXPORTER_LEAK_AFTER"
DEFAULT_LEAK_AFTER = 60.0

_log = logging.getLogger(__name__)


@dataclass
class Page:
    """The pools that are shown in one registry, and what the pools that are gone had counted, by name."""

    monitors: list[PoolMonitor] = field(default_factory=list)
    departed: dict[str, PoolSnapshot] = field(default_factory=dict)
    room: int = 100

    def enter(self, monitor: PoolMonitor) -> None:
        """Show one more pool. Nobody may ever look at this page, so now and then those that are gone leave here."""
        self.monitors.append(monitor)
        if len(self.monitors) > self.room:
            self._see_off()
            self.room = max(2 * len(self.monitors), 100)

    def snapshots(self) -> tuple[PoolSnapshot, ...]:
        """Read every pool; what those that are gone had counted is kept by name, so that no counter falls."""
        self._see_off()
        return add_up((*(monitor.snapshot() for monitor in self.monitors), *self.departed.values()))

    def _see_off(self) -> None:
        # Read after it was found to be gone: before, its last connection could come back between the two.
        for monitor in [monitor for monitor in self.monitors if monitor.gone()]:
            self.monitors.remove(monitor)
            snapshot = monitor.snapshot()
            name = snapshot.identity.name
            before = (self.departed[name],) if name in self.departed else ()
            self.departed[name] = add_up((*before, snapshot))[0]


class Watch:
    """All that this process watches. Every call may come from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._pages: dict[CollectorRegistry, Page] = {}
        self._publisher: Publisher | None = None

    def add(
        self,
        target: Engine | Pool,
        *,
        name: str | None,
        leak_after: float | None,
        call_sites: bool | None,
        registry: CollectorRegistry,
    ) -> PoolMonitor:
        """Watch the pool of ``target``; a pool that is watched already stays as it is, but for what is given anew."""
        with self._lock:
            monitor = self.find(target)
            if monitor is None:
                limit = default_leak_after() if leak_after is None else leak_after
                sites = call_sites is not False
                page = self._page(registry)
                monitor = PoolMonitor(target, name=name, leak_after=limit, call_sites=sites)
                page.enter(monitor)
            else:
                monitor.configure(name=name, leak_after=leak_after, call_sites=call_sites)
                self._move(monitor, registry)
            self._publish()
            return monitor

    def remove(self, target: Engine | Pool) -> None:
        """Stop watching the pool of ``target``; nothing happens when it is not watched."""
        with self._lock:
            monitor = self.find(target)
            if monitor is not None:
                monitor.stop()
                for page in self._pages.values():
                    if monitor in page.monitors:
                        page.monitors.remove(monitor)

    def find(self, target: Engine | Pool) -> PoolMonitor | None:
        """Return the monitor of the pool of ``target``: two engines may share one, or have one of an older engine."""
        pool = target.pool if isinstance(target, Engine) else target
        return next((monitor for monitor in self._monitors() if monitor.pool() is pool), None)

    def snapshot(self) -> ProcessSnapshot:
        """Return what this process publishes: pools of one name are added up."""
        # Before the pools are read: whatever is in them then was still there at this moment or came later.
        taken = time.time()
        with self._lock:
            pools = [pool for page in self._pages.values() for pool in page.snapshots()]
            monitors = self._monitors()
        _speak(monitors)
        return ProcessSnapshot(pid=os.getpid(), taken=taken, pools=add_up(pools), contained=contained_errors())

    def after_fork(self) -> None:
        """Begin anew in a child: other locks, no counts of the parent's, a publisher of its own."""
        self._lock = threading.RLock()
        start_from_zero()
        for page in self._pages.values():
            page.departed.clear()
        for monitor in self._monitors():
            monitor.after_fork()
        if self._publisher is not None:
            self._publisher.start()

    def stop(self) -> None:
        """Take back what was published, at the end of the process."""
        if self._publisher is not None:
            self._publisher.stop()

    def _monitors(self) -> list[PoolMonitor]:
        return [monitor for page in self._pages.values() for monitor in page.monitors]

    def _page(self, registry: CollectorRegistry) -> Page:
        if registry not in self._pages:
            page = Page()

            def look() -> Content:
                with self._lock:
                    snapshots, monitors = page.snapshots(), list(page.monitors)
                _speak(monitors)
                return ((POOL, snapshots), (CONTAINED, (contained_errors(),)))

            # Remembered only when it is shown: a registry with somebody else's metrics of these names refuses it.
            registry.register(TableCollector((POOL, CONTAINED), look))
            self._pages[registry] = page
        return self._pages[registry]

    def _move(self, monitor: PoolMonitor, registry: CollectorRegistry) -> None:
        """Show a pool in the registry that was asked for by name: instrument_all may have put it into the default."""
        if registry is REGISTRY or monitor in self._page(registry).monitors:
            return
        for page in self._pages.values():
            if monitor in page.monitors:
                page.monitors.remove(monitor)
        self._page(registry).enter(monitor)

    def _publish(self) -> None:
        directory = os.environ.get(DIRECTORY_VARIABLE)
        if directory and self._publisher is None:
            publisher = Publisher(Path(directory), self.snapshot)
            try:
                publisher.start()
            except RuntimeError:
                # The process may have no thread left. The pool is watched all the same; the next one tries again.
                contain("publish")
            else:
                self._publisher = publisher


def _speak(monitors: list[PoolMonitor]) -> None:
    """Log what was found, with no lock held; a handler that raises costs the page nothing."""
    try:
        for monitor in monitors:
            monitor.speak()
    except Exception:
        contain("log")


def default_leak_after() -> float:
    """Return POOL_EXPORTER_LEAK_AFTER in seconds; 60 when it is not set, or no number above 0 (which is said)."""
    text = os.environ.get(LEAK_AFTER_VARIABLE, "")
    try:
        seconds = float(text) if text else DEFAULT_LEAK_AFTER
    except ValueError:
        seconds = 0.0
    if seconds > 0:
        return seconds
    _log.warning("%s=%r is not a number of seconds above 0; using %g", LEAK_AFTER_VARIABLE, text, DEFAULT_LEAK_AFTER)
    return DEFAULT_LEAK_AFTER


def after_fork_in_child(watch: Watch) -> None:
    """Call ``watch.after_fork`` and let nothing out: the child is the application's."""
    try:
        watch.after_fork()
    except Exception:
        contain("fork")
