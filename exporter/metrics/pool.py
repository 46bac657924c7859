"""The pool, as the application sees it: the rows of ``sqlalchemy_pool_*``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from exporter.metrics.table import Metric, Samples, Table, by_label, one
from exporter.records import (
    CLOSE_REASONS,
    CONNECT_BUCKETS,
    IDLE_BUCKETS,
    INVALIDATION_CAUSES,
    LIFETIME_BUCKETS,
    PING_BUCKETS,
    STALE_CODES,
    USE_BUCKETS,
    WAIT_BUCKETS,
    PoolSnapshot,
)


def _stale(pool: PoolSnapshot) -> Samples:
    known = dict.fromkeys(STALE_CODES, 0)
    for found, met in (("ping", pool.stale_ping), ("use", pool.stale_use)):
        for code, count in {**known, **met}.items():
            yield (found, code), count


def _sites(get: Callable[[PoolSnapshot], Mapping[str, int]]) -> Callable[[PoolSnapshot], Samples]:
    return lambda pool: [((site,), count) for site, count in get(pool).items()]


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
            "sqlalchemy_pool_connect_errors",
            "counter",
            "Connections that could not be opened.",
            one(lambda pool: pool.connect_errors),
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
            "sqlalchemy_pool_stale",
            "counter",
            "Dead connections met, by the driver's code: found by ping (harmless) or use (a user saw the error).",
            _stale,
            labels=(
                "found",
                "code",
            ),
        ),
        Metric(
            "sqlalchemy_pool_timeouts",
            "counter",
            "Waits for a connection that ended in the pool's timeout.",
            one(lambda pool: pool.timeouts),
        ),
        Metric(
            "sqlalchemy_pool_overdue_checkouts",
            "counter",
            "Checkouts that became overdue, each counted once.",
            one(lambda pool: pool.overdue_checkouts),
        ),
        Metric(
            "sqlalchemy_pool_garbage_collected",
            "counter",
            "Connections never given back, which the garbage collector took from who had forgotten them.",
            one(lambda pool: pool.garbage_collected),
        ),
        Metric(
            "sqlalchemy_pool_detaches",
            "counter",
            "Connections detached from the pool.",
            one(lambda pool: pool.detaches),
        ),
        Metric(
            "sqlalchemy_pool_disposals",
            "counter",
            "Pools disposed of.",
            one(lambda pool: pool.disposals),
        ),
        Metric(
            "sqlalchemy_pool_wait_seconds",
            "histogram",
            "Waiting for the pool to give a connection; making or pinging one is not in it.",
            one(lambda pool: pool.wait_seconds),
            buckets=WAIT_BUCKETS,
        ),
        Metric(
            "sqlalchemy_pool_connect_seconds",
            "histogram",
            "Making a new connection.",
            one(lambda pool: pool.connect_seconds),
            buckets=CONNECT_BUCKETS,
        ),
        Metric(
            "sqlalchemy_pool_use_seconds",
            "histogram",
            "How long connections were out, from checkout to return.",
            one(lambda pool: pool.use_seconds),
            buckets=USE_BUCKETS,
        ),
        Metric(
            "sqlalchemy_pool_idle_seconds",
            "histogram",
            "How long a connection had lain idle when it was taken again.",
            one(lambda pool: pool.idle_seconds),
            buckets=IDLE_BUCKETS,
        ),
        Metric(
            "sqlalchemy_pool_lifetime_seconds",
            "histogram",
            "Age of connections when they were closed.",
            one(lambda pool: pool.lifetime_seconds),
            buckets=LIFETIME_BUCKETS,
        ),
        Metric(
            "sqlalchemy_pool_ping_seconds",
            "histogram",
            "What each ping of pool_pre_ping cost.",
            one(lambda pool: pool.ping_seconds),
            buckets=PING_BUCKETS,
        ),
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
            "1 when pool_pre_ping is on, else 0.",
            one(lambda pool: None if pool.pre_ping is None else float(pool.pre_ping)),
        ),
    ),
)
