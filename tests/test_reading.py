"""Pools are read one by one: one that fails, hangs or leads back to us costs the others nothing."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.pool import QueuePool

import exporter
from exporter.collectors import TableCollector
from exporter.contained import contained_errors
from exporter.findings.case import plain
from exporter.metrics.table import Metric, Table, one
from exporter.watch import Watch
from exporter.who import UNKNOWN, named
from exporter.wish import Wish
from pages import Page
from wires import NewEngine


class Odd(QueuePool):
    """A pool of the application's, whose size is whatever it does."""

    tell: Callable[[], object] | None = None

    def size(self) -> int:
        if Odd.tell is not None:
            Odd.tell()
        return super().size()


class Unreadable(QueuePool):
    """A pool of the application's that sometimes does not tell how long it waits."""

    broken = False

    @property
    def _timeout(self) -> float:
        if Unreadable.broken:
            raise ValueError("no timeout")
        return 30.0

    @_timeout.setter
    def _timeout(self, _seconds: float) -> None:
        """Take what QueuePool sets, and forget it."""


def promptly(step: Callable[[], object]) -> None:
    """Do something that must not wait for what never comes."""
    thread = threading.Thread(target=step, daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert not thread.is_alive()


def used(engine: Engine) -> Engine:
    engine.connect().close()
    return engine


def test_a_pool_that_cannot_be_read_hides_no_other(
    new_engine: NewEngine, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is shown and published as it was read last, so that no counter falls; never read, it is absent."""
    watch = Watch()
    engines = {name: used(new_engine(poolclass=kind)) for name, kind in (("good", QueuePool), ("odd", Unreadable))}
    for name, engine in engines.items():
        watch.add(engine, Wish(name=name, registry=page.registry))
        used(engine)
    assert page.by("checkouts_total", "pool") == {"good": 1, "odd": 1}
    new = new_engine(poolclass=Unreadable)
    watch.add(new, Wish(name="new", registry=page.registry))
    before = contained_errors().get("collect", 0)
    for engine in (*engines.values(), new):
        used(engine)
    monkeypatch.setattr(Unreadable, "broken", True)
    assert page.by("checkouts_total", "pool") == {"good": 2, "odd": 1}
    assert contained_errors()["collect"] == before + 2
    assert {pool.identity.name: pool.checkouts for pool in watch.snapshot().pools} == {"good": 2, "odd": 1}
    monkeypatch.setattr(Unreadable, "broken", False)
    assert page.by("checkouts_total", "pool") == {"good": 2, "odd": 2, "new": 1}
    for engine in (*engines.values(), new):
        watch.remove(engine)


def test_who_makes_an_engine_waits_for_no_page(
    new_engine: NewEngine, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While pools are read others come and go; what one that goes had counted is on that very page."""
    reading, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        reading.set()
        assert go_on.wait(timeout=60)

    first, second, later = new_engine(poolclass=Odd), new_engine(), new_engine()
    for engine in (first, second):
        exporter.instrument(engine, name=page.pool, registry=page.registry)
        used(engine)
    monkeypatch.setattr(Odd, "tell", hang)
    shown: list[float] = []
    scrape = threading.Thread(target=lambda: shown.append(page.value("checkouts_total")))
    scrape.start()
    assert reading.wait(timeout=60)

    def come_and_go() -> None:
        exporter.instrument(later, name=page.pool, registry=page.registry)
        used(later)
        exporter.uninstrument(second)

    try:
        promptly(come_and_go)
    finally:
        go_on.set()
        scrape.join()
    assert shown == [3.0]


def test_a_page_that_is_read_while_it_is_read(
    new_engine: NewEngine, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the garbage collector ends in the midst of reading may lead the same thread back to it."""
    engine = new_engine(poolclass=Odd)
    handle = exporter.instrument(engine, name=page.pool, registry=page.registry)
    within: list[Any] = []

    def again() -> None:
        monkeypatch.setattr(Odd, "tell", None)
        within.append(handle.snapshot().checkouts)

    for counted in (0, 1):  # never read before, and once
        monkeypatch.setattr(Odd, "tell", again)
        promptly(handle.snapshot)
        assert within.pop() == counted
        used(engine)
        handle.snapshot()
    assert page.value("checkouts_total") == 2


def test_a_task_without_a_name_is_unknown() -> None:
    """Tasks are made by the application's own factory, where it has one."""

    class Nameless(asyncio.Task[None]):
        def get_name(self) -> str:
            raise RuntimeError("no name")

    async def look() -> str:
        task = Nameless(asyncio.sleep(0))
        said = named(lambda: task)
        await task
        return said

    assert asyncio.run(look()) == UNKNOWN


def test_one_subject_that_cannot_be_read_hides_no_other() -> None:
    """A row shows whom it can read; an endless number is one of them."""
    row = Metric[float]("seconds", "gauge", "Of a test.", one(lambda number: float(plain(1 / number))))
    table = Table[float](("number",), lambda number: (str(number),), (row,))
    (family,) = TableCollector([table], lambda: [(table, [0, 1e-320, 2])]).collect()
    assert [(sample.labels["number"], sample.value) for sample in family.samples] == [("1e-320", math.inf), ("2", 0.5)]
