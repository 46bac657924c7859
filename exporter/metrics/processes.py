"""Who reports a pool: rows that only the sidecar can show, since it alone sees all processes."""

from __future__ import annotations

from collections.abc import Callable

from exporter.labels import PROCESS_STATES
from exporter.metrics.pool import POOL
from exporter.metrics.table import Metric, Samples, Table, by_label, one
from exporter.processes import PoolOfProcess, Reporters
from exporter.records import PoolSnapshot

PROCESSES: Table[Reporters] = Table(
    labels=("pool",),
    identify=lambda each: (each.pool,),
    rows=(
        Metric(
            "sqlalchemy_pool_processes",
            "gauge",
            "Processes that live and report this pool; silent are those whose last report is old.",
            by_label(lambda each: each.by_state, PROCESS_STATES),
            labels=("state",),
        ),
        Metric(
            "sqlalchemy_pool_report_age_seconds",
            "gauge",
            "Age of the oldest report that counts for this pool; absent while none of its processes has used it.",
            one(lambda each: each.age),
        ),
    ),
)


def _of_pool(read: Callable[[PoolSnapshot], Samples]) -> Callable[[PoolOfProcess], Samples]:
    return lambda each: read(each.pool)


POOL_BY_PROCESS: Table[PoolOfProcess] = Table(
    labels=("pool", "process"),
    identify=lambda each: (each.pool.identity.name, each.process),
    rows=tuple(Metric(row.name, row.kind, row.help, _of_pool(row.read), row.labels, row.buckets) for row in POOL.rows),
)
"""The rows of a pool with the label ``process`` added, for those who ask for it."""
