"""A fleet of processes for `scripts/bench processes`; run by itself it prints, as JSON, what publishing costs one.

One process stands for all: it publishes the same snapshot under as many names, each with a lock of its own.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path

from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine
from sqlalchemy.pool import QueuePool

import exporter
from exporter.publish import Publisher
from exporter.records import PoolSnapshot, ProcessSnapshot

POOLS = 5
SIZE = 15
ROUNDS = 300


class Pools:
    """So many pools of 15 connections that were used, a third of them in use."""

    def __init__(self, count: int = POOLS) -> None:
        self.registry = CollectorRegistry()
        self.handles = []
        self._kept: list[object] = []
        for number in range(count):
            engine = create_engine("sqlite://", poolclass=QueuePool, pool_size=SIZE)
            self.handles.append(exporter.instrument(engine, name=f"shop-{number}", registry=self.registry))
            connections = [engine.connect() for _ in range(SIZE)]
            for connection in connections[SIZE // 3 :]:
                connection.close()
            self._kept.append((engine, connections))

    def look(self) -> ProcessSnapshot:
        """Return what a process with these pools publishes."""
        return ProcessSnapshot(pid=1, taken=time.time(), pools=self.snapshots())

    def snapshots(self) -> tuple[PoolSnapshot, ...]:
        """Read every pool."""
        return tuple(handle.snapshot() for handle in self.handles)

    @property
    def series(self) -> int:
        """Count the series that such a process has by itself."""
        return sum(len(family.samples) for family in self.registry.collect())


class Fleet:
    """Publishes as so many processes would, into one directory, whenever told."""

    def __init__(self, directory: Path, processes: int, *, pools_each: int = POOLS) -> None:
        pools = Pools(pools_each)
        self.series = pools.series
        self._directory = directory
        self._seen = pools.look()
        self._publishers = [self._publisher(number) for number in range(processes)]

    def publish(self) -> None:
        """Let every process publish once."""
        self._seen = dataclasses.replace(self._seen, taken=time.time())
        for publisher in self._publishers:
            publisher.publish()

    def replace(self) -> None:
        """Let every process end, and another begin."""
        for number, publisher in enumerate(self._publishers):
            publisher.stop()
            self._publishers[number] = self._publisher(number)

    def stop(self) -> None:
        """Let every process end."""
        for publisher in self._publishers:
            publisher.stop()

    def _publisher(self, number: int) -> Publisher:
        return Publisher(self._directory, lambda: dataclasses.replace(self._seen, pid=1000 + number))


def main() -> None:
    """Print the share of a core that publishing once a second takes."""
    pools = Pools()
    with tempfile.TemporaryDirectory() as name:
        publisher = Publisher(Path(name), pools.look)
        spent = []
        for _ in range(ROUNDS):
            began = time.thread_time()
            publisher.publish()
            spent.append(time.thread_time() - began)
        publisher.stop()
    json.dump({"percent": round(sorted(spent)[ROUNDS // 2] * 100, 3)}, sys.stdout)


if __name__ == "__main__":
    main()
