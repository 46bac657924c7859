"""The errors that this library keeps to itself: the one row that an application's page and the sidecar's share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from exporter.contained import PLACES
from exporter.metrics.table import Metric, Table, by_label

S = TypeVar("S")


def contained_errors_row(read: Callable[[S], Mapping[str, float]]) -> Metric[S]:
    """Return the row of contained errors for tables whose subjects know them."""
    return Metric(
        "pool_exporter_contained_errors",
        "counter",
        "Errors of the exporter that it kept to itself, by place; none is expected.",
        by_label(read, PLACES),
        labels=("where",),
    )


CONTAINED: Table[Mapping[str, float]] = Table(
    labels=(), identify=lambda _: (), rows=(contained_errors_row(lambda counts: counts),)
)
