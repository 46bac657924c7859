"""A program that fails to get memory at one place after another: in a use of a pool, and where a snapshot is written.

Run with `uses` or `letters`, then whether its pool is instrumented; prints as JSON what became of it.
"""

from __future__ import annotations

import _testcapi  # type: ignore[import-not-found]
import contextlib
import gc
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import QueuePool

import exporter
from exporter import Instrumentation
from exporter.contained import contained_errors
from exporter.publish import Publisher
from exporter.records import ProcessSnapshot
from loaded import is_ours

PLACES = 3
ALLOCATIONS = {"uses": 120, "letters": 900}
"""More than either takes, so that every one of them has failed once."""


def starve(number: int, step: Callable[[], object]) -> str:
    """Do something during which one allocation fails, by its number; return what it raised."""
    _testcapi.set_nomemory(number, number + 1)
    try:
        step()
    except BaseException as error:
        _testcapi.remove_mem_hooks()
        return "ours" if is_ours(error) else type(error).__name__
    finally:
        _testcapi.remove_mem_hooks()
    return "ok"


def use(engine: Engine) -> None:
    """Take a connection and give it back."""
    engine.connect().close()


def places(engine: Engine) -> int:
    """Return how many connections can be had at once."""
    with contextlib.ExitStack() as stack, contextlib.suppress(Exception):
        for count in range(PLACES):
            found = count
            stack.enter_context(engine.connect())
        found = PLACES
    return found


def uses(engine: Engine) -> dict[str, object]:
    """Use a pool, again and again; count how it ended, and after how many uses a place of the pool was lost."""
    outcomes: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for number in range(ALLOCATIONS["uses"]):
        outcome = starve(number, lambda: use(engine))
        outcomes[outcome] += 1
        gc.collect()
        if places(engine) < PLACES:
            lost[outcome] += 1
            engine.dispose()
    return {"outcomes": outcomes, "lost": lost}


def letters(handle: Instrumentation) -> dict[str, object]:
    """Write a snapshot, again and again; count how that ended, and what lies in the directory besides the letter."""
    directory = Path(os.environ["BOX"])
    publisher = Publisher(directory, lambda: ProcessSnapshot(pid=1, taken=1.0, pools=(handle.snapshot(),)))
    publisher.publish()
    files = len(list(Path("/proc/self/fd").iterdir()))
    outcomes: Counter[str] = Counter()
    for number in range(ALLOCATIONS["letters"]):
        outcomes[starve(number, publisher.publish)] += 1
        publisher.publish()
        [letter] = directory.glob("*.json")
        json.loads(letter.read_text())
    left = sorted(path.suffix for path in directory.iterdir())
    return {"outcomes": outcomes, "left": left, "files": len(list(Path("/proc/self/fd").iterdir())) - files}


def main(what: str, *, instrumented: bool) -> None:
    """Say what became of it."""
    logging.disable(logging.CRITICAL)
    engine = create_engine(
        f"sqlite:///{os.environ['BOX']}.db", poolclass=QueuePool, pool_size=2, max_overflow=1, pool_timeout=0.05
    )
    handle = exporter.instrument(engine, name="orders") if instrumented else None
    for _ in range(50):  # what is made once is made by now
        use(engine)
    gc.disable()
    told = letters(handle) if what == "letters" and handle else uses(engine)
    if handle is not None:
        seen = handle.snapshot()
        told["away"] = [
            seen.checkouts - seen.checkins,
            seen.used,
            seen.connects - sum(seen.closes.values()) - seen.idle,
        ]
        told["contained"] = contained_errors()
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], instrumented=sys.argv[2] == "yes")
