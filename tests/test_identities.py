"""Where a pool says that it connects to, and when its process says that it looked."""

from __future__ import annotations

import time
from pathlib import Path

from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine

from exporter.letterbox import Letterbox
from exporter.records import PooledConnection, PoolIdentity, PoolSnapshot, ProcessSnapshot
from exporter.watch import Watch
from exporter.wish import Wish
from overviews import publish


def test_a_snapshot_is_dated_before_it_is_taken() -> None:
    """Whatever is in it was there at that moment or came later; else a connection that is closed would look gone."""
    watch, engine = Watch(), create_engine("sqlite://")
    handle = watch.add(engine, Wish(name="shop", registry=CollectorRegistry()))
    looked: list[float] = []
    look = handle.snapshot

    def late() -> PoolSnapshot:
        looked.append(time.time())
        return look()

    handle.snapshot = late  # type: ignore[method-assign]
    assert watch.snapshot().taken <= looked[0]
    watch.remove(engine)


def test_an_id_that_a_pooler_made_up_may_be_below_0(tmp_path: Path) -> None:
    """Half of all numbers of 32 bits are: the rest of what the process says is read all the same."""
    identity = PoolIdentity("shop", "QueuePool", "postgresql", "psycopg")
    pool = PoolSnapshot(identity, idle=1, connections=(PooledConnection("idle", 1.0, 2.0, -5),))
    publish(tmp_path, ProcessSnapshot(7, time.time(), (pool,)))
    (found,) = Letterbox(tmp_path).read().snapshots
    assert found.pools == (pool,)
