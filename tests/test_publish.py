"""Publishing: whole files, one a process, and never a word to the application."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from exporter.letterbox import Letterbox
from exporter.publish import FORMAT, Publisher
from exporter.records import PoolIdentity, PoolSnapshot, ProcessSnapshot
from waiting import eventually

SHOP = PoolSnapshot(
    PoolIdentity("shop", "QueuePool", "sqlite", "pysqlite"), idle=2, connections_max=float("inf"), closes={"other": 1}
)


def look() -> ProcessSnapshot:
    return ProcessSnapshot(pid=7, taken=1.5, pools=(SHOP,))


def published(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


def test_a_snapshot_is_written_whole(tmp_path: Path) -> None:
    """One file a process: its format, the process and its pools; nothing half-written is left."""
    publisher = Publisher(tmp_path, look)
    publisher.start()
    publisher.publish()
    path, lock = published(tmp_path)
    assert path.name.startswith(f"{os.getpid()}.")
    assert lock == path.with_suffix(".lock")
    content = json.loads(path.read_text())
    assert content["format"] == FORMAT
    assert content["pools"][0]["identity"]["name"] == "shop"
    assert content["pools"][0]["connections_max"] == float("inf")
    publisher.stop()
    assert published(tmp_path) == [path]
    assert json.loads(path.read_text())["ended"] is True


@pytest.mark.parametrize(
    "change", [{"size": -1}, {"size": 5.0}, {"timeout_seconds": float("inf")}, {"idle": 10**400}, {"size": "5"}]
)
def test_a_pool_that_no_reader_takes_hides_no_other(
    tmp_path: Path, change: dict[str, Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings of an application may be odd and work; the sidecar sees all its other pools."""
    monkeypatch.setattr("exporter.contained._counts", Counter())
    odd = dataclasses.replace(SHOP, identity=dataclasses.replace(SHOP.identity, name="odd"), **change)
    publisher = Publisher(tmp_path, lambda: ProcessSnapshot(7, 1.5, (odd, SHOP)))
    publisher.publish()
    mail = Letterbox(tmp_path).read()
    assert [pool for report in mail.reports for pool in report.snapshot.pools] == [SHOP]
    assert "the settings or figures of pool odd cannot be published; it is left out" in caplog.text
    publisher.stop()


class Starved(Publisher):
    """A publisher that has no memory the first three times."""

    turns = 0

    def publish(self) -> bool:
        """Publish, or fail before that."""
        self.turns += 1
        if self.turns <= 3:
            raise MemoryError
        return super().publish()


def test_no_memory_for_a_moment_ends_no_publishing(tmp_path: Path) -> None:
    """The thread goes on, and publishes when there is memory again."""
    publisher = Starved(tmp_path, look)
    publisher.start()
    eventually(lambda: list(tmp_path.glob("*.json")))
    publisher.stop()


def test_a_lock_that_is_taken_away_leaves_no_file_open(tmp_path: Path) -> None:
    """However often somebody empties the directory, a process has one file of it open: the lock that is there."""
    publisher = Publisher(tmp_path, look, interval=3600)
    publisher.start()
    for _ in range(5):
        publisher.publish()
        for path in published(tmp_path):
            path.unlink()
    publisher.publish()
    opened = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    ours = [name for name in opened if name.startswith(str(tmp_path))]
    assert ours == [str(path) for path in tmp_path.glob("*.lock")]
    publisher.stop()


def test_a_missing_directory_is_said_once_and_heals(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A directory that is made later is used then; until then there is one warning, and no error."""
    caplog.set_level(logging.WARNING, logger="exporter")
    directory = tmp_path / "later"
    publisher = Publisher(directory, look, interval=3600)
    publisher.start()
    publisher.publish()
    publisher.publish()
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        f"cannot publish the pools of process {os.getpid()} into POOL_EXPORTER_DIR={directory}"
    ]
    directory.mkdir()
    publisher.publish()
    assert len(published(directory)) == 2
    assert caplog.records[-1].getMessage() == f"publishing the pools of process {os.getpid()} into {directory} again"
    publisher.stop()


def test_a_link_is_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody can make us write elsewhere by putting a link where our file will be."""
    caplog.set_level(logging.CRITICAL, logger="exporter")
    target, directory = tmp_path / "precious", tmp_path / "box"
    target.write_text("precious")
    directory.mkdir()
    publisher = Publisher(directory, look, interval=3600)
    publisher.start()
    publisher.publish()
    path, _ = published(directory)
    (directory / f".{path.stem}.tmp").symlink_to(target)
    publisher.publish()
    assert target.read_text() == "precious"
    publisher.stop()


def test_a_look_that_fails_is_contained(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An error while looking stops neither the thread nor the application."""
    caplog.set_level(logging.CRITICAL, logger="exporter")

    def broken() -> ProcessSnapshot:
        raise RuntimeError("planted")

    publisher = Publisher(tmp_path, broken, interval=3600)
    publisher.start()
    publisher.publish()
    assert list(tmp_path.glob("*.json")) == []
    publisher.stop()


PROGRAM = """
import json, os, pathlib, sys, time
from sqlalchemy import create_engine
from sqlalchemy.pool import QueuePool
import exporter
folder = pathlib.Path(os.environ["POOL_EXPORTER_DIR"])
engine = create_engine(f"sqlite:///{sys.argv[1]}/shop.db", poolclass=QueuePool)
exporter.instrument(engine)
engine.connect().close()
def pools():
    found = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    return {each["pid"]: each["pools"][0]["checkouts"] for each in found}
def wait_for(wanted):
    deadline = time.monotonic() + 20
    while pools() != wanted:
        assert time.monotonic() < deadline, (pools(), wanted)
        time.sleep(0.02)
wait_for({os.getpid(): 1})
child = os.fork()
if child == 0:
    engine.connect().close(); engine.connect().close()
    time.sleep(60)
    os._exit(0)
wait_for({os.getpid(): 1, child: 2})
os.kill(child, 9)
os.waitpid(child, 0)
print("seen")
"""


def test_a_process_and_its_fork_publish_apart(tmp_path: Path) -> None:
    """With POOL_EXPORTER_DIR set a process publishes; its fork starts from zero, under a name of its own."""
    box = tmp_path / "box"
    box.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM, str(tmp_path)],
        env={**os.environ, "POOL_EXPORTER_DIR": str(box)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "seen\n", "")
    letters = [json.loads(path.read_text()) for path in box.glob("*.json")]
    assert {(each["pools"][0]["checkouts"], each["ended"]) for each in letters} == {(1, True), (2, False)}
    assert [path.stem.partition(".")[0] for path in box.glob("*.lock")] == [
        str(next(each["pid"] for each in letters if not each["ended"]))
    ]


NO_THREADS = """
import threading
import exporter
from prometheus_client import REGISTRY
from sqlalchemy import create_engine

def refuse(thread):
    raise RuntimeError("can't start new thread")

start, threading.Thread.start = threading.Thread.start, refuse
exporter.instrument(create_engine("sqlite://"), name="shop")
assert REGISTRY.get_sample_value("sqlalchemy_pool_checkouts_total", {"pool": "shop"}) == 0
threading.Thread.start = start
"""


def test_a_process_without_threads_left_is_not_harmed(tmp_path: Path) -> None:
    """Where no thread can be started the pool is watched all the same, and the process ends without a word of ours."""
    done = subprocess.run(
        [sys.executable, "-c", NO_THREADS],
        check=False,
        env={**os.environ, "POOL_EXPORTER_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "contained an error of sqlalchemy-pool-exporter in publish" in done.stderr
    assert "atexit" not in done.stderr
