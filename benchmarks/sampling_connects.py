"""What sampling does to an application that connects: in turns with our sidecar at work and stopped."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pymysql
from sqlalchemy.engine import URL

_PAUSE = 0.002  # seconds between two connects: an application that is busy, and no test of what a server can bear


def connects(url: URL, sidecar: int, *, turns: int, seconds: float) -> dict[str, Any]:
    """Return the 99th percentiles of a connect, in milliseconds, by turn: with our samples (1 Hz) and without."""
    connect = _postgresql(url) if url.get_backend_name() == "postgresql" else _mysql(url)
    found: dict[str, list[float]] = {"sampled": [], "alone": []}
    counts = dict.fromkeys(found, 0)
    connect()
    gc.collect()
    gc.disable()  # thousands of connections of ours would be gone through in the middle of a connect
    try:
        for _ in range(turns):
            for name, p99 in found.items():
                with contextlib.nullcontext() if name == "sampled" else stopped(sidecar):
                    times = _turn(connect, seconds)
                p99.append(statistics.quantiles(times, n=100)[98])
                counts[name] += len(times)
    finally:
        gc.enable()
    return {"p99": found, "counts": counts}


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process while the body runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _turn(connect: Callable[[], None], seconds: float) -> list[float]:
    times: list[float] = []
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until or len(times) < 2:
        connect()
        times.append(1000 * (time.perf_counter() - began))
        time.sleep(_PAUSE)
    return times


def _mysql(url: URL) -> Callable[[], None]:
    place: dict[str, Any] = {"host": url.host, "port": url.port, "database": url.database}
    login: dict[str, Any] = {"user": url.username, "password": url.password, "ssl_disabled": True}
    return lambda: pymysql.connect(**place, **login).close()


def _postgresql(url: URL) -> Callable[[], None]:
    target = url.set(drivername="postgresql", query={"sslmode": "disable"}).render_as_string(hide_password=False)
    return lambda: psycopg.connect(target).close()
