"""Publishing on: after being taken for dead, when pools leave, with odd names, and past the last word."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.estate import Dead, Estate
from exporter.letterbox import Letterbox
from exporter.publish import Publisher
from exporter.records import PooledConnection, PoolIdentity, PoolSnapshot, ProcessSnapshot
from letters import NOTHING_REJECTED, SHOP
from test_estate import recycled
from waiting import eventually


class Process:
    """What a process would say of its pools, as the test lets it count."""

    def __init__(self) -> None:
        self.pools: tuple[PoolSnapshot, ...] = ()
        self.left: tuple[PoolSnapshot, ...] = ()

    def count(self, recycled: int) -> None:
        self.pools = (dataclasses.replace(SHOP, checkouts=recycled, closes={"recycle": recycled}),)

    def look(self) -> ProcessSnapshot:
        return ProcessSnapshot(pid=7, taken=1.5, pools=self.pools, left=self.left)

    def handed_in(self, left: tuple[PoolSnapshot, ...]) -> None:
        assert left == self.left
        self.left = ()


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def publisher(tmp_path: Path, process: Process) -> Publisher:
    return Publisher(tmp_path, process.look, interval=3600, handed_in=process.handed_in)


def names(directory: Path) -> set[str]:
    return {path.stem for path in directory.glob("[0-9]*.json")}


def test_one_that_was_given_up_counts_on(
    tmp_path: Path, process: Process, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    """Settled while it was only stopped, a process says so and is seen again, with what came since and no more."""
    caplog.set_level(logging.WARNING, logger="exporter")
    process.count(5)
    publisher.publish()
    letterbox = Letterbox(tmp_path)
    (snapshot,) = letterbox.read().snapshots
    estate = Estate(tmp_path)
    before = names(tmp_path)
    listed = frozenset(path.name for path in tmp_path.iterdir())
    estate.settle(Dead({snapshot.id: snapshot}, doubtful=frozenset({snapshot.id})), listed)
    estate.release()
    assert names(tmp_path) == set()
    process.count(8)
    publisher.publish()
    assert not names(tmp_path) & before
    assert recycled(letterbox.read()) == 8
    assert "was taken for dead" in caplog.text
    publisher.stop()
    assert recycled(letterbox.read()) == 8


def test_an_emptied_directory_gets_everything_again(tmp_path: Path, process: Process, publisher: Publisher) -> None:
    """When somebody removed the file, and no sidecar counted it, all of it is published again under its name."""
    process.count(5)
    publisher.publish()
    (path,) = tmp_path.glob("*.json")
    path.unlink()
    process.count(6)
    publisher.publish()
    assert recycled(Letterbox(tmp_path).read()) == 6
    assert names(tmp_path) == {path.stem}
    publisher.stop()


def test_what_leaves_is_written_down(tmp_path: Path, process: Process, publisher: Publisher) -> None:
    """A pool that is watched no more stays in the sum, and the process goes on with what it has."""
    process.count(5)
    publisher.publish()
    letterbox = Letterbox(tmp_path)
    letterbox.claim()
    assert recycled(letterbox.read()) == 5
    process.left, process.pools = process.pools, ()
    publisher.publish()
    mail = letterbox.read()
    assert (recycled(mail), [len(snapshot.pools) for snapshot in mail.snapshots]) == (5, [0])
    process.count(1)
    publisher.publish()
    assert recycled(letterbox.read()) == 6
    publisher.stop()
    assert recycled(letterbox.read()) == 6
    letterbox.close()


def test_what_leaves_fills_no_directory(tmp_path: Path, process: Process, publisher: Publisher) -> None:
    """Where no sidecar takes ended letters away, what left stays in the one letter, until there are many of it."""
    for number in range(1, 300):
        left = dataclasses.replace(SHOP, checkouts=1, closes={"recycle": 1}, identity=named(f"tenant{number}"))
        process.left = (*process.left, left)
        process.count(number)
        publisher.publish()
        assert (len(names(tmp_path)), written(tmp_path)) == (1 + (number >= 250), 2 * number)
    letterbox = Letterbox(tmp_path)
    letterbox.claim()
    publisher.publish()
    assert (process.left, recycled(letterbox.read())) == ((), 598)
    publisher.stop()
    assert (recycled(letterbox.read()), names(tmp_path)) == (598, set())
    letterbox.close()


def test_what_left_is_counted_once(tmp_path: Path, process: Process, publisher: Publisher) -> None:
    """After the last word a pool that had left, and was told of, is not told of again."""
    process.count(5)
    left = [dataclasses.replace(SHOP, checkouts=1, closes={"recycle": 3}, identity=named("gone"))]
    process.left = tuple(left)
    publisher.publish()
    publisher.stop()
    publisher.publish_here()
    assert (len(names(tmp_path)), written(tmp_path)) == (1, 8)
    process.count(6)
    publisher.publish_here()
    assert written(tmp_path) == 9
    letterbox = Letterbox(tmp_path)
    letterbox.claim()
    process.count(7)
    publisher.publish_here()
    assert (process.left, recycled(letterbox.read())) == ((), 10)
    letterbox.close()


def named(name: str) -> PoolIdentity:
    return dataclasses.replace(SHOP.identity, name=name)


def written(directory: Path) -> int:
    """Add up what the letters say, as they lie there: a letterbox would take the ended ones away."""
    letters = [json.loads(path.read_text()) for path in directory.glob("[0-9]*.json")]
    return sum(pool["closes"].get("recycle", 0) for each in letters for pool in each["pools"])


def test_odd_contents_do_not_hide_a_process(tmp_path: Path, process: Process, publisher: Publisher) -> None:
    """Too many pools, endless names, a thread's name that is no text: cut and cleaned, and read all the same."""
    connection = PooledConnection("used", 1.0, 1.0, site="s" * 2000, holder="thread \udc80")
    odd = dataclasses.replace(
        SHOP, checkouts=1, connections=(connection,), overdue_by_site={"s" * 1500: 1, "s" * 1600: 2}
    )
    identity = PoolIdentity("p" * 3000, "QueuePool", "sqlite", "pysqlite")
    process.pools = (odd, *(dataclasses.replace(odd, identity=identity) for _ in range(1100)))
    publisher.publish()
    mail = Letterbox(tmp_path).read()
    assert mail.rejected == NOTHING_REJECTED
    (snapshot,) = mail.snapshots
    assert len(snapshot.pools) == 1000
    assert snapshot.pools[0].connections[0].holder == "thread ?"
    assert dict(snapshot.pools[0].overdue_by_site) == {"s" * 1000: 3}
    publisher.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_is_missed(tmp_path: Path) -> None:
    """Whatever ends the thread: nobody takes it for awake, and the next call begins another."""
    dying = [GeneratorExit(), None]

    def look() -> ProcessSnapshot:
        if dying and (fault := dying.pop(0)):
            raise fault
        return ProcessSnapshot(pid=7, taken=1.5, pools=(dataclasses.replace(SHOP, checkouts=1),))

    publisher = Publisher(tmp_path, look, interval=3600)
    publisher.start()
    assert eventually(lambda: not publisher.awake)
    publisher.wake()
    assert eventually(lambda: names(tmp_path))
    publisher.stop()


