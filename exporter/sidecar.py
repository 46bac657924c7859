"""The sidecar: reads the letterbox, lets the servers be sampled, and puts both together when somebody asks."""

from __future__ import annotations

import functools
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import sqlalchemy
from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.registry import CollectorRegistry

from exporter.collectors import Content, TableCollector
from exporter.config import Config
from exporter.contained import contained_errors
from exporter.drift import DriftCheck
from exporter.findings import findings
from exporter.joint import Joined, Joint
from exporter.letterbox import Letterbox, Mail
from exporter.merge import add_up, add_up_counts
from exporter.metrics.drift import DRIFT, drifts
from exporter.metrics.findings import FINDING
from exporter.metrics.match import MATCH, UNOWNED
from exporter.metrics.pool import POOL
from exporter.metrics.processes import POOL_BY_PROCESS, PROCESSES
from exporter.metrics.server import SERVER
from exporter.metrics.sidecar import SELF, Build, Self
from exporter.metrics.table import Table
from exporter.processes import pools_by_process, reporters
from exporter.records import Finding, Overview, ServerView
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
        self._joint = Joint(config.servers, leak_after=config.leak_after)
        self._samplers = [
            Sampler(server, ids=functools.partial(self._ids, number), clock=clock)
            for number, server in enumerate(config.servers)
        ]
        self._schedule = Schedule(self._samplers)
        self._drift_check = DriftCheck()
        self._ending: threading.Thread | None = None
        self._build = _build()
        self.registry = self._registry()

    def start(self) -> None:
        """Begin to sample, every server at once."""
        self._joint.start()
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
        servers, now = tuple(sampler.view() for sampler in self._samplers), self._clock()
        joined = self._joint.join(mail.snapshots, servers, now=now)
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
            drifts=(*drifts(pools), *self._drift_check.look(joined.matches, servers, mail.reports)),
        )

    def _read(self) -> Mail:
        return Mail() if self._letterbox is None else self._letterbox.read()

    def _ids(self, number: int) -> frozenset[int]:
        """Name the sessions that live pools say they have on a server, right before it is asked."""
        sampler, processes = self._samplers[number], self._read().snapshots
        return self._joint.ids(sampler.server, processes, sampler.view(), now=self._clock())

    def _registry(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        tables = (self._pool_table, PROCESSES, SERVER, MATCH, UNOWNED, FINDING, DRIFT, SELF)
        registry.register(TableCollector(tables, self._content))
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
            (UNOWNED, seen.unowned),
            (FINDING, seen.findings),
            (DRIFT, seen.drifts),
            (SELF, (myself,)),
        )

    def _end(self) -> None:
        self._schedule.stop()
        self._joint.stop()
        for sampler in self._samplers:
            sampler.close()
        if self._letterbox is not None:
            self._letterbox.close()


def _letterbox(config: Config, clock: Callable[[], float]) -> Letterbox | None:
    directory = config.processes.directory
    return None if directory is None else Letterbox(directory, users=config.processes.users, clock=clock)


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
