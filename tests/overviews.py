"""Data for tests of the sidecar and its page: what might be known at one moment, and servers that never answer."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from sqlalchemy.engine import make_url

from exporter.buckets import SLEEP_BUCKETS
from exporter.conclusions import Finding, Holder, Match, Overview
from exporter.config import Config, ProcessesConfig, ServerConfig, WebConfig
from exporter.labels import REJECT_REASONS, SAMPLE_ERRORS
from exporter.records import (
    Histogram,
    PooledConnection,
    PoolIdentity,
    PoolSnapshot,
    ProcessReport,
    ProcessSnapshot,
    ServerSnapshot,
    ServerView,
    SessionGroup,
    Sleepers,
)
from exporter.sidecar import Sidecar

NOW = 1_700_000_000.0
NO_ERRORS = dict.fromkeys(SAMPLE_ERRORS, 0)

SHOP = PoolSnapshot(
    PoolIdentity("shop", "QueuePool", "mysql", "pymysql", host="127.0.0.1", port=3306, database="shop"),
    idle=3,
    used=2,
    size=5,
    overflow=0,
    connections_max=15.0,
    used_longest_seconds=75.0,
    overdue=1,
    checkouts=120,
    checkins=118,
    connects=7,
    closes={"recycle": 2},
    connections=(PooledConnection("idle", 30.0, 60.0, 11), PooledConnection("used", 75.0, 90.0, 12)),
)
ENDLESS = dataclasses.replace(SHOP, identity=dataclasses.replace(SHOP.identity, name="endless"), connections_max=1e999)
UNSIZED = PoolSnapshot(PoolIdentity("files", "NullPool", "sqlite", "pysqlite", database="files.db"))

SAMPLE = ServerSnapshot(
    dialect="mysql",
    version="8.4.0",
    source="performance_schema.threads",
    began=NOW - 4.5,
    ended=NOW - 4.0,
    groups=(
        SessionGroup("shop", "shop", "10.0.0.7", "sleeping", 4),
        SessionGroup("shop", "shop", "10.0.0.7", "sleeping_in_failed_transaction", 1),
        SessionGroup("report", "shop", "10.0.0.8", "active", 2),
        SessionGroup("report", "shop", "10.0.0.8", "other", 1),
    ),
    sleepers=(Sleepers("shop", "shop", Histogram((1,) * (len(SLEEP_BUCKETS) + 1), 99.0), longest=700.0, stale=2),),
    connections=9,
    connections_max=150,
    idle_timeouts={"wait_timeout": 28800.0, "interactive_timeout": 28800.0},
)
UP = ServerView("orders", True, None, "", SAMPLE, 0.5, NOW - 4.0, NO_ERRORS)  # noqa: FBT003  the field is named `up`
DOWN = dataclasses.replace(
    UP, name="stock", up=False, reason="auth", message="Access denied", snapshot=None, errors={**NO_ERRORS, "auth": 3}
)
MATCH = Match(
    "shop",
    "orders",
    {
        **dict.fromkeys(product(("idle", "used"), ("active", "sleeping", "sleeping_in_transaction", "gone")), 0),
        ("idle", "gone"): 1,
        ("used", "sleeping"): 2,
    },
)
FINDING = Finding(
    "shop",
    "orders",
    "no_stale_protection",
    pool_says="pool_pre_ping=False, pool_recycle=-1",
    held_against="wait_timeout=28800",
    why="the next user of a connection that the server has ended gets an error",
    change="create_engine(..., pool_pre_ping=True)",
)
LEAK = Holder(
    "shop",
    "orders",
    "id-7",
    7,
    site="shop/cart.py:41 checkout",
    holder="thread worker-2",
    seconds=75.0,
    session="sleeping",
    session_seconds=74.0,
    server_id=12,
    suspect=True,
)
LOCK = dataclasses.replace(
    LEAK, session="sleeping_in_transaction", seconds=9.5, session_seconds=9.0, server_id=13, suspect=False
)
UNSERVED = Holder("files", None, "id-9", 9, site=None, holder=None, seconds=0.25)

FULL = Overview(
    now=NOW,
    pools=(ENDLESS, UNSIZED, SHOP),
    servers=(UP, DOWN),
    matches=(MATCH,),
    processes=(
        ProcessReport(ProcessSnapshot(7, NOW - 1, (SHOP,), host="web-1"), "live", 1.0),
        ProcessReport(ProcessSnapshot(8, NOW - 1, (SHOP,), host="web-1"), "live", 1.0),
    ),
    rejected={**dict.fromkeys(REJECT_REASONS, 0), "malformed": 1},
)


class Showing(Sidecar):
    """A sidecar that knows what it was told, and asks nobody."""

    def __init__(self, seen: Overview = FULL) -> None:
        self._seen = seen
        super().__init__(config(), clock=lambda: NOW)

    def overview(self) -> Overview:
        """Return what it was told."""
        return self._seen


def config(directory: Path | None = None, *servers: ServerConfig) -> Config:
    """Make a configuration that listens on any free port."""
    return Config(WebConfig("127.0.0.1", 0), ProcessesConfig(directory), leak_after=60.0, servers=servers)


def server(port: int, *, name: str = "orders", timeout: float = 5.0) -> ServerConfig:
    """Make the configuration of a MySQL server on this machine."""
    url = make_url(f"mysql+pymysql://probe:secret@127.0.0.1:{port}/")
    return ServerConfig(name, url, "mysql", interval=60.0, timeout=timeout, stale_after=600.0, pools=())


@contextlib.contextmanager
def silent_server() -> Iterator[int]:
    """Listen on a port, and never say a word to those who connect: the kernel takes their connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def publish(directory: Path, snapshot: ProcessSnapshot, *, name: str = "1") -> None:
    """Write a snapshot as the process ``name`` would."""
    content = {"format": 1, **dataclasses.asdict(snapshot)}
    (directory / f"{name}.{0:016x}.json").write_text(json.dumps(content), encoding="utf-8")
