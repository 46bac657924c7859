"""What only root may do, undone by the kernel when the program ends: file systems and processes of its own."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_MOUNT = 'mount -t tmpfs -o "$1" none "$2" && shift 2 && exec "$@"'


def in_own_mounts(folder: Path, options: str) -> list[str]:
    """Return how to begin a command that has a small file system mounted on ``folder``, seen by nobody else."""
    require("--mount")
    return ["unshare", "--mount", "sh", "-c", _MOUNT, "sh", options, str(folder)]


def in_own_processes(*command: str) -> list[str]:
    """Return how to run a command as pid 1 of a host called `twin`."""
    require("--pid", "--fork", "--uts")
    named = ["sh", "-c", 'hostname twin && exec "$@"', "sh", *command]
    return ["unshare", "--pid", "--fork", "--mount-proc", "--uts", "--kill-child", *named]


@contextlib.contextmanager
def shared_mounts(script: str, *arguments: str) -> Iterator[tuple[list[str], Path]]:
    """Mount as a shell script says, seen by nobody else but commands that begin as what is given does.

    The second thing given is where the root of their files lies for all others.
    """
    require("--mount")
    program = ["unshare", "--mount", "sh", "-ec", f"{script}\necho done\nread _", "sh", *arguments]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "done\n"
        yield ["nsenter", f"--target={holder.pid}", "--mount"], Path(f"/proc/{holder.pid}/root")


def require(*options: str) -> None:
    """Fail where this cannot be tried: a test that quietly does nothing proves nothing."""
    try:
        able = subprocess.run(["unshare", *options, "true"], check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        able = False
    if not able:
        pytest.fail("no namespaces here (unshare): run this as root, or deselect it with -m 'not root'")
