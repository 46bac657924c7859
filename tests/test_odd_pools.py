"""Pools whose methods take or do more than SQLAlchemy's: what they are asked goes on, and each thing counts once."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import Pool, QueuePool

import exporter
from exporter.contained import contained_errors
from letters import LIVE, box, letter, put
from odd_pools import GenerousPool, OddSizedPool, PersistentPool, UnsizedPool
from pages import Page
from wires import Line, NewEngine


@pytest.mark.usefixtures("nothing_contained")
def test_what_a_pool_of_ones_own_takes_more_is_passed_on(engine_of: Callable[..., Engine], page: Page) -> None:
    """Arguments that only the application's own pool knows reach it, by place and by name, and all is counted."""
    pool: Any = engine_of(GenerousPool).pool
    pool.connect("by place").close()
    pool.connect(tag="by name").close()
    raw = pool.connect()
    raw._connection_record.fairy_ref = None  # noqa: SLF001  returned below, by hand
    pool._do_return_conn(raw._connection_record, note="noted")  # noqa: SLF001
    raw._connection_record = None  # noqa: SLF001
    assert pool.recreate(tag="again").size() == pool.size()
    pool.dispose(force=True)
    assert pool.heard == ("by place", "", "by name", "", "", "noted", "again", True)
    assert page.values("checkouts_total", "checkins_total", "disposals_total") == {
        "checkouts_total": 3, "checkins_total": 3, "disposals_total": 1,
    }  # fmt: skip


@pytest.mark.usefixtures("nothing_contained")
def test_a_pool_that_tries_again_counts_each_checkout_once(new_engine: NewEngine, line: Line, page: Page) -> None:
    """A pool may call its own connect() when that has failed: what comes of it is one checkout, and one timeout."""
    failures = [OSError(), OSError()]

    def creator() -> Any:
        if failures:
            raise failures.pop()
        return line()

    engine = new_engine(poolclass=PersistentPool, creator=creator, pool_size=1, max_overflow=0, pool_timeout=0.01)
    exporter.instrument(engine, registry=page.registry)
    with engine.connect():
        assert page.values("checkouts_total", "connect_errors_total") == {
            "checkouts_total": 1, "connect_errors_total": 2,
        }  # fmt: skip
        engine.pool.tries = 1  # type: ignore[attr-defined]
        with pytest.raises(PoolTimeoutError):
            engine.connect()
    assert page.values("checkouts_total", "checkins_total", "timeouts_total", "wait_seconds_count") == {
        "checkouts_total": 1, "checkins_total": 1, "timeouts_total": 1, "wait_seconds_count": 2,
    }  # fmt: skip


@pytest.mark.usefixtures("nothing_contained")
@pytest.mark.parametrize("name", ["connect", "_do_return_conn", "dispose", "recreate"])
def test_what_another_tool_puts_before_a_pools_method_later_runs(engine_of: Callable[..., Engine], name: str) -> None:
    """A method of a pool's class that is replaced after instrument() is what runs, and what ran before runs again."""
    engine = engine_of(QueuePool)
    owner = Pool if name == "connect" else QueuePool
    with mock.patch.object(owner, name, autospec=True, side_effect=vars(owner)[name]) as replaced:
        engine.connect().close()
        engine.dispose()
    assert replaced.call_count == 1
    engine.connect().close()
    engine.dispose()
    assert replaced.call_count == 1


@pytest.mark.usefixtures("nothing_contained")
def test_an_engine_whose_dispose_another_tool_has_wrapped_is_followed(
    engine_of: Callable[..., Engine], page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands before Engine.dispose() hides nothing: the next pool's first use is counted."""
    dispose = Engine.dispose

    @functools.wraps(dispose)
    def traced(self: Engine, *args: Any, **options: Any) -> None:
        dispose(self, *args, **options)

    monkeypatch.setattr(Engine, "dispose", traced)
    engine = engine_of(QueuePool)
    for _ in range(3):
        engine.connect().close()
        engine.dispose()
    assert page.values("checkouts_total", "connects_total", "disposals_total") == {
        "checkouts_total": 3, "connects_total": 3, "disposals_total": 3,
    }  # fmt: skip


ODD_SETTINGS: tuple[dict[str, Any], ...] = (
    {"pool_recycle": math.inf}, {"pool_timeout": math.inf}, {"pool_timeout": -1}, {"pool_size": -1}, {"pool_size": 5.0},
    {"max_overflow": 10.0}, {"max_overflow": math.inf},
    {"poolclass": OddSizedPool},
)  # fmt: skip


@pytest.mark.usefixtures("nothing_contained")
@pytest.mark.parametrize("settings", ODD_SETTINGS, ids=str)
def test_odd_settings_that_work_hide_nothing(
    new_engine: NewEngine, page: Page, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """Whatever SQLAlchemy makes of a setting, the pool is on the page, and in what the process publishes."""
    engine = new_engine(**settings)
    handle = exporter.instrument(engine, registry=page.registry)
    with engine.connect():
        assert page.connections() == (0, 1)
        snapshot = handle.snapshot()
    for seconds in (snapshot.recycle_seconds, snapshot.timeout_seconds):
        assert seconds is None or 0 <= seconds < math.inf
    assert snapshot.size is not None
    assert type(snapshot.size) is int
    assert snapshot.size >= 0
    put(tmp_path, letter(dataclasses.replace(LIVE, pools=(snapshot,))))
    mail = box(tmp_path).read()
    assert not any(mail.rejected.values())
    assert [pool.used for each in mail.reports for pool in each.snapshot.pools] == [1]


def test_a_pool_that_does_not_tell_its_size_takes_no_other_off_the_page(
    engine_of: Callable[..., Engine], page: Page
) -> None:
    """What a pool class raises when it is asked is contained, and what is not known is absent."""
    before = contained_errors().get("collect", 0)
    engine_of(UnsizedPool).connect().close()
    assert page.connections() == (1, 0)
    assert page.find("size") is None
    assert contained_errors()["collect"] > before
