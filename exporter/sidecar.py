"""The sidecar: reads the letterbox, lets the servers be sampled, and puts both together when somebody asks."""

from __future__ import annotations

import functools
import os
import platform
import threading
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy
from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.registry import CollectorRegistry

from exporter.collectors import Content, TableCollector
from exporter.config import Config, ServerConfig
from exporter.contained import contained_errors
from exporter.drift import DriftCheck
from exporter.findings import findings
from exporter.letterbox import Letterbox, Mail
from exporter.match import match, reports_by_server
from exporter.merge import add_up, add_up_counts
from exporter.metrics.drift import DRIFT, drifts
from exporter.metrics.findings import FINDING
from exporter.metrics.match import MATCH
from exporter.metrics.pool import POOL
from exporter.metrics.processes import POOL_BY_PROCESS, PROCESSES
from exporter.metrics.server import SERVER
from exporter.metrics.sidecar import SELF, Build, Self
from exporter.metrics.table import Table
from exporter.processes import pools_by_process, reporters
from exporter.records import Finding, Match, Overview, ProcessSnapshot, ServerView
from exporter.sampler import Sampler
from exporter.schedule import Schedule
from exporter.version import VERSION

REVISION_VARIABLE = "POOL_EXPORTER_REVISION"
"""Set by whoever builds an image, to the commit that it was built from."""

_SLACK = 1.5  # seconds beyond a sample's timeout, after which it is not waited for any more


class Sidecar:
    """Everything behind the page. Looking at it reads memory and the letterbox's files, and asks no database."""

    def __init__(self, config: Config, *, clock: Callable[[], float] = time.time) -> None:
        self.config = config
        self._clock = clock
        self._configured_at = clock()
        self._letterbox = _letterbox(config, clock)
        self._samplers = [
            Sampler(server, ids=functools.partial(self._ids, server), clock=clock) for server in config.servers
        ]
        self._schedule = Schedule(self._samplers)
        self._drift_check = DriftCheck()
        self._ending: threading.Thread | None = None
        self._build = _build()
        self.registry = self._registry()

    def start(self) -> None:
        """Begin to sample, every server at once."""
        self._schedule.start()

    def sample(self) -> None:
        """Sample every server once, side by side, instead of by the clock; their timeouts bound how long it takes."""
        threads = [threading.Thread(target=sampler.sample, daemon=True) for sampler in self._samplers]
        for thread in threads:
            thread.start()
        for sampler, thread in zip(self._samplers, threads, strict=True):
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
        views = (sampler.view() for sampler in self._samplers)
        return all(view.sampled_at is not None or any(view.errors.values()) for view in views)

    def reported_since(self, moment: float) -> bool:
        """Tell whether there are processes, and all that live have reported after ``moment`` (seconds since 1970).

        One that rests has nothing to report.
        """
        processes = self._read().snapshots
        return bool(processes) and all(process.resting or process.taken > moment for process in processes)

    def overview(self) -> Overview:
        """Put together what is known now. The letterbox is read once."""
        mail = self._read()
        servers = tuple(sampler.view() for sampler in self._samplers)
        living = (pool for report in mail.reports for pool in report.snapshot.pools)
        # `overdue` stays as each process counts it, by the leak_after of its own instrument(): it also knows of the
        # connections that a disposed pool left behind, and its own /metrics says the same.
        pools = add_up((*living, *mail.ended))
        matches = self._matches(mail.snapshots, servers)
        return Overview(
            now=self._clock(),
            pools=pools,
            servers=servers,
            matches=matches,
            findings=self._findings(mail.snapshots, servers),
            processes=mail.reports,
            ended=mail.ended,
            rejected=mail.rejected,
            contained=mail.contained,
            drifts=(*drifts(pools), *self._drift_check.look(matches, servers, mail.reports)),
        )

    def _read(self) -> Mail:
        return Mail() if self._letterbox is None else self._letterbox.read()

    def _matches(self, processes: tuple[ProcessSnapshot, ...], views: tuple[ServerView, ...]) -> tuple[Match, ...]:
        by_server = reports_by_server(processes, self.config.servers)
        found = (
            match(pool, view.name, reports=reports, sample=view.snapshot, earlier=view.earlier)
            for view in views
            for pool, reports in sorted(by_server[view.name].items())
        )
        return tuple(each for each in found if each is not None)

    def _findings(self, processes: tuple[ProcessSnapshot, ...], views: tuple[ServerView, ...]) -> tuple[Finding, ...]:
        by_server = reports_by_server(processes, self.config.servers)
        return tuple(
            finding
            for view in views
            for finding in findings(
                view.name,
                pools={pool: [report.pool for report in reports] for pool, reports in by_server[view.name].items()},
                sample=view.snapshot,
            )
        )

    def _ids(self, server: ServerConfig) -> frozenset[int]:
        """Name the sessions that live pools say they have on this server."""
        by_pool = reports_by_server(self._read().snapshots, self.config.servers)[server.name]
        connections = (each for reports in by_pool.values() for report in reports for each in report.pool.connections)
        return frozenset(each.server_id for each in connections if each.server_id is not None)

    def _registry(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        registry.register(
            TableCollector((self._pool_table, PROCESSES, SERVER, MATCH, FINDING, DRIFT, SELF), self._content)
        )
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        return registry

    @property
    def _pool_table(self) -> Table[Any]:
        return POOL_BY_PROCESS if self.config.processes.per_process else POOL

    def _content(self) -> Content:
        seen = self.overview()
        myself = Self(
            build=self._build,
            configured=True,
            configured_at=self._configured_at,
            contained=add_up_counts((contained_errors(), seen.contained)),
            rejected=seen.rejected,
        )
        apart = self.config.processes.per_process
        return (
            (self._pool_table, pools_by_process(seen.processes, seen.ended) if apart else seen.pools),
            (PROCESSES, reporters(seen.processes, seen.pools)),
            (SERVER, seen.servers),
            (MATCH, seen.matches),
            (FINDING, seen.findings),
            (DRIFT, seen.drifts),
            (SELF, (myself,)),
        )

    def _end(self) -> None:
        self._schedule.stop()
        for sampler in self._samplers:
            sampler.close()
        if self._letterbox is not None:
            self._letterbox.close()


def _letterbox(config: Config, clock: Callable[[], float]) -> Letterbox | None:
    directory = config.processes.directory
    return None if directory is None else Letterbox(directory, users=config.processes.users, clock=clock)


def _build() -> Build:
    return Build(
        version=VERSION,
        revision=os.environ.get(REVISION_VARIABLE, ""),
        python=platform.python_version(),
        sqlalchemy=sqlalchemy.__version__,
    )
