"""Kept counts: no letter, no fault that passes and no other sidecar makes a sum fall, and none is counted twice."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporter.ended import FILE_NAME
from exporter.letterbox import Letterbox
from exporter.presence import Presence, is_held, lock_path
from letters import LIVE, NOW, SHOP, letter, put, rejected
from test_estate import Clock, die, left, recycled
from test_letterbox import as_an_ordinary_user

NAME = "7.0011223344556677"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sidecar(tmp_path: Path, clock: Clock) -> Callable[[], Letterbox]:
    """Start another sidecar on the same directory."""
    return lambda: Letterbox(tmp_path, clock=clock, monotonic=clock)


def test_a_name_that_no_process_has_spoils_no_count(tmp_path: Path, sidecar: Callable[[], Letterbox]) -> None:
    """Names that are no text, other names, and copies of letters are rejected; what was kept stays."""
    die(tmp_path, 1)
    content = letter(dataclasses.replace(LIVE, ended=True))
    path = put(tmp_path, content)
    path.rename(tmp_path / os.fsdecode(b"bad\x80.json"))
    put(tmp_path, content, "copy.json")
    put(tmp_path, {**content, "id": "1.0000000000000001"}, "2.0000000000000002.json")
    letterbox = sidecar()
    assert [recycled(letterbox.read()) for _ in range(3)] == [2, 2, 2]
    assert letterbox.read().rejected == rejected(malformed=3)
    letterbox.close()
    assert recycled(sidecar().read()) == 2


def test_what_does_not_fit_stays_out(tmp_path: Path, sidecar: Callable[[], Letterbox]) -> None:
    """Two counts that are too large together: what no sidecar could read again is not written down, but counted."""
    large = dataclasses.replace(LIVE.pools[0], closes={"recycle": 2**62})
    for number in range(3):
        die(tmp_path, number, dataclasses.replace(LIVE, ended=True, pools=(large,)))
    die(tmp_path, 9)
    for _ in range(2):
        letterbox = sidecar()
        assert [recycled(letterbox.read()) for _ in range(2)] == [3 * 2**62 + 2] * 2
        letterbox.close()
    assert len(left(tmp_path)) == 3
    assert FILE_NAME in left(tmp_path)


def test_a_lock_that_was_removed_is_no_death(tmp_path: Path, clock: Clock, sidecar: Callable[[], Letterbox]) -> None:
    """Only a lock that is there, and free, tells of a death; without it nothing is settled for an hour."""
    path = die(tmp_path, 1, dataclasses.replace(LIVE, locked=True))
    letterbox = sidecar()
    letterbox.read()
    clock.now += 1000
    letterbox.read()
    assert left(tmp_path) == [path.name]
    clock.now += 3000
    assert recycled(letterbox.read()) == 2
    assert left(tmp_path) == [FILE_NAME]


def test_a_fault_that_passes_makes_no_sum_fall(clock: Clock) -> None:
    """Counts, and a letter of a process that lives, which cannot be read for a moment are what they were."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o777)
        living = Presence(directory, NAME)
        assert living.hold()
        die(directory, 1)
        letterbox = Letterbox(directory, clock=clock, monotonic=clock)
        paths = [put(directory, letter(dataclasses.replace(LIVE, locked=True)), f"{NAME}.json"), directory / FILE_NAME]
        assert recycled(letterbox.read()) == 4
        for path in paths:
            path.touch()
            path.chmod(0)
        with as_an_ordinary_user():
            die(directory, 2)
            assert [recycled(letterbox.read()) for _ in range(2)] == [6, 6]
        for path in paths:
            path.chmod(0o644)
        assert recycled(letterbox.read()) == 6
        living.release()


def test_counts_that_are_damaged_are_written_anew(tmp_path: Path, sidecar: Callable[[], Letterbox]) -> None:
    """A sidecar that knows what the file held puts it back."""
    die(tmp_path, 1)
    letterbox = sidecar()
    letterbox.read()
    (tmp_path / FILE_NAME).write_text("{")
    assert [recycled(letterbox.read()) for _ in range(2)] == [2, 2]
    letterbox.close()
    assert recycled(sidecar().read()) == 2


HUGE = {"name": "n" * 1_000_000, "pool_class": "QueuePool", "dialect": "mysql", "driver": "pymysql"}
SMALL = {**HUGE, "name": "shop"}


