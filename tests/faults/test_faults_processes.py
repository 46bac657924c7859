"""All that can happen to the processes themselves: they are stopped, killed, and have no files or memory left."""

from __future__ import annotations

import contextlib
import resource
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from players import Player
from plays import Fault, play
from sites import Site, sessions_of
from stages import DRIVERS, Place, Stage, agree, staged

pytestmark = [pytest.mark.servers, pytest.mark.timeout(400)]

DAY = 86400
CLOCK = Path(__file__).parent / "clock.c"
_NONE = 3  # files: standard input, output and errors are open, and no other can be opened


@contextlib.contextmanager
def stopped(player: Player) -> Iterator[None]:
    """Stop a process."""
    player.process.send_signal(signal.SIGSTOP)
    yield
    player.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def sidecar_killed(stage: Stage) -> Iterator[None]:
    """Kill the sidecar, and start another."""
    stage.sidecar.process.kill()
    stage.sidecar.process.wait()
    stage.wait_for("during", uses=100)
    yield
    stage.restart_sidecar()


@contextlib.contextmanager
def sidecar_stopped(stage: Stage) -> Iterator[None]:
    """Stop the sidecar for a while."""
    with stopped(stage.sidecar):
        stage.wait_for("during", uses=100)
        yield


@contextlib.contextmanager
def no_files_in_sidecar(stage: Stage) -> Iterator[None]:
    """Let the sidecar open no file and accept no connection, while some knock."""
    with stage.sidecar.limited(resource.RLIMIT_NOFILE, _NONE), contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(stage.sidecar.address()))
        stage.wait_for("during", uses=200)
        yield


@contextlib.contextmanager
def no_files_in_applications(stage: Stage) -> Iterator[None]:
    """Let the applications open no file and no connection; those that they have go on."""
    with contextlib.ExitStack() as stack:
        for each in stage.both:
            stack.enter_context(each.limited(resource.RLIMIT_NOFILE, _NONE))
        stage.wait_for("during", uses=200)
        yield


@contextlib.contextmanager
def no_memory_in_applications(stage: Stage) -> Iterator[None]:
    """Let the applications have no more memory than they have."""
    with contextlib.ExitStack() as stack:
        for each in stage.both:
            stack.enter_context(each.limited(resource.RLIMIT_AS, size(each)))
        stage.wait_for("during", uses=200)
        yield


@contextlib.contextmanager
def no_memory_in_sidecar(stage: Stage) -> Iterator[None]:
    """Let the sidecar have no more memory than it has."""
    with stage.sidecar.limited(resource.RLIMIT_AS, size(stage.sidecar)):
        stage.wait_for("during", uses=200)
        yield


def size(player: Player) -> int:
    """Return how much memory a process has mapped, in bytes."""
    pages = int(Path(f"/proc/{player.pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize()


FAULTS = {
    "sidecar_killed": Fault(sidecar_killed, harmless=True, up=None, unseen=True),
    "sidecar_stopped": Fault(sidecar_stopped, harmless=True, up=None, unseen=True),
    "no_files_in_sidecar": Fault(no_files_in_sidecar, harmless=True, up=None, unseen=True),
    "no_files_in_applications": Fault(no_files_in_applications),
    "no_memory_in_sidecar": Fault(no_memory_in_sidecar, harmless=True, up=None, unseen=True),
    "no_memory_in_applications": Fault(no_memory_in_applications, kinds=frozenset({"MemoryError"})),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
@pytest.mark.parametrize("driver", ["pymysql", "asyncpg"])
def test_a_fault_of_a_process(driver: str, fault: Fault, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """What fails for want of something works when it is there again, and nothing was lost or forgotten meanwhile."""
    site: Site = request.getfixturevalue(DRIVERS[driver].site)
    with staged(site, DRIVERS[driver], tmp_path) as stage:
        play(stage, fault)


@pytest.mark.parametrize("driver", list(DRIVERS))
def test_an_application_that_is_killed(driver: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """What it had published is counted for good, what it held open is gone from the page; the next one adds to it."""
    site: Site = request.getfixturevalue(DRIVERS[driver].site)
    with staged(site, DRIVERS[driver], tmp_path) as stage:
        stage.shop.process.kill()
        stage.shop.process.wait()
        agree(lambda: stage.page.find("processes", state="live"), 0)
        agree(lambda: len(sessions_of(site, stage.shop.account)), 0)
        assert stage.page.connections() == (0, 0)
        assert stage.shown() == stage.truth()
        stage.restart_shop()
        play(stage, Fault(lambda _stage: contextlib.nullcontext(), harmless=True))


@contextlib.contextmanager
def clocks(folder: Path) -> Iterator[tuple[list[str], Callable[[int], None]]]:
    """Make a time of day of its own: what a command begins with that is to have it, and how it is set off (s)."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.fail("no C compiler for a clock that can be set: install Debian's gcc and libc6-dev")
    library, offset = folder / "clock.so", folder / "clock"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(CLOCK), "-ldl"], check=True)
    offset.write_bytes(bytes(8))

    def set_off(seconds: int) -> None:
        with offset.open("r+b") as file:
            file.write(struct.pack("=q", seconds))

    yield ["env", f"LD_PRELOAD={library}", f"CLOCK_FILE={offset}"], set_off


@pytest.mark.parametrize("role", ["shop", "sidecar", "all"])
def test_a_clock_that_jumps(role: str, postgresql_site: Site, tmp_path: Path) -> None:
    """By days ahead and back, for the application, the sidecar or both: nothing is taken for old, dead or new by it."""

    @contextlib.contextmanager
    def jumps(stage: Stage) -> Iterator[None]:
        for turn, offset in enumerate((3 * DAY, -3 * DAY, 3600, -60), 1):
            set_off(offset)
            stage.wait_for("during", uses=60 * turn)
            agree(stage.up, expected=True)
            agree(lambda: stage.page.find("processes", state="live"), 1)
        yield
        set_off(0)

    with clocks(tmp_path) as (preload, set_off):
        place = Place(lambda who: preload if role in (who, "all") else ())
        with staged(postgresql_site, DRIVERS["psycopg"], tmp_path, place) as stage:
            play(stage, Fault(jumps, harmless=True))
