"""The self-check: the row by which we learn of our own mistakes, on the application's page and on the sidecar's."""

from __future__ import annotations

from collections.abc import Iterable

from exporter.conclusions import Drift
from exporter.metrics.table import Metric, Table, one
from exporter.records import PoolSnapshot

DRIFT: Table[Drift] = Table(
    labels=("pool", "between"),
    identify=lambda drift: (drift.pool, drift.between),
    rows=(
        Metric(
            "pool_exporter_drift",
            "gauge",
            "Connections that two views of a pool have placed differently for a while; 0 is expected.",
            one(lambda drift: drift.count),
        ),
    ),
)


def drifts(pools: Iterable[PoolSnapshot]) -> tuple[Drift, ...]:
    """Return what the processes have found, for the pools that can tell."""
    return tuple(Drift(pool.identity.name, "events_pool", pool.drift) for pool in pools if pool.drift is not None)
