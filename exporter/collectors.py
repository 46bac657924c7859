"""The mouth: subjects and their tables become the metric families of one page."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeHistogramMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from exporter.contained import contain
from exporter.metrics.table import Metric, Table
from exporter.records import Histogram

Content = Sequence[tuple[Table[Any], Iterable[Any]]]
"""Tables with the subjects that they are to be read from."""


class TableCollector(Collector):
    """Makes new families from tables at every scrape, so that a label that is gone is gone from the page.

    ``look`` is called once a scrape and gives each table its subjects. Nothing raises out of ``collect``: one collector
    that raises would lose the whole page, the application's own metrics included.
    """

    def __init__(self, tables: Sequence[Table[Any]], look: Callable[[], Content]) -> None:
        self._tables = tables
        self._look = look

    def describe(self) -> Iterator[Family]:
        """Name the metrics without reading anything; without this, registering would read them all."""
        for table in self._tables:
            for row in table.rows:
                yield _family(table, row)

    def collect(self) -> Iterator[Family]:
        """Read every row of every subject, once."""
        try:
            content = self._look()
        except Exception:
            contain("collect")
            return
        for table, subjects in content:
            ordered = sorted(subjects, key=table.identify)
            for row in table.rows:
                yield _filled(table, row, ordered)


def _filled(table: Table[Any], row: Metric[Any], subjects: Sequence[Any]) -> Family:
    family = _family(table, row)
    try:
        for subject in subjects:
            _add(family, row, table.identify(subject), subject)
    except Exception:
        contain("collect")
        return _family(table, row)
    return family


def _family(table: Table[Any], row: Metric[Any]) -> Family:
    labels = (*table.labels, *row.labels)
    if row.kind == "counter":
        return CounterMetricFamily(row.name, row.help, labels=labels)
    if row.kind == "histogram":
        return HistogramMetricFamily(row.name, row.help, labels=labels)
    if row.kind == "gaugehistogram":
        return GaugeHistogramMetricFamily(row.name, row.help, labels=labels)
    return GaugeMetricFamily(row.name, row.help, labels=labels)


def _add(family: Any, row: Metric[Any], identity: tuple[str, ...], subject: Any) -> None:
    for labels, value in sorted(row.read(subject)):
        if isinstance(value, Histogram):
            family.add_metric((*identity, *labels), cumulated(value, row.buckets), value.sum)
        elif value is not None:
            family.add_metric((*identity, *labels), value)


def cumulated(histogram: Histogram, bounds: Sequence[float]) -> list[tuple[str, float]]:
    """Return the buckets as the exposition wants them: upper bound as text, everything up to it as count."""
    names = [*map(floatToGoString, bounds), "+Inf"]
    return list(zip(names, map(float, itertools.accumulate(histogram.counts)), strict=True))
