"""One fixed day of a pool, on a clock that is handed in, and the whole page that it must give: `golden_page.txt`.

After a change that is meant, `python tests/test_golden_page.py` writes the file anew; read the difference.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

import exporter
from applications import application
from exporter.contained import start_from_zero
from pages import Page
from wires import Line

GOLDEN = Path(__file__).with_name("golden_page.txt")
BILLING = "def keep(engine):\n    return engine.connect()\n\ndef forget(engine):\n    return engine.raw_connection()\n"
CLOCKED = tuple(f"exporter.{name}" for name in ("ear", "listeners", "seam", "waits", "pings", "pool"))


class Clock:
    """Stands in for the module time: a moment lasts until somebody says otherwise.

    All durations here are sums of powers of two, so that adding them up in any order gives the same number.
    """

    def __init__(self) -> None:
        self.now = 1024.0
        self.time = time.time

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let others go on; nobody here waits for longer than that."""
        assert seconds == 0

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class Day:
    """An engine over a file, and what is done to it in a day."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder, self.clock = folder, clock
        self.page = Page("sqlite:///shop.db")
        self.line = Line(folder / "shop.db")
        self.engine = self._engine()
        exporter.instrument(self.engine, registry=self.page.registry, leak_after=60)

    def _engine(self) -> Engine:
        def slowly() -> Any:
            self.clock.pass_by(1 / 64)
            return self.line()

        engine = create_engine(
            "sqlite:///shop.db", creator=slowly, poolclass=QueuePool, pool_size=2, max_overflow=2, pool_timeout=0,
            pool_recycle=1800, pool_pre_ping=True,
        )  # fmt: skip
        ping = engine.dialect.do_ping

        def pinging(dbapi_connection: Any) -> bool:
            self.clock.pass_by(1 / 4096)
            return ping(dbapi_connection)

        engine.dialect.do_ping = pinging  # type: ignore[method-assign]
        return engine

    def use(self, seconds: float, *, count: int = 1) -> None:
        """Hold some connections for a while."""
        held = [self.engine.connect() for _ in range(count)]
        self.clock.pass_by(seconds)
        for each in held:
            each.close()

    def live(self) -> str:
        """Let the day pass; return the page of its evening."""
        self.use(1 / 256)
        self.use(1 / 4, count=3)
        self.clock.pass_by(90)
        self._invalidate()
        self._die()
        self._wait_in_vain()
        billing = application(self.folder / "app", "billing", BILLING)
        billing.forget(self.engine)
        gc.collect()
        orphan = billing.keep(self.engine)
        self.engine.dispose()
        self.clock.pass_by(30)
        detached = self.engine.raw_connection()
        detached.detach()
        overdue = billing.forget(self.engine)
        self.use(1.5)
        self.clock.pass_by(100)
        held = self.engine.connect()
        self.clock.pass_by(7)
        text = generate_latest(self.page.registry).decode()
        for each in (orphan, detached, overdue, held):
            each.close()
        exporter.uninstrument(self.engine)
        self.engine.dispose()
        return text

    def _invalidate(self) -> None:
        for soft in (False, True):
            raw = self.engine.raw_connection()
            raw.invalidate(soft=soft)
            raw.close()
        self.use(1 / 128, count=2)

    def _die(self) -> None:
        connection = self.engine.connect()
        connection.connection.driver_connection.close()  # type: ignore[union-attr]
        with pytest.raises(DBAPIError):
            connection.exec_driver_sql("select 1")
        connection.close()
        self.use(1 / 32, count=2)
        for record in self.engine.pool._pool.queue:  # type: ignore[attr-defined]  # noqa: SLF001
            record.driver_connection.close()
        self.use(1 / 1024)
        self.line.failing = 1.0
        self.engine.pool.dispose()
        with pytest.raises(DBAPIError):
            self.engine.connect()
        self.line.failing = 0.0

    def _wait_in_vain(self) -> None:
        held = [self.engine.connect() for _ in range(4)]
        with pytest.raises(PoolTimeoutError):
            self.engine.connect()
        self.clock.pass_by(20)
        for each in held:
            each.close()


def page_of_the_day(folder: Path) -> str:
    """Return the page, made on a clock of its own."""
    start_from_zero()
    clock: Any = Clock()
    with pytest.MonkeyPatch.context() as patch:
        for name in CLOCKED:
            patch.setattr(sys.modules[name], "time", clock)
        return Day(folder, clock).live()


def test_the_page_of_a_fixed_day_is_this(tmp_path: Path) -> None:
    """Every name, help, type, label, bucket and number of an application's page is as the file has it."""
    assert page_of_the_day(tmp_path) == GOLDEN.read_text()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        GOLDEN.write_text(page_of_the_day(Path(name)))
