"""The demonstration from its first line to its last: set up, show, and leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from exporter.demo.client import ask
from exporter.demo.display import Board, Display
from exporter.demo.interruption import CutShortError, Interruption, remembering
from exporter.demo.page import parse
from exporter.demo.processes import PartError
from exporter.demo.programs import LaunchError
from exporter.demo.stage import Addresses, Stage
from exporter.demo.table import render, summarize
from exporter.demo.traffic import Traffic

LOOK_EVERY = 1.0


def run(seconds: float | None) -> int:
    """Show everything for so many seconds, or until Ctrl-C; return the exit code when all that was started is gone."""
    _forget_libpq()
    display = Display()
    with remembering() as interruption:
        try:
            with _folder() as folder, _stage(folder, display, interruption) as stage:
                _perform(stage, display, interruption, seconds=seconds)
        except CutShortError:
            display.say("interrupted while setting up")
            return 128 + (interruption.signal or 0)
        except (PartError, LaunchError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1 if isinstance(error, PartError) else 2
    # Without --for, a signal is how it is meant to end.
    cut_short = seconds is not None and interruption.signal
    return 128 + cut_short if cut_short else 0


def _forget_libpq() -> None:
    """Take away what the user's shell tells libpq, such as PGSSLMODE: it is meant for other servers than these."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pool-exporter-demo-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        # As root, PostgreSQL runs as another user, who has to get through to a folder of its own in here.
        folder.chmod(0o711)
        yield folder


@contextlib.contextmanager
def _stage(folder: Path, display: Display, interruption: Interruption) -> Iterator[Stage]:
    stage = Stage(folder, display, interruption)
    try:
        yield stage
    finally:
        with display.step("ending everything", done="all that was started is gone"):
            stage.ends.close()


def _perform(stage: Stage, display: Display, interruption: Interruption, *, seconds: float | None) -> None:
    addresses = stage.set_up()
    display.say("", *_places(addresses), "", _length(seconds), "")
    traffic = Traffic(addresses.shop)
    traffic.start()
    try:
        with display.board() as board:
            _show(addresses, traffic, board)
            deadline = time.monotonic() + (float("inf") if seconds is None else seconds)
            while not interruption.wait(max(min(LOOK_EVERY, deadline - time.monotonic()), 0.0)):
                stage.processes.check()
                _show(addresses, traffic, board)
                if time.monotonic() >= deadline:
                    break
    finally:
        traffic.stop()


def _show(addresses: Addresses, traffic: Traffic, board: Board) -> None:
    answer = ask(f"{addresses.sidecar}/metrics")
    # A sidecar that is gone is found out by looking at its process; one that is late has its say the next time.
    if answer.status == 200:
        page = parse(answer.body)
        board.show(render(page, traffic), summarize(page))


def _places(addresses: Addresses) -> list[str]:
    places = {
        "the shop": f"{addresses.shop}/docs (POST /carts/{{customer}} never closes its Session)",
        "the sidecar": f"{addresses.sidecar}/ and {addresses.sidecar}/metrics",
        **{name: f"{address}, database shop" for name, address in addresses.databases.items()},
    }
    if addresses.prometheus is not None:
        places["Prometheus"] = f"{addresses.prometheus}/alerts (each alert waits some minutes before it fires)"
    return [f"{name:<12} {place}" for name, place in places.items()]


def _length(seconds: float | None) -> str:
    return "Ctrl-C ends it." if seconds is None else f"It ends by itself after {seconds:g} s."
