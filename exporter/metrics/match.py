"""The match, which neither side can see alone: rows that hold a pool against a server."""

from __future__ import annotations

from exporter.metrics.table import Metric, Table
from exporter.records import Match

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
    ),
)
