"""The pool, as the application sees it: all rows of ``sqlalchemy_pool_*``, and those of them that say how it is now."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from exporter.folding import few_sites
from exporter.metrics.pool_counts import POOL_COUNTS
from exporter.metrics.table import Metric, Samples, Table, by_label, one
from exporter.records import PoolSnapshot


def _sites(get: Callable[[PoolSnapshot], Mapping[str, int]]) -> Callable[[PoolSnapshot], Samples]:
    return lambda pool: [((site,), count) for site, count in few_sites(get(pool)).items()]


_NOW: tuple[Metric[PoolSnapshot], ...] = (
    Metric(
        "sqlalchemy_pool_info",
        "gauge",
        "What this pool is; always 1.",
        lambda pool: (
            (
                (
                    pool.identity.pool_class,
                    pool.identity.dialect,
                    pool.identity.driver,
                    pool.identity.host,
                    pool.identity.database,
                ),
                1.0,
            ),
        ),
        labels=("pool_class", "dialect", "driver", "host", "database"),
    ),
    Metric(
        "sqlalchemy_pool_connections",
        "gauge",
        "Open connections of the pool: idle in it, or used (checked out).",
        by_label(lambda pool: {"idle": pool.idle, "used": pool.used}),
        labels=("state",),
    ),
    Metric(
        "sqlalchemy_pool_connections_max",
        "gauge",
        "Most connections the pool may open (pool_size + max_overflow), over all processes; +Inf when unlimited.",
        one(lambda pool: pool.connections_max),
    ),
    Metric(
        "sqlalchemy_pool_size",
        "gauge",
        "Configured persistent size of the pool (pool_size), summed over processes.",
        one(lambda pool: pool.size),
    ),
    Metric(
        "sqlalchemy_pool_overflow",
        "gauge",
        "Connections open beyond the size of the pool; never negative.",
        one(lambda pool: pool.overflow),
    ),
    Metric(
        "sqlalchemy_pool_detached",
        "gauge",
        "Connections that were detached from the pool and are not yet closed.",
        one(lambda pool: pool.detached),
    ),
    Metric(
        "sqlalchemy_pool_orphaned",
        "gauge",
        "Connections still open in a pool that was disposed of.",
        one(lambda pool: pool.orphaned),
    ),
    Metric(
        "sqlalchemy_pool_waiting",
        "gauge",
        "Threads or tasks that wait for a connection now.",
        one(lambda pool: pool.waiting),
    ),
    Metric(
        "sqlalchemy_pool_waiting_longest_seconds",
        "gauge",
        "How long the longest of those waits has lasted so far; 0 when nobody waits.",
        one(lambda pool: pool.waiting_longest_seconds),
    ),
    Metric(
        "sqlalchemy_pool_used_longest_seconds",
        "gauge",
        "Age of the oldest checkout that is still out; 0 when none is.",
        one(lambda pool: pool.used_longest_seconds),
    ),
    Metric(
        "sqlalchemy_pool_overdue",
        "gauge",
        "Checkouts that have been out for longer than leak_after.",
        one(lambda pool: pool.overdue),
    ),
    Metric(
        "sqlalchemy_pool_overdue_by_site",
        "gauge",
        "Overdue checkouts by the place in the application's code that took them; the rest is summed as other.",
        _sites(lambda pool: pool.overdue_by_site),
        labels=("site",),
    ),
)

_SETTINGS: tuple[Metric[PoolSnapshot], ...] = (
    Metric(
        "sqlalchemy_pool_recycle_seconds",
        "gauge",
        "Configured pool_recycle: the age at which a connection is replaced; absent when off.",
        one(lambda pool: pool.recycle_seconds),
    ),
    Metric(
        "sqlalchemy_pool_timeout_seconds",
        "gauge",
        "Configured pool_timeout: how long a checkout waits before it fails.",
        one(lambda pool: pool.timeout_seconds),
    ),
    Metric(
        "sqlalchemy_pool_pre_ping",
        "gauge",
        "1 when pool_pre_ping is on, in every process of the pool, else 0.",
        one(lambda pool: None if pool.pre_ping is None else float(pool.pre_ping)),
    ),
)

POOL: Table[PoolSnapshot] = Table(
    labels=("pool",), identify=lambda pool: (pool.identity.name,), rows=(*_NOW, *POOL_COUNTS, *_SETTINGS)
)
