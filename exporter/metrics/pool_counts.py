"""What happened in a pool so far: the counters and histograms of ``sqlalchemy_pool_*``."""

from __future__ import annotations

from exporter.buckets import (
    CONNECT_BUCKETS,
    IDLE_BUCKETS,
    LIFETIME_BUCKETS,
    PING_BUCKETS,
    USE_BUCKETS,
    WAIT_BUCKETS,
)
from exporter.labels import CLOSE_REASONS, INVALIDATION_CAUSES, STALE_CODES
from exporter.metrics.table import Metric, Samples, among, by_label, one
from exporter.records import PoolSnapshot


def _stale(pool: PoolSnapshot) -> Samples:
    for found, met in (("ping", pool.stale_ping), ("use", pool.stale_use)):
        for code, count in among(STALE_CODES, met).items():
            yield (found, code), count


POOL_COUNTS: tuple[Metric[PoolSnapshot], ...] = (
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
)
