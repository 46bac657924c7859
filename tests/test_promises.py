"""What we promise to every application, one test a promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine
from sqlalchemy.pool import QueuePool

import exporter
from exporter.contained import contained_errors

SIDECAR_ONLY = (
    "apscheduler", "click", "fastapi", "psycopg", "pydantic", "pymysql", "rich", "sqlmodel", "starlette", "uvicorn",
    "yaml", "asyncio",
)  # fmt: skip


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_loads_nothing_of_the_sidecar() -> None:
    """A fresh interpreter that imports exporter has loaded no more than SQLAlchemy and prometheus-client load."""
    floor = set(run("import sys, sqlalchemy, prometheus_client; print(*sys.modules)").split())
    loaded = set(run("import sys, exporter; print(*sys.modules)").split())
    more = {name.partition(".")[0] for name in loaded - floor}
    assert not more & set(SIDECAR_ONLY)
    assert more <= set(sys.stdlib_module_names) | {"exporter", "sqlalchemy", "prometheus_client"}


def test_importing_starts_and_registers_nothing() -> None:
    """Importing makes no thread, no file and no metric, whatever the environment says."""
    code = (
        "import os, threading; os.environ['POOL_EXPORTER_DIR'] = '/nonexistent'\n"
        "import exporter, prometheus_client\n"
        "print(threading.active_count(), 'sqlalchemy_pool' in prometheus_client.generate_latest().decode())"
    )
    assert run(code).split() == ["1", "False"]


class _Broken:
    def __getattr__(self, name: str) -> object:
        raise RuntimeError(f"planted: {name}")

    def __call__(self, *_args: object, **_options: object) -> object:
        raise RuntimeError("planted")


@pytest.mark.parametrize(
    ("where", "seam"),
    [
        ("checkout", "exporter.ear.time"),
        ("checkin", "exporter.ear.time"),
        ("checkin", "exporter.ear.Ear.gave_back"),
        ("connect", "exporter.ear.Tally"),
        ("close", "exporter.listeners.reason_of"),
        ("close_detached", "exporter.listeners.id"),
        ("invalidate", "exporter.listeners.cause_of"),
        ("soft_invalidate", "exporter.ledger.Ledger.note"),
        ("checkin", "exporter.tally.Usage.leave"),
        ("detach", "exporter.listeners.threading"),
        ("server_id", "exporter.entry.server_id"),
    ],
)
def test_an_error_of_ours_never_reaches_the_application(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, seam: str
) -> None:
    """With any listener of ours raising, connect() and close() work, and every slot comes back."""
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db", poolclass=QueuePool, pool_size=1, max_overflow=1)
    registry = CollectorRegistry()
    exporter.instrument(engine, registry=registry)
    before = contained_errors().get(where, 0)
    monkeypatch.setattr(seam, _Broken(), raising=False)  # not there: a builtin that is shadowed
    for _ in range(3):  # more rounds than slots: one that got lost would be missed
        with engine.connect() as connection, engine.connect() as other:
            connection.exec_driver_sql("select 1")
            other.invalidate()
        soft, out = engine.raw_connection(), engine.connect()
        soft.invalidate(soft=True)
        soft.close()
        out.detach()
        out.close()
        with engine.connect(), engine.connect():
            pass
    engine.dispose()
    assert contained_errors().get(where, 0) > before
    monkeypatch.undo()
    with engine.connect(), engine.connect():
        assert registry.get_sample_value("sqlalchemy_pool_checkouts_total", {"pool": "sqlite:///shop.db"})
    exporter.uninstrument(engine)
    engine.dispose()


def test_a_page_survives_a_broken_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error while the page is made costs the metrics of the pool that it is in, not the application's own."""
    engine = create_engine("sqlite://", poolclass=QueuePool)
    registry = CollectorRegistry()
    exporter.instrument(engine, registry=registry)
    name, before = "pool_exporter_contained_errors_total", contained_errors().get("collect", 0)
    monkeypatch.setattr("exporter.pool.time", _Broken())
    assert {sample.name for family in registry.collect() for sample in family.samples} == {name}
    assert (registry.get_sample_value(name, {"where": "collect"}) or 0.0) > before
    exporter.uninstrument(engine)
    engine.dispose()
