"""Forks: a child starts from zero, takes no lock along, and harms nothing of its parent's."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

import exporter
from exporter.contained import contain, contained_errors
from pages import Page


def in_child(body: Callable[[], object]) -> str:
    """Run ``body`` in a fork of this process; return what it returned, in words."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = repr(body())
        except BaseException as error:
            said = f"failed: {error!r}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as file:  # noqa: PTH123  a pipe
        said = file.read()
    os.waitpid(child, 0)
    return said


def figures(page: Page) -> tuple[Any, ...]:
    """Return what a fork must not mix up."""
    names = ("checkouts_total", "checkins_total", "connects_total", "garbage_collected_total", "disposals_total")
    return (*page.values(*names).values(), *page.connections(), page.value("orphaned"))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_starts_from_zero_and_harms_nothing(engine: Engine, page: Page) -> None:
    """A fork in the midst of checkouts counts only its own; the parent's figures do not change by it."""
    exporter.instrument(engine, registry=page.registry)
    held: list[Any] = [engine.connect(), engine.connect()]
    engine.connect().close()

    def child() -> object:
        first = figures(page)
        engine.dispose(close=False)
        engine.connect().close()
        held.clear()
        gc.collect()
        return first, figures(page)

    before = figures(page)
    zero = (0.0, 0.0, 0.0, 0.0, 0.0, 0, 0, 0)
    assert in_child(child) == repr((zero, (1, 1, 1, 0, 1, 1, 0, 0))).replace("0.0", "0")
    assert figures(page) == before == (3, 2 - 1, 3, 0, 0, 1, 2, 0)
    for each in held:
        each.close()
    assert figures(page) == (3, 3, 3, 0, 0, 3, 0, 0)


BUSY = """
import os, threading
from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine
from sqlalchemy.pool import QueuePool
import exporter

engine = create_engine("sqlite:///busy.db", poolclass=QueuePool)
handle = exporter.instrument(engine, registry=CollectorRegistry())
stop = threading.Event()

def work():
    while not stop.is_set():
        engine.connect().close()

def look():
    while not stop.is_set():
        handle.snapshot()

threads = [threading.Thread(target=each) for each in (work, work, look)]
for thread in threads:
    thread.start()
# SQLite's own mutexes do not survive a fork: nobody may be opening a file at that moment.
while handle.snapshot().checkouts < 100:
    pass
answers = set()
for _ in range(20):
    reader, writer = os.pipe()
    if os.fork() == 0:
        engine.dispose(close=False)
        engine.connect().close()
        os.write(writer, str(handle.snapshot().checkouts).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as file:
        answers.add(file.read())
    os.wait()
stop.set()
for thread in threads:
    thread.join()
print(*answers)
"""


def test_a_fork_while_others_work_takes_no_lock_along(tmp_path: Path) -> None:
    """Whatever the other threads were doing to the pool at the fork, the child can use it, read and count.

    In a program of its own: coverage takes a lock in every thread, and a fork would take that along.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", BUSY],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_has_contained_nothing_yet() -> None:
    """Errors that the parent contained are not the child's."""
    contain("collect")
    assert contained_errors()
    exporter.instrument(create_engine("sqlite://", poolclass=NullPool), registry=CollectorRegistry())
    assert in_child(contained_errors) == "{}"


MANY = """
import os, pathlib, sys, time
from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine
from sqlalchemy.pool import QueuePool
import exporter

registry = CollectorRegistry()
engines = [create_engine(f"sqlite:///{number}.db", poolclass=QueuePool) for number in range(int(sys.argv[1]))]
for engine in engines:
    exporter.instrument(engine, registry=registry)

def letters():
    return list(pathlib.Path(os.environ["POOL_EXPORTER_DIR"]).glob(f"{os.getpid()}.*.json"))

child = os.fork()
if child == 0:
    print(len(letters()), flush=True)
    engines[0].connect().close()
    while not any('"checkouts":1' in letter.read_text() for letter in letters()):
        time.sleep(0.02)
    print(len(letters()), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.parametrize(("pools", "said"), [(10, "1\n1\n"), (11, "0\n1\n")])
def test_a_fork_waits_for_few_pools_only(tmp_path: Path, pools: int, said: str) -> None:
    """A child says at once that it is there, but not where many pools are to be read for it: then at its first use."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", MANY, str(pools)],
        cwd=tmp_path, env={**os.environ, "POOL_EXPORTER_DIR": str(tmp_path)},
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
