"""The last word where threads do not help: programs that end at once, stop, close their files, or have no thread."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.lives import LIVE_SECONDS
from pages import Page, scraped
from waiting import eventually
from workers import sidecar_on

ENGINE = """
import os, sys, threading, time
from sqlalchemy import create_engine
from sqlalchemy.pool import QueuePool
import exporter
engine = create_engine("sqlite:///shop.db", poolclass=QueuePool)
exporter.instrument(engine, name="orders")
def use():
    engine.connect().close()
def done():
    print("done", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """What a sidecar shows of the programs of this test."""
    (tmp_path / "box").mkdir()
    page = Page("orders")
    with sidecar_on(tmp_path / "box") as sidecar:
        page.registry = sidecar.registry
        with scraped(page, every=0.05):
            yield page


@contextmanager
def running(folder: Path, code: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program until it says that it is done, and the body is, too."""
    with subprocess.Popen(
        [sys.executable, *options, "-c", code],
        cwd=folder,
        env={**os.environ, "POOL_EXPORTER_DIR": str(folder / "box")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        try:
            assert program.stdout is not None
            said = program.stdout.readline()
            assert said == "done\n", program.stderr and program.stderr.read()
            yield program
            out, err = program.communicate("\n", timeout=30)
            assert (program.returncode, out, err) == (0, "", "")
        finally:
            program.kill()


def left(folder: Path) -> set[str]:
    """Return which kinds of files are in the box, but for the sidecar's own."""
    return {path.suffix for path in (folder / "box").iterdir() if not path.name.startswith(".")}


def test_a_program_that_ends_at_once(tmp_path: Path, page: Page) -> None:
    """What a program did in its few milliseconds is counted, and nothing of it stays open."""
    code = f"{ENGINE}use(); use(); use()"
    environment = {**os.environ, "POOL_EXPORTER_DIR": str(tmp_path / "box")}
    for _ in range(3):
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert eventually(lambda: page.find("checkouts_total") == 9)
    assert page.find("processes", state="live") == 0
    assert page.connections() == (0, 0)
    assert eventually(lambda: left(tmp_path) == set())


NO_THREADS = f"""
import threading
def refuse(thread):
    raise RuntimeError("can't start new thread")
start, threading.Thread.start = threading.Thread.start, refuse
import logging
logging.getLogger("exporter").setLevel(logging.CRITICAL)
{ENGINE}
use()
done()
time.sleep(1.1)
use()
done()
threading.Thread.start = start
time.sleep(1.1)
use()
done()
"""


def test_no_thread_to_be_had(tmp_path: Path, page: Page) -> None:
    """Whoever takes a connection publishes, once a second, until there is a thread again; and the end does."""
    with running(tmp_path, NO_THREADS) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert eventually(lambda: page.find("processes", state="live") == 1)
        for checkouts in (1, 2):
            program.stdin.write("\n")
            program.stdin.flush()
            assert program.stdout.readline() == "done\n"
            assert eventually(lambda least=checkouts: (page.find("checkouts_total") or 0) >= least)  # type: ignore[misc]
        assert eventually(lambda: page.find("checkouts_total") == 3)
    assert eventually(lambda: page.find("processes", state="live") == 0)
    assert page.find("checkouts_total") == 3
    assert page.find("checkins_total") == 3


def test_a_process_that_stops(tmp_path: Path, page: Page) -> None:
    """Stopped, it is silent: what it held still counts, the age of it is shown; when it goes on it is live again."""
    with running(tmp_path, f"{ENGINE}held = engine.connect()\ndone()\nheld.close()") as program:
        assert eventually(lambda: page.connections() == (0, 1))
        os.kill(program.pid, signal.SIGSTOP)
        try:
            assert eventually(lambda: page.find("processes", state="silent") == 1, within=LIVE_SECONDS + 10)
            assert page.find("processes", state="live") == 0
            assert page.value("report_age_seconds") > LIVE_SECONDS
            assert page.connections() == (0, 1)
            assert page.value("checkouts_total") == 1
        finally:
            os.kill(program.pid, signal.SIGCONT)
        assert eventually(lambda: page.find("processes", state="live") == 1)
        assert page.find("processes", state="silent") == 0
    assert eventually(lambda: page.connections() == (0, 0))
    assert page.value("checkins_total") == 1


PID = """
use()
with open("pid", "w") as file:
    file.write(str(os.getpid()))
time.sleep(60)
"""

DAEMON = """
time.sleep(0.2)
if os.fork():
    os._exit(0)
os.setsid()
os.closerange(3, 256)
"""


@pytest.mark.parametrize("used_before", ["", "use()\nengine.dispose()\n"])
def test_a_daemon_that_closes_all_files(tmp_path: Path, page: Page, used_before: str) -> None:
    """A daemon leaves its parent and closes what it has open, our lock too; it is seen again, and dies once."""
    code = f"{ENGINE}{used_before}{DAEMON}{PID}"
    environment = {**os.environ, "POOL_EXPORTER_DIR": str(tmp_path / "box")}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert eventually(lambda: page.find("processes", state="live") == 1 and page.connections() == (1, 0))
    daemon = eventually(lambda: int(f"0{(tmp_path / 'pid').read_text()}"))
    assert eventually(lambda: (page.find("checkouts_total") or 0) >= 1)
    before = page.find("checkouts_total")
    os.kill(daemon, signal.SIGKILL)
    assert eventually(lambda: page.find("processes", state="live") == 0 and page.connections() == (0, 0))
    assert page.find("checkouts_total") == before


def test_a_program_that_takes_its_own_place(tmp_path: Path, page: Page) -> None:
    """One that runs itself anew by exec has the same pid and counts anew; what it had published stays."""
    code = f"{ENGINE}use()\ntime.sleep(1.5 if sys.argv[1] == '1' else 0)\n"
    code += "if sys.argv[1] == '1': os.execv(sys.executable, [sys.executable, '-c', CODE, '2'])\ndone()"
    whole = code.replace("CODE", repr(code.replace("CODE", "''")))
    with running(tmp_path, f"import sys\nsys.argv.append('1')\n{whole}"):
        assert eventually(lambda: page.find("checkouts_total") == 2)
        assert page.find("processes", state="live") == 1
        assert page.connections() == (1, 0)
    assert eventually(lambda: page.find("processes", state="live") == 0)
    assert page.find("checkouts_total") == 2


GEVENT = f"""
from gevent import monkey
monkey.patch_all()
import gevent, gevent.os
{ENGINE}
for greenlet in [gevent.spawn(use) for _ in range(20)]:
    greenlet.join()
child = os.fork()
if child == 0:
    engine.dispose(close=False)
    use()
    sys.exit()
os.waitpid(child, 0)
print("done", flush=True)
gevent.os.tp_read(0, 1)  # the standard input is none of gevent's: to read it would stop every greenlet
"""


def test_gevent(tmp_path: Path, page: Page) -> None:
    """Where threads are greenlets, they publish while the program waits; a fork of it has its last word too."""
    with running(tmp_path, GEVENT):
        assert eventually(lambda: page.find("checkouts_total") == 21)
        assert page.find("processes", state="live") == 1
    assert eventually(lambda: page.find("processes", state="live") == 0)


FORKS = """
import os, sys
def look():
    print(len(os.listdir("/proc/self/task")), end=" ")
os.register_at_fork(before=look)  # called after those that are registered later
"""


@pytest.mark.parametrize("used", ["", "use()\n"])
def test_no_thread_of_ours_while_a_process_forks(tmp_path: Path, used: str) -> None:
    """A master whose threads are ours forks without any, used its pool or not, and without Python's warning of it."""
    fork = "time.sleep(0.05)\nif os.fork() == 0: os._exit(0)\nos.wait()\n"
    code = f"{FORKS}{ENGINE}{used}{fork * 5}print()\nsys.stdout.flush()\ndone()\n"
    with subprocess.Popen(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "POOL_EXPORTER_DIR": str(tmp_path)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as program:  # fmt: skip
        out, err = program.communicate("\n", timeout=30)
    assert (program.returncode, out, err) == (0, "1 1 1 1 1 \ndone\n", "")


def test_it_publishes_on_after_a_fork(tmp_path: Path, page: Page) -> None:
    """The thread that was ended for a fork goes on after it, and one that forks often publishes no more often."""
    fork = "for _ in range(20):\n    if os.fork() == 0: os._exit(0)\n    os.wait()\n"
    with running(
        tmp_path, f"{ENGINE}use()\n{fork}done()\nuse()\ntime.sleep(5)\ndone()", "-W", "error::DeprecationWarning"
    ) as program:
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()
        assert eventually(lambda: page.find("checkouts_total") == 2)
        assert program.stdout is not None
        assert program.stdout.readline() == "done\n"
