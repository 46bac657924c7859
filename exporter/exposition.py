"""The exposition: families as text, what prometheus_client writes to the byte, in less than half of its time.

Its encoders escape and test each name and value of each sample anew, which takes longer than all else that a scrape
does (docs/sampling.md). A page has thousands of labels and few different ones, so here each pair is written once.
The formats: https://prometheus.io/docs/instrumenting/exposition_formats/ and
https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

Encoder = Callable[[Collector], bytes]

TEXT, OPENMETRICS = "text", "openmetrics"
"""The forms that are usual; any other is its content type."""

_number: Callable[[float], str] = floatToGoString

# Names that are plain, as all of ours are, are the same however they are to be escaped, but for dots: those double
# underscores. (prometheus_client 0.26 writes `U__` before each name where values are asked for.)
_TEXT = re.compile(r"text/plain; version=(0\.0\.4|1\.0\.0); charset=utf-8(; escaping=(?!dots).*)?")
_OPENMETRICS = re.compile(r"application/openmetrics-text; version=1\.0\.0; charset=utf-8(; escaping=(?!dots).*)?")
_PLAIN_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")

# What the text format calls the kinds of OpenMetrics that it does not know.
_TEXT_KINDS = {"info": "gauge", "stateset": "gauge", "gaugehistogram": "histogram", "unknown": "untyped"}
_TEXT_SUFFIXES = {"counter": "_total", "info": "_info"}
_APART = ("_created", "_gcount", "_gsum")
"""Samples that the text format knows as gauges of their own."""


class UnusualError(Exception):
    """There is something that our own collectors never have: prometheus_client knows how to write it."""


def negotiated(accepted: str) -> tuple[Encoder, str, str]:
    """Return what writes a page for an Accept header, its content type, and its form: of one form all are equal."""
    try:
        theirs, content_type = choose_encoder(accepted)
    except Exception:
        # "version=never" raises TypeError in prometheus_client 0.26; the text format is for everyone.
        theirs, content_type = choose_encoder("")
    if _TEXT.fullmatch(content_type):
        return _either(_text, theirs), content_type, TEXT
    if _OPENMETRICS.fullmatch(content_type):
        return _either(_openmetrics, theirs), content_type, OPENMETRICS
    return theirs, content_type, content_type


def _either(ours: Callable[[Iterable[Family]], Iterator[str]], theirs: Encoder) -> Encoder:
    def encode(registry: Collector) -> bytes:
        try:
            return "".join(ours(registry.collect())).encode()
        except UnusualError:
            return theirs(registry)

    return encode


class _Labels(dict[tuple[str, str], str]):
    """A label and its value as they are written, once for each pair."""

    def __missing__(self, pair: tuple[str, str]) -> str:
        name, value = pair
        written = self[pair] = f'{_checked(name)}="{_escaped(value)}"'
        return written


def _text(families: Iterable[Family]) -> Iterator[str]:
    labels = _Labels()
    for family in families:
        apart: dict[str, list[str]] = {}
        name = family.name + _TEXT_SUFFIXES.get(family.type, "")
        yield _head(name, _TEXT_KINDS.get(family.type, family.type), _escaped_help(family.documentation))
        for sample in family.samples:
            suffix = sample.name[len(family.name) :]
            if suffix in _APART and sample.name.startswith(family.name):
                apart.setdefault(suffix, []).append(_line(sample, labels))
            else:
                yield _line(sample, labels)
        for suffix, lines in sorted(apart.items()):
            yield _head(family.name + suffix, "gauge", _escaped_help(family.documentation))
            yield from lines


def _openmetrics(families: Iterable[Family]) -> Iterator[str]:
    labels = _Labels()
    for family in families:
        yield _head(family.name, family.type, _escaped(family.documentation))
        if family.unit:
            yield f"# UNIT {family.name} {family.unit}\n"
        for sample in family.samples:
            yield _line(sample, labels)
    yield "# EOF\n"


def _head(name: str, kind: str, documentation: str) -> str:
    return f"# HELP {_checked(name)} {documentation}\n# TYPE {name} {kind}\n"


def _line(sample: Sample, labels: _Labels) -> str:
    name, pairs, value, *rest = sample
    if rest.count(None) != len(rest):  # a time, an exemplar, a native histogram
        raise UnusualError
    number = _number(value)
    if not pairs:
        return f"{name} {number}\n"
    return f"{name}{{{','.join(map(labels.__getitem__, sorted(pairs.items())))}}} {number}\n"


def _checked(name: str) -> str:
    if _PLAIN_NAME.fullmatch(name) is None:
        raise UnusualError
    return name


def _escaped(text: str) -> str:
    return _escaped_help(text).replace('"', r"\"")


def _escaped_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
