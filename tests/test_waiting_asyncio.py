"""Waiting for a connection in tasks: who waits, for how long, and what is left when they stop or are cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import exporter
from pages import Page
from waiters import NOBODY, nothing_is_left
from waiting import until


@pytest.fixture
def live(tmp_path: Path, page: Page) -> Callable[..., None]:
    """Run a coroutine function with an instrumented asynchronous engine that has one connection for all."""
    pytest.importorskip("aiosqlite")

    def run(body: Callable[[AsyncEngine], Any], **options: Any) -> None:
        async def main() -> None:
            given = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 30, **options}
            engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db", **given)
            exporter.instrument(engine, registry=page.registry)
            await body(engine)
            assert page.values(*NOBODY) == NOBODY
            nothing_is_left(engine)
            exporter.uninstrument(engine)
            await engine.dispose()

        asyncio.run(main())

    return run


async def take(engine: AsyncEngine) -> None:
    """Take a connection and give it back."""
    async with engine.connect():
        pass


def test_a_task_that_waits_is_seen_and_then_counted(live: Callable[..., None], page: Page) -> None:
    """Tasks that wait show as threads do, also right after dispose()."""

    async def body(engine: AsyncEngine) -> None:
        for rounds in (1, 2):
            async with engine.connect():
                tasks = [asyncio.create_task(take(engine)) for _ in range(3)]
                await until(lambda: page.value("waiting") == 3)
                assert page.value("waiting_longest_seconds") > 0
            await asyncio.gather(*tasks)
            assert page.value("wait_seconds_count") == page.value("checkouts_total") == 4 * rounds
            await engine.dispose()

    live(body)


def test_a_task_that_is_cancelled_leaves_nothing_behind(live: Callable[..., None], page: Page) -> None:
    """A task that is cancelled while it waits is neither a checkout nor a timeout, and nothing remembers it."""

    async def body(engine: AsyncEngine) -> None:
        async with engine.connect():
            task = asyncio.create_task(take(engine))
            await until(lambda: page.value("waiting") == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            nothing_is_left(engine)
        assert page.value("wait_seconds_count") == page.value("checkouts_total") == 1
        assert page.value("timeouts_total") == page.value("connect_errors_total") == 0

    live(body)


def test_a_task_that_times_out_is_counted(live: Callable[..., None], page: Page) -> None:
    """A task's wait in vain is a timeout, as a thread's is."""

    async def body(engine: AsyncEngine) -> None:
        async with engine.connect():
            with pytest.raises(PoolTimeoutError):
                await take(engine)
        assert page.value("timeouts_total") == 1
        assert page.value("wait_seconds_count") == 2
        assert page.value("wait_seconds_sum") >= 0.01

    live(body, pool_timeout=0.01)
