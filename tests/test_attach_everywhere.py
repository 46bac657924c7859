"""instrument_all: every engine made from now on, whoever asks for it."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine, engine_from_config, text
from sqlalchemy.engine import Dialect
from sqlalchemy.pool import QueuePool

import exporter
import exporter.everywhere
from attaching import SHOP, Keep, checkouts, cleared_away, environment, use, value
from exporter.contained import contained_errors


@pytest.fixture(autouse=True)
def _only_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is hooked in a test is gone after it."""
    monkeypatch.setattr(Dialect, "engine_created", vars(Dialect)["engine_created"])


@pytest.fixture
def keep() -> Iterator[Keep]:
    with cleared_away() as keep:
        yield keep


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/shop.db"


def test_engines_of_create_engine(url: str, keep: Keep, registry: CollectorRegistry) -> None:
    """An engine made after instrument_all is on the page from its first connection; one made before is not."""
    before = keep(create_engine(url))
    exporter.instrument_all(registry=registry)
    engine = keep(create_engine(url, poolclass=QueuePool, pool_size=3))
    use(engine)
    use(before)
    assert checkouts(registry) == {SHOP: 1}
    assert value(registry, "size") == 3


def test_engines_of_engine_from_config(url: str, keep: Keep, registry: CollectorRegistry) -> None:
    """An engine made from a configuration is instrumented as well."""
    exporter.instrument_all(registry=registry)
    use(keep(engine_from_config({"sqlalchemy.url": url, "sqlalchemy.pool_pre_ping": "true"})))
    assert checkouts(registry) == {SHOP: 1}
    assert value(registry, "pre_ping") == 1


def test_engines_of_sqlmodel(url: str, keep: Keep, registry: CollectorRegistry) -> None:
    """SQLModel's engines are SQLAlchemy's."""
    sqlmodel = pytest.importorskip("sqlmodel")
    exporter.instrument_all(registry=registry)
    engine = keep(sqlmodel.create_engine(url))
    with sqlmodel.Session(engine) as session:
        session.connection().execute(text("select 1"))
    assert checkouts(registry) == {SHOP: 1}


def test_engines_of_flask_sqlalchemy(url: str, keep: Keep, registry: CollectorRegistry) -> None:
    """Each engine that Flask-SQLAlchemy makes, binds included, is instrumented, and so is its session."""
    flask = pytest.importorskip("flask")
    sqlalchemy = pytest.importorskip("flask_sqlalchemy")
    exporter.instrument_all(registry=registry)
    app = flask.Flask("shop")
    other = url.replace("shop.db", "stock.db")
    app.config.update(SQLALCHEMY_DATABASE_URI=url, SQLALCHEMY_BINDS={"stock": other})
    db = sqlalchemy.SQLAlchemy(app)
    app.add_url_rule("/", "index", lambda: str(db.session.scalar(db.text("select 1"))))
    assert app.test_client().get("/").text == "1"
    with app.app_context():
        use(keep(db.engines["stock"]))
        keep(db.engine)
    assert checkouts(registry) == {SHOP: 1, "sqlite:///stock.db": 1}
    assert value(registry, "connections", state="used") == 0


def test_asynchronous_engines(url: str, registry: CollectorRegistry) -> None:
    """An asynchronous engine is instrumented, with the queue that its tasks wait in."""
    pytest.importorskip("aiosqlite")
    make = importlib.import_module("sqlalchemy.ext.asyncio").create_async_engine
    exporter.instrument_all(registry=registry)

    async def main() -> None:
        engine = make(url.replace("sqlite:", "sqlite+aiosqlite:"), pool_size=1, max_overflow=1)
        try:
            await asyncio.gather(*(_use(engine) for _ in range(5)))
            assert checkouts(registry) == {SHOP: 5}
            assert value(registry, "connections_max") == 2
            assert value(registry, "waiting") == 0
        finally:
            exporter.uninstrument(engine)
            await engine.dispose()

    asyncio.run(main())


