"""What the tables put on the page, held against what a PromQL expression asks for."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import exporter.metrics
from exporter.labels import (
    CLOSE_REASONS,
    INVALIDATION_CAUSES,
    PROCESS_STATES,
    REJECT_REASONS,
    SAMPLE_ERRORS,
    SESSION_STATES,
)
from exporter.match import MATCHED_SESSIONS
from exporter.metrics.table import Metric, Table

SUFFIXES = {
    "gauge": ("",),
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gaugehistogram": ("_bucket", "_gsum", "_gcount"),
}
"""What Prometheus appends to a metric's name, by type."""

TARGET_LABELS = frozenset({"job", "instance"})
"""What Prometheus itself adds to every series."""

EXTRA_LABELS = frozenset({"process"})
"""What ``processes.per_process`` adds to the pool's metrics."""

KNOWN_VALUES = {
    "state": {"idle", "used", *PROCESS_STATES, *SESSION_STATES},
    "session": {*MATCHED_SESSIONS},
    "reason": {*CLOSE_REASONS, *SAMPLE_ERRORS, *REJECT_REASONS},
    "cause": {*INVALIDATION_CAUSES},
}
"""The values of the labels whose values are known in advance."""

_SELECTOR = re.compile(r"\b(?P<name>(?:sqlalchemy|pool_exporter)_\w+)\s*(?:\{(?P<matchers>[^}]*)\})?")
_MATCHER = re.compile(r'(?P<label>\w+)\s*(?P<operator>=~|!~|!=|=)\s*"(?P<value>[^"]*)"')
_MADE_LABEL = re.compile(r'"(?P<label>\w+)", "[^"]*", "\w*", "[^"]*"\)')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\((?P<labels>[^)]*)\)")


def tables() -> list[Table[Any]]:
    """Find the tables of all modules of ``exporter.metrics``."""
    modules = [
        importlib.import_module(f"exporter.metrics.{module.name}")
        for module in pkgutil.iter_modules(exporter.metrics.__path__)
    ]
    return [value for module in modules for value in vars(module).values() if isinstance(value, Table)]


def series() -> dict[str, tuple[Metric[Any], frozenset[str]]]:
    """Map the name of every series on the page to its row and its labels."""
    return {
        row.name + suffix: (row, frozenset((*table.labels, *row.labels, *(("le",) if suffix == "_bucket" else ()))))
        for table in tables()
        for row in table.rows
        for suffix in SUFFIXES[row.kind]
    }


def faults(expression: str) -> Iterator[str]:
    """Yield every metric, label and label value in an expression that no table puts on the page."""
    known = series()
    named: set[str] = {*TARGET_LABELS, *EXTRA_LABELS, *_MADE_LABEL.findall(expression)}
    for selector in _SELECTOR.finditer(expression):
        if selector["name"] not in known:
            yield f"no such metric: {selector['name']}"
            continue
        labels = known[selector["name"]][1] | TARGET_LABELS
        named |= labels
        for matcher in _MATCHER.finditer(selector["matchers"] or ""):
            yield from _matcher_faults(selector["name"], labels, matcher)
    for grouping in _GROUPING.finditer(expression):
        for label in filter(None, map(str.strip, grouping["labels"].split(","))):
            if label not in named:
                yield f"no metric here has the label {label}"


def _matcher_faults(name: str, labels: frozenset[str], matcher: re.Match[str]) -> Iterator[str]:
    label, value = matcher["label"], matcher["value"]
    if label not in labels:
        yield f"{name} has no label {label}"
    if label not in KNOWN_VALUES or value.startswith("$"):
        return
    pattern = value if "~" in matcher["operator"] else re.escape(value)
    if not any(re.fullmatch(pattern, known) for known in KNOWN_VALUES[label]):
        yield f"no {label} is ever {value}"
