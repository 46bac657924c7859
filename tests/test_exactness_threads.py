"""Eight threads do anything to a pool while it is scraped: every counter is right to the unit, and none ever falls."""

from __future__ import annotations

import gc
import logging
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import NullPool, QueuePool

import exporter
from exporter.contained import contained_errors
from pages import Page, hurried, scraped, settled
from truth import check_counts, check_gauges
from wires import Line

THREADS = 8
STEPS = 200


class Worker:
    """One thread of an application that treats its connections in every way there is, and keeps count."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self._engine = engine
        self._chance = random.Random(seed)  # noqa: S311  moves, not secrets
        self._held: list[Any] = []
        self.did: Counter[str] = Counter()

    def run(self) -> None:
        """Do many things, and in the end give back what is held."""
        for _ in range(STEPS):
            self._step()
        while self._held:
            self.give_back()

    def _step(self) -> None:
        if not self._held or (len(self._held) < 3 and self._chance.random() < 0.5):
            self.take()
            return
        moves: list[tuple[int, Callable[[], object]]] = [
            (50, self.give_back),
            (6, self.invalidate),
            (6, self.invalidate_softly),
            (6, self.detach),
            (6, self.forget),
            (6, self.forget_in_a_circle),
            (3, self.lose_it_in_use),
            (3, self.lose_it_unnoticed),
            (1, gc.collect),
            (1, self.dispose),
        ]
        weights, actions = zip(*moves, strict=True)
        self._chance.choices(actions, weights)[0]()

    def take(self) -> None:
        try:
            how = self._chance.choice((self._engine.raw_connection, self._engine.pool.connect))
            self._held.append(how())
            self.did["checkouts"] += 1
        except PoolTimeoutError:
            self.did["timeouts"] += 1
            if self._chance.random() < 0.05:
                gc.collect()  # what is forgotten keeps its place in the pool until then
        except sqlite3.OperationalError:  # the line fails now and then
            self.did["failures"] += 1

    def give_back(self) -> None:
        self._one().close()
        self.did["checkins"] += 1

    def invalidate(self) -> None:
        connection = self._one()
        connection.invalidate()
        connection.close()
        self.did.update(("checkins", "application"))

    def invalidate_softly(self) -> None:
        self._chance.choice(self._held).invalidate(soft=True)
        self.did["soft"] += 1

    def detach(self) -> None:
        connection = self._one()
        connection.detach()
        connection.close()
        self.did["detaches"] += 1

    def forget(self) -> None:
        self._one()
        self.did.update(("checkins", "garbage"))

    def forget_in_a_circle(self) -> None:
        circle = [self._one()]
        circle.append(circle)  # only the collector finds it, in whichever thread
        self.did.update(("checkins", "garbage"))

    def lose_it_in_use(self) -> None:
        try:
            connection = self._engine.connect()
        except PoolTimeoutError:
            self.did["timeouts"] += 1
            return
        except DBAPIError:
            self.did["failures"] += 1
            return
        self.did["checkouts"] += 1
        connection.connection.driver_connection.close()  # type: ignore[union-attr]
        with pytest.raises(DBAPIError):
            connection.exec_driver_sql("select 1")
        connection.close()
        self.did.update(("checkins", "disconnect"))

    def lose_it_unnoticed(self) -> None:
        connection = self._one()
        connection.driver_connection.close()
        connection.close()  # the rollback on return fails, and the pool throws the connection away
        self.did.update(("checkins", "error"))

    def dispose(self) -> None:
        self._engine.dispose(close=self._chance.random() < 0.5)
        self.did["disposals"] += 1

    def _one(self) -> Any:
        return self._held.pop(self._chance.randrange(len(self._held)))


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    """Leave out the lines about each connection that the application is rude to."""
    loggers = [logging.getLogger(name) for name in ("exporter.leaks", "sqlalchemy.pool")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


def work(engine: Engine, page: Page) -> Counter[str]:
    """Let the threads loose; return all that they did."""
    workers = [Worker(engine, seed) for seed in range(THREADS)]
    with hurried(), scraped(page), ThreadPoolExecutor(THREADS) as executor:
        working = [executor.submit(worker.run) for worker in workers]
    assert [each.exception() for each in working] == [None] * THREADS
    did: Counter[str] = Counter()
    for worker in workers:
        did += worker.did
    return did


POOLS: dict[str, dict[str, Any]] = {
    "crowded": {"poolclass": QueuePool, "pool_size": 3, "max_overflow": 2, "pool_timeout": 0.002},
    "last in first out": {
        "poolclass": QueuePool,
        "pool_size": 9,
        "max_overflow": 0,
        "pool_use_lifo": True,
        "pool_timeout": 0.01,
    },
    "unlimited": {"poolclass": QueuePool, "pool_size": 0},
    "no overflow limit": {"poolclass": QueuePool, "pool_size": 2, "max_overflow": -1},
    "none": {"poolclass": NullPool},
}


@pytest.mark.parametrize(("pool", "leak_after"), [*((pool, 1e-9) for pool in POOLS), ("crowded", 60.0)])
def test_threads_are_counted_to_the_unit(tmp_path: Path, pool: str, leak_after: float) -> None:
    """Whatever eight threads do at once, each counter says how often, and the gauges say what is left."""
    line = Line(tmp_path / "shop.db", failing=0.02)
    engine = create_engine("sqlite:///shop.db", creator=line, **POOLS[pool])
    page = Page("sqlite:///shop.db")
    contained = contained_errors()
    exporter.instrument(engine, registry=page.registry, leak_after=leak_after)
    did = work(engine, page)
    settled(page.counts)
    assert contained_errors() == contained
    check_counts(page, did, line)
    overdue = did["checkouts"] if leak_after < 1 else 0
    assert page.value("overdue_checkouts_total") == overdue
    check_gauges(page, engine.pool, line)
    exporter.uninstrument(engine)
    engine.dispose()
