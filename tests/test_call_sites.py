"""Where in the application a connection was taken: its own line, whatever library asked the pool on its behalf."""

from __future__ import annotations

import asyncio
import gc
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

import exporter
from applications import application
from exporter.callsite import described
from pages import threads_of_the_driver_ended

SYNC = """
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

def connect(engine):
    return engine.connect()  # here

def begin(engine):
    context = engine.begin()
    context.__enter__()  # here
    return context

def raw(engine):
    return engine.raw_connection()  # here

def pool(engine):
    return engine.pool.connect()  # here

def options(engine):
    return engine.execution_options(isolation_level="AUTOCOMMIT").connect()  # here

def session(engine):
    session = Session(engine)
    session.execute(text("select 1"))  # here
    return session

def maker(engine):
    session = sessionmaker(engine)()
    session.connection()  # here
    return session

class Shop:
    def method(self, engine):
        return [engine.connect() for _ in range(1)]  # here

def method(engine):
    return Shop().method(engine)
"""

ASYNC = """
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

async def connect(engine):
    return await engine.connect()  # here

async def begin(engine):
    context = engine.begin()
    await context.__aenter__()  # here
    return context

async def raw(engine):
    return await engine.raw_connection()  # here

async def session(engine):
    session = AsyncSession(engine)
    await session.execute(text("select 1"))  # here
    return session

async def maker(engine):
    session = async_sessionmaker(engine)()
    await session.scalar(text("select 1"))  # here
    return session

async def in_sync_code(engine):
    session = AsyncSession(engine)
    def work(sync_session):
        sync_session.execute(text("select 1"))  # here
    await session.run_sync(work)
    return session
"""


def expected(source: str, name: str, function: str) -> re.Pattern[str]:
    """Return what the call site of ``function`` must look like: the line of it that is marked."""
    start = source.splitlines().index(next(line for line in source.splitlines() if f"def {function}(" in line))
    line = next(n for n, text in enumerate(source.splitlines(), 1) if n > start and text.endswith("# here"))
    return re.compile(rf"{name}\.py:{line} \S+")


@pytest.mark.parametrize("function", re.findall(r"^def (\w+)", SYNC, flags=re.MULTILINE))
def test_a_call_site_is_the_application_s(tmp_path: Path, engine: Engine, function: str) -> None:
    """Whatever asks the pool for a connection, the site is the application's own line, not a library's."""
    handle = exporter.instrument(engine)
    module = application(tmp_path / "app", "billing", SYNC)
    held = getattr(module, function)(engine)
    (site,) = [row.site for row in handle.snapshot().connections]
    assert expected(SYNC, "billing", function).fullmatch(site or "")
    if sys.version_info >= (3, 12) or function != "method":  # before, a comprehension is a function of its own
        assert (site or "").endswith(function)
    del held
    gc.collect()


@pytest.mark.filterwarnings("ignore:The garbage collector is trying to clean up")
@pytest.mark.parametrize("function", re.findall(r"^async def (\w+)", ASYNC, flags=re.MULTILINE))
def test_a_call_site_of_a_task_is_the_application_s(tmp_path: Path, function: str) -> None:
    """An asynchronous application's site is found beyond SQLAlchemy's greenlet, with the name of the task."""
    pytest.importorskip("aiosqlite")
    module = application(tmp_path / "app", "billing", ASYNC)

    async def live() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db")
        handle = exporter.instrument(engine)
        held = await asyncio.create_task(getattr(module, function)(engine), name="bill of today")
        (row,) = handle.snapshot().connections
        assert expected(ASYNC, "billing", function).fullmatch(row.site or "")
        assert row.holder in ("task bill of today (ended)", "a task that has ended")
        await end(held)
        task = asyncio.create_task(
            hold(engine, lambda: [row.holder for row in handle.snapshot().connections]), name="x"
        )
        assert await task == ["task x"]
        exporter.uninstrument(engine)
        await engine.dispose()
        await threads_of_the_driver_ended()

    asyncio.run(live())


GATHERED = """
import asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

async def gather(engine, look, end):
    async with AsyncSession(engine) as session:
        await asyncio.gather(session.execute(text("select 1")))
        found = look()
    await end()
    return found

def main(engine, look, end):
    return asyncio.run(gather(engine, look, end))  # not here
"""


