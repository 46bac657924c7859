"""The server, as the database sees it: the rows of ``sqlalchemy_server_*``, sampled on a schedule."""

from __future__ import annotations

from collections.abc import Callable

from exporter.buckets import SLEEP_BUCKETS
from exporter.labels import SAMPLE_ERRORS
from exporter.metrics.table import Metric, Samples, Table, Value, by_label, one
from exporter.records import ServerSnapshot, ServerView, Sleepers


def _sampled(read: Callable[[ServerSnapshot], Samples]) -> Callable[[ServerView], Samples]:
    """Read from the last good sample; nothing while there is none, or it is too old to be true."""
    return lambda view: () if view.snapshot is None else read(view.snapshot)


def _sleepers(get: Callable[[Sleepers], Value]) -> Callable[[ServerView], Samples]:
    return _sampled(lambda snapshot: [((row.user, row.database), get(row)) for row in snapshot.sleepers])


SERVER: Table[ServerView] = Table(
    labels=("server",),
    identify=lambda view: (view.name,),
    rows=(
        Metric(
            "sqlalchemy_server_up",
            "gauge",
            "1 when the last sample of this server succeeded, else 0.",
            one(lambda view: float(view.up)),
        ),
        Metric(
            "sqlalchemy_server_info",
            "gauge",
            "What this server is; always 1. The label source is the table that is asked for sessions.",
            _sampled(lambda snapshot: (((snapshot.dialect, snapshot.version, snapshot.source), 1.0),)),
            labels=("dialect", "version", "source"),
        ),
        Metric(
            "sqlalchemy_server_sessions",
            "gauge",
            "Client sessions on the server, sampled; the sampler's own are left out.",
            _sampled(
                lambda snapshot: [
                    ((group.user, group.database, group.client, group.state), group.count) for group in snapshot.groups
                ]
            ),
            labels=("user", "database", "client", "state"),
        ),
        Metric(
            "sqlalchemy_server_sleep_seconds",
            "gaugehistogram",
            "How long the sessions that sleep now have slept, sampled.",
            _sleepers(lambda row: row.sleep_seconds),
            labels=("user", "database"),
            buckets=SLEEP_BUCKETS,
        ),
        Metric(
            "sqlalchemy_server_sleep_longest_seconds",
            "gauge",
            "How long the longest of the sleeping sessions has slept, sampled.",
            _sleepers(lambda row: row.longest),
            labels=("user", "database"),
        ),
        Metric(
            "sqlalchemy_server_transaction_longest_seconds",
            "gauge",
            "Age of the oldest transaction that a sleeping session holds open, sampled.",
            _sampled(lambda snapshot: [((row.user, row.database), row.longest) for row in snapshot.transactions]),
            labels=("user", "database"),
        ),
        Metric(
            "sqlalchemy_server_stale_sessions",
            "gauge",
            "Sessions asleep for longer than the server's stale_after, sampled.",
            _sleepers(lambda row: row.stale),
            labels=("user", "database"),
        ),
        Metric(
            "sqlalchemy_server_connections",
            "gauge",
            "All client connections to the server, sampled.",
            one(lambda view: None if view.snapshot is None else view.snapshot.connections),
        ),
        Metric(
            "sqlalchemy_server_connections_max",
            "gauge",
            "Most connections the server allows to ordinary users: its limit less what it reserves.",
            one(lambda view: None if view.snapshot is None else view.snapshot.connections_max),
        ),
        Metric(
            "sqlalchemy_server_idle_timeout_seconds",
            "gauge",
            "After how long the server ends an idle session: the shortest that pools' sessions get; absent where off.",
            _sampled(lambda snapshot: [((name,), seconds) for name, seconds in snapshot.idle_timeouts.items()]),
            labels=("timeout",),
        ),
        Metric(
            "sqlalchemy_server_aborted",
            "counter",
            "Sessions that ended without a goodbye (client) and failed logins (connect); absent where not counted.",
            _sampled(lambda snapshot: [((kind,), count) for kind, count in snapshot.aborted.items()]),
            labels=("kind",),
        ),
        Metric(
            "sqlalchemy_server_sessions_hidden",
            "gauge",
            "Sessions that exist but that the sampler may not see, sampled; absent when that cannot be told.",
            one(lambda view: view.hidden),
        ),
        Metric(
            "sqlalchemy_server_sample_interval_seconds",
            "gauge",
            "How often the server is sampled now: the configured interval, or longer while samples take too long.",
            one(lambda view: view.interval),
        ),
        Metric(
            "sqlalchemy_server_sample_seconds",
            "gauge",
            "How long the last sample took.",
            one(lambda view: view.sample_seconds),
        ),
        Metric(
            "sqlalchemy_server_sample_timestamp_seconds",
            "gauge",
            "When the last good sample was taken, in seconds since 1970.",
            one(lambda view: view.sampled_at),
        ),
        Metric(
            "sqlalchemy_server_sample_errors",
            "counter",
            "Samples that failed, by reason.",
            by_label(lambda view: view.errors, SAMPLE_ERRORS),
            labels=("reason",),
        ),
    ),
)
