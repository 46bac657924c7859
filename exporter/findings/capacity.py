"""The check that needs all pools of a server at once: whether it has room for what they may open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exporter.conclusions import Finding
from exporter.findings.case import Case
from exporter.records import PoolSnapshot

_ENDLESS = float("inf")


def capacity_exceeds_server_limit(cases: Sequence[Case]) -> Iterator[Finding]:
    """Find the pools of a server that together may open more than it allows: the endless ones, else the largest.

    What others have open now is not there for the pools. A pool that does not limit itself by a size is left out.
    """
    sample = next((case.sample for case in cases), None)
    if sample is None or sample.connections_max is None:
        return
    most = {case.pool: _most(case.reports) for case in cases}
    ours = sum(each.idle + each.used + each.detached + each.orphaned for case in cases for each in case.reports)
    others = max(sample.connections - max(len(sample.sessions), ours), 0)
    room = sample.connections_max - others
    bounded = sum(each for each in most.values() if each < _ENDLESS)
    for case in cases:
        if most[case.pool] == _ENDLESS:
            yield _finding(case, most, room=room - bounded, others=others)
    if bounded > room:
        largest = max((case for case in cases if most[case.pool] < _ENDLESS), key=lambda case: most[case.pool])
        yield _finding(largest, most, room=room - bounded + most[largest.pool], others=others)


def _finding(case: Case, most: dict[str, float], *, room: float, others: int) -> Finding:
    """Make the finding; ``room`` is what this pool could have, the others' left alone."""
    limit = 0 if case.sample is None else case.sample.connections_max
    processes = [each for each in case.reports if each.connections_max is not None]
    together = (
        "" if len(most) == 1 else f"; all {len(most)} pools of this server may open {_number(sum(most.values()))}"
    )
    return Finding(
        case.pool,
        case.server,
        "capacity_exceeds_server_limit",
        pool_says=f"{_size(processes)}{together}",
        held_against=f"{limit} connections allowed, {others} of them taken by others",
        why="when traffic opens them all the server refuses the rest, other applications' and administrators' too",
        change=_change(processes, int(room // len(processes))),
    )


def _most(reports: Sequence[PoolSnapshot]) -> float:
    return sum(each.connections_max for each in reports if each.connections_max is not None)


def _size(processes: Sequence[PoolSnapshot]) -> str:
    total = _number(_most(processes))
    count = "1 process" if len(processes) == 1 else f"{len(processes)} processes"
    return f"pool_size + max_overflow = {total} in {count}"


def _change(processes: Sequence[PoolSnapshot], each: int) -> str:
    if each < 1:
        return "run fewer processes, or raise max_connections on the server"
    # 0 is no small pool_size: it stands for no limit at all.
    size = min(processes[0].size or each, each)
    return f"create_engine(..., pool_size={size}, max_overflow={each - size})"


def _number(value: float) -> str:
    return "unlimited" if value == _ENDLESS else f"{value:.0f}"