async def _use(engine: Any) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("select 1"))


def test_called_again_it_changes_the_engines_to_come(url: str, keep: Keep, registry: CollectorRegistry) -> None:
    """A second instrument_all adds no second hook: one engine is one instrumentation, by the newer settings."""
    exporter.instrument_all(registry=CollectorRegistry())
    first = vars(Dialect)["engine_created"]
    importlib.reload(exporter.everywhere)
    exporter.instrument_all(registry=registry, leak_after=1e-9)
    assert vars(Dialect)["engine_created"] is first
    engine = keep(create_engine(url))
    with engine.connect():
        assert value(registry, "overdue") == 1
    assert checkouts(registry) == {SHOP: 1}


def test_what_is_said_of_one_engine_wins(url: str, keep: Keep, registry: CollectorRegistry) -> None:
    """An engine that is instrumented by name as well takes that name and that registry, and is counted once."""
    exporter.instrument_all(registry=CollectorRegistry())
    engine = keep(create_engine(url))
    handle = exporter.instrument(engine, name="orders", registry=registry)
    use(engine)
    assert handle.name == "orders"
    assert checkouts(registry) == {"orders": 1}
    assert exporter.instrument(engine).name == "orders"
    assert checkouts(registry) == {"orders": 1}


def test_an_engine_taken_off_stays_off(url: str, keep: Keep, registry: CollectorRegistry) -> None:
    """What is taken off the page stays off, whatever holds for all."""
    exporter.instrument_all(registry=registry)
    engine = keep(create_engine(url))
    exporter.uninstrument(engine)
    use(engine)
    engine.dispose()
    use(engine)
    assert checkouts(registry) == {}


def test_a_dialect_with_a_hook_of_its_own(url: str, keep: Keep, registry: CollectorRegistry) -> None:
    """What stood at SQLAlchemy's hook before us is called as ever, on its own class, and raises as ever."""
    seen: list[str] = []

    def engine_created(cls: type[Dialect], _engine: object) -> None:
        seen.append(cls.__name__)
        if len(seen) > 1:
            raise LookupError("the dialect's own")

    setattr(Dialect, "engine_created", classmethod(engine_created))  # noqa: B010  a classmethod is no method to mypy
    exporter.instrument_all(registry=registry)
    use(keep(create_engine(url)))
    assert (seen, checkouts(registry)) == (["SQLiteDialect_pysqlite"], {SHOP: 1})
    with pytest.raises(LookupError, match="own"):
        create_engine(url)


def test_an_error_of_ours_does_not_reach_create_engine(
    url: str, keep: Keep, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the instrumentation raising, the application gets its engine, and the error is counted."""
    exporter.instrument_all(registry=registry)
    before = contained_errors().get("instrument_all", 0)
    with monkeypatch.context() as broken:
        broken.setattr("exporter.PoolMonitor", None)
        broken.setattr("exporter.watch.PoolMonitor", None)
        use(keep(create_engine(url)))
    assert contained_errors()["instrument_all"] == before + 1
    use(keep(create_engine(url)))
    assert checkouts(registry) == {SHOP: 1}


def test_leak_after_is_checked_at_once() -> None:
    """A setting that no engine could have is refused where it is given, not at some later engine."""
    with pytest.raises(ValueError, match="above 0, not -1"):
        exporter.instrument_all(leak_after=-1)


def test_the_environment_gives_the_default(tmp_path: Path) -> None:
    """leak_after comes from POOL_EXPORTER_LEAK_AFTER, for every engine."""
    code = (
        "import exporter, prometheus_client, sqlalchemy; exporter.instrument_all()\n"
        "connection = sqlalchemy.create_engine('sqlite:///shop.db').connect()\n"
        "print(prometheus_client.REGISTRY.get_sample_value('sqlalchemy_pool_overdue', {'pool': 'sqlite:///shop.db'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(tmp_path, POOL_EXPORTER_LEAK_AFTER="0.000000001"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) == 1
