"""The demonstration from its first line to its last: set up, show, and leave nothing behind."""

from __future__ import annotations

import time
from pathlib import Path

from exporter.demo.backstage import staging
from exporter.demo.display import Board, Display
from exporter.demo.frame import framed
from exporter.demo.interruption import Interruption
from exporter.demo.page import read
from exporter.demo.stage import Addresses, Stage
from exporter.demo.table import render, summarize
from exporter.demo.traffic import VISITORS, Traffic

LOOK_EVERY = 1.0


def run(seconds: float | None) -> int:
    """Show everything for so many seconds, or until Ctrl-C; return the exit code when all that was started is gone."""

    def play(folder: Path, display: Display, interruption: Interruption) -> None:
        with staging(folder, display, interruption) as backstage:
            _perform(Stage(backstage), display, interruption, seconds=seconds)

    return framed(play, ends_by_itself=seconds is not None)


def _perform(stage: Stage, display: Display, interruption: Interruption, *, seconds: float | None) -> None:
    addresses = stage.set_up()
    display.say("", *_places(addresses), "", _length(seconds), "")
    traffic = Traffic(addresses.shop)
    traffic.send(VISITORS)
    deadline = float("inf") if seconds is None else time.monotonic() + seconds
    try:
        with display.board() as board:
            for _turn in interruption.turns(LOOK_EVERY, until=deadline):
                stage.processes.check()
                _show(addresses, traffic, board)
    finally:
        traffic.stop()


def _show(addresses: Addresses, traffic: Traffic, board: Board) -> None:
    page = read(addresses.sidecar)
    # A sidecar that is gone is found out by looking at its process.
    if page is not None:
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
