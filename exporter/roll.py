"""The roll: which registry shows which pools, and what the pools that left had counted."""

from __future__ import annotations

import dataclasses
import functools
import weakref
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

from exporter.collectors import Content, GuestCollector, TableCollector, is_registered
from exporter.contained import contain
from exporter.merge import add_up, is_used, since
from exporter.metrics.contained import CONTAINED
from exporter.metrics.drift import DRIFT
from exporter.metrics.pool import POOL
from exporter.pool import PoolMonitor
from exporter.records import PoolSnapshot
from exporter.wish import Wish

MOST_DEPARTED = 100
"""Names without a pool that keep their counts. An engine for each tenant makes as many names as there are tenants."""

MOST_LEFT = 500
"""Names that wait, at most, to be written down when they leave: a second's, or more while nothing can be written."""

_Pools = tuple[PoolSnapshot, ...]

_COUNTERS = (
    "checkouts", "checkins", "connects", "connect_errors", "closes", "invalidations", "stale_ping", "stale_use",
    "timeouts", "overdue_checkouts", "garbage_collected", "detaches", "disposals", "use_seconds", "wait_seconds",
    "connect_seconds", "idle_seconds", "lifetime_seconds", "ping_seconds",
)  # fmt: skip


@dataclass(eq=False)
class Page:
    """The pools that are shown in one registry, and what the pools that are gone had counted, by name.

    ``collector`` is what the registry has of it; None when it is shown nowhere.
    """

    monitors: dict[PoolMonitor, None] = field(default_factory=dict)
    departed: dict[str, PoolSnapshot] = field(default_factory=dict)
    room: int = 100
    drop: Callable[[PoolSnapshot], None] = lambda _counts: None
    collector: TableCollector | None = None

    def enter(self, monitor: PoolMonitor) -> None:
        """Show one more pool. Nobody may ever look at this page, so now and then those that are gone leave here."""
        self.monitors[monitor] = None
        if len(self.monitors) > self.room:
            self.see_off()
            self.room = max(2 * len(self.monitors), 100)

    def has(self, name: str) -> bool:
        """Tell whether a pool of this name is here."""
        return any(monitor.identity.name == name for monitor in self.monitors)

    def keep(self, *snapshots: PoolSnapshot) -> None:
        """Keep what pools had counted, with what others of their names had; the oldest names without a pool leave."""
        for snapshot in snapshots:
            name = snapshot.identity.name
            before = self.departed.pop(name, None)
            self.departed[name] = snapshot if before is None else add_up((before, snapshot))[0]
        if len(self.departed) > MOST_DEPARTED:
            living = {monitor.identity.name for monitor in self.monitors}
            nameless = [name for name in self.departed if name not in living]
            for name in nameless[: max(len(nameless) - MOST_DEPARTED, 0)]:
                self.drop(self.departed.pop(name))

    def take_in(self, other: Page) -> None:
        """Take all that another page has."""
        self.monitors.update(other.monitors)
        self.keep(*other.departed.values())

    def see_off(self) -> None:
        """Keep what pools that are gone had counted by name, so that no counter falls."""
        # Read after it was found to be gone: before, its last connection could come back between the two.
        gone = [monitor for monitor in self.monitors if monitor.gone()]
        for monitor in gone:
            del self.monitors[monitor]
        self.keep(*_read(gone).values())


def _read(monitors: Iterable[PoolMonitor]) -> dict[PoolMonitor, PoolSnapshot]:
    """Read pools. One that cannot be read is as it was read last, or left out; it keeps the others from nothing."""
    found = {monitor: _seen(monitor) for monitor in monitors}
    return {monitor: snapshot for monitor, snapshot in found.items() if snapshot is not None}


def _seen(monitor: PoolMonitor) -> PoolSnapshot | None:
    try:
        return monitor.snapshot()
    except Exception:
        contain("collect")
        return monitor.last()


def _nowhere() -> None:
    """Stand for the registry of pools that no registry shows any more; they are published all the same."""


