"""The processes behind the pools: how many report each, and what each of them reports by itself. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from exporter.folding import OTHER
from exporter.labels import PROCESS_STATES
from exporter.merge import add_up
from exporter.records import PoolSnapshot, ProcessReport

ENDED = "ended"
"""The label ``process`` of what all ended processes had counted."""


@dataclass(frozen=True)
class Reporters:
    """How many processes report a pool, by state, and the age in seconds of the oldest of their reports.

    ``age`` is None when nobody reports it any more, and when nothing happens in those that do.
    """

    pool: str
    by_state: Mapping[str, int]
    age: float | None


@dataclass(frozen=True)
class PoolOfProcess:
    """One pool of one process; those of ended processes are added up as one."""

    process: str
    pool: PoolSnapshot


def reporters(reports: Sequence[ProcessReport], pools: Iterable[PoolSnapshot]) -> tuple[Reporters, ...]:
    """Count who reports each of ``pools``; those that no living process has any more are there with 0."""
    counts: dict[str, Counter[str]] = {pool.identity.name: Counter(dict.fromkeys(PROCESS_STATES, 0)) for pool in pools}
    ages: dict[str, float] = {}
    for report in reports:
        for name in {pool.identity.name for pool in report.snapshot.pools}:
            counts.setdefault(name, Counter())[report.state] += 1
            if not report.snapshot.resting:
                ages[name] = max(report.age, ages.get(name, 0.0))
    return tuple(Reporters(name, by_state, ages.get(name)) for name, by_state in counts.items())


def pools_by_process(
    reports: Sequence[ProcessReport], ended: Iterable[PoolSnapshot], *, others: Collection[str] = ()
) -> tuple[PoolOfProcess, ...]:
    """Return the pools of each process apart, but for those of ``others``, which are added up.

    Two containers may give theirs the same name: then they add up too.
    """
    by_process: dict[str, list[PoolSnapshot]] = {ENDED: list(ended)}
    for report in reports:
        name = process_name(report)
        by_process.setdefault(OTHER if name in others else name, []).extend(report.snapshot.pools)
    return tuple(PoolOfProcess(name, pool) for name, pools in by_process.items() for pool in add_up(pools))


def process_name(report: ProcessReport) -> str:
    """Return what people call a process: its host (or container) and its number there."""
    host, pid = report.snapshot.host, str(report.snapshot.pid)
    return f"{host}:{pid}" if host else pid


def process_names(reports: Iterable[ProcessReport]) -> dict[str, str]:
    """Return what people call each process, by the ``id`` that is no other process's."""
    return {report.snapshot.id: process_name(report) for report in reports if report.snapshot.id}
