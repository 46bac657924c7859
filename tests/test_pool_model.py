"""Any order of moves: nothing raises, no counter falls, and our page says exactly what the application did."""

from __future__ import annotations

import contextlib
import gc
import logging
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

import exporter
from exporter.contained import contained_errors
from model import Book, Paper
from pages import Growth, Page
from wires import Line

SIZE, MAX_OVERFLOW = 2, 2


class PoolModel(RuleBasedStateMachine):
    """An application that does anything to its pool, and what our page must say of it."""

    def __init__(self) -> None:
        super().__init__()
        gc.collect()
        gc.freeze()  # so that a collection after each move is a small one
        logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)  # it tells of each rollback that fails
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.line = Line(Path(self.folder.name, "model.db"))
        self.engine = create_engine(
            "sqlite:///model.db", creator=self.line, poolclass=QueuePool, pool_size=SIZE, max_overflow=MAX_OVERFLOW,
            pool_timeout=0, pool_pre_ping=True,
        )  # fmt: skip
        self.page = Page("sqlite:///model.db")
        self.growth = Growth(self.page)
        self.contained = contained_errors()
        exporter.instrument(self.engine, registry=self.page.registry)
        self.book = Book(size=SIZE, max_overflow=MAX_OVERFLOW)

    @rule(failing=st.sampled_from((False, False, False, True)))
    def check_out(self, *, failing: bool) -> None:
        self._take(self.engine.raw_connection, failing=failing)

    @rule()
    def lose_it_in_use(self) -> None:
        paper = self._take(self.engine.connect)
        if paper is None:
            return
        paper.fairy.connection.driver_connection.close()
        with pytest.raises(DBAPIError):
            paper.fairy.exec_driver_sql("select 1")
        self._release(paper).close()
        self.book.end(paper, "disconnect")
        self.book.invalidate_pool(paper)
        self.book.counts["stale_use"] += 1

    @precondition(lambda self: self.book.out)
    @rule(data=st.data())
    def check_in(self, data: st.DataObject) -> None:
        paper = self._out(data)
        self._release(paper).close()
        self.book.give_back(paper)

    @precondition(lambda self: self.book.out)
    @rule(data=st.data())
    def leave_to_the_collector(self, data: st.DataObject) -> None:
        paper = self._out(data)
        circle = [self._release(paper)]
        circle.append(circle)
        del circle
        gc.collect()
        self.book.give_back(paper)
        self.book.counts["garbage_collected"] += 1

    @precondition(lambda self: self.book.out)
    @rule(data=st.data())
    def die_while_out(self, data: st.DataObject) -> None:
        paper = self._out(data)
        paper.fairy.driver_connection.close()
        paper.dead = True

    @precondition(lambda self: self.book.pool.connections)
    @rule(data=st.data())
    def die_while_idle(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from([n for n, paper in enumerate(self.book.pool.idle) if paper is not None]))
        records: Any = self.engine.pool._pool.queue  # type: ignore[attr-defined]  # noqa: SLF001  the truth itself
        records[slot].driver_connection.close()
        self.book.pool.idle[slot].dead = True  # type: ignore[union-attr]

    @precondition(lambda self: self.book.out)
    @rule(data=st.data())
    def invalidate(self, data: st.DataObject) -> None:
        paper = self._out(data)
        paper.fairy.invalidate()
        self._release(paper).close()
        self.book.end(paper, "application")

    @precondition(lambda self: self.book.out)
    @rule(data=st.data())
    def invalidate_softly(self, data: st.DataObject) -> None:
        paper = self._out(data)
        paper.fairy.invalidate(soft=True)
        paper.soft = True
        self.book.causes["soft"] += 1

    @precondition(lambda self: self.book.out)
    @rule(data=st.data())
    def detach(self, data: st.DataObject) -> None:
        paper = self._out(data)
        paper.fairy.detach()
        self.book.detach(paper)

    @precondition(lambda self: self.book.detached)
    @rule(forget=st.booleans())
    def end_detached(self, *, forget: bool) -> None:
        paper = self.book.detached.pop()
        fairy = self._release(paper)
        if not forget:
            fairy.close()  # which does nothing for one that is dead: its rollback fails
        self.book.closes["garbage_collected" if forget or paper.dead else "detached"] += 1
        self.book.bury()

    @rule(close=st.booleans())
    def dispose(self, *, close: bool) -> None:
        self.engine.dispose(close=close)
        self.book.dispose(close=close)

    def _take(self, how: Any, *, failing: bool = False) -> Paper | None:
        if self.book.full():
            with pytest.raises(PoolTimeoutError):
                how()
            self.book.counts["timeouts"] += 1
            return None
        self.line.failing = 1.0 if failing else 0.0
        fairy = None
        with contextlib.suppress(sqlite3.OperationalError):
            fairy = how()
        paper = self.book.take(failing=failing)
        assert (paper is None) == (fairy is None)
        if paper is not None:
            paper.fairy = fairy
        return paper

    def _out(self, data: st.DataObject) -> Paper:
        return data.draw(st.sampled_from(self.book.out))

    def _release(self, paper: Paper) -> Any:
        fairy, paper.fairy = paper.fairy, None
        return fairy

    @invariant()
    def the_page_is_right(self) -> None:
        gc.collect()  # pools that were disposed of are circles
        self._gauges_tell_what_is()
        self._counters_tell_what_was()
        self._histograms_count_as_often()
        self._no_counter_falls()

    def _gauges_tell_what_is(self) -> None:
        book, page = self.book, self.page
        idle, used = len(book.pool.connections), len(book.current)
        assert page.connections() == (idle, used)
        assert page.value("overflow") == max(idle + used - SIZE, 0)
        assert page.values("detached", "orphaned", "waiting") == {
            "detached": len(book.detached),
            "orphaned": book.orphaned,
            "waiting": 0,
        }

    def _counters_tell_what_was(self) -> None:
        counts, page = self.book.counts, self.page
        names = (
            "checkouts", "checkins", "connects", "connect_errors", "detaches", "disposals", "timeouts",
            "garbage_collected",
        )  # fmt: skip
        assert page.values(*(f"{name}_total" for name in names)) == {f"{name}_total": counts[name] for name in names}
        assert page.by("closes_total", "reason") == +self.book.closes
        assert page.by("invalidations_total", "cause") == +self.book.causes
        stale = {"ping other": self.book.causes["ping"], "use other": counts["stale_use"]}
        assert page.by("stale_total", "found", "code") == {found: count for found, count in stale.items() if count}

    def _histograms_count_as_often(self) -> None:
        counts = self.book.counts
        assert self.page.values(*(f"{name}_seconds_count" for name in ("use", "wait", "connect", "idle", "ping"))) == {
            "use_seconds_count": counts["checkins"],
            "wait_seconds_count": counts["checkouts"] + counts["timeouts"],
            "connect_seconds_count": counts["connects"],
            "idle_seconds_count": counts["idle"],
            "ping_seconds_count": counts["pings"],
        }
        ended = sum(count for reason, count in self.book.closes.items() if reason != "garbage_collected")
        assert self.page.value("lifetime_seconds_count") == ended

    def _no_counter_falls(self) -> None:
        self.growth.look()
        assert not self.growth.fallen
        assert contained_errors() == self.contained

    def teardown(self) -> None:
        for paper in (*self.book.out, *self.book.detached):
            self._release(paper).close()
        exporter.uninstrument(self.engine)
        self.engine.dispose()
        self.folder.cleanup()
        logging.getLogger("sqlalchemy.pool").setLevel(logging.NOTSET)
        gc.unfreeze()


PoolModel.TestCase.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)
TestPoolModel = PoolModel.TestCase