class Roll:
    """Every page of this process, by the registry that shows it, which is held weakly. Whoever calls has the lock."""

    def __init__(self, look: Callable[[Page], Content]) -> None:
        self._look = look
        self._pages: dict[Callable[[], CollectorRegistry | None], Page] = {}
        self.left: dict[str, PoolSnapshot] = {}
        self._bequeathing = False

    def bequeath(self) -> None:
        """Keep in ``left`` what is taken off the pages from now on, by name, for somebody who takes it from there."""
        self._bequeathing = True

    def forget_left(self, taken: Iterable[PoolSnapshot]) -> None:
        """Let go of what was taken from ``left``; what has come to it since stays."""
        for counts in taken:
            name = counts.identity.name
            now = self.left.pop(name, None)
            if now is not None and now is not counts:
                self.left.update({name: since((now,), {name: counts})[0]})

    def forget_counts(self) -> None:
        """Forget what pools that are gone had counted, as a child does with its parent's."""
        self.left.clear()
        for page in self._pages.values():
            page.departed.clear()

    def read(self, lock: AbstractContextManager[Any], page: Page | None = None) -> tuple[_Pools, _Pools]:
        """Read every pool, or those of a page; return them, added up by name, and what is in ``left``.

        Whoever makes an engine has to wait for ``lock`` only: the pools are read without it, but for those that came
        or got another name meanwhile. What was taken off meanwhile has forgotten what it had counted; that is among
        what left.
        """
        with lock:
            pages = list(self._pages.values()) if page is None else [page]
            for each in pages:
                each.see_off()
            monitors = {monitor: monitor.moves for each in pages for monitor in each.monitors}
        read = _read(monitors)
        with lock:
            pages = list(self._pages.values()) if page is None else [page]
            pools = [pool for each in pages for pool in each.departed.values()]
            there = [monitor for each in pages for monitor in each.monitors]
            read.update(_read(monitor for monitor in there if monitors.get(monitor) != monitor.moves))
            pools += [read[monitor] for monitor in there if monitor in read]
            left = tuple(self.left.values())
        return add_up(pools), left

    def monitors(self) -> list[PoolMonitor]:
        """Return every pool."""
        return [monitor for page in self._pages.values() for monitor in page.monitors]

    def shows(self, monitor: PoolMonitor) -> bool:
        """Tell whether a pool is on one of the pages."""
        return any(monitor in page.monitors for page in self._pages.values())

    def page(self, wish: Wish) -> Page:
        """Return the page of the registry that is wished for, shown there. Raises ValueError when it refuses."""
        return self._shown(REGISTRY if wish.registry is None else wish.registry, by_name=wish.by_name)

    def change(self, monitor: PoolMonitor, wish: Wish, change: Callable[[], None]) -> None:
        """Show a pool in the registry that is wished for, or again in its own, should that have been cleared.

        ``change`` may give it another name. Its counts go with it, but where others have the old name, there or, once
        it is published, in other processes: their sum would fall.
        """
        key, before = next((key, page) for key, page in self._pages.items() if monitor in page.monitors)
        own, name = key(), monitor.identity.name
        page = self.page(wish) if wish.registry is not None or own is None else self._shown(own, by_name=wish.by_name)
        if page is not before:
            del before.monitors[monitor]
            page.enter(monitor)
        change()
        if monitor.identity.name != name:
            self._leave_behind(monitor, before, name)
        elif own is not None and page is not before and before.has(name):  # nobody looks where no registry is
            self._read_last(monitor, lambda counts: _left_on(before, monitor, counts))

    def _leave_behind(self, monitor: PoolMonitor, page: Page, name: str) -> None:
        monitor.moves += 1

        def leave(counts: PoolSnapshot) -> None:
            counts = dataclasses.replace(counts, identity=dataclasses.replace(counts.identity, name=name))
            if self._kept(page, counts):
                monitor.count_from(counts)

        self._read_last(monitor, leave)

    def leave(self, monitor: PoolMonitor) -> None:
        """Take a pool off its page, and the name with it when it is the last there.

        What it had counted stays where others of its name are watched: on this page, or where the sum is published.
        """
        page = next(page for page in self._pages.values() if monitor in page.monitors)
        del page.monitors[monitor]
        self._read_last(monitor, lambda counts: self._kept(page, counts))

    def _kept(self, page: Page, counts: PoolSnapshot) -> bool:
        """Keep what was counted under a name that a pool of this page has no more; return whether it is kept."""
        name = counts.identity.name
        if any(each.has(name) for each in self._pages.values()):
            departed = [page.departed.pop(name)] if name in page.departed else []
            (page if page.has(name) else self._pages.setdefault(_nowhere, self._page())).keep(*departed, counts)
            return True
        # Nobody is left to add it to: a series that ends is no sum that falls.
        for each in self._pages.values():
            if name in each.departed:
                self._drop(each.departed.pop(name))
        self._drop(counts)
        return self._bequeathing

    def forget_registries(self) -> None:
        """Let go of registries that nobody has any more; their pools are published all the same."""
        for key in [key for key in self._pages if key is not _nowhere and key() is None]:
            self._pages.setdefault(_nowhere, self._page()).take_in(self._pages.pop(key))

    def withdraw(self) -> list[tuple[Engine | Pool, Wish]]:
        """Show nothing more, and stop every pool; return what was watched, and how."""
        wishes = []
        for key, page in self._pages.items():
            registry = key()
            if registry is not None and page.collector is not None and is_registered(page.collector, registry):
                registry.unregister(page.collector)
            by_name = not isinstance(page.collector, GuestCollector)
            for monitor in page.monitors:
                target, told = monitor.told()
                monitor.stop()
                if target is not None:
                    wishes.append((target, Wish(**told, registry=registry, by_name=by_name)))
        self._pages.clear()
        return wishes

    def _page(self) -> Page:
        return Page(drop=self._drop)

    def _drop(self, counts: PoolSnapshot) -> None:
        if not self._bequeathing or not is_used(counts):
            return
        name = counts.identity.name
        before = self.left.pop(name, None)
        self.left[name] = counts if before is None else add_up((before, counts))[0]
        if len(self.left) > MOST_LEFT:
            del self.left[next(iter(self.left))]

    def _read_last(self, monitor: PoolMonitor, give: Callable[[PoolSnapshot], object]) -> None:
        try:
            give(_counts_of(monitor.snapshot()))
        except Exception:
            contain("collect")

    def _shown(self, registry: CollectorRegistry, *, by_name: bool) -> Page:
        key = weakref.ref(registry)
        page = self._pages.get(key) or self._page()
        if page.collector is None or not is_registered(page.collector, registry):
            tables, look = (POOL, DRIFT, CONTAINED), functools.partial(self._look, page)
            collector = TableCollector(tables, look) if by_name else GuestCollector(tables, look, registry=registry)
            collector.join(registry)
            page.collector = collector
        # Remembered only when it is shown: a registry with somebody else's metrics of these names refuses it.
        self._pages[key] = page
        return page


def _left_on(page: Page, monitor: PoolMonitor, counts: PoolSnapshot) -> None:
    page.keep(counts)
    monitor.count_from(counts)


def _counts_of(snapshot: PoolSnapshot) -> PoolSnapshot:
    """Return what a pool has counted, and nothing of what it has now."""
    return PoolSnapshot(identity=snapshot.identity, **{name: getattr(snapshot, name) for name in _COUNTERS})
