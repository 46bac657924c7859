"""The parts that run as processes of their own: started, watched, and ended together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.demo.databases import Database
from exporter.demo.guard import Guard
from exporter.demo.interruption import Interruption

STOP_SECONDS = 2.0
"""How long the parts may take to end by themselves, all together."""

READY_SECONDS = 90.0
"""A busy machine takes its time to start a Python."""

TAIL_LINES = 15


class PartError(Exception):
    """A part ended by itself or did not get ready; the message has the end of its log."""


@dataclass(frozen=True)
class Part:
    """A process that the demonstration cannot do without. ``exit_code`` gives None while it runs."""

    name: str
    pid: int
    log: Path
    exit_code: Callable[[], int | None]


class Processes:
    """Starts parts with their logs in ``folder``, and ends them all."""

    def __init__(self, folder: Path, guard: Guard, interruption: Interruption) -> None:
        self._folder = folder
        self._guard = guard
        self._interruption = interruption
        self._parts: list[Part] = []
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Part:
        """Start ``command`` as the part called ``name``, with ``env`` on top of our own environment."""
        self._interruption.check()
        log = self._folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                list(map(str, command)),
                cwd=self._folder,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C goes to the terminal's whole group: the parts end when we say so, their own children with them.
                start_new_session=True,
            )
        self._guard.watch(process.pid)
        self._started.append(process)
        part = Part(name, process.pid, log, process.poll)
        self._parts.append(part)
        return part

    def adopt(self, name: str, database: Database, *, orphaned: signal.Signals) -> None:
        """Watch a database that was started, and will be ended, by its own launcher."""
        self._guard.watch(database.pid, orphaned=orphaned)
        self._parts.append(Part(name, database.pid, database.log, lambda: _exit_code(database.pid)))

    def forget(self, name: str) -> None:
        """No longer miss the part called ``name``: it is about to be ended, or has been, on purpose."""
        for part in [part for part in self._parts if part.name == name]:
            self._guard.forget(part.pid)
            self._parts.remove(part)

    def end(self, name: str) -> None:
        """End what was started as the part called ``name``, with all that it has started itself."""
        pids = {part.pid for part in self._parts if part.name == name}
        self.forget(name)
        ending = [process for process in self._started if process.pid in pids]
        self._started = [process for process in self._started if process.pid not in pids]
        _end(ending)

    def check(self) -> None:
        """Raise PartError when one of the parts has ended."""
        for part in self._parts:
            code = part.exit_code()
            if code is not None:
                raise PartError(f"{part.name} (process {part.pid}) {_how(code)}; {_tail(part)}")

    def wait_for(self, part: Part, ready: Callable[[], bool]) -> None:
        """Return when ``ready`` says so; raise when a part ends before that, or nothing happens for too long."""
        if not self.wait_until(ready):
            raise PartError(f"{part.name} was not ready within {READY_SECONDS:.0f} s; {_tail(part)}")

    def wait_until(self, come: Callable[[], bool]) -> bool:
        """Wait until ``come`` says that something has; tell whether it did in time. Raises when a part ends."""
        deadline = time.monotonic() + READY_SECONDS
        while not come():
            self.check()
            self._interruption.check()
            if time.monotonic() > deadline:
                return False
            self._interruption.wait(0.05)
        return True

    def stop(self) -> None:
        """End what was started: ask all at once, wait a little, then insist."""
        _end(self._started)


def _end(ending: Collection[subprocess.Popen[bytes]]) -> None:
    for process in ending:
        _signal(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for process in ending:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(deadline - time.monotonic(), 0.0))
        # Whatever its leader did, nothing of the group is to stay.
        _signal(process.pid, signal.SIGKILL)
        process.wait()


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _exit_code(pid: int) -> int | None:
    """Tell how a child ended without taking that from whoever started it; None while it runs."""
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _how(code: int) -> str:
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"


def _tail(part: Part) -> str:
    lines = part.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
    return "\n".join(["the end of its log:", *lines]) if lines else "its log is empty"
