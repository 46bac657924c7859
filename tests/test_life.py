"""From the first engine to the end of the process: dispose, detach, forks, reloads, and thousands of engines."""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool, QueuePool

import exporter
from exporter.ear import Ear
from exporter.ledger import Ledger
from exporter.pool import PoolMonitor
from exporter.tally import Tally, Usage
from pages import Page, settled
from wires import Line

OURS = (PoolMonitor, Ear, Ledger, Tally, Usage)


@pytest.mark.parametrize("close", [True, False])
def test_what_is_out_of_a_pool_that_is_disposed_of_is_an_orphan(engine: Engine, page: Page, *, close: bool) -> None:
    """Connections out at dispose() are orphans until they are back and their pool is gone; no counter falls."""
    exporter.instrument(engine, registry=page.registry)
    out, idle = [engine.connect() for _ in range(2)], engine.connect()
    idle.close()
    engine.dispose(close=close)
    assert page.values("orphaned", "disposals_total") == {"orphaned": 2 if close else 3, "disposals_total": 1}
    assert page.connections() == (0, 0)
    with engine.connect():
        assert page.connections() == (0, 1)
    before = page.values("checkouts_total", "connects_total")
    for each in out:
        each.close()
    del out, each, idle
    settled(page.counts)
    assert page.value("orphaned") == 0
    assert page.values("checkouts_total", "connects_total") == before == {"checkouts_total": 4, "connects_total": 4}
    assert page.value("checkins_total") == 4
    ended = {"disposed": 1, "garbage_collected": 2} if close else {"garbage_collected": 3}
    assert page.by("closes_total", "reason") == ended


def test_the_pool_s_own_dispose_is_counted_too(engine: Engine, page: Page) -> None:
    """pool.dispose() counts one, and an engine.dispose() after it another, however it is asked for."""
    exporter.instrument(engine, registry=page.registry)
    engine.connect().close()
    engine.pool.dispose()
    assert page.value("disposals_total") == 1
    engine.connect().close()
    engine.dispose(close=False)
    assert page.value("disposals_total") == 2
    engine.dispose()
    engine.execution_options(isolation_level="AUTOCOMMIT").dispose()
    assert page.value("disposals_total") == 4
    assert engine.pool.recreate() is not engine.pool  # which disposes of nothing
    assert page.value("disposals_total") == 4


def test_a_detached_connection_is_told_until_it_is_closed(engine: Engine, page: Page) -> None:
    """Detached ones are in no pool, and show as such; those that are dropped end with the collector."""
    exporter.instrument(engine, registry=page.registry)
    closed, dropped = engine.raw_connection(), engine.raw_connection()
    for each in (closed, dropped):
        each.detach()
    assert page.values("detached", "detaches_total") == {"detached": 2, "detaches_total": 2}
    assert page.connections() == (0, 0)
    closed.close()
    assert page.by("closes_total", "reason") == {"detached": 1}
    del each, dropped
    assert settled(lambda: page.value("detached")) == 0
    assert page.by("closes_total", "reason") == {"detached": 1, "garbage_collected": 1}


def test_a_pool_of_two_engines_is_watched_once(engine: Engine, page: Page) -> None:
    """Two engines that share a pool are one pool; each may go, or dispose of it, and nothing counts twice."""
    exporter.instrument(engine, registry=page.registry)
    other = create_engine("sqlite:///shop.db", pool=engine.pool)
    exporter.instrument(other, registry=page.registry)
    engine.connect().close()
    other.connect().close()
    assert page.values("checkouts_total", "connects_total") == {"checkouts_total": 2, "connects_total": 1}
    assert page.value("connections_max") == 15
    assert page.connections() == (1, 0)


# What was before is as it was.


def test_uninstrumenting_leaves_everything_as_it_was(line: Line) -> None:
    """Class of pool, queue and condition and the dialect's ping are what they were, also somebody else's ping."""
    engine = create_engine("sqlite:///shop.db", creator=line, poolclass=QueuePool)
    pool: Any = engine.pool

    def parts() -> list[Any]:
        return [type(pool), type(pool._pool), type(pool._pool.not_empty), vars(engine.dialect).get("do_ping")]  # noqa: SLF001

    before = parts()
    for _ in range(2):
        exporter.instrument(engine)
        assert parts() != before
        exporter.uninstrument(engine)
        assert parts() == before
    engine.dialect.do_ping = lambda dbapi_connection: dbapi_connection is not None  # type: ignore[method-assign]
    before = parts()
    exporter.instrument(engine)
    exporter.uninstrument(engine)
    assert parts() == before
    engine.connect().close()
    engine.dispose()


