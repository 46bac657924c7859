"""Reading the letterbox: live processes are found, and nothing that lies in the directory is followed or waited for."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.labels import REJECTED
from exporter.letterbox import Mail
from exporter.letters import MOST_BYTES
from exporter.lives import LIVE_SECONDS
from exporter.publish import Publisher
from exporter.records import PoolIdentity, PoolSnapshot
from letters import LIVE, NOTHING_REJECTED, NOW, box, letter, put, rejected


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="exporter")


def test_what_is_published_is_read_back(tmp_path: Path) -> None:
    """The writer's file gives the reader the very same snapshot, endless limits included."""
    publisher = Publisher(tmp_path, lambda: LIVE, interval=3600)
    publisher.start()
    publisher.publish()
    mail = box(tmp_path).read()
    publisher.stop()
    (seen,) = mail.snapshots
    assert dataclasses.replace(seen, id="", locked=False) == LIVE
    assert mail.rejected == NOTHING_REJECTED


def test_other_versions_are_understood(tmp_path: Path) -> None:
    """What a newer version adds is ignored, what an older one lacks has its default."""
    identity = {"name": "old", "pool_class": "QueuePool", "dialect": "mysql", "driver": "pymysql", "colour": "blue"}
    put(tmp_path, {"format": 1, "pid": 8, "taken": NOW, "pools": [{"identity": identity, "moods": {"good": 1}}]})
    (snapshot,) = box(tmp_path).read().snapshots
    assert snapshot.pools == (PoolSnapshot(PoolIdentity("old", "QueuePool", "mysql", "pymysql")),)


@pytest.mark.parametrize(
    ("age", "live"), [(0.0, True), (LIVE_SECONDS - 0.5, True), (LIVE_SECONDS + 0.5, False), (-3600.0, True)]
)
def test_without_a_lock_only_what_is_fresh_is_live(tmp_path: Path, age: float, *, live: bool) -> None:
    """Where nothing else tells, an old snapshot is of a dead process; one from a time to come is judged later."""
    put(tmp_path, letter(dataclasses.replace(LIVE, taken=NOW - age)))
    mail = box(tmp_path).read()
    assert (len(mail.snapshots) == 1) is live
    assert mail.rejected == NOTHING_REJECTED


def test_no_directory_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One that is made later: nothing is found, that is said once, and later it is used."""
    later = tmp_path / "later"
    letterbox = box(later)
    assert letterbox.read().snapshots == ()
    later.mkdir()
    put(later, letter())
    assert letterbox.read().snapshots == (LIVE,)
    assert [record.getMessage() for record in caplog.records] == [
        f"cannot read processes.directory: there is no {later} yet; no pool is seen until it can be read",
        "processes.directory can be read now",
    ]


def test_a_directory_that_cannot_be_read_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file in the directory's place makes one warning, not one a scrape."""
    letterbox = box(put(tmp_path, "a file"))
    assert letterbox.read().snapshots == letterbox.read().snapshots == ()
    (record,) = caplog.records
    assert "cannot read processes.directory" in record.getMessage()


def test_unfinished_and_foreign_names_are_not_looked_at(tmp_path: Path) -> None:
    """Files that are being written, and files that do not end in .json, are not ours to judge."""
    put(tmp_path, "{", ".7.0011223344556677.tmp")
    put(tmp_path, "{", ".hidden.json")
    put(tmp_path, "{", "README")
    assert box(tmp_path).read().rejected == NOTHING_REJECTED


