"""What holding thousands of pooled connections against a sample costs the sidecar. Prints a table; fails above a bound.

usage: joining.py [ROUNDS]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from sqlalchemy.engine import make_url

from exporter.config import ServerConfig
from exporter.joint import Joint
from exporter.labels import SAMPLE_ERRORS
from exporter.names import Names
from exporter.records import (
    Instance,
    PooledConnection,
    PoolIdentity,
    PoolSnapshot,
    ProcessSnapshot,
    ServerSnapshot,
    ServerView,
    Session,
)

PROCESSES, POOLS, SIZE = 30, 2, 50
NOW = 1_700_000_000.0
MOST_MILLISECONDS = 20.0
SERVER = ServerConfig(
    "orders", make_url("mysql+pymysql://probe@127.0.0.1/"), "mysql",
    interval=15.0, timeout=5.0, stale_after=600.0, pools=(),
)  # fmt: skip


def connection(number: int) -> PooledConnection:
    """Return one of five in use, the others idle."""
    if number % 5:
        return PooledConnection("idle", 30.0, 500.0, number)
    return PooledConnection("used", 30.0, 500.0, number, "shop.py:7 pay", "worker-1")


def processes() -> list[ProcessSnapshot]:
    """Return what they report."""
    numbers = iter(range(1, PROCESSES * POOLS * SIZE + 1))

    def pool(name: str) -> PoolSnapshot:
        identity = PoolIdentity(name, "QueuePool", "mysql", "pymysql", host="127.0.0.1", port=3306, database="shop")
        rows = tuple(connection(next(numbers)) for _ in range(SIZE))
        return PoolSnapshot(identity, idle=SIZE, connects=SIZE, connections=rows)

    return [ProcessSnapshot(pid, NOW, tuple(pool(f"shop-{at}") for at in range(POOLS))) for pid in range(PROCESSES)]


def view(reported: list[ProcessSnapshot]) -> ServerView:
    """Return a sample that has found nearly all of them."""
    ids = [each.server_id or 0 for process in reported for pool in process.pools for each in pool.connections]
    session = Session("sleeping", 10.0, ("app", "shop"), "10.0.0.7", "10.0.0.7")
    sample = ServerSnapshot(
        "mysql", "8.4.0", "performance_schema.threads", began=NOW - 5, ended=NOW - 4.9, groups=(), sleepers=(),
        connections=len(ids), connections_max=None, idle_timeouts={"wait_timeout": 600.0}, asked=frozenset(ids),
        sessions={id_: session for id_ in ids if id_ % 50}, hidden=0, instance=Instance("one", 0.0),
    )  # fmt: skip
    errors = dict.fromkeys(SAMPLE_ERRORS, 0)
    return ServerView("orders", True, None, "", sample, 0.1, NOW - 4.9, errors)  # noqa: FBT003  the field is named `up`


def milliseconds(work: Callable[[], object], rounds: int) -> list[float]:
    """Return the processor's time of each round, sorted."""
    spent = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        spent.append((time.process_time() - began) * 1000)
    return sorted(spent)


def main() -> int:
    """Measure, print, and judge by the median."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    reported, joint = processes(), Joint([SERVER], leak_after=60.0, names=Names())
    seen = view(reported)
    works: dict[str, Callable[[], object]] = {
        "a page: join": lambda: joint.join(reported, [seen], now=NOW),
        "a sample: ids": lambda: joint.ids(SERVER, reported, seen, now=NOW),
    }
    print(f"{PROCESSES * POOLS * SIZE} connections of {PROCESSES} processes, {rounds} rounds, ms of the processor")
    kept = True
    for name, work in works.items():
        spent = milliseconds(work, rounds)
        median = statistics.median(spent)
        kept = kept and median <= MOST_MILLISECONDS
        figures = f"least {spent[0]:6.2f}  median {median:6.2f}  most {spent[-1]:6.2f}"
        print(f"{name:16} {figures}  (bound {MOST_MILLISECONDS:g})")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
