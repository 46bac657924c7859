"""The launcher: an unchanged program, started so that every engine it makes is watched. Standard library only."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

CANNOT_RUN = 2
BOOTSTRAP = str(Path(__file__).resolve().parent / "bootstrap")
"""The folder whose sitecustomize.py every Python loads that finds it on its PYTHONPATH, children included."""


def asked(arguments: Sequence[str]) -> Sequence[str] | None:
    """Return the command of ``run -- COMMAND`` or ``run COMMAND``; None when something else is asked, such as help."""
    if list(arguments[:1]) != ["run"]:
        return None
    command = arguments[2:] if list(arguments[1:2]) == ["--"] else arguments[1:]
    return command if command and not command[0].startswith("-") else None


def run(command: Sequence[str]) -> int:
    """Become ``command``, whose signals and exit code are its own from then on.

    Returns only when it cannot be started, after one sentence to stderr that says why: 2, cannot run.
    """
    sys.stdout.flush()
    # Python ignores these two, and what is ignored stays ignored in the program that we become.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    environment = {**os.environ, "PYTHONPATH": python_path(os.environ.get("PYTHONPATH", ""))}
    try:
        os.execvpe(command[0], list(command), environment)  # noqa: S606  that is the point
    except OSError as error:
        sys.stderr.write(f"pool-exporter: cannot run {command[0]}: {error.strerror}{_advice(command[0])}\n")
    return CANNOT_RUN


def python_path(others: str) -> str:
    """Return a PYTHONPATH with our folder in front of the ``others``, once."""
    folders = [folder for folder in others.split(os.pathsep) if folder != BOOTSTRAP] if others else []
    return os.pathsep.join([BOOTSTRAP, *folders])


def _advice(program: str) -> str:
    return f"; a Python file is started as: pool-exporter run -- python {program}" if program.endswith(".py") else ""
