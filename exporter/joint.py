"""The joint between pools and servers: holds the reports against the samples, and remembers whom it has met."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from exporter.acquaintance import Known, follow, learn
from exporter.conclusions import Holder, Match, Report, Unowned
from exporter.config import ServerConfig
from exporter.match import holders, match
from exporter.names import Names
from exporter.owners import Map, Sorted, hosts, same_family, sorted_out
from exporter.records import Instance, ProcessSnapshot, ServerView
from exporter.sightings import Sighting, sightings
from exporter.unowned import Lasting, has_ids, unowned

_ASKS = 8
"""How many questions are remembered; of those before the last, an answer may be on its way or have failed."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Joined:
    """What pools and servers say together; ``reports`` are those of the processes, by server and by pool."""

    matches: tuple[Match, ...] = ()
    unowned: tuple[Unowned, ...] = ()
    holders: tuple[Holder, ...] = ()
    reports: Mapping[str, Mapping[str, Sequence[Report]]] = field(default_factory=dict)


@dataclass
class _Memory:
    """What is known of one server, and when it was asked for which pools: True where all of their ids were known."""

    known: Known
    asks: deque[tuple[float, bool]]
    loose: Lasting = field(default_factory=Lasting)


class Joint:
    """Joins what processes report with what servers were sampled to say. Every call may come from any thread.

    It asks nobody and waits for nobody. ``leak_after`` is in seconds. What ``before`` knows of servers that are the
    same, it shares.
    """

    def __init__(
        self,
        servers: Sequence[ServerConfig],
        *,
        leak_after: float,
        names: Names | None = None,
        before: Joint | None = None,
    ) -> None:
        self._servers = servers
        self._leak_after = leak_after
        self._names = Names(hosts(servers)) if names is None else names
        self._lock = threading.Lock()
        self._instances: dict[str, Instance] = {}
        self._memories = {server.name: _Memory(Known(), deque(maxlen=_ASKS)) for server in servers}
        if before is not None:
            self._inherit(before)

    def _inherit(self, before: Joint) -> None:
        self._lock = before._lock
        if hosts(self._servers) == hosts(before._servers):
            self._names = before._names
        same = {server.name for server in self._servers if server in before._servers}
        with self._lock:
            self._instances.update((name, each) for name, each in before._instances.items() if name in same)
            self._memories.update((name, each) for name, each in before._memories.items() if name in same)

    def shares_names(self, other: Joint) -> bool:
        """Tell whether both look up names together, so that stopping one stops the other."""
        return self._names is other._names

    def start(self) -> None:
        """Begin to look up the hosts' names."""
        self._names.start()

    def stop(self) -> None:
        """Look up no more names."""
        self._names.stop()

    def ids(
        self, server: ServerConfig, processes: Iterable[ProcessSnapshot], view: ServerView, *, now: float
    ) -> frozenset[int]:
        """Name the sessions that pools say they have on a server, before it is asked; learn from its last answer."""
        with self._lock:
            found = self._sorted(processes, [view])
            self._seen(view, found.of(server.name))
            claims = [*found.of(server.name), *_others(found, server)]
            self._memories[server.name].asks.append((now, all(map(has_ids, claims))))
        connections = (each for report in claims for each in report.pool.connections)
        return frozenset(each.server_id for each in connections if each.server_id is not None)

    def join(self, processes: Iterable[ProcessSnapshot], views: Sequence[ServerView], *, now: float) -> Joined:
        """Hold everything that was reported against everything that was sampled, at ``now`` (seconds since 1970)."""
        with self._lock:
            found = self._sorted(processes, views)
            matches: list[Match] = []
            loose: list[Unowned] = []
            for server, view in zip(self._servers, views, strict=True):
                reports = found.of(server.name)
                seen = self._seen(view, reports)
                matches += self._matches(view, seen, found, now)
                loose += self._unowned(server, view, found)
            said = [each for one in matches for each in one.holders]
            unmatched = [(None, found.nobodys), *((v.name, found.of(v.name)) for v in views if v.snapshot is None)]
        for name, some in unmatched:
            said += [each if name is None else replace(each, server=name) for each in holders(some)]
        return Joined(tuple(matches), tuple(loose), _once(said), found.by_server)

    def _sorted(self, processes: Iterable[ProcessSnapshot], views: Iterable[ServerView]) -> Sorted:
        for view in views:
            if view.snapshot is not None and view.snapshot.instance is not None:
                self._instances[view.name] = view.snapshot.instance
        known = Map(self._names.addresses, self._instances)
        return sorted_out(processes, self._servers, known)

    def _seen(self, view: ServerView, reports: Sequence[Report]) -> list[Sighting]:
        """Hold the reports of a server's pools against its samples, and learn from that."""
        memory = self._memories[view.name]
        before = memory.known = follow(memory.known, view.snapshot)
        samples = [] if view.snapshot is None else [view.snapshot, *view.earlier]
        of_this = [sample for sample in samples if _identity(sample.instance) == before.identity]
        seen = sightings(reports, of_this, since=before.since, users=before.users, started=before.start)
        memory.known = learn(before, seen, reports)
        self._say(view.name, before, memory.known)
        return seen

    def _say(self, server: str, before: Known, now: Known) -> None:
        for identity, pool in now.pools.items():
            if before.of(identity).possible and not pool.possible:
                _log.warning(
                    "pool %s: the ids of its connections are not those of sessions on server %s, as behind a proxy "
                    "that pools by itself; they cannot be matched, see docs/match.md",
                    identity.name,
                    server,
                )
            elif pool.possible and not before.of(identity).possible:
                _log.warning("pool %s: the ids of its connections are sessions on server %s now", identity.name, server)

    def _matches(self, view: ServerView, seen: Sequence[Sighting], found: Sorted, now: float) -> list[Match]:
        if view.snapshot is None:
            return []
        by_pool: dict[str, list[Sighting]] = {pool: [] for pool in sorted(found.by_server[view.name])}
        for each in seen:
            by_pool[each.report.pool.identity.name].append(each)
        known = self._memories[view.name].known
        return [
            match((pool, view.name), seen=some, known=known, now=now, leak_after=self._leak_after)
            for pool, some in by_pool.items()
        ]

    def _unowned(self, server: ServerConfig, view: ServerView, found: Sorted) -> tuple[Unowned, ...]:
        sample, memory = view.snapshot, self._memories[server.name]
        asks = [complete for asked, complete in memory.asks if sample is not None and asked <= sample.began]
        if not asks or not asks[-1]:
            return ()
        reports, others = found.of(server.name), _others(found, server)
        now = unowned(server.name, reports=reports, others=others, sample=sample, known=memory.known)
        if sample is None or not now:
            return ()
        return memory.loose.after(sample.ended, now, newest=memory.known.ends[0])


def _once(said: Sequence[Holder]) -> tuple[Holder, ...]:
    """Leave out what is said twice: a pool that belongs to several servers has each connection on one of them."""
    found: dict[tuple[str, str, int], Holder] = {}
    nameless = [each for each in said if each.server_id is None]
    for each in said:
        if each.server_id is not None:
            key = (each.process, each.pool, each.server_id)
            if key not in found or (found[key].session is None and each.session is not None):
                found[key] = each
    return (*found.values(), *nameless)


def _others(found: Sorted, server: ServerConfig) -> list[Report]:
    """Return the reports of pools that belong to no server, and whose sessions may be on this one."""
    return [report for report in found.nobodys if same_family(report.pool.identity.dialect, server)]


def _identity(instance: Instance | None) -> str | None:
    return None if instance is None else instance.identity