def test_instrumenting_again_and_again_leaves_nothing(engine: Engine) -> None:
    """However often an engine is instrumented and let go, nothing of ours is kept for it."""
    out = engine.connect()
    exporter.instrument(engine, registry=CollectorRegistry())
    engine.connect().close()
    exporter.uninstrument(engine)
    before = settled(census)
    for _ in range(20):
        exporter.instrument(engine, registry=CollectorRegistry())
        engine.connect().close()
        exporter.uninstrument(engine)
    assert settled(census) == before
    out.close()


def census() -> dict[str, int]:
    """Count the objects of ours that live."""
    found = [type(each) for each in gc.get_objects() if isinstance(each, OURS)]
    return {kind.__name__: found.count(kind) for kind in OURS}


# Thousands of engines.


@pytest.mark.parametrize("pool_class", [QueuePool, NullPool])
@pytest.mark.parametrize("scraped", [True, False], ids=["scraped", "never scraped"])
def test_thousands_of_engines_leave_their_counts_only(
    line: Line, page: Page, pool_class: type, *, scraped: bool
) -> None:
    """Engines that come and go leave their sums and no object, whether anybody reads the page or not."""
    before = settled(census)
    for number in range(1200):
        engine = create_engine("sqlite:///shop.db", creator=line, poolclass=pool_class)
        exporter.instrument(engine, registry=page.registry)
        engine.connect().close()
        engine.dispose()
        del engine
        if number % 100 == 0:
            gc.collect()
            if scraped:
                page.counts()
    gc.collect()
    middle = census()
    assert middle["PoolMonitor"] - before["PoolMonitor"] <= 200
    settled(page.counts)
    page.counts()
    assert settled(census) == before
    assert page.values("checkouts_total", "checkins_total", "connects_total") == {
        "checkouts_total": 1200,
        "checkins_total": 1200,
        "connects_total": 1200,
    }
    assert page.connections() == (0, 0)
    assert (page.find("timeouts_total") is None) == (pool_class is NullPool)
    assert line.open == 0


# The end of the process, and modules that are loaded again.

EXIT = """
import sys
from prometheus_client import generate_latest
from sqlalchemy import create_engine
from sqlalchemy.pool import QueuePool
import exporter

engine = create_engine("sqlite:///shop.db", poolclass=QueuePool)
exporter.instrument(engine)
held, idle = engine.connect(), engine.connect()
idle.close()
print(generate_latest().decode().count("sqlalchemy_pool"))
"""


def test_the_process_ends_as_it_would(tmp_path: Path) -> None:
    """With connections out, idle and instrumented, the interpreter ends in peace and says nothing."""
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore::ResourceWarning", "-c", EXIT],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
        env={"PYTHONPATH": str(Path(exporter.__file__).parent.parent)},
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    assert int(ran.stdout) > 100


def test_a_module_that_is_loaded_again_starts_anew(tmp_path: Path, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reloaded module with an engine and a pool class of its own: both engines count, and the old class can go."""
    source = (
        "import exporter\nfrom sqlalchemy import create_engine\nfrom sqlalchemy.pool import QueuePool\n"
        "class ShopPool(QueuePool):\n    pass\n"
        "def start(line, registry):\n"
        "    engine = create_engine('sqlite:///shop.db', creator=line, poolclass=ShopPool)\n"
        "    exporter.instrument(engine, registry=registry)\n"
        "    engine.connect().close()\n"
        "    return engine\n"
    )
    (tmp_path / "reloaded_shop.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    line = Line(tmp_path / "shop.db")
    module: Any = importlib.import_module("reloaded_shop")
    for _ in range(3):
        module.start(line, page.registry).dispose()
        module = importlib.reload(module)
    module.start(line, page.registry).dispose()
    settled(page.counts)
    assert page.value("checkouts_total") == 4
    assert [each.__module__ for each in QueuePool.__subclasses__()].count("reloaded_shop") == 1
    del sys.modules["reloaded_shop"]
