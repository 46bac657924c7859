"""The sidecar as another user than the application: the least right that works, and whose files are not read."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.letterbox import Letterbox
from exporter.publish import Publisher
from letters import LIVE, SHOP

pytestmark = [
    pytest.mark.root,
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]

APPLICATION, SIDECAR, SHARED = 40001, 40002, 50000
USED = dataclasses.replace(SHOP, checkouts=1)


def as_user(user: int, body: Callable[[], object]) -> str:
    """Run ``body`` in a fork that has become another user, in the shared group too; return what it returned."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([SHARED])
            os.setgid(user)
            os.setuid(user)
            os.umask(0o077)
            said = json.dumps(body())
        except BaseException as error:
            said = repr(error)
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as file:  # noqa: PTH123  a pipe
        said = file.read()
    os.waitpid(child, 0)
    return said


def publish(box: Path, *, ended: bool) -> None:
    """Publish, as the application, one checkout of a pool; as one that goes on, or as one that has ended."""

    def body() -> object:
        publisher = Publisher(box, lambda: dataclasses.replace(LIVE, pools=(USED,)), interval=3600)
        publisher.publish()
        if ended:
            publisher.stop()
        return "published"

    assert as_user(APPLICATION, body) == '"published"'


def looked(box: Path, *, users: frozenset[int] = frozenset(), times: int = 1) -> tuple[list[int], int]:
    """Read, as the sidecar; return how many checkouts it sees each time, and how many files it rejects as foreign."""

    def body() -> object:
        letterbox = Letterbox(box, users=users)
        mails = [letterbox.read() for _ in range(times)]
        return [sum(pool.checkouts for pool in mail.ended) for mail in mails], mails[-1].rejected["foreign"]

    seen, foreign = json.loads(as_user(SIDECAR, body))
    return seen, foreign


@pytest.fixture
def make_box(tmp_path: Path) -> Callable[[int, int], Path]:
    """Make the directory with an owner and a mode, in a folder that everybody may pass."""
    if os.geteuid() != 0:
        pytest.fail("only root can become other users: run this as root, or deselect it with -m 'not root'")
    for folder in (tmp_path, *tmp_path.parents[:3]):  # with xdist there is one more
        folder.chmod(folder.stat().st_mode | 0o011)

    def make(owner: int, mode: int) -> Path:
        box = tmp_path / "box"
        box.mkdir()
        os.chown(box, owner, SHARED)
        box.chmod(mode)
        return box

    return make


def left(box: Path) -> set[str]:
    return {path.suffix for path in box.iterdir() if not path.name.startswith(".")}


def test_the_applications_own_directory(make_box: Callable[[int, int], Path]) -> None:
    """A directory of the application's, which the sidecar's group may read: nothing to set up, nothing is removed."""
    box = make_box(APPLICATION, 0o2750)
    publish(box, ended=True)
    publish(box, ended=False)
    assert looked(box, times=3) == ([2, 2, 2], 0)
    assert left(box) == {".json", ".lock"}


def test_a_directory_that_both_may_write(make_box: Callable[[int, int], Path]) -> None:
    """With the right to write, the sidecar keeps what the dead had counted and removes what they left."""
    box = make_box(APPLICATION, 0o2770)
    publish(box, ended=True)
    publish(box, ended=True)
    assert looked(box, times=3) == ([2, 2, 2], 0)
    assert left(box) == set()
    assert looked(box) == ([2], 0)


def test_files_of_other_users(make_box: Callable[[int, int], Path]) -> None:
    """In a directory that is neither's, the application's files are foreign until its user is named."""
    box = make_box(0, 0o2770)
    publish(box, ended=True)
    assert looked(box) == ([0], 1)
    assert left(box) == {".json"}
    assert looked(box, users=frozenset({APPLICATION}), times=2) == ([1, 1], 0)
    assert left(box) == set()


def test_a_sticky_directory(make_box: Callable[[int, int], Path]) -> None:
    """Where nobody may remove the files of others they stay, and what they say is counted once all the same."""
    box = make_box(0, 0o3777)
    publish(box, ended=True)
    publish(box, ended=True)
    assert looked(box, users=frozenset({APPLICATION}), times=3) == ([2, 2, 2], 0)
    assert left(box) == {".json"}
    assert looked(box, users=frozenset({APPLICATION}), times=2) == ([2, 2], 0)


def test_no_right_at_all(make_box: Callable[[int, int], Path]) -> None:
    """A directory that the sidecar may not read is empty for it, and no error."""
    box = make_box(APPLICATION, 0o700)
    publish(box, ended=True)
    assert looked(box, times=2) == ([0, 0], 0)
