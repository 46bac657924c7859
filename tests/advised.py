"""Pools as the findings see them: on paper, and real ones that do what a finding says to do."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import URL

from exporter.buckets import HISTOGRAMS
from exporter.conclusions import Finding
from exporter.findings import findings
from exporter.pool import PoolMonitor
from exporter.records import Histogram, PoolIdentity, PoolSnapshot, ServerSnapshot

HEALTHY = PoolSnapshot(
    PoolIdentity("shop", "QueuePool", "mysql", "pymysql", host="db", port=3306, database="shop"),
    size=5,
    connections_max=15.0,
    recycle_seconds=1800.0,
    timeout_seconds=30.0,
    pre_ping=False,
    reset_on_return=True,
    disposals=0,
)
"""A pool with nothing to find, on the server of `CALM`."""

CALM = ServerSnapshot(
    dialect="mysql",
    version="8.4.0",
    source="performance_schema.threads",
    began=0.0,
    ended=0.1,
    groups=(),
    sleepers=(),
    connections=10,
    connections_max=150,
    idle_timeouts={"wait_timeout": 28800.0, "interactive_timeout": 60.0},
)
"""A server with the timeouts that MySQL has by default, but for the one that no pool gets."""


def pool(**changes: Any) -> PoolSnapshot:
    """Return the healthy pool with something else about it."""
    return dataclasses.replace(HEALTHY, **changes)


def calm(**changes: Any) -> ServerSnapshot:
    """Return the calm server with something else about it."""
    return dataclasses.replace(CALM, **changes)


def histogram(name: str, *, above: float, count: int, sum: float = 0.0) -> Histogram:  # noqa: A002  as in the record
    """Return a pool's histogram with all counts in the bucket that begins at ``above``."""
    counts = [0] * (len(HISTOGRAMS[name]) + 1)
    counts[HISTOGRAMS[name].index(above) + 1] = count
    return Histogram(tuple(counts), sum)


def found(*reports: PoolSnapshot, sample: ServerSnapshot | None = CALM) -> dict[str, Finding]:
    """Return what is found about one pool, by its name."""
    return {each.finding: each for each in findings("orders", pools={"shop": reports}, sample=sample)}


def cure(finding: Finding) -> dict[str, Any]:
    """Return the options that a finding says to give to create_engine, read from its line."""
    start = "create_engine(..., "
    assert finding.change.startswith(start), finding.change
    return dict(eval(f"dict({finding.change.removeprefix(start)}"))  # noqa: S307  our own words, held to be Python


@contextlib.contextmanager
def watching(url: str | URL, **options: Any) -> Iterator[tuple[Engine, PoolMonitor]]:
    """Hold an engine of these options, and what hears its pool."""
    engine = create_engine(url, **options)
    monitor = PoolMonitor(engine, name="shop", leak_after=60.0, call_sites=False)
    try:
        yield engine, monitor
    finally:
        monitor.stop()
        engine.dispose()