def test_what_is_said_comes_after_what_is_written(tmp_path: Path, process: Process) -> None:
    """A log handler that is slow finds the letter written, and one that would end the thread ends nothing."""
    process.count(1)
    found: list[int] = []

    def speak() -> None:
        found.append(written(tmp_path))
        process.count(len(found) + 1)
        raise SystemExit(3)

    publisher = Publisher(tmp_path, process.look, interval=0.01, speak=speak)
    publisher.start()
    assert eventually(lambda: len(found) >= 3)
    assert publisher.awake
    assert found[:3] == [1, 2, 3]
    with pytest.raises(SystemExit):
        publisher.stop()
    assert (len(names(tmp_path)), written(tmp_path)) == (1, len(found))


def test_a_pipe_in_the_way_of_a_letter(tmp_path: Path, process: Process, publisher: Publisher) -> None:
    """Where a file is made nothing is opened that lies there already."""
    process.count(1)
    publisher.publish()
    (name,) = names(tmp_path)
    os.mkfifo(tmp_path / f".{name}.tmp")
    process.count(2)
    publisher.publish()
    assert recycled(Letterbox(tmp_path).read()) == 2
    publisher.stop()


def test_a_relative_directory_stays_where_it_is(
    tmp_path: Path, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An application that goes elsewhere publishes on into the same directory."""
    (tmp_path / "box").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    publisher = Publisher(Path("box"), process.look, interval=3600)
    monkeypatch.chdir("elsewhere")
    publisher.publish()
    assert names(tmp_path / "box")
    publisher.stop()


START = """
import atexit, os, sys
from sqlalchemy import create_engine
from sqlalchemy.pool import QueuePool
engine = create_engine("sqlite:///shop.db", poolclass=QueuePool)
"""
LATE = """
def late():
    engine.connect().close()
    engine.dispose()
atexit.register(late)  # before ours, so it is called after it
import exporter
exporter.instrument(engine, name="orders")
engine.connect().close()
"""
TENANTS = """
import exporter, time
for number in range(30):
    exporter.instrument(engine, name="orders")
    engine.connect().close()
    exporter.uninstrument(engine)
    time.sleep(0.05)
exporter.instrument(engine, name="orders")
engine.connect().close()
"""
CLOSED = """
os.close(0); os.close(1); os.close(2)
import exporter
exporter.instrument(engine, name="orders")
engine.connect().close()
import time
time.sleep(0.3)
assert not any("box" in os.readlink(f"/proc/self/fd/{n}") for n in range(3) if os.path.lexists(f"/proc/self/fd/{n}"))
os.dup2(os.open("/dev/null", os.O_RDWR), 1)  # Python looks at it when it ends
"""


@pytest.mark.parametrize(
    ("code", "wanted"), [(LATE, 2), (TENANTS, 31), (CLOSED, 1)], ids=["late", "uninstrumented", "closed"]
)
def test_programs_to_the_unit(tmp_path: Path, code: str, wanted: int) -> None:
    """Used past our last word, taken off and on again, or without standard output: every checkout is counted."""
    box = tmp_path / "box"
    box.mkdir()
    letterbox = Letterbox(box)

    def checkouts() -> int:
        mail = letterbox.read()
        pools = [*mail.ended, *(pool for snapshot in mail.snapshots for pool in snapshot.pools)]
        return sum(pool.checkouts for pool in pools)

    seen = []
    with subprocess.Popen(
        [sys.executable, "-c", START + code],
        cwd=tmp_path,
        env={**os.environ, "POOL_EXPORTER_DIR": str(box)},
        stderr=subprocess.PIPE,
    ) as program:
        while program.poll() is None:
            seen.append(checkouts())
        assert program.stderr is not None
        assert (program.returncode, program.stderr.read()) == (0, b"")
    seen.append(checkouts())
    assert seen == sorted(seen)
    assert seen[-1] == wanted
    assert all(json.loads(path.read_text()) for path in box.glob("*.json"))
