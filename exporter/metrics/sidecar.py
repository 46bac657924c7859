"""The exporter itself: the rows of ``pool_exporter_*``, which only the sidecar shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.labels import FOLDED, REJECT_REASONS
from exporter.metrics.contained import contained_errors_row
from exporter.metrics.table import Metric, Table, by_label, one


@dataclass(frozen=True)
class Build:
    """What runs here. ``revision`` is empty when whoever built it did not say."""

    version: str
    revision: str
    python: str
    sqlalchemy: str


@dataclass(frozen=True)
class Self:
    """What the sidecar says of itself; ``configured_at`` is seconds since 1970."""

    build: Build
    configured: bool
    configured_at: float
    contained: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    folded: Mapping[str, int] = field(default_factory=dict)


SELF: Table[Self] = Table(
    labels=(),
    identify=lambda _: (),
    rows=(
        Metric(
            "pool_exporter_build_info",
            "gauge",
            "What the exporter is made of; always 1.",
            lambda self: (((self.build.version, self.build.revision, self.build.python, self.build.sqlalchemy), 1.0),),
            labels=("version", "revision", "python", "sqlalchemy"),
        ),
        Metric(
            "pool_exporter_config_last_reload_successful",
            "gauge",
            "1 when the configuration was good the last time it was read, else 0.",
            one(lambda self: float(self.configured)),
        ),
        Metric(
            "pool_exporter_config_last_reload_timestamp_seconds",
            "gauge",
            "When the configuration was last read and good, in seconds since 1970.",
            one(lambda self: self.configured_at),
        ),
        contained_errors_row(lambda self: self.contained),
        Metric(
            "pool_exporter_snapshots_rejected",
            "counter",
            "Files among the published snapshots that were not read, each version of a file once, by reason.",
            by_label(lambda self: self.rejected, REJECT_REASONS),
            labels=("reason",),
        ),
        Metric(
            "pool_exporter_labels_folded",
            "gauge",
            "Names of each kind that are too many to be shown one by one, and are summed as other; long ones are cut.",
            by_label(lambda self: self.folded, FOLDED),
            labels=("kind",),
        ),
    ),
)
