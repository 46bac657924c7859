"""Published snapshots for tests: written as a process would, or not quite."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from exporter.labels import REJECT_REASONS
from exporter.letterbox import Letterbox
from exporter.records import PooledConnection, PoolIdentity, PoolSnapshot, ProcessSnapshot

NOW = 1_700_000_000.0
SHOP = PoolSnapshot(
    PoolIdentity("shop", "QueuePool", "postgresql", "psycopg", host="db", port=5432, database="shop"),
    idle=1,
    used=1,
    size=5,
    connections_max=float("inf"),
    closes={"recycle": 2},
    connections=(PooledConnection("idle", 1.5, 90.0, 11), PooledConnection("used", 0.5, 80.0)),
)
LIVE = ProcessSnapshot(pid=7, taken=NOW - 1, pools=(SHOP,), contained={"ping": 1})
NOTHING_REJECTED = dict.fromkeys(REJECT_REASONS, 0)


def letter(snapshot: ProcessSnapshot = LIVE, **more: Any) -> dict[str, Any]:
    return {"format": 1, **dataclasses.asdict(snapshot), **more}


def put(directory: Path, content: object, name: str = "7.0011223344556677.json") -> Path:
    path = directory / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def box(directory: Path, now: float = NOW) -> Letterbox:
    return Letterbox(directory, clock=lambda: now)


def rejected(**reasons: int) -> dict[str, int]:
    return {**NOTHING_REJECTED, **reasons}
