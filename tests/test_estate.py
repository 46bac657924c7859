"""What the dead leave: their counts are kept once, their files go, and nothing of it needs the sidecar to stay up."""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.ended import FILE_NAME
from exporter.letterbox import Letterbox, Mail
from exporter.presence import Presence
from exporter.records import PoolSnapshot, ProcessSnapshot
from letters import LIVE, NOW, SHOP, letter, put

ENDED = dataclasses.replace(LIVE, ended=True, contained={"publish": 1})


class Clock:
    """Time that the test lets pass, for both kinds of clock."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sidecar(tmp_path: Path, clock: Clock) -> Callable[[], Letterbox]:
    """Start another sidecar on the same directory."""
    return lambda: Letterbox(tmp_path, clock=clock, monotonic=clock)


def die(directory: Path, number: int, snapshot: ProcessSnapshot = ENDED) -> Path:
    return put(directory, letter(snapshot), f"{number}.{number:016x}.json")


def recycled(mail: Mail) -> int:
    pools = [*mail.ended, *(pool for snapshot in mail.snapshots for pool in snapshot.pools)]
    return sum(pool.closes["recycle"] for pool in pools)


def left(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != ".sidecar.lock")


def test_what_the_dead_counted_is_kept_and_their_files_go(tmp_path: Path, sidecar: Callable[[], Letterbox]) -> None:
    """Counters and histograms stay to the unit, gauges and connections do not; one file is left of any number."""
    for number in range(5):
        die(tmp_path, number)
    mail = sidecar().read()
    assert mail.ended == (
        dataclasses.replace(
            PoolSnapshot(SHOP.identity),
            closes={"recycle": 10},
            use_seconds=dataclasses.replace(SHOP.use_seconds),
        ),
    )
    assert mail.contained == {"publish": 5}
    assert mail.reports == ()
    assert left(tmp_path) == [FILE_NAME]


def test_a_restarted_sidecar_goes_on_counting(tmp_path: Path, sidecar: Callable[[], Letterbox]) -> None:
    """The next sidecar begins where the last one ended, and so does the one after that."""
    die(tmp_path, 1)
    first = sidecar()
    assert recycled(first.read()) == 2
    first.close()
    die(tmp_path, 2)
    second = sidecar()
    assert recycled(second.read()) == 4
    second.close()
    assert recycled(sidecar().read()) == 4


def test_a_sidecar_that_was_killed_in_between_counts_nobody_twice(
    tmp_path: Path, sidecar: Callable[[], Letterbox]
) -> None:
    """The counts were written and the process's file was not yet removed: it is known, and removed later."""
    path = die(tmp_path, 1)
    kept = path.read_bytes()
    first = sidecar()
    first.read()
    first.close()
    path.write_bytes(kept)
    second = sidecar()
    assert recycled(second.read()) == 2
    assert left(tmp_path) == [FILE_NAME]


def test_what_died_without_a_word_is_kept_too(tmp_path: Path, clock: Clock, sidecar: Callable[[], Letterbox]) -> None:
    """Killed: it counts from the moment it is dead, its file stays until that is sure, and no number changes."""
    die(tmp_path, 1, dataclasses.replace(LIVE, locked=True))
    letterbox = sidecar()
    assert (recycled(letterbox.read()), len(left(tmp_path))) == (2, 1)
    clock.now += 11
    assert (recycled(letterbox.read()), left(tmp_path)) == (2, [FILE_NAME])
    assert recycled(letterbox.read()) == 2


def test_two_sidecars_agree_and_one_tidies_up(tmp_path: Path, sidecar: Callable[[], Letterbox]) -> None:
    """The second reads what the first has folded, and folds nothing itself while the first is there."""
    first, second = sidecar(), sidecar()
    die(tmp_path, 1)
    assert recycled(first.read()) == recycled(second.read()) == 2
    die(tmp_path, 2)
    assert recycled(second.read()) == 4
    assert len(left(tmp_path)) == 2
    assert recycled(first.read()) == recycled(second.read()) == 4
    assert left(tmp_path) == [FILE_NAME]
    first.close()
    die(tmp_path, 3)
    assert recycled(second.read()) == 6
    assert left(tmp_path) == [FILE_NAME]