@pytest.mark.parametrize(
    "content",
    [
        {"contained": {"checkin": 10**400}},
        {"contained": {"checkin": -7}},
        {"contained": {str(number): 1 for number in range(101)}},
        {"pools": [{"identity": HUGE}]},
        {"pools": [{"identity": {**SMALL, "name": str(number)}} for number in range(1001)]},
        {"ids": {"7.0011223344556677": 1e999}},
        {"seen": {"shop": float("nan")}},
    ],
    ids=["endless", "below 0", "many places", "long name", "many pools", "infinite", "no number"],
)
def test_counts_that_no_sidecar_wrote(
    tmp_path: Path, sidecar: Callable[[], Letterbox], content: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """No more is believed of the file of the counts than of a letter: what cannot be shown is set aside, and said."""
    put(tmp_path, {"format": 1, **content}, FILE_NAME)
    die(tmp_path, 1)
    letterbox = sidecar()
    assert [recycled(letterbox.read()) for _ in range(2)] == [2, 2]
    assert "was damaged, and is set aside" in caplog.text
    letterbox.close()


def test_counts_hold_nothing_open(tmp_path: Path, sidecar: Callable[[], Letterbox]) -> None:
    """Of those that ended nothing is in use and nobody waits, whatever their file says; unknown words are ``other``."""
    held = {"used": 50, "waiting": 9, "connections_max": 5.0, "checkouts": 3, "closes": {"recycle": 1, "newer": 4}}
    put(tmp_path, {"format": 1, "pools": [{"identity": SMALL, **held}], "contained": {"newer": 2}}, FILE_NAME)
    mail = sidecar().read()
    (pool,) = mail.ended
    assert (pool.checkouts, pool.used, pool.waiting, pool.connections_max) == (3, 0, None, None)
    assert (pool.closes, mail.contained) == ({"recycle": 1, "other": 4}, {"other": 2})


def test_words_of_another_version_fill_no_sum(tmp_path: Path, sidecar: Callable[[], Letterbox]) -> None:
    """However many reasons letters make up, those after them are settled and go."""
    for number in range(3):
        closes = {"recycle": 1, **{f"{number}.{word}": 1 for word in range(99)}}
        pool = dataclasses.replace(SHOP, checkouts=1, closes=closes)
        die(tmp_path, number, dataclasses.replace(LIVE, ended=True, pools=(pool,)))
    letterbox = sidecar()
    letterbox.claim()
    for _ in range(2):
        mail = letterbox.read()
    assert list(tmp_path.glob("[0-9]*")) == []
    assert [pool.closes for pool in mail.ended] == [{"recycle": 3, "other": 297}]
    letterbox.close()


def test_two_sidecars_that_take_turns_lose_nothing(tmp_path: Path, sidecar: Callable[[], Letterbox]) -> None:
    """Whoever begins to settle looks again at what the other had written."""
    first, second = sidecar(), sidecar()
    for number in range(6):
        die(tmp_path, number)
        taking, other = (first, second) if number % 2 else (second, first)
        assert recycled(taking.read()) == recycled(other.read()) == 2 * (number + 1)
        taking.close()


def test_a_lock_on_a_removed_file_is_none(tmp_path: Path) -> None:
    """Who gets a lock makes sure that it is on the file that others find."""
    first, second = Presence(tmp_path, NAME), Presence(tmp_path, NAME)
    assert first.hold()
    assert second.hold() is False
    lock_path(tmp_path, NAME).unlink()
    assert second.hold()
    assert (first.held, second.held) == (False, True)
    assert is_held(lock_path(tmp_path, NAME)) is True
    second.release()


def test_a_pipe_in_the_way_holds_nobody_up(tmp_path: Path, sidecar: Callable[[], Letterbox]) -> None:
    """What lies where the new counts are made is removed, not opened."""
    os.mkfifo(tmp_path / ".ended.tmp")
    die(tmp_path, 1)
    assert recycled(sidecar().read()) == 2
    assert left(tmp_path) == [FILE_NAME]
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o644


@pytest.mark.root
def test_counts_of_another_user_are_not_believed(tmp_path: Path, sidecar: Callable[[], Letterbox]) -> None:
    """The file of the counts is one of those that only certain users may leave."""
    die(tmp_path, 1)
    first = sidecar()
    first.read()
    first.close()
    os.chown(tmp_path / FILE_NAME, 40001, 40001)
    letterbox = sidecar()
    assert [recycled(letterbox.read()) for _ in range(2)] == [0, 0]
    assert letterbox.read().rejected == rejected(foreign=1)


def test_letters_that_nobody_can_read_go_in_the_end(
    tmp_path: Path, clock: Clock, sidecar: Callable[[], Letterbox]
) -> None:
    """Damaged, older than an hour and of no process that lives; those of later versions and other names stay."""
    names = ("1.0000000000000001.json", "2.0000000000000002.json", "note.json")
    for name in names:
        put(tmp_path, '{"format": 2}' if name.startswith("2") else "{", name)
        os.utime(tmp_path / name, (NOW, NOW))
    letterbox = sidecar()
    letterbox.read()
    assert left(tmp_path) == sorted(names)
    clock.now += 3601
    letterbox.read()
    assert left(tmp_path) == sorted(names[1:])
