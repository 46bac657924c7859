"""Forks: a child starts from zero, takes no lock along, and harms nothing of its parent's."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool, QueuePool

import exporter
from exporter.contained import contain, contained_errors
from pages import Page, settled
from wires import Line


@pytest.fixture
def line(tmp_path: Path) -> Line:
    """A file to connect to."""
    return Line(tmp_path / "shop.db")


@pytest.fixture
def page() -> Page:
    """The page of the pool of this test."""
    return Page("sqlite:///shop.db")


@pytest.fixture
def engine(line: Line) -> Iterator[Engine]:
    """An engine that nobody has instrumented yet."""
    engine = create_engine("sqlite:///shop.db", creator=line, poolclass=QueuePool)
    yield engine
    exporter.uninstrument(engine)
    engine.dispose()


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


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_while_others_work_takes_no_lock_along(engine: Engine, page: Page) -> None:
    """Whatever the other threads were doing to the pool or its page at the fork, the child can read and count."""
    exporter.instrument(engine, registry=page.registry)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            engine.connect().close()

    def look() -> None:
        while not stop.is_set():
            page.counts()

    threads = [threading.Thread(target=each) for each in (work, work, look)]
    for thread in threads:
        thread.start()

    def child() -> object:
        engine.dispose(close=False)
        engine.connect().close()
        return page.value("checkouts_total")

    answers = {in_child(child) for _ in range(20)}
    stop.set()
    for thread in threads:
        thread.join()
    assert answers == {"1"}
    settled(page.counts)
    assert page.value("checkouts_total") == page.value("checkins_total") == page.value("use_seconds_count")


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_has_contained_nothing_yet() -> None:
    """Errors that the parent contained are not the child's."""
    contain("collect")
    assert contained_errors()
    exporter.instrument(create_engine("sqlite://", poolclass=NullPool), registry=CollectorRegistry())
    assert in_child(contained_errors) == "{}"