def test_a_task_of_a_library_s_own_coroutine_has_no_site(tmp_path: Path) -> None:
    """gather() runs the session's coroutine as a task: no place is the application's, and the loop's caller is none."""
    pytest.importorskip("aiosqlite")
    module = application(tmp_path / "app", "gathered", GATHERED)
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db", poolclass=NullPool)
    handle = exporter.instrument(engine, registry=CollectorRegistry())
    (row,) = module.main(engine, lambda: handle.snapshot().connections, threads_of_the_driver_ended)
    assert row.site == "unknown"
    exporter.uninstrument(engine)


async def hold(engine: AsyncEngine, look: Callable[[], Any]) -> Any:
    """Look at something while a connection is held."""
    async with engine.connect() as connection:
        await connection.execute(text("select 1"))
        return look()


async def end(held: Any) -> None:
    """Give back what the application holds, whatever it is."""
    if hasattr(held, "__aexit__") and not hasattr(held, "close"):
        await held.__aexit__(None, None, None)
    elif asyncio.iscoroutinefunction(held.close):
        await held.close()
    else:
        from sqlalchemy.util import greenlet_spawn  # noqa: PLC0415  needs greenlet, which async engines alone have

        await greenlet_spawn(held.close)


def test_an_application_among_the_libraries_is_found(tmp_path: Path, engine: Engine) -> None:
    """An application that is installed as a library is has call sites too: the innermost that is not SQLAlchemy's."""
    handle = exporter.instrument(engine)
    module = application(tmp_path / "site-packages", "installed", "def take(engine):\n    return engine.connect()\n")
    seen: list[str | None] = []

    def work() -> None:
        with module.take(engine):
            seen.extend(row.site for row in handle.snapshot().connections)

    code = compile("work()", str(tmp_path / "site-packages" / "outer.py"), "exec")
    thread = threading.Thread(target=exec, args=(code, {"work": module_of(tmp_path, work)}))
    thread.start()
    thread.join()
    assert seen == ["installed.py:2 take"]


def module_of(folder: Path, work: Any) -> Callable[[], None]:
    """Make a function look as if it were installed among the libraries."""
    code = work.__code__.replace(co_filename=str(folder / "site-packages" / "work.py"))
    return FunctionType(code, {**vars(sys.modules[work.__module__])}, "work", None, work.__closure__)


def test_functions_that_read_alike_are_told_apart(tmp_path: Path, engine: Engine) -> None:
    """Two functions of one name, text and line are two places when they stand in two files."""
    handle = exporter.instrument(engine)
    source = "def take(engine):\n    return engine.connect()\n"
    one, other = (application(tmp_path / "app", name, source).take(engine) for name in ("orders", "bills"))
    assert {row.site for row in handle.snapshot().connections} == {"orders.py:2 take", "bills.py:2 take"}
    one.close()
    other.close()


def test_a_file_whose_name_no_page_can_show(tmp_path: Path, engine: Engine) -> None:
    """A character of a file's name that UTF-8 has not is shown as a question mark, and the page is whole."""
    registry = CollectorRegistry()
    exporter.instrument(engine, registry=registry, leak_after=1e-9)
    place = str(tmp_path / "orders\udcff.py")
    names: dict[str, Any] = {"engine": engine}
    exec(compile("def take():\n    return engine.connect()\n", place, "exec"), names)  # noqa: S102
    with names["take"]():
        assert 'site="orders?.py:2 take"' in generate_latest(registry).decode()


def test_a_working_directory_that_is_gone(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A release that was removed under the application: a relative file is a place like any other."""
    handle = exporter.instrument(engine)
    names: dict[str, Any] = {"engine": engine}
    exec(compile("def take():\n    return engine.connect()\n", "removed_code.py", "exec"), names)  # noqa: S102
    (tmp_path / "release").mkdir()
    monkeypatch.chdir(tmp_path / "release")
    (tmp_path / "release").rmdir()
    with names["take"]():
        (row,) = handle.snapshot().connections
        assert (row.state, row.site) == ("used", "removed_code.py:2 take")
    assert handle.snapshot().checkouts == 1
    assert caplog.text == ""


def test_a_search_path_that_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python passes over what is no text in it, and so do we."""
    code = test_a_search_path_that_is_no_text.__code__
    with monkeypatch.context() as changed:
        changed.setattr(sys, "path", [b"/some/bytes", str(Path(code.co_filename).parent)])
        found = described((code, 0))
    assert found.startswith("test_call_sites.py:")
