"""The mouth: subjects and their tables become the metric families of one page."""

from __future__ import annotations

import itertools
import logging
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
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

_log = logging.getLogger(__name__)
_SUFFIXES = {
    "counter": ("_total", "_created"),
    "histogram": ("_bucket", "_sum", "_count", "_created"),
    "gaugehistogram": ("_bucket", "_gsum", "_gcount"),
}

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
            taken = self._taken()
        except Exception:
            contain("collect")
            return
        for table, subjects in content:
            ordered = sorted(subjects, key=table.identify)
            for row in table.rows:
                if row.name not in taken:
                    yield _filled(table, row, ordered)

    def join(self, registry: CollectorRegistry) -> None:
        """Register. Raises ValueError when somebody else has metrics of these names there."""
        registry.register(self)

    def _taken(self) -> frozenset[str]:
        """Return the rows whose names are somebody else's: none, for a registry refuses a name that is taken."""
        return frozenset()


class GuestCollector(TableCollector):
    """Shows the tables in a registry that was not asked whether it wants them, and claims no name there.

    The application's own metrics of these names can be registered before and after, as if we were not there; ours of
    the same names are left out then, which is said once.
    """

    def __init__(
        self, tables: Sequence[Table[Any]], look: Callable[[], Content], *, registry: CollectorRegistry
    ) -> None:
        super().__init__(tables, look)
        self._registry = weakref.ref(registry)
        self._said = False

    def describe(self) -> Iterator[Family]:
        """Name nothing."""
        return iter(())

    def join(self, registry: CollectorRegistry) -> None:
        """Register, and answer to name[] filters too, which know collectors by the names that they claim."""
        super().join(registry)
        others = getattr(registry, "_collectors_without_names", None)
        if isinstance(others, list) and self not in others:
            others.append(self)

    def _taken(self) -> frozenset[str]:
        others = getattr(self._registry(), "_names_to_collectors", {})
        rows = (row for table in self._tables for row in table.rows)
        taken = frozenset(row.name for row in rows if any(name in others for name in _names(row)))
        if taken and not self._said:
            self._said = True
            _log.warning(
                "the application has metrics of its own called %s; the pools' metrics of these names are "
                "left out; rename "
                "the application's to have both",
                ", ".join(sorted(taken)),
            )
        return taken


def is_registered(collector: TableCollector, registry: CollectorRegistry) -> bool:
    """Tell whether a registry still has this collector: test suites take out whatever they find there."""
    return collector in getattr(registry, "_collector_to_names", (collector,))


def _names(row: Metric[Any]) -> Iterator[str]:
    yield row.name
    for suffix in _SUFFIXES.get(row.kind, ()):
        yield row.name + suffix


def _filled(table: Table[Any], row: Metric[Any], subjects: Sequence[Any]) -> Family:
    family = _family(table, row)
    for subject in subjects:
        before = len(family.samples)
        try:
            _add(family, row, table.identify(subject), subject)
        except Exception:  # the others' figures are right
            contain("collect")
            del family.samples[before:]
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
