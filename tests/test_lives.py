"""Who lives and who is dead: told by the kernel's locks, whatever pids, clocks and containers say."""

from __future__ import annotations

import dataclasses
import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.lives import LIVE_SECONDS, Life, Lives
from exporter.presence import Presence, is_held, lock_path
from letters import LIVE, NOW

NAME = "7.0011223344556677"
LOCKED = dataclasses.replace(LIVE, locked=True, taken=NOW)


class Clocks:
    """Two clocks that the test moves: the one that jumps, and the one that does not."""

    def __init__(self) -> None:
        self.wall, self.steady = NOW, 100.0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def lives(tmp_path: Path, clocks: Clocks) -> Lives:
    return Lives(tmp_path, clock=lambda: clocks.wall, monotonic=lambda: clocks.steady)


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold the lock of the process, as it does itself while it lives."""
    presence = Presence(directory, NAME)
    assert presence.hold()
    yield
    presence.release()


def test_a_process_that_stops_publishing_is_silent_and_not_dead(tmp_path: Path, lives: Lives, clocks: Clocks) -> None:
    """While the lock is held the process lives; when its report grows old it is silent, and the age is told."""
    with held(tmp_path):
        assert lives.judge({NAME: LOCKED}) == {NAME: Life("live", 0.0)}
        clocks.pass_by(LIVE_SECONDS + 50)
        assert lives.judge({NAME: LOCKED}) == {NAME: Life("silent", LIVE_SECONDS + 50)}
        assert lives.judge({NAME: dataclasses.replace(LOCKED, taken=clocks.wall)}) == {NAME: Life("live", 0.0)}
    clocks.pass_by(1)
    assert lives.judge({NAME: LOCKED})[NAME].state == "dead"


def test_death_is_timed_from_when_it_was_found(lives: Lives, clocks: Clocks) -> None:
    """A process without its lock is dead at once, and for how long is counted by a clock that does not jump."""
    lives.judge({NAME: LOCKED})
    clocks.wall += 86400
    clocks.steady += 3
    assert lives.judge({NAME: LOCKED})[NAME].dead_for == 3
    clocks.steady += 4
    assert lives.judge({NAME: LOCKED})[NAME].dead_for == 7


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
def test_a_clock_that_jumps_kills_nobody(tmp_path: Path, lives: Lives, clocks: Clocks, jump: float) -> None:
    """A day forth or back, before or after a report: a process that goes on publishing goes on being live."""
    with held(tmp_path):
        lives.judge({NAME: LOCKED})
        clocks.pass_by(1)
        late = dataclasses.replace(LOCKED, taken=clocks.wall)
        clocks.wall += jump
        clocks.pass_by(1)
        assert lives.judge({NAME: late})[NAME].state == "live"
        clocks.pass_by(1)
        assert lives.judge({NAME: dataclasses.replace(late, taken=clocks.wall)})[NAME].state == "live"


def test_what_rests_is_live_however_long(tmp_path: Path, lives: Lives, clocks: Clocks) -> None:
    """A process whose pools were never used says so, and is not silent: it publishes again when they are."""
    with held(tmp_path):
        resting = dataclasses.replace(LOCKED, resting=True)
        lives.judge({NAME: resting})
        clocks.pass_by(3600)
        assert lives.judge({NAME: resting})[NAME].state == "live"


def test_a_last_word_is_the_last(tmp_path: Path, lives: Lives) -> None:
    """A process that says that it has ended is dead, even if a fork of it still holds its lock."""
    with held(tmp_path):
        assert lives.judge({NAME: dataclasses.replace(LOCKED, ended=True)})[NAME].state == "dead"


def test_without_locks_the_age_decides(lives: Lives, clocks: Clocks) -> None:
    """On a file system without locks, who has not published for a while is taken for dead, and may come back."""
    assert lives.judge({NAME: LIVE})[NAME].state == "live"
    clocks.pass_by(LIVE_SECONDS)
    assert lives.judge({NAME: LIVE})[NAME].state == "dead"
    back = dataclasses.replace(LIVE, taken=clocks.wall)
    assert lives.judge({NAME: back})[NAME] == Life("live", 0.0)


HOLDER = """
import os, sys
from pathlib import Path
from exporter.presence import Presence
presence = Presence(Path(sys.argv[1]), sys.argv[2])
assert presence.hold()
print("held", flush=True)
sys.stdin.read()
"""


def test_the_kernel_takes_the_lock_back(tmp_path: Path) -> None:
    """A process that is killed, with no chance to say anything, is known to be dead at once."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path), NAME]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert is_held(lock_path(tmp_path, NAME)) is True
        process.kill()
        process.wait()
        assert is_held(lock_path(tmp_path, NAME)) is False


FORK = """
import os, sys
from pathlib import Path
from exporter.presence import Presence, is_held, lock_path
directory, name = Path(sys.argv[1]), sys.argv[2]
presence = Presence(directory, name)
assert presence.hold()
child = os.fork()
if child == 0:
    presence.forget()
    os._exit(0)
os.waitpid(child, 0)
assert is_held(lock_path(directory, name)) is True
presence.release()
assert not lock_path(directory, name).exists()
"""


def test_a_fork_leaves_the_lock_to_its_parent(tmp_path: Path) -> None:
    """What a child does with the file it inherited takes nothing from the parent, and keeps nothing for it."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK, str(tmp_path), NAME], check=True)


DAEMON = """
import os, sys
from pathlib import Path
from exporter.presence import Presence, is_held, lock_path
directory, name = Path(sys.argv[1]), sys.argv[2]
presence = Presence(directory, name)
assert presence.hold()
os.closerange(3, 64)
assert is_held(lock_path(directory, name)) is False
other = os.open("/dev/null", os.O_RDONLY)  # takes the number that our file had
assert presence.hold()
assert is_held(lock_path(directory, name)) is True
os.fstat(other)  # somebody else's, and left alone
lock_path(directory, name).unlink()
assert presence.hold()
assert is_held(lock_path(directory, name)) is True
"""


def test_a_lock_that_was_lost_is_taken_again(tmp_path: Path) -> None:
    """A daemon closes all its files, and somebody may empty the directory: at the next report it is as it was."""
    subprocess.run([sys.executable, "-c", DAEMON, str(tmp_path), NAME], check=True)


def test_who_looks_takes_no_lock_away(tmp_path: Path) -> None:
    """A file that another reads at this moment cannot be locked for it: that is tried again, and no error."""
    path = lock_path(tmp_path, NAME)
    with path.open("w") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        presence = Presence(tmp_path, NAME)
        assert presence.hold() is False
    assert presence.hold() is True
    presence.release()
