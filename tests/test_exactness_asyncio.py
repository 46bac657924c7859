"""Twenty tasks do anything to an asynchronous engine while it is scraped: every counter is right to the unit."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

import exporter
from exporter.contained import contained_errors
from pages import Page, scraped, threads_of_the_driver_ended
from truth import check_counts, check_gauges
from waiting import until
from wires import Line

pytest.importorskip("aiosqlite")
pytestmark = [
    pytest.mark.filterwarnings("ignore:The garbage collector is trying to clean up"),
    pytest.mark.filterwarnings("ignore:.* was deleted before being closed"),
]

TASKS = 20
STEPS = 60
LONG = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000) select count(*) from n"


class Task:
    """One task of an application that treats its connections in every way there is, and keeps count."""

    def __init__(self, engine: AsyncEngine, seed: int) -> None:
        self._engine = engine
        self._chance = random.Random(seed)  # noqa: S311  moves, not secrets
        self._held: list[Any] = []
        self.did: Counter[str] = Counter()

    async def run(self) -> None:
        """Do many things, and in the end give back what is held."""
        for _ in range(STEPS):
            await self._step()
        while self._held:
            await self.give_back()

    async def _step(self) -> None:
        if not self._held or (len(self._held) < 2 and self._chance.random() < 0.5):
            await self.take()
            return
        moves: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (50, self.give_back),
            (6, self.invalidate),
            (6, self.invalidate_softly),
            (6, self.detach),
            (6, self.forget),
            (6, self.lose_it_in_use),
            (6, self.be_cancelled),
            (1, self.dispose),
        ]
        weights, actions = zip(*moves, strict=True)
        await self._chance.choices(actions, weights)[0]()

    async def take(self) -> None:
        try:
            self._held.append(await self._engine.connect())
            self.did["checkouts"] += 1
        except PoolTimeoutError:
            self.did["timeouts"] += 1
        except DBAPIError:  # the line fails now and then
            self.did["failures"] += 1

    async def give_back(self) -> None:
        await self._one().close()
        self.did["checkins"] += 1

    async def invalidate(self) -> None:
        connection = self._one()
        await connection.invalidate()
        await connection.close()
        self.did.update(("checkins", "application"))

    async def invalidate_softly(self) -> None:
        raw = await self._chance.choice(self._held).get_raw_connection()
        raw.invalidate(soft=True)
        self.did["soft"] += 1

    async def detach(self) -> None:
        connection = self._one()
        await connection.run_sync(lambda sync: sync.detach())
        await connection.close()
        self.did["detaches"] += 1

    async def forget(self) -> None:
        self._one()
        self.did.update(("checkins", "garbage"))

    async def lose_it_in_use(self) -> None:
        connection = self._one()
        raw = await connection.get_raw_connection()
        await raw.driver_connection.close()
        with pytest.raises(DBAPIError):
            await connection.exec_driver_sql("select 1")
        await connection.close()
        self.did.update(("checkins", "disconnect"))

    async def be_cancelled(self) -> None:
        connection = self._one()
        query = asyncio.create_task(connection.exec_driver_sql(LONG))
        await asyncio.sleep(0)  # it has begun
        query.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await query
        await connection.close()
        self.did.update(("checkins", "cancelled"))

    async def dispose(self) -> None:
        await self._engine.dispose(close=self._chance.random() < 0.5)
        self.did["disposals"] += 1

    def _one(self) -> Any:
        return self._held.pop(self._chance.randrange(len(self._held)))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Leave out the lines about each connection, and let the collector run in the loop's own thread only."""
    loggers = [logging.getLogger(name) for name in ("exporter.leaks", "sqlalchemy.pool")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    gc.disable()
    yield
    gc.enable()
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


async def work(engine: AsyncEngine, page: Page, line: Line) -> Counter[str]:
    """Let the tasks loose; return all that they did, when the driver's threads have ended all that they shall."""
    tasks = [Task(engine, seed) for seed in range(TASKS)]
    with scraped(page):
        await asyncio.gather(*(task.run() for task in tasks))
    did: Counter[str] = Counter()
    for task in tasks:
        did += task.did
    gc.collect()
    await until(lambda: page.value("connections", state="idle") == line.open, every=0.01)
    return did


@pytest.mark.parametrize("leak_after", [1e-9, 60.0], ids=["all overdue", "none overdue"])
@pytest.mark.parametrize(
    "options",
    [{"pool_size": 6, "max_overflow": 5, "pool_timeout": 0.01}, {"poolclass": NullPool}],
    ids=["crowded", "none"],
)
def test_tasks_are_counted_to_the_unit(tmp_path: Path, options: dict[str, Any], leak_after: float) -> None:
    """Whatever twenty tasks do, each counter says how often, and the gauges say what is left."""
    line = Line(tmp_path / "shop.db", failing=0.02)
    page = Page("sqlite:///shop.db")
    contained = contained_errors()

    async def live() -> None:
        engine = create_async_engine(
            f"sqlite+aiosqlite:///{tmp_path}/shop.db", connect_args={"factory": line.wire}, **options
        )
        exporter.instrument(engine, registry=page.registry, leak_after=leak_after)
        did = await work(engine, page, line)
        assert contained_errors() == contained
        check_counts(page, did, line)
        assert page.value("overdue_checkouts_total") == (did["checkouts"] if leak_after < 1 else 0)
        check_gauges(page, engine.pool, line)
        exporter.uninstrument(engine)
        await engine.dispose()
        gc.collect()
        await threads_of_the_driver_ended()

    asyncio.run(live())
