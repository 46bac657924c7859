"""Runs the programs of a database server: as another user where they insist, and never longer than we live."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUN_SECONDS = 60.0
STOP_SECONDS = 15.0

_TAIL, _ERRORS = 20, 5  # lines
_PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>


class LaunchError(Exception):
    """A server of ours did not come up; the message ends with the tail of its log."""


@dataclass(frozen=True)
class Program:
    """A server's command line, where it runs and as whom, and the signals that end it.

    ``stop`` is sent when we are done with it, ``orphaned`` by the kernel when we died without a word.
    """

    command: Sequence[str | Path]
    folder: Path
    stop: signal.Signals
    orphaned: signal.Signals
    account: pwd.struct_passwd | None = None

    @property
    def log(self) -> Path:
        """Name the file that everything it prints goes to."""
        return self.folder / "server.log"


@contextlib.contextmanager
def running(program: Program) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``program`` while the body runs, and see to its end also when the body raises."""
    with program.log.open("ab") as output:
        process = subprocess.Popen(
            list(map(str, program.command)),
            cwd=program.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Ctrl-C in a terminal goes to the whole group: the servers end when we say so, not before the demo is done.
            start_new_session=True,
            preexec_fn=_die_with_us(program.orphaned),  # noqa: PLW1509  it makes one system call and takes no lock
            env=_environment(),
            **_identity(program.account),
        )
    try:
        yield process
    finally:
        _end(process, program.stop)


def run(command: Sequence[str | Path], folder: Path, *, account: pwd.struct_passwd | None = None) -> None:
    """Run a command to its end in ``folder``; raise with what it printed when it fails."""
    log = folder / "install.log"
    with log.open("ab") as output:
        done = subprocess.run(
            list(map(str, command)),
            check=False,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_environment(),
            timeout=RUN_SECONDS,
            **_identity(account),
        )
    if done.returncode != 0:
        raise LaunchError(f"{command[0]} ended with exit code {done.returncode}\n{tail(log)}")


def process_tree(pid: int) -> list[int]:
    """Return ``pid`` and the processes it has started, parents first; only ``pid`` where there is no /proc."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found += map(int, children.read_text().split())
    return found


def server_account() -> pwd.struct_passwd | None:
    """Return the user that a program which refuses root is to run as; None when it can run as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise LaunchError(
        "PostgreSQL refuses to run as root, and this machine has neither a user postgres nor nobody; make one: "
        "useradd --system postgres"
    )


def closed_folder(path: Path) -> Path | None:
    """Return the first folder on the way to ``path`` that others may not pass, None when they may pass all."""
    way = {part for start in (path.absolute(), path.resolve()) for part in (start, *start.parents)}
    return next((part for part in sorted(way) if not part.stat().st_mode & 0o001), None)


def tail(log: Path) -> str:
    """Return the last lines of a log, and before them those that say what went wrong: much may be said after that."""
    lines = log.read_text(errors="replace").splitlines()
    wrong = [line for line in lines[:-_TAIL] if "ERROR" in line or "FATAL" in line]
    return "\n".join([*wrong[-_ERRORS:], *lines[-_TAIL:]])


def _end(process: subprocess.Popen[bytes], stop: signal.Signals) -> None:
    if process.poll() is not None:
        return
    process.send_signal(stop)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        for pid in process_tree(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def _die_with_us(sent: signal.Signals) -> Callable[[], None] | None:
    """Return what a child does before exec, so that the kernel signals it when we die, even of SIGKILL; Linux only.

    A change of user clears the wish, so it is asked for after that, which is where subprocess calls preexec_fn. The
    kernel watches the thread that started the child: that thread must live as long as the server.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None:
        return None

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, int(sent))

    return ask


def _environment() -> dict[str, str]:
    """Return our environment without what would point the programs elsewhere, and with logs in plain English."""
    elsewhere = ("PG", "MYSQL", "MARIADB", "LC_")
    return {name: value for name, value in os.environ.items() if not name.startswith(elsewhere)} | {"LC_ALL": "C"}


def _identity(account: pwd.struct_passwd | None) -> dict[str, Any]:
    return {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
