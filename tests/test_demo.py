"""The demonstration, run as a user runs it: what it shows, and that nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demos import Start, passable_folder, starting
from exporter.demo import databases, processes, stage
from exporter.demo.client import ask
from exporter.demo.guard import guarding
from exporter.demo.interruption import remembering
from exporter.demo.run import run
from waiting import eventually

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]


@pytest.fixture
def folder() -> Iterator[Path]:
    with passable_folder() as made:
        yield made


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    with starting(folder) as begin:
        yield begin


def _rows(output: str, *cells: str) -> list[str]:
    """Return the lines of the last table that have these cells one after another."""
    pattern = r"\s+".join(map(re.escape, cells))
    return re.findall(rf"^\s*{pattern}\b.*$", output, flags=re.MULTILINE)


def test_for_shows_leak_and_stale_connections_and_ends_by_itself(start: Start) -> None:
    """A run with --for ends with 0 and a table of both workers' pools and what is wrong in them."""
    demo = start("--for", "8s")

    assert demo.process.wait(timeout=180) == 0
    output = demo.out.read_text()
    assert _rows(output, "shop", "postgresql", "10"), output  # five in each of two processes
    assert _rows(output, "reports", "mysql", "6"), output
    assert "LEAK" in "".join(_rows(output, "shop", "postgresql", "used", "sleeping_in_transaction")), output
    assert "STALE" in "".join(_rows(output, "reports", "mariadb", "idle", "gone")), output
    assert "\x1b" not in output
    assert demo.err.read_text() == ""
    assert demo.is_gone(), demo.processes()


def test_without_mariadb_postgresql_shows_both_troubles(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine without MariaDB and Prometheus is told so, and sees connections end in PostgreSQL instead."""
    monkeypatch.setattr(stage, "mariadb_available", lambda: False)
    monkeypatch.setenv("PATH", "/usr/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))

    assert run(6.5) == 0
    output = capsys.readouterr().out
    assert "going on with PostgreSQL alone" in output
    assert "Prometheus is not on this machine" in output
    assert _rows(output, "reports", "postgresql", "idle", "gone"), output
    assert _rows(output, "shop", "postgresql", "used", "sleeping_in_transaction"), output
    assert list(folder.iterdir()) == []


def test_ctrl_c_in_a_terminal_ends_everything_in_time(start: Start) -> None:
    """A table is drawn until Ctrl-C, which gets the terminal's whole group; then all ends within 5 seconds."""
    controller, terminal = pty.openpty()
    demo = start(stdout=terminal)
    os.close(terminal)
    drawn = b""
    while b"which means" not in drawn:
        drawn += os.read(controller, 4096)
    os.killpg(demo.process.pid, signal.SIGINT)
    began = time.monotonic()
    with contextlib.suppress(OSError):  # the terminal is gone when its last user is
        while os.read(controller, 4096):
            pass
    os.close(controller)

    assert demo.process.wait(timeout=20) == 0
    assert time.monotonic() - began < 5.0
    assert demo.err.read_text() == ""
    assert demo.is_gone(), demo.processes()


def test_a_database_that_does_not_start_is_an_error_of_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no server can be started the demonstration cannot run: exit code 2, with the launcher's reason."""
    monkeypatch.setattr(databases, "POSTGRESQL_SETTINGS", {"no_such_setting": "on"})
    monkeypatch.setattr(tempfile, "tempdir", str(folder))

    assert run(1.0) == 2
    assert "postgres" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_a_part_that_never_gets_ready_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that says nothing is named when its time is over, and killed when it does not heed SIGTERM."""
    monkeypatch.setattr(processes, "READY_SECONDS", 0.3)
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.1)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    with guarding(folder / "unused") as guard, remembering() as interruption:
        started = processes.Processes(folder, guard, interruption)
        part = started.start("deaf", [sys.executable, "-c", deaf])
        eventually(lambda: "deaf" in part.log.read_text(), within=30.0)
        with pytest.raises(processes.PartError, match=r"deaf was not ready within 0 s; the end of its log:\ndeaf"):
            started.wait_for(part, lambda: False)
        started.stop()

    assert part.exit_code() == -signal.SIGKILL


def test_nobody_at_home_is_an_answer_too() -> None:
    """Asking where nobody listens raises nothing: traffic goes on, and readiness is asked again."""
    answer = ask(f"http://127.0.0.1:{databases.free_port()}/products")

    assert answer.status == 0
    assert "ConnectionRefusedError" in answer.body


def test_a_part_that_dies_ends_the_rest_and_is_named(start: Start) -> None:
    """When the sidecar is killed, the demonstration says which part died and how, cleans up, and fails."""
    demo = start()
    demo.wait_for("after 0 s")
    sidecar = demo.pid_of("serve")
    os.kill(sidecar, signal.SIGKILL)

    assert demo.process.wait(timeout=20) == 1
    assert f"sidecar (process {sidecar}) was ended by SIGKILL" in demo.err.read_text()
    assert demo.is_gone(), demo.processes()


def test_nothing_survives_when_the_demonstration_itself_is_killed(start: Start) -> None:
    """After SIGKILL, which nobody can answer, its guard ends the parts with their workers and removes the folder."""
    demo = start()
    demo.wait_for("after 0 s")
    assert demo.pid_of("prometheus")
    demo.process.kill()
    demo.process.wait()

    eventually(demo.is_gone, within=10)


def test_a_signal_during_the_set_up_ends_it_cleanly(start: Start) -> None:
    """SIGTERM while the parts start is obeyed between two steps, with the exit code that the signal has."""
    demo = start("--for", "30s")
    demo.wait_for("PostgreSQL")
    demo.process.terminate()

    assert demo.process.wait(timeout=20) == 128 + signal.SIGTERM
    assert "interrupted while setting up" in demo.out.read_text()
    assert demo.is_gone(), demo.processes()
