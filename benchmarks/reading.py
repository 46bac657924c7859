"""One process of `scripts/bench overhead`: the memory of a connection, a snapshot, a page. Prints JSON.

usage: reading.py ROUNDS
"""

from __future__ import annotations

import functools
import gc
import json
import sys
import tracemalloc

import variants
from measure import Cycle, interleaved
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from sqlalchemy import Engine

import exporter
from exporter.collectors import TableCollector
from exporter.metrics.pool import POOL

CONNECTIONS = 2000
POOLS = 20
POOL_SIZE = 15


def memory() -> float:
    """Return how many bytes watching adds to a connection that was used a few times and lies in its pool."""
    _traced(variants.ours)  # what is made once for a process
    return (_traced(variants.ours) - _traced(variants.bare)) / CONNECTIONS


def _traced(attach: variants.Attach) -> int:
    gc.collect()
    tracemalloc.start()
    engine = variants.make_engine(attach, pool_size=CONNECTIONS)
    for _ in range(3):
        _use(engine, CONNECTIONS)
    gc.collect()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    engine.dispose()
    return used


def _use(engine: Engine, count: int) -> None:
    for connection in [engine.connect() for _ in range(count)]:
        connection.close()


def pages(rounds: int) -> dict[str, float]:
    """Return the milliseconds of a snapshot of all pools, of the page of it, and of one of as many plain gauges."""
    handles, engines = [], []
    for number in range(POOLS):
        engine = variants.make_engine(variants.bare, pool_size=POOL_SIZE)
        handles.append(exporter.instrument(engine, name=f"shop-{number}", registry=CollectorRegistry()))
        engines.append((engine, [engine.connect() for _ in range(POOL_SIZE // 2)]))
        _use(engine, POOL_SIZE - POOL_SIZE // 2)
    snapshots = [handle.snapshot() for handle in handles]
    ours = CollectorRegistry()
    ours.register(TableCollector((POOL,), lambda: ((POOL, snapshots),)))
    plain, series = _plain(ours)
    cycles: dict[str, Cycle] = {
        "snapshot": lambda: [handle.snapshot() for handle in handles],
        "page": functools.partial(generate_latest, ours),
        "plain": functools.partial(generate_latest, plain),
    }
    nanoseconds = interleaved(cycles, rounds=rounds, turn=3)
    return {"series": series, **{name: value / 1e6 for name, value in nanoseconds.items()}}


def _plain(page: CollectorRegistry) -> tuple[CollectorRegistry, int]:
    """Return a registry of gauges with the names, labels and values of the page's series, and how many they are."""
    plain = CollectorRegistry()
    gauges: dict[str, Gauge] = {}
    samples = [(family, sample) for family in page.collect() for sample in family.samples]
    for family, sample in samples:
        name = sample.name.removesuffix("_total")  # which prometheus_client keeps for counters
        if name not in gauges:
            gauges[name] = Gauge(name, family.documentation, list(sample.labels), registry=plain)
        gauges[name].labels(**sample.labels).set(sample.value)
    return plain, len(samples)


def main() -> None:
    """Measure, and print."""
    json.dump({"bytes": memory(), **pages(int(sys.argv[1]))}, sys.stdout)


if __name__ == "__main__":
    main()
