"""The pool, as the application sees it: the rows of ``sqlalchemy_pool_*``."""

from __future__ import annotations

from exporter.metrics.table import Metric, Table, by_label, one
from exporter.records import CLOSE_REASONS, INVALIDATION_CAUSES, USE_BUCKETS, PoolSnapshot

POOL: Table[PoolSnapshot] = Table(
    labels=("pool",),
    identify=lambda pool: (pool.identity.name,),
    rows=(
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
            "sqlalchemy_pool_checkouts",
            "counter",
            "Connections handed to the application.",
            one(lambda pool: pool.checkouts),
        ),
        Metric(
            "sqlalchemy_pool_checkins",
            "counter",
            "Connections given back by the application, also those found unusable on their way back.",
            one(lambda pool: pool.checkins),
        ),
        Metric(
            "sqlalchemy_pool_connects",
            "counter",
            "Connections opened to the server.",
            one(lambda pool: pool.connects),
        ),
        Metric(
            "sqlalchemy_pool_closes",
            "counter",
            "Connections closed by the pool, by reason.",
            by_label(lambda pool: pool.closes, CLOSE_REASONS),
            labels=("reason",),
        ),
        Metric(
            "sqlalchemy_pool_invalidations",
            "counter",
            "Connections declared unusable, by cause.",
            by_label(lambda pool: pool.invalidations, INVALIDATION_CAUSES),
            labels=("cause",),
        ),
        Metric(
            "sqlalchemy_pool_use_seconds",
            "histogram",
            "How long connections were out, from checkout to return.",
            one(lambda pool: pool.use_seconds),
            buckets=USE_BUCKETS,
        ),
    ),
)
