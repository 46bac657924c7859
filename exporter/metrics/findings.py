"""The findings: the row that says which pool is configured so that it will fail on its server."""

from __future__ import annotations

from exporter.conclusions import Finding
from exporter.metrics.table import Metric, Table, one

FINDING: Table[Finding] = Table(
    labels=("pool", "server", "finding"),
    identify=lambda finding: (finding.pool, finding.server, finding.finding),
    rows=(
        Metric(
            "sqlalchemy_pool_finding",
            "gauge",
            "Always 1: how this pool is configured will fail on this server; absent as soon as it will not.",
            one(lambda _: 1.0),
        ),
    ),
)
