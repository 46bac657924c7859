"""What a row of a table is, and the short ways to write one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from exporter.records import Histogram

S = TypeVar("S")
Value = float | Histogram | None
Samples = Iterable[tuple[tuple[str, ...], Value]]
Kind = Literal["gauge", "counter", "histogram", "gaugehistogram"]


@dataclass(frozen=True)
class Metric(Generic[S]):
    """One metric: its name, type, meaning, further labels, and what it reads from a subject ``S``.

    ``read`` gives pairs of label values and value; a value of None leaves the sample out. ``buckets`` are the upper
    bounds of a histogram's counts, without the last, endless one.
    """

    name: str
    kind: Kind
    help: str
    read: Callable[[S], Samples]
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


@dataclass(frozen=True)
class Table(Generic[S]):
    """Rows that read the same kind of subject, the labels that all of them have, and how to tell those of a subject."""

    labels: tuple[str, ...]
    identify: Callable[[S], tuple[str, ...]]
    rows: tuple[Metric[S], ...]


def one(get: Callable[[S], Value]) -> Callable[[S], Samples]:
    """Read a single value without further labels."""
    return lambda subject: (((), get(subject)),)


def by_label(get: Callable[[S], Mapping[str, float]], known: tuple[str, ...] = ()) -> Callable[[S], Samples]:
    """Read one value for each label value; those known in advance are there from the start, with 0.

    One that is not known, from a newer version or from a file that somebody forged, is summed as ``other`` where there
    is that, and else left out: what a page shows is bounded.
    """
    return lambda subject: (((label,), value) for label, value in among(known, get(subject)).items())


def among(known: tuple[str, ...], found: Mapping[str, float]) -> dict[str, float]:
    """Return the values of all known labels, those of unknown ones as `by_label` does; all, where none is known."""
    values: dict[str, float] = dict.fromkeys(known, 0)
    for label, value in found.items():
        shown = label if label in values or not known else "other"
        if shown in values or not known:
            values[shown] = values.get(shown, 0) + value
    return values
