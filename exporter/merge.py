"""Adding up: pools of one name become one, over the engines of a process and over processes."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from exporter.buckets import HISTOGRAMS
from exporter.records import Histogram, PoolIdentity, PoolSnapshot

_LARGEST = frozenset(
    {
        "used_longest_seconds",
        "waiting_longest_seconds",
        "recycle_seconds",
        "timeout_seconds",
        "reset_on_return",
    }
)
"""Ages, of which the longer tells the truth about both, and settings, which are nobody's share. All else is summed."""

# A pool that one of its processes does not ping has dead connections for somebody.
_CHOSEN: Mapping[str, Callable[[Sequence[Any]], Any]] = {**dict.fromkeys(_LARGEST, max), "pre_ping": min}

_COUNTED = frozenset(
    {"checkouts", "checkins", "connects", "connect_errors", "closes", "invalidations", "stale_ping", "stale_use"}
    | {"timeouts", "overdue_checkouts", "garbage_collected", "detaches", "disposals", *HISTOGRAMS}
)
"""What a pool has counted, and what stays true when it is no more. All else is what it holds, or how it is set."""

_NAMES = tuple(field.name for field in dataclasses.fields(PoolSnapshot) if field.name != "identity")
_VALUES = attrgetter(*_NAMES)


def add_up(snapshots: Iterable[PoolSnapshot]) -> tuple[PoolSnapshot, ...]:
    """Add up pools of one name; return one snapshot for each name, in the order of the names.

    Gauges, counters and histograms are summed, ages are the largest, connections stand side by side. What has no
    meaning for one pool (None) is taken from the others, and stays None when none has it.
    """
    by_name: dict[str, list[PoolSnapshot]] = {}
    for snapshot in snapshots:
        by_name.setdefault(snapshot.identity.name, []).append(snapshot)
    return tuple(_added(by_name[name]) for name in sorted(by_name))


def counted(pool: PoolSnapshot) -> PoolSnapshot:
    """Return what a pool had counted, now that its process has ended and holds nothing open any more."""
    return PoolSnapshot(identity=pool.identity, **{name: getattr(pool, name) for name in _COUNTED})


def since(pools: Iterable[PoolSnapshot], before: Mapping[str, PoolSnapshot]) -> tuple[PoolSnapshot, ...]:
    """Return pools with what they have counted since ``before``, by name; one that has begun anew stays as it is."""
    return tuple(_less(pool, before.get(pool.identity.name)) for pool in pools)


def is_used(pool: PoolSnapshot) -> bool:
    """Tell whether anything has ever happened to a pool; what comes next makes a connection, and wakes us."""
    counts = (pool.checkouts, pool.connects, pool.connect_errors, pool.disposals, pool.idle, pool.used)
    return any((*counts, pool.waiting or 0, pool.detached, pool.orphaned))


def add_up_counts(mappings: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Add up counts that have the same key."""
    total: Counter[str] = Counter()
    for mapping in filter(None, mappings):  # of hundreds of processes most have nothing to tell here
        total.update(mapping)
    return dict(total)


def _less(pool: PoolSnapshot, before: PoolSnapshot | None) -> PoolSnapshot:
    if before is None:
        return pool
    try:
        rest = {name: _difference(getattr(pool, name), getattr(before, name)) for name in _COUNTED}
    except ValueError:
        return pool
    return dataclasses.replace(pool, **rest)


def _difference(now: Any, before: Any) -> Any:
    """Return what came to a count; raise ValueError when it has fallen."""
    if now is None or before is None:
        return now
    if isinstance(now, Histogram):
        counts = tuple(map(_difference, now.counts, before.counts))
        return Histogram(counts=counts, sum=max(now.sum - before.sum, 0.0))
    if isinstance(now, Mapping):
        return {key: _difference(now.get(key, 0), before.get(key, 0)) for key in {**before, **now}}
    if now < before:
        raise ValueError(now)
    return now - before


def _added(pools: Sequence[PoolSnapshot]) -> PoolSnapshot:
    if len(pools) == 1:
        return pools[0]
    columns = zip(*map(_VALUES, pools), strict=True)
    numbers = {name: _joined(name, values) for name, values in zip(_NAMES, columns, strict=True)}
    # The name is the same, the rest may differ: always take the same one, whatever the order of the processes.
    return PoolSnapshot(identity=min({pool.identity for pool in pools}, key=_rank), **numbers)


def _rank(identity: PoolIdentity) -> tuple[str, ...]:
    return tuple(map(str, dataclasses.astuple(identity)))


def _joined(name: str, values: Sequence[Any]) -> Any:
    known = [value for value in values if value is not None]
    if not known:
        return None
    if name in _CHOSEN:
        return _CHOSEN[name](known)
    if isinstance(known[0], Histogram):
        return _histograms(known)
    if isinstance(known[0], Mapping):
        return add_up_counts(known)
    if isinstance(known[0], tuple):
        return tuple(itertools.chain.from_iterable(known))
    return sum(known)


def _histograms(histograms: Sequence[Histogram]) -> Histogram:
    counts = tuple(map(sum, zip(*[each.counts for each in histograms], strict=True)))
    return Histogram(counts=counts, sum=sum([each.sum for each in histograms]))
