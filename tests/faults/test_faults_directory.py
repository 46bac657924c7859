"""All that can become of the directory that an application publishes into: none of it is the application's trouble."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plays import Fault, play
from sites import Site
from stages import DRIVERS, Stage, agree, staged
from worlds import full, own_world

pytestmark = [pytest.mark.servers, pytest.mark.timeout(400)]

STRANGER = 4242  # the number of a user that nobody has


def letters(stage: Stage) -> list[Path]:
    """Return what lies in the directory now, but for locks and what is being written."""
    return list(stage.box.glob("*.json"))


def seen(stage: Stage) -> bool:
    """Tell whether the page shows the application's process."""
    return stage.page.find("processes", state="live") == 1


def damaging(harm: Callable[[Path], None]) -> Callable[[Stage], contextlib.AbstractContextManager[None]]:
    """Return a fault that harms every letter, again and again; what is read of it then is the next one, or nothing."""

    @contextlib.contextmanager
    def damaged(stage: Stage) -> Iterator[None]:
        for _ in range(5):
            for path in letters(stage):
                with contextlib.suppress(FileNotFoundError, FileExistsError):  # the next letter is there just now
                    harm(path)
            stage.up()  # reads it
            agree(lambda: seen(stage), expected=True)
        yield

    return damaged


def garbage(path: Path) -> None:
    """Put what nobody can read in a letter's place."""
    path.write_bytes(os.urandom(5000))


def half(path: Path) -> None:
    """Leave the first half of a letter, as a disk does that loses power."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def foreign(path: Path) -> None:
    """Give a letter to somebody whose letters are not read."""
    os.chown(path, STRANGER, STRANGER)


def pipe(path: Path) -> None:
    """Put a pipe in a letter's place, which whoever opens it would wait for."""
    path.unlink()
    os.mkfifo(path)


def link(path: Path) -> None:
    """Put a link in a letter's place, to a device that never ends."""
    path.unlink()
    path.symlink_to("/dev/zero")


@contextlib.contextmanager
def removed(stage: Stage) -> Iterator[None]:
    """Remove the directory, and make it anew when all is over."""
    shutil.rmtree(stage.box)
    agree(lambda: seen(stage), expected=False)
    yield
    stage.box.mkdir()


@contextlib.contextmanager
def emptied(stage: Stage) -> Iterator[None]:
    """Remove everything in the directory, locks included, again and again."""
    for _ in range(3):
        for path in stage.box.iterdir():
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        agree(lambda: seen(stage), expected=True)
    yield


FAULTS = {
    "garbage": Fault(damaging(garbage), harmless=True, unseen=True),
    "half": Fault(damaging(half), harmless=True, unseen=True),
    "pipe": Fault(damaging(pipe), harmless=True, unseen=True),
    "link": Fault(damaging(link), harmless=True, unseen=True),
    "removed": Fault(removed, harmless=True, unseen=True),
    "emptied": Fault(emptied, harmless=True, unseen=True),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_a_fault_of_the_directory(mariadb_site: Site, fault: Fault, tmp_path: Path) -> None:
    """No application notices; what it has counted meanwhile is all there when it can be read again."""
    with staged(mariadb_site, DRIVERS["pymysql"], tmp_path) as stage:
        play(stage, fault)


@pytest.mark.root
def test_letters_of_a_stranger(postgresql_site: Site, tmp_path: Path) -> None:
    """A letter that belongs to somebody else is not read, and the next one is."""
    with staged(postgresql_site, DRIVERS["asyncpg"], tmp_path) as stage:
        play(stage, Fault(damaging(foreign), harmless=True, unseen=True))


@pytest.mark.root
@pytest.mark.parametrize("driver", ["psycopg", "pymysql"])
def test_a_disk_that_takes_no_more(driver: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """No application notices, no count falls, each says it once, and when there is room all is as it was."""
    site: Site = request.getfixturevalue(DRIVERS[driver].site)

    @contextlib.contextmanager
    def no_more(stage: Stage) -> Iterator[None]:
        with full(stage.box):
            stage.wait_for("during", uses=200)  # some seconds, in which as many letters are not written
            yield

    with own_world(tmp_path) as world, staged(site, DRIVERS[driver], tmp_path, world.place) as stage:
        play(stage, Fault(no_more, harmless=True))


@pytest.mark.root
@pytest.mark.parametrize("lost", ["names", "names_and_connections"])
@pytest.mark.parametrize("driver", list(DRIVERS))
def test_names_that_lead_nowhere(driver: str, lost: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """With no name server what is connected stays so, the sampler too; what must connect anew fails, then recovers."""
    site: Site = request.getfixturevalue(DRIVERS[driver].site)
    cut = lost == "names_and_connections"

    @contextlib.contextmanager
    def nameless(stage: Stage) -> Iterator[None]:
        with world.no_names():
            if cut:
                stage.proxy.reset()
            yield

    with own_world(tmp_path) as world, staged(site, DRIVERS[driver], tmp_path, world.place) as stage:
        play(stage, Fault(nameless, up=not cut))
