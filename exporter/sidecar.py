"""The sidecar: reads the letterbox, lets the servers be sampled, and puts both together when somebody asks."""

from __future__ import annotations

import functools
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy
from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.registry import CollectorRegistry

from exporter.collectors import Content, TableCollector
from exporter.conclusions import Finding, Overview
from exporter.config import Config, ServerConfig
from exporter.contained import contained_errors
from exporter.drift import DriftCheck
from exporter.findings import findings
from exporter.folding import OTHER, SITES, Roster
from exporter.joint import Joined
from exporter.lately import Lately
from exporter.letterbox import Mail
from exporter.merge import add_up, add_up_counts
from exporter.metrics.drift import DRIFT, drifts
from exporter.metrics.findings import FINDING
from exporter.metrics.match import MATCH, UNOWNED
from exporter.metrics.pool import POOL
from exporter.metrics.processes import POOL_BY_PROCESS, PROCESSES
from exporter.metrics.server import SERVER
from exporter.metrics.sidecar import SELF, Build, Self
from exporter.metrics.table import Table
from exporter.parts import assemble, dismiss
from exporter.processes import pools_by_process, process_name, reporters
from exporter.records import PoolSnapshot, ServerView
from exporter.sampler import Sampler
from exporter.schedule import Schedule
from exporter.version import VERSION

MOST_PROCESSES = 1000
"""How many processes the page tells apart where it is asked to."""

REVISION_VARIABLE = "POOL_EXPORTER_REVISION"
"""Set by whoever builds an image, to the commit that it was built from."""

_SLACK = 1.5  # seconds beyond a sample's timeout, after which it is not waited for any more


@dataclass(frozen=True)
class Configured:
    """How the configuration was last read, and when it was last good, in seconds since 1970."""

    good: bool
    at: float