def test_a_later_format_is_not_guessed_at(tmp_path: Path) -> None:
    """A format that we do not know is rejected by that name, whatever its content looks like."""
    put(tmp_path, letter(format=2))
    put(tmp_path, {"format": 3, "everything": "else"}, "8.json")
    mail = box(tmp_path).read()
    assert mail.snapshots == ()
    assert mail.rejected == rejected(unknown_format=2)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    """A file beyond the bound is rejected by its size alone."""
    path = put(tmp_path, "")
    os.truncate(path, MOST_BYTES + 1)
    assert box(tmp_path).read().rejected == rejected(too_big=1)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """Links, pipes, sockets and directories are rejected at once; none of them is followed, waited for or entered."""
    directory, elsewhere = tmp_path / "box", tmp_path / "elsewhere"
    directory.mkdir()
    elsewhere.mkdir()
    (directory / "1.link.json").symlink_to(put(elsewhere, letter()))
    (directory / "2.broken.json").symlink_to(tmp_path / "nowhere")
    os.mkfifo(directory / "3.pipe.json")
    (directory / "4.directory.json").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(directory / "5.socket.json"))
        mail = box(directory).read()
    assert mail.snapshots == ()
    assert mail.rejected == rejected(not_regular=5)


@contextlib.contextmanager
def as_an_ordinary_user() -> Iterator[None]:
    """Be nobody for a while when we are root, whom no permission stops."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_an_unreadable_file_is_tried_again_and_counted_once() -> None:
    """What may not be read is one reject however often it is tried, and is read as soon as it can be."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        path = put(directory, letter())
        path.chmod(0)
        letterbox = box(directory)
        with as_an_ordinary_user():
            assert letterbox.read().rejected == letterbox.read().rejected == rejected(unreadable=1)
        path.chmod(0o644)
        mail = letterbox.read()
    assert (mail.snapshots, mail.rejected) == ((LIVE,), rejected(unreadable=1))


def test_a_file_is_read_once_until_it_changes(tmp_path: Path) -> None:
    """The same file gives the same object at every scrape; a replaced one is read again, a removed one forgotten."""
    path = put(tmp_path, letter())
    letterbox = box(tmp_path)
    (first,) = letterbox.read().snapshots
    assert letterbox.read().snapshots[0] is first
    put(tmp_path, letter(dataclasses.replace(LIVE, pid=8)), ".next.tmp").replace(path)
    assert letterbox.read().snapshots[0].pid == 8
    path.unlink()
    assert letterbox.read().snapshots == ()


def test_a_bad_file_is_counted_and_said_once_a_version(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Scrapes do not count: a bad file is one reject until it is replaced, one warning until its fault is another."""
    path = put(tmp_path, "{")
    letterbox = box(tmp_path)
    for _ in range(3):
        assert letterbox.read().rejected == rejected(malformed=1)
    put(tmp_path, "{{", ".next.tmp").replace(path)
    assert letterbox.read().rejected == rejected(malformed=2)
    assert [record.getMessage() for record in caplog.records] == [
        f"ignoring {path.name!r} in processes.directory: {REJECTED['malformed']}"
    ]


def test_a_name_cannot_forge_a_log_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file's name is quoted, line breaks and all."""
    put(tmp_path, "{", "a\nERROR all is lost.json")
    box(tmp_path).read()
    assert "\n" not in caplog.records[0].getMessage()


def test_nothing_half_written_is_ever_read_and_nothing_lost(tmp_path: Path) -> None:
    """While processes come and go as fast as they can, a reader finds whole snapshots, and each one's counts once."""
    done = threading.Event()
    written: list[Publisher] = []

    def write() -> None:
        while not done.is_set():
            publisher = Publisher(tmp_path, lambda: LIVE, interval=3600)
            publisher.start()
            publisher.publish()
            written.append(publisher)
            publisher.stop()

    writer = threading.Thread(target=write)
    writer.start()
    letterbox = box(tmp_path)
    counts = [recycled(letterbox.read()) for _ in range(300)]
    done.set()
    writer.join()
    mail = letterbox.read()
    assert mail.rejected == NOTHING_REJECTED
    assert counts == sorted(counts)
    assert recycled(mail) == 2 * len(written) > 0
    assert (mail.snapshots, list(tmp_path.glob("[0-9]*"))) == ((), [])


def recycled(mail: Mail) -> int:
    """Return a count that each of these processes has 2 of, added up over the living and the dead."""
    pools = [*mail.ended, *(pool for snapshot in mail.snapshots for pool in snapshot.pools)]
    return sum(pool.closes["recycle"] for pool in pools)
