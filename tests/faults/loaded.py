"""An application under load that counts for itself what becomes of it: with an instrumented pool, or with a bare one.

It is a program. Each line of its standard input is a command, each line of its output the answer, as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

WORKERS = 4
PAUSE = 0.02  # seconds between two uses of a worker: a load, and not all of the machine
QUESTION = text("SELECT 1")


class Tally:
    """What really happened, counted where it happens and beside the pool."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.phase = "before"
        self.counts = Counter({"checkouts": 0, "checkins": 0, "made": 0, "refused": 0})
        self.outcomes: dict[str, Counter[str]] = {}
        self.ours: list[str] = []

    def count(self, what: str) -> None:
        """Count one more."""
        with self._lock:
            self.counts[what] += 1

    def note(self, error: BaseException | None = None) -> None:
        """Note how one use ended, and whether an error comes out of the exporter's own code."""
        with self._lock:
            kind = "ok" if error is None else type(error).__name__
            self.outcomes.setdefault(self.phase, Counter())[kind] += 1
            if error is not None and is_ours(error):
                self.ours.append(repr(error))

    def told(self) -> dict[str, Any]:
        """Return all of it."""
        with self._lock:
            return {**self.counts, "outcomes": {**self.outcomes}, "ours": list(self.ours)}


def is_ours(error: BaseException | None) -> bool:
    """Tell whether an error, or what it came of, was raised by the exporter's own code."""
    while error is not None:
        if error.__traceback__ is not None and _innermost(error.__traceback__).parent.name == "exporter":
            return True
        error = error.__cause__ or error.__context__
    return False


def _innermost(trace: TracebackType) -> Path:
    while trace.tb_next is not None:
        trace = trace.tb_next
    return Path(trace.tb_frame.f_code.co_filename)


def watch(engine: Engine, tally: Tally) -> None:
    """Count the connections that are made, by the dialect that makes them."""

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, _record: Any, args: Any, options: Any) -> Any:
        try:
            made = dialect.connect(*args, **options)
        except BaseException:
            tally.count("refused")
            raise
        tally.count("made")
        return made


class Threads:
    """Threads that use an engine. Each holds a lock of its own while it does: who has all of them has stopped all."""

    def __init__(self, engine: Engine, tally: Tally) -> None:
        self._engine = engine
        self._tally = tally
        self._turns = [threading.Lock() for _ in range(WORKERS)]
        self.pause()
        for turn in self._turns:
            threading.Thread(target=self._work, args=(turn,), daemon=True).start()

    def pause(self) -> None:
        """Stop, once every use has ended."""
        for turn in self._turns:
            turn.acquire()

    def go(self) -> None:
        """Go on."""
        for turn in self._turns:
            turn.release()

    def use(self) -> None:
        """Use a connection once."""
        try:
            connection = self._engine.connect()
            self._tally.count("checkouts")
            try:
                connection.execute(QUESTION)
            finally:
                try:
                    connection.close()
                finally:  # a rollback may fail; the pool has the connection back all the same
                    self._tally.count("checkins")
        except Exception as error:
            self._tally.note(error)
        else:
            self._tally.note()

    def end(self) -> None:
        """Close the engine."""
        self._engine.dispose()

    def _work(self, turn: threading.Lock) -> None:
        while True:
            with turn:
                self.use()
            time.sleep(PAUSE)


class Tasks:
    """The same with tasks of one loop, and an asynchronous engine."""

    def __init__(self, engine: AsyncEngine, tally: Tally) -> None:
        self._engine = engine
        self._tally = tally
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._turns = [asyncio.Lock() for _ in range(WORKERS)]
        self.pause()
        self._tasks = [asyncio.run_coroutine_threadsafe(self._work(turn), self._loop) for turn in self._turns]

    def pause(self) -> None:
        """Stop, once every use has ended."""
        for turn in self._turns:
            asyncio.run_coroutine_threadsafe(turn.acquire(), self._loop).result()

    def go(self) -> None:
        """Go on."""
        for turn in self._turns:
            self._loop.call_soon_threadsafe(turn.release)

    def use(self) -> None:
        """Use a connection once."""
        asyncio.run_coroutine_threadsafe(self._use(), self._loop).result()

    def end(self) -> None:
        """Close the engine."""
        asyncio.run_coroutine_threadsafe(self._engine.dispose(), self._loop).result()

    async def _use(self) -> None:
        try:
            connection = await self._engine.connect()
            self._tally.count("checkouts")
            try:
                await connection.execute(QUESTION)
            finally:
                try:
                    await connection.close()
                finally:
                    self._tally.count("checkins")
        except Exception as error:
            self._tally.note(error)
        else:
            self._tally.note()

    async def _work(self, turn: asyncio.Lock) -> None:
        while True:
            async with turn:
                await self._use()
            await asyncio.sleep(PAUSE)


def opened(tally: Tally) -> Threads | Tasks:
    """Make the engine that the environment describes, instrumented if it says so, and its load, which stands still."""
    url, options = make_url(os.environ["APPLICATION_URL"]), json.loads(os.environ["ENGINE_OPTIONS"])
    made = (create_async_engine if url.get_dialect().is_async else create_engine)(url, **options)
    if os.environ.get("INSTRUMENTED"):
        import exporter  # noqa: PLC0415  the bare twin has none of it

        exporter.instrument(made, name="orders")
    watch(made.sync_engine if isinstance(made, AsyncEngine) else made, tally)
    return Tasks(made, tally) if isinstance(made, AsyncEngine) else Threads(made, tally)


def main() -> None:
    """Do what standard input says."""
    logging.basicConfig(format="%(name)s: %(message)s", level=logging.WARNING)
    tally = Tally()
    load = opened(tally)
    for line in sys.stdin:
        command, _, value = line.strip().partition(" ")
        if command == "phase":
            tally.phase = value
        elif command == "use":
            for _ in range(int(value)):
                load.use()
        elif command != "told":
            getattr(load, command)()
            gc.collect()  # a driver may leave a connection that it gave up to the collector
        sys.stdout.write(json.dumps(tally.told()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
