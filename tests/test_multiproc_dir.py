"""Beside prometheus_client's multiprocess mode: an application's own metrics stay as they are, and ours stay out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
import exporter
from prometheus_client import REGISTRY, CollectorRegistry, Counter, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from sqlalchemy import create_engine
from sqlalchemy.pool import QueuePool

orders = Counter("orders", "Orders taken.")
registry = CollectorRegistry()
MultiProcessCollector(registry)
engine = create_engine("sqlite:///shop.db", poolclass=QueuePool)
exporter.instrument(engine, name="shop", registry={registry})
for worker in range(2):
    if os.fork() == 0:
        engine.dispose(close=False)
        engine.connect().close()
        orders.inc()
        sys.exit()
    os.wait()
orders.inc()
engine.connect().close()
print(generate_latest(registry).decode())
"""


@pytest.mark.parametrize("registry", ["REGISTRY", "registry"])
def test_an_applications_own_metrics(tmp_path: Path, registry: str) -> None:
    """Its metrics add up over its processes as before; ours are no files there, in its registry or in the default."""
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    ours.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", PROGRAM.replace("{registry}", registry)],
        cwd=tmp_path,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(theirs), "POOL_EXPORTER_DIR": str(ours)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "orders_total 3.0" in done.stdout
    shown = 'sqlalchemy_pool_checkouts_total{pool="shop"} 1.0' in done.stdout
    assert shown == (registry == "registry")  # what is in a registry is on its page, of this process
    assert {path.suffix for path in theirs.iterdir()} == {".db"}
    assert not any(b"sqlalchemy_pool" in path.read_bytes() for path in theirs.iterdir())
    assert len(list(ours.glob("*.json"))) == 3
