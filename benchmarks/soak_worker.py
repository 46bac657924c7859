"""One worker of the application that is soaked: uses its pool at full speed until SIGTERM; bare, or watched by us.

usage: soak_worker.py KIND TASKS NAME STATS URL-FILE [watched]

KIND is threads or asyncio. What it has done so far goes into the file STATS twice a second, and when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import importlib.util
import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

POOL = {"pool_size": 10, "max_overflow": 5, "pool_pre_ping": True, "pool_recycle": 60}
QUERY = text("SELECT 1")
PAUSE = 0.1  # seconds that a client leaves a service alone which has just failed it
BEAT = 0.5
EXPECTED = {"sqlalchemy", "psycopg", "pymysql"}


@dataclass
class Counts:
    """What one thread or task has done; nobody else writes here."""

    requests: int = 0
    checkouts: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    ours: list[str] = field(default_factory=list)

    def note(self, error: Exception) -> None:
        """Count an error by its class, and apart if we are to blame."""
        self.errors[type(error).__name__] += 1
        if raised_by_us(error) or type(error).__module__.partition(".")[0] not in EXPECTED:
            self.ours.append(f"{type(error).__name__}: {error}"[:300])


def raised_by_us(error: BaseException) -> bool:
    """Tell whether an error, or one that led to it, was raised in our code, and did not only pass through it."""
    return any(_raised_in(each).startswith(_home()) for each in _chain(error))


@functools.cache
def _home() -> str:
    package = importlib.util.find_spec("exporter")
    if package is None or package.origin is None:
        raise RuntimeError("the package exporter is not where this worker can find it")
    return str(Path(package.origin).parent) + os.sep


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _raised_in(error: BaseException) -> str:
    trace, file = error.__traceback__, ""
    while trace is not None:
        file, trace = trace.tb_frame.f_code.co_filename, trace.tb_next
    return file


class Stats:
    """Writes what all of a worker's threads or tasks have done, together."""

    def __init__(self, path: Path, counts: list[Counts]) -> None:
        self._path = path
        self._counts = counts

    def write(self) -> None:
        """Replace the file."""
        content = {
            "requests": sum(each.requests for each in self._counts),
            "checkouts": sum(each.checkouts for each in self._counts),
            "errors": sum((Counter(each.errors) for each in self._counts), Counter()),
            "ours": [error for each in self._counts for error in each.ours],
        }
        unfinished = self._path.with_suffix(".new")
        unfinished.write_text(json.dumps(content))
        unfinished.replace(self._path)


def main() -> None:
    """Work until told to end."""
    kind, tasks, name, stats, url, *watched = sys.argv[1:]
    counts = [Counts() for _ in range(int(tasks))]
    work: Callable[..., None] = {"threads": _in_threads, "asyncio": _in_tasks}[kind]
    work(Path(url).read_text(), counts, Stats(Path(stats), counts), name if watched else "")


def _instrument(engine: Any, name: str) -> None:
    """Watch the pool; a worker that is bare does not even import us."""
    if name:
        importlib.import_module("exporter").instrument(engine, name=name)


def _in_threads(url: str, counts: list[Counts], stats: Stats, name: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    engine = create_engine(url, **POOL)
    _instrument(engine, name)

    threads = [threading.Thread(target=_use_on, args=(engine, each, stop)) for each in counts]
    for thread in threads:
        thread.start()
    while not stop.wait(BEAT):
        stats.write()
    for thread in threads:
        thread.join()
    engine.dispose()
    stats.write()


def _use_on(engine: Engine, mine: Counts, stop: threading.Event) -> None:
    while not stop.is_set():
        if not _use(engine, mine):
            stop.wait(PAUSE)


def _use(engine: Engine, mine: Counts) -> bool:
    try:
        with engine.connect() as connection:
            mine.checkouts += 1
            connection.execute(QUERY)
    except Exception as error:
        mine.note(error)
        return False
    mine.requests += 1
    return True


def _in_tasks(url: str, counts: list[Counts], stats: Stats, name: str) -> None:
    asyncio.run(_soak(url, counts, stats, name))


async def _soak(url: str, counts: list[Counts], stats: Stats, name: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    engine = create_async_engine(url, **POOL)
    _instrument(engine, name)
    tasks = [asyncio.create_task(_await_on(engine, each, stop)) for each in counts]
    while not stop.is_set():
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stop.wait(), BEAT)
        stats.write()
    await asyncio.gather(*tasks)
    await engine.dispose()
    stats.write()


async def _await_on(engine: AsyncEngine, mine: Counts, stop: asyncio.Event) -> None:
    while not stop.is_set():
        if not await _await(engine, mine):
            await asyncio.sleep(PAUSE)


async def _await(engine: AsyncEngine, mine: Counts) -> bool:
    try:
        async with engine.connect() as connection:
            mine.checkouts += 1
            await connection.execute(QUERY)
    except Exception as error:
        mine.note(error)
        return False
    mine.requests += 1
    return True


if __name__ == "__main__":
    main()
