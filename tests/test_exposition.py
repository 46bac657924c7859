"""The exposition: byte for byte what prometheus_client writes, whatever is asked for and whatever there is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeHistogramMetricFamily, GaugeMetricFamily, Metric, UnknownMetricFamily
from prometheus_client.registry import Collector

from exporter import exposition
from exporter.exposition import negotiated
from overviews import Showing

OPENMETRICS = "application/openmetrics-text; version={}; escaping={}"
TEXT = "text/plain; version={}; escaping={}"
ACCEPTS = [
    *("", "*/*", "text/plain", "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", "application/openmetrics-text"),
    *("application/openmetrics-text;version=0.0.1", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"),
    *(TEXT.format("1.0.0", way) for way in ("underscores", "allow-utf-8", "values", "dots", "nonsense")),
    *(OPENMETRICS.format(version, "underscores") for version in ("1.0.0", "2.0.0")),
    *(OPENMETRICS.format("1.0.0", way) for way in ("allow-utf-8", "dots", "nonsense")),
]
HOSTILE = ["", "a", 'quote " and \\ backslash', "line\nbreak", "naïve ☃ 𝄞", "\x00\x7f", "{}=,#", "\\n", " "]


class Families(Collector):
    """Families as a custom collector gives them."""

    def __init__(self, *families: Metric) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Give them."""
        return iter(self._families)


def kinds(registry: CollectorRegistry) -> None:
    """Make a metric of every kind that there is."""
    Counter("visits", 'Help with "quotes", \\ and\nlines.', ["a", "b"], registry=registry).labels("x", "y").inc(1e21)
    Gauge("heat", "Heat.", registry=registry).set(float("nan"))
    Gauge("limit", "Limit.", registry=registry).set(float("inf"))
    Histogram("took_seconds", "Took.", ["z", "a"], registry=registry).labels("1", "2").observe(0.3)
    Summary("size_bytes", "Size.", registry=registry).observe(3)
    Info("build", "Build.", registry=registry).info({"version": "1"})
    Enum("mood", "Mood.", states=["good", "bad"], registry=registry).state("bad")
    asleep = GaugeHistogramMetricFamily("asleep_seconds", "Asleep.", labels=["user"], unit="seconds")
    asleep.add_metric(["app"], [("1.0", 2.0), ("+Inf", 3.0)], 4.5)
    unknown = UnknownMetricFamily("what", "What.", value=-0.0)
    registry.register(Families(asleep, unknown, GaugeMetricFamily("nothing", "No sample.", labels=["a"])))


def hostile(registry: CollectorRegistry) -> None:
    """Make labels of everything."""
    gauge = Gauge("named", "Named.", ["user", "client"], registry=registry)
    for number, user in enumerate(HOSTILE):
        gauge.labels(user, HOSTILE[-number]).set(number / 3)


def timed(registry: CollectorRegistry) -> None:
    """Make a sample that has a time."""
    family = GaugeMetricFamily("timed", "Timed.", labels=["a"])
    family.add_metric(["x"], 1.0, timestamp=0)
    registry.register(Families(family))


def exemplary(registry: CollectorRegistry) -> None:
    """Make a sample with an exemplar."""
    Counter("traced", "Traced.", registry=registry).inc(1, {"trace": "abc"})


def foreign(registry: CollectorRegistry) -> None:
    """Make names that are not plain."""
    Gauge("größe.gesamt", "Size.", ["schlüssel"], registry=registry).labels("x").set(1)


@pytest.mark.parametrize("accept", ACCEPTS)
@pytest.mark.parametrize("make", [kinds, hostile, timed, exemplary, foreign])
def test_every_kind_is_written_alike(make: object, accept: str) -> None:
    """Every kind, value and label comes out the same; what is unusual is left to prometheus_client."""
    registry = CollectorRegistry()
    assert callable(make)
    make(registry)
    encode, content_type, _ = negotiated(accept)
    theirs, their_type = choose_encoder(accept)
    assert content_type == their_type
    if "escaping=values" not in content_type or make is foreign:
        assert encode(registry) == theirs(registry)


@pytest.mark.parametrize("accept", ACCEPTS)
def test_our_page_is_written_alike(accept: str) -> None:
    """So does a page of ours, but for what changes from one to the next."""
    registry = Showing().registry
    encode, _, _ = negotiated(accept)
    assert ours(encode(registry)) == ours(choose_encoder(accept)[0](registry))


def test_values_escaped_keep_plain_names() -> None:
    """That leaves plain names as they are, which prometheus_client 0.26 does not: it writes U__ before each."""
    registry = Showing().registry
    pages = [negotiated(OPENMETRICS.format("1.0.0", way))[0](registry) for way in ("values", "underscores")]
    assert ours(pages[0]) == ours(pages[1])


def test_our_own_collectors_have_nothing_unusual(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is we who write a page of ours, in each of the usual formats."""
    monkeypatch.setattr(exposition, "choose_encoder", lambda _accept: (None, choose_encoder(_accept)[1]))
    for accept in ("", OPENMETRICS.format("1.0.0", "underscores")):
        assert negotiated(accept)[0](Showing().registry)


def test_an_accept_header_that_is_none_is_answered_in_text() -> None:
    """A version that is no number raises in prometheus_client; here it is answered."""
    encode, content_type, _ = negotiated("application/openmetrics-text;version=never")
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert encode(CollectorRegistry()) == b""


def ours(page: bytes) -> list[bytes]:
    """Leave out what tells of this process, and changes from page to page."""
    kept = [line for line in page.splitlines() if b"python_" not in line and b"process_" not in line]
    assert len(kept) > 200
    return kept
