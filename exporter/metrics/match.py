"""The match, which neither side can see alone: rows that hold a pool against a server."""

from __future__ import annotations

from exporter.conclusions import Match, Unowned
from exporter.metrics.table import Metric, Table, Value, one


def _if_possible(match: Match, value: Value) -> Value:
    return value if match.possible else None


MATCH: Table[Match] = Table(
    labels=("pool", "server"),
    identify=lambda match: (match.pool, match.server),
    rows=(
        Metric(
            "sqlalchemy_pool_matched_connections",
            "gauge",
            "Pooled connections by what the pool says of them (state) and what the server says (session).",
            lambda match: [(pair, count) for pair, count in match.pairs.items()],
            labels=("state", "session"),
        ),
        Metric(
            "sqlalchemy_pool_leak_suspects",
            "gauge",
            "Connections used for longer than leak_after whose sessions have slept for as long.",
            one(lambda match: _if_possible(match, match.leak_suspects)),
        ),
        Metric(
            "sqlalchemy_pool_stale_connections",
            "gauge",
            "Connections idle in the pool that the server has ended, too young for pool_recycle: without a ping, "
            "the next user gets an error.",
            one(lambda match: _if_possible(match, match.stale)),
        ),
        Metric(
            "sqlalchemy_pool_expiry_seconds",
            "gauge",
            "Until the server closes the pool's next sleeping connection, if left unused; absent where it never does.",
            one(lambda match: _if_possible(match, match.expiry)),
        ),
        Metric(
            "sqlalchemy_pool_match_possible",
            "gauge",
            "0 when the ids of the pool's connections are no sessions' of the server, as behind a proxy; else 1.",
            one(lambda match: float(match.possible)),
        ),
    ),
)

UNOWNED: Table[Unowned] = Table(
    labels=("server", "user", "database", "client"),
    identify=lambda unowned: (unowned.server, unowned.user, unowned.database, unowned.client),
    rows=(
        Metric(
            "sqlalchemy_server_unowned_sessions",
            "gauge",
            "Sessions asleep for more than 5 s that look like the pools' own, and that no live pool owns; sampled.",
            one(lambda unowned: unowned.count),
        ),
    ),
)
