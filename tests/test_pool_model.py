"""Any order of moves: nothing raises, no counter falls, and our page says exactly what the application did."""

from __future__ import annotations

import contextlib
import gc
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

import exporter

POOL = "sqlite:///model.db"
COUNTERS = ("checkouts_total", "checkins_total", "connects_total", "use_seconds_count")


class PoolModel(RuleBasedStateMachine):
    """An application that does anything to its pool, and what our page must say of it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name, "model.db")
        self.engine = create_engine(
            f"sqlite:///{path}", poolclass=QueuePool, pool_size=2, max_overflow=2, pool_timeout=0
        )
        self.registry = CollectorRegistry()
        exporter.instrument(self.engine, registry=self.registry)
        self.out: list[Any] = []
        self.orphans: list[Any] = []
        self.detached: list[Any] = []
        self.checkouts = self.checkins = 0
        self.before = dict.fromkeys(COUNTERS, 0.0)

    def value(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(f"sqlalchemy_pool_{name}", {"pool": POOL, **labels})
        assert value is not None, name
        return value

    @rule()
    def check_out(self) -> None:
        with contextlib.suppress(PoolTimeoutError):
            self.out.append(self.engine.raw_connection())
            self.checkouts += 1

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def check_in(self, data: st.DataObject) -> None:
        self._take(data).close()
        self.checkins += 1

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def leave_to_the_collector(self, data: st.DataObject) -> None:
        self._take(data)
        gc.collect()
        self.checkins += 1

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def invalidate(self, data: st.DataObject) -> None:
        connection = self._take(data)
        connection.invalidate()
        connection.close()
        self.checkins += 1

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def invalidate_softly(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.out)).invalidate(soft=True)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def detach(self, data: st.DataObject) -> None:
        connection = self._take(data)
        connection.detach()
        self.detached.append(connection)

    @precondition(lambda self: self.detached)
    @rule()
    def close_detached(self) -> None:
        self.detached.pop().close()

    @rule()
    def dispose(self) -> None:
        self.engine.dispose()
        self.orphans += self.out
        self.out = []

    @precondition(lambda self: self.orphans)
    @rule()
    def close_orphan(self) -> None:
        self.orphans.pop().close()
        self.checkins += 1

    def _take(self, data: st.DataObject) -> Any:
        return self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))

    @invariant()
    def what_is_out_is_out(self) -> None:
        assert self.value("connections", state="used") == len(self.out)
        assert self.value("checkouts_total") == self.checkouts
        assert self.value("checkins_total") == self.value("use_seconds_count") == self.checkins

    @invariant()
    def what_is_idle_is_in_the_pool(self) -> None:
        pool: QueuePool = self.engine.pool  # type: ignore[assignment]
        filled = [record for record in pool._pool.queue if record.dbapi_connection is not None]  # type: ignore[attr-defined]  # noqa: SLF001  the truth itself
        assert self.value("connections", state="idle") == len(filled)

    @invariant()
    def no_counter_falls(self) -> None:
        now = {name: self.value(name) for name in COUNTERS}
        assert all(now[name] >= self.before[name] for name in COUNTERS)
        self.before = now

    def teardown(self) -> None:
        for connection in (*self.out, *self.orphans, *self.detached):
            connection.close()
        exporter.uninstrument(self.engine)
        self.engine.dispose()
        self.folder.cleanup()


PoolModel.TestCase.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
TestPoolModel = PoolModel.TestCase
