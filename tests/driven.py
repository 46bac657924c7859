"""Engines of every driver as tests use them: one way to run a function, whether the driver is asynchronous or not."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import exporter

Work = Callable[[Connection], Any]


@dataclass(frozen=True)
class Driven:
    """An engine; ``run`` calls a function with a connection of it, ``forget`` does so and never gives it back."""

    engine: Engine | AsyncEngine
    run: Callable[[Work], Any]
    forget: Callable[[Work], Any]


@contextlib.contextmanager
def driven(url: URL, **options: Any) -> Iterator[Driven]:
    """Make an engine, asynchronous where its driver is; at the end it is not watched any more, and closed."""
    if url.get_dialect().is_async:
        with _asynchronous(create_async_engine(url, **options)) as found:
            yield found
        return
    engine = create_engine(url, **options)
    yield Driven(engine, run=functools.partial(_run, engine), forget=functools.partial(_forget, engine))
    exporter.uninstrument(engine)
    engine.dispose()


@contextlib.contextmanager
def _asynchronous(engine: AsyncEngine) -> Iterator[Driven]:
    loop = asyncio.new_event_loop()
    yield Driven(
        engine,
        run=lambda work: loop.run_until_complete(_run_async(engine, work)),
        forget=lambda work: loop.run_until_complete(_forget_async(engine, work)),
    )
    exporter.uninstrument(engine)
    loop.run_until_complete(engine.dispose())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def _run(engine: Engine, work: Work) -> Any:
    with engine.connect() as connection:
        return work(connection)


def _forget(engine: Engine, work: Work) -> Any:
    return work(engine.connect())


async def _run_async(engine: AsyncEngine, work: Work) -> Any:
    async with engine.connect() as connection:
        return await connection.run_sync(work)


async def _forget_async(engine: AsyncEngine, work: Work) -> Any:
    return await (await engine.connect()).run_sync(work)
