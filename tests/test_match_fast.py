"""Connections that come and go as fast as they can while the server is sampled: nothing is accused that is healthy."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.letterbox import Letterbox
from joints import joining
from sites import Site
from waiting import eventually

pytestmark = pytest.mark.servers

SAMPLES = 1000
SECONDS = 20.0
"""For how long at the least: what is idle must have slept for longer than a session that nobody owns."""

ACCUSING = (("idle", "gone"), ("used", "gone"), ("idle", "active"), ("idle", "sleeping_in_transaction"))

# Each process has a pool that opens a connection for every use, one that invalidates its own at times, and one that is
# idle for long, then disposed of and filled again.
RESTLESS = """
import itertools, os, sys, threading, time
from pathlib import Path
from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool
from exporter.publish import Publisher
from exporter.watch import Watch
from exporter.wish import Wish

url, directory, interval = os.environ["APPLICATION_URL"], Path(sys.argv[1]), float(sys.argv[2])
registry, watch = CollectorRegistry(), Watch()

def watched(name, **options):
    engine = create_engine(url, **options)
    watch.add(engine, Wish(name=name, registry=registry))
    return engine

def hasty(engine, life):
    for turn in itertools.count(1):
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            if turn % life == 0:
                connection.invalidate()
        time.sleep(0.002)

def lazy(engine):
    while True:
        for connection in [engine.connect() for _ in range(3)]:
            connection.close()
        time.sleep(7)
        engine.dispose()

nobody_waits = watched("none", poolclass=NullPool)
busy = watched("busy", pool_size=2, max_overflow=2)
threads = [(hasty, nobody_waits, 7), (hasty, busy, 100), (hasty, busy, 2000), (lazy, watched("lazy", pool_size=3))]
for work, *arguments in threads:
    threading.Thread(target=work, args=arguments, daemon=True).start()
while not all(pool.connects for pool in watch.snapshot().pools):  # else it would rest until it is woken
    time.sleep(0.01)
publisher = Publisher(directory, watch.snapshot, interval=interval)
publisher.start()
sys.stdin.read()
publisher.stop()
os._exit(0)
"""


@contextlib.contextmanager
def restless(site: Site, account: str, directory: Path, *, interval: float) -> Iterator[None]:
    """Run an application that does not sit still."""
    url = site.url(account).render_as_string(hide_password=False)
    command = (sys.executable, "-c", RESTLESS, str(directory), str(interval))
    environment = {**os.environ, "APPLICATION_URL": url}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as process:
        try:
            yield
        finally:
            process.communicate(timeout=30)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("site", ["mariadb_site", "postgresql_site"], indirect=True)
def test_whoever_comes_and_goes_is_not_accused(site: Site, tmp_path: Path) -> None:
    """In 1000 samples of pools that open and close all the time, nothing is gone and nothing unowned."""
    account, letterbox = site.new_account(), Letterbox(tmp_path)
    seen: Counter[tuple[str, str]] = Counter()
    counts: list[int] = []
    with (
        restless(site, account, tmp_path, interval=0.1),
        restless(site, account, tmp_path, interval=1.0),
        joining(site.server(), lambda: letterbox.read().snapshots) as joined,
    ):
        eventually(lambda: len(letterbox.read().snapshots) == 2)
        samples, until = 0, time.monotonic() + SECONDS
        while samples < SAMPLES or time.monotonic() < until:
            samples += 1
            found = joined.look()
            assert all(match.possible for match in found.matches)
            for match in found.matches:
                seen.update(match.pairs)
            counts += [each.count for each in found.unowned if each.user == account]
    assert {pair: seen[pair] for pair in ACCUSING if seen[pair]} == {}
    assert set(counts) == {0}
    # There was much to be wrong about: each sample met most of the six connections that lie idle, and spoke of owners.
    assert seen["idle", "sleeping"] > samples
    assert len(counts) > samples / 2