def test_the_directory_does_not_grow(tmp_path: Path, clock: Clock, sidecar: Callable[[], Letterbox]) -> None:
    """A thousand workers come and go: neither the directory nor what is remembered of them grows."""
    letterbox = sidecar()
    sizes = []
    for number in range(1000):
        die(tmp_path, number)
        letterbox.read()
        clock.now += 10
        sizes.append((tmp_path / FILE_NAME).stat().st_size)
    assert recycled(letterbox.read()) == 2000
    assert left(tmp_path) == [FILE_NAME]
    assert max(sizes[500:]) < 1.1 * max(sizes[100:500])


def test_rubbish_is_removed_and_only_that(tmp_path: Path, clock: Clock, sidecar: Callable[[], Letterbox]) -> None:
    """Locks and half-written files of the dead go after a while; what lives, what is new and what is not ours stays."""
    for name in ("8.0011223344556677.lock", ".9.0011223344556677.tmp", "notes.txt", ".other.tmp"):
        put(tmp_path, "", name)
        os.utime(tmp_path / name, (NOW, NOW))
    living = Presence(tmp_path, "7.0011223344556677")
    living.hold()
    os.utime(tmp_path / "7.0011223344556677.lock", (NOW, NOW))
    letterbox = sidecar()
    letterbox.read()
    assert len(left(tmp_path)) == 5
    clock.now += 61
    letterbox.read()
    assert left(tmp_path) == [".other.tmp", "7.0011223344556677.lock", "notes.txt"]
    living.release()


def test_damage_is_said_and_set_aside(
    tmp_path: Path, sidecar: Callable[[], Letterbox], caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged file of the counts is moved out of the way, with one warning, and counting begins anew."""
    caplog.set_level(logging.WARNING, logger="exporter")
    put(tmp_path, "{", FILE_NAME)
    die(tmp_path, 1)
    letterbox = sidecar()
    assert [recycled(letterbox.read()) for _ in range(3)] == [2, 2, 2]
    assert left(tmp_path) == [".ended.bad", FILE_NAME]
    (record,) = caplog.records
    assert "was damaged, and is set aside" in record.getMessage()


def test_counts_of_a_later_version_are_left_alone(
    tmp_path: Path, sidecar: Callable[[], Letterbox], caplog: pytest.LogCaptureFixture
) -> None:
    """After a step back to this version, what a later one wrote is neither read wrongly nor overwritten."""
    caplog.set_level(logging.WARNING, logger="exporter")
    put(tmp_path, '{"format": 2}', FILE_NAME)
    die(tmp_path, 1)
    letterbox = sidecar()
    assert [recycled(letterbox.read()) for _ in range(2)] == [2, 2]
    assert (tmp_path / FILE_NAME).read_text() == '{"format": 2}'
    (record,) = caplog.records
    assert "cannot understand what ended processes had counted (unknown_format)" in record.getMessage()


READ_ONLY = """
import os, sys
from pathlib import Path
from exporter.letterbox import Letterbox
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
letterbox = Letterbox(Path(sys.argv[1]))
for _ in range(2):
    mail = letterbox.read()
    print(sum(pool.closes["recycle"] for pool in mail.ended))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become a user who may read only")
def test_a_sidecar_that_may_only_read_counts_all_the_same(tmp_path: Path) -> None:
    """Another user without the right to write: the sums are right, the files stay, and one warning says so."""
    box = tmp_path / "box"
    box.mkdir(mode=0o755)
    for folder in (tmp_path, *tmp_path.parents[:3]):  # with xdist there is one more
        folder.chmod(folder.stat().st_mode | 0o055)
    die(box, 1)
    done = subprocess.run([sys.executable, "-c", READ_ONLY, str(box)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "2\n2\n"), done.stderr
    assert done.stderr.count("what ended processes left stays there until it can be written") == 1
    assert len(left(box)) == 1