class Sidecar:
    """Everything behind the page. Looking at it reads memory and the letterbox's files, and asks no database."""

    def __init__(self, config: Config, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._configured = Configured(good=True, at=clock())
        self._parts = assemble(config, clock, self._sampler)
        self._schedule = Schedule(self._parts.samplers)
        self._drift_check = DriftCheck()
        self._lately = Lately()
        self._roster = Roster(MOST_PROCESSES)
        self._ending: threading.Thread | None = None
        self._build = _build()
        self.registry = self._registry()

    def start(self) -> None:
        """Begin to sample, every server at once, and to look after the letterbox."""
        self._parts.claim()
        self._parts.joint.start()
        self._schedule.start()

    @property
    def config(self) -> Config:
        """Return what it is told now."""
        return self._parts.config

    def apply(self, config: Config) -> None:
        """Go on with another configuration. To be called from one thread at a time, after `start`.

        Servers that are the same keep their connection, samples and memory, and counts fall for none of its name.
        """
        before = self._parts
        self._parts = assemble(config, self._clock, self._sampler, before=before)
        if config.processes.per_process != before.config.processes.per_process:
            self.registry = self._registry()
        self._parts.claim()
        self._schedule.exchange(self._parts.samplers)
        dismiss(before, self._parts)
        self._configured = Configured(good=True, at=self._clock())

    def note_refusal(self) -> None:
        """Remember that the configuration was read again and could not be used."""
        self._configured = replace(self._configured, good=False)

    def sample(self) -> None:
        """Sample every server once, side by side, instead of by the clock; their timeouts bound how long it takes."""
        samplers = self._parts.samplers
        threads = [threading.Thread(target=sampler.sample, daemon=True) for sampler in samplers]
        for thread in threads:
            thread.start()
        for sampler, thread in zip(samplers, threads, strict=True):
            # A look-up of a name that hangs ends by no timeout of ours, and the view says so a second after that.
            thread.join(sampler.server.timeout + _SLACK)

    def stop(self, *, within: float = 1.0) -> bool:
        """End the sampling and hang up; tell whether that was done within so many seconds. May be called again.

        A sample that is under way on a silent server ends when its timeout does, and not before.
        """
        if self._ending is None:
            self._ending = threading.Thread(target=self._end, name="pool-exporter-stop", daemon=True)
            self._ending.start()
        self._ending.join(within)
        return not self._ending.is_alive()

    def ready(self) -> bool:
        """Tell whether every server has been tried once, so that the page says something of each."""
        views = (sampler.view() for sampler in self._parts.samplers)
        return all(view.sampled_at is not None or any(view.errors.values()) for view in views)

    def reported_since(self, moment: float) -> bool:
        """Tell whether there are processes, and all that live have reported after ``moment`` (seconds since 1970).

        One that rests has nothing to report.
        """
        processes = self._parts.read().snapshots
        return bool(processes) and all(process.resting or process.taken > moment for process in processes)

    def overview(self) -> Overview:
        """Put together what is known now. The letterbox is read once."""
        parts = self._parts  # another configuration may take its place meanwhile
        mail = parts.read()
        servers, now = tuple(sampler.view() for sampler in parts.samplers), self._clock()
        joined = parts.joint.join(mail.snapshots, servers, now=now)
        living = (pool for report in mail.reports for pool in report.snapshot.pools)
        # `overdue` stays as each process counts it, by the leak_after of its own instrument(): it also knows of the
        # connections that a disposed pool left behind, and its own /metrics says the same.
        pools = add_up((*living, *mail.ended))
        return Overview(
            now=now,
            pools=pools,
            servers=servers,
            matches=joined.matches,
            unowned=joined.unowned,
            holders=joined.holders,
            findings=_findings(joined, servers),
            processes=mail.reports,
            ended=mail.ended,
            rejected=mail.rejected,
            contained=mail.contained,
            folded=_folded(mail, servers, pools),
            drifts=(*drifts(pools), *self._drift_check.look(joined.matches, servers, mail.reports)),
            recent=self._lately.look(pools, now=now),
        )

    def _sampler(self, server: ServerConfig, errors: Mapping[str, int] | None = None) -> Sampler:
        def ids() -> frozenset[int]:
            """Name the sessions that live pools say they have on the server, right before it is asked."""
            parts = self._parts
            if server not in parts.config.servers:
                return frozenset()  # it has just been taken out
            return parts.joint.ids(server, parts.read().snapshots, sampler.view(), now=self._clock())

        sampler = Sampler(server, ids=ids, clock=self._clock, errors=errors)
        return sampler

    def _registry(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        pool_table = POOL_BY_PROCESS if self.config.processes.per_process else POOL
        tables = (pool_table, PROCESSES, SERVER, MATCH, UNOWNED, FINDING, DRIFT, SELF)
        registry.register(TableCollector(tables, functools.partial(self._content, pool_table)))
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        return registry

    def _content(self, pool_table: Table[Any]) -> Content:
        seen, apart = self.overview(), pool_table is POOL_BY_PROCESS
        others = self._roster.others({process_name(each) for each in seen.processes} if apart else ())
        myself = Self(
            build=self._build,
            configured=self._configured.good,
            configured_at=self._configured.at,
            contained=add_up_counts((contained_errors(), seen.contained)),
            rejected=seen.rejected,
            folded=add_up_counts((seen.folded, {"process": len(others)})),
        )
        return (
            (pool_table, pools_by_process(seen.processes, seen.ended, others=others) if apart else seen.pools),
            (PROCESSES, reporters(seen.processes, seen.pools)),
            (SERVER, seen.servers),
            (MATCH, seen.matches),
            (UNOWNED, seen.unowned),
            (FINDING, seen.findings),
            (DRIFT, seen.drifts),
            (SELF, (myself,)),
        )

    def _end(self) -> None:
        self._schedule.stop()
        parts = self._parts
        parts.joint.stop()
        for sampler in parts.samplers:
            sampler.close()
        if parts.letterbox is not None:
            parts.letterbox.close()


def _folded(mail: Mail, views: Iterable[ServerView], pools: Iterable[PoolSnapshot]) -> Mapping[str, int]:
    """Count the names that are not shown one by one."""
    of_servers = (view.snapshot.folded for view in views if view.snapshot is not None)
    # Those that a process has added up itself are at least one.
    sites = (max(len(pool.overdue_by_site) - SITES, int(OTHER in pool.overdue_by_site)) for pool in pools)
    found = add_up_counts((mail.folded, *of_servers, {"site": sum(sites)}))
    return {kind: number for kind, number in found.items() if number}


def _findings(joined: Joined, views: Iterable[ServerView]) -> tuple[Finding, ...]:
    """Hold the settings of each server's pools against the server's own, process by process."""
    return tuple(
        finding
        for view in views
        for finding in findings(
            view.name,
            pools={pool: [report.pool for report in reports] for pool, reports in joined.reports[view.name].items()},
            sample=view.snapshot,
        )
    )


def _build() -> Build:
    return Build(
        version=VERSION,
        revision=os.environ.get(REVISION_VARIABLE, ""),
        python=platform.python_version(),
        sqlalchemy=sqlalchemy.__version__,
    )
