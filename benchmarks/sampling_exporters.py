"""The exporters of `scripts/bench sampling` at work: how one is started, waited for and ended; ours as users run it."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sampling_servers import Server

from exporter.demo.client import ask
from exporter.demo.databases import free_port
from exporter.demo.programs import LaunchError, Program, running, tail

OURS = "ours"
READY_SECONDS = 30.0

_CONFIG = "config.yaml"
_ADDRESS = "{address}"
_THIS_TREE = {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}


@dataclass(frozen=True)
class Exporter:
    """One that runs: its name with its version, its page and its process."""

    name: str
    page: str
    pid: int


@dataclass(frozen=True)
class Launch:
    """How one is started; ``{address}``, ``{host}`` and ``{port}`` in the command become where its page is to be.

    ``config`` is the text of a file config.yaml in its folder, of which the same holds. ``ready`` is asked until it
    answers.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    config: str = ""
    ready: str = "/metrics"


def ours(server: Server, *, processes: Path, interval: float) -> Launch:
    """Tell how our sidecar is started, with the command that users type; the interval is in seconds."""
    target = server.sampler.set(database=None)._replace(password=None)
    asked = {"url": str(target), "password": "!env PASSWORD", "interval": f"{interval:g}s"}
    settings = {
        "web": {"listen": _ADDRESS},
        "processes": {"directory": str(processes)},
        "servers": {"orders": {**asked, "timeout": f"{interval / 2:g}s"}},
    }
    # JSON is YAML; only a tag is something that it cannot say.
    config = json.dumps(settings).replace('"!env PASSWORD"', "!env PASSWORD")
    return Launch(
        OURS,
        [sys.executable, "-m", "exporter", "serve", "--config", _CONFIG],
        {**_THIS_TREE, "PASSWORD": str(server.sampler.password)},
        config,
        ready="/-/ready",
    )


@contextlib.contextmanager
def running_exporter(launch: Launch, folder: Path) -> Iterator[Exporter]:
    """Run an exporter in ``folder`` while the body runs, which begins when it is ready."""
    host, port = "127.0.0.1", str(free_port())
    address = f"{host}:{port}"
    home = folder / re.sub(r"\W+", "-", launch.name)
    home.mkdir(parents=True, exist_ok=True)
    (home / _CONFIG).touch(mode=0o600)
    (home / _CONFIG).write_text(launch.config.replace(_ADDRESS, address))
    # Not ours: the tests' folder, which is on it, is none of a peer's business.
    environment = {"PYTHONPATH": "", **launch.environment}
    command = [part.format(address=address, host=host, port=port) for part in launch.command]
    program = Program(
        ["env", *(f"{name}={value}" for name, value in environment.items()), *command],
        home,
        stop=signal.SIGTERM,
        orphaned=signal.SIGKILL,
    )
    with running(program) as process:
        _wait(f"http://{address}{launch.ready}", process, launch.name, program.log)
        yield Exporter(launch.name, f"http://{address}/metrics", process.pid)


def _wait(page: str, process: subprocess.Popen[bytes], name: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while ask(page).status != 200:
        if process.poll() is not None:
            raise LaunchError(f"{name} ended with exit code {process.returncode}\n{tail(log)}")
        if time.monotonic() > deadline:
            raise LaunchError(f"{name} does not answer {page} within {READY_SECONDS:.0f} s\n{tail(log)}")
        time.sleep(0.05)
