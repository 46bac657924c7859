"""One run of the demonstration, as a process of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from waiting import eventually


@contextlib.contextmanager
def passable_folder() -> Iterator[Path]:
    """Make a folder that other users may pass, as root's PostgreSQL has to."""
    made = Path(tempfile.mkdtemp(prefix="demo-test-"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        shutil.rmtree(made)


class Demo:
    """One run of the demonstration. ``token`` stands in the environment of each of its processes."""

    def __init__(self, folder: Path, *arguments: str, stdout: int | None = None) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir(mode=0o711)
        self.out, self.err = folder / "out", folder / "err"
        self.token = secrets.token_hex(8)
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "exporter", "demo", *arguments],
                env={**os.environ, "TMPDIR": str(self.temporary), "DEMO_TOKEN": self.token},
                stdout=stdout or out,
                stderr=err,
                start_new_session=True,
            )

    def wait_for(self, text: str) -> None:
        """Wait until standard output has ``text``."""
        eventually(lambda: text in self.out.read_text() or self.process.poll() is not None, within=120.0)
        assert text in self.out.read_text(), self.err.read_text()

    def processes(self) -> dict[int, str]:
        """Return the processes that it has running, and what they were started with."""
        found = {int(entry.name): _command(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
        return {
            pid: command for pid, command in found.items() if pid != self.process.pid and self._started(pid, command)
        }

    def pid_of(self, program: str) -> int:
        """Return the process id of the part that was started with ``program``."""
        return min(pid for pid, command in self.processes().items() if program in command)

    def is_gone(self) -> bool:
        """Tell whether nothing is left, in the process list and in the temporary folder."""
        return not self.processes() and not list(self.temporary.iterdir())

    def _started(self, pid: int, command: str) -> bool:
        # PostgreSQL's processes write their titles over their environment, but work in the temporary folder.
        with contextlib.suppress(OSError):
            place = f"{command} {Path(f'/proc/{pid}/cwd').readlink()}"
            return str(self.temporary) in place or self.token in Path(f"/proc/{pid}/environ").read_text()
        return False


Start = Callable[..., Demo]


@contextlib.contextmanager
def starting(folder: Path) -> Iterator[Start]:
    """Give what starts demonstrations, and end whatever a failed test has left running."""
    started: list[Demo] = []

    def begin(*arguments: str, **options: Any) -> Demo:
        started.append(Demo(folder, *arguments, **options))
        return started[-1]

    try:
        yield begin
    finally:
        for demo in started:
            if demo.process.poll() is None:
                demo.process.terminate()
                demo.process.wait(timeout=20)
            for pid in demo.processes():
                os.kill(pid, signal.SIGKILL)


def _command(entry: Path) -> str:
    with contextlib.suppress(OSError):
        return (entry / "cmdline").read_text(errors="replace").replace("\0", " ")
    return ""
