"""Pools that are gone: their counts stay in the sums of their names, and no more of them than can be shown."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import Engine, create_engine

import exporter
from exporter.contained import contained_errors
from exporter.pool import PoolMonitor
from exporter.roll import MOST_DEPARTED
from pages import Page
from wires import Line, NewEngine

POOL = "sqlite:///shop.db"


def test_an_engine_for_each_tenant_does_not_grow_the_page(new_engine: NewEngine, line: Line, page: Page) -> None:
    """Of many names whose engines are gone, the last to go stay on the page; those that have a pool all do."""
    living = [new_engine() for _ in range(2 * MOST_DEPARTED)]
    for number, engine in enumerate(living):
        exporter.instrument(engine, name=f"living{number}", registry=page.registry)
    for number in range(3 * MOST_DEPARTED):
        engine = create_engine("sqlite://", creator=line)
        exporter.instrument(engine, name=f"tenant{number}", registry=page.registry)
        engine.connect().close()
        engine.dispose()
        del engine
    gc.collect()
    assert len(page.by("checkouts_total", "pool")) == MOST_DEPARTED
    assert generate_latest(page.registry).decode().count("sqlalchemy_pool_size{") == len(living)


def test_a_name_in_use_keeps_what_was_counted(new_engine: NewEngine, line: Line, page: Page) -> None:
    """However many names come and go, the sum of a name that has a pool never falls."""
    first, second = create_engine("sqlite://", creator=line), new_engine()
    for engine in (first, second):
        exporter.instrument(engine, name=POOL, registry=page.registry)
        engine.connect().close()
    first.dispose()
    del first, engine
    gc.collect()
    assert page.value("checkouts_total") == 2
    for number in range(2 * MOST_DEPARTED):
        tenant = create_engine("sqlite://", creator=line)
        exporter.instrument(tenant, name=f"tenant{number}", registry=page.registry)
        del tenant
    gc.collect()
    assert page.value("checkouts_total") == 2


def test_one_of_two_that_is_taken_off_leaves_its_counts(new_engine: NewEngine, page: Page) -> None:
    """What an uninstrumented pool had counted stays in the sum of its name, and nothing of what it has now does."""
    engines = [new_engine() for _ in range(2)]
    for engine in engines:
        exporter.instrument(engine, registry=page.registry)
        engine.connect().close()
    before = page.counts()
    exporter.uninstrument(engines[0])
    after = page.counts()
    assert all(after.get(sample, -1) >= value for sample, value in before.items())
    assert (page.value("size"), page.connections()) == (5, (1, 0))
    exporter.uninstrument(engines[1])
    assert page.find("checkouts_total") is None


def test_one_of_two_that_is_renamed_leaves_its_counts(new_engine: NewEngine, page: Page) -> None:
    """An engine that gets a name of its own, twice, begins there from zero; no sum falls, nothing is there twice."""
    engines = [new_engine() for _ in range(3)]
    for engine in engines:
        exporter.instrument(engine, registry=page.registry)
        for _ in range(5):
            engine.connect().close()
    before = page.counts()
    for name in ("orders", "orders", "bills"):
        exporter.instrument(engines[0], name=name)
        exporter.instrument(engines[1], name="orders")
        for engine in engines:
            engine.connect().close()
    after = page.counts()
    assert all(after.get(sample, -1) >= value for sample, value in before.items())
    # The second of "orders" stays when the first goes on to be "bills", and what that had counted there with it.
    assert page.by("checkouts_total", "pool") == {POOL: 18, "orders": 5, "bills": 1}
    assert page.value("connections", pool="bills", state="idle") == 1


def test_one_of_two_that_moves_leaves_its_counts(new_engine: NewEngine, page: Page) -> None:
    """A pool that is to be shown in another registry: the sum of its name does not fall where it was."""
    engines = [new_engine() for _ in range(2)]
    for engine in engines:
        exporter.instrument(engine, registry=page.registry)
        engine.connect().close()
    other = CollectorRegistry()
    exporter.instrument(engines[1], registry=other)
    engines[1].connect().close()
    assert page.value("checkouts_total") == 2
    assert other.get_sample_value("sqlalchemy_pool_checkouts_total", {"pool": POOL}) == 1


def test_the_last_of_a_name_takes_all_counts_with_it(new_engine: NewEngine, page: Page) -> None:
    """Taken off and instrumented again, a name starts from zero."""
    engines = [new_engine() for _ in range(2)]
    for engine in engines:
        exporter.instrument(engine, registry=page.registry)
        engine.connect().close()
    for engine in engines:
        exporter.uninstrument(engine)
    exporter.instrument(engines[0], registry=page.registry)
    assert page.value("checkouts_total") == 0


def test_one_that_cannot_be_read_is_taken_off(
    new_engine: NewEngine, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its counts are lost then, the error is counted, and the other goes on."""
    engines = [new_engine() for _ in range(2)]
    for engine in engines:
        exporter.instrument(engine, registry=page.registry)
        engine.connect().close()
    before = contained_errors().get("collect", 0)
    with monkeypatch.context() as broken:
        broken.setattr(PoolMonitor, "snapshot", None)
        exporter.uninstrument(engines[0])
    assert contained_errors()["collect"] == before + 1
    assert page.value("checkouts_total") == 1


def test_sums_over_registries_do_not_fall(new_engine: NewEngine, page: Page) -> None:
    """The last of a name on a page takes it off that page, and stays in the published sum while others are watched."""
    name = f"orders of {id(page)}"  # of no other test, for what is published is of all
    pages = [Page(name), Page(name)]
    engines = [new_engine() for _ in range(3)]
    for shown, engine in zip((pages[0], pages[1], pages[1]), engines, strict=True):
        exporter.instrument(engine, name=name, registry=shown.registry)
        engine.connect().close()

    def published() -> list[int]:
        return [pool.checkouts for pool in exporter._watch().snapshot().pools if pool.identity.name == name]  # noqa: SLF001

    for engine, on_page, on_all in zip(engines[:0:-1], (2, None), ([3], [3]), strict=True):
        exporter.uninstrument(engine)
        assert (pages[1].find("checkouts_total"), published()) == (on_page, on_all)
    assert pages[0].value("checkouts_total") == 1
    exporter.uninstrument(engines[0])
    assert published() == []


def test_finding_a_pool_looks_at_no_other(
    new_engine: NewEngine, page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To instrument a new engine, or one that is instrumented, costs the same however many there are."""
    engines: list[Engine] = [new_engine() for _ in range(20)]
    for engine in engines:
        exporter.instrument(engine, registry=page.registry)
    looked: list[Any] = []
    pool = PoolMonitor.pool

    def look(monitor: PoolMonitor) -> Any:
        looked.append(monitor)
        return pool(monitor)

    new = create_engine(f"sqlite:///{tmp_path}/other.db")
    monkeypatch.setattr(PoolMonitor, "pool", look)
    for engine in (new, engines[7]):
        exporter.instrument(engine, registry=page.registry)
    assert len(set(looked)) <= 2
    exporter.uninstrument(new)
