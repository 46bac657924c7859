"""A real terminal: a tmux of its own, whose screen is read, whose keys are pressed and whose size is changed."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

COMMAND = (sys.executable, "-m", "exporter", "top")


class Terminal:
    """A screen on which one command runs."""

    def __init__(self, folder: Path) -> None:
        self.code = folder / "code"
        self._socket = folder / "socket"

    def screen(self, *, styled: bool = False) -> str:
        """Return what stands on the screen."""
        return self.tell("capture-pane", "-p", *(("-e",) if styled else ()))

    def press(self, *keys: str) -> None:
        """Press keys, by the names that tmux has for them."""
        self.tell("send-keys", *keys)

    def resize(self, width: int, height: int) -> None:
        """Change the size of the window."""
        self.tell("resize-window", "-x", str(width), "-y", str(height))

    def ended(self) -> str:
        """Return the exit code of the command; empty while it runs."""
        return self.code.read_text().strip() if self.code.exists() else ""

    def pid(self) -> int:
        """Return the command's process."""
        shell = self.tell("display-message", "-p", "#{pane_pid}").strip()
        return int(Path(f"/proc/{shell}/task/{shell}/children").read_text().split()[0])

    def tell(self, *command: str) -> str:
        """Let tmux do something, and return what it says."""
        told = ("tmux", "-u", "-S", str(self._socket), "-f", os.devnull, *command)
        done = subprocess.run(told, capture_output=True, text=True, check=True, timeout=20)
        return done.stdout


@contextlib.contextmanager
def terminal(
    *arguments: str, size: tuple[int, int] = (120, 40), env: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """Run `pool-exporter top` on a terminal of this size while the body runs."""
    width, height = size
    given = {"LANG": "C.UTF-8", "PATH": os.environ["PATH"], **(env or {})}
    variables = [f"{name}={value}" for name, value in given.items()]
    command = shlex.join(["env", *variables, *COMMAND, *arguments])
    with tempfile.TemporaryDirectory(prefix="pool-exporter-tmux-") as folder:
        made = Terminal(Path(folder))
        # The shell outlives Ctrl-C, writes down how it ended, and leaves what then stands on the screen to be read.
        script = f"trap : INT; {command}; echo $? > {shlex.quote(str(made.code))}; exec sleep 600"
        made.tell("new-session", "-d", "-x", str(width), "-y", str(height), shlex.join(["sh", "-c", script]))
        try:
            yield made
        finally:
            made.tell("kill-server")
