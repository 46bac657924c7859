"""Attaching and detaching while other threads use the pool."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import QueuePool

import exporter
from attaching import SHOP, checkouts, use, value
from exporter.contained import contained_errors
from pages import hurried

THREADS, TURNS = 8, 300


class _Connection(sqlite3.Connection):
    """Ends in silence when the pool that it came back to was replaced meanwhile; Python 3.13 would warn."""

    def __del__(self) -> None:
        self.close()


@pytest.fixture
def _switching() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    with hurried():
        yield


@pytest.mark.usefixtures("_switching")
def test_attach_and_detach_during_traffic(tmp_path: Path) -> None:
    """Eight threads see not one error while the pool is instrumented and not, 300 times; every slot comes back."""
    options = {"poolclass": QueuePool, "pool_size": 4, "max_overflow": 2, "connect_args": {"factory": _Connection}}
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db", **options)
    registry = CollectorRegistry()
    rounds = [0] * THREADS
    done = threading.Event()

    def work(number: int) -> None:
        while not done.is_set():
            _one_round(engine, rounds[number])
            rounds[number] += 1

    contained = contained_errors()
    with ThreadPoolExecutor(THREADS) as executor:
        working = [executor.submit(work, number) for number in range(THREADS)]
        try:
            for _ in range(TURNS):
                exporter.instrument(engine, registry=registry)
                assert all(count >= 0 for count in checkouts(registry).values())
                exporter.uninstrument(engine)
        finally:
            done.set()
    assert [each.exception() for each in working] == [None] * THREADS
    assert contained_errors() == contained
    assert all(rounds)
    _counts_like_new(engine, registry)


def _one_round(engine: Engine, number: int) -> None:
    # No dispose() here: without us too, it lets a thread that waits at that moment wait until pool_timeout.
    connection = engine.connect()
    if number % 10 == 3:
        connection.execute(text("select 1"))
    if number % 10 == 7:
        connection.invalidate()
    elif number % 10 == 9:
        connection.detach()
    connection.close()


def _counts_like_new(engine: Engine, registry: CollectorRegistry) -> None:
    """Nothing is out, every slot can be taken, and an instrumentation from now on counts to the unit."""
    engine.dispose()
    exporter.instrument(engine, registry=registry)
    for _ in range(3):
        out = [engine.connect() for _ in range(6)]
        assert value(registry, "connections", state="used") == 6
        for connection in out:
            connection.close()
    use(engine)
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert checkouts(registry) == {SHOP: 19}
    assert value(registry, "checkins_total") == value(registry, "use_seconds_count") == 19
    assert [value(registry, "connections", state=state) for state in ("idle", "used")] == [4, 0]
    exporter.uninstrument(engine)
    engine.dispose()


@pytest.mark.usefixtures("_switching")
def test_engines_made_by_many_threads(tmp_path: Path) -> None:
    """Threads that make, use and drop engines while others do the same lose no count."""
    registry = CollectorRegistry()

    def work() -> None:
        for _ in range(25):
            engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
            exporter.instrument(engine, registry=registry)
            use(engine)
            engine.dispose()

    seen = []
    with ThreadPoolExecutor(THREADS) as executor:
        working = [executor.submit(work) for _ in range(THREADS)]
        while not all(each.done() for each in working):
            seen.append(checkouts(registry).get(SHOP, 0))
    assert [each.exception() for each in working] == [None] * THREADS
    assert seen == sorted(seen)
    assert checkouts(registry) == {SHOP: THREADS * 25}
