"""A disk that is full, directories that cannot be written: no application notices, and all heals by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from namespaces import in_own_mounts

PROGRAM = """
import errno, io, logging, os, subprocess, sys, time
from pathlib import Path
from sqlalchemy import create_engine
from sqlalchemy.pool import QueuePool
import exporter
from exporter.letterbox import Letterbox

said = io.StringIO()
logging.basicConfig(format="%(message)s", stream=said)
box = Path(os.environ["POOL_EXPORTER_DIR"])
sidecar = Letterbox(box)

def wait_for(look):
    deadline = time.monotonic() + 20
    while not look():
        assert time.monotonic() < deadline, look
        time.sleep(0.02)

def checkouts():
    mail = sidecar.read()
    pools = [*mail.ended, *(pool for each in mail.snapshots for pool in each.pools)]
    return sum(pool.checkouts for pool in pools)

def start():
    engine = create_engine("sqlite:///%s/shop.db" % os.environ["FOLDER"], poolclass=QueuePool)
    exporter.instrument(engine, name="orders")
    return engine

def use(engine, times=1):
    for _ in range(times):
        engine.connect().close()

def fill():
    with (box / "ballast").open("ab", buffering=0) as ballast:
        for size in (65536, 4096, 1):
            try:
                while True:
                    ballast.write(b"x" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC

def child(times):
    command = [sys.executable, "-c", CHILD, str(times)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stderr
"""

CHILD = """
import os, sys
from sqlalchemy import create_engine
from sqlalchemy.pool import QueuePool
import exporter

engine = create_engine("sqlite:///%s/shop.db" % os.environ["FOLDER"], poolclass=QueuePool)
exporter.instrument(engine, name="orders")
for _ in range(int(sys.argv[1])):
    engine.connect().close()
"""

FILLED = """
engine = start()
use(engine, 2)
wait_for(lambda: checkouts() == 2)
assert child(5) == ""
fill()
assert checkouts() == 7
use(engine, 3)
wait_for(lambda: "cannot publish" in said.getvalue())
for _ in range(3):
    assert checkouts() == 7, checkouts()  # those of the one that ended stay where they are
assert not (box / ".ended.json").exists()
assert not list(box.glob("*.tmp")) and not list(box.glob(".*.tmp"))
(box / "ballast").unlink()
wait_for(lambda: checkouts() == 10 and "publishing" in said.getvalue())
wait_for(lambda: (box / ".ended.json").exists())
fill()
assert child(4).count("cannot publish") == 1  # and it has nowhere to leave its last word
use(engine, 1)
wait_for(lambda: said.getvalue().count("cannot publish") == 2)
assert checkouts() == 10, checkouts()
(box / "ballast").unlink()
wait_for(lambda: checkouts() == 11 and said.getvalue().count("publishing") == 2)
print(said.getvalue())
"""


def run(program: str, folder: Path, box: Path, *wrapped: str) -> str:
    """Run a program that publishes into ``box``; return what it said."""
    done = subprocess.run(
        [*wrapped, sys.executable, "-c", f"CHILD = {CHILD!r}\n{PROGRAM}{program}"],
        env={**os.environ, "POOL_EXPORTER_DIR": str(box), "FOLDER": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


@pytest.mark.root
def test_a_full_disk(tmp_path: Path) -> None:
    """Nothing is lost that was ever published, nothing half-written is left, one warning is said, and it heals."""
    box = tmp_path / "box"
    box.mkdir()
    said = run(FILLED, tmp_path, box, *in_own_mounts(box, "size=256k"))
    lines = [line for line in said.splitlines() if line]
    ours = [line for line in lines if line.startswith(("cannot publish", "publishing"))]
    assert [line.split()[0] for line in ours] == ["cannot", "publishing"] * 2
    assert "No space left on device" in ours[0]
    theirs = [line for line in lines if line not in ours]
    assert [line for line in theirs if "stays there until it can be written" in line] == theirs[:2]


READ_ONLY = """
engine = start()
use(engine, 2)
wait_for(lambda: "cannot publish" in said.getvalue())
use(engine, 2)
subprocess.run(["mount", "-o", "remount,rw", box], check=True)
wait_for(lambda: checkouts() == 4)
wait_for(lambda: "publishing" in said.getvalue())
print(said.getvalue())
"""


@pytest.mark.root
def test_a_read_only_directory(tmp_path: Path) -> None:
    """What cannot be written is said once, and once more when it can; what was counted meanwhile is not lost."""
    box = tmp_path / "box"
    box.mkdir()
    lines = run(READ_ONLY, tmp_path, box, *in_own_mounts(box, "ro")).splitlines()
    assert [line.split()[0] for line in lines if line] == ["cannot", "publishing"]
    assert "Read-only file system" in lines[0]


REMADE = """
engine = start()
use(engine, 2)
wait_for(lambda: "cannot publish" in said.getvalue())
box.mkdir()
wait_for(lambda: checkouts() == 2)
shutil.rmtree(box)
use(engine, 1)
wait_for(lambda: said.getvalue().count("cannot publish") == 2)
box.mkdir()
wait_for(lambda: checkouts() == 3)
assert child(1) == ""
wait_for(lambda: checkouts() == 4 and not list(box.glob("*.tmp")))
(box / "rubbish").touch()
for path in box.glob("[!.]*"):
    path.unlink()  # somebody tidies up
use(engine, 1)
wait_for(lambda: checkouts() == 5)
time.sleep(1.1)
assert len(sidecar.read().reports) == 1
print(said.getvalue())
"""


def test_a_directory_made_later_and_made_again(tmp_path: Path) -> None:
    """A directory that is not there yet, that is taken away and made again, or emptied: used when it is there."""
    lines = run(f"import shutil\n{REMADE}", tmp_path, tmp_path / "box").splitlines()
    ours = [line for line in lines if line.startswith(("cannot publish", "publishing"))]
    assert [line.split()[0] for line in ours] == ["cannot", "publishing"] * 2
